"""The Neural Turing Machine learns small algorithms: copy, repeat copy, associative recall and priority sort."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import log
from typing import Literal

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.optim import Adam

from neurarium.data.algorithms import associative_recall, copy, priority_sort, repeat_copy
from neurarium.data.sequences import Endless
from neurarium.learners.sequence import ThroughTime, bits_right, growing, whole
from neurarium.parts.bundles import Sequences
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.sequence.neural_turing_machine import NeuralTuringMachine

BAR = 6.0  # columns of the drawn memory that a weight of 1 is long
CLIP = 1.0  # greatest norm of a gradient
TEST_SEQUENCES = 32  # of each length
POINTED_AT = 0.05  # weight from which on a row is drawn


@dataclass(frozen=True)
class Kind:
    """A task, and how it is learned unless options say otherwise.

    Attributes:
        draw: makes sequences.
        least: fewest vectors (or items) learned from.
        most: most of them.
        longer: how many nobody has shown it, to see whether the rule was found or the lengths learned by heart.
        heads: that read, and as many that write.
        rows: of the memory.
        steps: updates.
        batch: sequences an update.
        lr: learning rate at the start.
        eps: of Adam, added to the size of a gradient. Where it is small, Adam's steps stay as large as ever when the
            task is learned, and the network drifts from the rule to one that only fits the lengths it is shown.
        grows: whether sequences are cut short at first. What can be cut from an answer is what repeats.
    """

    draw: Callable[..., Sequences]
    least: int
    most: int
    longer: int
    heads: int
    rows: int
    steps: int
    batch: int
    lr: float = 3e-3
    eps: float = 1e-8
    grows: bool = False


KINDS = {
    "copy": Kind(copy, 1, 20, 60, heads=1, rows=128, steps=5000, batch=16, lr=5e-3, eps=1e-4),
    "repeat_copy": Kind(repeat_copy, 1, 10, 20, heads=1, rows=32, steps=6000, batch=16, lr=5e-3, eps=1e-4, grows=True),
    "associative_recall": Kind(associative_recall, 2, 6, 12, heads=1, rows=128, steps=4000, batch=32),
    "priority_sort": Kind(priority_sort, 10, 10, 12, heads=2, rows=20, steps=12000, batch=32, lr=5e-3, eps=1e-4),
}


@recipe(
    expects=[
        Expect("bits_per_sequence", at_most=0.1),
        Expect("bits_at_60", at_most=2.0),
        Expect("bits_right", at_least=0.95, given=dict(task="repeat_copy")),
        Expect("bits_right", at_least=0.95, given=dict(task="associative_recall")),
        Expect("bits_right", at_least=0.95, given=dict(task="priority_sort")),
    ],
    smoke=dict(most=2, steps=80, units=16, rows=6, width=4, lr=2e-2),
    control=dict(shuffle_targets=True),
    slow=True,
)
def neural_turing_machine(
    run: Run,
    *,
    task: Literal["copy", "repeat_copy", "associative_recall", "priority_sort"] = "copy",
    most: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    controller: Literal["lstm", "feedforward"] = "lstm",
    units: int = 100,
    reading: int | None = None,
    writing: int | None = None,
    rows: int | None = None,
    width: int = 20,
    shuffle_targets: bool = False,
) -> Result:
    """A Neural Turing Machine finds an algorithm from examples of what goes in and what comes out.

    Vectors of bits, a mark, and then the same vectors are to be said again. Nobody says how; there is a memory of rows,
    a head to write it and a head to read it. Look at the addresses: the head that writes goes one row on with each
    vector, the one that reads waits at the first and sets out when the mark has come. That is a loop, and it works for
    sequences three times as long as any shown. Repeat copy adds a counter, associative recall finds an item by content
    and says the next one, priority sort says the first 8 of 10 vectors by a number that came with each (the paper: 16
    of 20).

    Bits per sequence are the cross-entropy of all bits of a sequence's answer, in bits: 0 if every one is known for
    certain, 1 for each that is guessed.

    Args:
        task: what is to be learned.
        most: most vectors (items, of associative recall) of a sequence (default: 20, 10, 6 or 10, by task).
        steps: updates (default: by task).
        batch: sequences an update, each of them new (default: by task).
        lr: learning rate at the start (default: by task); it falls along a cosine.
        controller: an LSTM, or a feed-forward layer, which has no memory but the rows.
        units: of the controller.
        reading: heads that read (default: by task).
        writing: heads that write (default: by task).
        rows: of the memory (default: by task).
        width: of a row.
        shuffle_targets: learn from the answers to other sequences (the negative control).
    """
    kind = KINDS[task]
    most = kind.most if most is None else most
    lengths = range(min(kind.least, most), most + 1)
    draw = partial(kind.draw, device=run.device)
    tests = [draw(run.generator("test", n), count=TEST_SEQUENCES, least=n, most=n) for n in lengths]
    longer = draw(run.generator("longer"), count=TEST_SEQUENCES, least=kind.longer, most=kind.longer)
    net = NeuralTuringMachine(
        inputs=longer.inputs.shape[2],
        outputs=longer.targets.shape[2],
        units=units,
        controller=controller,
        reading=kind.heads if reading is None else reading,
        writing=kind.heads if writing is None else writing,
        rows=kind.rows if rows is None else rows,
        width=width,
    )
    learner = ThroughTime(
        net,
        measures={"bits_right": bits_right},
        targets="some",
        curriculum=growing(start=2 * most + 2, by=most, until=1.0) if kind.grows else whole,
        clip=CLIP,
        optimizer=partial(Adam, fused=True, eps=kind.eps),
        lr=kind.lr if lr is None else lr,
        schedule=cosine,
    )
    batch = kind.batch if batch is None else batch
    taught = partial(draw, count=batch, least=lengths[0], most=most, shuffle_targets=shuffle_targets)

    def evaluate() -> dict[str, float]:
        return bits(learner, tests)

    stream = Endless(taught, run.generator("train"))
    run.fit(learner, stream, steps=kind.steps if steps is None else steps, evaluate=evaluate)
    shown = tests[-1]
    run.picture("addresses", draw_addresses(net, shown))
    run.picture("memory", draw_memory(net, shown))
    run.picture("longer", draw_addresses(net, longer))
    return run.result(**evaluate(), **{f"bits_at_{kind.longer}": bits(learner, [longer])["bits_per_sequence"]})


def bits(learner: ThroughTime, tests: list[Sequences]) -> dict[str, float]:
    """The cross-entropy of a sequence's answer in bits, and the share of its bits that are right."""
    measured = learner.evaluate(tests)
    asked = sum(int(test.mask.sum()) * test.targets.shape[2] for test in tests)
    sequences = sum(test.mask.shape[0] for test in tests)
    return {
        "bits_per_sequence": measured["loss"] * asked / sequences / log(2),
        "bits_right": measured["bits_right"],
    }


def draw_addresses(net: NeuralTuringMachine, test: Sequences) -> Figure:
    """One sequence: what goes in, what is answered, and where every head writes and reads at each step."""
    inputs, targets, mask = (field[:1] for field in test)
    with torch.no_grad():
        seen = {name: values[0].float().cpu() for name, values in net.watch(inputs).items()}
        answers = torch.sigmoid(net(inputs)[0][0]).float().cpu()
    asked = int(mask.sum())
    answers[: len(answers) - asked] = 0
    wanted = targets[0].float().cpu().where(mask[0, :, None].cpu(), torch.zeros(()))
    rows = used_rows(torch.cat([seen["writing"], seen["reading"]], dim=1))
    heads = [(name, addresses) for name in ("writing", "reading") for addresses in seen[name].unbind(1)]
    figure, axes = panels(3 + len(heads), 1, width=9.0, height=1.7)
    for ax, name, values in zip(axes, ("input", "wanted", "answer"), (inputs[0].cpu(), wanted, answers), strict=False):
        least = min(0.0, float(values.min()))
        ax.imshow(values.T.numpy(), cmap="Greys", vmin=least, vmax=1, aspect="auto", interpolation="nearest")
        ax.set(ylabel=name, yticks=[])
    for ax, (name, addresses) in zip(axes[3:], heads, strict=True):
        _draw_address(ax, name, addresses[:, rows], rows)
    for ax in axes:
        ax.grid(visible=False)
        ax.axvline(len(answers) - asked - 0.5, color=COLOURS[1], linewidth=1, linestyle="--")
        ax.tick_params(labelbottom=ax is axes[-1])
    wrong = int(((answers > 0.5) != (wanted > 0.5)).sum())
    axes[0].set_title(
        f"One unseen sequence, {wrong} of {asked * wanted.shape[1]} bits of the answer wrong", fontsize=10
    )
    axes[-1].set_xlabel("step (dashed: from here on the answer is asked for)")
    figure.colorbar(axes[-1].images[0], ax=axes[3:], label="weight of a row", shrink=0.6, pad=0.01)
    return figure


def draw_memory(net: NeuralTuringMachine, test: Sequences) -> Figure:
    """The memory at some moments of one sequence, and the heads' addresses then."""
    with torch.no_grad():
        seen = {name: values[0].float().cpu() for name, values in net.watch(test.inputs[:1]).items()}
    begun = len(seen["memory"]) - int(test.mask[0].sum())
    last = len(seen["memory"]) - 1
    moments = sorted({0, begun // 3, 2 * begun // 3, begun - 1, (begun + last) // 2, last})
    rows = used_rows(torch.cat([seen["writing"], seen["reading"]], dim=1))
    largest = float(seen["memory"].abs().max())
    figure, axes = panels(1, len(moments), width=2.3, height=4.2)
    for ax, moment in zip(axes, moments, strict=True):
        memory = seen["memory"][moment][rows]
        ax.imshow(memory.numpy(), cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest")
        # Beside the rows: as long as the weight, to the left of writing heads, to the right of reading ones.
        for name, colour, side in (("writing", COLOURS[1], -1), ("reading", COLOURS[2], 1)):
            weight = seen[name][moment].sum(0)[rows]
            edge = -0.5 if side < 0 else memory.shape[1] - 0.5
            ax.barh(range(len(rows)), (side * BAR * weight).numpy(), left=edge, color=colour, height=0.9, label=name)
        ax.set(xlim=(-0.5 - BAR, memory.shape[1] - 0.5 + BAR), xticks=[])
        _name_rows(ax, rows)
        ax.tick_params(labelleft=ax is axes[0])
        ax.grid(visible=False)
        ax.set_title(f"after step {moment + 1}" + (" (answering)" if moment >= begun else ""), fontsize=9)
    axes[0].set_ylabel("row of the memory")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    figure.colorbar(axes[-1].images[0], ax=axes, label="content", shrink=0.7, pad=0.01)
    return figure


def used_rows(addresses: Tensor) -> list[int]:
    """The rows that any head ever points at, around the circle from behind the longest stretch that none does.

    >>> addresses = torch.zeros(1, 1, 9)
    >>> addresses[0, 0, [8, 1]] = 0.5
    >>> used_rows(addresses)
    [8, 0, 1]
    """
    used = (addresses.flatten(0, -2).amax(0) > POINTED_AT).nonzero().flatten().tolist()
    rows = addresses.shape[-1]
    if not used:
        return list(range(rows))
    gaps = [((after - before - 1) % rows, after) for before, after in zip(used, [*used[1:], used[0]], strict=True)]
    gap, first = max(gaps)
    return [(first + place) % rows for place in range(rows - gap)]


def _draw_address(ax: Axes, name: str, addresses: Tensor, rows: list[int]) -> None:
    ax.imshow(addresses.T.numpy(), cmap="viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    ax.set_ylabel(name)
    _name_rows(ax, rows)


def _name_rows(ax: Axes, rows: list[int]) -> None:
    places = range(0, len(rows), max(1, len(rows) // 4))
    ax.set_yticks(list(places), [str(rows[place]) for place in places], fontsize=7)
