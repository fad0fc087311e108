"""The loss around the weights of a residual net, of the same net without shortcuts, or of a run of your own."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor
from torch.optim import SGD

from neurarium.data.images import Images, load_images
from neurarium.learners.classify import Classify
from neurarium.parts.bundles import Labelled
from neurarium.parts.encoders import Classifier
from neurarium.parts.schedules import warm_up
from neurarium.running.classifiers import Net, gather, open_classifier
from neurarium.running.pictures import look
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.vision.loss_landscape import loss_of, random_plane, roughness, surface, weights_of
from neurarium.systems.vision.resnet import ResNet

MOMENTUM = 0.9  # as resnet's recipe has it
DECAY = 1e-4
LEVELS = 16  # lines of the contours
FINEST = 1e-3  # roughness below this counts as this, lest a convex surface make the gain infinite


class Landscape(NamedTuple):
    """The loss around some weights."""

    heights: Float[Tensor, "G G"]
    middle: float  # the loss of the weights themselves
    roughness: float


@recipe(
    expects=[Expect("skip_smoothness_gain", above=1.0)],
    smoke=dict(steps=60, depth=14, width=8, points=7, examples=64),
    control=dict(skip=False),
)
def loss_landscape(
    here: Run,
    /,
    *,
    run: str | None = None,
    data: str = "digits",
    depth: int = 20,
    width: int = 8,
    skip: bool = True,
    points: int = 15,
    span: float = 1.0,
    examples: int = 256,
    steps: int = 200,
    batch: int = 64,
    lr: float = 0.1,
) -> Result:
    """Skip connections make the loss a bowl.

    Two nets of the same depth learn from the same start and the same batches, one with shortcuts, one without. Around
    the weights of each the loss is drawn over a plane of two random directions, every filter of which is as long as the
    filter that it moves. The roughness of a surface is the share of its curvature that bends down, Σ max(0, −λ) / Σ |λ|
    over both main curvatures λ of its points; the gain is the plain net's roughness over the residual one's.

    Args:
        run: folder of a run that trained a classifier of images, to draw that one's surface instead.
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        depth: of both nets, 6n + 2.
        width: maps of the first stage.
        skip: whether the first net has its shortcuts (without, both are the same net: the negative control).
        points: a side of the surface, an odd number.
        span: how far the surface reaches, in lengths of the filters.
        examples: training images that the loss is the mean of.
        steps: updates of each net.
        batch: examples an update.
        lr: learning rate at its highest.
    """
    if run:
        net, _, stream = open_classifier(Path(run))
        land = survey(here, net, gather(stream, count=examples), points=points, span=span)
        here.picture("landscape", draw_landscapes({"the run's net": land}, span=span))
        return here.result(roughness=land.roughness, loss=land.middle, centre_gap=centre_gap(land))
    images = load_images(data, seed=here.seed, device=here.device)
    here.note(data=images.name)
    if images.note:
        here.say(images.note)
    here.classes = images.class_names
    judged = gather(images.train.batches(batch, seed=here.seed), count=min(examples, len(images.train)))
    nets = build_pair(images, depth=depth, width=width, skip=skip)
    measures, lands = {}, {}
    for name, net in nets.items():
        optimizer = partial(SGD, momentum=MOMENTUM, weight_decay=DECAY, fused=True)
        learner = Classify(net, optimizer=optimizer, lr=lr, schedule=warm_up())
        here.fit(learner, images.train.batches(batch, seed=here.seed), steps=steps, name=name)
        measures[f"accuracy_{name}"] = learner.evaluate(images.test.chunks(500))["accuracy"]
        lands[name] = survey(here, net, judged, points=points, span=span)
        measures[f"roughness_{name}"] = lands[name].roughness
    here.picture("landscape", draw_landscapes(lands, span=span))
    return here.result(
        skip_smoothness_gain=max(measures["roughness_plain"], FINEST) / max(measures["roughness_skip"], FINEST),
        centre_gap=max(map(centre_gap, lands.values())),
        **measures,
    )


def build_pair(images: Images, *, depth: int, width: int, skip: bool) -> dict[str, Net]:
    """A net with its shortcuts (if asked for) and a plain one, of the same weights to begin with."""
    nets: dict[str, Net] = {
        name: Classifier(ResNet(shape=images.shape, depth=depth, width=width, skip=has), classes=images.classes)
        for name, has in (("skip", skip), ("plain", False))
    }
    # The shortcuts of the small nets have no weights; those of the large ones find no place in the plain net.
    nets["plain"].load_state_dict(nets["skip"].state_dict(), strict=False)
    return nets


def survey(run: Run, net: Net, examples: Labelled, *, points: int, span: float) -> Landscape:
    """The landscape of a net; nets with the same parameters get the same directions, but for their filters' norms."""
    net, examples = net.to(run.device), Labelled(*(field.to(run.device) for field in examples))
    loss, weights = loss_of(net, examples), weights_of(net)
    plane = random_plane(weights, generator=run.generator("plane"))
    heights = surface(loss, weights, plane, points=points, span=span)
    with torch.no_grad():
        middle = float(loss(weights))
    return Landscape(heights.cpu(), middle, roughness(heights))


def centre_gap(land: Landscape) -> float:
    """How far the middle of a surface is from the loss of the weights, relative to it."""
    side = land.heights.shape[0]
    return abs(float(land.heights[side // 2, side // 2]) - land.middle) / max(land.middle, 1e-6)


def draw_landscapes(lands: Mapping[str, Landscape], *, span: float) -> Figure:
    """Each surface, and below it its contours, all on one scale."""
    low = min(float(land.heights.min()) for land in lands.values())
    high = max(low + 1e-6, *(float(land.heights.max()) for land in lands.values()))
    with look():
        figure = Figure(figsize=(5.0 * len(lands), 8.2), layout="constrained")
        for place, (name, land) in enumerate(lands.items(), start=1):
            side = torch.linspace(-span, span, land.heights.shape[0])
            across, down = (grid.numpy() for grid in torch.meshgrid(side, side, indexing="xy"))
            above: Any = figure.add_subplot(2, len(lands), place, projection="3d")
            heights = land.heights.numpy()
            above.plot_surface(down, across, heights, cmap="viridis", vmin=low, vmax=high, rstride=1, cstride=1)
            above.set(zlim=(low, high), xlabel="first direction", ylabel="second direction", zlabel="loss")
            above.set_title(f"{name}: {100 * land.roughness:.0f}% of the curvature bends down")
            below = figure.add_subplot(2, len(lands), place + len(lands))
            levels = torch.linspace(low, high, LEVELS).tolist()
            lines = below.contourf(down, across, heights, levels=levels, cmap="viridis", vmin=low, vmax=high)
            below.contour(down, across, heights, levels=levels, colors="white", linewidths=0.5)
            below.plot(0, 0, "+", color="white", markersize=10)
            below.set(xlabel="first direction", ylabel="second direction", aspect="equal", xticks=(-span, 0, span))
            below.grid(visible=False)
        figure.colorbar(lines, ax=figure.axes[1::2], label="loss", shrink=0.8)
    return figure
