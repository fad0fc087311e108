import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.decoders import draw_values, solve_decoders, tabulate
from neurarium.parts.tuning import random_tuning, rate


def activities(neurons: int = 40, examples: int = 200, *, seed: int = 0, dimensions: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values = draw_values(examples, dimensions, generator=generator)
    tuning = random_tuning(neurons, dimensions, generator=generator)
    return rate(tuning.current(values)).double(), values.double()


@pytest.mark.parametrize("noise", [0.1, 0.01])
@pytest.mark.parametrize("dimensions", [1, 3])
def test_decoders_are_nengos_for_the_same_activities(noise: float, dimensions: int) -> None:
    nengo = pytest.importorskip("nengo")
    rates, values = activities(dimensions=dimensions)
    peer, _ = nengo.solvers.LstsqL2(reg=noise)(rates.numpy(), values.numpy(), rng=np.random.RandomState(0))
    torch.testing.assert_close(
        solve_decoders(rates, values, noise=noise), torch.from_numpy(peer), rtol=1e-7, atol=1e-12
    )


@given(seed=st.integers(0, 100), noise=st.floats(0.01, 0.5))
def test_at_the_decoders_the_gradient_of_the_objective_is_0(seed: int, noise: float) -> None:
    rates, values = activities(10, 50, seed=seed)
    decoders = solve_decoders(rates, values, noise=noise).requires_grad_()
    sigma = noise * float(rates.max())
    objective = (rates @ decoders - values).square().sum() + len(rates) * sigma**2 * decoders.square().sum()
    objective.backward()
    assert decoders.grad is not None
    assert decoders.grad.abs().max() < 1e-7 * (2 * rates.T @ values).abs().max()


def test_the_noise_term_is_what_really_noisy_rates_cost() -> None:
    rates, values = activities(examples=400)
    decoders = solve_decoders(rates, values, noise=0.1)
    sigma = 0.1 * float(rates.max())
    chance = torch.randn(200, *rates.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noisy = ((rates + sigma * chance) @ decoders - values).square().mean()
    expected = (rates @ decoders - values).square().mean() + sigma**2 * decoders.square().sum()
    assert float(noisy / expected) == pytest.approx(1, abs=0.02)


def test_without_noise_the_smallest_of_the_best_decoders_are_found() -> None:
    rates, values = activities(60, 30)
    twice = torch.cat([rates, rates, torch.zeros(30, 1)], dim=1)
    decoders = solve_decoders(twice, values, noise=0.0)
    torch.testing.assert_close(decoders, torch.from_numpy(np.linalg.pinv(twice.numpy(), rcond=1e-15)) @ values)
    torch.testing.assert_close(twice @ decoders, values)
    assert decoders[-1] == 0


def test_a_silent_neuron_gets_0_and_changes_nothing() -> None:
    rates, values = activities()
    with_silent = torch.cat([rates, torch.zeros(len(rates), 2)], dim=1)
    decoders = solve_decoders(with_silent, values)
    assert decoders[-2:].abs().max() == 0
    torch.testing.assert_close(decoders[:-2], solve_decoders(rates, values))


@pytest.mark.parametrize(
    ("rates", "targets", "options", "message"),
    [
        (
            torch.zeros(5, 3),
            torch.ones(5, 1),
            {},
            "all 3 neurons are silent in all 5 examples, so nothing can be decoded",
        ),
        (
            torch.ones(5, 3),
            torch.ones(4, 1),
            {},
            r"activities are \(5, 3\) and the targets \(4, 1\), but must have a row",
        ),
        (torch.ones(0, 3), torch.ones(0, 1), {}, "empty; give at least one example"),
        (torch.ones(5), torch.ones(5, 1), {}, r"must be \(examples, neurons\) and \(examples, values\)"),
        (torch.full((5, 3), torch.nan), torch.ones(5, 1), {}, "the activities are NaN or infinite"),
        (torch.ones(5, 3), torch.full((5, 1), torch.inf), {}, "the targets are NaN or infinite"),
        (torch.ones(5, 3), torch.ones(5, 1), dict(noise=-0.1), "noise is -0.1, but must be 0 or more"),
        (torch.ones(5, 3), torch.ones(5, 1), dict(noise=math.nan), "noise is nan, but must be 0 or more"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_decoded_is_refused(
    rates: Tensor, targets: Tensor, options: dict[str, float], message: str
) -> None:
    with pytest.raises(InvalidValue, match=message):
        solve_decoders(rates, targets, **options)


def test_any_python_function_of_one_value_is_tabulated() -> None:
    values = torch.tensor([[0.5, -1.0], [0.25, 2.0]])
    branching = tabulate(lambda y: math.sin(y[0]) if y[1] < 0 else y[1] * 2, values)
    torch.testing.assert_close(branching, torch.tensor([[math.sin(0.5)], [4.0]]))
    assert torch.equal(tabulate(lambda y: y * 2, values), 2 * values)
    assert torch.equal(tabulate(lambda y: np.array([1, 2, 3]), values), torch.tensor([[1.0, 2, 3], [1, 2, 3]]))


def test_a_function_that_writes_into_its_value_spoils_nothing() -> None:
    values = torch.ones(2, 1)
    tabulate(lambda y: y.mul_(3), values)
    assert torch.equal(values, torch.ones(2, 1))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda y: "three", r"the function at \(0.5\) gives 'three', but must give a number"),
        (lambda y: None, r"gives None, but must give a number"),
        (lambda y: [1.0] if y[0] > 0 else [1.0, 2.0], r"at \(-0.5\) gives \(1, 2\), but elsewhere 1 numbers"),
        (lambda y: math.inf, r"at \(0.5\) gives \(inf\), but every number must be finite"),
    ],
)
def test_an_unusable_function_is_refused(function: object, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        tabulate(function, torch.tensor([[0.5], [-0.5]]))  # type: ignore[arg-type]


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_values_fill_the_ball_evenly(dimensions: int) -> None:
    values = draw_values(20_000, dimensions, generator=torch.Generator().manual_seed(0))
    length = values.norm(dim=1)
    assert length.max() <= 1
    assert float((length < 0.8).float().mean()) == pytest.approx(0.8**dimensions, abs=0.02)
    assert values.mean(0).abs().max() < 0.02


def test_no_values_are_refused() -> None:
    with pytest.raises(InvalidValue, match="0 values are asked for, but it must be at least 1"):
        draw_values(0, 1, generator=torch.Generator())
    with pytest.raises(InvalidValue, match="dimensions is 0"):
        draw_values(1, 0, generator=torch.Generator())
    with pytest.raises(InvalidValue, match="there are no values"):
        tabulate(lambda y: y, torch.ones(0, 1))
