"""Images: by name or place, on the scale that was promised, with labels that can be dealt out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from neurarium.data.images import Images, interpolated, load_images
from neurarium.data.imagesets import HeldPixels, ImageSet
from neurarium.errors import DataError, InvalidValue


@pytest.fixture(scope="module")
def digits() -> Images:
    return load_images("digits", seed=0)


def test_digits_are_scikit_learns_with_16_as_one(digits: Images) -> None:
    found = load_digits()
    rows = {
        image.astype(np.float32).tobytes(): label for image, label in zip(found.images / 16, found.target, strict=True)
    }
    for part in (digits.train, digits.test):
        inputs, labels = part.all()
        assert inputs.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert [rows[image.numpy().tobytes()] for image in inputs] == labels.tolist()
    assert float(digits.train.all().inputs.max()) == 1.0
    assert len(digits.train) + len(digits.test) == 1797


def test_digits_in_both_parts_are_shared_out_alike(digits: Images) -> None:
    train, test = (torch.bincount(part.all().labels) for part in (digits.train, digits.test))
    assert ((test / (train + test) - 0.2).abs() < 0.01).all()


def test_the_seed_decides_the_split_and_the_order(digits: Images) -> None:
    again, other = load_images("digits", seed=0), load_images("digits", seed=1)
    assert torch.equal(next(digits.train.batches(8)).inputs, next(again.train.batches(8)).inputs)
    assert not torch.equal(digits.test.all().inputs, other.test.all().inputs)
    assert not torch.equal(next(digits.train.batches(8)).inputs, next(digits.train.batches(8, seed=1)).inputs)


def test_every_byte_becomes_the_nearest_float() -> None:
    pixels = HeldPixels(torch.arange(256, dtype=torch.uint8).reshape(256, 1, 1, 1))
    inputs = ImageSet(pixels, torch.zeros(256, dtype=torch.long)).all().inputs.flatten()
    assert np.array_equal(inputs.numpy(), np.arange(256, dtype=np.float32) / np.float32(255))


def test_chunks_are_the_whole_in_order(digits: Images) -> None:
    chunks = list(digits.test.chunks(100))
    assert [len(chunk.labels) for chunk in chunks] == [100, 100, 100, 59]
    assert torch.equal(torch.cat([chunk.inputs for chunk in chunks]), digits.test.all().inputs)
    with pytest.raises(InvalidValue, match="the chunk size is 0"):
        next(digits.test.chunks(0))


def test_dealt_labels_keep_the_images_and_the_counts(digits: Images) -> None:
    control = load_images("digits", seed=0, shuffle_labels=True)
    for real, dealt in ((digits.train.all(), control.train.all()), (digits.test.all(), control.test.all())):
        assert torch.equal(real.inputs, dealt.inputs)
        assert torch.equal(real.labels.sort().values, dealt.labels.sort().values)
        assert float((real.labels == dealt.labels).float().mean()) < 0.2
    other = load_images("digits", seed=1, shuffle_labels=True)
    assert not torch.equal(control.test.all().labels, other.test.all().labels)


def test_size_brings_images_to_another(digits: Images) -> None:
    large = load_images("digits", seed=0, size=16)
    assert large.shape == (1, 16, 16)
    assert float((large.test.all().inputs.mean() - digits.test.all().inputs.mean()).abs()) < 0.02
    assert torch.equal(load_images("digits", seed=0, size=8).test.all().inputs, digits.test.all().inputs)
    flat = torch.full((3, 1, 9, 9), 77, dtype=torch.uint8)
    assert torch.equal(interpolated(flat, 4), torch.full((3, 1, 4, 4), 77, dtype=torch.uint8))


def test_images_live_where_they_are_told() -> None:
    images = load_images("digits", seed=0, device="meta")
    assert images.train.device.type == "meta"
    assert isinstance(images.train.pixels, HeldPixels)
    assert images.train.pixels.images.device.type == "meta"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("digit", "'digit' is no image data; did you mean 'digits'?"),
        ("minst", "did you mean 'mnist'?"),
        ("cifar-10", "did you mean 'cifar10'?"),
        ("xyz", "known: cifar10, digits, fashion-mnist, folder:DIR, idx:DIR, mnist"),
        ("", "'' is no image data; known: "),
        ("csv:table.csv", "'csv:table.csv' is a table, and images are needed: digits, mnist, "),
        ("idx:", "'idx:' names no folder; say idx:DIR"),
        ("folder", "'folder' names no folder; say folder:DIR"),
        ("mnist:somewhere", "say 'mnist', or idx:somewhere or folder:somewhere for a local copy"),
    ],
)
def test_names_what_is_no_image_data(data: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load_images(data, seed=0)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bare_path_is_told_its_forms(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a folder; say idx:.* or folder:.* \(a folder a class\)"):
        load_images(str(tmp_path), seed=0)


def test_refuses_no_size() -> None:
    with pytest.raises(InvalidValue, match="the image size is 0"):
        load_images("digits", seed=0, size=0)


def test_refuses_labels_that_are_not_as_many() -> None:
    for count in (0, 2):
        with pytest.raises(DataError, match="an image set has"):
            ImageSet(
                HeldPixels(torch.zeros(count, 1, 2, 2, dtype=torch.uint8)), torch.zeros(count // 2, dtype=torch.long)
            )
