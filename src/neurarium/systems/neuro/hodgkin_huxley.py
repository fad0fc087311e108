r"""Hodgkin–Huxley neurons: ion channels that open and close with the voltage, and the spikes that come of it.

A membrane leaks, lets sodium in (which drives the voltage up) and potassium out (which drives it down). A sodium
channel is open when three gates m and a gate h are, a potassium channel when four gates n are; every gate follows the
voltage with its own delay. m is fast and opens when the voltage rises, so a push becomes a spike; h closes and n opens
a millisecond later, and end it. No threshold is written anywhere: spikes, refractory period, the lowest rate a neuron
can keep up and the block under strong currents all follow from these four equations.

Exponential Euler holds everything but one variable still for the length of a step and solves that one exactly; it is
of first order and never diverges. Runge–Kutta is of fourth order, four times the work, and diverges at steps that are
a little too long (see `LARGEST`).

Source: CS 479 §2.1 (gates, membrane equation); Hodgkin & Huxley 1952, J. Physiol. 117, equations 12–13, 20–21, 23–24
and 26, with voltages shifted to a rest of −65 mV, as in Dayan & Abbott 2001, §5.5–5.6.
Differs: a spike is a crossing of 0 mV upwards, at a time found by a straight line through its step. `compiled` makes
several steps a call; the rule is the same.
Shapes: B batch, T time steps, K steps of a block, N neurons. Units: s outside; inside mV, ms, µA/cm², mS/cm², µF/cm².
"""

from dataclasses import dataclass
from math import e
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.parts.blocks import Blocks
from neurarium.parts.simulation import check_current, relaxed, runge_kutta, steps_in

CAPACITANCE = 1.0  # µF/cm², Hodgkin & Huxley 1952, table 3, as are the next six
SODIUM, POTASSIUM, LEAK = 120.0, 36.0, 0.3  # mS/cm², largest conductances
SODIUM_REVERSAL, POTASSIUM_REVERSAL, LEAK_REVERSAL = 50.0, -77.0, -54.387  # mV, where each current turns around
REST = -65.0  # mV
SPIKE = 0.0  # mV, crossed upwards by a spike

DT = 2.5e-5  # s, one step
# s, measured: exponential Euler loses 5 % of the rate; Runge–Kutta diverges at 8e-5 under 500 µA/cm².
LARGEST = {"exponential_euler": 1e-4, "runge_kutta": 7e-5}
MILLISECONDS = 1e3  # in a second
NEAR = 0.1  # where the next term of a gate's series is below 4e-11

Method = Literal["exponential_euler", "runge_kutta"]


class State(NamedTuple):
    """Where neurons stand between two steps.

    Attributes:
        voltage: V in mV.
        n: how far the gates of potassium are open.
        m: how far the fast gates of sodium are open.
        h: how far the slow gate of sodium is open.
    """

    voltage: Float[Tensor, "B N"]
    n: Float[Tensor, "B N"]
    m: Float[Tensor, "B N"]
    h: Float[Tensor, "B N"]


class Gate(NamedTuple):
    """What a gate does at a voltage: it approaches `target` at `rate` (1/ms)."""

    target: Float[Tensor, "*shape"]
    rate: Float[Tensor, "*shape"]


class Gates(NamedTuple):
    """All three at one voltage."""

    n: Gate
    m: Gate
    h: Gate


class Recording(NamedTuple):
    """A simulation with all there is to see: spikes (0 or 1) and states at the ends of steps, the state at the end."""

    spikes: Float[Tensor, "B T N"]
    states: State
    state: State


class Firing(NamedTuple):
    """How neurons fired once they had settled: the number of spikes, and the rate in Hz."""

    spikes: Float[Tensor, "B N"]
    rate: Float[Tensor, "B N"]


class Tally(NamedTuple):
    """A simulation that only counts: steps made, spikes since it settled, the first's and the last's time in steps."""

    state: State
    steps: Float[Tensor, "B N"]
    spikes: Float[Tensor, "B N"]
    first: Float[Tensor, "B N"]
    last: Float[Tensor, "B N"]


@dataclass(frozen=True, kw_only=True)
class Membrane:
    """The constants of the squid's giant axon, or others.

    Args:
        capacitance: C in µF/cm².
        sodium: g_Na in mS/cm², with all channels open.
        potassium: g_K, likewise.
        leak: g_L.
        sodium_reversal: V_Na in mV.
        potassium_reversal: V_K.
        leak_reversal: V_L.

    Raises:
        InvalidValue: a capacitance or leak that is not positive, or a negative conductance.

    >>> Membrane(potassium=0.0).potassium  # a poison that closes its channels
    0.0
    """

    capacitance: float = CAPACITANCE
    sodium: float = SODIUM
    potassium: float = POTASSIUM
    leak: float = LEAK
    sodium_reversal: float = SODIUM_REVERSAL
    potassium_reversal: float = POTASSIUM_REVERSAL
    leak_reversal: float = LEAK_REVERSAL

    def __post_init__(self) -> None:
        for name in ("capacitance", "leak"):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}, but must be positive")
        for name in ("sodium", "potassium"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}, but must be at least 0")

    def channels(self, state: State) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
        """The conductance of all channels together (mS/cm²), and the current they would let in at 0 mV (µA/cm²)."""
        _, n, m, h = state
        # g_Na m³ h, g_K n⁴, and g_L, which is always open
        sodium, potassium = self.sodium * m * m * m * h, self.potassium * (n * n) * (n * n)
        conductance = sodium + potassium + self.leak
        inward = sodium * self.sodium_reversal + potassium * self.potassium_reversal + self.leak * self.leak_reversal
        return conductance, inward


def gates(voltage: Float[Tensor, "*shape"]) -> Gates:
    """Target and rate of every gate at a voltage in mV.

    >>> [round(gate.target.item(), 3) for gate in gates(torch.tensor(-65.0))]  # at rest
    [0.318, 0.053, 0.596]
    """
    # v in mV above rest; e^(−v/20) and e^(−v/10) are powers of e^(−v/80)
    depolarised = voltage - REST
    eightieth = torch.exp(-depolarised / 80)
    twentieth = eightieth.square().square()
    tenth = twentieth.square()
    # αₙ = 0.01 (10 − v)/(e^((10 − v)/10) − 1), βₙ = 0.125 e^(−v/80)
    n = 0.1 * ramp((depolarised - 10) / 10, e * tenth), 0.125 * eightieth
    # αₘ = 0.1 (25 − v)/(e^((25 − v)/10) − 1), βₘ = 4 e^(−v/18)
    m = ramp((depolarised - 25) / 10, e**2.5 * tenth), 4 * torch.exp(-depolarised / 18)
    # αₕ = 0.07 e^(−v/20), βₕ = 1/(e^((30 − v)/10) + 1)
    h = 0.07 * twentieth, 1 / (e**3 * tenth + 1)
    # a∞ = α/(α + β), 1/τ = α + β
    return Gates(*(Gate(opening / (opening + closing), opening + closing) for opening, closing in (n, m, h)))


def ramp(x: Float[Tensor, "*shape"], falling: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x/(1 − e^(−x)), and 1 at 0, given e^(−x); near 0 by its series, for the difference loses digits there.

    >>> x = torch.tensor([0.0, 10.0, -20.0], dtype=torch.float64)
    >>> [round(value, 6) for value in ramp(x, torch.exp(-x)).tolist()]
    [1.0, 10.000454, 0.0]
    """
    near, square = x.abs() < NEAR, x * x
    # 1 + x/2 + x²/12 − x⁴/720 + …
    series = 1 + x / 2 + square * (1 / 12 - square / 720)
    return torch.where(near, series, x / (1 - torch.where(near, 0.5, falling)))


def derivative(state: State, current: Float[Tensor, "B N"], membrane: Membrane) -> State:
    """The four equations, in 1/ms."""
    conductance, inward = membrane.channels(state)
    # C dV/dt = J − g_L (V − V_L) − g_Na m³ h (V − V_Na) − g_K n⁴ (V − V_K)
    voltage = (current + inward - conductance * state.voltage) / membrane.capacitance
    # da/dt = (a∞(V) − a)/τ(V), for each gate a
    moving = (gate.rate * (gate.target - a) for gate, a in zip(gates(state.voltage), state[1:], strict=True))
    return State(voltage, *moving)


def exponential_step(state: State, current: Float[Tensor, "B N"], membrane: Membrane, dt: float) -> State:
    """One step of dt (ms) of exponential Euler."""
    conductance, inward = membrane.channels(state)
    # V∞ = (J + g_Na m³ h V_Na + g_K n⁴ V_K + g_L V_L)/g and τ_V = C/g, with g of all channels together
    decay = torch.exp(conductance * (-dt / membrane.capacitance))
    voltage = relaxed(state.voltage, (current + inward) / conductance, decay)
    moved = (
        relaxed(a, gate.target, torch.exp(-dt * gate.rate))
        for gate, a in zip(gates(state.voltage), state[1:], strict=True)
    )
    return State(voltage, *moved)


class HodgkinHuxley(nn.Module):
    """Spikes from currents in µA/cm².

    Args:
        neurons: N.
        dt: length of a step in s.
        method: "runge_kutta" or "exponential_euler".
        membrane: its constants.
        compiled: make 10 steps a call of `torch.compile`: many times as fast, after a minute at the first call.

    Raises:
        InvalidValue: no neurons, an unknown method, a step that is not positive or longer than the method can take.

    >>> neuron = HodgkinHuxley(neurons=2)
    >>> neuron(torch.tensor([0.0, 10.0]).expand(1, 2000, 2)).sum(1).tolist()  # 50 ms
    [[0.0, 4.0]]
    """

    def __init__(
        self,
        *,
        neurons: int,
        dt: float = DT,
        method: Method = "runge_kutta",
        membrane: Membrane | None = None,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        require(neurons >= 1, f"neurons is {neurons}, but must be at least 1")
        if method not in LARGEST:
            raise InvalidValue(f"method is '{method}', but must be one of {', '.join(LARGEST)}")
        require(dt > 0, f"dt is {dt} s, but must be positive")
        why = f"the largest step that works with {method}; take smaller steps"
        require(dt <= LARGEST[method], f"dt is {dt} s, but must be at most {LARGEST[method]} s, {why}")
        self.neurons, self.dt, self.method, self.compiled = neurons, dt, method, compiled
        self.membrane = Membrane() if membrane is None else membrane
        self.recording, self.counting = Blocks(self.show, compiled=compiled), Blocks(self.tally, compiled=compiled)

    def forward(self, current: Float[Tensor, "B T N"]) -> Float[Tensor, "B T N"]:
        """Spikes (0 or 1) from rest.

        Raises:
            InvalidValue: the current is empty, not finite, or of another number of neurons.
            NotFinite: the voltage left the numbers; a very strong current needs smaller steps.
        """
        return self.record(current).spikes

    def record(self, current: Float[Tensor, "B T N"], state: State | None = None) -> Recording:
        """Spikes, voltages and gates at every step, from rest or from where an earlier recording ended.

        Raises:
            InvalidValue: the current is empty, not finite, or of another number of neurons.
            NotFinite: the voltage left the numbers; a very strong current needs smaller steps.
        """
        state = self.rest(current) if state is None else state
        check_current(current, state.voltage, neurons=self.neurons)
        done = self.recording.simulate(state, current, keep=True, dt=self.dt)
        spikes, *states = done.kept["shown"].unbind(-1)
        return Recording(spikes, State(*states), done.state)

    def measure_rate(self, current: Float[Tensor, "B N"], *, seconds: float, settle: float = 0.0) -> Firing:
        """Simulate constant currents from rest, and take the rate from the mean interval between spikes.

        Where there were fewer than two spikes, the neuron does not fire tonically, and its rate is 0.

        Args:
            current: in µA/cm².
            seconds: of the whole simulation.
            settle: seconds at its beginning whose spikes do not count.

        Raises:
            InvalidValue: the time left is shorter than a step, or the current cannot be used.

        >>> neuron = HodgkinHuxley(neurons=1, dt=5e-5)
        >>> round(neuron.measure_rate(torch.tensor([[10.0]]), seconds=0.1, settle=0.03).rate.item())
        68
        """
        steps, still = steps_in(seconds, self.dt), settle / self.dt
        require(still < steps, f"settle is {settle} s, but must be shorter than the {seconds} s simulated")
        zeros = torch.zeros_like(current)
        start = Tally(self.rest(current), zeros - still, zeros, zeros, zeros)
        held = current.unsqueeze(1).expand(-1, steps, -1)
        check_current(held, start.state.voltage, neurons=self.neurons)
        tally = self.counting.simulate(start, held, dt=self.dt).state
        between = (tally.last - tally.first) * self.dt
        return Firing(tally.spikes, torch.where(tally.spikes > 1, (tally.spikes - 1) / between, 0))

    def rest(self, current: Float[Tensor, "B ..."]) -> State:
        """The state of neurons at −65 mV with settled gates, for currents (B, N) or (B, T, N) like this one."""
        voltage = current.new_full((current.shape[0], self.neurons), REST)
        return State(voltage, *(gate.target for gate in gates(voltage)))

    def step(self, state: State, current: Float[Tensor, "B N"]) -> tuple[Float[Tensor, "B N"], State]:
        """One step: spikes (0 or 1) and the state after it, a rule for `simulate`."""
        dt = MILLISECONDS * self.dt
        if self.method == "exponential_euler":
            after = exponential_step(state, current, self.membrane, dt)
        else:
            after = runge_kutta(self.derivative, dt)(state, current)
        return ((state.voltage <= SPIKE) & (after.voltage > SPIKE)).to(current.dtype), after

    def derivative(self, state: State, current: Float[Tensor, "B N"]) -> State:
        """The four equations for this membrane, in 1/ms."""
        return derivative(state, current, self.membrane)

    def show(self, state: State, current: Float[Tensor, "B N"]) -> tuple[Float[Tensor, "B N 5"], State]:
        """One step that shows its spikes and all of the state after it."""
        spikes, state = self.step(state, current)
        return torch.stack([spikes, *state], dim=-1), state

    def tally(self, tally: Tally, current: Float[Tensor, "B N"]) -> tuple[Float[Tensor, "B N"], Tally]:
        """One step that counts spikes, and keeps when the first and the last were."""
        spikes, state = self.step(tally.state, current)
        steps = tally.steps + 1
        # t − V/(V − V_before): where the straight line through the step crosses 0 mV
        moment = steps - (state.voltage - SPIKE) / (state.voltage - tally.state.voltage)
        counts = (spikes > 0) & (moment > 0)
        first = torch.where(counts & (tally.spikes == 0), moment, tally.first)
        last = torch.where(counts, moment, tally.last)
        return spikes, Tally(state, steps, tally.spikes + counts.to(steps.dtype), first, last)
