"""IDX: what struct reads by hand is what is read, and nothing damaged passes."""

import gzip
import struct
from pathlib import Path

import pytest
import torch
from torch import Tensor

from neurarium.data.idx import load_idx
from neurarium.data.images import load_images
from neurarium.errors import DataError


def idx(values: Tensor) -> bytes:
    header = struct.pack(f">BBBB{values.dim()}I", 0, 0, 8, values.dim(), *values.shape)
    return header + values.to(torch.uint8).numpy().tobytes()


def write_pair(
    folder: Path, part: str, *, count: int = 20, side: int = 4, end: str = "-ubyte"
) -> tuple[Tensor, Tensor]:
    images = torch.randint(0, 256, (count, side, side), generator=torch.Generator().manual_seed(count))
    labels = torch.arange(count) % 4
    folder.mkdir(exist_ok=True)
    for stem, values in ((f"{part}-images-idx3", images), (f"{part}-labels-idx1", labels)):
        content = idx(values)
        (folder / f"{stem}{end}").write_bytes(gzip.compress(content) if end.endswith(".gz") else content)
    return images, labels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pair(tmp_path / "set", "train")
    write_pair(tmp_path / "set", "t10k", count=8)
    return tmp_path / "set"


@pytest.mark.parametrize("end", ["-ubyte", "-ubyte.gz"])
def test_reads_what_was_written(tmp_path: Path, end: str) -> None:
    images, labels = write_pair(tmp_path / "set", "train", end=end)
    test_images, test_labels = write_pair(tmp_path / "set", "t10k", count=8, end=end)
    found = load_images(f"idx:{tmp_path / 'set'}", seed=0)
    assert found.shape == (1, 4, 4)
    assert found.class_names == ("0", "1", "2", "3")
    assert found.name == f"idx:{tmp_path / 'set'}"
    assert torch.equal(found.train.all().inputs, images.unsqueeze(1).float() / 255)
    assert torch.equal(found.train.all().labels, labels)
    assert torch.equal(found.test.all().inputs, test_images.unsqueeze(1).float() / 255)
    assert torch.equal(found.test.all().labels, test_labels)


def test_knows_the_spelling_with_a_dot_and_gzip_under_any_name(folder: Path) -> None:
    plain = load_images(f"idx:{folder}", seed=0)
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("-idx", ".idx"))
    labels = folder / "train-labels.idx1-ubyte"
    labels.write_bytes(gzip.compress(labels.read_bytes()))
    dotted = load_images(f"idx:{folder}", seed=0)
    assert torch.equal(plain.train.all().inputs, dotted.train.all().inputs)
    assert torch.equal(plain.train.all().labels, dotted.train.all().labels)


def test_without_a_test_pair_a_part_of_each_class_is_held_out(tmp_path: Path) -> None:
    images, _ = write_pair(tmp_path / "set", "train")
    found = load_images(f"idx:{tmp_path / 'set'}", seed=0)
    assert (len(found.train), len(found.test)) == (16, 4)
    assert found.test.all().labels.sort().values.tolist() == [0, 1, 2, 3]
    both = torch.cat([found.train.all().inputs, found.test.all().inputs])
    assert sorted(both.sum((1, 2, 3)).tolist()) == sorted((images.unsqueeze(1).float() / 255).sum((1, 2, 3)).tolist())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", b"", "begins with nothing, but IDX of this kind with 00000803"),
        ("train-images-idx3-ubyte", b"\x00\x00\x08\x03\x00", "is truncated: 5 bytes are less than its header"),
        ("train-images-idx3-ubyte", idx(torch.zeros(20, 4, 4))[:-9], "header says 336 bytes, the file has 327"),
        ("train-images-idx3-ubyte", idx(torch.zeros(20, 4, 4)) + b"x", "too long: its header says 336 bytes, .* 337"),
        ("train-images-idx3-ubyte", idx(torch.zeros(0, 4, 4)), "is empty: its header says 0 × 4 × 4"),
        ("train-images-idx3-ubyte", idx(torch.zeros(20)), "begins with 00000801, .* with 00000803"),
        ("train-images-idx3-ubyte", b"\x89PNG....", "begins with 89504e47"),
        ("train-labels-idx1-ubyte", idx(torch.zeros(19)), "has 20 images, but .* has 19 labels"),
        ("train-images-idx3-ubyte", gzip.compress(idx(torch.zeros(20, 4, 4)), mtime=0)[:-12], "is a truncated gzip"),
        ("train-images-idx3-ubyte", gzip.compress(b"x", mtime=0)[:-8] + b"\x00" * 8, "is a damaged gzip file"),
        ("train-images-idx3-ubyte", b"\x1f\x8bnonsense", "is a damaged gzip file"),
        ("t10k-images-idx3-ubyte", idx(torch.zeros(8, 5, 5)), "train images of 4 × 4, but test images of 5 × 5"),
    ],
)
def test_names_a_damaged_file(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_idx(folder, seed=0)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("stem", ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"])
def test_names_a_missing_file(folder: Path, stem: str) -> None:
    (folder / f"{stem}-ubyte").unlink()
    with pytest.raises(DataError, match=f"has no {stem}-ubyte or {stem}-ubyte.gz"):
        load_idx(folder, seed=0)


def test_names_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder; idx:DIR needs"):
        load_images(f"idx:{tmp_path / 'nowhere'}", seed=0)


@pytest.mark.parametrize(("name", "first"), [("mnist", "0"), ("fashion-mnist", "t-shirt/top")])
def test_recognises_the_public_sets(shared: Path, name: str, first: str) -> None:
    if not (shared / name).is_dir():
        pytest.skip(f"no {name} in {shared}")
    found = load_images(f"idx:{shared / name}", seed=0)
    assert found.name == name
    assert found.class_names[0] == first
    assert (len(found.train), len(found.test), found.shape, found.classes) == (60_000, 10_000, (1, 28, 28), 10)
    content = gzip.decompress((shared / name / "t10k-images-idx3-ubyte.gz").read_bytes())
    magic, count, height, width = struct.unpack(">4I", content[:16])
    assert (magic, count, height, width) == (0x803, 10_000, 28, 28)
    last = torch.tensor(list(content[-784:])).reshape(1, 28, 28) / 255
    assert torch.equal(found.test.take(torch.tensor([9_999])).inputs[0], last)
