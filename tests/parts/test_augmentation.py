from math import cos, exp, floor, pi, sin, tan

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.augmentation import Box, Motion, affine, blur, crop_resize, cutout, flip, separable

HEIGHT, WIDTH = 7, 9


def some_images(seed: int = 0) -> Tensor:
    return torch.rand(3, 2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def box_of(rows: list[tuple[float, float, float, float]]) -> Box:
    return Box(*torch.tensor(rows, dtype=torch.float64).unbind(1))


@settings(max_examples=20, deadline=None)
@given(
    top=st.floats(0, 3), left=st.floats(0, 3), height=st.floats(1, 4), width=st.floats(1, 6),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)  # fmt: skip
def test_a_crop_is_pils(top: float, left: float, height: float, width: float, size: tuple[int, int]) -> None:
    images = some_images()
    ours = crop_resize(images, box_of([(top, left, height, width)] * 3), size=size)
    box = (left, top, left + width, top + height)
    for image, mine in zip(images.flatten(0, 1), ours.flatten(0, 1), strict=True):
        theirs = Image.fromarray(image.float().numpy()).resize(size[::-1], Image.Resampling.BILINEAR, box=box)
        assert np.allclose(mine.numpy(), np.asarray(theirs), atol=1e-5)


def test_each_image_gets_its_own_box() -> None:
    images, rows = some_images(), [(0.0, 0.0, 7.0, 9.0), (1.0, 2.0, 3.0, 4.0), (2.5, 0.5, 2.0, 8.0)]
    alone = [crop_resize(images[i : i + 1], box_of(rows[i : i + 1])) for i in range(3)]
    assert torch.allclose(crop_resize(images, box_of(rows)), torch.cat(alone))
    assert torch.allclose(alone[0], images[:1])


def slow_blur(image: Tensor, deviation: float, radius: int) -> Tensor:
    """A pixel at a time: the weighted mean of its neighbours, mirrored at the edges."""

    def inside(place: int, side: int) -> int:
        return -place if place < 0 else 2 * (side - 1) - place if place >= side else place

    offsets = range(-radius, radius + 1)
    out = torch.zeros_like(image)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            weights = {(a, b): exp(-(a * a + b * b) / (2 * deviation**2)) for a in offsets for b in offsets}
            near = {
                at: image[inside(i + at[0], image.shape[0]), inside(j + at[1], image.shape[1])] * weight
                for at, weight in weights.items()
            }
            out[i, j] = sum(near.values()) / sum(weights.values())
    return out


def test_a_blur_is_the_slow_one() -> None:
    images, deviations = some_images()[:2, :1], [0.4, 1.7]
    ours = blur(images, torch.tensor(deviations, dtype=torch.float64), radius=3)
    for image, deviation, mine in zip(images, deviations, ours, strict=True):
        assert torch.allclose(mine[0], slow_blur(image[0], deviation, 3), atol=1e-12)


def slow_affine(image: Tensor, turn: float, across: float, down: float, zoom: float, shear: float) -> Tensor:
    """Where each pixel comes from by the inverse matrix, linear between the four pixels there, 0 outside."""
    height, width = image.shape
    turn, lean = turn * pi / 180, tan(shear * pi / 180)
    matrix = zoom * np.array([[cos(turn), -sin(turn)], [sin(turn), cos(turn)]]) @ np.array([[1, -lean], [0, 1]])
    out = torch.zeros_like(image)
    for i in range(height):
        for j in range(width):
            q = np.array([j - (width - 1) / 2 - across, i - (height - 1) / 2 - down])
            x, y = np.linalg.inv(matrix) @ q + np.array([(width - 1) / 2, (height - 1) / 2])
            for row in (floor(y), floor(y) + 1):
                for column in (floor(x), floor(x) + 1):
                    if 0 <= row < height and 0 <= column < width:
                        out[i, j] += (1 - abs(y - row)) * (1 - abs(x - column)) * image[row, column]
    return out


def test_an_affine_motion_is_the_slow_one() -> None:
    images = some_images()[:, :1]
    rows = [(0.0, 1.0, -2.0, 1.0, 0.0), (33.0, 0.4, 0.7, 1.3, 12.0), (-80.0, -1.5, 0.2, 0.7, -25.0)]
    ours = affine(images, Motion(*torch.tensor(rows, dtype=torch.float64).unbind(1)))
    for image, row, mine in zip(images, rows, ours, strict=True):
        assert torch.allclose(mine[0], slow_affine(image[0], *row), atol=1e-12)


def test_a_hole_and_a_flip_are_indexing() -> None:
    images = some_images()
    ours = cutout(images, box_of([(-1, 2, 3, 3), (5, 7, 4, 4), (0, 0, 0, 0)]))
    wanted = images.clone()
    wanted[0, :, :2, 2:5] = 0
    wanted[1, :, 5:, 7:] = 0
    assert torch.equal(ours, wanted)
    assert torch.equal(flip(flip(images)), images)
    assert torch.equal(flip(images)[..., 0], images[..., -1])


def test_gradients_pass() -> None:
    images = some_images()[:1, :1, :4, :4].clone().requires_grad_()
    one = torch.ones(1, dtype=torch.float64)
    motion = Motion(20 * one, 0.3 * one, one, 1.1 * one, 5 * one)
    for change in (
        lambda x: crop_resize(x, Box(one, one, 2 * one, 2.5 * one)),
        lambda x: blur(x, one, radius=2),
        lambda x: affine(x, motion),
        lambda x: separable(x, rows=x[0], columns=x[0]),
    ):
        assert torch.autograd.gradcheck(change, (images,))


@pytest.mark.usefixtures("unchecked")
def test_a_blur_that_reaches_too_far_is_refused() -> None:
    with pytest.raises(InvalidValue, match="the blur's radius is 7; it must be below 7"):
        blur(some_images(), torch.ones(3), radius=7)
