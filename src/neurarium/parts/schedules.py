"""Schedules: a factor of the learning rate, as a function of how much of the training is done (0 to 1).

Source: NYU NN II, "SGD Learning Rate" and "Learning Rate Decay" (large early, small late); Robbins & Monro 1951, A
stochastic approximation method, §2 (1/t); Loshchilov & Hutter 2017, SGDR, eq. 5 (cosine); Goyal et al. 2017, Accurate,
large minibatch SGD, §2.2 (warm-up).
Differs: each knows the part of the training that is done rather than a number of steps or epochs, so that the same
schedule serves a run of any length.
"""

from collections.abc import Callable, Sequence
from math import cos, pi

from neurarium.errors import require

Schedule = Callable[[float], float]


def constant(progress: float) -> float:
    """1 throughout.

    >>> constant(0.7)
    1.0
    """
    return 1.0


def cosine(progress: float) -> float:
    """Half a cosine wave from 1 down to 0 (Loshchilov & Hutter 2017, SGDR, eq. 5 without restarts).

    >>> cosine(0.0), cosine(0.5), round(cosine(1.0), 6)
    (1.0, 0.5, 0.0)
    """
    # η/η₀ = ½ (1 + cos(π t/T))
    return round(0.5 * (1 + cos(pi * progress)), 12)


def stepwise(*, at: Sequence[float] = (0.5, 0.75), factor: float = 0.1) -> Schedule:
    """Flat, with a sudden fall at each of some moments.

    Args:
        at: the progress at which it falls, rising, each above 0 and below 1.
        factor: what is left after each fall; above 0, at most 1.

    Raises:
        InvalidValue: moments outside the training or out of order, or a factor outside its range.

    >>> schedule = stepwise(at=(0.5, 0.75), factor=0.1)
    >>> [round(schedule(progress), 6) for progress in (0.0, 0.49, 0.5, 0.75, 1.0)]
    [1.0, 1.0, 0.1, 0.01, 0.01]
    """
    moments = tuple(at)
    require(all(0 < moment < 1 for moment in moments), f"at is {moments}; every fall lies above 0 and below 1")
    require(moments == tuple(sorted(moments)), f"at is {moments}, but must rise; sort it")
    require(0 < factor <= 1, f"factor is {factor}, but must be above 0 and at most 1")

    def schedule(progress: float) -> float:
        # η/η₀ = f^(falls so far)
        return float(factor ** sum(progress >= moment for moment in moments))

    return schedule


def exponential(*, end: float = 0.01) -> Schedule:
    """Falls by the same part in every step.

    Args:
        end: what it comes down to; above 0, at most 1.

    Raises:
        InvalidValue: an end outside its range.

    >>> [round(exponential(end=0.01)(progress), 6) for progress in (0.0, 0.5, 1.0)]
    [1.0, 0.1, 0.01]
    """
    require(0 < end <= 1, f"end is {end}, but must be above 0 and at most 1")

    def schedule(progress: float) -> float:
        # η/η₀ = end^(t/T)
        return float(end**progress)

    return schedule


def inverse_time(*, end: float = 0.01) -> Schedule:
    """Falls as 1/t: fast at first, then ever more slowly, so that its sum would grow for ever.

    Args:
        end: what it comes down to; above 0, at most 1.

    Raises:
        InvalidValue: an end outside its range.

    >>> [round(inverse_time(end=0.01)(progress), 4) for progress in (0.0, 0.5, 1.0)]
    [1.0, 0.0198, 0.01]
    """
    require(0 < end <= 1, f"end is {end}, but must be above 0 and at most 1")
    decay = 1 / end - 1

    def schedule(progress: float) -> float:
        # η/η₀ = 1 / (1 + k t/T), where 1/(1 + k) is the end
        return 1 / (1 + decay * progress)

    return schedule


def warm_up(then: Schedule = cosine, *, over: float = 0.1, start: float = 0.1) -> Schedule:
    """A straight rise to 1, and another schedule, squeezed into what is left of the training.

    Args:
        then: the schedule after the rise.
        over: the part of the training that the rise takes, above 0 and below 1.
        start: where the rise begins, 0 to 1; at 0 the very first step stands still.

    Raises:
        InvalidValue: a part or a start outside its range.

    >>> schedule = warm_up(cosine, over=0.2, start=0.1)
    >>> [round(schedule(progress), 4) for progress in (0.0, 0.1, 0.2, 0.6, 1.0)]
    [0.1, 0.55, 1.0, 0.5, 0.0]
    """
    require(0 < over < 1, f"over is {over}; the rise takes a part of the training above 0 and below 1")
    require(0 <= start <= 1, f"start is {start}, but must be at least 0 and at most 1")

    def schedule(progress: float) -> float:
        if progress < over:
            # η/η₀ = s + (1 − s) t/T_w
            return start + (1 - start) * progress / over
        # min: the last of the division's digits must not lead beyond the end
        return then(min(1.0, (progress - over) / (1 - over)))

    return schedule
