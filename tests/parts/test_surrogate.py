from math import pi

import pytest
import torch
from torch import Tensor

from neurarium.parts.surrogate import STEEPNESS, Slope, arctan, fast_sigmoid, spike


def below_fast_sigmoid(x: Tensor) -> Tensor:
    return x / (1 + STEEPNESS * x.abs())


def below_arctan(x: Tensor) -> Tensor:
    return (pi * x).arctan() / pi


@pytest.mark.parametrize("slope", [fast_sigmoid, arctan])
def test_forward_is_a_step_and_backward_the_slope_times_what_came(slope: Slope) -> None:
    x = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    fired = spike(x, slope)
    assert torch.equal(fired, (x > 0).double())
    came = torch.randn(41, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(fired, x, came)
    torch.testing.assert_close(gradient, came * slope(x.detach()))


@pytest.mark.parametrize(("slope", "below"), [(fast_sigmoid, below_fast_sigmoid), (arctan, below_arctan)])
def test_a_slope_is_the_derivative_of_its_curve(slope: Slope, below: Slope) -> None:
    x = torch.linspace(-1.95, 2, 40, dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(below(x).sum(), x)
    torch.testing.assert_close(slope(x.detach()), derivative)
