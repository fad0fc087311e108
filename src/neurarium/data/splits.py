"""Splits: a test set held out by seed, class by class, and labels dealt out at random for the negative control.

Shapes: N examples, A examples to train on, Z examples to test on.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from neurarium.errors import DataError, require

TEST_FRACTION = 0.2


def stratified_split(
    labels: Int64[Tensor, " N"], *, seed: int, class_names: Sequence[str], fraction: float = TEST_FRACTION
) -> tuple[Int64[Tensor, " A"], Int64[Tensor, " Z"]]:
    """The places of a train and a test set that share out every class in the same proportion.

    Each class gives `fraction` of its examples to the test set, at least one and never all. Both sets come in the
    order of the data, so that the split decides who is where and nothing else.

    Args:
        labels: the class of each example.
        seed: decides which examples are held out.
        class_names: what to call a class in an error.
        fraction: how much of each class is held out.

    Raises:
        DataError: a class has a single example, which cannot be in both sets.

    >>> train, test = stratified_split(torch.tensor([0] * 8 + [1] * 4), seed=0, class_names=["a", "b"], fraction=0.25)
    >>> len(train), len(test), int((test >= 8).sum())
    (9, 3, 1)
    """
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        places = (labels == label).nonzero().flatten()
        if len(places) == 1:
            raise DataError(
                f"class '{class_names[label]}' has a single example, which cannot be both in the train and the test "
                "set; add another or leave the class out"
            )
        wanted = min(max(round(len(places) * fraction), 1), len(places) - 1)
        held_out[places[torch.randperm(len(places), generator=generator)[:wanted]]] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


def random_split(
    length: int, *, seed: int, fraction: float = TEST_FRACTION
) -> tuple[Int64[Tensor, " A"], Int64[Tensor, " Z"]]:
    """The places of a train and a test set drawn at random, each in the order of the data.

    Raises:
        InvalidValue: there are fewer than two examples.

    >>> train, test = random_split(10, seed=0)
    >>> len(train), len(test), sorted(torch.cat([train, test]).tolist()) == list(range(10))
    (8, 2, True)
    """
    require(length >= 2, f"the data has {length} examples, but a train and a test set need at least 2")
    wanted = min(max(round(length * fraction), 1), length - 1)
    order = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
    return order[wanted:].sort().values, order[:wanted].sort().values


def dealt(labels: Shaped[Tensor, "N ..."], *, seed: int) -> Shaped[Tensor, "N ..."]:
    """The same labels dealt out at random among the examples: whoever still learns from them is cheating.

    How many examples each class has stays as it was, so a guesser's accuracy stays what it was too.

    >>> dealt(torch.tensor([3, 3, 5]), seed=0).sort().values.tolist()
    [3, 3, 5]
    """
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
