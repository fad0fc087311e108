"""minGRU and minLSTM on the adding problem: a recurrent network that learns from all steps at once."""

from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.sequences import Endless, adding
from neurarium.learners.sequence import ThroughTime
from neurarium.parts.bundles import Sequences
from neurarium.parts.places import squared_errors
from neurarium.parts.scan import MinGRUCell, MinLSTMCell
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.sequence.mingru import MinRecurrent

TEST_SEQUENCES = 1000
LONGER = 2  # times the length learned from, for a look at whether the rule was found or the length learned by heart
CELLS = {"mingru": MinGRUCell, "minlstm": MinLSTMCell}
NAMES = {"mingru": "minGRU", "minlstm": "minLSTM"}
LEAST_DRAWN = 1e-4  # of the part that a unit replaces at a step; darkest there and below
TREE_STEPS = 16  # of the drawn scan
LONGEST = 4096  # steps to which the stages are counted


@recipe(
    expects=[
        Expect("mse", at_most=0.01),
        Expect("mse", at_most=0.01, given=dict(cell="minlstm")),
    ],
    smoke=dict(steps=200, length=20, lr=3e-2),
    control=dict(shuffle_targets=True),
)
def mingru(
    run: Run,
    *,
    steps: int = 1000,
    batch: int = 32,
    lr: float = 1e-2,
    cell: Literal["mingru", "minlstm"] = "mingru",
    layers: int = 2,
    hidden: int = 32,
    length: int = 200,
    memory: int | None = None,
    shuffle_targets: bool = False,
) -> Result:
    """The minGRU adds two marked numbers, and learns from all steps at once.

    Of 200 numbers two are marked; at the end, what is their sum? Always answering 1 is wrong by a mean square of 1/6.
    The gates look at the inputs alone, never at the state, so a parallel scan replaces the loop over time: look at the
    tree. Look at the gates too: those of the first layer can know that a number is marked, but not whether it is the
    first; those of the second see the states of the first. One layer comes close (0.003 to 0.011 on three
    seeds): it takes a small step towards each marked number and hardly moves in between. Two come ten times closer.

    What is learned holds for the length learned from: asked at the last step alone, the network is right there alone.
    In between its answer drifts with the steps gone by, and at twice the length (`longer_mse`) it has drifted past.

    Args:
        steps: updates.
        batch: sequences an update, each of them new.
        lr: learning rate at the start; it falls along a cosine.
        cell: mingru (one gate) or minlstm (forget and input gate, scaled to sum to 1).
        layers: number of layers.
        hidden: number of hidden units of a layer.
        length: steps of a sequence.
        memory: units begin with time constants from 1 to this many steps (default: the length).
        shuffle_targets: learn from the sums of other sequences (the negative control).
    """
    draw = partial(adding, length=length, device=run.device)
    test = draw(run.generator("test"), count=TEST_SEQUENCES)
    longer = adding(run.generator("longer"), count=TEST_SEQUENCES, length=LONGER * length, device=run.device)
    made = CELLS[cell]
    model = MinRecurrent(
        inputs=2, hidden=hidden, outputs=1, layers=layers, cell=made, memory=length if memory is None else memory
    )
    learner = ThroughTime(model, objective=squared_errors, targets="last", lr=lr, schedule=cosine)
    stream = Endless(partial(draw, count=batch, shuffle_targets=shuffle_targets), run.generator("train"))

    def evaluate() -> dict[str, float]:
        return {"mse": learner.evaluate([test])["loss"]}

    run.fit(learner, stream, steps=steps, evaluate=evaluate)
    run.picture("gates", draw_gates(model, test, NAMES[cell]))
    run.picture("scan", draw_scan())
    return run.result(**evaluate(), longer_mse=learner.evaluate([longer])["loss"])


def draw_gates(model: MinRecurrent, test: Sequences, name: str) -> Figure:
    """One sequence, what the network would answer at each of its steps, and what each unit lets in."""
    inputs, answer = test.inputs[:1], float(test.targets[0, -1, 0])
    with torch.no_grad():
        answers = model(inputs)[0][0, :, 0].float().cpu()
        let_in = [1 - kept[0].float().cpu() for kept in model.kept(inputs)]
    values, marks = inputs[0].cpu().T
    figure, axes = panels(1 + len(let_in), 1, width=9.0, height=2.3)
    _draw_sequence(axes[0], values, marks, answers)
    axes[0].set_title(
        f"{name} on one unseen sequence: the sum is {answer:.3f}, the answer {answers[-1]:.3f}", fontsize=10
    )
    for number, (ax, gates) in enumerate(zip(axes[1:], let_in, strict=True), start=1):
        # Units that let in more of a marked number stand higher.
        order = gates[marks > 0].mean(0).argsort()
        shades = LogNorm(LEAST_DRAWN, 1)
        image = ax.imshow(gates[:, order].T.numpy(), cmap="viridis", norm=shades, aspect="auto", origin="lower")
        ax.grid(visible=False)
        ax.set(ylabel="unit", yticks=[], title="")
        ax.set_title(f"Layer {number}: the part of its state that each unit replaces", fontsize=10)
    axes[-1].set_xlabel("step")
    figure.colorbar(image, ax=axes[1:], label="replaced, 1 − a", shrink=0.8)
    return figure


def _draw_sequence(
    ax: Axes, values: Float[Tensor, " T"], marks: Float[Tensor, " T"], answers: Float[Tensor, " T"]
) -> None:
    steps = torch.arange(len(values))
    marked = marks > 0
    ax.plot(steps, values, ".", color=COLOURS[-1], alpha=0.5, markersize=4, label="number")
    ax.plot(steps[marked], values[marked], "o", color=COLOURS[1], label="marked")
    ax.plot(steps, (values * marks).cumsum(0), color=COLOURS[1], linewidth=1.2, linestyle="--", label="sum so far")
    ax.plot(steps, answers, color=COLOURS[0], linewidth=1.4, label="answer, were this the end")
    highest = max(1.0, float(answers.max()))
    ax.set(xlim=(-0.5, len(values) - 0.5), ylim=(min(0.0, float(answers.min())) - 0.05, 1.4 * highest))
    ax.legend(fontsize=8, ncols=4, loc="upper left")


def draw_scan() -> Figure:
    """The scan as a tree over a few steps, and its depth beside the loop's."""
    figure, [tree, depth] = panels(1, 2, width=5.6, height=4.2)
    stages = _draw_tree(tree, TREE_STEPS)
    tree.set(xlabel="step", ylabel="stage", yticks=range(stages + 1), xticks=range(0, TREE_STEPS, 3))
    tree.set_title(f"{TREE_STEPS} steps in {stages} stages; each joins what lines lead up to it", fontsize=10)
    tree.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
    lengths = 2 ** np.arange(1, LONGEST.bit_length())
    depth.plot(lengths, lengths, color=COLOURS[1], label="loop: T")
    depth.plot(lengths, [depth_of(int(steps)) for steps in lengths], "o-", color=COLOURS[0], label="scan: 2 log₂ T − 1")
    depth.set(xscale="log", yscale="log", xlabel="steps T", ylabel="stages that wait for one another")
    depth.set_title("How long the longest chain is", fontsize=10)
    depth.legend(fontsize=8)
    return figure


def stages_of(steps: list[int]) -> list[list[tuple[int, int]]]:
    """The stages of a scan over these steps: in each, which step's coefficients are joined to which later step's.

    >>> stages_of([0, 1, 2, 3])  # neighbours, then their seconds, then what was skipped
    [[(0, 1), (2, 3)], [(1, 3)], [(1, 2)]]
    """
    if len(steps) == 1:
        return []
    seconds = steps[1::2]
    up = list(zip(steps[0::2], seconds, strict=False))
    down = list(zip(seconds, steps[2::2], strict=False))
    return [up, *stages_of(seconds), *([down] if down else [])]


def depth_of(steps: int) -> int:
    """The number of stages of a scan.

    >>> [depth_of(steps) for steps in (2, 16, 512)]
    [1, 7, 17]
    """
    return len(stages_of(list(range(steps))))


def _draw_tree(ax: Axes, steps: int) -> int:
    stages = stages_of(list(range(steps)))
    known = {0}
    seen = [0] * steps  # the stage at which each step stands
    for step in range(steps):
        ax.plot([step, step], [0, len(stages)], color=COLOURS[-1], linewidth=0.6, alpha=0.5)
    for number, stage in enumerate(stages, start=1):
        for first, second in stage:
            # What reaches back to the first step is a state; the rest are pairs of coefficients, joined.
            final = first in known
            known |= {second} if final else set()
            colour = COLOURS[0] if final else COLOURS[3]
            ax.plot([first, second], [seen[first], number], color=colour, linewidth=1.3)
            ax.plot([second, second], [seen[second], number], color=colour, linewidth=1.3)
            seen[second] = number
            ax.plot(second, number, "o", color=colour, markersize=5)
    ax.plot(range(steps), [0] * steps, "o", color=COLOURS[-1], markersize=4, label="a, b of one step")
    ax.plot([], [], "o-", color=COLOURS[3], label="a, b of several steps")
    ax.plot([], [], "o-", color=COLOURS[0], label="h, known")
    ax.grid(visible=False)
    return len(stages)
