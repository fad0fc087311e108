"""minGRU and minLSTM: the parallel form is the sequential one, and it learns the adding problem."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from neurarium.data.sequences import Endless, adding
from neurarium.errors import InvalidValue
from neurarium.learners.sequence import ThroughTime
from neurarium.parts.places import squared_errors
from neurarium.parts.recurrence import project_ahead, step_by_step
from neurarium.parts.scan import MinGRUCell, MinLSTMCell, RunLinear, in_parallel
from neurarium.parts.schedules import cosine
from neurarium.recipes.sequence.mingru import depth_of, stages_of
from neurarium.systems.sequence.mingru import MakeCell, MinRecurrent

B, T, I, H, O = 4, 19, 3, 5, 2  # noqa: E741 - the shape letters
CELLS: list[MakeCell] = [MinGRUCell, MinLSTMCell]


def network(cell: MakeCell, unroll: RunLinear = in_parallel, layers: int = 3) -> MinRecurrent:
    torch.manual_seed(0)
    return MinRecurrent(inputs=I, hidden=H, outputs=O, layers=layers, cell=cell, memory=T, unroll=unroll).double()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("given_states", [False, True])
@pytest.mark.parametrize("other", [step_by_step, project_ahead])
def test_parallel_is_sequential(cell: MakeCell, given_states: bool, other: RunLinear) -> None:
    found = []
    for unroll in (in_parallel, other):
        net = network(cell, unroll)
        torch.manual_seed(1)
        inputs = torch.randn(B, T, I).double().requires_grad_()
        starts = tuple(torch.randn(B, H).double().requires_grad_() for _ in range(3)) if given_states else ()
        outputs, states = net(inputs, starts or None)
        total = (outputs**2).sum() + sum(state.sin().sum() for state in states)
        found.append([outputs, *states, *torch.autograd.grad(total, [inputs, *starts, *net.parameters()])])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_learned_at_once_and_continued_step_by_step(cell: MakeCell) -> None:
    net, inputs = network(cell), torch.randn(B, T, I).double()
    whole, _ = net(inputs)
    outputs, states = net(inputs[:, :7])
    answers: list[Tensor] = [outputs]
    for step in inputs[:, 7:].split(1, dim=1):
        outputs, states = net(step, states)
        answers.append(outputs)
    torch.testing.assert_close(torch.cat(answers, dim=1), whole, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_states_move_by_the_part_that_is_not_kept(cell: MakeCell) -> None:
    net, inputs = network(cell), torch.randn(B, T, I).double()
    for layer, below, hidden, kept in zip(
        net.cells(), [inputs, *net.activity(inputs)[:-1]], net.activity(inputs), net.kept(inputs), strict=True
    ):
        candidate = layer.project(below).chunk(len(layer.project(below)[0, 0]) // H, dim=-1)[-1]
        assert ((kept > 0) & (kept < 1)).all()
        before = nn.functional.pad(hidden, (0, 0, 1, -1))
        torch.testing.assert_close(hidden, kept * before + (1 - kept) * candidate, rtol=1e-10, atol=1e-12)


def test_the_first_layers_gates_do_not_see_the_past_and_the_seconds_do() -> None:
    net, inputs = network(MinGRUCell), torch.randn(B, T, I).double()
    other = torch.cat([torch.randn(B, T - 1, I).double(), inputs[:, -1:]], dim=1)
    (first, second, _), (first_too, second_too, _) = net.kept(inputs), net.kept(other)
    assert torch.equal(first[:, -1], first_too[:, -1])
    assert not torch.isclose(second[:, -1], second_too[:, -1]).any()


def test_it_learns_to_add_and_learns_nothing_from_shuffled_targets() -> None:
    reached = {}
    for shuffled in (False, True):
        torch.manual_seed(0)
        net = MinRecurrent(inputs=2, hidden=16, outputs=1, layers=2, memory=20)
        learner = ThroughTime(net, objective=squared_errors, targets="last", lr=3e-2, schedule=cosine)
        draw = partial(adding, length=20)
        stream = Endless(partial(draw, count=32, shuffle_targets=shuffled), torch.Generator().manual_seed(0))
        for step in range(200):
            learner.progress = step / 200
            learner.learn(next(stream))
        test = draw(torch.Generator().manual_seed(1), count=500)
        reached[shuffled] = learner.evaluate([test])["loss"]
    assert reached[False] < 0.02
    assert reached[True] > 0.12


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 13, 512])
def test_the_drawn_tree_is_a_scan(steps: int) -> None:
    covered = [range(step, step + 1) for step in range(steps)]
    for stage in stages_of(list(range(steps))):
        for first, second in stage:
            assert covered[first].stop == covered[second].start
            covered[second] = range(covered[first].start, covered[second].stop)
    assert all(steps_joined == range(step + 1) for step, steps_joined in enumerate(covered))
    assert depth_of(steps) <= 2 * steps.bit_length()


def test_what_does_not_fit_is_refused(unchecked: None) -> None:
    net = MinRecurrent(inputs=I, hidden=H, outputs=O, layers=2)
    with pytest.raises(InvalidValue, match="the inputs are 1 wide, but this cell was built for 3"):
        net(torch.zeros(B, T, 1))
    with pytest.raises(InvalidValue, match=r"the state to start from is \(4, 6\), but these sequences need \(4, 5\)"):
        net(torch.zeros(B, T, I), (torch.zeros(B, H), torch.zeros(B, H + 1)))
    with pytest.raises(InvalidValue, match="there are 1 states to start from, but 2 layers; give one a layer"):
        net(torch.zeros(B, T, I), (torch.zeros(B, H),))
    with pytest.raises(InvalidValue, match="the sequences have no steps"):
        net(torch.zeros(B, 0, I))
    with pytest.raises(InvalidValue, match="layers is 0; a network needs at least 1"):
        MinRecurrent(inputs=I, hidden=H, outputs=O, layers=0)
    with pytest.raises(InvalidValue, match="outputs is 0; a network needs at least 1"):
        MinRecurrent(inputs=I, hidden=H, outputs=0)
