"""Play: sit down against a trained run, or a player by name, at a board in the terminal."""

import sys
from collections.abc import Callable
from typing import Annotated

import torch
from tyro.conf import Positional, arg

from neurarium.errors import InvalidValue, NeurariumError, require
from neurarium.parts.games import MANY, Advises, Game, Player, Positions, action_of, named_moves
from neurarium.running.command_line import parse
from neurarium.uses.players import lay_table

HINTS = 8  # actions that a hint names
HELP = """a move       as it is written (moves names them), or its number in that list
moves        what may be played
hint         what your opponent would think of each move in your place
undo         take your last move back
quit         leave the game"""


class Evening:
    """One person's game against one player.

    Args:
        game: what is played.
        opponent: who answers.
        side: 1 if the person moves first, −1 if second.
        say: where lines go.
    """

    def __init__(self, game: Game, opponent: Player, *, side: int, say: Callable[[str], None]) -> None:
        self.game, self.opponent, self.side, self.say = game, opponent, side, say
        self.positions = game.start(1)
        self.taken: list[Positions] = []  # where the person has chosen before

    @property
    def over(self) -> bool:
        """Whether the game has ended."""
        return bool(self.positions.over.item())

    def moves(self) -> dict[str, int]:
        """What may be played, by word."""
        return named_moves(self.game, self.positions)

    def show(self) -> None:
        """The board."""
        self.say(f"\n{self.game.text(self.positions)}")

    def answered(self) -> None:
        """Let the opponent move until it is the person's turn or the end."""
        while not self.over and int(self.positions.player) != self.side:
            action = self.opponent.choose(self.positions)
            names = {number: word for word, number in self.moves().items()}
            self.say(f"\nthe other plays {names.get(int(action), self.game.word(int(action)))}")
            self.positions = self.game.play(self.positions, action)

    def heard(self, line: str) -> bool:
        """Do what a person typed; whether the board is another now.

        Raises:
            InvalidValue: it is neither a command nor a legal move.
        """
        said = " ".join(line.lower().split())
        if said in COMMANDS:
            return COMMANDS[said](self)
        action = self.meant(said)
        self.taken.append(self.positions)
        self.positions = self.game.play(self.positions, torch.tensor([action]))
        return True

    def meant(self, said: str) -> int:
        """The action of a word, or of a number in the list of moves."""
        moves = self.moves()
        if said in moves:
            return moves[said]
        if said.isdecimal():
            require(1 <= int(said) <= len(moves), f"there is no move {said}; the list has {len(moves)}, see moves")
            return list(moves.values())[int(said) - 1]
        return action_of(self.game, self.positions, said)

    def list_moves(self) -> bool:
        """Name what may be played."""
        words = list(self.moves())
        self.say("  ".join(f"{number} {word}" for number, word in enumerate(words, 1)))
        return False

    def hint(self) -> bool:
        """Say what the opponent thinks of the moves, the best first."""
        if not isinstance(self.opponent, Advises):
            raise InvalidValue("this opponent has no opinion of moves; a hint is not to be had")
        weights = self.opponent.weigh(self.positions)[0].tolist()
        best = sorted(self.moves().items(), key=lambda move: -weights[move[1]])[:HINTS]
        self.say(f"{self.opponent.weighs}: " + "  ".join(f"{word} {weights[action]:.4g}" for word, action in best))
        return False

    def undo(self) -> bool:
        """Take the person's last move back, and what was answered."""
        require(bool(self.taken), "there is no move of yours to take back")
        self.positions = self.taken.pop()
        return True

    def explain(self) -> bool:
        """Say what may be typed."""
        self.say(HELP)
        return False

    def end(self) -> None:
        """Say how it ended."""
        result = self.side * self.positions.outcome.item()
        self.say(f"\n{'you win' if result > 0 else 'you lose' if result < 0 else 'a draw'}")


COMMANDS: dict[str, Callable[[Evening], bool]] = {
    "moves": Evening.list_moves,
    "hint": Evening.hint,
    "undo": Evening.undo,
    "help": Evening.explain,
    "?": Evening.explain,
}


def play(evening: Evening, *, ask: Callable[[], str]) -> None:
    """Play one game to its end, or until the person leaves.

    Args:
        evening: the game.
        ask: gives the next line that was typed; empty at the end of input.
    """
    turn = True
    while True:
        if turn:
            evening.answered()
            evening.show()
            if evening.over:
                return evening.end()
            if len(evening.moves()) <= MANY:
                evening.list_moves()
        line = ask()
        if not line or line.strip().lower() == "quit":
            return evening.say("\nyou leave the game")
        try:
            turn = bool(line.strip()) and evening.heard(line)
        except NeurariumError as error:
            evening.say(str(error))
            turn = False


def command(words: list[str]) -> int:
    """`neurarium play RUN|NAME`."""

    def asked(
        opponent: Annotated[
            Positional[str],
            arg(metavar="RUN|NAME", help="a run, or random, minimax:DEPTH, uct:SIMULATIONS, perfect"),
        ],
        /,
        *,
        game: Annotated[
            str | None, arg(metavar="GAME", help="tic_tac_toe, connect_four, go:SIZE; a run knows its own")
        ] = None,
        first: Annotated[bool, arg(help="you move first (so it is if nothing is said)")] = False,
        second: Annotated[bool, arg(help="you move second")] = False,
        seed: Annotated[int, arg(help="where the opponent's chance begins")] = 0,
    ) -> tuple[str, str | None, bool, bool, int]:
        """Play against a trained run, or a player by name; type help for what may be typed."""
        return opponent, game, first, second, seed

    opponent, game, first, second, seed = parse(asked, words, "neurarium play")
    require(not (first and second), "--first and --second are both said; you move either first or second")
    table = lay_table([opponent], game=game, seed=seed)
    print(f"{table.game.name} against {opponent}; you move {'second' if second else 'first'}; type help for help")

    def ask() -> str:
        print("your move: ", end="", flush=True)
        return sys.stdin.readline()

    play(Evening(table.game, table.players[0], side=-1 if second else 1, say=print), ask=ask)
    return 0
