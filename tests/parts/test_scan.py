"""The scan: the loop's numbers and gradients, in a logarithmic number of stages; its cells run alike in every way."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from neurarium.errors import InvalidValue
from neurarium.parts.recurrence import project_ahead, step_by_step
from neurarium.parts.scan import GatedCell, MinGRUCell, MinLSTMCell, RunLinear, in_parallel, scan, time_constants

CELLS = [MinGRUCell, MinLSTMCell]
WAYS: list[RunLinear] = [step_by_step, project_ahead, in_parallel]


def loop(keep: Tensor, add: Tensor, start: Tensor) -> Tensor:
    states, state = [], start
    for factor, term in zip(keep.unbind(1), add.unbind(1), strict=True):
        state = factor * state + term
        states.append(state)
    return torch.stack(states, dim=1)


@given(seed=st.integers(0, 1000), batch=st.integers(1, 3), steps=st.integers(1, 35), hidden=st.integers(1, 4))
def test_the_scan_is_the_loop_forward_and_gradient(seed: int, batch: int, steps: int, hidden: int) -> None:
    torch.manual_seed(seed)
    # Factors of either sign, and 0 among them.
    keep = (2 * torch.rand(batch, steps, hidden).double() - 1).masked_fill(torch.rand(batch, steps, hidden) < 0.1, 0)
    leaves = [keep, torch.randn(batch, steps, hidden).double(), torch.randn(batch, hidden).double()]
    found, pull = [], torch.randn(batch, steps, hidden).double()
    for way in (loop, scan):
        mine = [leaf.clone().requires_grad_() for leaf in leaves]
        states = way(*mine)
        found.append([states, *torch.autograd.grad((states * pull).sum(), mine)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    leaves = [torch.randn(*shape).double().requires_grad_() for shape in ((2, 5, 3), (2, 5, 3), (2, 3))]
    assert torch.autograd.gradcheck(scan, leaves)


class Counting(TorchDispatchMode):
    """Counts the operations that join steps."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.joins = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.joins += func.overloadpacket is torch.ops.aten.addcmul
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("power", [1, 4, 9, 12])
def test_the_stages_grow_with_the_logarithm_of_the_length(power: int) -> None:
    with Counting() as counting:
        scan(torch.rand(1, 2**power, 1), torch.rand(1, 2**power, 1))
    assert counting.joins == 2 * power  # up and down


def test_a_thousand_closed_gates_keep_a_state_and_open_ones_pass_everything() -> None:
    ones, zeros = torch.ones(1, 1000, 2), torch.zeros(1, 1000, 2)
    assert torch.equal(scan(ones, zeros, torch.tensor([[3.0, -4.0]]))[0, -1], torch.tensor([3.0, -4.0]))
    torch.manual_seed(0)
    passed = torch.randn(1, 1000, 2)
    assert torch.equal(scan(zeros, passed), passed)


def ran(way: RunLinear, cell: GatedCell, inputs: Tensor, state: Tensor | None) -> list[Tensor]:
    leaves = [inputs.clone().requires_grad_(), *([] if state is None else [state.clone().requires_grad_()])]
    hidden, last = way(cell, leaves[0], leaves[1] if state is not None else None)
    return [hidden, last, *torch.autograd.grad((hidden**2).sum() + last.sin().sum(), [*leaves, *cell.parameters()])]


@pytest.mark.parametrize("make", CELLS)
@pytest.mark.parametrize("given_state", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3, 37, 512])
def test_parallel_is_sequential(make: type[GatedCell], given_state: bool, steps: int) -> None:
    torch.manual_seed(0)
    cell, inputs = make(inputs=3, hidden=5, memory=50), torch.randn(4, steps, 3)  # type: ignore[call-arg]
    state = torch.randn(4, 5) if given_state else None
    in_double = [ran(way, cell.double(), inputs.double(), None if state is None else state.double()) for way in WAYS]
    for other in in_double[1:]:
        for one, two in zip(in_double[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)
    in_single = ran(in_parallel, cell.float(), inputs, state)
    for one, two in zip(in_double[0][:2], in_single[:2], strict=True):
        torch.testing.assert_close(one.float(), two, rtol=1e-4, atol=1e-4)


def test_a_step_of_mingru_is_its_equation() -> None:
    torch.manual_seed(0)
    cell, inputs, state = MinGRUCell(inputs=3, hidden=2), torch.randn(1, 3), torch.randn(1, 2)
    rows = cell.maps.weight @ inputs[0] + cell.maps.bias
    for j in range(2):
        z = torch.sigmoid(rows[j])
        torch.testing.assert_close(cell(inputs, state)[0][0, j], (1 - z) * state[0, j] + z * rows[2 + j])


def test_a_step_of_minlstm_is_its_equation() -> None:
    torch.manual_seed(0)
    cell, inputs, state = MinLSTMCell(inputs=3, hidden=2), torch.randn(1, 3), torch.randn(1, 2)
    rows = cell.maps.weight @ inputs[0] + cell.maps.bias
    for j in range(2):
        f, i = torch.sigmoid(rows[j]), torch.sigmoid(rows[2 + j])
        wanted = f / (f + i) * state[0, j] + i / (f + i) * rows[4 + j]
        torch.testing.assert_close(cell(inputs, state)[0][0, j], wanted)


@pytest.mark.parametrize("make", CELLS)
def test_units_begin_with_memories_up_to_the_length_asked_for(make: type[GatedCell]) -> None:
    torch.manual_seed(0)
    cell = make(inputs=3, hidden=2000, memory=100)  # type: ignore[call-arg]
    keep, _ = cell.coefficients(cell.project(torch.zeros(3)))
    constants = keep / (1 - keep)
    assert 1 <= constants.min() < 2
    assert 98 < constants.max() < 99.1


def test_gates_that_are_both_shut_tight_still_share_the_state() -> None:
    cell = MinLSTMCell(inputs=1, hidden=1)
    shut = torch.tensor([[-200.0, -200.0, 8.0]], requires_grad=True)
    keep, add = cell.coefficients(shut)
    assert keep.item() == 0.5
    assert add.item() == 4.0
    (keep.sum() + add.sum()).backward()
    assert shut.grad is not None
    assert shut.grad.isfinite().all()


def test_half_precision_is_summed_in_single() -> None:
    torch.manual_seed(0)
    cell, inputs = MinGRUCell(inputs=3, hidden=4, memory=500), torch.randn(2, 500, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden, _ = in_parallel(cell, inputs)
    assert hidden.dtype == torch.float32
    torch.testing.assert_close(hidden, in_parallel(cell, inputs)[0], rtol=0.05, atol=0.05)


def test_what_does_not_fit_is_refused(unchecked: None) -> None:
    cell = MinGRUCell(inputs=3, hidden=4)
    with pytest.raises(InvalidValue, match="the inputs are 2 wide, but this cell was built for 3"):
        in_parallel(cell, torch.zeros(2, 5, 2))
    with pytest.raises(InvalidValue, match=r"the state to start from is \(2, 5\), but these sequences need \(2, 4\)"):
        in_parallel(cell, torch.zeros(2, 5, 3), torch.zeros(2, 5))
    with pytest.raises(InvalidValue, match="the sequences have no steps"):
        in_parallel(cell, torch.zeros(2, 0, 3))
    with pytest.raises(InvalidValue, match=r"the factors are \(2, 5, 3\) and the terms \(2, 4, 3\)"):
        scan(torch.zeros(2, 5, 3), torch.zeros(2, 4, 3))
    with pytest.raises(InvalidValue, match=r"the state to start from is \(1, 3\), but these sequences need \(2, 3\)"):
        scan(torch.zeros(2, 5, 3), torch.zeros(2, 5, 3), torch.zeros(1, 3))
    with pytest.raises(InvalidValue, match="hidden is 0; a cell needs at least 1 hidden unit"):
        MinLSTMCell(inputs=3, hidden=0)
    with pytest.raises(InvalidValue, match="memory is 1; a unit can be built to remember from 2 steps on"):
        time_constants(3, 1)
