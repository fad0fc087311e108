"""Image sets: labelled images kept as bytes on the device, made float only for the rows that a batch takes.

Bytes are a quarter of the memory of floats and of the traffic to gather them; turning one batch into floats costs a
few microseconds. Where the pixels come from (a tensor, a folder of files) is a part passed in: `Pixels`.

Shapes: B batch, N examples, C channels, H height, W width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from neurarium.data.batches import Batches
from neurarium.data.splits import dealt
from neurarium.errors import DataError, require
from neurarium.parts.bundles import Labelled


@runtime_checkable
class Pixels(Protocol):
    """Images as bytes, by place."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        ...

    def __len__(self) -> int: ...

    def take(self, index: Int64[Tensor, " B"], /) -> UInt8[Tensor, "B C H W"]: ...

    def to(self, device: torch.device, /) -> "Pixels": ...


class HeldPixels:
    """Images in one tensor.

    >>> pixels = HeldPixels(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))
    >>> len(pixels), pixels.shape
    (5, (1, 8, 8))
    """

    def __init__(self, images: UInt8[Tensor, "N C H W"]) -> None:
        self.images = images

    @property
    def shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self.images.shape
        return channels, height, width

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: Int64[Tensor, " B"], /) -> UInt8[Tensor, "B C H W"]:
        return self.images.index_select(0, index)

    def to(self, device: torch.device, /) -> "HeldPixels":
        return HeldPixels(self.images.to(device))


class ImageSet:
    """Labelled images: taken by index as `Labelled` with float inputs in [0, 1].

    Args:
        pixels: the images as bytes, on the device of the labels.
        labels: the class of each.
        peak: the byte that becomes 1.0.
        seed: the default of `batches`.

    Raises:
        DataError: there are no images, or not as many as labels.

    >>> pixels = HeldPixels(torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1, 1))
    >>> images = ImageSet(pixels, torch.tensor([0, 1, 2]))
    >>> images.take(torch.tensor([2, 1])).inputs.flatten()
    tensor([1.0000, 0.2000])
    """

    def __init__(self, pixels: Pixels, labels: Int64[Tensor, " N"], *, peak: int = 255, seed: int = 0) -> None:
        if not len(pixels) == len(labels) > 0:
            raise DataError(f"an image set has {len(pixels)} images and {len(labels)} labels, but needs one for each")
        self.pixels = pixels
        self.labels = labels
        self.peak = torch.tensor(float(peak), dtype=torch.float32)
        self.seed = seed
        self.device: torch.device = labels.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.pixels.shape

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Int64[Tensor, " B"], /) -> Labelled:
        """The images at these places and their labels."""
        # Bytes over a float32 are float32 in one pass. Divided, for times 1/255 rounds half the bytes otherwise.
        inputs = torch.div(self.pixels.take(index), self.peak)
        return Labelled(inputs, self.labels.index_select(0, index))

    def all(self) -> Labelled:
        """Every image in order, as floats: four times the bytes the set occupies. `chunks` is for sets too large."""
        return self.take(torch.arange(len(self), device=self.device))

    def chunks(self, size: int = 1024) -> Iterator[Labelled]:
        """The images in order, `size` at a time and then the rest.

        Raises:
            InvalidValue: `size` is below 1.
        """
        require(size >= 1, f"the chunk size is {size}, but must be at least 1")
        for start in range(0, len(self), size):
            yield self.take(torch.arange(start, min(start + size, len(self)), device=self.device))

    def batches(self, size: int = 64, *, seed: int | None = None) -> Batches[Labelled]:
        """Shuffled minibatches of these images."""
        return Batches(self, size=size, seed=self.seed if seed is None else seed)


@dataclass(frozen=True)
class RawImages:
    """What a loader found: images as bytes and labels, before the device, the seed and the control have their say."""

    train: tuple[Pixels, Tensor]
    test: tuple[Pixels, Tensor]
    class_names: tuple[str, ...]
    name: str = ""
    peak: int = 255
    skipped: tuple[str, ...] = ()
    note: str = ""


def image_set(
    part: tuple[Pixels, Tensor], *, peak: int, seed: int, device: torch.device, shuffle_labels: bool
) -> ImageSet:
    """One part of what a loader found as an image set on the device."""
    pixels, labels = part
    labels = dealt(labels, seed=seed) if shuffle_labels else labels
    return ImageSet(pixels.to(device), labels.to(device), peak=peak, seed=seed)
