r"""The perceptron: a unit that fires or does not, and learns from its mistakes alone.

A unit fires where the weighted sum of its inputs reaches a threshold. The threshold is the weight of one more input
that is always 1, so it is learned like the others. Where the unit was silent and should have fired, the input is added
to its weights; where it fired and should not have, the input is taken away; where it was right, nothing happens. If
some boundary separates the classes with a margin, the number of mistakes is bounded, whatever the order of examples.
If none does, the corrections never end, and what the weights do then tells so.

Source: CSE 151B, Regression, Perceptron, Logistic (perceptron); Rosenblatt 1958, The perceptron; Novikoff 1962, On
convergence proofs for perceptrons (the bound); Block & Levin 1970, On the boundedness of an iterative procedure for
solving a system of linear inequalities (weights that cycle).
Differs: α is always 1, for weights that begin at 0 are only scaled by it and decide the same. Two classes take one
unit. Corrections of a batch are added up; the bound needs batches of one example.
Shapes: B batch, N examples, F features, G = F + 1 weights with the constant input's first, U units, P points of a way.
"""

from collections.abc import Iterable
from math import prod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import one_hot

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.activations import threshold
from neurarium.parts.bundles import Labelled, check_batch
from neurarium.parts.modes import evaluating


class Perceptron(nn.Module):
    """Threshold units before their threshold: one for two classes, else one a class; weights from 0, in float64.

    Args:
        shape: of one input; what has several dimensions is laid out in a row.
        classes: number of classes.

    Raises:
        InvalidValue: an empty shape, fewer than 2 classes, or inputs of another shape.

    >>> model = Perceptron(shape=(2,), classes=2)
    >>> model(torch.ones(3, 2)).shape
    torch.Size([3, 1])
    """

    def __init__(self, *, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        require(bool(shape) and min(shape) >= 1, f"inputs of shape {shape} hold nothing; every side must be 1 or more")
        require(classes >= 2, f"classes is {classes}; telling them apart needs at least 2")
        self.shape = shape
        units = 1 if classes == 2 else classes
        self.weights = nn.Parameter(torch.zeros(units, 1 + prod(shape), dtype=torch.float64))

    def forward(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B U"]:
        """Net inputs of the units; they fire from 0 on."""
        if inputs.shape[1:] != self.shape:
            raise InvalidValue(f"inputs are {tuple(inputs.shape[1:])}, but this model was built for {self.shape}")
        # a = w'·x', with w'₀ = −θ and x'₀ = 1
        return extended(inputs) @ self.weights.T


def extended(inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B G"]:
    """The inputs in a row each, in float64, behind a constant 1.

    >>> extended(torch.tensor([[5.0, 7.0]])).tolist()
    [[1.0, 5.0, 7.0]]
    """
    rows = inputs.flatten(1).double()
    return torch.cat([torch.ones_like(rows[:, :1]), rows], dim=1)


def wanted(labels: Int64[Tensor, " B"], *, units: int) -> Float[Tensor, "B U"]:
    """What the units should say: a single one the class itself, several 1 for the unit of the class and 0 for others.

    Raises:
        InvalidValue: a label without a unit.

    >>> wanted(torch.tensor([0, 1]), units=1).tolist(), wanted(torch.tensor([2]), units=3).tolist()
    ([[0.0], [1.0]], [[0.0, 0.0, 1.0]])
    """
    classes = max(2, units)
    low, high = int(labels.min()), int(labels.max())
    require(low >= 0 and high < classes, f"labels reach from {low} to {high}, but must lie from 0 to {classes - 1}")
    return one_hot(labels, classes)[:, -units:].double()


def decide(net: Float[Tensor, "B U"]) -> Int64[Tensor, " B"]:
    """The class: whether a single unit fires, and of several the one with the largest net input.

    >>> decide(torch.tensor([[-0.5], [0.0]])).tolist(), decide(torch.tensor([[3.0, 5.0, -1.0]])).tolist()
    ([0, 1], [1])
    """
    return threshold(net[:, 0]).long() if net.shape[1] == 1 else net.argmax(dim=1)


def perceptron_rule(inputs: Float[Tensor, "B G"], deltas: Float[Tensor, "B U"]) -> Float[Tensor, "U G"]:
    """How the weights are corrected.

    >>> perceptron_rule(torch.tensor([[1.0, 5.0]]), torch.tensor([[-1.0, 0.0]])).tolist()
    [[-1.0, -5.0], [0.0, 0.0]]
    """
    # Σ δ x', where δ = t − y is 1, 0 or −1
    return deltas.T @ inputs


def mistake_bound(
    weights: Float[Tensor, " G"], inputs: Float[Tensor, "N G"], targets: Float[Tensor, " N"]
) -> tuple[float, float]:
    """What any boundary that separates the examples says of the rule: its margin, and the most mistakes of a unit.

    Args:
        weights: of the boundary.
        inputs: the examples behind their constant 1.
        targets: 1 on the side where the unit should fire, 0 on the other.

    Raises:
        InvalidValue: the boundary does not separate the examples.

    >>> rows, targets = torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([1.0, 0.0])
    >>> margin, most = mistake_bound(torch.tensor([0.0, 2.0]), rows, targets)
    >>> margin, round(most, 5)
    (1.0, 2.0)
    """
    # γ = min ± w'·x' / |w'|, R = max |x'|
    margin = float(((2 * targets - 1) * (inputs @ weights)).min() / weights.norm())
    require(margin > 0, f"the margin is {margin:g}: this boundary does not separate the examples, so it bounds nothing")
    radius = float(inputs.norm(dim=1).max())
    # mistakes ≤ (R/γ)²
    return margin, (radius / margin) ** 2


def centred(
    weights: Float[Tensor, " G"], inputs: Float[Tensor, "N G"], targets: Float[Tensor, " N"]
) -> Float[Tensor, " G"]:
    """The same boundary midway between the two sides: the rule is content with one that examples lie on.

    >>> rows, targets = torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([1.0, 0.0])
    >>> centred(torch.tensor([-1.0, 1.0]), rows, targets).tolist()
    [0.0, 1.0]
    """
    net = inputs @ weights
    middle = (net[targets == 1].min() + net[targets == 0].max()) / 2
    return torch.cat([weights[:1] - middle, weights[1:]])


class Report(NamedTuple):
    """What is known of each unit's task after learning.

    Attributes:
        separated: the unit is right about every example, so there is a boundary.
        returned: its weights came back to where they were, mistakes between, so there is none: every correction adds at
            least γ to the weights' part along the normal of a boundary with margin γ, and nothing takes it away.
        margin_at_most: by the same argument no boundary has a margin above |w'|/mistakes (infinite before the first).
    """

    separated: Bool[Tensor, " U"]
    returned: Bool[Tensor, " U"]
    margin_at_most: Float[Tensor, " U"]

    @property
    def separable(self) -> bool | None:
        """Whether every class can be told from the others by one boundary; None if that has not come out."""
        if bool(self.separated.all()):
            return True
        return False if bool((self.returned & ~self.separated).any()) else None


class Correct(Learner[Labelled]):
    """Teaches threshold units by the perceptron rule, and remembers what its corrections have shown.

    Args:
        model: whose weights are corrected.
        remember: how many points of the way are kept.

    Attributes:
        mistakes: of each unit so far.
        returned: for which units the weights came back to the mark to the bit, after mistakes.
        path: the weights at the start and after every step with a correction; only `seen` rows are filled.

    Raises:
        InvalidValue: fewer than one point to remember.

    >>> rows, either = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]), torch.tensor([0, 1, 1, 1])
    >>> learner = Correct(Perceptron(shape=(2,), classes=2))
    >>> for _ in range(10):
    ...     for row in range(4):
    ...         measures = learner.learn(Labelled(rows[row : row + 1], either[row : row + 1]))
    >>> learner.model.weights.tolist(), learner.mistakes.tolist()
    ([[-1.0, 1.0, 1.0]], [5])
    """

    def __init__(self, model: Perceptron, *, remember: int = 1) -> None:
        require(remember >= 1, f"remember is {remember}, but the start at least is kept; give 1 or more")
        self.model = model
        start = model.weights.detach()
        self.mistakes = torch.zeros(len(start), dtype=torch.int64)
        self.returned = torch.zeros(len(start), dtype=torch.bool)
        self.mark, self.mark_mistakes = start.clone(), self.mistakes.clone()
        self.path = start.unsqueeze(0).repeat(remember, 1, 1)
        self.steps = 0
        self.corrections = 0

    @property
    def seen(self) -> int:
        """How many rows of the path are filled."""
        return min(len(self.path), 1 + self.corrections)

    @torch.no_grad()
    def learn(self, batch: Labelled) -> Measures:
        """One correction for the mistakes of a batch; none if there are none.

        Raises:
            InvalidValue: the batch is empty, has more inputs than labels or fewer, or a label without a unit.
        """
        inputs, labels = batch
        check_batch((inputs, labels), wanted="inputs and labels")
        net = self.model(inputs)
        # δ = t − y
        deltas = wanted(labels, units=net.shape[1]) - threshold(net)
        # w' ← w' + Σ δ x'
        self.model.weights.add_(perceptron_rule(extended(inputs), deltas))
        self.mistakes += deltas.abs().sum(0).long()
        self._remember(corrected=bool(deltas.any()))
        # −Σ δ a, by how much the mistaken net inputs lay on the wrong side: what the rule descends on
        return {"loss": -(deltas * net).sum(1).mean(), "mistakes": deltas.abs().sum(1).mean()}

    def report(self, batches: Iterable[Labelled]) -> Report:
        """What is known of the task that some batches are all examples of.

        Raises:
            InvalidValue: there are no batches.
        """
        weights = self.model.weights.detach()
        with evaluating(self.model):
            right = [
                (threshold(self.model(inputs)) == wanted(labels, units=len(weights))).all(0)
                for inputs, labels in batches
            ]
        require(bool(right), "there are no examples to report on; give at least one batch")
        # γ ≤ |w'| / mistakes
        reach = torch.where(self.mistakes > 0, weights.norm(dim=1) / self.mistakes, torch.inf)
        return Report(torch.stack(right).all(0), self.returned.clone(), reach)

    def evaluate(self, batches: Iterable[Labelled], *, prefix: str = "") -> dict[str, float]:
        """Accuracy over all examples of some batches."""
        with evaluating(self.model):
            right = [decide(self.model(inputs)) == labels for inputs, labels in batches]
        return {f"{prefix}accuracy": float(torch.cat(right).double().mean())}

    def example(self, batch: Labelled) -> dict[str, tuple[Tensor, ...]]:
        """The inputs of a batch, for the model."""
        return {"model": (batch[0],)}

    def _remember(self, *, corrected: bool) -> None:
        self.steps += 1
        if corrected:
            self.corrections += 1
            if self.corrections < len(self.path):
                self.path[self.corrections] = self.model.weights
            self.returned |= (self.model.weights == self.mark).all(1) & (self.mistakes > self.mark_mistakes)
        # Brent's way to find a cycle without keeping it: the mark is moved at every power of two.
        if self.steps & (self.steps - 1) == 0:
            self.mark.copy_(self.model.weights)
            self.mark_mistakes.copy_(self.mistakes)
