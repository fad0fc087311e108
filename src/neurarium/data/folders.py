"""Folders: one folder a class, with any pictures in it, held in memory where they fit and streamed where they do not.

Either DIR/<class>/*, of which a fifth of each class is held out by seed, or DIR/train/<class>/* and
DIR/test/<class>/*. Files and classes come in the order of their names, on every machine alike.

Shapes: N examples.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median_low

import torch
from jaxtyping import Int64
from torch import Tensor

from neurarium.data.decoding import FilePixels, Seen, survey
from neurarium.data.imagesets import HeldPixels, Pixels, RawImages
from neurarium.data.splits import stratified_split
from neurarium.errors import DataError

MEMORY = 1 << 30  # bytes: a larger folder is streamed
TEST_NAMES = ("test", "val", "valid", "validation")


def load_folder(folder: Path, *, seed: int, size: int | None = None, memory: int = MEMORY) -> RawImages:
    """Labelled images from a folder a class.

    Files that cannot be read are left out, counted and named in `skipped` and `note`; a class without test images is
    named there too. All images are brought to
    `size` × `size`, or else to the size that at least half of them have, or else to the median width and height.

    Args:
        folder: DIR, holding class folders or a train and a test folder of them.
        seed: decides the split where there is no test folder.
        size: height and width of every image.
        memory: bytes that the decoded images may take; beyond, they are decoded batch by batch.

    Raises:
        DataError: no folder, no or one class, a class without readable images, a test class without training images.
    """
    train_root, test_root = find_parts(folder)
    listed = class_files(train_root)
    class_names = tuple(listed)
    if len(class_names) == 1:
        raise DataError(f"{train_root} has one class folder, '{class_names[0]}'; at least two are needed to tell apart")
    test_listed = class_files(test_root) if test_root else {}
    for name in test_listed:
        if name not in listed:
            raise DataError(f"class '{name}' is in {test_root}, but not in {train_root}")
    seen = survey([path for files in (listed, test_listed) for paths in files.values() for path in paths])
    readable = {view.path: view for view in seen if not view.trouble}
    shape = common_shape(list(readable.values()), size) if readable else (1, 1, 1)
    train = labelled_files(listed, class_names, readable)
    if test_root:
        test = labelled_files(test_listed, class_names, readable)
    else:
        train, test = split_files(train, seed=seed, class_names=class_names)
    untested = [name for name in class_names if test_root and name not in test_listed]
    held = (len(train[0]) + len(test[0])) * shape[0] * shape[1] * shape[2] <= memory
    trouble = [view for view in seen if view.trouble]
    return RawImages(
        train=(as_pixels(train[0], shape, held=held), train[1]),
        test=(as_pixels(test[0], shape, held=held), test[1]),
        class_names=class_names,
        skipped=tuple(view.path.relative_to(folder).as_posix() for view in trouble),
        note="; ".join(filter(None, [skipped_note(trouble, folder=folder, total=len(seen)), untested_note(untested)])),
    )


def untested_note(untested: Sequence[str]) -> str:
    """What to say of classes that are learned, but not tested.

    >>> untested_note(["cat", "dog"])
    'no test images of cat, dog: accuracy says nothing about them'
    """
    return f"no test images of {', '.join(untested)}: accuracy says nothing about them" if untested else ""


def find_parts(folder: Path) -> tuple[Path, Path | None]:
    """The folders that hold the classes to train on and, where it is given, to test on.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; folder:DIR needs one that holds a folder of images a class")
    train = folder / "train"
    # A folder of pictures called "train" may be a class; the training part holds folders.
    if not (train.is_dir() and any(entry.is_dir() for entry in train.iterdir())):
        return folder, None
    return train, next((folder / name for name in TEST_NAMES if (folder / name).is_dir()), None)


def class_files(root: Path) -> dict[str, list[Path]]:
    """The files of each class, at any depth below its folder; hidden ones are not looked at.

    Raises:
        DataError: there is no class folder, or one is empty.
    """
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise DataError(f"{root} holds no class folders; folder:DIR needs a folder of images a class")
    found = {folder.name: visible_files(folder) for folder in folders}
    for name, files in found.items():
        if not files:
            raise DataError(f"class folder {root / name} is empty")
    return found


def visible_files(folder: Path) -> list[Path]:
    """The files below a folder, sorted."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend(Path(place, name) for name in files if not name.startswith("."))
    return sorted(found)


def labelled_files(
    listed: Mapping[str, Sequence[Path]], class_names: Sequence[str], readable: Mapping[Path, Seen]
) -> tuple[list[Path], Int64[Tensor, " N"]]:
    """The readable files and their labels, class after class.

    Raises:
        DataError: no file of a class can be read.
    """
    files: list[Path] = []
    labels: list[int] = []
    for name, paths in listed.items():
        kept = [path for path in paths if path in readable]
        if not kept:
            raise DataError(f"no file in class folder {paths[0].parent} can be read as an image, of {len(paths)}")
        files += kept
        labels += [class_names.index(name)] * len(kept)
    return files, torch.tensor(labels)


def split_files(
    part: tuple[list[Path], Int64[Tensor, " N"]], *, seed: int, class_names: Sequence[str]
) -> tuple[tuple[list[Path], Tensor], tuple[list[Path], Tensor]]:
    """The files divided into a train and a test part, class by class."""
    files, labels = part
    train, test = stratified_split(labels, seed=seed, class_names=class_names)
    train_files, test_files = ([files[place] for place in some.tolist()] for some in (train, test))
    return (train_files, labels[train]), (test_files, labels[test])


def common_shape(seen: Sequence[Seen], size: int | None) -> tuple[int, int, int]:
    """Channels, height and width for all images.

    >>> views = [Seen(Path(), 8, 6, grey=True), Seen(Path(), 8, 6), Seen(Path(), 9, 9)]
    >>> common_shape(views, None), common_shape(views[:1], 4)
    ((3, 6, 8), (1, 4, 4))
    """
    channels = 1 if all(view.grey for view in seen) else 3
    if size is not None:
        return channels, size, size
    (height, width), count = Counter((view.height, view.width) for view in seen).most_common(1)[0]
    if 2 * count < len(seen):
        height, width = median_low(view.height for view in seen), median_low(view.width for view in seen)
    return channels, height, width


def as_pixels(files: Sequence[Path], shape: tuple[int, int, int], *, held: bool) -> Pixels:
    """The files decoded at once, or one that decodes them when they are taken."""
    streamed = FilePixels(files, shape=shape)
    return HeldPixels(streamed.take(torch.arange(len(files)))) if held else streamed


def skipped_note(trouble: Sequence[Seen], *, folder: Path, total: int) -> str:
    """How many files could not be read, and the first of them by name, in a line."""
    if not trouble:
        return ""
    named = [f"{view.path.relative_to(folder)} ({view.trouble})" for view in trouble[:3]]
    more = f", and {len(trouble) - 3} more" if len(trouble) > 3 else ""
    return f"{len(trouble)} of {total} files could not be read and were left out: {', '.join(named)}{more}"
