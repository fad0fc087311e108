"""Folders: a folder a class, whole or streamed, and what is wrong with it said by name."""

from pathlib import Path

import pytest
import torch

from neurarium.data.images import Images, load_images
from neurarium.errors import DataError
from tests.data.pictures import picture, write_class


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of ten pictures."""
    for name in ("cat", "dog"):
        write_class(tmp_path / "pets" / name, count=10)
    return tmp_path / "pets"


def load(folder: Path, *, memory: int = 1 << 30, size: int | None = None, seed: int = 0) -> Images:
    return load_images(f"folder:{folder}", seed=seed, memory=memory, size=size)


def test_a_part_of_each_class_is_held_out(folder: Path) -> None:
    found = load(folder)
    assert found.class_names == ("cat", "dog")
    assert found.shape == (3, 4, 6)
    assert found.name == f"folder:{folder}"
    assert (found.skipped, found.note) == ((), "")
    assert found.train.all().labels.tolist() == [0] * 8 + [1] * 8
    assert found.test.all().labels.tolist() == [0, 0, 1, 1]
    assert torch.equal(load(folder).test.all().inputs, found.test.all().inputs)
    assert not torch.equal(load(folder, seed=1).test.all().inputs, found.test.all().inputs)


@pytest.mark.parametrize("test", ["test", "val", "valid", "validation"])
def test_a_test_folder_is_the_test_set(folder: Path, tmp_path: Path, test: str) -> None:
    (tmp_path / "split").mkdir()
    folder.rename(tmp_path / "split" / "train")
    write_class(tmp_path / "split" / test / "dog", count=3)
    found = load(tmp_path / "split")
    assert (len(found.train), len(found.test)) == (20, 3)
    assert found.test.all().labels.tolist() == [1, 1, 1]
    assert found.note == "no test images of cat: accuracy says nothing about them"


def test_a_train_folder_alone_is_divided(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "split").mkdir()
    folder.rename(tmp_path / "split" / "train")
    assert len(load(tmp_path / "split").test) == 4


def test_a_class_may_be_called_train(folder: Path) -> None:
    (folder / "dog").rename(folder / "train")
    assert load(folder).class_names == ("cat", "train")


def test_streamed_equals_held_batch_for_batch(folder: Path) -> None:
    held, streamed = load(folder), load(folder, memory=0)
    assert type(held.train.pixels) is not type(streamed.train.pixels)
    assert held.shape == streamed.shape
    ours, theirs = held.train.batches(3, seed=5), streamed.train.batches(3, seed=5)
    for _ in range(12):
        mine, other = next(ours), next(theirs)
        assert torch.equal(mine.inputs, other.inputs)
        assert torch.equal(mine.labels, other.labels)
    for whole, part in zip(held.test.chunks(3), streamed.test.chunks(3), strict=True):
        assert torch.equal(whole.inputs, part.inputs)
    assert torch.equal(held.test.all().inputs, streamed.test.all().inputs)


def test_memory_decides_which(folder: Path) -> None:
    need = 20 * 3 * 4 * 6
    assert type(load(folder, memory=need).train.pixels).__name__ == "HeldPixels"
    assert type(load(folder, memory=need - 1).train.pixels).__name__ == "FilePixels"


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_sizes_are_brought_to_the_commonest_the_median_or_the_one_asked_for(folder: Path, memory: int) -> None:
    picture(60, 50).save(folder / "cat" / "large.png")
    assert load(folder, memory=memory).shape == (3, 4, 6)
    for number in range(20):
        picture(20 + number, 30 + number).save(folder / "dog" / f"a{number}.png")
    assert load(folder, memory=memory).shape == (3, 30, 20)
    assert load(folder, memory=memory, size=5).shape == (3, 5, 5)
    assert load(folder, memory=memory, size=5).train.all().inputs.shape[1:] == (3, 5, 5)


def test_grey_only_if_all_are(tmp_path: Path) -> None:
    for name in "ab":
        write_class(tmp_path / "set" / name, mode="L")
    assert load(tmp_path / "set").shape == (1, 4, 6)
    picture(mode="P").save(tmp_path / "set" / "a" / "colour.png")
    assert load(tmp_path / "set").shape == (3, 4, 6)


def test_files_are_found_at_any_depth_but_not_hidden_ones(folder: Path) -> None:
    write_class(folder / "cat" / "indoors", count=5)
    write_class(folder / "cat" / ".thumbnails", count=5)
    write_class(folder / ".git", count=5)
    (folder / "cat" / ".DS_Store").write_bytes(b"x")
    (folder / "readme.txt").write_text("beside the classes")
    found = load(folder)
    assert len(found.train) + len(found.test) == 25
    assert found.skipped == ()


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_unreadable_files_are_counted_and_named(folder: Path, memory: int) -> None:
    (folder / "cat" / "notes.txt").write_text("not a picture")
    cut = folder / "dog" / "003.png"
    cut.write_bytes(cut.read_bytes()[:-40])
    found = load(folder, memory=memory)
    assert found.skipped == ("cat/notes.txt", "dog/003.png")
    assert "2 of 21 files could not be read and were left out: cat/notes.txt (not an image), dog/003" in found.note
    assert "\n" not in found.note
    assert len(found.train) + len(found.test) == 19


def test_the_note_names_three(folder: Path) -> None:
    for number in range(5):
        (folder / "cat" / f"x{number}.txt").write_text("not a picture")
    assert load(folder).note.endswith("cat/x2.txt (not an image), and 2 more")


def fails(folder: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_names_what_is_wrong_with_a_folder(folder: Path, tmp_path: Path) -> None:
    fails(tmp_path / "nowhere", "nowhere is not a folder; folder:DIR needs")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", "empty holds no class folders")
    (tmp_path / "flat").mkdir()
    picture().save(tmp_path / "flat" / "a.png")
    fails(tmp_path / "flat", "flat holds no class folders")
    write_class(tmp_path / "one" / "cat")
    fails(tmp_path / "one", "has one class folder, 'cat'; at least two")
    (folder / "emu").mkdir()
    fails(folder, r"class folder .*emu is empty")
    (folder / "emu" / "a.png").write_bytes(b"x")
    (folder / "emu" / "b.png").write_bytes(b"x")
    fails(folder, r"no file in class folder .*emu can be read as an image, of 2")
    picture().save(folder / "emu" / "c.png")
    fails(folder, "class 'emu' has a single example")


def test_names_a_test_class_that_was_never_trained(tmp_path: Path) -> None:
    for name in "ab":
        write_class(tmp_path / "set" / "train" / name)
    write_class(tmp_path / "set" / "test" / "zebra")
    fails(tmp_path / "set", r"class 'zebra' is in .*test, but not in .*train")


def test_names_an_empty_test_folder(tmp_path: Path) -> None:
    for name in "ab":
        write_class(tmp_path / "set" / "train" / name)
    (tmp_path / "set" / "test").mkdir()
    fails(tmp_path / "set", r"test holds no class folders")
