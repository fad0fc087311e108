r"""Restricted Boltzmann machines: two layers that agree on what the world looks like.

Visible units hold a picture, hidden units say what is in it, and every visible unit is connected to every hidden one
with one weight for both directions. E(v, h) = −v W hᵀ − b vᵀ − c hᵀ is low where connected units agree. A unit turns on
by chance, the more probably the more that lowers the energy (its gap), so that the network wanders through states as
often as their energy allows: p(v, h) = e^−E / Z. It learns by contrast. With a picture at the visible units each weight
grows by how often its two units are on together; with a fantasy there, the network's own, it shrinks by the same. Both
are known at the weight itself: nothing is propagated back, and no gradient is taken here.

Source: CS 479 §23 (energy, gaps, units with temperature, sampling, contrastive divergence); Hinton 2002, Training
products of experts by minimizing contrastive divergence; Tieleman 2008, Training restricted Boltzmann machines using
approximations to the likelihood gradient (persistent chains); Hinton 2012, A practical guide to training restricted
Boltzmann machines; Salakhutdinov & Murray 2008, On the quantitative analysis of deep belief networks, eqs. 11–17
(annealed importance sampling).
Differs: no momentum; probabilities stand for the hidden units wherever nothing depends on their being 0 or 1; the
chance of a unit has 16 bits.
Shapes: B batch, V visible units, H hidden units, C chains.
"""

from math import log, prod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import Labelled, check_batch
from neurarium.parts.schedules import Schedule, constant

DEVIATION = 0.01  # of the weights before learning, Hinton 2012, §8
ENUMERABLE = 20  # units of the smaller layer up to which every state of it is visited
AT_ONCE = 4096  # of those states


class RBM(nn.Module):
    """The two layers and what they know of each other. Called, it gives the hidden units' probabilities: features.

    Args:
        shape: of one input of 0 and 1; what has several dimensions is laid out in a row.
        hidden: H.
        deviation: of the weights before learning; biases are 0.

    Raises:
        InvalidValue: an empty shape, no hidden unit, or inputs of another shape.

    >>> model = RBM(shape=(1, 2, 2), hidden=3, deviation=0.0)
    >>> model(torch.ones(1, 1, 2, 2)).tolist()
    [[0.5, 0.5, 0.5]]
    """

    def __init__(self, *, shape: tuple[int, ...], hidden: int, deviation: float = DEVIATION) -> None:
        super().__init__()
        require(bool(shape) and min(shape) >= 1, f"inputs of shape {shape} hold nothing; every side must be 1 or more")
        require(hidden >= 1, f"hidden is {hidden}, but must be at least 1")
        self.shape, self.visible, self.hidden = shape, prod(shape), hidden
        self.weight = nn.Parameter(deviation * torch.randn(self.visible, hidden), requires_grad=False)
        self.visible_bias = nn.Parameter(torch.zeros(self.visible), requires_grad=False)
        self.hidden_bias = nn.Parameter(torch.zeros(hidden), requires_grad=False)

    def forward(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B H"]:
        """How probable it is that each hidden unit is on."""
        return self.hidden_probability(self.flat(inputs))

    def flat(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B V"]:
        """Inputs as rows of visible units."""
        if inputs.shape[1:] != self.shape:
            raise InvalidValue(f"inputs are {tuple(inputs.shape[1:])}, but this model was built for {self.shape}")
        return inputs.flatten(1)

    def energy(self, visible: Float[Tensor, "B V"], hidden: Float[Tensor, "B H"]) -> Float[Tensor, " B"]:
        """The energy of states of both layers."""
        # E(v, h) = −v W hᵀ − b vᵀ − c hᵀ
        return -((visible @ self.weight * hidden).sum(1) + visible @ self.visible_bias + hidden @ self.hidden_bias)

    def free_energy(self, visible: Float[Tensor, "B V"]) -> Float[Tensor, " B"]:
        """The energy of visible states with all that the hidden units may do: −ln Σ_h e^−E(v, h)."""
        # F(v) = −b vᵀ − Σ_j ln(1 + e^(v W + c)_j)
        return -(visible @ self.visible_bias + softplus(self._to_hidden(visible)).sum(1))

    def hidden_gap(self, visible: Float[Tensor, "B V"]) -> Float[Tensor, "B H"]:
        """By how much the energy is higher with each hidden unit on than off."""
        # δE(h_j) = −Σ_i v_i W_ij − c_j
        return -self._to_hidden(visible)

    def visible_gap(self, hidden: Float[Tensor, "B H"]) -> Float[Tensor, "B V"]:
        """By how much the energy is higher with each visible unit on than off."""
        # δE(v_i) = −Σ_j W_ij h_j − b_i
        return -self._to_visible(hidden)

    def hidden_probability(self, visible: Float[Tensor, "B V"], *, temperature: float = 1.0) -> Float[Tensor, "B H"]:
        """How probable it is that each hidden unit is on."""
        # P(h_j = 1 | v) = 1/(1 + e^(δE/T))
        return warmed(self._to_hidden(visible), temperature).sigmoid_()

    def visible_probability(self, hidden: Float[Tensor, "B H"], *, temperature: float = 1.0) -> Float[Tensor, "B V"]:
        """How probable it is that each visible unit is on."""
        # P(v_i = 1 | h) = 1/(1 + e^(δE/T))
        return warmed(self._to_visible(hidden), temperature).sigmoid_()

    def _to_hidden(self, visible: Tensor) -> Tensor:
        return torch.addmm(self.hidden_bias, visible, self.weight)

    def _to_visible(self, hidden: Tensor) -> Tensor:
        return linear(hidden, self.weight, self.visible_bias)


def warmed(drive: Float[Tensor, "B U"], temperature: float) -> Float[Tensor, "B U"]:
    """What drives units, over the temperature; in place."""
    require(temperature > 0, f"temperature is {temperature}, but must be positive")
    return drive if temperature == 1 else drive.div_(temperature)


def sample(probability: Float[Tensor, "B U"], generator: torch.Generator | None = None) -> Float[Tensor, "B U"]:
    """0 or 1 for every unit, by its probability, to within 1/65536.

    Four units share a random number of 64 bits, for drawing these is what takes time: an eighth of torch.bernoulli's.

    >>> sample(torch.tensor([[0.0, 1.0]])).tolist()
    [[0.0, 1.0]]
    """
    count, place = probability.numel(), probability.device
    draws = torch.empty(-(-count // 4), dtype=torch.int64, device=place).random_(-(2**63), None, generator=generator)
    chance = draws.view(torch.int16)[:count].view(probability.shape).to(probability.dtype)
    # v_i = 1 if p_i > r, with r ~ Uniform(0, 1) of 16 bits: times 65536, less 32768
    return torch.lt(chance, (probability * 65536).sub_(32768), out=chance)


class Fantasy(NamedTuple):
    """What a network dreams: visible units of 0 and 1, and the probabilities that they were drawn with."""

    visible: Float[Tensor, "B V"]
    probability: Float[Tensor, "B V"]


@torch.no_grad()
def gibbs(
    model: RBM,
    visible: Float[Tensor, "B V"],
    *,
    steps: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Fantasy:
    """Let the network wander: hidden units by the visible ones, visible units by the hidden ones.

    Args:
        model: whose states are drawn.
        visible: where it begins.
        steps: how often both layers have their turn.
        temperature: above 1 more is left to chance, below 1 less.
        generator: of chance; the global one if not given.

    Raises:
        InvalidValue: no step, or a temperature that is not positive.
    """
    require(steps >= 1, f"steps is {steps}, but must be at least 1")
    for _ in range(steps):
        hidden = sample(model.hidden_probability(visible, temperature=temperature), generator)
        probability = model.visible_probability(hidden, temperature=temperature)
        visible = sample(probability, generator)
    return Fantasy(visible, probability)


def contrast(
    model: RBM,
    data: tuple[Float[Tensor, "B V"], Float[Tensor, "B H"]],
    fantasy: tuple[Float[Tensor, "C V"], Float[Tensor, "C H"]],
    *,
    rate: float,
    decay: float = 0.0,
) -> None:
    """Raise what the units do together on data and lower what they do together in fantasies; in place.

    Args:
        model: whose weights and biases move.
        data: visible units and the hidden ones' probabilities.
        fantasy: the same, of the network's own states.
        rate: η.
        decay: λ, of the weights alone.

    >>> model = RBM(shape=(1,), hidden=1, deviation=0.0)
    >>> contrast(model, (torch.ones(2, 1), torch.full((2, 1), 0.5)), (torch.zeros(1, 1), torch.ones(1, 1)), rate=0.1)
    >>> [round(each.item(), 3) for each in (model.weight, model.visible_bias, model.hidden_bias)]
    [0.05, 0.1, -0.05]
    """
    (seen, awake), (dreamt, asleep) = data, fantasy
    both = torch.cat([seen, dreamt])
    hidden = torch.cat([awake / awake.shape[0], asleep / -asleep.shape[0]])
    # ΔW = η (⟨v h⟩_data − ⟨v h⟩_model − λ W): one product for both means, onto the weights
    model.weight.addmm_(both.T, hidden, beta=1 - rate * decay, alpha=rate)
    # Δb = η (⟨v⟩_data − ⟨v⟩_model)
    model.visible_bias.add_(seen.mean(0) - dreamt.mean(0), alpha=rate)
    # Δc = η (⟨h⟩_data − ⟨h⟩_model)
    model.hidden_bias.add_(hidden.sum(0), alpha=rate)


class ContrastiveDivergence(Learner[Labelled]):
    """Teaches an RBM by contrast with its own fantasies; labels are not looked at.

    Args:
        model: what learns.
        steps: k of CD-k, how far a fantasy is from its beginning.
        chains: how many fantasies live on from update to update (persistent CD); 0 begins each at its picture.
        lr: η at the schedule's 1.
        schedule: factor of it by progress.
        decay: λ, the pull of every weight towards 0.

    Raises:
        InvalidValue: no step, or a negative number of chains, rate or decay.

    >>> _ = torch.manual_seed(0)
    >>> learner = ContrastiveDivergence(RBM(shape=(4,), hidden=2), lr=0.5)
    >>> batch = Labelled(torch.tensor([[1.0, 1.0, 0.0, 0.0]]).repeat(8, 1), torch.zeros(8).long())
    >>> errors = [float(learner.learn(batch)["error"]) for _ in range(50)]
    >>> errors[0] > 0.3, errors[-1] < 0.2
    (True, True)
    """

    def __init__(
        self,
        model: RBM,
        *,
        steps: int = 1,
        chains: int = 0,
        lr: float = 0.05,
        schedule: Schedule = constant,
        decay: float = 0.0,
    ) -> None:
        require(steps >= 1, f"steps is {steps}, but a fantasy takes at least 1")
        for name, value in (("chains", chains), ("lr", lr), ("decay", decay)):
            require(value >= 0, f"{name} is {value}, but must be 0 or more")
        self.model, self.schedule, self.steps, self.lr, self.decay = model, schedule, steps, lr, decay
        self.chains = torch.randint(0, 2, (chains, model.hidden)).float() if chains else None

    @torch.no_grad()
    def learn(self, batch: Labelled) -> Measures:
        """One update.

        Raises:
            InvalidValue: the batch is empty, of another shape, or holds other values than 0 and 1.
        """
        check_batch(batch, wanted="inputs and labels")
        visible = self.model.flat(batch.inputs)
        check_binary(visible)
        awake = self.model.hidden_probability(visible)
        fantasy, asleep = self._dream(sample(awake) if self.chains is None else self.chains)
        rate = self.lr * self.schedule(self.progress)
        contrast(self.model, (visible, awake), (fantasy, asleep), rate=rate, decay=self.decay)
        if self.chains is not None:
            self.chains.copy_(sample(asleep))
            return {"error": (visible.mean(0) - fantasy.mean(0)).abs_().mean()}
        return {"error": (visible - fantasy).abs_().mean()}

    def _dream(self, hidden: Float[Tensor, "C H"]) -> tuple[Float[Tensor, "C V"], Float[Tensor, "C H"]]:
        for step in range(self.steps):
            hidden = sample(hidden) if step else hidden
            fantasy = sample(self.model.visible_probability(hidden))
            hidden = self.model.hidden_probability(fantasy)
        return fantasy, hidden

    def example(self, batch: Labelled) -> dict[str, tuple[Tensor, ...]]:
        """The inputs of a batch, for the model."""
        return {"model": (batch.inputs,)}


def check_binary(visible: Float[Tensor, "B V"]) -> None:
    """Refuse visible units that are not 0 or 1.

    Raises:
        InvalidValue: names the first value that is neither.
    """
    # Of all numbers only 0 and 1 are their own squares; NaN equals nothing.
    if not torch.equal(visible * visible, visible):
        odd = visible[visible * visible != visible][0].item()
        raise InvalidValue(f"the data holds {odd:g}, but units are 0 or 1; binarise it first, as by (x > 0.5).float()")


def exact_log_z(model: RBM) -> float:
    """The exact ln Z, by visiting every state of the smaller layer.

    Raises:
        InvalidValue: both layers have more than 20 units.

    >>> round(exact_log_z(RBM(shape=(3,), hidden=2, deviation=0.0)) / log(2), 4)
    5.0
    """
    weight, ours, theirs = (each.double() for each in (model.weight, model.visible_bias, model.hidden_bias))
    if model.visible < model.hidden:
        weight, ours, theirs = weight.T, theirs, ours
    units = len(theirs)
    require(
        units <= ENUMERABLE, f"the smaller layer has {units} units, and 2^{units} states are too many; at most 2^20"
    )
    places = torch.arange(units, device=weight.device)
    sums = []
    for some in torch.arange(2**units, device=weight.device).split(AT_ONCE):
        states = (some[:, None] >> places & 1).double()
        # Z = Σ_h e^(c hᵀ) Π_i (1 + e^(b + h Wᵀ)_i)
        sums.append((states @ theirs + softplus(ours + states @ weight.T).sum(1)).logsumexp(0))
    return float(torch.stack(sums).logsumexp(0))


@torch.no_grad()
def annealed_log_z(
    model: RBM,
    *,
    base: Float[Tensor, " V"],
    chains: int = 1000,
    temperatures: int = 2000,
    generator: torch.Generator | None = None,
) -> float:
    """An estimate of ln Z by annealed importance sampling.

    Chains go from independent units, β = 0, to the model, β = 1, and each weighs by how much it was surprised.

    Args:
        model: any size.
        base: visible biases of the independent units b₀; the nearer to the data the better.
        chains: how many.
        temperatures: how many steps β takes.
        generator: of chance; the global one if not given.

    Raises:
        InvalidValue: no chain or no step.
    """
    require(chains >= 1, f"chains is {chains}, but must be at least 1")
    require(temperatures >= 1, f"temperatures is {temperatures}, but must be at least 1")
    visible = sample(base.sigmoid().expand(chains, -1), generator)
    log_weight = torch.zeros(chains, dtype=torch.float64, device=base.device)
    shift = model.visible_bias - base
    for step in range(1, temperatures + 1):
        beta, before = step / temperatures, (step - 1) / temperatures
        drive = torch.addmm(model.hidden_bias, visible, model.weight)
        # ln w += ln p*_β(v) − ln p*_β'(v), with ln p*_β(v) = (1 − β) b₀ vᵀ + β b vᵀ + Σ_j ln(1 + e^(β (v W + c)_j))
        hidden_part = (softplus(beta * drive) - softplus(before * drive)).sum(1)
        log_weight += (beta - before) * (visible @ shift) + hidden_part
        hidden = sample((beta * drive).sigmoid_(), generator)
        visible = sample((base + beta * torch.addmm(shift, hidden, model.weight.T)).sigmoid_(), generator)
    # ln Z = ln Z₀ + ln mean w, with Z₀ = 2^H Π_i (1 + e^b₀)
    log_base = model.hidden * log(2) + float(softplus(base.double()).sum())
    return log_base + float(log_weight.logsumexp(0)) - log(chains)
