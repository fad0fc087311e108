"""Bundles: what a batch is made of, by name. Every field has the batch as its first dimension."""

from typing import NamedTuple, Protocol

from jaxtyping import Float, Int64
from torch import Tensor

from neurarium.errors import InvalidValue, require


class Labelled(NamedTuple):
    """Inputs and the class of each.

    >>> import torch
    >>> batch = Labelled(torch.zeros(2, 1, 8, 8), torch.tensor([3, 7]))
    >>> inputs, labels = batch
    >>> labels.tolist()
    [3, 7]
    """

    inputs: Float[Tensor, "B ..."]
    labels: Int64[Tensor, " B"]


class Paired(NamedTuple):
    """Inputs and the real-valued target of each."""

    inputs: Float[Tensor, "B ..."]
    targets: Float[Tensor, "B ..."]


class Source(Protocol):
    """Examples that can be counted and taken by index: a tensor in memory, or a folder of files."""

    def __len__(self) -> int: ...

    def take(self, index: Int64[Tensor, " B"], /) -> tuple[Tensor, ...]:
        """The bundle of the examples at these places, on the source's device."""
        ...


def check_batch(bundle: tuple[Tensor, ...], *, wanted: str) -> None:
    """Refuse a batch that is empty or whose fields disagree in length.

    Args:
        bundle: the tensors of the batch, the batch dimension first.
        wanted: what the batch should be, for the message ("images and labels").

    Raises:
        InvalidValue: the batch is empty, or its fields differ in length.
    """
    lengths = [len(field) for field in bundle]
    require(min(lengths) > 0, f"the batch is empty; {wanted} need at least one example")
    if len(set(lengths)) > 1:
        raise InvalidValue(f"the batch has fields of {lengths} examples; {wanted} must come in equal number")
