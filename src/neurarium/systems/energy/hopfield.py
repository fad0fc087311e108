r"""Hopfield networks: a memory that is asked with a part of what it holds.

N units of ±1, each connected to all others, and an energy E = −½ x W xᵀ − b xᵀ. The gradient of the energy says both
how to remember and how to recall. Down its slope in W, every pattern digs a valley at its own place (Hebb's rule: units
that are alike pull at each other). Down its slope in x, a unit takes the sign of what it hears from the others, and one
unit after the other the state rolls into the valley nearest to it. Each pattern is noise to all the others, so that a
memory of α = M/N patterns a unit has errors in a first step with probability ½ erfc(1/√(2α)), and above α = 0.138 it
remembers nothing at all.

Source: CS 479 §16 (units, energy, both gradient rules); Hopfield 1982, Neural networks and physical systems with
emergent collective computational abilities; Hertz, Krogh & Palmer 1991, Introduction to the Theory of Neural
Computation, §2.2 (one step's errors) and eq. 2.73 (what is recalled, after Amit, Gutfreund & Sompolinsky 1985);
Ramsauer et al. 2021, Hopfield Networks Is All You Need, eqs. 2 and 3 (the softmax memory).
Differs: the patterns are known at once, so that weights and biases stand where the notes' rules would lead in one step
of length 1 from 0; biases are 0 unless asked for. A unit of a cue may be 0: not known yet, and heard by nobody.
Shapes: B batch, N units, M patterns.
"""

from collections.abc import Iterator
from math import erf, erfc, pi, sqrt
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require

CAPACITY = 0.138  # patterns a unit, Amit, Gutfreund & Sompolinsky 1985
SWEEPS = 30  # a recall that has not settled by then is given up
ROOTS = 60_000  # places at which the theory's equation is tried
SHARPNESS = 32.0  # of the softmax memory, by mean agreement: 0.1 more of it counts e^3.2 = 24 times

Mode = Literal["asynchronous", "synchronous"]


class Recall(NamedTuple):
    """What a cue came to.

    Attributes:
        states: at the end, of ±1.
        settled: whether another sweep would change nothing.
        energies: before the first sweep and after each.
    """

    states: Float[Tensor, "B N"]
    settled: Bool[Tensor, " B"]
    energies: Float[Tensor, "S B"]


class Hopfield(nn.Module):
    """A memory of patterns of ±1.

    Args:
        neurons: N.

    Raises:
        InvalidValue: no neurons.

    >>> memory = Hopfield(neurons=4)
    >>> memory.store(torch.tensor([[1.0, 1.0, -1.0, -1.0]]))
    >>> memory.recall(torch.tensor([[1.0, 0.0, 0.0, -1.0]])).states.tolist()
    [[1.0, 1.0, -1.0, -1.0]]
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, *, neurons: int) -> None:
        super().__init__()
        require(neurons >= 1, f"neurons is {neurons}, but must be at least 1")
        self.neurons = neurons
        self.register_buffer("weight", torch.zeros(neurons, neurons))
        self.register_buffer("bias", torch.zeros(neurons))

    def store(self, patterns: Float[Tensor, "M N"], *, biases: bool = False, self_connections: bool = False) -> None:
        """Remember these patterns, and nothing else.

        Args:
            patterns: of ±1.
            biases: whether units get biases too, by the same rule; else they are 0.
            self_connections: whether a unit hears itself, which is wrong and here to be looked at.

        Raises:
            InvalidValue: the patterns are of another size, not of ±1, or more than there are units.
        """
        self._check(patterns, "patterns")
        self.weight = hebbian_weights(patterns, self_connections=self_connections)
        self.bias = patterns.mean(0) if biases else torch.zeros_like(patterns[0])

    def forward(self, states: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        """All units at once: each takes the sign of what it hears."""
        self._check(states, "states")
        return signs(heard(states, self.weight, self.bias))

    def energy(self, states: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
        """The energy of states."""
        self._check(states, "states")
        return energy(states, self.weight, self.bias)

    @torch.no_grad()
    def recall(
        self,
        cue: Float[Tensor, "B N"],
        *,
        mode: Mode = "asynchronous",
        sweeps: int = SWEEPS,
        generator: torch.Generator | None = None,
    ) -> Recall:
        """Let cues settle.

        Args:
            cue: of ±1, and 0 where nothing is known.
            mode: one unit after the other, in an order drawn anew for each sweep; or all at once.
            sweeps: how many times each unit has its turn, at the most.
            generator: of the order, on the CPU.

        Raises:
            InvalidValue: cues of another size or of other values, no sweep, or an unknown mode.
        """
        require(sweeps >= 1, f"sweeps is {sweeps}, but must be at least 1")
        if mode not in ("asynchronous", "synchronous"):
            raise InvalidValue(f"mode is '{mode}', but must be asynchronous or synchronous")
        self._check(cue, "cue")
        states, energies, settled = cue, [self.energy(cue)], torch.zeros(len(cue), dtype=torch.bool)
        for following in self._sweeps(cue, mode, generator, sweeps):
            settled = (following == states).all(dim=1)
            states = following
            energies.append(self.energy(states))
            if bool(settled.all()):
                break
        return Recall(states, settled, torch.stack(energies))

    def _sweeps(
        self, states: Float[Tensor, "B N"], mode: Mode, generator: torch.Generator | None, sweeps: int
    ) -> Iterator[Float[Tensor, "B N"]]:
        for _ in range(sweeps):
            order = torch.randperm(self.neurons, generator=generator)
            states = self(states) if mode == "synchronous" else update_in_turn(states, order, self.weight, self.bias)
            yield states

    def _check(self, states: Tensor, what: str) -> None:
        if states.ndim != 2 or states.shape[1] != self.neurons:
            raise InvalidValue(f"{what} are {tuple(states.shape)}, but must be rows of {self.neurons} units")
        require(states.shape[0] >= 1, f"there are no {what}; give at least one row")
        known = "-1 and 1" if what == "patterns" else "-1, 1 and 0 (unknown)"
        values = states.abs()
        allowed = (values == 1) if what == "patterns" else (values == 1) | (values == 0)
        require(bool(allowed.all()), f"{what} hold other values than {known}; binarise them first")


def hebbian_weights(patterns: Float[Tensor, "M N"], *, self_connections: bool = False) -> Float[Tensor, "N N"]:
    """Weights down the energy's slope, averaged over the patterns; the diagonal is exactly 0.

    Raises:
        InvalidValue: there are no patterns, or more than units.

    >>> hebbian_weights(torch.tensor([[1.0, -1.0], [1.0, -1.0]])).tolist()
    [[0.0, -1.0], [-1.0, 0.0]]
    """
    count, neurons = patterns.shape
    require(count >= 1, "there are no patterns to store; give at least one")
    require(
        count <= neurons,
        f"there are {count} patterns for {neurons} neurons; at most one a neuron can be stored "
        f"(and about {max(1, int(CAPACITY * neurons))} recalled), so store fewer or use more neurons",
    )
    # −∂E/∂W averaged over the patterns: W = (1/M) XᵀX − I
    weight = patterns.T @ patterns / count
    return weight if self_connections else weight.fill_diagonal_(0)


def energy(
    states: Float[Tensor, "B N"], weight: Float[Tensor, "N N"], bias: Float[Tensor, " N"]
) -> Float[Tensor, " B"]:
    """How much the units of each state contradict their connections.

    >>> energy(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.zeros(2)).tolist()
    [-1.0, 1.0]
    """
    # E = −½ x W xᵀ − b xᵀ
    return -(states * (states @ weight / 2 + bias)).sum(dim=1)


def heard(
    states: Float[Tensor, "B N"], weight: Float[Tensor, "N N"], bias: Float[Tensor, " N"]
) -> Float[Tensor, "B N"]:
    """What every unit hears from the others: the way down.

    >>> heard(torch.tensor([[1.0, -1.0]]), torch.tensor([[0.0, 2.0], [2.0, 0.0]]), torch.tensor([0.5, 0.0])).tolist()
    [[-1.5, 2.0]]
    """
    # −∂E/∂x = x W + b
    return torch.addmm(bias, states, weight)


def signs(heard: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """1 where something is 0 or more, else −1.

    >>> signs(torch.tensor([-0.1, 0.0, 2.0])).tolist()
    [-1.0, 1.0, 1.0]
    """
    # x_i = 1 if (x W)_i + b_i ≥ 0, else −1
    return (heard >= 0).to(heard.dtype).mul_(2).sub_(1)


def update_in_turn(
    states: Float[Tensor, "B N"],
    order: Int64[Tensor, " updates"],
    weight: Float[Tensor, "N N"],
    bias: Float[Tensor, " N"],
) -> Float[Tensor, "B N"]:
    """The units of this order, one after the other, each hearing the others as they are by then.

    >>> update_in_turn(
    ...     torch.tensor([[1.0, -1.0]]), torch.tensor([1, 0]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.zeros(2)
    ... ).tolist()
    [[1.0, 1.0]]
    """
    states = states.clone()
    for unit in order.tolist():
        # x_i ← sign(Σ_j x_j W_ji + b_i); W is symmetric, and its rows lie together in memory
        states[:, unit] = signs(torch.mv(states, weight[unit]) + bias[unit])
    return states


def softmax_recall(
    patterns: Float[Tensor, "M N"], cue: Float[Tensor, "B N"], *, sharpness: float = SHARPNESS, steps: int = 3
) -> Float[Tensor, "B N"]:
    """The softmax memory: as many steps towards the patterns that agree most with the state.

    Args:
        patterns: of any real values.
        cue: where the state begins.
        sharpness: β N; the agreement of state and pattern is taken as a mean over the units.
        steps: how many; one is nearly always enough.

    Raises:
        InvalidValue: a sharpness that is not positive, or a negative number of steps.

    >>> patterns = torch.tensor([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]])
    >>> softmax_recall(patterns, torch.tensor([[0.0, 1.0, 0.0, 0.0]])).round().tolist()
    [[1.0, 1.0, -1.0, -1.0]]
    """
    require(sharpness > 0, f"sharpness is {sharpness}, but must be positive")
    require(steps >= 0, f"steps is {steps}, but must be 0 or more")
    for _ in range(steps):
        # x ← softmax(β x Xᵀ) X
        cue = (sharpness / patterns.shape[1] * cue @ patterns.T).softmax(dim=1) @ patterns
    return cue


def softmax_energy(
    patterns: Float[Tensor, "M N"], states: Float[Tensor, "B N"], *, sharpness: float = SHARPNESS
) -> Float[Tensor, " B"]:
    """The energy that `softmax_recall` never lets rise; at least 0.

    >>> round(softmax_energy(torch.ones(1, 4), torch.ones(1, 4)).item(), 6)
    0.0
    """
    beta = sharpness / patterns.shape[1]
    count, largest = torch.tensor(float(len(patterns))), patterns.square().sum(1).max()
    # E = −(1/β) ln Σ exp(β x Xᵀ) + ½ x xᵀ + (1/β) ln M + ½ max ‖X_m‖²
    agreement = (beta * states @ patterns.T).logsumexp(dim=1)
    return (count.log() - agreement) / beta + (states.square().sum(1) + largest) / 2


def predicted_error(load: float) -> float:
    """The probability that a unit of a stored pattern flips in one step, for many units and random patterns.

    Args:
        load: α, patterns a unit.

    Raises:
        InvalidValue: a load that is not positive.

    >>> round(predicted_error(0.138), 4)
    0.0036
    """
    require(load > 0, f"load is {load}, but must be positive")
    # ½ erfc(1/√(2α)): the others' noise, of variance α, outweighs a pattern's own 1
    return erfc(1 / sqrt(2 * load)) / 2


def predicted_overlap(load: float) -> float:
    """How much of a random pattern a large memory keeps when it settles from it; 0 beyond its capacity.

    Args:
        load: α, patterns a unit.

    Raises:
        InvalidValue: a load that is not positive.

    >>> round(predicted_overlap(0.1), 3), round(predicted_overlap(0.1379), 2), predicted_overlap(0.15)
    (0.998, 0.97, 0.0)
    """
    require(load > 0, f"load is {load}, but must be positive")
    # the largest y with erf(y) = y (√(2α) + (2/√π) e^(−y²)); then m = erf(y)
    roots = torch.arange(1, ROOTS + 1, dtype=torch.float64) * (6 / ROOTS)
    above = roots.erf() >= roots * (sqrt(2 * load) + 2 / sqrt(pi) * (-roots.square()).exp())
    root = float(roots[above].max()) if above.any() else 0.0
    # Near 0 both sides are alike, to within rounding: the memory is lost.
    return erf(root) if root > 0.1 else 0.0
