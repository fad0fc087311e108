from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv2d

from neurarium.errors import InvalidValue
from neurarium.parts.encoders import Classifier
from neurarium.parts.evidence import evidence
from neurarium.parts.residual import Residual, ReZero, alphas
from neurarium.systems.encoders import build_encoder
from neurarium.systems.vision.rezero import FORMS, ReZeroNet, Tokens, first_weights


def stir(net: nn.Module) -> None:
    """Bring every α off zero."""
    for part in net.modules():
        if isinstance(part, ReZero):
            nn.init.uniform_(part.alpha, -0.5, 0.5)


def blocks_of(net: ReZeroNet) -> list[Any]:
    """The blocks, whose parts are looked at by name."""
    return list(net.blocks)


@pytest.mark.parametrize("form", FORMS)
def test_at_alpha_zero_the_jacobian_of_the_stack_is_the_identity(form: str) -> None:
    torch.manual_seed(0)
    net = ReZeroNet(shape=(1, 4, 4), form=form, depth=6, width=4, heads=2)
    state = net.stem(torch.rand(1, 1, 4, 4)).detach()
    jacobian = torch.autograd.functional.jacobian(net.blocks, state).view(state.numel(), state.numel())
    assert torch.equal(jacobian, torch.eye(state.numel()))
    assert not alphas(net).any()
    assert len(alphas(net)) == 6
    stir(net)
    assert not torch.allclose(net.blocks(state), state, atol=1e-3)


@given(alpha=st.floats(-1, 1), weight=st.floats(-1, 1), layers=st.integers(1, 64))
def test_the_toy_multiplies_by_a_power(alpha: float, weight: float, layers: int) -> None:
    parts = [Residual(branch=nn.Linear(1, 1, bias=False), join=ReZero).double() for _ in range(layers)]
    for name, parameter in nn.Sequential(*parts).named_parameters():
        nn.init.constant_(parameter, alpha if name.endswith("alpha") else weight)
    start = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    end = nn.Sequential(*parts)(start)
    (slope,) = torch.autograd.grad(end.sum(), start)
    wanted = (1 + alpha * weight) ** layers
    assert float(slope) == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert float(end.detach()) == pytest.approx(0.7 * wanted, rel=1e-9, abs=1e-12)


def published(net: ReZeroNet, images: Tensor, *, form: str, residual: str) -> Tensor:
    """The same net as a loop over its weights."""
    weights = list(net.parameters())

    def layer(state: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        dense = form == "dense"
        return (state @ weight.T + bias if dense else conv2d(state, weight, bias, padding="same")).relu()

    state = layer(images.flatten(1) if form == "dense" else images, *weights[:2])
    for block in blocks_of(net):
        found = layer(state, *list(block.branch.parameters()))
        alpha = block.join.alpha if residual == "rezero" else 1.0
        state = found if residual == "none" else state + alpha * found
    return state if form == "dense" else state.mean((2, 3))


@pytest.mark.parametrize("residual", ["rezero", "plain", "none"])
@pytest.mark.parametrize("form", ["dense", "convolutional"])
def test_outputs_and_gradients_are_those_of_the_equation(form: str, residual: str) -> None:
    torch.manual_seed(0)
    net = ReZeroNet(shape=(2, 4, 5), form=form, depth=3, width=6, residual=residual)
    stir(net)
    images = torch.rand(3, 2, 4, 5)
    ours, theirs = net(images), published(net, images, form=form, residual=residual)
    assert torch.allclose(ours, theirs, atol=1e-6)
    parameters = list(net.parameters())
    mine = torch.autograd.grad(ours.square().sum(), parameters)
    wanted = torch.autograd.grad(theirs.square().sum(), parameters)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(mine, wanted, strict=True))


def test_a_transformer_is_its_blocks_and_the_mean_of_its_tokens() -> None:
    torch.manual_seed(0)
    net = ReZeroNet(shape=(1, 8, 12), form="transformer", depth=2, width=8, heads=2)
    assert isinstance(net.stem, Tokens)
    nn.init.normal_(net.stem.positions)
    stir(net)
    images = torch.rand(2, 1, 8, 12)
    tokens = net.stem(images)
    for block in blocks_of(net):
        tokens = tokens + block.join.alpha * block.attention(tokens, tokens)
        tokens = tokens + block.join.alpha * block.feed(tokens)
    assert torch.allclose(net(images), tokens.mean(1), atol=1e-5)
    assert torch.allclose(net.look(images).maps.flatten(2), tokens.transpose(1, 2), atol=1e-5)


def test_at_first_only_alpha_learns_and_then_the_weights_do() -> None:
    torch.manual_seed(0)
    net = ReZeroNet(shape=(1, 4, 4), depth=8, width=8)
    images = torch.rand(16, 1, 4, 4)
    net(images).square().sum().backward()
    state = net.stem(images).detach()
    for block in blocks_of(net):
        assert not block.branch[0].weight.grad.any()
        # ∂L/∂α = Σ ∂L/∂y · F(x), here with L = Σ y² and y = x
        wanted = (2 * state * block.branch(state)).sum()
        assert torch.allclose(block.join.alpha.grad, wanted, rtol=1e-4)
    nn.init.constant_(blocks_of(net)[3].join.alpha, 0.1)
    net(images).square().sum().backward()
    assert blocks_of(net)[3].branch[0].weight.grad.any()


@settings(deadline=None, max_examples=10)
@given(depth=st.integers(1, 200), seed=st.integers(0, 99))
def test_the_signal_passes_rezero_untouched(depth: int, seed: int) -> None:
    torch.manual_seed(seed)
    net, images = ReZeroNet(shape=(1, 4, 4), depth=depth, width=8), torch.rand(4, 1, 4, 4)
    assert torch.equal(net.signal(images), torch.ones(depth + 1))


def test_plain_layers_lose_the_signal_and_residual_ones_blow_it_up() -> None:
    torch.manual_seed(0)
    images = torch.rand(8, 1, 8, 8)
    lost, kept, blown = (
        float(ReZeroNet(shape=(1, 8, 8), depth=64, residual=residual).signal(images)[-1])
        for residual in ("none", "rezero", "plain")
    )
    assert lost < 1e-6  # about 2^(−64/2): ReLU halves the variance at each layer
    assert kept == 1.0
    assert blown > 1e6


def test_one_seed_gives_every_residual_the_same_weights() -> None:
    nets = [ReZeroNet(shape=(1, 4, 4), depth=3, width=4, residual=residual) for residual in ("rezero", "plain", "none")]
    for net in nets:
        first_weights(net, "kaiming", generator=torch.Generator().manual_seed(5))
    first, *others = ({n: p for n, p in net.named_parameters() if "alpha" not in n} for net in nets)
    for other in others:
        assert list(other) == list(first)
        assert all(torch.equal(other[name], value) for name, value in first.items())


@pytest.mark.parametrize(("form", "places"), [("dense", (1, 1)), ("convolutional", (8, 12)), ("transformer", (4, 6))])
def test_any_classifier_takes_it_and_it_is_named_on_the_command_line(form: str, places: tuple[int, int]) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(f"rezero:form={form},depth=3,width=8,start=kaiming", shape=(2, 8, 12))
    assert isinstance(encoder, ReZeroNet)
    assert (encoder.width, len(encoder.blocks)) == (8, 3)
    images = torch.rand(2, 2, 8, 12)
    assert encoder.look(images).maps.shape == (2, 8, *places)
    assert evidence(Classifier(encoder, classes=3), images, torch.tensor([0, 2])).shape == (2, 8, 12)


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="form is 'dens'; did you mean 'dense'"):
        ReZeroNet(shape=(1, 8, 8), form="dens")
    with pytest.raises(InvalidValue, match="depth is 0; a net has at least 1 block"):
        ReZeroNet(shape=(1, 8, 8), depth=0)
    with pytest.raises(InvalidValue, match="residual is 'rezro'; did you mean 'rezero'"):
        ReZeroNet(shape=(1, 8, 8), residual="rezro")
    with pytest.raises(InvalidValue, match="start is 'kaimin'; did you mean 'kaiming'"):
        ReZeroNet(shape=(1, 8, 8), start="kaimin")
    with pytest.raises(InvalidValue, match="heads is 5, but must divide the width 64"):
        ReZeroNet(shape=(1, 8, 8), form="transformer", heads=5)
    with pytest.raises(InvalidValue, match="images are 28×30 pixels, which patches of 4 do not divide"):
        ReZeroNet(shape=(1, 28, 30), form="transformer")
    with pytest.raises(InvalidValue, match="width is 0; an encoder needs at least 1 feature"):
        ReZeroNet(shape=(1, 8, 8), width=0)
    with pytest.raises(InvalidValue, match=r"images are \(3, 8, 8\), but this ReZeroNet was built for \(1, 8, 8\)"):
        ReZeroNet(shape=(1, 8, 8))(torch.zeros(2, 3, 8, 8))
