r"""What a controller tells the heads of an addressed memory: how many numbers, which for what, and in which range.

Source: Graves, Wayne & Danihelka 2014, Neural Turing Machines, §3.2–3.3 and fig. 2.
Differs: the ranges are those of softplus, sigmoid and softmax; keys and what is added are unbounded.
Shapes: B batch, C controller units, H heads (R that read, then Q that write), N rows, W width of a row, S shifts, F
features, P emitted numbers.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.addressing import check_shifts


@dataclass(frozen=True)
class Sizes:
    """How many of everything.

    Attributes:
        controller: units C.
        reading: heads R that read.
        writing: heads Q that write.
        rows: of the memory, N.
        width: of a row, W.
        shifts: places that a head can go to in a step, S: an odd number, the middle one to stay.
        lstm: whether the controller is an LSTM, and not a feed-forward layer.

    Raises:
        InvalidValue: a number below 1, an even number of shifts, or more of them than rows.

    >>> sizes = Sizes(controller=100, reading=1, writing=1, rows=128, width=20, shifts=3, lstm=True)
    >>> sizes.features, sizes.emitted
    (120, 92)
    """

    controller: int
    reading: int
    writing: int
    rows: int
    width: int
    shifts: int
    lstm: bool

    def __post_init__(self) -> None:
        require(self.controller >= 1, f"units is {self.controller}; a controller needs at least 1")
        least = min(self.reading, self.writing)
        require(
            least >= 1, f"there are {self.reading} reading and {self.writing} writing heads; give at least 1 of each"
        )
        require(min(self.rows, self.width) >= 1, f"the memory is {self.rows} by {self.width}; give at least 1 by 1")
        check_shifts(self.shifts, self.rows)

    @property
    def heads(self) -> int:
        """H."""
        return self.reading + self.writing

    @property
    def features(self) -> int:
        """F = C + R W: the controller's units and what was read, which the readout and the next step see."""
        return self.controller + self.reading * self.width

    @property
    def again(self) -> slice:
        """The features that the controller sees in the next step: an LSTM all, a feed-forward layer what was read."""
        return slice(0 if self.lstm else self.controller, None)

    @property
    def parts(self) -> list[int]:
        """Widths of keys, shifts, (strength, power), (gate, erase) and add among the emitted numbers."""
        written = self.writing * self.width
        return [self.heads * self.width, self.heads * self.shifts, 2 * self.heads, self.heads + written, written]

    @property
    def emitted(self) -> int:
        """P: all that the controller tells the heads in a step."""
        return sum(self.parts)


class Told(NamedTuple):
    """What the heads are told in one step, in range."""

    keys: Float[Tensor, "B H W"]
    shifts: Float[Tensor, "B H S"]
    strength: Float[Tensor, "B H"]
    power: Float[Tensor, "B H"]
    gate: Float[Tensor, "B H"]
    erase: Float[Tensor, "B Q W"]
    add: Float[Tensor, "B Q W"]


def tell(emitted: Float[Tensor, "B P"], sizes: Sizes) -> Told:
    """Cut what the controller emits into what each head needs, and bring it into range.

    >>> sizes = Sizes(controller=4, reading=1, writing=1, rows=5, width=2, shifts=3, lstm=False)
    >>> told = tell(torch.zeros(1, sizes.emitted), sizes)
    >>> told.gate.tolist(), told.power.gt(1).all().item(), told.shifts.sum(2).tolist()
    ([[0.5, 0.5]], True, [[1.0, 1.0]])
    """
    heads = sizes.heads
    keys, shifts, positive, fractions, add = emitted.split(sizes.parts, dim=1)
    positive, fractions = torch.nn.functional.softplus(positive), torch.sigmoid(fractions)
    return Told(
        keys=keys.unflatten(1, (heads, -1)),
        # s ≥ 0, Σ s = 1
        shifts=torch.softmax(shifts.unflatten(1, (heads, -1)), dim=2),
        # β > 0
        strength=positive[:, :heads],
        # γ ≥ 1
        power=1 + positive[:, heads:],
        # 0 < g < 1
        gate=fractions[:, :heads],
        # 0 < e < 1
        erase=fractions[:, heads:].unflatten(1, (sizes.writing, -1)),
        add=add.unflatten(1, (sizes.writing, -1)),
    )
