"""Folds: every example is held out once and learned from the other times, so that all of them test and all teach.

Repeated, the examples are dealt out anew each time. Stratified, each class is dealt out by itself, so that every fold
has as much of it as any other, to within one example.

Source: CSE 151B, Convolutional Networks (choosing hyper-parameters: cross-validation); Kohavi 1995, A study of
cross-validation and bootstrap for accuracy estimation and model selection, §2.2 (k-fold, repeated, stratified).
Differs: dealing goes on with the next fold from one class to the next, so that whole folds differ by one example too.
Shapes: N examples, A examples to learn from, Z examples held out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from neurarium.data.batches import epoch_order
from neurarium.errors import DataError, require


class Fold(NamedTuple):
    """The places of the examples to learn from and of those held out, each in the order of the data."""

    train: Int64[Tensor, " A"]
    held_out: Int64[Tensor, " Z"]


def k_fold(length: int, *, folds: int, seed: int, repeats: int = 1) -> list[Fold]:
    """Folds dealt out at random.

    Args:
        length: how many examples there are.
        folds: how many parts they are dealt into.
        seed: decides who is where, together with the number of the repeat.
        repeats: how often all of them are dealt out.

    Returns:
        `folds` × `repeats` of them, those of one repeat together.

    Raises:
        InvalidValue: fewer than 2 folds, more folds than examples, or no repeats.

    >>> [fold.held_out.tolist() for fold in k_fold(5, folds=2, seed=0)]
    [[0, 2, 4], [1, 3]]
    """
    check_folds(length, folds=folds, repeats=repeats)
    dealt = [epoch_order(length, seed=seed, epoch=repeat) for repeat in range(repeats)]
    return [fold for order in dealt for fold in _dealt_out(order, folds)]


def stratified_k_fold(
    labels: Int64[Tensor, " N"], *, folds: int, seed: int, class_names: Sequence[str], repeats: int = 1
) -> list[Fold]:
    """Folds with the same share of every class.

    Args:
        labels: the class of each example.
        folds: how many parts the examples are dealt into.
        seed: decides who is where, together with the number of the repeat.
        class_names: what to call a class in an error.
        repeats: how often all of them are dealt out.

    Returns:
        `folds` × `repeats` of them, those of one repeat together.

    Raises:
        InvalidValue: fewer than 2 folds, more folds than examples, or no repeats.
        DataError: a class has fewer examples than there are folds, so that it would be missing from one.

    >>> labels = torch.tensor([0] * 6 + [1] * 3)
    >>> folds = stratified_k_fold(labels, folds=3, seed=0, class_names=["a", "b"])
    >>> [labels[fold.held_out].tolist() for fold in folds]
    [[0, 0, 1], [0, 0, 1], [0, 0, 1]]
    """
    check_folds(len(labels), folds=folds, repeats=repeats)
    for label, count in enumerate(torch.bincount(labels, minlength=len(class_names)).tolist()):
        if count < folds:
            raise DataError(
                f"class '{class_names[label]}' has {count} examples, so it would be missing from one of {folds} folds; "
                "add examples, leave the class out, or take fewer folds"
            )
    dealt = [epoch_order(len(labels), seed=seed, epoch=repeat) for repeat in range(repeats)]
    # A stable sort by class keeps the chance within each.
    return [fold for order in dealt for fold in _dealt_out(order[labels[order].argsort(stable=True)], folds)]


def check_folds(length: int, *, folds: int, repeats: int) -> None:
    """Refuse what cannot be dealt out.

    Raises:
        InvalidValue: says which.
    """
    require(folds >= 2, f"folds is {folds}, but one fold to hold out and one to learn from make 2")
    require(folds <= length, f"folds is {folds} for {length} examples, but each fold needs one; take fewer folds")
    require(repeats >= 1, f"repeats is {repeats}, but must be at least 1")


def _dealt_out(order: Int64[Tensor, " N"], folds: int) -> list[Fold]:
    """One fold after the other takes the next example of an order, round and round."""
    parts = [order[fold::folds].sort().values for fold in range(folds)]
    everyone = torch.ones(len(order), dtype=torch.bool)
    return [Fold(everyone.index_fill(0, part, False).nonzero().flatten(), part) for part in parts]
