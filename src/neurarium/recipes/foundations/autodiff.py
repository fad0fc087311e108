"""Autodiff on the embedded digits, MNIST, or images of your own: an engine on NumPy trains a network."""

from typing import Literal

import torch
from matplotlib.figure import Figure

from neurarium.data.images import load_images
from neurarium.errors import require
from neurarium.parts.autodiff import Var
from neurarium.parts.autodiff_arrays import tanh
from neurarium.parts.autodiff_graph import Graph, Node, graph_of
from neurarium.parts.autodiff_operations import Op
from neurarium.parts.bundles import Labelled
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import COLOURS, panels, sheet
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.foundations.autodiff import SGD, Adam, Convnet, Dense, Teach

RATES = {"adam": 3e-3, "sgd": 0.05}  # learning rates at the start, where none is given
ACROSS, DOWN = 1.0, 0.95  # inches between two columns and two rows of a graph


@recipe(
    expects=[
        Expect("test_accuracy", at_least=0.95),
        Expect("test_accuracy", at_least=0.97, given={"network": "convnet"}),
    ],
    smoke=dict(steps=60),
    control=dict(shuffle_labels=True),
    exempt=dict(
        exports="the forward pass is the engine's, on NumPy, which torch.export cannot follow; the weights can"
    ),
)
def autodiff(
    run: Run,
    *,
    data: str = "digits",
    network: Literal["dense", "convnet"] = "dense",
    rule: Literal["adam", "sgd"] = "adam",
    steps: int = 1500,
    batch: int = 64,
    lr: float | None = None,
    shuffle_labels: bool = False,
) -> Result:
    """Autodiff trains a network by an engine of our own.

    Each operation leaves its square in the expression graph; one walk back along it gives every weight its slope.
    Nothing of PyTorch's autograd is used. Look at the graph of one small neuron with the value and the gradient at
    each node, and at the graph of the whole trained network on a batch (both as PNG and SVG).

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        network: dense (one hidden layer) or convnet (two convolutions and poolings).
        rule: adam or sgd (with momentum).
        steps: updates.
        batch: examples an update.
        lr: learning rate at the start (default: 0.003 for adam, 0.05 for sgd).
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    require(run.device.type == "cpu", f"autodiff computes in NumPy, which has no {run.device.type}; use --device cpu")
    images = load_images(data, seed=run.seed, shuffle_labels=shuffle_labels)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    build = {"dense": Dense, "convnet": Convnet}[network]
    net = build(shape=images.shape, classes=images.classes, generator=run.generator("weights"))
    rate = RATES[rule] if lr is None else lr
    learner = Teach(net, rule={"adam": Adam, "sgd": SGD}[rule], lr=rate, schedule=cosine)

    def evaluate() -> dict[str, float]:
        return learner.evaluate(images.test.chunks(1000), prefix="test_")

    run.fit(learner, images.train.batches(batch, seed=run.seed), steps=steps, evaluate=evaluate)
    run.picture("graph", draw_graph(graph_of(neuron())), vector=True)
    run.picture("network", draw_graph(graph_of(trained(learner, next(images.test.chunks(batch))))), vector=True)
    if isinstance(net, Convnet):
        run.picture("filters", sheet(net.conv1.mean(1), columns=8))
    return run.result(**evaluate())


def neuron() -> Var:
    """The squared error of one unit that feeds another twice, walked back: small enough to follow by hand."""
    x, w, b, t = (Var(val, name=name) for name, val in (("x", 2.0), ("w", 0.5), ("b", -0.4), ("t", 1.0)))
    h = tanh(x * w + b)
    h.name = "h"
    y = h * h + h
    y.name = "y"
    loss = (y - t) ** 2
    loss.name = "loss"
    loss.backward(keep_graph=True)
    return loss


def trained(learner: Teach, batch: Labelled) -> Var:
    """The loss of a trained network on a batch, walked back."""
    with torch.no_grad():
        loss = learner.loss(batch)
    loss.name = "loss"
    loss.zero_grad()
    loss.backward(keep_graph=True)
    return loss


def draw_graph(graph: Graph) -> Figure:
    """Vars as rounded boxes with value and gradient, Ops as squares, arrows from arguments to results."""
    columns = 1 + max(node.column for node in graph.nodes)
    rows = [node.row for node in graph.nodes]
    figure, (ax,) = panels(width=ACROSS * columns, height=DOWN * (1 + max(rows) - min(rows)))
    ax.set(xlim=(-0.6, columns - 0.4), ylim=(-max(rows) - 0.5, -min(rows) + 0.5))
    ax.axis("off")
    boxes = []
    for node in graph.nodes:
        colour, box = look_of(node)
        frame = dict(boxstyle=box, facecolor="white", edgecolor=colour, linewidth=1.4)
        text = ax.text(*place(node), node.text, ha="center", va="center", fontsize=8, bbox=frame, zorder=2)
        boxes.append(text.get_bbox_patch())
    figure.draw_without_rendering()  # arrows end at the boxes, whose size is known only now
    for before, after in graph.edges:
        start, end = (place(graph.nodes[node]) for node in (before, after))
        twice = graph.edges.count((before, after)) > 1
        style = dict(arrowstyle="-|>", color=COLOURS[7], shrinkA=0, shrinkB=1, linewidth=2.4 if twice else 1.1)
        if graph.nodes[after].column - graph.nodes[before].column > 1:
            style["connectionstyle"] = "arc3,rad=-0.25"  # around what stands in between
        style |= dict(patchA=boxes[before], patchB=boxes[after])
        ax.annotate("", xy=end, xytext=start, arrowprops=style, zorder=1)
    return figure


def place(node: Node) -> tuple[float, float]:
    """Where a node is drawn."""
    return float(node.column), -node.row


def look_of(node: Node) -> tuple[str, str]:
    """The colour and the frame of a node: what was made by hand stands out."""
    if isinstance(node.what, Op):
        return COLOURS[1], "square,pad=0.5"
    return (COLOURS[0] if node.what.creator else COLOURS[2]), "round,pad=0.4"
