r"""Scan: a linear recurrence over T steps in O(log T) stages instead of T, and cells made so that it serves them.

h_t = a_t h_{t−1} + b_t looks like a loop. But two steps in a row are again such a step, with a = a₂a₁ and
b = a₂b₁ + b₂: an associative operation, so the steps may be joined in any grouping. Join neighbours, and half as many
steps are left; do so again until one is left; then fill in what was skipped on the way back. All of a stage happens at
once. A recurrent network can be run like this if neither its gates nor its candidates look at h_{t−1}: minGRU and
minLSTM are the GRU and the LSTM with just that taken out.

Source: CS 479 §18.3 (minGRU, parallel scan in O(log N)); Blelloch 1990, Prefix sums and their applications, §1.4
(first-order recurrences); Feng et al. 2024, Were RNNs all we needed?, §3.1 (minGRU), §3.2 (minLSTM), §B (its ratio of
gates as a difference of logarithms); Tallec & Ollivier 2018, Can recurrent neural networks warp time?, §2 (gates that
begin with a memory).
Differs: the scan joins pairs, instead of Feng et al.'s cumulative sums of logarithms (Heinsen 2023): a and b may have
any sign and be 0, and nothing overflows; so the candidate stays linear, without the positive g of their §B.
Shapes: B batch, T time steps, I inputs, H hidden units, P projected inputs (H for each map of the inputs).
"""

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

from neurarium.errors import InvalidValue, require
from neurarium.parts.normalization import widened
from neurarium.parts.recurrence import Cell


@runtime_checkable
class LinearCell(Cell[Tensor], Protocol):
    """A cell whose step is linear in its state, with coefficients that the inputs alone decide."""

    def coefficients(
        self, projected: Float[Tensor, "*any P"], /
    ) -> tuple[Float[Tensor, "*any H"], Float[Tensor, "*any H"]]:
        """The a and b of h_t = a_t h_{t−1} + b_t, for any number of steps at once."""
        ...


@runtime_checkable
class RunLinear(Protocol):
    """A way to run a linear cell over time: `in_parallel`, or `step_by_step` and `project_ahead` as any cell."""

    def __call__(
        self, cell: LinearCell, inputs: Float[Tensor, "B T I"], carried: Tensor | None = None
    ) -> tuple[Float[Tensor, "B T H"], Tensor]: ...


def scan(
    keep: Float[Tensor, "B T H"], add: Float[Tensor, "B T H"], start: Float[Tensor, "B H"] | None = None
) -> Float[Tensor, "B T H"]:
    """h_t = a_t h_{t−1} + b_t at every step, in about 2 log₂ T stages and 3 T multiplications.

    Args:
        keep: a_t, the factor of the state before.
        add: b_t, what is added.
        start: the state before the first step (zeros if None).

    Returns:
        h_t at every step.

    Raises:
        InvalidValue: the shapes do not fit one another, or there are no steps.

    >>> scan(torch.tensor([[[0.5], [0.5], [2.0]]]), torch.ones(1, 3, 1), torch.tensor([[4.0]])).flatten()
    tensor([3.0000, 2.5000, 6.0000])
    """
    if keep.shape != add.shape or keep.ndim != 3 or not keep.shape[1]:
        raise InvalidValue(
            f"the factors are {tuple(keep.shape)} and the terms {tuple(add.shape)}; "
            "a scan needs the same (B, T, H) of both, with at least one step"
        )
    if start is not None and start.shape != add[:, 0].shape:
        raise InvalidValue(
            f"the state to start from is {tuple(start.shape)}, but these sequences need {tuple(add[:, 0].shape)}"
        )
    hidden: Tensor = Scan.apply(keep, add, start)  # type: ignore[no-untyped-call]
    return hidden


class Scan(torch.autograd.Function):
    """The scan with its gradient, which is again a scan, from the last step to the first."""

    @staticmethod
    def forward(ctx: Any, keep: Tensor, add: Tensor, start: Tensor | None) -> Tensor:
        """All states."""
        if start is not None:
            # The state before the first step is one more thing to add there: h_1 = a_1 h_0 + b_1
            add = add.clone()
            add[:, 0] += keep[:, 0] * start
        hidden = torch.empty_like(add)
        _join(keep, add, hidden)
        ctx.save_for_backward(keep, start, hidden)
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """What each factor, each term and the start did to the states and all that came after them."""
        keep, start, hidden = ctx.saved_tensors
        # λ_t = ∂E/∂h_t + a_{t+1} λ_{t+1}, so ∂E/∂b_t = λ_t. Nothing follows the last step, so its factor is idle.
        adjoint = torch.empty_like(hidden)
        _join(keep.roll(-1, 1), gradient, adjoint, backwards=True)
        # ∂E/∂a_t = λ_t h_{t−1},  ∂E/∂h_0 = a_1 λ_1
        slope = torch.empty_like(hidden)
        torch.mul(adjoint[:, 1:], hidden[:, :-1], out=slope[:, 1:])
        slope[:, 0] = 0 if start is None else adjoint[:, 0] * start
        return slope, adjoint, None if start is None else keep[:, 0] * adjoint[:, 0]


def _join(keep: Tensor, add: Tensor, hidden: Tensor, *, backwards: bool = False) -> None:
    """Fill `hidden` with the states from the first step to the last, or from the last to the first."""
    if add.shape[1] == 1:
        hidden.copy_(add)
        return
    pairs, rest = add.shape[1] // 2, (add.shape[1] - 1) // 2
    (first_keep, second_keep), (first_add, second_add), (firsts, seconds) = (
        _alternate(values, backwards) for values in (keep, add, hidden)
    )
    head, tail, known = (
        (slice(-pairs, None), slice(-1), slice(pairs - rest, None))
        if backwards
        else (slice(pairs), slice(1, None), slice(rest))
    )
    # Two steps are one: h_2 = a_2 (a_1 h_0 + b_1) + b_2 = (a_2 a_1) h_0 + (a_2 b_1 + b_2)
    joined = torch.addcmul(second_add, second_keep, first_add[:, head])
    _join(second_keep * first_keep[:, head], joined, seconds, backwards=backwards)
    # What was skipped is one step from what is known: h_3 = a_3 h_2 + b_3
    torch.addcmul(first_add[:, tail], first_keep[:, tail], seconds[:, known], out=firsts[:, tail])
    begin = -1 if backwards else 0
    firsts[:, begin] = first_add[:, begin]


def _alternate(values: Tensor, backwards: bool) -> tuple[Tensor, Tensor]:
    """The first of each two steps and the second, each in the order of time."""
    shift = values.shape[1] - 1 if backwards else 0
    return values[:, shift % 2 :: 2], values[:, (shift + 1) % 2 :: 2]


def in_parallel(
    cell: LinearCell, inputs: Float[Tensor, "B T I"], carried: Tensor | None = None
) -> tuple[Float[Tensor, "B T H"], Tensor]:
    """Run a linear cell over all steps at once, by a scan; the same numbers as `step_by_step`.

    Raises:
        InvalidValue: the sequences have no steps, or do not fit the cell.

    >>> hidden, last = in_parallel(MinGRUCell(inputs=2, hidden=3), torch.zeros(4, 5, 2))
    >>> hidden.shape, torch.equal(hidden[:, -1], last)
    (torch.Size([4, 5, 3]), True)
    """
    require(inputs.shape[1] >= 1, "the sequences have no steps; give at least one")
    start = cell.begin(inputs, carried)  # refuses a state that does not fit; zeros need not be added
    keep, add = cell.coefficients(cell.project(inputs))
    hidden = scan(keep, add, None if carried is None else start.to(add.dtype))
    return hidden, hidden[:, -1]


class GatedCell(nn.Module, ABC):
    """What minGRU and minLSTM share: linear maps of the inputs for gates and candidate, and a step linear in h.

    Args:
        inputs: width I of a step's input.
        hidden: number of hidden units H.
        maps: number of linear maps, the candidate's being the last.

    Raises:
        InvalidValue: a width below 1, inputs of another width, or a state of another shape.
    """

    def __init__(self, *, inputs: int, hidden: int, maps: int) -> None:
        super().__init__()
        require(inputs >= 1, f"inputs is {inputs}; a cell needs at least 1")
        require(hidden >= 1, f"hidden is {hidden}; a cell needs at least 1 hidden unit")
        self.inputs, self.hidden, self.count = inputs, hidden, maps
        # One product for all maps: Linear(x_t) of each gate, then of the candidate.
        self.maps = nn.Linear(inputs, maps * hidden)

    def begin(self, inputs: Float[Tensor, "B T I"], hidden: Float[Tensor, "B H"] | None = None) -> Float[Tensor, "B H"]:
        """The state before the first step: the one given if it fits, else zeros."""
        wanted = (inputs.shape[0], self.hidden)
        if hidden is None:
            return inputs.new_zeros(wanted)
        if hidden.shape != wanted:
            raise InvalidValue(f"the state to start from is {tuple(hidden.shape)}, but these sequences need {wanted}")
        return hidden

    def project(self, inputs: Float[Tensor, "*any I"]) -> Float[Tensor, "*any P"]:
        """The gates before σ and the candidate, side by side, for any number of steps at once."""
        if inputs.shape[-1] != self.inputs:
            raise InvalidValue(
                f"the inputs are {inputs.shape[-1]} wide, but this cell was built for {self.inputs}; "
                "build it with inputs= that width"
            )
        projected: Tensor = self.maps(inputs)
        return projected

    @abstractmethod
    def coefficients(
        self, projected: Float[Tensor, "*any P"]
    ) -> tuple[Float[Tensor, "*any H"], Float[Tensor, "*any H"]]:
        """What is kept of the state, and what is added to it."""

    def advance(
        self, projected: Float[Tensor, "B P"], hidden: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
        """The rest of a step."""
        # h_t = a_t h_{t−1} + b_t
        keep, add = self.coefficients(projected)
        hidden = torch.addcmul(add, keep, hidden)
        return hidden, hidden

    def parts(self, projected: Float[Tensor, "*any P"]) -> tuple[Float[Tensor, "*any H"], ...]:
        """The maps one by one, in single precision at least: a state that lasts is a sum of small parts."""
        return widened(projected).chunk(self.count, dim=-1)


class MinGRUCell(GatedCell):
    """The GRU without its reset gate, and with a gate and a candidate that see the inputs alone.

    Args:
        inputs: width I of a step's input.
        hidden: number of hidden units H.
        memory: steps; units begin with time constants from 1 to it (None: all of them forget half at every step).

    Raises:
        InvalidValue: a width below 1, a memory below 2, inputs of another width, or a state of another shape.

    >>> cell = MinGRUCell(inputs=2, hidden=3)
    >>> hidden, carried = cell(torch.ones(4, 2), torch.zeros(4, 3))
    >>> hidden.shape, carried is hidden
    (torch.Size([4, 3]), True)
    """

    def __init__(self, *, inputs: int, hidden: int, memory: int | None = None) -> None:
        super().__init__(inputs=inputs, hidden=hidden, maps=2)
        if memory is not None:
            # σ(−ln u) = 1/(1 + u): the gate lets in one part, and keeps u
            self.maps.bias.data[:hidden] = -time_constants(hidden, memory).log()

    def forward(
        self, inputs: Float[Tensor, "B I"], hidden: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
        """One step."""
        gate, candidate = self.parts(self.project(inputs))
        # z_t = σ(Linear(x_t)),  h̃_t = Linear(x_t)
        gate = torch.sigmoid(gate)
        # h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ h̃_t
        hidden = (1 - gate) * hidden + gate * candidate
        return hidden, hidden

    def coefficients(
        self, projected: Float[Tensor, "*any P"]
    ) -> tuple[Float[Tensor, "*any H"], Float[Tensor, "*any H"]]:
        """What is kept of the state, and what is added to it."""
        gate, candidate = self.parts(projected)
        gate = torch.sigmoid(gate)
        # a_t = 1 − z_t,  b_t = z_t h̃_t
        return 1 - gate, gate * candidate


class MinLSTMCell(GatedCell):
    """The LSTM without output gate and memory apart, its forget and input gate scaled to sum to 1.

    Args:
        inputs: width I of a step's input.
        hidden: number of hidden units H.
        memory: steps; units begin with time constants from 1 to it (None: all of them forget half at every step).

    Raises:
        InvalidValue: a width below 1, a memory below 2, inputs of another width, or a state of another shape.

    >>> cell = MinLSTMCell(inputs=2, hidden=3, memory=100)
    >>> cell(torch.ones(4, 2), torch.zeros(4, 3))[0].shape
    torch.Size([4, 3])
    """

    def __init__(self, *, inputs: int, hidden: int, memory: int | None = None) -> None:
        super().__init__(inputs=inputs, hidden=hidden, maps=3)
        if memory is not None:
            # σ(ln u) : σ(−ln u) = u : 1
            logs = time_constants(hidden, memory).log()
            self.maps.bias.data[: 2 * hidden] = torch.cat([logs, -logs])

    def forward(
        self, inputs: Float[Tensor, "B I"], hidden: Float[Tensor, "B H"]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
        """One step."""
        forget, let_in, candidate = self.parts(self.project(inputs))
        # f_t = σ(Linear(x_t)),  i_t = σ(Linear(x_t)),  h̃_t = Linear(x_t)
        forget, let_in = torch.sigmoid(forget), torch.sigmoid(let_in)
        # f'_t = f_t / (f_t + i_t),  i'_t = i_t / (f_t + i_t)
        forget, let_in = forget / (forget + let_in), let_in / (forget + let_in)
        # h_t = f'_t ⊙ h_{t−1} + i'_t ⊙ h̃_t
        hidden = forget * hidden + let_in * candidate
        return hidden, hidden

    def coefficients(
        self, projected: Float[Tensor, "*any P"]
    ) -> tuple[Float[Tensor, "*any H"], Float[Tensor, "*any H"]]:
        """What is kept of the state, and what is added to it; without a division, so that closed gates give no 0/0."""
        forget, let_in, candidate = self.parts(projected)
        # f' = f / (f + i) = σ(ln f − ln i),  i' = 1 − f'
        keep = torch.sigmoid(logsigmoid(forget) - logsigmoid(let_in))
        return keep, (1 - keep) * candidate


def time_constants(count: int, longest: int) -> Float[Tensor, " H"]:
    """Random times u from 1 to a longest, in steps, for units that are to keep u parts of every u + 1.

    Raises:
        InvalidValue: the longest is below 2.

    >>> times = time_constants(1000, 50)
    >>> 1 <= times.min() < 5, 45 < times.max() <= 49
    (tensor(True), tensor(True))
    """
    require(longest >= 2, f"memory is {longest}; a unit can be built to remember from 2 steps on")
    # u ~ U(1, T − 1)
    return torch.empty(count).uniform_(1, max(1, longest - 1))
