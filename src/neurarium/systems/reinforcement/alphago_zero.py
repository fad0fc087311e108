r"""AlphaGo Zero: one network that plays itself, and learns to think at once what a search finds out.

A residual network looks at a board and says two things: how good each move seems, and who will win. A tree search asks
it at every new position, and comes out wiser than the network alone. So the network learns from the search: its policy
towards the visits, its value towards what the game came to. With the better network the search is better again. Nobody
tells it anything but the rules.

Source: CSE 151B, Reinforcement Learning (AlphaGo Zero: one network for value and policy, residual with batch norm,
simplified tree search, learned only by self play); Silver et al. 2017, Mastering the game of Go without human
knowledge, eq. 1 (loss), Methods (network, search, self-play).
Differs: the newest network plays, as in Silver et al. 2018 (AlphaZero), without a match for its place; Adam in place of
momentum, and far smaller nets and games.
Shapes: B batch, C planes of H × W cells, A actions, M maps.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import log_softmax, mse_loss

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.learners.self_play import Played
from neurarium.parts.bundles import check_batch
from neurarium.parts.games import Game, Player, Positions
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adamw, set_rate
from neurarium.parts.residual import Residual, normed_convolution, two_convolutions
from neurarium.parts.schedules import Schedule, constant
from neurarium.parts.tree import Evaluate, Evaluation

POLICY_MAPS, VALUE_MAPS = 2, 1  # of the heads, Methods
MANY = 64  # positions at once from which on half precision is faster
VALUE_UNITS = 64  # of the value's hidden layer; 256 in Methods


Seat = Callable[[Evaluate, torch.Generator], Player]
"""Makes a player of what judges positions: the search with which it sits down at a board."""


class PolicyValueNet(nn.Module):
    """A residual tower with two heads.

    Args:
        shape: of the planes, (C, H, W).
        actions: A.
        width: maps M of the tower.
        blocks: residual blocks in it.

    Raises:
        InvalidValue: a size below 1.

    >>> net = PolicyValueNet(shape=(2, 6, 7), actions=7, width=8, blocks=2)
    >>> logits, values = net(torch.zeros(5, 2, 6, 7))
    >>> logits.shape, values.shape
    (torch.Size([5, 7]), torch.Size([5]))
    """

    def __init__(self, *, shape: tuple[int, int, int], actions: int, width: int = 32, blocks: int = 3) -> None:
        super().__init__()
        for name, value in (("actions", actions), ("width", width), ("blocks", blocks)):
            require(value >= 1, f"{name} is {value}; a network needs at least 1")
        planes, height, across = shape
        cells = height * across
        self.stem = nn.Sequential(*normed_convolution(planes, width, 3), nn.ReLU(inplace=True))
        tower = [layer for _ in range(blocks) for layer in (Residual(branch=two_convolutions(width, width)), nn.ReLU())]
        self.tower = nn.Sequential(*tower)
        self.policy = nn.Sequential(*head(width, POLICY_MAPS), nn.Linear(POLICY_MAPS * cells, actions))
        self.value = nn.Sequential(
            *head(width, VALUE_MAPS),
            nn.Linear(VALUE_MAPS * cells, VALUE_UNITS),
            nn.ReLU(),
            nn.Linear(VALUE_UNITS, 1),
            nn.Tanh(),
        )

    def forward(self, planes: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "B A"], Float[Tensor, " B"]]:
        """A logit for each action, and who will win: from −1 to 1, as the one to move sees it."""
        maps = self.tower(self.stem(planes))
        return self.policy(maps), self.value(maps).squeeze(1)


def head(maps_in: int, maps: int) -> list[nn.Module]:
    """What both heads begin with: few maps by a 1×1 convolution, as one vector."""
    return [*normed_convolution(maps_in, maps, 1), nn.ReLU(inplace=True), nn.Flatten()]


def policy_loss(logits: Float[Tensor, "B A"], policies: Float[Tensor, "B A"]) -> Float[Tensor, ""]:
    """How far the network's policy is from the search's.

    >>> policy_loss(torch.zeros(1, 4), torch.tensor([[0.5, 0.5, 0.0, 0.0]])).exp().item()
    4.0
    """
    # −πᵀ log p
    return -(policies * log_softmax(logits, dim=1)).sum(1).mean()


def judgement(game: Game, model: PolicyValueNet) -> Evaluate:
    """What a network says to a search: priors over the legal actions, and values; in half precision where that pays."""

    def evaluate(positions: Positions) -> Evaluation:
        legal, planes = game.legal(positions), game.planes(positions)
        with evaluating(model), torch.autocast(planes.device.type, torch.bfloat16, enabled=len(planes) >= MANY):
            logits, values = model(planes)
        return Evaluation(logits.float().masked_fill(~legal, -torch.inf).softmax(1), values.float())

    return evaluate


class AlphaGoZero(Learner[Played]):
    """A network that learns from its own games, and plays.

    Args:
        game: what is played.
        model: the network.
        seat: makes a player of its judgement: the search with which it sits down at a board.
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.
        keeps: how many past selves are kept, evenly over the training.

    Raises:
        InvalidValue: a negative rate.
    """

    def __init__(
        self,
        game: Game,
        model: PolicyValueNet,
        *,
        seat: Seat,
        optimizer: MakeOptimizer = adamw,
        lr: float = 2e-3,
        schedule: Schedule = constant,
        keeps: int = 5,
    ) -> None:
        require(lr >= 0, f"lr is {lr}, but must not be negative")
        require(keeps >= 0, f"keeps is {keeps}; it is a number of past selves, 0 or more")
        self.game, self.model = game, model
        self.seat = seat
        self.lr, self.schedule = lr, schedule
        self.optimizer = optimizer(model.parameters(), lr=lr)
        self.past = PastSelves(keeps)

    def learn(self, batch: Played) -> Measures:
        """One update towards what searches and games have shown.

        Raises:
            InvalidValue: the batch is empty, its fields disagree in number, or it is of another game.
        """
        check_batch(batch, wanted="positions of self-play")
        for name, field, wanted in (
            ("planes", batch.planes, self.game.shape),
            ("policies", batch.policies, (self.game.actions,)),
        ):
            if tuple(field.shape[1:]) != wanted:
                raise InvalidValue(
                    f"the batch's {name} have shape {tuple(field.shape[1:])}; {self.game.name} has {wanted}"
                )
        self.past.keep(self.model, self.progress)
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        logits, values = self.model(batch.planes.to(torch.float32))
        # l = (z − v)² − πᵀ log p, eq. 1; its c |θ|² is the optimiser's decay
        policy, value = policy_loss(logits, batch.policies), mse_loss(values.float(), batch.values)
        self.optimizer.zero_grad()
        (policy + value).backward()
        self.optimizer.step()
        return {"policy_loss": policy.detach(), "value_loss": value.detach()}

    def evaluate(self, positions: Positions) -> Evaluation:
        """Priors over legal actions and values, for a search."""
        return judgement(self.game, self.model)(positions)

    def player(self, *, generator: torch.Generator) -> Player:
        """Itself, with its search."""
        return self.seat(self.evaluate, generator)

    def example(self, batch: Played) -> dict[str, tuple[Tensor, ...]]:
        """Planes."""
        return {"model": (batch.planes.to(torch.float32),)}


class PastSelves:
    """Weights from earlier in the training, to be played against later.

    Args:
        keeps: how many, evenly over the training, the first before it.

    >>> past, net = PastSelves(2), nn.Linear(1, 1)
    >>> for step in range(10):
    ...     past.keep(net, step / 10)
    >>> past.at
    [0.0, 0.5]
    """

    def __init__(self, keeps: int) -> None:
        self.keeps = keeps
        self.at: list[float] = []
        self.weights: list[dict[str, Tensor]] = []

    def keep(self, model: nn.Module, progress: float) -> None:
        """Take the weights as they are, if it is time again."""
        if len(self.at) < self.keeps and progress >= len(self.at) / self.keeps:
            self.at.append(progress)
            self.weights.append({name: value.detach().clone() for name, value in model.state_dict().items()})

    def state_dict(self) -> dict[str, Any]:
        """All that were kept."""
        return {"at": list(self.at), "weights": [dict(one) for one in self.weights]}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back there."""
        self.at, self.weights = list(state["at"]), [dict(one) for one in state["weights"]]
