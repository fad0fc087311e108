"""Errors for people: each says which value, which rule, and what to do.

Everything a user can get wrong raises a `NeurariumError`; the command line prints its one line and exits with 2.
An error that is not one of these is a bug of ours, and keeps its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class NeurariumError(Exception):
    """Something a person can put right; its text is one line."""


class InvalidValue(NeurariumError, ValueError):
    """An argument outside its rule: a negative count, a shape that does not fit, an unknown choice."""


class DataError(NeurariumError):
    """Data that cannot be used as it is: missing, empty, damaged, not a number."""


class NotFinite(NeurariumError, ArithmeticError):
    """A measure became NaN or infinite; the message names the step and the measure."""


class RunError(NeurariumError):
    """A run folder that cannot be used: missing, finished, foreign, damaged, or in use."""


class CheckpointError(RunError):
    """A checkpoint that is not whole: truncated, altered, or of another format."""


class MissingExtra(NeurariumError, ImportError):
    """A library that only some systems need is not installed; the message names the extra."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that ends an error line: the nearest known name, or all of them when none is near.

    >>> did_you_mean("lent", ["lenet", "elman"])
    "did you mean 'lenet'?"
    >>> did_you_mean("xyz", ["lenet", "elman"])
    'known: elman, lenet'
    """
    known = sorted(known)
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"


def require(holds: bool, message: str) -> None:
    """Raise `InvalidValue` with the message unless the rule holds.

    >>> require(3 > 0, "steps is 3, but must be positive")
    >>> require(-1 > 0, "steps is -1, but must be positive")
    Traceback (most recent call last):
    neurarium.errors.InvalidValue: steps is -1, but must be positive
    """
    if not holds:
        raise InvalidValue(message)
