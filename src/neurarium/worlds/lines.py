r"""Games of lines, as batched tensors: tic-tac-toe and connect four, or any board on which so many in a line win.

Stones are placed in turn, on any free cell or, under gravity, on the lowest free one of a column. Whoever first has
`line` of his own in a row, upright or slanting, has won; a full board is a draw.

Source: OpenSpiel's `tic_tac_toe` and `connect_four`, to which these are held move for move.
Shapes: B games, H × W cells, A actions.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.games import Positions

SLANTS = ((0, 1), (1, 0), (1, 1), (1, -1))  # rows and columns from one stone of a line to the next
MARKS = {1: "x", -1: "o", 0: "."}


class Lines:
    """Line up so many stones before the other does.

    Args:
        height: of the board.
        width: of the board.
        line: stones that win.
        gravity: whether stones fall, so that an action is a column.
        name: of the game.

    Raises:
        InvalidValue: a board without cells, or a line that no board can hold.

    >>> game = tic_tac_toe()
    >>> positions = game.start(1)
    >>> for cell in (4, 0, 2, 1, 6):  # the middle, a corner, another; then the second player looks away
    ...     positions = game.play(positions, torch.tensor([cell]))
    >>> print(game.text(positions))
    o o x   3
    . x .   2
    x . .   1
    a b c
    >>> positions.over.item(), positions.outcome.item()
    (True, 1.0)
    """

    def __init__(self, *, height: int, width: int, line: int, gravity: bool, name: str) -> None:
        require(min(height, width) >= 1, f"the board is {height}×{width}; it needs a cell at least")
        require(2 <= line <= max(height, width), f"line is {line}; a board of {height}×{width} cannot hold it")
        self.height, self.width, self.line, self.gravity, self.name = height, width, line, gravity, name
        self.actions = width if gravity else height * width
        self.shape = (2, height, width)
        self.longest = height * width
        self.cell_symmetries, self.action_symmetries = symmetries(height, width, gravity=gravity)

    def start(self, games: int, device: torch.device | str = "cpu") -> Positions:
        """Empty boards, the first player to move."""
        require(games >= 1, f"games is {games}; there must be at least 1")
        return Positions(
            board=torch.zeros(games, self.height, self.width, dtype=torch.int8, device=device),
            player=torch.ones(games, dtype=torch.int8, device=device),
            moves=torch.zeros(games, dtype=torch.int64, device=device),
            over=torch.zeros(games, dtype=torch.bool, device=device),
            outcome=torch.zeros(games, device=device),
            record=torch.zeros(games, 0, dtype=torch.int64, device=device),
        )

    def legal(self, positions: Positions) -> Bool[Tensor, "B A"]:
        """Free cells, or columns with a free cell."""
        free = (positions.board[:, 0] if self.gravity else positions.board.flatten(1)) == 0
        return free & ~positions.over.unsqueeze(1)

    def play(self, positions: Positions, actions: Int64[Tensor, " B"]) -> Positions:
        """A stone more, and whether that was the end."""
        board, player, moves, over, outcome, record = positions
        cells = self._landing(board, actions)
        stones = torch.where(over, 0, player).unsqueeze(1)
        board = board.flatten(1).scatter_add(1, cells.unsqueeze(1), stones).view_as(board)
        won = self._lined(board == player.view(-1, 1, 1)) & ~over
        moves = moves + (~over).long()
        outcome = torch.where(won, player.to(outcome.dtype), outcome)
        return Positions(
            board, torch.where(over, player, -player), moves, over | won | (moves >= self.longest), outcome, record
        )

    def planes(self, positions: Positions) -> Float[Tensor, "B 2 H W"]:
        """Own stones, the other's stones."""
        seen = positions.board * positions.player.view(-1, 1, 1)
        return torch.stack((seen == 1, seen == -1), dim=1).float()

    def word(self, action: int) -> str:
        """A column's letter, with the row's number where there is a choice.

        >>> connect_four().word(3), tic_tac_toe().word(0)
        ('d', 'a3')
        """
        row, column = divmod(action, self.width)
        return chr(ord("a") + column) + ("" if self.gravity else str(self.height - row))

    def text(self, positions: Positions, row: int = 0) -> str:
        """The board, with letters below and numbers beside it."""
        cells = positions.board[row].tolist()
        lines = [
            " ".join(MARKS[stone] for stone in line) + ("" if self.gravity else f"   {self.height - index}")
            for index, line in enumerate(cells)
        ]
        return "\n".join([*lines, " ".join(chr(ord("a") + column) for column in range(self.width))])

    def _landing(self, board: Tensor, actions: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
        if not self.gravity:
            return actions
        column = board.gather(2, actions.view(-1, 1, 1).expand(-1, self.height, 1)).squeeze(2)
        lowest = (column == 0).sum(1) - 1  # the free cells of a column are its upper ones
        return lowest.clamp(min=0) * self.width + actions

    def _lined(self, own: Bool[Tensor, "B H W"]) -> Bool[Tensor, " B"]:
        """Whether `line` stones lie in a row: k boards, each moved one step further, agree somewhere."""
        found = torch.zeros(len(own), dtype=torch.bool, device=own.device)
        for down, right in SLANTS:
            tall, wide = self.height - down * (self.line - 1), self.width - abs(right) * (self.line - 1)
            if tall < 1 or wide < 1:
                continue
            left = 0 if right >= 0 else self.line - 1
            together = own[:, :tall, left : left + wide]
            for step in range(1, self.line):
                top, side = down * step, left + right * step
                together = together & own[:, top : top + tall, side : side + wide]
            found |= together.flatten(1).any(1)
        return found


def tic_tac_toe() -> Lines:
    """Three in a row on 3 × 3.

    >>> tic_tac_toe().actions
    9
    """
    return Lines(height=3, width=3, line=3, gravity=False, name="tic_tac_toe")


def connect_four() -> Lines:
    """Four in a row on 6 × 7, stones fall.

    >>> connect_four().actions
    7
    """
    return Lines(height=6, width=7, line=4, gravity=True, name="connect_four")


def symmetries(height: int, width: int, *, gravity: bool) -> tuple[Int64[Tensor, "S HW"], Int64[Tensor, "S A"]]:
    """Where each cell and each action comes from under the turns and mirrors that leave a game the same.

    >>> [len(cells) for cells, _ in (symmetries(6, 7, gravity=True), symmetries(3, 3, gravity=False))]
    [2, 8]
    """
    board = torch.arange(height * width).view(height, width)
    if gravity:
        cells = torch.stack((board, board.flip(1))).flatten(1)
        return cells, torch.stack((torch.arange(width), torch.arange(width).flip(0)))
    turns = range(4) if height == width else (0, 2)
    turned = [torch.rot90(board, turn) for turn in turns]
    cells = torch.stack([view for one in turned for view in (one, one.flip(1))]).flatten(1)
    return cells, cells
