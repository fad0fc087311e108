r"""Backgammon as batched tensors: many games at once, move by move or turn by turn.

Two players race fifteen checkers home past each other by the throw of two dice. An action is what OpenSpiel calls one:
from where a checker goes by one number and from where by the other, and which goes first, 26 × 26 × 2 pairs. A double
is two such actions in a row, so players do not always alternate. The dice are part of a position, `record`: the two
numbers rolled, and 1 if a double's first two moves are made. The game itself rolls them, with the generator it holds.

A whole turn can also be made at once (`afterstates`, `turn`): that is what a player who weighs boards chooses among.

Source: OpenSpiel's `backgammon`, to which this is held move for move.
Differs: a win counts 1 whether or not it is a gammon (`gammons` tells). OpenSpiel lets a double's first two moves be
any that can be made, though others would let four be made; so does `legal`, while a whole turn keeps the strict rule.
Shapes: B games, K boards, M pairs of a game and an action, A actions.
"""

import torch
from jaxtyping import Bool, Float, Int8, Int64
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.games import Positions, where
from neurarium.worlds import backgammon_moves as moves
from neurarium.worlds.backgammon_moves import CHECKERS, STARTS, borne_off, movable, moved, turned

POINTS = 24
BAR, NONE, BASE = 24, 25, 26  # of an action's two digits
PAIRS = BASE * BASE  # actions in which the larger number goes first; as many again in which the smaller does
LONGEST = 1500  # moves, as in OpenSpiel; none that is meant to be won lasts that long
TALL = 5  # checkers of a point that are drawn
MARKS = {1: "x", -1: "o"}


class Backgammon:
    """Backgammon for two, without the doubling cube.

    Args:
        generator: where the dice come from; whoever keeps a game's place keeps this generator's state too.

    >>> game = Backgammon(generator=torch.Generator().manual_seed(3))
    >>> positions = game.start(1)
    >>> positions.player.item(), positions.record.tolist()
    (1, [[3, 5, 0]])
    >>> sorted(game.words(positions))[:4]
    ['13/10 13/8', '13/10 8/3', '13/10/5', '13/8 6/3']
    >>> after = game.play(positions, torch.tensor([game.words(positions)["8/3 6/3"]]))
    >>> after.player.item()
    -1
    """

    def __init__(self, *, generator: torch.Generator) -> None:
        self.generator = generator
        self.name, self.actions, self.shape, self.longest = "backgammon", 2 * PAIRS, (8, 2, POINTS // 2), LONGEST
        self.cell_symmetries = torch.arange(POINTS).unsqueeze(0)
        self.action_symmetries = torch.arange(self.actions).unsqueeze(0)

    def start(self, games: int, device: torch.device | str = "cpu") -> Positions:
        """So many games. Each player rolls a die; the larger begins with both."""
        require(games >= 1, f"games is {games}; there must be at least 1")
        # Of two different dice every pair is as likely: the second is one of the five others.
        first = self._random(6, games, device)
        dice = torch.stack((first, (first + 1 + self._random(5, games, device)) % 6), 1) + 1
        zeros = torch.zeros(games, dtype=torch.int64, device=device)
        return Positions(
            board=moves.opening().to(device).repeat(games, 1),
            player=torch.where(dice[:, 0] > dice[:, 1], 1, -1).to(torch.int8),
            moves=zeros,
            over=zeros.bool(),
            outcome=zeros.float(),
            record=torch.cat((dice.sort(1).values, zeros.unsqueeze(1)), 1),
        )

    def legal(self, positions: Positions) -> Bool[Tensor, "B A"]:
        """As many numbers as can be used, and alone the larger; both orders; to pass only where nothing goes."""
        boards, rows = self.seen(positions), torch.arange(len(positions.board), device=positions.board.device)
        legal = torch.zeros(len(boards), self.actions, dtype=torch.bool, device=boards.device)
        lower, higher = positions.record[:, 0], positions.record[:, 1]
        singles = []
        for low_first, (one, two) in enumerate(((higher, lower), (lower, higher))):
            row, start = movable(boards, one).nonzero(as_tuple=True)
            # A double has but one order.
            row, start = row[keep := (lower < higher)[row] | (low_first == 0)], start[keep]
            singles.append((row, start, low_first))
            pair, end = movable(moved(boards[row], start, one[row]), two[row]).nonzero(as_tuple=True)
            row, digits = row[pair], self._digits(positions, row[pair], torch.stack((start[pair], end)))
            legal[row, digits[1] * BASE + digits[0] + low_first * PAIRS] = True
        for row, start, low_first in singles:
            alone = row[keep := ~legal.any(1)[row]]
            digit = self._digits(positions, alone, start[keep].unsqueeze(0))[0]
            legal[alone, NONE * BASE + digit + low_first * PAIRS] = True
        legal[rows, -1] = ~legal.any(1)
        return legal & ~positions.over.unsqueeze(1)

    def play(self, positions: Positions, actions: Int64[Tensor, " B"]) -> Positions:
        """After these moves, the next dice rolled; or the same ones again for the other half of a double."""
        rows = torch.arange(len(actions), device=actions.device)
        boards = self.after(positions, rows, actions)
        again = self.goes_on(positions, rows, actions) & (borne_off(boards) < CHECKERS)
        return self._next(positions, boards, again)

    def after(
        self, positions: Positions, rows: Int64[Tensor, " M"], actions: Int64[Tensor, " M"]
    ) -> Int8[Tensor, "M 26"]:
        """The boards of these games after these actions, as whoever made them sees them; the dice stay.

        Args:
            positions: where the games stand.
            rows: for each action, in which game.
            actions: legal ones.
        """
        boards, dice, low_first = self.seen(positions)[rows], positions.record[rows, :2], actions >= PAIRS
        lower, higher = dice[:, 0], dice[:, 1]
        for digit, die in (
            (actions % PAIRS % BASE, torch.where(low_first, lower, higher)),
            (actions % PAIRS // BASE, torch.where(low_first, higher, lower)),
        ):
            step = moved(boards, self._starts(positions, rows, digit), die)
            boards = torch.where((digit == NONE).unsqueeze(1), boards, step)
        return boards

    def goes_on(
        self, positions: Positions, rows: Int64[Tensor, " M"], actions: Int64[Tensor, " M"]
    ) -> Bool[Tensor, " M"]:
        """Whether the same player moves on after these actions: the first half of a double, with both numbers used."""
        dice = positions.record[rows]
        both = (actions % PAIRS % BASE != NONE) & (actions % PAIRS // BASE != NONE)
        return (dice[:, 0] == dice[:, 1]) & (dice[:, 2] == 0) & both

    def seen(self, positions: Positions) -> Int8[Tensor, "B 26"]:
        """The boards as the ones to move see them (`backgammon_moves` says how)."""
        return torch.where((positions.player == 1).unsqueeze(1), positions.board, turned(positions.board))

    def afterstates(
        self, boards: Int8[Tensor, "B 26"], dice: Int64[Tensor, "B 2"], *, half: Bool[Tensor, " B"] | None = None
    ) -> tuple[Int8[Tensor, "K 26"], Int64[Tensor, " K"]]:
        """Every board that a whole turn can lead to, and the game each belongs to: `backgammon_moves.afterstates`."""
        return moves.afterstates(boards, dice, half=half)

    def turn(self, positions: Positions, boards: Int8[Tensor, "B 26"]) -> Positions:
        """After whole turns that led to these boards, as the ones who moved see them."""
        return self._next(positions, boards, torch.zeros_like(positions.over))

    def gammons(self, positions: Positions) -> Bool[Tensor, " B"]:
        """Which games are won before the loser has borne off a checker."""
        fewest = torch.minimum(borne_off(positions.board), borne_off(turned(positions.board)))
        return positions.over & (positions.outcome != 0) & (fewest == 0)

    def planes(self, positions: Positions) -> Float[Tensor, "B 8 2 12"]:
        """Own checkers and the other's by point; then, all over a plane, both bars, both trays and both dice."""
        boards = self.seen(positions)
        points = boards[:, 1:STARTS].unflatten(1, (2, POINTS // 2))
        sides = torch.stack((points.clamp(min=0), -points.clamp(max=0)), 1).float()
        trays = torch.stack((borne_off(boards), borne_off(turned(boards))), 1)
        rest = torch.cat((boards[:, :1], -boards[:, -1:], trays, positions.record[:, :2]), 1).float()
        return torch.cat((sides, rest.view(-1, 6, 1, 1).expand(-1, -1, 2, POINTS // 2)), 1)

    def word(self, action: int, positions: Positions | None = None, row: int = 0) -> str:
        """A move in common notation, by the points of the one who makes it.

        Where the position is not given, the dice are not known, and only the places are named from which the larger and
        the smaller number are moved, as the first player counts them.

        >>> game = Backgammon(generator=torch.Generator())
        >>> game.word(11), game.word(1351)
        ('larger from 13, smaller from 24', 'pass')
        """
        low_first, rest = divmod(action, PAIRS)
        digits = (rest % BASE, rest // BASE)
        if digits == (NONE, NONE):
            return "pass"
        if positions is None:
            names = ["nowhere" if d == NONE else "bar" if d == BAR else str(POINTS - d) for d in digits]
            larger, smaller = names[::-1] if low_first else names
            return f"larger from {larger}, smaller from {smaller}"
        lower, higher = positions.record[row, :2].tolist()
        white = positions.player[row].item() == 1
        froms = [POINTS + 1 if d == BAR else POINTS - d if white else d + 1 for d in digits]
        dice = (lower, higher) if low_first else (higher, lower)
        return said([(a, a - die) for a, d, die in zip(froms, digits, dice, strict=True) if d != NONE])

    def words(self, positions: Positions, row: int = 0) -> dict[str, int]:
        """Every legal move of one game in common notation, and an action that makes it."""
        one = Positions(*(field[row : row + 1] for field in positions))
        return {self.word(action, one): action for action in self.legal(one)[0].nonzero().flatten().tolist()}

    def text(self, positions: Positions, row: int = 0) -> str:
        """The board, its points numbered as the one to move counts them; x is the first player, o the second."""
        board, white = positions.board[row].tolist(), positions.player[row].item() == 1
        halves = []
        for left, right, bar in ((range(12, 6, -1), range(6, 0, -1), 25), (range(13, 19), range(19, 25), 0)):
            numbers = [[f"{STARTS - place if white else place:>3}" for place in side] for side in (left, right)]
            lines = [
                f"|{column(board, left, height)} |{pile(board[bar], height)}|{column(board, right, height)} |"
                for height in range(1, TALL + 1)
            ]
            halves.append(["+" + "".join(numbers[0]) + " +---+" + "".join(numbers[1]) + " +", *lines])
        trays = [int(borne_off(side)[row]) for side in (positions.board, turned(positions.board))]
        lower, higher, half = positions.record[row].tolist()
        mover = MARKS[1 if white else -1]
        rolled = f"{mover} moves {higher} {lower}" + (", the other half of a double" if half else "")
        status = f"off: x {trays[0]}, o {trays[1]}   " + ("over" if positions.over[row] else rolled)
        middle = "|" + " " * 19 + "|bar|" + " " * 19 + "|"
        return "\n".join([*halves[0], middle, *reversed(halves[1]), status])

    def _next(self, positions: Positions, boards: Int8[Tensor, "B 26"], again: Bool[Tensor, " B"]) -> Positions:
        """Boards as the ones who moved see them; `again` where the same move on with the same dice."""
        player, games, device = positions.player, len(boards), boards.device
        rolled = torch.stack((self._random(6, games, device), self._random(6, games, device)), 1) + 1
        fresh = torch.cat((rolled.sort(1).values, torch.zeros_like(rolled[:, :1])), 1)
        same = torch.cat((positions.record[:, :2], torch.ones_like(rolled[:, :1])), 1)
        won, count = borne_off(boards) == CHECKERS, positions.moves + 1
        after = Positions(
            board=torch.where((player == 1).unsqueeze(1), boards, turned(boards)),
            player=torch.where(again, player, -player),
            moves=count,
            over=won | (count >= self.longest),
            outcome=torch.where(won, player.float(), 0.0),
            record=torch.where(again.unsqueeze(1), same, fresh),
        )
        return where(positions.over, positions, after)

    def _random(self, faces: int, games: int, device: torch.device | str) -> Int64[Tensor, " B"]:
        return torch.randint(faces, (games,), generator=self.generator).to(device)

    def _digits(
        self, positions: Positions, rows: Int64[Tensor, " M"], starts: Int64[Tensor, "D M"]
    ) -> Int64[Tensor, "D M"]:
        """OpenSpiel's numbers of places that the one to move sees: the first player's points are 0 to 23."""
        points = torch.where(positions.player[rows] == 1, starts - 1, POINTS - starts)
        return torch.where(starts == 0, BAR, points)

    def _starts(
        self, positions: Positions, rows: Int64[Tensor, " M"], digits: Int64[Tensor, " M"]
    ) -> Int64[Tensor, " M"]:
        """The places that the one to move sees, of OpenSpiel's numbers; the bar's where there is no move."""
        points = torch.where(positions.player[rows] == 1, digits + 1, POINTS - digits)
        return torch.where(digits >= BAR, 0, points)


def said(steps: list[tuple[int, int]]) -> str:
    """Steps of checkers from point to point in common notation.

    >>> said([(8, 7), (13, 7)]), said([(13, 8), (8, 7)]), said([(25, 20), (25, 20)]), said([(2, -3)])
    ('13/7 8/7', '13/8/7', 'bar/20(2)', '2/off')
    """
    ordered = sorted(steps, reverse=True)
    name = {POINTS + 1: "bar", **{point: str(point) for point in range(1, POINTS + 1)}}
    words = [(name[start], name.get(end, "off")) for start, end in ordered]
    if len(words) == 2 and words[0] == words[1]:
        return "/".join(words[0]) + "(2)"
    if len(words) == 2 and words[0][1] == words[1][0]:
        return "/".join((*words[0], words[1][1]))
    return " ".join("/".join(word) for word in words)


def column(board: list[int], places: range, height: int) -> str:
    """One line of half a board: the checkers of that height on each point."""
    return "".join(pile(board[place], height) for place in places)


def pile(count: int, height: int) -> str:
    """What is drawn at a height of a pile of so many checkers (below 0: the other's), three letters wide.

    >>> [pile(2, 1), pile(-2, 3), pile(7, 5)]
    ['  x', '   ', '  7']
    """
    if abs(count) > TALL and height == TALL:
        return f"{abs(count):>3}"
    return f"{MARKS[1 if count > 0 else -1] if abs(count) >= height else '':>3}"
