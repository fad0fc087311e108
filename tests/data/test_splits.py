"""Splits: every example in one part, every class in both."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.data.splits import dealt, random_split, stratified_split
from neurarium.errors import DataError, InvalidValue

NAMES = [str(label) for label in range(6)]


@given(st.lists(st.integers(2, 30), min_size=1, max_size=6), st.integers(0, 2**32))
def test_stratified_parts_hold_each_example_once_and_each_class_in_both(counts: list[int], seed: int) -> None:
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    labels = dealt(labels, seed=seed)
    train, test = stratified_split(labels, seed=seed, class_names=NAMES)
    assert torch.cat([train, test]).sort().values.tolist() == list(range(len(labels)))
    for label, count in enumerate(counts):
        held_out = int((labels[test] == label).sum())
        assert held_out == min(max(round(count * 0.2), 1), count - 1)
        assert int((labels[train] == label).sum()) == count - held_out


def test_splits_depend_on_the_seed_alone() -> None:
    labels = torch.arange(100) % 3
    first = stratified_split(labels, seed=1, class_names=NAMES)[1]
    assert torch.equal(first, stratified_split(labels, seed=1, class_names=NAMES)[1])
    assert not torch.equal(first, stratified_split(labels, seed=2, class_names=NAMES)[1])
    assert torch.equal(random_split(50, seed=1)[1], random_split(50, seed=1)[1])
    assert not torch.equal(random_split(50, seed=1)[1], random_split(50, seed=2)[1])


@given(st.integers(2, 100), st.integers(0, 2**32))
def test_random_parts_hold_each_example_once(length: int, seed: int) -> None:
    train, test = random_split(length, seed=seed)
    assert torch.cat([train, test]).sort().values.tolist() == list(range(length))
    assert min(len(train), len(test)) >= 1


def test_refuses_what_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="class '1' has a single example"):
        stratified_split(torch.tensor([0, 0, 1]), seed=0, class_names=NAMES)
    with pytest.raises(InvalidValue, match="the data has 1 examples"):
        random_split(1, seed=0)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50), st.integers(0, 2**32))
def test_dealt_labels_are_the_same_ones(labels: list[int], seed: int) -> None:
    assert sorted(dealt(torch.tensor(labels), seed=seed).tolist()) == sorted(labels)
