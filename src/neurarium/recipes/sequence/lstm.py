"""The LSTM on tasks that need a long memory: the adding problem, and a latch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.sequences import Endless, adding, latch
from neurarium.learners.sequence import Places, ThroughTime, bit_losses, bits_right
from neurarium.parts.bundles import Sequences
from neurarium.parts.gates import Recurrent
from neurarium.parts.places import squared_errors
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.sequence.lstm import LSTM

TEST_SEQUENCES = 1000
TEST_BATCH = 250  # sequences evaluated at a time
CLIP = 1.0  # greatest norm of a gradient
CHANCE = 1 / 6  # mean square error of always answering 1: the variance of the sum of two uniform numbers
DRAWN = 500  # answers of the scatter


@dataclass(frozen=True)
class Kind:
    """What a task asks for: how its batches are drawn, and how answers are judged."""

    draw: Callable[..., Sequences]
    inputs: int
    objective: Places
    measures: Mapping[str, Places]


KINDS = {
    "adding": Kind(adding, 2, squared_errors, {"mse": squared_errors}),
    "latch": Kind(latch, 1, bit_losses, {"accuracy": bits_right}),
}


@recipe(
    expects=[
        Expect("mse", at_most=0.01),
        Expect("accuracy", at_least=0.99, given=dict(task="latch")),
    ],
    smoke=dict(steps=150, length=20, hidden=16),
    control=dict(shuffle_targets=True),
)
def lstm(
    run: Run,
    *,
    task: Literal["adding", "latch"] = "adding",
    length: int = 200,
    steps: int = 1500,
    batch: int = 64,
    lr: float = 1e-2,
    hidden: int = 32,
    spread: bool = True,
    shuffle_targets: bool = False,
) -> Result:
    """An LSTM carries two numbers over two hundred steps.

    Of two hundred numbers two are marked, and only at the end is the network asked for their sum. It must let in what
    is marked, shut out what is not, and hold on to it; a plain recurrent network answers 1 for ever. Look at the gates:
    the input gate opens at the marks, the memory steps up there and stays. The latch asks for one bit, given at the
    first step, after as much noise as you like.

    Args:
        task: adding (the sum of the two marked numbers) or latch (which bit came first).
        length: steps of a sequence.
        steps: updates.
        batch: sequences an update, each of them new.
        lr: learning rate at the start; it falls along a cosine.
        hidden: number of hidden units, and of memory cells.
        spread: begin with memories of all time scales up to the length; else every forget gate begins with bias 1.
        shuffle_targets: learn from the answers to other sequences (the negative control).
    """
    kind = KINDS[task]
    net = LSTM(inputs=kind.inputs, hidden=hidden, outputs=1, memory=max(3, length) if spread else None)
    return carry(run, net, kind, length=length, steps=steps, batch=batch, lr=lr, shuffle_targets=shuffle_targets)


def carry(
    run: Run, net: Recurrent, kind: Kind, *, length: int, steps: int, batch: int, lr: float, shuffle_targets: bool
) -> Result:
    """Teach a gated network one of the tasks, draw its gates, and measure it on sequences it never saw."""
    draw = partial(kind.draw, length=length, device=run.device)
    test = draw(run.generator("test"), count=TEST_SEQUENCES)
    learner = ThroughTime(
        net, objective=kind.objective, measures=kind.measures, targets="last", clip=CLIP, lr=lr, schedule=cosine
    )
    stream = Endless(partial(draw, count=batch, shuffle_targets=shuffle_targets), run.generator("train"))

    def evaluate() -> dict[str, float]:
        measured = learner.evaluate(in_batches(test))
        return {"test_loss": measured["loss"], **{name: measured[name] for name in kind.measures}}

    run.fit(learner, stream, steps=steps, evaluate=evaluate)
    run.picture("gates", draw_gates(net, test))
    run.picture("answers", draw_answers(learner, test))
    return run.result(**evaluate())


def in_batches(test: Sequences) -> list[Sequences]:
    """The same sequences, in as many batches as suits memory."""
    return [Sequences(*fields) for fields in zip(*(field.split(TEST_BATCH) for field in test), strict=True)]


def draw_gates(net: Recurrent, test: Sequences) -> Figure:
    """One sequence: what comes in, every gate and memory over time, and what the network would answer by then."""
    with torch.no_grad():
        seen = {name: values[0].float().cpu() for name, values in net.watch(test.inputs[:1]).items()}
        answers = net(test.inputs[:1])[0][0, :, 0].float().cpu()
    drawn = [name for name in seen if name != "candidate"]
    # The gate that keeps: units that keep longest stand on top.
    keeping = next(seen[name] for name in ("forget", "update", "gate") if name in seen).mean(0)
    order = keeping.argsort(descending="gate" not in seen)
    figure, axes = panels(len(drawn) + 2, width=9.0, height=1.45)
    _draw_inputs(axes[0], test.inputs[0].cpu())
    for ax, name in zip(axes[1:-1], drawn, strict=False):
        _draw_units(ax, name, seen[name][:, order])
        figure.colorbar(ax.images[0], ax=ax, aspect=8, pad=0.01)
    _draw_answer(axes[-1], answers, test)
    for ax in axes:
        ax.set_xlim(-0.5, len(answers) - 0.5)
        ax.tick_params(labelbottom=ax is axes[-1])
    axes[-1].set_xlabel("step")
    return figure


def _draw_inputs(ax: Axes, inputs: Tensor) -> None:
    values = inputs[:, 0].tolist()
    ax.vlines(range(len(values)), 0, values, color=COLOURS[-1], linewidth=1)
    for step in _marked(inputs):
        ax.vlines(step, 0, values[step], color=COLOURS[1], linewidth=2.5)
        ax.plot(step, values[step], "o", color=COLOURS[1], markersize=5)
    ax.set_title("inputs, the ones to remember in red", fontsize=9, loc="left")


def _draw_units(ax: Axes, name: str, values: Tensor) -> None:
    signed = name in ("memory", "hidden")
    reach = float(values.abs().max()) if signed else 1.0
    ax.imshow(
        values.T.numpy(),
        cmap="RdBu_r" if signed else "viridis",
        vmin=-reach if signed else 0,
        vmax=reach,
        aspect="auto",
        interpolation="nearest",
    )
    ax.grid(visible=False)
    ax.set(yticks=[], ylabel="unit")
    titles = {"memory": "memory cells", "hidden": "hidden units", "gate": "gate (what is replaced)"}
    ax.set_title(titles.get(name, f"{name} gate"), fontsize=9, loc="left")


def _draw_answer(ax: Axes, answers: Tensor, test: Sequences) -> None:
    values, wanted = test.inputs[0].cpu(), float(test.targets[0, -1, 0])
    if _is_adding(test):
        ax.plot((values[:, 0] * values[:, 1]).cumsum(0), color=COLOURS[1], linestyle="--", label="sum of the marked")
        title = "what it would answer by then"
    else:
        answers, title = answers.sigmoid(), "what it would answer by then: the probability that the first was +1"
    ax.plot(answers, color=COLOURS[0], linewidth=1.4, label="answer")
    ax.plot(len(answers) - 1, wanted, "o", color=COLOURS[1], clip_on=False, zorder=5, label="asked for")
    ax.set_ylim(-0.15, max(1.15, float(answers.max()) + 0.6))
    ax.legend(fontsize=8, loc="upper left", ncols=3)
    ax.set_title(title, fontsize=9, loc="left")


def draw_answers(learner: ThroughTime, test: Sequences) -> Figure:
    """The answers to unseen sequences against what was asked for."""
    shown = Sequences(*(field[:DRAWN] for field in test))
    answers = torch.cat([learner.predict(batch.inputs)[:, -1, 0] for batch in in_batches(shown)]).float().cpu()
    wanted = shown.targets[:, -1, 0].cpu()
    figure, [ax] = panels(width=4.6, height=4.2)
    if _is_adding(test):
        ax.axline((1, 1), slope=1, color=COLOURS[-1], linewidth=1, linestyle="--")
        ax.plot(wanted, answers, "o", color=COLOURS[0], markersize=3, alpha=0.5)
        ax.set(xlabel="sum of the two marked numbers", ylabel="answer", xlim=(-0.1, 2.1), ylim=(-0.1, 2.1))
    else:
        halves = [answers[wanted == bit].sigmoid().numpy() for bit in (0, 1)]
        ax.hist(halves, bins=20, range=(0, 1), color=COLOURS[:2], label=["it was 0", "it was 1"])
        ax.set(xlabel="probability given to 1", ylabel="sequences")
        ax.legend(fontsize=8)
    ax.set_title(f"{len(wanted)} unseen sequences of {test.mask.shape[1]} steps", fontsize=10)
    return figure


def _is_adding(test: Sequences) -> bool:
    return test.inputs.shape[2] == KINDS["adding"].inputs


def _marked(inputs: Tensor) -> list[int]:
    # The latch has one number a step, and the first says it all.
    return inputs[:, 1].nonzero().flatten().tolist() if inputs.shape[1] > 1 else [0]
