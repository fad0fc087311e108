from math import factorial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.synapses import Synapse
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train as train_recipe
from neurarium.systems.neuro.synapse import convolve, kernel, postsynaptic, scale_of, summed, train


@pytest.mark.parametrize("n", [0, 1, 2, 7, 40])
def test_the_filters_area_is_1_and_its_k_the_notes(n: int) -> None:
    tau = 0.005
    time = torch.linspace(0, (n + 40) * tau, 400_001, dtype=torch.float64)
    assert torch.trapezoid(postsynaptic(time, n=n, tau=tau), time).item() == pytest.approx(1, abs=1e-6)
    assert scale_of(n, tau) == pytest.approx(1 / (factorial(n) * tau ** (n + 1)), rel=1e-9)
    assert postsynaptic(time, n=n, tau=tau, scale="peak").max().item() == pytest.approx(1, abs=1e-6)
    assert (0.001 * kernel(n=n, tau=tau).sum()).item() == pytest.approx(1, abs=1e-6)


@given(
    n=st.integers(0, 6),
    tau=st.floats(0.001, 0.03),
    dt=st.sampled_from([0.0005, 0.001, 0.004]),
    method=st.sampled_from(["fft", "direct"]),
    seed=st.integers(0, 100),
)
@settings(deadline=None, max_examples=25)
def test_convolution_is_the_differential_equations(n: int, tau: float, dt: float, method: str, seed: int) -> None:
    signal = torch.randn(2, 80, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    convolved = convolve(signal, kernel(n=n, tau=tau, dt=dt), dt=dt, method=method)  # type: ignore[arg-type]
    torch.testing.assert_close(convolved, Synapse(n=n, tau=tau, dt=dt)(signal), rtol=0, atol=1e-6)


def test_convolution_is_numpys_and_its_gradient_is_right() -> None:
    signal, filter = torch.randn(1, 40, 1, dtype=torch.float64), kernel(n=2, tau=0.003)
    expected = 0.001 * np.convolve(signal[0, :, 0].numpy(), filter.numpy())[:40]
    for method in ("fft", "direct"):
        ours = convolve(signal, filter, dt=0.001, method=method)
        assert ours[0, :, 0].numpy() == pytest.approx(expected, abs=1e-10)
    short = signal[:, :8].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: convolve(given, filter, dt=0.001), short)


@pytest.mark.parametrize("n", [1, 3])
def test_short_steps_come_close_to_the_sum_over_exact_times(n: int) -> None:
    times = torch.tensor([0.0031, 0.0107, 0.0112, 0.0402], dtype=torch.float64)
    worst = []
    for dt in (0.0004, 0.0001):
        steps = round(0.08 / dt)
        current = convolve(train(times, steps=steps, dt=dt) / dt, kernel(n=n, dt=dt), dt=dt)[0, :, 0]
        exact = summed(times, dt * torch.arange(1, steps + 1, dtype=torch.float64), n=n)
        worst.append(float((current - exact).abs().max() / exact.max()))
    assert worst[1] < worst[0] / 2
    assert worst[1] < 0.03


def test_the_current_is_the_sum_of_its_spikes_and_none_is_before_them() -> None:
    times = torch.tensor([0.01, 0.03], dtype=torch.float64)
    at = torch.linspace(0, 0.1, 101, dtype=torch.float64)
    both = summed(times, at, n=2)
    torch.testing.assert_close(both, summed(times[:1], at, n=2) + summed(times[1:], at, n=2))
    assert both[at < 0.01].abs().max() == 0
    assert train(times, steps=100, dt=0.001).sum() == 2


@pytest.mark.parametrize(
    ("signal", "options", "message"),
    [
        (torch.zeros(1, 0, 2), {}, r"the signal is \(1, 0, 2\): empty"),
        (torch.full((1, 3, 2), torch.nan), {}, "the signal is NaN or infinite somewhere"),
        (torch.zeros(1, 3, 2), dict(dt=0.0), "dt is 0.0 s, but must be positive"),
        (torch.zeros(1, 3, 2), dict(method="ftt"), "method is 'ftt'; did you mean 'fft'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_unusable_signals_are_refused(signal: Tensor, options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        convolve(signal, kernel().float(), **{"dt": 0.001, **options})  # type: ignore[arg-type]


@pytest.mark.usefixtures("unchecked")
def test_impossible_filters_and_trains_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="n is -1, but must be at least 0"):
        kernel(n=-1)
    with pytest.raises(InvalidValue, match="steps is 0, but must be at least 1"):
        kernel(steps=0)
    with pytest.raises(InvalidValue, match="scale is 'peek'; did you mean 'peak'"):
        scale_of(1, 0.005, "peek")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match=r"a spike lies outside the 4 steps, which end at 0.004 s"):
        train(torch.tensor([0.004]), steps=4, dt=0.001)
    with pytest.raises(InvalidValue, match=r"rate is 0.0 Hz, but must be positive"):
        train_recipe(find("synapse"), dict(rate=0.0), Settings(device="cpu"), out=tmp_path)
