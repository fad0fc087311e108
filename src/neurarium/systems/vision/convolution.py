r"""Convolution: one small set of weights, moved over everything.

Two functions are combined by turning one round, sliding it along the other, and summing the products at each offset. On
pixels the integral becomes a sum, and the sum over a window one row of a matrix product: all windows of all images
times all kernels. Leave out the turning round and it is cross-correlation, which is what networks call convolution. If
every place may have weights of its own the layer is only locally connected; tying them together is what makes it
a convolution, and is why it has few weights and treats all places alike.

Source: CS 479 §12.1, Convolution (continuous, discrete, 2D and without turning round; stride, padding, one bias a
kernel, 1×1); NYU NN II, Local connection patterns, Weight sharing, 2D convolution, Pooling; CSE 151B, Convolutional
Networks (edge kernel; max, sum or average pooling). The matrix product: Chellapilla, Puri & Simard 2006, High
performance convolutional neural networks for document processing, §3.
Differs: as everywhere in the field, sums run over where both functions are given; beyond, they are 0.
Shapes: B batch, C channels, H height, W width, M maps, h and w places of the window down and across, k and l its height
and width; N and K numbers of a signal and a kernel, G numbers along an axis.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from neurarium.errors import InvalidValue, require
from neurarium.parts.convolution import Sides, pair, places, windows

EDGES: dict[str, tuple[tuple[float, ...], ...]] = {
    "horizontal edges": ((-2, -2, -2), (0, 0, 0), (2, 2, 2)),  # CSE 151B, Convolutional Networks, Example
    "vertical edges": ((-2, 0, 2), (-2, 0, 2), (-2, 0, 2)),
    "diagonal edges": ((0, 1, 2), (-1, 0, 1), (-2, -1, 0)),  # Sobel's, turned by 45°
    "all edges (Laplace)": ((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)),
    "sharpen": ((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
    "emboss": ((-2, -1, 0), (-1, 1, 1), (0, 1, 2)),
    "blur": tuple((1 / 49,) * 7 for _ in range(7)),
}
"""Kernels by what they show, rows from above."""

Function = Callable[[Float[Tensor, " G"]], Float[Tensor, " G"]]
Pooling = Literal["max", "average", "sum"]


class Sampled(NamedTuple):
    """A function at some places."""

    x: Float[Tensor, " G"]
    y: Float[Tensor, " G"]


def discrete(signal: Float[Tensor, "*B N"], kernel: Float[Tensor, " K"]) -> Float[Tensor, "*B N+K-1"]:
    """The discrete convolution of signals with a kernel, at every offset at which they overlap.

    Raises:
        InvalidValue: either is empty.

    >>> discrete(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 10.0]))
    tensor([ 1., 12., 23., 30.])
    """
    reach = kernel.shape[0] - 1
    require(reach >= 0 and signal.shape[-1] > 0, "a signal or kernel is empty; there is nothing to convolve")
    # (f∗g)_m = Σ_n f_n g_{m−n}
    return pad(signal, (reach, reach)).unfold(-1, reach + 1, 1) @ kernel.flip(0)


def riemann(f: Function, g: Function, *, step: float, until: float) -> Sampled:
    """The continuous convolution of two functions that are 0 below 0, by a sum over cells of this length.

    The functions are taken in the middle of each cell, so that the sum is `step` times the discrete convolution of the
    two lists of values, and its error falls with the square of the step if they jump at the ends of cells only.

    Args:
        f: from x to f(x).
        g: from x to g(x).
        step: length of a cell.
        until: the largest x asked for.

    Raises:
        InvalidValue: a step that is not positive, or longer than the whole.

    >>> box = torch.ones_like  # on [0, ∞), so that (f∗g)(x) = x
    >>> riemann(box, box, step=0.5, until=2.0).y
    tensor([0.5000, 1.0000, 1.5000, 2.0000], dtype=torch.float64)
    """
    require(0 < step <= until, f"step is {step}; it must be positive and at most {until}, the largest x")
    cells = round(until / step)
    middle = step * (torch.arange(cells, dtype=torch.float64) + 0.5)
    # (f∗g)(x) = ∫ f(s) g(x − s) ds ≈ Δ Σ_n f(s_n) g(x − s_n)
    return Sampled(middle + 0.5 * step, step * discrete(f(middle), g(middle))[:cells])


def cross_correlate(
    images: Float[Tensor, "B C H W"],
    kernels: Float[Tensor, "M C k l"],
    bias: Float[Tensor, " M"] | None = None,
    *,
    stride: Sides = 1,
    padding: Sides = 0,
) -> Float[Tensor, "B M h w"]:
    """Kernels laid on images as they are, at every place: what networks call a convolution.

    Args:
        images: to look at.
        kernels: one for each map.
        bias: one number for each map.
        stride: pixels from one place to the next.
        padding: zeros added at each end.

    Raises:
        InvalidValue: the kernels are for another number of channels, or larger than the padded images; a stride below 1
            or a padding below 0.

    >>> cross_correlate(torch.eye(4).reshape(1, 1, 4, 4), torch.tensor([[[[-1.0, 1.0]]]]))[0, 0, 1]
    tensor([ 1., -1.,  0.])
    """
    check_channels(images, kernels.shape[1])
    seen = windows(images, (kernels.shape[2], kernels.shape[3]), stride=stride, padding=padding)
    down, across = seen.shape[2:4]
    # one column a window, one row a kernel
    columns = seen.permute(0, 1, 4, 5, 2, 3).reshape(images.shape[0], -1, down * across)
    # z_mij = b_m + Σ_cuv w_mcuv x_c,i+u,j+v
    maps = kernels.flatten(1) @ columns
    maps = maps if bias is None else maps + bias[:, None]
    return maps.unflatten(2, (down, across))


def convolve(
    images: Float[Tensor, "B C H W"],
    kernels: Float[Tensor, "M C k l"],
    bias: Float[Tensor, " M"] | None = None,
    *,
    stride: Sides = 1,
    padding: Sides = 0,
) -> Float[Tensor, "B M h w"]:
    """Kernels turned round, then laid on images at every place: the convolution of mathematics.

    Args and errors are those of `cross_correlate`.

    >>> point, kernel = torch.tensor([[[[0.0, 0.0, 1.0, 0.0, 0.0]]]]), torch.tensor([[[[1.0, 2.0, 3.0]]]])
    >>> convolve(point, kernel).tolist(), cross_correlate(point, kernel).tolist()
    ([[[[1.0, 2.0, 3.0]]]], [[[[3.0, 2.0, 1.0]]]])
    """
    # (f∗g)_mn = Σ_ij f_ij g_{m−i,n−j}
    return cross_correlate(images, kernels.flip(2, 3), bias, stride=stride, padding=padding)


def fourier(
    images: Float[Tensor, "B C H W"], kernels: Float[Tensor, "M C k l"], *, room: bool = True
) -> Float[Tensor, "B M H+k-1 W+l-1"]:
    """The whole convolution (that of `convolve` with padding k − 1 and l − 1) as a product of spectra.

    Args:
        images: to convolve.
        kernels: one for each map.
        room: whether to leave room for what reaches over the edge. A spectrum belongs to a signal that goes round in a
            circle, so without room it comes in again at the other side.

    Raises:
        InvalidValue: the kernels are for another number of channels.

    >>> fourier(torch.tensor([[[[1.0, 2.0, 3.0]]]]), torch.tensor([[[[1.0, 10.0]]]])).round()[0, 0, 0]
    tensor([ 1., 12., 23., 30.])
    """
    check_channels(images, kernels.shape[1])
    whole = [n + k - 1 for n, k in zip(images.shape[2:], kernels.shape[2:], strict=True)]
    circle = [fast_length(n) for n in whole] if room else list(images.shape[2:])
    spectra = (torch.fft.rfft2(array, s=circle) for array in (images, kernels))
    # F(f∗g) = F(f) F(g), summed over channels
    found = torch.fft.irfft2(torch.einsum("bcuv,mcuv->bmuv", *spectra), s=circle)
    rows, columns = (torch.arange(n, device=images.device) % c for n, c in zip(whole, circle, strict=True))
    return found[:, :, rows][..., columns]


def fast_length(length: int) -> int:
    """The next length without prime factors above 5, at which a fast Fourier transform is fastest and most exact.

    >>> [fast_length(length) for length in (7, 60, 429)]
    [8, 60, 432]
    """
    # 30^n holds every factor 2, 3 and 5 that a length below 2^n can have
    while 30 ** length.bit_length() % length:
        length += 1
    return length


def pointwise(
    images: Float[Tensor, "B C H W"], weight: Float[Tensor, "M C"], bias: Float[Tensor, " M"] | None = None
) -> Float[Tensor, "B M H W"]:
    """A 1×1 convolution: the same linear layer at every pixel, from its channels to as many maps as wanted.

    Raises:
        InvalidValue: the weight is for another number of channels.

    >>> grey = torch.tensor([[0.299, 0.587, 0.114]])  # from red, green and blue
    >>> pointwise(torch.ones(1, 3, 2, 2), grey).shape
    torch.Size([1, 1, 2, 2])
    """
    return cross_correlate(images, weight[:, :, None, None], bias)


def pool(
    images: Float[Tensor, "B C H W"],
    kernel: Sides,
    *,
    kind: Pooling = "max",
    stride: Sides | None = None,
    padding: Sides = 0,
) -> Float[Tensor, "B C h w"]:
    """One number for each window: its largest pixel, their mean or their sum.

    Args:
        images: to make smaller.
        kernel: height and width of the window.
        kind: "max", "average" or "sum".
        stride: pixels from one place to the next (default: the window's own size).
        padding: pixels added at each end: zeros, which count in the mean, and −∞ for "max".

    Raises:
        InvalidValue: an unknown kind, padding of more than half the window, or what `windows` refuses.

    >>> pool(torch.arange(16.0).reshape(1, 1, 4, 4), 2)[0, 0]
    tensor([[ 5.,  7.],
            [13., 15.]])
    """
    if kind not in POOLINGS:
        raise InvalidValue(f"the kind of pooling is '{kind}', but must be one of {', '.join(POOLINGS)}")
    half = all(2 * p <= k for p, k in zip(pair(padding), pair(kernel), strict=True))
    require(half, f"the padding is {padding}, but must be at most half the window of {kernel}")
    fill = -torch.inf if kind == "max" else 0.0
    seen = windows(images, kernel, stride=kernel if stride is None else stride, padding=padding, fill=fill)
    return POOLINGS[kind](seen)


POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    # max_uv x_{i+u,j+v}
    "max": lambda seen: seen.amax((4, 5)),
    # (1/kl) Σ_uv x_{i+u,j+v}
    "average": lambda seen: seen.mean((4, 5)),
    # Σ_uv x_{i+u,j+v}
    "sum": lambda seen: seen.sum((4, 5)),
}
"""What is made of each window (B, C, h, w, k, l), by name."""


def locally_connected(
    images: Float[Tensor, "B C H W"],
    kernels: Float[Tensor, "h w M C k l"],
    bias: Float[Tensor, "h w M"] | None = None,
    *,
    stride: Sides = 1,
    padding: Sides = 0,
) -> Float[Tensor, "B M h w"]:
    """A layer that looks through windows as a convolution does, with kernels of its own at every place.

    Args:
        images: to look at.
        kernels: for each place, one for each map.
        bias: one number for each place and map.
        stride: pixels from one place to the next.
        padding: zeros added at each end.

    Raises:
        InvalidValue: kernels for other places or channels than the images have, or what `windows` refuses.

    >>> untied = torch.tensor([1.0, 10.0, 100.0]).reshape(1, 3, 1, 1, 1, 1)  # three places of one pixel
    >>> locally_connected(torch.ones(1, 1, 1, 3), untied)
    tensor([[[[  1.,  10., 100.]]]])
    """
    check_channels(images, kernels.shape[3])
    seen = windows(images, (kernels.shape[4], kernels.shape[5]), stride=stride, padding=padding)
    found, given = tuple(seen.shape[2:4]), tuple(kernels.shape[:2])
    require(found == given, f"the kernels are for {given} places, but windows on these images have {found}")
    # z_mij = b_ijm + Σ_cuv w_ijmcuv x_c,i+u,j+v
    maps = torch.einsum("bchwkl,hwmckl->bmhw", seen, kernels)
    return maps if bias is None else maps + bias.permute(2, 0, 1)


class Weights(NamedTuple):
    """How many weights, biases left out, lead from an image to maps of it."""

    dense: int
    local: int
    shared: int


def count_weights(
    shape: tuple[int, int, int], *, maps: int, kernel: Sides, stride: Sides = 1, padding: Sides = 0
) -> Weights:
    """The weights of a layer if all is connected with all, if it is locally connected, and if it is a convolution.

    Args:
        shape: channels, height and width of the image.
        maps: how many maps are made of it.
        kernel: height and width of the window.
        stride: pixels from one place to the next.
        padding: zeros added at each end.

    Raises:
        InvalidValue: the window does not fit.

    >>> count_weights((3, 200, 200), maps=100, kernel=1)  # local: the slide's 200 × 200 × 3 × 100 = 12M
    Weights(dense=480000000000, local=12000000, shared=300)
    """
    channels, height, width = shape
    down, across = places((height, width), kernel=kernel, stride=stride, padding=padding)
    size = pair(kernel)
    # M · C k l weights, the same at all places
    shared = maps * channels * size.down * size.across
    # others at each of the h w places
    local = down * across * shared
    # every one of the M h w outputs sees all C H W inputs
    dense = maps * down * across * channels * height * width
    return Weights(dense, local, shared)


def check_channels(images: Float[Tensor, "B C H W"], channels: int) -> None:
    """Refuse images that have other channels than the kernels look at."""
    if images.ndim != 4 or images.shape[1] != channels:
        raise InvalidValue(f"images are {tuple(images.shape)}, but these kernels look at (batch, {channels}, H, W)")
