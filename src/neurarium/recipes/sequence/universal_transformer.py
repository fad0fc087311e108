"""The universal transformer adds binary numbers longer than any it learned from."""

from functools import partial

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.sequences import Endless
from neurarium.data.sums import carry_distances, sums
from neurarium.parts.bundles import Sequences
from neurarium.parts.schedules import cosine, warm_up
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.sequence.universal_transformer import Ponder, UniversalTransformer, growth

WARM_UP = 0.1  # of the training, in which the learning rate rises
TEST_SUMS = 1000
WATCHED = 200  # sums on which learning is watched
TEST_BATCH = 250  # sums evaluated at a time
DRAWN = 3  # sums of the ponder map
REACH = 1  # places that a place sees below itself: the next, from which its carry comes


@recipe(
    expects=[
        Expect("accuracy", at_least=0.95),
        Expect("ponder_growth", above=0.0),
    ],
    smoke=dict(steps=60, batch=32, width=16, places=5, limit=6, test_places=6),
    control=dict(shuffle_targets=True),
)
def universal_transformer(
    run: Run,
    *,
    places: int = 14,
    test_places: int = 24,
    steps: int = 700,
    batch: int = 64,
    lr: float = 3e-3,
    price: float = 0.01,
    limit: int = 20,
    width: int = 32,
    heads: int = 4,
    shuffle_targets: bool = False,
) -> Result:
    """A universal transformer thinks about each bit of a sum for as long as its carry travels.

    Two binary numbers are to be added. Every place sees itself and the place below it, and all repeat one and the same
    step until each has decided that it is done. Where both bits are equal it is clear at once what goes on to the next
    place; where they are not, a place must wait for its neighbour, which may be waiting too. A step has its price, so
    the easy places halt early. What was learned on fourteen places is asked on twenty-four. Look at the ponder map:
    long carries are where it thinks.

    Args:
        places: of the numbers to learn from, a zero below and one above among them.
        test_places: of the numbers to be tested on.
        steps: updates.
        batch: sums an update, each of them new.
        lr: learning rate at its highest, after a rise; it falls along a cosine.
        price: of a step at a place, beside a loss in nats.
        limit: steps at the most, as it learns; in the test there may be twice as many as places.
        width: numbers of a place's state.
        heads: of attention.
        shuffle_targets: learn from the results of other sums (the negative control).
    """
    net = UniversalTransformer(
        inputs=2, outputs=1, width=width, heads=heads, limit=limit, causal=True, reach=REACH, coordinates=False
    )
    learner = Ponder(net, price=price, lr=lr, schedule=warm_up(cosine, over=WARM_UP))
    stream = Endless(
        partial(sums, count=batch, places=places, shuffle_targets=shuffle_targets, device=run.device),
        run.generator("train"),
    )
    test = sums(run.generator("test"), count=TEST_SUMS, places=test_places, device=run.device)
    known = sums(run.generator("known"), count=TEST_SUMS, places=places, device=run.device)
    patience = 2 * max(places, test_places)

    def evaluate(count: int = WATCHED) -> dict[str, float]:
        seen = {"test_": test, "known_": known}
        found = [learner.evaluate(in_batches(each, count), limit=patience, prefix=name) for name, each in seen.items()]
        return {**found[0], **found[1]}

    run.fit(learner, stream, steps=steps, evaluate=evaluate)
    taken = torch.cat([learner.predict(each.inputs, limit=patience).steps for each in in_batches(test)]).cpu()
    distances = carry_distances(test.inputs).cpu()
    run.picture("ponder", draw_ponder(learner, test, distances, patience))
    run.picture("growth", draw_growth(taken, distances, places))
    measures = evaluate(TEST_SUMS)
    return run.result(
        accuracy=measures["test_accuracy"],
        bit_accuracy=measures["test_bit_accuracy"],
        known_accuracy=measures["known_accuracy"],
        ponder_growth=growth(taken, distances.float()),
        mean_steps=measures["test_steps"],
    )


def in_batches(test: Sequences, count: int = TEST_SUMS) -> list[Sequences]:
    """The first of the sums, in as many batches as suits memory."""
    return [Sequences(*fields) for fields in zip(*(field[:count].split(TEST_BATCH) for field in test), strict=True)]


def draw_ponder(learner: Ponder, test: Sequences, distances: Tensor, limit: int) -> Figure:
    """Sums of ever longer carries, and at which steps each of their places was how sure to be done."""
    order = distances.amax(1).argsort(stable=True)
    rows = order[torch.linspace(len(order) // 3, len(order) - 1, DRAWN).long()].to(test.inputs.device)
    shown = Sequences(*(field[rows] for field in test))
    pondered = learner.predict(shown.inputs, limit=limit)
    with torch.no_grad():
        weights = learner.model.watch(shown.inputs, limit).float().cpu()
    deepest = int(pondered.steps.max())
    figure, axes = panels(DRAWN, width=1.6 + 0.3 * test.inputs.shape[1], height=1.2 + 0.1 * deepest)
    for row, ax in enumerate(axes):
        answer = (pondered.outputs[row, :, 0] > 0).long().cpu()
        _draw_sum(ax, shown.inputs[row].long().cpu(), answer, shown.targets[row, :, 0].long().cpu())
        _draw_steps(ax, weights[:deepest, row], pondered.steps[row].cpu())
    axes[0].set_title("how much of its mind each place makes up at each step (dark: none, bright: all)", fontsize=10)
    axes[-1].set_xlabel("place, the highest first")
    return figure


def _draw_sum(ax: Axes, inputs: Tensor, answer: Tensor, wanted: Tensor) -> None:
    last = len(answer) - 1
    for place in range(last + 1):
        for line, bit in enumerate((*inputs[place].tolist(), int(answer[place]))):
            wrong = line == 2 and answer[place] != wanted[place]
            ax.text(
                last - place,
                line - 3.5 + 0.15 * (line == 2),
                str(bit),
                ha="center",
                va="center",
                fontsize=9,
                family="monospace",
                weight="bold" if line == 2 else "normal",
                color=COLOURS[1] if wrong else "black",
            )
    ax.plot([-0.5, last + 0.5], [-1.95, -1.95], color="black", linewidth=0.8)
    ax.text(-1.0, -2.5, "+", ha="center", va="center", fontsize=10)


def _draw_steps(ax: Axes, weights: Tensor, steps: Tensor) -> None:
    count, places = weights.shape
    # What has halted is left white, so that the colour of a place's steps is how much of its mind was made up there.
    running = torch.arange(count).unsqueeze(1) < steps
    drawn = torch.where(running, weights, torch.nan).flip(1)
    ax.imshow(drawn.numpy(), cmap="viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    ax.grid(visible=False)
    ax.set(xlim=(-1.5, places - 0.5), ylim=(count - 0.5, -4.2), xticks=[], ylabel="step")
    every = max(1, count // 6)
    ax.set_yticks(range(0, count, every), [str(step + 1) for step in range(0, count, every)])
    for spine in ax.spines.values():
        spine.set_visible(False)


def draw_growth(steps: Tensor, distances: Tensor, places: int) -> Figure:
    """How long a place thinks, by how far below it the carry is decided; the longest carry that was learned from."""
    figure, [ax] = panels(width=5.0, height=3.4)
    found = distances.unique().tolist()
    means = [float(steps[distances == distance].mean()) for distance in found]
    spread = [float(steps[distances == distance].std(correction=0)) for distance in found]
    ax.errorbar(found, means, spread, fmt="o-", markersize=4, linewidth=1.2, capsize=2, color=COLOURS[0])
    # The two outermost places are zeros, and the last but one is where the longest carry that can be ends.
    ax.axvline(places - 2, color=COLOURS[-1], linestyle="--", linewidth=1)
    ax.text(places - 1.8, 0.5, "longest carry\nit learned from", fontsize=8, color=COLOURS[-1], va="bottom")
    ax.set(xlabel="places that the carry travels", ylabel="steps that a place takes", ylim=(0, None))
    return figure
