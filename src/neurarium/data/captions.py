"""Captioned images: generated scenes, or the reader's own pictures with a file of captions.

`folder:DIR` holds pictures and `captions.txt` or `captions.csv`, a line for each caption: the picture's file, a tab or
a comma, the caption. A picture may have several captions; a fifth of the pictures are held out by seed.

Shapes: N captions, B of a batch, C channels, H height, W width, T tokens.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neurarium.data.batches import Batches
from neurarium.data.decoding import survey
from neurarium.data.delimited import decoded
from neurarium.data.folders import MEMORY, as_pixels, common_shape, visible_files
from neurarium.data.imagesets import HeldPixels, Pixels
from neurarium.data.scenes import What, describe, held_out_pairs, invent, load_glyphs, paint
from neurarium.data.splits import random_split
from neurarium.data.vocabulary import Vocabulary
from neurarium.errors import DataError, did_you_mean, require
from neurarium.parts.bundles import Captioned

FORMS = (*get_args(What), "folder:DIR")
FILES = ("captions.txt", "captions.csv")
PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"}
HEADERS = {"file", "filename", "file_name", "image", "image_name"}  # first cells of a line that names the columns
NAMED = 3  # things named in a message before the rest are counted


class CaptionedSet:
    """Images with the captions that are true of each: an example is an image and one of them.

    Args:
        pixels: the images as bytes.
        references: all captions of each image.
        vocabulary: turns captions into tokens.
        device: where batches go.
        seed: the default of `batches`.

    Raises:
        DataError: there are no images, or not as many as sets of captions.
    """

    def __init__(
        self,
        pixels: Pixels,
        references: Sequence[tuple[str, ...]],
        vocabulary: Vocabulary,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        if not len(pixels) == len(references) > 0:
            raise DataError(
                f"there are {len(pixels)} images and {len(references)} sets of captions; each needs its own"
            )
        self.device = torch.device(device)
        self.pixels = pixels.to(self.device)
        self.references = list(references)
        self.captions = vocabulary.encode([text for texts in references for text in texts]).to(self.device)
        counts = torch.tensor([len(texts) for texts in references])
        self.owners = torch.arange(len(references)).repeat_interleave(counts).to(self.device)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.captions)

    def take(self, index: Int64[Tensor, " B"], /) -> Captioned:
        """The captions at these places, each with its image, from 0 to 1."""
        return Captioned(self.images(self.owners.index_select(0, index)), self.captions.index_select(0, index))

    def images(self, index: Int64[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
        """Images by their own places, from 0 to 1."""
        return self.pixels.take(index).float().div_(255)

    def chunks(self, size: int = 250) -> Iterator[Float[Tensor, "B C H W"]]:
        """Every image once, in the order of `references`."""
        for some in torch.arange(len(self.references), device=self.device).split(size):
            yield self.images(some)

    def batches(self, size: int = 64, *, seed: int | None = None) -> Batches[Captioned]:
        """Shuffled minibatches of images and captions."""
        return Batches(self, size=size, seed=self.seed if seed is None else seed)


@dataclass(frozen=True)
class CaptionedImages:
    """Images to learn captions from and to be tested on, the words to write with, and what the reader should know."""

    train: CaptionedSet
    test: CaptionedSet
    vocabulary: Vocabulary
    note: str = ""


def load_captioned(
    data: str = "scenes",
    *,
    seed: int,
    device: torch.device | str = "cpu",
    scenes: int = 8000,
    test_scenes: int = 1000,
    things: int = 2,
    size: int = 32,
    shuffle_captions: bool = False,
) -> CaptionedImages:
    """Captioned images by name or place.

    Args:
        data: `scenes` (shapes), `digits`, `mixed` (both) or `folder:DIR`.
        seed: decides the scenes, which combinations or pictures are held out, and the default order of batches.
        device: where the images live.
        scenes: how many are generated to learn from.
        test_scenes: how many are generated to test on.
        things: most things on a generated scene.
        size: pixels a side of every image.
        shuffle_captions: the negative control: deal the captions to learn from out at random among the images.

    Raises:
        DataError: unknown, missing or damaged data; the message says which file and why.
        InvalidValue: `scenes`, `test_scenes`, `things` or `size` cannot be.

    >>> images = load_captioned("scenes", seed=0, scenes=100)
    >>> len(images.train.references), len(images.test.references), len(images.vocabulary)
    (100, 1000, 22)
    """
    form, _, rest = data.partition(":")
    if form == "folder" and rest:
        (train, learned), (test, asked) = _read(Path(rest).expanduser(), seed=seed, size=size)
    elif data in get_args(What):
        (train, learned), (test, asked) = (
            _generate(data, seed=seed, count=count, things=things, size=size, unseen=unseen)  # type: ignore[arg-type]
            for count, unseen in ((scenes, False), (test_scenes, True))
        )
    else:
        raise DataError(f"'{data}' names no captioned images; {did_you_mean(data, FORMS)}")
    vocabulary = Vocabulary.of(text for texts in learned for text in texts)
    if shuffle_captions:
        order = torch.randperm(len(learned), generator=torch.Generator().manual_seed(seed))
        learned = [learned[place] for place in order.tolist()]
    return CaptionedImages(
        CaptionedSet(train, learned, vocabulary, device=device, seed=seed),
        CaptionedSet(test, asked, vocabulary, device=device, seed=seed),
        vocabulary,
        unknown_note(vocabulary, asked),
    )


def unknown_note(vocabulary: Vocabulary, asked: Sequence[tuple[str, ...]]) -> str:
    """Which words of the test captions cannot be written, since no training caption has them, in a line.

    >>> unknown_note(Vocabulary.of(["a cat"]), [("a dog",)])
    "1 word of the test captions is in no training caption, so it cannot be written: 'dog'"
    """
    words = vocabulary.unknown(text for texts in asked for text in texts)
    if not words:
        return ""
    count, verb, they = (f"{len(words)} words", "are", "they") if len(words) > 1 else ("1 word", "is", "it")
    named = some([f"'{word}'" for word in words])
    return f"{count} of the test captions {verb} in no training caption, so {they} cannot be written: {named}"


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are.

    >>> some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(islice(names, NAMED)) + more


def read_captions(folder: Path) -> dict[Path, tuple[str, ...]]:
    """The captions of each picture of a folder, pictures in the order of their first caption.

    Raises:
        DataError: no folder, no or an empty file of captions, a line without a file or a caption, captions of pictures
            that are not there, or pictures without a caption.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; folder:DIR needs one that holds pictures and {FILES[0]}")
    listed = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if listed is None:
        raise DataError(f"{folder} holds no {' or '.join(FILES)}; write a line for each caption: file, tab, caption")
    found: dict[Path, list[str]] = {}
    missing: list[str] = []
    for number, file, caption in _lines(listed):
        if not file or not caption:
            raise DataError(f"{listed} line {number} lacks a file or a caption; write: file, tab or comma, caption")
        path = next((path for path in (folder / file, folder / "images" / file) if path.is_file()), None)
        if path is None:
            missing.append(f"'{file}' (line {number})")
        else:
            found.setdefault(path, []).append(caption)
    if missing:
        raise DataError(f"{listed} has captions without images: {some(missing)}; add the files or take the lines out")
    if not found:
        raise DataError(f"{listed} holds no caption; write a line for each: file, tab, caption")
    _all_captioned(folder, found, listed)
    return {path: tuple(texts) for path, texts in found.items()}


def _all_captioned(folder: Path, found: Mapping[Path, object], listed: Path) -> None:
    silent = [path for path in visible_files(folder) if path.suffix.lower() in PICTURES and path not in found]
    if silent:
        named = some([path.relative_to(folder).as_posix() for path in silent])
        raise DataError(f"{folder} has images without captions in {listed.name}: {named}; add lines or move them out")


def _lines(listed: Path) -> Iterator[tuple[int, str, str]]:
    """The number, file and caption of each line; a line that names the columns and blank ones are passed over."""
    for number, line in enumerate(decoded(listed).splitlines(), start=1):
        if not line.strip():
            continue
        if "\t" in line:
            file, _, caption = line.partition("\t")
        elif line.lstrip().startswith('"') or line.rstrip().endswith('"'):
            cells = next(csv.reader([line], skipinitialspace=True))
            file, caption = cells[0], ",".join(cells[1:])
        else:
            file, _, caption = line.partition(",")
        if number > 1 or file.strip().lower() not in HEADERS:
            yield number, file.strip(), caption.strip()


def _read(folder: Path, *, seed: int, size: int) -> list[tuple[Pixels, list[tuple[str, ...]]]]:
    require(size >= 1, f"the image size is {size}, but must be at least 1")
    captions = read_captions(folder)
    files = list(captions)
    if len(files) < 2:
        raise DataError(f"{folder} has a single captioned image; one to learn from and one to test on are needed")
    seen = survey(files)
    trouble = [f"{view.path.relative_to(folder)} ({view.trouble})" for view in seen if view.trouble]
    if trouble:
        raise DataError(f"{folder} has images that cannot be read: {some(trouble)}")
    shape = common_shape(seen, size)
    held = len(files) * shape[0] * size * size <= MEMORY
    parts = []
    for places in random_split(len(files), seed=seed):
        chosen = [files[place] for place in places.tolist()]
        parts.append((as_pixels(chosen, shape, held=held), [captions[path] for path in chosen]))
    return parts


def _generate(
    what: What, *, seed: int, count: int, things: int, size: int, unseen: bool
) -> tuple[Pixels, list[tuple[str, ...]]]:
    # Two generators from one seed, so that the test scenes stay the same however many there are to learn from.
    generator = torch.Generator().manual_seed(2 * seed + unseen)
    held_out = held_out_pairs(seed=seed)
    scenes = invent(generator, count=count, held_out=held_out, unseen=unseen, what=what, things=things)
    glyphs = None if what == "scenes" else load_glyphs(seed=seed, test=unseen)
    pixels = paint(scenes, generator, glyphs=glyphs, side=size)
    return HeldPixels(pixels), describe(scenes)
