r"""Matches: many games between two players at once, every opening played from both sides, and how sure the score is.

Two players who leave nothing to chance would play the same game again and again. So each pair of games begins with a
few random moves, the same ones for both of its games, with the sides changed in between: neither has the better luck.

Source: Wilson 1927, Probable inference, the law of succession, and statistical inference (the interval).
Shapes: B games at once.
"""

from math import log10, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.games import Game, Player, Positions, any_legal, joined, rows, where

OPENING = 2  # random moves that a pair of games begins with
NORMAL_95 = 1.959964  # standard deviations of a normal on both sides of its mean that hold 95 %


class Score(NamedTuple):
    """What the first of two players came to.

    >>> Score(6, 2, 2).share
    0.7
    """

    won: int
    drawn: int
    lost: int

    @property
    def games(self) -> int:
        """How many were played."""
        return self.won + self.drawn + self.lost

    @property
    def share(self) -> float:
        """Of the points: a win counts 1, a draw a half."""
        return (self.won + self.drawn / 2) / self.games

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share lies with 95 % confidence, by Wilson; draws make it a little too wide."""
        return wilson(self.share, self.games)


def wilson(share: float, count: int) -> tuple[float, float]:
    """The interval that holds a probability with 95 % confidence, when a share of so many trials succeeded.

    >>> [round(end, 3) for end in wilson(0.5, 100)]
    [0.404, 0.596]
    """
    require(count >= 1, f"count is {count}; an interval needs a trial at least")
    squared = NORMAL_95**2 / count
    # (p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n)
    middle = (share + squared / 2) / (1 + squared)
    reach = NORMAL_95 * sqrt(share * (1 - share) / count + squared / (4 * count)) / (1 + squared)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def advantage(share: float, count: int) -> float:
    """How many points of Elo a share of so many games speaks for; half a game is given to each side, so it is finite.

    >>> round(advantage(0.75, 1_000_000))
    191
    """
    share = (share * count + 0.5) / (count + 1)
    # 1 / (1 + 10^(−d/400)) = p
    return 400 * log10(share / (1 - share))


def play_match(
    game: Game,
    first: Player,
    second: Player,
    *,
    games: int,
    generator: torch.Generator,
    opening: int = OPENING,
    device: torch.device | str = "cpu",
) -> Score:
    """Two players meet, in all games at once.

    Args:
        game: what they play.
        first: the one whose score is told.
        second: the other.
        games: how many; an odd number is made even.
        generator: where the openings come from.
        opening: random moves at the start; the game must not end in them as a rule.
        device: where the games are.

    Raises:
        InvalidValue: no games, or a negative number of random moves.

    >>> from neurarium.parts.games import Chance
    >>> from neurarium.worlds.lines import tic_tac_toe
    >>> game, chance = tic_tac_toe(), torch.Generator().manual_seed(0)
    >>> one = Chance(game, generator=chance)
    >>> play_match(game, one, one, games=100, generator=chance).games
    100
    """
    require(games >= 1, f"games is {games}; a match has at least 1")
    require(opening >= 0, f"opening is {opening}; it is a number of moves, 0 or more")
    half = opened(game, (games + 1) // 2, moves=opening, generator=generator, device=device)
    positions = joined([half, half])
    begins = torch.arange(len(positions.player), device=positions.player.device) < len(half.player)
    ended = played_out(game, positions, first, second, begins)
    outcome = torch.where(begins, ended.outcome, -ended.outcome)
    return Score(int((outcome > 0).sum()), int((outcome == 0).sum()), int((outcome < 0).sum()))


def opened(
    game: Game, games: int, *, moves: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Positions:
    """Games after so many random moves; one that ends in them begins anew without any."""
    positions = game.start(games, device)
    for _ in range(moves):
        positions = game.play(positions, any_legal(game.legal(positions), generator=generator))
    return where(positions.over, game.start(games, device), positions)


def played_out(
    game: Game, positions: Positions, first: Player, second: Player, begins: Bool[Tensor, " B"]
) -> Positions:
    """The ends of games: `first` moves for the first side where it begins, for the second side elsewhere."""
    while not bool(positions.over.all()):
        mine = ((positions.player == 1) == begins) & ~positions.over
        for player, whose in ((first, mine), (second, ~mine & ~positions.over)):
            chosen = whose.nonzero().squeeze(1)
            if len(chosen):
                moved = game.play(rows(positions, chosen), player.choose(rows(positions, chosen)))
                positions = put(positions, chosen, moved)
    return positions


def put(positions: Positions, index: Tensor, these: Positions) -> Positions:
    """The games with some of them replaced."""
    return Positions(*(field.index_copy(0, index, new) for field, new in zip(positions, these, strict=True)))
