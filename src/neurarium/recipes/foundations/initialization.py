"""Four ways to begin, through fifty layers of tanh and of ReLU: the variance forward and back, layer by layer."""

from collections.abc import Mapping
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neurarium.errors import require
from neurarium.parts.activations import relu, tanh
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.foundations.initialization import SCHEMES, Signals, ensemble

FUNCTIONS = {"tanh": tanh, "ReLU": relu}
LABELS = {"normal": "N(0, 1)", "fan_in": "N(0, 1/√fan-in)", "xavier": "Xavier", "kaiming": "Kaiming"}
NARROW = 2 / 3  # width of every second layer beside the others': were all alike, Xavier would be N(0, 1/√fan-in)
SEEN = (1e-18, 1e18)  # variances that the picture has room for


@recipe(
    expects=[Expect("kaiming_variance_ratio", at_least=0.5, at_most=2.0)],
    smoke=dict(networks=4, width=96),
    control=dict(scheme="normal"),
    exempt=dict(
        resumes="it looks at networks before they learn, so there is no fit to resume",
        stateless="it looks at networks before they learn, so there is no update",
        gradients="it looks at networks before they learn; no parameter is trained",
        refuses="there are no batches; the tests hold the system to refusing misshaped signals",
        exports="the weights are random numbers; there is nothing to take away",
    ),
)
def initialization(
    run: Run,
    *,
    depth: int = 50,
    width: int = 192,
    networks: int = 128,
    batch: int = 16,
    scheme: Literal["normal", "fan_in", "xavier", "kaiming"] = "kaiming",
) -> Result:
    """First weights decide whether a signal survives fifty layers.

    A batch of random numbers goes forward through untrained networks, an error comes back, and the variance of both is
    taken at every layer. Under N(0, 1) tanh saturates and ReLU explodes; N(0, 1/√fan-in) and Xavier lose it slowly
    under tanh, and halve it at every layer of ReLU; Kaiming's factor of two makes up for that half. Every other layer
    is narrower, which is where Xavier and N(0, 1/√fan-in) differ. Variances are means over many networks.

    Args:
        depth: number of layers.
        width: units of the wider layers; the others have two thirds.
        networks: random networks that are averaged.
        batch: examples sent through each.
        scheme: whose ReLU ratio is reported as kaiming_variance_ratio (any other is a negative control).
    """
    require(depth >= 2, f"depth is {depth}; to compare a last layer with a first takes at least 2")
    require(scheme in SCHEMES, f"scheme is '{scheme}'; choose {', '.join(SCHEMES)}")
    require(width >= 2, f"width is {width}, but must be at least 2")
    widths = [width if layer % 2 else max(1, round(NARROW * width)) for layer in range(depth + 1)]
    found = {
        function: {
            name: ensemble(
                widths,
                initialize,
                activation=activation,
                networks=networks,
                batch=batch,
                generator=run.generator(name, function),
            )
            for name, initialize in SCHEMES.items()
        }
        for function, activation in FUNCTIONS.items()
    }
    run.picture("variance", draw_variances(found))
    relus, tanhs = found["ReLU"], found["tanh"]
    return run.result(
        kaiming_variance_ratio=relus[scheme].activation_ratio,
        kaiming_gradient_ratio=relus[scheme].gradient_ratio,
        fan_in_relu_ratio=relus["fan_in"].activation_ratio,
        xavier_tanh_ratio=tanhs["xavier"].activation_ratio,
        xavier_tanh_gradient_ratio=tanhs["xavier"].gradient_ratio,
    )


def draw_variances(found: Mapping[str, Mapping[str, Signals]]) -> Figure:
    """Variance of activations and of gradients by layer, a line for each way to begin."""
    figure, axes = panels(2, len(found), width=4.8, height=3.2)
    for column, (function, schemes) in enumerate(found.items()):
        above, below = axes[column], axes[column + len(found)]
        for (name, signals), colour in zip(schemes.items(), COLOURS, strict=False):
            layers = range(1, 1 + len(signals.activations))
            above.semilogy(layers, signals.activations, color=colour, linewidth=1.6, label=LABELS[name])
            below.semilogy(layers, signals.gradients, color=colour, linewidth=1.6)
        above.set_title(f"{function}: activations, input to output", fontsize=10)
        below.set_title(f"{function}: gradients, output to input", fontsize=10)
        below.set_xlabel("layer")
    for ax in axes:
        crop(ax)
    axes[0].set_ylabel("variance")
    axes[len(found)].set_ylabel("variance")
    axes[0].legend(fontsize=8)
    return figure


def crop(ax: Axes) -> None:
    """Leave what vanishes or explodes beyond measure outside the picture."""
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, SEEN[0]), min(high, SEEN[1]))
