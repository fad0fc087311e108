from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from neurarium.errors import DataError, InvalidValue, NeurariumError
from neurarium.learners.classify import Classify
from neurarium.parts.bundles import Labelled
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.foundations.backpropagation import (
    ACTIVATIONS,
    MLP,
    Backpropagate,
    deltas,
    gradients,
    output_delta,
)

CLASSES = 4


def problem(seed: int, *, examples: int, features: int = 6) -> Labelled:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(examples, features, generator=generator, dtype=torch.float64)
    return Labelled(inputs, torch.randint(CLASSES, (examples,), generator=generator))


def sums_of(model: MLP, inputs: Tensor) -> list[Tensor]:
    """The weighted sums a of every layer, plainly, for autograd to differentiate by."""
    z, sums = inputs.flatten(1), []
    for weight, bias in zip(model.weights, model.biases, strict=True):
        sums.append(z @ weight + bias)
        z = model.activation.value(sums[-1])
    return sums


@given(
    seed=st.integers(0, 10_000),
    examples=st.integers(1, 9),
    hidden=st.lists(st.integers(1, 7), max_size=4),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
)
def test_deltas_and_gradients_are_autograds(seed: int, examples: int, hidden: list[int], activation: str) -> None:
    torch.manual_seed(seed)
    model = MLP(features=6, hidden=hidden, classes=CLASSES, activation=activation).double()
    for bias in model.biases:
        torch.nn.init.normal_(bias)
    inputs, labels = problem(seed, examples=examples)
    sums = sums_of(model, inputs)
    error = cross_entropy(sums[-1], labels, reduction="sum")
    wanted = torch.autograd.grad(error, sums, retain_graph=True)
    with torch.no_grad():
        passed, logits = model.sweep(inputs)
        found = deltas(model, passed, logits, labels)
    for mine, autograds in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, -autograds, rtol=1e-10, atol=1e-10)
    pairs = zip(model.weights, model.biases, strict=True)
    for z, delta, layer in zip(passed, found, pairs, strict=True):
        theirs = torch.autograd.grad(error / examples, layer, retain_graph=True)
        for mine, autograds in zip(gradients(z, delta), theirs, strict=True):
            torch.testing.assert_close(mine, autograds, rtol=1e-10, atol=1e-10)


@given(seed=st.integers(0, 10_000), examples=st.integers(1, 9))
def test_the_errors_of_the_outputs_cancel(seed: int, examples: int) -> None:
    logits = torch.randn(examples, CLASSES, dtype=torch.float64)
    delta = output_delta(logits, problem(seed, examples=examples).labels)
    torch.testing.assert_close(delta.sum(1), torch.zeros(examples, dtype=torch.float64), rtol=0, atol=1e-12)
    assert delta.abs().max() <= 1


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_it_learns_step_by_step_what_autograd_learns(activation: str) -> None:
    torch.manual_seed(0)
    ours = MLP(features=6, hidden=(8, 5), classes=CLASSES, activation=activation).double()
    theirs = MLP(features=6, hidden=(8, 5), classes=CLASSES, activation=activation).double()
    theirs.load_state_dict(ours.state_dict())
    mine, peer = Backpropagate(ours, lr=0.01), Classify(theirs, lr=0.01)
    for step in range(30):
        batch = problem(step, examples=16)
        assert float(mine.learn(batch)["loss"]) == pytest.approx(float(peer.learn(batch)["loss"]), rel=1e-9)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_no_graph_is_built_in_training() -> None:
    learner = Backpropagate(MLP(features=6, hidden=(8,), classes=CLASSES).double())
    assert not learner.learn(problem(0, examples=4))["loss"].requires_grad  # type: ignore[union-attr]
    assert all(p.grad is not None and p.grad.grad_fn is None for p in learner.model.parameters())


def test_logistic_units_pass_on_less_error_than_relu() -> None:
    arrived = {}
    for activation in ("logistic", "relu"):
        torch.manual_seed(0)
        model = MLP(features=6, hidden=[32] * 6, classes=CLASSES, activation=activation).double()
        first, *_, last = Backpropagate(model).delta_sizes(problem(0, examples=50))
        arrived[activation] = first / last
    assert arrived["logistic"] < 1e-3 < arrived["relu"]


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    for options, message in (
        (dict(features=0), "features is 0"),
        (dict(hidden=(3, 0)), r"hidden is \(3, 0\); every layer needs at least 1 unit"),
        (dict(classes=1), "classes is 1; a classifier needs at least 2"),
        (dict(activation="rely"), "there is no activation 'rely'; did you mean 'relu'"),
    ):
        with pytest.raises(InvalidValue, match=message):
            MLP(**{**dict(features=6, hidden=(3,), classes=CLASSES), **options})  # type: ignore[arg-type]
    learner = Backpropagate(MLP(features=6, hidden=(3,), classes=CLASSES).double())
    inputs, labels = problem(0, examples=5)
    for batch, message in (
        (Labelled(inputs[:0], labels[:0]), "the batch is empty"),
        (Labelled(inputs, labels[:2]), "must come in equal number"),
        (Labelled(inputs[:, :4], labels), "the inputs are 4 wide when flat, but this network was built for 6"),
        (Labelled(inputs, labels.unsqueeze(1)), r"labels are \(5, 1\), but must be one class for each input"),
    ):
        with pytest.raises(InvalidValue, match=message):
            learner.learn(batch)
    with pytest.raises(InvalidValue, match=r"lr is -1\.0"):
        Backpropagate(learner.model, lr=-1.0)


def test_a_table_of_ones_own_is_learned(tmp_path: Path) -> None:
    inputs, _ = problem(0, examples=200, features=2)
    inside = (inputs.square().sum(1) < 1.4).tolist()  # a disc: no single layer can tell
    rows = [f"{x},{y},{'in' if answer else 'out'}" for (x, y), answer in zip(inputs.tolist(), inside, strict=True)]
    (tmp_path / "disc.csv").write_text("\n".join(["x,y,where", *rows]))
    options = dict(data=f"csv:{tmp_path / 'disc.csv'}", target="where", steps=300)
    done = train(find("backpropagation"), options, Settings(device="cpu"), out=tmp_path)
    assert done.result["measures"]["test_accuracy"] >= 0.9
    assert (done.folder / "pictures" / "weights.png").exists()


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (dict(layers=-1), InvalidValue, "layers is -1"),
        (dict(hidden=0), InvalidValue, "every layer needs at least 1 unit"),
        (dict(target="digit"), InvalidValue, "has its own classes"),
        (dict(data="digitz"), DataError, "did you mean 'digits'"),
    ],
)
def test_the_recipe_refuses_impossible_options(
    tmp_path: Path, options: dict[str, object], kind: type[NeurariumError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        train(find("backpropagation"), options, Settings(device="cpu"), out=tmp_path)
