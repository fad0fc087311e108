r"""Gated recurrent units: the hidden state itself is the memory, and a gate decides how much of it is kept.

The simplest gate mixes: the new state is g of the candidate and 1 − g of the old one, unit by unit. Where g is 0, the
state (and the error on its way back) passes unchanged, for as long as it likes. The GRU adds a second gate, reset, by
which a candidate can leave the past out of account. No separate memory, one gate less than the LSTM, and as long a
memory.

Source: CS 479 §18.2 (one gate), §18.3 (update and reset); NYU NN II, "Gated Recurrent Unit"; Cho et al. 2014, Learning
phrase representations using RNN encoder-decoder, §2.3.
Differs: the GRU is PyTorch's: its update gate z keeps (z = 1 − g of the notes), and its reset gate acts on the
recurrent sum, r ⊙ (U h), where the notes have U (r ⊙ h); with `memory`, the gates begin with time scales spread up to
it (Tallec & Ollivier 2018, Can recurrent neural networks warp time?, eq. 16).
Shapes: B batch, T time steps, I inputs, H hidden units, P projected inputs, O outputs.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import require
from neurarium.parts.gates import GRUCell, Recurrent, check_sizes, check_width, fused, start
from neurarium.parts.initialization import time_scales
from neurarium.parts.recurrence import Unroll, project_ahead

Gates = Literal["simple", "both"]
"""One gate that mixes old and new, or an update and a reset gate."""


class SimpleCell(nn.Module):
    """One gate: how much of the old state gives way to the candidate. PyTorch has no kernel for it.

    Args:
        inputs: width I of a step's input.
        hidden: number of hidden units H.
        memory: the longest time scale, in steps: the gates begin with scales spread up to it. None: they begin about
            half open.

    Raises:
        InvalidValue: a width below 1, a time scale below 3, inputs of another width, or a state of another shape.

    >>> cell = SimpleCell(inputs=2, hidden=3)
    >>> hidden, carried = cell(torch.ones(4, 2), torch.zeros(4, 3))
    >>> hidden.shape, carried is hidden
    (torch.Size([4, 3]), True)
    """

    def __init__(self, *, inputs: int, hidden: int, memory: int | None = None) -> None:
        super().__init__()
        check_sizes(inputs, hidden)
        # Of the gate and of the candidate, in this order; uniform within ±1/√H, as torch.nn.GRU starts.
        bound = hidden**-0.5
        self.input_weights = nn.Parameter(torch.empty(inputs, 2 * hidden).uniform_(-bound, bound))
        self.recurrent_weights = nn.Parameter(torch.empty(hidden, 2 * hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(2 * hidden).uniform_(-bound, bound))
        if memory is not None:
            with torch.no_grad():
                # b_g ~ −log U(1, memory − 1): this gate is open to what is new.
                self.bias[:hidden] = -time_scales(hidden, longest=memory)

    def forward(
        self, inputs: Float[Tensor, "B I"], hidden: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
        """One step."""
        g, candidate = self.gates(inputs, hidden).values()
        # h_t = g ⊙ h̃_t + (1 − g) ⊙ h_{t−1}
        hidden = g * candidate + (1 - g) * hidden
        return hidden, hidden

    def gates(self, inputs: Float[Tensor, "B I"], hidden: Float[Tensor, "B H"]) -> dict[str, Float[Tensor, "B H"]]:
        """The gate of a step and what would be written (the candidate), by name."""
        check_width(inputs, self.input_weights.shape[0])
        (u_g, u), (w_g, w), (b_g, b) = (
            stacked.chunk(2, dim=-1) for stacked in (self.input_weights, self.recurrent_weights, self.bias)
        )
        # g = σ(h_{t−1} W_g + x_t U_g + b_g)
        g = torch.sigmoid(hidden @ w_g + inputs @ u_g + b_g)
        # h̃_t = tanh(h_{t−1} W + x_t U + b)
        candidate = torch.tanh(hidden @ w + inputs @ u + b)
        return {"gate": g, "candidate": candidate}

    def begin(self, inputs: Float[Tensor, "B T I"], hidden: Float[Tensor, "B H"] | None = None) -> Float[Tensor, "B H"]:
        """The state before the first step: the one given if it fits, else zeros."""
        check_width(inputs, self.input_weights.shape[0])
        return start(inputs, hidden, self.recurrent_weights.shape[0])

    def project(self, inputs: Float[Tensor, "*any I"]) -> Float[Tensor, "*any P"]:
        """What the inputs add to the sums of gate and candidate, for any number of steps at once."""
        check_width(inputs, self.input_weights.shape[0])
        return inputs @ self.input_weights + self.bias

    def advance(
        self, projected: Float[Tensor, "B P"], hidden: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
        """The rest of a step, both sums in one product."""
        gate, candidate = torch.addmm(projected, hidden, self.recurrent_weights).chunk(2, dim=1)
        hidden = torch.lerp(hidden, torch.tanh(candidate), torch.sigmoid(gate))
        return hidden, hidden


class GRU(Recurrent):
    """Outputs at every step, from inputs and a state that gates keep or replace.

    The equations are `parts.gates.GRUCell`'s (with the weights of torch.nn.GRU in `cell.kernel`), or `SimpleCell`'s.

    Args:
        inputs: width I of a step's input.
        hidden: number of hidden units H.
        outputs: width O of a step's output.
        gates: `both` (update and reset) or `simple` (one).
        memory: the longest time scale that gates begin with, in steps (None: all begin about half open).
        unroll: how the cell is run over time: `fused` (PyTorch's kernel, for both gates), `project_ahead` or
            `step_by_step` (as the equations read). None: the soonest there is.

    Raises:
        InvalidValue: a width below 1, an unknown choice, a time scale below 3, inputs of another width, a state of
            another shape, or sequences without steps.

    >>> net = GRU(inputs=2, hidden=16, outputs=1)
    >>> outputs, state = net(torch.zeros(4, 5, 2))
    >>> later, _ = net(torch.zeros(4, 3, 2), state)  # the same sequences, continued
    >>> simple = GRU(inputs=2, hidden=16, outputs=1, gates="simple")
    >>> list(net.watch(torch.zeros(4, 5, 2))), list(simple.watch(torch.zeros(4, 5, 2)))
    (['reset', 'update', 'candidate', 'hidden'], ['gate', 'candidate', 'hidden'])
    """

    def __init__(
        self,
        *,
        inputs: int,
        hidden: int,
        outputs: int,
        gates: Gates = "both",
        memory: int | None = None,
        unroll: Unroll | None = None,
    ) -> None:
        require(gates in ("simple", "both"), f"gates is '{gates}'; choose simple or both")
        # both:   h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}
        # simple: h_t = g ⊙ h̃_t + (1 − g) ⊙ h_{t−1}
        cell = GRUCell if gates == "both" else SimpleCell
        soonest: Unroll = fused if gates == "both" else project_ahead
        built = cell(inputs=inputs, hidden=hidden, memory=memory)
        super().__init__(cell=built, hidden=hidden, outputs=outputs, unroll=unroll or soonest)
