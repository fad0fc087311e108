r"""Small algorithms as sequences: what a machine with a memory learns from examples of inputs and outputs alone.

All sequences of a batch have one length, drawn anew for each batch. An input step has a channel for each bit and some
for marks; while the answer is asked for, inputs are 0.

Source: CS 479, Neural Turing Machine; Graves, Wayne & Danihelka 2014, Neural Turing Machines, §4.1 (copy), §4.2 (repeat
copy), §4.3 (associative recall), §4.5 (priority sort).
Differs: what begins a sequence has no mark, only what ends it.
Shapes: B sequences, T steps, L vectors to be kept, I input channels, O output channels.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.data.sequences import deal
from neurarium.errors import require
from neurarium.parts.bundles import Sequences

Device = torch.device | str

Task = Literal["copy", "repeat_copy", "associative_recall", "priority_sort"]
"""The tasks, by the names of their functions."""


def copy(
    generator: torch.Generator,
    *,
    count: int,
    least: int = 1,
    most: int = 20,
    bits: int = 8,
    shuffle_targets: bool = False,
    device: Device = "cpu",
) -> Sequences:
    """Vectors of random bits, a mark; then the same vectors again.

    Args:
        generator: where chance comes from.
        count: number of sequences B.
        least: fewest vectors.
        most: most vectors; how many there are is drawn for the batch.
        bits: width of a vector.
        shuffle_targets: ask for the vectors of other sequences; nothing can then be learned.
        device: where the batch is put.

    Returns:
        Inputs of `bits` + 1 channels (the last has the mark) and 2L + 1 steps; the mask is True at the last L.

    Raises:
        InvalidValue: no sequences, no bits, or a range of lengths that is empty.

    >>> inputs, targets, mask = copy(torch.Generator().manual_seed(0), count=1, least=2, most=2, bits=3)
    >>> [[int(value) for value in row] for row in inputs[0]]
    [[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    >>> targets[mask].int().tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    length = _between(generator, count, bits, least, most, "vectors")
    vectors = _bits(generator, count, length, bits)
    inputs = torch.zeros(count, 2 * length + 1, bits + 1)
    inputs[:, :length, :bits] = vectors
    inputs[:, length, bits] = 1
    return _answered(inputs, vectors, generator, shuffle_targets, device)


def repeat_copy(
    generator: torch.Generator,
    *,
    count: int,
    least: int = 1,
    most: int = 10,
    least_times: int = 1,
    most_times: int = 10,
    bits: int = 8,
    shuffle_targets: bool = False,
    device: Device = "cpu",
) -> Sequences:
    """Vectors of random bits, and how many times to say them; then they are said so often, and a mark ends it.

    Args:
        generator: where chance comes from.
        count: number of sequences B.
        least: fewest vectors.
        most: most vectors.
        least_times: fewest repetitions.
        most_times: most repetitions R.
        bits: width of a vector.
        shuffle_targets: ask for the vectors of other sequences; nothing can then be learned.
        device: where the batch is put.

    Returns:
        Inputs of `bits` + 2 channels (a mark, and beside it R, a tenth of it) and L + 1 + LR + 1 steps; targets of
        `bits` + 1 channels (the last has the mark at the end); the mask is True at the last LR + 1 steps.

    Raises:
        InvalidValue: no sequences, no bits, or a range that is empty.

    >>> draw = dict(count=1, least=1, most=1, least_times=2, most_times=2, bits=3)
    >>> inputs, targets, mask = repeat_copy(torch.Generator().manual_seed(0), **draw)
    >>> targets[mask].int().tolist()
    [[1, 0, 1, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
    """
    length = _between(generator, count, bits, least, most, "vectors")
    times = _between(generator, count, bits, least_times, most_times, "repetitions")
    vectors = _bits(generator, count, length, bits)
    inputs = torch.zeros(count, length + 1 + length * times + 1, bits + 2)
    inputs[:, :length, :bits] = vectors
    inputs[:, length, bits] = 1
    inputs[:, length, bits + 1] = times / TIMES_UNIT
    answers = torch.zeros(count, length * times + 1, bits + 1)
    answers[:, :-1, :bits] = vectors.repeat(1, times, 1)
    answers[:, -1, bits] = 1
    return _answered(inputs, answers, generator, shuffle_targets, device)


def associative_recall(
    generator: torch.Generator,
    *,
    count: int,
    least: int = 2,
    most: int = 6,
    vectors: int = 3,
    bits: int = 6,
    shuffle_targets: bool = False,
    device: Device = "cpu",
) -> Sequences:
    """Items one after another, then one of them again: which came next?

    Args:
        generator: where chance comes from.
        count: number of sequences B.
        least: fewest items, at least 2.
        most: most items.
        vectors: vectors of an item.
        bits: width of a vector.
        shuffle_targets: ask for the items of other sequences; nothing can then be learned.
        device: where the batch is put.

    Returns:
        Inputs of `bits` + 2 channels (one marks the beginning of an item, one both ends of the question); targets: the
        item after the one asked for; the mask is True at the last `vectors` steps.

    Raises:
        InvalidValue: no sequences, no bits, no vectors, fewer than 2 items, or a range that is empty.

    >>> inputs, targets, mask = associative_recall(torch.Generator().manual_seed(0), count=4, least=3, most=3)
    >>> inputs.shape, targets[mask].shape
    (torch.Size([4, 20, 8]), torch.Size([12, 6]))
    """
    require(vectors >= 1, f"vectors is {vectors}; an item needs at least 1")
    require(least >= 2, f"least is {least} items, but what comes next needs at least 2")
    length = _between(generator, count, bits, least, most, "items")
    items = _bits(generator, count, length * vectors, bits).unflatten(1, (length, vectors))
    asked = torch.randint(length - 1, (count,), generator=generator)
    rows = torch.arange(count)
    marked = torch.zeros(count, length, vectors + 1, bits + 2)
    marked[:, :, 1:, :bits] = items
    marked[:, :, 0, bits] = 1
    question = torch.zeros(count, vectors + 2, bits + 2)
    question[:, 1:-1, :bits] = items[rows, asked]
    question[:, [0, -1], bits + 1] = 1
    inputs = torch.cat([marked.flatten(1, 2), question, torch.zeros(count, vectors, bits + 2)], dim=1)
    return _answered(inputs, items[rows, asked + 1], generator, shuffle_targets, device)


def priority_sort(
    generator: torch.Generator,
    *,
    count: int,
    least: int = 20,
    most: int = 20,
    answered: float = 0.8,
    bits: int = 8,
    shuffle_targets: bool = False,
    device: Device = "cpu",
) -> Sequences:
    """Vectors with priorities; then those of the highest priorities, in order.

    Args:
        generator: where chance comes from.
        count: number of sequences B.
        least: fewest vectors.
        most: most vectors.
        answered: share of the vectors that is asked for (the paper: 16 of 20).
        bits: width of a vector.
        shuffle_targets: ask for the vectors of other sequences; nothing can then be learned.
        device: where the batch is put.

    Returns:
        Inputs of `bits` + 2 channels (a mark, and a priority from −1 to 1); targets: the vectors of the highest
        priorities, highest first; the mask is True where they are asked for.

    Raises:
        InvalidValue: no sequences, no bits, a range that is empty, or a share outside 0 to 1.

    >>> inputs, targets, mask = priority_sort(torch.Generator().manual_seed(0), count=4)
    >>> inputs.shape, targets[mask].shape
    (torch.Size([4, 37, 10]), torch.Size([64, 8]))
    >>> best = inputs[0, :20, 9].argmax()
    >>> torch.equal(targets[0][mask[0]][0], inputs[0, best, :8])
    True
    """
    require(0 < answered <= 1, f"answered is {answered}; the share must lie above 0 and be at most 1")
    length = _between(generator, count, bits, least, most, "vectors")
    vectors = _bits(generator, count, length, bits)
    priorities = 2 * torch.rand(count, length, generator=generator) - 1
    asked = max(1, round(answered * length))
    inputs = torch.zeros(count, length + 1 + asked, bits + 2)
    inputs[:, :length, :bits] = vectors
    inputs[:, :length, bits + 1] = priorities
    inputs[:, length, bits] = 1
    order = priorities.argsort(dim=1, descending=True)[:, :asked, None].expand(-1, -1, bits)
    return _answered(inputs, vectors.gather(1, order), generator, shuffle_targets, device)


TIMES_UNIT = 10  # repetitions that are shown as 1


def _between(generator: torch.Generator, count: int, bits: int, least: int, most: int, what: str) -> int:
    require(count >= 1, f"the batch size is {count}, but must be at least 1")
    require(bits >= 1, f"bits is {bits}; a vector needs at least 1")
    require(1 <= least <= most, f"there are {least} to {most} {what}; give a range that begins at 1 or more")
    return int(torch.randint(least, most + 1, (), generator=generator))


def _bits(generator: torch.Generator, count: int, length: int, bits: int) -> Float[Tensor, "B L O"]:
    return torch.randint(2, (count, length, bits), generator=generator).float()


def _answered(
    inputs: Float[Tensor, "B T I"],
    answers: Float[Tensor, "B A O"],
    generator: torch.Generator,
    shuffle: bool,
    device: Device,
) -> Sequences:
    # Answers stand at the last steps; at the others targets are 0 and do not count.
    count, steps, _ = inputs.shape
    answers = answers[deal(count, generator)] if shuffle else answers
    targets = torch.zeros(count, steps, answers.shape[2])
    targets[:, steps - answers.shape[1] :] = answers
    mask = (torch.arange(steps) >= steps - answers.shape[1]).expand(count, -1)
    return Sequences(inputs.to(device), targets.to(device), mask.to(device))
