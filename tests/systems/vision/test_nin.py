from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import relu

from neurarium.errors import InvalidValue
from neurarium.parts.encoders import Classifier
from neurarium.parts.evidence import evidence
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.encoders import build_encoder
from neurarium.systems.vision.nin import NiN, class_maps, how_often, mlpconv


def published() -> nn.Sequential:
    """The authors' network for CIFAR-10 as it is usually written down: its last mlpconv ends in the class maps."""

    def block(channels: int, *maps: int, kernel: int) -> list[nn.Module]:
        first = [nn.Conv2d(channels, maps[0], kernel, padding=kernel // 2), nn.ReLU()]
        rest = [[nn.Conv2d(before, after, 1), nn.ReLU()] for before, after in pairwise(maps)]
        return [*first, *(layer for pair in rest for layer in pair)]

    return nn.Sequential(
        *block(3, 192, 160, 96, kernel=5),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Dropout(0.5),
        *block(96, 192, 192, 192, kernel=5),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.Dropout(0.5),
        *block(192, 192, 192, kernel=3),
        nn.Conv2d(192, 10, 1),
        nn.AvgPool2d(8),
        nn.Flatten(),
    )


def test_same_weights_same_outputs_and_gradients_as_the_published_net() -> None:
    ours, theirs = Classifier(NiN(shape=(3, 32, 32), scale=1.0), classes=10).eval(), published().eval()
    pairs = list(zip(ours.parameters(), theirs.parameters(), strict=True))
    for mine, other in pairs:  # the head is the 1×1 layer of the class maps
        other.data.copy_(mine.data.reshape(other.shape))
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(class_maps(ours, images), theirs[:-2](images), rtol=1e-4, atol=1e-5)
    ours(images).square().sum().backward()
    theirs(images).square().sum().backward()
    for mine, other in pairs:
        assert mine.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(mine.grad, other.grad.reshape(mine.shape), rtol=1e-3, atol=1e-4)


def test_an_mlpconv_is_a_perceptron_at_every_pixel() -> None:
    block, images = mlpconv(3, [5, 4], kernel=3), torch.rand(2, 3, 6, 7)
    first, second = block[0], block[2]
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    seen = nn.functional.unfold(images, 3, padding=1).transpose(1, 2)  # (B, pixels, 27)
    hidden = relu(nn.functional.linear(seen, first.weight.flatten(1), first.bias))
    output = relu(nn.functional.linear(hidden, second.weight.flatten(1), second.bias))
    torch.testing.assert_close(block(images), output.transpose(1, 2).unflatten(2, (6, 7)))


@given(channels=st.integers(1, 4), height=st.integers(1, 40), width=st.integers(1, 40), classes=st.integers(2, 12))
def test_any_shape_gives_logits_that_are_the_means_of_the_class_maps(
    channels: int, height: int, width: int, classes: int
) -> None:
    net = Classifier(NiN(shape=(channels, height, width), scale=0.05), classes=classes).eval()
    images = torch.rand(2, channels, height, width)
    maps = class_maps(net, images)
    assert maps.shape[:2] == (2, classes)
    torch.testing.assert_close(maps.mean((2, 3)), net(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [1, 7, 8, 13, 14, 25, 27, 28, 32, 33, 64])
def test_poolings_leave_seven_pixels_where_there_were_so_many(side: int) -> None:
    net = NiN(shape=(1, side, 70), scale=0.01).eval()
    left = net.look(torch.rand(1, 1, side, 70)).maps.shape[2]
    assert left >= min(side, 7)
    assert how_often(side) == 2 or left < 14


def test_features_are_the_means_of_the_maps() -> None:
    net = NiN(shape=(1, 8, 8)).eval()
    features, maps = net.look(torch.rand(3, 1, 8, 8))
    torch.testing.assert_close(features, maps.mean((2, 3)))
    assert features.shape == (3, net.width)


def test_the_class_maps_are_the_evidence_that_gradients_find() -> None:
    net = Classifier(NiN(shape=(1, 8, 8)), classes=3)
    images, asked = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 1])
    maps = class_maps(net, images)
    assert net.training
    without_bias = maps[torch.arange(4), asked] - net.head.bias.detach()[asked, None, None]
    heat = relu(without_bias)
    heat = heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12)
    torch.testing.assert_close(evidence(net, images, asked), heat, rtol=1e-4, atol=1e-4)


def test_dropout_is_in_training_only() -> None:
    net = NiN(shape=(1, 8, 8), dropout=0.5)
    images = torch.rand(2, 1, 8, 8)
    assert not torch.equal(net(images), net(images))
    net.eval()
    assert torch.equal(net(images), net(images))


def test_it_is_found_by_name() -> None:
    encoder = build_encoder("nin:scale=0.5,dropout=0.1", shape=(1, 28, 28))
    assert isinstance(encoder, NiN)
    assert encoder.width == 96


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="scale is 0; it must be positive"):
        NiN(shape=(1, 8, 8), scale=0)
    with pytest.raises(InvalidValue, match=r"dropout is 1\.0; it must be at least 0 and below 1"):
        NiN(shape=(1, 8, 8), dropout=1.0)
    net = Classifier(NiN(shape=(1, 8, 8)), classes=2)
    with pytest.raises(InvalidValue, match=r"images are \(3, 8, 8\), but this NiN was built for \(1, 8, 8\)"):
        class_maps(net, torch.zeros(2, 3, 8, 8))


def test_the_recipe_runs_on_colour_images(tmp_path: Path) -> None:
    from PIL import Image

    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (9, 9), colour).save(tmp_path / "mine" / name / f"{number}.png")
    options = dict(data=f"folder:{tmp_path / 'mine'}", steps=30, scale=0.05, dropout=0.0)
    done = train(find("nin"), options, Settings(device="cpu"), out=tmp_path)
    assert done.result["measures"]["test_accuracy"] == 1.0
