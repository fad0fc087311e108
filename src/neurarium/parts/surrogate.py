r"""Surrogate gradients: a threshold that fires, and a slope to learn by.

A spike is a step of the voltage: its slope is 0 everywhere and infinite at the threshold, so no gradient passes. In the
backward pass alone the step is replaced by a smooth one, whose slope is largest at the threshold: a neuron that nearly
fired is told how to. What is simulated stays a step. The gradient is therefore not that of the loss; it is a guide.

Source: Neftci, Mostafa & Zenke 2019, Surrogate gradient learning in spiking neural networks, §IV; Zenke & Ganguli 2018,
SuperSpike, eq. 10 (fast sigmoid); Fang et al. 2021, Incorporating learnable membrane time constant, eq. 11 (arctan).
Shapes: any. Units: none; x is the voltage above the threshold.
"""

from collections.abc import Callable
from math import pi
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

STEEPNESS = 5.0  # of the fast sigmoid: at a fifth of the threshold from it, the slope has fallen to a quarter

Slope = Callable[[Float[Tensor, "*shape"]], Float[Tensor, "*shape"]]
"""What stands for the derivative of a spike, by the voltage above the threshold."""


def fast_sigmoid(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The slope of x/(1 + β|x|).

    >>> fast_sigmoid(torch.tensor([0.0, 0.2, -0.2])).tolist()
    [1.0, 0.25, 0.25]
    """
    # 1/(1 + β|x|)²
    return x.abs().mul(STEEPNESS).add(1).square().reciprocal()


def arctan(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """A slope that reaches farther: that of the arc tangent of πx, over π.

    >>> arctan(torch.tensor([0.0, 1 / pi])).tolist()
    [1.0, 0.5]
    """
    # 1/(1 + (πx)²)
    return x.mul(pi).square().add(1).reciprocal()


def spike(x: Float[Tensor, "*shape"], slope: Slope = fast_sigmoid) -> Float[Tensor, "*shape"]:
    """1 where x is above 0, else 0; backward, the gradient times a slope that is not the step's.

    Args:
        x: voltage above the threshold.
        slope: what stands for the derivative.

    >>> x = torch.tensor([-0.2, 0.0, 0.2], requires_grad=True)
    >>> fired = spike(x)
    >>> fired.sum().backward()
    >>> fired.tolist(), x.grad.tolist()
    ([0.0, 0.0, 1.0], [0.25, 1.0, 0.25])
    """
    return cast("Tensor", _Spike.apply(x, slope))  # type: ignore[no-untyped-call]


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Slope) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return torch.gt(x, 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradients[0] * ctx.slope(x), None
