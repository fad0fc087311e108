r"""Universal approximation: a sum of steep sigmoids comes as near to any continuous function as one likes.

Nothing is learned here; the weights are written down. A sigmoid with a large weight is a step. The difference of two
steps is a piece that is 1 over an interval and 0 elsewhere. Cut [0, 1] into N intervals, give each piece the height of
the function in the middle of its interval, and the sum is one hidden layer of sigmoids that follows the function. If
the function is nowhere steeper than L, no point of an interval differs from its middle by more than L/(2N).

At the jumps the bound holds as well. The pieces are never negative and sum to 1, so the output is a weighted mean of
heights. At a distance d from a jump it is a mean of the two heights beside it, the nearer at 1/(2N) − d, the other at
1/(2N) + d. The nearer weighs g(s d) ≥ 1/2, so the error is at most L (1/(2N) − d (2 g(s d) − 1)) ≤ L/(2N), however
steep the step. What steepness must see to are the tails of all other jumps: with r = s/N they add, right at a jump
where nothing is to spare, at most (L/(2N)) 4 e⁻ʳ/(1 − e⁻ʳ), from r = 40 on less than the last digit of float64.

Source: CS 479 §5, §5.1 (threshold from σ(wx), piece P = H(x; b) − H(x; b + δ), G = Σ f(a) P); Cybenko 1989,
Approximation by superpositions of a sigmoidal function, theorem 2 (the theorem, proved there without construction).
Differs: a is the middle of the interval, which halves the error of an end; the first piece has no step at 0 and the
last none at 1, where nothing lies beyond; on the square a piece is the product of one along each axis, which needs
units that multiply.
Shapes: P points, Q points across, N pieces, M = N − 1 steps between them.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require

STEEPNESS = 40.0  # r = s/N, the weight of a sigmoid times the width of a piece: e⁻⁴⁰ is under float64's last digit


@runtime_checkable
class OnInterval(Protocol):
    """A function on [0, 1], of many points at once."""

    def __call__(self, points: Float[Tensor, " P"], /) -> Float[Tensor, " P"]: ...


@runtime_checkable
class OnSquare(Protocol):
    """A function on [0, 1]², of many points at once."""

    def __call__(self, across: Float[Tensor, " P"], up: Float[Tensor, " P"], /) -> Float[Tensor, " P"]: ...


def middles(pieces: int) -> Float[Tensor, " N"]:
    """The middle of each of equal intervals of [0, 1].

    >>> middles(4).tolist()
    [0.125, 0.375, 0.625, 0.875]
    """
    require(pieces >= 1, f"pieces is {pieces}, but must be at least 1")
    return (torch.arange(pieces, dtype=torch.float64) + 0.5) / pieces


class Staircase(nn.Module):
    """One hidden layer of steep sigmoids, all of whose weights are written down.

    Args:
        function: what is followed.
        pieces: N; there is a sigmoid for each of the N − 1 steps between two.
        steepness: r, the weight of a sigmoid times the width of a piece.

    Raises:
        InvalidValue: no pieces, a steepness that is not positive, or a function that is not finite at some middle.

    >>> net = Staircase(lambda x: 2 * x, pieces=4)
    >>> net(torch.tensor([0.1, 0.4, 0.5, 0.9], dtype=torch.float64)).round(decimals=4).tolist()
    [0.25, 0.75, 1.0, 1.75]
    """

    weight: Tensor
    bias: Tensor
    rise: Tensor
    first: Tensor

    def __init__(self, function: OnInterval, *, pieces: int, steepness: float = STEEPNESS) -> None:
        super().__init__()
        weight, bias = step_weights(pieces, steepness)
        heights = checked(function(middles(pieces)))
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        # Σ f(a_i) P_i, gathered by steps: each rises by the difference of the heights beside it.
        self.register_buffer("rise", heights.diff())
        self.register_buffer("first", heights[0])

    def forward(self, points: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
        """The outputs G(x)."""
        # G(x) = f(a₀) + Σ_i (f(a_i) − f(a_{i−1})) g(w x + b_i)
        return self.first + torch.sigmoid(points.unsqueeze(1) * self.weight + self.bias) @ self.rise


def step_weights(pieces: int, steepness: float = STEEPNESS) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """Weight and bias of the sigmoids that step where one piece ends and the next begins.

    >>> step_weights(4, 10.0)[0].tolist(), step_weights(4, 10.0)[1].tolist()
    ([40.0, 40.0, 40.0], [-10.0, -20.0, -30.0])
    """
    require(pieces >= 1, f"pieces is {pieces}, but must be at least 1")
    require(steepness > 0, f"steepness is {steepness}, but must be positive; from 40 on a sigmoid is a step")
    # g(s (x − i/N)) with s = r N, so w = r N and b = −r i
    places = torch.arange(1, pieces, dtype=torch.float64)
    return torch.full_like(places, steepness * pieces), -steepness * places


def pieces_at(points: Float[Tensor, " P"], *, pieces: int, steepness: float = STEEPNESS) -> Float[Tensor, "P N"]:
    """Each piece at each point: never negative, and 1 in sum.

    >>> pieces_at(torch.tensor([0.1, 0.5], dtype=torch.float64), pieces=2).round(decimals=4).tolist()
    [[1.0, 0.0], [0.5, 0.5]]
    """
    weight, bias = step_weights(pieces, steepness)
    steps = torch.sigmoid(points.unsqueeze(1) * weight + bias)
    ends = torch.ones_like(points).unsqueeze(1)
    # P_i = H_i − H_{i+1}, where the first H is 1 and the one after the last is 0
    return -torch.cat([ends, steps, 0 * ends], dim=1).diff(dim=1)


def on_square(
    function: OnSquare,
    across: Float[Tensor, " P"],
    up: Float[Tensor, " Q"],
    *,
    pieces: int,
    steepness: float = STEEPNESS,
) -> Float[Tensor, "P Q"]:
    """The approximation on the square, at every pair of points.

    >>> x = torch.tensor([0.2, 0.8], dtype=torch.float64)
    >>> on_square(lambda x, y: x + y, x, x, pieces=2).round(decimals=4).tolist()
    [[0.5, 1.0], [1.0, 1.5]]
    """
    centres = torch.cartesian_prod(middles(pieces), middles(pieces))
    heights = checked(function(centres[:, 0], centres[:, 1])).reshape(pieces, pieces)
    left = pieces_at(across, pieces=pieces, steepness=steepness)
    right = pieces_at(up, pieces=pieces, steepness=steepness)
    # G(x, y) = Σ_ij f(a_i, a_j) P_i(x) P_j(y)
    return left @ heights @ right.T


def bound(steepest: float, *, pieces: int, dimensions: int = 1) -> float:
    """No error is larger, for a function that is nowhere steeper than `steepest` along any axis.

    >>> bound(2.0, pieces=10), bound(2.0, pieces=10, dimensions=2)
    (0.1, 0.2)
    """
    require(steepest >= 0, f"steepest is {steepest}, but must be 0 or more")
    require(pieces >= 1, f"pieces is {pieces}, but must be at least 1")
    # D L/(2N): half a piece's width along each of D axes
    return dimensions * steepest / (2 * pieces)


def fine_points(
    pieces: int, *, inside: int = 32, beside: int = 16, steepness: float = STEEPNESS
) -> Float[Tensor, " P"]:
    """Points at which an error has nowhere to hide: the ends, inside every piece, and all through every jump.

    Args:
        pieces: N.
        inside: points in a piece.
        beside: points on either side of every jump, in the 10 widths of its sigmoid, besides the jump itself.
        steepness: r.

    >>> points = fine_points(2, inside=2, beside=1)
    >>> points.tolist()
    [0.0, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0]
    """
    even = torch.linspace(0, 1, pieces * inside + 1, dtype=torch.float64)
    jumps = torch.arange(1, pieces, dtype=torch.float64) / pieces
    # The width of a sigmoid is 1/s = 1/(r N); beyond 10 of them it is 0 or 1 to 5 digits.
    offsets = torch.linspace(-10, 10, 2 * beside + 1, dtype=torch.float64) / (steepness * pieces)
    near = (jumps.unsqueeze(1) + offsets).flatten().clamp(0, 1)
    return torch.cat([even, near]).unique()


def checked(heights: Tensor) -> Tensor:
    """The heights, if all of them are finite.

    Raises:
        InvalidValue: some are not.
    """
    if not bool(heights.isfinite().all()):
        raise InvalidValue(
            "the function is NaN or infinite at the middle of a piece; it must be finite on all of [0, 1]"
        )
    return heights
