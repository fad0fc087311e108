r"""Augmentation: crops, blurs, turns and holes, each image of a batch with parameters of its own.

A whole batch is one tensor on one device, and what chance decided arrives as numbers: nothing here draws. Resizing a
box and blurring are linear and separable, so that each is two small matrices an image, Y = R X Cᵀ, multiplied for the
whole batch at once.

Source: CSE 151B, Contrastive Learning; NYU NN II, "Data augmentation"; Chen, Kornblith, Norouzi & Hinton 2020, A
simple framework for contrastive learning of visual representations, §3 and appendix A; Szegedy et al. 2015, Going
deeper with convolutions, §6 (crop and resize); DeVries & Taylor 2017, Improved regularization of convolutional neural
networks with cutout, §3.2.
Shapes: B batch, C channels, H height, W width, h and w of the outcome, T taps of a blur.
"""

from functools import lru_cache
from math import pi
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, one_hot

from neurarium.errors import require

RADIUS = 6  # pixels that a blur reaches: three deviations of the widest, 2 pixels (Chen et al. 2020, appendix A)


class Box(NamedTuple):
    """A box in each image, in pixels; its corner may lie between two, or outside."""

    top: Float[Tensor, " B"]
    left: Float[Tensor, " B"]
    height: Float[Tensor, " B"]
    width: Float[Tensor, " B"]


class Motion(NamedTuple):
    """How each image moves about its middle: sheared, turned, made larger, then shifted."""

    turn: Float[Tensor, " B"]  # degrees, clockwise
    across: Float[Tensor, " B"]  # pixels to the right
    down: Float[Tensor, " B"]  # pixels downwards
    zoom: Float[Tensor, " B"]  # factor
    shear: Float[Tensor, " B"]  # degrees by which upright lines lean, their lower ends to the left


def separable(
    images: Float[Tensor, "B C H W"], *, rows: Float[Tensor, "B h H"], columns: Float[Tensor, "B w W"]
) -> Float[Tensor, "B C h w"]:
    """Each channel mixed over its rows and over its columns.

    Args:
        images: to be mixed.
        rows: what each new row takes from each old one.
        columns: what each new column takes from each old one.

    >>> image = torch.arange(4.0).reshape(1, 1, 2, 2)
    >>> upside_down = torch.eye(2).flip(0)[None]
    >>> separable(image, rows=upside_down, columns=torch.eye(2)[None]).squeeze().tolist()
    [[2.0, 3.0], [0.0, 1.0]]
    """
    batch, channels, height, width = images.shape
    # Y = R X Cᵀ
    across = torch.bmm(images.reshape(batch, channels * height, width), columns.mT)
    across = across.reshape(batch, channels, height, columns.shape[1])
    return torch.stack([torch.bmm(rows, across[:, channel]) for channel in range(channels)], 1)


def crop_resize(
    images: Float[Tensor, "B C H W"], box: Box, *, size: tuple[int, int] | None = None
) -> Float[Tensor, "B C h w"]:
    """A box of each image, brought to one size: linear between pixels, and smoothed where it shrinks.

    What lies just outside a box still counts as the neighbour of what is inside.

    Args:
        images: to be cropped.
        box: inside each image.
        size: height and width of the outcome (default: those of the images).

    >>> image = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> one, two = torch.ones(1), 2 * torch.ones(1)
    >>> crop_resize(image, Box(one, one, two, two), size=(2, 2)).squeeze().tolist()
    [[5.0, 6.0], [9.0, 10.0]]
    """
    height, width = images.shape[2:]
    tall, wide = size or (height, width)
    return separable(
        images,
        rows=resizing(box.top, box.height, old=height, new=tall),
        columns=resizing(box.left, box.width, old=width, new=wide),
    )


def resizing(
    start: Float[Tensor, " B"], length: Float[Tensor, " B"], *, old: int, new: int
) -> Float[Tensor, "B new old"]:
    """What each pixel of a stretched piece takes from the old ones: a triangle about the place it came from."""
    stride = (length / new)[:, None, None]
    # The i-th new pixel's middle lies at s + (i + ½) l/n.
    middles = (torch.arange(new, device=start.device)[:, None] + 0.5) * stride + start[:, None, None]
    places = torch.arange(old, device=start.device) + 0.5
    weights = (places - middles).abs_().div_(stride.clamp(min=1)).neg_().add_(1).clamp_(min=0)
    return weights.div_(weights.sum(2, keepdim=True))


def blur(
    images: Float[Tensor, "B C H W"], deviation: Float[Tensor, " B"], *, radius: int = RADIUS
) -> Float[Tensor, "B C H W"]:
    """Each image smoothed by a Gaussian of its own; the image goes on in its mirror beyond the edges.

    Args:
        images: to be smoothed.
        deviation: of each Gaussian, in pixels, above 0.
        radius: pixels after which the Gaussian is cut off.

    Raises:
        InvalidValue: the radius is negative, or reaches past the far edge.

    >>> image = torch.zeros(1, 1, 5, 5)
    >>> image[0, 0, 2, 2] = 9
    >>> blur(image, torch.tensor([100.0]), radius=1)[0, 0, 1].round().tolist()
    [0.0, 1.0, 1.0, 1.0, 0.0]
    """
    height, width = images.shape[2:]
    require(0 <= radius < min(height, width), f"the blur's radius is {radius}; it must be below {min(height, width)}")
    offsets = torch.arange(-radius, radius + 1, device=deviation.device)
    # g(d) ∝ exp(−d²/2σ²), |d| ≤ radius
    kernel = torch.softmax(-0.5 * (offsets / deviation[:, None]).square(), 1)
    rows = blurring(kernel, side=height)
    return separable(images, rows=rows, columns=rows if width == height else blurring(kernel, side=width))


def blurring(kernel: Float[Tensor, "B T"], *, side: int) -> Float[Tensor, "B side side"]:
    """What each pixel of a blurred line takes from the old ones."""
    places = mirrored(side, kernel.shape[1] // 2, kernel.device)
    return torch.mm(kernel, places.to(kernel.dtype)).reshape(-1, side, side)


@lru_cache(maxsize=16)
def mirrored(side: int, radius: int, device: torch.device) -> Float[Tensor, "T places"]:
    """For each offset of a kernel, which pixel it finds from which: 1 where it does, flat."""
    offsets = torch.arange(-radius, radius + 1, device=device)[:, None]
    # A pixel at −k is the one at k, and one at n − 1 + k the one at n − 1 − k.
    found = (side - 1) - ((side - 1) - (torch.arange(side, device=device) + offsets).abs()).abs()
    return one_hot(found, side).float().flatten(1)


def affine(images: Float[Tensor, "B C H W"], motion: Motion) -> Float[Tensor, "B C H W"]:
    """Each image sheared, turned, zoomed and shifted about its middle; between pixels linear, outside 0.

    >>> image = torch.arange(4.0).reshape(1, 1, 2, 2)
    >>> zero, one = torch.zeros(1), torch.ones(1)
    >>> affine(image, Motion(turn=90 * one, across=zero, down=zero, zoom=one, shear=zero)).round().squeeze().tolist()
    [[2.0, 0.0], [3.0, 1.0]]
    """
    height, width = images.shape[2:]
    cos, sin = (motion.turn * pi / 180).cos(), (motion.turn * pi / 180).sin()
    lean = (motion.shear * pi / 180).tan()
    # Where a pixel comes from: p = A⁻¹(q − d), A = z R(φ) [[1, −tan s], [0, 1]]
    a, b = (cos - lean * sin) / motion.zoom, (sin + lean * cos) / motion.zoom
    c, d = -sin / motion.zoom, cos / motion.zoom
    x, y = -2 * motion.across / width, -2 * motion.down / height
    # In coordinates that are ±1 at the edges, one step down is height/width of a step across.
    b, c = b * height / width, c * width / height
    theta = torch.stack([torch.stack([a, b, a * x + b * y], 1), torch.stack([c, d, c * x + d * y], 1)], 1)
    return grid_sample(images, affine_grid(theta, list(images.shape), align_corners=False), align_corners=False)


def flip(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Left and right exchanged.

    >>> flip(torch.tensor([[[[1.0, 2.0]]]])).tolist()
    [[[[2.0, 1.0]]]]
    """
    return images.flip(3)


def cutout(images: Float[Tensor, "B C H W"], box: Box) -> Float[Tensor, "B C H W"]:
    """Each image with a box set to 0; what of the box lies outside is left out.

    >>> one = torch.ones(1)
    >>> cutout(torch.ones(1, 1, 2, 3), Box(-one, one, 2 * one, one)).squeeze().tolist()
    [[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]
    """
    height, width = images.shape[2:]
    down, across = ((torch.arange(side, device=images.device) + 0.5)[None] for side in (height, width))
    tall = (down > box.top[:, None]) & (down < (box.top + box.height)[:, None])
    wide = (across > box.left[:, None]) & (across < (box.left + box.width)[:, None])
    hole = (tall[:, :, None] & wide[:, None, :])[:, None]
    return images.masked_fill(hole, 0)
