r"""Activations side by side: value, slope, where each saturates, and what a GELU means.

The slope is what learning sees of an activation: an error that comes back through a unit is multiplied by it. Here it
is written out for each curve, beside the value from `parts.activations`. A GELU is the mean of a unit that is kept or
dropped at random, and kept the more surely the larger its net input; the mean is taken here by drawing.

Source: CS 479 §2.3, §2.3.1, §9 (the logistic's slope is at most 1/4); CSE 151B, "Change sigmoid"; NYU NN II, GELU;
Hendrycks & Gimpel 2016, Gaussian Error Linear Units, §2.
Differs: at its corner the slope of ReLU is 0 and that of the threshold too, as in PyTorch.
Shapes: P points, S samples, K elements of a layer.
"""

from collections.abc import Callable
from math import pi, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import InvalidValue, require
from neurarium.parts.activations import (
    AMPLITUDE,
    STEEPNESS,
    arctan,
    gelu,
    logistic,
    normal_cdf,
    relu,
    scaled_tanh,
    softmax,
    softplus,
    tanh,
    threshold,
)

Curve = Callable[[Tensor], Tensor]
"""A function of each element by itself."""


def logistic_slope(net: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """At most a quarter, at 0.

    >>> logistic_slope(torch.tensor([0.0]))
    tensor([0.2500])
    """
    # g'(x) = g(x) (1 − g(x)), and 1 − g(x) = g(−x) without the loss of digits
    return logistic(net) * logistic(-net)


def arctan_slope(net: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """The slope of arctan."""
    # f'(x) = 1 / (1 + x²)
    return 1 / (1 + net.square())


def tanh_slope(net: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """The slope of tanh."""
    # f'(x) = 1 − f(x)²
    return 1 - tanh(net).square()


def scaled_tanh_slope(net: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """The slope of 1.7159 tanh(2x/3)."""
    # f'(x) = (2/3) (1.7159 − f(x)²/1.7159)
    return STEEPNESS * (AMPLITUDE - scaled_tanh(net).square() / AMPLITUDE)


def threshold_slope(net: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """Nothing: a threshold unit cannot be taught by its slope."""
    # f'(x) = 0
    return torch.zeros_like(net)


def relu_slope(net: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """The slope of ReLU."""
    # f'(x) = 1[x > 0]
    return (net > 0).to(net.dtype)


def gelu_slope(net: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """The slope of GELU: slightly above 1 where it has overtaken ReLU's, and negative in its dip."""
    # f'(x) = Φ(x) + x φ(x)
    return normal_cdf(net) + net * torch.exp(-net.square() / 2) / sqrt(2 * pi)


class Activation(NamedTuple):
    """A curve and its slope, written out."""

    value: Curve
    slope: Curve


ACTIVATIONS = {
    "logistic": Activation(logistic, logistic_slope),
    "arctan": Activation(arctan, arctan_slope),
    "tanh": Activation(tanh, tanh_slope),
    "1.7159 tanh(2x/3)": Activation(scaled_tanh, scaled_tanh_slope),
    "threshold": Activation(threshold, threshold_slope),
    "ReLU": Activation(relu, relu_slope),
    "softplus": Activation(softplus, logistic),
    "GELU": Activation(gelu, gelu_slope),
}
"""Every activation of one unit, by the name that stands above its picture."""


def softmax_jacobian(net: Float[Tensor, " K"], *, temperature: float = 1.0) -> Float[Tensor, "K K"]:
    """How each probability of a softmax changes with each net input.

    Raises:
        InvalidValue: the temperature is not positive.

    >>> softmax_jacobian(torch.zeros(2))
    tensor([[ 0.2500, -0.2500],
            [-0.2500,  0.2500]])
    """
    p = softmax(net, temperature=temperature)
    # ∂yᵢ/∂xⱼ = yᵢ (δᵢⱼ − yⱼ) / T
    return (torch.diag(p) - torch.outer(p, p)) / temperature


def drawn_gelu(
    net: Float[Tensor, " P"], *, samples: int, generator: torch.Generator
) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
    """The mean of x·m over many draws of m, and that mean's standard error.

    Raises:
        InvalidValue: fewer than one sample, or net inputs that are not finite.

    >>> mean, error = drawn_gelu(torch.tensor([1.0]), samples=100_000, generator=torch.Generator().manual_seed(0))
    >>> bool((mean - gelu(torch.tensor([1.0]))).abs() < 4 * error)
    True
    """
    require(samples >= 1, f"samples is {samples}; a mean needs at least 1")
    if not bool(net.isfinite().all()):
        raise InvalidValue("some net inputs are NaN or infinite, so nothing can be drawn; every value must be finite")
    kept = normal_cdf(net)
    # m ~ Bernoulli(Φ(x)); how many of S such draws are 1 is one binomial number
    ones = torch.binomial(torch.full_like(kept, samples), kept, generator=generator)
    # E[x·m] ≈ (1/S) Σₛ x mₛ, with standard error |x| √(Φ(1 − Φ)/S)
    return net * ones / samples, net.abs() * (kept * (1 - kept) / samples).sqrt()
