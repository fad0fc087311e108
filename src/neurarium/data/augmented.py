"""Augmented streams: each batch changed by chance on its way, and two views of each for contrastive learning.

The chance of the n-th batch is a pure function of (seed, n), so a place in the stream is the place in the data and one
integer; going back there costs nothing. It is drawn on the CPU, so that a seed means the same on every device.

Shapes: B batch, C channels, H height, W width.
"""

from hashlib import blake2b
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import InvalidValue, require
from neurarium.parts.bundles import Labelled

Batch = TypeVar("Batch")


@runtime_checkable
class Change(Protocol):
    """Images in, images out, all chance from a generator."""

    def __call__(self, images: Float[Tensor, "B C H W"], *, generator: torch.Generator) -> Float[Tensor, "B C H W"]: ...


@runtime_checkable
class Source(Protocol):
    """A stream of labelled images."""

    def __next__(self) -> Labelled: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


class Pair(NamedTuple):
    """Two views of the same images."""

    first: Float[Tensor, "B C H W"]
    second: Float[Tensor, "B C H W"]


class _Changed(Generic[Batch]):
    """What both streams share: the source, the change, and the place."""

    def __init__(self, stream: Source, augment: Change, *, seed: int = 0) -> None:
        self.stream = stream
        self.augment = augment
        self.seed = seed
        self.drawn = 0

    def __iter__(self) -> Self:
        return self

    def chance(self) -> torch.Generator:
        """The chance of the next batch."""
        # Hashed, because neighbouring seeds and batches (0 and 1, 1 and 0) must not give related numbers.
        mixed = blake2b(f"{self.seed}/{self.drawn}".encode(), digest_size=8).digest()
        self.drawn += 1
        return torch.Generator().manual_seed(int.from_bytes(mixed, "little"))

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return {"stream": self.stream.state_dict(), "seed": self.seed, "drawn": self.drawn}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back to a place.

        Raises:
            InvalidValue: the state belongs to another seed or data set, or is no state of an augmented stream.
        """
        seed, drawn = state.get("seed"), state.get("drawn")
        require(seed == self.seed, f"the saved place was augmented with seed {seed}, but this stream has {self.seed}")
        if not (isinstance(drawn, int) and drawn >= 0 and "stream" in state):
            raise InvalidValue(f"the saved place counts {drawn} augmented batches, not from 0")
        self.stream.load_state_dict(state["stream"])
        self.drawn = drawn


class Augmented(_Changed[Labelled]):
    """Labelled batches whose images are changed by chance, each image by its own draw.

    Args:
        stream: the batches as they are.
        augment: changes images by the chance of a generator on the CPU.
        seed: decides the changes.

    >>> from neurarium.data.batches import Held
    >>> held = Held(Labelled(torch.zeros(4, 1, 2, 2), torch.arange(4)))
    >>> def brighter(images, *, generator):
    ...     return images + torch.rand(len(images), 1, 1, 1, generator=generator)
    >>> stream = Augmented(held.batches(2), brighter)
    >>> first, state = next(stream), stream.state_dict()
    >>> second = next(stream)
    >>> stream.load_state_dict(state)
    >>> torch.equal(next(stream).inputs, second.inputs), torch.equal(first.inputs, second.inputs)
    (True, False)
    """

    def __next__(self) -> Labelled:
        images, labels = next(self.stream)
        return Labelled(self.augment(images, generator=self.chance()), labels)


class Views(_Changed[Pair]):
    """Two views of the images of every batch, each with its own draw; labels are left out.

    Args:
        stream: the batches as they are.
        augment: changes images by the chance of a generator on the CPU.
        seed: decides the changes.

    >>> from neurarium.data.batches import Held
    >>> held = Held(Labelled(torch.zeros(4, 1, 2, 2), torch.arange(4)))
    >>> def brighter(images, *, generator):
    ...     return images + torch.rand(len(images), 1, 1, 1, generator=generator)
    >>> first, second = next(Views(held.batches(2), brighter))
    >>> torch.equal(first, second)
    False
    """

    def __next__(self) -> Pair:
        images, _ = next(self.stream)
        chance = self.chance()
        return Pair(self.augment(images, generator=chance), self.augment(images, generator=chance))
