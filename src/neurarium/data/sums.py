"""Sums: two binary numbers to be added, place by place, and how far each carry comes.

Shapes: B sums, T places, the lowest first.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neurarium.data.sequences import deal
from neurarium.errors import require
from neurarium.parts.bundles import Sequences

LEAST = 3  # places: a zero below, one bit, and room for its carry


def sums(
    generator: torch.Generator,
    *,
    count: int,
    places: int,
    shuffle_targets: bool = False,
    device: torch.device | str = "cpu",
) -> Sequences:
    """Pairs of binary numbers, the lowest place first, and their sums.

    Where one of the two bits is 1 a carry goes on to the next place. Each sum has its own share of such places, from
    none to all, so that carries of every length occur. The lowest and the highest place are zeros.

    Args:
        generator: where chance comes from.
        count: number of sums B.
        places: of each, T.
        shuffle_targets: take the results of other sums; nothing can then be learned.
        device: where the batch is put.

    Returns:
        Inputs: the two bits of every place. Targets: the bit of the sum. Mask: all places.

    Raises:
        InvalidValue: `count` is below 1 or `places` below 3.

    >>> (bits,), (total,), _ = sums(torch.Generator().manual_seed(1), count=1, places=6)
    >>> values = 2 ** torch.arange(6.0)
    >>> (values @ bits).int().tolist(), int(values @ total[:, 0])
    ([24, 6], 30)
    """
    require(count >= 1, f"the batch size is {count}, but must be at least 1")
    require(places >= LEAST, f"places is {places}; a sum needs {LEAST}: a zero, a bit and room for its carry")
    share = torch.rand(count, 1, generator=generator)
    first = torch.randint(2, (count, places), generator=generator)
    second = first ^ (torch.rand(count, places, generator=generator) < share).long()
    for numbers in (first, second):
        numbers[:, [0, -1]] = 0
    carry, total = torch.zeros(count, dtype=torch.int64), []
    for both in (first + second).unbind(1):
        total.append((both + carry) % 2)
        carry = (both + carry) // 2
    targets = torch.stack(total, dim=1).unsqueeze(2).float()
    targets = targets[deal(count, generator)] if shuffle_targets else targets
    inputs = torch.stack([first, second], dim=2).float()
    mask = torch.ones(count, places, dtype=torch.bool)
    return Sequences(inputs.to(device), targets.to(device), mask.to(device))


def carry_distances(inputs: Float[Tensor, "B T 2"]) -> Int64[Tensor, "B T"]:
    """How many places lie between each place and the one that decides whether a carry comes to it.

    That one is the nearest below with two equal bits: two ones send a carry, two zeros none, whatever came to them.

    >>> carry_distances(torch.tensor([[[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]])).tolist()
    [[0, 0, 0, 1, 2]]
    """
    passes_on = (inputs[..., 0] != inputs[..., 1]).long()
    distance, found = torch.zeros_like(passes_on[:, 0]), []
    for passing in passes_on.unbind(1):
        found.append(distance)
        distance = (distance + 1) * passing
    return torch.stack(found, dim=1)
