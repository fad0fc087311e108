"""Ratings held to the model that makes the results, to the gradient at the top, and to a slow fixed point."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.errors import InvalidValue
from neurarium.parts.ratings import SCALE, elo, expected_share


def expected(ratings: torch.Tensor, games: torch.Tensor) -> torch.Tensor:
    """Points by the model."""
    return games / (1 + 10 ** ((ratings - ratings.unsqueeze(1)) / 400))


def test_results_as_the_model_expects_give_the_ratings_back() -> None:
    ratings = torch.tensor([250.0, 60.0, -10.0, -300.0], dtype=torch.float64)
    games = torch.tensor([[0, 40, 10, 0], [40, 0, 20, 5], [10, 20, 0, 30], [0, 5, 30, 0]], dtype=torch.float64)
    assert torch.allclose(elo(expected(ratings, games), draws=0), ratings, atol=1e-4)


def test_agrees_with_the_fixed_point_of_minorization() -> None:
    points = torch.tensor([[0, 7, 9.0], [3, 0, 6.5], [1, 3.5, 0]], dtype=torch.float64)
    games, gamma = points + points.T, torch.ones(3, dtype=torch.float64)
    for _ in range(2000):  # Hunter 2004, eq. 3: γ_i ← W_i / Σ_j n_ij / (γ_i + γ_j)
        gamma = points.sum(1) / (games / (gamma.unsqueeze(1) + gamma)).sum(1)
    slow = gamma.log() * SCALE
    assert torch.allclose(elo(points, draws=0), slow - slow.mean(), atol=1e-3)


@given(seed=st.integers(0, 2**16), players=st.integers(2, 8))
def test_any_table_has_ratings_once_draws_are_added(seed: int, players: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    points = torch.randint(0, 20, (players, players), generator=chance) * 0.5
    ratings = elo(points)
    assert ratings.isfinite().all()
    assert abs(ratings.mean().item()) < 1e-2
    order = torch.randperm(players, generator=chance)
    assert torch.allclose(elo(points[order][:, order]), ratings[order], atol=0.1)


def test_who_takes_everything_is_rated_by_the_draws() -> None:
    points = torch.tensor([[0.0, 10.0], [0.0, 0.0]])
    assert elo(points)[0] > 150
    with pytest.raises(InvalidValue, match="no ratings are likeliest"):
        elo(points, draws=0)
    assert expected_share(400) == pytest.approx(10 / 11)


def test_refuses_tables_that_are_none(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match=r"points has shape \(2, 3\); give one row and one column a player"):
        elo(torch.zeros(2, 3))
    with pytest.raises(InvalidValue, match="negative or not finite"):
        elo(torch.tensor([[0.0, -1.0], [0.0, 0.0]]))
    with pytest.raises(InvalidValue, match="draws is -1"):
        elo(torch.zeros(2, 2), draws=-1)
