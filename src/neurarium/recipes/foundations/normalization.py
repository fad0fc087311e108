"""Normalisation on the embedded digits, or on images or a table of your own: how much sooner, and what it cannot do."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from neurarium.data.images import Images
from neurarium.data.labelled import load_labelled
from neurarium.data.tables import Table
from neurarium.errors import InvalidValue, NotFinite, require
from neurarium.learners.classify import Classify
from neurarium.parts.bundles import Labelled
from neurarium.parts.normalization import standardise
from neurarium.parts.optimizers import sgd
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.foundations.normalization import ConvolutionalNet, DenseNet, Normed, dense_norm, image_norm

GOAL = 0.9  # test accuracy to which steps are counted
FASTER = 5  # times the learning rate with a norm, as in Ioffe & Szegedy's BN-x5
JUDGED = 1000  # test examples looked at after each step at the most
SIZES = (1, 2, 4, 16, 64)  # of the small batches
NEAR = 0.01  # of ±1, within which a normalised value counts as one of the two
HIDDEN = {"dense": 64, "convolutional": 16}  # units, or feature maps, of each layer

Examples = Images | Table[Labelled]


@recipe(
    expects=[Expect("batchnorm_speedup", above=1.0)],
    smoke=dict(steps=30, examples=64, layers=4),
    control=dict(shuffle_labels=True),
)
def normalization(
    run: Run,
    *,
    data: str = "digits",
    target: str | None = None,
    net: Literal["dense", "convolutional"] = "dense",
    norm: Literal["batch", "layer", "instance", "group", "none"] = "batch",
    groups: int = 4,
    layers: int = 6,
    hidden: int | None = None,
    steps: int = 400,
    examples: int = 6000,
    batch: int = 64,
    lr: float = 0.1,
    shuffle_labels: bool = False,
) -> Result:
    """A norm after every layer lets a deep network learn several times sooner.

    One network is taught by plain gradient descent four times from the same first weights: without norm and with it, at
    a learning rate that suits it without and at five times that. batchnorm_speedup is how many steps it takes to 90 %
    test accuracy without norm, over how many with the norm at the larger rate; without norm the larger rate alone
    (rate_speedup) does not do it. A network that does not get there counts with all its steps, so the speed-up is then
    what it is at least. Then look at small batches, each shown equally many examples: a dense unit's two numbers become
    −1 and 1 whatever they were, and a batch of 1 is refused. Layer and group norm do not mind. pair_share says how many
    normalised values of a fresh first layer are within 1 % of −1 or 1 when the batch is 2.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR, folder:DIR, breast-cancer, iris, wine or csv:FILE.
        target: the column to predict, for csv:FILE.
        net: dense or convolutional.
        norm: batch, layer, instance (for convolutional alone), group, or none to compare the network with itself.
        groups: of group norm's channels.
        layers: number of hidden layers.
        hidden: units or feature maps of each (default: 64 dense, 16 convolutional).
        steps: updates of each of the four.
        examples: shown to each network that learns from small batches.
        batch: examples an update.
        lr: learning rate without norm; with norm it is five times that. Smaller batches take it in proportion.
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    require(examples >= max(SIZES), f"examples is {examples}, but must make a batch of {max(SIZES)}")
    found = load_labelled(data, target=target, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    run.note(data=found.name)
    require(net in HIDDEN, f"net is '{net}'; choose {' or '.join(HIDDEN)}")
    build = partial(build_network, run, found, net=net, groups=groups, layers=layers, hidden=hidden or HIDDEN[net])
    chosen = torch.randperm(len(found.test), generator=run.generator("judged"))[:JUDGED]
    judged = found.test.take(chosen.to(run.device))

    plans = {"without": ("none", 1), f"without_{FASTER}x": ("none", FASTER), "with": (norm, 1)}
    plans[f"with_{FASTER}x"] = (norm, FASTER)
    taken, learners = {}, {}
    for name, (kind, factor) in plans.items():
        learner = learners[name] = Classify(build(kind), optimizer=sgd, lr=lr * factor)
        stream = found.train.batches(batch, seed=run.seed)
        judge = partial(learner.evaluate, [judged], prefix="test_")
        try:
            run.fit(learner, stream, steps=steps, name=name, evaluate=judge, evaluations=max(1, steps))
        except NotFinite as error:
            if name != f"without_{FASTER}x":
                raise
            run.say(f"{name}: {error} (here that is the point)")
        taken[name] = steps_to_goal(run, name)
        if taken[name] is None:
            run.say(f"{name}: not at {GOAL:.0%} within {steps} steps; it counts with all of them")
    run.picture("speed", draw_speed(run, taken, norm))

    accuracies = learn_from_few(run, found, build, net=net, examples=examples, rate=lr * FASTER / batch)
    values = normalised_pairs(build("none"), found)
    run.picture("small_batches", draw_small(accuracies, values))
    counted = {name: float(steps if at is None else at) for name, at in taken.items()}
    last = learners[f"with_{FASTER}x"].evaluate(found.test.chunks(1000), prefix="test_")
    return run.result(
        batchnorm_speedup=ratio(counted["without"], counted[f"with_{FASTER}x"]),
        rate_speedup=ratio(counted["without"], counted[f"without_{FASTER}x"]),
        steps_without=counted["without"],
        steps_with=counted[f"with_{FASTER}x"],
        test_accuracy=last["test_accuracy"],
        pair_share=float(((values[2].abs() - 1).abs() < NEAR).float().mean()),
        **{f"{kind}_{size}_accuracy": value for (kind, size), value in accuracies.items()},
    )


def build_network(
    run: Run, found: Examples, kind: str, *, net: str, groups: int, layers: int, hidden: int
) -> DenseNet | ConvolutionalNet:
    """The network with one kind of norm; all kinds begin with the same weights."""
    shape = next(found.test.chunks(1)).inputs.shape[1:]
    make = DenseNet if net == "dense" else ConvolutionalNet
    return make(
        shape=shape,
        classes=found.classes,
        layers=layers,
        hidden=hidden,
        norm=(dense_norm if net == "dense" else image_norm)(kind, groups=groups),
        generator=run.generator("weights"),
    )


def curve(run: Run, name: str) -> list[tuple[int, float]]:
    """Steps of a fit and the test accuracy after each."""
    return [
        (line.step, line.measures["test_accuracy"])
        for line in run.trace.lines()
        if line.fit == name and "test_accuracy" in line.measures
    ]


def steps_to_goal(run: Run, name: str) -> int | None:
    """The first step of a fit after which the goal was reached, if it was."""
    return next((step for step, accuracy in curve(run, name) if accuracy >= GOAL), None)


def ratio(without: float, with_it: float) -> float:
    """Steps over steps, where neither may have taken any."""
    return without / max(1.0, with_it)


def learn_from_few(
    run: Run, found: Examples, build: Callable[[str], nn.Module], *, net: str, examples: int, rate: float
) -> dict[tuple[str, int], float]:
    """Test accuracy after learning from batches of each size, with batch norm and with one that knows no batch.

    Args:
        run: the run.
        found: the data.
        build: makes the network with a kind of norm.
        net: dense or convolutional.
        examples: shown to each network.
        rate: learning rate for each example of a batch, so that every example moves the weights alike.
    """
    accuracies = {}
    for kind in ("batch", "layer" if net == "dense" else "group"):
        for size in SIZES:
            if size == 1 and refuses(run, build(kind), found):
                continue
            learner = Classify(build(kind), optimizer=sgd, lr=rate * size)
            stream = found.train.batches(size, seed=run.seed)
            run.fit(learner, stream, steps=examples // size, name=f"{kind}_norm_{size}")
            accuracies[kind, size] = learner.evaluate(found.test.chunks(1000))["accuracy"]
    return accuracies


def refuses(run: Run, model: nn.Module, found: Examples) -> bool:
    """Whether a network in training refuses a batch of one example; it then says why."""
    try:
        model(next(found.test.chunks(1)).inputs)
    except InvalidValue as refusal:
        run.say(f"a batch of 1: {refusal}")
        return True
    return False


def normalised_pairs(model: DenseNet | ConvolutionalNet, found: Examples) -> dict[int, Float[Tensor, " V"]]:
    """What batch norm makes of the first layer's net inputs, for batches of some sizes; all values of all batches."""
    first = next(module for module in model.modules() if isinstance(module, Normed)).layer
    examples = next(found.train.chunks(512)).inputs
    with torch.no_grad():
        net = first.cpu()(examples.cpu().flatten(1) if isinstance(first, nn.Linear) else examples.cpu())
    dims = [dim for dim in range(net.ndim) if dim != 1]
    return {
        size: torch.cat([standardise(part, dims)[0].flatten() for part in net.split(size) if len(part) == size])
        for size in (2, 4, 64)
        if size <= len(net)
    }


def draw_speed(run: Run, taken: Mapping[str, int | None], norm: str) -> Figure:
    """Test accuracy over the first steps, with the step at which each network gets to the goal."""
    figure, (ax,) = panels(width=7.0, height=4.0)
    longest = max((step for name in taken for step, _ in curve(run, name)), default=2)
    for name, colour in zip(taken, (COLOURS[0], COLOURS[5], COLOURS[3], COLOURS[1]), strict=True):
        label = f"{norm} norm" if name.startswith("with_") or name == "with" else "no norm"
        label += f", {FASTER}× the rate" if name.endswith("x") else ""
        at = taken[name]
        label += f": {at} steps" if at is not None else f": not at {GOAL:.0%}"
        points = dict(curve(run, name))
        ax.plot(list(points), list(points.values()), color=colour, linewidth=1.6, label=label)
        if at is not None:
            ax.plot([at], [points[at]], "o", color=colour, markersize=6)
    ax.axhline(GOAL, color="black", linewidth=0.8, linestyle=":")
    ax.set(xscale="log", xlim=(0.9, 1.1 * longest), ylim=(0, 1), xlabel="step", ylabel="test accuracy")
    ax.set_title("The same network, taught four times")
    ax.legend(fontsize=8, loc="upper left")
    return figure


def draw_small(accuracies: Mapping[tuple[str, int], float], values: Mapping[int, Float[Tensor, " V"]]) -> Figure:
    """What batches of few examples come to, and what batch norm leaves of their values."""
    figure, (left, right) = panels(1, 2, width=5.2, height=3.6)
    for kind, colour in zip(dict.fromkeys(kind for kind, _ in accuracies), COLOURS[1::-1], strict=False):
        points = [(size, accuracy) for (other, size), accuracy in accuracies.items() if other == kind]
        left.plot(*zip(*points, strict=True), "o-", color=colour, label=f"{kind} norm")
    left.set_xscale("log", base=2)
    left.set(
        xlabel="examples a batch", ylabel="test accuracy", ylim=(0, 1), title="As many examples, in smaller batches"
    )
    left.set_xticks(SIZES, [str(size) for size in SIZES])
    left.legend(fontsize=8, loc="lower right")
    for (size, each), colour in zip(values.items(), COLOURS[1:], strict=False):
        right.hist(
            each.numpy(), bins=81, range=(-3, 3), density=True, histtype="step", color=colour, label=f"batch of {size}"
        )
    right.set(xlabel="normalised value", ylabel="density", yscale="log", title="What batch norm leaves, first layer")
    right.legend(fontsize=8)
    return figure
