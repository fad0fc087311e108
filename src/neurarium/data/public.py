"""Public images and texts by name: a local copy first, else downloaded once, checked by a known checksum, and cached.

The checksums are those that the authors publish. CIFAR-10 comes in its binary form, because the Python form is a
pickle, and opening data must never run code.

Shapes: N examples.
"""

import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from neurarium.data.folders import load_folder
from neurarium.data.idx import load_idx
from neurarium.data.imagesets import HeldPixels, RawImages
from neurarium.errors import DataError


@dataclass(frozen=True)
class PublicSet:
    """Where a set is published, the MD5 of each of its files, and the form that a local copy has."""

    address: str
    files: Mapping[str, str]
    form: str


PUBLIC_SETS = {
    "mnist": PublicSet(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        "idx",
    ),
    "fashion-mnist": PublicSet(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        "idx",
    ),
    "cifar10": PublicSet(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        "folder",
    ),
}

PUBLIC_TEXTS = {
    "tinyshakespeare": PublicSet(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",
        {"input.txt": "6fb458f1232090904fb40fe944165e91"},
        "text",
    ),
    "wikitext2": PublicSet(
        "https://raw.githubusercontent.com/pytorch/examples/main/word_language_model/data/wikitext-2/",
        {"valid.txt": "d756d22ab2310e7e60c094bea5c5a8eb"},
        "text",
    ),
}

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the red, green and blue plane


def load_public(name: str, *, seed: int, size: int | None, memory: int) -> RawImages:
    """A public set by name, from `$NEURARIUM_DATA/<name>`, the cache, or its public address.

    Args:
        name: one of `PUBLIC_SETS`.
        seed: decides a split where a local copy has no test part.
        size: the height and width that a local copy of single files is read at.
        memory: bytes up to which a local copy of single files is decoded at once.

    Raises:
        DataError: there is no copy and no network, or a file is damaged.
    """
    form = PUBLIC_SETS[name].form
    local = local_copy(name)
    if local and form == "folder":
        return load_folder(local, seed=seed, size=size, memory=memory)
    if local:
        found = load_idx(local, seed=seed)
        # A local copy that is not the public set must not pass for it in a result.
        return found if found.name == name else replace(found, name=found.name or f"idx:{local}")
    files = fetch(name)
    return read_cifar10(files[0]) if form == "folder" else load_idx(files[0].parent, seed=seed)


def local_copy(name: str) -> Path | None:
    """The folder `$NEURARIUM_DATA/<name>`, if there is one."""
    root = os.environ.get("NEURARIUM_DATA")
    folder = Path(root).expanduser() / name if root else None
    return folder if folder and folder.is_dir() else None


def fetch(name: str) -> list[Path]:
    """The files of a public set, from pooch's cache or downloaded into it, each with the right checksum.

    Raises:
        DataError: no network, no room, or a file other than the one that was published.
    """
    import pooch

    known = {**PUBLIC_SETS, **PUBLIC_TEXTS}[name]
    pooch.get_logger().setLevel("WARNING")  # it would announce a download that then fails in a line of its own
    cache = Path(pooch.os_cache("neurarium")) / name
    copy, place = ("text:FILE", "text") if known.form == "text" else (f"{known.form}:DIR", name)
    local = f"give a local copy as {copy}, or put it in $NEURARIUM_DATA/{place}"
    try:
        return [
            Path(pooch.retrieve(known.address + file, known_hash=f"md5:{checksum}", fname=file, path=cache))
            for file, checksum in known.files.items()
        ]
    except OSError as error:  # what pooch raises when it cannot connect is an OSError too, without a strerror
        raise DataError(f"'{name}' could not be downloaded: {error.strerror or 'no network'}; {local}") from error
    except ValueError as error:
        message = f"'{name}' as downloaded from {known.address} does not match its checksum; try again, or {local}"
        raise DataError(message) from error


def read_cifar10(archive: Path) -> RawImages:
    """CIFAR-10 from its binary archive, without unpacking it to disk.

    Raises:
        DataError: the archive is damaged or lacks a part.
    """
    wanted = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as members:
            for member in members:
                content = members.extractfile(member)  # None for a folder
                if content is not None and Path(member.name).name in wanted:
                    found[Path(member.name).name] = content.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(f"{archive} is damaged ({error}); delete it and try again") from None
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(f"{archive} lacks {missing[0]}; delete it and try again")
    train = cifar10_records(b"".join(found[name] for name in wanted[:-1]))
    test = cifar10_records(found[wanted[-1]])
    return RawImages(
        train=(HeldPixels(train[0]), train[1]),
        test=(HeldPixels(test[0]), test[1]),
        class_names=CIFAR10_CLASSES,
        name="cifar10",
    )


def cifar10_records(content: bytes) -> tuple[UInt8[Tensor, "N 3 32 32"], Int64[Tensor, " N"]]:
    """The images and labels in CIFAR-10's binary records.

    Raises:
        DataError: the content is empty, or ends within a record.

    >>> images, labels = cifar10_records(bytes([7]) + bytes(3072))
    >>> images.shape, labels.tolist()
    (torch.Size([1, 3, 32, 32]), [7])
    """
    if not content or len(content) % CIFAR10_RECORD:
        raise DataError(f"CIFAR-10 records have {CIFAR10_RECORD} bytes each, but {len(content)} bytes are no multiple")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, CIFAR10_RECORD)
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy())
    return images, torch.from_numpy(records[:, 0].astype(np.int64))
