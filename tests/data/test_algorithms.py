"""Small algorithms: each batch's answer is what a few lines of Python make of its input."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.data.algorithms import associative_recall, copy, priority_sort, repeat_copy
from neurarium.errors import InvalidValue
from neurarium.parts.bundles import Sequences

TASKS = [copy, repeat_copy, associative_recall, priority_sort]


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def answers_of(batch: Sequences) -> list[list[list[int]]]:
    return [row[mask].int().tolist() for row, mask in zip(batch.targets, batch.mask, strict=True)]


@given(seed=st.integers(0, 1000), count=st.integers(1, 3))
def test_copy(seed: int, count: int) -> None:
    batch = copy(chance(seed), count=count, most=6)
    length = batch.inputs.shape[1] // 2
    for inputs, answer in zip(batch.inputs.int().tolist(), answers_of(batch), strict=True):
        assert [step[-1] for step in inputs] == [0] * length + [1] + [0] * length
        assert answer == [step[:-1] for step in inputs[:length]]
        assert not any(map(any, inputs[length + 1 :]))


@given(seed=st.integers(0, 1000))
def test_repeat_copy(seed: int) -> None:
    batch = repeat_copy(chance(seed), count=2, most=4, most_times=5)
    for inputs, answer in zip(batch.inputs.tolist(), answers_of(batch), strict=True):
        mark = [step[-2] for step in inputs].index(1)
        times = round(10 * inputs[mark][-1])
        assert answer == [[*map(int, step[:-2]), 0] for step in inputs[:mark]] * times + [[0] * 8 + [1]]
        assert len(inputs) == mark + 1 + mark * times + 1


@given(seed=st.integers(0, 1000), vectors=st.integers(1, 3))
def test_associative_recall(seed: int, vectors: int) -> None:
    batch = associative_recall(chance(seed), count=3, most=5, vectors=vectors, bits=12)
    for inputs, answer in zip(batch.inputs.int().tolist(), answers_of(batch), strict=True):
        begins = [step for step, row in enumerate(inputs) if row[-2]]
        first, second = (step for step, row in enumerate(inputs) if row[-1])
        items = [[row[:-2] for row in inputs[at + 1 : at + 1 + vectors]] for at in begins]
        question = [row[:-2] for row in inputs[first + 1 : second]]
        assert answer in [items[place + 1] for place in range(len(items) - 1) if items[place] == question]


@given(seed=st.integers(0, 1000), length=st.integers(1, 8))
def test_priority_sort(seed: int, length: int) -> None:
    batch = priority_sort(chance(seed), count=2, least=length, most=length, answered=0.8)
    for inputs, answer in zip(batch.inputs.tolist(), answers_of(batch), strict=True):
        given_in = sorted(inputs[:length], key=lambda row: -row[-1])
        assert answer == [[*map(int, row[:-2])] for row in given_in][: max(1, round(0.8 * length))]
        assert all(-1 <= row[-1] <= 1 for row in inputs)


@pytest.mark.parametrize("draw", TASKS)
def test_a_batch_is_one_length_within_the_range_and_repeats(draw: Callable[..., Sequences]) -> None:
    lengths = {draw(chance(seed), count=2, least=3, most=5).inputs.shape[1] for seed in range(40)}
    assert len(lengths) >= 3
    one, other, shuffled = (draw(chance(0), count=8, shuffle_targets=no == 2) for no in range(3))
    assert all(map(torch.equal, one, other))
    assert torch.equal(one.inputs, shuffled.inputs)
    assert not torch.equal(one.targets, shuffled.targets)


@pytest.mark.parametrize("draw", TASKS)
def test_ranges_that_hold_nothing_are_refused(draw: Callable[..., Sequences]) -> None:
    made = partial(draw, chance(0))
    with pytest.raises(InvalidValue, match="the batch size is 0"):
        made(count=0)
    with pytest.raises(InvalidValue, match="bits is 0"):
        made(count=1, bits=0)
    with pytest.raises(InvalidValue, match="there are 5 to 3 "):
        made(count=1, least=5, most=3)


def test_what_a_task_cannot_be_asked_is_refused() -> None:
    with pytest.raises(InvalidValue, match="there are 0 to 10 repetitions"):
        repeat_copy(chance(0), count=1, least_times=0)
    with pytest.raises(InvalidValue, match="least is 1 items, but what comes next needs at least 2"):
        associative_recall(chance(0), count=1, least=1)
    with pytest.raises(InvalidValue, match="vectors is 0"):
        associative_recall(chance(0), count=1, vectors=0)
    with pytest.raises(InvalidValue, match=r"answered is 1.5; the share must lie above 0"):
        priority_sort(chance(0), count=1, answered=1.5)
