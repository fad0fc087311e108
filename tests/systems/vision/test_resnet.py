from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, pad, relu

from neurarium.errors import InvalidValue
from neurarium.parts.encoders import Classifier
from neurarium.parts.residual import two_convolutions
from neurarium.systems.encoders import build_encoder
from neurarium.systems.vision.resnet import Residual, ResNet, bottleneck, corrections


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def zero(branch: nn.Sequential, to: Tensor | float = 0.0) -> Tensor:
    """Set the gain of a branch's last norm; returns what it was."""
    gain = branch[-1].weight
    assert isinstance(gain, Tensor)
    before = gain.detach().clone()
    gain.data.copy_(torch.as_tensor(to))
    return before


def published_basic(inputs: Tensor, weights: list[Tensor], *, stride: int) -> Tensor:
    """A block of the small nets with option A, written down as in the paper."""
    first, gain1, shift1, second, gain2, shift2 = weights
    hidden = batch_norm(conv2d(inputs, first, stride=stride, padding=1), None, None, gain1, shift1, training=True)
    hidden = batch_norm(conv2d(relu(hidden), second, padding=1), None, None, gain2, shift2, training=True)
    missing = first.shape[0] - inputs.shape[1]
    return relu(hidden + pad(inputs[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, missing)))


def published_net(images: Tensor, weights: list[Tensor], *, blocks: int) -> Tensor:
    """A small net from its weights in order."""
    stem, gain, shift, *rest, head, bias = weights
    hidden = relu(batch_norm(conv2d(images, stem, padding=1), None, None, gain, shift, training=True))
    for block in range(3 * blocks):
        stride = 2 if block in (blocks, 2 * blocks) else 1
        hidden = published_basic(hidden, rest[6 * block : 6 * block + 6], stride=stride)
    return hidden.mean((2, 3)) @ head.T + bias


@pytest.mark.parametrize("depth", [8, 20])
def test_same_weights_same_outputs_and_gradients_as_the_published_net(depth: int) -> None:
    torch.manual_seed(0)
    net = Classifier(ResNet(shape=(3, 16, 16), depth=depth, width=4), classes=10).double()
    images = torch.rand(3, 3, 16, 16, dtype=torch.float64)
    theirs = [parameter.detach().clone().requires_grad_() for parameter in net.parameters()]
    logits = published_net(images, theirs, blocks=(depth - 2) // 6)
    assert torch.allclose(net(images), logits, atol=1e-10)
    net(images).square().sum().backward()
    logits.square().sum().backward()
    for mine, published in zip(net.parameters(), theirs, strict=True):
        assert mine.grad is not None
        assert published.grad is not None
        assert torch.allclose(mine.grad, published.grad, rtol=1e-7, atol=1e-8)


def test_a_bottleneck_is_the_three_convolutions_of_the_paper() -> None:
    torch.manual_seed(0)
    project = nn.Sequential(nn.Conv2d(6, 8, 1, stride=2, bias=False), nn.BatchNorm2d(8))
    block = Residual(branch=bottleneck(6, 2, stride=2), shortcut=project).double()
    a, ga, sa, b, gb, sb, c, gc, sc, p, gp, sp = block.parameters()
    images = torch.rand(3, 6, 8, 8, dtype=torch.float64)
    hidden = relu(batch_norm(conv2d(images, a), None, None, ga, sa, training=True))
    hidden = relu(batch_norm(conv2d(hidden, b, stride=2, padding=1), None, None, gb, sb, training=True))
    hidden = batch_norm(conv2d(hidden, c), None, None, gc, sc, training=True)
    passed = batch_norm(conv2d(images, p, stride=2), None, None, gp, sp, training=True)
    assert torch.allclose(block(images), relu(hidden + passed), atol=1e-12)


@pytest.mark.parametrize(
    ("depth", "millions"),
    [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)],  # He et al. 2016, table 6
)
def test_the_small_nets_have_the_parameters_of_table_6(depth: int, millions: float) -> None:
    net = Classifier(ResNet(shape=(3, 32, 32), depth=depth), classes=10)
    assert count(net) / 1e6 == pytest.approx(millions, abs=0.05 if depth == 110 else 0.006)


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160), (152, 60_192_808)],
)
def test_the_large_nets_have_the_published_parameters(depth: int, parameters: int) -> None:
    with torch.device("meta"):
        net = Classifier(ResNet(shape=(3, 224, 224), depth=depth), classes=1000)
    assert count(net) == parameters


def forward_and_backward(depth: int) -> None:
    torch.manual_seed(0)
    net = Classifier(ResNet(shape=(3, 224, 224), depth=depth), classes=1000)
    seen = net.encoder.look(torch.rand(2, 3, 224, 224))
    assert seen.maps.shape == (2, net.encoder.width, 7, 7)
    net.judge(seen.features).logsumexp(1).sum().backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


def test_the_smallest_large_net_goes_there_and_back_at_full_size() -> None:
    forward_and_backward(18)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [34, 50, 101, 152])
def test_the_other_large_nets_go_there_and_back_at_full_size(depth: int) -> None:
    forward_and_backward(depth)


@pytest.mark.parametrize("make", [two_convolutions, bottleneck])
@settings(deadline=None, max_examples=10)
@given(maps=st.integers(1, 5), side=st.integers(1, 6))
def test_a_zeroed_branch_is_the_identity(make: Callable[[int, int], nn.Sequential], maps: int, side: int) -> None:
    width = 4 * maps
    branch = make(width, maps if make is bottleneck else width)
    zero(branch)
    block = Residual(branch=branch, shortcut=nn.Identity())
    images = torch.rand(2, width, side, side).add(0.1).requires_grad_()
    slopes = torch.rand_like(images)
    block.eval()(images).backward(slopes)
    assert torch.equal(block(images), images)
    assert images.grad is not None
    assert torch.equal(images.grad, slopes)


def test_a_block_cut_out_is_a_block_whose_branch_is_zero() -> None:
    torch.manual_seed(0)
    net, images = ResNet(shape=(1, 8, 8), depth=14, width=4).eval(), torch.rand(2, 1, 8, 8)
    for block in range(6):
        without = net.encode_without(images, block)
        kept = zero(net.residuals[block].branch)
        assert torch.allclose(net(images), without)
        assert float(corrections(net, images)[block]) == 0.0
        zero(net.residuals[block].branch, to=kept)


def test_without_shortcuts_it_is_the_plain_net() -> None:
    torch.manual_seed(0)
    net, images = ResNet(shape=(3, 64, 64), depth=50, width=4, skip=False).eval(), torch.rand(1, 3, 64, 64)
    maps = net.stem(images)
    for block in net.residuals:
        maps = relu(block.branch(maps))
    assert torch.equal(net(images), maps.mean((2, 3)))
    plain, residual = (count(ResNet(shape=(3, 32, 32), depth=20, skip=skip)) for skip in (False, True))
    assert plain == residual  # option A has no parameters


@settings(deadline=None, max_examples=15)
@given(channels=st.integers(1, 4), height=st.integers(4, 20), width=st.integers(4, 20), maps=st.integers(1, 6))
def test_any_shape_from_four_pixels_gives_features(channels: int, height: int, width: int, maps: int) -> None:
    net = ResNet(shape=(channels, height, width), depth=8, width=maps)
    assert net(torch.zeros(2, channels, height, width)).shape == (2, 4 * maps)


def test_it_is_named_on_the_command_line() -> None:
    encoder = build_encoder("resnet:depth=14,width=8,skip=no", shape=(3, 32, 32))
    assert isinstance(encoder, ResNet)
    assert (encoder.width, len(encoder.blocks)) == (32, 6)
    assert encoder.residuals[0].shortcut is None


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match=r"depth is 21; take 18, 34, 50, 101 or 152, or 6n \+ 2"):
        ResNet(shape=(3, 32, 32), depth=21)
    with pytest.raises(InvalidValue, match="width is -1; it is a number of maps"):
        ResNet(shape=(3, 32, 32), width=-1)
    with pytest.raises(InvalidValue, match="images are 8×3 pixels; ResNet needs at least 4×4"):
        ResNet(shape=(3, 8, 3))
    with pytest.raises(InvalidValue, match="images are 31×64 pixels; ResNet needs at least 32×32"):
        ResNet(shape=(3, 31, 64), depth=18)
    net = ResNet(shape=(3, 8, 8), depth=8)
    with pytest.raises(InvalidValue, match=r"images are \(1, 8, 8\), but this ResNet was built for \(3, 8, 8\)"):
        net(torch.zeros(2, 1, 8, 8))
    with pytest.raises(InvalidValue, match="block is 3; this ResNet has blocks 0 to 2"):
        net.encode_without(torch.zeros(2, 3, 8, 8), 3)
    with pytest.raises(InvalidValue, match="the blocks have no shortcut to look at; build the net with skip=True"):
        corrections(ResNet(shape=(3, 8, 8), depth=8, skip=False), torch.zeros(2, 3, 8, 8))
