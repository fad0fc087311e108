r"""A population: many networks of one architecture, each with its own settings, taught as one vectorised program.

A small network leaves a processor idle: most of a step goes into starting operations, not into doing them. So the
weights of M networks are stacked, and each operation works on all of them at once; every member has its own start, its
own learning rate, momentum and weight decay, its own examples and their order. The members never meet: the sum of
their losses has for each the gradient of its own.

Source: CSE 151B, Convolutional Networks (choosing hyper-parameters: random search and cross-validation); CS 479 §10.2.1
(weight decay as an update); Sutskever et al. 2013, On the importance of initialization and momentum, eq. 1 and 2 (in
PyTorch's form, the rate outside the velocity); He et al. 2015, Delving deep into rectifiers, eq. 10.
Differs: the stacking is written out with baddbmm rather than left to torch.func.vmap, which is slower here. A member
whose loss becomes NaN or infinite is laid to rest (weights 0, the step noted), and the others go on.
Shapes: B batch, M members, F features, K classes, N examples.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol, Self, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import Labelled, check_batch
from neurarium.parts.modes import evaluating
from neurarium.parts.schedules import Schedule, constant

ALIVE = -1  # in place of the step at which a member diverged
CHUNK = 1024  # examples that all members look at in one go


@runtime_checkable
class Order(Protocol):
    """The order of an epoch: a permutation decided by (seed, epoch), as `neurarium.data.batches.epoch_order`."""

    def __call__(self, length: int, /, *, seed: int, epoch: int) -> Int64[Tensor, " N"]: ...


class Members(nn.Module):
    """M dense networks with ReLU, their weights stacked.

    Args:
        sizes: features, hidden units of each layer, classes.
        seeds: of each member's first weights; a member starts the same in whatever company.
        gains: factor of each member's first weights, 1 for He's.

    Raises:
        InvalidValue: a size below 1, no layer, no members, or not as many gains as seeds.

    >>> members = Members(sizes=(64, 32, 10), seeds=[0, 1, 2], gains=torch.ones(3))
    >>> members(torch.zeros(5, 3, 64)).shape
    torch.Size([5, 3, 10])
    """

    def __init__(self, *, sizes: tuple[int, ...], seeds: Sequence[int], gains: Float[Tensor, " M"]) -> None:
        super().__init__()
        require(len(sizes) >= 2, f"the sizes are {list(sizes)}; a network needs at least features and classes")
        require(min(sizes) >= 1, f"the layers have sizes {list(sizes)}, but each must be at least 1")
        require(len(seeds) >= 1, "the population is empty; give at least one seed")
        require(len(gains) == len(seeds), f"there are {len(gains)} gains for {len(seeds)} seeds; give one each")
        self.shape = (len(seeds), sizes[0])
        starts = [first_weights(sizes, seed=seed) for seed in seeds]
        factors = gains.reshape(-1, 1, 1).float()
        self.weights = nn.ParameterList(
            [nn.Parameter(factors * torch.stack(layer)) for layer in zip(*starts, strict=True)]
        )
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(len(seeds), 1, size)) for size in sizes[1:]])

    def forward(self, inputs: Float[Tensor, "B M F"]) -> Float[Tensor, "B M K"]:
        """Logits of every member on its own inputs."""
        if inputs.shape[1:] != self.shape:
            raise InvalidValue(
                f"inputs are {tuple(inputs.shape)}, but must be (B, {self.shape[0]} members, {self.shape[1]} features)"
            )
        hidden = inputs.transpose(0, 1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            # a_m = b_m + h_m W_m, for all members m in one operation
            hidden = torch.baddbmm(bias, relu(hidden) if layer else hidden, weight)
        return hidden.transpose(0, 1)

    def alone(self, member: int) -> nn.Sequential:
        """A plain network with a copy of one member's weights."""
        layers: list[nn.Module] = []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            dense = nn.Linear(weight.shape[1], weight.shape[2]).to(weight)
            with torch.no_grad():
                dense.weight.copy_(weight[member].T)
                dense.bias.copy_(bias[member, 0])
            layers += [nn.ReLU(), dense]
        return nn.Sequential(*layers[1:])


def first_weights(sizes: tuple[int, ...], *, seed: int) -> list[Float[Tensor, "_ _"]]:
    """One network's first weights, (inputs, outputs) a layer: He's normal distribution.

    >>> [tuple(weight.shape) for weight in first_weights((64, 32, 10), seed=0)]
    [(64, 32), (32, 10)]
    """
    generator = torch.Generator().manual_seed(seed)
    # W ~ N(0, 2/fan_in)
    return [torch.randn(fan_in, out, generator=generator) * (2 / fan_in) ** 0.5 for fan_in, out in pairwise(sizes)]


def momentum_step(
    weights: Float[Tensor, "M _ _"],
    velocity: Float[Tensor, "M _ _"],
    gradient: Float[Tensor, "M _ _"],
    *,
    lr: Float[Tensor, "M 1 1"],
    momentum: Float[Tensor, "M 1 1"],
    decay: Float[Tensor, "M 1 1"],
) -> None:
    """Gradient descent with momentum and weight decay in place, every member by its own numbers.

    >>> one = torch.ones(1, 1, 1)
    >>> weights, velocity = torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
    >>> momentum_step(weights, velocity, one, lr=0.1 * one, momentum=0.9 * one, decay=0 * one)
    >>> weights.item(), velocity.item()
    (0.8999999761581421, 1.0)
    """
    # v ← μ v + g + λ w
    velocity.mul_(momentum).add_(gradient).addcmul_(weights, decay)
    # w ← w − η v
    weights.addcmul_(velocity, lr, value=-1)


class Population(Learner[Labelled]):
    """Teaches all members of a population to name the class of their inputs, each by its own settings.

    Args:
        model: the networks.
        lr: learning rate of each member at the schedule's 1.
        momentum: share of each member's velocity that a step keeps.
        decay: weight decay of each member (added to the gradient, times the weight).
        schedule: factor of all learning rates by progress.
        remember: losses a member that are kept for pictures.
        every: steps between two of them.

    Raises:
        InvalidValue: not one number a member, a negative one, or a momentum of 1 or more.

    >>> members = Members(sizes=(2, 8, 2), seeds=[0, 1], gains=torch.ones(2))
    >>> zeros = torch.zeros(2)
    >>> learner = Population(members, lr=torch.tensor([0.5, 0.0]), momentum=zeros, decay=zeros)
    >>> batch = Labelled(torch.eye(2).unsqueeze(1).expand(2, 2, 2), torch.tensor([[0, 0], [1, 1]]))
    >>> for _ in range(100):
    ...     measures = learner.learn(batch)
    >>> losses = learner.losses(batch)
    >>> bool(losses[0] < 0.1 < losses[1])  # the second one's learning rate is 0
    True
    """

    def __init__(
        self,
        model: Members,
        *,
        lr: Float[Tensor, " M"],
        momentum: Float[Tensor, " M"],
        decay: Float[Tensor, " M"],
        schedule: Schedule = constant,
        remember: int = 1,
        every: int = 1,
    ) -> None:
        count = model.shape[0]
        for name, values in {"lr": lr, "momentum": momentum, "decay": decay}.items():
            require(
                len(values) == count, f"there are {len(values)} values of {name} for {count} members; give one each"
            )
            fine = bool((values >= 0).all())
            require(fine, f"{name} reaches from {float(values.min()):g}; it must be a number of 0 or more")
        require(bool((momentum < 1).all()), f"momentum is up to {float(momentum.max()):g}, but must be below 1")
        require(remember >= 1 and every >= 1, f"remember is {remember} and every {every}; both must be at least 1")
        self.model = model
        like = model.weights[0]
        self.lr, self.momentum, self.decay = (each.to(like).reshape(-1, 1, 1) for each in (lr, momentum, decay))
        self.schedule = schedule
        self.every = every
        self.step = 0
        self.velocity = torch.zeros(sum(parameter.numel() for parameter in model.parameters())).to(like)
        self.died = torch.full((count,), ALIVE)
        self.history = torch.zeros(remember, count).to(like)

    @property
    def alive(self) -> Bool[Tensor, " M"]:
        """Which members have not diverged."""
        return self.died == ALIVE

    def learn(self, batch: Labelled) -> Measures:
        """One step of every member on its own examples.

        Returns:
            `loss`, the mean of the members alive, and `diverged`, the share of those that are not. Where none is
            alive the loss is NaN, which ends a run.

        Raises:
            InvalidValue: the batch is empty, or not of one row of examples a member.
        """
        self.model.zero_grad()
        losses = self.losses(batch)
        losses.sum().backward()
        losses = losses.detach()
        self._lay_to_rest(~losses.isfinite() & self.alive)
        alive = self.alive
        rate = self.lr * (self.schedule(self.progress) * alive.reshape(-1, 1, 1))
        parameters = list(self.model.parameters())
        with torch.no_grad():
            for weights, velocity in zip(parameters, self._velocities(parameters), strict=True):
                assert weights.grad is not None
                momentum_step(weights, velocity, weights.grad, lr=rate, momentum=self.momentum, decay=self.decay)
        losses = losses.where(alive, 0)
        self._remember(losses)
        self.step += 1
        living = alive.sum()
        return {"loss": losses.sum() / living, "diverged": 1 - living / len(alive)}

    def losses(self, batch: Labelled) -> Float[Tensor, " M"]:
        """The mean cross-entropy of every member."""
        inputs, labels = batch
        check_batch((inputs, labels), wanted="inputs and labels")
        logits = self.model(inputs)
        if labels.shape != logits.shape[:2]:
            raise InvalidValue(f"labels are {tuple(labels.shape)}, but must be {tuple(logits.shape[:2])}: (B, members)")
        each = cross_entropy(logits.transpose(0, 1).flatten(0, 1), labels.T.flatten(), reduction="none")
        return each.reshape(logits.shape[1], -1).mean(1)

    def accuracies(
        self, inputs: Float[Tensor, "N F"], labels: Int64[Tensor, " N"], counted: Bool[Tensor, "M N"]
    ) -> Float[Tensor, " M"]:
        """The share of right answers of every member among the examples that count for it."""
        right = torch.zeros(len(counted), device=inputs.device)
        with evaluating(self.model):
            for some, wanted, mask in zip(
                inputs.split(CHUNK), labels.split(CHUNK), counted.split(CHUNK, 1), strict=True
            ):
                logits = self.model(some.unsqueeze(1).expand(-1, len(counted), -1))
                right += ((logits.argmax(2) == wanted.unsqueeze(1)).T & mask).sum(1)
        return right / counted.sum(1)

    def example(self, batch: Labelled) -> dict[str, tuple[Tensor, ...]]:
        """The inputs of a batch, for the stacked networks."""
        return {"model": (batch[0],)}

    def _velocities(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        parts = self.velocity.split([parameter.numel() for parameter in parameters])
        return [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]

    def _lay_to_rest(self, members: Bool[Tensor, " M"]) -> None:
        # With weights and gradient 0 and from now on a rate of 0, nothing of the member is NaN again.
        if not bool(members.any()):
            return
        self.died = self.died.masked_fill(members, self.step + 1)
        parameters = list(self.model.parameters())
        for parameter, velocity in zip(parameters, self._velocities(parameters), strict=True):
            for values in (parameter.data, velocity, parameter.grad):
                assert values is not None
                values[members] = 0

    def _remember(self, losses: Float[Tensor, " M"]) -> None:
        place, rest = divmod(self.step, self.every)
        if rest == 0 and place < len(self.history):
            self.history[place] = losses


class MemberBatches:
    """A batch for every member, from its own rows of the data in its own order: a `Stream`.

    The members' epochs are as long as the shortest of them, so that they begin together.

    Args:
        data: all examples; a batch has `inputs` (B, M, F) and `labels` (B, M).
        rows: the places of the examples that each member learns from.
        seeds: of each member's order; it is the same in whatever company.
        size: examples a member and batch.
        order: of an epoch, by length, seed and epoch.

    Raises:
        InvalidValue: `size` is below 1, a member has no rows, or there are not as many seeds as members.

    >>> data = Labelled(torch.arange(6.0).reshape(6, 1), torch.arange(6))
    >>> forwards = lambda length, /, *, seed, epoch: torch.arange(length)
    >>> stream = MemberBatches(data, rows=[torch.arange(4), torch.arange(2, 6)], seeds=[0, 1], size=2, order=forwards)
    >>> next(stream).labels.tolist()
    [[0, 2], [1, 3]]
    """

    def __init__(
        self, data: Labelled, *, rows: Sequence[Int64[Tensor, " _"]], seeds: Sequence[int], size: int, order: Order
    ) -> None:
        require(size >= 1, f"the batch size is {size}, but must be at least 1")
        require(len(rows) == len(seeds) >= 1, f"there are {len(seeds)} seeds for {len(rows)} members; give one each")
        self.shortest = min(len(each) for each in rows)
        require(self.shortest >= 1, "a member has no examples to learn from; give each at least one")
        self.data, self.rows, self.seeds, self.order = data, rows, list(seeds), order
        self.size = min(size, self.shortest)
        self.epoch = self.position = 0
        self._index: Tensor | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Labelled:
        if self.position + self.size > self.shortest:
            self.epoch, self.position, self._index = self.epoch + 1, 0, None
        if self._index is None:
            self._index = self._shuffled()
        index = self._index[:, self.position : self.position + self.size]
        self.position += self.size
        # Gathered member by member, as the stacked products want it, and seen with the batch first.
        inputs, labels = (field.index_select(0, index.flatten()).unflatten(0, index.shape) for field in self.data)
        return Labelled(inputs.transpose(0, 1), labels.T)

    def _shuffled(self) -> Int64[Tensor, "M N"]:
        orders = [
            rows[self.order(len(rows), seed=seed, epoch=self.epoch)[: self.shortest]]
            for rows, seed in zip(self.rows, self.seeds, strict=True)
        ]
        return torch.stack(orders).to(self.data.inputs.device)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return {"epoch": self.epoch, "position": self.position, "seeds": list(self.seeds), "size": self.size}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back to a place.

        Raises:
            InvalidValue: the place is of a stream with other seeds or another batch size.
        """
        same = state["seeds"] == self.seeds and state["size"] == self.size
        require(same, "the saved place in the data is of another population; resume with the options it began with")
        self.epoch, self.position, self._index = state["epoch"], state["position"], None
