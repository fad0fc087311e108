r"""Leaky integrate-and-fire neurons: leak, sum, fire, reset.

A membrane leaks towards the voltage its input current would hold it at. When it reaches the threshold the neuron fires,
falls back to rest and stays there for the refractory period. Only the time of a spike counts, not its shape.

Between two changes of the current J the equation τm dv/dt = J − v has a closed form, so a step need not be small:
v(t + a) = J + (v − J) e^(−a/τm), where a is the part of the step outside the refractory period. If that ends above 1,
the threshold was crossed o = τm ln((J − 1)/(J − v)) before the end, and τref − o of the refractory period is left. This
file never takes that logarithm or the exponential of a. It keeps the refractory time left, r, as the factor
hold = e^(r/τm): a step of dt multiplies hold by e^(−dt/τm), a spike sets it to e^(τref/τm) (J − v)/(J − 1), and
e^(−a/τm) is hold between the bounds e^(−dt/τm) and 1. So a step of any number of neurons is about ten cheap operations.

Source: CS 479 §2.2 (sub-threshold equation, dimensionless form, refractory period) and §3.2; the rate formula and
tuning curves of §2.2 stand in `parts.tuning`.
Differs: a current is constant within a step, and a step is no longer than the refractory period, so that it holds at
most one spike. `method="euler"` is the usual approximation, for comparison.
Shapes: B batch, T time steps, N neurons. Units: s, Hz; voltage and current without dimension (rest 0, threshold 1), see
`Membrane` for volts and amperes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.parts.simulation import check_current
from neurarium.parts.tuning import TAU_MEMBRANE, TAU_REFRACTORY, check_times

DT = 0.001  # s, one step

CAPACITANCE = 1e-9  # F: a leak of 10 ms, Dayan & Abbott 2001, §5.4 (as are the next three)
CONDUCTANCE = 1e-7  # S, leak: 1/(10 MΩ)
REST = -0.065  # V
THRESHOLD = -0.050  # V

STIFFEST = 50.0  # τref/τm: beyond it hold would leave the range of float32
TINY = 1e-30  # stands for J − 1 where a neuron cannot fire, so that nothing is divided by 0

Method = Literal["exact", "euler"]


class State(NamedTuple):
    """Where neurons stand between two steps.

    Attributes:
        voltage: v, at most 1.
        hold: e^(r/τm), with r the refractory time left; below 1 once it is over.
    """

    voltage: Float[Tensor, "B N"]
    hold: Float[Tensor, "B N"]


class Stepped(NamedTuple):
    """What one step gives: 1 where a neuron fired (else 0), and the state after it."""

    spikes: Float[Tensor, "B N"]
    state: State


class Recording(NamedTuple):
    """A simulation with all there is to see.

    Attributes:
        spikes: 1 in the steps in which a neuron fired.
        voltage: at the end of each step, 0 during the refractory period.
        times: of the spikes, in s from the start of the recording, within the step exact; NaN where there is none.
        state: at the end, to go on from.
    """

    spikes: Float[Tensor, "B T N"]
    voltage: Float[Tensor, "B T N"]
    times: Float[Tensor, "B T N"]
    state: State


class Factors(NamedTuple):
    """The constants of a step. Products and differences are 2 µs faster with a tensor, bounds with a number.

    Attributes:
        decay: e^(−dt/τm).
        longest_hold: e^(τref/τm).
        threshold: 1.
        floor: `decay` as a number.
    """

    decay: Float[Tensor, ""]
    longest_hold: Float[Tensor, ""]
    threshold: Float[Tensor, ""]
    floor: float


class LIF(nn.Module):
    """Spikes from currents.

    Args:
        neurons: N.
        dt: length of a step in s.
        tau_membrane: time constant of the leak in s.
        tau_refractory: silence after a spike in s.
        method: "exact", or "euler" with a refractory period of whole steps.

    Raises:
        InvalidValue: no neurons, an unknown method, a time that is not positive, a step longer than the refractory
            period, or a refractory period more than 50 times the leak's time constant.

    >>> neuron = LIF(neurons=1)
    >>> current = torch.full((1, 100, 1), 2.0)  # a tenth of a second
    >>> int(neuron(current).sum())  # the rate is 63 Hz
    6
    >>> round(neuron.record(current).times.nanquantile(0).item(), 6)  # τm ln 2, within the 14th step
    0.013863
    """

    def __init__(
        self,
        *,
        neurons: int,
        dt: float = DT,
        tau_membrane: float = TAU_MEMBRANE,
        tau_refractory: float = TAU_REFRACTORY,
        method: Method = "exact",
    ) -> None:
        super().__init__()
        require(neurons >= 1, f"neurons is {neurons}, but must be at least 1")
        check_times(tau_membrane, tau_refractory)
        require(dt > 0, f"dt is {dt} s, but must be positive")
        why = "so that a step holds at most one spike; take smaller steps"
        require(dt <= tau_refractory, f"dt is {dt} s, but must be at most tau_refractory, {tau_refractory} s, {why}")
        stiff = f"tau_refractory is {tau_refractory} s, but must be at most {STIFFEST:g} tau_membrane, {tau_membrane} s"
        require(tau_refractory <= STIFFEST * tau_membrane, stiff)
        if method not in STEPS:
            raise InvalidValue(f"method is '{method}', but must be one of {', '.join(STEPS)}")
        self.neurons, self.dt, self.method = neurons, dt, method
        self.tau_membrane, self.tau_refractory = tau_membrane, tau_refractory

    def forward(self, current: Float[Tensor, "B T N"]) -> Float[Tensor, "B T N"]:
        """Spikes (0 or 1) from rest. They carry no gradient: a spike has none.

        Raises:
            InvalidValue: the current is empty, not finite, or of another number of neurons.
        """
        spikes = torch.empty_like(current)
        for now, stepped in zip(spikes.unbind(1), self.steps(current), strict=True):
            now.copy_(stepped.spikes)
        return spikes

    def record(self, current: Float[Tensor, "B T N"], state: State | None = None) -> Recording:
        """Spikes, voltages and exact spike times, from rest or from where an earlier recording ended.

        Raises:
            InvalidValue: the current is empty, not finite, or of another number of neurons.
        """
        fields = [(stepped.spikes, *stepped.state) for stepped in self.steps(current, state)]
        spikes, voltage, hold = (torch.stack(field, dim=1) for field in zip(*fields, strict=True))
        ends = self.dt * torch.arange(1, len(fields) + 1, dtype=current.dtype, device=current.device)[:, None]
        times = torch.where(spikes > 0, ends - self.since(hold), torch.nan)
        return Recording(spikes, voltage, times, State(voltage[:, -1], hold[:, -1]))

    @torch.no_grad()
    def steps(self, current: Float[Tensor, "B T N"], state: State | None = None) -> Iterator[Stepped]:
        """One step after the other, for those who need not keep them all.

        Raises:
            InvalidValue: the current is empty, not finite, or of another number of neurons.
        """
        state = self.rest(current) if state is None else state
        check_current(current, state.voltage, neurons=self.neurons)
        rule, factors = STEPS[self.method], self.factors(current)
        for now in current.unbind(1):
            stepped = rule(state, now, factors)
            state = stepped.state
            yield stepped

    @torch.no_grad()
    def step(self, state: State, current: Float[Tensor, "B N"]) -> Stepped:
        """One step, for currents that depend on the spikes before it.

        Raises:
            InvalidValue: the current is empty, not finite, or not of the state's shape.
        """
        check_current(current, state.voltage, neurons=self.neurons)
        return STEPS[self.method](state, current, self.factors(current))

    def rest(self, current: Float[Tensor, "B ..."]) -> State:
        """The state of neurons at rest, for currents (B, N) or (B, T, N) like this one."""
        voltage = torch.zeros(current.shape[0], self.neurons, dtype=current.dtype, device=current.device)
        return State(voltage, torch.ones_like(voltage))

    def factors(self, current: Tensor) -> Factors:
        """The constants of a step, for currents of this dtype."""
        values = exp(-self.dt / self.tau_membrane), exp(self.tau_refractory / self.tau_membrane), 1.0
        decay, longest_hold, threshold = (torch.tensor(value, dtype=current.dtype) for value in values)
        return Factors(decay, longest_hold, threshold, floor=values[0])

    def since(self, hold: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """How long before the end of a step a neuron that fired in it did so, in s."""
        # τref − r, with r = τm ln hold of the refractory period left
        return self.tau_refractory - self.tau_membrane * hold.log()


def exact_step(state: State, current: Float[Tensor, "B N"], factors: Factors) -> Stepped:
    """One step, exact for a current J that is constant in it."""
    decay, longest_hold, threshold, floor = factors
    # hold ← hold e^(−dt/τm), kept from falling to 0 in a long silence
    hold = state.hold.mul(decay).clamp_(min=floor)
    # v ← J + (v − J) e^(−a/τm), with e^(−a/τm) = hold between e^(−dt/τm) and 1
    voltage = torch.lerp(current, state.voltage, hold.clamp(max=1))
    spikes = fired(voltage, threshold)
    # e^(−o/τm) = (J − v)/(J − 1): how long before the step's end it fired, if it did; never longer than dt
    ratio = (current - voltage).div_((current - threshold).clamp_(min=TINY)).clamp_(min=floor, max=1)
    return reset(spikes, voltage, hold, ratio.mul_(longest_hold))


def euler_step(state: State, current: Float[Tensor, "B N"], factors: Factors) -> Stepped:
    """The same by Euler's rule, spikes at the end of their step and the refractory period rounded to whole steps."""
    decay, longest_hold, threshold, floor = factors
    hold = state.hold.mul(decay).clamp_(min=floor)
    resting = hold > decay.sqrt()  # the refractory period covers more than half of this step
    # v ← v + (dt/τm) (J − v), with dt/τm = −ln e^(−dt/τm)
    voltage = torch.where(resting, state.voltage, state.voltage - (current - state.voltage) * decay.log())
    return reset(fired(voltage, threshold), voltage, hold, longest_hold.expand_as(hold))


def fired(voltage: Float[Tensor, "B N"], threshold: Float[Tensor, ""]) -> Float[Tensor, "B N"]:
    """1 where the voltage is above the threshold, else 0; numbers, because kernels on booleans take twice as long."""
    return torch.gt(voltage, threshold, out=torch.empty_like(voltage))


def reset(
    spikes: Float[Tensor, "B N"],
    voltage: Float[Tensor, "B N"],
    hold: Float[Tensor, "B N"],
    fired_hold: Float[Tensor, "B N"],
) -> Stepped:
    """The state after the spikes, written over `voltage` and `hold`."""
    # v ← 0 and hold ← e^(r/τm) where fired
    return Stepped(spikes, State(voltage.addcmul_(voltage, spikes, value=-1), hold.lerp_(fired_hold, spikes)))


STEPS = {"exact": exact_step, "euler": euler_step}


class Firing(NamedTuple):
    """How neurons fired under constant currents: the number of spikes, and the rate in Hz."""

    spikes: Float[Tensor, "B N"]
    rate: Float[Tensor, "B N"]


@torch.no_grad()
def measure_rate(neuron: LIF, current: Float[Tensor, "B N"], *, seconds: float) -> Firing:
    """Simulate constant currents from rest, and take the rate from the mean interval between the exact spike times.

    Where there were fewer than two spikes, the rate is their number over the time.

    Raises:
        InvalidValue: the time is shorter than a step, or the current cannot be used.

    >>> firing = measure_rate(LIF(neurons=2), torch.tensor([[0.9, 2.0]]), seconds=1.0)
    >>> firing.spikes.tolist(), [round(rate, 2) for rate in firing.rate[0].tolist()]
    ([[0.0, 63.0]], [0.0, 63.04])
    """
    steps = round(seconds / neuron.dt)
    require(steps >= 1, f"seconds is {seconds}, but must be at least a step of {neuron.dt} s")
    count, first, last = (torch.zeros_like(current) for _ in range(3))
    for step, (spikes, state) in enumerate(neuron.steps(current.unsqueeze(1).expand(-1, steps, -1)), start=1):
        last = torch.where(spikes > 0, step * neuron.dt - neuron.since(state.hold), last)
        first = torch.where(count > 0, first, last)
        count += spikes
    return Firing(count, torch.where(count > 1, (count - 1) / (last - first), count / seconds))


@dataclass(frozen=True, kw_only=True)
class Membrane:
    """A membrane in volts and amperes, C dV/dt = J − g(V − V_rest), and its form without dimensions.

    Args:
        capacitance: C in F.
        conductance: g of the leak, in S.
        rest: V_rest in V.
        threshold: in V, where it fires.

    Raises:
        InvalidValue: a capacitance or conductance that is not positive, or a threshold that is not above rest.

    >>> membrane = Membrane()
    >>> round(membrane.tau, 6), round(membrane.current(3e-9), 6)  # 3 nA would hold it at twice the threshold
    (0.01, 2.0)
    """

    capacitance: float = CAPACITANCE
    conductance: float = CONDUCTANCE
    rest: float = REST
    threshold: float = THRESHOLD

    def __post_init__(self) -> None:
        for name in ("capacitance", "conductance"):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}, but must be positive")
        require(self.threshold > self.rest, f"threshold is {self.threshold} V, but must be above rest, {self.rest} V")

    @property
    def tau(self) -> float:
        """Time constant in s."""
        # τm = C/g
        return self.capacitance / self.conductance

    def current(self, amperes: float | Tensor) -> float | Tensor:
        """The current without dimension."""
        # J = J_in / (g (V_th − V_rest))
        return amperes / (self.conductance * (self.threshold - self.rest))

    def voltage(self, volts: float | Tensor) -> float | Tensor:
        """The voltage without dimension."""
        # v = (V − V_rest) / (V_th − V_rest)
        return (volts - self.rest) / (self.threshold - self.rest)

    def volts(self, voltage: float | Tensor) -> float | Tensor:
        """The voltage in V."""
        # V = V_rest + v (V_th − V_rest)
        return self.rest + voltage * (self.threshold - self.rest)
