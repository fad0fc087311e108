"""Who plays: a finished run whose learner can sit down at a board, or a player by name."""

from collections.abc import Callable, Sequence
from importlib import import_module
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neurarium.errors import InvalidValue, MissingExtra, RunError, did_you_mean, require
from neurarium.parts.games import Chance, Game, Player, Plays, Positions
from neurarium.running.command_line import run_folder
from neurarium.running.seeds import generator
from neurarium.running.train import open_run
from neurarium.systems.reinforcement.minimax import Minimax
from neurarium.systems.reinforcement.monte_carlo_tree_search import uct_player
from neurarium.worlds.heuristics import heuristic_of
from neurarium.worlds.named import load_game

DICE = ("backgammon",)  # games with chance, which the searches here do not look through


class Table(NamedTuple):
    """A game and those who sit down to it, in the order in which they were named."""

    game: Game
    players: list[Player]


def lay_table(words: Sequence[str], *, game: str | None = None, seed: int = 0) -> Table:
    """Bring players together at one game.

    Args:
        words: folders of runs, or names: random, minimax:DEPTH, uct:SIMULATIONS, perfect.
        game: what they play; a run knows its own.
        seed: where their chance begins.

    Raises:
        RunError: a folder is no run, or nothing in it plays a game.
        InvalidValue: no such name, no game is said, or a run plays another one.
        MissingExtra: a player's library is not installed.

    >>> table = lay_table(["random", "minimax:2"], game="connect_four")
    >>> table.game.name, [type(player).__name__ for player in table.players]
    ('connect_four', ['Chance', 'Minimax'])
    """
    learners = {word: learner_of(word) for word in words if not is_name(word)}
    played = {word: learner.game.name for word, learner in learners.items()}
    wanted = game or next(iter(played.values()), None)
    require(wanted is not None, f"what do {' and '.join(words)} play? say --game, as --game connect_four")
    assert wanted is not None
    for word, name in played.items():
        require(name == wanted, f"{word} plays {name}, not {wanted}; bring together who plays the same")
    laid = next((learner.game for learner in learners.values()), None) or load_game(
        wanted, generator=generator(seed, "dice")
    )
    chances = [generator(seed, "player", place) for place in range(len(words))]
    players = [
        learners[word].player(generator=chance) if word in learners else player_named(word, laid, chance)
        for word, chance in zip(words, chances, strict=True)
    ]
    return Table(laid, players)


def is_name(word: str) -> bool:
    """Whether a word is a player's name and no folder."""
    return word.partition(":")[0] in NAMED


def learner_of(word: str) -> Plays:
    """The learner of a finished run that plays.

    Raises:
        RunError: the folder is no run, or nothing in it plays a game.
        InvalidValue: there is neither such a folder nor such a name.
    """
    folder = run_folder(Path(word))
    if not folder.exists():
        raise InvalidValue(f"there is no run or player '{word}'; players are {', '.join(FORMS)}")
    able = [fit.learner for fit in open_run(folder).fits.values() if isinstance(fit.learner, Plays)]
    if not able:
        raise RunError(f"{folder} trained nothing that plays a game; take a run of alphago_zero or td_gammon")
    return able[-1]


def player_named(word: str, game: Game, chance: torch.Generator) -> Player:
    """A player by name.

    Raises:
        InvalidValue: there is no such name, its number is missing or too small, or it cannot play this game.
        MissingExtra: its library is not installed.
    """
    name, _, number = word.partition(":")
    if name not in NAMED:
        raise InvalidValue(f"there is no player '{word}'; {did_you_mean(name, FORMS)}")
    form, make = NAMED[name]
    require((":" in form) == bool(number), f"player '{word}' is written {form}, as {form_example(form)}")
    require(not number or number.isdecimal(), f"player '{word}' is written {form}, as {form_example(form)}")
    require(name == "random" or game.name not in DICE, f"{name} cannot play {game.name}, which has dice; take random")
    return make(game, int(number or 0), chance)


def form_example(form: str) -> str:
    """A form with its number filled in.

    >>> form_example("minimax:DEPTH")
    'minimax:4'
    """
    name, _, number = form.partition(":")
    return f"{name}:{EXAMPLES[number]}" if number else name


class Perfect:
    """Connect four without a mistake, by the solver bitbully; of equal moves the middle one.

    Args:
        game: connect four.

    Raises:
        InvalidValue: another game.
        MissingExtra: bitbully is not installed.
    """

    weighs = "how soon it wins"

    def __init__(self, game: Game) -> None:
        require(game.name == "connect_four", f"perfect plays connect_four, not {game.name}; take minimax:DEPTH")
        try:
            bitbully: Any = import_module("bitbully")
        except ImportError:
            raise MissingExtra(
                "perfect is the solver bitbully, which is not installed; pip install 'neurarium[peers]'"
            ) from None
        self.board, self.solver = bitbully.Board.from_array, bitbully.BitBully()

    def choose(self, positions: Positions) -> Int64[Tensor, " B"]:
        """The best column of each game."""
        values = self.weigh(positions)
        middle = -(torch.arange(values.shape[1]) - values.shape[1] // 2).abs() / values.shape[1]
        return (values + middle.to(values.device)).argmax(1)

    def weigh(self, positions: Positions) -> Float[Tensor, "B A"]:
        """Half the moves that are left at the end, negative where it is lost: bitbully's score."""
        values = torch.full((len(positions.over), positions.board.shape[2]), -inf)
        boards = torch.where(positions.board < 0, 2, positions.board).tolist()
        for row, over in enumerate(positions.over.tolist()):
            for column, score in ({} if over else self.solver.score_all_moves(self.board(boards[row]))).items():
                values[row, column] = score
        return values.to(positions.over.device)


Make = Callable[[Game, int, torch.Generator], Player]

NAMED: dict[str, tuple[str, Make]] = {
    "random": ("random", lambda game, _, chance: Chance(game, generator=chance)),
    "minimax": ("minimax:DEPTH", lambda game, number, _: Minimax(game, depth=number, guess=heuristic_of(game))),
    "uct": ("uct:SIMULATIONS", lambda game, number, chance: uct_player(game, simulations=number, generator=chance)),
    "perfect": ("perfect", lambda game, _, __: Perfect(game)),
}
FORMS = tuple(form for form, _ in NAMED.values())
EXAMPLES = {"DEPTH": "4", "SIMULATIONS": "1000"}
