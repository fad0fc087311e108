"""Critics and the image decoder: how far a logit sees, sides of every kind, and what is refused."""

import pytest
import torch
from torch import nn

from neurarium.errors import InvalidValue
from neurarium.parts.critics import ImageFeatures, PatchCritic, fitting, seen
from neurarium.parts.image_decoder import ImageDecoder, doublings
from neurarium.parts.unet import grouped


@pytest.mark.parametrize("halvings", [0, 1, 2, 3])
def test_a_logit_sees_as_many_pixels_as_is_said(halvings: int) -> None:
    torch.manual_seed(0)
    side = 2 * seen(halvings) + 8
    critic = PatchCritic(channels=1, width=2, halvings=halvings, norm=None).double()
    image = torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    logits = critic(image)
    middle = logits.shape[1] // 2
    logits[0, middle, middle].backward()
    assert image.grad is not None
    touched = (image.grad[0, 0] != 0).nonzero()
    assert (touched.amax(0) - touched.amin(0) + 1).tolist() == [seen(halvings)] * 2


def test_patches_of_70_pixels_are_those_of_the_paper() -> None:
    critic = PatchCritic(channels=6)
    assert seen(critic.halvings) == 70
    assert critic(torch.zeros(1, 6, 256, 256)).shape == (1, 30, 30)
    maps = [layer.out_channels for layer in critic.layers if isinstance(layer, nn.Conv2d)]
    assert maps == [64, 128, 256, 512, 1]


@pytest.mark.parametrize("side", [3, 6, 8, 16, 28, 33, 70, 256])
def test_fitting_patches_fit(side: int) -> None:
    critic = PatchCritic(channels=1, width=2, halvings=fitting(side))
    assert min(critic(torch.rand(1, 1, side, side)).shape) >= 1
    assert seen(fitting(side)) <= max(side, 7)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 8), (3, 9, 17), (1, 28, 28), (3, 64, 48), (2, 7, 100)])
def test_pictures_of_all_sides_are_drawn_and_looked_at(shape: tuple[int, int, int]) -> None:
    images = ImageDecoder(inputs=3, shape=shape, width=8, norm=grouped)(torch.randn(2, 3))
    assert images.shape == (2, *shape)
    if min(shape[1:]) >> doublings(shape):
        body = ImageFeatures(shape=shape, width=2)
        assert body(images).shape == (2, body.width)


def test_every_weight_of_a_decoder_has_a_say() -> None:
    torch.manual_seed(0)
    for norm in (None, grouped, nn.BatchNorm2d):
        decoder = ImageDecoder(inputs=3, shape=(1, 28, 28), width=8, norm=norm)
        decoder(torch.randn(4, 3)).square().sum().backward()
        assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in decoder.parameters())


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(InvalidValue, match=r"vectors are \(4,\), but this decoder was built for \(3,\)"):
        ImageDecoder(inputs=3, shape=(1, 8, 8))(torch.zeros(2, 4))
    with pytest.raises(InvalidValue, match=r"the shape is \(1, 0, 8\)"):
        ImageDecoder(inputs=3, shape=(1, 0, 8))
    with pytest.raises(InvalidValue, match="inputs is 0"):
        ImageDecoder(inputs=0, shape=(1, 8, 8))
    with pytest.raises(InvalidValue, match=r"pictures are \(1, 9, 9\), but this critic was built for \(1, 8, 8\)"):
        ImageFeatures(shape=(1, 8, 8))(torch.zeros(1, 1, 9, 9))
    with pytest.raises(InvalidValue, match="too slender to be halved"):
        ImageFeatures(shape=(1, 2, 100))
    with pytest.raises(InvalidValue, match="built for 2 channels and sides of 6 at least"):
        PatchCritic(channels=2, halvings=1)(torch.zeros(1, 2, 5, 5))
    with pytest.raises(InvalidValue, match="halvings is -1"):
        PatchCritic(channels=2, halvings=-1)
