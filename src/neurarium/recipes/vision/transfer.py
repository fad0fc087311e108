"""Features of letters that teach digits with few labels, or those of a run of your own, on any images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from neurarium.data.few import Chosen, few_of_each
from neurarium.data.glyphs import LETTERS, printed, printed_digits
from neurarium.data.images import Images, load_images
from neurarium.data.splits import dealt
from neurarium.errors import DataError, require
from neurarium.learners.classify import Classify, evaluate_classes
from neurarium.parts.encoders import Classifier, Encoder
from neurarium.parts.frozen import Layer, digest
from neurarium.parts.schedules import cosine
from neurarium.running.classifiers import open_classifier
from neurarium.running.devices import untouched_chance
from neurarium.running.pictures import panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.encoders import build_encoder
from neurarium.systems.vision.transfer import halves, on_frozen, relabelled, transfer_gain

COUNTS = (50, 20, 10, 5, 2, 1)  # labels a class of the picture
RATES = (1e-3, 3e-3, 1e-2)  # from scratch; the best at `labels` labels a class on the test images, in its favour
HEAD_RATE = 1e-2  # of the softmax alone
SIDE = 16  # pixels of printed digits
POOL, TEST = 1000, 2000  # printed digits from which labelled ones are drawn, and to test on
JUDGED = 1000  # letters held out
SHOWN = 20  # images in each row of the picture


class Task(NamedTuple):
    """Images of some classes to learn from and to test on."""

    train: Chosen
    test: Chosen
    names: tuple[str, ...]


@recipe(
    expects=[Expect("transfer_gain", at_least=0.05), Expect("frozen_changed", equals=0.0)],
    smoke=dict(steps=500, few_steps=80, examples=4000, curve=False),
    control=dict(shuffle_labels=True),
)
def transfer(
    here: Run,
    *,
    data: str = "printed",
    source: Literal["letters", "half"] = "letters",
    run: str | None = None,
    encoder: str = "lenet",
    layer: Literal["features", "maps"] = "features",
    labels: int = 10,
    curve: bool = True,
    examples: int = 16_000,
    steps: int = 2000,
    few_steps: int = 400,
    batch: int = 64,
    lr: float = 3e-3,
    shuffle_labels: bool = False,
) -> Result:
    """Letters teach digits.

    A net learns to name letters printed in one family of fonts. Its encoder is frozen, and a softmax on its features
    learns the ten digits, in other fonts, from a few labels of each; the same net from scratch learns from the same
    ones, at the best of three learning rates. The gain is the difference of their test accuracies, and it is no law: on
    the handwritten `digits`, 8×8, upright and alike, a net from scratch does better with ten labels than the features.

    Args:
        data: printed (digits), digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        source: letters, or half of the data's classes, and the other half is then to be learned with few labels.
        run: folder of a run that trained a classifier of images, whose features are taken instead.
        encoder: of both nets: lenet, nin, resnet, ...; with options as in resnet:depth=8,width=16.
        layer: whose numbers are the features: features (the last layer) or maps (the last maps, all places).
        labels: examples of each new class.
        curve: whether to compare them also at 1, 2, 5, 10, 20 and 50 labels.
        examples: letters to learn from.
        steps: updates on the source.
        few_steps: updates on the few labels.
        batch: examples an update.
        lr: learning rate on the source.
        shuffle_labels: deal the labels of the source out at random first (the negative control).
    """
    features = open_features(here, run) if run else None
    require(labels >= 1, f"--labels is {labels}; at least 1 example of each class is needed")
    images = load_target(here, data, shape=features.shape if features else (1, SIDE, SIDE))
    target = whole_task(images)
    measures: dict[str, float] = {}
    if features is None:
        learned, target = split_task(here, images, target, source=source, examples=examples)
        here.picture("examples", draw_examples(learned, target))
        learned = dealt_task(learned, seed=here.seed) if shuffle_labels else learned
        features = build_encoder(encoder, shape=images.shape)
        measures["source_accuracy"] = learn_source(here, features, learned, steps=steps, batch=batch, lr=lr)
    here.classes = target.names
    chosen = draw_few(here, target, labels=labels, curve=curve)
    frozen, changed = learn_frozen(here, features, chosen, target, layer=layer, steps=few_steps, batch=batch)
    scratch = learn_scratch(here, encoder, chosen, target, labels=labels, steps=few_steps, batch=batch)
    here.picture("labels", draw_curve(frozen, scratch, chance=1 / len(target.names)))
    for name, found in (("frozen", frozen), ("scratch", scratch)):
        measures |= {f"{name}_{count}": accuracy for count, accuracy in found.items()}
    gain = transfer_gain(frozen[labels], scratch[labels])
    return here.result(transfer_gain=gain, frozen_changed=float(changed), **measures)


def open_features(here: Run, run: str) -> Encoder:
    """The encoder that another run trained.

    Raises:
        RunError: the folder is no run, or one that trained no classifier of images.
    """
    # Opening a run makes its nets again, for which chance is drawn that is not this run's.
    with untouched_chance(here.device):
        return open_classifier(Path(run)).net.encoder.to(here.device)


def load_target(run: Run, data: str, *, shape: tuple[int, int, int]) -> Images:
    """The images of the new classes; printed ones have the shape asked for."""
    if data == "printed":
        images = printed_digits(train=POOL, test=TEST, shape=shape, seed=run.seed, device=run.device)
    else:
        images = load_images(data, seed=run.seed, device=run.device)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    return images


def whole_task(images: Images) -> Task:
    """All classes of some images."""
    return some_classes(images, tuple(range(images.classes)))


def some_classes(images: Images, classes: tuple[int, ...]) -> Task:
    """Some classes of some images, numbered anew.

    Raises:
        DataError: the test set has no example of one of them.
    """
    parts = []
    for part in (images.train, images.test):
        places, labels = relabelled(part.labels, classes)
        missing = set(range(len(classes))) - set(labels.unique().tolist())
        if missing:
            raise DataError(f"no image of class '{images.class_names[classes[min(missing)]]}' is left to learn or test")
        parts.append(Chosen(part, places, labels=labels))
    return Task(parts[0], parts[1], tuple(images.class_names[number] for number in classes))


def split_task(run: Run, images: Images, target: Task, *, source: str, examples: int) -> tuple[Task, Task]:
    """What the features are learned on, and what they are then used for."""
    if source == "half":
        split = halves(images.classes)
        return some_classes(images, split.source), some_classes(images, split.target)
    require(source == "letters", f"--source is '{source}'; take letters or half")
    require(
        examples >= len(LETTERS), f"--examples is {examples}; there are {len(LETTERS)} letters, so at least as many"
    )
    letters = printed(LETTERS, count=examples + JUDGED, shape=images.shape, seed=run.seed, device=run.device)
    train, test = torch.arange(examples + JUDGED, device=letters.device).split([examples, JUDGED])
    return Task(Chosen(letters, train), Chosen(letters, test), tuple(LETTERS)), target


def dealt_task(task: Task, *, seed: int) -> Task:
    """The same images to learn from, with their labels dealt out at random."""
    train = task.train
    labels = dealt(train.labels.cpu(), seed=seed).to(train.device)
    return task._replace(train=Chosen(train.images, train.places, labels=labels))


def learn_source(run: Run, features: Encoder, task: Task, *, steps: int, batch: int, lr: float) -> float:
    """Teach an encoder the source's classes; returns its accuracy on held-out examples of them."""
    # Not a Classifier: it names the source's classes, and what `predict` is to find names the new ones.
    learner = Classify(nn.Sequential(features, nn.Linear(features.width, len(task.names))), lr=lr, schedule=cosine)
    run.fit(learner, task.train.batches(batch, seed=run.seed), steps=steps, name="source")
    return learner.evaluate(task.test.chunks())["accuracy"]


def draw_few(run: Run, task: Task, *, labels: int, curve: bool) -> dict[int, Chosen]:
    """The labelled images: `labels` of each class and, for the curve, other numbers as far as the classes go."""
    fewest = int(task.train.labels.bincount(minlength=len(task.names)).min())
    counts = {labels, *(count for count in COUNTS if curve and count <= fewest)}
    chosen = {}
    for count in sorted(counts, reverse=True):
        places, _ = few_of_each(task.train.labels, count, generator=run.generator("few", count))
        chosen[count] = Chosen(task.train.images, task.train.places[places], labels=task.train.labels[places])
    return chosen


def learn_frozen(
    run: Run, features: Encoder, chosen: Mapping[int, Chosen], task: Task, *, layer: Layer, steps: int, batch: int
) -> tuple[dict[int, float], int]:
    """Test accuracy of a softmax on frozen features by labels a class, and how many encoders changed."""
    found, changed = {}, 0
    for count, few in chosen.items():
        labelled = few.take(torch.arange(len(few), device=few.device)).inputs
        net = on_frozen(features, classes=len(task.names), labelled=labelled, layer=layer)
        before = digest(net.encoder)
        learner = Classify(net, lr=HEAD_RATE, schedule=cosine)
        run.fit(learner, few.batches(batch, seed=run.seed), steps=steps, name=f"frozen-{count}")
        changed += digest(net.encoder) != before
        found[count] = learner.evaluate(task.test.chunks())["accuracy"]
    return found, changed


def learn_scratch(
    run: Run, encoder: str, chosen: Mapping[int, Chosen], task: Task, *, labels: int, steps: int, batch: int
) -> dict[int, float]:
    """Test accuracy from scratch by labels a class, at the rate of three that is best on the test images."""

    def learn(count: int, rate: float) -> float:
        few = chosen[count]
        net = Classifier(build_encoder(encoder, shape=few.images.shape), classes=len(task.names))
        learner = Classify(net, lr=rate, schedule=cosine)
        stream = few.batches(batch, seed=run.seed)
        run.fit(learner, stream, steps=steps, name=f"scratch-{count}-{rate:g}")
        return evaluate_classes(net, task.test.chunks())["accuracy"]

    judged = {rate: learn(labels, rate) for rate in RATES}
    best = max(judged, key=lambda rate: judged[rate])
    found = {labels: judged[best]}
    for count in chosen:
        if count != labels:
            found[count] = learn(count, best)
    return found


def draw_curve(frozen: Mapping[int, float], scratch: Mapping[int, float], *, chance: float) -> Figure:
    """Test accuracy against labels a class, for both."""
    figure, (ax,) = panels(width=5.6, height=3.8)
    for name, found in (("softmax on frozen features", frozen), ("from scratch", scratch)):
        counts = sorted(found)
        ax.plot(counts, [found[count] for count in counts], "o-", label=name)
    ax.axhline(chance, color="grey", linestyle=":", label="guessing")
    ax.set_xscale("log")
    ax.set_xticks(sorted(frozen), [str(count) for count in sorted(frozen)])
    ax.minorticks_off()
    ax.set(xlabel="labels a class", ylabel="test accuracy", ylim=(0, 1))
    ax.legend(loc="lower right")
    return figure


def draw_examples(source: Task, target: Task) -> Figure:
    """Some images of the source in two rows, and of the target in two rows."""
    figure, axes = panels(2, 1, width=8.0, height=1.3)
    for ax, task, title in zip(
        axes, (source, target), ("to learn features from", "to tell apart from few labels"), strict=True
    ):
        ax.imshow(tiled(task).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(f"{len(task.names)} classes {title}", fontsize=9)
        ax.axis("off")
    return figure


def tiled(task: Task) -> Tensor:
    """The first images of a task in two rows, (H, W) or (H, W, 3)."""
    count = min(2 * SHOWN, len(task.train)) // 2 * 2
    images = task.train.take(torch.arange(count, device=task.train.device)).inputs.cpu()
    images = torch.nn.functional.pad(images, (1, 1, 1, 1), value=0.4)
    rows = [torch.cat([*row], dim=2) for row in images.chunk(2)]
    return torch.cat(rows, dim=1).permute(1, 2, 0).squeeze(-1)
