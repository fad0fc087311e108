r"""Softmax regression: a weighted sum for every class, made into probabilities that compete for a total of 1.

Each class has weights of its own, and an input's score for the class is their weighted sum. The softmax turns scores
into probabilities; cross-entropy asks for much of it at the right class. For an output it leaves the delta of linear
regression, t − y, and the loss is a bowl: wherever learning starts, it ends at the same probabilities.

Source: CSE 151B, Regression, Perceptron, Logistic (softmax regression), Objective Functions (cross-entropy) and
Dealing with Overfitting (L2); Bishop 2006, Pattern Recognition and Machine Learning, eqs. 4.104, 4.108, 4.109.
Differs: the notes' g(a)/Σ g(a) is read as eᵃ/Σ eᵃ; errors are a mean, so the penalty's strength is λ = 1/(C N) where
scikit-learn sums the errors and multiplies them by C; biases are not penalised.
Shapes: B batch, F features, K classes.
"""

from collections.abc import Iterable
from math import prod

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torch.optim import Adam, Optimizer

from neurarium.errors import InvalidValue, require
from neurarium.parts.optimizers import MakeOptimizer
from neurarium.parts.penalties import l2


class SoftmaxRegression(nn.Module):
    """Logits as weighted sums of the inputs and a bias, from 0: every class is equally likely before learning.

    Args:
        shape: of one input; what has several dimensions is laid out in a row.
        classes: number of classes K.
        dtype: of the weights.

    Raises:
        InvalidValue: an empty shape, fewer than 2 classes, or inputs of another shape.

    >>> model = SoftmaxRegression(shape=(1, 8, 8), classes=10)
    >>> model(torch.rand(2, 1, 8, 8)).softmax(dim=1)[0, 3].item()
    0.10000000149011612
    """

    def __init__(self, *, shape: tuple[int, ...], classes: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        require(bool(shape) and min(shape) >= 1, f"inputs of shape {shape} hold nothing; every side must be 1 or more")
        require(classes >= 2, f"classes is {classes}; a classifier needs at least 2")
        self.shape = shape
        self.weight = nn.Parameter(torch.zeros(classes, prod(shape), dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(classes, dtype=dtype))

    def forward(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B K"]:
        """Logits of the classes."""
        if inputs.shape[1:] != self.shape:
            raise InvalidValue(f"inputs are {tuple(inputs.shape[1:])}, but this model was built for {self.shape}")
        # a_k = w_k·x + b_k
        return inputs.flatten(1) @ self.weight.T + self.bias


def penalised_error(
    logits: Float[Tensor, "B K"], labels: Int64[Tensor, " B"], weight: Float[Tensor, "K F"], *, strength: float
) -> Float[Tensor, ""]:
    """What is minimised: mean cross-entropy and the penalty on large weights.

    Args:
        logits: of a batch.
        labels: the right classes.
        weight: what is penalised; leave the biases out.
        strength: λ; see `neurarium.parts.penalties.strength_of`.

    Raises:
        InvalidValue: a negative strength.

    >>> penalised_error(torch.zeros(1, 2), torch.tensor([0]), torch.ones(2, 1), strength=0.5).item()
    1.1931471824645996
    """
    require(strength >= 0, f"strength is {strength}, but must be 0 or more")
    # −(1/N) Σ ln y_t + (λ/2) Σ w²
    return cross_entropy(logits, labels) + strength / 2 * l2([weight])


def softmax_delta(logits: Float[Tensor, "B K"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "B K"]:
    """How much more of each class there should have been: minus the slope of one example's cross-entropy.

    >>> softmax_delta(torch.zeros(1, 2), torch.tensor([0])).tolist()
    [[0.5, -0.5]]
    """
    # δ_k = t_k − y_k
    return one_hot(labels, logits.shape[1]) - logits.softmax(dim=1)


def penalised_adam(strength: float) -> MakeOptimizer:
    """Adam on `penalised_error`: the penalty's slope λw joins the gradient of every matrix, and of no bias.

    Raises:
        InvalidValue: a negative strength.

    >>> weight, bias = torch.ones(2, 3, requires_grad=True), torch.zeros(2, requires_grad=True)
    >>> [group["weight_decay"] for group in penalised_adam(0.1)([weight, bias], lr=0.01).param_groups]
    [0.1, 0.0]
    """
    require(strength >= 0, f"strength is {strength}, but must be 0 or more")

    def make(parameters: Iterable[Tensor], /, *, lr: float) -> Optimizer:
        given = list(parameters)
        groups = [
            {"params": [each for each in given if each.ndim > 1], "weight_decay": strength},
            {"params": [each for each in given if each.ndim <= 1], "weight_decay": 0.0},
        ]
        return Adam(groups, lr=lr, fused=True)

    return make
