"""Bundles: what a batch is made of, by name. Every field has the batch as its first dimension."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int64, Shaped
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


class Sequences(NamedTuple):
    """Inputs over time, a target for every step, and the steps at which the target counts.

    What stands in `targets` where the mask is False is never looked at.

    >>> import torch
    >>> batch = Sequences(torch.zeros(2, 5, 1), torch.zeros(2, 5, 1), torch.zeros(2, 5).bool())
    >>> batch.inputs.shape[:2] == batch.mask.shape
    True
    """

    inputs: Float[Tensor, "B T ..."]
    targets: Shaped[Tensor, "B T ..."]
    mask: Bool[Tensor, "B T"]


class Captioned(NamedTuple):
    """Images and a caption of each: tokens between a start and an end, then padding.

    >>> import torch
    >>> batch = Captioned(torch.zeros(2, 3, 32, 32), torch.tensor([[1, 4, 5, 2], [1, 6, 2, 0]]))
    >>> batch.captions.shape
    torch.Size([2, 4])
    """

    images: Float[Tensor, "B C H W"]
    captions: Int64[Tensor, "B T"]


class Transitions(NamedTuple):
    """One step of experience each: what was seen, what was done, and what came of it.

    `next_states` is what the step led to, even where the episode ended there and the world has begun another.
    `terminated` means that nothing follows; `truncated`, that someone stopped looking (a time limit), so that what
    would have followed still counts.

    >>> import torch
    >>> one, yes, no = torch.tensor([1]), torch.tensor([True]), torch.tensor([False])
    >>> batch = Transitions(one, one, torch.tensor([-1.0]), one + 1, terminated=no, truncated=yes)
    >>> batch.terminated.tolist()
    [False]
    """

    states: Shaped[Tensor, "B ..."]
    actions: Shaped[Tensor, "B ..."]
    rewards: Float[Tensor, " B"]
    next_states: Shaped[Tensor, "B ..."]
    terminated: Bool[Tensor, " B"]
    truncated: Bool[Tensor, " B"]


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


def check_captioned(batch: Captioned) -> None:
    """Refuse a batch that is empty, whose fields disagree in number, or whose captions are no rows of two or more.

    Raises:
        InvalidValue: says which.
    """
    images, captions = batch
    check_batch((images, captions), wanted="images and captions")
    if captions.ndim != 2 or captions.shape[1] < 2:
        raise InvalidValue(
            f"the captions are {tuple(captions.shape)}; they must be rows of tokens with a start and an end at least"
        )
