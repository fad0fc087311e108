"""A function between two populations: what it computes, and the same currents by few products and by many."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from math import cos, pi, sin
from typing import Literal

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.decoders import Function, draw_values, tabulate
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.neuro.population_coding import make_population, rmse
from neurarium.systems.neuro.population_transform import (
    Transform,
    current_gap,
    full_current,
    low_rank_current,
    rank,
)

JUDGED = 1000  # values at which currents and the function are compared
SIZES = (125, 250, 500, 1000, 2000, 4000)  # neurons on both sides, in the picture of times
ROUNDS, CALLS = 15, 10  # turns that each way of computing takes, and steps in a turn
STEPS, TURNS = 400, 2.0  # points of the trajectory that is drawn, and how often it goes round
SHOWN = 60  # rows and columns of the weights that are drawn

FUNCTIONS: dict[str, tuple[int, int, Function]] = {  # dimensions of the value, numbers it gives, and the function
    "square": (1, 1, lambda x: x**2),
    "product": (2, 1, lambda x: x[0] * x[1]),
    "magnitude": (2, 1, lambda x: x.norm()),
    "rotate": (2, 2, lambda x: [cos(pi / 3) * x[0] - sin(pi / 3) * x[1], sin(pi / 3) * x[0] + cos(pi / 3) * x[1]]),
}


@recipe(
    expects=[Expect("gap", at_most=1e-5), Expect("speedup", above=1.0, timing=True)],
    smoke=dict(neurons=200, targets=200, largest=250),
    control=dict(shuffle=True),
    exempt=dict(
        resumes="decoders are solved for at once, so there is no fit to resume",
        stateless="decoders are solved for at once, so there is no update",
        gradients="decoders are solved for at once; there is no trainable parameter",
        refuses="there are no batches; the transform's own tests hold it to refusing unusable values and rates",
        exports="there is no fit whose weights could be taken away; W = DE is a method of the transform",
    ),
)
def population_transform(
    run: Run,
    *,
    function: Literal["square", "product", "magnitude", "rotate"] = "product",
    neurons: int = 1000,
    targets: int = 1000,
    noise: float = 0.1,
    largest: int = 4000,
    shuffle: bool = False,
) -> Result:
    """One population computes a function for another, and the weights between them are of low rank.

    Decoders read f(x) from the first population's rates, encoders drive the second with it. Multiplied out they are a
    weight from every neuron to every neuron; used one after the other they give the same currents with N + M products
    for every number that f gives, where the full weights take NM. Both are timed for one step at a time, as in a
    simulation. Look at what the second population holds, at the weights, and at the time by size.

    Args:
        function: that is computed.
        neurons: of the first population.
        targets: neurons of the second.
        noise: of the rates, as a part of the fastest.
        largest: no population in the picture of times is larger.
        shuffle: deal the full weights out to other neurons (the negative control).
    """
    require(largest >= SIZES[0], f"largest is {largest}, but must be at least {SIZES[0]}")
    dimensions, numbers, compute = FUNCTIONS[function]
    before = make_population(neurons, dimensions, generator=run.generator("before"), noise=noise)
    behind = make_population(targets, numbers, generator=run.generator("behind"), noise=noise)
    transform = Transform(before, behind, compute).to(run.device)

    weights = transform.weights()
    if shuffle:
        weights = weights[torch.randperm(neurons, generator=run.generator("shuffle")).to(weights.device)]
    values = draw_values(JUDGED, dimensions, generator=run.generator("values")).to(run.device)
    activities = transform.before.encode(values)
    wanted = tabulate(compute, values)
    few, many = transform.products()
    ways = ways_of(activities[:1], transform.decoders, transform.encoders, transform.bias)
    speedup = ratio(*turns(*ways))

    run.picture("computed", draw_computed(transform, compute, function))
    run.picture("weights", draw_weights(transform))
    run.picture("time", draw_time([size for size in SIZES if size <= largest], numbers, run))
    return run.result(
        gap=current_gap(transform(activities), full_current(activities, weights, transform.bias)),
        speedup=speedup,
        transform_rmse=rmse(transform.compute(values), wanted),
        rank=float(rank(weights)),
        fewer_products=many / few,
    )


Way = Callable[[], Tensor]


def ways_of(
    activities: Float[Tensor, "B N"],
    decoders: Float[Tensor, "N K"],
    encoders: Float[Tensor, "K M"],
    bias: Float[Tensor, " M"],
) -> tuple[Way, Way]:
    """The two ways to the same currents: few products, and many. The full weights are made beforehand."""
    weights = decoders @ encoders
    low = partial(low_rank_current, activities, decoders, encoders, bias)
    return low, partial(full_current, activities, weights, bias)


def turns(low: Way, full: Way) -> tuple[list[float], list[float]]:
    """Seconds a step of each way, in turn, because machines drift; the first turn is not kept."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS + 1):
        for way, kept in zip((low, full), seconds, strict=True):
            start = time.perf_counter()
            for _ in range(CALLS):
                result = way()
            float(result[0, 0])  # a device may still be at work
            kept.append((time.perf_counter() - start) / CALLS)
    return seconds[0][1:], seconds[1][1:]


def ratio(low: list[float], full: list[float]) -> float:
    """How many times as fast the few products are: the median over the turns."""
    return statistics.median(many / few for few, many in zip(low, full, strict=True))


def draw_computed(transform: Transform, function: Function, name: str) -> Figure:
    """What the second population holds while the value of the first goes round."""
    figure, (ax,) = panels(width=7.2, height=3.6)
    time_of = torch.linspace(0, 1, STEPS)
    angle, radius = 2 * pi * TURNS * time_of, 0.3 + 0.6 * time_of
    around = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)[:, : transform.before.dimensions]
    values = around.contiguous().to(transform.decoders)
    held, wanted = transform.compute(values).cpu(), tabulate(function, values).cpu()
    for number in range(held.shape[1]):
        label = f", number {number + 1}" if held.shape[1] > 1 else ""
        ax.plot(time_of, held[:, number], color=COLOURS[number], label=f"decoded from the second population{label}")
        ax.plot(time_of, wanted[:, number], ":", color="black", linewidth=1.4, label="true" if number == 0 else None)
    ax.plot(time_of, around, color=COLOURS[7], linewidth=0.8, alpha=0.6)
    ax.plot([], [], color=COLOURS[7], linewidth=0.8, label="value of the first population")
    sizes = f"{transform.before.neurons} to {transform.behind.neurons} neurons"
    ax.set(xlabel="time", title=f"{name.capitalize()}, from {sizes}")
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def draw_weights(transform: Transform) -> Figure:
    """Some of the full weights, neurons in the order of decoders and encoders, and the singular values of all."""
    figure, (ax, values) = panels(1, 2, width=4.6, height=3.8)
    weights = transform.weights().cpu()
    rows, columns = transform.decoders[:, 0].cpu().argsort(), transform.encoders[0].cpu().argsort()
    chosen = [order[torch.linspace(0, len(order) - 1, SHOWN).long()] for order in (rows, columns)]
    part = weights[chosen[0]][:, chosen[1]]
    most = float(part.abs().quantile(0.98))
    drawn = ax.imshow((1e3 * part).numpy(), cmap="RdBu_r", vmin=-1e3 * most, vmax=1e3 * most)
    figure.colorbar(drawn, ax=ax, label="weight (current for 1,000 Hz)")
    ax.grid(visible=False)
    ax.set(xlabel="neurons behind, by encoder", ylabel="neurons before, by decoder", title="W = DE")
    singular = torch.linalg.svdvals(weights)[:12]
    values.semilogy(range(1, len(singular) + 1), singular / singular[0], "o-", color=COLOURS[1])
    values.set(xlabel="number", ylabel="singular value, of the largest", title="It has the rank of what is carried")
    return figure


def draw_time(sizes: list[int], numbers: int, run: Run) -> Figure:
    """Time of a step by the number of neurons on both sides, and the number of products."""
    figure, (left, right) = panels(1, 2, width=4.6, height=3.6)
    measured = []
    generator = run.generator("sizes")
    for size in sizes:
        rates, decoders = torch.rand(1, size, generator=generator), torch.rand(size, numbers, generator=generator)
        given = (rates, decoders, torch.rand(numbers, size, generator=generator), torch.zeros(size))
        measured.append([statistics.median(way) for way in turns(*ways_of(*(each.to(run.device) for each in given)))])
    products = [(numbers * 2 * size, size * size) for size in sizes]
    for place, label in enumerate(("D, then E: N + M", "W: N·M")):
        colour = COLOURS[place]
        draw_line(left, sizes, [1e6 * both[place] for both in measured], colour, label)
        draw_line(right, sizes, [float(both[place]) for both in products], colour, label)
    left.set(xlabel="neurons on both sides", ylabel="µs a step", title="Measured")
    right.set(xlabel="neurons on both sides", ylabel="multiplications a step", title="Counted")
    right.legend()
    return figure


def draw_line(ax: Axes, sizes: list[int], values: list[float], colour: str, label: str) -> None:
    """One way's cost by size, on log scales."""
    ax.loglog(sizes, values, "o-", color=colour, markersize=4, label=label)
    ax.set_xticks(sizes, labels=[str(size) for size in sizes])
    ax.tick_params(which="minor", labelbottom=False)
