r"""Minimax: look at every reply to every move, and take the move whose worst reply is best.

A game is a starting state, operators (the legal moves), a terminal test and a value of its ends; one player wants that
value large, the other small. Minimax walks the whole tree below a state, down to the ends or to a depth at which a
heuristic guesses the value, and backs values up: the largest of the children where the first player moves, the
smallest where the second does. Alpha-beta finds the same value with far fewer nodes: as soon as one reply shows that a
move will not be chosen, the other replies need not be looked at. Both count the nodes they visit.

Any game will do whose state answers `State`'s five questions; `Rows` makes such states of the batched games.

Source: CSE 151B, Reinforcement Learning (initial state, operators, terminal test, value function; minimax, depth limit,
heuristic); Shannon 1950, Programming a computer for playing chess, §3-4; alpha-beta: Knuth & Moore 1975, An analysis of
alpha-beta pruning, §2 (procedure F2).
Differs: the bounds are those of the two players instead of one negated at every ply, so that a player may move twice
running; a win may count more the sooner it comes (haste), which ranks moves that win alike.
Shapes: B games at once, A actions.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple, Protocol, Self, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.games import Game, Positions, rows

HASTE = 1e-3  # of a win's value for every ply that it comes sooner: enough to rank, too little to change who wins
ROWS_KEPT = 300_000  # positions remembered, about 1 kB each


@runtime_checkable
class State(Protocol):
    """Where one game stands: what minimax asks of it."""

    @property
    def player(self) -> int:
        """Who is to move: 1 wants the value large, −1 small."""

    @property
    def over(self) -> bool:
        """The terminal test."""

    @property
    def value(self) -> float:
        """Of an end, to the first player."""

    def legal(self) -> Sequence[int]:
        """The operators, in the order in which they are tried."""

    def play(self, action: int) -> Self:
        """The state after a move; this one stays as it is."""


StateT = TypeVar("StateT", bound=State)


class Found(NamedTuple):
    """What a search came to.

    Attributes:
        value: of the state to the first player, when both play on as well as they can see.
        action: the first of the best moves; None where there is none to make.
        nodes: states visited, this one included.
    """

    value: float
    action: int | None
    nodes: int


def unknown(state: State) -> float:
    """The heuristic that guesses nothing: 0, as good for one as for the other."""
    return 0.0


def leaf(state: StateT, *, depth: int, heuristic: Callable[[StateT], float], haste: float = 0.0) -> Found:
    """An end, with its value, or a state at the depth limit, with a guess.

    Args:
        state: either of them.
        depth: plies that were left.
        heuristic: guesses the value to the first player; between those of a loss and a win.
        haste: share by which an end counts more for every ply left.
    """
    # v = value · (1 + haste · plies left)
    return Found(state.value * (1 + haste * depth) if state.over else heuristic(state), None, 1)


def minimax(state: StateT, *, depth: int, heuristic: Callable[[StateT], float] = unknown, haste: float = 0.0) -> Found:
    """The value of a state by looking at every line of play.

    Args:
        state: to move from.
        depth: plies to look ahead.
        heuristic: guesses the value where those are used up.
        haste: see `leaf`.

    One stone wins, so the first move of all does:

    >>> from neurarium.worlds.lines import Lines
    >>> row = Rows(Lines(height=1, width=3, line=2, gravity=False, name="short")).state
    >>> minimax(row(), depth=3)
    Found(value=1.0, action=1, nodes=16)
    """
    if state.over or depth == 0:
        return leaf(state, depth=depth, heuristic=heuristic, haste=haste)
    # V(s) = max_a V(s a) where the first player moves, min_a V(s a) where the second does
    best, value, nodes = None, -inf * state.player, 1
    for action in state.legal():
        reply = minimax(state.play(action), depth=depth - 1, heuristic=heuristic, haste=haste)
        nodes += reply.nodes
        if best is None or state.player * reply.value > state.player * value:
            best, value = action, reply.value
    return Found(value, best, nodes)


def alpha_beta(
    state: StateT,
    *,
    depth: int,
    heuristic: Callable[[StateT], float] = unknown,
    haste: float = 0.0,
    alpha: float = -inf,
    beta: float = inf,
) -> Found:
    """The same value and move, without the lines of play that cannot matter.

    Args:
        state: to move from.
        depth: plies to look ahead.
        heuristic: guesses the value where those are used up.
        haste: see `leaf`.
        alpha: what the first player has elsewhere already.
        beta: what the second player has elsewhere already; values outside are bounds only.

    >>> from neurarium.worlds.lines import Lines
    >>> row = Rows(Lines(height=1, width=3, line=2, gravity=False, name="short")).state
    >>> alpha_beta(row(), depth=3)
    Found(value=1.0, action=1, nodes=12)
    """
    if state.over or depth == 0:
        return leaf(state, depth=depth, heuristic=heuristic, haste=haste)
    best, value, nodes = None, -inf * state.player, 1
    for action in state.legal():
        reply = alpha_beta(
            state.play(action), depth=depth - 1, heuristic=heuristic, haste=haste, alpha=alpha, beta=beta
        )
        nodes += reply.nodes
        if best is None or state.player * reply.value > state.player * value:
            best, value = action, reply.value
        alpha, beta = (max(alpha, value), beta) if state.player > 0 else (alpha, min(beta, value))
        # α ≥ β: one of the two has better elsewhere and will not let it come to this state.
        if alpha >= beta:
            break
    return Found(value, best, nodes)


class Row:
    """One game of a batched `Game`, as a `State`. Its children are worked out together, when one is first wanted."""

    __slots__ = ("_after", "_home", "_legal", "_siblings", "_where", "over", "player", "value")

    def __init__(self, home: "Rows", siblings: "Siblings", where: int) -> None:
        self._home, self._siblings, self._where = home, siblings, where
        self._legal = siblings.legal[where]
        self._after: dict[int, Row] = {}
        self.player: int = siblings.player[where]
        self.over: bool = siblings.over[where]
        self.value: float = siblings.outcome[where]

    def legal(self) -> Sequence[int]:
        """Its legal actions, those in the middle first."""
        return self._legal

    def play(self, action: int) -> "Row":
        """The state after an action."""
        if not self._after:
            self._after = self._home.after(self.positions, self._legal)
        return self._after[action]

    @property
    def positions(self) -> Positions:
        """Itself as a batch of one."""
        return rows(self._siblings.positions, torch.tensor([self._where]))

    def guess(self, by: Callable[[Positions], Float[Tensor, " B"]]) -> float:
        """What a heuristic over batches thinks of it; its siblings are asked about in the same call."""
        if self._siblings.guesses is None:
            self._siblings.guesses = by(self._siblings.positions).tolist()
        return self._siblings.guesses[self._where]


class Siblings:
    """Positions of one batch, with what is known of each as plain numbers."""

    def __init__(self, game: Game, positions: Positions) -> None:
        self.positions = positions
        self.player: list[int] = positions.player.tolist()
        self.over: list[bool] = positions.over.tolist()
        self.outcome: list[float] = positions.outcome.tolist()
        self.legal = [
            tuple(sorted((action for action, may in enumerate(line) if may), key=lambda a: abs(2 * a + 1 - len(line))))
            for line in game.legal(positions).tolist()
        ]
        self.guesses: list[float] | None = None


class Rows:
    """A batched game as states. A position met by another order of moves is worked out once, but is a node each time.

    Args:
        game: the rules.
        guess: a heuristic over batches of positions: the value to the first player; 0 if not given.

    >>> from neurarium.worlds.lines import tic_tac_toe
    >>> states = Rows(tic_tac_toe())
    >>> corner = states.state().play(0)
    >>> corner.player, corner.over, corner.legal()[:3]
    (-1, False, (4, 3, 5))
    """

    def __init__(self, game: Game, *, guess: Callable[[Positions], Float[Tensor, " B"]] | None = None) -> None:
        self.game, self._guess = game, guess
        self._known: dict[bytes, Row] = {}

    def state(self, positions: Positions | None = None, row: int = 0) -> Row:
        """One of these games, or one not yet begun."""
        if len(self._known) > ROWS_KEPT:
            self._known.clear()
        positions = self.game.start(1) if positions is None else rows(positions, torch.tensor([row]))
        return self._met(Positions(*(field.cpu() for field in positions)))[0]

    def after(self, positions: Positions, actions: Sequence[int]) -> dict[int, Row]:
        """The states after each of these actions."""
        each = rows(positions, torch.zeros(len(actions), dtype=torch.int64))
        return dict(zip(actions, self._met(self.game.play(each, torch.tensor(actions))), strict=True))

    def heuristic(self, state: Row) -> float:
        """The guess as a heuristic of one state."""
        return 0.0 if self._guess is None else state.guess(self._guess)

    def _met(self, positions: Positions) -> list[Row]:
        board, player, moves, _, _, record = positions
        fields = (board.flatten(1).long(), player.long().unsqueeze(1), moves.unsqueeze(1), record)
        keys = [line.tobytes() for line in torch.cat(fields, dim=1).numpy()]
        siblings = Siblings(self.game, positions)
        return [self._known.setdefault(key, Row(self, siblings, where)) for where, key in enumerate(keys)]


class Minimax:
    """A player who looks so many plies ahead by alpha-beta; the same position always gets the same move.

    Args:
        game: what is played.
        depth: plies to look ahead, at least 1.
        guess: a heuristic over batches of positions: the value to the first player; 0 if not given.

    Raises:
        InvalidValue: the depth is below 1.

    >>> from neurarium.worlds.lines import tic_tac_toe
    >>> game = tic_tac_toe()
    >>> game.word(int(Minimax(game, depth=4).choose(game.start(1))))
    'b2'
    """

    weighs = "value"

    def __init__(
        self, game: Game, *, depth: int, guess: Callable[[Positions], Float[Tensor, " B"]] | None = None
    ) -> None:
        require(depth >= 1, f"depth is {depth}; a player looks at least 1 ply ahead")
        self.game, self.depth, self.states = game, depth, Rows(game, guess=guess)

    def choose(self, positions: Positions) -> Int64[Tensor, " B"]:
        """The best move of each game, one game after the other: a pruned tree is a different one every time."""
        found = [self._searched(self.states.state(positions, row)) for row in range(len(positions.over))]
        return torch.tensor([one.action or 0 for one in found], device=positions.over.device)

    def weigh(self, positions: Positions) -> Float[Tensor, "B A"]:
        """What every action is worth to the one to move; −inf where it is not legal."""
        values = torch.full((len(positions.over), self.game.actions), -inf)
        for row in range(len(values)):
            state = self.states.state(positions, row)
            for action in state.legal():
                values[row, action] = state.player * self._searched(state.play(action), self.depth - 1).value
        return values.to(positions.over.device)

    def _searched(self, state: Row, depth: int | None = None) -> Found:
        depth = self.depth if depth is None else depth
        return alpha_beta(state, depth=depth, heuristic=self.states.heuristic, haste=HASTE)


def against_every_reply(state: StateT, choose: Callable[[StateT], int], *, side: int) -> tuple[int, int, int]:
    """Games won, drawn and lost by one side, which always plays `choose`'s move, over all that the other can do.

    >>> from neurarium.worlds.lines import Lines
    >>> start = Rows(Lines(height=1, width=3, line=2, gravity=False, name="short")).state()
    >>> against_every_reply(start, lambda state: alpha_beta(state, depth=3).action, side=1)
    (2, 0, 0)
    """
    if state.over:
        return int(side * state.value > 0), int(state.value == 0), int(side * state.value < 0)
    actions = [choose(state)] if state.player == side else state.legal()
    ends = [against_every_reply(state.play(action), choose, side=side) for action in actions]
    won, drawn, lost = (sum(counts) for counts in zip(*ends, strict=True))
    return won, drawn, lost
