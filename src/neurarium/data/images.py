"""Images: labelled pictures from wherever they are, by one name.

`digits` is embedded (scikit-learn's 8×8 handwritten digits); `mnist`, `fashion-mnist` and `cifar10` are found in
`$NEURARIUM_DATA/<name>` or downloaded once; `idx:DIR` and `folder:DIR` are the reader's own.

Shapes: N examples, C channels, H height, W width.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional

from neurarium.data.folders import MEMORY, load_folder
from neurarium.data.idx import DIGITS, load_idx
from neurarium.data.imagesets import HeldPixels, ImageSet, RawImages, image_set
from neurarium.data.public import PUBLIC_SETS, load_public
from neurarium.data.splits import stratified_split
from neurarium.errors import DataError, did_you_mean, require

FORMS = ("digits", *PUBLIC_SETS, "idx:DIR", "folder:DIR")


@dataclass(frozen=True)
class Images:
    """Labelled images to train and to test on.

    Attributes:
        train: the images to learn from.
        test: the images held out.
        class_names: the name of each class, in the order of the labels.
        name: what the set turned out to be: "mnist" for `idx:DIR` if that is what DIR holds, else as it was asked for.
        skipped: files that could not be read, relative to the folder.
        note: what the reader should know about how the data was read, or nothing.
    """

    train: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    name: str
    skipped: tuple[str, ...] = ()
    note: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        return self.train.shape

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)


def load_images(
    data: str = "digits",
    *,
    seed: int,
    device: torch.device | str = "cpu",
    shuffle_labels: bool = False,
    size: int | None = None,
    memory: int = MEMORY,
) -> Images:
    """Labelled images by name or place.

    Args:
        data: `digits`, `mnist`, `fashion-mnist`, `cifar10`, `idx:DIR` or `folder:DIR`.
        seed: decides the split where the data has no test set, the dealing of labels, and the default order of batches.
        device: where the images live.
        shuffle_labels: the negative control: deal the labels of each part out at random among its examples.
        size: resize every image to this height and width.
        memory: bytes up to which a folder is decoded at once; a larger one is streamed from its files.

    Raises:
        DataError: unknown, missing, empty or damaged data; the message says which file and why.
        InvalidValue: `size` is below 1.

    >>> images = load_images("digits", seed=0)
    >>> images.name, images.shape, images.classes, len(images.train), len(images.test)
    ('digits', (1, 8, 8), 10, 1438, 359)
    >>> next(images.train.batches(32)).inputs.shape
    torch.Size([32, 1, 8, 8])
    """
    require(size is None or size >= 1, f"the image size is {size}, but must be at least 1")
    raw = find_images(data, seed=seed, size=size, memory=memory)
    place = torch.device(device)
    train, test = (
        image_set(part, peak=raw.peak, seed=seed, device=place, shuffle_labels=shuffle_labels)
        for part in (raw.train, raw.test)
    )
    return Images(train, test, raw.class_names, raw.name or data, raw.skipped, raw.note)


def find_images(data: str, *, seed: int, size: int | None, memory: int) -> RawImages:
    """What the data string means: the loader of its form, and every image of the size asked for.

    Raises:
        DataError: the string names no image data.
    """
    form, _, rest = data.partition(":")
    if form == "folder" and rest:
        return load_folder(Path(rest).expanduser(), seed=seed, size=size, memory=memory)
    if form == "idx" and rest:
        return resized(load_idx(Path(rest).expanduser(), seed=seed), size)
    if data == "digits":
        return resized(load_digits(seed=seed), size)
    if data in PUBLIC_SETS:
        return resized(load_public(data, seed=seed, size=size, memory=memory), size)
    raise unknown(data)


def unknown(data: str) -> DataError:
    """The error for a string that names no image data, with the nearest thing that does."""
    form, _, rest = data.partition(":")
    if form == "csv":
        return DataError(f"'{data}' is a table, and images are needed: {', '.join(FORMS)}")
    if form in ("idx", "folder"):
        return DataError(f"'{data}' names no folder; say {form}:DIR")
    if form in PUBLIC_SETS:
        return DataError(f"'{data}' is no image data; say '{form}', or idx:{rest} or folder:{rest} for a local copy")
    if data and Path(data).expanduser().is_dir():
        return DataError(f"'{data}' is a folder; say idx:{data} or folder:{data} (a folder a class)")
    return DataError(f"'{data}' is no image data; {did_you_mean(data, FORMS)}")


def load_digits(*, seed: int) -> RawImages:
    """scikit-learn's 1,797 handwritten digits, 8×8 in 17 greys, a fifth of each class held out by seed."""
    from sklearn.datasets import load_digits as embedded

    found = embedded()
    pixels = torch.from_numpy(found.images).to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(found.target).long()
    train, test = stratified_split(labels, seed=seed, class_names=DIGITS)
    return RawImages(
        train=(HeldPixels(pixels[train]), labels[train]),
        test=(HeldPixels(pixels[test]), labels[test]),
        class_names=DIGITS,
        peak=16,
    )


def resized(raw: RawImages, size: int | None) -> RawImages:
    """The same images, those held in memory brought to `size` × `size`; streamed ones were read so."""
    (train, train_labels), (test, test_labels) = raw.train, raw.test
    if size is None or not (isinstance(train, HeldPixels) and isinstance(test, HeldPixels)):
        return raw
    smaller = [HeldPixels(interpolated(pixels.images, size)) for pixels in (train, test)]
    return replace(raw, train=(smaller[0], train_labels), test=(smaller[1], test_labels))


def interpolated(images: UInt8[Tensor, "N C H W"], size: int) -> UInt8[Tensor, "N C size size"]:
    """The images at another size, smoothed where they shrink; some at a time, for floats take four times the room."""
    if images.shape[2:] == (size, size):
        return images
    chunks = [
        functional.interpolate(chunk.float(), size=(size, size), mode="bilinear", antialias=True).round_().byte()
        for chunk in images.split(1024)
    ]
    return torch.cat(chunks)
