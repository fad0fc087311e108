"""IDX: the format of MNIST and its kin, plain or gzip, read with every promise of its header checked.

A file is two zero bytes, a byte for the type of its elements (0x08: unsigned byte), a byte for the number of
dimensions, a big-endian 32-bit size for each, then the elements: http://yann.lecun.com/exdb/mnist/.

Shapes: N examples, H height, W width.
"""

import gzip
import hashlib
import struct
import zlib
from math import prod
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from neurarium.data.imagesets import HeldPixels, RawImages
from neurarium.data.splits import stratified_split
from neurarium.errors import DataError

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"

DIGITS = tuple("0123456789")
FASHION = (
    *("t-shirt/top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
# What a set is, told by its train labels: SHA-256 of the decompressed file, so that recompressing changes nothing.
KNOWN_SETS = {
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5": ("mnist", DIGITS),
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9": ("fashion-mnist", FASHION),
}


def idx_bytes(path: Path) -> bytes:
    """The content of a file, decompressed if it is gzip (told by its first bytes, whatever its name).

    Raises:
        DataError: the file cannot be read, or its gzip stream is truncated or damaged.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content
    except EOFError:
        raise DataError(f"{path} is a truncated gzip file; copy or download it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}); copy or download it again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def parse_idx(content: bytes, *, dimensions: int, name: str) -> UInt8[Tensor, "..."]:
    """The array in an IDX file's content.

    Args:
        content: the decompressed file.
        dimensions: how many dimensions it must have: 3 for images, 1 for labels.
        name: what to call the file in an error.

    Raises:
        DataError: not IDX, not unsigned bytes, not that many dimensions, or not as long as its header says.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]), dimensions=1, name="labels").tolist()
    [7, 8, 9]
    """
    magic = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if content[:4] != magic:
        raise DataError(f"{name} begins with {content[:4].hex() or 'nothing'}, but IDX of this kind with {magic.hex()}")
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{name} is truncated: {len(content)} bytes are less than its header")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) != start + prod(shape):
        raise DataError(
            f"{name} is {'truncated' if len(content) < start + prod(shape) else 'too long'}: its header says "
            f"{start + prod(shape)} bytes, the file has {len(content)}"
        )
    if prod(shape) == 0:
        raise DataError(f"{name} is empty: its header says {' × '.join(map(str, shape))}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(shape)


def find_idx(folder: Path, stem: str) -> Path | None:
    """The file of that stem (`train-images-idx3`) under any of its usual spellings, or None."""
    dotted = stem.replace("-idx", ".idx")
    names = [f"{spelling}-ubyte{end}" for spelling in (stem, dotted) for end in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_pair(folder: Path, part: str) -> tuple[UInt8[Tensor, "N 1 H W"], Int64[Tensor, " N"], str]:
    """The images and labels of one part ("train", "t10k"), and the SHA-256 of the label file.

    Raises:
        DataError: a file is missing or damaged, or the two differ in number.
    """
    found = []
    for stem in (f"{part}-images-idx3", f"{part}-labels-idx1"):
        path = find_idx(folder, stem)
        if path is None:
            raise DataError(f"{folder} has no {stem}-ubyte or {stem}-ubyte.gz")
        found.append((path, idx_bytes(path)))
    (images_path, images_content), (labels_path, labels_content) = found
    images = parse_idx(images_content, dimensions=3, name=str(images_path))
    labels = parse_idx(labels_content, dimensions=1, name=str(labels_path))
    if len(images) != len(labels):
        raise DataError(f"{images_path} has {len(images)} images, but {labels_path} has {len(labels)} labels")
    return images.unsqueeze(1), labels.long(), hashlib.sha256(labels_content).hexdigest()


def load_idx(folder: Path, *, seed: int) -> RawImages:
    """A folder of IDX files; without a t10k pair, a fifth of each class is held out by seed.

    Raises:
        DataError: the folder or a file is missing or damaged, or images and labels disagree.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; idx:DIR needs one with train-images-idx3-ubyte and its labels")
    images, labels, checksum = read_pair(folder, "train")
    if find_idx(folder, "t10k-images-idx3") or find_idx(folder, "t10k-labels-idx1"):
        test_images, test_labels, _ = read_pair(folder, "t10k")
        if test_images.shape[1:] != images.shape[1:]:
            sizes = [" × ".join(map(str, part.shape[2:])) for part in (images, test_images)]
            raise DataError(f"{folder} has train images of {sizes[0]}, but test images of {sizes[1]}")
    else:
        names = [str(number) for number in range(256)]
        train, test = stratified_split(labels, seed=seed, class_names=names)
        test_images, test_labels = images[test], labels[test]
        images, labels = images[train], labels[train]
    classes = int(max(labels.max(), test_labels.max())) + 1
    name, class_names = KNOWN_SETS.get(checksum, ("", tuple(map(str, range(classes)))))
    return RawImages(
        train=(HeldPixels(images), labels),
        test=(HeldPixels(test_images), test_labels),
        class_names=class_names,
        name=name,
    )
