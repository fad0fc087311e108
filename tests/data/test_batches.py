"""Batches: every epoch a permutation, every place one to come back to."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurarium.data.batches import Batches, Held, epoch_order
from neurarium.errors import InvalidValue
from neurarium.learners.stream import Stream
from neurarium.parts.bundles import Labelled, Paired

lengths = st.integers(1, 40)
sizes = st.integers(1, 12)
seeds = st.integers(0, 2**63)


def rows(length: int) -> Held[Labelled]:
    """Rows that carry their own place."""
    return Held(Labelled(torch.arange(length).float().unsqueeze(1), torch.arange(length)))


def places(stream: Batches[Labelled], steps: int) -> list[list[int]]:
    return [next(stream).labels.tolist() for _ in range(steps)]


def test_is_a_stream() -> None:
    assert isinstance(Batches(rows(3)), Stream)


@given(lengths, sizes, seeds)
def test_each_epoch_is_a_permutation_without_repeats(length: int, size: int, seed: int) -> None:
    stream = Batches(rows(length), size=size, seed=seed)
    for _ in range(3):
        epoch = places(stream, stream.per_epoch)
        assert {len(batch) for batch in epoch} == {min(size, length)}
        seen = [place for batch in epoch for place in batch]
        assert len(set(seen)) == len(seen) > length - size
        assert set(seen) <= set(range(length))


@given(lengths, sizes, seeds, st.integers(0, 30))
def test_goes_on_from_any_step_as_if_nothing_had_happened(length: int, size: int, seed: int, steps: int) -> None:
    stream = Batches(rows(length), size=size, seed=seed)
    places(stream, steps)
    state = stream.state_dict()
    fresh = Batches(rows(length), size=size, seed=seed)
    fresh.load_state_dict(state)
    assert places(fresh, 12) == places(stream, 12)


def test_goes_back_within_an_epoch() -> None:
    stream = Batches(rows(20), size=3, seed=1)
    places(stream, 2)
    state = stream.state_dict()
    later = places(stream, 9)
    stream.load_state_dict(state)
    assert places(stream, 9) == later


def test_asking_for_the_state_changes_nothing() -> None:
    asked, left = Batches(rows(10), size=4), Batches(rows(10), size=4)
    for _ in range(7):
        asked.state_dict()
        assert places(asked, 1) == places(left, 1)


def test_neighbouring_seeds_and_epochs_give_unrelated_orders() -> None:
    orders = {tuple(epoch_order(30, seed=seed, epoch=epoch).tolist()) for seed in range(20) for epoch in range(20)}
    assert len(orders) == 400


def test_order_is_a_golden_one() -> None:
    # A change here breaks every resumed run: it must be meant, and said in the changelog.
    assert epoch_order(8, seed=0, epoch=0).tolist() == [5, 4, 7, 2, 0, 6, 1, 3]


def test_leaves_the_random_state_of_others_alone() -> None:
    before = torch.get_rng_state()
    places(Batches(rows(9), size=2), 10)
    assert torch.equal(before, torch.get_rng_state())


def test_a_set_smaller_than_the_batch_comes_whole() -> None:
    stream = Batches(rows(3), size=64)
    assert [sorted(batch) for batch in places(stream, 4)] == [[0, 1, 2]] * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 11}, "has length 11, but this stream has 10"),
        ({"size": 5}, "has size 5, but this stream has 4"),
        ({"seed": 9}, "has seed 9, but this stream has 0"),
        ({"position": 3}, "epoch 0, position 3. is not the start of a batch"),
        ({"position": 12}, "is not the start of a batch"),
        ({"epoch": -1}, "is not the start of a batch"),
        ({"epoch": "1"}, "needs integers"),
        ({"position": None}, "needs integers"),
    ],
)
def test_refuses_the_state_of_another(change: dict[str, Any], message: str) -> None:
    stream = Batches(rows(10), size=4)
    with pytest.raises(InvalidValue, match=message):
        stream.load_state_dict(stream.state_dict() | change)


def test_refuses_what_is_no_state() -> None:
    with pytest.raises(InvalidValue, match="has length None, but this stream has 10"):
        Batches(rows(10)).load_state_dict({})


def test_a_refused_state_leaves_the_stream_where_it_was() -> None:
    stream = Batches(rows(10), size=4)
    places(stream, 1)
    state = stream.state_dict()
    with pytest.raises(InvalidValue):
        stream.load_state_dict(state | {"epoch": 3, "position": 3})
    assert stream.state_dict() == state


@pytest.mark.parametrize("size", [0, -3])
def test_refuses_a_batch_of_nothing(size: int) -> None:
    with pytest.raises(InvalidValue, match=f"the batch size is {size}, but must be at least 1"):
        Batches(rows(3), size=size)


def test_refuses_an_empty_set() -> None:
    with pytest.raises(InvalidValue, match="the data set is empty"):
        Batches(rows(0))


def test_held_keeps_the_type_of_its_bundle() -> None:
    held = Held(Paired(torch.arange(6.0).reshape(3, 2), torch.arange(3.0)))
    taken = held.take(torch.tensor([2, 0]))
    assert isinstance(taken, Paired)
    assert taken.inputs.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert taken.targets.tolist() == [2.0, 0.0]
    assert isinstance(held.to("cpu").all(), Paired)


def test_held_takes_plain_tuples_too() -> None:
    plain: tuple[Tensor, ...] = (torch.arange(3), torch.arange(3))
    taken = Held(plain).take(torch.tensor([1]))
    assert [field.tolist() for field in taken] == [[1], [1]]


def test_held_chunks_are_the_whole_in_order() -> None:
    held = rows(10)
    chunks = list(held.chunks(4))
    assert [len(chunk.labels) for chunk in chunks] == [4, 4, 2]
    assert torch.cat([chunk.labels for chunk in chunks]).tolist() == list(range(10))
    with pytest.raises(InvalidValue, match="the chunk size is 0"):
        next(held.chunks(0))


def test_held_batches_take_its_seed_unless_told_another() -> None:
    bundle = rows(20).all()
    assert places(Held(bundle, seed=5).batches(4), 5) == places(Held(bundle).batches(4, seed=5), 5)
    assert places(Held(bundle, seed=5).batches(4), 5) != places(Held(bundle).batches(4), 5)
    assert places(Held(bundle, seed=5).to("cpu").batches(4), 5) == places(Held(bundle, seed=5).batches(4), 5)


def test_held_refuses_fields_of_different_length() -> None:
    with pytest.raises(InvalidValue, match=r"\[3, 2\] examples"):
        Held((torch.zeros(3), torch.zeros(2)))
