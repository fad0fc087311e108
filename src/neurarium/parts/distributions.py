"""Distributions of settings: what a search over learning rates, widths and the like draws its values from.

Where only the order of magnitude matters (a learning rate, a penalty), `LogUniform` gives each power of ten the same
share; where differences matter, `Uniform` and `Integer` do; `Choice` takes what has no order.

Source: Bergstra & Bengio 2012, Random Search for Hyper-Parameter Optimization, §2 (independent draws) and §2.3
(numbers drawn exponentially and uniformly from a range).
"""

from dataclasses import dataclass
from math import exp, log
from typing import Protocol, runtime_checkable

import torch

from neurarium.errors import require

Setting = int | float | str
"""A value of a setting."""


@runtime_checkable
class Distribution(Protocol):
    """What a setting is drawn from."""

    def draw(self, generator: torch.Generator, /) -> Setting: ...


@dataclass(frozen=True)
class Uniform:
    """Any number of a range, each as likely.

    >>> 2 <= Uniform(2.0, 3.0).draw(torch.Generator().manual_seed(0)) < 3
    True
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        require(self.low < self.high, f"a range goes from {self.low:g} to {self.high:g}; give the lower end first")

    def draw(self, generator: torch.Generator) -> float:
        """One number."""
        return self.low + (self.high - self.low) * _unit(generator)


@dataclass(frozen=True)
class LogUniform:
    """A positive number whose logarithm is uniform: each power of ten in the range is as likely.

    >>> 1e-3 <= LogUniform(1e-3, 1.0).draw(torch.Generator().manual_seed(0)) < 1
    True
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        fits = 0 < self.low < self.high
        require(fits, f"a logarithmic range goes from {self.low:g} to {self.high:g}, but needs 0 < low < high")

    def draw(self, generator: torch.Generator) -> float:
        """One number."""
        # ln x ~ U(ln low, ln high)
        return exp(log(self.low) + (log(self.high) - log(self.low)) * _unit(generator))


@dataclass(frozen=True)
class Integer:
    """A whole number of a range, both ends included.

    >>> Integer(3, 3).draw(torch.Generator())
    3
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        require(self.low <= self.high, f"whole numbers go from {self.low} to {self.high}; give the lower end first")

    def draw(self, generator: torch.Generator) -> int:
        """One number."""
        return int(torch.randint(self.low, self.high + 1, (), generator=generator))


@dataclass(frozen=True)
class Choice:
    """One of some values, each as likely.

    >>> Choice((32, 64)).draw(torch.Generator().manual_seed(0)) in (32, 64)
    True
    """

    options: tuple[Setting, ...]

    def __post_init__(self) -> None:
        require(len(self.options) >= 1, "there is nothing to choose from; give at least one option")

    def draw(self, generator: torch.Generator) -> Setting:
        """One of them."""
        return self.options[int(torch.randint(len(self.options), (), generator=generator))]


def _unit(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator, dtype=torch.float64))
