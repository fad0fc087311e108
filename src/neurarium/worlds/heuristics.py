r"""Heuristics: what a position seems to be worth where a search must stop, game by game.

A heuristic answers for a batch of positions, with a number to the first player between −1 (lost) and 1 (won), neither
of them reached: an end seen is worth more than a hope.

Shapes: B games, H × W cells.
"""

from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float, Int8, Int64
from torch import Tensor

from neurarium.parts.games import Game, Positions
from neurarium.worlds.go import Go
from neurarium.worlds.lines import SLANTS, Lines

MORE = 4.0  # how much more an open line counts for each further stone on it
EVEN = 30.0  # surplus of open lines that is half a win
AHEAD = 10.0  # points at Go that are half a win


def heuristic_of(game: Game) -> Callable[[Positions], Float[Tensor, " B"]] | None:
    """The heuristic for a game: open lines where lines win, area in Go; None where there is none.

    >>> from neurarium.worlds.lines import connect_four
    >>> game = connect_four()
    >>> middle, edge = (game.play(game.start(1), torch.tensor([column])) for column in (3, 0))
    >>> guess = heuristic_of(game)
    >>> bool(guess(middle) > guess(edge))
    True
    """
    if isinstance(game, Lines):
        return lambda positions: open_lines(positions.board, line=game.line)
    if isinstance(game, Go):
        return lambda positions: area(game, positions.board)
    return None


def area(game: Go, board: Int8[Tensor, "B S S"]) -> Float[Tensor, " B"]:
    """How far the first player is ahead at Go, if the board were scored as it lies.

    >>> round(area(Go(size=5, komi=0.0), torch.ones(1, 5, 5, dtype=torch.int8)).item(), 2)
    0.71
    """
    lead = game.score(board)
    return lead / (AHEAD + lead.abs())


def open_lines(board: Int8[Tensor, "B H W"], *, line: int) -> Float[Tensor, " B"]:
    """Lines that only one side can still fill, weighted by the stones on them: first player's minus second's.

    >>> board = torch.zeros(1, 1, 5, dtype=torch.int8)
    >>> board[0, 0, 0] = 1
    >>> round(open_lines(board, line=4).item(), 4)  # one of its two lines is open to both yet
    0.0323
    """
    stones = board.flatten(1)[:, lines_of(*board.shape[1:], line=line).to(board.device)]  # (B, lines, line)
    first, second = (stones == 1).sum(2), (stones == -1).sum(2)
    # Σ over lines of MORE^(stones − 1) where the other side has none, the second player's taken off
    worth = MORE ** (first - 1.0) * ((first > 0) & (second == 0)) - MORE ** (second - 1.0) * (
        (second > 0) & (first == 0)
    )
    surplus = worth.sum(1)
    return surplus / (EVEN + surplus.abs())


@cache
def lines_of(height: int, width: int, *, line: int) -> Int64[Tensor, "lines line"]:
    """The cells of every line on a board.

    >>> len(lines_of(6, 7, line=4)), lines_of(1, 3, line=2).tolist()
    (69, [[0, 1], [1, 2]])
    """
    ends = [
        (row, column, down, right)
        for down, right in SLANTS
        for row in range(height - down * (line - 1))
        for column in range(width)
        if 0 <= column + right * (line - 1) < width
    ]
    return torch.tensor(
        [[(row + down * k) * width + column + right * k for k in range(line)] for row, column, down, right in ends]
    )
