r"""Neural Turing Machine: a controller that reads and writes a memory of rows, and learns how by gradient descent.

A recurrent network keeps what it knows in its own units, so what it can keep is as wide as it is. Here the controller
has a memory beside it, and heads that point at rows of it with weights over all rows. A head finds a row by content
(what looks like this key?) or by place (one row on from where I was); the controller says which, by numbers that all
have a gradient. What it learns is an algorithm with the memory as its tape, and algorithms work on longer inputs too.

Source: CS 479, Neural Turing Machine; Graves, Wayne & Danihelka 2014, Neural Turing Machines, §3 and fig. 2; Collier &
Beel 2018, Implementing neural Turing machines, §4.2 (memory that begins as one small number learns soonest).
Differs: all heads of a step are addressed in the memory as it was before the step, and read it so; every head begins at
the first row, as a Turing machine's does; nothing is known of what was read before the first step (zeros).
Shapes: B batch, T time steps, I inputs, O outputs, C controller units, H heads (R that read, then Q that write), N
rows, W width of a row, F = C + RW features, G sums of the controller, P emitted numbers.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.parts.addressing import by_content, interpolate, read, sharpen, shift, write
from neurarium.parts.gates import check_width, fused
from neurarium.parts.recurrence import Unroll, step_by_step
from neurarium.parts.turing import Sizes, Told, tell
from neurarium.parts.turing_through import through

EMPTY = 1e-6  # what stands everywhere in the memory at first, Collier & Beel 2018, §4.2
FORGET_BIAS = 1.0  # of an LSTM's forget gates at first, Jozefowicz et al. 2015, §2.2

Controller = Literal["lstm", "feedforward"]


class TuringCell(nn.Module):
    """One step: the controller sees the input and what was read before, tells the heads, and they read and write.

    Carried from step to step are the features (the controller's units, then what was read), the LSTM's cells (zeros of
    a feed-forward controller), the heads' addresses and the memory.

    Args:
        inputs: width I of a step's input.
        units: of the controller, C.
        controller: an LSTM, or a feed-forward layer, which remembers nothing but what it reads.
        reading: heads that read, R.
        writing: heads that write, Q.
        rows: of the memory, N.
        width: of a row, W.
        shifts: how many places around its own a head can go to in a step, itself included; an odd number.

    Raises:
        InvalidValue: a number below 1, no such controller, an even number of shifts, inputs of another width, or a
            state that does not fit.

    >>> cell = TuringCell(inputs=3, units=8, rows=5, width=4)
    >>> features, (_, _, addresses, memory) = cell(torch.ones(2, 3), cell.begin(torch.ones(2, 1, 3)))
    >>> features.shape, addresses.shape, memory.shape
    (torch.Size([2, 12]), torch.Size([2, 2, 5]), torch.Size([2, 5, 4]))
    """

    def __init__(
        self,
        *,
        inputs: int,
        units: int = 100,
        controller: Controller = "lstm",
        reading: int = 1,
        writing: int = 1,
        rows: int = 128,
        width: int = 20,
        shifts: int = 3,
    ) -> None:
        super().__init__()
        require(inputs >= 1, f"inputs is {inputs}; a cell needs at least 1")
        known = controller in ("lstm", "feedforward")
        require(known, f"controller is '{controller}'; choose lstm or feedforward")
        lstm = controller == "lstm"
        self.sizes = sizes = Sizes(units, reading, writing, rows, width, shifts, lstm)
        sums, again = units * (4 if lstm else 1), sizes.features if lstm else reading * width
        # Uniform within 1/√(fan-in).
        self.input_weights = _uniform(inputs, sums, fan_in=inputs + again)
        self.recurrent_weights = _uniform(again, sums, fan_in=inputs + again)
        self.bias = nn.Parameter(torch.zeros(sums))
        if lstm:
            with torch.no_grad():
                self.bias.view(4, units)[2] = FORGET_BIAS
        self.emit_weights = _uniform(units, sizes.emitted, fan_in=units)
        self.emit_bias = nn.Parameter(torch.zeros(sizes.emitted))

    def forward(
        self, inputs: Float[Tensor, "B I"], carried: tuple[Tensor, ...]
    ) -> tuple[Float[Tensor, "B F"], tuple[Tensor, ...]]:
        """One step as its equations read."""
        return self.advance(self.project(inputs), carried)

    def begin(self, inputs: Float[Tensor, "B T I"], carried: tuple[Tensor, ...] | None = None) -> tuple[Tensor, ...]:
        """The state before the first step: the one given if it fits, else an empty memory, heads at the first row."""
        check_width(inputs, len(self.input_weights))
        batch, sizes = inputs.shape[0], self.sizes
        wanted = [
            (batch, sizes.features),
            (batch, sizes.controller),
            (batch, sizes.heads, sizes.rows),
            (batch, sizes.rows, sizes.width),
        ]
        if carried is not None:
            given = [tuple(part.shape) for part in carried]
            if given != wanted:
                raise InvalidValue(f"the state to start from is {given}, but these sequences need {wanted}")
            return carried
        features, cells, addresses, memory = (self.emit_bias.new_zeros(shape) for shape in wanted)
        addresses[..., 0] = 1
        return features, cells, addresses, memory + EMPTY

    def project(self, inputs: Float[Tensor, "*any I"]) -> Float[Tensor, "*any G"]:
        """What the inputs add to the controller's sums, for any number of steps at once."""
        check_width(inputs, len(self.input_weights))
        return inputs @ self.input_weights + self.bias

    def advance(
        self, projected: Float[Tensor, "B G"], carried: tuple[Tensor, ...]
    ) -> tuple[Float[Tensor, "B F"], tuple[Tensor, ...]]:
        """The rest of a step."""
        features, cells, before, memory = carried
        units, cells = self.control(projected, features, cells)
        told = self.tell(units)
        addresses = self.address(told, before, memory)
        reading, writing = addresses.split([self.sizes.reading, self.sizes.writing], dim=1)
        features = torch.cat([units, read(memory, reading).flatten(1)], dim=1)
        memory = write(memory, writing, told.erase, told.add)
        return features, (features, cells, addresses, memory)

    def control(
        self, projected: Float[Tensor, "B G"], features: Float[Tensor, "B F"], cells: Float[Tensor, "B C"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        """The controller's units, from the inputs' share and the features of the step before; and its cells."""
        # x_t U + b + [h_{t−1}, r_{t−1}] V, a feed-forward layer without h
        sums = projected + features[:, self.sizes.again] @ self.recurrent_weights
        if not self.sizes.lstm:
            return torch.tanh(sums), cells
        o, i, f, g = sums.chunk(4, dim=1)
        # c_t = σ(f) ⊙ c_{t−1} + σ(i) ⊙ tanh(g)
        cells = torch.sigmoid(f) * cells + torch.sigmoid(i) * torch.tanh(g)
        # h_t = σ(o) ⊙ tanh(c_t)
        return torch.sigmoid(o) * torch.tanh(cells), cells

    def tell(self, units: Float[Tensor, "B C"]) -> Told:
        """What the controller tells the heads, all of them by one product."""
        return tell(units @ self.emit_weights + self.emit_bias, self.sizes)

    def address(
        self, told: Told, before: Float[Tensor, "B H N"], memory: Float[Tensor, "B N W"]
    ) -> Float[Tensor, "B H N"]:
        """Where the heads go: by content, or on from where they were; shifted; sharpened (the paper's fig. 2)."""
        content = by_content(memory, told.keys, told.strength)
        blended = interpolate(content, before, told.gate)
        return sharpen(shift(blended, told.shifts), told.power)

    def through(
        self, inputs: Float[Tensor, "B T I"], carried: tuple[Tensor, ...]
    ) -> tuple[Float[Tensor, "B T F"], tuple[Tensor, ...]]:
        """All steps at once, the backward pass written out (`parts.turing_through`)."""
        if torch.compiler.is_exporting():  # an exported program has no backward pass, and takes the equations
            return step_by_step(self, inputs, carried)
        features, cells, addresses, memory = carried
        weights = self.recurrent_weights, self.emit_weights, self.emit_bias
        projected = self.project(inputs.transpose(0, 1))
        made, carried = through(self.sizes, projected, (features, cells, addresses, memory), *weights)
        return made.transpose(0, 1), carried


class NeuralTuringMachine(nn.Module):
    """Outputs at every step, from inputs and a memory that it learns to use.

    Args:
        inputs: width I of a step's input.
        outputs: width O of a step's output.
        units: of the controller, C.
        controller: lstm or feedforward.
        reading: heads that read, R.
        writing: heads that write, Q.
        rows: of the memory, N.
        width: of a row, W.
        shifts: how many places around its own a head can go to in a step, itself included.
        unroll: how it is run over time: `fused` (sooner) or `step_by_step` (as the equations read).

    Raises:
        InvalidValue: a width below 1, what `TuringCell` raises, or sequences without steps.

    >>> net = NeuralTuringMachine(inputs=9, outputs=8, units=16, rows=10, width=6)
    >>> outputs, state = net(torch.zeros(2, 5, 9))
    >>> later, _ = net(torch.zeros(2, 3, 9), state)  # the same sequences, continued
    >>> outputs.shape, later.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 3, 8]))
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        units: int = 100,
        controller: Controller = "lstm",
        reading: int = 1,
        writing: int = 1,
        rows: int = 128,
        width: int = 20,
        shifts: int = 3,
        unroll: Unroll = fused,
    ) -> None:
        super().__init__()
        require(outputs >= 1, f"outputs is {outputs}; a network needs at least 1")
        self.unroll = unroll
        self.cell = TuringCell(
            inputs=inputs,
            units=units,
            controller=controller,
            reading=reading,
            writing=writing,
            rows=rows,
            width=width,
            shifts=shifts,
        )
        # y_t = [h_t, r_t] V + c
        self.readout = nn.Linear(self.cell.sizes.features, outputs)

    def forward(
        self, inputs: Float[Tensor, "B T I"], state: tuple[Tensor, ...] | None = None
    ) -> tuple[Float[Tensor, "B T O"], tuple[Tensor, ...]]:
        """Outputs of every step, and what is carried on after the last (to go on from)."""
        features, carried = self.unroll(self.cell, inputs, state)
        return self.readout(features), carried

    def watch(self, inputs: Float[Tensor, "B T I"]) -> dict[str, Float[Tensor, "B T ..."]]:
        """What there is to see of every step, by name.

        Returns:
            `reading` (B T R N) and `writing` (B T Q N) addresses, what was `read` (B T R W) and the `memory` after the
            step (B T N W); and of every head the `gate` (B T H), whose 1 is content, 0 place.
        """
        carried = self.cell.begin(inputs)
        seen: dict[str, list[Tensor]] = {name: [] for name in ("reading", "writing", "read", "memory", "gate")}
        sizes = self.cell.sizes
        for step in inputs.unbind(1):
            features, carried = self.cell(step, carried)
            units, reads = features.split([sizes.controller, sizes.reading * sizes.width], dim=1)
            reading, writing = carried[2].split([sizes.reading, sizes.writing], dim=1)
            gate = self.cell.tell(units).gate
            shown = (reading, writing, reads.unflatten(1, (sizes.reading, -1)), carried[3], gate)
            for values, value in zip(seen.values(), shown, strict=True):
                values.append(value)
        return {name: torch.stack(values, dim=1) for name, values in seen.items()}


def _uniform(rows: int, columns: int, *, fan_in: int) -> nn.Parameter:
    bound = fan_in**-0.5
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))
