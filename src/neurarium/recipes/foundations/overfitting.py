"""Overfitting: ten controls against learning 200 digits by heart, side by side in one table and one figure."""

import csv
from collections.abc import Mapping
from functools import partial
from io import StringIO
from typing import NamedTuple

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.batches import epoch_order
from neurarium.data.images import Images, load_images
from neurarium.errors import InvalidValue, did_you_mean, require
from neurarium.learners.population import MemberBatches, Members
from neurarium.parts.bundles import Labelled
from neurarium.running.files import disk_errors_told, write_whole
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.foundations.overfitting import (
    ACCURACY,
    CONTROLS,
    TEST,
    TRAIN,
    Controlled,
    Outcome,
    Sets,
    mistaken,
)

LOOKS = 75  # points of a curve
TESTED = 2000  # unseen images that judge at the most: they are looked at often
TOP = 1.02  # of the accuracy's axis

LABELS = {
    "none": "no control",
    "early_stopping": "early stopping",
    "l1": "L1, λ =",
    "l2": "L2, λ =",
    "elimination": "weight elimination, λ =",
    "dropout": "dropout, p =",
    "noise_inputs": "noise at inputs, σ =",
    "noise_hidden": "noise at hidden units, σ =",
    "noise_outputs": "noise at outputs, σ =",
    "augmentation": "augmentation, pixels:",
    "more_data": "more data",
}
"""What a control is called, and its strength."""


class Taught(NamedTuple):
    """What is left of a control's fit: what it came to, curves (looks, train and test), and when it stopped."""

    outcome: Outcome
    curves: Float[Tensor, "L 2"]
    every: int
    stopped: float | None


@recipe(
    expects=[
        Expect("best_gain", at_least=0.02),
        Expect("best_gain", at_least=0.02, given={"mistakes": 0.0}),
        Expect("best_gain_same_data", at_least=0.02),
        Expect("gap_margin", above=0.0),
        Expect("gap_margin", above=0.0, given={"mistakes": 0.0}),
    ],
    smoke=dict(
        controls="none early_stopping elimination augmentation more_data", steps=400, networks=1, validation=100
    ),
    control=dict(shuffle_labels=True),
)
def overfitting(
    run: Run,
    *,
    data: str = "digits",
    examples: int = 200,
    validation: int = 200,
    more: int = 600,
    mistakes: float = 0.2,
    controls: str = "all",
    networks: int = 3,
    hidden: int = 128,
    steps: int = 1500,
    batch: int = 32,
    lr: float = 1e-3,
    shuffle_labels: bool = False,
) -> Result:
    """Two hundred digits are soon learned by heart, mistakes included; ten controls, from early stopping to more data.

    A fifth of the labels to learn from are wrong. With no control the networks come to believe every one of them, and
    read new digits the worse for it. Each control is tried at its strengths, the one with the highest validation
    accuracy counts, and all images that are left, rightly labelled, are the test. A gap is the accuracy on what was
    learned from less that on the test; it is below 0 where mistakes are not believed. Without mistakes (`mistakes=0`)
    learning by heart does little harm to reading, and of all controls more data alone gains much.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        examples: images to learn from.
        validation: images that choose the strengths and the moment to stop, their labels as wrong as the others.
        more: images that "more data" has besides.
        mistakes: share of wrong labels among all these.
        controls: all, or some with a space between: none, early_stopping, l1, l2, elimination, dropout, noise_inputs,
            noise_hidden, noise_outputs, augmentation, more_data. All are measured against none, so it must be there.
        networks: that are taught at each strength, from different first weights; accuracies are their means.
        hidden: hidden units of a network.
        steps: updates of each network.
        batch: examples an update.
        lr: learning rate of Adam.
        shuffle_labels: deal all labels out at random, those of the test too; nothing can be gained then (the negative
            control).
    """
    names = chosen(controls)
    require(networks >= 1, f"networks is {networks}, but must be at least 1")
    images = load_images(data, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    sets, added = dealt_out(run, images, examples=examples, validation=validation, more=more, mistakes=mistakes)

    sizes = (sets.train.inputs[0].numel(), hidden, images.classes)
    seeds = torch.randint(2**62, (networks,), generator=run.generator("networks")).tolist()
    taught: dict[str, Taught] = {}
    for name in names:
        control = CONTROLS[name]
        seen = sets._replace(train=joined(sets.train, added)) if control.adds else sets
        own = seeds * len(control.strengths)
        members = Members(sizes=sizes, seeds=own, gains=torch.ones(len(own)))
        every, chance = max(1, steps // LOOKS), run.generator("disturbance", name)
        learner = Controlled(members, control=control, sets=seen, generator=chance, lr=lr, every=every, looks=LOOKS)
        rows = [torch.arange(len(seen.train.labels))] * len(own)
        stream = MemberBatches(seen.train, rows=rows, seeds=own, size=batch, order=epoch_order)
        run.fit(learner, stream, steps=steps, name=name, evaluate=partial(told, learner))
        taught[name] = kept(learner)

    outcomes = {name: each.outcome for name, each in taught.items()}
    show_table(run, outcomes)
    run.picture("controls", draw_controls(taught))
    return run.result(**measures_of(outcomes))


def chosen(controls: str) -> list[str]:
    """The names of the controls to try.

    Raises:
        InvalidValue: a name that is none, one that is there twice, or none or everything else is missing.
    """
    names = list(CONTROLS) if controls == "all" else controls.split()
    for name in names:
        if name not in CONTROLS:
            raise InvalidValue(f"there is no control '{name}'; {did_you_mean(name, ('all', *CONTROLS))}")
        require(names.count(name) == 1, f"controls names {name} more than once; name each once")
    complete = "none" in names and len(names) > 1
    require(complete, f"controls is '{controls}', but gains are over none: name none and at least one other")
    return names


def dealt_out(
    run: Run, images: Images, *, examples: int, validation: int, more: int, mistakes: float
) -> tuple[Sets, Labelled]:
    """Images to learn from, to choose by and to judge by, and those that are added; mistakes in all but the test.

    Raises:
        InvalidValue: a number below 1, or more images asked for than there are.
    """
    for name, count in {"examples": examples, "validation": validation, "more": more}.items():
        require(count >= 1, f"{name} is {count}, but must be at least 1")
    there, asked = len(images.train), examples + validation + more
    require(asked <= there, f"{asked} images are asked for, but there are {there}; lower examples, validation or more")
    order = epoch_order(there, seed=run.seed, epoch=0).to(run.device)
    parts = [images.train.take(rows) for rows in order[:asked].split_with_sizes([examples, validation, more])]
    chance = run.generator("mistakes")
    train, choosing, added = (
        part._replace(labels=mistaken(part.labels, mistakes, classes=images.classes, generator=chance))
        for part in parts
    )
    test = images.test.take(torch.arange(min(TESTED, len(images.test)), device=run.device))
    unused = order[asked : asked + TESTED - len(test.labels)]
    return Sets(train, choosing, joined(test, images.train.take(unused))), added


def joined(one: Labelled, other: Labelled) -> Labelled:
    """The images of both."""
    return Labelled(torch.cat([one.inputs, other.inputs]), torch.cat([one.labels, other.labels]))


def told(learner: Controlled) -> dict[str, float]:
    """What the networks come to so far, as measures of a trace."""
    outcome = learner.outcome()
    return {"train_accuracy": outcome.train, "validation_accuracy": outcome.validation, "test_accuracy": outcome.test}


def kept(learner: Controlled) -> Taught:
    """What figure and table need of a learner: at the strength that validation chose, means over the networks."""
    outcome, control = learner.outcome(), learner.control
    members = torch.isclose(learner.strengths, torch.full_like(learner.strengths, outcome.strength))
    looked = min(len(learner.curves), learner.step // learner.every)
    curves = learner.curves[:looked, [TRAIN, TEST], ACCURACY][..., members].mean(-1).cpu()
    stopped = float(learner.stopped[members].float().mean()) if control.stops else None
    return Taught(outcome, curves, learner.every, stopped)


def measures_of(outcomes: Mapping[str, Outcome]) -> dict[str, float]:
    """Gains over no control, by how much every gap is smaller, and accuracy and gap of each."""
    none = outcomes["none"]
    others = {name: outcome for name, outcome in outcomes.items() if name != "none"}
    gains = {name: outcome.test - none.test for name, outcome in others.items()}
    same = [gain for name, gain in gains.items() if not CONTROLS[name].adds]
    measures = {"best_gain": max(gains.values()), "gap_margin": min(none.gap - other.gap for other in others.values())}
    if same:
        measures["best_gain_same_data"] = max(same)
    measures |= {f"test_accuracy_{name}": outcome.test for name, outcome in outcomes.items()}
    return measures | {f"gap_{name}": outcome.gap for name, outcome in outcomes.items()}


def show_table(run: Run, outcomes: Mapping[str, Outcome]) -> None:
    """The table, for the person at the terminal and as table.csv in the run's folder."""
    none = outcomes["none"]
    heads = ("control", "strength", "train", "validation", "test", "spread", "gap", "gain")
    rows = [
        (name, *(round(value, 4) for value in (*outcome, outcome.gap, outcome.test - none.test)))
        for name, outcome in outcomes.items()
    ]
    run.say(f"{heads[0]:<15}" + "".join(f"{head:>11}" for head in heads[1:]))
    for name, strength, *values in rows:
        run.say(f"{name:<15}{strength or '':>11}" + "".join(f"{value:>11.4f}" for value in values))
    if run.writes:
        content = StringIO()
        csv.writer(content, lineterminator="\n").writerows([heads, *rows])
        with disk_errors_told(run.folder):
            write_whole(run.folder / "table.csv", content.getvalue().encode())


def draw_controls(taught: Mapping[str, Taught]) -> Figure:
    """Train and test accuracy while learning, a panel a control, and what all came to in the last panel."""
    columns = min(4, len(taught) + 1)
    figure, axes = panels(-(-(len(taught) + 1) // columns), columns, width=3.6, height=2.7)
    none = taught["none"]
    for ax, (name, each) in zip(axes, taught.items(), strict=False):
        draw_curves(ax, each, none)
        strength = f" {each.outcome.strength:g}" if each.outcome.strength else ""
        ax.set_title(f"{LABELS[name]}{strength}", fontsize=10)
        ax.set_ylim(none.outcome.test / 2, TOP)  # below is only the steep beginning
    axes[0].legend(fontsize=8, loc="lower right")
    draw_bars(axes[len(taught)], {name: each.outcome for name, each in taught.items()})
    for ax in axes[len(taught) + 1 :]:
        ax.axis("off")
    for place, ax in enumerate(axes[: len(taught)]):
        ax.set_xlabel("step" if place + columns >= len(axes) else "")
        ax.set_ylabel("" if place % columns else "accuracy")
    return figure


def draw_curves(ax: Axes, each: Taught, none: Taught) -> None:
    """One control's curves, with the test curve of no control behind them."""
    lines = ((none, 1, "0.7", "test, no control"), (each, 0, COLOURS[0], "train"), (each, 1, COLOURS[1], "test"))
    for taught, place, colour, label in lines:
        steps = [taught.every * (look + 1) for look in range(len(taught.curves))]
        ax.plot(steps, taught.curves[:, place], linewidth=1.5, color=colour, label=label)
    if each.stopped is not None:
        ax.axvline(each.stopped, color="0.3", linewidth=1.0, linestyle=":")


def draw_bars(ax: Axes, outcomes: Mapping[str, Outcome]) -> None:
    """Accuracy on what was learned from and on the test, a pair of dots a control, in the order of the test's."""
    names = sorted(outcomes, key=lambda name: outcomes[name].test)
    for place, name in enumerate(names):
        outcome = outcomes[name]
        ax.plot([outcome.train, outcome.test], [place, place], color="0.8", linewidth=2, zorder=1)
        ax.plot(outcome.train, place, "o", color=COLOURS[0], markersize=5)
        ax.plot(outcome.test, place, "o", color=COLOURS[1], markersize=5)
    ax.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=8)
    ax.set_title("at the end: train and test", fontsize=10)
    ax.set_xlabel("accuracy")
