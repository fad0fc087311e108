r"""Linear regression: a weighted sum of the inputs, by closed form and by descent.

The squared error of a linear unit is a bowl, so its lowest point can be computed outright. It can also be walked to:
the delta rule moves every weight by its input times the error δ = t − y. With all examples in a step the walk is
smooth, with one it is quick and noisy, with a few it is in between; the rule is the same.

Source: CSE 151B, Gradient Descent (batch, stochastic, minibatch) and Linear Regression (squared error, closed form,
delta rule).
Differs: the closed form is taken from the singular values of the design rather than from (XᵀX)⁻¹, which squares the
condition number and does not exist for columns that depend on each other; then it is the smallest of the best weights.
The squared error is a mean over the examples, as in the delta rule's 1/N, and there is a bias.
Shapes: B batch, N examples, F features, G = F + 1 weights with the bias as the last, K targets, R rank.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, log, log1p

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import Paired, check_batch
from neurarium.parts.modes import evaluating


class LinearRegression(nn.Module):
    """Weighted sums of the inputs and a bias, from 0, in float64.

    Args:
        features: F.
        targets: K.

    Raises:
        InvalidValue: no features or targets, or inputs of another number of features.

    >>> model = LinearRegression(features=3)
    >>> model(torch.ones(2, 3, dtype=torch.float64)).tolist()
    [[0.0], [0.0]]
    """

    def __init__(self, *, features: int, targets: int = 1) -> None:
        super().__init__()
        require(features >= 1, f"features is {features}, but must be at least 1")
        require(targets >= 1, f"targets is {targets}, but must be at least 1")
        self.weight = nn.Parameter(torch.zeros(features, targets, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(targets, dtype=torch.float64))

    def forward(self, inputs: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """The outputs y."""
        if inputs.ndim != 2 or inputs.shape[1] != len(self.weight):
            raise InvalidValue(f"inputs are {tuple(inputs.shape)}, but must be (B, {len(self.weight)})")
        # y = w·x + b
        return inputs @ self.weight + self.bias

    @property
    def stacked(self) -> Float[Tensor, "G K"]:
        """A copy of the weights with the bias as the last of them."""
        return torch.cat([self.weight, self.bias.unsqueeze(0)]).detach()


def delta_rule(
    inputs: Float[Tensor, "B F"], deltas: Float[Tensor, "B K"]
) -> tuple[Float[Tensor, "F K"], Float[Tensor, " K"]]:
    """The direction in which the delta rule moves weights and bias: down the gradient of `squared_error`.

    >>> weight, bias = delta_rule(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[1.0], [-1.0]]))
    >>> weight.tolist(), bias.tolist()
    ([[-1.0], [1.0]], [0.0])
    """
    # (1/N) Σ δⁿ xⁿ, where the bias is the weight of a constant input 1
    return inputs.T @ deltas / len(inputs), deltas.mean(0)


def squared_error(outputs: Float[Tensor, "B K"], targets: Float[Tensor, "B K"]) -> Float[Tensor, ""]:
    """Half the mean squared error.

    >>> squared_error(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [4.0]])).item()
    1.0
    """
    # (1/2N) Σ (y − t)²
    return (outputs - targets).square().sum() / (2 * len(outputs))


def r_squared(outputs: Float[Tensor, "N K"], targets: Float[Tensor, "N K"]) -> float:
    """The part of the targets' variance that the outputs explain; 1 is all, 0 what their mean would.

    >>> r_squared(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [2.0]]))
    1.0
    """
    # 1 − Σ (t − y)² / Σ (t − t̄)²
    around_mean = (targets - targets.mean(0)).square().sum()
    require(
        bool(around_mean > 0), "the targets are all the same, so there is no variance to explain; test on more rows"
    )
    return 1 - float((targets - outputs).square().sum() / around_mean)


@dataclass(frozen=True)
class Solution:
    """The closed form, and the shape of the bowl that it is the bottom of.

    Attributes:
        weights: the best, with the bias as the last row; of equally good ones those of the smallest norm.
        curvatures: the eigenvalues of (1/N) XᵀX that are not 0, falling; X has a column of 1 for the bias.
        directions: the eigenvector of each.
        largest_input: the largest squared length of an example, its 1 included.
    """

    weights: Float[Tensor, "G K"]
    curvatures: Float[Tensor, " R"]
    directions: Float[Tensor, "R G"]
    largest_input: float

    @property
    def columns(self) -> int:
        """How many columns X has."""
        return len(self.weights)

    @property
    def rank(self) -> int:
        """How many columns are independent."""
        return len(self.curvatures)

    @property
    def steepest(self) -> float:
        """The largest curvature λ₁."""
        return float(self.curvatures[0])

    @property
    def flattest(self) -> float:
        """The smallest curvature λᵣ that is not 0."""
        return float(self.curvatures[-1])

    def batch_rate(self) -> float:
        """The largest learning rate with which batch descent never overshoots in any direction."""
        # α = 1/λ₁
        return 1 / self.steepest

    def sampled_rate(self, batch: int) -> float:
        """The learning rate for steps of so many random examples (Ma, Bassily & Belkin 2018, quadratic loss)."""
        # α = m/(β + (m − 1) λ₁), with β the largest |x|²: 1/β for one example, towards 1/λ₁ for many
        return batch / (self.largest_input + (batch - 1) * self.steepest)

    def steps_to(self, gap: float) -> int:
        """Steps of batch descent at `batch_rate` from 0 that surely leave no more than this relative distance.

        Every step shrinks the distance to 1 − λᵣ/λ₁ of what it was, or to less.
        """
        # (1 − λᵣ/λ₁)ⁿ ≤ gap
        flatness = self.flattest / self.steepest
        return ceil(log(gap) / log1p(-flatness)) if flatness < 1 else 1

    def gap(self, weights: Float[Tensor, "G K"]) -> float:
        """Relative distance of some weights, bias included, from the best."""
        # |w − w*| / |w*|
        return float((weights - self.weights).norm() / self.weights.norm().clamp(min=torch.finfo(torch.float64).tiny))

    def excess(self, weights: Float[Tensor, "P G K"]) -> Float[Tensor, " P"]:
        """How far the squared error of each of some weights lies above the lowest."""
        # ½ Σᵣ λᵣ (vᵣ·(w − w*))²
        along = self.directions @ (weights - self.weights)
        return (self.curvatures.unsqueeze(1) * along.square()).sum((1, 2)) / 2


def solve(inputs: Float[Tensor, "N F"], targets: Float[Tensor, "N K"]) -> Solution:
    """Least squares by singular values, in float64.

    Raises:
        InvalidValue: no examples, inputs and targets of different number, or a value that is not finite.

    >>> x = torch.tensor([[0.0], [1.0], [2.0]])
    >>> solve(x, 3 * x + 1).weights.flatten().round(decimals=6).tolist()
    [3.0, 1.0]
    """
    check_batch((inputs, targets), wanted="inputs and targets")
    for name, values in (("inputs", inputs), ("targets", targets)):
        require(bool(values.isfinite().all()), f"the {name} are NaN or infinite somewhere; every value must be finite")
    design = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1).double()
    left, singular, right = torch.linalg.svd(design, full_matrices=False)
    # Below this a singular value is rounding: numpy.linalg.matrix_rank's rule.
    kept = singular > singular[0] * max(design.shape) * torch.finfo(torch.float64).eps
    left, singular, right = left[:, kept], singular[kept], right[kept]
    # w = V Σ⁻¹ Uᵀ t
    weights = right.T @ ((left.T @ targets.double()) / singular.unsqueeze(1))
    return Solution(weights, singular.square() / len(design), right, float(design.square().sum(1).max()))


class Descent(Learner[Paired]):
    """Teaches a linear model by the delta rule, and remembers the way it went.

    Args:
        model: whose weights move.
        lr: learning rate α; 0 stays where it is.
        remember: how many points of the way are kept.
        every: steps between two of them.

    Attributes:
        path: weights with the bias as last, at the start and after every `every` steps; only `seen` rows are filled.

    Raises:
        InvalidValue: a negative learning rate, or fewer than one step between two points.

    >>> batch = Paired(torch.tensor([[-1.0], [1.0]]).double(), torch.tensor([[0.0], [4.0]]).double())
    >>> learner = Descent(LinearRegression(features=1), lr=0.5)
    >>> losses = [float(learner.learn(batch)["loss"]) for _ in range(30)]
    >>> losses[0], losses[-1] < 1e-9, learner.model.stacked.flatten().round(decimals=4).tolist()
    (4.0, True, [2.0, 2.0])
    """

    def __init__(self, model: LinearRegression, *, lr: float, remember: int = 1, every: int = 1) -> None:
        require(lr >= 0, f"lr is {lr}, but must be 0 or more")
        require(remember >= 1, f"remember is {remember}, but the start at least is kept; give 1 or more")
        require(every >= 1, f"every is {every}, but must be at least 1 step")
        self.model = model
        self.lr = lr
        self.every = every
        self.steps = 0
        self.path = model.stacked.unsqueeze(0).repeat(remember, 1, 1)

    @property
    def seen(self) -> int:
        """How many rows of the path are filled."""
        return min(len(self.path), 1 + self.steps // self.every)

    @torch.no_grad()
    def learn(self, batch: Paired) -> Measures:
        """One step of the delta rule.

        Raises:
            InvalidValue: the batch is empty, or does not have one row of targets for each row of inputs.
        """
        inputs, targets = batch
        check_batch((inputs, targets), wanted="inputs and targets")
        outputs = self.model(inputs)
        if targets.shape != outputs.shape:
            raise InvalidValue(f"targets are {tuple(targets.shape)}, but the outputs {tuple(outputs.shape)}")
        weight, bias = delta_rule(inputs, targets - outputs)
        # w ← w + α (1/N) Σ δⁿ xⁿ
        self.model.weight.add_(weight, alpha=self.lr)
        self.model.bias.add_(bias, alpha=self.lr)
        self._remember()
        return {"loss": squared_error(outputs, targets)}

    def evaluate(self, batches: Iterable[Paired], *, prefix: str = "") -> dict[str, float]:
        """Half the mean squared error and R² over all examples of some batches."""
        with evaluating(self.model):
            pairs = [(self.model(inputs), targets) for inputs, targets in batches]
        outputs, targets = (torch.cat(each) for each in zip(*pairs, strict=True))
        return {f"{prefix}loss": float(squared_error(outputs, targets)), f"{prefix}r2": r_squared(outputs, targets)}

    def example(self, batch: Paired) -> dict[str, tuple[Tensor, ...]]:
        """The inputs of a batch, for the model."""
        return {"model": (batch[0],)}

    def _remember(self) -> None:
        self.steps += 1
        if self.steps % self.every == 0 and self.steps // self.every < len(self.path):
            self.path[self.steps // self.every] = self.model.stacked
