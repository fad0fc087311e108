from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.likeness import class_entropy, confident, copies, frechet_distance, matrix_root, nearest, overlap


def points(count: int, width: int = 3, *, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@given(seed=st.integers(0, 1000), width=st.integers(1, 6))
def test_the_frechet_distance_is_that_of_gaussians_with_diagonal_spread(seed: int, width: int) -> None:
    """For diagonal covariances it is Σ (μ₁ − μ₂)² + (σ₁ − σ₂)²; a rotation of both changes nothing."""
    real = torch.cat([torch.eye(width), -torch.eye(width)]).double()
    scale, shift = 0.5 + torch.rand(width, dtype=torch.float64), torch.rand(width, dtype=torch.float64)
    fake = real * scale + shift
    spread = real.T.cov().reshape(width, width).diag().sqrt()
    wanted = float(shift.square().sum() + ((scale - 1) * spread).square().sum())
    turn = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)).double()).Q
    assert frechet_distance(real @ turn, fake @ turn) == pytest.approx(wanted, abs=1e-8)


def test_the_frechet_distance_of_a_set_to_itself_is_nothing_and_grows_with_the_gap() -> None:
    real = points(400)
    gaps = [frechet_distance(real, points(400, seed=1) + shift) for shift in (0.0, 1.0, 3.0)]
    assert frechet_distance(real, real) == pytest.approx(0.0, abs=1e-6)
    assert gaps == sorted(gaps)


def test_a_root_squares_to_its_matrix() -> None:
    spread = points(50, 4).T.cov()
    root = matrix_root(spread)
    torch.testing.assert_close(root @ root, spread)


def test_class_measures() -> None:
    even = torch.eye(10).repeat(3, 1)
    assert class_entropy(even) == pytest.approx(log(10))
    assert class_entropy(torch.eye(10)[:1].repeat(9, 1)) == 0.0
    assert confident(even) == 1.0
    assert confident(torch.full((4, 10), 0.1)) == 0.0


def test_samples_of_the_same_source_overlap_and_others_do_not() -> None:
    real = points(500)
    same, far, narrow = overlap(real, points(500, seed=1)), overlap(real, points(500) + 50), overlap(real, real[:1])
    assert same.precision > 0.9
    assert same.coverage > 0.9
    assert far == (0.0, 0.0)
    assert narrow.precision == 1.0
    assert narrow.coverage < 0.1


def test_copies_are_found_and_new_samples_are_not() -> None:
    trained, unseen, new = points(300), points(300, seed=1), points(2000, seed=2)
    assert copies(trained + 1e-4, trained, unseen) == 1.0
    assert copies(new, trained, unseen) < 0.03
    assert copies(torch.cat([trained[:50], new[:50] + 30]), trained, unseen) == 0.5


def test_the_nearest_is_found_across_chunks() -> None:
    samples, known = points(5000, 2), points(7, 2, seed=1)
    torch.testing.assert_close(nearest(samples, known), torch.cdist(samples, known).amin(1))


def test_sets_that_cannot_be_judged_are_refused() -> None:
    with pytest.raises(InvalidValue, match="each set needs two at least"):
        frechet_distance(points(1), points(5))
    with pytest.raises(InvalidValue, match="3 real examples have no 5 neighbours"):
        overlap(points(3), points(5))
    with pytest.raises(InvalidValue, match="no sample to judge"):
        copies(points(0), points(5), points(5))
