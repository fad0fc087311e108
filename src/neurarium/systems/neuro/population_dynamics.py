r"""Population dynamics: a population connected to itself lives by any differential equation dy/dt = f(y).

A synapse forgets: its current falls with the time constant τ towards what arrives. If what arrives is read from the
population itself by decoders of τ f(y) + y, then τ dy/dt = −y + (τ f(y) + y), so the y that the neurons hold obeys
dy/dt = f(y). The y keeps what the synapse would forget, and τ f(y) moves it. An input u is carried in as τ u. With
f = 0 the population remembers; in two or three dimensions it swings, swings as fast as one of its own values says, or
wanders on the Lorenz attractor. The equation is any Python function of one value.

Source: CS 479, "Dynamics" (dynamic model of current and activity, recurrent network, dy/dt = f(y)); Eliasmith &
Anderson 2003, Neural Engineering, §8 (recurrent populations); Lorenz 1963, eq. 25–27.
Differs: the low-rank DE stands in place of recurrent weights W, and because the synapse is linear, the filter is put
on the few decoded numbers and not on every neuron's current, which is the same. Rate neurons are the notes' case of a
membrane much faster than the synapse. Voltages do not fall below rest, as in nengo.LIF: else neurons that were held far
down would answer late, and slow the whole population. Nothing is learned and no gradient is used.
Shapes: B batch, T time steps, S steps of a block, N neurons, D dimensions of the value. Units: s, Hz; value in the ball
of radius 1; currents without dimension (threshold 1).
"""

from collections.abc import Callable
from math import pi
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from neurarium.errors import InvalidValue, require
from neurarium.parts.decoders import Function, solve_decoders, tabulate
from neurarium.parts.simulation import Probe, constant, runge_kutta, simulate
from neurarium.parts.synapses import Exponential, exponential
from neurarium.parts.tuning import TAU_MEMBRANE, TAU_REFRACTORY, rate
from neurarium.systems.neuro.lif import DT, LIF, Factors, exact_step
from neurarium.systems.neuro.lif import State as Membranes
from neurarium.systems.neuro.population_coding import Population

TAU = 0.1  # s, recurrent synapse: slow (NMDA), as in Nengo's examples of recurrent populations
BLOCK = 10  # steps between two looks from outside; compiled, they are one program
FARTHEST = 1.5  # length of a value at which a population has left what its decoders were solved for
RIM = 200  # values of length 1 at which f is asked whether it pushes out or pulls back
SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3  # Lorenz 1963
LORENZ_SCALE = 32.0  # the attractor reaches about 30 from its middle
STILL = 1e-3  # 1/s, growth below which f does not push out: rounding


class State(NamedTuple):
    """Where a population stands between two steps.

    Attributes:
        value: y, what arrives through the recurrent synapse.
        membranes: of the neurons, at rest if they answer with rates.
    """

    value: Float[Tensor, "B D"]
    membranes: Membranes


class Dynamics(nn.Module):
    """A population whose value moves by dy/dt = f(y) + u.

    Args:
        population: of neurons that hold y.
        function: f of one value (D,), in 1/s; gives D numbers.
        spiking: whether the neurons fire spikes, or answer with rates at once.
        tau: of the recurrent synapse, in s.
        dt: length of a step in s.

    Raises:
        InvalidValue: a time that is not positive, a function that cannot be used or gives another number of values, one
            that pushes every value outwards, or one that pulls back too fast for the step.

    >>> from neurarium.systems.neuro.population_coding import make_population
    >>> population = make_population(300, 2, generator=torch.Generator().manual_seed(0))
    >>> swing = Dynamics(population, oscillator(1.0), spiking=False)
    >>> quarter = swing.follow(torch.tensor([[0.8, 0.0]]), 250)[0, -1]  # of a second, and so of a period
    >>> quarter.round(decimals=1).abs()
    tensor([0.0000, 0.8000])
    """

    encoders: Tensor
    bias: Tensor
    decoders: Tensor

    def __init__(
        self,
        population: Population,
        function: Function,
        *,
        spiking: bool = True,
        tau: float = TAU,
        dt: float = DT,
    ) -> None:
        super().__init__()
        self.filter: Exponential = exponential(dt, tau)
        self.population, self.spiking, self.tau, self.dt = population, spiking, tau, dt
        self.neuron = LIF(neurons=population.neurons, dt=dt)
        self.register_buffer("decoders", self._feedback(function))
        # E = (α e)ᵀ
        self.register_buffer("encoders", (population.gain.unsqueeze(1) * population.encoders).T.contiguous())
        self.register_buffer("bias", population.bias)
        self._fast: Callable[..., tuple[Tensor, State]] | None = None

    def _feedback(self, function: Function) -> Float[Tensor, "N D"]:
        """Decoders of τ f(y) + y, once f is known to be usable."""
        values, dimensions = self.population.values, self.population.dimensions
        flow = tabulate(function, values)
        if flow.shape[1] != dimensions:
            raise InvalidValue(
                f"the function gives {flow.shape[1]} numbers, but must give {dimensions}, one for each of y"
            )
        check_stable(values, function, self.filter, self.tau, self.dt)
        # D of τ f(y) + y
        return solve_decoders(self.population.encode(values), self.tau * flow + values, noise=self.population.noise)

    def weights(self) -> Float[Tensor, "N N"]:
        """The recurrent weight from every neuron to every neuron."""
        # W = D E
        return self.decoders @ self.encoders

    @torch.no_grad()
    def follow(
        self,
        start: Float[Tensor, "B D"],
        steps: int,
        *,
        inputs: Float[Tensor, "B T D"] | None = None,
        generator: torch.Generator | None = None,
        compiled: bool = False,
    ) -> Float[Tensor, "B T D"]:
        """The value after every step.

        Args:
            start: the value before the first.
            steps: T.
            inputs: u of every step, in 1/s; none if not given.
            generator: where the membranes' voltages at the start come from.
            compiled: whether `torch.compile` makes one program of a block of steps; that takes seconds, once.

        Raises:
            InvalidValue: no steps, a start or inputs of other shape, empty or not finite, or a value that runs away.
        """
        self._check(start, steps, inputs)
        factors, blocks = self.neuron.factors(self.encoders), -(-steps // BLOCK)
        if compiled and self._fast is None:
            self._fast = torch.compile(self.block)
        advance = self._fast if compiled and self._fast is not None else self.block
        # Blocks and start are copied into one and the same layout: for another, a compiled program is made anew.
        whole = start.new_zeros(len(start), blocks * BLOCK, start.shape[1])
        if inputs is not None:
            whole[:, :steps] = inputs
        given = whole.unflatten(1, (blocks, BLOCK)).transpose(0, 1).contiguous().unbind(0)
        done = simulate(
            lambda state, block: advance(state, block, factors),
            self.begin(start.clone(memory_format=torch.contiguous_format), generator),
            given,
            probes={"value": Probe(lambda values, _: values)},
            dt=BLOCK * self.dt,
        )
        values = done.kept["value"].flatten(1, 2)[:, :steps]
        check_inside(values, self.dt)
        return values

    def block(
        self, state: State, inputs: Float[Tensor, "B S D"], factors: Factors
    ) -> tuple[Float[Tensor, "B S D"], State]:
        """The steps of one block: the value after each, and the state after the last."""
        values = []
        for given in inputs.unbind(1):
            state = self.step(state, given, factors)
            values.append(state.value)
        return torch.stack(values, dim=1), state

    def step(self, state: State, given: Float[Tensor, "B D"], factors: Factors) -> State:
        """One step: the value drives the neurons, they fire, and decoders read from that where the value moves."""
        # J = E y + β
        current = self.bias + applied(state.value, self.encoders)
        rising = self.filter.rise * self.tau * given
        if self.spiking:
            spikes, (voltage, hold) = exact_step(state.membranes, current, factors)
            # τ dy/dt = −y + D·spikes + τ u
            value = self.filter.spikes(state.value, applied(spikes, self.decoders)) + rising
            # v ← max(v, 0)
            return State(value, Membranes(voltage.clamp(min=0), hold))
        # τ dy/dt = −y + D·G(J) + τ u
        return State(self.filter.value(state.value, applied(rate(current), self.decoders)) + rising, state.membranes)

    def begin(self, start: Float[Tensor, "B D"], generator: torch.Generator | None = None) -> State:
        """The state of a population that has held a value for long, each neuron somewhere between two of its spikes."""
        current = self.population.tuning.current(start)
        if not self.spiking:
            return State(start, self.neuron.rest(current))
        chance = torch.rand(current.shape, generator=generator or torch.Generator().manual_seed(0)).to(current)
        since = (1 - chance) / rate(current)  # s since the last spike; infinite where there is none
        silent = (TAU_REFRACTORY - since).clamp(min=-self.dt)
        # v = J (1 − e^(−t/τm)), t after the refractory period
        voltage = -current.clamp(min=0) * torch.expm1((TAU_REFRACTORY - since).clamp(max=0) / TAU_MEMBRANE)
        return State(start, Membranes(voltage, (silent / TAU_MEMBRANE).exp()))

    def _check(self, start: Tensor, steps: int, inputs: Tensor | None) -> None:
        dimensions = self.population.dimensions
        require(steps >= 1, f"steps is {steps}, but must be at least 1")
        if start.ndim != 2 or start.shape[1] != dimensions or start.shape[0] == 0:
            raise InvalidValue(
                f"the start is {tuple(start.shape)}, but must be (batch, {dimensions}), at least one value"
            )
        wanted = (start.shape[0], steps, dimensions)
        if inputs is not None and inputs.shape != wanted:
            raise InvalidValue(f"the inputs are {tuple(inputs.shape)}, but must be {wanted}, one for every step")
        for name, given in (("start", start), ("input", inputs)):
            finite = given is None or bool(given.isfinite().all())
            require(finite, f"the {name} is NaN or infinite somewhere; every number must be finite")


def applied(values: Float[Tensor, "B I"], weights: Float[Tensor, "I O"]) -> Float[Tensor, "B O"]:
    """A matrix product; written out where it is compiled, so that it becomes one loop with what stands around it."""
    if torch.compiler.is_compiling():
        return (values.unsqueeze(2) * weights).sum(1)
    return values @ weights


def check_stable(values: Float[Tensor, "P D"], function: Function, filter: Exponential, tau: float, dt: float) -> None:
    """Refuse an equation under which the recurrent weights cannot hold the value.

    Raises:
        InvalidValue: f pushes every value of length 1 outwards, or pulls one back by twice its length in a step.
    """
    rim = normalize(values[:RIM], dim=1)
    # ½ d|y|²/dt = y·f(y): growth at length 1, in 1/s
    growth = (rim * tabulate(function, rim)).sum(1)
    outwards = (
        f"the recurrent weights are unstable: f pushes every value of length 1 outwards, by {float(growth.min()):g}/s"
    )
    require(float(growth.min()) <= STILL, f"{outwards} or more; add a pull inwards, such as −c·y, or scale y down")
    strongest = -float(growth.min())
    # |1 + (1 − e^(−dt/τ)) τ λ| ≤ 1
    fast = f"the recurrent weights are unstable: f pulls back by {strongest:g}/s, too fast for steps of {dt:g} s"
    require(filter.rise * tau * strongest <= 2, f"{fast}; take steps of at most {2 / max(strongest, STILL):g} s")


def check_inside(values: Float[Tensor, "B T D"], dt: float) -> None:
    """Refuse a trajectory that left what the population can hold.

    Raises:
        InvalidValue: says when.
    """
    far = (values.norm(dim=2) > FARTHEST).any(0)
    if bool(far.any()):
        step = int(far.int().argmax()) + 1
        told = (
            f"the value ran away: at step {step} ({step * dt:g} s) its length passed {FARTHEST:g}, but neurons hold 1"
        )
        raise InvalidValue(f"{told}; the recurrent weights are unstable for this f: scale y down, or use more neurons")


def true_values(
    function: Function,
    start: Float[Tensor, "B D"],
    steps: int,
    *,
    dt: float,
    inputs: Float[Tensor, "B T D"] | None = None,
) -> Float[Tensor, "B T D"]:
    """The equation itself, by Runge's and Kutta's rule: what a population should follow.

    >>> true_values(lambda y: -y, torch.ones(1, 1, dtype=torch.float64), 10, dt=0.1)[0, -1].round(decimals=4)
    tensor([0.3679], dtype=torch.float64)
    """

    def flow(y: Tensor, u: Tensor) -> Tensor:
        return tabulate(function, y) + u

    move = runge_kutta(flow, dt)
    zero = torch.zeros_like(start)
    given = constant(zero, steps) if inputs is None else inputs.unbind(1)

    def rule(state: Tensor, now: Tensor) -> tuple[None, Tensor]:
        return None, move(state, now)

    return simulate(rule, start, given, probes={"y": Probe(lambda _, state: state)}, dt=dt).kept["y"]


def integrator(y: Float[Tensor, " D"]) -> Float[Tensor, " D"]:
    """f(y) = 0: the value stays, and inputs add up."""
    return torch.zeros_like(y)


def oscillator(frequency: float) -> Function:
    """A harmonic oscillator of this frequency in Hz.

    >>> oscillator(0.5)(torch.tensor([1.0, 0.0]))
    [tensor(-0.), tensor(3.1416)]
    """
    # f(y) = ω (−y₂, y₁)
    return lambda y: [-2 * pi * frequency * y[1], 2 * pi * frequency * y[0]]


def controlled_oscillator(frequency: float, follow: float = 5.0) -> Function:
    """One whose frequency in Hz is y₃ times this; y₃ follows the third input over the rate `follow` in 1/s."""
    # f(y) = (−ω y₃ y₂, ω y₃ y₁, −k y₃)
    return lambda y: [-2 * pi * frequency * y[2] * y[1], 2 * pi * frequency * y[2] * y[0], -follow * y[2]]


def lorenz(y: Float[Tensor, " 3"]) -> list[float]:
    """Lorenz's attractor, its third value moved down by ρ and all divided by 32, so that it lies in the ball."""
    x1, x2, x3 = (LORENZ_SCALE * y).tolist()
    # σ (x₂ − x₁);  −x₁ x₃ − x₂;  x₁ x₂ − β (x₃ + ρ), with x₃ counted from ρ
    flow = SIGMA * (x2 - x1), -x1 * x3 - x2, x1 * x2 - BETA * (x3 + RHO)
    return [number / LORENZ_SCALE for number in flow]


def turning(values: Float[Tensor, "B T D"], dt: float) -> Float[Tensor, " B"]:
    """How often the first two values go round in a second.

    >>> angle = 2 * pi * 3 * torch.linspace(0, 1, 101)
    >>> turning(torch.stack([angle.cos(), angle.sin()], dim=1)[None], 0.01).round(decimals=4)
    tensor([3.])
    """
    angle = torch.atan2(values[..., 1], values[..., 0]).diff(dim=1)
    # from one step to the next by less than half a round
    turned = torch.remainder(angle + pi, 2 * pi) - pi
    return turned.mean(1) / (2 * pi * dt)
