"""Drawing: a trained generator of pictures makes new ones, as a sheet, as files, or as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from neurarium.errors import InvalidValue, did_you_mean, require
from neurarium.learners.drawing import Draws, Unfolds, takes
from neurarium.running.files import disk_errors_told, write_whole
from neurarium.running.pictures import tiled
from neurarium.running.run import Run
from neurarium.running.seeds import generator

SIDE = 48  # pixels that a picture on a sheet has at least
FRAMES = 24  # of a film
FILMED = 100  # pictures up to which the way to them is kept for a film
MILLISECONDS = 120  # a frame; the last stays for ten

Form = Literal["sheet", "single", "npy"]


@dataclass(frozen=True)
class Wish:
    """What is to be drawn.

    Attributes:
        count: how many pictures.
        label: the class asked for, by name or number (None: every class in turn, where there are any).
        steps: how many to take, where pictures come about step by step (None: all that were trained).
        guidance: how much the class is exaggerated (None: not at all).
        seed: where chance begins.
        out: where the files go (None: `samples` in the run's folder).
        form: a sheet, a file each, or an array of floats from 0 to 1.
    """

    count: int = 60
    label: str | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    out: Path | None = None
    form: Form = "sheet"

    def __post_init__(self) -> None:
        require(self.count >= 1, f"--count is {self.count}; at least 1 picture must be drawn")
        require(self.steps is None or self.steps >= 1, f"--steps is {self.steps}; at least 1 must be taken")
        require(self.seed >= 0, f"--seed is {self.seed}; it must be 0 or more")


def draughtsman(run: Run) -> Draws | None:
    """The last learner of a run that draws, if there is one; those before it were taught for its sake."""
    found = [fit.learner for fit in run.fits.values() if isinstance(fit.learner, Draws)]
    return found[-1] if found else None


def draw(run: Run, learner: Draws, wish: Wish) -> list[Path]:
    """Draw, and write what was drawn.

    Returns:
        The files written.

    Raises:
        InvalidValue: an option that the learner does not take, a label outside the classes, more steps than were
            trained.
    """
    given: dict[str, Any] = {"labels": wish.label, "steps": wish.steps, "guidance": wish.guidance}
    options = takes(learner, given)
    if wish.label is not None:
        options["labels"] = torch.full((wish.count,), class_of(wish.label, run.classes))
    chance = generator(wish.seed, "drawing")
    frames: list[Tensor] = []
    if wish.form == "sheet" and wish.count <= FILMED and isinstance(learner, Unfolds):
        frames = list(learner.watch_images(wish.count, generator=chance, **options))
        images = frames[-1]
    else:
        images = learner.draw_images(wish.count, generator=chance, **options)
    columns = len(run.classes) if wish.label is None and 1 < len(run.classes) <= wish.count else None
    place = wish.out or run.folder / "samples"
    with disk_errors_told(place):
        place.mkdir(parents=True, exist_ok=True)
        return write(place, images.cpu(), frames, form=wish.form, columns=columns)


def class_of(label: str, names: Sequence[str]) -> int:
    """The number of a class, from its name or its number.

    Raises:
        InvalidValue: there is no such class; the nearest is named.

    >>> class_of("dog", ["cat", "dog"]), class_of("0", ["cat", "dog"])
    (1, 0)
    >>> class_of("dgo", ["cat", "dog"])
    Traceback (most recent call last):
    neurarium.errors.InvalidValue: label 'dgo' is none of the 2 classes; did you mean 'dog'?
    """
    if label in names:
        return list(names).index(label)
    if label.isdecimal() and int(label) < len(names):
        return int(label)
    raise InvalidValue(f"label '{label}' is none of the {len(names)} classes; {did_you_mean(label, names)}")


def write(
    place: Path, images: Float[Tensor, "N C H W"], frames: Sequence[Tensor], *, form: Form, columns: int | None
) -> list[Path]:
    """Write pictures into a folder in one of the forms, and the way to them as a film if it is there.

    Args:
        place: the folder.
        images: the pictures, from 0 to 1.
        frames: what there was after every step, or nothing.
        form: how.
        columns: of the sheet (default: the squarest).
    """
    contents: dict[str, bytes] = {}
    if form == "npy":
        numbers = BytesIO()
        np.save(numbers, images.float().numpy(), allow_pickle=False)
        contents["samples.npy"] = numbers.getvalue()
    elif form == "single":
        digits = len(str(len(images)))
        for number, image in enumerate(images, start=1):
            contents[f"{number:0{digits}d}.png"] = encoded([picture(image)], "PNG")
    else:
        contents["sheet.png"] = encoded([sheet(images, columns)], "PNG")
    if frames:
        shown = np.unique(np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int))
        contents["film.gif"] = encoded([sheet(frames[step].cpu(), columns) for step in shown], "GIF")
    for name, content in contents.items():
        write_whole(place / name, content)
    return [place / name for name in contents]


def sheet(images: Float[Tensor, "N C H W"], columns: int | None) -> Image.Image:
    """Pictures side by side, every pixel a square large enough to be seen."""
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    factor = -(-SIDE // min(images.shape[2:]))
    canvas = picture(tiled(images, columns=columns))
    return canvas.resize((canvas.width * factor, canvas.height * factor), Image.Resampling.NEAREST)


def picture(image: Float[Tensor, "C H W"]) -> Image.Image:
    """A picture from 0 to 1 with 8 bits a channel.

    >>> picture(torch.ones(1, 2, 3)).getpixel((0, 0)), picture(torch.zeros(3, 2, 2)).mode
    (255, 'RGB')
    """
    require(image.shape[0] in (1, 3), f"a picture of {image.shape[0]} channels is no image file; take --form npy")
    pixels = (image.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[:, :, 0] if image.shape[0] == 1 else pixels)


def encoded(images: Sequence[Image.Image], kind: Literal["PNG", "GIF"]) -> bytes:
    """The content of an image file; several images are a film that repeats."""
    content = BytesIO()
    if kind == "PNG":
        images[0].save(content, kind)
    else:
        times = [MILLISECONDS] * (len(images) - 1) + [10 * MILLISECONDS]
        images[0].save(content, kind, save_all=True, append_images=images[1:], duration=times, loop=0)
    return content.getvalue()
