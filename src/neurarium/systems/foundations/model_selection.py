r"""Model selection: settings drawn at random, judged by cross-validation, many networks trained as one program.

What no gradient chooses (learning rate, width, weight decay) is chosen by trying. Random settings beat a grid, for of
many settings few matter, and on a grid most trials repeat the same values of those few. Each setting is judged on
examples it has not learned from, every example once: k networks a setting. All these networks of one architecture
learn side by side, stacked into a single population. The winner is taught anew by all examples, and only then tested.

Source: CSE 151B, Convolutional Networks (choosing hyper-parameters: random search and cross-validation); CS 479
§10.2.1 (validation); Bergstra & Bengio 2012, Random Search for Hyper-Parameter Optimization, §2 (independent draws,
log-uniform ranges); Hastie, Tibshirani & Friedman 2009, The Elements of Statistical Learning, eq. 7.48.
Differs: a trial's score is the mean over folds of the share of right answers, where eq. 7.48 is a mean over examples.
Shapes: N examples, F features, M members (trials × folds, the folds of a trial together), K folds.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from math import nan
from statistics import fmean, pstdev
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.learners.population import ALIVE, Members, Population
from neurarium.parts.bundles import Labelled
from neurarium.parts.distributions import Distribution, Integer, Setting
from neurarium.parts.schedules import Schedule, constant

SEEDS = 2**31  # seeds of first weights and orders are drawn below this


@runtime_checkable
class Chance(Protocol):
    """A generator for a purpose, the same for the same names: `Run.generator`."""

    def __call__(self, *names: str | int) -> torch.Generator: ...


class Trial(NamedTuple):
    """Settings to be judged, by number; the seed decides first weights and orders of its networks."""

    number: int
    settings: Mapping[str, Setting]
    seed: int

    def number_of(self, name: str) -> float:
        """A setting as a number.

        Raises:
            InvalidValue: the trial has no such setting, or it is a word.
        """
        value = self.settings.get(name)
        if value is None or isinstance(value, str):
            raise InvalidValue(f"trial {self.number} has {name} {value!r}, but needs a number; add it to the space")
        return value


class Outcome(NamedTuple):
    """What came of a trial: the score of each fold, or why there is none."""

    trial: Trial
    scores: tuple[float, ...]
    failure: str = ""

    @property
    def mean(self) -> float:
        """The score that trials are compared by; NaN for a trial that failed."""
        # CV(α) = (1/K) Σ_k score_k(α)
        return nan if self.failure else fmean(self.scores)

    @property
    def deviation(self) -> float:
        """How far the folds' scores lie from it; NaN for a trial that failed."""
        return nan if self.failure else pstdev(self.scores)


def draw_trials(space: Mapping[str, Distribution], *, count: int, chance: Chance) -> list[Trial]:
    """Trials drawn independently; each follows from its number and the names of the settings alone.

    Args:
        space: what each setting is drawn from; one more shifts no other.
        count: how many trials; more leave the first ones as they were.
        chance: where each draw's generator comes from.

    Raises:
        InvalidValue: there are no trials, or there is nothing to draw.

    >>> def chance(*names):
    ...     return torch.Generator().manual_seed(len(names))
    >>> [trial.settings for trial in draw_trials({"layers": Integer(1, 1)}, count=2, chance=chance)]
    [{'layers': 1}, {'layers': 1}]
    """
    require(count >= 1, f"trials is {count}, but must be at least 1")
    require(len(space) >= 1, "the space of settings is empty; give at least one distribution")
    return [
        Trial(
            number,
            {name: each.draw(chance("trial", number, name)) for name, each in space.items()},
            Integer(0, SEEDS - 1).draw(chance("trial", number)),
        )
        for number in range(count)
    ]


def alike(trials: Sequence[Trial], *, by: Sequence[str], at_most: int) -> list[list[Trial]]:
    """Trials in groups that share some settings, and so can be stacked.

    Args:
        trials: in any order; each group keeps it.
        by: the settings that must be equal within a group.
        at_most: how many trials a group has.

    Raises:
        InvalidValue: `at_most` is below 1.

    >>> trials = [Trial(number, {"hidden": hidden}, seed=0) for number, hidden in enumerate((32, 64, 32, 32))]
    >>> [[trial.number for trial in group] for group in alike(trials, by=["hidden"], at_most=2)]
    [[0, 2], [3], [1]]
    """
    require(at_most >= 1, f"at most {at_most} trials are to be trained together, but it must be at least 1")
    kinds: dict[tuple[Setting, ...], list[Trial]] = {}
    for trial in trials:
        kinds.setdefault(tuple(trial.settings[name] for name in by), []).append(trial)
    return [kind[start : start + at_most] for kind in kinds.values() for start in range(0, len(kind), at_most)]


def search(
    groups: Sequence[Sequence[Trial]],
    evaluate: Callable[[Sequence[Trial]], Sequence[Outcome]],
    *,
    ends: tuple[type[Exception], ...] = (),
) -> list[Outcome]:
    """Evaluate group after group; what crashes is recorded as failed with its reason, and the search goes on.

    Args:
        groups: trials that are evaluated together, and so fail together; a group may be a single trial.
        evaluate: gives an outcome for each.
        ends: exceptions that do end the search (the user's wish to stop).

    Returns:
        The outcomes in the order of their numbers.

    >>> def evaluate(trials):
    ...     return [Outcome(trial, (1 / trial.number,)) for trial in trials]
    >>> outcomes = search([[Trial(number, {}, seed=0)] for number in (0, 1)], evaluate)
    >>> [outcome.failure or outcome.mean for outcome in outcomes]
    ['ZeroDivisionError: division by zero', 1.0]
    """
    outcomes: list[Outcome] = []
    for trials in groups:
        try:
            outcomes += evaluate(trials)
        except ends:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            outcomes += [Outcome(trial, (), reason) for trial in trials]
    return sorted(outcomes, key=lambda outcome: outcome.trial.number)


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The best first, and those that failed last; of equal trials the earlier one first.

    Raises:
        InvalidValue: every trial failed, so that there is no winner; the first reason is told.

    >>> trials = [Trial(number, {}, seed=0) for number in range(3)]
    >>> scores = zip(trials, [(0.5,), (), (0.9,)], ["", "diverged", ""])
    >>> [outcome.trial.number for outcome in ranked([Outcome(*each) for each in scores])]
    [2, 0, 1]
    """
    fine = [outcome for outcome in outcomes if not outcome.failure]
    if not fine:
        reason = outcomes[0].failure if outcomes else "there are none"
        raise InvalidValue(f"all {len(outcomes)} trials failed ({reason}); choose tamer ranges of settings")
    return [*sorted(fine, key=lambda each: -each.mean), *(outcome for outcome in outcomes if outcome.failure)]


def populate(
    trials: Sequence[Trial],
    *,
    folds: int,
    features: int,
    classes: int,
    schedule: Schedule = constant,
    remember: int = 1,
    every: int = 1,
) -> Population:
    """A population with a network for every trial and fold.

    Args:
        trials: of one architecture, with settings `hidden` (units a layer), `layers` (of hidden units), `lr`,
            `momentum`, `decay` (of weights) and `gain` (of the first weights).
        folds: networks a trial.
        features: inputs of a network.
        classes: outputs of a network.
        schedule: factor of all learning rates by progress.
        remember: losses a network that are kept for pictures.
        every: steps between two of them.

    Raises:
        InvalidValue: a setting is missing, or the trials differ in architecture.
    """
    shapes = {(int(trial.number_of("hidden")), int(trial.number_of("layers"))) for trial in trials}
    require(len(shapes) == 1, f"the trials have {len(shapes)} architectures, but one population has one; group them")
    ((hidden, layers),) = shapes

    def each(name: str) -> Float[Tensor, " M"]:
        return torch.tensor([trial.number_of(name) for trial in trials]).repeat_interleave(folds)

    members = Members(sizes=(features, *[hidden] * layers, classes), seeds=seeds_of(trials, folds), gains=each("gain"))
    return Population(
        members,
        lr=each("lr"),
        momentum=each("momentum"),
        decay=each("decay"),
        schedule=schedule,
        remember=remember,
        every=every,
    )


def seeds_of(trials: Sequence[Trial], folds: int) -> list[int]:
    """The seed of every member, for its first weights and its order.

    >>> seeds_of([Trial(0, {}, seed=10), Trial(1, {}, seed=40)], folds=2)
    [10, 11, 40, 41]
    """
    return [trial.seed + fold for trial in trials for fold in range(folds)]


def judge(
    learner: Population, trials: Sequence[Trial], data: Labelled, held_out: Sequence[Int64[Tensor, " _"]]
) -> list[Outcome]:
    """Each trial's accuracy on the examples that each of its networks has not learned from.

    Args:
        learner: the population of these trials.
        trials: in the order in which they were stacked.
        data: all examples.
        held_out: the places of each fold's.

    Returns:
        An outcome for each trial; one of whose networks diverged failed.
    """
    counted = torch.zeros(len(held_out), len(data.labels), dtype=torch.bool, device=data.labels.device)
    for row, places in zip(counted, held_out, strict=True):
        row[places] = True
    accuracies = learner.accuracies(data.inputs, data.labels, counted.repeat(len(trials), 1))
    ends = learner.died.reshape(len(trials), -1).tolist()
    outcomes = []
    for trial, scores, died in zip(trials, accuracies.reshape(len(trials), -1).tolist(), ends, strict=True):
        fallen = [f"diverged at step {step} in fold {fold}" for fold, step in enumerate(died) if step != ALIVE]
        outcomes.append(Outcome(trial, tuple(scores), fallen[0] if fallen else ""))
    return outcomes


class Alone(nn.Module):
    """A member taken out of its population, to be taught and used by itself.

    Args:
        net: from rows of numbers to logits: `Members.alone`.
        shape: of one input; what has several dimensions is laid out in a row.

    Raises:
        InvalidValue: inputs of another shape.

    >>> Alone(nn.Linear(64, 10), shape=(1, 8, 8))(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(self, net: nn.Module, *, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.net = net
        self.shape = shape

    def forward(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B classes"]:
        """Logits of the classes."""
        if inputs.shape[1:] != self.shape:
            raise InvalidValue(f"inputs are {tuple(inputs.shape[1:])}, but this network was built for {self.shape}")
        logits: Tensor = self.net(inputs.flatten(1))
        return logits


def as_csv(outcomes: Sequence[Outcome]) -> str:
    """The trials as a table: number, settings, mean and deviation, the folds' scores, and why a trial failed.

    >>> print(as_csv([Outcome(Trial(0, {"lr": 0.1}, seed=7), (0.5, 1.0))]), end="")
    trial,seed,lr,mean,deviation,fold_0,fold_1,failure
    0,7,0.1,0.75,0.25,0.5,1.0,
    """
    names = list(outcomes[0].trial.settings) if outcomes else []
    folds = max((len(outcome.scores) for outcome in outcomes), default=0)
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        ["trial", "seed", *names, "mean", "deviation", *(f"fold_{fold}" for fold in range(folds)), "failure"]
    )
    for outcome in outcomes:
        number, settings, seed = outcome.trial
        summary = ["", ""] if outcome.failure else [outcome.mean, outcome.deviation]
        scores = [*outcome.scores, *[""] * (folds - len(outcome.scores))]
        table.writerow([number, seed, *(settings[name] for name in names), *summary, *scores, outcome.failure])
    return text.getvalue()
