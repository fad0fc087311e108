"""Predict: a trained classifier of images names new ones, and shows where it saw what it names."""

from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor
from tyro.conf import Positional, arg

from neurarium.data.decoding import decode
from neurarium.errors import DataError, require
from neurarium.learners.classify import Classify
from neurarium.parts.evidence import evidence
from neurarium.running.classifiers import open_classifier
from neurarium.running.command_line import parse, run_folder
from neurarium.running.files import disk_errors_told, write_whole
from neurarium.running.pictures import panels, png


@dataclass(frozen=True)
class Prediction:
    """What was seen in one image.

    Attributes:
        image: its file.
        classes: the likeliest classes and their probabilities, the likeliest first.
        picture: where the evidence is drawn.
    """

    image: Path
    classes: tuple[tuple[str, float], ...]
    picture: Path

    @property
    def line(self) -> str:
        """One line about it."""
        return f"{self.image}: {', '.join(f'{name} {probability:.3f}' for name, probability in self.classes)}"

    def as_dict(self) -> dict[str, Any]:
        """For a program to read."""
        classes = [{"class": name, "probability": probability} for name, probability in self.classes]
        return {"image": str(self.image), "classes": classes, "picture": str(self.picture)}


def predict(folder: Path, images: Sequence[Path], *, top: int = 3, out: Path | None = None) -> list[Prediction]:
    """Name the classes of images by the newest weights of a run.

    Args:
        folder: the run's.
        images: files of any size; they are brought to the size and channels that the network was trained on.
        top: how many classes to name.
        out: where the pictures of the evidence go (default: `predictions` in the run's folder).

    Raises:
        RunError: the folder is no run, or none that classifies images.
        DataError: a file is missing or no image.
        InvalidValue: no image is given, or `top` is below 1.
    """
    require(bool(images), "no image is given; name at least one file")
    require(top >= 1, f"--top is {top}; at least 1 class can be named")
    for path in images:
        if not path.is_file():
            raise DataError(f"there is no file {path}")
    net, names, _ = open_classifier(folder)
    batch = read_images(images, shape=net.encoder.shape)
    with torch.no_grad():
        probabilities = Classify(net).predict(batch)
    heat = evidence(net, batch, probabilities.argmax(1))
    place = out or folder / "predictions"
    done = []
    with disk_errors_told(place):
        place.mkdir(parents=True, exist_ok=True)
        for row, path in enumerate(images):
            best = probabilities[row].topk(min(top, len(names)))
            classes = tuple(
                (names[index], float(value)) for value, index in zip(*map(Tensor.tolist, best), strict=True)
            )
            picture = place / f"{path.stem}.png"
            write_whole(picture, png(draw_evidence(batch[row], heat[row], classes)))
            done.append(Prediction(path, classes, picture))
    return done


def command(words: list[str]) -> int:
    """`neurarium predict RUN IMAGE ...`."""

    def asked(
        run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a run that trained a classifier")],
        images: Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE", help="image files")],
        /,
        *,
        top: Annotated[int, arg(help="how many classes to name")] = 3,
        json: Annotated[bool, arg(help="print JSON for a program to read")] = False,
        out: Annotated[Path | None, arg(metavar="DIR", help="where pictures go (default: RUN/predictions)")] = None,
    ) -> tuple[Path, tuple[Path, ...], int, bool, Path | None]:
        """Name the classes of images by a trained run, and draw where it saw the evidence."""
        return run, images, top, json, out

    run, images, top, as_json, out = parse(asked, words, "neurarium predict")
    found = predict(run_folder(run), images, top=top, out=out)
    if as_json:
        print(dumps([one.as_dict() for one in found], indent=2))
    else:
        print("\n".join(one.line for one in found))
        print(f"evidence drawn in {found[0].picture.parent}")
    return 0


def read_images(paths: Sequence[Path], *, shape: tuple[int, int, int]) -> Float[Tensor, "B C H W"]:
    """Image files as a batch from 0 to 1."""
    return torch.stack([torch.from_numpy(decode(path, shape=shape).copy()) for path in paths]).float() / 255


def draw_evidence(
    image: Float[Tensor, "C H W"], heat: Float[Tensor, "H W"], classes: Sequence[tuple[str, float]]
) -> Figure:
    """An image, where the evidence for its likeliest class lies, and how likely the classes are."""
    figure, (seen, where, bars) = panels(1, 3, width=2.8, height=2.8)
    plain = image.permute(1, 2, 0).squeeze(-1).numpy()
    for ax, title in ((seen, "as the network sees it"), (where, f"evidence for {classes[0][0]}")):
        ax.imshow(plain, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(title, fontsize=9)
        ax.axis("off")
    where.imshow(heat.numpy(), cmap="inferno", alpha=0.55, vmin=0, vmax=1, interpolation="bilinear")
    names = [name for name, _ in classes]
    bars.barh(names[::-1], [probability for _, probability in classes][::-1])
    bars.set(xlim=(0, 1), xlabel="probability")
    return figure
