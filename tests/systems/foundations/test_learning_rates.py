from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from neurarium.errors import InvalidValue, NeurariumError
from neurarium.parts.schedules import constant, inverse_time, stepwise
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.foundations.learning_rates import Bowl, expected_heights, lowest, noise_floor, rates, walk


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_walkers_end_where_the_recursion_says_under_any_schedule() -> None:
    bowl = Bowl(curvature=2.0, noise=0.7, start=3.0)
    table = rates([(0.4, constant), (0.4, stepwise()), (0.4, inverse_time(end=0.05))], steps=80)
    walks = walk(table, bowl, walkers=20_000, generator=seeded(0))
    # The square of a normal number has a standard deviation of √2 times its mean: 5 of them are 5%.
    torch.testing.assert_close(walks.heights, expected_heights(table, bowl), rtol=0.05, atol=0)


def test_a_step_is_that_of_torchs_gradient_descent() -> None:
    bowl, table = Bowl(curvature=2.0, noise=0.7, start=3.0), rates([(0.4, inverse_time())], steps=20)
    [one] = walk(table, bowl, walkers=1, generator=seeded(1)).one
    generator = seeded(1)
    weight = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    sgd = torch.optim.SGD([weight], lr=1.0)
    for step, rate in enumerate(table[0]):
        noise = torch.randn(1, generator=generator, dtype=torch.float64)
        sgd.param_groups[0]["lr"] = float(rate)
        sgd.zero_grad()
        (0.5 * 2.0 * weight.square() + 0.7 * noise * weight).sum().backward()
        sgd.step()
        assert float(one[step + 1]) == pytest.approx(weight.item(), rel=1e-12, abs=1e-12)


@given(curvature=st.floats(0.1, 5), part=st.floats(0.05, 1.9), noise=st.floats(0.1, 3))
def test_a_constant_rate_comes_to_its_floor_and_a_smaller_one_has_a_lower_floor(
    curvature: float, part: float, noise: float
) -> None:
    bowl, rate = Bowl(curvature=curvature, noise=noise), part / curvature
    heights = expected_heights(torch.full((1, 400), rate, dtype=torch.float64), bowl)
    assert float(heights[0, -1]) == pytest.approx(noise_floor(rate, bowl), rel=1e-6)
    assert noise_floor(rate / 10, bowl) < noise_floor(rate, bowl) / 10 * 1.0001


@given(curvature=st.floats(0.1, 5), noise=st.floats(0.1, 3), steps=st.integers(1, 200))
def test_one_over_t_averages_the_noise(curvature: float, noise: float, steps: int) -> None:
    # With α = 1/(λ t) the weight is the mean of all the noise so far, whose variance is σ²/(λ² t).
    table = 1 / (curvature * torch.arange(1, steps + 1, dtype=torch.float64)).unsqueeze(0)
    bowl = Bowl(curvature=curvature, noise=noise)
    assert float(expected_heights(table, bowl)[0, -1]) == pytest.approx(noise**2 / (2 * curvature * steps), rel=1e-9)


def test_without_noise_there_is_no_floor() -> None:
    bowl, table = Bowl(noise=0.0), rates([(0.5, constant)], steps=100)
    assert noise_floor(0.5, bowl) == 0
    walks = walk(table, bowl, walkers=2, generator=seeded(0))
    torch.testing.assert_close(walks.heights, expected_heights(table, bowl))
    assert float(walks.heights[0, -1]) < 1e-50


def test_the_lowest_point_is_that_of_ridge_regression() -> None:
    inputs = torch.randn(40, 3, generator=seeded(0), dtype=torch.float64)
    targets = inputs @ torch.tensor([1.0, -2.0, 0.5]).double() + torch.randn(40, generator=seeded(1)).double()
    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    lowest(lambda: (inputs @ weight - targets).square().sum() + 0.3 * weight.square().sum(), [weight])
    ridge = Ridge(alpha=0.3, fit_intercept=False).fit(inputs.numpy(), targets.numpy())
    torch.testing.assert_close(weight.detach(), torch.from_numpy(ridge.coef_), rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_unusable_numbers_are_refused() -> None:
    table = torch.full((1, 3), 0.5)
    with pytest.raises(InvalidValue, match="steps is 0, but must be at least 1"):
        rates([(0.1, constant)], steps=0)
    with pytest.raises(InvalidValue, match="there is no schedule; give at least one"):
        rates([], steps=3)
    for rate in (0.0, 2.0, float("nan")):
        with pytest.raises(InvalidValue, match=f"the rate is {rate}; on this bowl it must be above 0 and below"):
            noise_floor(rate, Bowl())
    for given_rates, bowl, message in (
        (table, Bowl(curvature=0.0), r"the curvature is 0\.0, but a bowl's is positive"),
        (table, Bowl(noise=-1.0), r"the noise is -1\.0, but must be 0 or more"),
        (-table, Bowl(), "some rates are negative, NaN or infinite"),
    ):
        with pytest.raises(InvalidValue, match=message):
            expected_heights(given_rates, bowl)
        with pytest.raises(InvalidValue, match=message):
            walk(given_rates, bowl, walkers=1, generator=seeded(0))
    with pytest.raises(InvalidValue, match="walkers is 0"):
        walk(table, Bowl(), walkers=0, generator=seeded(0))
    with pytest.raises(InvalidValue, match="there are no parameters to move"):
        lowest(lambda: torch.zeros(()), [])
    with pytest.raises(InvalidValue, match="the error is nan before the first step"):
        lowest(lambda: torch.tensor(torch.nan), [torch.zeros(1, requires_grad=True)])


def test_nothing_is_gained_when_the_schedules_do_not_fall(tmp_path: Path) -> None:
    options = dict(steps=20, data="iris", decay=False)
    control = train(find("learning_rates"), options, Settings(device="cpu"), out=tmp_path)
    assert control.result["measures"]["decay_gain"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [(dict(strength=-0.1), r"strength is -0\.1, but must be 0 or more"), (dict(batch=0), "the batch size is 0")],
)
def test_the_recipe_refuses_impossible_options(tmp_path: Path, options: dict[str, float], message: str) -> None:
    with pytest.raises(NeurariumError, match=message):
        train(find("learning_rates"), options, Settings(device="cpu"), out=tmp_path)
