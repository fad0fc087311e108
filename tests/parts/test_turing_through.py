"""All steps at once: the same numbers and gradients as the equations, whatever controller, heads and shifts."""

from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from neurarium.parts.gates import fused
from neurarium.parts.recurrence import step_by_step
from neurarium.parts.turing import Sizes
from neurarium.parts.turing_through import Through
from neurarium.systems.sequence.neural_turing_machine import TuringCell

B, T, I, C, N, W = 2, 5, 3, 4, 6, 3  # noqa: E741 - the shape letters

KINDS = pytest.mark.parametrize(
    ("controller", "reading", "writing", "shifts"),
    [("lstm", 1, 1, 3), ("lstm", 2, 2, 5), ("feedforward", 1, 1, 3), ("feedforward", 1, 3, 1), ("lstm", 3, 1, 1)],
)


def machine(controller: Literal["lstm", "feedforward"], reading: int, writing: int, shifts: int) -> TuringCell:
    torch.manual_seed(0)
    cell = TuringCell(
        inputs=I,
        units=C,
        controller=controller,
        reading=reading,
        writing=writing,
        rows=N,
        width=W,
        shifts=shifts,
    ).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    return cell


def started(cell: TuringCell) -> tuple[Tensor, ...]:
    sizes = cell.sizes
    address = torch.softmax(torch.randn(B, sizes.heads, N), dim=2)
    state = (torch.randn(B, sizes.features), torch.randn(B, C), address, torch.randn(B, N, W))
    return tuple(part.double().requires_grad_() for part in state)


@KINDS
def test_it_is_the_equations_forward_and_backward(
    controller: Literal["lstm", "feedforward"], reading: int, writing: int, shifts: int
) -> None:
    cell = machine(controller, reading, writing, shifts)
    inputs, state = torch.randn(B, T, I).double().requires_grad_(), started(cell)
    ours, theirs = fused(cell, inputs, state), step_by_step(cell, inputs, state)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)
    pulls = [torch.randn_like(part) for part in (ours[0], *ours[1])]
    leaves = [inputs, *state, *cell.parameters()]
    gradients = [
        torch.autograd.grad(
            sum((part * pull).sum() for part, pull in zip((made, *carried), pulls, strict=True)),
            leaves,
            materialize_grads=True,
        )
        for made, carried in (ours, theirs)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("controller", "reading", "writing", "shifts"), [("lstm", 1, 2, 3), ("feedforward", 2, 1, 1)])
def test_gradcheck(controller: Literal["lstm", "feedforward"], reading: int, writing: int, shifts: int) -> None:
    sizes = Sizes(2, reading, writing, 3, 2, shifts, controller == "lstm")
    torch.manual_seed(1)
    sums, again = (8, sizes.features) if sizes.lstm else (2, 2 * reading)
    shapes = [(2, 1, sums), (1, sizes.features), (1, 2), (1, sizes.heads, 3), (1, 3, 2), (again, sums)]
    inputs = [torch.randn(*shape).double() for shape in [*shapes, (2, sizes.emitted), (sizes.emitted,)]]
    inputs[3] = torch.softmax(inputs[3], dim=2)

    def steps(*given: Tensor) -> tuple[Tensor, ...]:
        made: tuple[Tensor, ...] = Through.apply(sizes, *given)  # type: ignore[no-untyped-call]
        return made

    assert gradcheck(steps, [leaf.requires_grad_() for leaf in inputs])


def test_from_an_empty_memory_gradients_are_finite_in_single_precision() -> None:
    cell = machine("lstm", 1, 1, 3).float()
    fused(cell, torch.randn(B, 40, I))[0].sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in cell.parameters())


def test_precision_of_the_products_around_it_does_not_reach_it() -> None:
    cell = machine("lstm", 1, 1, 3).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, _ = fused(cell, torch.randn(B, T, I))
        features.sum().backward()
    assert features.dtype == torch.float32
    assert all(parameter.grad is not None for parameter in cell.parameters())
