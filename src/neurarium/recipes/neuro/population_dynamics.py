"""Populations that live by an equation: an integrator, an oscillator, a controlled one, Lorenz's attractor."""

from functools import partial
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.decoders import Function
from neurarium.parts.simulation import steps_in
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.neuro.population_coding import make_population, rmse
from neurarium.systems.neuro.population_dynamics import (
    Dynamics,
    controlled_oscillator,
    integrator,
    lorenz,
    oscillator,
    true_values,
    turning,
)

HELD = (-0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8)  # values that the integrator is asked to keep
PULSES = ((0.1, 1.0, 0.2), (0.4, 0.5, 0.2), (0.7, -1.6, 0.2))  # start, height and length, as parts of the whole time
SWING = (0.8, 0.0)  # where the oscillator begins
CONTROLS = (0.6, 0.3, -0.5)  # what the controlled oscillator is told, a third of the time each
FASTER, FOLLOW = 3.0, 5.0  # its frequency at control 1, as a multiple of the oscillator's; 1/s, how fast it obeys
OBEYED = 0.25  # part of each third that passes before its frequency is measured
CLOSE_TO = (1 / 32, 2 / 32, -10 / 32)  # where Lorenz's attractor is entered
COARSE = 5  # steps of the population in one of the true equation's


class Followed(NamedTuple):
    """Decoded and true values of one population, and their times in s."""

    seconds: Float[Tensor, " K"]
    decoded: Float[Tensor, "B K D"]
    true: Float[Tensor, "B K D"]


@recipe(
    expects=[
        Expect("frequency_error", at_most=0.10),
        Expect("frequency_error", at_most=0.10, given=dict(neurons="rate")),
    ],
    smoke=dict(size=200, seconds=1.0),
    control=dict(still=True),
    exempt=dict(
        resumes="decoders are solved for and the rest is simulated, so there is no fit to resume",
        stateless="decoders are solved for and the rest is simulated, so there is no update",
        gradients="decoders are solved for; there is no trainable parameter",
        refuses="there are no batches; the population's own tests hold it to refusing unusable starts, inputs and f",
        exports="there is no fit whose weights could be taken away; W = DE is a method of the population",
    ),
)
def population_dynamics(
    run: Run,
    *,
    neurons: Literal["spiking", "rate"] = "spiking",
    size: int = 1000,
    seconds: float = 5.0,
    frequency: float = 1.0,
    tau: float = 0.1,
    dt: float = 0.001,
    noise: float = 0.1,
    still: bool = False,
) -> Result:
    """Neurons connected to themselves follow a differential equation.

    Decoders of τ f(y) + y, fed back through a synapse of time constant τ, make a population's value move by
    dy/dt = f(y). Four equations: f = 0 keeps a value and adds up inputs; a harmonic oscillator; one whose frequency is
    a third value of the same population; and Lorenz's attractor, with twice the neurons and time. The frequency is
    measured from the angle turned, the drift from how far held values move in a second. For an equation of your own,
    give any Python function to `Dynamics(population, f)`. Look at decoded beside true trajectories.

    Args:
        neurons: spiking (leaky integrate-and-fire), or rate (the same neurons' rates at once).
        size: neurons of a population.
        seconds: simulated time of each; Lorenz's attractor takes twice as long.
        frequency: of the oscillator in Hz.
        tau: time constant of the recurrent synapse in s.
        dt: length of a step in s.
        noise: of the rates, as a part of the fastest, that decoders are made for.
        still: leave f out, so that every value is only kept (the negative control).
    """
    require(frequency > 0, f"frequency is {frequency} Hz, but must be positive")
    steps = steps_in(seconds, dt)
    require(steps >= 100, f"seconds is {seconds}, but must be at least 100 steps of {dt} s")

    def build(name: str, function: Function, dimensions: int, factor: int = 1) -> Dynamics:
        population = make_population(factor * size, dimensions, generator=run.generator(name), noise=noise)
        f = integrator if still else function
        return Dynamics(population, f, spiking=neurons == "spiking", tau=tau, dt=dt).to(run.device)

    swing, steer = oscillator(frequency), controlled_oscillator(FASTER * frequency, FOLLOW)
    followed = partial(follow, run)
    memory = build("integrator", integrator, 1)
    held = memory.follow(torch.tensor(HELD).unsqueeze(1).to(run.device), steps, generator=run.generator("held")).cpu()
    pulses, orders = pulses_of(steps, seconds), orders_of(steps)
    summed = followed(memory, integrator, (0.0,), steps, inputs=pulses)
    swung = followed(build("oscillator", swing, 2), swing, SWING, steps)
    steered = followed(build("controlled", steer, 3), steer, (0.6, 0.0, CONTROLS[0]), steps, inputs=FOLLOW * orders)
    wandered = followed(build("lorenz", lorenz, 3, 2), lorenz, CLOSE_TO, 2 * steps)

    run.picture("integrator", draw_integrator(summed, pulses, held, dt))
    run.picture("oscillator", draw_oscillator(swung))
    run.picture("controlled", draw_controlled(steered, FASTER * frequency, orders))
    run.picture("lorenz", draw_lorenz(wandered))
    measured = float(turning(swung.decoded, COARSE * dt))
    return run.result(
        frequency_error=abs(measured / frequency - 1),
        frequency=measured,
        oscillator_rmse=rmse(swung.decoded, swung.true),
        drift=float((held[:, -1] - held[:, 0]).abs().mean() / seconds),
        integral_error=rmse(summed.decoded, summed.true),
        controlled_error=controlled_error(steered, FASTER * frequency, COARSE * dt),
        lorenz_spread_error=spread_error(wandered),
    )


def follow(
    run: Run,
    dynamics: Dynamics,
    function: Function,
    start: tuple[float, ...],
    steps: int,
    *,
    inputs: Float[Tensor, "1 T D"] | None = None,
) -> Followed:
    """A population's way and the equation's own, from the same start under the same inputs."""
    first = torch.tensor([start])
    given = None if inputs is None else inputs.to(run.device)
    chance = run.generator("membranes", len(start), steps)
    decoded = dynamics.follow(first.to(run.device), steps, inputs=given, generator=chance).cpu()
    coarse, dt = steps // COARSE, COARSE * dynamics.dt
    sampled = None if inputs is None else inputs[:, : coarse * COARSE].unflatten(1, (coarse, COARSE)).mean(2)
    true = true_values(function, first, coarse, dt=dt, inputs=sampled)
    return Followed(dt * torch.arange(1, coarse + 1), decoded[:, COARSE - 1 :: COARSE][:, :coarse], true)


def pulses_of(steps: int, seconds: float) -> Float[Tensor, "1 T 1"]:
    """Inputs of the integrator; each pulse adds half its height."""
    inputs = torch.zeros(1, steps, 1)
    for start, height, length in PULSES:
        first, last = round(start * steps), round((start + length) * steps)
        inputs[:, first:last] = height * 0.5 / (length * seconds)
    return inputs


def orders_of(steps: int) -> Float[Tensor, "1 T 3"]:
    """What the third value of the controlled oscillator should be at every step."""
    orders = torch.zeros(1, steps, 3)
    orders[0, :, 2] = torch.tensor(CONTROLS)[torch.arange(steps) * len(CONTROLS) // steps]
    return orders


def controlled_error(steered: Followed, fastest: float, dt: float) -> float:
    """The mean distance of the frequency from that told, as a part of the largest told, once it has been obeyed."""
    errors = []
    third = steered.decoded.shape[1] // len(CONTROLS)
    for place, told in enumerate(CONTROLS):
        piece = steered.decoded[:, place * third + round(OBEYED * third) : (place + 1) * third]
        errors.append(abs(float(turning(piece, dt)) - told * fastest))
    return sum(errors) / len(errors) / (max(map(abs, CONTROLS)) * fastest)


def spread_error(wandered: Followed) -> float:
    """How far the spread of each value is from the true one's, the worst of them: two ways in chaos soon part."""
    spread, wanted = wandered.decoded[0].std(0), wandered.true[0].std(0)
    return float((spread / wanted - 1).abs().max())


def draw_ways(ax: Axes, followed: Followed, names: tuple[str, ...]) -> None:
    """Decoded and true values over time."""
    for place, name in enumerate(names):
        ax.plot(followed.seconds, followed.true[0, :, place], ":", color="black", linewidth=1.2)
        ax.plot(followed.seconds, followed.decoded[0, :, place], color=COLOURS[place], linewidth=1.4, label=name)
    ax.plot([], [], ":", color="black", linewidth=1.2, label="true")
    ax.set(xlabel="s")
    ax.legend(fontsize=8, loc="upper right")


def draw_integrator(
    summed: Followed, pulses: Float[Tensor, "1 T 1"], held: Float[Tensor, "B T 1"], dt: float
) -> Figure:
    """A population adding up pulses, and one keeping values."""
    figure, (left, right) = panels(1, 2)
    draw_ways(left, summed, ("y",))
    seconds = dt * torch.arange(1, pulses.shape[1] + 1)
    left.plot(seconds, pulses[0, :, 0], color=COLOURS[7], linewidth=1, label="input (1/s)")
    left.legend(fontsize=8)
    left.set(title="dy/dt = u: inputs add up", ylabel="decoded")
    for place, way in enumerate(held[..., 0]):
        right.axhline(HELD[place], color="black", linestyle=":", linewidth=0.8)
        right.plot(seconds[::5], way[::5], color=COLOURS[place % len(COLOURS)], linewidth=1.2)
    right.set(xlabel="s", title="u = 0: values are kept, and drift")
    return figure


def draw_oscillator(swung: Followed) -> Figure:
    """The harmonic oscillator over time and in the plane."""
    figure, (left, right) = panels(1, 2, width=4.8)
    draw_ways(left, swung, ("y₁", "y₂"))
    left.set(title="dy/dt = ω (−y₂, y₁)", ylabel="decoded")
    draw_plane(right, swung, 0, 1)
    right.set(aspect="equal")
    return figure


def draw_controlled(steered: Followed, fastest: float, orders: Float[Tensor, "1 T 3"]) -> Figure:
    """The controlled oscillator's values, and its frequency beside that told."""
    figure, (above, below) = panels(2, 1, width=9.0, height=2.5)
    draw_ways(above, steered, ("y₁", "y₂"))
    above.set(title="An oscillator whose frequency is a value of its own", ylabel="decoded")
    told = torch.nn.functional.interpolate(orders[..., 2:].mT, size=len(steered.seconds))[0, 0]
    below.plot(steered.seconds, fastest * told, color=COLOURS[7], label="told")
    below.plot(steered.seconds, fastest * steered.decoded[0, :, 2], color=COLOURS[2], label="y₃ decoded")
    below.plot(steered.seconds, fastest * steered.true[0, :, 2], ":", color="black", linewidth=1.2, label="y₃ true")
    below.set(xlabel="s", ylabel="frequency (Hz)")
    below.legend(fontsize=8)
    return figure


def draw_lorenz(wandered: Followed) -> Figure:
    """Lorenz's attractor as the neurons draw it, the true one, and both over time."""
    figure, (left, middle, right) = panels(1, 3, width=4.4, height=3.8)
    for ax, way, title in ((left, wandered.decoded, "Decoded"), (middle, wandered.true, "True")):
        points = ax.scatter(way[0, :, 0], way[0, :, 2], c=wandered.seconds, s=1.5, cmap="viridis")
        ax.plot(way[0, :, 0], way[0, :, 2], color=COLOURS[7], linewidth=0.4, alpha=0.6)
        ax.set(xlabel="y₁", ylabel="y₃", title=f"{title}: Lorenz's attractor")
    figure.colorbar(points, ax=middle, label="s")
    draw_ways(right, wandered, ("y₁",))
    right.set(title="Soon apart, as chaos will have it", ylabel="y₁")
    return figure


def draw_plane(ax: Axes, followed: Followed, across: int, up: int) -> None:
    """Two of the values against each other."""
    ax.plot(followed.decoded[0, :, across], followed.decoded[0, :, up], color=COLOURS[0], linewidth=1, label="decoded")
    ax.plot(followed.true[0, :, across], followed.true[0, :, up], ":", color="black", linewidth=1.2, label="true")
    ax.set(xlabel=f"y{'₁₂₃'[across]}", ylabel=f"y{'₁₂₃'[up]}")
    ax.legend(fontsize=8, loc="upper right")
