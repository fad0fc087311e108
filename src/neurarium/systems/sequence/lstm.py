r"""Long short-term memory: a memory that adds, so that what it holds need not fade, and gates that guard it.

A recurrent network passes its memory through a matrix and a squashing function at every step, and errors on their way
back through the same: over a hundred steps they fade or burst. Here the memory c is carried on by itself, times a
forget gate between 0 and 1; while that gate is open errors go back through time as they are. An input gate decides what
is added, an output gate what is shown of it.

Source: NYU NN II, "Gating functions in LSTM"; CSE 151B, LSTM, Uses (write, read and keep gates); Hochreiter &
Schmidhuber 1997, Long short-term memory; Gers, Schmidhuber & Cummins 2000, Learning to forget, §3 (forget gate).
Differs: the gates do not see the memory itself (no peepholes); with `memory`, the forget gates begin with time scales
spread up to it (Tallec & Ollivier 2018, Can recurrent neural networks warp time?, eq. 16).
Shapes: B batch, T time steps, I inputs, H hidden units, O outputs.
"""

from neurarium.parts.gates import LSTMCell, Recurrent, fused
from neurarium.parts.recurrence import Unroll


class LSTM(Recurrent):
    """Outputs at every step, from inputs and a guarded memory of what came before.

    The equations are `parts.gates.LSTMCell`'s; the weights are those of torch.nn.LSTM, in `cell.kernel`.

    Args:
        inputs: width I of a step's input.
        hidden: number of hidden units H, and of memory cells.
        outputs: width O of a step's output.
        memory: the longest time scale that forget gates begin with, in steps (None: all begin with bias 1).
        unroll: how the cell is run over time: `fused` (PyTorch's kernel), `project_ahead` or `step_by_step` (as the
            equations read).

    Raises:
        InvalidValue: a width below 1, a time scale below 3, inputs of another width, a state of another shape, or
            sequences without steps.

    >>> import torch
    >>> net = LSTM(inputs=2, hidden=16, outputs=1)
    >>> outputs, (hidden, memory) = net(torch.zeros(4, 5, 2))
    >>> outputs.shape, memory.shape
    (torch.Size([4, 5, 1]), torch.Size([4, 16]))
    >>> later, _ = net(torch.zeros(4, 3, 2), (hidden, memory))  # the same sequences, continued
    >>> list(net.watch(torch.zeros(4, 5, 2)))
    ['input', 'forget', 'candidate', 'output', 'memory', 'hidden']
    """

    def __init__(
        self, *, inputs: int, hidden: int, outputs: int, memory: int | None = None, unroll: Unroll = fused
    ) -> None:
        # c_t = f ⊙ c_{t−1} + i ⊙ g;  h_t = o ⊙ tanh(c_t)
        cell = LSTMCell(inputs=inputs, hidden=hidden, memory=memory)
        super().__init__(cell=cell, hidden=hidden, outputs=outputs, unroll=unroll)
