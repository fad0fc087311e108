"""Sequences: temporal XOR is what Elman describes, and an endless stream knows its place."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurarium.data.sequences import Endless, adding, latch, temporal_xor
from neurarium.errors import InvalidValue
from neurarium.learners.stream import Stream
from neurarium.parts.bundles import Sequences


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stream(seed: int) -> Endless[Sequences]:
    return Endless(partial(temporal_xor, count=4, length=9), chance(seed))


def bits_of(batch: Sequences) -> Tensor:
    return torch.cat([batch.inputs[:, :1], batch.targets], dim=1)[..., 0].int()


@given(seed=st.integers(0, 1000), count=st.integers(1, 5), triples=st.integers(1, 6))
def test_every_third_bit_follows_from_the_two_before(seed: int, count: int, triples: int) -> None:
    inputs, targets, mask = batch = temporal_xor(chance(seed), count=count, length=3 * triples)
    assert inputs.shape == targets.shape == (count, 3 * triples - 1, 1)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    a, b, c = bits_of(batch).unflatten(1, (triples, 3)).unbind(2)
    assert torch.equal(c, a ^ b)
    for row in mask.tolist():
        assert [step + 1 for step, known in enumerate(row) if known] == list(range(2, 3 * triples, 3))


def test_nothing_else_follows_from_what_came_before() -> None:
    bits = bits_of(temporal_xor(chance(0), count=20_000, length=9)).float()
    # Every bit is even odds, and no two are correlated; five standard errors are 0.035.
    assert float((bits.mean(0) - 0.5).abs().max()) < 5 * 0.5 / 20_000**0.5
    correlations = torch.corrcoef(bits.T) - torch.eye(9)
    assert float(correlations.abs().max()) < 5 / 20_000**0.5


def test_shuffled_targets_are_of_other_sequences() -> None:
    shuffled = temporal_xor(chance(0), count=20_000, length=9, shuffle_targets=True)
    true = temporal_xor(chance(0), count=20_000, length=9)
    assert torch.equal(shuffled.inputs, true.inputs)
    assert torch.equal(shuffled.mask, true.mask)
    agree = (shuffled.targets == true.targets).float().mean((0, 2))
    assert float((agree - 0.5).abs().max()) < 5 * 0.5 / 20_000**0.5


def test_the_stream_goes_on_where_it_was() -> None:
    first = stream(0)
    assert isinstance(first, Stream)
    assert iter(first) is first
    batches = [next(first) for _ in range(3)]
    state = first.state_dict()
    wanted = [next(first) for _ in range(3)]
    again = stream(7)
    again.load_state_dict(state)
    for one, other in zip(wanted, (next(again) for _ in range(3)), strict=True):
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))
    assert not torch.equal(batches[0].inputs, batches[1].inputs)


def test_a_state_is_not_moved_by_the_stream_it_came_from() -> None:
    source = stream(0)
    state = source.state_dict()
    before = state["generator"].clone()
    next(source)
    assert torch.equal(state["generator"], before)


def test_only_the_own_generator_is_used() -> None:
    wanted = next(stream(0)).inputs
    torch.manual_seed(5)
    torch.rand(9)
    place = torch.get_rng_state()
    assert torch.equal(next(stream(0)).inputs, wanted)
    assert torch.equal(torch.get_rng_state(), place)


@pytest.mark.parametrize("state", [{}, {"generator": None}, {"generator": torch.zeros(3)}, {"epoch": 1}])
def test_a_state_of_something_else_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(InvalidValue, match="holds no generator's state; it is of another stream"):
        stream(0).load_state_dict(state)


@pytest.mark.parametrize(("length", "near"), [(10, 9), (2, 3), (0, 3), (-3, 3)])
def test_a_broken_triple_is_refused(length: int, near: int) -> None:
    with pytest.raises(InvalidValue, match=f"length is {length} bits, but must be whole triples: try {near}"):
        temporal_xor(chance(0), count=1, length=length)


def test_a_batch_of_none_is_refused() -> None:
    with pytest.raises(InvalidValue, match="the batch size is 0, but must be at least 1"):
        temporal_xor(chance(0), count=0, length=6)


@given(seed=st.integers(0, 1000), count=st.integers(1, 5), length=st.integers(2, 30))
def test_the_sum_of_the_two_marked_numbers_is_asked_at_the_end(seed: int, count: int, length: int) -> None:
    inputs, targets, mask = adding(chance(seed), count=count, length=length)
    values, marks = inputs.unbind(2)
    assert torch.equal(marks[:, : length // 2].sum(1), torch.ones(count))
    assert torch.equal(marks[:, length // 2 :].sum(1), torch.ones(count))
    assert torch.allclose((values * marks).sum(1), targets[:, -1, 0])
    assert torch.equal(mask, torch.arange(length).eq(length - 1).expand(count, -1))
    assert not targets[:, :-1].any()


def test_who_answers_one_is_wrong_by_a_sixth() -> None:
    targets = adding(chance(0), count=20_000, length=10).targets[:, -1, 0]
    assert float((targets - 1).square().mean()) == pytest.approx(1 / 6, abs=0.005)


def test_the_latch_asks_for_its_first_step() -> None:
    inputs, targets, _ = latch(chance(0), count=500, length=20, noise=0.5)
    assert torch.equal(inputs[:, 0, 0] > 0, targets[:, -1, 0] == 1)
    assert float(inputs[:, 1:].std()) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("task", [adding, latch])
def test_shuffled_answers_are_those_of_others(task: Callable[..., Sequences]) -> None:
    right, dealt = (task(chance(3), count=64, length=8, shuffle_targets=shuffle) for shuffle in (False, True))
    assert torch.equal(right.inputs, dealt.inputs)
    assert torch.equal(right.targets.flatten().sort().values, dealt.targets.flatten().sort().values)
    assert not torch.equal(right.targets, dealt.targets)
    with pytest.raises(InvalidValue, match="length is 1 steps, but a first and a last take at least 2"):
        task(chance(0), count=1, length=1)
    with pytest.raises(InvalidValue, match="the batch size is 0"):
        task(chance(0), count=0, length=9)
