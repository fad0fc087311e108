"""Translators that a run has trained: taken out of it, judged, and shown looking back at what they read."""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.errors import RunError, require
from neurarium.learners.translate import Aligning, Translate
from neurarium.running.pictures import panels
from neurarium.running.train import open_run

INCHES = 0.27  # of a picture, for each token


def open_translator(folder: Path) -> Translate:
    """The first translator that a run trained, as it was last saved.

    Raises:
        RunError: the folder is no run, or one that trained no translator.
    """
    for fit in open_run(folder).fits.values():
        if isinstance(fit.learner, Translate):
            return fit.learner
    raise RunError(f"{folder} trained no translator; take a run of seq2seq or transformer")


def aligns(learner: Translate) -> bool:
    """Whether a translator has attention to be looked at."""
    return isinstance(learner.model, Aligning) and bool(getattr(learner.model, "attention", True))


def draw_alignments(learner: Translate, texts: Sequence[str], *, width: int | None = None) -> Figure:
    """Texts and what becomes of them, and where the translator looks before each token that it writes.

    Args:
        learner: a translator with attention.
        texts: the sources, at least one.
        width: of the beam (the learner's own if None).

    Raises:
        InvalidValue: there is no text, or the translator has no attention.
    """
    require(len(texts) > 0, "there is no text to draw; give at least one")
    found = []
    for source in learner.sources(texts, size=1):
        written = _to_the_end(learner.write(source, width=width).tokens[0].tolist(), learner.words.marks.end)
        found.append((source[0].tolist(), written, learner.alignment(source, written).float().cpu()))
    across = max(len(read) for read, _, _ in found)
    down = max(len(written) for _, written, _ in found)
    figure, axes = panels(1, len(found), width=max(2.6, INCHES * across + 1.2), height=max(2.4, INCHES * down + 1.2))
    for ax, (read, written, weights) in zip(axes, found, strict=True):
        draw_weights(ax, learner.words.pieces(read), learner.words.pieces(written), weights)
    return figure


def draw_weights(ax: Axes, source: Sequence[str], written: Sequence[str], weights: Tensor) -> None:
    """How much each token written (down) looked at each token read (across): dark is much."""
    ax.imshow(weights.numpy(), cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="equal")
    ax.grid(visible=False)
    long = any(len(_shown(piece)) > 3 for piece in source)
    ax.set_xticks(range(len(source)), [_shown(piece) for piece in source], rotation=90 if long else 0, fontsize=9)
    ax.set_yticks(range(len(written)), [_shown(piece) for piece in written], fontsize=9)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.set(xlabel="read", ylabel="written")
    ax.xaxis.set_label_position("top")
    for spine in ax.spines.values():
        spine.set_visible(False)


def _shown(piece: str) -> str:
    # Marks without their brackets; and a lone $ would begin a formula.
    return piece[1:-1] if piece[0] == "<" and piece[-1] == ">" and len(piece) > 2 else piece.replace("$", r"\$")


def _to_the_end(tokens: Sequence[int], end: int) -> list[int]:
    row = list(tokens)
    return row[: row.index(end) + 1] if end in row else row


def by_length(right: Sequence[bool], lengths: Sequence[int]) -> tuple[list[int], list[float]]:
    """The lengths that there are, and the share of what is right among the texts of each.

    >>> by_length([True, False, True], [3, 3, 1])
    ([1, 3], [1.0, 0.5])
    """
    values, of = torch.tensor(right, dtype=torch.float64), torch.tensor(lengths)
    known = of.unique().tolist()
    return known, [float(values[of == length].mean()) for length in known]
