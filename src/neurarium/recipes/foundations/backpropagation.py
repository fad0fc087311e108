"""Backpropagation on the embedded digits, or on images or a table of your own."""

from typing import Literal

from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.labelled import load_labelled
from neurarium.errors import require
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import COLOURS, panels, sheet
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.foundations.backpropagation import MLP, Backpropagate

DRAWN = 64  # units of the first hidden layer drawn at the most


@recipe(
    expects=[Expect("test_accuracy", at_least=0.96)],
    smoke=dict(steps=60),
    control=dict(shuffle_labels=True),
)
def backpropagation(
    run: Run,
    *,
    data: str = "digits",
    target: str | None = None,
    steps: int = 1500,
    batch: int = 64,
    lr: float = 3e-3,
    hidden: int = 64,
    layers: int = 2,
    activation: Literal["relu", "tanh", "logistic"] = "relu",
    shuffle_labels: bool = False,
) -> Result:
    """Backpropagation teaches hidden units that no one has given a target.

    The errors t − y of the outputs travel back along the weights, layer by layer, and tell every hidden unit how to
    change. Both sweeps are written out as matrix products; autograd is not used. Look at what learning added to the
    weights of the first hidden layer, beside the weights themselves, in which it is hard to see under the noise they
    started as; and at how large the errors are in each layer. With logistic units and many layers, see how little of
    the error arrives at the first.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR, folder:DIR, breast-cancer, iris, wine or csv:FILE.
        target: the column to predict, for csv:FILE.
        steps: updates.
        batch: examples an update.
        lr: learning rate at the start; it falls along a cosine.
        hidden: units of each hidden layer.
        layers: number of hidden layers.
        activation: of the hidden units: relu, tanh or logistic.
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    require(layers >= 0, f"layers is {layers}, but must be 0 or more")
    examples = load_labelled(data, target=target, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    run.note(data=examples.name)
    sample = next(examples.test.chunks(1000))
    model = MLP(
        features=sample.inputs[0].numel(),
        hidden=[hidden] * layers,
        classes=examples.classes,
        activation=activation,
    )
    learner = Backpropagate(model, lr=lr, schedule=cosine)
    names = [*(f"delta_{layer + 1}" for layer in range(layers)), "delta_out"]

    def evaluate() -> dict[str, float]:
        return learner.evaluate(examples.test.chunks(1000), prefix="test_")

    def watch() -> dict[str, float]:
        return {**evaluate(), **dict(zip(names, learner.delta_sizes(sample), strict=True))}

    before = model.weights[0].detach().clone()
    sizes = learner.delta_sizes(sample)
    run.fit(learner, examples.train.batches(batch, seed=run.seed), steps=steps, evaluate=watch)
    run.picture("deltas", draw_deltas(run, names, sizes))
    shape = tuple(sample.inputs.shape[1:])
    run.picture("weights", draw_weights(model.weights[0], shape))
    run.picture("learned", draw_weights(model.weights[0] - before.to(run.device), shape))
    return run.result(**evaluate())


def draw_deltas(run: Run, names: list[str], start: list[float]) -> Figure:
    """The size of the errors in every layer over the training, on examples that are not learned from."""
    lines = [line for line in run.trace.lines() if names[0] in line.measures]
    figure, (ax,) = panels(width=6.4, height=3.8)
    for place, (name, first) in enumerate(zip(names, start, strict=True)):
        label = "output units: t − y" if place == len(names) - 1 else f"hidden layer {place + 1}"
        sizes = [first, *(line.measures[name] for line in lines)]
        colour = COLOURS[place % len(COLOURS)]
        ax.semilogy([0, *(line.step for line in lines)], sizes, "o-", markersize=4, color=colour, label=label)
    ax.set(xlabel="step", ylabel="root mean square of δ", title="The errors that travel back, on test examples")
    ax.legend(fontsize=8)
    return figure


def draw_weights(weights: Float[Tensor, "F J"], shape: tuple[int, ...]) -> Figure:
    """What goes into each unit of the first hidden layer: as images if the inputs are, else as a matrix."""
    weights = weights.detach().cpu()[:, :DRAWN]
    if len(shape) == 3:
        return sheet(weights.T.reshape(-1, *shape), columns=16, scale=0.6)
    figure, (ax,) = panels(width=7.0, height=4.0)
    largest = float(weights.abs().max())
    ax.imshow(weights.numpy(), cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest")
    ax.grid(visible=False)
    ax.set(xlabel="unit of the first layer", ylabel="input", title="Weights (red: positive, blue: negative)")
    return figure
