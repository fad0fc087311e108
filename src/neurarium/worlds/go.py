r"""Go on boards up to 19 × 19, as batched tensors.

Stones are placed in turn on free cells; a group without a free cell beside it, a liberty, is taken off, the other's
first. A stone may not take its own group's last liberty without capturing, nor at once retake a single stone that has
just captured one (ko). A stone that brings back any earlier board ends the game as a draw. Two passes, or the longest
game, end it too; then whoever has more stones and free cells that only he reaches has won, komi added to the second.

Groups are found for the whole batch together: every stone points at the least cell among itself and its neighbours of
one colour, then at what that cell points at, until nothing changes; a dozen rounds do, however long a group winds.

Source: OpenSpiel's `go`, to which it is held move for move; area scoring by Tromp & Taylor 1995, The game of Go.
Differs from Tromp & Taylor: suicide is not allowed, and repetition ends the game instead of being forbidden.
Shapes: B games, S × S board of N cells, A = N + 1 actions (the last passes).
"""

from functools import reduce
from operator import and_, or_
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int8, Int64, Shaped
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.games import Positions
from neurarium.worlds.lines import MARKS, symmetries

LETTERS = "abcdefghjklmnopqrst"  # Go leaves out i
KOMI = 7.5  # points for the second player's later start
SMALL_KOMI = 0.5  # on boards below 9 × 9, where 7.5 would decide the game
PASSED, KO, HISTORY = 0, 1, 2  # columns of a record: whether the last move passed, the cell of a ko, earlier boards
NOWHERE = -1
SIDES = 4  # of a cell
SEED = 1995  # of the boards' hashes


class Groups(NamedTuple):
    """The connected groups of boards.

    Attributes:
        label: of each cell, its group's least cell; a free cell is a group of its own.
        liberties: of each cell's group, how many different free cells lie beside it.
    """

    label: Int64[Tensor, "..."]
    liberties: Int64[Tensor, "..."]


class Go:
    """Surround more than the other.

    Args:
        size: cells along an edge, 2 to 19.
        komi: points given to the second player (default: 7.5, and 0.5 below 9 × 9).
        longest: moves after which the game is scored (default: two a cell).

    Raises:
        InvalidValue: a size outside its range, or a longest game below 2.

    >>> game = Go(size=5)
    >>> positions = game.start(1)
    >>> for word in ("b1", "a1", "a2"):  # the corner has lost its second liberty
    ...     positions = game.play(positions, torch.tensor([game.action(word)]))
    >>> print(game.text(positions))
    5 . . . . .
    4 . . . . .
    3 . . . . .
    2 x . . . .
    1 . x . . .
      a b c d e
    """

    def __init__(self, *, size: int = 9, komi: float | None = None, longest: int | None = None) -> None:
        require(2 <= size <= len(LETTERS), f"size is {size}; a board of Go has 2 to 19 cells along an edge")
        self.size, self.name = size, f"go:{size}"
        self.komi = (KOMI if size >= 9 else SMALL_KOMI) if komi is None else komi
        self.cells = size * size
        self.actions, self.shape = self.cells + 1, (3, size, size)
        self.longest = 2 * self.cells if longest is None else longest
        require(self.longest >= 2, f"longest is {self.longest}; a game of Go has at least 2 moves")
        self.cell_symmetries, _ = symmetries(size, size, gravity=False)
        # Row 0 of a board is Go's row 1, so that cells are numbered as OpenSpiel numbers them.
        passing = torch.full((len(self.cell_symmetries), 1), self.cells)
        self.action_symmetries = torch.cat((self.cell_symmetries, passing), dim=1)
        self._beside = neighbours(size)
        chance = torch.Generator().manual_seed(SEED)
        self._hashes = torch.randint(-(2**62), 2**62, (2, self.cells, 1), generator=chance)

    def start(self, games: int, device: torch.device | str = "cpu") -> Positions:
        """Empty boards, the first player to move."""
        require(games >= 1, f"games is {games}; there must be at least 1")
        record = torch.zeros(games, HISTORY + self.longest + 1, dtype=torch.int64, device=device)
        record[:, KO] = NOWHERE
        return Positions(
            board=torch.zeros(games, self.size, self.size, dtype=torch.int8, device=device),
            player=torch.ones(games, dtype=torch.int8, device=device),
            moves=torch.zeros(games, dtype=torch.int64, device=device),
            over=torch.zeros(games, dtype=torch.bool, device=device),
            outcome=torch.zeros(games, device=device),
            record=record,
        )

    def legal(self, positions: Positions) -> Bool[Tensor, "B A"]:
        """Free cells but for a ko's, where the stone then has a liberty or makes one; and passing."""
        board, player = positions.board.flatten(1).t(), positions.player
        liberties = self._groups(board).liberties
        own, free = board == player, board == 0
        # A stone lives beside a free cell, beside a friend who has a liberty besides, or by taking the other's last.
        fine = free | (own & (liberties >= 2)) | (~own & ~free & (liberties == 1))
        no_ko = torch.arange(self.cells, device=board.device).unsqueeze(1) != positions.record[:, KO]
        may = free & reduce(or_, self._around(fine, outside=False)) & no_ko
        passing = torch.ones(1, len(player), dtype=torch.bool, device=board.device)
        return (torch.cat((may, passing)) & ~positions.over).t().contiguous()

    def play(self, positions: Positions, actions: Int64[Tensor, " B"]) -> Positions:
        """A stone more and what it captures, or a pass."""
        passes = (actions == self.cells) | positions.over
        before, player = positions.board.flatten(1).t(), positions.player
        cell = actions.clamp(max=self.cells - 1).unsqueeze(0)
        board = before.scatter_add(0, cell, torch.where(passes, 0, player).unsqueeze(0))
        taken = (board == -player) & (self._groups(board).liberties == 0)
        board = board * ~taken
        ko = self._ko(before, player, cell, taken, passes)
        record, repeated = self._recorded(positions, board, passes, ko)
        moves = positions.moves + (~positions.over).long()
        passed_twice = passes & (positions.record[:, PASSED] == 1)
        over = positions.over | repeated | passed_twice | (moves >= self.longest)
        turned = torch.where(positions.over, player, -player)
        lying = board.t().contiguous().view_as(positions.board)
        outcome, scored = positions.outcome, over & ~positions.over & ~repeated
        if scored.any():
            outcome = outcome.masked_scatter(scored, self.score(lying[scored]).sign())
        return Positions(lying, turned, moves, over, outcome, record)

    def score(self, board: Int8[Tensor, "B ..."]) -> Float[Tensor, " B"]:
        """Points of the first player more than the second's: stones and free cells reached by one alone, less komi."""
        board = board.flatten(1).t()
        labels, free = self._labels(board), board == 0
        beside = self._around(board, outside=0)
        first, second = (self._any_of_group(reduce(or_, beside == side), labels) for side in (1, -1))
        # score = stones + territory of the first − those of the second − komi
        surplus = board.long() + (free & first & ~second).long() - (free & second & ~first).long()
        return surplus.sum(0).float() - self.komi

    def groups(self, board: Int8[Tensor, "B N"]) -> Groups:
        """Connected stones, with how many liberties each group has.

        >>> Go(size=2).groups(torch.tensor([[1, 1, 0, -1]], dtype=torch.int8)).liberties[0].tolist()
        [1, 1, 0, 1]
        """
        return Groups(*(field.t() for field in self._groups(board.t())))

    def planes(self, positions: Positions) -> Float[Tensor, "B 3 S S"]:
        """Own stones, the other's stones, and ones where the first player is to move."""
        player = positions.player.view(-1, 1, 1)
        seen = positions.board * player
        return torch.stack((seen == 1, seen == -1, (player == 1).expand_as(seen)), dim=1).float()

    def word(self, action: int) -> str:
        """A letter and a number, or pass.

        >>> Go(size=9).word(0), Go(size=9).word(80), Go(size=9).word(81)
        ('a1', 'j9', 'pass')
        """
        row, column = divmod(action, self.size)
        return "pass" if action == self.cells else f"{LETTERS[column]}{row + 1}"

    def action(self, word: str) -> int:
        """The action of a word, legal or not.

        Raises:
            InvalidValue: no cell of this board, nor pass.
        """
        words = {self.word(action): action for action in range(self.actions)}
        said = word.lower()
        require(said in words, f"'{word}' is no cell of a board of {self.size}; from a1 to {self.word(self.cells - 1)}")
        return words[said]

    def text(self, positions: Positions, row: int = 0) -> str:
        """The board, its first row below, with letters and numbers beside it."""
        wide = len(str(self.size))
        lines = [
            f"{index + 1:>{wide}} " + " ".join(MARKS[stone] for stone in line)
            for index, line in enumerate(positions.board[row].tolist())
        ]
        return "\n".join([*lines[::-1], " " * (wide + 1) + " ".join(LETTERS[: self.size])])

    # Below, cells come first and games last: a cell's neighbours are then whole rows, which are copied at once.

    def _around(self, field: Shaped[Tensor, "N B"], *, outside: int | bool) -> Shaped[Tensor, "4 N B"]:
        """What lies on the four sides of each cell."""
        edge = torch.full((1, field.shape[1]), outside, dtype=field.dtype, device=field.device)
        beside = self._beside.to(field.device)
        return torch.cat((field, edge)).index_select(0, beside.flatten()).view(*beside.shape, -1)

    def _groups(self, board: Int8[Tensor, "N B"]) -> Groups:
        """Labels and liberties: (N, B) each."""
        label, free = self._labels(board), board == 0
        beside = self._around((label + free * self.cells).clamp(max=self.cells), outside=self.cells)
        # A free cell counts once for a group that it touches on several sides.
        new = [reduce(and_, (beside[side] != beside[:side]), free) for side in range(SIDES)]
        counts = torch.zeros(self.cells + 1, board.shape[1], dtype=torch.int64, device=board.device)
        counts.scatter_add_(0, beside.flatten(0, 1), torch.cat(new).long())
        return Groups(label, counts.gather(0, label))

    def _labels(self, board: Int8[Tensor, "N B"]) -> Int64[Tensor, "N B"]:
        """The least cell of each cell's group, free cells being grouped too."""
        walls = (self._around(board, outside=2) != board) * self.cells
        label = torch.arange(self.cells, device=board.device).unsqueeze(1).repeat(1, board.shape[1])
        while True:
            beside = torch.maximum(self._around(label, outside=self.cells), walls)
            least = reduce(torch.minimum, beside, label)
            # The cell that was pointed at learns of it too, and every cell jumps to where its cell points: paths halve.
            hooked = label.scatter_reduce(0, label, least, reduce="amin")
            jumped = torch.minimum(least, hooked.gather(0, hooked))
            if torch.equal(jumped, label):
                return label
            label = jumped

    def _any_of_group(self, mark: Bool[Tensor, "N B"], label: Int64[Tensor, "N B"]) -> Bool[Tensor, "N B"]:
        return torch.zeros_like(label).scatter_add_(0, label, mark.long()).gather(0, label) > 0

    def _ko(self, before: Tensor, player: Tensor, cell: Tensor, taken: Tensor, passes: Tensor) -> Int64[Tensor, " B"]:
        """Where the other may not play next: the one stone just taken, from a cell that only the other surrounded."""
        around = self._around(before, outside=2).gather(1, cell.expand(SIDES, 1, -1)).squeeze(1)
        enclosed = ((around == -player) | (around == 2)).all(0)
        ko = enclosed & (taken.sum(0) == 1) & ~passes
        return torch.where(ko, taken.long().argmax(0), NOWHERE)

    def _recorded(
        self, positions: Positions, board: Tensor, passes: Tensor, ko: Tensor
    ) -> tuple[Int64[Tensor, "B R"], Bool[Tensor, " B"]]:
        """The record with this move, and whether a stone brought an earlier board back."""
        first, second = self._hashes.to(board.device)
        hashed = ((board == 1) * first + (board == -1) * second).sum(0)
        earlier = positions.record[:, HISTORY:]
        made = torch.arange(earlier.shape[1], device=board.device) <= positions.moves.unsqueeze(1)
        repeated = ((earlier == hashed.unsqueeze(1)) & made).any(1) & ~passes
        place = (positions.moves + 1).clamp(max=self.longest).unsqueeze(1)
        history = earlier.scatter(1, place, hashed.unsqueeze(1))
        record = torch.cat((torch.stack((passes.long(), ko), dim=1), history), dim=1)
        return torch.where(positions.over.unsqueeze(1), positions.record, record), repeated


def neighbours(size: int) -> Int64[Tensor, "4 N"]:
    """The cells on the four sides of each cell; the number of cells stands for the edge.

    >>> neighbours(2)[:, 0].tolist()
    [4, 2, 4, 1]
    """
    padded = torch.full((size + 2, size + 2), size * size)
    padded[1:-1, 1:-1] = torch.arange(size * size).view(size, size)
    sides = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return torch.stack([side.flatten() for side in sides])
