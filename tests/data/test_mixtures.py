import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurarium.data.mixtures import BLOCK, Likeness, Mixture, MixtureBatches, ring
from neurarium.errors import InvalidValue
from neurarium.learners.stream import Stream


def test_the_ring_is_the_fields() -> None:
    centres = ring().centres
    assert centres.shape == (8, 2)
    assert torch.allclose(centres.norm(dim=1), torch.full((8,), 2.0))
    gaps = (centres - centres.roll(1, 0)).norm(dim=1)
    assert torch.allclose(gaps, torch.full((8,), 4 * math.sin(math.pi / 8)), atol=1e-5)


def test_samples_have_the_mixtures_moments() -> None:
    mixture = ring(4, radius=3.0, deviation=0.5)
    points, labels = mixture.sample(40_000, generator=torch.Generator().manual_seed(0))
    for label, centre in enumerate(mixture.centres):
        own = points[labels == label]
        assert len(own) == pytest.approx(10_000, rel=0.05)
        assert torch.allclose(own.mean(0), centre, atol=0.02)
        assert torch.allclose(own.T.cov(), 0.25 * torch.eye(2), atol=0.02)


def test_its_own_samples_are_as_good_as_the_rayleigh_distribution_says() -> None:
    mixture = ring()
    modes, good = mixture.likeness(mixture.sample(100_000, generator=torch.Generator().manual_seed(0)).inputs)
    assert modes == 8
    assert good == pytest.approx(1 - math.exp(-4.5), abs=0.002)


def test_likeness_is_the_obvious_loop() -> None:
    mixture = ring(5, deviation=0.3)
    points = 2 * torch.randn(400, 2, generator=torch.Generator().manual_seed(3))
    found, good = [0] * 5, 0
    for x, y in points.tolist():
        distances = [math.hypot(x - a, y - b) for a, b in mixture.centres.tolist()]
        if min(distances) <= 0.9:
            good += 1
            found[distances.index(min(distances))] += 1
    assert mixture.likeness(points) == Likeness(sum(count >= 400 / 5 / 4 for count in found), good / 400)


def test_a_mode_needs_a_quarter_of_its_share_in_good_samples() -> None:
    mixture = ring(2, radius=1.0, deviation=0.1)
    here, there = mixture.centres
    assert mixture.likeness(torch.stack([here] * 88 + [there] * 12)) == Likeness(modes=1, good=1.0)
    assert mixture.likeness(torch.stack([here] * 87 + [there] * 13)) == Likeness(modes=2, good=1.0)
    far = there + torch.tensor([0.31, 0.0])
    assert mixture.likeness(torch.stack([here] * 50 + [far] * 50)) == Likeness(modes=1, good=0.5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3 * BLOCK), st.integers(1, 5), st.integers(0, 2**31))
def test_a_restored_stream_goes_on_exactly(before: int, size: int, seed: int) -> None:
    stream, again = ring().batches(size, seed=seed), ring().batches(size, seed=seed)
    for _ in range(before):
        next(stream)
    next(again)  # a place of its own, which loading must forget
    again.load_state_dict(stream.state_dict())
    for _ in range(2):
        expected, batch = next(stream), next(again)
        assert torch.equal(batch.inputs, expected.inputs)
        assert torch.equal(batch.labels, expected.labels)
    assert again.state_dict() == stream.state_dict()


def test_no_two_batches_blocks_or_seeds_agree() -> None:
    stream, other = ring().batches(4, seed=0), ring().batches(4, seed=1)
    assert isinstance(stream, Stream)
    batches = [next(stream).inputs for _ in range(2 * BLOCK)] + [next(other).inputs for _ in range(2 * BLOCK)]
    assert len({tuple(batch.flatten().tolist()) for batch in batches}) == 4 * BLOCK


def test_drawing_leaves_global_chance_alone() -> None:
    before = torch.get_rng_state()
    next(ring().batches(4))
    assert torch.equal(torch.get_rng_state(), before)


def test_bad_values_are_named() -> None:
    with pytest.raises(InvalidValue, match="the ring has 0 Gaussians"):
        ring(0)
    with pytest.raises(InvalidValue, match="radius is -1"):
        ring(radius=-1.0)
    with pytest.raises(InvalidValue, match="deviation is 0"):
        ring(deviation=0.0)
    with pytest.raises(InvalidValue, match="no centre"):
        Mixture(torch.zeros(0, 2), 1.0)
    with pytest.raises(InvalidValue, match="batch size is 0"):
        ring().batches(0)
    with pytest.raises(InvalidValue, match="no points"):
        ring().likeness(torch.zeros(0, 2))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (ring().batches(8, seed=0), "has size 8, but this stream has 4"),
        (ring().batches(4, seed=1), "has seed 1, but this stream has 0"),
        (ring(3).batches(4), "has centres"),
        (ring(deviation=0.1).batches(4), "has deviation 0.1"),
    ],
)
def test_a_foreign_place_is_refused(other: MixtureBatches, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        ring().batches(4).load_state_dict(other.state_dict())


@pytest.mark.parametrize("drawn", [None, -1, 0.5])
def test_a_place_that_is_no_count_is_refused(drawn: object) -> None:
    stream = ring().batches(4)
    with pytest.raises(InvalidValue, match="must be a count of batches"):
        stream.load_state_dict({**stream.state_dict(), "drawn": drawn})
