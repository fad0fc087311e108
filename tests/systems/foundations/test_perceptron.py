from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy.optimize import linprog

from neurarium.errors import InvalidValue, NeurariumError
from neurarium.parts.bundles import Labelled
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import Finished, train
from neurarium.systems.foundations.perceptron import (
    Correct,
    Perceptron,
    centred,
    decide,
    extended,
    mistake_bound,
    perceptron_rule,
    wanted,
)


def cloud(seed: int, *, margin: float, features: int = 3, examples: int = 20) -> tuple[Labelled, torch.Tensor]:
    """Points at least the margin away from a boundary on either side, and that boundary."""
    generator = torch.Generator().manual_seed(seed)
    boundary = torch.randn(1 + features, generator=generator, dtype=torch.float64)
    boundary[0] *= 0.1
    boundary /= boundary.norm()
    points = torch.randn(50 * examples, features, generator=generator, dtype=torch.float64)
    points = points[(extended(points) @ boundary).abs() >= margin][:examples]
    return Labelled(points, (extended(points) @ boundary >= 0).long()), boundary


def taught(batch: Labelled, *, classes: int = 2, passes: int) -> Correct:
    learner = Correct(Perceptron(shape=batch.inputs.shape[1:], classes=classes))
    for _ in range(passes):
        for place in range(len(batch.labels)):
            learner.learn(Labelled(*(field[place : place + 1] for field in batch)))
    return learner


def separable(batch: Labelled) -> bool:
    """By a linear program: is there w' with ± w'·x' ≥ 1 for every example?"""
    rows = (1 - 2 * batch.labels.double()).unsqueeze(1) * extended(batch.inputs)
    found = linprog(
        np.zeros(rows.shape[1]), A_ub=rows.numpy(), b_ub=-np.ones(len(rows)), bounds=(None, None), method="highs"
    )
    return bool(found.success)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), margin=st.sampled_from([0.1, 0.2, 0.4]))
def test_mistakes_are_no_more_than_the_margin_allows(seed: int, margin: float) -> None:
    batch, boundary = cloud(seed, margin=margin)
    found, most = mistake_bound(boundary, extended(batch.inputs), batch.labels.double())
    assert found >= margin * (1 - 1e-9)
    learner = taught(batch, passes=10)
    assert int(learner.mistakes) <= most
    reach = learner.report([batch]).margin_at_most
    assert float(reach) >= found * (1 - 1e-9)  # what the weights say of the margin is true of the known one


def test_corrections_stop_when_the_classes_are_separated() -> None:
    batch, boundary = cloud(1, margin=0.3)
    _, most = mistake_bound(boundary, extended(batch.inputs), batch.labels.double())
    learner = taught(batch, passes=1 + int(most))  # a pass without a mistake must be among so many
    before = learner.model.weights.detach().clone()
    assert float(learner.learn(batch)["mistakes"]) == 0.0
    assert torch.equal(learner.model.weights, before)
    assert learner.report([batch]).separable is True
    weights = centred(before[0], extended(batch.inputs), batch.labels.double())
    assert int(learner.mistakes) <= mistake_bound(weights, extended(batch.inputs), batch.labels.double())[1]


@given(values=st.lists(st.integers(0, 1), min_size=8, max_size=8))
@settings(max_examples=10, deadline=None)
def test_the_report_on_truth_tables_is_that_of_a_linear_program(values: list[int]) -> None:
    bits = torch.cartesian_prod(*[torch.arange(2.0)] * 3).double()
    batch = Labelled(bits, torch.tensor(values))
    report = taught(batch, passes=40).report([batch])
    assert report.separable is separable(batch)


@given(seed=st.integers(0, 10_000), examples=st.integers(1, 8), classes=st.integers(2, 4))
def test_an_update_is_the_rule_written_out(seed: int, examples: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(examples, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (examples,), generator=generator)
    learner = Correct(Perceptron(shape=(3,), classes=classes))
    start = torch.randn(learner.model.weights.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        learner.model.weights.copy_(start)
    slow, mistakes = start.clone(), 0
    for row, label in zip(inputs, labels.tolist(), strict=True):
        for unit in range(len(start)):
            target = int(label == (1 if classes == 2 else unit))
            fires = int(start[unit, 0] + start[unit, 1:] @ row >= 0)
            slow[unit, 0] += target - fires
            slow[unit, 1:] += (target - fires) * row
            mistakes += target != fires
    learner.learn(Labelled(inputs, labels))
    torch.testing.assert_close(learner.model.weights.detach(), slow)
    assert int(learner.mistakes.sum()) == mistakes


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 4))
def test_the_rule_descends_on_how_far_mistaken_examples_lie_on_the_wrong_side(seed: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    batch = Labelled(torch.randn(6, 3, generator=generator), torch.randint(classes, (6,), generator=generator))
    model = Perceptron(shape=(3,), classes=classes)
    with torch.no_grad():
        model.weights.copy_(torch.randn(model.weights.shape, generator=generator))
    net = model(batch.inputs)
    signs = 2 * wanted(batch.labels, units=net.shape[1]) - 1
    criterion = (-signs * net).clamp(min=0).sum()
    (gradient,) = torch.autograd.grad(criterion, [model.weights])
    deltas = wanted(batch.labels, units=net.shape[1]) - (net >= 0).double()
    torch.testing.assert_close(perceptron_rule(extended(batch.inputs), deltas.detach()), -gradient)
    torch.testing.assert_close(Correct(model).learn(batch)["loss"], criterion.detach() / 6)


def test_the_largest_output_wins_and_a_single_unit_fires_from_its_threshold_on() -> None:
    assert decide(torch.tensor([[-3.0, -1.0, -2.0], [0.0, 4.0, 5.0]])).tolist() == [1, 2]
    assert decide(torch.tensor([[-1e-9], [0.0], [1e-9]])).tolist() == [0, 1, 1]


def told_by(tmp_path: Path, **options: str | int) -> tuple[Finished, str]:
    console = Console(file=StringIO(), width=400)
    done = train(find("perceptron"), {"frames": 2, **options}, Settings(device="cpu"), out=tmp_path, console=console)
    assert isinstance(console.file, StringIO)
    return done, console.file.getvalue()


@pytest.mark.parametrize("data", ["or", "and"])
def test_or_and_and_are_learned(tmp_path: Path, data: str) -> None:
    done, said = told_by(tmp_path, data=data)
    measures = done.result["measures"]
    assert f"{data}: separable: true" in said
    assert measures["test_accuracy"] == measures["separable"] == 1
    assert measures["mistakes_over_bound"] <= 1
    assert (done.folder / "pictures" / "boundary.gif").exists()


def test_of_xor_the_run_says_why_it_cannot_be(tmp_path: Path) -> None:
    done, said = told_by(tmp_path, data="xor")
    measures = done.result["measures"]
    assert "xor: separable: false" in said
    assert "no boundary can be right about all" in said
    assert measures["separable"] == 0
    assert measures["test_accuracy"] <= 0.75
    assert "mistakes_over_bound" not in measures


def test_a_file_of_ones_own_is_learned(tmp_path: Path) -> None:
    points = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    rows = [f"{x},{y},{z},{'up' if x + y > 0 else 'down'}" for x, y, z in points.tolist()]
    (tmp_path / "points.csv").write_text("\n".join(["x,y,z,side", *rows]))
    done, _ = told_by(tmp_path, data=f"csv:{tmp_path / 'points.csv'}", target="side", passes=10)
    assert done.result["measures"]["test_accuracy"] >= 0.85


@pytest.mark.usefixtures("unchecked")
def test_unusable_batches_are_refused() -> None:
    learner = Correct(Perceptron(shape=(2,), classes=3))
    inputs, labels = torch.zeros(4, 2), torch.tensor([0, 1, 2, 0])
    for batch, message in (
        (Labelled(inputs[:0], labels[:0]), "the batch is empty"),
        (Labelled(inputs, labels[:2]), "must come in equal number"),
        (Labelled(inputs[:, :1], labels), r"inputs are \(1,\), but this model was built for \(2,\)"),
        (Labelled(inputs, labels + 1), "labels reach from 1 to 3, but must lie from 0 to 2"),
    ):
        with pytest.raises(InvalidValue, match=message):
            learner.learn(batch)
    with pytest.raises(InvalidValue, match="no examples to report on"):
        learner.report([])
    with pytest.raises(InvalidValue, match="does not separate"):
        mistake_bound(torch.tensor([0.0, 1.0]), torch.ones(2, 2), torch.tensor([0.0, 1.0]))
    with pytest.raises(InvalidValue, match="classes is 1"):
        Perceptron(shape=(2,), classes=1)
    with pytest.raises(InvalidValue, match="hold nothing"):
        Perceptron(shape=(), classes=2)
    with pytest.raises(InvalidValue, match="remember is 0"):
        Correct(Perceptron(shape=(2,), classes=2), remember=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(passes=-1), "passes is -1"),
        (dict(frames=0), "frames is 0"),
        (dict(batch=0), "the batch size is 0"),
        (dict(data="or", target="y"), "'or' has its own classes"),
        (dict(data="xor", shuffle_labels=True), "'xor' is a lesson"),
        (dict(data="dgits"), "did you mean 'digits'"),
    ],
)
def test_the_recipe_refuses_impossible_options(tmp_path: Path, options: dict[str, str | int], message: str) -> None:
    with pytest.raises(NeurariumError, match=message):
        train(find("perceptron"), options, Settings(device="cpu"), out=tmp_path)
