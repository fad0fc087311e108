"""Few labels: some examples of each class chosen by seed, and what is left of the others.

Shapes: N examples, A chosen ones, Z others.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Int64
from torch import Tensor

from neurarium.data.batches import Batches
from neurarium.data.imagesets import ImageSet
from neurarium.errors import DataError, require
from neurarium.parts.bundles import Labelled


def few_of_each(
    labels: Int64[Tensor, " N"], count: int, *, generator: torch.Generator
) -> tuple[Int64[Tensor, " A"], Int64[Tensor, " Z"]]:
    """The places of `count` examples of every class drawn at random, and of all others, both in the data's order.

    Raises:
        InvalidValue: `count` is below 1.
        DataError: a class has fewer examples.

    >>> chosen, others = few_of_each(torch.tensor([0, 1, 0, 1]), 1, generator=torch.Generator().manual_seed(0))
    >>> len(chosen), sorted(chosen.tolist() + others.tolist())
    (2, [0, 1, 2, 3])
    """
    require(count >= 1, f"{count} examples of each class are asked for, but at least 1 is needed")
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        places = (labels == label).nonzero().flatten().cpu()
        if len(places) < count:
            raise DataError(f"class number {label} has {len(places)} examples, but {count} of each are asked for")
        chosen[places[torch.randperm(len(places), generator=generator)[:count]]] = True
    where = chosen.nonzero().flatten(), (~chosen).nonzero().flatten()
    return where[0].to(labels.device), where[1].to(labels.device)


class Chosen:
    """Some of the images of a set, by place, with labels of their own if given.

    Args:
        images: the whole set.
        places: of the chosen ones, in the order wanted.
        labels: a class for each chosen one, instead of the set's.

    Raises:
        DataError: none is chosen.

    >>> from neurarium.data.imagesets import HeldPixels
    >>> images = ImageSet(HeldPixels(torch.zeros(3, 1, 2, 2, dtype=torch.uint8)), torch.tensor([4, 5, 6]))
    >>> Chosen(images, torch.tensor([2, 0])).take(torch.tensor([0])).labels
    tensor([6])
    """

    def __init__(
        self, images: ImageSet, places: Int64[Tensor, " A"], *, labels: Int64[Tensor, " A"] | None = None
    ) -> None:
        if not len(places):
            raise DataError("no images are left to choose from; ask for fewer of each class or bring more")
        self.images = images
        self.places = places
        self.labels = images.labels.index_select(0, places) if labels is None else labels
        self.device: torch.device = images.device

    def __len__(self) -> int:
        return len(self.places)

    def take(self, index: Int64[Tensor, " B"], /) -> Labelled:
        """The images at these of the chosen places."""
        inputs, _ = self.images.take(self.places.index_select(0, index))
        return Labelled(inputs, self.labels.index_select(0, index))

    def chunks(self, size: int = 1024) -> Iterator[Labelled]:
        """The images in order, `size` at a time and then the rest."""
        for index in torch.arange(len(self), device=self.device).split(size):
            yield self.take(index)

    def batches(self, size: int = 64, *, seed: int) -> Batches[Labelled]:
        """Shuffled minibatches of these images."""
        return Batches(self, size=size, seed=seed)
