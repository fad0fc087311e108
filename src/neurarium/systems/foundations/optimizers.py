r"""Optimizers: the same slope, walked down by different rules.

In a long ravine the steepest way leads across, not along: plain descent bounces between the walls, or creeps. Momentum
cancels what changes sign and gathers what does not; gains, Rprop, RMSprop and Adam measure every weight's steps with a
ruler of its own. Which rule is better is a question about the surface, so here they walk side by side: down a ravine,
off a saddle, through Rosenbrock's bent valley, on a quadratic of known condition, and with a network that learns.

Source: CSE 151B, Normalization, Weight Initialization, Momentum and Adaptive Learning Rates; CS 479 §12.1; NYU NN II,
RMSprop and Adam; Rosenbrock 1960, An automatic method for finding the greatest or least value of a function, §3.
Differs: the ravine and the quadratic are turned out of the axes, since rules with a ruler for each coordinate would
otherwise have the answer for nothing; the saddle has a bottom on either side, so that no walk goes on for ever.
Shapes: B batch, K classes, D dimensions of a point, R rates walked abreast, T steps.
"""

from collections.abc import Callable
from math import cos, prod, radians, sin
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.parts.optimizers import MakeOptimizer
from neurarium.parts.rules import Adam, Descent, Gains, Momentum, Nesterov, RMSprop, Rprop, adamw

RULES: dict[str, MakeOptimizer] = {
    "sgd": Descent,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "gains": Gains,
    "rprop": Rprop,
    "rmsprop": RMSprop,
    "adam": Adam,
}
"""Every rule by name, with its usual settings. AdamW is Adam where, as on a surface, there is nothing to keep small."""

RATES = tuple(digit * 10.0**power for power in range(-4, 1) for digit in (1, 2, 5))  # the same for every rule
RAVINE_TURN = 30.0  # degrees between the ravine and the first axis, ours
RAVINE_CONDITION = 50.0  # how much steeper the ravine's walls are than its floor, ours


@runtime_checkable
class Height(Protocol):
    """The height of a surface at some points."""

    def __call__(self, points: Float[Tensor, "*batch D"], /) -> Float[Tensor, "*batch"]: ...


class Surface(NamedTuple):
    """A surface over the plane, to walk down.

    Attributes:
        height: of the surface at a point; 0 is the lowest.
        start: where a walk begins.
        low, high: the corners of the part that is looked at.
        fastest: the largest rate of the grid that is tried, so that the eye can follow.
        bottoms: the lowest points.
    """

    height: Height
    start: tuple[float, float]
    low: tuple[float, float]
    high: tuple[float, float]
    fastest: float
    bottoms: tuple[tuple[float, float], ...]


def ravine(points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """A quadratic, 50 times as steep across as along.

    >>> ravine(torch.tensor([0.0, 0.0])).item()
    0.0
    """
    x, y = points.unbind(-1)
    turn = radians(RAVINE_TURN)
    along, across = cos(turn) * x + sin(turn) * y, cos(turn) * y - sin(turn) * x
    # E = ½ (along²/κ + across²)
    return (along.square() / RAVINE_CONDITION + across.square()) / 2


def saddle(points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """Up in x, down in y, with a bottom at y = ±1.

    >>> saddle(torch.tensor([[0.0, 0.0], [0.0, 1.0]])).tolist()
    [0.25, 0.0]
    """
    x, y = points.unbind(-1)
    # E = ½ x² + ¼ (y² − 1)²
    return x.square() / 2 + (y.square() - 1).square() / 4


def rosenbrock(points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """A flat valley along a parabola.

    >>> rosenbrock(torch.tensor([[1.0, 1.0], [0.0, 0.0]])).tolist()
    [0.0, 1.0]
    """
    x, y = points.unbind(-1)
    # E = (1 − x)² + 100 (y − x²)²
    return (1 - x).square() + 100 * (y - x.square()).square()


SURFACES: dict[str, Surface] = {
    "ravine": Surface(ravine, (-4.0, -0.5), (-4.8, -3.4), (2.2, 2.4), 1.0, ((0.0, 0.0),)),
    # 0.02 beside the ridge: exactly on it the slope along y is 0, and every rule would stay.
    "saddle": Surface(saddle, (1.4, 0.02), (-1.2, -1.5), (1.8, 1.5), 0.1, ((0.0, 1.0), (0.0, -1.0))),
    "rosenbrock": Surface(rosenbrock, (-1.2, 1.0), (-1.8, -0.7), (1.8, 2.3), 1.0, ((1.0, 1.0),)),
}
"""The surfaces by name; Rosenbrock's start is his own."""


class Quadratic:
    """A bowl of given condition number in any number of dimensions, turned at random.

    Args:
        dimensions: D.
        condition: the largest curvature, which is 1, over the smallest; those between are evenly spaced in logarithm.
        generator: decides the turn.

    Attributes:
        start: a point at distance 1 from the bottom, equally far along every direction of curvature.

    Raises:
        InvalidValue: fewer than 2 dimensions, or a condition below 1.

    >>> bowl = Quadratic(dimensions=3, condition=100.0, generator=torch.Generator().manual_seed(0))
    >>> round(bowl.start.norm().item(), 6), round(bowl.height(bowl.start).item(), 6)
    (1.0, 0.185)
    """

    def __init__(self, *, dimensions: int, condition: float, generator: torch.Generator) -> None:
        require(dimensions >= 2, f"dimensions is {dimensions}, but a condition number needs at least 2")
        require(condition >= 1, f"condition is {condition}, but must be at least 1")
        self.curvatures = condition ** -torch.linspace(0, 1, dimensions, dtype=torch.float64)
        noise = torch.randn(dimensions, dimensions, generator=generator, dtype=torch.float64)
        self.axes: Float[Tensor, "D D"] = torch.linalg.qr(noise).Q
        self.start: Float[Tensor, " D"] = self.axes.sum(1) / dimensions**0.5

    def height(self, points: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """How far above the bottom."""
        # E = ½ Σ λᵢ (vᵢ·w)²
        return ((points @ self.axes).square() @ self.curvatures) / 2


def walk_abreast(
    height: Height,
    start: Float[Tensor, " D"],
    make: MakeOptimizer,
    *,
    steps: int,
    rates: tuple[float, ...] = RATES,
    stop_below: float = 0.0,
) -> Float[Tensor, "T R D"]:
    """Walk down a surface by one rule with several learning rates at once.

    Args:
        height: of the surface.
        start: where every walk begins.
        make: the rule.
        steps: at the most.
        rates: the learning rate of each walk.
        stop_below: end once any walk is no higher than this.

    Returns:
        The points of every walk, the start first; a walk that diverges ends in NaN.

    Raises:
        InvalidValue: a negative number of steps, or no rates.

    >>> way = walk_abreast(saddle, torch.tensor([1.0, 0.0]), Descent, steps=2, rates=(0.5,))
    >>> way[:, 0].tolist()
    [[1.0, 0.0], [0.5, 0.0], [0.25, 0.0]]
    """
    require(steps >= 0, f"steps is {steps}, but must be 0 or more")
    require(len(rates) > 0, "there are no rates to walk with; give at least one")
    points = [start.clone().requires_grad_() for _ in rates]
    walkers = [make([point], lr=rate) for point, rate in zip(points, rates, strict=True)]
    way = [torch.stack(points).detach()]
    for _ in range(steps):
        # Each walk's slope is its own: the sum only saves calls of backward.
        heights = height(torch.stack(points))
        if bool((heights <= stop_below).any()):
            break
        gradients = torch.autograd.grad(heights.sum(), points)
        for point, gradient, walker in zip(points, gradients, walkers, strict=True):
            point.grad = gradient
            walker.step()
        way.append(torch.stack(points).detach())
    return torch.stack(way)


def steps_until(bowl: Quadratic, make: MakeOptimizer, *, tolerance: float, longest: int) -> int:
    """Steps of a rule, at its best rate of the grid, until the height is this part of the first.

    Returns:
        The number of steps; `longest` if it takes that many or more.

    >>> bowl = Quadratic(dimensions=2, condition=1.0, generator=torch.Generator().manual_seed(0))
    >>> steps_until(bowl, Descent, tolerance=1e-6, longest=100)  # a round bowl, at the rate of 1
    1
    """
    goal = tolerance * float(bowl.height(bowl.start))
    return len(walk_abreast(bowl.height, bowl.start, make, steps=longest, stop_below=goal)) - 1


def best_walk(surface: Surface, make: MakeOptimizer, *, steps: int) -> tuple[float, Float[Tensor, "T 2"]]:
    """The rate that is lowest on average, never above its start, nor outside the part that is looked at; and its walk.

    >>> rate, way = best_walk(SURFACES["ravine"], Descent, steps=100)
    >>> rate, way.shape
    (1.0, torch.Size([101, 2]))
    """
    start, low, high = (
        torch.tensor(corner, dtype=torch.float64) for corner in (surface.start, surface.low, surface.high)
    )
    rates = tuple(rate for rate in RATES if rate <= surface.fastest)
    ways = walk_abreast(surface.height, start, make, steps=steps, rates=rates)
    heights = surface.height(ways)
    fit = ((ways >= low) & (ways <= high)).all(2).all(0) & (heights <= heights[0]).all(0)
    best = int(torch.where(fit, heights.mean(0), torch.inf).argmin())
    return rates[best], ways[:, best]


class Network(nn.Module):
    """One hidden layer of rectified units: something real to teach.

    Args:
        shape: of an input.
        hidden: number of hidden units.
        classes: K.

    Raises:
        InvalidValue: no hidden units, fewer than 2 classes, or inputs of another shape.

    >>> Network(shape=(1, 8, 8), hidden=32, classes=10)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(self, *, shape: tuple[int, ...], hidden: int, classes: int) -> None:
        super().__init__()
        require(hidden >= 1, f"hidden is {hidden}, but must be at least 1")
        require(classes >= 2, f"classes is {classes}; a classifier needs at least 2")
        self.shape = tuple(shape)
        self.hidden = nn.Linear(prod(self.shape), hidden)
        self.readout = nn.Linear(hidden, classes)

    def forward(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B K"]:
        """The logits."""
        if tuple(inputs.shape[1:]) != self.shape:
            raise InvalidValue(f"inputs are {tuple(inputs.shape[1:])}, but this network was built for {self.shape}")
        logits: Tensor = self.readout(torch.relu(self.hidden(inputs.flatten(1))))
        return logits


class Lesson(NamedTuple):
    """How a network is taught by one rule.

    Attributes:
        make: the rule.
        lr: learning rate; of a few tried on the embedded digits, about half of that with the lowest training loss.
        size: examples a step, from those of a minibatch and of all data.
    """

    make: MakeOptimizer
    lr: float
    size: Callable[[int, int], int]


def one(minibatch: int, everything: int) -> int:
    """A single example."""
    return 1


def some(minibatch: int, everything: int) -> int:
    """A minibatch."""
    return min(minibatch, everything)


def all_of_them(minibatch: int, everything: int) -> int:
    """All examples."""
    return everything


LESSONS: dict[str, Lesson] = {
    "batch": Lesson(Descent, 0.5, all_of_them),
    "stochastic": Lesson(Descent, 0.05, one),
    "minibatch": Lesson(Descent, 0.5, some),
    "momentum": Lesson(Momentum, 0.1, some),
    "nesterov": Lesson(Nesterov, 0.1, some),
    "gains": Lesson(Gains, 0.4, some),
    "rprop": Lesson(Rprop, 0.001, all_of_them),  # signs of noisy gradients would mean little
    "rmsprop": Lesson(RMSprop, 0.004, some),
    "adam": Lesson(Adam, 0.005, some),
    "adamw": Lesson(adamw, 0.005, some),
}
"""How a network is taught, by the name of its fit."""
