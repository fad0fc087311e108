r"""Activations: what a unit, or a layer of units, makes of its net input.

Source: CS 479 §2.3 (logistic, arctan, tanh, threshold, ReLU, softplus), §2.3.1 (softmax, argmax); CSE 151B, "Change
sigmoid" (1.7159 tanh(2x/3), from LeCun, Bottou, Orr & Müller 1998, Efficient BackProp, §4.4); NYU NN II, GELU
(Hendrycks & Gimpel 2016, Gaussian Error Linear Units, eq. 2); Hinton, Vinyals & Dean 2015, Distilling the Knowledge
in a Neural Network, eq. 1 (temperature).
Differs: the threshold is 1 at 0, where the notes leave it open; argmax gives 1, not the value, at the largest element.
Shapes: any; softmax and argmax run over one dimension of it.
"""

from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import require

AMPLITUDE, STEEPNESS = 1.7159, 2 / 3  # of the scaled tanh, so that f(±1) = ±1


def logistic(net: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """From 0 to 1; the slope is at most a quarter.

    >>> logistic(torch.tensor([-2.0, 0.0, 2.0]))
    tensor([0.1192, 0.5000, 0.8808])
    """
    # g(x) = 1 / (1 + e⁻ˣ)
    return torch.sigmoid(net)


def arctan(net: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """From −π/2 to π/2; the slope falls as 1/x², the slowest of the curves that saturate.

    >>> arctan(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7854])
    """
    # f(x) = arctan x
    return torch.arctan(net)


def tanh(net: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """From −1 to 1, of slope 1 at 0.

    >>> tanh(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7616])
    """
    # f(x) = (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)
    return torch.tanh(net)


def scaled_tanh(net: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """A tanh whose outputs have variance near 1 when its inputs do, and that bends most at ±1.

    >>> scaled_tanh(torch.tensor([-1.0, 0.0, 1.0])).round(decimals=3)
    tensor([-1.,  0.,  1.])
    """
    # f(x) = 1.7159 tanh(2x/3)
    return AMPLITUDE * torch.tanh(STEEPNESS * net)


def threshold(net: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """0 below 0, and 1 from there on; the slope is 0 everywhere, so no gradient comes through.

    >>> threshold(torch.tensor([-0.1, 0.0, 3.0]))
    tensor([0., 1., 1.])
    """
    # f(x) = 1[x ≥ 0]
    return (net >= 0).to(net.dtype)


def relu(net: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """0 below 0, and the net input itself above.

    >>> relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    # f(x) = max(0, x)
    return torch.relu(net)


def softplus(net: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """A smooth ReLU, whose slope is the logistic function. Exact for net inputs of any size.

    >>> softplus(torch.tensor([-50.0, 0.0, 50.0])).round(decimals=4)
    tensor([ 0.0000,  0.6931, 50.0000])
    """
    # f(x) = log(1 + eˣ)
    return torch.logaddexp(net, torch.zeros_like(net))


def normal_cdf(net: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The chance that a standard normal number is at most so large.

    >>> normal_cdf(torch.tensor([0.0, 1.96])).round(decimals=3)
    tensor([0.5000, 0.9750])
    """
    # Φ(x) = ½ erfc(−x/√2); 1 + erf(x/√2) would cancel to 0 in the lower tail.
    return 0.5 * torch.erfc(-net / sqrt(2))


def gelu(net: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The mean of x·m, where m is 1 as often as a standard normal number is below x, else 0: dropout that looks at x.

    >>> gelu(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.0000,  0.8413])
    """
    # f(x) = E[x·m] = x Φ(x), m ~ Bernoulli(Φ(x))
    return net * normal_cdf(net)


def softmax(net: Float[Tensor, "*shape"], *, temperature: float = 1.0, dim: int = -1) -> Float[Tensor, "*shape"]:
    """Positive numbers that sum to 1: probabilities of the elements.

    Args:
        net: net inputs.
        temperature: towards 0 the largest takes all; towards infinity all get the same.
        dim: the dimension over which they sum to 1.

    Raises:
        InvalidValue: the temperature is not positive.

    >>> softmax(torch.tensor([1.0, 2.0, 3.0]))
    tensor([0.0900, 0.2447, 0.6652])
    >>> softmax(torch.tensor([1.0, 2.0, 3.0]), temperature=0.1).round(decimals=3)
    tensor([0., 0., 1.])
    """
    require(temperature > 0, f"the temperature is {temperature}, but must be positive; at 0 take argmax")
    # The largest is taken off first: it cancels, and e to it might overflow. No gradient belongs to it, either.
    shifted = (net - net.amax(dim, keepdim=True).detach()) / temperature
    # yᵢ = e^(xᵢ/T) / Σⱼ e^(xⱼ/T)
    powers = torch.exp(shifted)
    return powers / powers.sum(dim, keepdim=True)


def argmax(net: Float[Tensor, "*shape"], *, dim: int = -1) -> Float[Tensor, "*shape"]:
    """1 at the largest element (the first, of several), 0 elsewhere: softmax at temperature 0.

    >>> argmax(torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 0.0]]))
    tensor([[0., 1., 0.],
            [1., 0., 0.]])
    """
    # yᵢ = 1[i = argmaxⱼ xⱼ]
    return torch.zeros_like(net).scatter(dim, net.argmax(dim, keepdim=True), 1)
