"""Gated cells: as their equations read, in two parts and fused they are the same, and are torch's."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from neurarium.errors import InvalidValue
from neurarium.parts.gates import GRUCell, LSTMCell, Recurrent, fused, watch
from neurarium.parts.recurrence import ElmanCell, Unroll, project_ahead, step_by_step

B, T, I, H = 4, 9, 3, 5  # noqa: E741 - the shape letters

CELLS: dict[str, tuple[Any, Any]] = {"lstm": (LSTMCell, nn.LSTM), "gru": (GRUCell, nn.GRU)}


def twins(name: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """A cell and torch's network, whose state dict the cell's kernel takes over."""
    torch.manual_seed(0)
    cell, peer = (make for make in CELLS[name])
    ours, theirs = cell(inputs=I, hidden=H).to(dtype), peer(I, H, batch_first=True).to(dtype)
    ours.kernel.load_state_dict(theirs.state_dict())
    return ours, theirs


def leaves(name: str, given_state: bool, dtype: torch.dtype) -> tuple[Tensor, Any, list[Tensor]]:
    inputs = torch.randn(B, T, I, dtype=dtype).requires_grad_()
    if not given_state:
        return inputs, None, [inputs]
    state = tuple(torch.randn(B, H, dtype=dtype).requires_grad_() for _ in range(2 if name == "lstm" else 1))
    return inputs, state if name == "lstm" else state[0], [inputs, *state]


def together(hidden: Tensor, carried: Any) -> Tensor:
    last = carried if isinstance(carried, tuple) else (carried,)
    return torch.cat([hidden, *(part.reshape(B, 1, H) for part in last)], dim=1)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("unroll", [step_by_step, project_ahead, fused])
@pytest.mark.parametrize("given_state", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_with_the_same_weights_it_is_torchs(
    name: str, unroll: Unroll, given_state: bool, dtype: torch.dtype, tolerance: float
) -> None:
    ours, theirs = twins(name, dtype)
    inputs, state, wanted_of = leaves(name, given_state, dtype)
    mine = together(*unroll(ours, inputs, state))
    first = None
    if state is not None:
        first = tuple(part.unsqueeze(0) for part in state) if name == "lstm" else state.unsqueeze(0)
    other = together(*theirs(inputs, first))
    torch.testing.assert_close(mine, other, rtol=0, atol=tolerance)

    pull = torch.randn_like(mine) / mine.numel() ** 0.5
    gradients = torch.autograd.grad((mine * pull).sum(), [*wanted_of, *ours.kernel.parameters()])
    expected = torch.autograd.grad((other * pull).sum(), [*wanted_of, *theirs.parameters()])
    for one, another in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, another, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", CELLS)
def test_a_step_is_torchs_cell(name: str) -> None:
    ours, _ = twins(name, torch.float64)
    peer = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}[name](I, H).double()
    peer.load_state_dict({key.removesuffix("_l0"): value for key, value in ours.kernel.state_dict().items()})
    inputs, first = torch.randn(B, I).double(), torch.randn(2, B, H).double()
    wanted = peer(inputs, tuple(first) if name == "lstm" else first[0])
    hidden, carried = ours(inputs, tuple(first) if name == "lstm" else first[0])
    torch.testing.assert_close(hidden, wanted[0] if name == "lstm" else wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(carried, wanted, rtol=0, atol=1e-12)


def test_torch_takes_the_weights_back() -> None:
    for cell, peer in CELLS.values():
        saved = cell(inputs=I, hidden=H).kernel.state_dict()
        peer(I, H).load_state_dict(saved)


@given(steps=st.integers(1, 12), seed=st.integers(0, 99))
def test_an_open_forget_gate_keeps_the_memory_to_the_bit(steps: int, seed: int) -> None:
    torch.manual_seed(seed)
    cell = LSTMCell(inputs=I, hidden=H)
    for weights in cell.kernel.all_weights[0]:
        nn.init.zeros_(weights)
    with torch.no_grad():
        cell.kernel.all_weights[0][2][:H], cell.kernel.all_weights[0][2][H : 2 * H] = -200.0, 200.0
    memory = torch.randn(B, H, requires_grad=True)
    _, (_, kept) = step_by_step(cell, torch.randn(B, steps, I), (torch.zeros(B, H), memory))
    assert torch.equal(kept, memory)
    # Nor does the error fade or burst on its way back.
    (gradient,) = torch.autograd.grad(kept.sum(), [memory])
    assert torch.equal(gradient, torch.ones(B, H))


def test_gates_lie_between_0_and_1_and_explain_the_step() -> None:
    for name in CELLS:
        ours, _ = twins(name, torch.float64)
        seen = watch(ours, torch.randn(B, T, I).double())
        for gate in set(seen) - {"candidate", "hidden", "memory"}:
            assert bool(((seen[gate] > 0) & (seen[gate] < 1)).all())
        before = nn.functional.pad(seen["memory" if name == "lstm" else "hidden"][:, :-1], (0, 0, 1, 0))
        if name == "lstm":
            wanted = seen["forget"] * before + seen["input"] * seen["candidate"]
            torch.testing.assert_close(seen["memory"], wanted)
        else:
            torch.testing.assert_close(
                seen["hidden"], (1 - seen["update"]) * seen["candidate"] + seen["update"] * before
            )


def test_the_forget_gate_begins_open_or_with_time_scales_up_to_the_given() -> None:
    _, _, bias, other = LSTMCell(inputs=1, hidden=50).kernel.all_weights[0]
    assert bias.chunk(4)[1].tolist() == [1.0] * 50
    assert bias.abs().sum() == 50.0
    assert not bool(other.any())
    _, _, bias, _ = LSTMCell(inputs=1, hidden=500, memory=200).kernel.all_weights[0]
    shut, kept = bias.chunk(4)[:2]
    assert torch.equal(shut, -kept)
    scales = 1 + kept.detach().exp()
    assert 2 <= float(scales.min()) < 10 < 190 < float(scales.max()) <= 200.001


def test_the_update_gate_begins_with_time_scales_up_to_the_given() -> None:
    _, _, bias, other = GRUCell(inputs=1, hidden=500, memory=200).kernel.all_weights[0]
    scales = 1 + bias.chunk(3)[1].detach().exp()
    assert 2 <= float(scales.min()) < 10 < 190 < float(scales.max()) <= 200.001
    assert not bool(other.chunk(3)[1].any())
    with pytest.raises(InvalidValue, match="memory is 2 steps; the longest time scale must be at least 3"):
        GRUCell(inputs=1, hidden=2, memory=2)


def test_a_sequence_can_be_continued() -> None:
    for name in CELLS:
        ours, _ = twins(name, torch.float64)
        net = Recurrent(cell=ours, hidden=H, outputs=2).double()
        inputs = torch.randn(B, T, I).double()
        first, state = net(inputs[:, :4])
        second, _ = net(inputs[:, 4:], state)
        torch.testing.assert_close(torch.cat([first, second], dim=1), net(inputs)[0], rtol=0, atol=1e-12)


def test_what_does_not_fit_is_refused(unchecked: None) -> None:
    inputs = torch.zeros(B, T, I)
    for cell in (LSTMCell(inputs=I, hidden=H), GRUCell(inputs=I, hidden=H)):
        for unroll in (step_by_step, project_ahead, fused):
            with pytest.raises(InvalidValue, match="the inputs are 1 wide, but this cell was built for 3"):
                unroll(cell, torch.zeros(B, T, 1))
            with pytest.raises(InvalidValue, match="the sequences have no steps; give at least one"):
                unroll(cell, inputs[:, :0])
    with pytest.raises(InvalidValue, match=r"the state to start from is \(4, 6\), but these sequences need \(4, 5\)"):
        fused(GRUCell(inputs=I, hidden=H), inputs, torch.zeros(B, H + 1))
    with pytest.raises(InvalidValue, match="is 1 tensors, but must be \\(hidden, memory\\)"):
        fused(LSTMCell(inputs=I, hidden=H), inputs, (torch.zeros(B, H),))
    with pytest.raises(InvalidValue, match="ElmanCell has no fused kernel; unroll it by project_ahead"):
        fused(ElmanCell(inputs=I, hidden=H), inputs)
    with pytest.raises(InvalidValue, match="memory is 2 steps; the longest time scale must be at least 3"):
        LSTMCell(inputs=I, hidden=H, memory=2)
    with pytest.raises(InvalidValue, match="inputs is 0; a cell needs at least 1"):
        GRUCell(inputs=0, hidden=H)
    with pytest.raises(InvalidValue, match="hidden is 0; a cell needs at least 1 hidden unit"):
        LSTMCell(inputs=I, hidden=0)
    with pytest.raises(InvalidValue, match="outputs is 0; a network needs at least 1"):
        Recurrent(cell=GRUCell(inputs=I, hidden=H), hidden=H, outputs=0)
