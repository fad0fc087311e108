r"""Tuning: how fast a leaky integrate-and-fire neuron fires under a current, and which currents make a population.

A neuron of a population prefers a direction of the represented value, its encoder. Its current grows along that
direction; gain and bias are solved so that it begins to fire at a chosen place and reaches a chosen rate at the end.

Source: CS 479 §2.2 (firing rate, tuning curve); Eliasmith & Anderson 2003, Neural Engineering (encoder,
gain, bias).
Shapes: N neurons, D dimensions of the represented value. Units: s, Hz, current without dimension (threshold 1).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from neurarium.errors import require

TAU_MEMBRANE = 0.02  # s, leak: the default of nengo.LIF
TAU_REFRACTORY = 0.002  # s, silence after a spike: there too
MAX_RATES = (200.0, 400.0)  # Hz at the end of the encoder: Nengo's default, as is the next
INTERCEPTS = (-1.0, 0.9)  # where along the encoder a neuron begins to fire; at 1 it never would


def rate(
    current: Float[Tensor, "*shape"], *, tau_membrane: float = TAU_MEMBRANE, tau_refractory: float = TAU_REFRACTORY
) -> Float[Tensor, "*shape"]:
    """Firing rate in Hz under a constant current; 0 for currents up to 1.

    Raises:
        InvalidValue: a time constant is not positive.

    >>> rate(torch.tensor([0.5, 1.0, 2.0])).round().tolist()
    [0.0, 0.0, 63.0]
    """
    check_times(tau_membrane, tau_refractory)
    # 1 / (τref − τm ln(1 − 1/v))
    firing = 1 / (tau_refractory - tau_membrane * torch.log1p(-1 / current.clamp(min=1)))
    return torch.where(current > 1, firing, 0)


def current_for(
    rates: Float[Tensor, "*shape"], *, tau_membrane: float = TAU_MEMBRANE, tau_refractory: float = TAU_REFRACTORY
) -> Float[Tensor, "*shape"]:
    """The constant current under which a neuron fires at a positive rate: the inverse of `rate`.

    Raises:
        InvalidValue: a rate is not between 0 and 1/τref, which no current can exceed.

    >>> current_for(torch.tensor([63.04])).round(decimals=3)
    tensor([2.])
    """
    check_times(tau_membrane, tau_refractory)
    inside = bool(((rates > 0) & (rates < 1 / tau_refractory)).all())
    limit = f"they must lie between 0 and 1/τref = {1 / tau_refractory:g} Hz"
    require(inside, f"rates reach from {float(rates.min()):g} to {float(rates.max()):g} Hz, but {limit}")
    # v = 1 / (1 − e^((τref − 1/a)/τm))
    return -1 / torch.expm1((tau_refractory - 1 / rates) / tau_membrane)


class Tuning(NamedTuple):
    """What a population of neurons responds to.

    Attributes:
        encoders: the direction each neuron prefers, of length 1.
        gain: how steeply its current grows along that direction.
        bias: its current at 0.
    """

    encoders: Float[Tensor, "N D"]
    gain: Float[Tensor, " N"]
    bias: Float[Tensor, " N"]

    def current(self, values: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch N"]:
        """The current into each neuron while the population represents some values."""
        # J = α e·x + β
        return self.gain * (values @ self.encoders.T) + self.bias


def solve_tuning(
    encoders: Float[Tensor, "N D"],
    max_rates: Float[Tensor, " N"],
    intercepts: Float[Tensor, " N"],
    *,
    tau_membrane: float = TAU_MEMBRANE,
    tau_refractory: float = TAU_REFRACTORY,
) -> Tuning:
    """Gain and bias with which neurons begin to fire at their intercepts and reach their maximal rates at e·x = 1.

    Raises:
        InvalidValue: an intercept that is not below 1, or a rate that no current reaches.

    >>> tuning = solve_tuning(torch.ones(1, 1), torch.tensor([100.0]), torch.tensor([-0.5]))
    >>> rate(tuning.current(torch.tensor([[-0.5], [1.0]]))).flatten().round().tolist()
    [0.0, 100.0]
    """
    require(
        bool((intercepts < 1).all()),
        f"an intercept is {float(intercepts.max()):g}, but a neuron must begin to fire before 1",
    )
    strongest = current_for(max_rates, tau_membrane=tau_membrane, tau_refractory=tau_refractory)
    # α ξ + β = 1 and α + β = J(a_max)
    gain = (strongest - 1) / (1 - intercepts)
    return Tuning(encoders, gain, 1 - gain * intercepts)


def random_tuning(
    neurons: int,
    dimensions: int = 1,
    *,
    generator: torch.Generator,
    max_rates: tuple[float, float] = MAX_RATES,
    intercepts: tuple[float, float] = INTERCEPTS,
    tau_membrane: float = TAU_MEMBRANE,
    tau_refractory: float = TAU_REFRACTORY,
) -> Tuning:
    """A population with encoders drawn from the sphere, maximal rates and intercepts uniformly from a range.

    Raises:
        InvalidValue: no neurons or dimensions, or a range outside what a neuron can do.

    >>> random_tuning(3, 2, generator=torch.Generator().manual_seed(0)).encoders.norm(dim=1).round(decimals=4)
    tensor([1., 1., 1.])
    """
    require(neurons >= 1, f"neurons is {neurons}, but must be at least 1")
    require(dimensions >= 1, f"dimensions is {dimensions}, but must be at least 1")
    directions = torch.randn(neurons, dimensions, generator=generator)
    peaks, starts = (
        low + (high - low) * torch.rand(neurons, generator=generator) for low, high in (max_rates, intercepts)
    )
    encoders = normalize(directions, dim=1)
    return solve_tuning(encoders, peaks, starts, tau_membrane=tau_membrane, tau_refractory=tau_refractory)


def check_times(tau_membrane: float, tau_refractory: float) -> None:
    """Refuse times that are not positive.

    Raises:
        InvalidValue: names the one that is not.
    """
    require(tau_membrane > 0, f"tau_membrane is {tau_membrane} s, but must be positive")
    require(tau_refractory > 0, f"tau_refractory is {tau_refractory} s, but must be positive")
