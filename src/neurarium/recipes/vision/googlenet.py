"""GoogLeNet with auxiliary heads on the embedded digits, CIFAR-10, or images of your own."""

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate

from neurarium.data.images import load_images
from neurarium.parts.encoders import Classifier
from neurarium.parts.modes import evaluating
from neurarium.parts.schedules import warm_up
from neurarium.running.pictures import COLOURS, panels, sheet
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.vision.googlenet import DeeplySupervised, GoogLeNet, Inception, auxiliary_heads

DROPOUT = 0.4  # Szegedy et al. 2015, table 1
EPOCHS = 5
FEWEST = 440  # updates: 20 epochs of the digits
SHOWN = 6  # images whose branches are drawn
DRAWN = "3a"  # the module whose branches are drawn: the first, nearest to the picture
JUDGED = 500  # test images that the shares are taken over
LINES = ("share of the maps", "_")  # a line's name in the legend: the first of many, and the others
BRANCHES = ("1×1", "3×3", "5×5", "pooled")


@recipe(
    expects=[Expect("test_accuracy", at_least=0.97)],
    smoke=dict(steps=20),
    control=dict(shuffle_labels=True),
)
def googlenet(
    run: Run,
    *,
    data: str = "digits",
    width: float = 0.125,
    large: bool = False,
    auxiliary: float = 0.3,
    steps: int | None = None,
    batch: int = 64,
    lr: float = 4e-3,
    shuffle_labels: bool = False,
) -> Result:
    """Windows of four sizes side by side, nine times over.

    Each module looks through 1×1, 3×3 and 5×5 windows and a pooled one, and passes all of it on. Two heads in the
    middle are taught to name the class as well; they are gone when the net is asked. Look at the branches: what each
    kind of window found in a few test images, and how much of each module's answer comes from it (close to its share of
    the maps, for the norms make all maps equally loud).

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        width: factor of the published numbers of maps.
        large: the published stem, for images of 32×32 pixels or, better, 224×224.
        auxiliary: weight of each auxiliary loss beside the main one.
        steps: updates (default: 5 epochs, but at least 440).
        batch: examples an update.
        lr: learning rate at its highest.
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    images = load_images(data, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    encoder = GoogLeNet(shape=images.shape, width=width, large=large)
    net = Classifier(encoder, classes=images.classes, dropout=DROPOUT)
    run.classes = images.class_names
    heads = auxiliary_heads(images.classes, width=width)
    learner = DeeplySupervised(net, heads, weight=auxiliary, lr=lr, schedule=warm_up())

    def evaluate() -> dict[str, float]:
        return learner.evaluate(images.test.chunks(JUDGED), prefix="test_")

    steps = max(FEWEST, EPOCHS * len(images.train) // batch) if steps is None else steps
    run.fit(learner, images.train.batches(batch, seed=run.seed), steps=steps, evaluate=evaluate)
    shown = next(images.test.chunks(JUDGED)).inputs
    run.picture("branches", draw_branches(encoder, shown[:SHOWN]))
    run.picture("shares", draw_shares(encoder, shown))
    return run.result(**evaluate())


def draw_branches(encoder: GoogLeNet, images: Tensor) -> Figure:
    """Some images, and under each the liveliest map of every branch of one module."""
    parts = _module(encoder, DRAWN).parts(_seen(encoder, images)[DRAWN])
    liveliest = [part[:, part.var((0, 2, 3)).argmax()] for part in parts]
    side = list(images.shape[2:])
    rows = [interpolate(maps.unsqueeze(1), size=side).squeeze(1) for maps in (images.mean(1), *liveliest)]
    titles = [name for name in ("image", *BRANCHES) for _ in range(len(images))]
    return sheet(torch.cat(rows).cpu(), columns=len(images), titles=titles, scale=1.1)


def draw_shares(encoder: GoogLeNet, images: Tensor) -> Figure:
    """How much of each module's answer comes from which branch, as a part of the sum of squares."""
    figure, (ax,) = panels(width=7.0, height=3.2)
    seen = _seen(encoder, images)
    energies = [
        torch.stack([part.square().sum() for part in _module(encoder, name).parts(maps)]) for name, maps in seen.items()
    ]
    _draw_stacks(ax, list(seen), torch.stack([energy / energy.sum() for energy in energies]).cpu())
    for place, name in enumerate(seen):
        maps = torch.tensor(_module(encoder, name).branches.returned).cumsum(0)
        # A branch above or below its line answers more or less loudly than its number of maps alone would make it.
        ax.hlines(maps[:-1] / maps[-1], place - 0.45, place + 0.45, color="k", linewidth=1.2, label=LINES[place > 0])
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def _draw_stacks(ax: Axes, names: list[str], shares: Tensor) -> None:
    bottom = torch.zeros(len(names))
    for branch, (name, colour) in enumerate(zip(BRANCHES, COLOURS[: len(BRANCHES)], strict=True)):
        ax.bar(names, shares[:, branch], bottom=bottom, color=colour, label=name, width=0.7)
        bottom = bottom + shares[:, branch]
    ax.grid(visible=False, axis="x")
    ax.set(xlabel="inception module", ylabel="share of the squares", ylim=(0, 1))
    ax.set_title("where each module's answer comes from")


def _module(encoder: GoogLeNet, name: str) -> Inception:
    module = encoder.inceptions[name]
    assert isinstance(module, Inception)
    return module


def _seen(encoder: GoogLeNet, images: Tensor) -> dict[str, Tensor]:
    with evaluating(encoder):
        return encoder.inside(images)
