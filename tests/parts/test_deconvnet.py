from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d, max_pool2d, max_unpool2d, relu

from neurarium.errors import InvalidValue
from neurarium.parts.deconvnet import Deconvolving, unpool


@pytest.fixture(autouse=True, scope="module")
def _nondeterministic() -> Iterator[None]:
    """PyTorch's own unpooling refuses to run where only deterministic kernels are allowed."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(before)


@settings(deadline=None, max_examples=20)
@given(batch=st.integers(1, 3), maps=st.integers(1, 3), side=st.integers(4, 9), window=st.integers(2, 3))
def test_unpooling_is_max_unpool2d(batch: int, maps: int, side: int, window: int) -> None:
    images = torch.randn(batch, maps, side, side + 1)
    values, switches = max_pool2d(images, window, return_indices=True)
    shape = (side, side + 1)
    assert torch.equal(
        unpool(values, switches, shape=shape), max_unpool2d(values, switches, (window, window), output_size=shape)
    )


@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 0)])
def test_unpooling_is_the_transpose_of_pooling(window: int, stride: int, padding: int) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 8, 7, requires_grad=True)
    values = max_pool2d(images, window, stride, padding)
    signal = torch.randn_like(values)
    with Deconvolving():
        again = max_pool2d(images, window, stride, padding)
    assert torch.equal(values, again)
    (theirs,) = torch.autograd.grad(values, images, signal)
    (mine,) = torch.autograd.grad(again, images, signal)
    assert torch.allclose(mine, theirs, atol=1e-6)


def chain() -> nn.Sequential:
    torch.manual_seed(0)
    first, second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 5, 3, stride=2)
    return nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(inplace=True)).double()


def test_a_backward_pass_is_the_published_net_run_downwards() -> None:
    net, images = chain(), torch.rand(2, 1, 12, 12, dtype=torch.float64, requires_grad=True)
    with Deconvolving():
        maps = net(images)
    assert torch.equal(maps, net(images))
    signal = torch.randn_like(maps)
    _, switches = max_pool2d(relu(net[0](images)), 2, return_indices=True)
    assert isinstance(net[3].weight, Tensor)
    assert isinstance(net[0].weight, Tensor)
    # rectify, transposed filters, unpool, rectify, transposed filters: Zeiler & Fergus 2014, fig. 1, downwards
    down = conv_transpose2d(relu(signal), net[3].weight, stride=2, output_padding=1)
    down = max_unpool2d(down, switches, (2, 2))
    down = conv_transpose2d(relu(down), net[0].weight, padding=1)
    (projected,) = torch.autograd.grad(maps, images, signal)
    assert torch.allclose(projected, down, atol=1e-12)
    (gradient,) = torch.autograd.grad(net(images), images, signal)
    assert not torch.allclose(projected, gradient)


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_undone_is_refused_in_words() -> None:
    values = torch.rand(2)
    with pytest.raises(InvalidValue, match="the net computes gelu, and a deconvnet cannot undo it"), Deconvolving():
        nn.GELU()(values)
    with pytest.raises(InvalidValue, match="the net computes sigmoid"), Deconvolving():
        values.sigmoid()
