from collections.abc import Callable
from math import atan, erfc, exp, isclose, log1p, sqrt
from math import tanh as exact_tanh

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from neurarium.errors import InvalidValue
from neurarium.parts import activations
from neurarium.parts.activations import argmax, gelu, scaled_tanh, softmax, softplus

Curve = Callable[[Tensor], Tensor]

BY_THE_BOOK: dict[str, Callable[[float], float]] = {
    "logistic": lambda x: 1 / (1 + exp(-x)),
    "arctan": atan,
    "tanh": exact_tanh,
    "scaled_tanh": lambda x: 1.7159 * exact_tanh(2 * x / 3),
    "threshold": lambda x: 1.0 if x >= 0 else 0.0,
    "relu": lambda x: max(0.0, x),
    "softplus": lambda x: max(0.0, x) + log1p(exp(-abs(x))),
    "gelu": lambda x: x * erfc(-x / sqrt(2)) / 2,
}

PEERS: dict[str, Curve] = {
    "logistic": torch.sigmoid,
    "arctan": torch.arctan,
    "tanh": torch.tanh,
    "relu": functional.relu,
    "softplus": lambda x: functional.softplus(x, threshold=1000.0),
    "gelu": functional.gelu,
}


@pytest.mark.parametrize("name", BY_THE_BOOK)
@given(net=st.floats(-30, 30))
def test_each_value_is_that_of_its_equation(name: str, net: float) -> None:
    ours = float(getattr(activations, name)(torch.tensor([net], dtype=torch.float64)))
    assert isclose(ours, BY_THE_BOOK[name](net), rel_tol=1e-9, abs_tol=1e-300)


@pytest.mark.parametrize("name", PEERS)
def test_values_and_slopes_are_those_of_torch(name: str) -> None:
    results = []
    for curve in (getattr(activations, name), PEERS[name]):
        net = torch.linspace(-20, 20, 401, dtype=torch.float64, requires_grad=True)
        value = curve(net)
        results.append((value, torch.autograd.grad(value.sum(), net)[0]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-12)


def test_the_scaled_tanh_goes_through_one_and_minus_one() -> None:
    ends = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(scaled_tanh(ends), ends, rtol=0, atol=1e-5)


def test_extreme_inputs_give_finite_values_and_slopes() -> None:
    for name in BY_THE_BOOK:
        net = torch.tensor([-1e4, 1e4], requires_grad=True)
        value = getattr(activations, name)(net)
        assert value.isfinite().all(), name
        if value.requires_grad:
            assert torch.autograd.grad(value.sum(), net)[0].isfinite().all(), name


def test_the_lower_tails_keep_their_digits() -> None:
    deep = torch.tensor([-30.0], dtype=torch.float64)
    assert isclose(float(softplus(deep)), exp(-30), rel_tol=1e-9)
    assert isclose(float(gelu(deep)), -30 * erfc(30 / sqrt(2)) / 2, rel_tol=1e-9)


@given(seed=st.integers(0, 1000), temperature=st.floats(0.05, 20), shift=st.floats(-1e3, 1e3))
def test_softmax_is_torchs_sums_to_one_and_ignores_a_shift(seed: int, temperature: float, shift: float) -> None:
    net = torch.randn(3, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()
    ours, theirs = softmax(net, temperature=temperature), torch.softmax(net / temperature, dim=-1)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(ours.sum(-1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(softmax(net + shift, temperature=temperature), ours, rtol=1e-6, atol=1e-9)
    upstream = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(3, 5)
    [mine], [peer] = (torch.autograd.grad(outputs, net, upstream) for outputs in (ours, theirs))
    torch.testing.assert_close(mine, peer)


def test_softmax_over_another_dimension_and_of_huge_inputs() -> None:
    net = torch.tensor([[1e4, 0.0], [1e4, 1.0]])
    torch.testing.assert_close(softmax(net, dim=0), torch.softmax(net, dim=0))


@given(seed=st.integers(0, 1000))
def test_argmax_is_the_coldest_softmax(seed: int) -> None:
    net = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert torch.equal(argmax(net), functional.one_hot(net.argmax(-1), 6).double())
    assert torch.equal(softmax(net, temperature=1e-7).round(), argmax(net))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(InvalidValue, match="but must be positive; at 0 take argmax"):
        softmax(torch.zeros(3), temperature=temperature)
