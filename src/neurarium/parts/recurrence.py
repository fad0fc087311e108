r"""Recurrence: cells that carry a state from step to step, and two ways to run any of them over time.

A cell can be read as its equation (`forward`, one step), and split in two so that it runs sooner: what it makes of the
inputs is one matrix product for all steps (`project`), and only what depends on the step before is left to the loop
(`advance`). Both give the same numbers; the plain way is the one to read, and the oracle of the other.

Source: CS 479 §17; CSE 151B, Recurrent Neural Networks; Elman 1990, Finding structure in time, fig. 2.
Shapes: B batch, T time steps, I inputs, H hidden units, P projected inputs (H for each gate of the cell).
"""

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require

Carried = Tensor | tuple[Tensor, ...]
"""What a cell carries from one step to the next: one tensor, or several (an LSTM's hidden state and memory)."""

CarriedT = TypeVar("CarriedT", Tensor, tuple[Tensor, ...])


@runtime_checkable
class Cell(Protocol[CarriedT]):
    """One step of a recurrent network, whole and in two parts."""

    def __call__(self, inputs: Float[Tensor, "B I"], carried: CarriedT, /) -> tuple[Float[Tensor, "B H"], CarriedT]:
        """One step as its equation reads: the hidden units, and what is carried on."""
        ...

    def begin(self, inputs: Float[Tensor, "B T I"], carried: CarriedT | None, /) -> CarriedT:
        """The state before the first step: the one given if it fits, else zeros."""
        ...

    def project(self, inputs: Float[Tensor, "*any I"], /) -> Float[Tensor, "*any P"]:
        """The part of a step that needs the inputs alone, for any number of steps at once."""
        ...

    def advance(self, projected: Float[Tensor, "B P"], carried: CarriedT, /) -> tuple[Float[Tensor, "B H"], CarriedT]:
        """The rest of a step."""
        ...


@runtime_checkable
class Unroll(Protocol):
    """A way to run a cell over time: `step_by_step` or `project_ahead`."""

    def __call__(
        self, cell: Cell[CarriedT], inputs: Float[Tensor, "B T I"], carried: CarriedT | None = None
    ) -> tuple[Float[Tensor, "B T H"], CarriedT]: ...


class ElmanCell(nn.Module):
    """Hidden units that see the inputs and themselves one step ago.

    Args:
        inputs: width I of a step's input.
        hidden: number of hidden units H.
        activation: σ, elementwise.

    Raises:
        InvalidValue: a width below 1, inputs of another width, or a state of another shape.

    >>> cell = ElmanCell(inputs=2, hidden=3)
    >>> hidden, carried = cell(torch.ones(4, 2), torch.zeros(4, 3))
    >>> hidden.shape, carried is hidden
    (torch.Size([4, 3]), True)
    """

    def __init__(self, *, inputs: int, hidden: int, activation: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        require(inputs >= 1, f"inputs is {inputs}; a cell needs at least 1")
        require(hidden >= 1, f"hidden is {hidden}; a cell needs at least 1 hidden unit")
        self.activation = activation
        # Uniform within ±1/√H, as torch.nn.RNN starts.
        bound = hidden**-0.5
        self.input_weights = nn.Parameter(torch.empty(inputs, hidden).uniform_(-bound, bound))
        self.recurrent_weights = nn.Parameter(torch.empty(hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(hidden).uniform_(-bound, bound))

    def forward(
        self, inputs: Float[Tensor, "B I"], hidden: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
        """One step."""
        self._check_width(inputs)
        # h_t = σ(x_t U + h_{t−1} W + b)
        hidden = self.activation(inputs @ self.input_weights + hidden @ self.recurrent_weights + self.bias)
        return hidden, hidden

    def begin(self, inputs: Float[Tensor, "B T I"], hidden: Float[Tensor, "B H"] | None = None) -> Float[Tensor, "B H"]:
        """The state before the first step: the one given if it fits, else zeros."""
        wanted = (inputs.shape[0], self.bias.shape[0])  # not len(inputs): an exported program would keep that number
        if hidden is None:
            return inputs.new_zeros(wanted)
        if hidden.shape != wanted:
            raise InvalidValue(f"the state to start from is {tuple(hidden.shape)}, but these sequences need {wanted}")
        return hidden

    def project(self, inputs: Float[Tensor, "*any I"]) -> Float[Tensor, "*any H"]:
        """What the inputs add to the hidden units, for any number of steps at once."""
        self._check_width(inputs)
        # a_t = x_t U + b
        return inputs @ self.input_weights + self.bias

    def advance(
        self, projected: Float[Tensor, "B H"], hidden: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
        """The rest of a step."""
        # h_t = σ(a_t + h_{t−1} W)
        hidden = self.activation(torch.addmm(projected, hidden, self.recurrent_weights))
        return hidden, hidden

    def _check_width(self, inputs: Tensor) -> None:
        if inputs.shape[-1] != len(self.input_weights):
            raise InvalidValue(
                f"the inputs are {inputs.shape[-1]} wide, but this cell was built for {len(self.input_weights)}; "
                "build it with inputs= that width"
            )


def step_by_step(
    cell: Cell[CarriedT], inputs: Float[Tensor, "B T I"], carried: CarriedT | None = None
) -> tuple[Float[Tensor, "B T H"], CarriedT]:
    """Run a cell over time, each step as its equation reads.

    Args:
        cell: what is run.
        inputs: the sequences.
        carried: the state before the first step (zeros if None).

    Returns:
        The hidden units at every step, and the state after the last.

    Raises:
        InvalidValue: the sequences have no steps, or do not fit the cell.

    >>> hidden, last = step_by_step(ElmanCell(inputs=2, hidden=3), torch.zeros(4, 5, 2))
    >>> hidden.shape, torch.equal(hidden[:, -1], last)
    (torch.Size([4, 5, 3]), True)
    """
    state = _begin(cell, inputs, carried)
    steps = []
    for step in inputs.unbind(1):
        hidden, state = cell(step, state)
        steps.append(hidden)
    return torch.stack(steps, dim=1), state


def project_ahead(
    cell: Cell[CarriedT], inputs: Float[Tensor, "B T I"], carried: CarriedT | None = None
) -> tuple[Float[Tensor, "B T H"], CarriedT]:
    """Run a cell over time, the inputs of all steps taken in one matrix product first; else as `step_by_step`.

    >>> cell, inputs = ElmanCell(inputs=2, hidden=3), torch.ones(4, 5, 2)
    >>> bool(torch.allclose(project_ahead(cell, inputs)[0], step_by_step(cell, inputs)[0], atol=1e-6))
    True
    """
    state = _begin(cell, inputs, carried)
    steps = []
    # Time first, so that each step of the loop reads one contiguous block.
    for projected in cell.project(inputs.transpose(0, 1)).unbind(0):
        hidden, state = cell.advance(projected, state)
        steps.append(hidden)
    return torch.stack(steps, dim=1), state


def detached(carried: Carried | None) -> Carried | None:
    """The same state, as a constant: no gradient flows back through it.

    >>> weight = torch.ones(1, requires_grad=True)
    >>> detached((2 * weight, 3 * weight))
    (tensor([2.]), tensor([3.]))
    """
    if isinstance(carried, tuple):
        return tuple(part.detach() for part in carried)
    return None if carried is None else carried.detach()


def _begin(cell: Cell[CarriedT], inputs: Tensor, carried: CarriedT | None) -> CarriedT:
    require(inputs.shape[1] >= 1, "the sequences have no steps; give at least one")
    return cell.begin(inputs, carried)
