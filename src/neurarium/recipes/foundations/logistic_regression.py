"""Logistic regression on breast cancer or a table of your own: two errors side by side, and where one stalls."""

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.tables import load_table
from neurarium.errors import require
from neurarium.parts.bundles import Labelled
from neurarium.parts.penalties import strength_of
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.foundations.logistic_regression import (
    Descend,
    LogisticRegression,
    cross_entropy,
    cross_entropy_slope,
    newton,
    safe_rate,
    squared_error,
    squared_error_slope,
)

OBJECTIVES = {"cross_entropy": cross_entropy, "squared_error": squared_error}
SLOPES = {"cross_entropy": cross_entropy_slope, "squared_error": squared_error_slope}
LABELS = {"cross_entropy": "cross-entropy", "squared_error": "squared error"}
SURE = 12.0  # mean size of the net inputs at the wrong start: g(1 − g) is some millionths there
POINTS_OF_CURVE = 50  # evaluations of a fit
NAMED = 12  # features whose weights are drawn


@recipe(
    expects=[
        Expect("test_accuracy", at_least=0.95),
        Expect("coefficient_gap", at_most=1e-3),
        Expect("stall", above=0.0),
    ],
    smoke=dict(steps=150, wrong_steps=60),
    control=dict(shuffle_labels=True),
)
def logistic_regression(
    run: Run,
    *,
    data: str = "breast-cancer",
    target: str | None = None,
    steps: int = 6000,
    wrong_steps: int = 200,
    lr: float | None = None,
    c: float = 0.3,
    shuffle_labels: bool = False,
) -> Result:
    """Logistic regression names a probability, and shows why it is taught by cross-entropy.

    The same unit learns from squared error and from cross-entropy, with the same rate: once from weights 0, once from
    a start at which it is sure of the opposite. There cross-entropy pushes hardest, and squared error hardly at all,
    for its slope has the factor g(1 − g); `stall` is how much accuracy that costs. Cross-entropy ends at the weights
    that Newton's method gives, and scikit-learn's LogisticRegression at the same C; `coefficient_gap` is the largest
    difference. The default C is among the best in cross-validation on the train rows alone.

    Args:
        data: breast-cancer or csv:FILE, whose other columns must be numbers and whose target has two classes.
        target: the column that names the class, for csv:FILE.
        steps: of descent from weights 0, all examples in each.
        wrong_steps: of descent from the wrong start.
        lr: learning rate of all (default: the largest with which cross-entropy never overshoots).
        c: how much the examples count against the penalty on large weights; smaller means smaller weights.
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    require(run.device.type != "mps", "logistic_regression computes in float64, which mps has not; use --device cpu")
    table = load_table(
        data,
        target=target,
        seed=run.seed,
        task="classification",
        device=run.device,
        dtype=torch.float64,
        shuffle_labels=shuffle_labels,
    )
    require(table.classes == 2, f"'{data}' has {table.classes} classes, but one unit tells 2; try softmax_regression")
    inputs, labels = table.train.all()
    strength = strength_of(c, len(labels))
    rate = safe_rate(inputs, strength=strength) if lr is None else lr
    zero = torch.zeros(1 + inputs.shape[1], dtype=torch.float64, device=run.device)
    starts = {"": (zero, steps), "_wrong": (wrong_start(table.train.all()), wrong_steps)}
    learners: dict[str, Descend] = {}
    for ending, (start, length) in starts.items():
        for name, objective in OBJECTIVES.items():
            learner = Descend(begun(start), objective=objective, strength=strength, lr=rate)
            learners[name + ending] = learner

            def evaluate(learner: Descend = learner) -> dict[str, float]:
                return learner.evaluate(table.test.chunks(), prefix="test_")

            stream = table.train.batches(len(table.train), seed=run.seed)
            run.fit(learner, stream, steps=length, name=name + ending, evaluate=evaluate, evaluations=POINTS_OF_CURVE)
    best = newton(inputs, labels.double(), strength=strength)
    run.picture("stall", draw_stall(run, starts["_wrong"][0], table.train.all()))
    run.picture("weights", draw_weights(learners, best, table.features))
    taught = {name: learner.evaluate(table.test.chunks())["accuracy"] for name, learner in learners.items()}
    return run.result(
        test_accuracy=taught["cross_entropy"],
        squared_error_accuracy=taught["squared_error"],
        coefficient_gap=float((learners["cross_entropy"].model.stacked - best).abs().max()),
        stall=taught["cross_entropy_wrong"] - taught["squared_error_wrong"],
    )


def wrong_start(batch: Labelled) -> Float[Tensor, " G"]:
    """Weights that point from class 1 to class 0, so large that the unit is sure of the opposite of the truth."""
    inputs, labels = batch
    across = inputs[labels == 0].mean(0) - inputs[labels == 1].mean(0)
    size = (inputs @ across).abs().mean()
    require(bool(size > 0), "the two classes have the same mean, so no start is the wrong one; check the data")
    return torch.cat([SURE / size * across, across.new_zeros(1)])


def begun(start: Float[Tensor, " G"]) -> LogisticRegression:
    """A unit with these first weights, the bias last."""
    model = LogisticRegression(features=len(start) - 1)
    with torch.no_grad():
        model.weight.copy_(start[:-1])
        model.bias.copy_(start[-1])
    return model


def draw_stall(run: Run, start: Float[Tensor, " G"], batch: Labelled) -> Figure:
    """How hard each error pushes by the net input, where the wrong start puts the examples, and what follows."""
    figure, axes = panels(1, 3, width=4.4, height=3.5)
    net = torch.linspace(-20, 20, 401, dtype=torch.float64)
    for (name, slope), colour in zip(SLOPES.items(), COLOURS, strict=False):
        push = slope(net, torch.ones_like(net)).abs()
        axes[0].semilogy(net.tolist(), push.tolist(), color=colour, linewidth=1.8, label=LABELS[name])
    axes[0].set(xlabel="net input a of an example of class 1", ylim=(1e-9, 3), title="push: |slope| of the error by a")
    axes[0].axvspan(-20, -7, color=COLOURS[7], alpha=0.15)
    axes[0].text(-19.5, 1e-2, "surely\nwrong", fontsize=9)
    axes[0].legend(fontsize=8)
    inputs, labels = batch.inputs.cpu(), batch.labels.cpu()
    placed = inputs @ start[:-1].cpu() + start[-1].cpu()
    right = torch.where(labels == 1, placed, -placed).clamp(-40, 40)  # above 0 where the unit is right
    axes[1].hist(right.tolist(), bins=40, color=COLOURS[7])
    axes[1].set(xlabel="net input towards the truth", ylabel="train examples", title="the wrong start")
    draw_curves(run, axes[2])
    return figure


def draw_curves(run: Run, ax: Axes) -> None:
    """Test accuracy over the steps, from the wrong start."""
    for name, colour in zip(OBJECTIVES, COLOURS, strict=False):
        lines = [line for line in run.trace.lines() if line.fit == f"{name}_wrong" and "test_accuracy" in line.measures]
        steps, accuracy = [line.step for line in lines], [line.measures["test_accuracy"] for line in lines]
        ax.plot(steps, accuracy, color=colour, linewidth=1.8, label=LABELS[name])
    ax.set(xlabel="step", ylim=(-0.02, 1.02), title="test accuracy from there")
    ax.legend(fontsize=8)


def draw_weights(learners: dict[str, Descend], best: Float[Tensor, " G"], features: tuple[str, ...]) -> Figure:
    """The largest weights that each error has found from 0, beside Newton's."""
    picks = best[:-1].abs().argsort(descending=True)[:NAMED].cpu()
    figure, (ax,) = panels(width=6.8, height=1.6 + 0.27 * len(picks))
    places = torch.arange(len(picks)).flip(0)
    ax.plot(best.cpu()[picks].tolist(), places.tolist(), "|", color="black", markersize=18, label="Newton's method")
    for name, colour, mark in zip(OBJECTIVES, COLOURS, "os", strict=False):
        found = learners[name].model.stacked.cpu()[picks]
        ax.plot(found.tolist(), places.tolist(), mark, color=colour, markersize=6, label=LABELS[name])
    ax.set_yticks(places.tolist(), [features[pick] for pick in picks.tolist()], fontsize=8)
    ax.axvline(0, color=COLOURS[7], linewidth=0.8)
    ax.set(xlabel="weight of the standardised feature", title="largest weights, taught from 0")
    ax.legend(fontsize=8)
    return figure
