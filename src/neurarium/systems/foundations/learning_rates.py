r"""Learning rates: large to get there, then small to come to rest.

A step of stochastic descent is the slope plus noise, because a minibatch is not the whole data. Far from the bottom the
slope rules, and a large rate is soon there. Near it the noise rules: every step throws the weights about as far as the
slope pulls them back, and at a constant rate they never rest. They hover over the bottom at a height that grows with
the rate, the noise floor. A small rate has a low floor but takes long to arrive; a falling rate has both. On a bowl
with noise of known size all of this can be computed, for any schedule, before a step is taken.

Source: NYU NN II, "SGD Learning Rate" (large early, gradually decayed to reduce the fluctuations) and "Learning Rate
Decay"; Robbins & Monro 1951, A stochastic approximation method, §2; Bottou, Curtis & Nocedal 2018, Optimization methods
for large-scale machine learning, theorems 4.6 (constant rate) and 4.7 (1/t).
Differs: the notes give the advice without a formula; the heights here are exact for a bowl, where the theorems bound
them for any strongly convex error.
Shapes: R schedules, T steps, W walkers.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import InvalidValue, require
from neurarium.parts.schedules import Schedule


class Bowl(NamedTuple):
    """An error ½ λ w² whose slope is only known up to noise.

    Attributes:
        curvature: λ, above 0.
        noise: the standard deviation σ of each measurement of the slope, 0 or more.
        start: the weight w before the first step.
    """

    curvature: float = 1.0
    noise: float = 1.0
    start: float = 10.0


class Walks(NamedTuple):
    """What many walkers did, before the first step and after each.

    Attributes:
        heights: their mean height over the bottom.
        one: the way of the first of them.
    """

    heights: Float[Tensor, "R T1"]
    one: Float[Tensor, "R T1"]


def rates(schedules: Iterable[tuple[float, Schedule]], *, steps: int) -> Float[Tensor, "R T"]:
    """The learning rate of every step, for pairs of a rate and the schedule that it follows.

    Raises:
        InvalidValue: fewer than one step, or no schedule.

    >>> from neurarium.parts.schedules import constant, cosine
    >>> rates([(0.5, constant), (1.0, cosine)], steps=2).tolist()
    [[0.5, 0.5], [1.0, 0.5]]
    """
    require(steps >= 1, f"steps is {steps}, but must be at least 1")
    table = [[rate * schedule(step / steps) for step in range(steps)] for rate, schedule in schedules]
    require(bool(table), "there is no schedule; give at least one")
    return torch.tensor(table, dtype=torch.float64)


def noise_floor(rate: float, bowl: Bowl) -> float:
    """The height over the bottom at which stochastic descent hovers for ever at a constant rate.

    Raises:
        InvalidValue: a rate at which it would not hover: 0 or less, or 2/λ or more.

    >>> round(noise_floor(0.5, Bowl()), 4), round(noise_floor(0.05, Bowl()), 4)  # a tenth of the rate: below a tenth
    (0.1667, 0.0128)
    """
    limit = 2 / bowl.curvature
    require(0 < rate < limit, f"the rate is {rate}; on this bowl it must be above 0 and below 2/λ = {limit:g}")
    # ½ λ E[w²] = α σ² / (2 (2 − α λ)), the fixed point of the recursion in `expected_heights`
    return rate * bowl.noise**2 / (2 * (2 - rate * bowl.curvature))


def expected_heights(rates: Float[Tensor, "R T"], bowl: Bowl) -> Float[Tensor, "R T1"]:
    """The mean height over the bottom before the first step and after each, over all that chance may do.

    >>> heights = expected_heights(torch.full((1, 200), 0.5, dtype=torch.float64), Bowl())
    >>> round(float(heights[0, 0]), 4), round(float(heights[0, -1]), 4)
    (50.0, 0.1667)
    """
    check_bowl(rates, bowl)
    squares = [torch.full_like(rates[:, 0], bowl.start**2)]
    for rate in rates.T:
        # E[w²] ← (1 − α λ)² E[w²] + α² σ²: the slope pulls in, the noise throws out
        squares.append((1 - rate * bowl.curvature).square() * squares[-1] + rate.square() * bowl.noise**2)
    return 0.5 * bowl.curvature * torch.stack(squares, dim=1)


def walk(rates: Float[Tensor, "R T"], bowl: Bowl, *, walkers: int, generator: torch.Generator) -> Walks:
    """Let walkers descend, with the same noise under every schedule.

    Raises:
        InvalidValue: fewer than one walker, negative rates, or no bowl.

    >>> walks = walk(torch.full((1, 50), 0.5), Bowl(noise=0.0), walkers=3, generator=torch.Generator().manual_seed(0))
    >>> walks.one[0, :4].tolist()
    [10.0, 5.0, 2.5, 1.25]
    """
    check_bowl(rates, bowl)
    require(walkers >= 1, f"walkers is {walkers}, but must be at least 1")
    weights = torch.full((len(rates), walkers), bowl.start, dtype=rates.dtype)
    heights, one = [weights.square().mean(1)], [weights[:, 0]]
    for rate in rates.T:
        slope = bowl.curvature * weights
        slope = slope + bowl.noise * torch.randn(walkers, generator=generator, dtype=rates.dtype)
        # w ← w − α (λ w + σ ξ), ξ ~ N(0, 1)
        weights = weights - rate.unsqueeze(1) * slope
        heights.append(weights.square().mean(1))
        one.append(weights[:, 0])
    return Walks(0.5 * bowl.curvature * torch.stack(heights, dim=1), torch.stack(one, dim=1))


def lowest(error: Callable[[], Tensor], parameters: Sequence[Tensor], *, longest: int = 500) -> float:
    """The bottom of a smooth, strongly convex error, by L-BFGS; the parameters are left there.

    Args:
        error: what is minimised, a scalar that depends on the parameters.
        parameters: that may move.
        longest: iterations at the most.

    Raises:
        InvalidValue: no parameters, or an error that is not finite at the start.

    >>> weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    >>> round(lowest(lambda: (weight - 3).square().sum() + 1, [weight]), 6), round(weight.item(), 6)
    (1.0, 3.0)
    """
    require(len(parameters) > 0, "there are no parameters to move; give at least one")
    start = float(error().detach())
    if not torch.tensor(start).isfinite():
        raise InvalidValue(f"the error is {start} before the first step; every value must be finite")
    solver = torch.optim.LBFGS(
        parameters, max_iter=longest, tolerance_grad=1e-9, tolerance_change=1e-13, line_search_fn="strong_wolfe"
    )

    def look() -> Tensor:
        solver.zero_grad()
        value = error()
        value.backward()
        return value

    solver.step(look)
    return float(error().detach())


def check_bowl(rates: Float[Tensor, "R T"], bowl: Bowl) -> None:
    """Refuse a bowl that is none, and rates that lead nowhere.

    Raises:
        InvalidValue: a curvature that is not positive, negative noise, or rates that are negative or not finite.
    """
    require(bowl.curvature > 0, f"the curvature is {bowl.curvature}, but a bowl's is positive")
    require(bowl.noise >= 0, f"the noise is {bowl.noise}, but must be 0 or more")
    usable = bool((rates.isfinite() & (rates >= 0)).all())
    require(usable, "some rates are negative, NaN or infinite; each must be 0 or more")
