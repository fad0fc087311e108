r"""Normalisation at work: the same network with a norm after every layer and without, dense and convolutional.

Every layer of a deep network learns on what the layers below it make, and those change under its feet; its weights
also set how far a step of one size moves the outputs. A norm after each layer takes mean and scale out of both: however
the weights grow, the next layer sees numbers of variance 1. So the network bears a learning rate that would break it
without, and is taught in a fraction of the steps. Batch norm pays with what its mean is made of: from a batch of 2 the
dense form keeps only which of the two was larger, and from a batch of 1 nothing.

Source: CS 479 §15; CSE 151B, "Batch Normalization"; NYU NN II, Batch Normalization (BN), BN Alternatives; Ioffe &
Szegedy 2015, Batch Normalization, §4.2 (BN-x5: the learning rate five times larger); Wu & He 2018, Group Normalization,
fig. 1 (small batches).
Differs: small networks and plain gradient descent; the norm is before the activation, as in Ioffe & Szegedy, whichever
it is. A convolutional network's layer norm is over channels and places, with a scale for each channel (Wu & He).
Shapes: B batch, C channels, H height, W width, F features of an example laid flat, K classes, U units.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn, relu

from neurarium.errors import InvalidValue, did_you_mean, require
from neurarium.parts.initialization import Initialize, fan_in_normal, kaiming
from neurarium.parts.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, MakeNorm

KERNEL = 3  # pixels a side
SMALLEST = 4  # pixels a side that two poolings by two leave one pixel of


def dense_norm(kind: str, *, groups: int) -> MakeNorm | None:
    """The norm of a kind for dense layers, whose every unit is a channel with one place; None for "none".

    Raises:
        InvalidValue: an unknown kind, or instance norm, which would make every unit 0.

    >>> make = dense_norm("group", groups=2)
    >>> make(channels=4).groups
    2
    """
    if kind == "instance":
        reason = "instance norm takes its mean over the places of a channel, and a dense unit has one"
        raise InvalidValue(f"{reason}; choose batch, layer or group, or a convolutional network")
    return choose(kind, {"batch": BatchNorm, "layer": dense_layer_norm, "group": partial(GroupNorm, groups=groups)})


def image_norm(kind: str, *, groups: int) -> MakeNorm | None:
    """The norm of a kind for feature maps; None for "none".

    Raises:
        InvalidValue: an unknown kind.

    >>> image_norm("layer", groups=2)(channels=4).groups  # one group is layer norm
    1
    """
    instance = partial(InstanceNorm, affine=True)
    layer, group = partial(GroupNorm, groups=1), partial(GroupNorm, groups=groups)
    return choose(kind, {"batch": BatchNorm, "layer": layer, "instance": instance, "group": group})


def dense_layer_norm(*, channels: int) -> LayerNorm:
    """Layer norm over the units of a dense layer."""
    return LayerNorm(shape=channels)


def choose(kind: str, makers: dict[str, MakeNorm]) -> MakeNorm | None:
    """A maker by its name, and None for "none"."""
    if kind not in (*makers, "none"):
        raise InvalidValue(f"there is no norm '{kind}'; {did_you_mean(kind, [*makers, 'none'])}")
    return makers.get(kind)


class Normed(nn.Module):
    """A layer, its norm if there is one, and the activation.

    Args:
        layer: dense or convolutional; without a bias where a norm follows, whose shift takes its place.
        norm: of as many channels as the layer has outputs, or None.
        activation: elementwise.
    """

    def __init__(self, layer: nn.Module, *, norm: nn.Module | None, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.norm = norm
        self.activation = activation

    def forward(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """What the layer makes of its inputs."""
        net = self.layer(inputs)
        # x_{l+1} = φ(norm(W x_l)), or φ(W x_l + b)
        return self.activation(net if self.norm is None else self.norm(net))


class DenseNet(nn.Module):
    """Logits through dense layers of equal width.

    Args:
        shape: of an example, laid flat.
        classes: number of classes K.
        layers: number of hidden layers.
        hidden: units U of each.
        norm: builds the norm of each layer, or None for none.
        activation: of the hidden units.
        generator: of the first weights; the same one gives networks with and without a norm the same.

    Raises:
        InvalidValue: no layers or units, fewer than 2 classes, or examples of another shape.

    >>> net = DenseNet(shape=(1, 8, 8), classes=10, layers=2, norm=BatchNorm)
    >>> net(torch.rand(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        classes: int,
        layers: int = 6,
        hidden: int = 64,
        norm: MakeNorm | None = None,
        activation: Callable[[Tensor], Tensor] = relu,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_sizes(classes=classes, layers=layers, hidden=hidden)
        self.shape = tuple(shape)
        widths = [prod(self.shape), *[hidden] * layers]
        self.blocks = nn.Sequential(
            *(
                Normed(
                    begun(nn.Linear(inputs, outputs, bias=norm is None), kaiming, generator),
                    norm=None if norm is None else norm(channels=outputs),
                    activation=activation,
                )
                for inputs, outputs in pairwise(widths)
            )
        )
        self.head = begun(nn.Linear(hidden, classes), fan_in_normal, generator)

    def forward(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B K"]:
        """Logits of the classes."""
        check_shape(inputs, self.shape)
        return self.head(self.blocks(inputs.flatten(1)))


class ConvolutionalNet(nn.Module):
    """Logits through convolutions of equal width; the first two are pooled by two, the last over all places.

    Args:
        shape: channels, height and width of the images.
        classes: number of classes K.
        layers: number of convolutions.
        hidden: feature maps U of each.
        norm: builds the norm of each layer, or None for none.
        activation: of the feature maps.
        generator: of the first weights; the same one gives networks with and without a norm the same.

    Raises:
        InvalidValue: inputs that are no images of at least 4×4, no layers or maps, fewer than 2 classes, or a batch of
            another shape.

    >>> net = ConvolutionalNet(shape=(1, 8, 8), classes=10, layers=3, hidden=8, norm=BatchNorm)
    >>> net(torch.rand(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        classes: int,
        layers: int = 6,
        hidden: int = 16,
        norm: MakeNorm | None = None,
        activation: Callable[[Tensor], Tensor] = relu,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_sizes(classes=classes, layers=layers, hidden=hidden)
        self.shape = tuple(shape)
        if len(self.shape) != 3 or min(self.shape[1:]) < SMALLEST:
            found = f"examples of shape {self.shape} are not images of at least {SMALLEST}×{SMALLEST} pixels"
            raise InvalidValue(f"{found}; take the dense network for them")
        widths = [self.shape[0], *[hidden] * layers]
        blocks: list[nn.Module] = []
        for place, (inputs, outputs) in enumerate(pairwise(widths)):
            layer = nn.Conv2d(inputs, outputs, KERNEL, padding=KERNEL // 2, bias=norm is None)
            begun(layer, kaiming, generator)
            blocks.append(Normed(layer, norm=None if norm is None else norm(channels=outputs), activation=activation))
            if place < 2:
                blocks.append(nn.MaxPool2d(2))
        self.blocks = nn.Sequential(*blocks)
        self.head = begun(nn.Linear(hidden, classes), fan_in_normal, generator)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Logits of the classes."""
        check_shape(images, self.shape)
        return self.head(self.blocks(images).mean(dim=(2, 3)))


def begun(
    layer: nn.Linear | nn.Conv2d, initialize: Initialize, generator: torch.Generator | None
) -> nn.Linear | nn.Conv2d:
    """The layer with first weights by a rule, and biases of 0."""
    initialize(layer.weight, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def check_sizes(*, classes: int, layers: int, hidden: int) -> None:
    """Refuse sizes that make no network.

    Raises:
        InvalidValue: names the size.
    """
    require(classes >= 2, f"classes is {classes}; a classifier needs at least 2")
    require(layers >= 1, f"layers is {layers}; to be normed takes at least 1")
    require(hidden >= 1, f"hidden is {hidden}; a layer needs at least 1 unit")


def check_shape(inputs: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a batch of examples of another shape.

    Raises:
        InvalidValue: names both shapes.
    """
    if tuple(inputs.shape[1:]) != shape:
        raise InvalidValue(f"the examples are {tuple(inputs.shape[1:])}, but this network was built for {shape}")
