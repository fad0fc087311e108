"""Likelihoods and the errors that stand for them, priors and the penalties that stand for them, on small tables."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle
from math import log10
from typing import Literal

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation
from torch import Tensor

from neurarium.data.tables import Table, load_table
from neurarium.errors import require
from neurarium.parts.bundles import Paired
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.foundations.maximum_likelihood import (
    Pairing,
    Prior,
    Regression,
    bernoulli_pairing,
    gaussian_pairing,
    gaussian_prior,
    laplace,
    laplace_prior,
    minimise,
    multinomial_pairing,
    relative,
)

FEW = 20  # examples of the wider of two likelihoods
FINE = 161  # places a side at which curves and contours are drawn
WIDTHS = (1e-3, 10.0)  # of priors along the paths, in deviations of the target for one of the input
SHOWN = (0.3, 0.1, 0.03)  # widths whose densities are drawn
ROOT3 = 3**0.5
LINES = (*COLOURS, "black", "#e07bb0")  # a colour for each weight

PRIORS: dict[str, Callable[[float], Prior]] = {"Gaussian": gaussian_prior, "Laplace": laplace_prior}
PENALTIES = {"Gaussian": "L2", "Laplace": "L1"}


@recipe(
    expects=[
        Expect("gaussian_gap", at_most=1e-6),
        Expect("bernoulli_gap", at_most=1e-6),
        Expect("multinomial_gap", at_most=1e-6),
        Expect("l2_gap", at_most=1e-6),
        Expect("l1_gap", at_most=1e-6),
    ],
    smoke=dict(points=6),
    control=dict(scatter="laplace"),
    exempt=dict(
        resumes="every optimum has a closed form or a solver of a few steps, so there is no fit to resume",
        stateless="every optimum has a closed form or a solver of a few steps, so there is no update",
        gradients="no learner is trained; the gaps hold the gradients of likelihood and error against each other",
        refuses="there are no batches; the tests hold the system to refusing unusable examples",
        exports="it compares functions; there is no network to take away",
    ),
)
def maximum_likelihood(
    run: Run,
    *,
    data: str = "diabetes",
    target: str | None = None,
    width: float = 0.03,
    scatter: Literal["gaussian", "laplace"] = "gaussian",
    points: int = 60,
) -> Result:
    """Errors are negative logarithms of likelihoods, and penalties those of priors.

    The mean of the diabetes targets, the share of malignant tumours and the shares of three wines are each found as the
    lowest point of an error and as the highest of a likelihood. A gap is the largest of three: values, gradients (both
    at random outputs, and relative), and places of the optimum. Then weights of a linear regression are given a prior:
    a Gaussian one shrinks them all, a Laplace one sets many to 0 (`l1_zeros` counts them), and the gaps compare the
    most probable weights with those of the penalised error: the closed form against Newton's method for L2, and
    coordinate descent against the conditions of the optimum for L1.

    Args:
        data: what is regressed: diabetes or csv:FILE, with two or more other columns, all numbers.
        target: the column to predict, for csv:FILE.
        width: of the prior, in deviations of the target for one of the input: τ of the Gaussian, b of the Laplace.
        scatter: the likelihood that squared error is held against (laplace is the negative control).
        points: widths at which the paths of the weights are drawn.
    """
    require(points >= 2, f"points is {points}, but a path needs at least 2")
    require(run.device.type != "mps", "maximum_likelihood computes in float64, which mps has not; use --device cpu")
    table = load_table(data, target=target, seed=run.seed, task="regression", dtype=torch.float64)
    require(len(table.features) >= 2, f"{data} has one feature, but the priors are shown on two weights; add a column")
    targets = {
        "Gaussian": table.train.all().targets,
        "Bernoulli": shares("breast-cancer", run),
        "multinomial": shares("wine", run),
    }
    deviation = float(targets["Gaussian"].std(correction=0))
    require(deviation > 0, "the targets are all the same, so nothing is to be learned from them; give others")
    pairings = {
        "Gaussian": gaussian_pairing(deviation),
        "Bernoulli": bernoulli_pairing(),
        "multinomial": multinomial_pairing(),
    }
    if scatter == "laplace":
        pairings["Gaussian"] = replace(pairings["Gaussian"], log_likelihood=partial(laplace, width=deviation))
    gaps = {f"{name.lower()}_gap": likelihood_gap(run, pairings[name], targets[name]) for name in pairings}

    regression = centred(table)
    some = torch.randn(len(table.features), generator=run.generator("weights"), dtype=torch.float64)
    most, sparse = gaussian_prior(width), laplace_prior(width)
    ridge, lasso = regression.ridge(most), regression.lasso(sparse)
    solved = minimise(lambda w: regression.penalised_error(w, most), torch.zeros_like(ridge))
    l2_gap = max(regression.gap(some, most), relative(solved, ridge))
    l1_gap = max(regression.gap(some, sparse), regression.slack(lasso, sparse))
    run.picture("likelihoods", draw_likelihoods(pairings, targets))
    run.picture("priors", draw_priors(regression, table.features, points))
    return run.result(
        **gaps, l2_gap=l2_gap, l1_gap=l1_gap, l2_zeros=int((ridge == 0).sum()), l1_zeros=int((lasso == 0).sum())
    )


def shares(data: str, run: Run) -> Float[Tensor, "N K"]:
    """The classes of a table: 1 for its first class and 0 for the other if there are two, else 1 for each one's own."""
    table = load_table(data, seed=run.seed, task="classification")
    each = torch.nn.functional.one_hot(table.train.all().labels, table.classes).double()
    return each[:, :1] if table.classes == 2 else each


def likelihood_gap(run: Run, pairing: Pairing, targets: Float[Tensor, "N K"]) -> float:
    """The gap at random outputs, of the size of the targets, and that of the optima."""
    net = torch.randn(targets.shape, generator=run.generator("net", targets.shape[1]), dtype=targets.dtype)
    return max(pairing.gap(net * targets.std(), targets), pairing.best_gap(targets))


def centred(table: Table[Paired]) -> Regression:
    """A regression of targets with mean 0 and deviation 1; its scatter is what the best weights without prior leave."""
    inputs, targets = table.train.all()
    goal = (targets[:, 0] - targets.mean()) / targets.std(correction=0)
    free = Regression(inputs, goal, 1.0)
    left = goal - inputs @ free.ridge(replace(gaussian_prior(1.0), rate=1e-12))
    # σ² = (1/N) Σ (t − y)², which is the most likely one
    return replace(free, deviation=float(left.square().mean().sqrt()))


def draw_likelihoods(pairings: dict[str, Pairing], targets: dict[str, Tensor]) -> Figure:
    """Above, how probable the targets are by the constant output; below, the negative logarithm and the error."""
    figure, axes = panels(2, 3, width=4.4, height=3.3)
    middle, spread = targets["Gaussian"].mean(), targets["Gaussian"].std()
    means = middle + spread * torch.linspace(-0.8, 0.8, FINE, dtype=torch.float64)
    yes = torch.linspace(0.02, 0.98, FINE, dtype=torch.float64)
    places = {"Gaussian": (means, means), "Bernoulli": (yes, yes.logit())}
    for (name, (outputs, net)), column, error in zip(
        places.items(), (0, 1), ("squared error / σ² + constant", "binary cross-entropy"), strict=True
    ):
        draw_line(axes[column], axes[column + 3], pairings[name], targets[name], outputs, net, error)
    axes[0].set(title="Gaussian: the mean", ylabel="likelihood, relative to its greatest")
    axes[1].set(title="Bernoulli: the share of yes")
    axes[3].set(xlabel="output y = mean of the target", ylabel="−ln likelihood, by example")
    axes[4].set(xlabel="output y = probability of a malignant tumour")
    draw_triangle(axes[2], axes[5], pairings["multinomial"], targets["multinomial"])
    return figure


def draw_line(
    above: Axes, below: Axes, pairing: Pairing, targets: Tensor, outputs: Tensor, net: Tensor, error: str
) -> None:
    """One output: likelihoods of few and of all examples, and what becomes of the latter."""
    for some, colour in ((few(targets), COLOURS[3]), (targets, COLOURS[0])):
        surprise = surprises(pairing.surprise, net.unsqueeze(1), some)
        above.plot(outputs, (surprise.min() - surprise).exp(), color=colour, label=f"{len(some)} examples")
    below.plot(outputs, surprise / len(targets), color=COLOURS[0], label="−ln likelihood")
    same = surprises(pairing.from_error, net.unsqueeze(1), targets) / len(targets)
    below.plot(outputs[::8], same[::8], "o", color=COLOURS[1], markersize=4, label=error)
    for ax in (above, below):
        ax.axvline(float(targets.mean()), color="black", linewidth=0.8, linestyle=":", label="mean of the targets")
        ax.legend(fontsize=8)


def draw_triangle(above: Axes, below: Axes, pairing: Pairing, targets: Tensor) -> None:
    """Three probabilities as a place in a triangle: a corner is one class for sure."""
    if targets.shape[1] != 3:
        return
    steps = torch.arange(1, FINE // 4, dtype=torch.float64) / (FINE // 4)
    pairs = torch.cartesian_prod(steps, steps)
    pairs = pairs[pairs.sum(1) < 1 - 1e-9]
    chances = torch.cat([pairs, 1 - pairs.sum(1, keepdim=True)], dim=1)
    mesh = Triangulation(*flat(chances))
    for some, colour in ((few(targets), COLOURS[3]), (targets, COLOURS[0])):
        surprise = surprises(pairing.surprise, chances.log(), some)
        likelihood = (surprise.min() - surprise).exp()
        above.tricontour(mesh, likelihood, levels=[0.1, 0.4, 0.7, 0.95], colors=colour, linewidths=1.4)
        above.plot([], [], color=colour, label=f"{len(some)} examples")
    error = surprises(pairing.error, chances.log(), targets)
    levels = float(error.min()) + 0.015 * 2.0 ** torch.arange(-1, 8)
    below.tricontour(mesh, surprise / len(targets), levels=levels.tolist(), colors=COLOURS[0], linewidths=1.4)
    below.tricontour(mesh, error, levels=levels.tolist(), colors=COLOURS[1], linewidths=3, linestyles=":")
    below.plot([], [], color=COLOURS[0], label="−ln likelihood")
    below.plot([], [], ":", color=COLOURS[1], linewidth=3, label="cross-entropy")
    for ax, title in ((above, "multinomial: the shares of three wines"), (below, "")):
        ax.plot([0, 1, 0.5, 0], [0, 0, ROOT3 / 2, 0], color="black", linewidth=1)
        ax.plot(*flat(targets.mean(0, keepdim=True)), "*", color="black", markersize=9, label="mean of the targets")
        for name, x, y in (("all wine 1", 0, -0.09), ("all wine 2", 1, -0.09), ("all wine 3", 0.5, 0.9)):
            ax.text(x, y, name, ha="center", fontsize=8)
        ax.set(title=title, aspect="equal", xlim=(-0.25, 1.35), ylim=(-0.14, 1.0))
        ax.axis("off")
        ax.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1.08, 1.0))


def flat(chances: Float[Tensor, "P 3"]) -> tuple[Tensor, Tensor]:
    """Where three probabilities lie in a triangle of side 1."""
    return chances[:, 1] + chances[:, 2] / 2, chances[:, 2] * ROOT3 / 2


def few(targets: Float[Tensor, "N K"]) -> Float[Tensor, "M K"]:
    """Some of the examples, from all over."""
    return targets[:: max(1, len(targets) // FEW)][:FEW]


def surprises(
    measure: Callable[[Tensor, Tensor], Tensor], nets: Float[Tensor, "P K"], targets: Float[Tensor, "N K"]
) -> Float[Tensor, " P"]:
    """A measure of the targets for each of some constant net inputs."""
    return torch.stack([measure(net.expand_as(targets), targets) for net in nets])


def draw_priors(regression: Regression, names: tuple[str, ...], points: int) -> Figure:
    """For each prior: its density, what it makes of two weights that can stand in for each other, and of all."""
    figure, axes = panels(2, 3, width=4.4, height=3.5)
    together = (regression.inputs.T @ regression.inputs).abs().triu(diagonal=1)
    pair = list(divmod(int(together.argmax()), len(names)))
    two = replace(regression, inputs=regression.inputs[:, pair])
    widths = torch.logspace(log10(WIDTHS[0]), log10(WIDTHS[1]), points).tolist()
    for row, name in enumerate(PRIORS):
        density, plane, paths = axes[3 * row : 3 * row + 3]
        draw_densities(density, name)
        draw_plane(plane, two, name, widths)
        plane.set(xlabel=f"weight of {names[pair[0]]}", ylabel=f"weight of {names[pair[1]]}")
        ways = zip(path(regression, name, widths).T, names, cycle(LINES), strict=False)
        for line, label, colour in ways:
            paths.plot(widths, line, color=colour, linewidth=1.4, label=label)
        paths.set(xscale="log", xlabel="width of the prior, narrower to the right", ylabel="most probable weight")
        paths.set_title(
            "L2: they shrink together, none lands on 0" if name == "Gaussian" else "L1: one after the other lands on 0"
        )
        paths.invert_xaxis()
    axes[2].legend(fontsize=7, ncol=2) if len(names) <= 2 * len(COLOURS) else None
    return figure


def path(regression: Regression, name: str, widths: list[float]) -> Float[Tensor, "P F"]:
    """The most probable weights under a wider and wider prior."""
    found: list[Tensor] = []
    for width in widths:
        prior = PRIORS[name](width)
        solved = regression.ridge(prior) if name == "Gaussian" else regression.lasso(prior, *found[-1:])
        found.append(solved)
    return torch.stack(found)


def draw_densities(ax: Axes, name: str) -> None:
    """How probable a weight is beforehand, and the penalty that the negative logarithm of it is."""
    weights = torch.linspace(-0.6, 0.6, FINE, dtype=torch.float64)
    for width, colour in zip(SHOWN, COLOURS, strict=False):
        ax.plot(
            weights, PRIORS[name](width).log_density(weights.unsqueeze(1)).exp(), color=colour, label=f"width {width:g}"
        )
    ax.set(xlabel="weight", ylabel="density", title=f"{name} prior = {PENALTIES[name]} penalty")
    ax.legend(fontsize=8)


def draw_plane(ax: Axes, two: Regression, name: str, widths: list[float]) -> None:
    """The error's bowl over two weights, the penalty's contours, and the way of the best as the prior narrows."""
    way = path(two, name, widths)
    low, high = way.amin(0).clamp(max=0), way.amax(0).clamp(min=0)
    reach = 0.75 * float((high - low).max().clamp(min=1e-6))
    sides = [torch.linspace(float(m) - reach, float(m) + reach, FINE, dtype=torch.float64) for m in (low + high) / 2]
    grid = torch.cartesian_prod(*sides)
    away = grid - way[-1]
    excess = (away @ (two.inputs.T @ two.inputs) * away).sum(1)
    levels = float(excess.max()) * 0.5 ** torch.arange(10, -1, -1)
    ax.contour(*sides, excess.reshape(FINE, FINE).T, levels=levels.tolist(), colors=COLOURS[7], linewidths=0.7)
    height = -PRIORS[name](1.0).log_density(grid)
    for share in (0.25, 0.55, 0.85):
        weights = way[int((way.norm(dim=1) / way[-1].norm() - share).abs().argmin())]
        level = float(-PRIORS[name](1.0).log_density(weights.unsqueeze(0)))
        ax.contour(*sides, height.reshape(FINE, FINE).T, levels=[level], colors=COLOURS[3], linewidths=1.4)
        ax.plot(*weights, "o", color=COLOURS[1], markersize=5)
    ax.plot(*way.T, color=COLOURS[1], linewidth=1.8, label="most probable, by width")
    ax.plot(*way[-1], "*", color="black", markersize=10, label="most likely (no prior)")
    ax.plot([], [], color=COLOURS[7], linewidth=0.7, label="error")
    ax.plot([], [], color=COLOURS[3], label=PENALTIES[name])
    ax.set(aspect="equal", title=f"{PENALTIES[name]}: two inputs that are much alike")
    ax.legend(fontsize=7, loc="lower left")
