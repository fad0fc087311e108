"""Schedules: a factor of the learning rate, as a function of how much of the training is done (0 to 1)."""

from collections.abc import Callable
from math import cos, pi

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
