"""A temporal convolutional network on the adding problem: far back in a few layers, and not a step into the future."""

from functools import partial

import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from neurarium.data.sequences import Endless, adding
from neurarium.learners.sequence import ThroughTime
from neurarium.parts.modes import evaluating
from neurarium.parts.places import squared_errors
from neurarium.parts.schedules import cosine, warm_up
from neurarium.recipes.sequence.lstm import CLIP, TEST_SEQUENCES, draw_answers, in_batches
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.sequence.temporal_convolution import CONVOLUTIONS, TemporalConvolution, doubling

PROBED = 64  # sequences over which the reach of the last output is averaged
BEYOND = 1.15  # times the receptive field that those are long


@recipe(
    expects=[Expect("mse", at_most=0.01)],
    smoke=dict(steps=150, length=8, channels=16, kernel=4),
    control=dict(shuffle_targets=True),
)
def temporal_convolution(
    run: Run,
    *,
    length: int = 200,
    steps: int = 1500,
    batch: int = 32,
    lr: float = 1e-2,
    channels: int = 24,
    kernel: int = 7,
    shuffle_targets: bool = False,
) -> Result:
    """A network without recurrence finds two marked numbers among two hundred, and adds them.

    Convolutions over time look back alone, and ever further from block to block: five blocks of two see 373 steps, as
    the formula says. Only the last output is taught, so that the upper blocks are computed where it looks and nowhere
    else; that is the same network, sooner. Look at the wiring, and at how far back the last output really depends on
    its inputs: to the edge of the receptive field, and not a step further.

    Args:
        length: steps of a sequence; there are as many blocks as see them all.
        steps: updates.
        batch: sequences an update, each of them new.
        lr: learning rate at its highest; it rises over the first tenth and falls along a cosine.
        channels: of every block.
        kernel: taps of every convolution.
        shuffle_targets: learn from the answers to other sequences (the negative control).
    """
    draw = partial(adding, length=length, device=run.device)
    test = draw(run.generator("test"), count=TEST_SEQUENCES)
    net = TemporalConvolution(
        inputs=2,
        channels=channels,
        outputs=1,
        kernel=kernel,
        dilations=doubling(length, kernel=kernel),
        last_only=True,
    )
    learner = ThroughTime(
        net,
        objective=squared_errors,
        measures={"mse": squared_errors},
        targets="last",
        clip=CLIP,
        lr=lr,
        schedule=warm_up(cosine),
    )
    stream = Endless(partial(draw, count=batch, shuffle_targets=shuffle_targets), run.generator("train"))

    def evaluate() -> dict[str, float]:
        measured = learner.evaluate(in_batches(test))
        return {"test_loss": measured["loss"], "mse": measured["mse"]}

    run.fit(learner, stream, steps=steps, evaluate=evaluate)
    run.picture("answers", draw_answers(learner, test))
    run.picture("reach", draw_reach(net, run.generator("reach")))
    run.picture("wiring", draw_wiring(net))
    return run.result(**evaluate(), receptive_field=net.receptive_field)


def draw_reach(net: TemporalConvolution, generator: torch.Generator) -> Figure:
    """How much the last output moves with each number before it: its gradient, over sequences longer than it sees."""
    device = next(net.parameters()).device
    steps = int(BEYOND * net.receptive_field) + 1
    inputs = adding(generator, count=PROBED, length=steps, device=device).inputs.requires_grad_()
    with evaluating(net), torch.enable_grad():
        [gradient] = torch.autograd.grad(net.last(inputs).sum(), inputs)
    moved = gradient[..., 0].abs().mean(0).flip(0).float().cpu()
    figure, [ax] = panels(width=7.4, height=3.4)
    seen = moved > 0
    back = torch.arange(steps)
    ax.semilogy(back[seen], moved[seen], ".", color=COLOURS[0], markersize=4, label="mean size of the gradient")
    ax.axvline(net.receptive_field - 0.5, color=COLOURS[1], linewidth=1.4, label="edge of the receptive field")
    ax.axvspan(net.receptive_field - 0.5, steps, color=COLOURS[1], alpha=0.1, linewidth=0, label="exactly 0")
    ax.set(xlabel="steps before the last", ylabel="|∂ last output / ∂ number|", xlim=(-3, steps))
    ax.set_title(f"The last output sees {net.receptive_field} steps", fontsize=10)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower right", ncols=3, fontsize=8)
    return figure


def draw_wiring(net: TemporalConvolution) -> Figure:
    """Which steps of which layer the last output looks at, through every convolution (the skipping paths left out)."""
    layers = [dilation for dilation in net.dilations for _ in range(CONVOLUTIONS)]
    figure, [ax] = panels(width=9.0, height=0.45 * len(layers) + 1.2)
    looked_at = [0]
    for place, dilation in zip(range(len(layers), 0, -1), reversed(layers), strict=True):
        taps = [(step, step + tap * dilation) for step in looked_at for tap in range(net.kernel)]
        lines = [[(-step, place), (-below, place - 1)] for step, below in taps]
        ax.add_collection(LineCollection(lines, colors=COLOURS[0], linewidths=0.3, alpha=0.35))
        ax.plot([-step for step in looked_at], [place] * len(looked_at), "o", color=COLOURS[0], markersize=2)
        looked_at = sorted({below for _, below in taps})
    ax.plot([-step for step in looked_at], [0] * len(looked_at), "s", color=COLOURS[-1], markersize=1.5)
    names = ["inputs", *(f"{place} (d = {dilation})" for place, dilation in enumerate(layers, start=1))]
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set(xlabel="steps from the last", ylabel="convolution")
    ax.grid(visible=False)
    ax.set_title(f"What the last output looks at: {net.receptive_field} steps", fontsize=10)
    return figure
