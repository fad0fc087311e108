import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.errors import InvalidValue
from neurarium.parts.tuning import current_for, random_tuning, rate, solve_tuning


def test_the_rate_is_nengos_and_0_up_to_the_threshold() -> None:
    nengo = pytest.importorskip("nengo")
    current = torch.linspace(-2, 20, 500, dtype=torch.float64)
    peer = nengo.LIFRate().rates(current.numpy(), gain=np.ones(1), bias=np.zeros(1))
    assert rate(current).numpy() == pytest.approx(peer.reshape(-1), abs=1e-9)
    assert rate(current[current <= 1]).abs().max() == 0


@given(
    hertz=st.floats(20.0, 190.0),
    tau_membrane=st.sampled_from([0.01, 0.02, 0.05]),
    tau_refractory=st.sampled_from([0.001, 0.002, 0.005]),
)
def test_the_current_for_a_rate_is_the_inverse_of_the_rate(
    hertz: float, tau_membrane: float, tau_refractory: float
) -> None:
    times = dict(tau_membrane=tau_membrane, tau_refractory=tau_refractory)
    wanted = torch.tensor([hertz], dtype=torch.float64)
    torch.testing.assert_close(rate(current_for(wanted, **times), **times), wanted, rtol=1e-9, atol=0)


def test_gain_and_bias_are_nengos() -> None:
    nengo = pytest.importorskip("nengo")
    generator = torch.Generator().manual_seed(0)
    rates = 100 + 300 * torch.rand(40, generator=generator, dtype=torch.float64)
    intercepts = -1 + 1.9 * torch.rand(40, generator=generator, dtype=torch.float64)
    ours = solve_tuning(torch.ones(40, 1, dtype=torch.float64), rates, intercepts)
    gain, bias = nengo.LIF().gain_bias(rates.numpy(), intercepts.numpy())
    assert ours.gain.numpy() == pytest.approx(gain)
    assert ours.bias.numpy() == pytest.approx(bias)


def test_a_random_population_starts_at_its_intercepts_and_ends_within_its_rates() -> None:
    tuning = random_tuning(
        300, 3, generator=torch.Generator().manual_seed(1), max_rates=(50, 90), intercepts=(-0.5, 0.5)
    )
    at_encoder = rate(tuning.current(tuning.encoders)).diagonal()
    assert 50 <= at_encoder.min() < 52
    assert 88 < at_encoder.max() <= 90.01
    starts = (1 - tuning.bias) / tuning.gain
    assert -0.5 <= starts.min() < -0.48
    assert 0.48 < starts.max() <= 0.5001
    torch.testing.assert_close(tuning.encoders.norm(dim=1), torch.ones(300))


def test_other_generators_give_other_populations() -> None:
    one, other = (random_tuning(5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert not torch.equal(one.gain, other.gain)


def test_impossible_tuning_is_refused() -> None:
    generator = torch.Generator()
    with pytest.raises(
        InvalidValue, match=r"rates reach from 600 to 600 Hz, but they must lie between 0 and 1/τref = 500"
    ):
        current_for(torch.tensor([600.0]))
    with pytest.raises(InvalidValue, match="must lie between 0 and"):
        current_for(torch.tensor([0.0, 10.0]))
    with pytest.raises(InvalidValue, match="an intercept is 1, but a neuron must begin to fire before 1"):
        solve_tuning(torch.ones(1, 1), torch.tensor([100.0]), torch.tensor([1.0]))
    with pytest.raises(InvalidValue, match="neurons is 0"):
        random_tuning(0, generator=generator)
    with pytest.raises(InvalidValue, match="dimensions is 0"):
        random_tuning(2, 0, generator=generator)
    with pytest.raises(InvalidValue, match=r"tau_membrane is 0\.0 s, but must be positive"):
        rate(torch.ones(1), tau_membrane=0.0)
