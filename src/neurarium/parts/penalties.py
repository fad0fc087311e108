"""Penalties: how large the weights are, as a scalar to add to a loss, so that learning prefers small ones.

A penalty with the factor λ is the loss's share of saying beforehand that weights lie near 0: the squares come from a
Gaussian around it, the absolute values from a Laplace distribution, whose sharp top sets many weights to exactly 0.

Source: CSE 151B, Dealing with Overfitting (regularization: L2, L1); Krogh & Hertz 1992, A simple weight decay can
improve generalization, eq. 1 (squares); Tibshirani 1996, Regression shrinkage and selection via the lasso, §1
(absolute values).
Differs: no factor ½ inside `l2`, so that both are plain sums; a source that has it halves its λ.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import require


def l2(parameters: Iterable[Tensor]) -> Float[Tensor, ""]:
    """The sum of the squares of all weights; the gradient is 2w.

    Args:
        parameters: tensors of any shapes, those alone that shall be small (biases are usually left free).

    Returns:
        A scalar through which gradients flow.

    Raises:
        InvalidValue: there are no parameters.

    >>> weights = torch.tensor([[1.0, -2.0]], requires_grad=True)
    >>> penalty = l2([weights, torch.tensor([3.0])])
    >>> penalty.backward()
    >>> penalty.item(), weights.grad.tolist()
    (14.0, [[2.0, -4.0]])
    """
    # Σ w²
    return _total(parameters, torch.square)


def l1(parameters: Iterable[Tensor]) -> Float[Tensor, ""]:
    """The sum of the absolute values of all weights; the gradient is the sign, and 0 at 0.

    Args:
        parameters: tensors of any shapes, those alone that shall be small (biases are usually left free).

    Returns:
        A scalar through which gradients flow.

    Raises:
        InvalidValue: there are no parameters.

    >>> weights = torch.tensor([[1.0, -2.0, 0.0]], requires_grad=True)
    >>> penalty = l1([weights, torch.tensor([3.0])])
    >>> penalty.backward()
    >>> penalty.item(), weights.grad.tolist()
    (6.0, [[1.0, -1.0, 0.0]])
    """
    # Σ |w|
    return _total(parameters, torch.abs)


def _total(parameters: Iterable[Tensor], size: Callable[[Tensor], Tensor]) -> Float[Tensor, ""]:
    sums = [size(parameter).sum() for parameter in parameters]
    require(bool(sums), "there are no parameters to penalise; give at least one tensor")
    return torch.stack(sums).sum()
