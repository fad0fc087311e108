"""Predictive coding: a network that names pictures and one that draws them, each taught by what its own nodes know."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import NamedTuple

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.images import Images, load_images
from neurarium.parts.bundles import Labelled
from neurarium.parts.predictive_nodes import Activity, PredictiveCoding, energy, settle
from neurarium.parts.schedules import cosine
from neurarium.parts.simulation import Probe
from neurarium.running.files import disk_errors_told, write_whole
from neurarium.running.pictures import COLOURS, panels, tiled
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.running.trace import Line
from neurarium.systems.neuro.predictive_coding import RULES, LearnLocally

LEAST, EPOCHS = 800, 5  # updates, and passes over the data
DRAWING_LR = 2e-3  # of the network that draws
PIXELS = 64  # to which the variance 1 of a pixel belongs; with more of them each counts less
SHOWN = 10  # pictures
LOOKED_AT = 256  # examples by which the angle is measured
MOMENTS = (0.01, 0.1)  # parts of the settling after which a picture is shown being completed
NAMES = {"settled": "predictive coding", "fixed": "fixed prediction", "backpropagation": "backpropagation"}


class Row(NamedTuple):
    """What one rule came to; seconds include those of looking at it."""

    rule: str
    accuracy: float
    seconds: float
    angle: float


@recipe(
    expects=[Expect("test_accuracy", at_least=0.95)],
    smoke=dict(steps=40, hidden=32, settling=8, completing=100),
    control=dict(shuffle_labels=True),
)
def predictive_coding(
    run: Run,
    *,
    data: str = "digits",
    steps: int | None = None,
    batch: int = 64,
    lr: float = 5e-3,
    hidden: int = 96,
    settling: int = 30,
    rate: float | None = None,
    variance: float = 30.0,
    completing: int = 2000,
    shuffle_labels: bool = False,
) -> Result:
    """Pictures are named, drawn and completed by a network in which every connection learns from its own two ends.

    Each layer predicts the one below; error nodes say where it is wrong. With both ends clamped, the values between
    settle where the errors balance, and every weight then changes by the value above it times the error below. The
    network with the picture on top learns to name it, three times from the same weights on the same batches: by
    predictive coding, by the same with predictions held fixed, and by backpropagation. One with the label on top learns
    to draw; it also infers the label of a picture, and completes one that is half hidden, by settling.

    Look at the table (comparison), the drawings, the pictures being completed, and what settles while they are.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        steps: updates (default: 5 epochs, but at least 800).
        batch: examples an update.
        lr: learning rate at the start, of the networks that name.
        hidden: units of each of the two hidden layers; the network that draws has one, of twice as many.
        settling: steps of settling before an update.
        rate: length of such a step, over the time constant of the values (default: the largest that surely settles).
        variance: of the labels around their prediction; the larger, the nearer to backpropagation.
        completing: steps of settling that complete half-hidden pictures; a tenth of them infer labels.
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    images = load_images(data, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    steps = max(LEAST, EPOCHS * len(images.train) // batch) if steps is None else steps
    looked = next(images.train.chunks(LOOKED_AT))
    features = images.shape[0] * images.shape[1] * images.shape[2]
    rows = []
    for rule in RULES:
        # The same first weights and the same batches for every rule.
        weights = run.generator("weights")
        variances = (variance, 1.0, 1.0)
        net = PredictiveCoding(sizes=(images.classes, hidden, hidden, features), variances=variances, generator=weights)
        naming = LearnLocally(net, top="picture", rule=rule, settling=settling, rate=rate, lr=lr, schedule=cosine)
        rows.append(teach(run, naming, images, looked, steps=steps, batch=batch))
        if rule == "settled":
            reader = naming
    drawer = make_drawer(run, images, features=features, hidden=2 * hidden, settling=settling, rate=rate)

    def evaluate() -> dict[str, float]:
        return drawer.evaluate(images.test.chunks(1000), prefix="test_", steps=max(1, completing // 10))

    run.fit(drawer, images.train.batches(batch, seed=run.seed), steps=steps, name="drawing", evaluate=evaluate)
    show_table(run, rows)
    test = next(images.test.chunks(LOOKED_AT))
    run.picture("comparison", draw_comparison(run.trace.lines(), rows))
    run.picture("settling", draw_settling(reader, drawer, test, images.class_names))
    run.picture("drawn", draw_drawings(drawer, images, next(images.train.chunks(10_000))))
    known = upper_half(images.shape).to(test.inputs)
    filled = drawer.complete(test.inputs, known, steps=completing).values[0].reshape(test.inputs.shape)
    run.picture("completed", draw_completed(drawer, test, known, filled, steps=completing))
    accuracies = {f"test_accuracy_{row.rule}": row.accuracy for row in rows[1:]}
    angles = {f"angle_{row.rule}": row.angle for row in rows[:-1]}
    return run.result(
        test_accuracy=rows[0].accuracy,
        **accuracies,
        **angles,
        test_accuracy_drawing=evaluate()["test_accuracy"],
        completion_error=completion_error(filled, test, known, mean=looked.inputs.mean(0)),
    )


def teach(run: Run, naming: LearnLocally, images: Images, looked: Labelled, *, steps: int, batch: int) -> Row:
    """Let a network learn to name pictures by its rule."""

    def evaluate() -> dict[str, float]:
        found = naming.evaluate(images.test.chunks(1000), prefix="test_")
        if naming.rule != "backpropagation":
            found["angle"] = naming.angle(looked)
        return found

    stream = images.train.batches(batch, seed=run.seed)
    run.fit(naming, stream, steps=steps, name=naming.rule, evaluate=evaluate)
    taught = [
        line.measures["angle"] for line in run.trace.lines() if line.fit == naming.rule and "angle" in line.measures
    ]
    accuracy = naming.evaluate(images.test.chunks(1000))["accuracy"]
    return Row(naming.rule, accuracy, run.fits[naming.rule].seconds, sum(taught) / max(1, len(taught)))


def make_drawer(
    run: Run, images: Images, *, features: int, hidden: int, settling: int, rate: float | None
) -> LearnLocally:
    """A network with the label on top."""
    net = PredictiveCoding(
        sizes=(features, hidden, images.classes),
        variances=(features / PIXELS, 1.0),
        generator=run.generator("drawing"),
    )
    return LearnLocally(net, top="label", settling=settling, rate=rate, lr=DRAWING_LR, schedule=cosine)


def upper_half(shape: Sequence[int]) -> Float[Tensor, "1 C H W"]:
    """1 where a pixel is known: in the upper half."""
    known = torch.zeros(1, *shape)
    known[:, :, : shape[1] // 2] = 1
    return known


def completion_error(filled: Tensor, test: Labelled, known: Tensor, *, mean: Tensor) -> float:
    """Squared error in the hidden half over that of the mean picture: 1 is no better than the mean."""
    wrong, least = ((guess - test.inputs) * (1 - known) for guess in (filled, mean))
    return float(wrong.square().sum() / least.square().sum())


def show_table(run: Run, rows: Sequence[Row]) -> None:
    """The comparison, for the person at the terminal and as table.csv in the run's folder."""
    heads = ("rule", "test accuracy", "seconds", "angle")
    cells = [(NAMES[row.rule], f"{row.accuracy:.4f}", f"{row.seconds:.1f}", f"{row.angle:.2f}") for row in rows]
    for each in (heads, *cells):
        run.say(f"{each[0]:<20}" + "".join(f"{cell:>15}" for cell in each[1:]))
    if run.writes:
        content = StringIO()
        csv.writer(content, lineterminator="\n").writerows([heads, *cells])
        with disk_errors_told(run.folder):
            write_whole(run.folder / "table.csv", content.getvalue().encode())


def draw_comparison(lines: Sequence[Line], rows: Sequence[Row]) -> Figure:
    """Accuracy and angle over the updates of the three rules, and the table of what they came to."""
    figure, (left, middle, right) = panels(1, 3, width=4.4, height=3.2)
    for row, colour in zip(rows, COLOURS, strict=False):
        for ax, measure in ((left, "test_accuracy"), (middle, "angle")):
            points = [
                (line.step, line.measures[measure])
                for line in lines
                if line.fit == row.rule and measure in line.measures
            ]
            if points:
                style = "--" if row.rule == "backpropagation" else "-"
                ax.plot(
                    *zip(*points, strict=True), style, marker="o", markersize=3, color=colour, label=NAMES[row.rule]
                )
    left.set(title="test accuracy", xlabel="update")
    middle.set(title="angle to backpropagation's update (°)", xlabel="update", ylim=(0, None))
    if left.lines:
        left.legend(fontsize=8)
    right.axis("off")
    cells = [[NAMES[row.rule], f"{row.accuracy:.3f}", f"{row.seconds:.1f}", f"{row.angle:.1f}°"] for row in rows]
    table = right.table(
        cellText=cells,
        colLabels=["rule", "accuracy", "seconds", "angle"],
        loc="center",
        colWidths=[0.46, 0.2, 0.18, 0.16],
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 1.7)
    return figure


def draw_settling(reader: LearnLocally, drawer: LearnLocally, test: Labelled, names: Sequence[str]) -> Figure:
    """Energies while learning and inferring, and the label nodes while one picture is inferred."""
    figure, axes = panels(1, 3, width=4.2, height=3.2)
    top, bottom = reader.ends(test)
    learning = watch(reader, (bottom, *reader.model.sweep(top)[1:]), free=(False, True, True, False), steps=60)
    pictures = drawer.ends(test)[1]
    start = drawer.model.sweep(torch.zeros_like(drawer.ends(test)[0]))
    inferring = watch(drawer, (pictures, *start[1:]), free=(False, True, True), steps=200)
    for ax, kept, title in zip(
        axes, (learning, inferring), ("both ends clamped: learning", "picture clamped: inferring"), strict=False
    ):
        ax.plot(range(1, len(kept["energy"]) + 1), kept["energy"].cpu() / kept["energy"][0].cpu(), color=COLOURS[0])
        ax.set(title=title, xlabel="step of settling", ylabel="energy F (first step: 1)")
    label = int(test.labels[0])
    for index, name in enumerate(names):
        mine = index == label
        nodes = inferring["top"][0, :, index].cpu()
        colour = COLOURS[1] if mine else "#b0b0b0"
        axes[2].plot(
            range(1, len(nodes) + 1), nodes, color=colour, zorder=3 if mine else 2, label=name if mine else None
        )
    axes[2].set(title="label nodes of one picture", xlabel="step of settling", ylabel="value x")
    axes[2].legend(fontsize=8, title="its label", loc="upper left")
    return figure


def watch(learner: LearnLocally, start: Sequence[Tensor], *, free: Sequence[bool], steps: int) -> Mapping[str, Tensor]:
    """Settle, and keep the energy and the top layer's values of every step."""

    def energy_of(now: Activity, _: Activity) -> Tensor:
        return energy(learner.model, now.errors)

    def top_of(now: Activity, _: Activity) -> Tensor:
        return now.values[-1].clone()

    probes = {"energy": Probe(energy_of), "top": Probe(top_of)}
    return settle(learner.model, start, free=free, steps=steps, rate=learner.rate, probes=probes).kept


def draw_drawings(drawer: LearnLocally, images: Images, train: Labelled) -> Figure:
    """What each label generates, under the mean of its pictures."""
    present = [index for index in range(images.classes) if bool((train.labels == index).any())][:SHOWN]
    means = torch.stack([train.inputs[train.labels == index].mean(0) for index in present])
    with torch.no_grad():
        drawn = drawer.model(torch.eye(images.classes, device=means.device)[present])
    return strips({"mean picture": means, "generated": drawn.reshape(means.shape)})


def draw_completed(drawer: LearnLocally, test: Labelled, known: Tensor, filled: Tensor, *, steps: int) -> Figure:
    """Half-hidden pictures while they are being completed."""
    shown = test.inputs[:SHOWN]
    rows = {"seen": torch.where(known == 1, shown, torch.full_like(shown, 0.5))}
    for part in MOMENTS:
        some = max(1, round(part * steps))
        rows[f"{some} steps"] = drawer.complete(shown, known, steps=some).values[0].reshape(shown.shape)
    return strips({**rows, f"{steps} steps ": filled[:SHOWN], "whole": shown})


def strips(rows: Mapping[str, Float[Tensor, "N C H W"]]) -> Figure:
    """Rows of pictures, each with its name."""
    count = max(len(pictures) for pictures in rows.values())
    figure, axes = panels(len(rows), 1, width=0.85 * count + 2, height=0.85)
    for ax, (name, pictures) in zip(axes, rows.items(), strict=True):
        canvas = tiled(pictures, columns=len(pictures)).permute(1, 2, 0).squeeze(-1).numpy()
        ax.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
        for spine in ax.spines.values():
            spine.set_visible(False)
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    return figure
