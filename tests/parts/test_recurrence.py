"""Recurrence: the fast way of running a cell equals the plain one, in outputs, states and gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from neurarium.errors import InvalidValue
from neurarium.parts.recurrence import Cell, ElmanCell, Unroll, detached, project_ahead, step_by_step

WAYS = [step_by_step, project_ahead]


def drawn(seed: int, batch: int, steps: int, inputs: int, hidden: int) -> tuple[ElmanCell, Tensor, Tensor]:
    torch.manual_seed(seed)
    cell = ElmanCell(inputs=inputs, hidden=hidden).double()
    return cell, torch.randn(batch, steps, inputs).double(), torch.randn(batch, hidden).double()


def gradients(unroll: Unroll, cell: ElmanCell, inputs: Tensor, state: Tensor) -> list[Tensor]:
    inputs, state = inputs.clone().requires_grad_(), state.clone().requires_grad_()
    hidden, last = unroll(cell, inputs, state)
    leaves = [inputs, state, *cell.parameters()]
    return [hidden, last, *torch.autograd.grad((hidden**2).sum() + last.sin().sum(), leaves)]


@given(
    seed=st.integers(0, 1000),
    batch=st.integers(1, 4),
    steps=st.integers(1, 7),
    inputs=st.integers(1, 3),
    hidden=st.integers(1, 5),
)
def test_both_ways_agree(seed: int, batch: int, steps: int, inputs: int, hidden: int) -> None:
    drawing = drawn(seed, batch, steps, inputs, hidden)
    for one, other in zip(gradients(step_by_step, *drawing), gradients(project_ahead, *drawing), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("unroll", WAYS)
def test_a_step_is_the_equation(unroll: Unroll) -> None:
    cell, inputs, state = drawn(0, 2, 1, 3, 4)
    u, w, b = cell.input_weights, cell.recurrent_weights, cell.bias
    for n in range(2):
        for j in range(4):
            total = (
                b[j] + sum(inputs[n, 0, i] * u[i, j] for i in range(3)) + sum(state[n, i] * w[i, j] for i in range(4))
            )
            torch.testing.assert_close(unroll(cell, inputs, state)[0][n, 0, j], torch.tanh(total))


@pytest.mark.parametrize("unroll", WAYS)
def test_no_state_is_a_state_of_zeros(unroll: Unroll) -> None:
    cell, inputs, state = drawn(0, 2, 5, 3, 4)
    assert torch.equal(unroll(cell, inputs)[0], unroll(cell, inputs, torch.zeros_like(state))[0])
    assert not torch.equal(unroll(cell, inputs)[0], unroll(cell, inputs, state)[0])


@pytest.mark.parametrize("unroll", WAYS)
def test_a_sequence_goes_on_from_the_state_it_ended_in(unroll: Unroll) -> None:
    cell, inputs, state = drawn(1, 2, 6, 3, 4)
    hidden, last = unroll(cell, inputs, state)
    first, between = unroll(cell, inputs[:, :2], state)
    second, end = unroll(cell, inputs[:, 2:], between)
    torch.testing.assert_close(torch.cat([first, second], dim=1), hidden, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(end, last, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("unroll", WAYS)
def test_the_future_does_not_touch_the_past(unroll: Unroll) -> None:
    cell, inputs, state = drawn(2, 2, 6, 3, 4)
    changed = inputs.clone()
    changed[:, 4:] = torch.nan
    assert torch.equal(unroll(cell, inputs, state)[0][:, :4], unroll(cell, changed, state)[0][:, :4])


@pytest.mark.parametrize("unroll", WAYS)
def test_another_activation_is_used(unroll: Unroll) -> None:
    cell = ElmanCell(inputs=1, hidden=2, activation=torch.sigmoid)
    hidden, _ = unroll(cell, torch.randn(3, 4, 1))
    assert bool(((hidden > 0) & (hidden < 1)).all())


class Delay:
    """A cell without weights that carries two tensors: the last input, and the one before."""

    def __call__(self, inputs: Tensor, carried: tuple[Tensor, ...], /) -> tuple[Tensor, tuple[Tensor, ...]]:
        return carried[1], (inputs, carried[0])

    def begin(self, inputs: Tensor, carried: tuple[Tensor, ...] | None, /) -> tuple[Tensor, ...]:
        return carried or (torch.zeros(inputs[:, 0].shape), torch.zeros(inputs[:, 0].shape))

    def project(self, inputs: Tensor, /) -> Tensor:
        return inputs

    def advance(self, projected: Tensor, carried: tuple[Tensor, ...], /) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self(projected, carried)


@pytest.mark.parametrize("unroll", WAYS)
def test_a_cell_may_carry_more_than_one_tensor(unroll: Unroll) -> None:
    cell: Cell[tuple[Tensor, ...]] = Delay()
    hidden, (last, before) = unroll(cell, torch.tensor([[[1.0], [2.0], [3.0], [4.0]]]))
    assert hidden.flatten().tolist() == [0.0, 0.0, 1.0, 2.0]
    assert (last.item(), before.item()) == (4.0, 3.0)


def test_detached_cuts_every_tensor() -> None:
    weight = nn.Parameter(torch.ones(2))
    assert detached(None) is None
    one = detached(2 * weight)
    assert isinstance(one, Tensor)
    assert not one.requires_grad
    assert [part.requires_grad for part in detached((weight + 1, weight)) or ()] == [False, False]


@pytest.mark.parametrize("unroll", WAYS)
def test_what_does_not_fit_is_refused(unroll: Unroll, unchecked: None) -> None:
    cell = ElmanCell(inputs=3, hidden=4)
    with pytest.raises(InvalidValue, match=r"the inputs are 2 wide, but this cell was built for 3; build it with"):
        unroll(cell, torch.zeros(2, 5, 2))
    with pytest.raises(InvalidValue, match="the sequences have no steps"):
        unroll(cell, torch.zeros(2, 0, 3))
    with pytest.raises(InvalidValue, match=r"the state to start from is \(1, 4\), but these sequences need \(2, 4\)"):
        unroll(cell, torch.zeros(2, 5, 3), torch.zeros(1, 4))


@pytest.mark.parametrize("widths", [(0, 4), (3, 0)])
def test_a_cell_without_inputs_or_units_is_refused(widths: tuple[int, int]) -> None:
    with pytest.raises(InvalidValue, match="is 0; a cell needs at least 1"):
        ElmanCell(inputs=widths[0], hidden=widths[1])
