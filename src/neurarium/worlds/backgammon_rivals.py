r"""Whom to meet at backgammon: any legal turn, GNU Backgammon's pubeval; and matches of whole turns between two sides.

A side is a function from boards and dice to the boards after the turn, all as the one to move sees them. In a match
every opening roll is given to each of the two in turn.

Source: Tesauro 1993, pubeval (the public benchmark player: two linear evaluations, contact and race), as the library
`gnubg_nn` holds it.
Shapes: B games, K boards.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int8, Int64
from torch import Tensor

from neurarium.errors import MissingExtra, require
from neurarium.parts.games import joined, rows
from neurarium.worlds.backgammon import Backgammon
from neurarium.worlds.backgammon_moves import STARTS, moved

Side = Callable[[Tensor, Tensor], Tensor]
"""Boards (B, 26) and dice (B, 2) to the boards after whole turns (B, 26)."""


def any_turn(game: Backgammon) -> Side:
    """A side that takes any board a turn can lead to, all as likely; its chance is the game's.

    >>> game = Backgammon(generator=torch.Generator())
    >>> positions = game.start(2)
    >>> any_turn(game)(game.seen(positions), positions.record[:, :2]).shape
    torch.Size([2, 26])
    """

    def side(boards: Int8[Tensor, "B 26"], dice: Int64[Tensor, "B 2"]) -> Int8[Tensor, "B 26"]:
        after, games = game.afterstates(boards, dice)
        lots = torch.rand(len(boards), generator=game.generator).to(boards.device)
        counts = games.bincount(minlength=len(boards))
        chosen = (lots * counts).long().clamp(max=counts - 1)
        return after[counts.cumsum(0) - counts + chosen]

    return side


def pubeval_installed() -> bool:
    """Whether there is a pubeval to meet."""
    try:
        import gnubg_nn  # noqa: F401
    except ImportError:
        return False
    return True


def pubeval() -> Side:
    """The side that plays as pubeval does.

    Raises:
        MissingExtra: `gnubg_nn` is not installed.
    """
    try:
        from gnubg_nn import pub_best_move
    except ImportError:
        raise MissingExtra("pubeval needs the library gnubg_nn; install it with: pip install gnubg-nn") from None

    def side(boards: Int8[Tensor, "B 26"], dice: Int64[Tensor, "B 2"]) -> Int8[Tensor, "B 26"]:
        other, own = (-boards[:, 1:]).clamp(min=0).tolist(), boards[:, :STARTS].flip(1).clamp(min=0).tolist()
        pairs = zip(other, own, dice.tolist(), strict=True)
        played = [pub_best_move([them, us], *numbers) for them, us, numbers in pairs]
        for step in range(4):
            going = [row for row, turn in enumerate(played) if len(turn) > 2 * step]
            index = torch.tensor(going, dtype=torch.int64)
            steps = torch.tensor([played[row][2 * step : 2 * step + 2] for row in going], dtype=torch.int64).view(-1, 2)
            # Its places are counted from the ace point, 0, to the bar, 24; -1 is off.
            froms, tos = (steps[:, end].to(boards.device) for end in (0, 1))
            boards = boards.index_copy(0, index, moved(boards[index], STARTS - 1 - froms, froms - tos))
        return boards

    return side


def play_sides(
    game: Backgammon, first: Side, second: Side, *, games: int, device: torch.device | str = "cpu"
) -> Float[Tensor, " B"]:
    """Two sides meet in so many games at once: the outcomes to the first.

    Args:
        game: whose dice they use.
        first: the one whose outcomes are told.
        second: the other.
        games: how many; an odd number is made even.
        device: where the boards are.

    Raises:
        InvalidValue: no games.

    >>> game = Backgammon(generator=torch.Generator())
    >>> play_sides(game, any_turn(game), any_turn(game), games=10).abs().tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    require(games >= 1, f"games is {games}; a match has at least 1")
    half = game.start((games + 1) // 2, device)
    positions = joined([half, half._replace(player=-half.player)])
    outcomes, number = torch.zeros(len(positions.over), device=device), torch.arange(len(positions.over), device=device)
    while len(number):
        boards = game.seen(positions)
        for side, whose in ((first, positions.player == 1), (second, positions.player == -1)):
            index = whose.nonzero().squeeze(1)
            if len(index):
                boards[index] = side(boards[index], positions.record[index, :2])
        positions = game.turn(positions, boards)
        outcomes[number] = positions.outcome
        number, positions = number[~positions.over], rows(positions, ~positions.over)
    return outcomes
