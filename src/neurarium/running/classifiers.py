"""Classifiers of images that a run has trained: taken out of it, to be used or looked into."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from neurarium.errors import RunError
from neurarium.learners.stream import Stream
from neurarium.parts.bundles import Labelled
from neurarium.parts.encoders import Classifier, Encoder
from neurarium.running.command_line import run_folder
from neurarium.running.train import open_run

Net = Classifier[Encoder]


class Trained(NamedTuple):
    """A classifier of images, the names of its classes, and the stream that it learned from."""

    net: Net
    classes: tuple[str, ...]
    stream: Stream[Any]


def open_classifier(folder: Path) -> Trained:
    """The classifier that a run trained, as it was last saved.

    Args:
        folder: the run's; under `runs/`, `lenet/001` is enough.

    Raises:
        RunError: the folder is no run, or one that trained no classifier of images.
    """
    run = open_run(run_folder(folder))
    for fit in run.fits.values():
        for net in fit.learner.modules().values():
            if isinstance(net, Classifier) and run.classes:
                return Trained(net, run.classes, fit.stream)
    raise RunError(f"{folder} trained no classifier of images; take a run of lenet, resnet, vit or the like")


def gather(stream: Stream[Any], *, count: int) -> Labelled:
    """The next examples of a stream of labelled batches."""
    batches = [next(stream)]
    while sum(len(batch[1]) for batch in batches) < count:
        batches.append(next(stream))
    return Labelled(*(torch.cat(fields)[:count] for fields in zip(*batches, strict=True)))
