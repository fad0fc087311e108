"""The GRU network: torch's, with a readout, or one gate alone; both carry numbers over time."""

from functools import partial

import pytest
import torch
from torch import nn

from neurarium.data.sequences import Endless, adding
from neurarium.errors import InvalidValue
from neurarium.learners.sequence import ThroughTime
from neurarium.parts.gates import fused
from neurarium.parts.places import squared_errors
from neurarium.parts.recurrence import project_ahead, step_by_step
from neurarium.systems.sequence.gru import GRU, Gates, SimpleCell

B, T, I, H, O = 4, 9, 3, 5, 2  # noqa: E741 - the shape letters


@pytest.mark.parametrize("gates", ["both", "simple"])
def test_the_soonest_way_and_the_written_out_are_the_same(gates: Gates) -> None:
    torch.manual_seed(0)
    net = GRU(inputs=I, hidden=H, outputs=O, gates=gates)
    inputs = torch.randn(B, T, I)
    pull = torch.randn(B, T, O)
    results = []
    for unroll in (net.unroll, step_by_step, project_ahead):
        net.unroll = unroll
        outputs, _ = net(inputs)
        results.append([outputs, *torch.autograd.grad((outputs * pull).sum(), list(net.parameters()))])
    for other in results[1:]:
        for one, another in zip(results[0], other, strict=True):
            torch.testing.assert_close(one, another, rtol=1e-5, atol=1e-5)


def test_it_is_torch_gru_with_a_readout() -> None:
    torch.manual_seed(0)
    net, peer = GRU(inputs=I, hidden=H, outputs=O), nn.GRU(I, H, batch_first=True)
    peer.load_state_dict(net.cell.kernel.state_dict())  # type: ignore[attr-defined]
    inputs = torch.randn(B, T, I)
    torch.testing.assert_close(net(inputs)[0], net.readout(peer(inputs)[0]), rtol=1e-5, atol=1e-5)


def test_the_simple_gate_is_a_gru_whose_reset_gate_stays_open() -> None:
    torch.manual_seed(0)
    cell, peer = SimpleCell(inputs=I, hidden=H).double(), nn.GRU(I, H, batch_first=True).double()
    weights = {"ih": cell.input_weights.T, "hh": cell.recurrent_weights.T}
    reset, zeros = torch.full((H,), 100.0).double(), torch.zeros(H).double()
    with torch.no_grad():
        for name, stacked in weights.items():
            # z of torch keeps where g replaces: z = 1 − g, so that its weights are −g's.
            gate, candidate = stacked.chunk(2)
            peer.get_parameter(f"weight_{name}_l0").copy_(torch.cat([torch.zeros_like(gate), -gate, candidate]))
        gate, candidate = cell.bias.chunk(2)
        peer.get_parameter("bias_ih_l0").copy_(torch.cat([reset, -gate, candidate]))
        peer.get_parameter("bias_hh_l0").copy_(torch.cat([zeros, zeros, zeros]))
    inputs, first = torch.randn(B, T, I).double(), torch.randn(B, H).double()
    hidden, last = step_by_step(cell, inputs, first)
    wanted, _ = peer(inputs, first.unsqueeze(0))
    torch.testing.assert_close(hidden, wanted, rtol=0, atol=1e-12)
    assert torch.equal(last, hidden[:, -1])


@pytest.mark.parametrize("gates", ["both", "simple"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_it_learns_to_add_and_cannot_from_other_sequences_sums(gates: Gates, shuffled: bool) -> None:
    torch.manual_seed(0)
    draw = partial(adding, length=12)
    net = GRU(inputs=2, hidden=16, outputs=1, gates=gates)
    learner = ThroughTime(net, objective=squared_errors, targets="last", clip=1.0, lr=0.02)
    stream = Endless(partial(draw, count=64, shuffle_targets=shuffled), torch.Generator().manual_seed(0))
    for _ in range(150):
        learner.learn(next(stream))
    loss = learner.evaluate([draw(torch.Generator().manual_seed(1), count=500)])["loss"]
    assert (loss > 0.1) if shuffled else (loss < 0.02)


def test_what_does_not_fit_is_refused(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match="gates is 'three'; choose simple or both"):
        GRU(inputs=I, hidden=H, outputs=O, gates="three")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="SimpleCell has no fused kernel; unroll it by project_ahead"):
        GRU(inputs=I, hidden=H, outputs=O, gates="simple", unroll=fused)(torch.zeros(B, T, I))
    net = GRU(inputs=I, hidden=H, outputs=O, gates="simple")
    with pytest.raises(InvalidValue, match="the inputs are 1 wide, but this cell was built for 3"):
        net(torch.zeros(B, T, 1))
    with pytest.raises(InvalidValue, match=r"the state to start from is \(4, 6\), but these sequences need \(4, 5\)"):
        net(torch.zeros(B, T, I), torch.zeros(B, H + 1))
