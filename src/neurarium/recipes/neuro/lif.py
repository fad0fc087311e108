"""Leaky integrate-and-fire neurons: one neuron's voltage, its f–I curve against the formula, a population's tuning."""

from collections.abc import Callable
from functools import partial
from math import log10
from typing import Literal

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.tuning import random_tuning, rate
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.neuro.lif import LIF, Firing, Membrane, measure_rate

NEAREST = 1e-3  # how far above the threshold the f–I curve begins
VALUES = 81  # represented values from −1 to 1 at which the tuning curves are measured
PHASES = ((0.02, 0.0), (0.06, 0.9), (0.07, 1.5), (0.05, 3.0), (0.03, 0.0))  # s and current of the voltage's picture
FINE = 1e-4  # s, a step so short that the drawn voltage looks continuous
PEAK = 1.6  # how high a spike is drawn
FRACTIONS = (1.0, 0.5, 0.25, 0.1, 0.05)  # of the refractory period: steps at which the methods are compared
SHORT, CLEAR = 0.2, 1.1  # s simulated and smallest current for that comparison
DRAWN = 40  # tuning curves drawn at the most


@recipe(
    expects=[Expect("rate_error", at_most=0.01)],
    smoke=dict(currents=40, neurons=4, seconds=0.5),
    control=dict(method="euler"),
    exempt=dict(
        resumes="it simulates and learns nothing, so there is no fit to resume",
        stateless="it simulates and learns nothing, so there is no update",
        gradients="neurons with fixed constants: there is no trainable parameter",
        refuses="there are no batches; the neuron's own tests hold it to refusing empty, NaN and misshaped currents",
        exports="there are no weights to take away",
    ),
)
def lif(
    run: Run,
    *,
    currents: int = 400,
    strongest: float = 10.0,
    neurons: int = 12,
    seconds: float = 4.0,
    dt: float = 0.001,
    tau_membrane: float = 0.02,
    tau_refractory: float = 0.002,
    method: Literal["exact", "euler"] = "exact",
) -> Result:
    """A leaky integrate-and-fire neuron fires as its formula says, however long the step.

    The membrane leaks towards its input; above a threshold the neuron fires and rests. Spikes are found inside the
    step by the closed form, and the refractory period ends inside a step too, so the firing rate is
    1/(τref − τm ln(1 − 1/v)) even at steps of a millisecond. The rate is measured from the mean interval between
    spikes. Look at the f–I curve, at what Euler's rule makes of it, and at the tuning curves of a population with
    random gains and biases.

    Args:
        currents: points of the f–I curve, a quarter of them below the threshold.
        strongest: the largest current (the threshold is 1).
        neurons: size of the population whose tuning curves are drawn.
        seconds: simulated time at each point.
        dt: length of a step in seconds, at most the refractory period.
        tau_membrane: time constant of the leak in seconds.
        tau_refractory: silence after a spike in seconds.
        method: exact, or Euler's rule with a refractory period of whole steps (the negative control).
    """
    require(strongest > 1 + NEAREST, f"strongest is {strongest}, but must be above the threshold, 1")
    require(currents >= 8, f"currents is {currents}, but a curve needs at least 8 points")
    make = partial(LIF, tau_membrane=tau_membrane, tau_refractory=tau_refractory)
    formula = partial(rate, tau_membrane=tau_membrane, tau_refractory=tau_refractory)

    inputs = curve_inputs(currents, strongest).to(run.device)
    expected = formula(inputs)
    firing = measure_rate(make(neurons=currents, dt=dt, method=method), inputs, seconds=seconds)
    tuning = random_tuning(
        neurons,
        generator=run.generator("tuning"),
        max_rates=(0.4 / tau_refractory, 0.8 / tau_refractory),
        tau_membrane=tau_membrane,
        tau_refractory=tau_refractory,
    )
    values = torch.linspace(-1, 1, VALUES).unsqueeze(1)
    driven = tuning.current(values).to(run.device)
    tuned = measure_rate(make(neurons=neurons, dt=dt, method=method), driven, seconds=seconds)

    run.picture("voltage", draw_voltage(make, dt))
    run.picture("f_i_curve", draw_curve(make, inputs, expected, firing, method, dt))
    run.picture("tuning_curves", draw_tuning(values, formula(driven), tuned))
    return run.result(
        rate_error=worst(firing.rate, expected),
        count_gap=float((firing.spikes - expected * seconds).abs().max()),
        silent_spikes=float(firing.spikes[expected == 0].sum()),
        tuning_error=worst(tuned.rate, formula(driven)),
    )


def curve_inputs(currents: int, strongest: float) -> Float[Tensor, "1 N"]:
    """A quarter of the currents from 0 to the threshold, the others from just above it, ever farther apart."""
    below = torch.linspace(0, 1, currents // 4)
    above = 1 + torch.logspace(log10(NEAREST), log10(strongest - 1), currents - len(below))
    return torch.cat([below, above]).unsqueeze(0)


def worst(simulated: Float[Tensor, "B N"], expected: Float[Tensor, "B N"]) -> float:
    """The largest relative distance from the formula where it says that a neuron fires."""
    fires = expected > 0
    return float(((simulated - expected).abs() / expected)[fires].max())


def draw_voltage(make: Callable[..., LIF], dt: float) -> Figure:
    """One neuron under a changing current: the voltage between steps, at the steps, its spikes and its silences."""
    fine, coarse = make(neurons=1, dt=min(dt, FINE)), make(neurons=1, dt=dt)
    current, sparse = phases(fine.dt), phases(dt)
    figure, (above, below) = panels(2, 1, width=9.0, height=2.4)
    milliseconds = 1e3 * fine.dt * torch.arange(1, current.shape[1] + 1)
    above.plot(milliseconds, current[0, :, 0], color=COLOURS[2])
    above.axhline(1, color=COLOURS[7], linestyle=":", linewidth=1)
    above.set(ylabel="input current", title="A leaky integrate-and-fire neuron")
    drawn, stepped = fine.record(current), coarse.record(sparse)
    for spike in 1e3 * drawn.times[drawn.spikes > 0]:
        below.axvspan(spike, spike + 1e3 * fine.tau_refractory, color=COLOURS[3], alpha=0.3, linewidth=0)
        below.plot([spike, spike], [1, PEAK], color=COLOURS[1], linewidth=1.6)
    below.plot(milliseconds, drawn.voltage[0, :, 0], label="between the steps")
    steps = 1e3 * dt * torch.arange(1, sparse.shape[1] + 1)
    below.plot(steps, stepped.voltage[0, :, 0], ".", color="black", markersize=3, label=f"steps of {1e3 * dt:g} ms")
    below.axhline(1, color=COLOURS[7], linestyle=":", linewidth=1)
    below.set(xlabel="ms (shaded: refractory)", ylabel="voltage", ylim=(-0.05, PEAK + 0.1))
    below.legend(loc="upper left", fontsize=8)
    below.twinx().set(ylabel="mV", ylim=[1e3 * float(Membrane().volts(limit)) for limit in below.get_ylim()])
    return figure


def phases(dt: float) -> Float[Tensor, "1 T 1"]:
    """The current of the voltage's picture in steps of this length."""
    pieces = [torch.full((round(length / dt),), current) for length, current in PHASES]
    return torch.cat(pieces)[None, :, None]


def draw_curve(
    make: Callable[..., LIF],
    inputs: Float[Tensor, "1 N"],
    expected: Float[Tensor, "1 N"],
    firing: Firing,
    method: str,
    dt: float,
) -> Figure:
    """The simulated rates beside the formula, and the worst error of each method by the length of the step."""
    figure, (curve, errors) = panels(1, 2)
    x = inputs[0].cpu()
    curve.plot(x, expected[0].cpu(), color=COLOURS[0], label="1/(τref − τm ln(1 − 1/v))")
    shown = slice(None, None, max(1, len(x) // 60))
    label = f"simulated ({method}, {1e3 * dt:g} ms)"
    curve.plot(x[shown], firing.rate[0, shown].cpu(), "o", color=COLOURS[1], markersize=4, label=label)
    curve.set(xlabel="input current v", ylabel="firing rate (Hz)", title="f–I curve")
    curve.legend()
    draw_errors(errors, make, dt, inputs[inputs > CLEAR][None, ::4], expected[inputs > CLEAR][None, ::4])
    return figure


def draw_errors(
    ax: Axes, make: Callable[..., LIF], dt: float, inputs: Float[Tensor, "1 N"], expected: Float[Tensor, "1 N"]
) -> None:
    """The worst error of each method by the length of the step, on log scales."""
    longest = make(neurons=1, dt=dt).tau_refractory
    for method, colour in (("euler", COLOURS[3]), ("exact", COLOURS[1])):
        points = []
        for step in (fraction * longest for fraction in FRACTIONS):
            neuron = make(neurons=inputs.numel(), dt=step, method=method)
            points.append((1e3 * step, worst(measure_rate(neuron, inputs, seconds=SHORT).rate, expected)))
        ax.loglog(*zip(*points, strict=True), "o-", color=colour, label=method)
    ax.axhline(0.01, color=COLOURS[7], linestyle=":", linewidth=1)
    ax.set(xlabel="step (ms)", ylabel="worst relative error of the rate", title="error by step length")
    ax.legend(loc="center right")


def draw_tuning(values: Float[Tensor, "V 1"], expected: Float[Tensor, "V N"], tuned: Firing) -> Figure:
    """Firing rate of every neuron by the value that the population represents."""
    figure, (ax,) = panels(width=7.0, height=3.8)
    for neuron in range(min(expected.shape[1], DRAWN)):
        colour = COLOURS[neuron % len(COLOURS)]
        ax.plot(values[:, 0], expected[:, neuron].cpu(), color=colour, linewidth=1.4)
        ax.plot(values[::4, 0], tuned.rate[::4, neuron].cpu(), "o", color=colour, markersize=3.5)
    ax.set(
        xlabel="represented value", ylabel="firing rate (Hz)", title="Tuning curves (lines: formula, dots: simulated)"
    )
    return figure
