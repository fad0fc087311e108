from itertools import pairwise
from statistics import mean, pstdev

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.errors import InvalidValue
from neurarium.parts.spike_trains import FAINTEST, irregularity, latency_code, rate_code

VALUES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20)


@given(values=VALUES, steps=st.integers(1, 60), often=st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_a_rate_code_fires_as_often_as_the_value_says(values: list[float], steps: int, often: float) -> None:
    spikes = rate_code(torch.tensor([values]), steps=steps, often=often)
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    assert (spikes.sum(1)[0] - torch.tensor(values) * often * steps).abs().max() <= 1 + 1e-4


@given(values=VALUES, steps=st.integers(2, 60))
def test_a_latency_code_fires_once_and_the_larger_value_not_later(values: list[float], steps: int) -> None:
    spikes = latency_code(torch.tensor([values]), steps=steps)[0]
    assert spikes.sum(0).tolist() == [float(torch.tensor(value) >= FAINTEST) for value in values]
    when = [(value, int(spikes[:, place].argmax())) for place, value in enumerate(values) if value > 2 * FAINTEST]
    later = [step for _, step in sorted(when)]
    assert later == sorted(later, reverse=True)


def test_irregularity_is_the_deviation_over_the_mean_of_the_intervals() -> None:
    spikes = (torch.rand(2, 300, 5, generator=torch.Generator().manual_seed(0)) < 0.2).double()
    spikes[0, 20:, 2] = 0
    slow = []
    for batch in range(2):
        for neuron in range(5):
            steps = spikes[batch, :, neuron].nonzero().flatten().tolist()
            between = [later - earlier for earlier, later in pairwise(steps)]
            slow += [pstdev(between) / mean(between)] if len(between) >= 10 else []
    assert len(slow) == 9
    torch.testing.assert_close(irregularity(spikes, at_least=10), torch.tensor(slow, dtype=torch.float64))


def test_chance_is_irregular_and_a_clock_is_not() -> None:
    chance = (torch.rand(1, 20_000, 20, generator=torch.Generator().manual_seed(0)) < 0.02).float()
    assert irregularity(chance).mean() == pytest.approx(1, abs=0.05)
    clock = rate_code(torch.ones(1, 20), steps=500)
    assert irregularity(clock).max() == 0


def test_what_cannot_be_coded_or_measured_is_refused() -> None:
    values = torch.zeros(1, 3)
    with pytest.raises(InvalidValue, match="steps is 0, but must be at least 1"):
        rate_code(values, steps=0)
    with pytest.raises(InvalidValue, match=r"often is 1.5 spikes a step, but must be above 0 and at most 1"):
        rate_code(values, steps=5, often=1.5)
    with pytest.raises(InvalidValue, match="steps is 0, but must be at least 1"):
        latency_code(values, steps=0)
    with pytest.raises(InvalidValue, match=r"latest is 0, but must be above 0"):
        latency_code(values, steps=5, latest=0)
    with pytest.raises(InvalidValue, match=r"no neuron fired 6 times.*simulate longer or drive harder"):
        irregularity(torch.zeros(1, 10, 3))
