"""Numbers at each place: torch's own losses, unreduced."""

import pytest
import torch
from torch.nn.functional import mse_loss

from neurarium.errors import InvalidValue
from neurarium.parts.places import squared_errors


def test_the_mean_is_torchs_mean_squared_error() -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(7, 2, requires_grad=True), torch.randn(7, 2)
    torch.testing.assert_close(squared_errors(outputs, targets).mean(), mse_loss(outputs, targets))
    [ours] = torch.autograd.grad(squared_errors(outputs, targets).mean(), outputs)
    [theirs] = torch.autograd.grad(mse_loss(outputs, targets), outputs)
    torch.testing.assert_close(ours, theirs)


def test_shapes_that_differ_are_not_stretched(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match=r"the outputs are \(3, 2\), the targets \(3, 1\); make them agree"):
        squared_errors(torch.zeros(3, 2), torch.zeros(3, 1))
