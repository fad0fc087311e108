from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image

from neurarium.errors import InvalidValue
from neurarium.running.pictures import curves, film, panels, png, sheet
from neurarium.running.trace import Line


def size(content: bytes) -> tuple[int, int]:
    return Image.open(BytesIO(content)).size


def test_curves_pair_test_with_training_and_draw_fits_apart() -> None:
    lines = [Line(fit, step, 0.0, {"loss": 1.0 / step, "test_loss": 1.0}) for fit in "ab" for step in (1, 2)]
    figure = curves([*lines, Line("a", 3, 0.0, {"accuracy": 0.5})])
    assert figure is not None
    assert [ax.get_title() for ax in figure.axes] == ["loss", "accuracy"]
    assert [line.get_label() for line in figure.axes[0].lines] == ["a: loss", "a: test_loss", "b: loss", "b: test_loss"]
    assert curves([]) is None


def test_fits_of_very_different_length_share_a_logarithmic_axis() -> None:
    figure = curves([Line(fit, step, 0.0, {"loss": 1.0}) for fit, end in (("a", 10), ("b", 1000)) for step in (1, end)])
    assert figure is not None
    assert figure.axes[0].get_xscale() == "log"


@pytest.mark.parametrize("shape", [(5, 1, 4, 4), (5, 3, 4, 4), (5, 4, 4)])
def test_a_sheet_takes_grey_and_colour(shape: tuple[int, ...]) -> None:
    figure = sheet(torch.rand(shape), titles=list("abcde"))
    [ax] = figure.axes
    assert [text.get_text() for text in ax.texts] == list("abcde")
    assert [text.get_position()[0] for text in ax.texts][:3] == sorted(text.get_position()[0] for text in ax.texts[:3])
    assert size(png(figure))[0] > 100


def test_a_sheet_of_something_else_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"images of shape \(2, 4, 4, 4\) cannot be drawn"):
        sheet(torch.rand(2, 4, 4, 4))


def test_the_same_figure_is_the_same_file() -> None:
    contents = []
    for _ in range(2):
        figure, (ax,) = panels()
        ax.plot([0, 1], [1, 0])
        contents.append(png(figure))
    assert contents[0] == contents[1]


def test_frames_become_a_film(tmp_path: Path) -> None:
    frames = []
    for step in range(3):
        figure, (ax,) = panels(width=2, height=2)
        ax.plot([0, 1], [step, 0])
        frames.append(tmp_path / f"{step}.png")
        frames[-1].write_bytes(png(figure))
    moving = Image.open(BytesIO(film(frames, 100)))
    assert getattr(moving, "n_frames", 1) == 3
