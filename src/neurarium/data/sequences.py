r"""Sequences drawn at random, without end: a batch is a function of where its generator stands.

Source: Elman 1990, Finding structure in time, "Exclusive-OR" (temporal XOR).
Shapes: B sequences, L bits of a sequence, T = L − 1 steps (each has the next bit as its target).
"""

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import InvalidValue, require
from neurarium.parts.bundles import Sequences

TRIPLE = 3  # bits: a, b and a ⊕ b

Bundle = TypeVar("Bundle")


class Endless(Generic[Bundle]):
    """Batches drawn anew for ever: a `Stream`.

    Args:
        draw: makes a batch from a generator, and depends on nothing else.
        generator: of this stream alone.

    >>> stream = Endless(lambda generator: torch.rand(2, generator=generator), torch.Generator().manual_seed(0))
    >>> _ = next(stream)
    >>> state = stream.state_dict()
    >>> second = next(stream)
    >>> stream.load_state_dict(state)
    >>> torch.equal(next(stream), second)
    True
    """

    def __init__(self, draw: Callable[[torch.Generator], Bundle], generator: torch.Generator) -> None:
        self.draw = draw
        self.generator = generator

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Bundle:
        return self.draw(self.generator)

    def state_dict(self) -> dict[str, Any]:
        """Where the generator stands."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back to a place.

        Raises:
            InvalidValue: the state is not that of a generator.
        """
        saved = state.get("generator")
        fits = isinstance(saved, Tensor) and saved.shape == self.generator.get_state().shape
        if not (isinstance(saved, Tensor) and fits):
            raise InvalidValue("the saved place in the stream holds no generator's state; it is of another stream")
        self.generator.set_state(saved.cpu())


def temporal_xor(
    generator: torch.Generator,
    *,
    count: int,
    length: int,
    shuffle_targets: bool = False,
    device: torch.device | str = "cpu",
) -> Sequences:
    """Temporal XOR: bits in triples a, b, a ⊕ b without a gap; what comes next?

    a and b are coin flips, so of every three bits only the third can be known beforehand. The mask says where.

    Args:
        generator: where chance comes from.
        count: number of sequences B.
        length: bits L of a sequence, whole triples.
        shuffle_targets: take the targets from other sequences; nothing can then be learned.
        device: where the batch is put.

    Returns:
        Inputs: every bit but the last. Targets: every bit but the first. Mask: the steps whose next bit ends a triple.

    Raises:
        InvalidValue: `count` is below 1, or `length` is not a positive multiple of 3.

    >>> inputs, targets, mask = temporal_xor(torch.Generator().manual_seed(0), count=1, length=6)
    >>> inputs.flatten().int().tolist(), targets.flatten().int().tolist(), mask.flatten().int().tolist()
    ([0, 1, 1, 1, 0], [1, 1, 1, 0, 1], [0, 1, 0, 0, 1])
    """
    require(count >= 1, f"the batch size is {count}, but must be at least 1")
    require(
        length >= TRIPLE and length % TRIPLE == 0,
        f"length is {length} bits, but must be whole triples: try {max(TRIPLE, length - length % TRIPLE)}",
    )
    bits = _triples(generator, count, length)
    targets = _triples(generator, count, length) if shuffle_targets else bits
    mask = (torch.arange(1, length) % TRIPLE == TRIPLE - 1).expand(count, -1)
    return Sequences(bits[:, :-1].to(device), targets[:, 1:].to(device), mask.to(device))


def _triples(generator: torch.Generator, count: int, length: int) -> Float[Tensor, "B L 1"]:
    pairs = torch.randint(2, (count, length // TRIPLE, 2), generator=generator)
    # c = a ⊕ b
    triples = torch.cat([pairs, pairs[..., :1] ^ pairs[..., 1:]], dim=-1)
    return triples.reshape(count, length, 1).float()
