"""Labelled examples of either kind, images or a table, for systems that take both."""

import torch

from neurarium.data.images import Images, load_images
from neurarium.data.tables import EMBEDDED, Table, load_table
from neurarium.errors import require
from neurarium.parts.bundles import Labelled


def load_labelled(
    data: str,
    *,
    target: str | None,
    seed: int,
    device: torch.device | str = "cpu",
    shuffle_labels: bool = False,
) -> Images | Table[Labelled]:
    """A table if the data string means one (`csv:FILE`, `iris`, ...), else images; `digits` are images.

    Args:
        data: what `load_images` or `load_table` takes.
        target: the column that names the class, for `csv:FILE` alone.
        seed: decides the split, the dealing of labels and the default order of batches.
        device: where the examples live.
        shuffle_labels: the negative control: deal the labels of each part out at random.

    Raises:
        DataError: unknown, missing or damaged data.
        InvalidValue: a target for data that has classes of its own.

    >>> load_labelled("iris", target=None, seed=0).classes, load_labelled("digits", target=None, seed=0).shape
    (3, (1, 8, 8))
    """
    if data.startswith("csv:") or (data in EMBEDDED and data != "digits"):
        return load_table(
            data, target=target, seed=seed, task="classification", device=device, shuffle_labels=shuffle_labels
        )
    require(target is None, f"'{data}' has its own classes; --target {target} is for csv:FILE")
    return load_images(data, seed=seed, device=device, shuffle_labels=shuffle_labels)
