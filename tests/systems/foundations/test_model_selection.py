from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, loguniform, uniform
from sklearn.model_selection import StratifiedKFold
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from neurarium.data.batches import Batches, Held, epoch_order
from neurarium.data.folds import k_fold, stratified_k_fold
from neurarium.errors import DataError, InvalidValue
from neurarium.learners.population import MemberBatches
from neurarium.parts.bundles import Labelled
from neurarium.parts.distributions import Choice, Distribution, Integer, LogUniform, Uniform
from neurarium.running.catalogue import find
from neurarium.running.seeds import generator
from neurarium.running.settings import Settings
from neurarium.running.states import difference
from neurarium.running.trace import read_trace
from neurarium.running.train import open_run, train
from neurarium.systems.foundations.model_selection import (
    Alone,
    Outcome,
    Trial,
    alike,
    draw_trials,
    judge,
    populate,
    ranked,
    search,
    seeds_of,
)

SPACE: dict[str, Distribution] = {
    "lr": LogUniform(1e-2, 0.5),
    "momentum": Uniform(0.0, 0.9),
    "decay": LogUniform(1e-5, 1e-2),
    "gain": LogUniform(0.5, 2.0),
    "layers": Choice((2,)),
    "hidden": Integer(12, 12),
}
FOLDS, STEPS, SIZE = 3, 40, 8


def chance(*names: str | int) -> torch.Generator:
    return generator(0, *names)


def examples() -> Labelled:
    inputs = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    return Labelled(inputs, inputs[:, :3].argmax(1))


def test_population_is_one_by_one() -> None:
    data, trials = examples(), draw_trials(SPACE, count=4, chance=chance)
    folds = stratified_k_fold(data.labels, folds=FOLDS, seed=0, class_names="abc")
    learner = populate(trials, folds=FOLDS, features=6, classes=3)
    alone = [learner.model.alone(member) for member in range(len(trials) * FOLDS)]
    rows, seeds = [fold.train for fold in folds] * len(trials), seeds_of(trials, FOLDS)
    stream = MemberBatches(data, rows=rows, seeds=seeds, size=SIZE, order=epoch_order)
    for _ in range(STEPS):
        learner.learn(next(stream))
    outcomes = judge(learner, trials, data, [fold.held_out for fold in folds])
    for member, net in enumerate(alone):
        (trial, scores, _), fold = outcomes[member // FOLDS], folds[member % FOLDS]
        lr, momentum, decay = (trial.number_of(name) for name in ("lr", "momentum", "decay"))
        optimizer = SGD(net.parameters(), lr=lr, momentum=momentum, weight_decay=decay)
        own = Batches(Held(Labelled(*(field[fold.train] for field in data))), SIZE, seed=seeds[member])
        for _ in range(STEPS):
            inputs, labels = next(own)
            optimizer.zero_grad()
            cross_entropy(net(inputs), labels).backward()
            optimizer.step()
        for plain, ours in zip(net.parameters(), learner.model.alone(member).parameters(), strict=True):
            torch.testing.assert_close(plain, ours, atol=1e-5, rtol=1e-5)
        right = net(data.inputs[fold.held_out]).argmax(1) == data.labels[fold.held_out]
        assert scores[member % FOLDS] == pytest.approx(float(right.float().mean()))


@given(
    counts=st.lists(st.integers(4, 15), min_size=1, max_size=5),
    folds=st.integers(2, 4),
    repeats=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_folds_are_disjoint_and_stratified(counts: list[int], folds: int, repeats: int, seed: int) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    names = [str(label) for label in range(len(counts))]
    by_class = stratified_k_fold(labels, folds=folds, seed=seed, class_names=names, repeats=repeats)
    at_random = k_fold(len(labels), folds=folds, seed=seed, repeats=repeats)
    for dealt in (by_class, at_random):
        assert len(dealt) == folds * repeats
        for start in range(0, len(dealt), folds):
            parts = dealt[start : start + folds]
            assert torch.cat([fold.held_out for fold in parts]).sort().values.tolist() == list(range(len(labels)))
            assert all(sorted([*train.tolist(), *out.tolist()]) == list(range(len(labels))) for train, out in parts)
            sizes = [len(fold.held_out) for fold in parts]
            assert max(sizes) - min(sizes) <= 1
    shares = torch.stack([torch.bincount(labels[fold.held_out], minlength=len(counts)) for fold in by_class])
    assert int((shares.max(0).values - shares.min(0).values).max()) <= 1
    peer = StratifiedKFold(folds).split(labels.numpy(), labels.numpy())
    theirs = torch.stack([torch.bincount(labels[torch.from_numpy(out)], minlength=len(counts)) for _, out in peer])
    assert torch.equal(shares[:folds].sort(0).values, theirs.sort(0).values)


def test_repeats_deal_anew() -> None:
    first, _, second, _ = k_fold(20, folds=2, seed=0, repeats=2)
    assert first.held_out.tolist() != second.held_out.tolist()


@pytest.mark.usefixtures("unchecked")
def test_folds_that_cannot_be_are_refused() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    with pytest.raises(InvalidValue, match="folds is 7 for 6 examples"):
        k_fold(6, folds=7, seed=0)
    with pytest.raises(InvalidValue, match="folds is 1"):
        k_fold(6, folds=1, seed=0)
    with pytest.raises(InvalidValue, match="repeats is 0"):
        k_fold(6, folds=2, seed=0, repeats=0)
    with pytest.raises(DataError, match="class 'rare' has 2 examples, so it would be missing from one of 3 folds"):
        stratified_k_fold(labels, folds=3, seed=0, class_names=["often", "rare"])


def test_draws_follow_their_distributions() -> None:
    source = torch.Generator().manual_seed(0)
    logarithmic, even, whole = LogUniform(1e-3, 10.0), Uniform(-1.0, 3.0), Integer(2, 4)
    assert kstest([logarithmic.draw(source) for _ in range(1000)], loguniform(1e-3, 10).cdf).pvalue > 0.01
    assert kstest([even.draw(source) for _ in range(1000)], uniform(-1, 4).cdf).pvalue > 0.01
    assert {whole.draw(source) for _ in range(100)} == {2, 3, 4}
    assert {Choice(("a", "b")).draw(source) for _ in range(50)} == {"a", "b"}


def test_a_trial_follows_from_seed_and_number_alone() -> None:
    few, many = (draw_trials(SPACE, count=count, chance=chance) for count in (2, 5))
    assert many[:2] == few
    assert many[2].settings["lr"] != many[3].settings["lr"]
    wider = draw_trials({"more": Uniform(0.0, 1.0), **SPACE}, count=2, chance=chance)
    assert [trial.settings["lr"] for trial in wider] == [trial.settings["lr"] for trial in few]


def test_a_trial_that_diverges_is_recorded_and_the_others_go_on() -> None:
    data, trials = examples(), draw_trials(SPACE, count=3, chance=chance)
    trials[1] = trials[1]._replace(settings={**trials[1].settings, "lr": 1e30})
    folds = k_fold(len(data.labels), folds=FOLDS, seed=0)
    learner = populate(trials, folds=FOLDS, features=6, classes=3)
    rows, seeds = [fold.train for fold in folds] * len(trials), seeds_of(trials, FOLDS)
    stream = MemberBatches(data, rows=rows, seeds=seeds, size=SIZE, order=epoch_order)
    for _ in range(STEPS):
        learner.learn(next(stream))
    outcomes = judge(learner, trials, data, [fold.held_out for fold in folds])
    assert [bool(outcome.failure) for outcome in outcomes] == [False, True, False]
    assert outcomes[1].failure.startswith("diverged at step")
    assert ranked(outcomes)[-1].trial.number == 1


def test_what_crashes_is_recorded_and_what_ends_the_search_ends_it() -> None:
    trials = [Trial(number, {"hidden": number % 2}, seed=0) for number in range(4)]

    def crash(some: Sequence[Trial]) -> list[Outcome]:
        if some[0].number == 1:
            raise MemoryError("no room")
        return [Outcome(trial, (0.5,)) for trial in some]

    outcomes = search(alike(trials, by=["hidden"], at_most=1), crash)
    assert [outcome.failure for outcome in outcomes] == ["", "MemoryError: no room", "", ""]
    with pytest.raises(MemoryError):
        search([trials], lambda some: crash(some[1:]), ends=(MemoryError,))
    with pytest.raises(InvalidValue, match=r"all 1 trials failed \(MemoryError: no room\)"):
        ranked(search([trials[1:2]], crash))


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidValue, match="needs 0 < low < high"):
        LogUniform(0.0, 1.0)
    with pytest.raises(InvalidValue, match="from 2 to 1"):
        Uniform(2.0, 1.0)
    with pytest.raises(InvalidValue, match="whole numbers go from 3 to 2"):
        Integer(3, 2)
    with pytest.raises(InvalidValue, match="nothing to choose from"):
        Choice(())
    with pytest.raises(InvalidValue, match="trials is 0"):
        draw_trials(SPACE, count=0, chance=chance)
    with pytest.raises(InvalidValue, match="space of settings is empty"):
        draw_trials({}, count=1, chance=chance)
    with pytest.raises(InvalidValue, match="trial 0 has hidden None"):
        populate([Trial(0, {"lr": 0.1}, seed=0)], folds=2, features=2, classes=2)
    pair = [Trial(number, {"hidden": 4 + number, "layers": 1}, seed=0) for number in range(2)]
    with pytest.raises(InvalidValue, match="2 architectures"):
        populate(pair, folds=2, features=2, classes=2)
    with pytest.raises(InvalidValue, match=r"inputs are \(3,\), but this network was built for \(2,\)"):
        Alone(torch.nn.Linear(2, 2), shape=(2,))(torch.zeros(1, 3))


@pytest.mark.slow
def test_several_processes_come_to_the_same(tmp_path: Path) -> None:
    options = dict(trials=3, folds=2, steps=20, speed_steps=1)
    settings = Settings(device="cpu", threads=1)
    runs = [
        train(find("model_selection"), {**options, "processes": processes}, settings, out=tmp_path)
        for processes in (1, 2)
    ]
    alone, shared_out = ((done.folder / "trials.csv").read_text() for done in runs)
    assert alone == shared_out
    assert len(alone.splitlines()) == 4
    one, two = (
        {(line.fit, line.step, *line.measures.items()) for line in read_trace(done.folder / "trace.jsonl")}
        for done in runs
    )
    assert one == two
    first, second = (open_run(done.folder).fits["winner"].learner.state_dict() for done in runs)
    assert difference(first, second) is None
