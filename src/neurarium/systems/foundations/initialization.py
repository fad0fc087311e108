r"""Initialisation through fifty layers: what becomes of the variance on the way forward and on the way back.

A signal that every layer makes a little smaller or larger is gone, or beyond measure, after fifty. At the start of
learning, the variance of a layer's weights alone decides which: too small and both signals die, too large and tanh
saturates or ReLU explodes. Just so large that a layer keeps the variance, and depth does no harm.

Source: NYU NN II, Weight initialization, Kaiming Initialization; CSE 151B, "Initializing weights"; Glorot & Bengio
2010, figs. 6-7; He, Zhang, Ren & Sun 2015, §2.2.
Differs: no biases; inputs, and the errors that are sent back, are standard normal numbers, not data.
Shapes: L layers, B batch, I inputs, E outputs of the last layer; a weight is (outputs, inputs) of its own layer.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import InvalidValue, require
from neurarium.parts.initialization import Initialize, fan_in_normal, kaiming, standard_normal, xavier

SCHEMES: dict[str, Initialize] = {
    "normal": standard_normal,
    "fan_in": fan_in_normal,
    "xavier": xavier,
    "kaiming": kaiming,
}
"""The ways to begin, by name."""


class Signals(NamedTuple):
    """Variances over units and examples, layer by layer.

    Attributes:
        activations: of the outputs of each layer.
        gradients: of the error that arrives at the outputs of each layer, when one of variance 1 starts at the last.
    """

    activations: Float[Tensor, " L"]
    gradients: Float[Tensor, " L"]

    @property
    def activation_ratio(self) -> float:
        """Variance of the last layer's outputs over that of the first's."""
        return float(self.activations[-1] / self.activations[0])

    @property
    def gradient_ratio(self) -> float:
        """Variance of the error at the first layer over that at the last."""
        return float(self.gradients[0] / self.gradients[-1])


def deep_weights(
    widths: Sequence[int], initialize: Initialize, *, generator: torch.Generator
) -> list[Float[Tensor, "_ _"]]:
    """First weights of a dense network without biases, in float64: N(0, 1) leaves float32 within fifty layers.

    Args:
        widths: of the input and of every layer.
        initialize: how each weight begins.
        generator: of the chance in it.

    Raises:
        InvalidValue: fewer than two widths, or one below 1.

    >>> weights = deep_weights([4, 8, 2], kaiming, generator=torch.Generator().manual_seed(0))
    >>> [tuple(weight.shape) for weight in weights]
    [(8, 4), (2, 8)]
    """
    require(len(widths) >= 2, f"widths are {list(widths)}; a network needs an input and at least one layer")
    require(min(widths) >= 1, f"widths are {list(widths)}; every layer needs at least 1 unit")
    shapes = zip(widths[1:], widths[:-1], strict=True)
    return [initialize(torch.empty(shape, dtype=torch.float64), generator=generator) for shape in shapes]


def propagate(
    weights: Sequence[Float[Tensor, "_ _"]],
    inputs: Float[Tensor, "B I"],
    errors: Float[Tensor, "B E"],
    *,
    activation: Callable[[Tensor], Tensor],
) -> Signals:
    """Send a batch forward through all layers and an error back, and take the variance at each.

    Args:
        weights: of each layer.
        inputs: of the first layer.
        errors: gradient at the outputs of the last layer.
        activation: of every layer.

    Raises:
        InvalidValue: no weights, or inputs or errors of another shape than the network's.

    >>> eye = torch.eye(2, dtype=torch.float64)
    >>> signals = propagate([2 * eye, 2 * eye], eye, eye, activation=torch.relu)
    >>> signals.activation_ratio, signals.gradient_ratio
    (4.0, 4.0)
    """
    require(len(weights) >= 1, "there are no weights; a network needs at least one layer")
    wanted = (inputs.shape[0], weights[-1].shape[0])
    if inputs.shape[1] != weights[0].shape[1] or tuple(errors.shape) != wanted:
        shapes = f"inputs are {tuple(inputs.shape)} and errors {tuple(errors.shape)}"
        raise InvalidValue(f"{shapes}; this network needs (B, {weights[0].shape[1]}) and (B, {wanted[1]})")
    outputs, layers = inputs.requires_grad_(), []
    for weight in weights:
        # x_l = φ(W_l x_{l−1})
        outputs = activation(outputs @ weight.T)
        layers.append(outputs)
    gradients = torch.autograd.grad(outputs, layers, errors)
    return Signals(*(torch.stack([signal.detach().var() for signal in each]) for each in (layers, gradients)))


def ensemble(
    widths: Sequence[int],
    initialize: Initialize,
    *,
    activation: Callable[[Tensor], Tensor],
    networks: int,
    batch: int,
    generator: torch.Generator,
) -> Signals:
    """The mean variances of many networks: at fifty layers, those of a single one wander by chance.

    Raises:
        InvalidValue: fewer than one network or two examples, or widths that make no network.

    >>> chance = torch.Generator().manual_seed(0)
    >>> signals = ensemble([64] * 11, kaiming, activation=torch.relu, networks=16, batch=16, generator=chance)
    >>> 0.5 < signals.activation_ratio < 2
    True
    """
    require(networks >= 1, f"networks is {networks}, but must be at least 1")
    require(batch >= 2, f"batch is {batch}; a variance needs at least 2 examples")
    found = []
    for _ in range(networks):
        weights = deep_weights(widths, initialize, generator=generator)
        inputs, errors = (
            torch.randn(batch, width, generator=generator, dtype=torch.float64) for width in (widths[0], widths[-1])
        )
        found.append(propagate(weights, inputs, errors, activation=activation))
    return Signals(*(torch.stack(each).mean(0) for each in zip(*found, strict=True)))
