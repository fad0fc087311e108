r"""Leaky integrate-and-fire neurons: leak, sum, fire, reset.

A membrane leaks towards the voltage its input current would hold it at. When it reaches the threshold the neuron fires,
falls back to rest and stays there for the refractory period. Only the time of a spike counts, not its shape.

Between two changes of the current J the equation τm dv/dt = J − v has a closed form, so a step need not be small:
v(t + a) = J + (v − J) e^(−a/τm), where a is the part of the step outside the refractory period. If that ends above 1,
the threshold was crossed o = τm ln((J − 1)/(J − v)) before the end, and τref − o of the refractory period is left. This
file never takes that logarithm or the exponential of a. It keeps the refractory time left, r, as the factor
hold = e^(r/τm): a step of dt multiplies hold by e^(−dt/τm), a spike sets it to e^(τref/τm) (J − v)/(J − 1), and
e^(−a/τm) is hold between the bounds e^(−dt/τm) and 1. So a step of any number of neurons is about ten cheap operations.

Source: CS 479 §2.2 (sub-threshold equation, dimensionless form, refractory period, firing rate, tuning curve) and §3.2;
Eliasmith & Anderson 2003, Neural Engineering, §2.1 and §4.1 (gain, bias and encoder of a tuning curve).
Differs: nothing in the model; the current is constant within a step, and a step is no longer than the refractory period,
so that it holds at most one spike. `method="euler"` is the usual approximation, for comparison.
Shapes: B batch, T time steps, N neurons, D dimensions of a represented value. Units: s, Hz; voltage and current without
dimension (rest 0, threshold 1), `Membrane` for volts and amperes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.parts.tuning import TAU_MEMBRANE, TAU_REFRACTORY, check_times

DT = 0.001  # s, one step

CAPACITANCE = 1e-9  # F: 10 ms at 0.1 µS, Dayan & Abbott 2001, fig. 5.5 (as are the next three)
CONDUCTANCE = 1e-7  # S, leak: 1/(10 MΩ)
REST = -0.065  # V
THRESHOLD = -0.050  # V

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


class LIF(nn.Module):
    """Spikes from currents.

    Args:
        neurons: N.
        dt: length of a step in s.
        tau_membrane: time constant of the leak in s.
        tau_refractory: silence after a spike in s.
        method: "exact", or "euler" with a refractory period of whole steps.

    Raises:
        InvalidValue: no neurons, a time that is not positive, or a step longer than the refractory period.

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
        longest = (
            f"the refractory period, {tau_refractory} s, so that a step holds at most one spike; take smaller steps"
        )
        require(dt <= tau_refractory, f"dt is {dt} s, but must be at most {longest}")
        if method not in STEPS:
            raise InvalidValue(f"method is '{method}', but must be one of {', '.join(STEPS)}")
        self.neurons, self.dt, self.method = neurons, dt, method
        self.tau_membrane, self.tau_refractory = tau_membrane, tau_refractory
        self._rule = STEPS[method]
        self._decay, self._longest_hold = exp(-dt / tau_membrane), exp(tau_refractory / tau_membrane)

    def forward(self, current: Float[Tensor, "B T N"]) -> Float[Tensor, "B T N"]:
        """Spikes (0 or 1) from rest. They carry no gradient: a spike has none.

        Raises:
            InvalidValue: the current is empty, not finite, or of another number of neurons.
        """
        spikes = torch.empty_like(current)
        for now, stepped in zip(spikes.unbind(1), self._steps(current, None), strict=True):
            now.copy_(stepped.spikes)
        return spikes

    def record(self, current: Float[Tensor, "B T N"], state: State | None = None) -> Recording:
        """Spikes, voltages and exact spike times, from rest or from where an earlier recording ended.

        Raises:
            InvalidValue: the current is empty, not finite, or of another number of neurons.
        """
        steps = list(self._steps(current, state))
        spikes, voltage, hold = (
            torch.stack(field, dim=1)
            for field in zip(*((step.spikes, step.state.voltage, step.state.hold) for step in steps), strict=True)
        )
        ends = self.dt * torch.arange(1, len(steps) + 1, dtype=current.dtype, device=current.device)[:, None]
        # r = τm ln hold is left at the end of the step, so the spike was τref − r before it.
        times = ends - (self.tau_refractory - self.tau_membrane * hold.log())
        return Recording(spikes, voltage, times.masked_fill(spikes == 0, torch.nan), steps[-1].state)

    @torch.no_grad()
    def step(self, state: State, current: Float[Tensor, "B N"]) -> Stepped:
        """One step, for currents that depend on the spikes before it.

        Raises:
            InvalidValue: the current is empty, not finite, or not of the state's shape.
        """
        self._check(current)
        if current.shape != state.voltage.shape:
            raise InvalidValue(f"the current is {tuple(current.shape)}, but the state {tuple(state.voltage.shape)}")
        return self._advance(state, current)

    def rest(self, current: Tensor) -> State:
        """The state of neurons at rest, for currents (B, N) or (B, T, N) like this one."""
        voltage = torch.zeros(len(current), self.neurons, dtype=current.dtype, device=current.device)
        return State(voltage, torch.ones_like(voltage))

    @torch.no_grad()
    def _steps(self, current: Float[Tensor, "B T N"], state: State | None) -> Iterator[Stepped]:
        self._check(current)
        state = self.rest(current) if state is None else state
        for now in current.unbind(1):
            stepped = self._advance(state, now)
            state = stepped.state
            yield stepped

    def _advance(self, state: State, current: Tensor) -> Stepped:
        fired, state = self._rule(state, current, decay=self._decay, longest_hold=self._longest_hold)
        return Stepped(fired.to(current.dtype), state)

    def _check(self, current: Tensor) -> None:
        shape = tuple(current.shape)
        if shape[-1] != self.neurons:
            raise InvalidValue(f"the current is {shape}, but its last dimension must be the {self.neurons} neurons")
        require(current.numel() > 0, f"the current is {shape}: empty; give at least one step of one example")
        require(
            bool(torch.isfinite(current).all()), "the current is NaN or infinite somewhere; every value must be finite"
        )


def exact_step(
    state: State, current: Float[Tensor, "B N"], *, decay: float, longest_hold: float
) -> tuple[Bool[Tensor, "B N"], State]:
    """Who fired, and the state after a step, exact for a current that is constant in it.

    Args:
        state: before the step.
        current: J.
        decay: e^(−dt/τm).
        longest_hold: e^(τref/τm).
    """
    voltage, hold = state
    # hold ← hold e^(−dt/τm), kept from falling to 0 in a long silence
    hold = hold.mul(decay).clamp_(min=decay)
    # v ← J + (v − J) e^(−a/τm), with e^(−a/τm) = hold between e^(−dt/τm) and 1
    voltage = torch.lerp(current, voltage, hold.clamp(max=1))
    fired = voltage > 1
    # hold ← e^(τref/τm) (J − v)/(J − 1), v ← 0 where fired
    hold = torch.where(fired, (current - voltage).div_(current - 1).mul_(longest_hold), hold)
    return fired, State(voltage.masked_fill_(fired, 0), hold)


def euler_step(
    state: State, current: Float[Tensor, "B N"], *, decay: float, longest_hold: float
) -> tuple[Bool[Tensor, "B N"], State]:
    """The same by Euler's rule, spikes at the end of their step and the refractory period rounded to whole steps."""
    voltage, hold = state
    hold = hold.mul(decay).clamp_(min=decay)
    resting = hold > sqrt(decay)  # the refractory period covers more than half of this step
    # v ← v + (dt/τm) (J − v), with dt/τm = −ln e^(−dt/τm)
    moved = voltage + (current - voltage) * -log(decay)
    voltage = torch.where(resting, voltage, moved)
    fired = voltage > 1
    # hold ← e^(τref/τm), v ← 0 where fired
    return fired, State(voltage.masked_fill_(fired, 0), hold.masked_fill_(fired, longest_hold))


STEPS = {"exact": exact_step, "euler": euler_step}


def interval_rate(times: Float[Tensor, "B T N"]) -> Float[Tensor, "B N"]:
    """Firing rate in Hz from the mean interval between the spikes of a recording; 0 with fewer than two of them.

    >>> interval_rate(torch.tensor([0.5, torch.nan, 1.0, 1.5])[None, :, None]).item()
    2.0
    """
    count = times.isfinite().sum(1)
    first, last = times.nan_to_num(torch.inf).amin(1), times.nan_to_num(-torch.inf).amax(1)
    return torch.where(count >= 2, (count - 1) / (last - first), 0)


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
