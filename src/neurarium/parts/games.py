r"""Games for two as batched tensors: what a position holds, what a game must answer, who may play it.

Many games go on at once, each a row. A position is what the rules need and no more; a game is a set of pure functions
from positions to positions. The first player's stones and wins count 1, the second's −1: what is good for one is as
bad for the other, and `outcome * player` is a result as the one to move sees it.

Source: CSE 151B, Reinforcement Learning (initial state, operators, terminal test, value function).
Shapes: B games at once, A actions, C planes of H × W cells, S symmetries.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int8, Int64, Shaped
from torch import Tensor

from neurarium.errors import InvalidValue, did_you_mean


class Positions(NamedTuple):
    """Where games stand.

    Attributes:
        board: what lies on it: as a rule 1 the first player's stones, −1 the second's, 0 nothing.
        player: who is to move, 1 or −1.
        moves: how many have been made.
        over: whether the game has ended.
        outcome: of an ended game to the first player: 1 won, 0 drawn, −1 lost; 0 before.
        record: what else the rules look back on (earlier boards, dice); of width 0 where they do not.
    """

    board: Int8[Tensor, "B ..."]
    player: Int8[Tensor, " B"]
    moves: Int64[Tensor, " B"]
    over: Bool[Tensor, " B"]
    outcome: Float[Tensor, " B"]
    record: Int64[Tensor, "B R"]


@runtime_checkable
class Game(Protocol):
    """A game for two with perfect information, many games at once.

    Attributes:
        name: as the command line knows it.
        actions: how many different ones there are, legal or not.
        shape: of the planes, (C, H, W).
        longest: moves that a game can have.
        cell_symmetries: for each symmetry, where each cell of a plane comes from; the first changes nothing.
        action_symmetries: the same for the actions.
    """

    name: str
    actions: int
    shape: tuple[int, int, int]
    longest: int
    cell_symmetries: Int64[Tensor, "S HW"]
    action_symmetries: Int64[Tensor, "S A"]

    def start(self, games: int, device: torch.device | str = "cpu") -> Positions:
        """So many games, not yet begun."""

    def legal(self, positions: Positions) -> Bool[Tensor, "B A"]:
        """What may be played; nothing where the game is over."""

    def play(self, positions: Positions, actions: Int64[Tensor, " B"]) -> Positions:
        """After these legal actions; a game that is over stays as it is."""

    def planes(self, positions: Positions) -> Float[Tensor, "B C H W"]:
        """The boards as the one to move sees them: his own stones first."""

    def word(self, action: int) -> str:
        """How a person writes this action."""

    def text(self, positions: Positions, row: int = 0) -> str:
        """One board for the terminal."""


@runtime_checkable
class Player(Protocol):
    """Whoever can choose: a network, a search, chance. `rows` of games that are over may get any action."""

    def choose(self, positions: Positions) -> Int64[Tensor, " B"]:
        """An action for each game."""


def rows(positions: Positions, index: Shaped[Tensor, " K"]) -> Positions:
    """Some of the games, by number or by mask."""
    return Positions(*(field[index] for field in positions))


def where(chosen: Bool[Tensor, " B"], these: Positions, others: Positions) -> Positions:
    """`these` games where chosen, the others elsewhere."""
    pairs = zip(these, others, strict=True)
    return Positions(*(torch.where(chosen.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs))


def joined(parts: Sequence[Positions]) -> Positions:
    """Games of several batches in one."""
    return Positions(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


@runtime_checkable
class NamesMoves(Protocol):
    """A game whose words for moves depend on the position, as with dice."""

    def words(self, positions: Positions, row: int = 0) -> dict[str, int]:
        """Every legal move's word, and its action."""


def named_moves(game: Game, positions: Positions, row: int = 0) -> dict[str, int]:
    """Every legal move's word in one of the positions, and its action."""
    if isinstance(game, NamesMoves):
        return game.words(positions, row)
    return {game.word(action): action for action in game.legal(positions)[row].nonzero().flatten().tolist()}


def action_of(game: Game, positions: Positions, word: str, row: int = 0) -> int:
    """The legal action that a person means by a word.

    Raises:
        InvalidValue: no such word, or an action that is not legal here.
    """
    legal = {named.lower(): action for named, action in named_moves(game, positions, row).items()}
    said = " ".join(word.lower().split())
    if said not in legal:
        named = ", ".join(legal) if len(legal) <= MANY else did_you_mean(said, legal)
        raise InvalidValue(f"'{word}' is no legal move here; {'legal are ' if len(legal) <= MANY else ''}{named}")
    return legal[said]


MANY = 30  # legal moves up to which an error names them all


class Chance:
    """A player who takes any legal action.

    Args:
        game: what is played.
        generator: where chance comes from.
    """

    def __init__(self, game: Game, *, generator: torch.Generator) -> None:
        self.game = game
        self.generator = generator

    def choose(self, positions: Positions) -> Int64[Tensor, " B"]:
        """Any legal action of each game; 0 where there is none."""
        return any_legal(self.game.legal(positions), generator=self.generator)


def any_legal(legal: Bool[Tensor, "B A"], *, generator: torch.Generator) -> Int64[Tensor, " B"]:
    """A legal action of each row, all as likely; 0 where there is none.

    >>> any_legal(torch.tensor([[False, True], [False, False]]), generator=torch.Generator()).tolist()
    [1, 0]
    """
    # The k-th legal action, k uniform: one draw a row instead of one an action.
    draws = torch.rand(len(legal), 1, generator=generator).to(legal.device)
    counted = legal.cumsum(1)
    return (counted <= draws * counted[:, -1:]).sum(1).clamp(max=legal.shape[1] - 1) * legal.any(1)


@runtime_checkable
class Plays(Protocol):
    """A learner that can sit down at a board: what `play`, `arena` and `gtp` ask a finished run for."""

    game: Game

    def player(self, *, generator: torch.Generator) -> Player:
        """Itself as it plays now, at its best; its chance comes from the generator."""


@runtime_checkable
class Advises(Protocol):
    """A player who can say what it thinks of each action.

    Attributes:
        weighs: what the numbers are ("visits", "chance to win").
    """

    weighs: str

    def weigh(self, positions: Positions) -> Float[Tensor, "B A"]:
        """A number for each action, the higher the better; legal ones count alone."""
