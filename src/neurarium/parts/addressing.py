r"""Addressing: a memory of rows that can be read and written everywhere at once, by weights over the rows.

An address is a distribution w over the N rows of a memory. Where it comes from: rows that look like a key (content),
blended with where the head was before, shifted around the circle of rows, and sharpened. Every step is differentiable,
so a controller can learn by gradient descent where to look and what to write.

Source: CS 479, Neural Turing Machine; Graves, Wayne & Danihelka 2014, Neural Turing Machines, §3.1–3.3, eq. 2–9.
Differs: squared norms under the similarity's root have a small number added, so that empty rows have a gradient.
Shapes: B batch, H heads, R reading heads, Q writing heads, N rows, W width of a row, S shifts (an odd number).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import InvalidValue, require

LEAST_SQUARE = 1e-8  # added to squared norms: rows shorter than 1e-4 look like nothing
LEAST_WEIGHT = 1e-16  # added below the logarithm of an address


def similarity(
    memory: Float[Tensor, "B N W"], keys: Float[Tensor, "B H W"], *, least: float = LEAST_SQUARE
) -> Float[Tensor, "B H N"]:
    """The cosine between every key and every row.

    >>> memory = torch.tensor([[[3.0, 4.0], [-4.0, 3.0]]])
    >>> [[round(value, 4) for value in row] for row in similarity(memory, torch.tensor([[[6.0, 8.0]]]))[0].tolist()]
    [[1.0, 0.0]]
    """
    norms = torch.sqrt(memory.square().sum(2) + least).unsqueeze(1)
    key_norms = torch.sqrt(keys.square().sum(2, keepdim=True) + least)
    # K[u, v] = u·v / (‖u‖ ‖v‖)
    return keys @ memory.transpose(1, 2) / (key_norms * norms)


def by_content(
    memory: Float[Tensor, "B N W"], keys: Float[Tensor, "B H W"], strength: Float[Tensor, "B H"]
) -> Float[Tensor, "B H N"]:
    """Addresses of the rows that look like the keys, the more sharply the greater the strength β.

    >>> memory, key = torch.eye(3).unsqueeze(0), torch.tensor([[[0.0, 2.0, 0.0]]])
    >>> by_content(memory, key, torch.tensor([[50.0]])).round().tolist()
    [[[0.0, 1.0, 0.0]]]
    """
    # w^c = softmax(β K[k, M])
    return torch.softmax(strength.unsqueeze(2) * similarity(memory, keys), dim=2)


def interpolate(
    content: Float[Tensor, "B H N"], before: Float[Tensor, "B H N"], gate: Float[Tensor, "B H"]
) -> Float[Tensor, "B H N"]:
    """Between where the head was (gate 0) and what the content says (gate 1)."""
    # w^g = g w^c + (1 − g) w_{t−1}
    return torch.lerp(before, content, gate.unsqueeze(2))


def shift(address: Float[Tensor, "B H N"], shifts: Float[Tensor, "B H S"]) -> Float[Tensor, "B H N"]:
    """Move addresses around the circle of rows: the middle weight of `shifts` stays, the last goes one row on.

    Raises:
        InvalidValue: an even number of shifts, or more than there are rows.

    >>> address, one_on = torch.tensor([[[0.0, 0.0, 1.0]]]), torch.tensor([[[0.0, 0.0, 1.0]]])
    >>> shift(address, one_on).tolist()
    [[[1.0, 0.0, 0.0]]]
    """
    check_shifts(shifts.shape[2], address.shape[2])
    reach = shifts.shape[2] // 2
    moved = [address.roll(by, dims=2) for by in range(-reach, reach + 1)]
    # w̃(i) = Σ_j w^g(j) s(i − j), indices modulo N
    return (torch.stack(moved, dim=3) @ shifts.unsqueeze(3)).squeeze(3)


def sharpen(address: Float[Tensor, "B H N"], power: Float[Tensor, "B H"]) -> Float[Tensor, "B H N"]:
    """Raise to a power and divide by the sum, as a shift by fractions of a row blurs.

    >>> sharpen(torch.tensor([[[0.8, 0.2]]]), torch.tensor([[2.0]])).tolist()
    [[[0.9411764740943909, 0.05882352963089943]]]
    """
    # w(i) = w̃(i)^γ / Σ_j w̃(j)^γ = softmax(γ log w̃)
    return torch.softmax(power.unsqueeze(2) * torch.log(address + LEAST_WEIGHT), dim=2)


def read(memory: Float[Tensor, "B N W"], addresses: Float[Tensor, "B R N"]) -> Float[Tensor, "B R W"]:
    """What stands at addresses.

    >>> memory = torch.tensor([[[3.0, 1.0, 4.0, 1.0], [5.0, 9.0, 9.0, 7.0], [2.0, 7.0, 2.0, 8.0]]])
    >>> read(memory, torch.tensor([[[0.0, 1.0, 0.0]]])).tolist()
    [[[5.0, 9.0, 9.0, 7.0]]]
    """
    # r = Σ_i w(i) M(i)
    return addresses @ memory


def write(
    memory: Float[Tensor, "B N W"],
    addresses: Float[Tensor, "B Q N"],
    erase: Float[Tensor, "B Q W"],
    add: Float[Tensor, "B Q W"],
) -> Float[Tensor, "B N W"]:
    """The memory after all writing heads have erased, and then all have added.

    >>> memory, second = torch.ones(1, 3, 2), torch.tensor([[[0.0, 1.0, 0.0]]])
    >>> write(memory, second, erase=torch.ones(1, 1, 2), add=torch.tensor([[[7.0, 8.0]]])).tolist()
    [[[1.0, 1.0], [7.0, 8.0], [1.0, 1.0]]]
    """
    # M̃(i) = M(i) ∏_q [1 − w_q(i) e_q]
    kept = memory * (1 - addresses.unsqueeze(3) * erase.unsqueeze(2)).prod(1)
    # M(i) = M̃(i) + Σ_q w_q(i) a_q
    return kept + addresses.transpose(1, 2) @ add


def check_shifts(shifts: int, rows: int) -> None:
    """Refuse shifts without a middle, or more of them than rows.

    Raises:
        InvalidValue: says which.
    """
    require(shifts >= 1 and shifts % 2 == 1, f"shifts is {shifts}; it must be odd, so that one of them stays")
    if shifts > rows:
        raise InvalidValue(f"there are {shifts} shifts but {rows} rows; a circle needs a row for each")
