r"""Elman network: the hidden units of one step are inputs of the next.

A feed-forward network answers each input by itself. Let its hidden layer see, beside the input, a copy of itself from
one step ago (the context), and it has a memory: what the next answer needs of the past can be kept there, in a code
that learning finds. Taught to predict what comes next, it discovers the structure of time: its error is high where
anything may follow, and low where the past decides.

Source: CS 479 §17; CSE 151B, Recurrent Neural Networks; Elman 1990, Finding structure in time, fig. 2.
Differs: tanh instead of the logistic function (pass `activation`); the context starts at 0 instead of 0.5; errors
travel back through all steps unless truncated (Elman: one step, `truncate=1` in the learner).
Shapes: B batch, T time steps, I inputs, H hidden units, O outputs.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import require
from neurarium.parts.recurrence import ElmanCell, Unroll, project_ahead


class Elman(nn.Module):
    """Outputs at every step, from inputs and what came before.

    Args:
        inputs: width I of a step's input.
        hidden: number of hidden units H.
        outputs: width O of a step's output.
        activation: σ of the hidden units.
        unroll: how the cell is run over time: `project_ahead` (sooner) or `step_by_step` (as the equation reads).

    Raises:
        InvalidValue: a width below 1, inputs of another width, a state of another shape, or sequences without steps.

    >>> net = Elman(inputs=1, hidden=16, outputs=1)
    >>> outputs, state = net(torch.zeros(2, 5, 1))
    >>> outputs.shape, state.shape
    (torch.Size([2, 5, 1]), torch.Size([2, 16]))
    >>> later, _ = net(torch.zeros(2, 3, 1), state)  # the same sequences, continued
    """

    def __init__(
        self,
        *,
        inputs: int,
        hidden: int,
        outputs: int,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
        unroll: Unroll = project_ahead,
    ) -> None:
        super().__init__()
        require(outputs >= 1, f"outputs is {outputs}; a network needs at least 1")
        self.unroll = unroll
        # h_t = σ(x_t U + h_{t−1} W + b)
        self.cell = ElmanCell(inputs=inputs, hidden=hidden, activation=activation)
        # y_t = h_t V + c
        self.readout = nn.Linear(hidden, outputs)

    def forward(
        self, inputs: Float[Tensor, "B T I"], state: Float[Tensor, "B H"] | None = None
    ) -> tuple[Float[Tensor, "B T O"], Float[Tensor, "B H"]]:
        """Outputs of every step, and the hidden units after the last (to go on from)."""
        hidden, state = self.unroll(self.cell, inputs, state)
        return self.readout(hidden), state

    def activity(
        self, inputs: Float[Tensor, "B T I"], state: Float[Tensor, "B H"] | None = None
    ) -> Float[Tensor, "B T H"]:
        """The hidden units at every step: what the network keeps of the past."""
        return self.unroll(self.cell, inputs, state)[0]
