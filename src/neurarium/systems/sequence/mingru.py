r"""minGRU and minLSTM: recurrent networks that need no loop to learn.

The gates of a GRU look at the inputs and at the state before, so step t has to wait for step t − 1. Let them look at
the inputs alone, and every gate of a sequence is known at once; what is left is h_t = a_t h_{t−1} + b_t, which a
parallel scan takes in O(log T) stages. To go on from a state, one step at a time, the same cell is run as any other: it
learns all steps at once, as a transformer does, and answers at a constant cost a step, as a recurrent network does.

One layer's gates cannot know what came before: whether to keep a number can depend on the mark beside it, not on how
many were marked already. A second layer's gates see the first one's states, and with them the past.

Source: CS 479 §18.3; Feng et al. 2024, Were RNNs all we needed?, §3.1 (minGRU), §3.2 (minLSTM).
Differs: layers stand on one another without the paper's convolutions, dense blocks and norms between them; the
candidate is linear (its §3) and not made positive (its §B); units may begin with memories of many lengths.
Shapes: B batch, T time steps, I inputs, H hidden units, O outputs.
"""

from typing import Protocol, cast, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import require
from neurarium.parts.scan import LinearCell, MinGRUCell, RunLinear, in_parallel

States = tuple[Tensor, ...]
"""The state of each layer."""


@runtime_checkable
class MakeCell(Protocol):
    """Builds the cell of a layer: `MinGRUCell` or `MinLSTMCell`."""

    def __call__(self, *, inputs: int, hidden: int, memory: int | None) -> nn.Module: ...


class MinRecurrent(nn.Module):
    """Outputs at every step, from inputs and what came before, by layers of minGRU or minLSTM.

    Args:
        inputs: width I of a step's input.
        hidden: number of hidden units H of a layer.
        outputs: width O of a step's output.
        layers: number of layers; each one's inputs are the states of the one before.
        cell: what a layer is: `MinGRUCell` or `MinLSTMCell`.
        memory: steps; units begin with time constants from 1 to it (None: all of them forget half at every step).
        unroll: how the cells are run over time: `in_parallel`, `project_ahead` or `step_by_step`.

    Raises:
        InvalidValue: a width or the number of layers below 1, a memory below 2, inputs of another width, states of
            another number or shape, or sequences without steps.

    >>> import torch
    >>> net = MinRecurrent(inputs=1, hidden=16, outputs=1, layers=2)
    >>> outputs, states = net(torch.zeros(2, 5, 1))
    >>> outputs.shape, [state.shape for state in states]
    (torch.Size([2, 5, 1]), [torch.Size([2, 16]), torch.Size([2, 16])])
    >>> later, _ = net(torch.zeros(2, 1, 1), states)  # the same sequences, a step further
    """

    def __init__(
        self,
        *,
        inputs: int,
        hidden: int,
        outputs: int,
        layers: int = 1,
        cell: MakeCell = MinGRUCell,
        memory: int | None = None,
        unroll: RunLinear = in_parallel,
    ) -> None:
        super().__init__()
        require(layers >= 1, f"layers is {layers}; a network needs at least 1")
        require(outputs >= 1, f"outputs is {outputs}; a network needs at least 1")
        self.unroll = unroll
        widths = [inputs, *[hidden] * (layers - 1)]
        self.layers = nn.ModuleList(cell(inputs=width, hidden=hidden, memory=memory) for width in widths)
        # y_t = h_t V + c
        self.readout = nn.Linear(hidden, outputs)

    def forward(
        self, inputs: Float[Tensor, "B T I"], states: States | None = None
    ) -> tuple[Float[Tensor, "B T O"], States]:
        """Outputs of every step, and each layer's state after the last (to go on from)."""
        hidden = self.activity(inputs, states)
        return self.readout(hidden[-1]), tuple(layer[:, -1] for layer in hidden)

    def activity(self, inputs: Float[Tensor, "B T I"], states: States | None = None) -> list[Float[Tensor, "B T H"]]:
        """Every layer's hidden units at every step."""
        count = len(self.layers)
        require(
            states is None or len(states) == count,
            f"there are {len(states or ())} states to start from, but {count} layers; give one a layer",
        )
        hidden: list[Tensor] = []
        for place, layer in enumerate(self.cells()):
            hidden.append(self.unroll(layer, hidden[-1] if hidden else inputs, states[place] if states else None)[0])
        return hidden

    def kept(self, inputs: Float[Tensor, "B T I"], states: States | None = None) -> list[Float[Tensor, "B T H"]]:
        """The part of its state that each unit of every layer keeps at every step: 1 − z_t, or f'_t."""
        below = [inputs, *self.activity(inputs, states)]
        return [
            layer.coefficients(layer.project(seen))[0] for layer, seen in zip(self.cells(), below[:-1], strict=True)
        ]

    def cells(self) -> list[LinearCell]:
        """The layers as the cells they are."""
        return [cast(LinearCell, layer) for layer in self.layers]
