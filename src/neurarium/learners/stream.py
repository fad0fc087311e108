"""Stream: an iterator of batches that can say where it stands and go back there."""

from typing import Any, Protocol, Self, TypeVar, runtime_checkable

Batch = TypeVar("Batch", covariant=True)

State = dict[str, Any]
"""A nested dict of tensors, numbers, strings, booleans, None, lists and tuples: all that a checkpoint can hold."""


@runtime_checkable
class Stream(Protocol[Batch]):
    """Batches without end, from data or from experience.

    `state_dict` must hold all that decides the batches to come, so that a stream of the same construction that
    loads it goes on with exactly the batch that would have come next.
    """

    def __iter__(self) -> Self: ...

    def __next__(self) -> Batch: ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State, /) -> None: ...
