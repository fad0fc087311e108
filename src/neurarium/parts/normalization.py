r"""Normalisation: bring what a layer computes to mean 0 and variance 1, then let it learn its own mean and scale.

The four differ only in which numbers share a mean. Batch norm takes those of one channel, over all examples and places,
so what an example becomes depends on its batch, and at test averages kept from training stand in for the batch.
Layer norm takes all numbers of one example, instance norm those of one example and channel, group norm those of one
example and some channels: these know no batch, and do the same in training and at test.

Source: CS 479 §15; CSE 151B, "Batch Normalization"; NYU NN II, Batch Normalization (BN), BN Alternatives; Ioffe &
Szegedy 2015, Batch Normalization, alg. 1-2; Ba, Kiros & Hinton 2016, Layer Normalization, eq. 4; Ulyanov, Vedaldi &
Lempitsky 2016, Instance Normalization, eq. 2; Wu & He 2018, Group Normalization, eq. 7.
Differs: the numbers, parameters and buffers are those of torch.nn, so weights pass both ways. Where a mean would be
over a single number these refuse, since nothing of the input would be left; torch refuses only some of such cases.
Instance norm keeps no running averages. Statistics of half-precision inputs are taken in float32.
Shapes: B batch, C channels (or features), then any number of places (none, length, height and width); G groups.
"""

from collections.abc import Sequence
from math import prod
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require

EPSILON = 1e-5  # added to the variance, so that a constant input is not divided by 0; torch's
MOMENTUM = 0.1  # share of the newest batch in the running averages; torch's


@runtime_checkable
class MakeNorm(Protocol):
    """Anything that builds a norm for some channels: `BatchNorm`, `InstanceNorm`, `partial(GroupNorm, groups=8)`."""

    def __call__(self, *, channels: int) -> nn.Module: ...


def standardise(
    values: Float[Tensor, "*shape"], dims: Sequence[int], *, epsilon: float = EPSILON
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*kept"], Float[Tensor, "*kept"]]:
    """The values at mean 0 and variance 1, with the mean and the variance they had.

    Args:
        values: of any shape.
        dims: dimensions over which a mean is taken.
        epsilon: added to the variance.

    >>> normal, mean, variance = standardise(torch.tensor([[1.0, 2.0, 3.0]]), [1])
    >>> normal.round(decimals=3), mean.item()
    (tensor([[-1.2250,  0.0000,  1.2250]]), 2.0)
    """
    # σ² = Σ (x − μ)² / n
    variance, mean = torch.var_mean(values, tuple(dims), correction=0, keepdim=True)
    # x̂ = (x − μ) / √(σ² + ε)
    return (values - mean) * torch.rsqrt(variance + epsilon), mean, variance


class BatchNorm(nn.Module):
    """Each channel at mean 0 and variance 1 over the batch; at test, by the averages kept from training.

    Args:
        channels: number of channels C, the second dimension of the input.
        epsilon: added to the variance.
        momentum: share of the newest batch in the running averages; None weighs all batches alike.
        affine: whether to learn a scale and a shift of each channel.

    Raises:
        InvalidValue: no channels, inputs of other channels, or in training one number a channel.

    >>> norm = BatchNorm(channels=1)
    >>> norm(torch.tensor([[1.0], [5.0]])).flatten().detach().round(decimals=4)  # two numbers always become −1 and 1
    tensor([-1.,  1.])
    >>> norm.eval()(torch.tensor([[1.0], [5.0]])).flatten().detach().round(decimals=2)  # averages: mean 0.3, σ² 1.7
    tensor([0.5400, 3.6000])
    """

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self, *, channels: int, epsilon: float = EPSILON, momentum: float | None = MOMENTUM, affine: bool = True
    ) -> None:
        super().__init__()
        check_options(channels, epsilon)
        if momentum is not None:
            require(0 <= momentum <= 1, f"momentum is {momentum}, but is a share: from 0 to 1, or None")
        self.channels, self.epsilon, self.momentum = channels, epsilon, momentum
        learnable(self, channels, affine)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, values: Float[Tensor, "B C *places"]) -> Float[Tensor, "B C *places"]:
        """The normalised values; in training this also moves the running averages."""
        check_channels(values, self.channels)
        wide = widened(values)
        shape = along(wide, self.channels)
        if self.training:
            normal = self._by_batch(wide)
        else:
            # x̂ = (x − E[x]) / √(Var[x] + ε)
            mean, variance = self.running_mean.view(shape), self.running_var.view(shape)
            normal = (wide - mean) * torch.rsqrt(variance + self.epsilon)
        return scaled(normal, self.weight, self.bias, shape).to(values.dtype)

    def _by_batch(self, values: Tensor) -> Tensor:
        count = values.numel() // self.channels
        refusal = "one number is its own mean and would become 0; give a larger batch, or take layer or group norm"
        require(count > 1, f"batch norm in training has {count} number a channel, but needs at least 2: {refusal}")
        dims = [dim for dim in range(values.ndim) if dim != 1]
        normal, mean, variance = standardise(values, dims, epsilon=self.epsilon)
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            # E[x] ← (1 − m) E[x] + m μ,  Var[x] ← (1 − m) Var[x] + m n/(n − 1) σ²
            self.running_mean.lerp_(mean.flatten().to(self.running_mean.dtype), share)
            self.running_var.lerp_(variance.flatten().to(self.running_var.dtype) * (count / (count - 1)), share)
        return normal


class LayerNorm(nn.Module):
    """All numbers of an example, or of a place in it, at mean 0 and variance 1.

    Args:
        shape: the last dimensions, over which a mean is taken: an int for the last alone.
        epsilon: added to the variance.
        affine: whether to learn a scale and a shift for each of those numbers.

    Raises:
        InvalidValue: a mean over fewer than two numbers, or inputs whose last dimensions are others.

    >>> LayerNorm(shape=4)(torch.tensor([[1.0, 1.0, 3.0, 3.0]])).detach().round(decimals=4)
    tensor([[-1., -1.,  1.,  1.]])
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, *, shape: int | Sequence[int], epsilon: float = EPSILON, affine: bool = True) -> None:
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        check_options(min(self.shape, default=0), epsilon)
        require(prod(self.shape) > 1, "layer norm over one number would make it 0 whatever it was; give at least 2")
        self.epsilon = epsilon
        learnable(self, self.shape, affine)

    def forward(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The normalised values."""
        found = tuple(values.shape[-len(self.shape) :])
        if found != self.shape:
            raise InvalidValue(f"the inputs end in {found}, but this layer norm was built for shape={self.shape}")
        normal, _, _ = standardise(widened(values), range(-len(self.shape), 0), epsilon=self.epsilon)
        return scaled(normal, self.weight, self.bias, self.shape).to(values.dtype)


class GroupNorm(nn.Module):
    """Some channels of an example together at mean 0 and variance 1. One group is layer norm over channels and places.

    Args:
        groups: number of groups G that the channels are dealt into, neighbours together.
        channels: number of channels C, a multiple of G.
        epsilon: added to the variance.
        affine: whether to learn a scale and a shift of each channel.

    Raises:
        InvalidValue: groups that do not divide the channels, inputs of other channels, or one number a group.

    >>> norm = GroupNorm(groups=2, channels=4)
    >>> norm(torch.tensor([[1.0, 3.0, 10.0, 30.0]])).detach().round(decimals=3)
    tensor([[-1.,  1., -1.,  1.]])
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, *, groups: int, channels: int, epsilon: float = EPSILON, affine: bool = True) -> None:
        super().__init__()
        check_options(channels, epsilon)
        fits = groups >= 1 and channels % groups == 0
        require(fits, f"groups is {groups}, but must divide the {channels} channels; choose one of its divisors")
        self.groups, self.channels, self.epsilon = groups, channels, epsilon
        learnable(self, channels, affine)

    def forward(self, values: Float[Tensor, "B C *places"]) -> Float[Tensor, "B C *places"]:
        """The normalised values."""
        check_channels(values, self.channels)
        count = prod(values.shape[1:]) // self.groups
        require(count > 1, "group norm has one number a group, which would become 0 whatever it was; take fewer groups")
        grouped = widened(values).reshape(values.shape[0], self.groups, -1)
        normal = standardise(grouped, [2], epsilon=self.epsilon)[0].reshape(values.shape)
        return scaled(normal, self.weight, self.bias, along(values, self.channels)).to(values.dtype)


class InstanceNorm(nn.Module):
    """Each channel of each example at mean 0 and variance 1 over its places: an image's contrast no longer counts.

    Args:
        channels: number of channels C.
        epsilon: added to the variance.
        affine: whether to learn a scale and a shift of each channel (torch's default is not to).

    Raises:
        InvalidValue: no channels, inputs of other channels, or one place.

    >>> InstanceNorm(channels=1)(torch.tensor([[[2.0, 4.0]], [[10.0, 30.0]]])).flatten().round(decimals=3)
    tensor([-1.,  1., -1.,  1.])
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, *, channels: int, epsilon: float = EPSILON, affine: bool = False) -> None:
        super().__init__()
        check_options(channels, epsilon)
        self.channels, self.epsilon = channels, epsilon
        learnable(self, channels, affine)

    def forward(self, values: Float[Tensor, "B C *places"]) -> Float[Tensor, "B C *places"]:
        """The normalised values."""
        check_channels(values, self.channels)
        refusal = "which would become 0 whatever it was; take batch, layer or group norm"
        require(prod(values.shape[2:]) > 1, f"instance norm has one place a channel, {refusal}")
        normal, _, _ = standardise(widened(values), range(2, values.ndim), epsilon=self.epsilon)
        return scaled(normal, self.weight, self.bias, along(values, self.channels)).to(values.dtype)


def learnable(module: nn.Module, shape: int | tuple[int, ...], affine: bool) -> None:
    """Give a module a scale γ of ones and a shift β of zeros, under torch's names, or None for both."""
    module.register_parameter("weight", nn.Parameter(torch.ones(shape)) if affine else None)
    module.register_parameter("bias", nn.Parameter(torch.zeros(shape)) if affine else None)


def scaled(
    normal: Float[Tensor, "*values"],
    weight: Float[Tensor, "*own"] | None,
    bias: Float[Tensor, "*own"] | None,
    shape: tuple[int, ...],
) -> Float[Tensor, "*values"]:
    """Undo the normalisation as far as learning found useful; `shape` lays the parameters along the values."""
    if weight is None or bias is None:
        return normal
    # y = γ x̂ + β
    return torch.addcmul(bias.view(shape), normal, weight.view(shape))


def along(values: Float[Tensor, "B C *places"], channels: int) -> tuple[int, ...]:
    """The shape in which one number a channel goes along the channels."""
    return (1, channels, *[1] * (values.ndim - 2))


def widened(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half precision as float32, in which a mean of many numbers is still one; all else as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def check_options(channels: int, epsilon: float) -> None:
    """Refuse options that make no norm.

    Raises:
        InvalidValue: no channels, or a negative epsilon.
    """
    require(channels >= 1, f"channels is {channels}; a norm needs at least 1")
    require(epsilon >= 0, f"epsilon is {epsilon}, but must be 0 or more")


def check_channels(values: Float[Tensor, "..."], channels: int) -> None:
    """Refuse inputs that do not have these channels.

    Raises:
        InvalidValue: another second dimension, or none.
    """
    if values.ndim < 2 or values.shape[1] != channels:
        wanted = f"needs (B, {channels}, ...); build it with channels= the second dimension"
        raise InvalidValue(f"the inputs are {tuple(values.shape)}, but this norm {wanted}")
