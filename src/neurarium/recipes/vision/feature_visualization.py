"""What the units of a trained classifier look for: of a run of your own, or of a small net trained here."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from neurarium.data.images import load_images
from neurarium.errors import InvalidValue, require
from neurarium.learners.classify import Classify
from neurarium.parts.bundles import Labelled
from neurarium.parts.encoders import Classifier
from neurarium.parts.modes import evaluating
from neurarium.parts.schedules import cosine
from neurarium.running.classifiers import Net, gather, open_classifier
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.vision.feature_visualization import (
    Activation,
    Gain,
    Part,
    Statistics,
    activation_of,
    ascend,
    deconvolve,
    gain_of,
    maps_of,
    statistics_of,
)
from neurarium.systems.vision.lenet import LeNet

DROPOUT = 0.5  # as lenet's recipe has it for small sets
HEAD = "head"  # the layer whose units are the classes
LAYERS = 3  # convolutions looked at if none is named
JUDGED = 512  # pictures that units are shown
GREY, NOISE = 0.2, 0.1  # where a climb begins: pixels from 0.2 to 0.3
ROWS, BEST = 8, 4  # maps drawn by the deconvnet, and the pictures that excite each of them most
GAP = 1  # pixels between pictures


class Subject(NamedTuple):
    """A classifier of images, its classes, and pictures that it learned from."""

    net: Net
    classes: tuple[str, ...]
    examples: Labelled


class Wanted(NamedTuple):
    """What the units of a layer want."""

    layer: str
    images: Float[Tensor, "U C H W"]
    gain: Gain
    data: Float[Tensor, " U"]  # rectified activation on the picture of the examples that excites each unit most

    @property
    def over_random(self) -> float:
        """Mean activation on the own images over that on random ones."""
        return float(self.gain.own.mean() / self.gain.random.mean().clamp(min=1e-6))

    @property
    def over_best_random(self) -> float:
        """The same over the best of the random images of each unit."""
        return float(self.gain.own.mean() / self.gain.random.amax(0).mean().clamp(min=1e-6))

    @property
    def over_data(self) -> float:
        """The same over the best picture of the examples."""
        return float(self.gain.own.mean() / self.data.mean().clamp(min=1e-6))


@recipe(
    expects=[Expect("activation_gain", at_least=5.0)],
    smoke=dict(steps=100, climb=60, units=10),
    control=dict(climb=0),
)
def feature_visualization(
    here: Run,
    /,
    *,
    run: str | None = None,
    data: str = "digits",
    layer: str | None = None,
    units: int = 16,
    climb: int = 200,
    l2: float = 0.003,
    variation: float = 0.02,
    jitter: int = 0,
    blur_every: int = 0,
    steps: int = 1500,
    batch: int = 64,
    lr: float = 5e-3,
) -> Result:
    """Ask the units of a net what they look for.

    Every unit gets the image that excites it most, made by climbing its slope along the pixels; the gain says how much
    more it excites the unit than the same pixels in a random order, on average over 64 orders and over the layer, what
    is negative counting as 0; the least of the layers is the result. Beside this, a deconvnet shows which pixels of
    real pictures excited a map, and a last picture how much the maps of a layer repeat one another.

    Args:
        run: folder of a run that trained a classifier of images (default: train LeNet here).
        data: what LeNet is trained on: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR.
        layer: name of the layer to look at, such as encoder.conv2 (default: up to three convolutions, and the classes).
        units: how many of a layer's units are asked.
        climb: steps to each image (0: images stay random, the negative control).
        l2: weight of the image's squared norm; 1 weighs as much as the activation that real pictures reach.
        variation: weight of the image's total variation, likewise.
        jitter: pixels up to which an image is shifted before each step.
        blur_every: steps between two blurs in the first half of the climb (0: none).
        steps: updates of the net trained here.
        batch: examples an update.
        lr: learning rate at the start.
    """
    require(units >= 1, f"--units is {units}; at least 1 is needed")
    trained, measures = (open_one(run), {}) if run else train_one(here, data, steps, batch, lr)
    net, examples = trained.net.to(here.device), Labelled(*(field.to(here.device) for field in trained.examples))
    layers = [layer] if layer else layers_of(net)
    climbing = partial(ascend, steps=climb, l2=l2, variation=variation, jitter=jitter, blur_every=blur_every)
    with evaluating(net):
        found = [want(here, net, name, examples.inputs, units=units, part="unit", climbing=climbing) for name in layers]
        convolutions = [name for name in layers if maps_of(net, name, examples.inputs[:1]).ndim == 4]
        whole = [
            want(here, net, name, examples.inputs, units=units, part="channel", climbing=climbing)
            for name in convolutions
        ]
        statistics = {name: statistics_of(maps_of(net, name, examples.inputs)) for name in convolutions}
    here.picture("wants", draw_wanted(found, whole, trained.classes))
    for name in convolutions:
        try:
            here.picture(f"deconvnet_{name}", draw_deconvolved(net, name, examples.inputs))
        except InvalidValue as error:
            here.say(f"no picture of the deconvnet: {error}")
            break
    if statistics:
        here.picture("maps", draw_statistics(statistics))
        measures["map_correlation"] = float(np.mean([likeness(one) for one in statistics.values()]))
        measures["channel_gain"] = min(one.over_random for one in whole)
    return here.result(
        activation_gain=min(one.over_random for one in found),
        best_random_gain=min(one.over_best_random for one in found),
        data_gain=min(one.over_data for one in found),
        **measures,
    )


def open_one(run: str) -> Subject:
    """The classifier of another run."""
    net, classes, stream = open_classifier(Path(run))
    return Subject(net, classes, gather(stream, count=JUDGED))


def train_one(run: Run, data: str, steps: int, batch: int, lr: float) -> tuple[Subject, dict[str, float]]:
    """A LeNet trained here, and its accuracy."""
    images = load_images(data, seed=run.seed, device=run.device)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    net: Net = Classifier(LeNet(shape=images.shape), classes=images.classes, dropout=DROPOUT)
    run.classes = images.class_names
    learner = Classify(net, lr=lr, schedule=cosine)

    def evaluate() -> dict[str, float]:
        return learner.evaluate(images.test.chunks(1000), prefix="test_")

    run.fit(learner, images.train.batches(batch, seed=run.seed), steps=steps, evaluate=evaluate)
    examples = gather(images.train.batches(batch, seed=run.seed), count=min(JUDGED, len(images.train)))
    return Subject(net, images.class_names, examples), {"test_accuracy": evaluate()["test_accuracy"]}


def layers_of(net: nn.Module) -> list[str]:
    """The convolutions of a net, evenly spread if there are many, and its head."""
    names = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    spread = torch.linspace(0, len(names) - 1, min(LAYERS, len(names))).round().int().tolist()
    return [*(names[place] for place in spread), HEAD]


def want(
    run: Run,
    net: Net,
    layer: str,
    examples: Float[Tensor, "B C H W"],
    *,
    units: int,
    part: Part,
    climbing: partial[Tensor],
) -> Wanted:
    """The images that the first units of a layer want, and how much they want them."""
    asked = torch.arange(min(units, maps_of(net, layer, examples[:1]).shape[1]), device=examples.device)
    activation = activation_of(net, layer, asked, part=part)
    chance = run.generator(layer, part)
    start = GREY + NOISE * torch.rand(len(asked), *examples.shape[1:], generator=chance)
    best = best_of(net, layer, asked, examples, part=part)
    # In units of what real pictures reach, so that the penalties weigh the same in every layer and net.
    scale = best.mean().clamp(min=1e-6)
    images = climbing(lambda images: activation(images) / scale, start.to(examples.device), generator=chance)
    return Wanted(layer, images, gain_of(activation, images, generator=chance), best)


def best_of(
    net: Net, layer: str, units: Int64[Tensor, " U"], examples: Float[Tensor, "B C H W"], *, part: Part
) -> Float[Tensor, " U"]:
    """The largest rectified activation of each unit on pictures."""

    def on_all(unit: Tensor) -> Tensor:
        activation: Activation = activation_of(net, layer, unit.expand(examples.shape[0]), part=part)
        return activation(examples).max().relu()

    return torch.stack([on_all(unit) for unit in units])


def likeness(statistics: Statistics) -> float:
    """The mean absolute correlation of a map with another."""
    count = len(statistics.variance)
    others = statistics.correlation.abs().sum() - statistics.correlation.diagonal().abs().sum()
    return float(others) / max(1, count * (count - 1))


def draw_wanted(units: Sequence[Wanted], channels: Sequence[Wanted], classes: Sequence[str]) -> Figure:
    """A strip of images a layer, for its single units and for its whole channels."""
    strips = [(one, f"{one.layer}, units") for one in units if one.layer != HEAD]
    strips += [(one, f"{one.layer}, whole channels") for one in channels]
    strips += [(one, "classes") for one in units if one.layer == HEAD]
    most = max(len(one.images) for one, _ in strips)
    figure, axes = panels(len(strips), 1, width=max(5.0, 0.62 * most), height=1.15)
    for ax, (one, title) in zip(axes, strips, strict=True):
        lay_out(ax, [list(one.images)])
        side = one.images.shape[3] + GAP
        ax.set_xlim(-0.5, most * side - GAP - 0.5)
        ax.set_title(f"{title}: {one.over_random:.1f}× a random image", fontsize=9, loc="left")
        if one.layer == HEAD:
            ax.set_xticks([side * place + side / 2 - 1 for place in range(len(one.images))])
            ax.set_xticklabels([name[:8] for name in classes[: len(one.images)]], fontsize=7)
    return figure


def draw_deconvolved(net: Net, layer: str, examples: Float[Tensor, "B C H W"]) -> Figure:
    """For some maps, the pictures that excite them most, each beside the pixels that did it."""
    with evaluating(net):
        maps = maps_of(net, layer, examples)
    rows = min(ROWS, maps.shape[1])
    best = maps[:, :rows].amax((2, 3)).topk(min(BEST, len(examples)), dim=0).indices.T
    asked = torch.arange(rows, device=best.device).repeat_interleave(best.shape[1])
    seen = examples[best.flatten()]
    back = deconvolve(net, layer, seen, asked)
    # Signed, with 0 as the middle grey.
    shown = 0.5 + 0.5 * back / back.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    pairs = torch.stack([seen, shown], 1).view(rows, -1, *seen.shape[1:])
    figure, (ax,) = panels(1, 1, width=0.85 * pairs.shape[1], height=0.85 * rows + 0.4)
    lay_out(ax, [list(row) for row in pairs])
    height, width = (side + GAP for side in seen.shape[2:])
    for place, projection in enumerate(back):
        row, column = divmod(place, best.shape[1])
        _frame(ax, projection, across=2 * column * width, down=row * height)
    ax.set_yticks([row * height + height / 2 - 1 for row in range(rows)])
    ax.set_yticklabels([f"map {row}" for row in range(rows)], fontsize=8)
    ax.set_title(f"{layer}: pictures that excite a map most, and the pixels that did", fontsize=10)
    return figure


def _frame(ax: Axes, projection: Float[Tensor, "C H W"], *, across: int, down: int) -> None:
    """A frame round the patch of a picture that reaches the unit."""
    where = projection.abs().sum(0).nonzero()
    if len(where):
        (top, left), (bottom, right) = where.amin(0).tolist(), where.amax(0).tolist()
        corner = (across + left - 0.5, down + top - 0.5)
        frame = Rectangle(corner, right - left + 1, bottom - top + 1, fill=False, edgecolor=COLOURS[1], linewidth=1.5)
        ax.add_patch(frame)


def draw_statistics(found: dict[str, Statistics]) -> Figure:
    """How much the maps of each layer repeat one another, and how much each varies."""
    figure, axes = panels(2, len(found), width=3.4, height=2.6)
    for place, (layer, statistics) in enumerate(found.items()):
        above, below = axes[place], axes[place + len(found)]
        drawn = above.imshow(statistics.correlation.cpu().numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
        above.grid(visible=False)
        above.set_title(f"{layer}: correlation\nmean of |ρ| {likeness(statistics):.2f}", fontsize=9)
        figure.colorbar(drawn, ax=above, shrink=0.8)
        below.bar(range(len(statistics.variance)), statistics.variance.tolist())
        below.set(xlabel="map", ylabel="variance")
    return figure


def lay_out(ax: Axes, rows: Sequence[Sequence[Float[Tensor, "C H W"]]]) -> None:
    """Pictures in rows on one axis, white between them; pixels from 0 to 1, channels other than 1 or 3 averaged."""
    channels, height, width = rows[0][0].shape
    columns = max(map(len, rows))
    sheet = np.ones((len(rows) * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3))
    for down, row in enumerate(rows):
        for across, image in enumerate(row):
            shown = image if channels in (1, 3) else image.mean(0, keepdim=True)
            top, left = down * (height + GAP), across * (width + GAP)
            sheet[top : top + height, left : left + width] = shown.detach().cpu().permute(1, 2, 0).clamp(0, 1).numpy()
    ax.imshow(sheet, interpolation="nearest")
    ax.grid(visible=False)
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
