import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.errors import InvalidValue
from neurarium.parts.penalties import l1, l2, strength_of, weight_elimination


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 1000), st.floats(0.05, 5.0), st.floats(0.001, 10.0))
def test_the_slope_of_weight_elimination_is_the_written_one(seed: int, scale: float, strength: float) -> None:
    w = torch.randn(4, 3, generator=chance(seed), dtype=torch.float64, requires_grad=True)
    (strength * weight_elimination([w], scale=scale)).backward()
    # 2λwc²/(w² + c²)²
    slope = 2 * strength * w * scale**2 / (w**2 + scale**2) ** 2
    assert w.grad is not None
    assert torch.allclose(w.grad, slope, rtol=1e-12, atol=1e-14)


def test_weight_elimination_is_quadratic_for_small_weights_and_counts_large_ones() -> None:
    small, large = torch.full((5,), 1e-4, dtype=torch.float64), torch.full((5,), 1e4, dtype=torch.float64)
    assert float(weight_elimination([small], scale=1.0)) == pytest.approx(5e-8, rel=1e-6)
    assert float(weight_elimination([large, -large], scale=1.0)) == pytest.approx(10, rel=1e-6)


@given(st.floats(0.01, 100.0), st.integers(1, 1000))
def test_a_mean_of_errors_is_least_where_c_times_their_sum_is(c: float, examples: int) -> None:
    # ½ w² + C N ½ (w − 1)² is least at C N/(1 + C N); so must (1/N) N ½ (w − 1)² + ½ λ w² be, at 1/(1 + λ).
    assert 1 / (1 + strength_of(c, examples)) == pytest.approx(c * examples / (1 + c * examples))


def test_what_cannot_be_penalised_is_refused_in_words() -> None:
    for penalty in (l1, l2, weight_elimination):
        with pytest.raises(InvalidValue, match="there are no parameters to penalise; give at least one tensor"):
            penalty([])
    with pytest.raises(InvalidValue, match=r"scale is 0\.0, but must be positive"):
        weight_elimination([torch.ones(1)], scale=0.0)
