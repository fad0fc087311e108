"""Batches: shuffled minibatches that know their place, and Held: bundles already in memory.

The order of an epoch is a pure function of (seed, epoch), so a place in the data is two integers, and going back to
it costs one permutation: no random state is saved, and none of anyone else's is touched.

Shapes: B batch, N examples.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Generic, Protocol, Self, TypeVar, cast, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from neurarium.errors import InvalidValue, require

Batch = TypeVar("Batch")
Batch_co = TypeVar("Batch_co", covariant=True)
Bundle = TypeVar("Bundle", bound=tuple[Tensor, ...])


@runtime_checkable
class Indexed(Protocol[Batch_co]):
    """Examples that can be counted and taken by index: tensors in memory, or a folder of files."""

    def __len__(self) -> int: ...

    def take(self, index: Int64[Tensor, " B"], /) -> Batch_co: ...


def epoch_order(length: int, *, seed: int, epoch: int) -> Int64[Tensor, " N"]:
    """The order of one epoch: a permutation that depends on (seed, epoch) and on nothing else.

    >>> epoch_order(4, seed=0, epoch=0).sort().values.tolist()
    [0, 1, 2, 3]
    """
    # Hashed, because neighbouring seeds and epochs (0 and 1, 1 and 0) must not give related or equal orders.
    mixed = int.from_bytes(blake2b(f"{seed}/{epoch}".encode(), digest_size=8).digest(), "little")
    return torch.randperm(length, generator=torch.Generator().manual_seed(mixed))


class Batches(Generic[Batch]):
    """Minibatches without end, reshuffled each epoch: a `Stream` over anything indexed.

    The ragged rest of an epoch is left out, so every batch has the same size; a set smaller than `size` comes whole.

    Args:
        source: what the examples are taken from.
        size: how many examples a batch has.
        seed: decides the order, together with the epoch.

    Raises:
        InvalidValue: `size` is below 1, or the source is empty.

    >>> from neurarium.parts.bundles import Labelled
    >>> held = Held(Labelled(torch.arange(5.0), torch.arange(5)))
    >>> stream = Batches(held, size=2, seed=1)
    >>> first, second = next(stream), next(stream)
    >>> state = stream.state_dict()
    >>> third = next(stream)
    >>> again = Batches(held, size=2, seed=1)
    >>> again.load_state_dict(state)
    >>> torch.equal(next(again).labels, third.labels)
    True
    """

    def __init__(self, source: Indexed[Batch], size: int = 64, *, seed: int = 0) -> None:
        require(size >= 1, f"the batch size is {size}, but must be at least 1")
        require(len(source) >= 1, "the data set is empty; batches need at least one example")
        self.source = source
        self.size = size
        self.seed = seed
        self.epoch = 0
        self.position = 0
        self._take = source.take
        self._length = len(source)
        self._step = min(size, self._length)
        self._order: Tensor | None = None

    @property
    def per_epoch(self) -> int:
        """How many batches an epoch has."""
        return self._length // self._step

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        end = self.position + self._step
        if end > self._length:
            self.epoch, self.position, self._order = self.epoch + 1, 0, None
            end = self._step
        if self._order is None:
            self._order = self._shuffled()
        index = self._order[self.position : end]
        self.position = end
        return self._take(index)

    def _shuffled(self) -> Tensor:
        # The whole order moves to the device once an epoch; a step then only slices it.
        device = getattr(self.source, "device", torch.device("cpu"))
        return epoch_order(self._length, seed=self.seed, epoch=self.epoch).to(device)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, and which stream it is."""
        return {"epoch": self.epoch, "position": self.position, **self._identity()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back to a place.

        Raises:
            InvalidValue: the state belongs to another data set, batch size or seed, or is no state of a `Batches`.
        """
        for name, mine in self._identity().items():
            theirs = state.get(name)
            require(theirs == mine, f"the saved place in the data has {name} {theirs}, but this stream has {mine}")
        epoch, position = state.get("epoch"), state.get("position")
        if not (isinstance(epoch, int) and isinstance(position, int)):
            raise InvalidValue(f"the saved place in the data is epoch {epoch}, position {position}, but needs integers")
        fits = epoch >= 0 and 0 <= position <= self._length and position % self._step == 0
        require(fits, f"the saved place in the data (epoch {epoch}, position {position}) is not the start of a batch")
        self.epoch, self.position, self._order = epoch, position, None

    def _identity(self) -> dict[str, int]:
        return {"length": self._length, "size": self.size, "seed": self.seed}


class Held(Generic[Bundle]):
    """A bundle already in memory, taken by its rows.

    Args:
        bundle: a named tuple of tensors with the examples first, all equally long.
        seed: the default of `batches`.

    Raises:
        InvalidValue: the bundle has no field, or its fields differ in length.

    >>> from neurarium.parts.bundles import Paired
    >>> held = Held(Paired(torch.arange(4.0), torch.arange(4.0) ** 2))
    >>> held.take(torch.tensor([3, 1])).targets.tolist()
    [9.0, 1.0]
    """

    def __init__(self, bundle: Bundle, *, seed: int = 0) -> None:
        lengths = [len(field) for field in bundle]
        require(len(set(lengths)) == 1, f"the fields of the bundle have {lengths} examples, but need equally many")
        self.seed = seed
        self.device: torch.device = bundle[0].device
        self._bundle = bundle
        # A named tuple is built field by field from arguments, a plain one from an iterable.
        self._make: Any = getattr(type(bundle), "_make", type(bundle))

    def __len__(self) -> int:
        return len(self._bundle[0])

    def take(self, index: Int64[Tensor, " B"], /) -> Bundle:
        """The examples at these places."""
        return cast("Bundle", self._make([field.index_select(0, index) for field in self._bundle]))

    def all(self) -> Bundle:
        """The whole bundle, not a copy."""
        return self._bundle

    def chunks(self, size: int = 1024) -> Iterator[Bundle]:
        """The examples in order, `size` at a time and then the rest.

        Raises:
            InvalidValue: `size` is below 1.
        """
        require(size >= 1, f"the chunk size is {size}, but must be at least 1")
        for start in range(0, len(self), size):
            yield cast("Bundle", self._make([field[start : start + size] for field in self._bundle]))

    def batches(self, size: int = 64, *, seed: int | None = None) -> Batches[Bundle]:
        """Shuffled minibatches of these examples."""
        return Batches(self, size=size, seed=self.seed if seed is None else seed)

    def to(self, device: torch.device | str) -> "Held[Bundle]":
        """The same examples on another device."""
        return Held(cast("Bundle", self._make([field.to(device) for field in self._bundle])), seed=self.seed)
