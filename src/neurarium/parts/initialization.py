r"""Initialisation: how large the first weights are, so that signals neither die out nor blow up on their way.

Each rule fills a weight in place with normal numbers of mean 0 and returns it. The fan-in of a weight is how many
numbers each output is summed from, its fan-out to how many outputs each input goes; kernels count every place.

Source: CSE 151B, "Initializing weights" (N(0, 1/√fan-in)); NYU NN II, Weight initialization, Kaiming Initialization;
Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks, eq. 12 (its variance);
He, Zhang, Ren & Sun 2015, Delving Deep into Rectifiers, eq. 10; Tallec & Ollivier 2018, Can recurrent neural networks
warp time?, eq. 16 (time scales).
Differs: Xavier's numbers are normal, where the paper's are uniform with the same variance.
Shapes: a weight is (outputs, inputs, *kernel), as PyTorch keeps it.
"""

from math import prod, sqrt
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import InvalidValue, require


@runtime_checkable
class Initialize(Protocol):
    """A rule for first weights: any of the functions of this file."""

    def __call__(self, weight: Tensor, *, generator: torch.Generator | None = None) -> Tensor: ...


def fans(weight: Float[Tensor, "outputs inputs *kernel"]) -> tuple[int, int]:
    """Fan-in and fan-out of a weight.

    Raises:
        InvalidValue: a weight of fewer than two dimensions, or an empty one.

    >>> fans(torch.zeros(16, 6, 5, 5))
    (150, 400)
    """
    if weight.ndim < 2 or weight.numel() == 0:
        raise InvalidValue(f"a weight of shape {tuple(weight.shape)} has no fan-in; it must be (outputs, inputs, ...)")
    places = prod(weight.shape[2:])
    return weight.shape[1] * places, weight.shape[0] * places


def standard_normal(
    weight: Float[Tensor, "outputs inputs *kernel"], *, generator: torch.Generator | None = None
) -> Float[Tensor, "outputs inputs *kernel"]:
    """N(0, 1), whatever the fan-in: a layer of n inputs multiplies the variance by n.

    Raises:
        InvalidValue: a weight of fewer than two dimensions, or an empty one.
    """
    fans(weight)
    # w ~ N(0, 1)
    return _fill(weight, 1.0, generator)


def fan_in_normal(
    weight: Float[Tensor, "outputs inputs *kernel"], *, generator: torch.Generator | None = None
) -> Float[Tensor, "outputs inputs *kernel"]:
    """N(0, 1/√fan-in): a linear layer keeps the variance on the way forward.

    Raises:
        InvalidValue: a weight of fewer than two dimensions, or an empty one.

    >>> weight = fan_in_normal(torch.empty(400, 100), generator=torch.Generator().manual_seed(0))
    >>> round(float(weight.std()), 2)
    0.1
    """
    fan_in, _ = fans(weight)
    # w ~ N(0, σ = 1/√n_in)
    return _fill(weight, 1 / sqrt(fan_in), generator)


def xavier(
    weight: Float[Tensor, "outputs inputs *kernel"], *, generator: torch.Generator | None = None
) -> Float[Tensor, "outputs inputs *kernel"]:
    """Between what keeps the variance on the way forward and what keeps it on the way back.

    Raises:
        InvalidValue: a weight of fewer than two dimensions, or an empty one.

    >>> weight = xavier(torch.empty(150, 50), generator=torch.Generator().manual_seed(0))
    >>> round(float(weight.std()), 2)
    0.1
    """
    fan_in, fan_out = fans(weight)
    # w ~ N(0, σ = √(2/(n_in + n_out)))
    return _fill(weight, sqrt(2 / (fan_in + fan_out)), generator)


def kaiming(
    weight: Float[Tensor, "outputs inputs *kernel"], *, generator: torch.Generator | None = None
) -> Float[Tensor, "outputs inputs *kernel"]:
    """Twice the variance of N(0, 1/√fan-in), because ReLU throws half of it away.

    Raises:
        InvalidValue: a weight of fewer than two dimensions, or an empty one.

    >>> weight = kaiming(torch.empty(400, 200), generator=torch.Generator().manual_seed(0))
    >>> round(float(weight.std()), 2)
    0.1
    """
    fan_in, _ = fans(weight)
    # ½ n_in Var[w] = 1, so w ~ N(0, σ = √(2/n_in))
    return _fill(weight, sqrt(2 / fan_in), generator)


@torch.no_grad()
def _fill(weight: Tensor, std: float, generator: torch.Generator | None) -> Tensor:
    # Drawn where the generator lives: one seed gives the same weights on every device.
    device = generator.device if generator is not None else weight.device
    drawn = torch.randn(weight.shape, generator=generator, dtype=weight.dtype, device=device)
    return weight.copy_(std * drawn)


def time_scales(hidden: int, *, longest: int) -> Float[Tensor, " H"]:
    """Biases of gates that keep, spread over time scales: a gate of bias b keeps for about 1 + eᵇ steps.

    Raises:
        InvalidValue: the longest is below 3 steps.

    >>> scales = 1 + time_scales(5, longest=100).exp()
    >>> bool(((scales >= 2) & (scales <= 100)).all())
    True
    """
    require(longest >= 3, f"memory is {longest} steps; the longest time scale must be at least 3")
    # b ~ log U(1, T_max − 1), Tallec & Ollivier 2018, eq. 16
    return torch.empty(hidden).uniform_(1, longest - 1).log()
