from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from neurarium.errors import InvalidValue, RunError
from neurarium.parts.encoders import Classifier
from neurarium.running.catalogue import find
from neurarium.running.classifiers import gather, open_classifier
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.vision.feature_visualization import (
    activation_of,
    ascend,
    deconvolve,
    gain_of,
    in_ball,
    in_range,
    maps_of,
    shuffled,
    squares,
    statistics_of,
    total_variation,
)
from neurarium.systems.vision.lenet import LeNet
from neurarium.systems.vision.resnet import ResNet


def lenet() -> Classifier[LeNet]:
    torch.manual_seed(0)
    return Classifier(LeNet(shape=(1, 8, 8)), classes=10).eval()


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 1000))
def test_the_image_that_a_linear_unit_wants_is_its_weights_over_their_norm(seed: int) -> None:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 4, 5))
    start = in_ball(torch.randn(5, 2, 3, 4))
    images = ascend(activation_of(net, "1", torch.arange(5)), start, generator=chance(), constrain=in_ball)
    assert isinstance(net[1], nn.Linear)
    wanted = net[1].weight / net[1].weight.norm(dim=1, keepdim=True)
    assert torch.allclose(images.flatten(1), wanted, atol=1e-3)


def test_under_a_squared_norm_it_is_the_weights_over_twice_the_penalty() -> None:
    weights = torch.tensor([[[[0.1, 0.3], [0.2, 0.05]]]])
    images = ascend(
        lambda images: (weights * images).sum((1, 2, 3)),
        torch.zeros_like(weights),
        generator=chance(),
        steps=600,
        rate=0.05,
        l2=0.25,
    )
    assert torch.allclose(images, weights / 0.5, atol=1e-3)  # ∇(w·x − λ|x|²) = 0


def test_inside_the_range_of_pixels_a_linear_unit_wants_black_or_white() -> None:
    weights = torch.tensor([[[[0.1, -0.3], [-0.2, 0.05]]]])
    images = ascend(lambda images: (weights * images).sum((1, 2, 3)), torch.full_like(weights, 0.5), generator=chance())
    assert torch.equal(images, (weights > 0).float())


def test_jitter_and_blur_leave_the_image_in_place_and_in_range() -> None:
    net = lenet()
    activation = activation_of(net, "encoder.conv1", torch.arange(6), part="channel")
    start = torch.rand(6, 1, 8, 8)
    assert torch.equal(ascend(activation, start, generator=chance(), steps=0), in_range(start))
    images = ascend(activation, start, generator=chance(), steps=30, jitter=2, blur_every=3, variation=0.01)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    with torch.no_grad():
        assert (activation(images) > activation(start)).all()
    smooth = ascend(activation, start, generator=chance(), steps=30, variation=10.0)
    assert float(total_variation(smooth).sum()) < 0.1 * float(total_variation(images).sum())


def test_penalties_are_their_sums() -> None:
    image = torch.rand(2, 3, 4, 5).numpy()
    rough = (np.diff(image, axis=2) ** 2).sum((1, 2, 3)) + (np.diff(image, axis=3) ** 2).sum((1, 2, 3))
    assert np.allclose(total_variation(torch.from_numpy(image)).numpy(), rough, atol=1e-5)
    assert np.allclose(squares(torch.from_numpy(image)).numpy(), (image**2).sum((1, 2, 3)), atol=1e-5)


def test_activations_are_those_of_the_net() -> None:
    net, images = lenet(), torch.rand(3, 1, 8, 8)
    units = torch.tensor([4, 0, 5])
    maps = net.encoder.conv1(images)
    assert torch.equal(maps_of(net, "encoder.conv1", images), maps)
    for row, unit in enumerate(units):
        assert activation_of(net, "encoder.conv1", units)(images)[row] == maps[row, unit, 4, 4]
        whole = activation_of(net, "encoder.conv1", units, part="channel")(images)[row]
        assert torch.allclose(whole, maps[row, unit].mean())
        assert activation_of(net, "head", units)(images)[row] == net(images)[row, unit]


def test_a_deconvolution_reaches_only_the_pixels_below_the_unit() -> None:
    net, images = lenet(), torch.rand(6, 1, 8, 8)
    units = torch.arange(6)
    projected = deconvolve(net, "encoder.conv1", images, units)
    maps = net.encoder.conv1(images)
    for row in range(6):
        top = int(maps[row, row].argmax())
        down, across = divmod(top, 8)
        patch = torch.zeros(12, 12)
        # the first layer's projection is its filter, as strong as the activation
        patch[down : down + 5, across : across + 5] = maps[row, row].max().relu() * net.encoder.conv1.weight[row, 0]
        assert torch.allclose(projected[row, 0], patch[2:10, 2:10], atol=1e-5)
    assert deconvolve(net, "head", images, units).shape == images.shape
    residual = Classifier(ResNet(shape=(1, 8, 8), depth=8, width=4), classes=10)
    assert torch.isfinite(deconvolve(residual, "encoder.blocks.2", images, units)).all()
    assert residual.training


def test_a_random_image_has_the_same_pixels() -> None:
    images = torch.rand(3, 2, 4, 4)
    other = shuffled(images, generator=chance())
    assert torch.equal(other.flatten(1).sort().values, images.flatten(1).sort().values)
    assert not torch.equal(other, images)
    gain = gain_of(lambda images: images.sum((1, 2, 3)), images, generator=chance(), draws=5)
    assert gain.random.shape == (5, 3)
    assert torch.allclose(gain.random, gain.own.expand(5, 3))


def test_statistics_are_numpys() -> None:
    maps = torch.randn(6, 4, 3, 2)
    maps[:, 1] = 2 * maps[:, 0] + 1
    rows = maps.transpose(0, 1).flatten(1).numpy()
    found = statistics_of(maps)
    assert np.allclose(found.correlation.numpy(), np.corrcoef(rows), atol=1e-5)
    assert np.allclose(found.variance.numpy(), rows.var(1), atol=1e-5)
    maps[:, 2] = 7.0
    assert statistics_of(maps).correlation[2].abs().max() == 0


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    net, images = lenet(), torch.rand(2, 1, 8, 8)
    with pytest.raises(InvalidValue, match=r"the net has no layer 'encoder.conv3'; did you mean 'encoder.conv"):
        maps_of(net, "encoder.conv3", images)
    with pytest.raises(InvalidValue, match="unit 6 is asked for; the layer has 6"):
        activation_of(net, "encoder.conv1", torch.tensor([6, 0]))(images)
    with pytest.raises(InvalidValue, match="unit 10 is asked for; the layer has 10"):
        deconvolve(net, "head", images, torch.tensor([0, 10]))
    tokens = nn.Sequential(nn.Unflatten(1, (1, 1)))
    with pytest.raises(InvalidValue, match=r"layer '0' gives \(2, 1, 1, 8, 8\); take one of maps or features"):
        maps_of(tokens, "0", images)
    with pytest.raises(InvalidValue, match="the climb has -1 steps"):
        ascend(squares, images, generator=chance(), steps=-1)
    with pytest.raises(InvalidValue, match=r"the weights of norm and variation are -1.0 and 0.0"):
        ascend(squares, images, generator=chance(), l2=-1.0)
    with pytest.raises(InvalidValue, match="jitter and blur are -1 and 0"):
        ascend(squares, images, generator=chance(), jitter=-1)


def test_it_looks_into_another_run_and_refuses_one_without_a_classifier(tmp_path: Path) -> None:
    alone = Settings(device="cpu", threads=1)
    other = train(find("resnet"), {"steps": 2, "depth": 8, "width": 4}, alone, out=tmp_path)
    options = {"run": str(other.folder), "climb": 2, "units": 2, "layer": "encoder.stem.0"}
    done = train(find("feature_visualization"), options, alone, out=tmp_path)
    assert done.result["measures"]["activation_gain"] > 0
    drawn = {path.name for path in (done.folder / "pictures").iterdir()}
    assert {"wants.png", "maps.png", "deconvnet_encoder.stem.0.png"} <= drawn
    trained = open_classifier(other.folder)
    assert (len(gather(trained.stream, count=100).labels), len(trained.classes)) == (100, 10)
    line = train(find("linear_regression"), {"steps": 2, "passes": 2}, alone, out=tmp_path)
    with pytest.raises(RunError, match="trained no classifier of images; take a run of lenet, resnet, vit"):
        open_classifier(line.folder)
    with pytest.raises(RunError, match="is not a run folder"):
        open_classifier(tmp_path / "nothing")
