"""Norms: the numbers, gradients, buffers and names of torch.nn, and refusals where nothing would be left."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from neurarium.errors import InvalidValue
from neurarium.parts.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, MakeNorm, standardise

CHANNELS = 6

Pair = tuple[nn.Module, nn.Module, tuple[int, ...]]

PAIRS: dict[str, Callable[[], Pair]] = {
    "batch, dense": lambda: (BatchNorm(channels=CHANNELS), nn.BatchNorm1d(CHANNELS), ()),
    "batch, 1d": lambda: (BatchNorm(channels=CHANNELS), nn.BatchNorm1d(CHANNELS), (7,)),
    "batch, 2d": lambda: (BatchNorm(channels=CHANNELS), nn.BatchNorm2d(CHANNELS), (4, 5)),
    "batch, plain": lambda: (
        BatchNorm(channels=CHANNELS, affine=False),
        nn.BatchNorm2d(CHANNELS, affine=False),
        (3, 2),
    ),
    "batch, all batches alike": lambda: (
        BatchNorm(channels=CHANNELS, momentum=None),
        nn.BatchNorm1d(CHANNELS, momentum=None),
        (),
    ),
    "layer, dense": lambda: (LayerNorm(shape=CHANNELS), nn.LayerNorm(CHANNELS), ()),
    "layer, image": lambda: (LayerNorm(shape=(CHANNELS, 4, 5)), nn.LayerNorm((CHANNELS, 4, 5)), (4, 5)),
    "layer, last": lambda: (LayerNorm(shape=5, affine=False), nn.LayerNorm(5, elementwise_affine=False), (4, 5)),
    "instance, 1d": lambda: (InstanceNorm(channels=CHANNELS), nn.InstanceNorm1d(CHANNELS), (7,)),
    "instance, 2d": lambda: (
        InstanceNorm(channels=CHANNELS, affine=True),
        nn.InstanceNorm2d(CHANNELS, affine=True),
        (4, 5),
    ),
    "group, dense": lambda: (GroupNorm(groups=2, channels=CHANNELS), nn.GroupNorm(2, CHANNELS), ()),
    "group, 2d": lambda: (GroupNorm(groups=2, channels=CHANNELS), nn.GroupNorm(2, CHANNELS), (4, 5)),
    "group, plain": lambda: (
        GroupNorm(groups=1, channels=CHANNELS, affine=False),
        nn.GroupNorm(1, CHANNELS, affine=False),
        (3,),
    ),
}


def drawn(places: tuple[int, ...], *, dtype: torch.dtype, batch: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(batch, CHANNELS, *places, generator=generator, dtype=dtype) + 0.5


def response(norm: nn.Module, values: Tensor) -> list[Tensor]:
    """Outputs, and the gradients of a loss that treats every output differently."""
    values = values.clone().requires_grad_()
    outputs = norm(values)
    slopes = torch.linspace(-1, 1, outputs.numel(), dtype=values.dtype).view(outputs.shape)
    return [outputs.detach(), *torch.autograd.grad((outputs.sin() * slopes).sum(), [values, *norm.parameters()])]


def agree(ours: nn.Module, theirs: nn.Module, values: Tensor, tolerance: float) -> None:
    (outputs, *gradients), (expected, *expected_gradients) = response(ours, values), response(theirs, values)
    close(outputs, expected, tolerance)
    for mine, other in zip(gradients, expected_gradients, strict=True):
        close(mine, other, 5 * tolerance)  # sums over the batch, whose rounding depends on the order
    for (name, mine), (theirs_name, other) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        assert name == theirs_name
        close(mine, other, tolerance)


def close(mine: Tensor, other: Tensor, tolerance: float) -> None:
    """Within the tolerance of the largest element, or of 1."""
    bound = tolerance * max(1.0, float(other.abs().max()))
    torch.testing.assert_close(mine, other, atol=bound, rtol=0.0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("name", PAIRS)
def test_each_is_torch_s_in_training_and_at_test(name: str, dtype: torch.dtype, tolerance: float) -> None:
    ours, theirs, places = PAIRS[name]()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
    ours.load_state_dict(theirs.state_dict())  # same names, same shapes
    ours, theirs = ours.to(dtype), theirs.to(dtype)
    for batch in range(3):
        agree(ours, theirs, drawn(places, dtype=dtype, seed=batch), tolerance)
    theirs.load_state_dict(ours.state_dict())
    agree(ours.eval(), theirs.eval(), drawn(places, dtype=dtype, seed=9), tolerance)


@given(
    batch=st.integers(2, 5),
    places=st.lists(st.integers(1, 4), max_size=2),
    shift=st.floats(-50, 50),
    scale=st.floats(0.1, 50),
)
def test_batch_norm_undoes_any_shift_and_scale(batch: int, places: list[int], shift: float, scale: float) -> None:
    values = drawn(tuple(places), dtype=torch.float64, batch=batch)
    norm = BatchNorm(channels=CHANNELS, epsilon=0.0, affine=False).double()
    torch.testing.assert_close(norm(scale * values + shift), norm(values), atol=1e-6, rtol=1e-6)
    assert norm(values).transpose(0, 1).flatten(1).mean(1).abs().max() < 1e-9


def test_the_four_meet_where_they_share_their_means() -> None:
    image = drawn((4, 5), dtype=torch.float64, batch=1)
    instance = InstanceNorm(channels=CHANNELS)(image)
    torch.testing.assert_close(BatchNorm(channels=CHANNELS).double()(image), instance)  # a batch of one picture
    torch.testing.assert_close(GroupNorm(groups=CHANNELS, channels=CHANNELS).double()(image), instance)
    layer = LayerNorm(shape=image.shape[1:], affine=False)(image)
    torch.testing.assert_close(GroupNorm(groups=1, channels=CHANNELS).double()(image), layer)


def test_a_dense_pair_becomes_plus_and_minus_one_and_passes_no_gradient() -> None:
    values = drawn((), dtype=torch.float64, batch=2).requires_grad_()
    outputs = BatchNorm(channels=CHANNELS, epsilon=1e-9).double()(values)
    torch.testing.assert_close(outputs.abs(), torch.ones_like(outputs))
    (gradient,) = torch.autograd.grad(outputs[0].sum(), values)
    assert gradient.abs().max() < 1e-6


def test_an_update_does_not_follow_the_running_averages() -> None:
    norm = BatchNorm(channels=CHANNELS)
    norm(drawn((), dtype=torch.float32).requires_grad_()).sum().backward()
    assert not norm.running_mean.requires_grad
    before = copy.deepcopy(norm.eval().state_dict())
    norm(drawn((), dtype=torch.float32, seed=1))
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())


def test_half_precision_takes_its_statistics_in_single() -> None:
    values = (drawn((16, 16), dtype=torch.float32) + 100).bfloat16()
    outputs = BatchNorm(channels=CHANNELS)(values)
    assert outputs.dtype == torch.bfloat16
    torch.testing.assert_close(outputs, nn.BatchNorm2d(CHANNELS)(values), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("name", PAIRS)
def test_each_exports_for_any_batch(name: str) -> None:
    norm, _, places = PAIRS[name]()
    norm.eval()
    example, other = drawn(places, dtype=torch.float32, batch=2), drawn(places, dtype=torch.float32, batch=7)
    program = torch.export.export(norm, (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.testing.assert_close(program.module()(other), norm(other))


def test_builders_are_interchangeable() -> None:
    makers: list[MakeNorm] = [BatchNorm, InstanceNorm, partial(GroupNorm, groups=2)]
    values = drawn((4, 5), dtype=torch.float32)
    assert [make(channels=CHANNELS)(values).shape for make in makers] == [values.shape] * 3


def test_a_constant_becomes_zero() -> None:
    normal, _, variance = standardise(torch.full((3, 4), 7.0), [0])
    assert not normal.any()
    assert not variance.any()


@pytest.mark.usefixtures("unchecked")
def test_what_leaves_nothing_or_does_not_fit_is_refused_in_words() -> None:
    pair, single = torch.ones(2, 3), torch.ones(1, 3)
    cases: list[tuple[str, Callable[[], object]]] = [
        ("batch norm in training has 1 number a channel, but needs", lambda: BatchNorm(channels=3)(single)),
        ("batch norm in training has 0 number", lambda: BatchNorm(channels=3)(single[:0])),
        ("layer norm over one number", lambda: LayerNorm(shape=1)),
        ("channels is 0; a norm needs at least 1", lambda: LayerNorm(shape=())),
        (r"the inputs end in \(3,\), but this layer norm was built for shape=\(4,\)", lambda: LayerNorm(shape=4)(pair)),
        ("groups is 4, but must divide the 6 channels", lambda: GroupNorm(groups=4, channels=6)),
        ("groups is 0, but must divide", lambda: GroupNorm(groups=0, channels=6)),
        ("one number a group", lambda: GroupNorm(groups=3, channels=3)(pair)),
        ("instance norm has one place a channel", lambda: InstanceNorm(channels=3)(pair)),
        (r"the inputs are \(2, 3\), but this norm needs \(B, 4, ...\)", lambda: BatchNorm(channels=4)(pair)),
        (r"the inputs are \(3,\), but this norm", lambda: BatchNorm(channels=3)(pair[0])),
        ("channels is 0; a norm needs at least 1", lambda: InstanceNorm(channels=0)),
        ("momentum is 1.5, but is a share", lambda: BatchNorm(channels=3, momentum=1.5)),
        ("epsilon is -1.0, but must be 0 or more", lambda: BatchNorm(channels=3, epsilon=-1.0)),
    ]
    for message, call in cases:
        with pytest.raises(InvalidValue, match=message):
            call()
    assert BatchNorm(channels=3).eval()(torch.ones(1, 3)).shape == (1, 3)
