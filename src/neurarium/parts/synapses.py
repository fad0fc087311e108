r"""Synapses: what a spike, or any signal, becomes as the current into the neuron behind the synapse.

The current after a single spike is h(t) = k tⁿ e^(−t/τ): for n = 0 a jump that decays, for larger n a hump that rises
first. k = 1/(n! τⁿ⁺¹) makes its area 1, so that a filtered spike train is a rate in Hz, and a filtered value keeps its
mean. Filtering by h is what n + 1 equal leaks do one after the other, τ dxᵢ/dt = xᵢ₋₁ − xᵢ, the signal going into the
first and the current coming out of the last. For a signal that is constant within a step the equations have a closed
form, a product with a small triangular matrix, so steps need not be small.

A spike of a step is a signal of 1/dt during that step: its area is 1 there too.

Source: CS 479 §3.1 (filter, spike train); Dayan & Abbott 2001, Theoretical Neuroscience, §5.8 (synaptic conductances).
Differs: the area of a spike is spread over its step, not put at one end of it.
Shapes: B batch, S = n + 1 stages, T time steps, N synapses. Units: s; a filtered spike train in Hz.
"""

from collections.abc import Callable
from functools import partial
from math import exp, expm1
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import require

TAU = 0.005  # s: a fast excitatory synapse (AMPA), Dayan & Abbott 2001, §5.8; also nengo.Lowpass in a connection


class Exponential(NamedTuple):
    """The factors of a step of the exponential filter, n = 0.

    Attributes:
        decay: e^(−dt/τ), what is left of the current after a step.
        rise: 1 − e^(−dt/τ), how much of a value comes through in a step.
        spike: (1 − e^(−dt/τ))/dt, what one spike of a step adds, in Hz.
    """

    decay: float
    rise: float
    spike: float

    def value(self, current: Float[Tensor, "*shape"], signal: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The current after a step in which the signal was constant."""
        # x ← u + (x − u) e^(−dt/τ)
        return torch.lerp(current, signal, self.rise)

    def spikes(self, current: Float[Tensor, "*shape"], spikes: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The current in Hz after a step with these spikes: 0, 1, or their weighted sum."""
        # x ← x e^(−dt/τ) + (1 − e^(−dt/τ))/dt · spikes
        return torch.add(self.decay * current, spikes, alpha=self.spike)


def exponential(dt: float, tau: float = TAU) -> Exponential:
    """The factors of a step of dt (s) of the exponential filter e^(−t/τ)/τ.

    Raises:
        InvalidValue: a time that is not positive.

    >>> filter = exponential(0.001, 0.005)
    >>> round(filter.decay, 4), round(filter.rise, 4), round(filter.spike, 1)
    (0.8187, 0.1813, 181.3)
    >>> current = filter.spikes(torch.zeros(1), torch.ones(1))  # one spike, then a step without
    >>> filter.spikes(current, torch.zeros(1)).round().item()
    148.0
    """
    check_times(dt, tau)
    rise = -expm1(-dt / tau)
    return Exponential(exp(-dt / tau), rise, rise / dt)


def check_times(dt: float, tau: float) -> None:
    """Hold a step and a time constant, both in s, to being positive.

    Raises:
        InvalidValue: one is not.
    """
    for name, value in (("dt", dt), ("tau", tau)):
        require(value > 0, f"{name} is {value} s, but must be positive")


class Factors(NamedTuple):
    """The constants of a step of n + 1 stages.

    Attributes:
        advance: what every stage gets of every stage before it.
        enter: what every stage gets of the signal.
    """

    advance: Float[Tensor, "S S"]
    enter: Float[Tensor, "S 1"]


Rule = Callable[[Float[Tensor, "B S N"], Float[Tensor, "B N"]], tuple[Float[Tensor, "B N"], Float[Tensor, "B S N"]]]


class Synapse(nn.Module):
    """The filter k tⁿ e^(−t/τ) as n + 1 leaks in a row, exact for signals constant within a step.

    Args:
        n: how often the current is smoothed before it decays; 0 is the exponential filter.
        tau: time constant in s.
        dt: length of a step in s.

    Raises:
        InvalidValue: n below 0, or a time that is not positive.

    >>> train = torch.zeros(1, 1000, 1, dtype=torch.float64)
    >>> train[0, 0] = 1.0  # a spike in the first step
    >>> current = Synapse(n=1).spikes(train)[0, :, 0]
    >>> current.argmax().item(), round(0.001 * current.sum().item(), 6)  # it peaks at nτ = 5 ms; its area is 1
    (5, 1.0)
    """

    def __init__(self, *, n: int = 0, tau: float = TAU, dt: float = 0.001) -> None:
        super().__init__()
        require(n >= 0, f"n is {n}, but must be at least 0")
        check_times(dt, tau)
        self.n, self.tau, self.dt = n, tau, dt

    def forward(self, signal: Float[Tensor, "B T N"]) -> Float[Tensor, "B T N"]:
        """The current at the end of every step, from rest. Gradients go through it.

        Raises:
            InvalidValue: the signal has no step.
        """
        require(signal.shape[1] > 0, f"the signal is {tuple(signal.shape)}: empty; give at least one step")
        state, rule, currents = self.rest(signal[:, 0]), self.rule(signal), []
        for now in signal.unbind(1):
            current, state = rule(state, now)
            currents.append(current)
        return torch.stack(currents, dim=1)

    def spikes(self, train: Float[Tensor, "B T N"]) -> Float[Tensor, "B T N"]:
        """The same for a spike train, a number of spikes in every step; the current is in Hz.

        Raises:
            InvalidValue: the train has no step.
        """
        return self(train / self.dt)

    def rest(self, signal: Float[Tensor, "B N"]) -> Float[Tensor, "B S N"]:
        """The state of synapses without a current, for signals like this one."""
        return signal.new_zeros(signal.shape[0], self.n + 1, signal.shape[1])

    def rule(self, signal: Tensor) -> Rule:
        """The step for `simulate`, for signals of this dtype: gives the current, and keeps all stages as state."""
        return partial(step, factors=self.factors(signal))

    def factors(self, signal: Tensor) -> Factors:
        """The constants of a step, for signals of this dtype."""
        stages = torch.arange(self.n + 1, dtype=torch.float64)
        passed = torch.tensor(self.dt / self.tau, dtype=torch.float64)
        # Φᵢⱼ = e^(−a) aⁱ⁻ʲ/(i − j)! for j ≤ i, with a = dt/τ
        apart = stages[:, None] - stages
        log = torch.xlogy(apart, passed) - torch.lgamma(apart.clamp(min=0) + 1) - passed
        advance = torch.where(apart >= 0, log, -torch.inf).exp()
        # Γᵢ = ∫₀ᵃ e^(−x) xⁱ/i! dx
        enter = torch.special.gammainc(stages + 1, passed).unsqueeze(1)
        return Factors(advance.to(signal), enter.to(signal))

    def derivative(self, state: Float[Tensor, "B S N"], signal: Float[Tensor, "B N"]) -> Float[Tensor, "B S N"]:
        """The equations that a step solves, for any integrator."""
        before = torch.cat([signal.unsqueeze(1), state[:, :-1]], dim=1)
        # dxᵢ/dt = (xᵢ₋₁ − xᵢ)/τ
        return (before - state) / self.tau


def step(
    state: Float[Tensor, "B S N"], signal: Float[Tensor, "B N"], factors: Factors
) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B S N"]]:
    """One step of all stages; the current is the last one."""
    # x ← Φ x + Γ u
    state = torch.matmul(factors.advance, state) + factors.enter * signal.unsqueeze(1)
    return state[:, -1], state
