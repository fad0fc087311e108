from math import isfinite

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, cross_entropy, max_pool2d, relu

from neurarium.errors import InvalidValue
from neurarium.parts.bundles import Labelled
from neurarium.parts.encoders import Classifier
from neurarium.systems.encoders import build_encoder
from neurarium.systems.vision.googlenet import (
    MODULES,
    Branches,
    DeeplySupervised,
    GoogLeNet,
    Inception,
    auxiliary_heads,
    objective,
)


def count(*nets: nn.Module) -> int:
    return sum(parameter.numel() for net in nets for parameter in net.parameters())


def small(width: float = 0.05) -> DeeplySupervised:
    torch.manual_seed(0)
    net = Classifier(GoogLeNet(shape=(1, 8, 8), width=width), classes=3)
    return DeeplySupervised(net, auxiliary_heads(3, width=width), lr=1e-2)


def labelled(count: int = 12) -> Labelled:
    return Labelled(torch.rand(count, 1, 8, 8), torch.arange(count) % 3)


def published_module(inputs: Tensor, weights: list[Tensor]) -> Tensor:
    """A module as fig. 2b shows it, with batch norm; six layers of weight, gain and shift."""

    def layer(maps: Tensor, number: int) -> Tensor:
        kernel, gain, shift = weights[3 * number : 3 * number + 3]
        answer = conv2d(maps, kernel, padding=kernel.shape[-1] // 2)
        return relu(batch_norm(answer, None, None, gain, shift, training=True))

    pooled = max_pool2d(inputs, 3, stride=1, padding=1)
    return torch.cat(
        [layer(inputs, 0), layer(layer(inputs, 1), 2), layer(layer(inputs, 3), 4), layer(pooled, 5)], dim=1
    )


def test_same_weights_same_outputs_and_gradients_as_the_published_module() -> None:
    torch.manual_seed(0)
    module = Inception(6, Branches(4, 3, 5, 2, 3, 2)).double()
    theirs = [parameter.detach().clone().requires_grad_() for parameter in module.parameters()]
    images = torch.rand(4, 6, 7, 5, dtype=torch.float64)
    mine, published = module(images), published_module(images, theirs)
    assert torch.allclose(mine, published, atol=1e-12)
    mine.square().mean().backward()
    published.square().mean().backward()
    for parameter, other in zip(module.parameters(), theirs, strict=True):
        assert parameter.grad is not None
        assert other.grad is not None
        assert torch.allclose(parameter.grad, other.grad, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(row=st.tuples(*[st.integers(1, 6)] * 6), maps_in=st.integers(1, 5), side=st.integers(1, 9))
def test_every_branch_keeps_the_places_and_has_its_maps(row: tuple[int, ...], maps_in: int, side: int) -> None:
    branches = Branches(*row)
    module, images = Inception(maps_in, branches), torch.rand(2, maps_in, side, side)
    answers = [module.one(images), module.three(images), module.five(images), module.pooled(images)]
    assert [answer.shape for answer in answers] == [(2, maps, side, side) for maps in branches.returned]
    torch.manual_seed(0)
    assert [part.shape for part in module.parts(module(images))] == [answer.shape for answer in answers]


@pytest.mark.parametrize(
    ("kernel", "normalise", "alone", "with_heads"),
    [
        (5, False, 6_998_552, 13_378_280),  # the paper's net with biases, as Caffe publishes it (the paper: 6.8 M)
        (3, True, 6_624_904, 13_004_888),  # torchvision's: batch norm, and 3×3 windows where the paper has 5×5
    ],
)
def test_the_full_net_has_the_published_parameters(kernel: int, normalise: bool, alone: int, with_heads: int) -> None:
    with torch.device("meta"):
        encoder = GoogLeNet(shape=(3, 224, 224), width=1.0, large=True, kernel=kernel, normalise=normalise)
        net = Classifier(encoder, classes=1000)
        heads = auxiliary_heads(1000, width=1.0, normalise=normalise)
    assert count(net) == alone
    assert count(net, heads) == with_heads


def test_the_full_net_goes_there_and_back_at_full_size() -> None:
    torch.manual_seed(0)
    net = Classifier(GoogLeNet(shape=(3, 224, 224), width=1.0, large=True), classes=1000)
    learner = DeeplySupervised(net, auxiliary_heads(1000, width=1.0))
    images = Labelled(torch.rand(2, 3, 224, 224), torch.tensor([1, 7]))
    assert isfinite(learner.learn(images)["objective"])
    assert all(parameter.grad is not None for parameter in [*net.parameters(), *learner.heads.parameters()])
    with torch.no_grad():
        shapes = {name: tuple(maps.shape[1:]) for name, maps in net.encoder.inside(images.inputs).items()}
    # table 1, "output size"
    sides = {"3": 28, "4": 14, "5": 7}
    assert shapes == {name: (sum(row.returned), sides[name[0]], sides[name[0]]) for name, row in MODULES.items()}
    assert shapes["5b"] == (1024, 7, 7)


def test_an_update_follows_the_gradient_of_the_main_and_the_auxiliary_losses() -> None:
    learner, batch = small(), labelled()
    learner.model.eval()
    learner.heads.eval()
    inside = learner.model.encoder.inside(batch.inputs)
    losses = [cross_entropy(learner.model(batch.inputs), batch.labels)]
    losses += [cross_entropy(learner.heads[name](inside[name]), batch.labels) for name in ("4a", "4d")]
    wanted = torch.autograd.grad(losses[0] + 0.3 * losses[1] + 0.3 * losses[2], [*learner.model.parameters()])
    measures = learner.learn(batch)
    assert float(measures["objective"]) == pytest.approx(float((losses[0] + 0.3 * (losses[1] + losses[2])).detach()))
    assert float(measures["loss"]) == pytest.approx(float(losses[0].detach()))
    for parameter, gradient in zip(learner.model.parameters(), wanted, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_the_heads_are_there_for_the_teaching_alone() -> None:
    learner, batch = small(), labelled()
    before = learner.evaluate([batch])
    for parameter in learner.heads.parameters():
        parameter.data.add_(1.0)
    assert learner.evaluate([batch]) == before
    logits = torch.rand(4, 3)
    assert torch.equal(
        objective(logits, [], torch.tensor([0, 1, 2, 0])), cross_entropy(logits, torch.tensor([0, 1, 2, 0]))
    )


def test_it_learns_what_it_is_shown() -> None:
    learner, batch = small(), labelled()
    first = float(learner.learn(batch)["objective"])
    for _ in range(25):
        last = learner.learn(batch)["objective"]
    assert float(last) < first / 2


@settings(deadline=None, max_examples=10)
@given(channels=st.integers(1, 3), height=st.integers(4, 20), width=st.integers(4, 20))
def test_any_shape_from_four_pixels_gives_features(channels: int, height: int, width: int) -> None:
    net = GoogLeNet(shape=(channels, height, width), width=0.02)
    assert net(torch.zeros(2, channels, height, width)).shape == (2, net.width)


def test_it_is_named_on_the_command_line() -> None:
    encoder = build_encoder("googlenet:width=0.25,large=yes", shape=(3, 64, 64))
    assert encoder.width == 256
    assert encoder.look(torch.zeros(2, 3, 64, 64)).maps.shape == (2, 256, 2, 2)


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="images are 8×3 pixels; GoogLeNet needs at least 4×4"):
        GoogLeNet(shape=(3, 8, 3))
    with pytest.raises(InvalidValue, match="images are 28×28 pixels; GoogLeNet needs at least 32×32"):
        GoogLeNet(shape=(1, 28, 28), large=True)
    with pytest.raises(InvalidValue, match="width is 0; the factor of the maps must be positive"):
        GoogLeNet(shape=(3, 8, 8), width=0)
    with pytest.raises(InvalidValue, match="kernel is 4; a window that keeps the places has an odd side"):
        GoogLeNet(shape=(3, 8, 8), kernel=4)
    learner = small()
    with pytest.raises(InvalidValue, match="weight is -1; an auxiliary loss counts by a factor of 0 or more"):
        DeeplySupervised(learner.model, learner.heads, weight=-1)
    with pytest.raises(InvalidValue, match=r"images are \(3, 8, 8\), but the net was built for \(1, 8, 8\)"):
        learner.learn(Labelled(torch.zeros(2, 3, 8, 8), torch.zeros(2).long()))
    with pytest.raises(InvalidValue, match="images and labels must come in equal number"):
        learner.learn(Labelled(torch.zeros(2, 1, 8, 8), torch.zeros(3).long()))
