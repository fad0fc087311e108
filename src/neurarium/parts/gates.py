r"""Gated cells: soft switches, each between 0 and 1, that decide what is written, what is kept and what is shown.

Each cell reads as its equations (`forward`), comes in two parts (`project`, `advance`: see `recurrence`), and, where
PyTorch has a kernel for it, runs over all steps in one call (`fused`). The weights lie in the torch module `kernel`, so
what torch.nn.LSTM or torch.nn.GRU saved can be loaded there, and the other way round.

Source: NYU NN II, "Gating functions in LSTM" and "Gated Recurrent Unit"; CS 479 §18; CSE 151B, LSTM,
Uses (write, keep and read gates); Hochreiter & Schmidhuber 1997, Long short-term memory; Gers, Schmidhuber
& Cummins 2000, Learning to forget, §3 (forget gate); Jozefowicz, Zaremba & Sutskever 2015, An empirical exploration of
recurrent network architectures, §2.2 (its bias 1); Tallec & Ollivier 2018, Can recurrent neural networks warp time?,
eq. 16 (biases by time scale).
Differs: as PyTorch, each gate has two biases, which add up; the GRU's reset gate acts on the recurrent sum (the notes:
on the state, before the matrix), and its update gate keeps where the notes' writes (z = 1 − g).
Shapes: B batch, T time steps, I inputs, H hidden units, P projected inputs (H for each gate).
"""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.parts.initialization import time_scales
from neurarium.parts.recurrence import Carried, CarriedT, Cell, Unroll

FORGET_BIAS = 1.0  # Jozefowicz et al. 2015, §2.2: a memory that keeps e⁻¹ or more after 3 steps, where 0 leaves 1/8


@runtime_checkable
class Fused(Cell[CarriedT], Protocol[CarriedT]):
    """A cell that runs over all steps in one call."""

    def through(self, inputs: Float[Tensor, "B T I"], carried: CarriedT, /) -> tuple[Float[Tensor, "B T H"], CarriedT]:
        """All steps: the hidden units at each, and what is carried on."""
        ...


@runtime_checkable
class GatedCell(Cell[CarriedT], Protocol[CarriedT]):
    """A cell whose gates can be looked at."""

    def gates(self, inputs: Float[Tensor, "B I"], hidden: Float[Tensor, "B H"], /) -> dict[str, Tensor]:
        """The gates of a step and what would be written (the candidate), by name."""
        ...


class LSTMCell(nn.Module):
    """Long short-term memory: cells that add up, and gates that guard what goes in, stays and comes out.

    Args:
        inputs: width I of a step's input.
        hidden: number of hidden units H, and of memory cells.
        memory: the longest time scale, in steps: the forget gates begin with scales spread up to it, and the input
            gates as far shut. None: the forget gates' bias is 1, however long the sequences.

    Raises:
        InvalidValue: a width below 1, a time scale below 3, inputs of another width, or a state of another shape.

    >>> cell = LSTMCell(inputs=2, hidden=3)
    >>> hidden, (_, memory) = cell(torch.ones(4, 2), (torch.zeros(4, 3), torch.zeros(4, 3)))
    >>> hidden.shape, memory.shape
    (torch.Size([4, 3]), torch.Size([4, 3]))
    >>> _ = cell.kernel.load_state_dict(nn.LSTM(2, 3).state_dict())  # PyTorch's weights fit
    """

    def __init__(self, *, inputs: int, hidden: int, memory: int | None = None) -> None:
        super().__init__()
        check_sizes(inputs, hidden)
        self.kernel = nn.LSTM(inputs, hidden, batch_first=True)
        # b_f ~ log U(1, memory − 1), b_i = −b_f
        scales = torch.zeros(hidden) if memory is None else time_scales(hidden, longest=memory)
        kept = torch.full((hidden,), FORGET_BIAS) if memory is None else scales
        _, _, bias, other_bias = self.kernel.all_weights[0]
        with torch.no_grad():
            bias.copy_(torch.cat([-scales, kept, torch.zeros(2 * hidden)]))
            other_bias.zero_()

    def forward(
        self, inputs: Float[Tensor, "B I"], carried: tuple[Tensor, ...]
    ) -> tuple[Float[Tensor, "B H"], tuple[Tensor, ...]]:
        """One step."""
        hidden, memory = carried
        i, f, g, o = self.gates(inputs, hidden).values()
        # c_t = f ⊙ c_{t−1} + i ⊙ g
        memory = f * memory + i * g
        # h_t = o ⊙ tanh(c_t)
        hidden = o * torch.tanh(memory)
        return hidden, (hidden, memory)

    def gates(self, inputs: Float[Tensor, "B I"], hidden: Float[Tensor, "B H"]) -> dict[str, Float[Tensor, "B H"]]:
        """The gates of a step and what would be written (the candidate), by name."""
        check_width(inputs, self.kernel.input_size)
        (w_i, w_f, w_g, w_o), (u_i, u_f, u_g, u_o), (b_i, b_f, b_g, b_o), (d_i, d_f, d_g, d_o) = _parts(self.kernel, 4)
        # i = σ(W_i x_t + b_i + U_i h_{t−1} + d_i)
        i = torch.sigmoid(inputs @ w_i.T + b_i + hidden @ u_i.T + d_i)
        # f = σ(W_f x_t + b_f + U_f h_{t−1} + d_f)
        f = torch.sigmoid(inputs @ w_f.T + b_f + hidden @ u_f.T + d_f)
        # g = tanh(W_g x_t + b_g + U_g h_{t−1} + d_g)
        g = torch.tanh(inputs @ w_g.T + b_g + hidden @ u_g.T + d_g)
        # o = σ(W_o x_t + b_o + U_o h_{t−1} + d_o)
        o = torch.sigmoid(inputs @ w_o.T + b_o + hidden @ u_o.T + d_o)
        return {"input": i, "forget": f, "candidate": g, "output": o}

    def begin(self, inputs: Float[Tensor, "B T I"], carried: tuple[Tensor, ...] | None = None) -> tuple[Tensor, ...]:
        """Hidden units and memory before the first step: those given if they fit, else zeros."""
        check_width(inputs, self.kernel.input_size)
        if carried is None:
            zeros = start(inputs, None, self.kernel.hidden_size)
            return zeros, zeros
        require(len(carried) == 2, f"the state to start from is {len(carried)} tensors, but must be (hidden, memory)")
        hidden, memory = (start(inputs, given, self.kernel.hidden_size) for given in carried)
        return hidden, memory

    def project(self, inputs: Float[Tensor, "*any I"]) -> Float[Tensor, "*any P"]:
        """What the inputs add to the sums of all gates, for any number of steps at once."""
        check_width(inputs, self.kernel.input_size)
        weights, _, bias, other_bias = self.kernel.all_weights[0]
        return nn.functional.linear(inputs, weights, bias + other_bias)

    def advance(
        self, projected: Float[Tensor, "B P"], carried: tuple[Tensor, ...]
    ) -> tuple[Float[Tensor, "B H"], tuple[Tensor, ...]]:
        """The rest of a step, all gates in one product."""
        hidden, memory = carried
        recurrent = self.kernel.all_weights[0][1]
        i, f, g, o = torch.addmm(projected, hidden, recurrent.T).chunk(4, dim=1)
        memory = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(memory)
        return hidden, (hidden, memory)

    def through(
        self, inputs: Float[Tensor, "B T I"], carried: tuple[Tensor, ...]
    ) -> tuple[Float[Tensor, "B T H"], tuple[Tensor, ...]]:
        """All steps in PyTorch's kernel."""
        first = [part.unsqueeze(0) for part in carried]
        # torch.lstm is what nn.LSTM calls: one layer with biases, no dropout, one direction, batch first.
        outputs, hidden, memory = torch.lstm(
            inputs, first, tuple(self.kernel.all_weights[0]), True, 1, 0.0, self.training, False, True
        )
        return outputs, (hidden[0], memory[0])


class GRUCell(nn.Module):
    """Gated recurrent unit: one gate decides what is kept or written, another what of the past the new may see.

    Args:
        inputs: width I of a step's input.
        hidden: number of hidden units H.
        memory: the longest time scale, in steps: the update gates begin with scales spread up to it. None: they begin
            about half open, as PyTorch's.

    Raises:
        InvalidValue: a width below 1, a time scale below 3, inputs of another width, or a state of another shape.

    >>> cell = GRUCell(inputs=2, hidden=3)
    >>> hidden, carried = cell(torch.ones(4, 2), torch.zeros(4, 3))
    >>> hidden.shape, carried is hidden
    (torch.Size([4, 3]), True)
    >>> _ = cell.kernel.load_state_dict(nn.GRU(2, 3).state_dict())  # PyTorch's weights fit
    """

    def __init__(self, *, inputs: int, hidden: int, memory: int | None = None) -> None:
        super().__init__()
        check_sizes(inputs, hidden)
        self.kernel = nn.GRU(inputs, hidden, batch_first=True)
        if memory is not None:
            _, _, bias, other_bias = self.kernel.all_weights[0]
            with torch.no_grad():
                # b_z ~ log U(1, memory − 1)
                bias[hidden : 2 * hidden] = time_scales(hidden, longest=memory)
                other_bias[hidden : 2 * hidden] = 0.0

    def forward(
        self, inputs: Float[Tensor, "B I"], hidden: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
        """One step."""
        _, z, n = self.gates(inputs, hidden).values()
        # h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}
        hidden = (1 - z) * n + z * hidden
        return hidden, hidden

    def gates(self, inputs: Float[Tensor, "B I"], hidden: Float[Tensor, "B H"]) -> dict[str, Float[Tensor, "B H"]]:
        """The gates of a step and what would be written (the candidate), by name."""
        check_width(inputs, self.kernel.input_size)
        (w_r, w_z, w_n), (u_r, u_z, u_n), (b_r, b_z, b_n), (d_r, d_z, d_n) = _parts(self.kernel, 3)
        # r = σ(W_r x_t + b_r + U_r h_{t−1} + d_r)
        r = torch.sigmoid(inputs @ w_r.T + b_r + hidden @ u_r.T + d_r)
        # z = σ(W_z x_t + b_z + U_z h_{t−1} + d_z)
        z = torch.sigmoid(inputs @ w_z.T + b_z + hidden @ u_z.T + d_z)
        # n = tanh(W_n x_t + b_n + r ⊙ (U_n h_{t−1} + d_n))
        n = torch.tanh(inputs @ w_n.T + b_n + r * (hidden @ u_n.T + d_n))
        return {"reset": r, "update": z, "candidate": n}

    def begin(self, inputs: Float[Tensor, "B T I"], hidden: Float[Tensor, "B H"] | None = None) -> Float[Tensor, "B H"]:
        """The state before the first step: the one given if it fits, else zeros."""
        check_width(inputs, self.kernel.input_size)
        return start(inputs, hidden, self.kernel.hidden_size)

    def project(self, inputs: Float[Tensor, "*any I"]) -> Float[Tensor, "*any P"]:
        """What the inputs add to the sums of all gates, for any number of steps at once."""
        check_width(inputs, self.kernel.input_size)
        weights, _, bias, _ = self.kernel.all_weights[0]
        return nn.functional.linear(inputs, weights, bias)

    def advance(
        self, projected: Float[Tensor, "B P"], hidden: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
        """The rest of a step, all gates in one product."""
        _, recurrent, _, bias = self.kernel.all_weights[0]
        past = torch.addmm(bias, hidden, recurrent.T)
        (seen_r, seen_z, seen_n), (past_r, past_z, past_n) = projected.chunk(3, dim=1), past.chunk(3, dim=1)
        written = torch.tanh(torch.addcmul(seen_n, torch.sigmoid(seen_r + past_r), past_n))
        hidden = torch.lerp(written, hidden, torch.sigmoid(seen_z + past_z))
        return hidden, hidden

    def through(
        self, inputs: Float[Tensor, "B T I"], hidden: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B H"]]:
        """All steps in PyTorch's kernel."""
        # torch.gru is what nn.GRU calls: one layer with biases, no dropout, one direction, batch first.
        outputs, last = torch.gru(
            inputs, hidden.unsqueeze(0), tuple(self.kernel.all_weights[0]), True, 1, 0.0, self.training, False, True
        )
        return outputs, last[0]


def fused(
    cell: Cell[CarriedT], inputs: Float[Tensor, "B T I"], carried: CarriedT | None = None
) -> tuple[Float[Tensor, "B T H"], CarriedT]:
    """Run a cell over time in PyTorch's kernel for it; else as `recurrence.step_by_step`.

    Raises:
        InvalidValue: there is no kernel for this cell, the sequences have no steps, or do not fit the cell.

    >>> cell, inputs = LSTMCell(inputs=2, hidden=3), torch.ones(4, 5, 2)
    >>> from neurarium.parts.recurrence import step_by_step
    >>> bool(torch.allclose(fused(cell, inputs)[0], step_by_step(cell, inputs)[0], atol=1e-6))
    True
    """
    if not isinstance(cell, Fused):
        raise InvalidValue(f"{type(cell).__name__} has no fused kernel; unroll it by project_ahead")
    require(inputs.shape[1] >= 1, "the sequences have no steps; give at least one")
    return cell.through(inputs, cell.begin(inputs, carried))


def watch(cell: GatedCell[CarriedT], inputs: Float[Tensor, "B T I"]) -> dict[str, Float[Tensor, "B T H"]]:
    """The gates and the hidden units (and the memory, where a cell has one) at every step, by name.

    >>> list(watch(GRUCell(inputs=2, hidden=3), torch.ones(4, 5, 2)))
    ['reset', 'update', 'candidate', 'hidden']
    """
    carried = cell.begin(inputs, None)
    seen: dict[str, list[Tensor]] = {}
    for step in inputs.unbind(1):
        gates = cell.gates(step, carried[0] if isinstance(carried, tuple) else carried)
        hidden, carried = cell(step, carried)
        if isinstance(carried, tuple):
            gates["memory"] = carried[1]
        for name, values in {**gates, "hidden": hidden}.items():
            seen.setdefault(name, []).append(values)
    return {name: torch.stack(values, dim=1) for name, values in seen.items()}


class Recurrent(nn.Module):
    """A gated cell run over time, and outputs read from its hidden units at every step.

    Args:
        cell: the cell.
        hidden: its number of hidden units H.
        outputs: width O of a step's output.
        unroll: how the cell is run over time: `fused` (soonest, where there is a kernel), `project_ahead` or
            `step_by_step` (as the equations read).

    Raises:
        InvalidValue: a width below 1, and what the cell and `unroll` raise.

    >>> net = Recurrent(cell=GRUCell(inputs=2, hidden=3), hidden=3, outputs=1)
    >>> outputs, state = net(torch.zeros(4, 5, 2))
    >>> later, _ = net(torch.zeros(4, 2, 2), state)  # the same sequences, continued
    >>> outputs.shape, later.shape
    (torch.Size([4, 5, 1]), torch.Size([4, 2, 1]))
    """

    def __init__(self, *, cell: GatedCell[Any], hidden: int, outputs: int, unroll: Unroll = fused) -> None:
        super().__init__()
        require(outputs >= 1, f"outputs is {outputs}; a network needs at least 1")
        self.unroll = unroll
        self.cell: GatedCell[Any] = cell
        # y_t = h_t V + c
        self.readout = nn.Linear(hidden, outputs)

    def forward(
        self, inputs: Float[Tensor, "B T I"], state: Carried | None = None
    ) -> tuple[Float[Tensor, "B T O"], Carried]:
        """Outputs of every step, and what is carried on after the last (to go on from)."""
        hidden, carried = self.unroll(self.cell, inputs, state)
        return self.readout(hidden), carried

    def watch(self, inputs: Float[Tensor, "B T I"]) -> dict[str, Float[Tensor, "B T H"]]:
        """The cell's gates, hidden units and memory at every step, by name."""
        return watch(self.cell, inputs)


def check_sizes(inputs: int, hidden: int) -> None:
    """Refuse a cell without inputs or hidden units.

    Raises:
        InvalidValue: says which.
    """
    require(inputs >= 1, f"inputs is {inputs}; a cell needs at least 1")
    require(hidden >= 1, f"hidden is {hidden}; a cell needs at least 1 hidden unit")


def check_width(inputs: Tensor, wanted: int) -> None:
    """Refuse inputs of another width than the cell was built for.

    Raises:
        InvalidValue: says both widths.
    """
    if inputs.shape[-1] != wanted:
        raise InvalidValue(
            f"the inputs are {inputs.shape[-1]} wide, but this cell was built for {wanted}; "
            "build it with inputs= that width"
        )


def start(inputs: Float[Tensor, "B T I"], given: Tensor | None, hidden: int) -> Float[Tensor, "B H"]:
    """A state before the first step: the one given if it fits, else zeros.

    Raises:
        InvalidValue: it does not fit.
    """
    wanted = (inputs.shape[0], hidden)  # not len(inputs): an exported program would keep that number
    if given is None:
        return inputs.new_zeros(wanted)
    if given.shape != wanted:
        raise InvalidValue(f"the state to start from is {tuple(given.shape)}, but these sequences need {wanted}")
    return given


def _parts(kernel: nn.LSTM | nn.GRU, gates: int) -> list[tuple[Tensor, ...]]:
    # PyTorch keeps the rows of all gates in one matrix: of the inputs, of the past, and their two biases.
    return [stacked.chunk(gates) for stacked in kernel.all_weights[0]]
