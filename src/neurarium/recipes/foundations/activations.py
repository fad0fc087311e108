"""Activations side by side: value and slope of each, GELU as a mean, softmax from hot to cold."""

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.activations import argmax, gelu, relu, scaled_tanh, softmax
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import recipe
from neurarium.running.run import Result, Run
from neurarium.systems.foundations.activations import ACTIVATIONS, drawn_gelu

POINTS = 801  # places at which the curves are drawn and compared; odd, so that 0 is one of them
HEIGHT = 2.4  # from zero to the end of a drawn value
LAYER = (1.0, 2.0, 2.5, 0.5, -1.0)  # net inputs of the softmax's picture
TEMPERATURES = (5.0, 1.0, 0.3)
COLD = 1e-3  # a temperature at which softmax should be argmax


@recipe(
    expects=[],
    smoke=dict(samples=500),
    control={},
    exempt=dict(
        resumes="it draws functions and learns nothing, so there is no fit to resume",
        stateless="it draws functions and learns nothing, so there is no update",
        gradients="functions without weights: there is no trainable parameter",
        refuses="there are no batches",
        learns="functions are looked at, and nothing is learned; no result is promised",
        exports="there are no weights to take away",
    ),
)
def activations(run: Run, *, span: float = 4.0, samples: int = 20_000) -> Result:
    """Activations side by side: what a unit makes of its net input, and how much of an error comes back through it.

    Look at the slopes: the logistic's never exceeds a quarter, those of the curves that saturate vanish at both ends,
    the threshold's is 0 everywhere, and ReLU's is 1 for half of all inputs. 1.7159 tanh(2x/3) goes through (1, 1). A
    GELU is the mean of a unit that is kept with probability Φ(x): the dots are means of so many draws. The bars are a
    softmax at falling temperature, which ends as argmax. The measures are gaps between two ways to the same number.

    Args:
        span: net inputs reach from minus this to this.
        samples: draws of each of GELU's means.
    """
    require(span > 0, f"span is {span}, but must be positive")
    net = torch.linspace(-span, span, POINTS, dtype=torch.float64)
    places = net[::20]
    drawn, error = drawn_gelu(places, samples=samples, generator=run.generator("gelu"))
    unit, layer = torch.ones(1, dtype=torch.float64), torch.tensor(LAYER, dtype=torch.float64)

    run.picture("curves", draw_curves(net))
    run.picture("gelu", draw_gelu(net, places, drawn, error, samples))
    run.picture("softmax", draw_softmax(layer))
    return run.result(
        slope_gap=slope_gap(net),
        scaled_tanh_gap=max(float((scaled_tanh(sign * unit) - sign).abs()) for sign in (-1, 1)),
        gelu_gap=float((drawn - gelu(places)).abs().max()),
        largest_logistic_slope=float(ACTIVATIONS["logistic"].slope(net).max()),
        cold_softmax_gap=float((softmax(layer, temperature=COLD) - argmax(layer)).abs().max()),
    )


def slope_gap(net: Float[Tensor, " P"]) -> float:
    """The largest distance of the slopes written out from those of autograd."""
    worst = 0.0
    for curve in ACTIVATIONS.values():
        inputs = net.clone().requires_grad_()
        value = curve.value(inputs)
        if value.requires_grad:  # a threshold has no graph, and its slope is 0 by its definition
            [slope] = torch.autograd.grad(value.sum(), inputs)
            worst = max(worst, float((slope - curve.slope(net)).abs().max()))
    return worst


def draw_curves(net: Float[Tensor, " P"]) -> Figure:
    """A panel for each activation: its value, and its slope below."""
    figure, axes = panels(2, 4, width=3.2, height=2.6)
    for ax, (name, curve) in zip(axes, ACTIVATIONS.items(), strict=True):
        value = curve.value(net)
        if name == "threshold":  # no upright line: the function is nowhere between 0 and 1
            value = value.where(net != 0, torch.nan)
        ax.axhline(0, color="black", linewidth=0.6)
        ax.axvline(0, color="black", linewidth=0.6)
        ax.plot(net, value, color=COLOURS[0], linewidth=1.8, label="value")
        ax.plot(net, curve.slope(net), "--", color=COLOURS[1], linewidth=1.5, label="slope")
        ax.set_ylim(-HEIGHT if name in ("arctan", "1.7159 tanh(2x/3)") else -1.3, HEIGHT)
        ax.set_title(name, fontsize=10)
    for ax in axes[4:]:
        ax.set_xlabel("net input")
    axes[0].legend(fontsize=8, loc="upper left")
    return figure


def draw_gelu(
    net: Float[Tensor, " P"], places: Float[Tensor, " M"], drawn: Float[Tensor, " M"], error: Tensor, samples: int
) -> Figure:
    """GELU and the means that it stands for, with ReLU; and how far the means lie from it."""
    figure, (ax, gaps) = panels(1, 2, width=4.8, height=3.6)
    ax.plot(net, relu(net), "--", color=COLOURS[7], linewidth=1.2, label="ReLU")
    ax.plot(net, gelu(net), color=COLOURS[0], linewidth=1.8, label="GELU = x Φ(x)")
    ax.plot(places, drawn, "o", color=COLOURS[1], markersize=4, label=f"mean of {samples:,} draws of x·m")
    ax.set(xlabel="net input x", title="GELU is a mean: m is 1 with probability Φ(x)", ylim=(-0.4, HEIGHT))
    ax.legend(fontsize=8, loc="upper left")
    gaps.fill_between(
        places, -2 * error, 2 * error, color=COLOURS[0], alpha=0.2, linewidth=0, label="2 standard errors"
    )
    gaps.plot(places, drawn - gelu(places), "o", color=COLOURS[1], markersize=4, label="mean − GELU")
    gaps.set(xlabel="net input x", title="What is left is the chance of the draw")
    gaps.margins(y=0.25)
    gaps.legend(fontsize=8, loc="upper left")
    return figure


def draw_softmax(layer: Float[Tensor, " K"]) -> Figure:
    """The same layer through softmax at falling temperature, and through argmax."""
    results = {f"softmax, T = {warm:g}": softmax(layer, temperature=warm) for warm in TEMPERATURES}
    results["argmax"] = argmax(layer)
    figure, axes = panels(1, 1 + len(results), width=2.4, height=2.6)
    axes[0].bar(range(len(layer)), layer.tolist(), color=COLOURS[7])
    axes[0].set(title="net input", xlabel="unit")
    for ax, (name, outputs), colour in zip(axes[1:], results.items(), COLOURS, strict=False):
        ax.bar(range(len(layer)), outputs.tolist(), color=colour)
        ax.set(title=name, xlabel="unit", ylim=(0, 1.05))
    return figure
