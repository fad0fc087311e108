r"""Decoders: weights that read a value, or any function of it, from how fast a population fires.

Each neuron's rate is multiplied by its decoder and all are added up. The decoders are solved for: they are those that
come nearest to the wanted values over many examples, when every rate carries noise of its own. The noise is what keeps
decoders small: without it they would cancel against each other rates that nobody can trust so far.

Source: CS 479, "Population Coding" (regularised least squares, noise as σ²I); Eliasmith & Anderson 2003, Neural
Engineering, §2 (decoders under noise).
Differs: the noise is given as a part of the fastest rate, as in nengo.solvers.LstsqL2; without noise the smallest of
the best decoders are found by singular values.
Shapes: P examples, N neurons, D dimensions of the represented value, K of what is decoded. Units: Hz; decoders in s.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from neurarium.errors import InvalidValue, require

NOISE = 0.1  # of the fastest rate: default of nengo.solvers.LstsqL2

Function = Callable[[Tensor], Any]
"""Of one value (D,): a number, a sequence of numbers or a tensor (K,)."""


@torch.no_grad()
def solve_decoders(
    activities: Float[Tensor, "P N"], targets: Float[Tensor, "P K"], *, noise: float = NOISE
) -> Float[Tensor, "N K"]:
    """The decoders D with which AD comes nearest to T when rates carry noise.

    A neuron that is silent in all examples gets 0. Solved in float64, given back in the activities' dtype.

    Args:
        activities: A, rates in Hz.
        targets: T, what is to be decoded.
        noise: standard deviation of the noise, as a part of the fastest rate.

    Raises:
        InvalidValue: no examples, another number of targets, values that are not finite, a negative noise, or neurons
            that are all silent.

    >>> rates = torch.tensor([[100.0, 0.0], [50.0, 50.0], [0.0, 100.0]])
    >>> (1000 * solve_decoders(rates, torch.tensor([[1.0], [0.0], [-1.0]]), noise=0.0)).round(decimals=4).tolist()
    [[10.0], [-10.0]]
    """
    _check(activities, targets, noise)
    rates, wanted = activities.double(), targets.double()
    if noise == 0:
        best: Tensor = torch.linalg.lstsq(rates.cpu(), wanted.cpu(), driver="gelsd").solution
        return best.to(activities)
    sigma = noise * float(rates.abs().max())
    # (AᵀA + Pσ²I) D = AᵀT, which minimises |AD − T|² + Pσ²|D|²
    gram = rates.T @ rates
    gram.diagonal().add_(len(rates) * sigma**2)
    return torch.cholesky_solve(rates.T @ wanted, torch.linalg.cholesky(gram)).to(activities)


def _check(activities: Tensor, targets: Tensor, noise: float) -> None:
    shapes = f"the activities are {tuple(activities.shape)} and the targets {tuple(targets.shape)}"
    require(activities.ndim == 2 == targets.ndim, f"{shapes}, but must be (examples, neurons) and (examples, values)")
    require(len(activities) == len(targets), f"{shapes}, but must have a row for each example")
    require(activities.numel() > 0 and targets.numel() > 0, f"{shapes}: empty; give at least one example")
    for name, values in (("activities", activities), ("targets", targets)):
        require(bool(values.isfinite().all()), f"the {name} are NaN or infinite somewhere; every value must be finite")
    require(noise >= 0, f"noise is {noise}, but must be 0 or more")
    silent = (
        f"all {activities.shape[1]} neurons are silent in all {len(activities)} examples, so nothing can be decoded"
    )
    require(bool(activities.any()), f"{silent}; give more gain or bias, or examples within their tuning")


def tabulate(function: Function, values: Float[Tensor, "P D"]) -> Float[Tensor, "P K"]:
    """A Python function at every value, called for one after the other: any that takes one value will do.

    Raises:
        InvalidValue: there is no value, or the function gives something that is not numbers, of another length here
            than there, or not finite; says at which value.

    >>> tabulate(lambda y: [y[0] * y[1], 2], torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
    tensor([[12.,  2.],
            [30.,  2.]])
    """
    require(len(values) > 0, "there are no values to call the function at; give at least one")
    rows = [_numbers(function, value) for value in values]
    for value, row in zip(values, rows, strict=True):
        at = f"the function at {_told(value)} gives {_told(row)}"
        if row.shape != rows[0].shape:
            raise InvalidValue(f"{at}, but elsewhere {len(rows[0])} numbers; it must give as many for every value")
        require(bool(row.isfinite().all()), f"{at}, but every number must be finite")
    return torch.stack(rows)


def _numbers(function: Function, value: Float[Tensor, " D"]) -> Float[Tensor, " K"]:
    given = function(value.clone())
    try:
        return torch.as_tensor(given, dtype=value.dtype, device=value.device).reshape(-1)
    except (TypeError, ValueError, RuntimeError) as error:
        rule = "but must give a number, a sequence of numbers or a tensor"
        raise InvalidValue(f"the function at {_told(value)} gives {given!r:.60}, {rule}") from error


def _told(row: Tensor) -> str:
    return "(" + ", ".join(f"{number:g}" for number in row.tolist()) + ")"


def draw_values(count: int, dimensions: int, *, generator: torch.Generator) -> Float[Tensor, "P D"]:
    """Values spread evenly over the ball of radius 1: between −1 and 1 for a scalar.

    Raises:
        InvalidValue: a count or number of dimensions below 1.

    >>> draw_values(500, 3, generator=torch.Generator().manual_seed(0)).norm(dim=1).max() <= 1
    tensor(True)
    """
    require(count >= 1, f"{count} values are asked for, but it must be at least 1")
    require(dimensions >= 1, f"dimensions is {dimensions}, but must be at least 1")
    directions = normalize(torch.randn(count, dimensions, generator=generator), dim=1)
    # Within a radius r lies rᴰ of the ball.
    return directions * torch.rand(count, 1, generator=generator) ** (1 / dimensions)
