r"""Sequences drawn at random, without end: a batch is a function of where its generator stands.

Source: Elman 1990, Finding structure in time, "Exclusive-OR" (temporal XOR); Hochreiter & Schmidhuber 1997, Long
short-term memory, §5.4 (adding problem), in the form of Arjovsky, Shah & Bengio 2016, Unitary evolution recurrent
neural networks, §4.2; Bengio, Simard & Frasconi 1994, Learning long-term dependencies with gradient descent is
difficult, §III (latch).
Shapes: B sequences, L bits of a sequence, T steps (of temporal XOR T = L − 1: each has the next bit as its target).
"""

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

import torch
from jaxtyping import Float, Int64
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


def adding(
    generator: torch.Generator,
    *,
    count: int,
    length: int,
    shuffle_targets: bool = False,
    device: torch.device | str = "cpu",
) -> Sequences:
    """The adding problem: two of many numbers are marked, one in each half; at the end, what is their sum?

    Whoever always answers 1 is wrong by a mean square of 1/6: the variance of the sum of two uniform numbers.

    Args:
        generator: where chance comes from.
        count: number of sequences B.
        length: steps T of a sequence.
        shuffle_targets: take the sums of other sequences; nothing can then be learned.
        device: where the batch is put.

    Returns:
        Inputs: at each step a number from 0 to 1, and 1 where it is marked. Targets: the sum at the last step, where
        alone the mask is True.

    Raises:
        InvalidValue: `count` is below 1 or `length` below 2.

    >>> inputs, targets, mask = adding(torch.Generator().manual_seed(0), count=1, length=6)
    >>> values, marks = inputs[0].T
    >>> int(marks.sum()), bool((values @ marks).isclose(targets[0, -1, 0])), mask.flatten().int().tolist()
    (2, True, [0, 0, 0, 0, 0, 1])
    """
    check_counts(count, length)
    values = torch.rand(count, length, generator=generator)
    half = length // 2
    first = torch.randint(half, (count, 1), generator=generator)
    second = torch.randint(half, length, (count, 1), generator=generator)
    marks = torch.zeros_like(values).scatter_(1, torch.cat([first, second], dim=1), 1.0)
    sums = (values * marks).sum(1)
    return at_the_end(
        torch.stack([values, marks], dim=2), sums[deal(count, generator)] if shuffle_targets else sums, device
    )


def latch(
    generator: torch.Generator,
    *,
    count: int,
    length: int,
    noise: float = 0.2,
    shuffle_targets: bool = False,
    device: torch.device | str = "cpu",
) -> Sequences:
    """The latch: the first step says +1 or −1, then there is noise; at the end, which was it?

    Args:
        generator: where chance comes from.
        count: number of sequences B.
        length: steps T of a sequence.
        noise: standard deviation of what comes after the first step.
        shuffle_targets: take the answers of other sequences; nothing can then be learned.
        device: where the batch is put.

    Returns:
        Inputs: one number a step. Targets: a bit, 1 for +1, at the last step, where alone the mask is True.

    Raises:
        InvalidValue: `count` is below 1, `length` below 2, or `noise` below 0.

    >>> inputs, targets, mask = latch(torch.Generator().manual_seed(0), count=2, length=50)
    >>> inputs[:, 0, 0].gt(0).float().equal(targets[:, -1, 0])
    True
    """
    check_counts(count, length)
    require(noise >= 0, f"noise is {noise}, but must be 0 or more")
    bits = torch.randint(2, (count,), generator=generator).float()
    inputs = noise * torch.randn(count, length, 1, generator=generator)
    inputs[:, 0, 0] = 2 * bits - 1
    return at_the_end(inputs, bits[deal(count, generator)] if shuffle_targets else bits, device)


def at_the_end(inputs: Float[Tensor, "B T I"], answers: Float[Tensor, " B"], device: torch.device | str) -> Sequences:
    """Sequences whose only target is a number at the last step."""
    targets = torch.zeros(*inputs.shape[:2], 1)
    targets[:, -1, 0] = answers
    mask = torch.zeros(inputs.shape[:2], dtype=torch.bool)
    mask[:, -1] = True
    return Sequences(inputs.to(device), targets.to(device), mask.to(device))


def deal(count: int, generator: torch.Generator) -> Int64[Tensor, " B"]:
    """A random order."""
    return torch.randperm(count, generator=generator)


def check_counts(count: int, length: int) -> None:
    """Refuse sizes that make no sequences.

    Raises:
        InvalidValue: `count` is below 1 or `length` below 2.
    """
    require(count >= 1, f"the batch size is {count}, but must be at least 1")
    require(length >= 2, f"length is {length} steps, but a first and a last take at least 2")
