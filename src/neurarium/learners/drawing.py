"""Drawing: what can be asked of a learner that makes pictures out of chance.

A learner draws if it has `draw_images`. Which options it takes besides a count and a generator, its signature says:
`labels` if it was told classes, `steps` if it draws step by step, `guidance` if a class can be exaggerated. So none is
swallowed: what a learner does not take is refused before it draws. One that draws step by step can be watched.

Shapes: B batch, C channels, H height, W width.
"""

from collections.abc import Iterator, Mapping
from inspect import signature
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import InvalidValue

REASONS = {
    "labels": "it was not told classes, so none can be asked for",
    "steps": "it draws in one go",
    "guidance": "it has no answer to a class that could be exaggerated",
}


@runtime_checkable
class Draws(Protocol):
    """A learner that makes pictures out of chance."""

    def draw_images(self, count: int, *, generator: torch.Generator) -> Float[Tensor, "B C H W"]:
        """New pictures from 0 to 1, in evaluation mode; further options have defaults."""
        ...


@runtime_checkable
class Unfolds(Protocol):
    """A learner whose pictures come about step by step."""

    def watch_images(self, count: int, *, generator: torch.Generator) -> Iterator[Float[Tensor, "B C H W"]]:
        """What `draw_images` draws, after every step from nothing but chance on."""
        ...


def takes(learner: Draws, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that were given (are not None), if the learner takes them all.

    Raises:
        InvalidValue: one that it does not take, and why.

    >>> class Painter:
    ...     def draw_images(self, count, *, generator, steps=None):
    ...         return torch.zeros(count, 1, 8, 8)
    >>> takes(Painter(), {"steps": 5, "guidance": None})
    {'steps': 5}
    >>> takes(Painter(), {"guidance": 2.0})
    Traceback (most recent call last):
    neurarium.errors.InvalidValue: this run takes no guidance: it has no answer to a class that could be exaggerated
    """
    known = signature(learner.draw_images).parameters
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in known:
            raise InvalidValue(f"this run takes no {name}: {REASONS.get(name, 'it has no such option')}")
    return given
