r"""Jordan network: what it answered is an input of the next step.

A network whose outputs come back to it as a context has a memory, but a public one: it knows of the past only what it
has said. The recurrence passes through as few units as there are outputs, so that it is an Elman network whose matrix
from hidden units to hidden units has no more rank than that. Where an answer is fixed by what is asked, nothing can be
kept in it; where nothing is asked (Jordan's "don't care"), learning is free to put there what the future needs. That
goes for steps, and for output units that nobody reads.

Source: CSE 151B, Recurrent Neural Networks ("Jordan networks: Output feeds back into hidden layer"); Jordan 1986,
Serial order: a parallel distributed processing approach, fig. 2 (context units with connections to themselves).
Differs: there is no plan, but an input at every step; the context is the answer squashed into −1 to 1 (`feedback`), and
forgets all before the last one unless `decay` keeps some; errors travel back through the answers fed back.
Shapes: B batch, T time steps, I inputs, H hidden units, K outputs that are read, O outputs in all.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.parts.recurrence import Unroll, project_ahead


def as_answer(logits: Float[Tensor, "*any O"]) -> Float[Tensor, "*any O"]:
    """Logits as answers from −1 to 1: where the probability is certain, and 0 where it is even."""
    # 2 g(y) − 1 = tanh(y/2), g the logistic function
    return torch.tanh(logits / 2)


class JordanCell(nn.Module):
    """Output units that see the inputs and what they themselves said, through hidden units.

    Args:
        inputs: width I of a step's input.
        hidden: number of hidden units H.
        outputs: number of output units O, all of which are fed back.
        decay: μ, how much of the context a context unit keeps: 0 to below 1.
        feedback: what of the outputs is fed back, elementwise.

    Raises:
        InvalidValue: a width below 1, a decay outside its range, inputs of another width, or a context of another
            shape.

    >>> cell = JordanCell(inputs=2, hidden=3, outputs=1)
    >>> outputs, context = cell(torch.ones(4, 2), torch.zeros(4, 1))
    >>> torch.equal(context, as_answer(outputs))
    True
    """

    def __init__(
        self,
        *,
        inputs: int,
        hidden: int,
        outputs: int,
        decay: float = 0.0,
        feedback: Callable[[Tensor], Tensor] = as_answer,
    ) -> None:
        super().__init__()
        for name, width in (("inputs", inputs), ("hidden", hidden), ("outputs", outputs)):
            require(width >= 1, f"{name} is {width}; a cell needs at least 1")
        require(0 <= decay < 1, f"decay is {decay}, but must be at least 0 and below 1")
        self.decay = decay
        self.feedback = feedback
        # Of order 1 and not 1/√H: a hidden unit sees few inputs and answers, and must bend within their range.
        self.input_weights = nn.Parameter(torch.empty(inputs, hidden).uniform_(-1, 1))
        self.context_weights = nn.Parameter(torch.empty(outputs, hidden).uniform_(-1, 1))
        self.bias = nn.Parameter(torch.empty(hidden).uniform_(-1, 1))
        self.readout = nn.Linear(hidden, outputs)

    def forward(
        self, inputs: Float[Tensor, "B I"], context: Float[Tensor, "B O"]
    ) -> tuple[Float[Tensor, "B O"], Float[Tensor, "B O"]]:
        """One step: the outputs, and the context of the next step."""
        self._check_width(inputs)
        # h_t = tanh(x_t U + c_{t−1} W + b)
        hidden = torch.tanh(inputs @ self.input_weights + context @ self.context_weights + self.bias)
        # y_t = h_t V + d
        outputs: Tensor = self.readout(hidden)
        # c_t = μ c_{t−1} + f(y_t)
        return outputs, self.decay * context + self.feedback(outputs)

    def begin(
        self, inputs: Float[Tensor, "B T I"], context: Float[Tensor, "B O"] | None = None
    ) -> Float[Tensor, "B O"]:
        """The context before the first step: the one given if it fits, else zeros."""
        wanted = (inputs.shape[0], self.readout.out_features)
        if context is None:
            return inputs.new_zeros(wanted)
        if context.shape != wanted:
            raise InvalidValue(
                f"the context to start from is {tuple(context.shape)}, but these sequences need {wanted}"
            )
        return context

    def project(self, inputs: Float[Tensor, "*any I"]) -> Float[Tensor, "*any H"]:
        """What the inputs add to the hidden units, for any number of steps at once."""
        self._check_width(inputs)
        # a_t = x_t U + b
        return inputs @ self.input_weights + self.bias

    def advance(
        self, projected: Float[Tensor, "B H"], context: Float[Tensor, "B O"]
    ) -> tuple[Float[Tensor, "B O"], Float[Tensor, "B O"]]:
        """The rest of a step."""
        outputs: Tensor = self.readout(torch.tanh(torch.addmm(projected, context, self.context_weights)))
        said = self.feedback(outputs)
        return outputs, said if self.decay == 0 else torch.add(said, context, alpha=self.decay)

    def _check_width(self, inputs: Tensor) -> None:
        if inputs.shape[-1] != self.input_weights.shape[0]:
            raise InvalidValue(
                f"the inputs are {inputs.shape[-1]} wide, but this cell was built for {self.input_weights.shape[0]}; "
                "build it with inputs= that width"
            )


class Jordan(nn.Module):
    """Outputs at every step, from inputs and what was answered before.

    Args:
        inputs: width I of a step's input.
        hidden: number of hidden units H.
        outputs: number of outputs K that are read.
        free: output units more, which are fed back like the others, but which nobody reads.
        decay: μ, how much of the context a context unit keeps: 0 to below 1.
        feedback: what of the outputs is fed back, elementwise.
        unroll: how the cell is run over time: `project_ahead` (sooner) or `step_by_step` (as the equations read).

    Raises:
        InvalidValue: a width below 1, fewer than no free outputs, a decay outside its range, inputs of another width, a
            context of another shape, or sequences without steps.

    >>> net = Jordan(inputs=1, hidden=16, outputs=1, free=1)
    >>> outputs, context = net(torch.zeros(2, 5, 1))
    >>> outputs.shape, context.shape
    (torch.Size([2, 5, 1]), torch.Size([2, 2]))
    >>> later, _ = net(torch.zeros(2, 3, 1), context)  # the same sequences, continued
    """

    def __init__(
        self,
        *,
        inputs: int,
        hidden: int,
        outputs: int,
        free: int = 0,
        decay: float = 0.0,
        feedback: Callable[[Tensor], Tensor] = as_answer,
        unroll: Unroll = project_ahead,
    ) -> None:
        super().__init__()
        require(outputs >= 1, f"outputs is {outputs}; a network needs at least 1")
        require(free >= 0, f"free is {free}, but must be 0 or more")
        self.outputs = outputs
        self.unroll = unroll
        self.cell = JordanCell(inputs=inputs, hidden=hidden, outputs=outputs + free, decay=decay, feedback=feedback)

    def forward(
        self, inputs: Float[Tensor, "B T I"], context: Float[Tensor, "B O"] | None = None
    ) -> tuple[Float[Tensor, "B T K"], Float[Tensor, "B O"]]:
        """The outputs that are read at every step, and the context after the last (to go on from)."""
        outputs, context = self.unroll(self.cell, inputs, context)
        return outputs[..., : self.outputs], context

    def said(
        self, inputs: Float[Tensor, "B T I"], context: Float[Tensor, "B O"] | None = None
    ) -> Float[Tensor, "B T O"]:
        """What every output unit, read or free, feeds back at every step: all that the network knows of the past."""
        return self.cell.feedback(self.unroll(self.cell, inputs, context)[0])
