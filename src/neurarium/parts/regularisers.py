r"""Regularisers: disturbances that keep a network from learning its examples by heart; penalties have their own file.

Dropout and Gaussian noise disturb inputs, hidden units or outputs while a network learns, so that no unit can rely on
another's exact value. Shifting and turning makes new examples of old ones. Strengths may be tensors that broadcast:
then every network of a stack has its own.

Source: CSE 151B, Dealing with Overfitting; CS 479 §10.2.1 (augmentation, dropout); Srivastava et al. 2014, Dropout, §4
(inverted, as §10 proposes); Bishop 1995, Training with noise is equivalent to Tikhonov regularization, §2.
Differs: all are as they are while a network learns; to use it, leave the disturbance out.
Shapes: B batch, C channels, H height, W width; leading dimensions of images may be any.
"""

from math import pi

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from neurarium.errors import InvalidValue, require

TURN_PER_PIXEL = 10.0  # degrees that go with a shift of one pixel, in pictures of about 8 pixels a side; ours

Strength = Tensor | float


def dropout(
    values: Float[Tensor, "*shape"], chance: Strength, *, generator: torch.Generator
) -> Float[Tensor, "*shape"]:
    """Sets each value to 0 by chance and makes the others larger, so that the expectation stays.

    Args:
        values: of units.
        chance: that a value is dropped.
        generator: of the chance in it.

    Raises:
        InvalidValue: a chance below 0, or not below 1.

    >>> dropout(torch.ones(6), 0.5, generator=torch.Generator().manual_seed(0)).tolist()
    [0.0, 2.0, 0.0, 0.0, 0.0, 2.0]
    """
    p = _as_strength(chance, values)
    fits = bool(((p >= 0) & (p < 1)).all())
    require(fits, f"the chance to drop a value reaches {p.max():g}; it must be at least 0 and below 1")
    drawn = torch.rand(values.shape, generator=generator, dtype=values.dtype, device=generator.device)
    # x m/(1 − p), m = 1 with probability 1 − p: E[m/(1 − p)] = 1
    return values * (drawn.to(values.device) >= p) / (1 - p)


def gaussian_noise(
    values: Float[Tensor, "*shape"], deviation: Strength, *, generator: torch.Generator
) -> Float[Tensor, "*shape"]:
    """Adds a normal number of mean 0 to each value.

    At the inputs of a linear unit it is ridge: the squared error of N examples grows by Nσ²|w|² in the mean.

    Args:
        values: inputs, or of hidden or output units.
        deviation: standard deviation σ of the noise.
        generator: of the chance in it.

    Raises:
        InvalidValue: a negative deviation.

    >>> noisy = gaussian_noise(torch.zeros(10000), 0.5, generator=torch.Generator().manual_seed(0))
    >>> round(noisy.std().item(), 2)
    0.5
    """
    sigma = _as_strength(deviation, values)
    require(bool((sigma >= 0).all()), f"the noise's deviation falls to {sigma.min():g}; it must be 0 or more")
    drawn = torch.randn(values.shape, generator=generator, dtype=values.dtype, device=generator.device)
    # x + σ ε, ε ~ N(0, 1)
    return values + sigma * drawn.to(values.device)


def jittered(
    images: Float[Tensor, "*batch C H W"], pixels: Strength, *, generator: torch.Generator
) -> Float[Tensor, "*batch C H W"]:
    """Shifts and turns each image by chance: up to so many pixels each way, and up to 10 degrees a pixel.

    Args:
        images: whose outside is 0.
        pixels: the largest shift; a tensor that broadcasts against the images, their last three dimensions 1.
        generator: of the chance in it.

    Raises:
        InvalidValue: a negative shift.

    >>> image = torch.eye(8).reshape(1, 1, 8, 8)
    >>> torch.allclose(jittered(image, 0.0, generator=torch.Generator()), image, atol=1e-6)
    True
    """
    most = _as_strength(pixels, images)
    require(bool((most >= 0).all()), f"the largest shift falls to {most.min():g} pixels; it must be 0 or more")
    batch = images.shape[:-3]
    most = most.expand(*batch, *most.shape[-3:])[..., 0, 0, 0] if most.ndim else most
    drawn = torch.rand((3, *batch), generator=generator, dtype=images.dtype, device=generator.device)
    # u ~ U(−s, s)
    turn, across, down = (2 * drawn.to(images.device) - 1) * most
    return moved(images, turn=turn * TURN_PER_PIXEL, across=across, down=down)


def moved(
    images: Float[Tensor, "*batch C H W"],
    *,
    turn: Float[Tensor, "*batch"],
    across: Float[Tensor, "*batch"],
    down: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch C H W"]:
    """Turns each image about its middle, then shifts it; between pixels is interpolated, what comes in is 0.

    Args:
        images: each with its own movement.
        turn: degrees, anticlockwise.
        across: pixels to the right.
        down: pixels downwards.

    >>> image = torch.eye(2).reshape(1, 1, 2, 2)
    >>> zero, one = torch.zeros(1), torch.ones(1)
    >>> moved(image, turn=zero, across=one, down=zero).squeeze().tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    if images.ndim < 4:
        raise InvalidValue(f"images are {tuple(images.shape)}, but must be (B, C, H, W)")
    channels, height, width = images.shape[-3:]
    flat = images.reshape(-1, channels, height, width)
    angle, right, lower = (each.reshape(-1) for each in (turn * pi / 180, across, down))
    cos, sin, stretch = angle.cos(), angle.sin(), height / width
    # Where a pixel comes from, p = R⁻¹(q − d), in coordinates that are ±1 at the edges of the image.
    x, y = -2 * right / width, -2 * lower / height
    rows = [
        torch.stack([cos, -sin * stretch, cos * x - sin * stretch * y], 1),
        torch.stack([sin / stretch, cos, sin / stretch * x + cos * y], 1),
    ]
    grid = affine_grid(torch.stack(rows, 1), list(flat.shape), align_corners=False)
    return grid_sample(flat, grid, align_corners=False).reshape(images.shape)


def _as_strength(strength: Strength, values: Tensor) -> Tensor:
    return torch.as_tensor(strength, dtype=values.dtype, device=values.device)
