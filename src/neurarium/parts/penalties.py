"""Penalties: how large the weights are, as a scalar to add to a loss, so that learning prefers small ones.

A penalty with the factor λ is the loss's share of saying beforehand that weights lie near 0: the squares come from a
Gaussian around it, the absolute values from a Laplace distribution, whose sharp top sets many weights to exactly 0.
Weight elimination is a penalty that a weight can get away from: it saturates, so that a large weight costs no more than
a middling one, and what is small is driven out.

Source: CSE 151B, Dealing with Overfitting (regularization: L2, L1); Krogh & Hertz 1992, A simple weight decay can
improve generalization, eq. 1 (squares); Tibshirani 1996, Regression shrinkage and selection via the lasso, §1
(absolute values); Weigend, Rumelhart & Huberman 1991, Generalization by weight-elimination with application to
forecasting, eq. 2.
Differs: no factor ½ inside `l2`, so that both are plain sums; a source that has it halves its λ.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import require

SCALE = 0.3  # the weight that counts as neither small nor large, about twice usual first weights; ours


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


def weight_elimination(parameters: Iterable[Tensor], *, scale: float = SCALE) -> Float[Tensor, ""]:
    """About how many weights are larger than the scale; the gradient 2wc²/(w² + c²)² leaves the largest alone.

    Args:
        parameters: tensors of any shapes, those alone that shall be few (biases are usually left free).
        scale: c, the weight that costs one half.

    Returns:
        A scalar through which gradients flow.

    Raises:
        InvalidValue: there are no parameters, or the scale is not positive.

    >>> weights = torch.tensor([0.0, 0.5, 50.0], requires_grad=True)
    >>> penalty = weight_elimination([weights], scale=0.5)
    >>> penalty.backward()
    >>> round(penalty.item(), 3), [round(slope, 3) for slope in weights.grad.tolist()]
    (1.5, [0.0, 1.0, 0.0])
    """
    require(scale > 0, f"scale is {scale}, but must be positive")
    # Σ w²/(w² + c²)
    return _total(parameters, lambda weight: weight.square() / (weight.square() + scale**2))


def strength_of(c: float, examples: int) -> float:
    """The strength λ at which a mean of errors is minimised where C times their sum is, beside ½ Σ w².

    Raises:
        InvalidValue: C is not positive, or there are no examples.

    >>> strength_of(0.5, 100)
    0.02
    """
    require(c > 0, f"c is {c}, but must be positive; the larger, the weaker the penalty")
    require(examples >= 1, f"examples is {examples}, but must be at least 1")
    # λ = 1/(C N)
    return 1 / (c * examples)


def _total(parameters: Iterable[Tensor], size: Callable[[Tensor], Tensor]) -> Float[Tensor, ""]:
    sums = [size(parameter).sum() for parameter in parameters]
    require(bool(sums), "there are no parameters to penalise; give at least one tensor")
    return torch.stack(sums).sum()
