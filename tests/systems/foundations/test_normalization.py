from functools import partial

import pytest
import torch
from torch import Tensor, nn

from neurarium.errors import DataError, InvalidValue
from neurarium.learners.classify import Classify
from neurarium.parts.bundles import Labelled
from neurarium.parts.normalization import BatchNorm, GroupNorm
from neurarium.parts.optimizers import sgd
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.foundations.normalization import ConvolutionalNet, DenseNet, dense_norm, image_norm

NETS = {"dense": DenseNet, "convolutional": ConvolutionalNet}
SMOKE: dict[str, object] = {"steps": 30, "examples": 64, "layers": 4}


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=chance(5))


def torch_s(net: nn.Module) -> nn.Sequential:
    """The dense network with batch norm, put together from torch's own modules."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs in (64, 16, 16):
        layers += [nn.Linear(inputs, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU()]
    theirs = nn.Sequential(*layers, nn.Linear(16, 10))
    names = zip(theirs.state_dict(), net.state_dict().values(), strict=True)
    theirs.load_state_dict(dict(names))
    return theirs


def test_the_dense_network_learns_as_one_of_torch_s_modules() -> None:
    ours = DenseNet(shape=(1, 8, 8), classes=10, layers=3, hidden=16, norm=BatchNorm, generator=chance()).double()
    theirs = torch_s(ours).double()
    batch = Labelled(images(20).double(), torch.arange(20) % 10)
    for model in (ours, theirs):
        learner = Classify(model, optimizer=sgd, lr=0.1)
        for _ in range(5):
            learner.learn(batch)
    for mine, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, other)
    torch.testing.assert_close(ours.eval()(batch.inputs), theirs.eval()(batch.inputs))


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_with_and_without_a_norm_begin_with_the_same_weights(make: type[DenseNet] | type[ConvolutionalNet]) -> None:
    build = partial(make, shape=(1, 8, 8), classes=10, layers=3, hidden=8)
    plain, normed = (dict(build(norm=norm, generator=chance()).named_parameters()) for norm in (None, BatchNorm))
    weights = {name for name in plain if name.endswith("weight")}
    assert all(torch.equal(plain[name], normed[name]) for name in weights)
    assert {name for name in normed if name.endswith("layer.bias")} == set()


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_weights_before_a_norm_may_grow_without_changing_anything(
    make: type[DenseNet] | type[ConvolutionalNet],
) -> None:
    for norm in (BatchNorm, partial(GroupNorm, groups=2)):
        net = make(shape=(1, 8, 8), classes=10, layers=2, hidden=8, norm=norm, generator=chance()).double()
        before = net(images(6).double())
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                if name.endswith("layer.weight"):
                    parameter.mul_(100)
        torch.testing.assert_close(net(images(6).double()), before, rtol=1e-2, atol=1e-2)  # but for ε


def test_batch_norm_makes_an_example_depend_on_its_batch_and_group_norm_does_not() -> None:
    batch = images(8)
    for kind, depends in (("batch", True), ("layer", False), ("group", False), ("instance", False)):
        norm = image_norm(kind, groups=2)
        net = ConvolutionalNet(shape=(1, 8, 8), classes=10, layers=2, hidden=8, norm=norm, generator=chance())
        assert torch.allclose(net(batch)[:4], net(batch[:4]), atol=1e-5) != depends
        net.eval()
        torch.testing.assert_close(net(batch)[:4], net(batch[:4]))


def test_a_dense_layer_of_a_batch_of_two_learns_nothing_below_its_norm() -> None:
    norm = partial(BatchNorm, epsilon=1e-9)
    net = DenseNet(shape=(1, 8, 8), classes=10, layers=1, hidden=16, norm=norm, generator=chance()).double()
    net(images(2).double()).square().sum().backward()
    below = [p.grad for name, p in net.named_parameters() if name.endswith("layer.weight") and p.grad is not None]
    assert max(float(gradient.abs().max()) for gradient in below) < 1e-4 < float(net.head.weight.detach().abs().max())


@pytest.mark.usefixtures("unchecked")
def test_a_batch_of_one_is_refused_by_a_dense_batch_norm_and_taken_by_the_others() -> None:
    build = partial(DenseNet, shape=(1, 8, 8), classes=10, layers=1, hidden=8)
    with pytest.raises(InvalidValue, match=r"1 number a channel, but needs at least 2: .*give a larger batch"):
        build(norm=dense_norm("batch", groups=2))(images(1))
    for kind in ("layer", "group"):
        assert build(norm=dense_norm(kind, groups=2))(images(1)).isfinite().all()
    with pytest.raises(InvalidValue, match="needs at least 2"):
        train(find("normalization"), {**SMOKE, "batch": 1}, Settings(threads=1))


@pytest.mark.usefixtures("unchecked")
def test_what_makes_no_network_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="a dense unit has one; choose batch, layer or group"):
        dense_norm("instance", groups=1)
    with pytest.raises(InvalidValue, match="there is no norm 'bach'; did you mean 'batch'"):
        image_norm("bach", groups=1)
    with pytest.raises(InvalidValue, match="groups is 3, but must divide the 8 channels"):
        DenseNet(shape=(4,), classes=2, hidden=8, norm=dense_norm("group", groups=3))
    with pytest.raises(InvalidValue, match=r"shape \(4,\) are not images of at least 4×4 pixels"):
        ConvolutionalNet(shape=(4,), classes=2)
    with pytest.raises(InvalidValue, match=r"the examples are \(1, 8, 9\), but this network was built for \(1, 8, 8\)"):
        DenseNet(shape=(1, 8, 8), classes=2)(torch.zeros(2, 1, 8, 9))
    for sizes, message in (({"classes": 1}, "at least 2"), ({"layers": 0}, "at least 1"), ({"hidden": 0}, "1 unit")):
        with pytest.raises(InvalidValue, match=message):
            DenseNet(**{"shape": (4,), "classes": 2, **sizes})  # type: ignore[arg-type]


@pytest.mark.usefixtures("unchecked")
def test_options_that_fit_nothing_are_refused() -> None:
    cases: list[tuple[dict[str, object], type[Exception], str]] = [
        ({"net": "conv"}, InvalidValue, "net is 'conv'; choose dense or convolutional"),
        ({"examples": 10}, InvalidValue, "examples is 10, but must make a batch of 64"),
        ({"norm": "instance"}, InvalidValue, "instance norm takes its mean over the places"),
        ({"net": "convolutional", "data": "iris"}, InvalidValue, "not images"),
        ({"data": "nowhere"}, DataError, "nowhere"),
    ]
    for options, error, message in cases:
        with pytest.raises(error, match=message):
            train(find("normalization"), {**SMOKE, **options}, Settings(threads=1))


def test_the_promise_is_kept_by_a_norm_and_missed_with_shuffled_labels() -> None:
    kept = train(find("normalization"), SMOKE, Settings(threads=1)).result["measures"]
    missed = train(find("normalization"), {**SMOKE, "shuffle_labels": True}, Settings(threads=1)).result["measures"]
    assert kept["batchnorm_speedup"] > 1.5
    assert kept["pair_share"] > 0.8
    assert missed["batchnorm_speedup"] == 1.0


def test_the_convolutional_network_learns_too() -> None:
    options = {**SMOKE, "net": "convolutional", "norm": "group", "layers": 2, "steps": 2}
    assert train(find("normalization"), options, Settings(threads=1)).result["measures"]["group_1_accuracy"] >= 0
