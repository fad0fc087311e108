from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neurarium.errors import InvalidValue, RunError
from neurarium.parts.bundles import Labelled
from neurarium.parts.encoders import Classifier
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.vision.loss_landscape import (
    Plane,
    curvatures,
    filter_normalised,
    loss_of,
    losses_at,
    random_direction,
    random_plane,
    roughness,
    surface,
    weights_of,
)
from neurarium.systems.vision.resnet import ResNet


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small() -> tuple[Classifier[ResNet], Labelled]:
    torch.manual_seed(0)
    net = Classifier(ResNet(shape=(1, 8, 8), depth=8, width=4), classes=10, dropout=0.5)
    return net.double(), Labelled(torch.rand(12, 1, 8, 8).double(), torch.arange(12) % 10)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000), size=st.integers(1, 5))
def test_it_is_exact_on_a_quadratic(seed: int, size: int) -> None:
    torch.manual_seed(seed)
    matrix, centre = torch.randn(size, size).double(), torch.randn(size).double()
    matrix = matrix @ matrix.T
    plane = Plane({"w": torch.randn(size).double()}, {"w": torch.randn(size).double()})

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return (weights["w"] - centre) @ matrix @ (weights["w"] - centre) / 2

    heights = surface(loss, {"w": torch.zeros(size).double()}, plane, points=5, span=2.0)  # type: ignore[arg-type]
    for row, a in enumerate(np.linspace(-2, 2, 5)):
        for column, b in enumerate(np.linspace(-2, 2, 5)):
            away = (a * plane.first["w"] + b * plane.second["w"] - centre).numpy()
            assert np.isclose(float(heights[row, column]), away @ matrix.numpy() @ away / 2, rtol=1e-5)
    both = torch.stack([plane.first["w"], plane.second["w"]])
    wanted = torch.linalg.eigvalsh(both @ matrix @ both.T)
    found = curvatures(heights)
    assert torch.allclose(found.least, wanted[0].expand(3, 3), atol=1e-4, rtol=1e-4)
    assert torch.allclose(found.most, wanted[1].expand(3, 3), atol=1e-4, rtol=1e-4)
    assert roughness(heights) < 1e-6


def test_the_middle_is_the_loss_and_every_point_that_of_moved_weights() -> None:
    net, examples = small()
    plane = random_plane(weights_of(net), generator=chance())
    heights = surface(loss_of(net, examples), weights_of(net), plane, points=3, together=4)
    one_by_one = surface(loss_of(net, examples), weights_of(net), plane, points=3, together=1)
    assert torch.allclose(heights, one_by_one, atol=1e-10)
    net.dropout.p = 0.0
    state = {name: value.clone() for name, value in net.state_dict().items()}
    for row in range(3):
        for column in range(3):
            net.load_state_dict(state)
            for name, parameter in net.named_parameters():
                parameter.data += (row - 1) * plane.first[name] + (column - 1) * plane.second[name]
            # in training mode, so with the statistics of these very examples
            assert torch.allclose(heights[row, column], cross_entropy(net(examples.inputs), examples.labels), atol=1e-8)


def test_looking_leaves_the_net_as_it_was() -> None:
    net, examples = small()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    surface(loss_of(net, examples), weights_of(net), random_plane(weights_of(net), generator=chance()), points=3)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_filter_before_a_norm_can_be_scaled_without_moving_the_surface() -> None:
    net, examples = small()
    heights = surface(
        loss_of(net, examples), weights_of(net), random_plane(weights_of(net), generator=chance()), points=3
    )
    stem = net.encoder.stem[0].weight
    assert isinstance(stem, Tensor)
    stem.data[1] *= 3.0
    again = surface(
        loss_of(net, examples), weights_of(net), random_plane(weights_of(net), generator=chance()), points=3
    )
    # not to the bit, for the norm adds a little to the variance
    assert torch.allclose(heights, again, rtol=1e-3)
    # with running statistics it is another net
    net.eval()
    there = cross_entropy(net(examples.inputs), examples.labels)
    stem.data[1] /= 3.0
    assert not torch.allclose(there, cross_entropy(net(examples.inputs), examples.labels), rtol=1e-3)


@settings(deadline=None, max_examples=15)
@given(maps=st.integers(1, 4), channels=st.integers(1, 3), seed=st.integers(0, 100))
def test_filters_of_a_direction_are_as_long_as_those_of_the_weights(maps: int, channels: int, seed: int) -> None:
    weights = torch.randn(maps, channels, 3, 3, generator=chance(seed))
    weights[0] = 0.0
    direction = torch.randn(weights.shape, generator=chance(seed + 1))
    found = filter_normalised(direction, weights)
    for one, mine, theirs in zip(found, weights, direction, strict=True):
        assert torch.allclose(one.norm(), mine.norm(), atol=1e-5)
        assert torch.allclose(one * theirs.norm(), theirs * mine.norm(), atol=1e-4)


def test_biases_and_norms_stay() -> None:
    net, _ = small()
    direction = random_direction(weights_of(net), generator=chance())
    for name, value in net.named_parameters():
        assert bool((direction[name] == 0).all()) == (value.ndim < 2)


def test_curvature_and_roughness_are_those_of_numpys_eigenvalues() -> None:
    heights = torch.randn(6, 6, generator=chance()).double()
    h, values = heights.numpy(), []
    for i in range(1, 5):
        for j in range(1, 5):
            a, b = h[i + 1, j] - 2 * h[i, j] + h[i - 1, j], h[i, j + 1] - 2 * h[i, j] + h[i, j - 1]
            c = (h[i + 1, j + 1] - h[i + 1, j - 1] - h[i - 1, j + 1] + h[i - 1, j - 1]) / 4
            values.append(np.linalg.eigvalsh([[a, c], [c, b]]))
    eigenvalues = np.array(values)
    assert np.allclose(curvatures(heights).least.numpy().ravel(), eigenvalues[:, 0])
    assert np.allclose(curvatures(heights).most.numpy().ravel(), eigenvalues[:, 1])
    assert np.isclose(roughness(heights), -eigenvalues[eigenvalues < 0].sum() / np.abs(eigenvalues).sum())
    assert np.isclose(roughness(5 * heights + 3), roughness(heights))
    assert np.isclose(roughness(-heights), 1 - roughness(heights))


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    net, examples = small()
    weights = weights_of(net)
    plane = random_plane(weights, generator=chance())
    loss = loss_of(net, examples)
    for points in (1, 4):
        with pytest.raises(InvalidValue, match=f"the surface has {points} points a side; take an odd number from 3 on"):
            surface(loss, weights, plane, points=points)
    with pytest.raises(InvalidValue, match=r"the span is 0.0; it must be positive"):
        surface(loss, weights, plane, points=3, span=0.0)
    with pytest.raises(InvalidValue, match="0 points are evaluated together"):
        losses_at(loss, weights, plane, torch.zeros(1, 2), together=0)
    with pytest.raises(InvalidValue, match="the batch is empty"):
        loss_of(net, Labelled(examples.inputs[:0], examples.labels[:0]))


def test_it_draws_another_run_and_the_control_gains_nothing(tmp_path: Path) -> None:
    alone = Settings(device="cpu", threads=1)
    small = {"steps": 2, "depth": 8, "width": 4, "points": 3, "examples": 32}
    done = train(find("loss_landscape"), {**small, "skip": False}, alone, out=tmp_path)
    assert done.result["measures"]["skip_smoothness_gain"] == 1.0
    again = train(find("loss_landscape"), {"run": str(done.folder), "points": 3, "examples": 32}, alone, out=tmp_path)
    measures = again.result["measures"]
    assert measures["centre_gap"] < 1e-5
    assert 0 <= measures["roughness"] <= 1
    with pytest.raises(RunError, match="is not a run folder"):
        train(find("loss_landscape"), {"run": str(tmp_path / "nothing")}, alone, out=tmp_path)


def test_a_net_without_norms_is_surveyed_too() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    examples = Labelled(torch.rand(5, 1, 2, 2), torch.tensor([0, 1, 2, 0, 1]))
    plane = random_plane(weights_of(net), generator=chance())
    # cross-entropy of a linear layer is convex
    assert roughness(surface(loss_of(net, examples), weights_of(net), plane, points=7).double()) < 1e-3
