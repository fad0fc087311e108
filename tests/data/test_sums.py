"""Sums are sums; distances are those of a search; bad sizes are refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurarium.data.sums import carry_distances, sums
from neurarium.errors import InvalidValue


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), places=st.integers(3, 50))
def test_they_are_what_python_adds(seed: int, places: int) -> None:
    inputs, targets, mask = sums(torch.Generator().manual_seed(seed), count=4, places=places)
    assert mask.all()
    for bits, total in zip(inputs.long().tolist(), targets[..., 0].long().tolist(), strict=True):
        first, second = (sum(bit << place for place, bit in enumerate(number)) for number in zip(*bits, strict=True))
        assert sum(bit << place for place, bit in enumerate(total)) == first + second


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000))
def test_a_carry_is_decided_where_a_search_finds_it(seed: int) -> None:
    inputs = sums(torch.Generator().manual_seed(seed), count=3, places=20).inputs
    for bits, distances in zip(inputs.tolist(), carry_distances(inputs).tolist(), strict=True):
        for place, distance in enumerate(distances):
            below = place - 1
            while below >= 0 and bits[below][0] != bits[below][1]:
                below -= 1
            assert distance == max(0, place - 1 - below)


def test_shuffled_they_are_no_sums() -> None:
    kept, dealt = (
        sums(torch.Generator().manual_seed(0), count=50, places=10, shuffle_targets=shuffled)
        for shuffled in (False, True)
    )
    assert torch.equal(kept.inputs, dealt.inputs)
    assert (kept.targets != dealt.targets).any(1).float().mean() > 0.9


@pytest.mark.usefixtures("unchecked")
def test_what_makes_no_sums_is_refused() -> None:
    with pytest.raises(InvalidValue, match="places is 2; a sum needs 3: a zero, a bit and room for its carry"):
        sums(torch.Generator(), count=1, places=2)
    with pytest.raises(InvalidValue, match="the batch size is 0, but must be at least 1"):
        sums(torch.Generator(), count=0, places=5)
