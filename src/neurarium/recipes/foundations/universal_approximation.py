"""Universal approximation: functions on an interval and a square, followed by sums of steep sigmoids."""

from collections.abc import Mapping
from math import pi
from typing import Literal, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.errors import require
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.foundations.universal_approximation import (
    OnInterval,
    Staircase,
    bound,
    fine_points,
    on_square,
    pieces_at,
)

CORNERS = 12  # of the random function
ROUGH = range(5)  # waves of the rough function, each three times as quick as the one before
LARGEST_SQUARE = 32  # pieces along a side of the square, at the most
SHOWN = (4, 16)  # pieces along a side of the squares that are drawn
FINE = 1201  # points of a drawn line


class Named(NamedTuple):
    """A function on [0, 1], and how steep it is at the steepest."""

    value: OnInterval
    steepest: float


def functions(generator: torch.Generator) -> dict[str, Named]:
    """What is followed: smooth, with corners, with waves upon waves, and drawn at random."""
    slopes = 2 * torch.rand(CORNERS, generator=generator, dtype=torch.float64) - 1
    corners = torch.cat([torch.zeros(1, dtype=torch.float64), slopes.cumsum(0) / CORNERS])

    def drawn(points: Tensor) -> Tensor:
        place = (points * CORNERS).floor().clamp(0, CORNERS - 1).long()
        return corners[place] + (points - place / CORNERS) * slopes[place]

    def rough(points: Tensor) -> Tensor:
        return torch.stack([2.0**-k * torch.sin(2 * pi * 3**k * points) for k in ROUGH]).sum(0)

    return {
        "wave": Named(lambda points: torch.sin(2 * pi * points), 2 * pi),
        "roof": Named(lambda points: (1 - 3.5 * (points - 0.45).abs()).clamp(min=0), 3.5),
        "rough": Named(rough, sum(2 * pi * 1.5**k for k in ROUGH)),  # Σ 2⁻ᵏ cos(...) with all slopes 1, at x = 0
        "random": Named(drawn, float(slopes.abs().max())),
    }


def hills(across: Tensor, up: Tensor) -> Tensor:
    """The function on the square, along neither axis steeper than `HILLS_STEEPEST`."""
    return torch.sin(2 * pi * across) * torch.cos(pi * up)


HILLS_STEEPEST = 2 * pi


@recipe(
    expects=[Expect("max_error_ratio", at_most=1.0)],
    smoke=dict(largest=16),
    control=dict(steepness=0.5),
    exempt=dict(
        resumes="the weights are written down, so there is no fit to resume",
        stateless="the weights are written down, so there is no update",
        gradients="the weights are written down, so none of them is trainable",
        refuses="there are no batches",
        exports="the network is built for a function and not learned; there are no weights to take away",
    ),
)
def universal_approximation(
    run: Run,
    *,
    function: Literal["wave", "roof", "rough", "random"] = "wave",
    largest: int = 256,
    steepness: float = 40.0,
) -> Result:
    """A sum of steep sigmoids comes as near to a continuous function as you like, and here are its weights.

    Nothing is learned: a steep sigmoid is a step, two steps make a piece, and pieces of the right heights follow the
    function. For 1, 2, 4, ... pieces the largest error is looked for on a fine grid that goes through every jump, and
    divided by its bound, L/(2N) for a function nowhere steeper than L; on the square, by twice that. `max_error_ratio`
    is the largest of these over all functions and numbers of pieces. Watch the film, and see the error fall with N.

    Args:
        function: the one in the film: wave, roof, rough or random; all are measured.
        largest: pieces at the most; a power of 2 is best, since their number is doubled.
        steepness: of a sigmoid, times the width of a piece; at 0.5 the steps run together (the negative control).
    """
    require(largest >= 1, f"largest is {largest}, but must be at least 1 piece")
    known = functions(run.generator("random function"))
    counts = [2**k for k in range(largest.bit_length())]
    errors: dict[str, dict[int, float]] = {name: {} for name in [*known, "hills"]}
    ratios: dict[str, float] = dict.fromkeys(errors, 0.0)
    for count in counts:
        for name, (value, steepest) in known.items():
            points = fine_points(count, steepness=steepness)
            outputs = Staircase(value, pieces=count, steepness=steepness)(points)
            errors[name][count] = float((outputs - value(points)).abs().max())
            ratios[name] = max(ratios[name], errors[name][count] / bound(steepest, pieces=count))
        if count <= LARGEST_SQUARE:
            errors["hills"][count] = square_error(count, steepness)
            limit = bound(HILLS_STEEPEST, pieces=count, dimensions=2)
            ratios["hills"] = max(ratios["hills"], errors["hills"][count] / limit)
        run.record("pieces", count, **{name: error[count] for name, error in errors.items() if count in error})
        run.picture("film", draw_frame(known[function], count, steepness), step=count)
    run.film("film", milliseconds=900)
    run.picture("construction", draw_construction(known[function], steepness))
    run.picture("errors", draw_errors(errors, known))
    run.picture("square", draw_square(steepness))
    return run.result(max_error_ratio=max(ratios.values()), **{f"{name}_ratio": each for name, each in ratios.items()})


def square_error(pieces: int, steepness: float) -> float:
    """The largest error on the square, through every jump."""
    points = fine_points(pieces, inside=12, beside=5, steepness=steepness)
    outputs = on_square(hills, points, points, pieces=pieces, steepness=steepness)
    return float((outputs - hills(points.unsqueeze(1), points.unsqueeze(0))).abs().max())


def draw_frame(named: Named, pieces: int, steepness: float) -> Figure:
    """The function, the staircase that follows it, and the band that the staircase may not leave."""
    figure, (ax,) = panels(width=6.4, height=3.8)
    points = torch.linspace(0, 1, FINE, dtype=torch.float64)
    value, limit = named.value(points), bound(named.steepest, pieces=pieces)
    low, high = float(value.min()), float(value.max())
    ax.fill_between(points, value - limit, value + limit, color=COLOURS[0], alpha=0.15, linewidth=0, label="± L/(2N)")
    ax.plot(points, value, color=COLOURS[0], linewidth=1.4, label="function")
    outputs = Staircase(named.value, pieces=pieces, steepness=steepness)(points)
    ax.plot(points, outputs, color=COLOURS[1], linewidth=1.4, label="sum of sigmoids")
    margin = 0.35 * (high - low)
    ax.set(title=f"N = {pieces} pieces from {pieces - 1} sigmoids", xlabel="x", ylim=(low - margin, high + margin))
    ax.legend(fontsize=8, loc="upper right", ncols=3)
    return figure


def draw_construction(named: Named, steepness: float) -> Figure:
    """The four stages of the proof: a sigmoid made steep, two steps, pieces, and their sum."""
    figure, axes = panels(1, 4, width=3.4, height=3.0)
    points = torch.linspace(0, 1, FINE, dtype=torch.float64)
    for slope, colour in zip((10, 40, 400), (COLOURS[3], COLOURS[1], COLOURS[0]), strict=True):
        axes[0].plot(points, torch.sigmoid(slope * (points - 0.4)), color=colour, label=f"s = {slope}")
    axes[0].set_title("g(s (x − b)): a sigmoid becomes a step", fontsize=9)
    rise, fall = (torch.sigmoid(400 * (points - b)) for b in (0.4, 0.6))
    axes[1].plot(points, rise, "--", color=COLOURS[7], label="steps")
    axes[1].plot(points, fall, "--", color=COLOURS[7])
    axes[1].plot(points, rise - fall, color=COLOURS[0], label="their difference")
    axes[1].set_title("Two steps make a piece", fontsize=9)
    heights = named.value((torch.arange(8, dtype=torch.float64) + 0.5) / 8)
    for number, piece in enumerate(pieces_at(points, pieces=8, steepness=steepness).T):
        axes[2].plot(points, heights[number] * piece, color=COLOURS[number % len(COLOURS)], linewidth=1.2)
    axes[2].set_title("Pieces as high as the function", fontsize=9)
    axes[3].plot(points, named.value(points), color=COLOURS[0], label="function")
    outputs = Staircase(named.value, pieces=8, steepness=steepness)(points)
    axes[3].plot(points, outputs, color=COLOURS[1], label="sum of 8 pieces")
    axes[3].set_title("Their sum follows it", fontsize=9)
    for ax in (axes[0], axes[1], axes[3]):
        ax.legend(fontsize=8)
    return figure


def draw_errors(errors: Mapping[str, Mapping[int, float]], known: Mapping[str, Named]) -> Figure:
    """The largest error by the number of pieces, with its bound dashed in the same colour."""
    figure, (ax,) = panels(width=6.4, height=4.2)
    for (name, error), colour in zip(errors.items(), COLOURS, strict=False):
        counts = list(error)
        # On the square the bound has two axes.
        steepest, axes = (known[name].steepest, 1) if name in known else (HILLS_STEEPEST, 2)
        limits = [bound(steepest, pieces=count, dimensions=axes) for count in counts]
        ax.loglog(counts, list(error.values()), "o-", color=colour, markersize=4, linewidth=1.2, label=name)
        ax.loglog(counts, limits, "--", color=colour, linewidth=1.0, alpha=0.7)
    ax.set(xlabel="pieces (along an axis)", ylabel="largest error", title="Errors, and the bounds they keep (dashed)")
    ax.legend(fontsize=8)
    return figure


def draw_square(steepness: float) -> Figure:
    """The function on the square, and its approximations by few and by many pieces."""
    figure, axes = panels(1, 1 + len(SHOWN), width=3.4, height=3.2)
    points = torch.linspace(0, 1, 241, dtype=torch.float64)
    shown = {"sin 2πx · cos πy": hills(points.unsqueeze(1), points.unsqueeze(0))}
    for pieces in SHOWN:
        shown[f"{pieces} × {pieces} pieces"] = on_square(hills, points, points, pieces=pieces, steepness=steepness)
    for ax, (title, heights) in zip(axes, shown.items(), strict=True):
        ax.imshow(heights.T.numpy(), cmap="RdBu_r", vmin=-1, vmax=1, extent=(0, 1, 0, 1), origin="lower")
        ax.grid(visible=False)
        ax.set(title=title, xlabel="x")
    axes[0].set_ylabel("y")
    return figure
