"""The temporal convolutional network: the future never touches the past, and the past ends where the formula says."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from neurarium.data.sequences import Endless, adding
from neurarium.errors import InvalidValue
from neurarium.learners.sequence import ThroughTime
from neurarium.parts.places import squared_errors
from neurarium.systems.sequence.temporal_convolution import (
    CausalConvolution,
    TemporalBlock,
    TemporalConvolution,
    doubling,
    receptive_field,
)

B, T, I, C, O = 3, 40, 2, 5, 2  # noqa: E741 - the shape letters


def network(*, kernel: int = 3, dilations: tuple[int, ...] = (1, 2, 4), last_only: bool = False) -> TemporalConvolution:
    """A small network whose biases are not 0."""
    torch.manual_seed(0)
    net = TemporalConvolution(
        inputs=I, channels=C, outputs=O, kernel=kernel, dilations=list(dilations), last_only=last_only
    ).double()
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.3)
    return net


@given(step=st.integers(1, T - 1), scale=st.sampled_from([1.0, 1e6, float("nan"), float("inf")]))
def test_the_future_never_touches_the_past(step: int, scale: float) -> None:
    net = network()
    inputs = torch.randn(B, T, I, generator=torch.Generator().manual_seed(step)).double()
    changed = inputs.clone()
    changed[:, step:] = scale * torch.randn(B, T - step, I).double()
    assert torch.equal(net(inputs)[0][:, :step], net(changed)[0][:, :step])


@given(kernel=st.integers(2, 4), dilations=st.lists(st.integers(1, 4), min_size=1, max_size=3), last_only=st.booleans())
def test_an_output_depends_on_the_receptive_field_and_on_nothing_before_it(
    kernel: int, dilations: list[int], last_only: bool
) -> None:
    dilations = sorted(dilations)
    nested = all(later % earlier == 0 for earlier, later in pairwise(dilations))
    net = network(kernel=kernel, dilations=tuple(dilations), last_only=last_only and nested)
    for parameter in net.parameters():  # every relu open, so that whatever is seen has its effect
        nn.init.constant_(parameter, 0.1)
    field = receptive_field(kernel=kernel, dilations=dilations)
    inputs = torch.rand(1, field + 5, I).double().requires_grad_()
    [gradient] = torch.autograd.grad(net(inputs)[0][:, -1].sum(), inputs)
    moved = gradient[0, :, 0] != 0
    assert net.receptive_field == field
    assert not moved[:5].any()
    assert bool(moved[5])


def test_it_is_torch_convolutions_padded_on_the_left() -> None:
    torch.manual_seed(0)
    ours = CausalConvolution(channels_in=I, channels=C, kernel=3, dilation=4).double()
    peer = weight_norm(nn.Conv1d(I, C, 3, dilation=4).double())
    weights = peer.parametrizations.weight
    with torch.no_grad():
        weights.original0.copy_(ours.gain[:, None, None])
        weights.original1.copy_(ours.direction)
        peer.bias.copy_(ours.bias)
    inputs = torch.randn(B, I, T).double().requires_grad_()
    found, wanted = ours(inputs)[0], peer(nn.functional.pad(inputs, (8, 0)))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    pull = torch.randn_like(found)
    mine = torch.autograd.grad((found * pull).sum(), [inputs, ours.gain, ours.direction, ours.bias])
    leaves = [inputs, weights.original0, weights.original1, peer.bias]
    theirs = torch.autograd.grad((wanted * pull).sum(), leaves)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other.reshape(one.shape), rtol=1e-10, atol=1e-11)


def test_at_the_start_the_length_is_that_of_the_direction() -> None:
    convolution = CausalConvolution(channels_in=I, channels=C, kernel=3)
    torch.testing.assert_close(convolution.weight, convolution.direction)


@pytest.mark.parametrize("steps", [1, 2, 7, 16, 33, T])
@pytest.mark.parametrize("dilations", [(1, 2, 4, 8), (2, 6), (3,), (1, 1, 2)])
def test_the_last_output_alone_is_the_last_of_all(steps: int, dilations: tuple[int, ...]) -> None:
    net = network(dilations=dilations)
    inputs = torch.randn(B, steps, I).double().requires_grad_()
    leaves = [inputs, *net.parameters()]
    results = []
    for last_only in (False, True):
        net.last_only = last_only
        outputs, _ = net(inputs)
        assert outputs.shape == (B, steps, O)
        results.append([outputs[:, -1], *torch.autograd.grad((outputs[:, -1] ** 2).sum(), leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


@given(cuts=st.lists(st.integers(1, T - 1), max_size=4, unique=True))
def test_a_sequence_can_be_read_in_pieces(cuts: list[int]) -> None:
    net = network()
    inputs = torch.randn(B, T, I).double()
    edges, past, pieces = [0, *sorted(cuts), T], None, []
    for start, end in pairwise(edges):
        outputs, past = net(inputs[:, start:end], past)
        pieces.append(outputs)
    torch.testing.assert_close(torch.cat(pieces, dim=1), net(inputs)[0], rtol=1e-11, atol=1e-12)


def test_a_block_that_found_nothing_gives_back_its_input() -> None:
    block = TemporalBlock(channels_in=C, channels=C, kernel=3, dilation=2)
    nn.init.zeros_(block.second.gain)
    inputs = torch.rand(B, C, T)
    assert torch.equal(block(inputs)[0], inputs)


@given(steps=st.integers(1, 3000), kernel=st.integers(2, 9))
def test_doubling_is_as_short_as_it_can_be(steps: int, kernel: int) -> None:
    dilations = doubling(steps, kernel=kernel)
    assert receptive_field(kernel=kernel, dilations=dilations) >= steps
    if len(dilations) > 1:
        assert receptive_field(kernel=kernel, dilations=dilations[:-1]) < steps


def test_it_learns_to_add_and_cannot_from_other_sequences_sums() -> None:
    reached = {}
    for shuffled in (False, True):
        torch.manual_seed(0)
        draw = partial(adding, length=8)
        net = TemporalConvolution(
            inputs=2, channels=16, outputs=1, kernel=4, dilations=doubling(8, kernel=4), last_only=True
        )
        learner = ThroughTime(
            net, objective=squared_errors, measures={"mse": squared_errors}, targets="last", clip=1.0, lr=1e-2
        )
        stream = Endless(partial(draw, count=32, shuffle_targets=shuffled), torch.Generator().manual_seed(0))
        for _ in range(120):
            learner.learn(next(stream))
        reached[shuffled] = learner.evaluate([draw(torch.Generator().manual_seed(1), count=500)])["mse"]
    assert reached[False] <= 0.02
    assert reached[True] > 0.1


def test_what_does_not_fit_is_refused(unchecked: None) -> None:
    net = network()
    past = net(torch.zeros(B, T, I).double())[1]
    with pytest.raises(InvalidValue, match="the inputs are 1 wide, but this convolution was built for 2"):
        net(torch.zeros(B, T, 1).double())
    with pytest.raises(InvalidValue, match="the sequences have no steps"):
        net(torch.zeros(B, 0, I).double())
    with pytest.raises(InvalidValue, match="the past has 5 parts, but there are 6 convolutions"):
        net(torch.zeros(B, T, I).double(), past[:-1])
    with pytest.raises(
        InvalidValue, match=r"the past to go on from is \(3, 2, 2\), but these sequences need \(1, 2, 2\)"
    ):
        net(torch.zeros(1, T, I).double(), past)
    with pytest.raises(InvalidValue, match="with last_only there is no past to go on from"):
        network(last_only=True)(torch.zeros(B, T, I).double(), past)
    with pytest.raises(InvalidValue, match=r"the dilations are \[2, 3\]; for last_only each must divide the next"):
        network(dilations=(2, 3), last_only=True)
    with pytest.raises(InvalidValue, match="the kernel is 0 wide; it needs at least 1"):
        network(kernel=0)
    with pytest.raises(InvalidValue, match="there are no dilations; give one for each block"):
        network(dilations=())
    with pytest.raises(InvalidValue, match=r"the dilations are \[1, 0\]; each must be at least 1"):
        network(dilations=(1, 0))
    with pytest.raises(InvalidValue, match="the kernel is 1 wide; only from 2 on does it look back"):
        doubling(9, kernel=1)
    with pytest.raises(InvalidValue, match="a window of 0 steps was asked for"):
        doubling(0, kernel=3)
    with pytest.raises(InvalidValue, match="outputs is 0; a network needs at least 1"):
        TemporalConvolution(inputs=I, channels=C, outputs=0, kernel=3, dilations=[1])
    with pytest.raises(InvalidValue, match="the channels are 2 and 0; give at least 1"):
        TemporalConvolution(inputs=I, channels=0, outputs=O, kernel=3, dilations=[1])
