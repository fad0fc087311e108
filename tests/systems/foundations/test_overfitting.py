import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor
from torch.nn.functional import cross_entropy

from neurarium.data.batches import epoch_order
from neurarium.errors import InvalidValue, NeurariumError
from neurarium.learners.population import MemberBatches, Members
from neurarium.parts.bundles import Labelled
from neurarium.parts.penalties import SCALE, l1, l2
from neurarium.recipes.foundations.overfitting import measures_of
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.states import copy_state, difference
from neurarium.running.train import train
from neurarium.systems.foundations.overfitting import (
    ACCURACY,
    CONTROLS,
    LOSS,
    VALIDATION,
    Control,
    Controlled,
    Outcome,
    Sets,
    cross_entropies,
    disturbed_logits,
    judged,
    mistaken,
)

SIDE, CLASSES, ROWS = 4, 3, 30


def images(seed: int, rows: int = ROWS) -> Labelled:
    inputs = torch.randn(rows, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return Labelled(inputs, inputs.flatten(1)[:, :CLASSES].argmax(1))


def sets() -> Sets:
    return Sets(images(0), images(1), images(2, 100))


def members(count: int, *, hidden: int = 24) -> Members:
    return Members(sizes=(SIDE * SIDE, hidden, CLASSES), seeds=[5] * count, gains=torch.ones(count))


def controlled(control: Control, *, each: int = 1, **options: Any) -> Controlled:
    model = members(each * len(control.strengths))
    generator = torch.Generator().manual_seed(0)
    return Controlled(model, control=control, sets=sets(), generator=generator, **{"lr": 0.01, **options})


def stream(learner: Controlled, size: int = 10) -> MemberBatches:
    count = learner.model.shape[0]
    rows = [torch.arange(ROWS)] * count
    return MemberBatches(images(0), rows=rows, seeds=[0] * count, size=size, order=epoch_order)


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_of_no_strength_is_no_control(name: str) -> None:
    learners = [controlled(CONTROLS[choice]._replace(strengths=(0.0, 0.0))) for choice in ("none", name)]
    for learner in learners:
        batches = stream(learner)
        for _ in range(10):
            learner.learn(next(batches))
    pairs = zip(learners[0].model.parameters(), learners[1].model.parameters(), strict=True)
    # Augmentation interpolates, which rounds.
    assert all(torch.allclose(one, other, atol=1e-3) for one, other in pairs)


@pytest.mark.parametrize("name", [name for name in CONTROLS if len(CONTROLS[name].strengths) > 1])
def test_every_strength_changes_what_is_learned(name: str) -> None:
    learner = controlled(CONTROLS[name])
    batches = stream(learner)
    for _ in range(5):
        learner.learn(next(batches))
    weight = learner.model.weights[0].detach()
    apart = [float((weight[one] - weight[other]).abs().max()) for one in range(4) for other in range(one)]
    assert min(apart) > 1e-6


def slow_cost(name: str, weights: Sequence[Tensor]) -> Tensor:
    everything = torch.cat([weight.flatten() for weight in weights])
    if name == "elimination":
        return (everything**2 / (everything**2 + SCALE**2)).sum()
    return everything.abs().sum() if name == "l1" else (everything**2).sum()


@pytest.mark.parametrize("name", ["l1", "l2", "elimination"])
def test_penalised_losses_and_gradients_are_those_of_networks_alone(name: str) -> None:
    learner = controlled(CONTROLS[name])
    batch = next(stream(learner))
    losses = learner.losses(batch)
    losses.sum().backward()
    for member, strength in enumerate(CONTROLS[name].strengths):
        net = learner.model.alone(member)
        weights = [parameter for parameter in net.parameters() if parameter.ndim == 2]
        plain = cross_entropy(net(batch.inputs[:, member].flatten(1)), batch.labels[:, member])
        loss = plain + strength * slow_cost(name, weights)
        loss.backward()
        assert torch.allclose(losses[member], loss, atol=1e-5)
        for weight, stacked in zip(weights, learner.model.weights, strict=True):
            assert weight.grad is not None
            assert stacked.grad is not None
            assert torch.allclose(weight.grad.T, stacked.grad[member], atol=1e-5)


def test_without_disturbance_the_logits_are_the_networks_own() -> None:
    model, inputs = members(3), torch.randn(6, 3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    logits = disturbed_logits(model, inputs, CONTROLS["none"], torch.zeros(3), generator=torch.Generator())
    assert torch.allclose(logits, model(inputs.flatten(2)), atol=1e-6)


@pytest.mark.parametrize("name", ["noise_outputs", "noise_inputs", "noise_hidden"])
def test_noise_is_added_where_its_name_says(name: str) -> None:
    model, strengths = members(1, hidden=6), torch.tensor([0.001])
    one = torch.randn(1, 1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    batch = one.expand(20_000, 1, 1, SIDE, SIDE)
    logits = disturbed_logits(model, batch, CONTROLS[name], strengths, generator=torch.Generator().manual_seed(1))
    first, second = (weight.detach()[0] for weight in model.weights)
    open_units = ((one.flatten() @ first) > 0).float()
    # The covariance of small noise behind linear maps: σ² AᵀA, A from where it comes in to the logits.
    ways = {"noise_outputs": torch.eye(CLASSES), "noise_hidden": second, "noise_inputs": (first * open_units) @ second}
    expected = 0.001**2 * ways[name].T @ ways[name]
    found = torch.cov(logits.detach()[:, 0].T)
    assert torch.allclose(found, expected, atol=0.05 * float(expected.abs().max()))


def test_judging_is_one_network_at_a_time() -> None:
    model, data = members(2), images(3)
    losses, accuracies = judged(model, data)
    logits = model.alone(1)(data.inputs.flatten(1))
    assert torch.allclose(losses[1], cross_entropy(logits, data.labels), atol=1e-6)
    assert float(accuracies[1]) == pytest.approx(float((logits.argmax(1) == data.labels).float().mean()))


def test_cross_entropies_are_means_over_each_networks_own_examples() -> None:
    logits = torch.randn(7, 2, CLASSES, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 1], [2, 2], [1, 0], [0, 0], [1, 1], [2, 1], [0, 2]])
    for member, found in enumerate(cross_entropies(logits, labels)):
        assert torch.allclose(found, cross_entropy(logits[:, member], labels[:, member]))


def test_early_stopping_keeps_the_weights_of_the_lowest_validation_loss() -> None:
    learner = controlled(CONTROLS["early_stopping"], each=2, every=3, looks=40, lr=0.05)
    batches = stream(learner)
    for _ in range(120):
        learner.learn(next(batches))
    validation = learner.curves[:, VALIDATION, LOSS]
    assert torch.equal(judged(learner.kept, learner.sets.validation)[LOSS], validation.min(0).values)
    assert torch.equal(learner.stopped, 3 * (validation.argmin(0) + 1))
    assert bool((learner.stopped < 120).all()), "the validation loss should rise while 30 examples are learned by heart"
    assert bool((validation[-1] > validation.min(0).values).all())


def test_the_strength_is_chosen_by_validation_not_by_test() -> None:
    learner = controlled(Control(penalty=l2, strengths=(0.0, 3.0)), each=2)
    batches = stream(learner)
    for _ in range(200):
        learner.learn(next(batches))
    good = learner.outcome()
    assert good.strength == 0.0
    found = torch.stack([judged(learner.model, part)[ACCURACY][:2].mean() for part in learner.sets])
    assert torch.allclose(torch.tensor([good.train, good.validation, good.test]), found)
    test = learner.sets.test
    learner.sets = learner.sets._replace(test=test._replace(labels=(test.labels + 1) % CLASSES))
    assert learner.outcome().strength == 0.0
    assert learner.outcome().test < good.test


def test_l1_leaves_fewer_weights_than_l2() -> None:
    left = []
    for penalty, strength in ((l1, 0.01), (l2, 0.01)):
        learner = controlled(Control(penalty=penalty, strengths=(strength,)), lr=0.01)
        batches = stream(learner)
        for _ in range(200):
            learner.learn(next(batches))
        left.append(int((learner.model.weights[0].detach().abs() > 0.02).sum()))
    assert left[0] < left[1]


def test_stopped_and_resumed_is_the_same() -> None:
    for control in (CONTROLS["early_stopping"], CONTROLS["dropout"]):
        whole = controlled(control, every=2, looks=10)
        batches = stream(whole)
        for _ in range(5):
            whole.learn(next(batches))
        state, place = copy_state(whole.state_dict()), copy_state(batches.state_dict())
        again = controlled(control, every=2, looks=10)
        later = stream(again)
        again.load_state_dict(state)
        later.load_state_dict(place)
        for _ in range(30):  # more looks than are remembered, too
            whole.learn(next(batches))
            again.learn(next(later))
        assert difference(again.state_dict(), whole.state_dict()) is None


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_exactly_the_share_of_labels_is_wrong(share: float) -> None:
    labels = torch.arange(80) % 10
    wrong = mistaken(labels, share, classes=10, generator=torch.Generator().manual_seed(0))
    assert int((wrong != labels).sum()) == round(80 * share)
    assert int(wrong.min()) >= 0
    assert int(wrong.max()) < 10


@pytest.mark.usefixtures("unchecked")
def test_misshaped_batches_are_refused_by_name() -> None:
    learner = controlled(CONTROLS["l2"])
    inputs, labels = next(stream(learner))
    for batch, message in (
        (Labelled(inputs[:0], labels[:0]), "the batch is empty"),
        (Labelled(inputs, labels[:3]), "must come in equal number"),
        (Labelled(inputs[:, :2], labels), r"images are \(10, 2, 1, 4, 4\); they must be \(B, 4, C, H, W\), CHW=16"),
        (Labelled(inputs.flatten(2), labels), r"images are \(10, 4, 16\)"),
        (Labelled(inputs, labels[:, :2]), r"labels are \(10, 2\), but must be \(10, 4\)"),
    ):
        with pytest.raises(InvalidValue, match=message):
            learner.learn(batch)


def test_unusable_numbers_are_refused() -> None:
    chance = torch.Generator()
    with pytest.raises(InvalidValue, match="3 networks cannot be shared out among 4 strengths"):
        Controlled(members(3), control=CONTROLS["l2"], sets=sets(), generator=chance)
    with pytest.raises(InvalidValue, match="every is 0 and looks is 1"):
        controlled(CONTROLS["l2"], every=0)
    with pytest.raises(InvalidValue, match=r"the share of mistakes is 1\.5"):
        mistaken(torch.zeros(3, dtype=torch.long), 1.5, classes=2, generator=chance)
    with pytest.raises(InvalidValue, match="classes is 1; a mistake takes at least 2"):
        mistaken(torch.zeros(3, dtype=torch.long), 0.5, classes=1, generator=chance)


def test_gains_and_gaps_are_taken_against_no_control() -> None:
    outcomes = {
        "none": Outcome(0.0, 1.0, 0.6, 0.75, 0.0),
        "l2": Outcome(0.1, 0.875, 0.7, 0.8125, 0.0),
        "more_data": Outcome(0.0, 1.0, 0.8, 0.875, 0.0),
    }
    measures = measures_of(outcomes)
    assert measures["best_gain"] == 0.125
    assert measures["best_gain_same_data"] == 0.0625
    assert measures["gap_l2"] == 0.0625
    assert measures["gap_margin"] == 0.125


def test_one_command_makes_the_table_and_the_figure(tmp_path: Path) -> None:
    console = Console(file=StringIO(), width=300)
    options = dict(controls="none dropout", steps=20, networks=2)
    done = train(find("overfitting"), options, Settings(device="cpu"), out=tmp_path, console=console)
    rows = list(csv.reader((done.folder / "table.csv").read_text().splitlines()))
    assert rows[0] == ["control", "strength", "train", "validation", "test", "spread", "gap", "gain"]
    assert [row[0] for row in rows[1:]] == ["none", "dropout"]
    assert float(rows[2][4]) == pytest.approx(done.result["measures"]["test_accuracy_dropout"], abs=1e-4)
    assert isinstance(console.file, StringIO)
    assert "dropout" in console.file.getvalue()
    assert rows[2][4] in console.file.getvalue()
    assert (done.folder / "pictures" / "controls.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(controls="none droput"), "there is no control 'droput'; did you mean 'dropout'"),
        (dict(controls="l1 l2"), "gains are over none"),
        (dict(controls="none"), "name none and at least one other"),
        (dict(controls="none l1 l1"), "names l1 more than once"),
        (dict(networks=0), "networks is 0"),
        (dict(more=0), "more is 0"),
        (dict(examples=5000), "5800 images are asked for, but there are 1438"),
        (dict(mistakes=-0.1), r"the share of mistakes is -0\.1"),
        (dict(data="digit"), "did you mean 'digits'"),
    ],
)
def test_the_recipe_refuses_impossible_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(NeurariumError, match=message):
        train(find("overfitting"), options, Settings(device="cpu"), out=tmp_path)
