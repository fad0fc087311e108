"""Hodgkin–Huxley neurons: a spike and its gates, the f–I curve from onset to block, phase plane, errors by step."""

from functools import partial
from math import ceil
from typing import Literal

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.simulation import steps_in
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.neuro.hodgkin_huxley import LARGEST, HodgkinHuxley, Recording, gates

TONIC, BLOCKED = 10.0, 80.0  # µA/cm² at which the rate is promised
ONSET = (6.0, 6.5, 11)  # µA/cm²: where the onset is looked for, in steps of 0.05
CLOSER = (6.25, 6.30, 6)  # and in steps of 0.01
STRONGEST = 120.0  # µA/cm² on the f–I curve
PUSHES = ((0.005, 0.0), (0.001, 8.0), (0.014, 0.0), (0.030, 10.0), (0.010, 0.0))  # s and µA/cm² of the picture
PLANE = {6.0: "comes to rest", 10.0: "fires on", 80.0: "is blocked"}  # µA/cm² in the phase plane
PLANE_SECONDS = 0.05
FRACTIONS = (1.0, 0.5, 0.25)  # of the largest step of each method: where their errors are measured
EXACT, SHORT = 8e-6, 0.004  # s: the step that stands for no error, and a time that holds the rise of a spike


@recipe(
    expects=[
        Expect("rate_10", at_least=67.8, at_most=68.8),
        Expect("onset", at_least=6.25, at_most=6.30),
        Expect("onset_rate", at_least=51.4, at_most=53.4),
        Expect("rate_80", equals=0.0),
    ],
    smoke=dict(points=8, seconds=0.08, settle=0.03),
    control=dict(method="exponential_euler", dt=1e-4),
    exempt=dict(
        repeats="nothing is left to chance, so every seed gives the same; the system's tests hold its numbers",
        resumes="it simulates and learns nothing, so there is no fit to resume",
        stateless="it simulates and learns nothing, so there is no update",
        gradients="neurons with fixed constants: there is no trainable parameter",
        refuses="there are no batches; the neuron's own tests hold it to refusing empty, NaN and misshaped currents",
        exports="there are no weights to take away",
    ),
)
def hodgkin_huxley(
    run: Run,
    *,
    points: int = 80,
    seconds: float = 0.8,
    settle: float = 0.3,
    dt: float = 5e-5,
    method: Literal["runge_kutta", "exponential_euler"] = "runge_kutta",
) -> Result:
    """A Hodgkin–Huxley neuron spikes, keeps a lowest rate, and is blocked by too strong a current.

    Channels for sodium and potassium open and close with the voltage, and spikes follow. Below some 6.3 µA/cm² the
    neuron comes to rest after at most a few spikes; at 6.30 it fires on for ever, and at once at 52 Hz, for it knows no
    slow rates. At 10 it fires at 68 Hz. Far above, sodium channels never recover: it spikes at the start, and then
    stays depolarised and never again crosses 0 mV. All currents of the curve are neurons that are simulated at once.
    The onset is the smallest current, on a grid of 0.05 µA/cm², at which the neuron still fires after it has settled;
    `onset_closer` is the same on a grid of 0.01. Look at the gates during a spike, at the f–I curve, at the phase
    plane, and at what a step's length costs.

    Args:
        points: of the f–I curve, beside those around the onset.
        seconds: simulated time at each.
        settle: seconds at the beginning whose spikes do not count.
        dt: length of a step in seconds, at most 7e-5 by Runge–Kutta and 1e-4 by exponential Euler.
        method: Runge–Kutta of fourth order, or exponential Euler.
    """
    require(points >= 2, f"points is {points}, but a curve needs at least 2")
    current = curve_currents(points).to(run.device)
    make = partial(HodgkinHuxley, dt=dt, method=method)
    firing = make(neurons=current.shape[1], compiled=run.settings.compile).measure_rate(
        current, seconds=seconds, settle=settle
    )
    inputs, rate = current[0].cpu(), firing.rate[0].cpu()
    onset, closer = (first_tonic(torch.linspace(*grid, dtype=torch.float64), inputs, rate) for grid in (ONSET, CLOSER))

    run.picture("spikes", draw_spikes(make(neurons=1)))
    run.picture("gates", draw_gates())
    run.picture("f_i_curve", draw_curve(inputs, rate))
    run.picture("phase_plane", draw_plane(make(neurons=len(PLANE))))
    run.picture("errors", draw_errors())
    return run.result(
        rate_10=at(TONIC, inputs, rate),
        onset=onset,
        onset_rate=at(onset, inputs, rate),
        rate_80=at(BLOCKED, inputs, rate),
        onset_closer=closer,
        onset_closer_rate=at(closer, inputs, rate),
    )


def curve_currents(points: int) -> Float[Tensor, "1 N"]:
    """All currents in µA/cm², in order: a curve to the strongest, dense where it is low, and those promised."""
    curve = STRONGEST * torch.linspace(0, 1, points, dtype=torch.float64) ** 2
    named = torch.tensor([TONIC, BLOCKED], dtype=torch.float64)
    grids = [torch.linspace(*grid, dtype=torch.float64) for grid in (ONSET, CLOSER)]
    return torch.cat([curve, named, *grids]).mul(1000).round().div(1000).unique().unsqueeze(0)


def at(current: float, inputs: Float[Tensor, " N"], rate: Float[Tensor, " N"]) -> float:
    """The rate at the current nearest to this one."""
    return float(rate[(inputs - current).abs().argmin()])


def first_tonic(grid: Float[Tensor, " G"], inputs: Float[Tensor, " N"], rate: Float[Tensor, " N"]) -> float:
    """The first current of a grid at which a neuron fires; the last, if none does."""
    return next((round(now, 3) for now in grid.tolist() if at(now, inputs, rate) > 0), round(float(grid[-1]), 3))


def draw_spikes(neuron: HodgkinHuxley) -> Figure:
    """A push that is too weak, one that makes a spike, a current that makes many: voltage, gates and conductances."""
    pieces = [torch.full((steps_in(length, neuron.dt),), current) for length, current in PUSHES]
    current = torch.cat(pieces).double()[None, :, None]
    recording = neuron.record(current)
    milliseconds = 1e3 * neuron.dt * torch.arange(1, current.shape[1] + 1)
    figure, (pushed, voltage, opened, conductance) = panels(4, 1, width=9.0, height=1.9)
    pushed.plot(milliseconds, current[0, :, 0], color=COLOURS[2])
    pushed.set(ylabel="input (µA/cm²)", title="A Hodgkin–Huxley neuron")
    v, n, m, h = (part[0, :, 0] for part in recording.states)
    voltage.plot(milliseconds, v, color="black")
    voltage.set(ylabel="voltage (mV)")
    names = ("n (potassium)", "m (sodium)", "h (sodium)")
    for values, label, colour in zip((n, m, h), names, (COLOURS[0], COLOURS[1], COLOURS[3]), strict=True):
        opened.plot(milliseconds, values, label=label, color=colour)
    opened.set(ylabel="gates open")
    conductance.plot(milliseconds, neuron.membrane.sodium * m**3 * h, label="sodium", color=COLOURS[1])
    conductance.plot(milliseconds, neuron.membrane.potassium * n**4, label="potassium", color=COLOURS[0])
    conductance.set(ylabel="mS/cm²", xlabel="ms")
    for ax in (opened, conductance):
        ax.legend(loc="upper left", fontsize=8, ncols=3)
    for ax in (pushed, voltage, opened):
        ax.tick_params(labelbottom=False)
    return figure


def draw_gates() -> Figure:
    """Where each gate tends to and how fast, by voltage."""
    voltage = torch.linspace(-100, 50, 301, dtype=torch.float64)
    figure, (target, delay) = panels(1, 2)
    for name, gate, colour in zip("nmh", gates(voltage), (COLOURS[0], COLOURS[1], COLOURS[3]), strict=True):
        target.plot(voltage, gate.target, label=f"{name}∞", color=colour)
        delay.plot(voltage, 1 / gate.rate, label=f"τ of {name}", color=colour)
    target.set(xlabel="voltage (mV)", ylabel="gate open in the end", title="where the gates tend to")
    delay.set(xlabel="voltage (mV)", ylabel="time constant (ms)", title="how long they take")
    for ax in (target, delay):
        ax.axvline(-65, color=COLOURS[7], linestyle=":", linewidth=1)
        ax.legend()
    return figure


def draw_curve(inputs: Float[Tensor, " N"], rate: Float[Tensor, " N"]) -> Figure:
    """The firing rate by current, and the jump at its beginning."""
    figure, (whole, close) = panels(1, 2)
    for ax in (whole, close):
        ax.plot(inputs, rate, "o-", markersize=3.5, linewidth=1.2)
        ax.set(xlabel="input current (µA/cm²)", ylabel="firing rate (Hz)")
    whole.set(title="f–I curve: onset, and block by strong currents")
    whole.plot(
        [TONIC], [at(TONIC, inputs, rate)], "o", color=COLOURS[1], label=f"{at(TONIC, inputs, rate):.1f} Hz at 10"
    )
    whole.legend()
    close.set(title="onset: no slow rates", xlim=(ONSET[0], ONSET[1]), ylim=(-2, 60))
    return figure


def draw_plane(neuron: HodgkinHuxley) -> Figure:
    """Voltage against potassium gate: coming to rest, going round for ever, and blocked."""
    current = torch.tensor([*PLANE], dtype=torch.float64).expand(1, steps_in(PLANE_SECONDS, neuron.dt), -1)
    recording = neuron.record(current)
    voltage = torch.linspace(-85, 45, 200, dtype=torch.float64)
    figure, axes = panels(1, len(PLANE), width=4.0, height=3.6)
    for place, (ax, (push, does)) in enumerate(zip(axes, PLANE.items(), strict=True)):
        ax.plot(voltage, gates(voltage).n.target, color=COLOURS[7], linestyle="--", linewidth=1, label="n at rest, n∞")
        draw_path(ax, recording, place)
        ax.set(title=f"{push:g} µA/cm²: {does}", xlabel="voltage (mV)", xlim=(-85, 45), ylim=(0.25, 0.95))
    axes[0].set(ylabel="potassium gate n")
    axes[0].legend(loc="lower right", fontsize=8)
    return figure


def draw_path(ax: Axes, recording: Recording, place: int) -> None:
    """One neuron's way through the plane; where it began (ring) and ended (dot)."""
    v, n = recording.states.voltage[0, :, place], recording.states.n[0, :, place]
    ax.plot(v, n, color=COLOURS[0], linewidth=1)
    ax.plot(v[0], n[0], "o", color=COLOURS[1], fillstyle="none")
    ax.plot(v[-1], n[-1], "o", color=COLOURS[1])


def draw_errors() -> Figure:
    """The voltage's worst error over the rise of a first spike by the length of the step, on log scales."""
    exact = last_voltage(HodgkinHuxley(neurons=1, dt=EXACT))
    figure, (ax,) = panels(width=6.0, height=3.8)
    for method, order, colour in (("exponential_euler", 1, COLOURS[3]), ("runge_kutta", 4, COLOURS[1])):
        points = []
        for fraction in FRACTIONS:
            dt = SHORT / ceil(SHORT / (fraction * LARGEST[method]))
            neuron = HodgkinHuxley(neurons=1, dt=dt, method=method)  # type: ignore[arg-type]
            points.append((1e3 * dt, abs(last_voltage(neuron) - exact)))
        label = f"{method.replace('_', ' ')} (order {order})"
        ax.loglog(*zip(*points, strict=True), "o-", color=colour, label=label)
    ax.set(xlabel="step (ms)", ylabel=f"error after {1e3 * SHORT:g} ms (mV)", title="error by step length")
    ax.legend()
    return figure


def last_voltage(neuron: HodgkinHuxley) -> float:
    """The voltage after a short time under the tonic current."""
    steps = steps_in(SHORT, neuron.dt)
    return float(neuron.record(torch.full((1, steps, 1), TONIC, dtype=torch.float64)).state.voltage)
