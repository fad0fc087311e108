import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.errors import InvalidValue
from neurarium.parts.activations import gelu, softmax
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.foundations.activations import ACTIVATIONS, drawn_gelu, logistic_slope, softmax_jacobian


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_slope_is_that_of_autograd(name: str) -> None:
    net = torch.linspace(-9, 9, 181, dtype=torch.float64).requires_grad_()
    value = ACTIVATIONS[name].value(net)
    slope = ACTIVATIONS[name].slope(net.detach())
    if not value.requires_grad:
        assert not slope.any()
        return
    torch.testing.assert_close(slope, torch.autograd.grad(value.sum(), net)[0], rtol=1e-9, atol=1e-12)


@given(net=st.floats(-50, 50))
def test_the_logistic_slope_is_at_most_a_quarter(net: float) -> None:
    assert 0 < float(logistic_slope(torch.tensor([net], dtype=torch.float64))) <= 0.25


@given(seed=st.integers(0, 1000), temperature=st.floats(0.1, 10))
def test_the_jacobian_of_softmax_is_that_of_autograd(seed: int, temperature: float) -> None:
    net = torch.randn(5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ours = softmax_jacobian(net, temperature=temperature)
    theirs = torch.autograd.functional.jacobian(lambda x: softmax(x, temperature=temperature), net)
    torch.testing.assert_close(ours, theirs)


def test_gelu_is_the_mean_of_x_times_m() -> None:
    net = torch.linspace(-3, 3, 25, dtype=torch.float64)
    mean, error = drawn_gelu(net, samples=200_000, generator=torch.Generator().manual_seed(0))
    assert ((mean - gelu(net)).abs() <= 4 * error).all()
    # The slow way: a normal number for every draw, m = 1 where it lies below x.
    normal = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close((net * (normal < net)).mean(0), gelu(net), rtol=0, atol=0.01)


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_drawn_is_refused() -> None:
    generator = torch.Generator()
    with pytest.raises(InvalidValue, match="samples is 0; a mean needs at least 1"):
        drawn_gelu(torch.zeros(1), samples=0, generator=generator)
    with pytest.raises(InvalidValue, match="NaN or infinite, so nothing can be drawn; every value must be finite"):
        drawn_gelu(torch.tensor([torch.nan]), samples=1, generator=generator)
    with pytest.raises(InvalidValue, match=r"span is -1\.0, but must be positive"):
        train(find("activations"), {"span": -1.0}, Settings())


def test_the_recipe_measures_what_it_says() -> None:
    measures = train(find("activations"), {"samples": 2_000}, Settings(threads=1)).result["measures"]
    assert measures["slope_gap"] < 1e-12
    assert measures["scaled_tanh_gap"] < 1e-5
    assert measures["gelu_gap"] < 0.05
    assert measures["largest_logistic_slope"] == 0.25
