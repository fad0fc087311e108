"""Gradients through fifty layers and a hundred steps of time: how they vanish or explode, and what mends it."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.errors import require
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.foundations.vanishing_gradients import (
    Block,
    autograd_jacobian,
    decay,
    deep,
    gradient_norms,
    product,
    recurrent,
)

SEEN = (1e-36, 1e16)  # gradients and singular values that the pictures have room for
LINES = (*COLOURS, "black")  # a colour for each network
ROUNDED = 1e-13  # singular values under this share of the largest are rounding errors

NAMES = {
    "relu_decay": "ReLU, N(0, 1/√n)",
    "kaiming_decay": "ReLU, Kaiming",
    "norm_decay": "ReLU, N(0, 1), normed",
    "large_weights_decay": "logistic, large weights",
    "residual_decay": "residual, normed first",
    "plain_residual_decay": "residual, no norm",
    "rezero_decay": "ReZero",
    "gates_decay": "gates",
}
"""Measures of depth, and the networks they are of."""

TIMES = {
    "time_decay": "tanh, singular values 1",
    "time_shrinking_decay": "tanh, singular values 0.9",
    "time_large_weights_decay": "tanh, large weights",
    "time_gates_decay": "gates",
}
"""Measures of time, and the networks they are of."""


@recipe(
    expects=[Expect("logistic_decay", below=0.3), Expect("residual_decay", at_least=0.8, at_most=1.25)],
    smoke=dict(depth=12, steps=12, width=24),
    control=dict(activation="tanh"),
    exempt=dict(
        resumes="it looks at networks before they learn, so there is no fit to resume",
        stateless="it looks at networks before they learn, so there is no update",
        gradients="it looks at networks before they learn; no parameter is trained",
        refuses="there are no batches; the tests hold the system to refusing misshaped errors",
        exports="the weights are random numbers; there is nothing to take away",
    ),
)
def vanishing_gradients(
    run: Run,
    *,
    depth: int = 50,
    steps: int = 100,
    width: int = 64,
    batch: int = 32,
    activation: Literal["logistic", "tanh", "relu"] = "logistic",
) -> Result:
    """An error on its way back is multiplied by a Jacobian at every layer, and at every step of time.

    Random errors go back through untrained networks, and their size is taken at each layer: a decay is the factor of
    one layer, as a geometric mean. Logistic layers leave less than a quarter each time; with large weights and net
    inputs at the steepest place they stretch it. ReLU with Kaiming's weights and a norm (under any weights) keep it; a
    path around each layer keeps it if its branch is normed first, and without a norm stretches it by √2 and more;
    ReZero begins as the identity, and gates keep what they are told to. Over time the same matrix comes back at every
    step: tanh forgets even when every singular value is 1, large weights explode, gates remember. The second picture
    shows the singular values of each whole product: what a small step in any direction at the input is worth at the
    output.

    Args:
        depth: number of layers.
        steps: of time.
        width: units of every layer.
        batch: examples, each with a random error.
        activation: of the plain layers whose factor is logistic_decay (any other is a negative control).
    """
    require(batch >= 1, f"batch is {batch}, but must be at least 1")
    networks = {
        "depth": deep(width, depth, activation, generator=run.generator("depth")),
        "time": recurrent(width, steps, generator=run.generator("time")),
    }
    inputs, errors = (torch.randn(batch, width, generator=run.generator(name)).double() for name in ("x", "error"))
    norms = {
        kind: {name: gradient_norms(blocks, inputs, errors) for name, blocks in each.items()}
        for kind, each in networks.items()
    }
    jacobians = {
        kind: {name: product(blocks, inputs[0])[-1] for name, blocks in each.items()} for kind, each in networks.items()
    }
    run.picture("gradients", draw_gradients(norms))
    run.picture("singular_values", draw_spectra(jacobians))
    gaps = [gap(jacobians[kind][name], networks[kind][name], inputs[0]) for kind in networks for name in networks[kind]]
    return run.result(
        logistic_decay=decay(norms["depth"][activation]),
        **{measure: decay(norms["depth"][name]) for measure, name in NAMES.items()},
        **{measure: decay(norms["time"][name]) for measure, name in TIMES.items()},
        jacobian_gap=max(gaps),
    )


def gap(written: Float[Tensor, "N N"], blocks: Sequence[Block], example: Float[Tensor, " N"]) -> float:
    """How far the written-out Jacobian is from autograd's, relative to its largest element."""
    oracle = autograd_jacobian(blocks, example)
    return float((written - oracle).abs().max() / oracle.abs().max())


def draw_gradients(norms: Mapping[str, Mapping[str, Float[Tensor, " steps"]]]) -> Figure:
    """The size of the gradient at every layer and at every step, output and last step on the right."""
    figure, axes = panels(1, 2, width=6.4, height=4.2)
    for ax, (kind, each) in zip(axes, norms.items(), strict=True):
        for (name, sizes), colour in zip(each.items(), LINES, strict=False):
            label = f"{name}: ×{decay(sizes):.2f}"
            ax.semilogy(range(len(sizes)), sizes, color=colour, linewidth=1.6, label=label)
        finish(ax, title=f"factor of one {'layer' if kind == 'depth' else 'step'}")
    axes[0].set(xlabel="layer", ylabel="size of the gradient", title="Depth: weights of its own in every layer")
    axes[1].set(xlabel="step", title="Time: the same weights at every step")
    return figure


def draw_spectra(jacobians: Mapping[str, Mapping[str, Float[Tensor, "N N"]]]) -> Figure:
    """The singular values of each whole Jacobian, from the largest down, as far as they can be told from rounding."""
    figure, axes = panels(1, 2, width=6.4, height=4.2)
    for ax, (kind, each) in zip(axes, jacobians.items(), strict=True):
        for (name, jacobian), colour in zip(each.items(), LINES, strict=False):
            values = torch.linalg.svdvals(jacobian)
            values = values[values > ROUNDED * values[0]]
            ax.semilogy(values, "o-", color=colour, markersize=2.5, linewidth=1.0, label=name)
        ax.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
        finish(ax, title=None)
        ax.set(xlabel="direction, the most stretched first", title=f"The whole Jacobian, {kind}")
    axes[0].set_ylabel("singular value")
    return figure


def finish(ax: Axes, *, title: str | None) -> None:
    """Leave what vanishes or explodes beyond measure outside the picture, and the legend beside it."""
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, SEEN[0]), min(high, SEEN[1]))
    ax.legend(fontsize=7, title=title, title_fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
