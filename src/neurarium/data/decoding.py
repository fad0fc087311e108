"""Decoding: picture files of any mode and size as bytes of one shape, in parallel, now or when a batch asks for them.

Every file becomes grey only if all are grey, else RGB. What is transparent is laid on white, as viewers show it;
16 bits a channel are scaled to 8; a photograph is turned upright as its EXIF says.

Shapes: B batch, C channels, H height, W width.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from neurarium.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Item = TypeVar("Item")
Result = TypeVar("Result")

GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
CPU = torch.device("cpu")
ORIENTATION = 0x0112  # the EXIF tag; from 5 on, width and height are swapped
WORKERS = min(32, os.cpu_count() or 1)  # Pillow releases the lock while it decodes


@dataclass(frozen=True)
class Seen:
    """What a look at a file showed: its size and whether it is grey, or why it cannot be read."""

    path: Path
    width: int = 0
    height: int = 0
    grey: bool = False
    trouble: str = ""


class FilePixels:
    """Images decoded from their files when they are taken.

    Args:
        files: one file an image.
        shape: channels (1 or 3), height and width that every image is brought to.
        device: where the batches go.
    """

    def __init__(self, files: Sequence[Path], *, shape: tuple[int, int, int], device: torch.device = CPU) -> None:
        self.files = files
        self.device = device
        self._shape = shape
        self._threads = ThreadPoolExecutor(WORKERS)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._shape

    def __len__(self) -> int:
        return len(self.files)

    def take(self, index: Int64[Tensor, " B"], /) -> UInt8[Tensor, "B C H W"]:
        """The images at these places.

        Raises:
            DataError: a file was removed or damaged after it had been looked at.
        """
        places = index.tolist()
        images = np.empty((len(places), *self._shape), dtype=np.uint8)

        def decode_into(row: int) -> None:
            images[row] = decode(self.files[places[row]], shape=self._shape)

        spread(decode_into, range(len(places)), self._threads)
        return torch.from_numpy(images).to(self.device)

    def to(self, device: torch.device, /) -> "FilePixels":
        return FilePixels(self.files, shape=self._shape, device=device)


def spread(function: Callable[[Item], Result], items: Sequence[Item], threads: ThreadPoolExecutor) -> list[Result]:
    """The function of each item, in order, on all threads: in runs, because a task costs as much as a small image.

    >>> spread(abs, [-1, 2, -3], ThreadPoolExecutor(2))
    [1, 2, 3]
    """
    run = max(1, ceil(len(items) / (4 * WORKERS)))
    runs = [items[start : start + run] for start in range(0, len(items), run)]
    done = threads.map(lambda some: [function(item) for item in some], runs)
    return [result for results in done for result in results]


def survey(files: Sequence[Path]) -> list[Seen]:
    """A look at every file, in order."""
    with ThreadPoolExecutor(WORKERS) as threads:
        return spread(look, files, threads)


def look(path: Path) -> Seen:
    """A look at a file: decoded to its end, since only that shows whether it was cut off."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            swapped = image.getexif().get(ORIENTATION, 1) >= 5
            image.draft(None, (width // 8, height // 8))  # a JPEG is read to its end, but only an eighth computed
            image.load()
            if image.mode == "F":
                return Seen(path, trouble="floating-point pixels have no known white")
            return Seen(path, *((height, width) if swapped else (width, height)), grey=is_grey(image))
    except Exception as error:  # decoders raise anything at all on damaged files: OSError, SyntaxError, struct.error
        return Seen(path, trouble=reason(error))


def reason(error: Exception) -> str:
    """Why a file cannot be read, in a few words."""
    if type(error).__name__ == "UnidentifiedImageError":
        return "not an image"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def is_grey(image: "Image") -> bool:
    """Whether an image has no colour: by its mode, or by its palette."""
    if image.mode not in ("P", "PA"):
        return image.mode in GREY
    palette = image.getpalette() or []
    return palette[0::3] == palette[1::3] == palette[2::3]


def decode(path: Path, *, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "C H W"]:
    """The image in a file, brought to this shape without cropping.

    Raises:
        DataError: the file cannot be read.
    """
    from PIL import Image, ImageOps

    channels, height, width = shape
    try:
        with Image.open(path) as image:
            # A JPEG much larger than wanted is decoded at a fraction of its size, at least twice the wanted one.
            image.draft(None, (2 * max(shape), 2 * max(shape)))
            upright = ImageOps.exif_transpose(image) if ORIENTATION in image.getexif() else image
            plain = plain_mode(upright, grey=channels == 1)
            if plain.size != (width, height):
                plain = plain.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(plain)
    except Exception as error:  # as in `look`
        raise DataError(f"{path} cannot be read as an image: {reason(error)}") from error
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def plain_mode(image: "Image", *, grey: bool) -> "Image":
    """The image as 8-bit grey or RGB, without transparency.

    >>> from PIL import Image
    >>> plain_mode(Image.new("RGBA", (1, 1), (0, 0, 0, 0)), grey=False).getpixel((0, 0))
    (255, 255, 255)
    """
    from PIL import Image

    mode = "L" if grey else "RGB"
    if image.mode.startswith("I"):  # Pillow would clip 16 bits at 255 instead of scaling them
        wide = np.asarray(image).clip(0, 65535) / 257
        return Image.fromarray(wide.round().astype(np.uint8)).convert(mode)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert(mode)
