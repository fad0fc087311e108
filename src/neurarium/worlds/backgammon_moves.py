r"""Backgammon's moves, batched: which checkers may go, where a move leads, and every board a whole turn can lead to.

A board is 26 numbers as the one to move sees it: his checkers count up, the other's down. Place 0 is his own bar, 1 to
24 are the points in the direction in which he moves (25 less what he would call them: 24 is his ace point), 25 is the
other's bar, whose checkers count down too. What is not there has been borne off. Seen from the other side a board is
the same, turned round with its signs changed.

Source: the rules of backgammon, as OpenSpiel's `backgammon` and GNU Backgammon keep them.
Differs: two boards are taken for the same if a 64-bit sum of random numbers says so.
Shapes: K boards, G games, N ways to begin a turn.
"""

import torch
from jaxtyping import Bool, Int8, Int64
from torch import Tensor

CHECKERS = 15  # of each player
PLACES = 26  # bar, 24 points, the other's bar
STARTS = 25  # places from which a checker can go
HOME = 19  # the first place of one's home board
MOVES_MAX = 4  # of a turn: those of a double

# One number a place and one for the game: their sum over a board, with wrap-around, is its fingerprint.
FINGERPRINT = torch.randint(-(2**62), 2**62, (PLACES + 1,), generator=torch.Generator().manual_seed(20)) | 1


def turned(boards: Int8[Tensor, "K 26"]) -> Int8[Tensor, "K 26"]:
    """The same boards as the other player sees them.

    >>> board = torch.zeros(1, 26, dtype=torch.int8)
    >>> board[0, 0] = 2  # two of mine on the bar
    >>> turned(board)[0, 25].item()
    -2
    """
    return -boards.flip(1)


def opening() -> Int8[Tensor, " 26"]:
    """How a game begins: the same for both.

    >>> board = opening()
    >>> bool((turned(board.unsqueeze(0)) == board).all()), int(board.clamp(min=0).sum())
    (True, 15)
    """
    board = torch.zeros(PLACES, dtype=torch.int8)
    board[torch.tensor([1, 12, 17, 19])] = torch.tensor([2, 5, 3, 5], dtype=torch.int8)
    return board - board.flip(0)


def borne_off(boards: Int8[Tensor, "K 26"]) -> Int64[Tensor, " K"]:
    """How many checkers the one to move has no more on the board.

    >>> borne_off(opening().unsqueeze(0)).item()
    0
    """
    return CHECKERS - boards.clamp(min=0).sum(1)


def movable(boards: Int8[Tensor, "K 26"], dice: Int64[Tensor, " K"]) -> Bool[Tensor, "K 25"]:
    """From which places a checker may move by this die; a die of 0 moves nothing.

    >>> movable(opening().unsqueeze(0), torch.tensor([5])).nonzero()[:, 1].tolist()  # 13/8 and 8/3, 6/1 is blocked
    [12, 17]
    """
    starts = torch.arange(STARTS, device=boards.device)
    ends = starts + dice.unsqueeze(1)
    own = boards[:, :STARTS] > 0
    rear = own.byte().argmax(1, keepdim=True)  # the hindmost checker
    free = boards.gather(1, ends.clamp(max=STARTS - 1)) >= -1
    # Off the board: all are home, and the number is exact, or nobody stands further behind.
    off = (rear >= HOME) & ((ends == STARTS) | (starts == rear))
    # A checker on the bar goes first.
    first = (starts == 0) | ~own[:, :1]
    return own & torch.where(ends < STARTS, free, off) & first & (dice > 0).unsqueeze(1)


def moved(boards: Int8[Tensor, "K 26"], starts: Int64[Tensor, " K"], dice: Int64[Tensor, " K"]) -> Int8[Tensor, "K 26"]:
    """The boards after one checker each has moved; a lone checker of the other's is sent to the bar.

    >>> board = torch.zeros(1, 26, dtype=torch.int8)
    >>> board[0, 3], board[0, 5] = 1, -1
    >>> moved(board, torch.tensor([3]), torch.tensor([2])).nonzero()[:, 1].tolist()
    [5, 25]
    """
    boards, ends = boards.clone(), starts + dice
    row, stays = torch.arange(len(boards), device=boards.device), ends < STARTS
    boards[row, starts] -= 1
    ends = ends.clamp(max=STARTS - 1)
    there = boards[row, ends]
    hit = (there == -1) & stays
    boards[row, ends] = torch.where(hit, 1, there + stays)
    boards[:, PLACES - 1] -= hit.to(torch.int8)
    return boards


def afterstates(
    boards: Int8[Tensor, "G 26"], dice: Int64[Tensor, "G 2"], *, half: Bool[Tensor, " G"] | None = None
) -> tuple[Int8[Tensor, "K 26"], Int64[Tensor, " K"]]:
    """Every board that a whole turn can lead to, without repeats, and the game each belongs to, in order.

    As many numbers of the roll are used as can be; where either can be used but not both, the larger. Who cannot move
    at all has one board, the present one.

    Args:
        boards: as the one to move sees them.
        dice: what was rolled; equal ones are moved twice each.
        half: games in which a double's first two moves have been made already (none, if not given).

    >>> boards, games = afterstates(opening().unsqueeze(0), torch.tensor([[3, 1]]))
    >>> len(boards), len(afterstates(opening().unsqueeze(0), torch.tensor([[1, 1]]))[0])
    (16, 42)
    """
    double = dice[:, 0] == dice[:, 1]
    queue, game = orders(dice, double, torch.zeros_like(double) if half is None else half)
    at, last, level = boards[game], torch.zeros_like(game), torch.arange(STARTS, device=boards.device)
    here = torch.arange(len(boards), device=boards.device)
    found = [(boards, here, torch.zeros_like(here))]
    for step in range(MOVES_MAX):
        die = queue[:, step]
        # A double's moves are made from the back to the front: any other order leads to the same boards.
        row, start = (movable(at, die) & (level >= last.unsqueeze(1))).nonzero(as_tuple=True)
        if not len(row):
            break
        at, queue, game, die = moved(at[row], start, die[row]), queue[row], game[row], die[row]
        last = torch.where(double[game], start, 0)
        # More moves are better than fewer, and alone the larger number better than the smaller.
        rank = 2 * (step + 1) + ((step == 0) & (die > queue[:, 1])).long()
        found.append((at, game, rank))
    return distinct(*(torch.cat(fields) for fields in zip(*found, strict=True)), games=len(boards))


def orders(
    dice: Int64[Tensor, "G 2"], double: Bool[Tensor, " G"], half: Bool[Tensor, " G"]
) -> tuple[Int64[Tensor, "N 4"], Int64[Tensor, " N"]]:
    """The numbers to use one after another, 0 for none: both orders of a roll, or a double's one; and their games.

    >>> queue, games = orders(torch.tensor([[3, 1]]), torch.tensor([False]), torch.tensor([False]))
    >>> queue.tolist(), games.tolist()
    ([[3, 1, 0, 0], [1, 3, 0, 0]], [0, 0])
    """
    more = torch.where(double & ~half, dice[:, 0], 0).unsqueeze(1).expand(-1, 2)
    other = (~double).nonzero().flatten()
    queue = torch.cat((torch.cat((dice, more), 1), torch.cat((dice.flip(1), more), 1)[other]))
    return queue, torch.cat((torch.arange(len(dice), device=dice.device), other))


def distinct(
    boards: Int8[Tensor, "M 26"], game: Int64[Tensor, " M"], rank: Int64[Tensor, " M"], *, games: int
) -> tuple[Int8[Tensor, "K 26"], Int64[Tensor, " K"]]:
    """Of every game the boards of the highest rank, each once, games in order."""
    best = torch.zeros(games, dtype=torch.int64, device=game.device).scatter_reduce(0, game, rank, "amax")
    kept = rank == best[game]
    boards, game = boards[kept], game[kept]
    numbers = FINGERPRINT.to(boards.device)
    # h = Σ_p r_p n_p + r_g g  (mod 2⁶⁴)
    fingerprint = (boards * numbers[:PLACES]).sum(1) + numbers[PLACES] * game
    ordered, place = fingerprint.sort()
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[1:] = ordered[1:] != ordered[:-1]
    place = place[fresh]
    place = place[game[place].argsort(stable=True)]
    return boards[place], game[place]
