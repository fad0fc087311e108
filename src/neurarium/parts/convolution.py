r"""Windows of images: where they lie, what they see, and the mean over all places.

Convolution, pooling and patches are all made of the same thing: a window of some size is laid on the image, moved by a
stride, and something is done with what it sees. Zeros (or another number) around the image let it reach over the edge.

Source: NYU NN II, 2D convolution, Pooling (the output size as a function of input size, kernel size, stride and
padding); CSE 151B, Convolutional Networks (window size, stride), Design (global average pooling); Lin, Chen & Yan 2014,
Network in Network, §3.2 (the mean over all places).
Shapes: B batch, C channels, H height, W width, h and w places of the window down and across, k and l its height and
width, M maps.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from neurarium.errors import InvalidValue, require

Sides = int | tuple[int, int]
"""One number for height and width alike, or one for each."""


class Pair(NamedTuple):
    """A number for the height and one for the width."""

    down: int
    across: int


def pair(sides: Sides) -> Pair:
    """Both numbers of what was given as one or two.

    >>> pair(3), pair((1, 2))
    (Pair(down=3, across=3), Pair(down=1, across=2))
    """
    return Pair(sides, sides) if isinstance(sides, int) else Pair(*sides)


def output_size(size: int, *, kernel: int, stride: int = 1, padding: int = 0) -> int:
    """How many places a window finds along one side of an image.

    Args:
        size: pixels along the side.
        kernel: pixels that the window covers.
        stride: pixels from one place to the next.
        padding: pixels added at each end.

    Raises:
        InvalidValue: the window is larger than the padded side, kernel or stride are below 1, or padding below 0.

    >>> output_size(28, kernel=5), output_size(28, kernel=5, padding=2), output_size(28, kernel=5, stride=2)
    (24, 28, 12)
    """
    require(kernel >= 1, f"the kernel is {kernel} pixels long, but must be at least 1")
    require(stride >= 1, f"the stride is {stride}, but must be at least 1")
    require(padding >= 0, f"the padding is {padding}, but must be 0 or more")
    require(
        kernel <= size + 2 * padding,
        f"a kernel of {kernel} pixels does not fit on {size} pixels with {padding} more at each end; "
        "take a smaller kernel or more padding",
    )
    # out = ⌊(n + 2p − k)/s⌋ + 1
    return (size + 2 * padding - kernel) // stride + 1


def places(shape: tuple[int, int], *, kernel: Sides, stride: Sides = 1, padding: Sides = 0) -> Pair:
    """How many places a window finds down and across an image.

    Args:
        shape: height and width of the image.
        kernel: height and width of the window.
        stride: pixels from one place to the next.
        padding: pixels added at each end.

    Raises:
        InvalidValue: as `output_size`.

    >>> places((8, 6), kernel=3, stride=(1, 2))
    Pair(down=6, across=2)
    """
    sides = zip(shape, pair(kernel), pair(stride), pair(padding), strict=True)
    return Pair(*(output_size(n, kernel=k, stride=s, padding=p) for n, k, s, p in sides))


def windows(
    images: Float[Tensor, "B C H W"], kernel: Sides, *, stride: Sides = 1, padding: Sides = 0, fill: float = 0.0
) -> Float[Tensor, "B C h w k l"]:
    """What the window sees at each of its places. Without padding it is a view: no pixel is copied.

    Args:
        images: to look at.
        kernel: height and width of the window.
        stride: pixels from one place to the next.
        padding: pixels added at each end.
        fill: what they are.

    Raises:
        InvalidValue: images of other than four dimensions; else as `output_size`.

    >>> import torch
    >>> windows(torch.arange(9.0).reshape(1, 1, 3, 3), 2)[0, 0, 1, 1]
    tensor([[4., 5.],
            [7., 8.]])
    """
    if images.ndim != 4:
        raise InvalidValue(f"images are {tuple(images.shape)}, but must be (batch, channels, height, width)")
    places((images.shape[2], images.shape[3]), kernel=kernel, stride=stride, padding=padding)
    size, step, margin = pair(kernel), pair(stride), pair(padding)
    if any(margin):
        images = pad(images, (margin.across, margin.across, margin.down, margin.down), value=fill)
    return images.unfold(2, size.down, step.down).unfold(3, size.across, step.across)


def global_average(maps: Float[Tensor, "B M *places"]) -> Float[Tensor, "B M"]:
    """The mean of each map: how much of what it looks for there is, wherever it is.

    >>> import torch
    >>> global_average(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
    tensor([[3.]])
    """
    # f_m = (1/hw) Σ_ij x_mij
    return maps.flatten(2).mean(2)
