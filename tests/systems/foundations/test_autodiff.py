from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from neurarium.errors import InvalidValue
from neurarium.parts.autodiff import Var
from neurarium.parts.autodiff_arrays import total
from neurarium.parts.bundles import Labelled
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.foundations.autodiff import SGD, Adam, Convnet, Dense, Network, Teach, variables

SHAPE = (2, 8, 6)


def network(kind: str, seed: int = 0) -> Network:
    generator = torch.Generator().manual_seed(seed)
    build = Dense if kind == "dense" else Convnet
    return build(shape=SHAPE, classes=5, generator=generator)


def batch_of(size: int = 7) -> Labelled:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(size, *SHAPE, generator=generator)
    return Labelled(images, torch.randint(0, 5, (size,), generator=generator))


def torch_logits(net: Network, images: torch.Tensor) -> torch.Tensor:
    if isinstance(net, Dense):
        hidden = torch.relu(images.flatten(1) @ net.weight[0] + net.bias[0])
        return hidden @ net.weight[1] + net.bias[1]
    assert isinstance(net, Convnet)
    maps = F.max_pool2d(torch.relu(F.conv2d(images, net.conv1, net.bias1, padding=1)), 2)
    maps = F.max_pool2d(torch.relu(F.conv2d(maps, net.conv2, net.bias2, padding=1)), 2)
    return maps.flatten(1) @ net.head + net.bias3


@pytest.mark.parametrize("kind", ["dense", "convnet"])
def test_a_networks_loss_and_gradients_are_torchs(kind: str) -> None:
    net = network(kind).double()
    images, labels = batch_of()
    learner = Teach(net)
    loss = learner.loss(Labelled(images.double(), labels))
    loss.backward()
    theirs = F.cross_entropy(torch_logits(net, images.double()), labels)
    theirs.backward()
    assert loss.val.item() == pytest.approx(theirs.item(), rel=1e-12)
    for name, parameter in net.named_parameters():
        gradient = learner.weights[name].grad
        assert gradient is not None
        assert parameter.grad is not None
        np.testing.assert_allclose(gradient, parameter.grad.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_the_rules_are_torchs(rule: str) -> None:
    start = np.array([[1.0, -2.0], [3.0, 0.5]])
    mine, theirs = Var(start.copy()), torch.tensor(start, requires_grad=True)
    ours = SGD([mine], momentum=0.9) if rule == "sgd" else Adam([mine])
    peer = torch.optim.SGD([theirs], lr=0.01, momentum=0.9) if rule == "sgd" else torch.optim.Adam([theirs], lr=0.01)
    for _ in range(100):
        loss = total((mine * mine - 1) ** 2)
        loss.zero_grad()
        loss.backward()
        ours.step(0.01)
        peer.zero_grad()
        ((theirs * theirs - 1) ** 2).sum().backward()
        peer.step()
    np.testing.assert_allclose(mine.val, theirs.detach().numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rule", [SGD, Adam])
def test_state_is_written_in_place_and_learning_goes_on_the_same(rule: type[SGD] | type[Adam]) -> None:
    batch = batch_of()
    one, other = Teach(network("dense"), rule=rule), Teach(network("dense", seed=3), rule=rule)
    one.learn(batch)
    other.load_state_dict(one.state_dict())
    for _ in range(3):
        assert one.learn(batch) == other.learn(batch)
    assert torch.equal(one.predict(batch.inputs), other.predict(batch.inputs))


def test_a_var_and_its_parameter_are_the_same_memory() -> None:
    net = network("dense")
    weights = variables(net)
    with torch.no_grad():
        net.get_parameter("bias.0").fill_(3.0)
    assert (weights["bias.0"].val == 3).all()


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused_by_name() -> None:
    learner = Teach(network("convnet"))
    images, labels = batch_of()
    for batch, message in (
        (Labelled(images[:0], labels[:0]), "the batch is empty"),
        (Labelled(images[:, :1], labels), r"images are \(1, 8, 6\), but the network was built for \(2, 8, 6\)"),
        (Labelled(images, labels + 5), "labels must be whole numbers from 0 to 4"),
        (Labelled(images, labels[:3]), "must come in equal number"),
    ):
        with pytest.raises(InvalidValue, match=message):
            learner.learn(batch)
    generator = torch.Generator()
    with pytest.raises(InvalidValue, match="images are 3×8 pixels"):
        Convnet(shape=(1, 3, 8), classes=2, generator=generator)
    with pytest.raises(InvalidValue, match="classes is 1"):
        Dense(shape=(1, 3, 8), classes=1, generator=generator)
    with pytest.raises(InvalidValue, match=r"layers have sizes \[24, 0, 2\]"):
        Dense(shape=(1, 3, 8), classes=2, generator=generator, hidden=(0,))
    with pytest.raises(InvalidValue, match=r"lr is -1\.0"):
        Teach(network("dense"), lr=-1.0)
    with pytest.raises(InvalidValue, match=r"momentum is 1\.0"):
        SGD([], momentum=1.0)
    with pytest.raises(InvalidValue, match="w has no gradient to step by"):
        Adam([Var(1.0, name="w")]).step(0.1)


def test_the_graph_is_drawn_as_svg_with_values_and_gradients(tmp_path: Path) -> None:
    done = train(find("autodiff"), dict(steps=5), Settings(device="cpu"), out=tmp_path)
    graph = (done.folder / "pictures" / "graph.svg").read_text()
    assert "<svg" in graph
    assert "grad" in graph
    assert "0.825" in graph  # y = h² + h with h = tanh(2 · 0.5 − 0.4)
    assert "weight.0" in (done.folder / "pictures" / "network.svg").read_text()


def test_it_runs_with_sgd_and_a_convnet(tmp_path: Path) -> None:
    options = dict(steps=60, rule="sgd", network="convnet")
    assert train(find("autodiff"), options, Settings(device="cpu"), out=tmp_path).result["measures"]["test_loss"] < 1.5
