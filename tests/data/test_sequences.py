"""Sequences: temporal XOR is what Elman describes, and an endless stream knows its place."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurarium.data.sequences import Endless, temporal_xor
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
