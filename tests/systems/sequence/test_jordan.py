"""The Jordan network: with its answers fed back as they are it is torch.nn.RNN, and it learns temporal XOR."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from neurarium.data.sequences import Endless, temporal_xor
from neurarium.errors import InvalidValue
from neurarium.learners.sequence import ThroughTime, bits_right, growing
from neurarium.parts.bundles import Sequences
from neurarium.parts.recurrence import Unroll, project_ahead, step_by_step
from neurarium.systems.sequence.jordan import Jordan, JordanCell, as_answer

B, T, I, H, O = 4, 9, 3, 5, 2  # noqa: E741 - the shape letters


def identity(values: Tensor) -> Tensor:
    """What was said, as it is."""
    return values


@pytest.mark.parametrize("unroll", [step_by_step, project_ahead])
def test_with_plain_feedback_it_is_torch_rnn_with_a_matrix_of_low_rank(unroll: Unroll) -> None:
    torch.manual_seed(0)
    net = Jordan(inputs=I, hidden=H, outputs=O, feedback=identity, unroll=unroll).double()
    nn.init.zeros_(net.cell.readout.bias)  # else the first context, zeros, would be no answer to any hidden state
    cell, peer = net.cell, nn.RNN(I, H, nonlinearity="tanh", batch_first=True).double()
    inputs = torch.randn(B, T, I).double().requires_grad_()
    outputs, context = net(inputs)
    # What comes back is h V, and goes in by W: the hidden units see themselves through V W.
    weights = {
        "weight_ih_l0": cell.input_weights.T,
        "weight_hh_l0": (cell.readout.weight.T @ cell.context_weights).T,
        "bias_ih_l0": cell.bias,
        "bias_hh_l0": torch.zeros(H).double(),
    }
    hidden, _ = functional_call(peer, weights, (inputs,))
    wanted = hidden @ cell.readout.weight.T
    torch.testing.assert_close(outputs, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(context, wanted[:, -1], rtol=1e-12, atol=1e-12)
    pull = torch.randn(B, T, O).double()
    leaves = [inputs, cell.input_weights, cell.context_weights, cell.bias, cell.readout.weight]
    ours, theirs = (torch.autograd.grad((found * pull).sum(), leaves) for found in (outputs, wanted))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.6])
def test_the_sooner_way_is_the_written_out(decay: float) -> None:
    torch.manual_seed(0)
    net = Jordan(inputs=I, hidden=H, outputs=O, free=1, decay=decay).double()
    inputs, start = torch.randn(B, T, I).double(), torch.randn(B, O + 1).double()
    results = []
    for unroll in (step_by_step, project_ahead):
        net.unroll = unroll
        outputs, context = net(inputs, start)
        gradients = torch.autograd.grad((outputs**2).sum() + (context**3).sum(), list(net.parameters()))
        results.append([outputs, context, *gradients])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_a_context_unit_sums_what_was_said_the_older_the_less() -> None:
    torch.manual_seed(0)
    net = Jordan(inputs=I, hidden=H, outputs=O, decay=0.6).double()
    inputs = torch.randn(B, T, I).double()
    _, context = net(inputs)
    weights = 0.6 ** torch.arange(T - 1, -1, -1).double()
    torch.testing.assert_close(context, (net.said(inputs) * weights[:, None]).sum(1), rtol=1e-12, atol=1e-12)


def test_what_is_fed_back_is_the_probability_stretched_to_both_sides() -> None:
    logits = torch.randn(B, O).double()
    torch.testing.assert_close(as_answer(logits), 2 * torch.sigmoid(logits) - 1)


def test_a_sequence_can_be_continued() -> None:
    torch.manual_seed(0)
    net = Jordan(inputs=I, hidden=H, outputs=O, free=2, decay=0.3).double()
    inputs = torch.randn(B, T, I).double()
    first, context = net(inputs[:, :4])
    second, _ = net(inputs[:, 4:], context)
    torch.testing.assert_close(torch.cat([first, second], dim=1), net(inputs)[0], rtol=1e-12, atol=1e-12)


def test_the_past_reaches_the_present_only_through_what_was_said() -> None:
    torch.manual_seed(0)
    net = Jordan(inputs=I, hidden=H, outputs=O).double()
    nn.init.zeros_(net.cell.readout.weight)  # it always says the same
    inputs = torch.randn(B, T, I).double()
    other = torch.cat([torch.randn(B, T - 1, I).double(), inputs[:, -1:]], dim=1)
    assert torch.equal(net(inputs)[1], net(other)[1])


def lesson() -> tuple[Jordan, Sequences]:
    """A network and sequences of which some steps count."""
    torch.manual_seed(0)
    net = Jordan(inputs=I, hidden=H, outputs=1, free=1).double()
    mask = torch.zeros(B, T, dtype=torch.bool)
    mask[:, 2] = mask[:, 5] = True
    return net, Sequences(torch.randn(B, T, I).double(), torch.randint(2, (B, T, 1)).double(), mask)


def test_truncated_at_the_whole_length_is_not_truncated() -> None:
    net, batch = lesson()
    gradients = []
    for truncate in (None, T, T + 3, 2):
        net.zero_grad()
        ThroughTime(net, targets="some", truncate=truncate).backpropagate(batch)
        gradients.append([parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None])
    for whole in gradients[1:3]:
        assert all(torch.equal(one, other) for one, other in zip(gradients[0], whole, strict=True))
    assert not all(torch.allclose(one, other) for one, other in zip(gradients[0], gradients[3], strict=True))


def test_steps_that_do_not_count_and_those_after_the_last_that_does_send_no_gradient() -> None:
    net, batch = lesson()
    inputs = batch.inputs.requires_grad_()
    ThroughTime(net, targets="some").backpropagate(batch._replace(inputs=inputs))
    assert inputs.grad is not None
    assert bool((inputs.grad[:, 6:] == 0).all())
    assert bool((inputs.grad[:, :6] != 0).any(-1).all())
    _, others = torch.autograd.grad(net(inputs)[0].sum(), [inputs, net.cell.readout.weight])
    assert bool((others != 0).any())  # the free unit is taught through what it keeps


def test_it_learns_temporal_xor_and_cannot_from_other_sequences_targets() -> None:
    reached = {}
    for shuffled in (False, True):
        torch.manual_seed(0)
        draw = partial(temporal_xor, length=9)
        net = Jordan(inputs=1, hidden=32, outputs=1, free=1)
        measures = {"accuracy": bits_right}
        curriculum = growing(start=5, by=3)
        learner = ThroughTime(net, measures=measures, targets="some", lr=0.02, clip=1.0, curriculum=curriculum)
        stream = Endless(partial(draw, count=64, shuffle_targets=shuffled), torch.Generator().manual_seed(0))
        for step in range(200):
            learner.progress = step / 200
            learner.learn(next(stream))
        test = draw(torch.Generator().manual_seed(1), count=500)
        reached[shuffled] = learner.evaluate([test])["accuracy"]
    assert reached[False] >= 0.99
    assert reached[True] < 0.75


def test_what_does_not_fit_is_refused(unchecked: None) -> None:
    net = Jordan(inputs=I, hidden=H, outputs=O)
    with pytest.raises(InvalidValue, match="the inputs are 1 wide, but this cell was built for 3"):
        net(torch.zeros(B, T, 1))
    with pytest.raises(InvalidValue, match=r"the context to start from is \(4, 3\), but these sequences need \(4, 2\)"):
        net(torch.zeros(B, T, I), torch.zeros(B, O + 1))
    with pytest.raises(InvalidValue, match="the sequences have no steps"):
        net(torch.zeros(B, 0, I))
    with pytest.raises(InvalidValue, match="outputs is 0; a network needs at least 1"):
        Jordan(inputs=I, hidden=H, outputs=0)
    with pytest.raises(InvalidValue, match="free is -1, but must be 0 or more"):
        Jordan(inputs=I, hidden=H, outputs=O, free=-1)
    with pytest.raises(InvalidValue, match=r"decay is 1\.0, but must be at least 0 and below 1"):
        Jordan(inputs=I, hidden=H, outputs=O, decay=1.0)
    with pytest.raises(InvalidValue, match="hidden is 0; a cell needs at least 1"):
        JordanCell(inputs=I, hidden=0, outputs=O)
