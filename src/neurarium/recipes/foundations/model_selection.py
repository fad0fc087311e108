"""Model selection: random settings of a dense network, judged by cross-validation; the best one is tested."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.optim import SGD

from neurarium.data.batches import Held, epoch_order
from neurarium.data.folds import Fold, stratified_k_fold
from neurarium.data.images import Images
from neurarium.data.labelled import load_labelled
from neurarium.data.tables import Table
from neurarium.errors import RunError, require
from neurarium.learners.classify import Classify
from neurarium.learners.population import MemberBatches, Members, Population
from neurarium.parts.bundles import Labelled
from neurarium.parts.distributions import Choice, Distribution, Integer, LogUniform, Uniform
from neurarium.parts.processes import side_by_side
from neurarium.parts.schedules import cosine
from neurarium.running import ranks
from neurarium.running.files import disk_errors_told, write_whole
from neurarium.running.loop import Interrupted, Stop
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Reached, Result, Run
from neurarium.running.settings import Settings
from neurarium.running.trace import Trace
from neurarium.systems.foundations.model_selection import (
    Alone,
    Outcome,
    Trial,
    alike,
    as_csv,
    draw_trials,
    judge,
    populate,
    ranked,
    search,
    seeds_of,
)

SPACE: dict[str, Distribution] = {
    "lr": LogUniform(1e-3, 10.0),
    "momentum": Uniform(0.0, 0.99),
    "decay": LogUniform(1e-6, 1e-1),
    "gain": LogUniform(0.1, 10.0),
    "layers": Integer(1, 2),
    "hidden": Choice((32, 64, 128)),
}
"""What is searched: from rates at which nothing is learned to such at which networks break."""

TABLE = "trials.csv"  # in the run's folder
POINTS = 60  # losses a network that are kept for the picture
TOLD, DRAWN = 10, 5  # trials in the printed table, and learning curves in colour
MLPS, SIZES, ROUNDS = 32, (64, 32, 10), 3  # networks whose speed is measured, their layers, and how often


@dataclass(frozen=True)
class Task:
    """All that the search is about; every process prepares the same."""

    found: Images | Table[Labelled]
    data: Labelled
    folds: list[Fold]
    groups: list[list[Trial]]
    steps: int
    batch: int


@recipe(
    expects=[Expect("test_accuracy", at_least=0.97), Expect("population_speedup", at_least=5.0, timing=True)],
    smoke=dict(trials=3, folds=2, steps=60, speed_steps=3),
    control=dict(shuffle_labels=True),
)
def model_selection(
    run: Run,
    *,
    data: str = "digits",
    target: str | None = None,
    trials: int = 48,
    folds: int = 5,
    repeats: int = 1,
    steps: int = 1000,
    batch: int = 32,
    together: int = 16,
    processes: int = 1,
    speed_steps: int = 200,
    shuffle_labels: bool = False,
) -> Result:
    """Model selection tries settings at random, and trains all the networks this takes as one program.

    Learning rate, momentum, weight decay, size of the first weights, layers and width are drawn; each trial is judged
    by a network a fold, and those of one architecture learn side by side as one population. A trial that breaks is
    noted and the others go on. The best is taught by all the training data and tested once. `trials.csv` in the run's
    folder has every trial. Look at the scatter: which of the settings matters, and which hardly?

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR, folder:DIR, breast-cancer, iris, wine or csv:FILE (a
            table is standardised by all its training rows).
        target: the column that names the class, for csv:FILE.
        trials: settings to try.
        folds: parts of the training data, each held out once from a network of every trial.
        repeats: how often the data is dealt out into folds.
        steps: updates of each network; the winner makes more, so that it sees its data as often.
        batch: examples a network and update.
        together: trials of one architecture that are trained together, at most.
        processes: on this machine, among which the populations are dealt; what comes out is the same. With several,
            give --threads 1.
        speed_steps: updates over which a population is timed against networks one by one.
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    for name, value in dict(processes=processes, steps=steps, batch=batch, speed_steps=speed_steps).items():
        require(value >= 1, f"{name} is {value}, but must be at least 1")
    ready = partial(
        prepare,
        data=data,
        target=target,
        trials=trials,
        folds=folds,
        repeats=repeats,
        steps=steps,
        batch=batch,
        together=together,
        shuffle_labels=shuffle_labels,
    )
    task = ready(run)
    run.note(data=task.found.name)
    if processes > 1 and run.opened is None and ranks.count() == 1:
        train_ahead(run, ready, processes)
    curves: dict[int, Tensor] = {}
    order = ranked(search(task.groups, partial(evaluate, run, task, curves), ends=(Interrupted, Reached, RunError)))
    tell(run, order)
    best = order[0]
    winner, losses = teach_winner(run, task, best.trial, steps=round(steps * folds / (folds - 1)))
    run.picture("trials", draw_tried(order))
    run.picture("learning", draw_learning(order, curves, losses))
    return run.result(
        **winner.evaluate(task.found.test.chunks(1000), prefix="test_"),
        validation_accuracy=best.mean,
        failed_trials=sum(bool(outcome.failure) for outcome in order),
        population_speedup=population_speedup(run, steps=speed_steps),
    )


def prepare(
    run: Run,
    *,
    data: str,
    target: str | None,
    trials: int,
    folds: int,
    repeats: int,
    steps: int,
    batch: int,
    together: int,
    shuffle_labels: bool,
) -> Task:
    """The data, the folds, and the trials in groups that can be stacked."""
    found = load_labelled(data, target=target, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    inputs, labels = found.train.all()
    dealt = stratified_k_fold(labels.cpu(), folds=folds, seed=run.seed, class_names=found.class_names, repeats=repeats)
    placed = [Fold(*(part.to(run.device) for part in fold)) for fold in dealt]
    drawn = draw_trials(SPACE, count=trials, chance=run.generator)
    groups = alike(drawn, by=("layers", "hidden"), at_most=together)
    return Task(found, Labelled(inputs.flatten(1), labels), placed, groups, steps, batch)


def evaluate(run: Run, task: Task, curves: dict[int, Tensor], trials: Sequence[Trial]) -> list[Outcome]:
    """Teach a network for every trial and fold, and judge each on its fold; the mean losses go to `curves`."""
    learner = populate(
        trials,
        folds=len(task.folds),
        features=task.data.inputs.shape[1],
        classes=task.found.classes,
        schedule=cosine,
        remember=POINTS,
        every=max(1, task.steps // POINTS),
    )
    stream = MemberBatches(
        task.data,
        rows=[fold.train.cpu() for fold in task.folds] * len(trials),
        seeds=seeds_of(trials, len(task.folds)),
        size=task.batch,
        order=epoch_order,
    )

    def outcomes() -> list[Outcome]:
        return judge(learner, trials, task.data, [fold.held_out for fold in task.folds])

    def look() -> dict[str, float]:
        scores = [outcome.mean for outcome in outcomes() if not outcome.failure] or [0.0]
        return {"best_accuracy": max(scores), "median_accuracy": median(scores)}

    name = f"search-{trials[0].number}"
    run.fit(learner, stream, steps=task.steps, name=name, evaluate=look)
    kept = learner.history[: -(-learner.step // learner.every)].reshape(-1, len(trials), len(task.folds)).mean(2)
    curves.update({trial.number: curve.cpu() for trial, curve in zip(trials, kept.T, strict=True)})
    return outcomes()


def teach_winner(run: Run, task: Task, trial: Trial, *, steps: int) -> tuple[Classify[Alone], list[float]]:
    """A plain network with the winner's settings and all training data; its losses in the trace come with it."""
    member = populate([trial], folds=1, features=task.data.inputs.shape[1], classes=task.found.classes).model
    learner = Classify(
        Alone(member.alone(0), shape=tuple(task.found.train.all().inputs.shape[1:])),
        optimizer=partial(SGD, momentum=trial.number_of("momentum"), weight_decay=trial.number_of("decay")),
        lr=trial.number_of("lr"),
        schedule=cosine,
    )
    run.fit(learner, task.found.train.batches(task.batch, seed=trial.seed), steps=steps, name="winner")
    return learner, [line.measures["loss"] for line in run.trace.lines() if line.fit == "winner"]


def train_ahead(run: Run, ready: Callable[[Run], Task], processes: int) -> None:
    """Let other processes train the populations to their last checkpoint, where this one then finds them.

    Raises:
        Interrupted: the user stopped the run; each process saved first.
    """
    settings = replace(run.settings, threads=torch.get_num_threads())
    work = partial(train_share, run.folder, settings, ready, processes)
    with Stop() as stop:
        side_by_side(work, processes=processes, stop_asked=lambda: stop.asked)
    if stop.asked:
        raise Interrupted(f"stopped, all of it saved; go on with: neurarium resume {run.folder}")
    there = {(line.fit, line.step) for line in run.trace.lines()}
    for share in range(processes):
        for line in Trace(trace_of(run.folder, share)).lines():
            if (line.fit, line.step) not in there:
                run.trace.write(*line)
    run.trace.close()


def train_share(folder: Path, settings: Settings, ready: Callable[[Run], Task], processes: int, share: int) -> None:
    """Train every population that is this process's, with a trace of its own."""
    run = Run(folder, settings)
    run.trace = Trace(trace_of(folder, share))
    run.trace.path.parent.mkdir(exist_ok=True)
    task = ready(run)
    with suppress(Interrupted):
        search(task.groups[share::processes], partial(evaluate, run, task, {}), ends=(Interrupted, RunError))


def trace_of(folder: Path, share: int) -> Path:
    """Where the process of a share writes its trace until all are done."""
    return folder / "processes" / f"{share}.jsonl"


def tell(run: Run, order: Sequence[Outcome]) -> None:
    """Print the best trials, and write all of them to `trials.csv`."""
    names = list(order[0].trial.settings)
    run.say("  ".join(f"{word:>9}" for word in ("trial", *names, "accuracy", "deviation")))
    for (number, settings, _), mean, spread in [(each.trial, each.mean, each.deviation) for each in order[:TOLD]]:
        run.say("  ".join(f"{value:>9.4g}" for value in (number, *settings.values(), mean, spread)))
    failed = [f"{outcome.trial.number:>9}  failed: {outcome.failure}" for outcome in order if outcome.failure]
    run.say("\n".join([*failed[:TOLD], f"{len(order)} trials, {len(failed)} of them failed; all are in {TABLE}"]))
    if run.writes:
        with disk_errors_told(run.folder):
            write_whole(run.folder / TABLE, as_csv(order).encode())


def population_speedup(run: Run, *, steps: int) -> float:
    """How many times faster 32 small networks learn as a population than one by one, the best round of each."""
    data = Labelled(
        torch.rand(1024, SIZES[0], generator=run.generator("speed")).to(run.device),
        torch.randint(SIZES[-1], (1024,), generator=run.generator("speed", "labels")).to(run.device),
    )
    rounds = [(timed(one_by_one, data, steps), timed(stacked, data, steps)) for _ in range(ROUNDS)]
    alone, joint = (min(column) for column in zip(*rounds, strict=True))
    return alone / joint


def timed(teach: Callable[[Members, Labelled, int], None], data: Labelled, steps: int) -> float:
    """Seconds that teaching takes, its beginning left out."""
    members = Members(sizes=SIZES, seeds=range(MLPS), gains=torch.ones(MLPS)).to(data.inputs.device)
    started = perf_counter()
    teach(members, data, steps)
    float(members.weights[0].detach().sum())  # waits for the device
    return perf_counter() - started


def stacked(members: Members, data: Labelled, steps: int) -> None:
    """All networks as one population."""
    each = torch.ones(MLPS)
    learner = Population(members, lr=0.1 * each, momentum=0.9 * each, decay=1e-4 * each)
    rows = [torch.arange(len(data.labels))] * MLPS
    stream = MemberBatches(data, rows=rows, seeds=range(MLPS), size=32, order=epoch_order)
    for _ in range(steps):
        learner.learn(next(stream))


def one_by_one(members: Members, data: Labelled, steps: int) -> None:
    """The same networks with the same batches, one after the other, by PyTorch's fastest descent."""
    descent = partial(SGD, momentum=0.9, weight_decay=1e-4, fused=True)
    for member in range(MLPS):
        learner = Classify(members.alone(member), optimizer=descent, lr=0.1)
        stream = Held(data).batches(32, seed=member)
        for _ in range(steps):
            learner.learn(next(stream))


def draw_tried(order: Sequence[Outcome]) -> Figure:
    """Every trial's accuracy over each of its settings; those that failed are crosses at the bottom."""
    figure, axes = panels(2, -(-len(SPACE) // 2), width=3.6, height=3.0)
    fine = [outcome for outcome in order if not outcome.failure]
    means, spreads = [outcome.mean for outcome in fine], [outcome.deviation for outcome in fine]
    lost = [outcome for outcome in order if outcome.failure]
    for ax, (name, source) in zip(axes, SPACE.items(), strict=False):
        places = [outcome.trial.number_of(name) for outcome in fine]
        ax.errorbar(places, means, spreads, fmt="o", color=COLOURS[0], markersize=4, linewidth=0.8, alpha=0.6)
        ax.plot(places[0], means[0], "*", color=COLOURS[3], markersize=15, markeredgecolor="black", zorder=5)
        ax.plot([outcome.trial.number_of(name) for outcome in lost], [0.0] * len(lost), "x", color=COLOURS[1])
        ax.set(title=name, ylim=(-0.04, 1.04))
        if isinstance(source, LogUniform | Choice):
            ax.set_xscale("log")
        if isinstance(source, Choice | Integer):
            ticks = source.options if isinstance(source, Choice) else range(source.low, source.high + 1)
            ax.set_xticks(list(ticks), [str(tick) for tick in ticks])
            ax.minorticks_off()
            ax.margins(x=0.2)
    for ax in axes[:: -(-len(SPACE) // 2)]:
        ax.set_ylabel("validation accuracy")
    figure.suptitle("Each point a trial, its bar the folds' deviation; ★ the winner, × failed", fontsize=10)
    return figure


def draw_learning(order: Sequence[Outcome], curves: dict[int, Tensor], winner: Sequence[float]) -> Figure:
    """Training loss of every trial in grey and of the best in colour, and of the winner on all training data."""
    figure, (ax,) = panels(width=6.4, height=4.0)
    ranks_of = {outcome.trial.number: place for place, outcome in enumerate(order) if not outcome.failure}
    for number, place in reversed(ranks_of.items()):
        curve = curves[number]
        done = torch.linspace(0, 1, len(curve))
        best = place < DRAWN
        label = f"trial {number}: {order[place].mean:.3f}" if best else None
        colour, width = (COLOURS[place % len(COLOURS)], 1.6) if best else ("0.85", 0.7)
        ax.semilogy(done, curve, color=colour, linewidth=width, label=label, zorder=3 if best else 1)
    ax.semilogy(torch.linspace(0, 1, len(winner)), winner, "--", color="black", linewidth=1.0, label="winner, all data")
    ax.set(xlabel="share of the steps", ylabel="training loss, mean of the folds", ylim=(1e-3, 10))
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], fontsize=8, title="validation accuracy", title_fontsize=8)
    return figure
