"""A residual network on the embedded digits, CIFAR-10, or images of your own."""

from functools import partial

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch.nn import Identity
from torch.optim import SGD

from neurarium.data.images import load_images
from neurarium.learners.classify import Classify, correct_of
from neurarium.parts.bundles import Labelled
from neurarium.parts.encoders import Classifier
from neurarium.parts.modes import evaluating
from neurarium.parts.schedules import warm_up
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.vision.resnet import ResNet, corrections

MOMENTUM = 0.9  # He et al. 2016, §4.2
DECAY = 1e-4  # He et al. 2016, §4.2
EPOCHS = 5
FEWEST = 660  # updates: 30 epochs of the digits
JUDGED = 1000  # test images that the picture is made from


@recipe(
    expects=[
        Expect("test_accuracy", at_least=0.98),
        Expect("test_accuracy", at_least=0.70, given={"data": "cifar10"}),
    ],
    smoke=dict(steps=25, depth=8, width=8),
    control=dict(shuffle_labels=True),
)
def resnet(
    run: Run,
    *,
    data: str = "digits",
    depth: int = 20,
    width: int = 0,
    skip: bool = True,
    steps: int | None = None,
    batch: int = 64,
    lr: float = 0.1,
    shuffle_labels: bool = False,
) -> Result:
    """Twenty layers that only correct what they are given.

    Each block adds its branch to its input. Momentum teaches the net, its rate rising first and then falling along a
    cosine. The picture shows how much each block adds, and how little is lost when one of them is cut out and merely
    passes on its input. Try --no-skip: the same layers without the sums.

    CIFAR-10 takes minutes on two cores; --precision auto about halves them where the processor computes in bfloat16.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        depth: 18, 34, 50, 101 or 152 for the large nets (images of 32×32 or more), any other 6n + 2 for the small ones.
        width: maps of the first stage (0: as published, 64 or 16).
        skip: whether blocks have their shortcuts.
        steps: updates (default: 5 epochs, but at least 660).
        batch: examples an update.
        lr: learning rate at its highest.
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    images = load_images(data, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    net = Classifier(ResNet(shape=images.shape, depth=depth, width=width, skip=skip), classes=images.classes)
    run.classes = images.class_names
    optimizer = partial(SGD, momentum=MOMENTUM, weight_decay=DECAY, fused=True)
    learner = Classify(net, optimizer=optimizer, lr=lr, schedule=warm_up())

    def evaluate() -> dict[str, float]:
        return learner.evaluate(images.test.chunks(500), prefix="test_")

    steps = max(FEWEST, EPOCHS * len(images.train) // batch) if steps is None else steps
    run.fit(learner, images.train.batches(batch, seed=run.seed), steps=steps, evaluate=evaluate)
    if skip:
        run.picture("blocks", draw_blocks(net, next(images.test.chunks(JUDGED))))
    return run.result(**evaluate())


def draw_blocks(net: Classifier[ResNet], batch: Labelled) -> Figure:
    """How much each block corrects, and the accuracy without it."""
    figure, (added, cut) = panels(1, 2, width=5.2, height=3.4)
    ratios = corrections(net.encoder, batch.inputs).cpu()
    accuracies = [accuracy_without(net, batch, block) for block in range(len(ratios))]
    _draw_bars(added, net.encoder, ratios.tolist())
    added.set(ylabel="|F(x)| / |x|", title="how much a block adds to what it passes on")
    _draw_bars(cut, net.encoder, accuracies)
    whole = accuracy_without(net, batch, None)
    cut.axhline(whole, color="0.3", linestyle="--", linewidth=1)
    cut.set(ylim=(0, 1.05), ylabel="accuracy", title=f"accuracy with one block cut out (whole: {whole:.3f})")
    return figure


def _draw_bars(ax: Axes, encoder: ResNet, heights: list[float]) -> None:
    changes = [not isinstance(block.shortcut, Identity) for block in encoder.residuals]
    colours = [COLOURS[1] if changed else COLOURS[0] for changed in changes]
    ax.bar(range(1, len(heights) + 1), heights, color=colours, width=0.7)
    ax.grid(visible=False, axis="x")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("block (red: the shape changes)")


@torch.no_grad()
def accuracy_without(net: Classifier[ResNet], batch: Labelled, block: int | None) -> float:
    """Accuracy on a batch when a block only passes on its input; of the whole net for None."""
    with evaluating(net):
        encoder = net.encoder
        features = encoder(batch.inputs) if block is None else encoder.encode_without(batch.inputs, block)
        return float(correct_of(net.judge(features), batch.labels)) / batch.labels.shape[0]
