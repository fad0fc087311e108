"""Pairs of pictures from two folders, and from pictures and their edges."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import sobel

from neurarium.data.image_pairs import THRESHOLD, edges, load_image_pairs
from neurarium.data.images import load_images
from neurarium.errors import DataError, InvalidValue


def folders(place: Path, count: int = 10, *, side: int = 8) -> tuple[Path, Path]:
    """Pictures of one grey each, and beside each its negative, in RGB and of another kind of file."""
    for number in range(count):
        grey = np.full((side, side), 20 * number, dtype=np.uint8)
        for name, picture in (("a", Image.fromarray(grey)), ("b", Image.fromarray(255 - grey).convert("RGB"))):
            file = place / name / "some" / f"{number}.{'png' if name == 'a' else 'bmp'}"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture.save(file)
    return place / "a", place / "b"


def test_edges_are_those_of_scipy() -> None:
    images = torch.rand(3, 1, 9, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = edges(images)
    for image, edge in zip(images[:, 0].numpy(), found[:, 0].numpy(), strict=True):
        slope = np.hypot(sobel(image, 0, mode="nearest"), sobel(image, 1, mode="nearest"))
        assert np.array_equal(edge, slope > 4 * THRESHOLD)


def test_digits_come_with_their_edges() -> None:
    pairs = load_image_pairs("digits", seed=0)
    batch = next(pairs.train.batches(8))
    assert torch.equal(batch.inputs, edges(batch.targets))
    assert pairs.images is not None
    assert torch.equal(next(pairs.test.chunks(5)).targets, next(pairs.images.test.chunks(5)).inputs)
    assert load_image_pairs("digits", seed=0, size=8).wanted == (1, 8, 8)


@pytest.mark.parametrize("memory", [1 << 30, 0])
def test_folders_give_pairs_of_equal_names(tmp_path: Path, memory: int) -> None:
    one, other = folders(tmp_path)
    pairs = load_image_pairs(f"pairs:{one},{other}", seed=0, memory=memory)
    assert (pairs.given, pairs.wanted, pairs.images, pairs.note) == ((1, 8, 8), (3, 8, 8), None, "")
    assert (len(pairs.train), len(pairs.test)) == (8, 2)
    for part in (pairs.train, pairs.test):
        batch = next(part.chunks())
        assert torch.allclose(batch.inputs.expand(-1, 3, -1, -1), 1 - batch.targets, atol=1e-6)
    greys = torch.cat([next(part.chunks()).inputs[:, 0, 0, 0] for part in (pairs.train, pairs.test)])
    assert len(greys.unique()) == 10


def test_shuffled_pairs_are_no_pairs_but_the_held_out_ones_are(tmp_path: Path) -> None:
    one, other = folders(tmp_path)
    pairs = load_image_pairs(f"pairs:{one},{other}", seed=0, shuffle=True, size=4)
    learned, held_out = next(pairs.train.chunks()), next(pairs.test.chunks())
    assert learned.inputs.shape == (8, 1, 4, 4)
    assert (learned.inputs != 1 - learned.targets[:, :1]).any()
    assert torch.allclose(held_out.inputs, 1 - held_out.targets[:, :1], atol=1e-6)
    digits = next(load_image_pairs("digits", seed=0, shuffle=True).train.chunks(100))
    assert (digits.inputs != edges(digits.targets)).any()


def test_what_has_no_partner_or_cannot_be_read_is_said(tmp_path: Path) -> None:
    one, other = folders(tmp_path)
    (one / "alone.png").write_bytes((one / "some" / "0.png").read_bytes())
    (one / "some" / "3.png").write_text("no picture")
    pairs = load_image_pairs(f"pairs:{one},{other}", seed=0)
    assert len(pairs.train) + len(pairs.test) == 9
    assert "3.png (not an image)" in pairs.note
    assert "1 pictures have no partner of the same name" in pairs.note


def test_a_stream_goes_back_to_its_place() -> None:
    pairs = load_image_pairs("digits", seed=0)
    stream = pairs.train.batches(4)
    next(stream)
    state, wanted = stream.state_dict(), next(stream)
    again = pairs.train.batches(4)
    again.load_state_dict(state)
    assert all(map(torch.equal, next(again), wanted))


def test_what_is_no_pair_is_named(tmp_path: Path) -> None:
    one, _ = folders(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="does not name two folders; say pairs:DIR_A,DIR_B"):
        load_image_pairs(f"pairs:{one}", seed=0)
    with pytest.raises(DataError, match="none is not a folder"):
        load_image_pairs(f"pairs:{one},{tmp_path / 'none'}", seed=0)
    with pytest.raises(DataError, match="share 0 readable pictures of one name"):
        load_image_pairs(f"pairs:{one},{tmp_path / 'empty'}", seed=0)
    with pytest.raises(DataError, match="did you mean 'digits'"):
        load_image_pairs("digit", seed=0)
    with pytest.raises(InvalidValue, match="size is 0"):
        load_image_pairs(f"pairs:{one},{one}", seed=0, size=0)
    assert load_images("digits", seed=0).shape == (1, 8, 8)
