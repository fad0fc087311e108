"""Optimizers: seven rules side by side on surfaces, on a quadratic of known condition, and with a digit reader."""

from collections.abc import Mapping
from copy import deepcopy
from functools import partial

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.images import Images, load_images
from neurarium.errors import InvalidValue, did_you_mean, require
from neurarium.learners.classify import Classify
from neurarium.parts.optimizers import MakeOptimizer
from neurarium.parts.rules import adamw
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.running.trace import Line
from neurarium.systems.foundations.optimizers import (
    LESSONS,
    RULES,
    SURFACES,
    Network,
    Quadratic,
    Surface,
    best_walk,
    steps_until,
)

CONDITION = 100.0  # of the quadratic whose steps are counted
DIMENSIONS = 10  # of that quadratic
TOLERANCE = 1e-6  # part of the first height at which it counts as done
FINE, LEVELS = 160, 14  # places a side that contour lines are drawn through, and how many lines
LOWEST = 1e-9  # height that is drawn as none
SMOOTH = 8  # lines of the trace that a point of a loss curve is the mean of

INK = {**dict(zip(RULES, COLOURS, strict=False)), "adamw": COLOURS[7]}
"""The colour of each rule."""

DESCENTS = {"batch": "--", "stochastic": ":", "minibatch": "-"}
"""The lines of the networks that plain descent teaches, all in its colour."""

Walks = Mapping[str, tuple[float, Tensor]]
"""For each rule, its learning rate and its points."""


@recipe(
    expects=[
        Expect("test_accuracy", at_least=0.96),
        # Plain descent's own number follows from theory: see the test.
        Expect("ill_conditioned_steps", at_most=150),
        Expect("ill_conditioned_steps_sgd", at_most=420),
        Expect("ill_conditioned_steps_momentum", at_most=150),
        Expect("ill_conditioned_steps_nesterov", at_most=100),
        Expect("ill_conditioned_steps_gains", below=414),
        Expect("ill_conditioned_steps_rprop", below=414),
        # No promise for RMSprop: near the bottom its steps stay as long as its rate, and when one lands is chance.
        Expect("ill_conditioned_steps_adam", at_most=150),
        Expect("ill_conditioned_steps_adamw", at_most=150),
    ],
    smoke=dict(steps=60, networks="minibatch adam", walk=6, frames=2, longest=12),
    control=dict(shuffle_labels=True),
)
def optimizers(
    run: Run,
    *,
    data: str = "digits",
    steps: int = 1500,
    batch: int = 32,
    hidden: int = 64,
    networks: str = "all",
    walk: int = 200,
    frames: int = 24,
    longest: int = 3000,
    shuffle_labels: bool = False,
) -> Result:
    """Descent, momentum, Nesterov, gains, Rprop, RMSprop and Adam walk the same slopes.

    On a surface every rule takes its own best learning rate from one grid. The steps that are counted are those until
    a 10-dimensional quadratic of condition number 100, turned at random, has fallen to a millionth of its height
    (`ill_conditioned_steps` is Adam's). Then networks with the same first weights learn to read, one fit a rule and
    one of AdamW; plain descent three times, with all images a step, with one, and with a few. Watch the film: who
    leaves the saddle first?

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        steps: updates of each network.
        batch: examples an update of those that learn from minibatches.
        hidden: hidden units of a network.
        networks: all, or those to teach with a space between: batch, stochastic, minibatch, momentum, nesterov, gains,
            rprop, rmsprop, adam, adamw. `test_accuracy` is adam's, so adam must be among them; batch and rprop look at
            every image in every step, so leave them out on large data.
        walk: steps of every rule on each surface.
        frames: pictures in the film.
        longest: steps at which counting on the quadratic gives up.
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    require(frames >= 1, f"frames is {frames}, but a film needs at least 1")
    require(longest >= 1, f"longest is {longest}, but must be at least 1 step")
    names = chosen(networks)
    bowl = Quadratic(dimensions=DIMENSIONS, condition=CONDITION, generator=run.generator("quadratic"))
    counted: dict[str, MakeOptimizer] = {**RULES, "adamw": adamw}
    counts = {name: steps_until(bowl, make, tolerance=TOLERANCE, longest=longest) for name, make in counted.items()}
    show_walks(run, walk=walk, frames=frames)

    images = load_images(data, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    network = Network(shape=images.shape, hidden=hidden, classes=images.classes)
    tests: dict[str, dict[str, float]] = {}
    for name in names:
        lesson = LESSONS[name]
        learner = Classify(deepcopy(network), optimizer=lesson.make, lr=lesson.lr)
        stream = images.train.batches(lesson.size(batch, len(images.train)), seed=run.seed)
        judge = partial(test, learner, images)
        run.fit(learner, stream, steps=steps, name=name, evaluate=judge)
        tests[name] = judge()
    run.picture("networks", draw_networks(run.trace.lines(), names))
    run.picture("steps", draw_counts(counts))

    accuracies = {f"test_accuracy_{name}": test["test_accuracy"] for name, test in tests.items()}
    each = {f"ill_conditioned_steps_{name}": count for name, count in counts.items()}
    accuracy = tests["adam"]["test_accuracy"]
    return run.result(test_accuracy=accuracy, ill_conditioned_steps=counts["adam"], **each, **accuracies)


def chosen(networks: str) -> list[str]:
    """The names of the networks to teach.

    Raises:
        InvalidValue: a name that is none, one that is there twice, or adam is missing.
    """
    names = list(LESSONS) if networks == "all" else networks.split()
    for name in names:
        if name not in LESSONS:
            raise InvalidValue(f"there is no network '{name}'; {did_you_mean(name, ('all', *LESSONS))}")
        require(names.count(name) == 1, f"networks names {name} more than once; name each once")
    require("adam" in names, f"networks is '{networks}', but test_accuracy is adam's; add adam")
    return names


def test(learner: Classify[Network], images: Images) -> dict[str, float]:
    """Loss and accuracy on the images held out."""
    return learner.evaluate(images.test.chunks(1000), prefix="test_")


def show_walks(run: Run, *, walk: int, frames: int) -> None:
    """The paths on every surface as a picture, and their growth as a film."""
    walks = {
        place: {name: best_walk(surface, make, steps=walk) for name, make in RULES.items()}
        for place, surface in SURFACES.items()
    }
    # Most happens early, so the frames are evenly spaced in logarithm.
    moments = sorted({round((walk + 1) ** (frame / frames)) for frame in range(1, frames + 1)})
    for moment in moments:
        run.picture("walks", draw_walks(walks, upto=moment), step=moment - 1)
    run.film("walks", milliseconds=300)
    run.picture("paths", draw_walks(walks, upto=walk + 1))
    run.picture("heights", draw_heights(walks))


def draw_walks(walks: Mapping[str, Walks], *, upto: int) -> Figure:
    """The first points of every rule on every surface, one colour a rule."""
    figure, axes = panels(1, len(walks), width=4.4, height=4.6)
    for ax, (place, ways) in zip(axes, walks.items(), strict=True):
        surface = SURFACES[place]
        draw_contours(ax, surface)
        for name, (_, way) in ways.items():
            seen = way[:upto]
            ax.plot(seen[:, 0], seen[:, 1], color=INK[name], linewidth=1.4, alpha=0.85, label=name)
            ax.plot(*seen[-1], "o", color=INK[name], markersize=6, markeredgecolor="white", zorder=5)
        for bottom in surface.bottoms:
            ax.plot(*bottom, "*", color="black", markersize=11, zorder=4)
        ax.set(title=f"{place}, step {upto - 1}", xlabel="first weight")
    axes[0].set_ylabel("second weight")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(RULES))
    return figure


def draw_contours(ax: Axes, surface: Surface) -> None:
    """Lines of equal height, closer together towards the bottom."""
    across, up = (torch.linspace(low, high, FINE) for low, high in zip(surface.low, surface.high, strict=True))
    heights = surface.height(torch.stack(torch.meshgrid(across, up, indexing="xy"), -1))
    highest = float(heights.max())
    levels = torch.logspace(torch.tensor(highest / 3e3).log10(), torch.tensor(highest).log10(), LEVELS)
    ax.contour(across, up, heights, levels=levels.tolist(), colors="0.7", linewidths=0.7)
    ax.plot(*surface.start, "o", color="black", markersize=5)
    ax.set(xlim=(surface.low[0], surface.high[0]), ylim=(surface.low[1], surface.high[1]))
    ax.grid(visible=False)


def draw_heights(walks: Mapping[str, Walks]) -> Figure:
    """How high every rule stands after each step, and with which learning rate."""
    figure, axes = panels(1, len(walks), width=4.4, height=3.6)
    for ax, (place, ways) in zip(axes, walks.items(), strict=True):
        for name, (rate, way) in ways.items():
            heights = SURFACES[place].height(way).clamp(min=LOWEST)
            ax.semilogy(heights, color=INK[name], linewidth=1.3, label=f"{name}, {rate:g}")
        ax.set(title=place, xlabel="step")
        ax.legend(fontsize=7, title="rule, learning rate", title_fontsize=7)
    axes[0].set_ylabel("height above the bottom")
    return figure


def draw_counts(counts: Mapping[str, int]) -> Figure:
    """Steps on the quadratic, a bar a rule."""
    figure, (ax,) = panels(width=6.4, height=3.4)
    bars = ax.barh(list(counts), list(counts.values()), color=[INK[name] for name in counts])
    ax.bar_label(bars, padding=3)
    ax.invert_yaxis()
    ax.set(xlabel="steps to a millionth of the height", title=f"A quadratic of condition number {CONDITION:g}")
    return figure


def draw_networks(lines: list[Line], names: list[str]) -> Figure:
    """Training loss, smoothed, and test accuracy of every network."""
    figure, (losses, accuracies) = panels(1, 2, width=5.4, height=4.0)
    for name in names:
        colour, line = INK.get(name, INK["sgd"]), DESCENTS.get(name, "-")
        mine = [entry for entry in lines if entry.fit == name]
        points = [(entry.step, entry.measures["loss"]) for entry in mine if "loss" in entry.measures]
        spans = [points[max(0, end - SMOOTH) : end] for end in range(1, len(points) + 1)]
        smooth = [sum(loss for _, loss in span) / len(span) for span in spans]
        losses.semilogy([step for step, _ in points], smooth, label=name, linewidth=1.4, color=colour, linestyle=line)
        tested = [(entry.step, entry.measures["test_accuracy"]) for entry in mine if "test_accuracy" in entry.measures]
        ticks, shares = ([pair[place] for pair in tested] for place in (0, 1))
        accuracies.plot(ticks, shares, marker="o", markersize=3, linewidth=1.2, color=colour, linestyle=line)
    losses.set(xlabel="step", title="training loss")
    accuracies.set(xlabel="step", title="test accuracy")
    losses.legend(fontsize=8, ncols=2)
    return figure
