r"""The loss landscape: what the loss looks like around the weights that training found.

Go from the weights along two random directions, and the loss becomes a surface that can be drawn. For two nets to be
compared, a step must mean the same in both: nets with rectifiers and batch norm compute the same when the weights of
a filter are scaled, so each filter of a random direction is given the norm of the filter that it moves. Around a deep
plain net the surface is torn and bends down nearly as much as up; with skip connections it is more of a bowl. How
rough it is, is said by the share of its curvature that bends down.

Source: NYU NN II, Residual networks ("skip connections makes loss smoother"); Li, Xu, Taylor, Studer & Goldstein 2018,
Visualizing the loss landscape of neural nets, §4 (filter normalisation; biases and the weights of norms stay), §6
(share of negative curvature, theirs by the eigenvalues of the whole Hessian).
Differs: batch norm takes its statistics from the examples judged, anew at each point. The running ones belong to the
weights in the middle: with them a net whose filter is doubled computes something else, although it is the same net to
training, and so the scale that filter normalisation takes out would be back. Dropout is off. Curvature is that of the
drawn surface, by differences between neighbouring points.
Shapes: P points, G points a side, N examples, K classes; a direction has a tensor for each parameter.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, replace_all_batch_norm_modules_, vmap
from torch.nn.functional import cross_entropy

from neurarium.errors import require
from neurarium.parts.bundles import Labelled, check_batch

SPAN = 1.0  # how far the surface reaches along a direction; 1 moves each filter by its own norm, as Li et al. draw it
TOGETHER = 8  # points whose weights are evaluated in one call

Weights = Mapping[str, Tensor]
"""A tensor for each parameter, by its name."""

Loss = Callable[[Weights], Float[Tensor, ""]]


class Plane(NamedTuple):
    """Two directions in the space of weights."""

    first: Weights
    second: Weights


class Curvatures(NamedTuple):
    """The two main curvatures of a surface at its inner points; times the square of a step, so without a unit."""

    least: Float[Tensor, "G-2 G-2"]
    most: Float[Tensor, "G-2 G-2"]


def filter_normalised(direction: Float[Tensor, "*shape"], weights: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The direction with each filter as long as the filter of the weights; 0 for biases and the weights of norms.

    A filter is all that goes into one map or unit: what lies under one index of the first dimension.

    >>> filter_normalised(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    tensor([[0.6000, 0.8000],
            [2.0000, 0.0000]])
    """
    if weights.ndim < 2:
        return torch.zeros_like(weights)
    flat, lengths = direction.flatten(1), weights.flatten(1).norm(dim=1, keepdim=True)
    # d_ij ← d_ij / |d_ij| · |θ_ij|, §4
    return (flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-12) * lengths).view_as(weights)


def random_direction(weights: Weights, *, generator: torch.Generator) -> dict[str, Tensor]:
    """A filter-normalised direction, normally distributed at first."""
    drawn = {name: torch.randn(value.shape, generator=generator).to(value) for name, value in weights.items()}
    return {name: filter_normalised(drawn[name], value) for name, value in weights.items()}


def random_plane(weights: Weights, *, generator: torch.Generator) -> Plane:
    """Two random directions; in so many dimensions they are nearly at right angles."""
    return Plane(random_direction(weights, generator=generator), random_direction(weights, generator=generator))


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """The parameters of a net by name, apart from it."""
    return {name: parameter.detach().clone() for name, parameter in net.named_parameters()}


def loss_of(net: nn.Module, examples: Labelled) -> Loss:
    """The mean cross-entropy of some examples as a function of the weights alone.

    Batch norm takes its statistics from these examples, for these weights; dropout is off. The net is left as it is.

    Args:
        net: from inputs (N, ...) to logits (N, K).
        examples: always the same ones.

    Raises:
        InvalidValue: there are no examples, or not as many inputs as labels.

    >>> net = nn.Linear(2, 2)
    >>> loss = loss_of(net, Labelled(torch.eye(2), torch.tensor([0, 1])))
    >>> loss({"weight": torch.zeros(2, 2), "bias": torch.zeros(2)})
    tensor(0.6931)
    """
    check_batch(examples, wanted="inputs and labels")
    fixed = deepcopy(net)
    # A norm without running statistics takes those of the batch, in evaluation mode too.
    replace_all_batch_norm_modules_(fixed)
    fixed.eval()

    def loss(weights: Weights) -> Float[Tensor, ""]:
        return cross_entropy(functional_call(fixed, dict(weights), (examples.inputs,)), examples.labels)

    return loss


@torch.no_grad()
def losses_at(
    loss: Loss, weights: Weights, plane: Plane, places: Float[Tensor, "P 2"], *, together: int = TOGETHER
) -> Float[Tensor, " P"]:
    """The loss at points of a plane through the weights.

    Args:
        loss: of weights.
        weights: at the place (0, 0).
        plane: the directions.
        places: how far along each direction.
        together: points evaluated in one call, their weights stacked.

    Raises:
        InvalidValue: `together` is below 1.

    >>> loss = lambda weights: weights["w"].square().sum()
    >>> plane = Plane({"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 1.0])})
    >>> losses_at(loss, {"w": torch.tensor([1.0, 2.0])}, plane, torch.tensor([[0.0, 0.0], [1.0, -2.0]]))
    tensor([5., 4.])
    """
    require(together >= 1, f"{together} points are evaluated together; at least 1 is needed")

    def at(place: Float[Tensor, " 2"]) -> Float[Tensor, ""]:
        # L(θ + α δ + β η)
        return loss(
            {name: weights[name] + place[0] * plane.first[name] + place[1] * plane.second[name] for name in weights}
        )

    # One point alone needs no stacking, and without it convolutions stay whole.
    if together == 1:
        return torch.stack([at(place) for place in places])
    return torch.cat([vmap(at)(chunk) for chunk in places.split(together)])


def surface(
    loss: Loss, weights: Weights, plane: Plane, *, points: int, span: float = SPAN, together: int = TOGETHER
) -> Float[Tensor, "G G"]:
    """The loss over a square of a plane, the weights in its middle; rows go along the first direction.

    Args:
        loss: of weights.
        weights: in the middle.
        plane: the directions.
        points: a side, odd, so that the middle is one of them.
        span: how far the square reaches to each side.
        together: as `losses_at` takes it.

    Raises:
        InvalidValue: fewer than 3 points or an even number, or a span that is not positive.

    >>> plane = Plane({"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 1.0])})
    >>> surface(lambda weights: weights["w"].square().sum(), {"w": torch.zeros(2)}, plane, points=3)
    tensor([[2., 1., 2.],
            [1., 0., 1.],
            [2., 1., 2.]])
    """
    require(points >= 3 and points % 2 == 1, f"the surface has {points} points a side; take an odd number from 3 on")
    require(span > 0, f"the span is {span}; it must be positive")
    steps = torch.linspace(-span, span, points, device=next(iter(weights.values())).device)
    steps[points // 2] = 0.0
    return losses_at(loss, weights, plane, torch.cartesian_prod(steps, steps), together=together).view(points, points)


def curvatures(heights: Float[Tensor, "G G"]) -> Curvatures:
    """The eigenvalues of the 2×2 matrix of second differences at each inner point.

    >>> side = torch.arange(5.0) - 2
    >>> found = curvatures(side[:, None] ** 2 - 3 * side**2)  # a saddle
    >>> float(found.least[1, 1]), float(found.most[1, 1])
    (-6.0, 2.0)
    """
    middle = heights[1:-1, 1:-1]
    down = heights[2:, 1:-1] - 2 * middle + heights[:-2, 1:-1]
    across = heights[1:-1, 2:] - 2 * middle + heights[1:-1, :-2]
    twist = (heights[2:, 2:] - heights[2:, :-2] - heights[:-2, 2:] + heights[:-2, :-2]) / 4
    # λ = (a + b)/2 ± √(((a − b)/2)² + c²) of the matrix (a c; c b)
    mean, root = (down + across) / 2, torch.hypot((down - across) / 2, twist)
    return Curvatures(mean - root, mean + root)


def roughness(heights: Float[Tensor, "G G"]) -> float:
    """The share of a surface's curvature that bends down: 0 for any convex one, ½ for one that bends down as much.

    It is the same for a surface and for a multiple of it, so that high and low surfaces can be compared.

    >>> side = torch.arange(5.0) - 2
    >>> bowl, saddle = side[:, None] ** 2 + side**2, side[:, None] ** 2 - side**2
    >>> roughness(bowl), roughness(saddle), roughness(torch.zeros(5, 5))
    (0.0, 0.5, 0.0)
    """
    both = torch.stack(curvatures(heights))
    # Σ max(0, −λ) / Σ |λ|, over both curvatures of all inner points
    return float((-both).clamp(min=0).sum() / both.abs().sum().clamp(min=1e-12))
