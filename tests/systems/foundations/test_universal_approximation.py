from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.foundations.universal_approximation import (
    OnInterval,
    Staircase,
    bound,
    fine_points,
    middles,
    on_square,
    pieces_at,
    step_weights,
)

ROUNDING = 1e-9  # of the bound: where a function is steepest at an end, the error is the bound to the last digit


def lipschitz(slopes: list[float]) -> OnInterval:
    """The function whose slope is constant between equally spaced corners."""
    corners = np.linspace(0, 1, len(slopes) + 1)
    heights = np.concatenate([[0], np.cumsum(slopes) / len(slopes)])
    return lambda points: torch.from_numpy(np.interp(points.numpy(), corners, heights))


@given(slopes=st.lists(st.floats(-5, 5), min_size=1, max_size=40), pieces=st.integers(1, 40))
def test_the_bound_holds_for_random_lipschitz_functions(slopes: list[float], pieces: int) -> None:
    function, points = lipschitz(slopes), fine_points(pieces, inside=9, beside=8)
    error = float((Staircase(function, pieces=pieces)(points) - function(points)).abs().max())
    assert error <= bound(max(map(abs, slopes)), pieces=pieces) * (1 + ROUNDING) + 1e-13


@given(steepness=st.floats(0.5, 60), pieces=st.integers(1, 30), slopes=st.lists(st.floats(-3, 3), min_size=1))
def test_a_gentle_step_costs_no_more_than_its_tails(steepness: float, pieces: int, slopes: list[float]) -> None:
    function, points = lipschitz(slopes), fine_points(pieces, inside=8, beside=4, steepness=steepness)
    error = float((Staircase(function, pieces=pieces, steepness=steepness)(points) - function(points)).abs().max())
    # No point is farther from the middles, weighed by the pieces, than what the output may be off.
    distance = (points.unsqueeze(1) - middles(pieces)).abs()
    weighed = (pieces_at(points, pieces=pieces, steepness=steepness) * distance).sum(1).max()
    assert error <= max(map(abs, slopes)) * float(weighed) + 1e-12


@given(
    first=st.lists(st.floats(-3, 3), min_size=1, max_size=9),
    second=st.lists(st.floats(-3, 3), min_size=1, max_size=9),
    pieces=st.integers(1, 12),
)
def test_the_bound_holds_on_the_square(first: list[float], second: list[float], pieces: int) -> None:
    one, other = lipschitz(first), lipschitz(second)

    def function(across: Tensor, up: Tensor) -> Tensor:
        return torch.maximum(one(across), other(up))

    points = fine_points(pieces, inside=4, beside=2)
    outputs = on_square(function, points, points, pieces=pieces)
    error = (outputs - torch.maximum(one(points).unsqueeze(1), other(points).unsqueeze(0))).abs().max()
    limit = bound(max(map(abs, first + second)), pieces=pieces, dimensions=2)
    assert float(error) <= limit * (1 + ROUNDING) + 1e-13


@given(pieces=st.integers(1, 30), steepness=st.floats(0.1, 100), seed=st.integers(0, 1000))
def test_pieces_are_a_partition_and_the_network_is_their_sum(pieces: int, steepness: float, seed: int) -> None:
    points = torch.rand(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    parts = pieces_at(points, pieces=pieces, steepness=steepness)
    assert float(parts.min()) >= 0
    torch.testing.assert_close(parts.sum(1), torch.ones_like(points))
    # The slow way: G(x) = Σ f(a_i) P_i(x), piece by piece
    summed = sum(torch.cos(3 * a) * part for a, part in zip(middles(pieces), parts.T, strict=True))
    outputs = Staircase(lambda x: torch.cos(3 * x), pieces=pieces, steepness=steepness)(points)
    torch.testing.assert_close(outputs, summed, rtol=1e-10, atol=1e-10)


def test_steep_sigmoids_are_numpys_rounding_to_the_middle() -> None:
    points = torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    outputs = Staircase(torch.exp, pieces=7, steepness=1e6)(points)
    expected = np.exp((np.floor(7 * points.numpy()) + 0.5) / 7)
    torch.testing.assert_close(outputs, torch.from_numpy(expected))


def test_halfway_up_a_jump_is_the_mean_of_its_two_heights() -> None:
    outputs = Staircase(torch.exp, pieces=4)(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    heights = torch.exp(middles(4))
    torch.testing.assert_close(outputs, (heights[1:] + heights[:-1]) / 2)


def test_the_bound_cannot_be_lowered() -> None:
    error = (Staircase(lambda x: x, pieces=8)(torch.zeros(1, dtype=torch.float64))).abs()
    assert float(error) == bound(1.0, pieces=8)


@pytest.mark.usefixtures("unchecked")
def test_unusable_values_are_refused() -> None:
    with pytest.raises(InvalidValue, match="pieces is 0, but must be at least 1"):
        Staircase(torch.exp, pieces=0)
    with pytest.raises(InvalidValue, match="pieces is 0"):
        middles(0)
    with pytest.raises(InvalidValue, match=r"steepness is 0\.0, but must be positive"):
        step_weights(4, 0.0)
    with pytest.raises(InvalidValue, match="NaN or infinite at the middle of a piece"):
        Staircase(lambda x: x / 0, pieces=4)
    with pytest.raises(InvalidValue, match="NaN or infinite at the middle of a piece"):
        on_square(lambda x, y: (x - 2).log() + y, middles(2), middles(2), pieces=3)
    with pytest.raises(InvalidValue, match=r"steepest is -1\.0, but must be 0 or more"):
        bound(-1.0, pieces=4)


def test_the_recipe_refuses_no_pieces(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="largest is 0, but must be at least 1 piece"):
        train(find("universal_approximation"), dict(largest=0), Settings(device="cpu"), out=tmp_path)
