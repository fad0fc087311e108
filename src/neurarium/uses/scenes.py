"""Scenes: one moment of an episode or a game as a picture. A cart with its pole, a grid, a board."""

from functools import cache
from math import cos, sin
from typing import Any

import numpy as np
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from neurarium.parts.games import Game, Positions
from neurarium.running.pictures import COLOURS
from neurarium.worlds.cart_pole import LENGTH, TRACK
from neurarium.worlds.grids import TAXI_ABOARD, Grid

FINE = 2  # everything is drawn so many times larger, then shrunk: edges come out smooth
INK, PAPER, FAINT = "#333333", "#ffffff", "#d9d9d9"
CELL = 56  # pixels of a grid's or a board's cell
MARGIN = 30  # pixels around a board, and of the line of words below a picture

CART_POLE = (480, 270)  # pixels
METRE = 88  # pixels
CART = (0.46, 0.26)  # m, as it is drawn: wide, high
TALL = 2 * LENGTH * 1.15  # m, the pole, drawn somewhat longer than it is

LAND = {"H": "#27496d", "C": "#b5651d", "G": "#8fc98f", "S": "#cfe3f5"}  # colours of grid cells by letter
STONES = {1: COLOURS[0], -1: COLOURS[1]}


def cart_pole(state: np.ndarray, words: str) -> Image.Image:
    """A cart on its track, and the pole on it.

    >>> cart_pole(np.zeros(4), "step 0").size
    (480, 270)
    """
    image, pen = canvas(*CART_POLE)
    unit, ground = FINE * METRE, FINE * (CART_POLE[1] - MARGIN - 24)
    along, angle = float(state[0]), float(state[2])
    place = FINE * CART_POLE[0] / 2 + along * unit
    ends = [FINE * CART_POLE[0] / 2 + side * TRACK * unit for side in (-1, 1)]
    pen.line([ends[0], ground, ends[1], ground], fill=INK, width=FINE * 2)
    for end in ends:
        pen.line([end, ground - 12 * FINE, end, ground + 6 * FINE], fill=COLOURS[1], width=FINE * 3)
    wide, high = CART[0] * unit / 2, CART[1] * unit
    for wheel in (-0.55, 0.55):
        disc(pen, place + wheel * wide, ground - 5 * FINE, 6 * FINE, INK)
    top = ground - 8 * FINE - high
    pen.rounded_rectangle([place - wide, top, place + wide, top + high], radius=5 * FINE, fill=COLOURS[0])
    tip = (place + TALL * unit * sin(angle), top - TALL * unit * cos(angle))
    pen.line([place, top + 4 * FINE, *tip], fill=COLOURS[3], width=FINE * 8)
    disc(pen, *tip, 4 * FINE, COLOURS[3])
    disc(pen, place, top + 4 * FINE, 4 * FINE, INK)
    return finished(image, pen, words)


def grid(environment: Any, where: Grid, state: int, words: str) -> Image.Image:
    """A map with the one who walks on it; of a taxi also its passenger and where he wants to go."""
    rows, columns = where.states.shape
    image, pen = canvas(columns * CELL + 1, rows * CELL + MARGIN)
    cell = FINE * CELL
    for row, column in np.ndindex(rows, columns):
        letter = str(where.letters[row, column])
        box = [column * cell, row * cell, (column + 1) * cell, (row + 1) * cell]
        pen.rectangle(box, fill=LAND.get(letter, "#eef4fa"), outline=FAINT, width=FINE)
        pen.text((box[0] + 6 * FINE, box[1] + 3 * FINE), letter, font=font(12), fill=PAPER if letter in "HC" else INK)
    if hasattr(environment, "decode"):
        taxi(pen, environment, state, cell)
    else:
        [(row, column)] = np.argwhere(where.states == state).tolist()
        walker(pen, row, column, cell, COLOURS[3])
    return finished(image, pen, words)


def taxi(pen: ImageDraw.ImageDraw, environment: Any, state: int, cell: int) -> None:
    """Walls, the goal, the passenger, and the taxi, which is full or empty."""
    for row, line in enumerate(environment.desc[1:-1].astype(str)):
        for column, mark in enumerate(line[2:-1:2], start=1):
            if mark == "|":
                pen.line([column * cell, row * cell, column * cell, (row + 1) * cell], fill=INK, width=FINE * 4)
    row, column, passenger, goal = environment.decode(state)
    there = [place * cell for place in environment.locs[goal]]
    box = [there[1] + 3 * FINE, there[0] + 3 * FINE, there[1] + cell - 3 * FINE, there[0] + cell - 3 * FINE]
    pen.rectangle(box, outline=COLOURS[2], width=FINE * 3)
    walker(pen, row, column, cell, COLOURS[3])
    spot = (row, column) if passenger == TAXI_ABOARD else environment.locs[passenger]
    disc(pen, (spot[1] + 0.5) * cell, (spot[0] + 0.5) * cell, 0.13 * cell, COLOURS[1])


def board(game: Game, positions: Positions, words: str) -> Image.Image:
    """A board of cells with stones, or any other as its own text."""
    stones = positions.board[0]
    if stones.ndim != 2 or bool((stones.abs() > 1).any()):
        return written(game.text(positions), words)
    rows, columns = stones.shape
    image, pen = canvas(columns * CELL + 1, rows * CELL + MARGIN)
    cell = FINE * CELL
    for row, column in np.ndindex(rows, columns):
        box = [column * cell, row * cell, (column + 1) * cell, (row + 1) * cell]
        pen.rectangle(box, fill="#f7f3ea", outline=FAINT, width=FINE)
        if stone := int(stones[row, column]):
            disc(pen, (column + 0.5) * cell, (row + 0.5) * cell, 0.38 * cell, STONES[stone])
    return finished(image, pen, words)


def written(text: str, words: str) -> Image.Image:
    """Lines of text as a picture."""
    _, measure = canvas(1, 1)
    right, bottom = measure.multiline_textbbox((0, 0), text, font=font(14))[2:]
    image, pen = canvas(int(right) // FINE + 2 * MARGIN, int(bottom) // FINE + 2 * MARGIN)
    pen.multiline_text((FINE * MARGIN, FINE * MARGIN // 2), text, font=font(14), fill=INK)
    return finished(image, pen, words)


def rendered(frame: Any, words: str) -> Image.Image:
    """A picture that an environment made of itself, with our words below."""
    shown = Image.fromarray(np.asarray(frame, dtype=np.uint8)).convert("RGB")
    image, pen = canvas(shown.width, shown.height + MARGIN)
    done = finished(image, pen, words)
    done.paste(shown, (0, 0))
    return done


def walker(pen: ImageDraw.ImageDraw, row: int, column: int, cell: int, colour: str) -> None:
    """Who stands in a cell."""
    disc(pen, (column + 0.5) * cell, (row + 0.5) * cell, 0.28 * cell, colour)


def disc(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: str) -> None:
    """A full circle."""
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour, outline=INK, width=FINE)


def canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty picture of so many pixels in the end, and a pen for it."""
    image = Image.new("RGB", (FINE * width, FINE * height), PAPER)
    return image, ImageDraw.Draw(image)


def finished(image: Image.Image, pen: ImageDraw.ImageDraw, words: str) -> Image.Image:
    """The picture in its true size, with words in its last line."""
    size = 12
    while size > 6 and pen.textlength(words, font=font(size)) > image.width - 12 * FINE:
        size -= 1
    pen.text((6 * FINE, image.height - (MARGIN - 6) * FINE), words, font=font(size), fill=INK)
    return image.resize((image.width // FINE, image.height // FINE), Image.Resampling.LANCZOS)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that matplotlib brings along, every letter as wide."""
    return ImageFont.truetype(findfont(FontProperties(family="monospace")), size * FINE)


def number(seen: Any, parts: list[tuple[int, int]]) -> int:
    """The number of a discrete state, its parts as digits, as `worlds.stepped` counts them.

    >>> number((3, 1), [(5, 0), (2, 0)])
    7
    """
    total = 0
    for (size, start), digit in zip(parts, np.asarray(seen).reshape(-1).tolist(), strict=True):
        total = total * size + int(digit) - start
    return total


def first(values: Tensor) -> int:
    """The only number in a tensor."""
    return int(values.reshape(-1)[0])
