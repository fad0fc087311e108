from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import relu

from neurarium.errors import InvalidValue
from neurarium.learners.classify import Classify
from neurarium.parts.bundles import Labelled
from neurarium.parts.encoders import Classifier
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.vision.lenet import LeNet


def published() -> nn.Sequential:
    """LeNet as it is usually written down, for 28×28 images: ReLU before pooling."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def test_the_parameter_count_is_the_published_one() -> None:
    # LeCun et al. 1998, fig. 2 with full C3 and a dense head: 156 + 2,416 + 48,120 + 10,164 + 850
    net = Classifier(LeNet(shape=(1, 28, 28)), classes=10)
    layers = [*net.encoder.children(), net.head]
    counts = [sum(p.numel() for p in layer.parameters()) for layer in layers if list(layer.parameters())]
    assert counts == [156, 2_416, 48_120, 10_164, 850]


def test_same_weights_same_outputs_and_gradients_as_the_published_net() -> None:
    ours, theirs = Classifier(LeNet(shape=(1, 28, 28)), classes=10).double(), published().double()
    for mine, published_one in zip(ours.parameters(), theirs.parameters(), strict=True):
        mine.data.copy_(published_one.data)
    images = torch.rand(3, 1, 28, 28, dtype=torch.float64)
    assert torch.allclose(ours(images), theirs(images), atol=1e-12)
    ours(images).square().sum().backward()
    theirs(images).square().sum().backward()
    for mine, published_one in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mine.grad is not None
        assert published_one.grad is not None
        assert torch.allclose(mine.grad, published_one.grad, atol=1e-10)


def test_with_tanh_pooling_before_is_pooling_after() -> None:
    net = LeNet(shape=(1, 28, 28), activation=torch.tanh)
    images = torch.rand(2, 1, 28, 28)
    maps = net.pool(torch.tanh(net.conv1(images)))
    assert torch.equal(maps, torch.tanh(net.pool(net.conv1(images))))


@given(channels=st.integers(1, 4), height=st.integers(4, 40), width=st.integers(4, 40), classes=st.integers(2, 12))
def test_any_shape_from_four_pixels_gives_logits(channels: int, height: int, width: int, classes: int) -> None:
    net = Classifier(LeNet(shape=(channels, height, width)), classes=classes)
    assert net(torch.zeros(2, channels, height, width)).shape == (2, classes)


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="images are 3×8 pixels; LeNet needs at least 4×4"):
        LeNet(shape=(1, 3, 8))
    net = Classifier(LeNet(shape=(1, 8, 8)), classes=10)
    with pytest.raises(InvalidValue, match=r"images are \(3, 8, 8\), but this LeNet was built for \(1, 8, 8\)"):
        net(torch.zeros(2, 3, 8, 8))


def test_a_plain_module_in_a_loop_of_ones_own() -> None:
    learner = Classify(Classifier(LeNet(shape=(1, 8, 8)), classes=2), lr=1e-2)
    images = torch.rand(64, 1, 8, 8)
    labels = (images[:, 0, :, :4].mean((1, 2)) > images[:, 0, :, 4:].mean((1, 2))).long()
    first = float(learner.learn(Labelled(images, labels))["loss"])
    for _ in range(60):
        learner.learn(Labelled(images, labels))
    assert learner.evaluate([Labelled(images, labels)])["loss"] < first / 2
    assert learner.predict(images).sum(1).allclose(torch.ones(64))


def test_the_features_are_what_the_head_reads() -> None:
    net = Classifier(LeNet(shape=(1, 8, 8)), classes=10)
    images = torch.rand(2, 1, 8, 8)
    features: Tensor = net.encoder(images)
    assert features.shape == (2, 84)
    assert torch.equal(net.head(features), net(images))
    assert torch.equal(features, relu(features))


def test_it_reads_mnist(shared: Path, tmp_path: Path) -> None:
    options = {"data": f"idx:{shared / 'mnist'}", "steps": 500}
    done = train(find("lenet"), options, Settings(device="cpu"), out=tmp_path)
    assert done.result["measures"]["test_accuracy"] > 0.95
