"""The postsynaptic filter: its shapes and area, a spike train filtered by convolution and as differential equations."""

from typing import Literal

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.simulation import Probe, simulate, steps_in
from neurarium.parts.synapses import Synapse
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.neuro.synapse import Scale, convolve, kernel, length, postsynaptic, summed, train

SHOWN = 0.15  # s of the spike train that are drawn
FINE = 1e-4  # s between two points of a drawn curve


@recipe(
    expects=[Expect("area_error", at_most=1e-4)],
    smoke=dict(seconds=0.5),
    control=dict(scale="peak"),
    exempt=dict(
        resumes="it filters and learns nothing, so there is no fit to resume",
        stateless="it filters and learns nothing, so there is no update",
        gradients="a filter with fixed constants: there is no trainable parameter",
        refuses="there are no batches; the filter's own tests hold it to refusing empty and NaN signals",
        exports="there are no weights to take away",
    ),
)
def synapse(
    run: Run,
    *,
    n: int = 3,
    tau: float = 0.005,
    dt: float = 0.001,
    rate: float = 40.0,
    seconds: float = 5.0,
    scale: Literal["area", "peak"] = "area",
) -> Result:
    """A spike becomes a current k tⁿ e^(−t/τ) behind the synapse; a spike train becomes the sum of these.

    The filter is measured for every n from 0 to the one given. k makes its area 1, so a filtered spike train is the
    firing rate, smoothed. The train is filtered twice: by convolution with the filter, as mathematics has it, and by
    n + 1 differential equations stepped one after the other, as a simulation (or a synapse) has to do it. Both give the
    same current. Look at the filters, and at the train above its currents.

    Args:
        n: the largest; how often the current is smoothed before it decays.
        tau: time constant in seconds.
        dt: length of a step in seconds.
        rate: of the spikes, which come by chance (a Poisson process), in Hz.
        seconds: length of the spike train.
        scale: area makes the filter's area 1, peak its largest value (the negative control).
    """
    require(rate > 0, f"rate is {rate} Hz, but must be positive")
    steps = steps_in(seconds, dt)
    orders = range(n + 1)
    times = poisson(rate, steps * dt, run.generator("spikes"))
    signal = train(times, steps=steps, dt=dt) / dt
    filters = [kernel(n=order, tau=tau, dt=dt, scale=scale) for order in orders]
    convolved = [convolve(signal, filter, dt=dt) for filter in filters]
    solved = [Synapse(n=order, tau=tau, dt=dt)(signal) for order in orders]
    once = [after_one_spike(order, tau, dt, length(order, tau, dt)) for order in orders]
    unit = [current / current.abs().max() for current in solved]

    run.picture("filters", draw_filters(orders, tau, scale))
    run.picture("spike_train", draw_train(times, [current[0, :, 0] for current in convolved], tau, dt))
    return run.result(
        area_error=max(abs(dt * float(current.sum()) - 1) for current in (*filters, *once)),
        ode_error=max(
            float((mine / other.abs().max() - theirs).abs().max())
            for mine, other, theirs in zip(convolved, convolved, unit, strict=True)
        ),
        mean_rate=float(convolved[-1].mean()),
        spike_rate=len(times) / (steps * dt),
    )


def poisson(rate: float, seconds: float, generator: torch.Generator) -> Float[Tensor, " P"]:
    """Times in s of spikes that come by chance, each independently of all others."""
    count = int(torch.poisson(torch.tensor(rate * seconds), generator=generator))
    # below the end, whatever rounding does
    return (seconds * torch.rand(count, generator=generator, dtype=torch.float64).clamp(max=1 - 1e-9)).sort().values


def after_one_spike(n: int, tau: float, dt: float, steps: int) -> Float[Tensor, " T"]:
    """The current of the differential equations after a spike in the first step."""
    filter = Synapse(n=n, tau=tau, dt=dt)
    spike = torch.zeros(steps, 1, 1, dtype=torch.float64)
    spike[0] = 1 / dt
    probes: dict[str, Probe[Tensor, Tensor]] = {"current": Probe(lambda current, _: current)}
    return simulate(filter.rule(spike), filter.rest(spike[0]), spike, probes=probes, dt=dt).kept["current"][0, :, 0]


def draw_filters(orders: range, tau: float, scale: Scale) -> Figure:
    """The current after one spike, for every n."""
    figure, (ax,) = panels(width=6.5, height=3.6)
    time = torch.arange(-tau, (2.5 * orders[-1] + 5) * tau, tau / 100, dtype=torch.float64)
    for order in orders:
        current = postsynaptic(time, n=order, tau=tau, scale=scale)
        ax.plot(1e3 * time, current, color=COLOURS[order % len(COLOURS)], label=f"n = {order}")
    ax.set(xlabel="ms after the spike", ylabel="current (Hz)", title=f"k tⁿ e^(−t/τ), τ = {1e3 * tau:g} ms")
    ax.legend(fontsize=8)
    return figure


def draw_train(times: Float[Tensor, " P"], currents: list[Float[Tensor, " T"]], tau: float, dt: float) -> Figure:
    """The beginning of the spike train and of its currents: the sum of filters at exact times, and what steps make."""
    count = len(currents)
    figure, axes = panels(count + 1, 1, width=9.0, height=1.5)
    shown = times[times < SHOWN]
    axes[0].eventplot([1e3 * time for time in shown.tolist()], colors="black", linelengths=0.8)
    axes[0].set(yticks=[], ylabel="spikes", title="A spike train, and the current it becomes")
    at = torch.arange(0, SHOWN, FINE, dtype=torch.float64)
    stepped = min(len(currents[0]), int(SHOWN / dt))
    ends = 1e3 * dt * torch.arange(1, stepped + 1)
    for order, (ax, current) in enumerate(zip(axes[1:], currents, strict=True)):
        colour = COLOURS[order % len(COLOURS)]
        ax.plot(1e3 * at, summed(shown, at, n=order, tau=tau), color=colour, linewidth=1.2, label="at exact times")
        ax.plot(ends, current[:stepped], ".", color="black", markersize=3, label=f"steps of {1e3 * dt:g} ms")
        ax.set(ylabel=f"n = {order} (Hz)")
    axes[1].legend(loc="upper right", fontsize=8, ncols=2)
    axes[-1].set(xlabel="ms")
    for ax in axes:
        ax.set_xlim(0, 1e3 * SHOWN)
    for ax in axes[:-1]:
        ax.tick_params(labelbottom=False)
    return figure
