"""The Elman network on temporal XOR: prediction where prediction is possible."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.sequences import TRIPLE, Endless, temporal_xor
from neurarium.learners.sequence import ThroughTime, bits_right, growing, whole
from neurarium.parts.bundles import Sequences
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.sequence.elman import Elman

TEST_SEQUENCES = 1200  # as many as Elman averaged over, fig. 3
LONGER = 4  # times the length learned from, for a look at whether the rule was found or the length learned by heart
DRAWN = 12  # predictions, as many as fig. 3 shows
DRAWN_BITS = 30  # of one sequence
MAPPED = 100  # sequences whose states are drawn
STATES = (
    ("after a = 0", "o", COLOURS[0]),
    ("after a = 1", "^", COLOURS[0]),
    ("after b, next is 0", "o", COLOURS[1]),
    ("after b, next is 1", "^", COLOURS[1]),
    ("after the third", "s", COLOURS[2]),
)


@recipe(
    expects=[Expect("accuracy", at_least=0.99)],
    smoke=dict(steps=250, length=15, lr=1e-2),
    control=dict(shuffle_targets=True),
)
def elman(
    run: Run,
    *,
    steps: int = 1500,
    batch: int = 64,
    lr: float = 5e-3,
    hidden: int = 16,
    length: int = 60,
    targets: Literal["all", "last", "some"] = "all",
    truncate: int | None = None,
    curriculum: bool = False,
    shuffle_targets: bool = False,
) -> Result:
    """An Elman network finds out when it can know the next bit.

    Bits come in triples a, b, a ⊕ b, joined without a mark. Asked for the next bit at every step, the network can do no
    better than guess at two of three, and must remember two bits and where it is in the triple to know the third. Look
    at its error: Elman's saw-tooth, low at every third bit. Accuracy is counted at those, on sequences it never saw.

    Args:
        steps: updates.
        batch: sequences an update, each of them new.
        lr: learning rate at the start; it falls along a cosine.
        hidden: number of hidden units.
        length: bits of a sequence, a multiple of 3.
        targets: teach at all steps, at the last one, or at some (those whose next bit can be known).
        truncate: k of BPTT(k), the steps that errors travel back at most (Elman's own is 1; none: all).
        curriculum: begin with one triple and grow to the whole length by half of the training.
        shuffle_targets: learn from the next bits of other sequences (the negative control).
    """
    model = Elman(inputs=1, hidden=hidden, outputs=1)
    teach = partial(
        ThroughTime,
        model,
        targets=targets,
        truncate=truncate,
        curriculum=growing(start=TRIPLE - 1, by=TRIPLE) if curriculum else whole,
        lr=lr,
    )
    drawn = {"hidden": partial(draw_hidden, model)}
    return keep_time(run, teach, drawn, length=length, steps=steps, batch=batch, shuffle_targets=shuffle_targets)


def keep_time(
    run: Run,
    teach: Callable[..., ThroughTime],
    drawn: Mapping[str, Callable[[Sequences], Figure]],
    *,
    length: int,
    steps: int,
    batch: int,
    shuffle_targets: bool,
) -> Result:
    """Teach a network temporal XOR, draw its predictions (and what else is asked for), and measure it.

    Args:
        run: where.
        teach: makes the learner from what is the same for every network.
        drawn: pictures of the network's own, from the test, by name.
        length: bits of a sequence.
        steps: updates.
        batch: sequences an update.
        shuffle_targets: learn from the next bits of other sequences.
    """
    draw = partial(temporal_xor, length=length, device=run.device)
    test = draw(run.generator("test"), count=TEST_SEQUENCES)
    longer = temporal_xor(run.generator("longer"), count=TEST_SEQUENCES, length=LONGER * length, device=run.device)
    learner = teach(measures={"accuracy": bits_right}, schedule=cosine)
    stream = Endless(partial(draw, count=batch, shuffle_targets=shuffle_targets), run.generator("train"))

    def evaluate() -> dict[str, float]:
        measured = learner.evaluate([test])
        return {"test_loss": measured["loss"], "accuracy": measured["accuracy"]}

    run.fit(learner, stream, steps=steps, evaluate=evaluate)
    run.picture("saw_tooth", draw_saw_tooth(learner, test))
    run.picture("predictions", draw_predictions(learner, test))
    for name, own in drawn.items():
        run.picture(name, own(test))
    return run.result(**evaluate(), longer_accuracy=learner.evaluate([longer])["accuracy"])


def draw_saw_tooth(learner: ThroughTime, test: Sequences) -> Figure:
    """The error of each of the first predictions, root mean square over all sequences (Elman 1990, fig. 3)."""
    squares = (torch.sigmoid(learner.predict(test.inputs)) - test.targets) ** 2
    errors = squares.mean(dim=(0, 2)).sqrt()[:DRAWN].tolist()
    figure, [ax] = panels(width=6.0, height=3.4)
    ax.axhline(0.5, color=COLOURS[-1], linewidth=1, linestyle="--")
    ax.text(len(errors) + 0.4, 0.51, "guessing", color=COLOURS[-1], fontsize=8, ha="right", va="bottom")
    bits = np.arange(2, len(errors) + 2)
    ax.plot(bits, errors, color=COLOURS[0], linewidth=1.4)
    for known, colour, label in ((True, COLOURS[1], "third of a triple"), (False, COLOURS[0], "coin flip")):
        chosen = (bits % TRIPLE == 0) == known
        ax.plot(bits[chosen], np.array(errors)[chosen], "o", color=colour, label=label)
    ax.set(xlabel="bit predicted", ylabel="root mean square error", ylim=(0, 0.65), xticks=bits)
    ax.set_title(f"Error over the first predictions of {len(test.mask)} unseen sequences", fontsize=10)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=8)
    return figure


def draw_predictions(learner: ThroughTime, test: Sequences) -> Figure:
    """What the network expects of each next bit of one sequence, against what came."""
    expected = torch.sigmoid(learner.predict(test.inputs[:1]))[0, : DRAWN_BITS - 1, 0].cpu()
    came = test.targets[0, : DRAWN_BITS - 1, 0].cpu()
    bits = np.arange(2, len(came) + 2)
    figure, [ax] = panels(width=9.0, height=2.8)
    _mark_thirds(ax, bits)
    ax.vlines(bits, 0.5, expected, color=COLOURS[0], linewidth=5, label="expected (from even odds)")
    ax.plot(bits, came, "o", color=COLOURS[1], markersize=5, label="came")
    ax.set(xlabel="bit predicted", yticks=[0, 0.5, 1], ylim=(-0.12, 1.12), xticks=bits[1::TRIPLE])
    ax.set_title("Probability that the next bit is 1; shaded where it follows from the two before", fontsize=10)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=8)
    return figure


def draw_hidden(model: Elman, test: Sequences) -> Figure:
    """The hidden units over one sequence, and the states of many in the plane in which they vary most."""
    inputs, targets = test.inputs[:MAPPED], test.targets[:MAPPED]
    with torch.no_grad():
        hidden = model.activity(inputs).float().cpu()
    figure, [units, states] = panels(1, 2, width=5.6, height=4.0)
    _draw_units(units, hidden[0, :DRAWN_BITS], inputs[0, :DRAWN_BITS, 0].int().tolist())
    figure.colorbar(units.images[0], ax=units, label="activity", shrink=0.8)
    # What must be kept: a itself after a, the bit to come after b, nothing after the third.
    place = torch.arange(inputs.shape[1]) % TRIPLE
    kept = torch.where(place == 0, inputs[..., 0].cpu(), torch.where(place == 1, targets[..., 0].cpu(), 0.0))
    _draw_states(states, hidden.flatten(0, 1), (2 * place + kept).flatten())
    return figure


def _draw_units(ax: Axes, hidden: Float[Tensor, "T H"], bits: list[int]) -> None:
    # Units that act alike stand together.
    order = _main_directions(hidden)[0].argsort()
    ax.imshow(hidden[:, order].T.numpy(), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    for edge in range(TRIPLE, len(bits), TRIPLE):
        ax.axvline(edge - 0.5, color="black", linewidth=0.6)
    ax.grid(visible=False)
    ax.set(xlabel="bit seen (a line after each triple)", ylabel="hidden unit", yticks=[])
    ax.set_xticks(range(len(bits)), map(str, bits), fontsize=8)
    ax.set_title("Hidden units over one sequence", fontsize=10)


def _draw_states(ax: Axes, states: Float[Tensor, "S H"], kept: Float[Tensor, " S"]) -> None:
    plane = (states - states.mean(0)) @ _main_directions(states)[:2].T
    for code, (label, marker, colour) in enumerate(STATES):
        points = plane[kept == code]
        ax.plot(points[:, 0], points[:, -1], marker, color=colour, markersize=4, alpha=0.4, label=label)
    ax.set(xlabel="first principal component", ylabel="second")
    ax.set_title(f"Hidden states of {MAPPED} sequences: what is kept", fontsize=10)
    ax.legend(fontsize=8)


def _main_directions(states: Float[Tensor, "S H"]) -> Float[Tensor, "D H"]:
    return torch.linalg.svd(states - states.mean(0), full_matrices=False).Vh


def _mark_thirds(ax: Axes, bits: np.ndarray) -> None:
    for bit in bits[bits % TRIPLE == 0]:
        ax.axvspan(bit - 0.5, bit + 0.5, color=COLOURS[3], alpha=0.2, linewidth=0)
