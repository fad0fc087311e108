"""The Jordan network on temporal XOR: what it has said is all that it remembers."""

from functools import partial
from typing import Literal

import torch
from matplotlib.figure import Figure

from neurarium.data.sequences import TRIPLE
from neurarium.learners.sequence import ThroughTime, growing, whole
from neurarium.parts.bundles import Sequences
from neurarium.recipes.sequence.elman import DRAWN_BITS, MAPPED, STATES, keep_time
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.sequence.jordan import Jordan

CLIP = 1.0  # greatest norm of a gradient


@recipe(
    expects=[Expect("accuracy", at_least=0.99)],
    smoke=dict(steps=250, length=15),
    control=dict(shuffle_targets=True),
)
def jordan(
    run: Run,
    *,
    steps: int = 600,
    batch: int = 64,
    lr: float = 1e-2,
    hidden: int = 32,
    free: int = 1,
    decay: float = 0.0,
    length: int = 60,
    targets: Literal["all", "last", "some"] = "all",
    truncate: int | None = None,
    curriculum: bool = True,
    shuffle_targets: bool = False,
) -> Result:
    """A Jordan network finds out when it can know the next bit, and tells itself what it needs for that.

    The task is Elman's: bits in triples a, b, a ⊕ b; of every three the third can be known. But here nothing comes back
    except what the output units say. Taught at every step, the answer must be even odds at a coin flip, and so cannot
    keep a; a second output unit, which is fed back and which nobody reads, is left to learning. With `--free 0
    --targets some` nothing is asked at the coin flips, and the answer itself can keep what is needed: a single number,
    in which learning finds its way for most seeds, not for all. Look at the plane of what is said: every state that the
    task needs has a place of its own.

    Args:
        steps: updates.
        batch: sequences an update, each of them new.
        lr: learning rate at the start; it falls along a cosine.
        hidden: number of hidden units.
        free: output units that are fed back beside the answer, and taught nothing.
        decay: how much of the context is kept beside what was said last (0: nothing).
        length: bits of a sequence, a multiple of 3.
        targets: teach at all steps, at the last one, or at some (those whose next bit can be known).
        truncate: k of BPTT(k), the steps that errors travel back at most (none: all).
        curriculum: begin with two triples and grow to the whole length by half of the training.
        shuffle_targets: learn from the next bits of other sequences (the negative control).
    """
    net = Jordan(inputs=1, hidden=hidden, outputs=1, free=free, decay=decay)
    teach = partial(
        ThroughTime,
        net,
        targets=targets,
        truncate=truncate,
        curriculum=growing(start=2 * TRIPLE - 1, by=TRIPLE) if curriculum else whole,
        clip=CLIP,
        lr=lr,
    )
    drawn = {"said": partial(draw_said, net)}
    return keep_time(run, teach, drawn, length=length, steps=steps, batch=batch, shuffle_targets=shuffle_targets)


def draw_said(net: Jordan, test: Sequences) -> Figure:
    """What is fed back: over one sequence, and of many in the plane of the first two output units."""
    inputs, targets = test.inputs[:MAPPED], test.targets[:MAPPED]
    with torch.no_grad():
        said = net.said(inputs).float().cpu()
    bits = inputs[0, :DRAWN_BITS, 0].int().tolist()
    figure, [over_time, plane] = panels(1, 2, width=5.6, height=4.0)
    for unit, values in enumerate(said[0, : len(bits)].T):
        name = "the answer (1: surely 1)" if unit == 0 else "a free unit" if said.shape[2] == 2 else f"free unit {unit}"
        over_time.plot(values, "o-", color=COLOURS[unit % len(COLOURS)], markersize=4, linewidth=1.2, label=name)
    for edge in range(TRIPLE, len(bits), TRIPLE):
        over_time.axvline(edge - 0.5, color="black", linewidth=0.6)
    over_time.set(xlabel="bit seen (a line after each triple)", ylabel="fed back", ylim=(-1.1, 1.1))
    over_time.set_xticks(range(len(bits)), map(str, bits), fontsize=8)
    over_time.set_title("What is said over one sequence", fontsize=10)
    # What must be kept: a itself after a, the bit to come after b, nothing after the third.
    place = torch.arange(inputs.shape[1]) % TRIPLE
    kept = torch.where(place == 0, inputs[..., 0].cpu(), torch.where(place == 1, targets[..., 0].cpu(), 0.0))
    codes = 2 * place + kept
    for code, (label, marker, colour) in enumerate(STATES):
        points = said[codes == code]
        across = points[:, 1] if said.shape[2] > 1 else torch.full_like(points[:, 0], code)
        plane.plot(points[:, 0], across, marker, color=colour, markersize=4, alpha=0.4, label=label)
    plane.set(xlabel="the answer", ylabel="a free unit" if said.shape[2] > 1 else "state")
    plane.set_title(f"What is said in {MAPPED} sequences: all that is kept", fontsize=10)
    plane.legend(fontsize=8)
    figure.legend(*over_time.get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=8)
    return figure
