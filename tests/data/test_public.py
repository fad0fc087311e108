"""Public sets by name: a local copy, the cache, the network, and a clear line when there is none of them."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pooch
import pytest
import torch

from neurarium.data.images import load_images
from neurarium.data.public import CIFAR10_CLASSES, PUBLIC_SETS, cifar10_records, read_cifar10
from neurarium.errors import DataError
from tests.data.pictures import write_class
from tests.data.test_idx import write_pair


@pytest.fixture(autouse=True)
def nothing_local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No local copies, and a cache that is thrown away."""
    monkeypatch.delenv("NEURARIUM_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)


@pytest.mark.offline
@pytest.mark.parametrize("name", PUBLIC_SETS)
def test_without_a_network_the_local_form_is_named(name: str) -> None:
    form = "folder" if name == "cifar10" else "idx"
    local = rf"no network; give a local copy as {form}:DIR, or put it in \$NEURARIUM_DATA/{name}$"
    with pytest.raises(DataError, match=f"'{name}' could not be downloaded: {local}"):
        load_images(name, seed=0)


def test_a_full_disk_is_not_called_a_missing_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def retrieve(*_: Any, **__: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(DataError, match="could not be downloaded: No space left on device; give a local copy"):
        load_images("mnist", seed=0)


def test_a_wrong_checksum_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def retrieve(*_: Any, **__: Any) -> str:
        raise ValueError("MD5 hash of downloaded file does not match the known hash")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(DataError, match=r"as downloaded from https://.* does not match its checksum; try again, or"):
        load_images("mnist", seed=0)


def test_downloads_each_file_once_with_its_checksum(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def retrieve(address: str, *, known_hash: str, fname: str, path: Path) -> str:
        asked.append((address, known_hash))
        write_pair(path.parent / "mnist", fname.partition("-")[0], end="-ubyte.gz")
        return str(path / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    (tmp_path / "cache" / "neurarium").mkdir(parents=True)
    assert load_images("mnist", seed=0).shape == (1, 4, 4)
    assert len(asked) == 4
    assert asked[0] == (
        "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
        "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
    )


def test_a_local_copy_comes_first_and_does_not_pass_for_the_public_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NEURARIUM_DATA", str(tmp_path))
    write_pair(tmp_path / "mnist", "train")
    assert load_images("mnist", seed=0).name == f"idx:{tmp_path / 'mnist'}"


def test_a_real_local_copy_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    if not (shared / "mnist").is_dir():
        pytest.skip(f"no mnist in {shared}")
    monkeypatch.setenv("NEURARIUM_DATA", str(shared))
    assert load_images("mnist", seed=0).name == "mnist"


def test_cifar10_may_be_a_folder_of_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NEURARIUM_DATA", str(tmp_path))
    for part, count in (("train", 3), ("test", 2)):
        for name in CIFAR10_CLASSES:
            write_class(tmp_path / "cifar10" / part / name, count=count, size=(32, 32))
    found = load_images("cifar10", seed=0)
    assert (found.name, found.shape, found.class_names) == ("cifar10", (3, 32, 32), CIFAR10_CLASSES)
    assert (len(found.train), len(found.test)) == (30, 20)


def archive(path: Path, batches: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as members:
        for name, content in batches.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            members.addfile(member, io.BytesIO(content))
    return path


def record(label: int, colour: tuple[int, int, int]) -> bytes:
    return bytes([label]) + b"".join(bytes([value]) * 1024 for value in colour)


def parts() -> dict[str, bytes]:
    found = {f"data_batch_{number}.bin": record(number, (number, 0, 0)) for number in (3, 1, 2, 5, 4)}
    return found | {"test_batch.bin": record(9, (0, 0, 7)), "readme.html": b"<p>"}


def test_cifar10_is_read_from_its_binary_archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = archive(tmp_path / "cifar.tar.gz", parts())
    monkeypatch.setattr(pooch, "retrieve", lambda *_, **__: str(path))
    found = load_images("cifar10", seed=0)
    assert (found.name, found.class_names) == ("cifar10", CIFAR10_CLASSES)
    assert found.train.all().labels.tolist() == [1, 2, 3, 4, 5]
    assert torch.equal((found.train.all().inputs[:, 0, 0, 0] * 255).round(), torch.arange(1.0, 6.0))
    assert found.test.all().inputs[0, :, 31, 31].mul(255).round().tolist() == [0.0, 0.0, 7.0]


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    whole = archive(tmp_path / "cifar.tar.gz", parts())
    without = {name: content for name, content in parts().items() if name != "data_batch_2.bin"}
    with pytest.raises(DataError, match=r"lacks data_batch_2\.bin; delete it"):
        read_cifar10(archive(tmp_path / "less.tar.gz", without))
    whole.write_bytes(whole.read_bytes()[:60])
    with pytest.raises(DataError, match=r"cifar\.tar\.gz is damaged .* delete it and try again"):
        read_cifar10(whole)
    for content in (b"", record(1, (0, 0, 0))[:-1]):
        with pytest.raises(DataError, match="CIFAR-10 records have 3073 bytes each"):
            cifar10_records(content)
