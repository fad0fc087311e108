"""Pairs of pictures: what is given and what it should become, from two folders or from pictures and their edges.

`pairs:DIR_A,DIR_B` are two folders of equally named pictures (`cat/1.png` beside `cat/1.jpg`), of which a fifth is held
out by seed. Any set that `load_images` knows gives pairs too: its pictures, and as what is given their edges.

Source: Sobel & Feldman 1968, An isotropic 3×3 image gradient operator (as in Duda & Hart 1973, §7.2).
Shapes: B batch, N pairs, A channels of what is given, C channels of what it should become, H height, W width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import conv2d, pad

from neurarium.data.batches import Batches
from neurarium.data.decoding import survey
from neurarium.data.folders import MEMORY, as_pixels, common_shape, skipped_note, visible_files
from neurarium.data.images import Images, load_images
from neurarium.data.imagesets import Pixels
from neurarium.data.splits import random_split
from neurarium.errors import DataError, require
from neurarium.parts.bundles import Paired

THRESHOLD = 0.3  # of the steepest slope there can be along one side, from which on a place is an edge
STEEPEST = 4.0  # what Sobel's kernel makes of a step from 0 to 1
DIGITS_SIDE = 16  # pixels a side that the embedded digits are brought to: an edge is two wide, and of 8 little is left


def edges(images: Float[Tensor, "B C H W"], *, threshold: float = THRESHOLD) -> Float[Tensor, "B 1 H W"]:
    """Where pictures change fast: 1 there, 0 elsewhere.

    >>> edges(torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]).expand(1, 1, 6, 6))[0, 0, 0]
    tensor([0., 0., 1., 1., 0., 0.])
    """
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]).to(images)
    kernels = torch.stack([across, across.T]).unsqueeze(1)
    # |∇I|² = (S_x ∗ I)² + (S_y ∗ I)², with the margin as bright as what lies next to it
    slopes = conv2d(pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate"), kernels)
    return (slopes.square().sum(1, keepdim=True).sqrt() > threshold * STEEPEST).to(images.dtype)


class PairSet:
    """Pairs of pictures, taken by index as floats from 0 to 1.

    Args:
        given: the pictures that are given as bytes; None for the edges of the others.
        wanted: what they should become.
        places: which pictures of both belong to this set, pair by pair.
        peak: the byte that becomes 1.0.
        seed: the default of `batches`.

    >>> from neurarium.data.imagesets import HeldPixels
    >>> bright = HeldPixels(torch.full((3, 1, 4, 4), 255, dtype=torch.uint8))
    >>> batch = PairSet(None, bright, torch.tensor([[2, 2], [0, 0]])).take(torch.tensor([1, 0, 1]))
    >>> batch.inputs.shape, float(batch.inputs.max()), float(batch.targets.min())
    (torch.Size([3, 1, 4, 4]), 0.0, 1.0)
    """

    def __init__(
        self, given: Pixels | None, wanted: Pixels, places: Int64[Tensor, "N 2"], *, peak: int = 255, seed: int = 0
    ) -> None:
        self.given, self.wanted, self.places, self.peak, self.seed = given, wanted, places, peak, seed
        self.device: torch.device = places.device

    def __len__(self) -> int:
        return len(self.places)

    def take(self, index: Int64[Tensor, " B"], /) -> Paired:
        """The pairs at these places."""
        rows = self.places.index_select(0, index)
        targets = self._floats(self.wanted, rows[:, 1])
        inputs = (
            edges(self._floats(self.wanted, rows[:, 0])) if self.given is None else self._floats(self.given, rows[:, 0])
        )
        return Paired(inputs, targets)

    def _floats(self, pixels: Pixels, index: Int64[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
        taken: UInt8[Tensor, "B C H W"] = pixels.take(index)
        return taken.float() / self.peak

    def chunks(self, size: int = 1024) -> Iterator[Paired]:
        """The pairs in order, `size` at a time and then the rest."""
        for start in range(0, len(self), size):
            yield self.take(torch.arange(start, min(start + size, len(self)), device=self.device))

    def batches(self, size: int = 64, *, seed: int | None = None) -> Batches[Paired]:
        """Shuffled minibatches of these pairs."""
        return Batches(self, size=size, seed=self.seed if seed is None else seed)


@dataclass(frozen=True)
class ImagePairs:
    """Pairs to learn from and to be tested on.

    Attributes:
        train: to learn from.
        test: held out.
        given: channels, height and width of what is given.
        wanted: of what it should become.
        images: the labelled pictures that it should become, where there are labels; `test` is in their order.
        name: what the set turned out to be.
        note: what the reader should know about how the data was read, or nothing.
    """

    train: PairSet
    test: PairSet
    given: tuple[int, int, int]
    wanted: tuple[int, int, int]
    images: Images | None
    name: str
    note: str = ""


def load_image_pairs(
    data: str = "digits",
    *,
    seed: int,
    device: torch.device | str = "cpu",
    shuffle: bool = False,
    size: int | None = None,
    memory: int = MEMORY,
) -> ImagePairs:
    """Pairs of pictures by name or place.

    Args:
        data: `pairs:DIR_A,DIR_B`, or what `load_images` takes: its pictures from their edges.
        seed: decides the split of two folders, and the default order of batches.
        device: where the pictures live.
        shuffle: the negative control: give each picture that is learned from another's partner.
        size: height and width that all pictures are brought to (default: their own; of the embedded digits, 16).
        memory: bytes up to which folders are decoded at once; larger ones are streamed.

    Raises:
        DataError: unknown, missing, empty or damaged data, folders that share no or a single name.
        InvalidValue: `size` is below 1.

    >>> pairs = load_image_pairs("digits", seed=0)
    >>> next(pairs.train.batches(16)).inputs.shape, len(pairs.test), pairs.wanted
    (torch.Size([16, 1, 16, 16]), 359, (1, 16, 16))
    """
    form, _, rest = data.partition(":")
    place = torch.device(device)
    if form == "pairs":
        require(size is None or size >= 1, f"the image size is {size}, but must be at least 1")
        return _from_folders(*two_folders(rest), seed=seed, device=place, shuffle=shuffle, size=size, memory=memory)
    size = DIGITS_SIDE if size is None and data == "digits" else size
    images = load_images(data, seed=seed, device=place, size=size, memory=memory)
    peak = int(images.train.peak)

    def part(pixels: Pixels, *, shuffle: bool) -> PairSet:
        rows = _rows(torch.arange(len(pixels)), seed=seed, shuffle=shuffle).to(place)
        return PairSet(None, pixels, rows, peak=peak, seed=seed)

    train, test = part(images.train.pixels, shuffle=shuffle), part(images.test.pixels, shuffle=False)
    return ImagePairs(train, test, (1, *images.shape[1:]), images.shape, images, images.name, images.note)


def two_folders(text: str) -> tuple[Path, Path]:
    """Both folders of `DIR_A,DIR_B`.

    Raises:
        DataError: not two are named, or one is no folder.
    """
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names):
        raise DataError(f"'pairs:{text}' does not name two folders; say pairs:DIR_A,DIR_B, what is given first")
    first, second = (Path(name).expanduser() for name in names)
    for folder in (first, second):
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; pairs:DIR_A,DIR_B needs two folders of equally named pictures")
    return first, second


def _from_folders(
    first: Path, second: Path, *, seed: int, device: torch.device, shuffle: bool, size: int | None, memory: int
) -> ImagePairs:
    one, other = _by_name(first), _by_name(second)
    names = sorted(set(one) & set(other))
    views = [survey([found[name] for name in names]) for found in (one, other)]
    whole = [place for place in range(len(names)) if not any(seen[place].trouble for seen in views)]
    if len(whole) < 2:
        raise DataError(
            f"{first} and {second} share {len(whole)} readable pictures of one name; at least 2 pairs are needed"
        )
    wanted = common_shape([views[1][place] for place in whole], size)
    given = (common_shape([views[0][place] for place in whole], None)[0], *wanted[1:])
    held = len(whole) * (given[0] + wanted[0]) * wanted[1] * wanted[2] <= memory
    inputs, targets = (
        as_pixels([found[names[place]] for place in whole], shape, held=held).to(device)
        for found, shape in ((one, given), (other, wanted))
    )

    def part(places: Tensor, *, shuffle: bool) -> PairSet:
        return PairSet(inputs, targets, _rows(places, seed=seed, shuffle=shuffle).to(device), seed=seed)

    learned, held_out = random_split(len(whole), seed=seed)
    train, test = part(learned, shuffle=shuffle), part(held_out, shuffle=False)
    notes = [
        skipped_note([view for view in seen if view.trouble], folder=folder, total=len(names))
        for seen, folder in zip(views, (first, second), strict=True)
    ]
    if alone := len(set(one) ^ set(other)):
        notes.append(f"{alone} pictures have no partner of the same name and were left out")
    name = f"pairs:{first},{second}"
    return ImagePairs(train, test, given, wanted, None, name, "; ".join(filter(None, notes)))


def _by_name(folder: Path) -> dict[str, Path]:
    # A drawing may be a PNG where its photograph is a JPEG.
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in visible_files(folder)}


def _rows(places: Int64[Tensor, " N"], *, seed: int, shuffle: bool) -> Int64[Tensor, "N 2"]:
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed)) if shuffle else None
    return torch.stack([places if order is None else places[order], places], dim=1)
