"""The Elman network: with the same weights it is torch.nn.RNN, and it learns temporal XOR."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from neurarium.data.sequences import Endless, temporal_xor
from neurarium.errors import InvalidValue
from neurarium.learners.sequence import ThroughTime, bits_right
from neurarium.parts.recurrence import Unroll, project_ahead, step_by_step
from neurarium.systems.sequence.elman import Elman

B, T, I, H, O = 4, 9, 3, 5, 2  # noqa: E741 - the shape letters


def twins(unroll: Unroll) -> tuple[Elman, nn.RNN]:
    """An Elman network and torch's, with the same weights; torch has two biases, which add up to ours."""
    torch.manual_seed(0)
    net = Elman(inputs=I, hidden=H, outputs=O, unroll=unroll).double()
    peer = nn.RNN(I, H, nonlinearity="tanh", batch_first=True).double()
    weights = {"weight_ih_l0": net.cell.input_weights.T, "weight_hh_l0": net.cell.recurrent_weights.T}
    biases = {"bias_ih_l0": net.cell.bias, "bias_hh_l0": torch.zeros(H)}
    peer.load_state_dict({**weights, **biases})
    return net, peer


@pytest.mark.parametrize("unroll", [step_by_step, project_ahead])
@pytest.mark.parametrize("given_state", [False, True])
def test_with_the_same_weights_it_is_torch_rnn(unroll: Unroll, given_state: bool) -> None:
    net, peer = twins(unroll)
    inputs = torch.randn(B, T, I).double().requires_grad_()
    start = torch.randn(B, H).double().requires_grad_() if given_state else None
    outputs, state = net(inputs, start)
    hidden, last = peer(inputs, None if start is None else start.unsqueeze(0))
    wanted = net.readout(hidden)
    torch.testing.assert_close(outputs, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, last[0], rtol=1e-12, atol=1e-12)

    pull, pull_state = torch.randn(B, T, O).double(), torch.randn(B, H).double()
    leaves: list[Tensor] = [inputs] if start is None else [inputs, start]
    cell, readout = net.cell, list(net.readout.parameters())
    ours = torch.autograd.grad(
        (outputs * pull).sum() + (state * pull_state).sum(),
        [*leaves, *readout, cell.input_weights, cell.recurrent_weights, cell.bias],
    )
    theirs = torch.autograd.grad(
        (wanted * pull).sum() + (last[0] * pull_state).sum(),
        [*leaves, *readout, *list(peer.parameters())[:3]],  # weight_ih, weight_hh, bias_ih
    )
    for mine, other in zip(ours[:-3], theirs[:-3], strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-12)
    for mine, other in zip(ours[-3:], theirs[-3:], strict=True):
        torch.testing.assert_close(mine, other.T if other.ndim == 2 else other, rtol=1e-11, atol=1e-12)


def test_activity_is_what_the_outputs_are_read_from() -> None:
    net, _ = twins(project_ahead)
    inputs = torch.randn(B, T, I).double()
    assert torch.equal(net.readout(net.activity(inputs)), net(inputs)[0])


def test_a_sequence_can_be_continued() -> None:
    net, _ = twins(project_ahead)
    inputs = torch.randn(B, T, I).double()
    first, state = net(inputs[:, :4])
    second, _ = net(inputs[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), net(inputs)[0], rtol=1e-12, atol=1e-12)


def test_without_recurrence_the_past_is_forgotten() -> None:
    net, _ = twins(project_ahead)
    nn.init.zeros_(net.cell.recurrent_weights)
    inputs = torch.randn(B, T, I).double()
    torch.testing.assert_close(net(inputs)[0][:, -1], net(inputs[:, -1:])[0][:, -1], rtol=1e-12, atol=1e-12)


def test_it_learns_temporal_xor_and_cannot_from_other_sequences_targets() -> None:
    reached = {}
    for shuffled in (False, True):
        torch.manual_seed(0)
        draw = partial(temporal_xor, length=9)
        net = Elman(inputs=1, hidden=16, outputs=1)
        learner = ThroughTime(net, measures={"accuracy": bits_right}, targets="some", lr=0.02)
        stream = Endless(partial(draw, count=64, shuffle_targets=shuffled), torch.Generator().manual_seed(0))
        for _ in range(150):
            learner.learn(next(stream))
        test = draw(torch.Generator().manual_seed(1), count=500)
        reached[shuffled] = learner.evaluate([test])["accuracy"]
    assert reached[False] >= 0.99
    assert reached[True] < 0.75


def test_what_does_not_fit_is_refused(unchecked: None) -> None:
    net = Elman(inputs=I, hidden=H, outputs=O)
    with pytest.raises(InvalidValue, match="the inputs are 1 wide, but this cell was built for 3"):
        net(torch.zeros(B, T, 1))
    with pytest.raises(InvalidValue, match=r"the state to start from is \(4, 6\), but these sequences need \(4, 5\)"):
        net(torch.zeros(B, T, I), torch.zeros(B, H + 1))
    with pytest.raises(InvalidValue, match="outputs is 0; a network needs at least 1"):
        Elman(inputs=I, hidden=H, outputs=0)
