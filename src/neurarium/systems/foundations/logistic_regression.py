r"""Logistic regression: a weighted sum squeezed into the probability of yes, and which error to teach it by.

The logistic function g turns a net input a into a probability y = g(a). Squared error seems natural, but its slope has
the factor g'(a) = y(1 − y), which is 0 wherever the unit is sure: also where it is surely wrong, so there it stalls.
Cross-entropy has just the denominator that cancels it, and its slope is the delta of linear regression, y − t. It is
a bowl, whose lowest point Newton's method finds in a few steps.

Source: CSE 151B, Regression, Perceptron, Logistic (logistic regression) and Dealing with Overfitting (L2); Bishop 2006,
Pattern Recognition and Machine Learning, eqs. 4.90, 4.91, and 4.92 to 4.97 (Newton's method).
Differs: the notes' 1/e⁻ᵃ is read as 1/(1 + e⁻ᵃ); squared error has a factor ½; Newton's step is halved until the error
falls. The penalty's λ counts beside a mean of errors, so it is 1/(C N) where scikit-learn has C; the bias is left free.
Shapes: B batch, N examples, F features, G = F + 1 weights with the bias last.
"""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.activations import logistic, softplus
from neurarium.parts.bundles import Labelled, check_batch
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, sgd
from neurarium.parts.penalties import l2

NEWTON_STEPS = 100  # at the most; fewer than 20 are needed unless the penalty is almost nothing
HALVINGS = 40  # of a step of Newton's method, before it counts as arrived
ARRIVED = 1e-12  # slope at which Newton's method stops


@runtime_checkable
class Objective(Protocol):
    """An error of net inputs against targets of 0 and 1, as a mean over the examples."""

    def __call__(self, net: Float[Tensor, " B"], targets: Float[Tensor, " B"], /) -> Float[Tensor, ""]: ...


class LogisticRegression(nn.Module):
    """The net input of one unit, from weights 0, in float64; the logistic function of it is the probability.

    Args:
        features: F.

    Raises:
        InvalidValue: no features, or inputs of another number of features.

    >>> model = LogisticRegression(features=3)
    >>> logistic(model(torch.ones(2, 3, dtype=torch.float64))).tolist()
    [0.5, 0.5]
    """

    def __init__(self, *, features: int) -> None:
        super().__init__()
        require(features >= 1, f"features is {features}, but must be at least 1")
        self.weight = nn.Parameter(torch.zeros(features, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, inputs: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        """The net inputs a."""
        if inputs.ndim != 2 or inputs.shape[1] != self.weight.shape[0]:
            raise InvalidValue(f"inputs are {tuple(inputs.shape)}, but must be (B, {self.weight.shape[0]})")
        # a = w·x + b
        return inputs @ self.weight + self.bias

    @property
    def stacked(self) -> Float[Tensor, " G"]:
        """A copy of the weights with the bias as the last of them."""
        return torch.cat([self.weight, self.bias.unsqueeze(0)]).detach()


def squared_error(net: Float[Tensor, " B"], targets: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Half the mean squared error of the probabilities.

    >>> squared_error(torch.zeros(2), torch.tensor([0.0, 1.0])).item()
    0.125
    """
    # (1/2N) Σ (y − t)²
    return (logistic(net) - targets).square().mean() / 2


def squared_error_slope(net: Float[Tensor, " B"], targets: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """The slope of one example's half squared error by its net input: next to 0 for a unit that is surely wrong.

    >>> squared_error_slope(torch.tensor([0.0, -10.0]), torch.ones(2)).round(decimals=4)
    tensor([-0.1250, -0.0000])
    """
    outputs = logistic(net)
    # (y − t) g(a) (1 − g(a))
    return (outputs - targets) * outputs * (1 - outputs)


def cross_entropy(net: Float[Tensor, " B"], targets: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Mean cross-entropy, exact for net inputs of any size.

    >>> cross_entropy(torch.tensor([0.0, 1000.0]), torch.tensor([1.0, 1.0])).item() * 2
    0.6931471824645996
    """
    # −(1/N) Σ (t ln y + (1 − t) ln(1 − y)) = (1/N) Σ (ln(1 + eᵃ) − t a)
    return (softplus(net) - targets * net).mean()


def cross_entropy_slope(net: Float[Tensor, " B"], targets: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """The slope of one example's cross-entropy by its net input: the further off, the larger.

    >>> cross_entropy_slope(torch.tensor([0.0]), torch.ones(1)).tolist()
    [-0.5]
    """
    # y − t
    return logistic(net) - targets


def newton(inputs: Float[Tensor, "N F"], targets: Float[Tensor, " N"], *, strength: float) -> Float[Tensor, " G"]:
    """The weights of the lowest penalised cross-entropy, by Newton's method, in float64.

    Args:
        inputs: all examples.
        targets: 0 or 1 for each.
        strength: λ of the penalty (λ/2) w², without which separable examples have no best weights.

    Raises:
        InvalidValue: no examples, a strength that is not positive, inputs that are not finite, or a single class.

    >>> newton(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.0, 1.0]), strength=1.0).round(decimals=4).abs().tolist()
    [0.4011, 0.0]
    """
    check_batch((inputs, targets), wanted="inputs and targets")
    require(strength > 0, f"strength is {strength}, but must be positive, or separable examples have no best weights")
    require(bool(inputs.isfinite().all()), "the inputs are NaN or infinite somewhere; every value must be finite")
    require(0 < float(targets.double().mean()) < 1, "all examples are of one class, so no best bias exists; add others")
    design = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1).double()
    goal = targets.double()
    shrink = torch.full_like(design[0], strength)
    shrink[-1] = 0

    def error(weights: Float[Tensor, " G"]) -> Float[Tensor, ""]:
        return cross_entropy(design @ weights, goal) + (shrink * weights.square()).sum() / 2

    weights = torch.zeros_like(shrink)
    for _ in range(NEWTON_STEPS):
        outputs = logistic(design @ weights)
        slope = design.T @ (outputs - goal) / len(goal) + shrink * weights
        if float(slope.abs().max()) < ARRIVED:
            break
        # H = (1/N) Σ y (1 − y) x xᵀ + λ I
        curvature = (design.T * (outputs * (1 - outputs))) @ design / len(goal) + torch.diag(shrink)
        # w ← w − H⁻¹ ∇E
        step = torch.linalg.solve(curvature, slope)
        lengths = [0.5**halving for halving in range(HALVINGS)]
        weights = next((new for length in lengths if error(new := weights - length * step) < error(weights)), weights)
    return weights


def safe_rate(inputs: Float[Tensor, "N F"], *, strength: float) -> float:
    """The largest learning rate with which descent on penalised cross-entropy never overshoots.

    >>> round(safe_rate(torch.tensor([[-1.0], [1.0]]), strength=0.0), 9)
    4.0
    """
    design = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1).double()
    # α = 1/(λ₁/4 + λ), with λ₁ the largest eigenvalue of (1/N) XᵀX, for y (1 − y) ≤ 1/4
    return 1 / (float(torch.linalg.matrix_norm(design, 2)) ** 2 / (4 * len(design)) + strength)


class Descend(Learner[Labelled]):
    """Teaches one logistic unit by descent on an objective and a penalty.

    Args:
        model: the unit.
        objective: `squared_error` or `cross_entropy`, or another.
        strength: λ of the penalty (λ/2) w².
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate α.

    Raises:
        InvalidValue: a negative strength or learning rate.

    >>> batch = Labelled(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]))
    >>> learner = Descend(LogisticRegression(features=1), objective=cross_entropy, lr=1.0)
    >>> losses = [float(learner.learn(batch)["loss"]) for _ in range(50)]
    >>> losses[-1] < 0.1 < losses[0]
    True
    """

    def __init__(
        self,
        model: LogisticRegression,
        *,
        objective: Objective,
        strength: float = 0.0,
        optimizer: MakeOptimizer = sgd,
        lr: float,
    ) -> None:
        require(strength >= 0, f"strength is {strength}, but must be 0 or more")
        require(lr >= 0, f"lr is {lr}, but must be 0 or more")
        self.model = model
        self.objective = objective
        self.strength = strength
        self.optimizer = optimizer(model.parameters(), lr=lr)

    def learn(self, batch: Labelled) -> Measures:
        """One step down the gradient; `loss` is the objective's without the penalty.

        Raises:
            InvalidValue: the batch is empty, has more inputs than labels or fewer, or labels other than 0 and 1.
        """
        inputs, labels = batch
        check_batch((inputs, labels), wanted="inputs and labels")
        require(bool(((labels == 0) | (labels == 1)).all()), "labels must be 0 or 1; more classes need a softmax")
        self.optimizer.zero_grad()
        net = self.model(inputs.double())
        loss = self.objective(net, labels.double())
        # E + (λ/2) w²
        (loss + self.strength / 2 * l2([self.model.weight])).backward()
        self.optimizer.step()
        return {"loss": loss.detach(), "accuracy": ((net.detach() >= 0) == labels.bool()).double().mean()}

    def predict(self, inputs: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        """The probability of class 1, in evaluation mode."""
        with evaluating(self.model):
            return logistic(self.model(inputs.double()))

    def evaluate(self, batches: Iterable[Labelled], *, prefix: str = "") -> dict[str, float]:
        """Accuracy over all examples of some batches."""
        right = [(self.predict(inputs) >= 0.5) == labels.bool() for inputs, labels in batches]
        return {f"{prefix}accuracy": float(torch.cat(right).double().mean())}

    def example(self, batch: Labelled) -> dict[str, tuple[Tensor, ...]]:
        """The inputs of a batch, for the model."""
        return {"model": (batch[0],)}
