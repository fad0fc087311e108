from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.diffusion import SCHEDULES, Diffusion, Target, cosine_betas, guided, linear_betas

TARGETS: list[Target] = ["noise", "data", "velocity"]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", SCHEDULES)
@given(steps=st.integers(2, 1200))
def test_a_schedule_begins_with_the_data_and_ends_with_noise(name: str, steps: int) -> None:
    betas = SCHEDULES[name](steps)
    kept = (1 - betas).cumprod(0)
    assert bool((kept.diff() < 0).all())
    assert float(kept[-1]) < 0.06
    if steps >= 100:
        assert float(kept[0]) > 0.99


def test_schedules_are_the_published_ones() -> None:
    torch.testing.assert_close(linear_betas(1000), torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
    kept = (1 - cosine_betas(1000)).cumprod(0)
    places = (torch.arange(1, 1000, dtype=torch.float64) / 1000 + 0.008) / 1.008 * torch.pi / 2
    start = torch.cos(torch.tensor(0.008 / 1.008 * torch.pi / 2, dtype=torch.float64)) ** 2
    torch.testing.assert_close(kept[:-1], places.cos() ** 2 / start)


def test_the_closed_form_is_the_chain_of_steps() -> None:
    """Step by step, the mean and variance of q(x_t | x_0) come to what `mix` says at once."""
    betas = linear_betas(50)
    mean, variance = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    process = Diffusion(betas)
    for step, beta in enumerate(betas):
        mean, variance = (1 - beta).sqrt() * mean, (1 - beta) * variance + beta
        ones, zeros = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
        place = torch.tensor([step])
        torch.testing.assert_close(process.mix(ones, place, zeros).mixed[0, 0], mean)
        torch.testing.assert_close(process.mix(zeros, place, ones).mixed[0, 0] ** 2, variance)


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_mixed_is_read_back(target: Target) -> None:
    process = Diffusion(cosine_betas(40), target=target, clip=None)
    data, noise, step = drawn(40, 3), drawn(40, 3, seed=1), torch.arange(40)
    mixed, _ = process.mix(data, step, noise)
    found, found_noise = process.read(process.wanted(data, step, noise), mixed, step)
    torch.testing.assert_close(found[:-1], data[:-1])
    torch.testing.assert_close(found_noise, noise)


def told_by(process: Diffusion, data: Tensor, mixed: Tensor, step: Tensor) -> Tensor:
    """A network that knows the data."""
    kept = process.kept[step].view(-1, 1)
    noise = (mixed - kept.sqrt() * data) / (1 - kept).sqrt()
    return process.wanted(data, step, noise)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("steps", "eta"), [(None, 1.0), (7, 0.0), (1, 0.0), (12, 0.5)])
def test_a_network_that_knows_the_data_samples_it(target: Target, steps: int | None, eta: float) -> None:
    process = Diffusion(linear_betas(40), target=target, clip=None)
    data = drawn(5, 3)
    *_, last = process.denoise(partial(told_by, process, data), drawn(5, 3, seed=2), steps=steps, eta=eta)
    torch.testing.assert_close(last, data)


def test_a_full_ancestral_step_is_the_posterior() -> None:
    """Mean and spread of one step with η = 1 are those of q(x_{t−1} | x_t, x_0), eq. 7."""
    betas = linear_betas(30)
    process, kept = Diffusion(betas, clip=None), (1 - betas).cumprod(0)
    data, mixed = torch.full((20000, 1), 0.7, dtype=torch.float64), torch.full((20000, 1), -0.3, dtype=torch.float64)
    walk = process.denoise(partial(told_by, process, data), mixed, eta=1.0, generator=torch.Generator().manual_seed(0))
    after, now, before = next(walk), 29, 28
    beta = betas[now]
    mean = (
        kept[before].sqrt() * beta / (1 - kept[now]) * 0.7
        + (1 - beta).sqrt() * (1 - kept[before]) / (1 - kept[now]) * -0.3
    )
    variance = (1 - kept[before]) / (1 - kept[now]) * beta
    assert float(after.mean()) == pytest.approx(float(mean), abs=3 * float((variance / 20000).sqrt()))
    assert float(after.var()) == pytest.approx(float(variance), rel=0.05)


def test_without_fresh_noise_sampling_is_certain_and_with_it_it_is_not() -> None:
    process = Diffusion(linear_betas(20))

    def network(mixed: Tensor, step: Tensor) -> Tensor:
        return 0.5 * mixed

    runs = [
        list(process.denoise(network, drawn(2, 3), steps=5, eta=eta, generator=torch.Generator().manual_seed(seed)))
        for eta, seed in ((0.0, 0), (0.0, 1), (1.0, 0), (1.0, 1))
    ]
    assert torch.equal(runs[0][-1], runs[1][-1])
    assert not torch.equal(runs[2][0], runs[3][0])
    assert len(runs[0]) == 5


@given(steps=st.integers(1, 60), count=st.integers(1, 60))
def test_a_path_goes_down_from_the_last_step(steps: int, count: int) -> None:
    process = Diffusion(linear_betas(steps))
    if count > steps:
        with pytest.raises(InvalidValue, match=f"from 1 to the {steps} that were trained"):
            process.path(count)
        return
    path = process.path(count)
    assert len(path) == count
    assert path[0] == steps - 1
    assert path == sorted(set(path), reverse=True)
    assert count == 1 or path[-1] == 0


def test_guidance_at_1_and_0() -> None:
    one, other = drawn(4), drawn(4, seed=1)
    torch.testing.assert_close(guided(one, other, 1.0), one)
    torch.testing.assert_close(guided(one, other, 0.0), other)


@pytest.mark.usefixtures("unchecked")
def test_bad_values_are_told() -> None:
    with pytest.raises(InvalidValue, match="the process has 0 steps"):
        linear_betas(0)
    with pytest.raises(InvalidValue, match="target is 'score'"):
        Diffusion(linear_betas(5), target="score")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="eta is 2"):
        next(Diffusion(linear_betas(5)).denoise(lambda mixed, step: mixed, drawn(1, 1), eta=2.0))
