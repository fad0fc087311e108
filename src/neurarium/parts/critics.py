r"""Critics of pictures: what in a picture tells a forger's hand, in the whole of it or patch by patch.

`ImageFeatures` goes down from a picture to a vector by which a whole picture is judged. `PatchCritic` gives a logit for
every patch: it sees style and sharpness, and leaves it to others (a distance to the right answer, a way back) that the
whole is as it should be.

Source: Radford, Metz & Chintala 2016, Unsupervised representation learning with deep convolutional GANs, §3 (strides
instead of pooling, leaky rectifiers); Isola, Zhu, Zhou & Efros 2017, Image-to-image translation with conditional
adversarial networks, §3.2.2 and appendix 6.1.2 (the critic of patches of 70 pixels: C64-C128-C256-C512).
Differs: no norm in `ImageFeatures`, where batch norm would judge real and generated pictures by each other; dropout
instead, for small sets; `PatchCritic` normalises each picture by itself, and has fewer halvings for small pictures.
Shapes: B batch, C channels, H height, W width, F features, h and w patches down and across.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.parts.image_decoder import MOST, doublings

LEAK = 0.2  # slope of the rectifier below 0, Radford, Metz & Chintala 2016, §4
HALVINGS = 3  # of the critic of 70-pixel patches, Isola et al. 2017, appendix 6.1.2
KERNEL = 4  # pixels a side of every window, ibidem

leaky: Callable[[], nn.Module] = partial(nn.LeakyReLU, LEAK)


class ImageFeatures(nn.Module):
    """Features of whole pictures: halved until they are coarse, while maps double.

    Args:
        shape: channels, height and width of a picture.
        width: maps at full size.
        dropout: chance in training that a feature is hidden.

    Raises:
        InvalidValue: a width below 1; in use, pictures of another shape.

    >>> import torch
    >>> body = ImageFeatures(shape=(1, 8, 8), width=4)
    >>> body.width, body(torch.zeros(3, 1, 8, 8)).shape
    (128, torch.Size([3, 128]))
    """

    def __init__(self, *, shape: tuple[int, int, int], width: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        require(width >= 1, f"width is {width}; a critic needs at least 1 map")
        self.shape = shape
        widths = [width * min(2**stage, MOST) for stage in range(doublings(shape) + 1)]
        layers: list[nn.Module] = [nn.Conv2d(shape[0], width, 3, padding=1), leaky()]
        for before, maps in pairwise(widths):
            layers += [nn.Conv2d(before, maps, KERNEL, stride=2, padding=1), leaky()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout))
        down, across = (side // 2 ** doublings(shape) for side in shape[1:])
        require(
            min(down, across) >= 1,
            f"pictures of {shape[1]}×{shape[2]} are too slender to be halved {doublings(shape)} times; resize them",
        )
        self.width = widths[-1] * down * across

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """The features of each picture."""
        if tuple(images.shape[1:]) != self.shape:
            raise InvalidValue(f"pictures are {tuple(images.shape[1:])}, but this critic was built for {self.shape}")
        return self.layers(images)


class PatchCritic(nn.Module):
    """A logit for every patch of a picture.

    Args:
        channels: C of what it sees, whatever it is told laid beside the picture included.
        width: maps after the first layer; they double with each halving.
        halvings: how often the sides are halved: 3 for patches of 70 pixels, 2 of 34, 1 of 16, 0 of 7.
        norm: follows every layer but the first and the last, built from the number of maps; None for nothing.

    Raises:
        InvalidValue: a width below 1 or fewer halvings than none; in use, pictures of other channels or too small.

    >>> import torch
    >>> PatchCritic(channels=2, width=8, halvings=1)(torch.zeros(3, 2, 28, 28)).shape
    torch.Size([3, 12, 12])
    """

    def __init__(
        self,
        *,
        channels: int,
        width: int = 64,
        halvings: int = HALVINGS,
        norm: Callable[[int], nn.Module] | None = nn.InstanceNorm2d,
    ) -> None:
        super().__init__()
        require(width >= 1, f"width is {width}; a critic needs at least 1 map")
        require(halvings >= 0, f"halvings is {halvings}; it must be 0 or more")
        self.channels, self.halvings = channels, halvings
        widths = [channels, *(width * min(2**stage, MOST) for stage in range(halvings + 1))]
        layers: list[nn.Module] = []
        for place, (before, maps) in enumerate(pairwise(widths)):
            normed = norm is not None and place > 0
            layers.append(
                nn.Conv2d(before, maps, KERNEL, stride=2 if place < halvings else 1, padding=1, bias=not normed)
            )
            layers += [norm(maps), leaky()] if norm is not None and normed else [leaky()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, KERNEL, padding=1))

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B h w"]:
        """How real each patch looks."""
        least = 3 * 2**self.halvings  # two windows of 4 on a margin of 1 still find a place
        if images.shape[1] != self.channels or min(images.shape[2:]) < least:
            raise InvalidValue(
                f"pictures are {tuple(images.shape[1:])}, but this critic was built for {self.channels} channels and "
                f"sides of {least} at least"
            )
        return self.layers(images).squeeze(1)


def seen(halvings: int) -> int:
    """How many pixels a side a logit of `PatchCritic` looks at.

    >>> [seen(halvings) for halvings in range(4)]
    [7, 16, 34, 70]
    """
    side = 1
    for stride in (1, 1, *[2] * halvings):  # from the last layer back
        # r ← (r − 1) s + k
        side = (side - 1) * stride + KERNEL
    return side


def fitting(side: int) -> int:
    """The halvings at which patches are the largest that lie inside a picture, at most those of 70 pixels.

    >>> fitting(8), fitting(28), fitting(64), fitting(256)
    (0, 1, 2, 3)
    """
    return max(halvings for halvings in range(HALVINGS + 1) if halvings == 0 or seen(halvings) <= side)
