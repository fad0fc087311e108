import colorsys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.colour import brightness, contrast, greyscale, hue, saturation

FACTORS = [0.0, 0.4, 1.0, 1.8]
ROUNDED = 2 / 255  # what PIL loses in bytes


def some_images(channels: int = 3) -> Tensor:
    chance = torch.Generator().manual_seed(0)
    return torch.randint(256, (4, channels, 5, 6), generator=chance, dtype=torch.uint8).float() / 255


def as_pil(image: Tensor) -> Image.Image:
    return Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy())


def from_pil(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (brightness, ImageEnhance.Brightness),
        (contrast, ImageEnhance.Contrast),
        (saturation, ImageEnhance.Color),
    ],
)
def test_factors_are_pils(ours: Callable[[Tensor, Tensor], Tensor], theirs: type[ImageEnhance.Brightness]) -> None:
    images = some_images()
    changed = ours(images, torch.tensor(FACTORS))
    for image, factor, mine in zip(images, FACTORS, changed, strict=True):
        assert torch.allclose(mine, from_pil(theirs(as_pil(image)).enhance(factor)), atol=ROUNDED)
    assert torch.allclose(changed[2], images[2], atol=1e-6)


def test_a_turn_of_the_hue_is_the_slow_one() -> None:
    images, turns = some_images().double(), [0.0, 0.1, -0.35, 0.5]
    images[1, :, 0] = torch.tensor([[0.0, 1.0, 0.5, 1.0, 0.0, 0.2]] * 3)  # grey, black and white have no hue
    images[1, :2, 1] = 0.7  # red and green equally large
    ours = hue(images, torch.tensor(turns, dtype=torch.float64))
    for image, turn, mine in zip(images, turns, ours, strict=True):
        for i in range(image.shape[1]):
            for j in range(image.shape[2]):
                h, s, v = colorsys.rgb_to_hsv(*image[:, i, j].tolist())
                wanted = colorsys.hsv_to_rgb((h + turn) % 1, s, v)
                assert mine[:, i, j].tolist() == pytest.approx(wanted, abs=1e-12)


def test_greyscale_is_pils() -> None:
    images = some_images()
    for image, mine in zip(images, greyscale(images), strict=True):
        assert torch.allclose(mine, from_pil(as_pil(image).convert("L").convert("RGB")), atol=ROUNDED)


def test_grey_images_have_no_colour_to_change() -> None:
    images, factors = some_images(1), torch.tensor(FACTORS)
    for change in (saturation, hue):
        assert torch.equal(change(images, factors), images)
    assert torch.equal(greyscale(images), images)
    middle = images.mean((1, 2, 3), keepdim=True)
    wanted = (middle + factors[:, None, None, None] * (images - middle)).clamp(0, 1)
    assert torch.allclose(contrast(images, factors), wanted, atol=1e-6)


def test_gradients_pass() -> None:
    images = (0.2 + 0.6 * torch.rand(1, 3, 2, 2, dtype=torch.float64)).requires_grad_()
    factor = torch.tensor([0.8], dtype=torch.float64)
    for change in (brightness, contrast, saturation, hue):
        assert torch.autograd.gradcheck(lambda x, change=change: change(x, factor), (images,))


@pytest.mark.usefixtures("unchecked")
def test_other_channels_are_refused() -> None:
    with pytest.raises(InvalidValue, match="images have 4 channels; colour is for 1"):
        hue(torch.rand(1, 4, 2, 2), torch.ones(1))
