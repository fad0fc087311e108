"""Pictures that many recipes draw: curves from a trace, sheets of small images, films. One look for all of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from PIL import Image
from torch import Tensor

from neurarium.errors import require
from neurarium.running.trace import Line

COLOURS = ("#2463a8", "#d1495b", "#2e933c", "#edae49", "#7a4fa3", "#00798c", "#8d6a4f", "#6c757d")
MARKERS = "ox^s"  # of classes, when there are more than colours

FITS_NAMED_INSIDE = 5  # more get one legend beside the panels, and colours of their own

LOG_BEYOND = 8  # fits whose lengths differ by more than this factor are drawn on a logarithmic axis

LOOK: Any = {
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 10,
    "legend.frameon": False,
    "figure.dpi": 120,
}


@contextmanager
def look() -> Iterator[None]:
    """The house's look, for figures made inside."""
    with matplotlib.rc_context(LOOK):
        yield


def panels(rows: int = 1, columns: int = 1, *, width: float = 5.0, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    """A figure of equal panels in the house's look, and its axes row by row."""
    with look():
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, [ax for row in axes for ax in row]


def curves(lines: Sequence[Line]) -> Figure | None:
    """Every measure of a trace over the steps, one panel a measure (test beside training), one line a fit."""
    names: dict[str, None] = dict.fromkeys(name.removeprefix("test_") for line in lines for name in line.measures)
    if not names:
        return None
    figure, axes = panels(1, len(names), width=4.2)
    for ax, name in zip(axes, names, strict=True):
        _draw_measure(ax, name, lines)
    if len({line.fit for line in lines}) <= FITS_NAMED_INSIDE:
        for ax in axes:
            ax.legend(fontsize=8)
    else:
        handles, labels = axes[0].get_legend_handles_labels()
        fits = [label.partition(":")[0] for label in labels]
        named = dict(zip(reversed(fits), reversed(handles), strict=True))
        figure.legend([*named.values()][::-1], [*named][::-1], loc="outside right upper", fontsize=8)
    return figure


def by_class(ax: Axes, places: Tensor, labels: Tensor, names: Sequence[str]) -> None:
    """Points of the plane, places (N, 2), a colour and a marker for each class."""
    for label, name in enumerate(names):
        mine = places[labels == label].cpu()
        colour, marker = COLOURS[label % len(COLOURS)], MARKERS[label // len(COLOURS) % len(MARKERS)]
        ax.plot(mine[:, 0], mine[:, 1], marker, color=colour, label=name, markersize=3.5)


def _draw_measure(ax: Axes, name: str, lines: Sequence[Line]) -> None:
    fits = list(dict.fromkeys(line.fit for line in lines))
    ends = []
    for fit, colour in zip(fits, _colours(len(fits)), strict=True):
        for measure, style in ((name, "-"), (f"test_{name}", "o--")):
            points = [
                (line.step, line.measures[measure]) for line in lines if line.fit == fit and measure in line.measures
            ]
            if points:
                ends.append(points[-1][0])
                label = measure if len(fits) == 1 else f"{fit}: {measure}"
                ax.plot(*zip(*points, strict=True), style, color=colour, markersize=4, linewidth=1.4, label=label)
    ax.set(xlabel="step", title=name)
    if ends and max(ends) > LOG_BEYOND * max(1, min(ends)):
        ax.set_xscale("log")


def _colours(count: int) -> list[Any]:
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    return [matplotlib.colormaps["turbo"](place / (count - 1)) for place in range(count)]


def sheet(images: Tensor, *, columns: int | None = None, titles: Sequence[str] = (), scale: float = 1.0) -> Figure:
    """Small images side by side, each stretched to its own range.

    Args:
        images: (N, C, H, W) with C 1 or 3, or (N, H, W).
        columns: images a row; the squarest sheet if not given.
        titles: one above each image.
        scale: size of an image in inches.
    """
    images = images.unsqueeze(1) if images.ndim == 3 else images
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    height, width = images.shape[-2:]
    above = -(-height // 4) if titles else 0
    figure, [ax] = panels(width=scale * columns, height=scale * rows * (1.25 if titles else 1.0))
    canvas = tiled(_stretched(images), columns=columns, above=above)
    ax.imshow(canvas.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.axis("off")
    for place, title in enumerate(titles):
        row, column = divmod(place, columns)
        top, middle = row * (height + above + 1) + above, column * (width + 1) + width / 2
        ax.text(middle - 0.5, top - 1, title, fontsize=7, horizontalalignment="center", verticalalignment="bottom")
    return figure


def mosaic(images: Tensor, *, columns: int | None = None, scale: float = 0.5) -> Figure:
    """Images from 0 to 1 side by side on one canvas, as they are: for hundreds, and to compare their greys.

    Args:
        images: (N, C, H, W) with C 1 or 3.
        columns: images a row; the squarest canvas if not given.
        scale: size of an image in inches.
    """
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    figure, [ax] = panels(width=scale * columns, height=scale * rows)
    canvas = tiled(images, columns=columns).permute(1, 2, 0).squeeze(-1).numpy()
    ax.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.axis("off")
    return figure


def tiled(images: Tensor, *, columns: int, gap: int = 1, above: int = 0) -> Tensor:
    """Images (N, C, H, W) from 0 to 1 as one (C, rows, columns), with a light gap between and space above each.

    >>> tiled(torch.zeros(3, 1, 4, 4), columns=2).shape
    torch.Size([1, 9, 9])
    """
    images = images.detach().float().cpu().clamp(0, 1)
    require(images.ndim == 4 and images.shape[1] in (1, 3), f"images of shape {tuple(images.shape)} cannot be drawn")
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    down = height + above + gap
    canvas = torch.ones(channels, rows * down - gap, columns * (width + gap) - gap)
    for place, image in enumerate(images):
        top, left = place // columns * down + above, place % columns * (width + gap)
        canvas[:, top : top + height, left : left + width] = image
    return canvas


def _stretched(images: Tensor) -> Tensor:
    images = images.detach().float().cpu()
    low, high = images.amin((-3, -2, -1), keepdim=True), images.amax((-3, -2, -1), keepdim=True)
    return (images - low) / torch.clamp(high - low, min=1e-12)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file's content, without the date or version that would change it from run to run."""
    content = BytesIO()
    with look():
        figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file's content: text stays text, and the same figure is the same file."""
    content = BytesIO()
    with matplotlib.rc_context({**LOOK, "svg.fonttype": "none", "svg.hashsalt": "neurarium"}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def film(frames: Sequence[Path], milliseconds: int) -> bytes:
    """PNG files as one moving GIF that repeats."""
    images = [Image.open(frame).convert("P", palette=Image.Palette.ADAPTIVE) for frame in frames]
    content = BytesIO()
    images[0].save(content, "GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0)
    return content.getvalue()


def printable(text: str) -> str:
    r"""The same text for a picture: a line's end as an arrow, and what the monospaced font cannot draw as a box.

    >>> printable("a\nb\x00")
    'a↵b□'
    """
    known, shown = _glyphs(), {"\n": "↵", "\t": " "}
    return "".join(shown.get(letter, letter if ord(letter) in known else "□") for letter in text)


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family="monospace"))).get_charmap())
