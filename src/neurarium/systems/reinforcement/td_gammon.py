r"""TD-Gammon: a small network learns backgammon from nothing but games against itself.

The network guesses, from a board, the chance that the one to move will win. At every turn it looks at all boards that
the dice allow and takes the one after which the other's chance seems least; the dice see to it that much is tried. Each
guess is then drawn towards the next, the last towards what happened, and by the traces so are the guesses before. Many
games go on at once; each has a trace of its own, and every step of all of them is one update.

Source: CSE 151B, Reinforcement Learning, TD-Gammon (the rule); Tesauro 1992, Practical issues in temporal difference
learning; Tesauro 1995, Temporal difference learning and TD-Gammon; Sutton & Barto 2018, §16.1 (the 198 inputs).
Differs: one output, the chance to win, gammons counted as wins. The network always sees the board as the one to move
does, so that it knows of both sides what it learned of one; the two inputs that tell whose turn it is then never
change. Since what is good for one is as bad for the other, traces change their sign at every turn. The updates of all
games are added up and made by Adam in place of a constant step: what so many games have in common (that all chances are
too high) would otherwise swing ever wider. Its step size falls in a line to 0 over the last part of the training.
Shapes: B games at once, K boards, M pairs of a game and an action, A actions, H hidden units, P parameters.
"""

from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int8, Int64
from torch import Tensor, nn
from torch.optim import Adam

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import check_batch
from neurarium.parts.games import Game, Positions, where
from neurarium.parts.traces import credited, faded

POINTS = 24
CHECKERS = 15  # of each player
PLACES = 26  # one's own bar, the points, the other's bar
INPUTS = 198  # 4 units a point and player; bar, borne off and turn of each
SHARE_FALLING = 0.4  # of the training, at its end, over which the step size falls

# What a point is to the eight units about it, from 15 checkers of the other's to 15 of one's own: 1 where there are at
# least one, two, three, then half of those beyond three.
COUNTS = torch.arange(-CHECKERS, CHECKERS + 1)
UNITS = torch.stack(
    [
        unit
        for count in (COUNTS.clamp(min=0), -COUNTS.clamp(max=0))
        for unit in (count >= 1, count >= 2, count >= 3, (count - 3).clamp(min=0) / 2)
    ],
    dim=1,
).float()


def tesauro(boards: Int8[Tensor, "K 26"], to_move: Bool[Tensor, " K"]) -> Float[Tensor, "K 198"]:
    """Tesauro's 198 inputs: of each point four units for one's own checkers and four for the other's.

    After them come, own first, the checkers on the bar / 2, those borne off / 15, and whose turn it is.

    Args:
        boards: bar, points and the other's bar; own checkers count up, the other's down.
        to_move: whether one is oneself to move.

    >>> board = torch.zeros(1, 26, dtype=torch.int8)
    >>> board[0, 1], board[0, 2], board[0, 25] = 5, -1, -2
    >>> units = tesauro(board, torch.tensor([True]))[0]
    >>> units[:8].tolist(), units[8:16].tolist()
    ([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    >>> [round(unit, 2) for unit in units[192:].tolist()]
    [0.0, 1.0, 0.67, 0.8, 1.0, 0.0]
    """
    units = torch.empty(len(boards), INPUTS, device=boards.device)
    units[:, : 8 * POINTS] = UNITS.to(boards.device)[boards[:, 1:-1].int() + CHECKERS].flatten(1)
    units[:, -6], units[:, -5] = boards[:, 0] / 2, -boards[:, -1] / 2
    units[:, -4] = (CHECKERS - boards.clamp(min=0).sum(1)) / CHECKERS
    units[:, -3] = (CHECKERS + boards.clamp(max=0).sum(1)) / CHECKERS
    units[:, -2], units[:, -1] = to_move.float(), (~to_move).float()
    return units


class Evaluation(nn.Module):
    """The chance to win, from a board: one hidden layer, sigmoids throughout.

    Args:
        hidden: number of hidden units H.

    Raises:
        InvalidValue: there are none.

    >>> Evaluation(hidden=40)(torch.zeros(3, 198)).shape
    torch.Size([3])
    """

    def __init__(self, *, hidden: int) -> None:
        super().__init__()
        require(hidden >= 1, f"hidden is {hidden}; the layer needs at least 1 unit")
        self.hidden = nn.Linear(INPUTS, hidden)
        self.output = nn.Linear(hidden, 1)

    def forward(self, units: Float[Tensor, "B 198"]) -> Float[Tensor, " B"]:
        """The chance of each."""
        return torch.sigmoid(self.output(torch.sigmoid(self.hidden(units)))).squeeze(1)

    def gradients(self, units: Float[Tensor, "B 198"]) -> tuple[Float[Tensor, " B"], Float[Tensor, "B P"]]:
        """The chance of each, and its gradient by all parameters, row by row and in their order.

        >>> value, gradient = Evaluation(hidden=40).gradients(torch.zeros(3, 198))
        >>> gradient.shape
        torch.Size([3, 8001])
        """
        hidden = torch.sigmoid(self.hidden(units))
        value = torch.sigmoid(self.output(hidden)).squeeze(1)
        # ∂Y/∂b₂ = Y (1 − Y),  ∂Y/∂w₂ = h ∂Y/∂b₂
        outer = (value * (1 - value)).unsqueeze(1)
        # ∂Y/∂b₁ = w₂ h (1 − h) ∂Y/∂b₂,  ∂Y/∂W₁ = ∂Y/∂b₁ xᵀ
        inner = outer * self.output.weight * hidden * (1 - hidden)
        return value, torch.cat(
            ((inner.unsqueeze(2) * units.unsqueeze(1)).flatten(1), inner, outer * hidden, outer), dim=1
        )


def td_error(
    value: Float[Tensor, " B"], next_value: Float[Tensor, " B"], ended: Bool[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """By how much a turn changed the chances of the one who made it.

    Args:
        value: his chance before it.
        next_value: the other's chance after it.
        ended: whether he won by it; nobody loses by his own turn.

    >>> td_error(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.25]), torch.tensor([False, True])).tolist()
    [0.25, 0.5]
    """
    # δ = Y_{t+1} − Y_t, where Y_{t+1} = 1 after a win, else 1 − (the other's chance)
    return torch.where(ended, 1.0, 1 - next_value) - value


def falling(progress: float, *, share: float = SHARE_FALLING) -> float:
    """The factor of the step size: 1, then over the last share of the training in a line to 0.

    >>> falling(0.3), falling(0.75, share=0.5), falling(1.0)
    (1.0, 0.5, 0.0)
    """
    return min(1.0, (1 - progress) / share)


class Turns(NamedTuple):
    """A turn of each game.

    Attributes:
        before: the board as the one to move saw it, before he rolled.
        after: the board after his turn, as the other sees it.
        ended: whether he won by it.
        began: whether it was the first turn of its game.
    """

    before: Int8[Tensor, "B 26"]
    after: Int8[Tensor, "B 26"]
    ended: Bool[Tensor, " B"]
    began: Bool[Tensor, " B"]


@runtime_checkable
class TurnGame(Game, Protocol):
    """A game of dice in which a whole turn can be made at once: what is needed of backgammon."""

    generator: torch.Generator

    def seen(self, positions: Positions) -> Int8[Tensor, "B 26"]:
        """The boards as the ones to move see them."""

    def afterstates(
        self, boards: Int8[Tensor, "B 26"], dice: Int64[Tensor, "B 2"], *, half: Bool[Tensor, " B"] | None = None
    ) -> tuple[Int8[Tensor, "K 26"], Int64[Tensor, " K"]]:
        """Every board that a turn can lead to, and the game each belongs to, in order."""

    def turn(self, positions: Positions, boards: Int8[Tensor, "B 26"]) -> Positions:
        """After whole turns that led to these boards."""

    def after(
        self, positions: Positions, rows: Int64[Tensor, " M"], actions: Int64[Tensor, " M"]
    ) -> Int8[Tensor, "M 26"]:
        """The boards after these actions of these games, as the ones who made them see them."""

    def goes_on(
        self, positions: Positions, rows: Int64[Tensor, " M"], actions: Int64[Tensor, " M"]
    ) -> Bool[Tensor, " M"]:
        """Whether a turn goes on after these actions."""


class TDGammon(Learner[Turns]):
    """Backgammon learned by TD(λ) from self-play.

    Args:
        game: what is played.
        games: how many games are learned from at once.
        hidden: units of the hidden layer.
        decay: λ, 0 to 1: how much of a change of mind earlier guesses get.
        lr: α, Adam's step size; 0 learns nothing.

    Raises:
        InvalidValue: a value outside its rule, or a batch that is not one turn of each game.
    """

    channels_last = False

    def __init__(self, *, game: TurnGame, games: int = 64, hidden: int = 40, decay: float = 0.7, lr: float = 0.01):
        require(games >= 1, f"games is {games}; there must be at least 1")
        require(0 <= decay <= 1, f"decay (λ) is {decay}; it lies between 0 and 1")
        require(lr >= 0, f"lr is {lr}; a step size is not negative")
        self.game, self.decay, self.lr = game, decay, lr
        self.network = Evaluation(hidden=hidden)
        self.optimizer = Adam(self.network.parameters(), lr=lr)
        self.trace = torch.zeros(games, sum(parameter.numel() for parameter in self.network.parameters()))
        self.finished = 0

    @torch.no_grad()
    def learn(self, batch: Turns) -> Measures:
        """One update from a turn of every game."""
        self._check(batch)
        value, gradient = self.network.gradients(self._inputs(batch.before))
        # The value is that of the one to move, who at the turn before was the other: −λ instead of λ.
        faded(self.trace, gradient, decay=-self.decay, began=batch.began)
        error = td_error(value, self.network(self._inputs(batch.after)), batch.ended)
        # Δw = Σ_games (Y_{t+1} − Y_t) Σ_k λ^{t−k} ∇Y_k, by Adam's measure
        update = credited(self.trace, error)
        parameters = list(self.network.parameters())
        for parameter, part in zip(parameters, update.split([one.numel() for one in parameters]), strict=True):
            parameter.grad = -part.view_as(parameter)
        self.optimizer.param_groups[0]["lr"] = self.lr * falling(self.progress)
        self.optimizer.step()
        self.finished += int(batch.ended.sum())
        return {"td_error": error.abs().mean(), "games": float(self.finished)}

    @torch.no_grad()
    def chances(self, boards: Int8[Tensor, "K 26"]) -> Float[Tensor, " K"]:
        """The chance of the one who has just moved to win, from the boards as he sees them."""
        other = 1 - self.network(self._inputs(-boards.flip(1)))
        return torch.where((boards > 0).any(1), other, 1.0)

    def choose(self, boards: Int8[Tensor, "B 26"], dice: Int64[Tensor, "B 2"]) -> Int8[Tensor, "B 26"]:
        """The board after the best turn of each game, the first of equals; as the one to move sees it."""
        after, games = self.game.afterstates(boards, dice)
        values = self.chances(after)
        best = torch.full((len(boards),), -1.0, device=boards.device).scatter_reduce(0, games, values, "amax")
        places = torch.arange(len(after), device=boards.device).masked_fill(values < best[games], len(after))
        return after[torch.full_like(games[: len(boards)], len(after)).scatter_reduce(0, games, places, "amin")]

    def player(self, *, generator: torch.Generator) -> "Weigher":
        """Itself at the board; it leaves nothing to chance."""
        return Weigher(self)

    def example(self, batch: Turns) -> dict[str, tuple[Tensor, ...]]:
        """The inputs of a batch, for the network."""
        return {"network": (self._inputs(batch.before),)}

    def _inputs(self, boards: Int8[Tensor, "K 26"]) -> Float[Tensor, "K 198"]:
        return tesauro(boards, torch.ones(len(boards), dtype=torch.bool, device=boards.device))

    def _check(self, batch: Turns) -> None:
        check_batch(batch, wanted="turns")
        for name, field in batch._asdict().items():
            wanted = (len(self.trace), PLACES) if name in ("before", "after") else (len(self.trace),)
            if field.shape != wanted:
                raise InvalidValue(f"the batch's {name} has shape {tuple(field.shape)}, but must have {wanted}")


class Weigher:
    """TD-Gammon as a player who says what he thinks of each action.

    Of a double's first two moves he looks at the whole turn, and weighs them by the best that the other two can make.

    Args:
        learner: whose network thinks.
    """

    weighs = "chance to win"

    def __init__(self, learner: TDGammon) -> None:
        self.learner = learner

    def weigh(self, positions: Positions) -> Float[Tensor, "B A"]:
        """The chance to win after each legal action; −1 where it is not legal."""
        game, legal = self.learner.game, self.learner.game.legal(positions)
        weights = torch.full(legal.shape, -1.0, device=legal.device)
        row, action = legal.nonzero(as_tuple=True)
        boards, more = game.after(positions, row, action), game.goes_on(positions, row, action)
        values, on = self.learner.chances(boards), more.nonzero().squeeze(1)
        if len(on):
            dice = positions.record[row[on], :2]
            ends, which = game.afterstates(boards[on], dice, half=torch.ones_like(on, dtype=torch.bool))
            thought = self.learner.chances(ends)
            values[on] = torch.zeros_like(values[on]).scatter_reduce(0, which, thought, "amax", include_self=False)
        weights[row, action] = values
        return weights

    def choose(self, positions: Positions) -> Int64[Tensor, " B"]:
        """The best action of each game, the first of equals."""
        return self.weigh(positions).argmax(1)


class SelfPlay:
    """A stream of turns that a learner plays against itself; a game that ends is followed by another.

    Args:
        learner: who plays both sides, as it is at each moment.
        games: how many at once.
        device: where they are.

    Raises:
        InvalidValue: no games.
    """

    def __init__(self, learner: TDGammon, *, games: int, device: torch.device | str = "cpu") -> None:
        self.learner, self.game = learner, learner.game
        self.positions = self.game.start(games, device)
        self.began = torch.ones(games, dtype=torch.bool, device=device)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Turns:
        positions, began = self.positions, self.began
        boards = self.game.seen(positions)
        after = self.game.turn(positions, self.learner.choose(boards, positions.record[:, :2]))
        fresh = self.game.start(len(boards), boards.device) if after.over.any() else after
        self.positions = where(after.over, fresh, after)
        self.began = after.over
        return Turns(boards, self.game.seen(after), after.over & (after.outcome != 0), began)

    def state_dict(self) -> dict[str, Any]:
        """Where the games and their dice stand."""
        return {**self.positions._asdict(), "began": self.began, "generator": self.game.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back there."""
        device = self.began.device
        self.positions = Positions(*(state[name].to(device) for name in Positions._fields))
        self.began = state["began"].to(device)
        self.game.generator.set_state(state["generator"].cpu())
