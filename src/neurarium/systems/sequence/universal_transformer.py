r"""Universal transformer: one block, applied again and again, and each place stops when it has thought enough.

A transformer's depth is fixed, so it spends as much on 1 + 1 as on the hardest sum. Here all layers are one, which can
be repeated as often as needed. After each step every place says how likely it is to be done; when these chances have
added up to 1 it halts, its state stays what it is, and what it hands on is the mean of its states, weighted by its
chances. A small price on every step makes it stop early where it can. A rule learned on short sequences can so be
applied for longer than it ever was in training.

Source: Dehghani et al. 2018, Universal transformers, §2.1 (eq. 4 and 5), §2.2 and appendix C; Graves 2016, Adaptive
computation time for recurrent neural networks, eq. 5 to 9 (halting), 11 (weighted mean), 12 to 14 (ponder cost).
Differs: what is handed on is Graves' weighted mean of a place's states; a place may be made to see only the places near
it, whose order is all the position that is needed; coordinates of place and step are left out then.
Shapes: B batch, T places, I inputs, O outputs, D width, L steps.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn, relu

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.learners.sequence import bit_losses, bits_right, check_sequences
from neurarium.parts.bundles import Sequences
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adam, set_rate
from neurarium.parts.positions import sinusoids
from neurarium.parts.schedules import Schedule, constant
from neurarium.parts.transformer import Block

EPSILON = 0.01  # of its chances a place may halt short of 1, so that one step can be enough, Graves 2016, §2.1


class Pondered(NamedTuple):
    """What came out at each place, after how many steps, and what the pondering cost."""

    outputs: Float[Tensor, "B T O"]
    steps: Float[Tensor, "B T"]
    costs: Float[Tensor, "B T"]


class Halted(NamedTuple):
    """A step's weight at each place, what is left of 1 for later ones, and who halts here."""

    weight: Float[Tensor, "B T"]
    left: Float[Tensor, "B T"]
    halts: Bool[Tensor, "B T"]


def halt(left: Float[Tensor, "B T"], chance: Float[Tensor, "B T"], *, last: bool) -> Halted:
    """One step of adaptive computation time: the weights of all a place's steps sum to 1.

    Args:
        left: 1 less the weights of the steps before; 0 where a place has halted.
        chance: how done each place says it is.
        last: there is no step after this one.

    >>> halted = halt(torch.tensor([[1.0, 0.25, 0.0]]), torch.tensor([[0.5, 0.5, 0.5]]), last=False)
    >>> halted.weight.tolist(), halted.left.tolist(), halted.halts.tolist()
    ([[0.5, 0.25, 0.0]], [[0.5, 0.0, 0.0]], [[False, True, False]])
    """
    running = left > 0
    # N = min{n : Σ_{i≤n} h_i ≥ 1 − ε}
    halts = running & (torch.full_like(running, True) if last else left - chance <= EPSILON)
    # p_n = h_n for n < N, and the remainder R = 1 − Σ_{i<N} h_i for n = N
    weight = torch.where(halts, left, torch.where(running, chance, 0.0))
    return Halted(weight, left - weight, halts)


def nearby(places: int, *, reach: int, device: torch.device | None = None) -> Bool[Tensor, "T T"]:
    """True where one place is no further from another than some places.

    >>> nearby(3, reach=1).int()
    tensor([[1, 1, 0],
            [1, 1, 1],
            [0, 1, 1]], dtype=torch.int32)
    """
    place = torch.arange(places, device=device)
    return (place.unsqueeze(1) - place).abs() <= reach


class UniversalTransformer(nn.Module):
    """Outputs at every place, after as many steps as it takes.

    Args:
        inputs: numbers of a place's input, I.
        outputs: numbers of its output, O.
        width: D, of every token.
        heads: of attention.
        hidden: units of the feed-forward network (default: 4 D).
        limit: steps at the most, L.
        adaptive: whether places halt by themselves; if not, all take `limit` steps, as a weight-tied transformer.
        causal: no place sees those after it.
        reach: places that are seen on each side; None for all.
        coordinates: add waves of place and step before each step.
        norm: layer norm "after" each sum, as published, "before" each part, or "none".

    Raises:
        InvalidValue: sizes that fit nothing; in use, inputs of another width, or a limit below 1.

    >>> net = UniversalTransformer(inputs=2, outputs=1, width=8, heads=2, limit=5)
    >>> pondered = net.ponder(torch.rand(3, 7, 2))
    >>> pondered.outputs.shape, bool((pondered.steps <= 5).all())
    (torch.Size([3, 7, 1]), True)
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        width: int,
        heads: int,
        hidden: int | None = None,
        limit: int = 12,
        adaptive: bool = True,
        causal: bool = False,
        reach: int | None = None,
        coordinates: bool = True,
        norm: str = "after",
    ) -> None:
        super().__init__()
        for name, value in {"inputs": inputs, "outputs": outputs, "limit": limit}.items():
            require(value >= 1, f"{name} is {value}; a universal transformer needs at least 1")
        require(reach is None or reach >= 1, f"reach is {reach}; a place must see at least 1 beside it")
        self.inputs, self.limit, self.causal, self.coordinates = inputs, limit, causal, coordinates
        self.reach = reach
        self.embedding = nn.Linear(inputs, width)
        self.block = Block(width=width, heads=heads, hidden=hidden, activation=relu, norm=norm)
        self.halting = nn.Linear(width, 1) if adaptive else None
        self.readout = nn.Linear(width, outputs)

    def forward(
        self, inputs: Float[Tensor, "B T I"]
    ) -> tuple[Float[Tensor, "B T O"], Float[Tensor, "B T"], Float[Tensor, "B T"]]:
        """Outputs of every place, the number of its steps and their cost (a plain tuple, which can be exported)."""
        outputs, steps, costs = self.ponder(inputs)
        return outputs, steps, costs

    def ponder(self, inputs: Float[Tensor, "B T I"], limit: int | None = None) -> Pondered:
        """The same by name, for as many steps as one likes.

        Args:
            inputs: of every place.
            limit: steps at the most (default: as built).
        """
        return self._ponder(inputs, limit)[0]

    def watch(self, inputs: Float[Tensor, "B T I"], limit: int | None = None) -> Float[Tensor, "L B T"]:
        """The weight of every step at every place; over the steps they sum to 1."""
        return torch.stack(self._ponder(inputs, limit)[1])

    def _ponder(self, inputs: Tensor, limit: int | None) -> tuple[Pondered, list[Tensor]]:
        limit = self.limit if limit is None else limit
        require(limit >= 1, f"limit is {limit}; a universal transformer takes at least 1 step")
        if inputs.ndim != 3 or inputs.shape[2] != self.inputs:
            wanted = f"(B, T, {self.inputs})"
            raise InvalidValue(f"the inputs are {tuple(inputs.shape)}, but this network was built for {wanted}")
        state, places = self.embedding(inputs), inputs.shape[1]
        near = None if self.reach is None else nearby(places, reach=self.reach, device=inputs.device).unsqueeze(0)
        mean, left = torch.zeros_like(state), torch.ones_like(state[..., 0])
        steps, remainder, weights = torch.zeros_like(left), torch.zeros_like(left), []
        for step in range(limit):
            running = left > 0
            if not torch.compiler.is_compiling() and not bool(running.any()):
                break  # a program that is exported takes all steps, to the same end
            # H^t = Block(H^{t−1} + P^t); what has halted is copied
            now = self.block(state + self._where(state, step), causal=self.causal, mask=near)
            state = torch.where(running.unsqueeze(2), now, state)
            weight, left, halts = halt(left, self._chance(state), last=step == limit - 1)
            # y = Σ_n p_n H^n
            mean = mean + weight.unsqueeze(2) * state
            steps = steps + running
            remainder = remainder + torch.where(halts, weight, 0.0)
            weights.append(weight)
        # ρ = N + R; N has no gradient, so fewer steps come from a smaller remainder: larger chances before the last
        return Pondered(self.readout(mean), steps, steps + remainder), weights

    def _chance(self, state: Tensor) -> Tensor:
        # h = σ(w · s + b); without halting all weight lies on the last step
        return torch.zeros_like(state[..., 0]) if self.halting is None else self.halting(state)[..., 0].sigmoid()

    def _where(self, state: Tensor, step: int) -> Tensor | float:
        if not self.coordinates:
            return 0.0
        place = torch.arange(state.shape[1], device=state.device)
        # P^t(i) = PE(i) + PE(t)
        waves = [sinusoids(each, width=state.shape[2]) for each in (place, torch.full_like(place[:1], step + 1))]
        return (waves[0] + waves[1]).to(state.dtype)


class Ponder(Learner[Sequences]):
    """Teaches a universal transformer a bit at every place of the mask, and to be quick about it.

    Args:
        model: from inputs to what was pondered.
        price: τ, of a step at a place, beside a loss in nats.
        clip: the gradient's greatest norm.
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.

    Raises:
        InvalidValue: a negative price, or a clip not above 0.
    """

    def __init__(
        self,
        model: UniversalTransformer,
        *,
        price: float = 0.01,
        clip: float = 1.0,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-3,
        schedule: Schedule = constant,
    ) -> None:
        require(price >= 0, f"price is {price}; a step costs 0 or more")
        require(clip > 0, f"clip is {clip}; a gradient's greatest norm must be above 0")
        self.model = model
        self.price = price
        self.clip = clip
        self.lr = lr
        self.schedule = schedule
        self.optimizer = optimizer(model.parameters(), lr=lr)

    def learn(self, batch: Sequences) -> Measures:
        """One gradient step on the loss and the ponder cost.

        Raises:
            InvalidValue: the batch is empty or misshaped, or its mask is False everywhere.
        """
        check_sequences(batch)
        inputs, targets, mask = batch
        require(bool(mask.any()), "the mask is False at every place, so nothing is taught; set it True where bits are")
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        self.optimizer.zero_grad()
        outputs, steps, costs = self.model(inputs)
        loss = bit_losses(outputs[mask], targets[mask]).mean()
        # L̂ = L + τ ρ
        (loss + self.price * costs[mask].mean()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return {"loss": loss.detach(), "steps": steps[mask].mean()}

    def predict(self, inputs: Float[Tensor, "B T I"], *, limit: int | None = None) -> Pondered:
        """What comes out, in evaluation mode, after at most `limit` steps (default: as the model was built)."""
        with evaluating(self.model):
            return self.model.ponder(inputs, limit)

    def evaluate(self, batches: Iterable[Sequences], *, limit: int | None = None, prefix: str = "") -> dict[str, float]:
        """Means over some batches, in evaluation mode.

        Args:
            batches: the sequences, in as many batches as suits memory.
            limit: steps at the most (default: as the model was built).
            prefix: put before the measures' names ("test_").

        Returns:
            `accuracy`, the share of sequences right at every place of the mask; `bit_accuracy`, that of the places; and
            `steps`, the mean at a place.
        """
        whole, bits, steps = [], [], []
        for batch in batches:
            check_sequences(batch)
            pondered = self.predict(batch.inputs, limit=limit)
            right = bits_right(pondered.outputs.flatten(0, 1), batch.targets.flatten(0, 1)).bool().all(1)
            right = right.view(batch.mask.shape)
            whole.append((right | ~batch.mask).all(1))
            bits.append(right[batch.mask])
            steps.append(pondered.steps[batch.mask])
        found = {"accuracy": whole, "bit_accuracy": bits, "steps": steps}
        return {f"{prefix}{name}": float(torch.cat(values).float().mean()) for name, values in found.items()}

    def example(self, batch: Sequences) -> dict[str, tuple[Tensor, ...]]:
        """The inputs of a batch, for the model."""
        return {"model": (batch.inputs,)}


def growth(steps: Float[Tensor, "*any"], difficulty: Float[Tensor, "*any"]) -> float:
    """By how many steps a place thinks longer for each unit of difficulty: the slope of the least squares.

    Raises:
        InvalidValue: all is equally difficult.

    >>> growth(torch.tensor([2.0, 3.0, 4.0]), torch.tensor([0.0, 2.0, 4.0]))
    0.5
    """
    apart = difficulty - difficulty.mean()
    spread = float((apart**2).sum())
    require(spread > 0, "all places are equally difficult, so no growth can be seen; give more of them")
    # b = Σ (x − x̄) y / Σ (x − x̄)²
    return float((apart * steps).sum()) / spread
