"""Population coding: tuning curves of a population, values read back from it, and how well as it grows."""

from math import log10

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.decoders import draw_values, solve_decoders
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.neuro.population_coding import Population, make_population, rmse

SIZES = (10, 30, 100, 300, 1000)  # neurons of the populations that are compared
JUDGED = 2000  # values at which a population is judged; none of them helped to find its decoders
DRAWN, LINE = 40, 401  # tuning curves drawn at the most, and points of a line
RINGS, AROUND = (0.25, 0.5, 0.75, 1.0), 121  # circles of values that the picture of vectors shows, and points on each
FIELD = 61  # values a side of the field in which a two-dimensional tuning curve is drawn
FIELDS = 3  # such curves drawn


@recipe(
    expects=[Expect("rmse_100", at_most=0.010), Expect("rmse_slope", below=0.0)],
    smoke=dict(draws=2, largest=100),
    control=dict(shuffle=True),
    exempt=dict(
        resumes="decoders are solved for at once, so there is no fit to resume",
        stateless="decoders are solved for at once, so there is no update",
        gradients="decoders are solved for at once; there is no trainable parameter",
        refuses="there are no batches; the population's own tests hold it to refusing unusable values and rates",
        exports="there is no fit whose weights could be taken away; the decoders are a buffer of the population",
    ),
)
def population_coding(
    run: Run,
    *,
    noise: float = 0.1,
    dimensions: int = 2,
    draws: int = 5,
    largest: int = 1000,
    shuffle: bool = False,
) -> Result:
    """A population of neurons holds a value in its firing rates, and weights read it back.

    Every neuron has an encoder, a gain and a bias of its own, and so a tuning curve. Decoders are solved for by
    regularised least squares: the rates are taken to carry noise, which keeps the weights small. Populations of 10 to
    1,000 neurons, several of each size, are judged at values that no decoder has seen; with the rates as they are, and
    with the noise really added, which averages out as the population grows. Look at the tuning curves, at decoded
    against true values, and at the error by size.

    Args:
        noise: of the rates, as a part of the fastest (0: none, and decoders may grow large).
        dimensions: of the vectors, beside the scalars; two of them are drawn.
        draws: populations of each size.
        largest: no population is larger (at least 100).
        shuffle: deal the values out to other rates before decoders are solved for (the negative control).
    """
    require(dimensions >= 2, f"dimensions is {dimensions}, but vectors have at least 2; scalars are always measured")
    require(draws >= 1, f"draws is {draws}, but must be at least 1 population of each size")
    require(largest >= 100, f"largest is {largest}, but must be at least 100, the size that is promised")
    sizes = [size for size in SIZES if size <= largest]
    curves: dict[str, list[float]] = {name: [] for name in ("scalar", "scalar_noisy", "vector", "vector_noisy")}
    shown: dict[str, Population] = {}
    for size in sizes:
        for name, length in (("scalar", 1), ("vector", dimensions)):
            errors = []
            for draw in range(draws):
                generator = run.generator(name, size, draw)
                population = make_population(size, length, generator=generator, noise=noise).to(run.device)
                if shuffle:
                    population = shuffled(population, generator)
                errors.append(judge(population, generator))
            exact, noisy = (sum(column) / draws for column in zip(*errors, strict=True))
            curves[name].append(exact)
            curves[f"{name}_noisy"].append(noisy)
            if size == 100:
                shown[name] = population
        run.record("sizes", size, **{name: values[-1] for name, values in curves.items()})

    at = sizes.index(100)
    if dimensions == 2:
        run.picture("vectors", draw_vectors(shown["vector"].cpu(), run.generator("noise")))
    run.picture("tuning_curves", draw_tuning(shown["scalar"].cpu()))
    run.picture("decoded", draw_decoded(shown["scalar"].cpu(), run.generator("noise")))
    run.picture("sizes", draw_sizes(sizes, curves))
    return run.result(
        rmse_100=curves["scalar"][at],
        rmse_slope=slope(sizes, curves["scalar"]),
        noisy_rmse_100=curves["scalar_noisy"][at],
        noisy_slope=slope(sizes, curves["scalar_noisy"]),
        vector_rmse_100=curves["vector"][at],
        vector_slope=slope(sizes, curves["vector"]),
    )


def shuffled(population: Population, generator: torch.Generator) -> Population:
    """The same neurons with decoders solved for values that belong to other rates."""
    order = torch.randperm(len(population.values), generator=generator).to(population.values.device)
    rates = population.encode(population.values)
    population.decoders = solve_decoders(rates, population.values[order], noise=population.noise)
    return population


def judge(population: Population, generator: torch.Generator) -> tuple[float, float]:
    """The error at fresh values, with the rates as they are and with noise."""
    values = draw_values(JUDGED, population.dimensions, generator=generator).to(population.encoders)
    activities = population.encode(values)
    noisy = population.decode(population.noisy(activities, generator))
    return rmse(population.decode(activities), values), rmse(noisy, values)


def slope(sizes: list[int], errors: list[float]) -> float:
    """The power of N with which the error grows, between the smallest and the largest population."""
    # log(e₂/e₁) / log(N₂/N₁)
    return log10(errors[-1] / errors[0]) / log10(sizes[-1] / sizes[0])


def draw_tuning(population: Population) -> Figure:
    """Rates of some neurons over the values."""
    figure, (ax,) = panels(width=7.0, height=3.8)
    line = torch.linspace(-1, 1, LINE).unsqueeze(1)
    for place, curve in enumerate(population.encode(line).T[:DRAWN]):
        ax.plot(line[:, 0], curve, color=COLOURS[place % len(COLOURS)], linewidth=1.3)
    title = f"Tuning curves of {min(DRAWN, population.neurons)} of {population.neurons} neurons"
    ax.set(xlabel="value x", ylabel="firing rate (Hz)", title=title)
    return figure


def draw_decoded(population: Population, generator: torch.Generator) -> Figure:
    """Decoded against true values of a scalar, and how far they are apart; with and without noise."""
    figure, (left, right) = panels(1, 2)
    line = torch.linspace(-1, 1, LINE).unsqueeze(1)
    activities = population.encode(line)
    clean, noisy = population.decode(activities), population.decode(population.noisy(activities, generator))
    left.plot(line[:, 0], noisy[:, 0], ".", color=COLOURS[3], markersize=3, label="noisy rates")
    left.plot(line[:, 0], clean[:, 0], color=COLOURS[0], label="rates as they are")
    left.plot([-1, 1], [-1, 1], ":", color="black", linewidth=1, label="true")
    left.set(xlabel="value x", ylabel="decoded", title=f"A scalar from {population.neurons} neurons")
    left.legend()
    right.plot(line[:, 0], noisy[:, 0] - line[:, 0], ".", color=COLOURS[3], markersize=3)
    right.plot(line[:, 0], clean[:, 0] - line[:, 0], color=COLOURS[0])
    right.axhline(0, color="black", linestyle=":", linewidth=1)
    right.set(xlabel="value x", ylabel="decoded − true", title="and how far it is off")
    return figure


def draw_vectors(population: Population, generator: torch.Generator) -> Figure:
    """Circles of two-dimensional values as they come back, and where some neurons fire."""
    figure, (decoded, *fields) = panels(1, 1 + FIELDS, width=3.5, height=3.5)
    angle = torch.linspace(0, 2 * torch.pi, AROUND)
    for radius, colour in zip(RINGS, COLOURS, strict=False):
        ring = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
        activities = population.encode(ring)
        noisy = population.decode(population.noisy(activities, generator))
        decoded.plot(*ring.T, color="black", linewidth=0.7, linestyle=":")
        decoded.plot(*noisy.T, ".", color=colour, markersize=2.5, alpha=0.6)
        decoded.plot(*population.decode(activities).T, color=colour, linewidth=1.4)
    decoded.set(xlabel="x₁", ylabel="x₂", title=f"Vectors from {population.neurons} neurons", aspect="equal")
    for neuron, ax in enumerate(fields):
        draw_field(ax, population, neuron)
    return figure


def draw_field(ax: Axes, population: Population, neuron: int) -> None:
    """The rate of one neuron over two-dimensional values, and its encoder."""
    rates = population.encode(plane())[:, neuron].reshape(FIELD, FIELD)
    ax.imshow(rates.T.numpy(), origin="lower", extent=(-1, 1, -1, 1), cmap="viridis")
    across, up = population.encoders[neuron].tolist()
    ax.annotate("", (across, up), (0, 0), arrowprops=dict(color="white", width=1.5, headwidth=7))
    ax.grid(visible=False)
    ax.set(xlabel="x₁", title=f"Neuron {neuron}: up to {float(rates.max()):.0f} Hz")


def plane() -> Float[Tensor, "P 2"]:
    """Values over the square around the ball."""
    line = torch.linspace(-1, 1, FIELD)
    return torch.cartesian_prod(line, line)


def draw_sizes(sizes: list[int], curves: dict[str, list[float]]) -> Figure:
    """The error by the number of neurons."""
    figure, (ax,) = panels(width=6.4, height=4.0)
    for place, (name, errors) in enumerate(curves.items()):
        style = "o--" if name.endswith("noisy") else "o-"
        ax.loglog(sizes, errors, style, color=COLOURS[place // 2], markersize=4, label=name.replace("_", ", "))
    anchor = curves["scalar_noisy"][0] * sizes[0] ** 0.5
    ax.loglog(sizes, [anchor / size**0.5 for size in sizes], ":", color="black", linewidth=1, label="1/√N")
    ax.plot([100], [0.010], "v", color=COLOURS[7], markersize=8, label="promised for scalars")
    ax.set(xlabel="neurons N", ylabel="root mean squared error", title="More neurons, less error")
    ax.legend(fontsize=8)
    return figure
