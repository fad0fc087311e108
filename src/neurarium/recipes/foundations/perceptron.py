"""Perceptrons on digits, on truth tables, on a plane whose margin is known, or on data of your own."""

from math import pi
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.batches import Held
from neurarium.data.images import Images
from neurarium.data.imagesets import ImageSet
from neurarium.data.labelled import load_labelled
from neurarium.errors import require
from neurarium.parts.bundles import Labelled
from neurarium.running.pictures import COLOURS, panels, sheet
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.foundations.perceptron import (
    Correct,
    Perceptron,
    Report,
    centred,
    extended,
    mistake_bound,
    wanted,
)

TABLES = {"or": (0, 1, 1, 1), "and": (0, 0, 0, 1), "xor": (0, 1, 1, 0)}  # what 00, 01, 10 and 11 give
TABLE_PASSES = 30  # over a truth table; OR and AND are learned in fewer than 10, and XOR has by then come round
POINTS, MARGIN = 80, 0.05  # of the plane: how many, and how near to its known boundary the nearest may be
PLANE_PASSES = 40  # over the plane; no more than 1200 mistakes are possible there, and some 20 are made
REMEMBERED = 200  # corrections that are kept for the film
SHOWN = 400  # points drawn at the most
MOMENT = 350  # ms, a picture of the film


class Task(NamedTuple):
    """Examples to learn from and to judge by; of the plane, the boundary that is known to separate them."""

    train: Held[Labelled] | ImageSet
    test: Held[Labelled] | ImageSet
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    features: tuple[str, ...]
    boundary: Float[Tensor, " G"] | None = None

    @property
    def flat(self) -> bool:
        """Whether the boundary is a line between two classes of points, so that it can be drawn."""
        return self.shape == (2,) and len(self.class_names) == 2


@recipe(
    expects=[Expect("test_accuracy", at_least=0.91), Expect("mistakes_over_bound", at_most=1.0)],
    smoke=dict(passes=1, frames=2),
    control=dict(shuffle_labels=True),
    exempt=dict(gradients="the perceptron rule moves the weights itself; a threshold has no slope to learn by"),
)
def perceptron(
    run: Run,
    *,
    data: str = "digits",
    target: str | None = None,
    passes: int = 30,
    batch: int = 1,
    frames: int = 30,
    shuffle_labels: bool = False,
) -> Result:
    """The perceptron learns from its mistakes alone, and its boundary moves with each of them.

    Ten units learn each to tell one digit from the others, and the largest output names the digit. Beside them a single
    unit separates points in the plane, whose margin is known: its mistakes are counted against the bound (R/γ)², and
    the film shows what each did to the boundary. Truth tables come by name: OR and AND are learned, and of XOR the run
    says why it cannot be.

    Args:
        data: digits, or, and, xor, plane, mnist, fashion-mnist, cifar10, idx:DIR, folder:DIR, breast-cancer, iris, wine
            or csv:FILE, whose other columns must be numbers.
        target: the column that names the class, for csv:FILE.
        passes: over the data (truth tables and the plane take as many more as they need).
        batch: examples an update; the bound on mistakes is for 1.
        frames: pictures in the film of the boundary, at most.
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    require(passes >= 0, f"passes is {passes}, but must be 0 or more")
    require(frames >= 1, f"frames is {frames}, but must be at least 1")
    require(run.device.type != "mps", "perceptron computes in float64, which mps has not; use --device cpu")
    task = find_task(run, data, target=target, shuffle_labels=shuffle_labels)
    fewest = TABLE_PASSES if data in TABLES else PLANE_PASSES if data == "plane" else 0
    learner, report = teach(run, task, name="fit", passes=max(passes, fewest), batch=batch)
    measures = learner.evaluate(task.test.chunks(), prefix="test_")
    measures |= learner.evaluate(task.train.chunks(), prefix="train_")
    measures |= {"mistakes": float(learner.mistakes.sum()), "separated_units": float(report.separated.double().mean())}
    measures |= {} if report.separable is None else {"separable": float(report.separable)}
    for line in told(data, task, learner, report):
        run.say(line)
    if task.flat:
        show_boundary(run, task, learner, frames)
        return run.result(**measures, **against_bound(task, learner, report))
    if len(task.shape) == 3:
        templates = learner.model.weights.detach()[:, 1:].unflatten(1, task.shape).mean(1)
        names = task.class_names if len(templates) > 1 else task.class_names[1:]
        run.picture("weights", sheet(templates, columns=5, titles=names))
    plane = plane_task(run)
    witness, seen = teach(run, plane, name="plane", passes=PLANE_PASSES, batch=1)
    show_boundary(run, plane, witness, frames)
    return run.result(**measures, **against_bound(plane, witness, seen))


def find_task(run: Run, data: str, *, target: str | None, shuffle_labels: bool) -> Task:
    """What the data string means."""
    if data in TABLES or data == "plane":
        require(target is None, f"'{data}' has its own classes; --target {target} is for csv:FILE")
        require(not shuffle_labels, f"'{data}' is a lesson, not data to be shuffled; leave shuffle_labels out")
        return plane_task(run) if data == "plane" else table_task(run, data)
    found = load_labelled(data, target=target, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    run.note(data=found.name)
    if isinstance(found, Images):
        return Task(found.train, found.test, found.shape, found.class_names, ())
    return Task(found.train, found.test, (len(found.features),), found.class_names, found.features)


def table_task(run: Run, name: str) -> Task:
    """A truth table of two inputs, all of it to learn and all of it to judge by."""
    rows = torch.cartesian_prod(torch.arange(2.0), torch.arange(2.0)).double()
    held = Held(Labelled(rows, torch.tensor(TABLES[name])), seed=run.seed).to(run.device)
    return Task(held, held, (2,), ("no", "yes"), ("one input", "the other"))


def plane_task(run: Run) -> Task:
    """Points of a square on both sides of a line, none of them within the margin."""
    chance = run.generator("plane")
    angle = 2 * pi * torch.rand((), generator=chance, dtype=torch.float64)
    boundary = torch.stack([torch.tensor(0.2, dtype=torch.float64), angle.cos(), angle.sin()])
    boundary = boundary / boundary.norm()
    points = 2 * torch.rand(4 * POINTS, 2, generator=chance, dtype=torch.float64) - 1
    net = extended(points) @ boundary
    kept = (net.abs() >= MARGIN).nonzero().flatten()[:POINTS]
    held = Held(Labelled(points[kept], (net[kept] >= 0).long()), seed=run.seed).to(run.device)
    return Task(held, held, (2,), ("one side", "the other"), ("x", "y"), boundary.to(run.device))


def teach(run: Run, task: Task, *, name: str, passes: int, batch: int) -> tuple[Correct, Report]:
    """Let units of a task learn, and report on it."""
    model = Perceptron(shape=task.shape, classes=len(task.class_names))
    learner = Correct(model, remember=1 + REMEMBERED if task.flat else 1)
    stream = task.train.batches(batch, seed=run.seed)

    def evaluate() -> dict[str, float]:
        return learner.evaluate(task.test.chunks(), prefix="test_")

    run.fit(learner, stream, steps=passes * stream.per_epoch, name=name, evaluate=evaluate)
    return learner, learner.report(task.train.chunks())


def told(data: str, task: Task, learner: Correct, report: Report) -> list[str]:
    """What the rule has found out about the task, in words."""
    units, right, never = len(report.separated), int(report.separated.sum()), report.returned & ~report.separated
    mistakes = int(learner.mistakes.sum())
    if report.separable:
        return [f"{data}: separable: true; after {mistakes} mistakes every unit is right about every training example"]
    lines = [] if units == 1 else [f"{data}: {right} of {units} units are right about every training example"]
    if bool(never.any()):
        which = "the unit" if units == 1 else ", ".join(named(task, never))
        why = "the weights came back to where they had been, mistakes between, so no boundary can be right about all"
        return [*lines, f"{data}: separable: false ({which}): {why}; the corrections go on for ever"]
    reach = float(report.margin_at_most[~report.separated].min())
    return [
        *lines,
        f"{data}: separable: not known; where a boundary is missing its margin could be {reach:.2g} at most",
    ]


def named(task: Task, units: Tensor) -> list[str]:
    """The classes of some units."""
    return [name for name, is_one in zip(task.class_names, units.tolist(), strict=True) if is_one]


def against_bound(task: Task, learner: Correct, report: Report) -> dict[str, float]:
    """The mistakes as a part of the most that were possible, by a known boundary or, if none is, the one found."""
    if not report.separable:
        return {}
    inputs, labels = task.train.all()
    rows, targets = extended(inputs), wanted(labels, units=1)[:, 0]
    known = task.boundary
    weights = centred(learner.model.weights.detach()[0], rows, targets) if known is None else known
    _, most = mistake_bound(weights, rows, targets)
    return {"mistakes_over_bound": float(learner.mistakes[0]) / most}


def show_boundary(run: Run, task: Task, learner: Correct, frames: int) -> None:
    """The boundary's way in one picture, and as a film of its corrections."""
    path = learner.path[: learner.seen, 0].cpu()
    run.picture("way", draw_way(task, path))
    picks = torch.linspace(0, len(path) - 1, min(frames, len(path))).round().long().unique()
    for place in picks.tolist():
        run.picture("boundary", draw_moment(task, path, place), step=place)
    run.film("boundary", milliseconds=MOMENT)


def draw_way(task: Task, path: Float[Tensor, "P G"]) -> Figure:
    """All places of the boundary, the later the darker."""
    figure, (ax,) = panels(width=5.2, height=4.8)
    draw_points(ax, task)
    for place, weights in enumerate(path):
        late = place / max(1, len(path) - 1)
        draw_line(ax, weights, color="black", alpha=0.08 + 0.5 * late**2, linewidth=1.0)
    draw_line(ax, path[-1], color="black", linewidth=2.4)
    ax.set_title(f"where {len(path) - 1} corrections moved the boundary", fontsize=10)
    return figure


def draw_moment(task: Task, path: Float[Tensor, "P G"], place: int) -> Figure:
    """The boundary after a correction, as it was before (dashed), and the example that asked for it."""
    figure, (ax,) = panels(width=5.2, height=4.8)
    draw_points(ax, task)
    if place:
        change = path[place] - path[place - 1]
        draw_line(ax, path[place - 1], color=COLOURS[7], linewidth=1.4, linestyle="--")
        if change[0].abs() == 1:  # one example of a batch of one: ± (1, x)
            spot = (change[1:] / change[0]).tolist()
            ax.plot(*spot, "o", markersize=16, markerfacecolor="none", markeredgecolor="black", markeredgewidth=1.8)
    draw_line(ax, path[place], color="black", linewidth=2.4)
    ax.set_title(f"correction {place}" if place else "no boundary yet", fontsize=10)
    return figure


def draw_points(ax: Axes, task: Task) -> None:
    """The train examples, a colour and a shape for each class."""
    inputs, labels = (field[:SHOWN].cpu() for field in task.train.all())
    for label, (name, mark) in enumerate(zip(task.class_names, "os", strict=True)):
        points = inputs[labels == label]
        ax.plot(*points.T.tolist(), mark, color=COLOURS[1 - label], markersize=5.5, alpha=0.8, label=name)
    low, high = inputs.amin(0), inputs.amax(0)
    edge = 0.15 * (high - low).clamp(min=1e-9)
    across, up = torch.stack([low - edge, high + edge], dim=1).tolist()
    ax.set(xlim=across, ylim=up, xlabel=task.features[0], ylabel=task.features[1])
    ax.legend(loc="upper right", fontsize=8, frameon=True)


def draw_line(ax: Axes, weights: Float[Tensor, " G"], **style: Any) -> None:
    """Where the net input is 0; nothing if the weights of both inputs are."""
    bias, across, up = weights.tolist()
    if up:
        ax.axline((0, -bias / up), slope=-across / up, **style)
    elif across:
        ax.axvline(-bias / across, **style)
