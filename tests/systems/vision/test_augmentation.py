import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.augmentation import crop_resize
from neurarium.systems.vision.augmentation import OPERATIONS, Crop, build_augment

VIEW = "crop,flip:0.5,jitter:0.8,grey:0.2,blur:0.5,affine:0.3,cutout:0.3"


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_images(count: int = 6, channels: int = 3, side: int = 8) -> Tensor:
    return torch.rand(count, channels, side, side, generator=chance(9))


def test_a_batch_is_its_images_one_by_one() -> None:
    images, augment = some_images(), build_augment(VIEW)
    drawn = torch.rand(6, augment.numbers, generator=chance())
    alone = [augment.change(images[i : i + 1], drawn[i : i + 1]) for i in range(6)]
    assert torch.allclose(augment.change(images, drawn), torch.cat(alone), atol=1e-6)


def test_pieces_that_fit_the_cache_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images, augment = some_images(20), build_augment(VIEW)
    whole = augment(images, generator=chance())
    monkeypatch.setattr("neurarium.systems.vision.augmentation.CHUNK", 3 * images[0].numel() * 4)
    assert torch.allclose(augment(images, generator=chance()), whole, atol=1e-6)


COMPILED = f"""
import torch
from neurarium.systems.vision.augmentation import build_augment
plain, compiled = build_augment("{VIEW}"), build_augment("{VIEW}", compiled=True)
for count in (40, 33, 2, 1):
    images, drawn = torch.rand(count, 3, 8, 8), torch.rand(count, plain.numbers)
    torch.testing.assert_close(compiled.change(images, drawn), plain.change(images, drawn), rtol=0, atol=1e-5)
"""


@pytest.mark.slow
def test_compiled_operations_are_the_same() -> None:
    # In a process of its own: the type checks of tests are not for the compiler.
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_keeps_shape_and_range_and_leaves_its_input_alone(name: str) -> None:
    for channels in (1, 3):
        images = some_images(channels=channels)
        before = images.clone()
        changed = build_augment(name)(images, generator=chance())
        assert changed.shape == images.shape
        assert changed.min() >= -1e-6
        assert changed.max() <= 1 + 1e-6
        assert torch.equal(images, before)


@pytest.mark.parametrize("text", ["crop:1:0", "jitter:1:0", "affine:1:0", "cutout:1:0", "flip:0", "none"])
def test_no_strength_or_no_chance_changes_nothing(text: str) -> None:
    images = some_images()
    assert torch.allclose(build_augment(text)(images, generator=chance()), images, atol=1e-5)


def test_a_chance_is_how_often_it_happens() -> None:
    images = torch.tensor([0.0, 1.0]).expand(4000, 1, 1, 2)
    flipped = build_augment("flip:0.3")(images, generator=chance())[:, 0, 0, 0].mean()
    assert 0.27 < float(flipped) < 0.33


@settings(max_examples=50, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), strength=st.floats(0, 1), seed=st.integers(0, 99))
def test_every_crop_lies_inside(height: int, width: int, strength: float, seed: int) -> None:
    box = Crop(strength=strength).box(torch.rand(50, 4, generator=chance(seed)), height=height, width=width)
    assert (box.top >= 0).all()
    assert (box.left >= 0).all()
    assert (box.top + box.height <= height + 1e-4).all()
    assert (box.left + box.width <= width + 1e-4).all()
    assert crop_resize(torch.ones(50, 1, height, width), box).allclose(torch.ones(()), atol=1e-5)


def test_areas_and_shapes_of_crops_are_spread_as_promised() -> None:
    box = Crop().box(torch.rand(20_000, 4, generator=chance()), height=1000, width=1000)
    areas, aspects = box.height * box.width / 1e6, box.width / box.height
    assert areas.quantile(0.5).item() == pytest.approx(0.54, abs=0.02)
    assert aspects.log().mean().abs() < 0.01
    assert aspects.max() <= 4 / 3 + 1e-4


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("crob", "there is no augmentation 'crob'; did you mean 'crop'"),
        ("", "there is no augmentation ''; known: affine, blur"),
        ("flip:often", "'flip:often' is not flip with numbers; write flip:CHANCE:STRENGTH"),
        ("flip:1.5", "the chance of flip is 1.5; it must be from 0 to 1"),
        ("flip:nan", "the chance of flip is nan; it must be from 0 to 1"),
        ("flip:0.5:2", "'flip:0.5:2' gives a strength, but flip has none"),
        ("crop:1:2", "the strength of crop is 2; it must be from 0 to 1"),
        ("jitter:1:1:1", "'jitter:1:1:1' has 3 numbers"),
    ],
)
def test_what_cannot_be_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        build_augment(text)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_seed_means_the_same_on_every_device() -> None:
    images, augment = some_images(), build_augment(VIEW)
    here, there = (augment(images.to(device), generator=chance()).cpu() for device in ("cpu", "cuda"))
    assert torch.allclose(here, there, atol=1e-4)
