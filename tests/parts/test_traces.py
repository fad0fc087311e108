"""Traces against the sums they stand for."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurarium.parts.traces import credited, faded


@settings(max_examples=20)
@given(seed=st.integers(0, 2**20), decay=st.floats(-1, 1))
def test_a_trace_is_the_fading_sum_of_all_gradients_since_the_game_began(seed: int, decay: float) -> None:
    source = torch.Generator().manual_seed(seed)
    gradients = torch.randn(9, 3, 4, generator=source)
    began = torch.rand(9, 3, generator=source) < 0.2
    began[0] = True
    trace = torch.full((3, 4), 7.0)  # of games before, which must not be seen
    for step in range(9):
        assert faded(trace, gradients[step], decay=decay, began=began[step]) is trace
    for game in range(3):
        first = int(began[:, game].nonzero().max())
        slow = sum(decay ** (8 - step) * gradients[step, game] for step in range(first, 9))
        torch.testing.assert_close(trace[game], slow)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**20))
def test_credit_is_shared_over_the_games(seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    trace, errors = torch.randn(5, 3, generator=source), torch.randn(5, generator=source)
    slow = sum(float(errors[game]) * trace[game] for game in range(5))
    torch.testing.assert_close(credited(trace, errors), slow)
