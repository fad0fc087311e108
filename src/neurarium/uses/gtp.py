"""GTP: a Go player that any Go front end, or another program, can talk to by lines of text.

Source: Farnebäck 2002, GTP, the Go Text Protocol, version 2, draft 2 (gnu.org/software/gnugo).
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

import torch
from tyro.conf import Positional, arg

from neurarium.errors import InvalidValue, RunError
from neurarium.parts.games import Player, Positions
from neurarium.running.command_line import parse
from neurarium.running.seeds import generator
from neurarium.running.train import versions
from neurarium.uses.players import is_name, lay_table, player_named
from neurarium.worlds.go import KO, NOWHERE, PASSED, Go

COLOURS = {"b": 1, "black": 1, "w": -1, "white": -1}


class Refused(Exception):
    """What a command is answered by when it cannot be done."""


class Engine:
    """One board, the player who answers, and the protocol's commands.

    Args:
        player_of: makes the player of a board.
        game: the board to begin with.
        sizes: whether boards of another size can be played.

    >>> from neurarium.parts.games import Chance
    >>> engine = Engine(lambda game: Chance(game, generator=torch.Generator()), Go(size=5))
    >>> print(engine.answer("7 play black C3"), end="")
    =7
    <BLANKLINE>
    >>> print(engine.answer("play white C3"), end="")
    ? illegal move
    <BLANKLINE>
    """

    def __init__(self, player_of: Callable[[Go], Player], game: Go, *, sizes: bool = True) -> None:
        self.player_of, self.sizes = player_of, sizes
        self.done = False
        self.earlier: list[Positions] = []
        self._begin(game)

    def answer(self, line: str) -> str:
        """The reply to one line, with its id and the empty line that ends it; nothing to an empty line."""
        words = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", line.partition("#")[0].replace("\t", " ")).split()
        number = words.pop(0) if words and words[0].isdecimal() else ""
        if not words:
            return ""
        try:
            if words[0] not in COMMANDS:
                raise Refused("unknown command")
            said, sign = COMMANDS[words[0]](self, words[1:]), "="
        except Refused as refusal:
            said, sign = str(refusal), "?"
        return f"{sign}{number} {said}".rstrip() + "\n\n"

    def boardsize(self, words: list[str]) -> str:
        """Another board, empty."""
        size = int(self._number(words, "boardsize not an integer"))
        if size != self.game.size and not self.sizes:
            raise Refused("unacceptable size")
        try:
            self._begin(Go(size=size, komi=self.game.komi))
        except InvalidValue:
            raise Refused("unacceptable size") from None
        return ""

    def clear_board(self, words: list[str]) -> str:
        """The same board, empty."""
        self._begin(self.game)
        return ""

    def komi(self, words: list[str]) -> str:
        """Points for white; the moves made stay."""
        self.game.komi = self._number(words, "komi not a float")
        return ""

    def play(self, words: list[str]) -> str:
        """A move that someone made."""
        if len(words) != 2:
            raise Refused("syntax error")
        before = self._to_move(self._colour(words[0]))
        try:
            action = self.game.action(words[1])
        except InvalidValue:
            raise Refused("illegal move") from None
        if not self.game.legal(before)[0, action]:
            raise Refused("illegal move")
        self._go_on(before, action)
        return ""

    def genmove(self, words: list[str]) -> str:
        """A move of the player's own."""
        if len(words) != 1:
            raise Refused("syntax error")
        before = self._to_move(self._colour(words[0]))
        action = int(self.player.choose(before)[0])
        self._go_on(before, action)
        return self.game.word(action).upper()

    def undo(self, words: list[str]) -> str:
        """Back by one move."""
        if not self.earlier:
            raise Refused("cannot undo")
        self.positions = self.earlier.pop()
        return ""

    def showboard(self, words: list[str]) -> str:
        """The board, and who is to move."""
        mover = "black" if int(self.positions.player) == 1 else "white"
        return f"\n{self.game.text(self.positions)}\nx black, o white; {mover} to move"

    def final_score(self, words: list[str]) -> str:
        """By area, every stone alive."""
        lead = self.game.score(self.positions.board).item()
        return "0" if lead == 0 else f"{'B' if lead > 0 else 'W'}+{abs(lead):g}"

    def known_command(self, words: list[str]) -> str:
        """Whether there is such a command."""
        return "true" if words and words[0] in COMMANDS else "false"

    def quit(self, words: list[str]) -> str:
        """The end."""
        self.done = True
        return ""

    def _begin(self, game: Go) -> None:
        self.game, self.player = game, self.player_of(game)
        self.positions, self.earlier = game.start(1), []

    def _go_on(self, before: Positions, action: int) -> None:
        self.earlier.append(self.positions)
        self.positions = self.game.play(before, torch.tensor([action]))

    def _to_move(self, colour: int) -> Positions:
        """The position with this colour to move. The protocol lets one move twice running, or go on after an end."""
        positions = self.positions
        if bool(positions.over) or int(positions.player) != colour:
            record = positions.record.clone()
            record[:, PASSED], record[:, KO] = 0, NOWHERE
            player, running = torch.full_like(positions.player, colour), torch.zeros_like(positions.over)
            outcome = torch.zeros_like(positions.outcome)
            return positions._replace(player=player, over=running, outcome=outcome, record=record)
        return positions

    def _colour(self, word: str) -> int:
        if word.lower() not in COLOURS:
            raise Refused("invalid color")
        return COLOURS[word.lower()]

    def _number(self, words: list[str], complaint: str) -> float:
        whole = "integer" in complaint
        if len(words) != 1 or not re.fullmatch(r"\d+" if whole else r"[-+]?\d+(\.\d*)?", words[0]):
            raise Refused(complaint)
        return float(words[0])


COMMANDS: dict[str, Callable[[Engine, list[str]], str]] = {
    "protocol_version": lambda engine, words: "2",
    "name": lambda engine, words: "neurarium",
    "version": lambda engine, words: versions()["neurarium"],
    "known_command": Engine.known_command,
    "list_commands": lambda engine, words: "\n".join(COMMANDS),
    "quit": Engine.quit,
    "boardsize": Engine.boardsize,
    "clear_board": Engine.clear_board,
    "komi": Engine.komi,
    "play": Engine.play,
    "genmove": Engine.genmove,
    "undo": Engine.undo,
    "showboard": Engine.showboard,
    "final_score": Engine.final_score,
}


def converse(engine: Engine, lines: Iterable[str]) -> Iterator[str]:
    """The reply to every line, until it is told to quit or there are no more."""
    for line in lines:
        if said := engine.answer(line):
            yield said
        if engine.done:
            return


def make_engine(word: str, *, game: str | None = None, seed: int = 0) -> Engine:
    """The engine of a run, which keeps its board's size, or of a player by name.

    Raises:
        RunError: no run, or one that does not play Go.
        InvalidValue: an unknown name or game, or a game other than Go.
    """
    table = lay_table([word], game=game or ("go:9" if is_name(word) else None), seed=seed)
    if not isinstance(table.game, Go):
        raise RunError(f"GTP is for Go, but {word} plays {table.game.name}; take go:SIZE")
    if not is_name(word):
        return Engine(lambda game: table.players[0], table.game, sizes=False)
    return Engine(lambda game: player_named(word, game, generator(seed, "player", 0)), table.game)


def command(words: list[str]) -> int:
    """`neurarium gtp RUN|NAME`."""

    def asked(
        player: Annotated[
            Positional[str], arg(metavar="RUN|NAME", help="a run, or random, minimax:DEPTH, uct:SIMULATIONS")
        ],
        /,
        *,
        game: Annotated[str | None, arg(metavar="GAME", help="go:SIZE (default: the run's, or go:9)")] = None,
        seed: Annotated[int, arg(help="where the player's chance begins")] = 0,
    ) -> tuple[str, str | None, int]:
        """Speak the Go Text Protocol, version 2, on standard input and output."""
        return player, game, seed

    player, game, seed = parse(asked, words, "neurarium gtp")
    for said in converse(make_engine(player, game=game, seed=seed), sys.stdin):
        sys.stdout.write(said)
        sys.stdout.flush()
    return 0
