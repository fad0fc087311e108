"""The Neural Turing Machine: with its memory switched off it is an LSTM, with it it learns to copy."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from neurarium.data.algorithms import copy
from neurarium.data.sequences import Endless
from neurarium.errors import InvalidValue
from neurarium.learners.sequence import ThroughTime, bits_right
from neurarium.parts.recurrence import step_by_step
from neurarium.recipes.sequence.neural_turing_machine import KINDS, bits
from neurarium.systems.sequence.neural_turing_machine import NeuralTuringMachine, TuringCell

B, T, I, C, O = 3, 6, 4, 5, 2  # noqa: E741 - the shape letters


def test_with_nothing_read_its_controller_is_torch_lstm() -> None:
    torch.manual_seed(0)
    cell = TuringCell(inputs=I, units=C, rows=6, width=3).double()
    with torch.no_grad():
        cell.recurrent_weights[C:] = 0
    peer = nn.LSTM(I, C, batch_first=True).double()

    def in_torchs_order(weights: torch.Tensor) -> torch.Tensor:
        o, i, f, g = weights.chunk(4)
        return torch.cat([i, f, g, o])

    peer.load_state_dict(
        {
            "weight_ih_l0": in_torchs_order(cell.input_weights.T),
            "weight_hh_l0": in_torchs_order(cell.recurrent_weights[:C].T),
            "bias_ih_l0": in_torchs_order(cell.bias),
            "bias_hh_l0": torch.zeros(4 * C),
        }
    )
    inputs = torch.randn(B, T, I).double()
    features, _ = step_by_step(cell, inputs)
    torch.testing.assert_close(features[..., :C], peer(inputs)[0], rtol=1e-12, atol=1e-12)


def test_a_step_told_to_go_on_by_one_writes_and_reads_like_a_tape() -> None:
    cell = TuringCell(inputs=1, units=2, controller="feedforward", rows=4, width=1).double()
    for parameter in cell.parameters():
        nn.init.zeros_(parameter)
    _, shifts, positive, fractions, add = cell.emit_bias.data.split(cell.sizes.parts)
    shifts.view(2, 3)[:, 2] = 1000  # one row on
    positive[2:] = 20  # sharp
    fractions[:2] = -1000  # by place, not by content
    add[:] = 7
    features, (_, _, addresses, memory) = step_by_step(cell, torch.zeros(1, 3, 1).double())
    assert addresses[0].round().tolist() == [[0, 0, 0, 1]] * 2
    assert memory[0, :, 0].round().tolist() == [0, 7, 7, 7]
    assert features[0, :, 2].round().tolist() == [0, 0, 0]  # what is read was not yet written in that step


def test_a_sequence_can_be_continued_and_unrolled_either_way() -> None:
    torch.manual_seed(0)
    net = NeuralTuringMachine(inputs=I, outputs=O, units=C, reading=2, writing=2, rows=7, width=3).double()
    inputs = torch.randn(B, T, I).double()
    whole, last = net(inputs)
    first, state = net(inputs[:, :2])
    second, other_last = net(inputs[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(other_last, last, rtol=1e-12, atol=1e-12)
    net.unroll = step_by_step
    torch.testing.assert_close(net(inputs)[0], whole, rtol=1e-12, atol=1e-12)


def test_what_is_watched_is_what_happens() -> None:
    torch.manual_seed(0)
    net = NeuralTuringMachine(inputs=I, outputs=O, units=C, reading=2, writing=1, rows=7, width=3).double()
    inputs = torch.randn(B, T, I).double()
    seen, (features, _, addresses, memory) = net.watch(inputs), net(inputs)[1]
    torch.testing.assert_close(torch.cat([seen["reading"], seen["writing"]], dim=2)[:, -1], addresses)
    torch.testing.assert_close(seen["memory"][:, -1], memory)
    torch.testing.assert_close(seen["read"][:, -1].flatten(1), features[:, C:])
    assert seen["gate"].shape == (B, T, 3)


def test_bits_are_the_cross_entropy_of_a_whole_answer() -> None:
    net = NeuralTuringMachine(inputs=9, outputs=8, units=C, rows=6, width=3)
    nn.init.zeros_(net.readout.weight)
    nn.init.zeros_(net.readout.bias)
    learner = ThroughTime(net, measures={"bits_right": bits_right}, targets="some")
    tests = [copy(torch.Generator().manual_seed(n), count=4, least=n, most=n) for n in (1, 3)]
    assert bits(learner, tests)["bits_per_sequence"] == pytest.approx(8 * 2)  # every bit guessed


def test_it_learns_to_copy_and_cannot_from_other_sequences_answers() -> None:
    reached = {}
    for shuffled in (False, True):
        torch.manual_seed(0)
        net = NeuralTuringMachine(inputs=3, outputs=2, units=16, rows=6, width=4)
        learner = ThroughTime(net, measures={"bits_right": bits_right}, targets="some", clip=1.0, lr=2e-2)
        draw = partial(copy, count=16, most=2, bits=2, shuffle_targets=shuffled)
        stream = Endless(draw, torch.Generator().manual_seed(0))
        for _ in range(150):
            learner.learn(next(stream))
        reached[shuffled] = learner.evaluate(
            [copy(torch.Generator().manual_seed(1), count=200, least=2, most=2, bits=2)]
        )
    assert reached[False]["bits_right"] >= 0.9
    assert reached[True]["bits_right"] < 0.75


def test_every_task_is_named_by_its_function() -> None:
    assert all(kind.draw.__name__ == task for task, kind in KINDS.items())


def test_what_does_not_fit_is_refused(unchecked: None) -> None:
    net = NeuralTuringMachine(inputs=I, outputs=O, units=C, rows=7, width=3)
    with pytest.raises(InvalidValue, match="the inputs are 1 wide, but this cell was built for 4"):
        net(torch.zeros(B, T, 1))
    with pytest.raises(InvalidValue, match="the sequences have no steps"):
        net(torch.zeros(B, 0, I))
    with pytest.raises(InvalidValue, match=r"the state to start from is \[\(3, 1\)\], but these sequences need"):
        net(torch.zeros(B, T, I), (torch.zeros(B, 1),))
    fitting: dict[str, Any] = dict(inputs=I, outputs=O, rows=7)
    for wrong, message in (
        (dict(outputs=0), "outputs is 0; a network needs at least 1"),
        (dict(units=0), "units is 0; a controller needs at least 1"),
        (dict(writing=0), "there are 1 reading and 0 writing heads; give at least 1 of each"),
        (dict(width=0), "the memory is 7 by 0; give at least 1 by 1"),
        (dict(shifts=4), "shifts is 4; it must be odd"),
        (dict(controller="gru"), "controller is 'gru'; choose lstm or feedforward"),
    ):
        with pytest.raises(InvalidValue, match=message):
            NeuralTuringMachine(**(fitting | wrong))
