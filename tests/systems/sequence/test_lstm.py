"""The LSTM network: torch's, with a readout; and it carries numbers where an Elman network forgets them."""

from functools import partial

import pytest
import torch
from torch import nn

from neurarium.data.sequences import Endless, adding
from neurarium.errors import InvalidValue
from neurarium.learners.sequence import ThroughTime
from neurarium.parts.bundles import Sequences
from neurarium.parts.optimizers import sgd
from neurarium.parts.places import squared_errors
from neurarium.parts.recurrence import Unroll, project_ahead, step_by_step
from neurarium.systems.sequence.lstm import LSTM

B, T, I, H, O = 4, 9, 3, 5, 2  # noqa: E741 - the shape letters


@pytest.mark.parametrize("unroll", [step_by_step, project_ahead])
def test_fused_and_written_out_are_the_same(unroll: Unroll) -> None:
    torch.manual_seed(0)
    net, other = LSTM(inputs=I, hidden=H, outputs=O), LSTM(inputs=I, hidden=H, outputs=O, unroll=unroll)
    other.load_state_dict(net.state_dict())
    inputs = torch.randn(B, T, I)
    pull = torch.randn(B, T, O)
    results = []
    for each in (net, other):
        outputs, _ = each(inputs)
        results.append([outputs, *torch.autograd.grad((outputs * pull).sum(), list(each.parameters()))])
    for one, another in zip(*results, strict=True):
        torch.testing.assert_close(one, another, rtol=1e-5, atol=1e-5)


def test_it_is_torch_lstm_with_a_readout() -> None:
    torch.manual_seed(0)
    net, peer = LSTM(inputs=I, hidden=H, outputs=O), nn.LSTM(I, H, batch_first=True)
    peer.load_state_dict(net.cell.kernel.state_dict())  # type: ignore[attr-defined]
    inputs = torch.randn(B, T, I)
    torch.testing.assert_close(net(inputs)[0], net.readout(peer(inputs)[0]), rtol=1e-5, atol=1e-5)


def reached(*, shuffled: bool) -> float:
    torch.manual_seed(0)
    draw = partial(adding, length=12)
    learner = ThroughTime(
        LSTM(inputs=2, hidden=16, outputs=1, memory=12), objective=squared_errors, targets="last", clip=1.0, lr=0.02
    )
    stream = Endless(partial(draw, count=64, shuffle_targets=shuffled), torch.Generator().manual_seed(0))
    for _ in range(200):
        learner.learn(next(stream))
    return learner.evaluate([draw(torch.Generator().manual_seed(1), count=500)])["loss"]


def test_it_learns_to_add_and_cannot_from_other_sequences_sums() -> None:
    assert reached(shuffled=False) < 0.02
    assert reached(shuffled=True) > 0.1


def test_a_clipped_gradient_points_the_same_way_and_is_no_longer_than_allowed() -> None:
    batch = adding(torch.Generator().manual_seed(0), count=B, length=T)
    gradients = []
    for clip in (None, 1e-3, 1e6):
        torch.manual_seed(0)
        net = LSTM(inputs=2, hidden=H, outputs=1)
        learner = ThroughTime(net, objective=squared_errors, targets="last", clip=clip, optimizer=sgd)
        learner.learn(batch)
        gradients.append(
            torch.cat([weights.grad.flatten() for weights in net.parameters() if weights.grad is not None])
        )
    whole, cut, untouched = gradients
    torch.testing.assert_close(cut, whole * 1e-3 / whole.norm(), rtol=1e-3, atol=1e-9)
    assert torch.equal(whole, untouched)


def test_what_does_not_fit_is_refused(unchecked: None) -> None:
    net = LSTM(inputs=I, hidden=H, outputs=O)
    with pytest.raises(InvalidValue, match="the inputs are 1 wide, but this cell was built for 3"):
        net(torch.zeros(B, T, 1))
    with pytest.raises(InvalidValue, match=r"the state to start from is \(4, 6\), but these sequences need \(4, 5\)"):
        net(torch.zeros(B, T, I), (torch.zeros(B, H), torch.zeros(B, H + 1)))
    with pytest.raises(InvalidValue, match="clip is 0; a gradient's greatest norm must be above 0"):
        ThroughTime(net, clip=0)
    learner = ThroughTime(LSTM(inputs=2, hidden=H, outputs=1), objective=squared_errors)
    batch = adding(torch.Generator().manual_seed(0), count=B, length=T)
    with pytest.raises(InvalidValue, match=r"the outputs are \(36, 1\), the targets \(36, 2\); make them agree"):
        learner.learn(Sequences(batch.inputs, batch.targets.repeat(1, 1, 2), batch.mask))
