"""Delimited text: CSV and its kin, where every cell that cannot be used is named by file, line and column.

The first row names the columns. Cells are parted by commas, semicolons, tabs or bars, whichever the first row has
most of; the encoding is UTF-8, with or without a byte-order mark.

Shapes: N rows.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from neurarium.errors import DataError, did_you_mean

DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Delimited:
    """The cells of a file, and the line that each row ended on."""

    path: Path
    header: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]

    def cells(self, column: str) -> list[str]:
        """The cells of a column, without the spaces around them."""
        place = self.header.index(column)
        return [row[place].strip() for row in self.rows]

    def at(self, row: int, column: str) -> str:
        """Where a cell stands, for a message."""
        return f"{self.path} line {self.lines[row]}, column '{column}'"


def read_delimited(path: Path) -> Delimited:
    """The header and rows of a file; blank lines are passed over.

    Raises:
        DataError: no such file, not UTF-8, no header or no rows, columns without a name or with the same one, or a row
            longer or shorter than the header.
    """
    text = decoded(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=guess_delimiter(text), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num} is not well-formed: {error}") from None
    if not rows:
        raise DataError(f"{path} is empty; a header row and rows of data are needed")
    header = checked_header(path, rows[0])
    if len(rows) == 1:
        raise DataError(f"{path} has a header, but no rows")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise DataError(f"{path} line {line} has {len(row)} cells, but the header has {len(header)}")
    return Delimited(path, header, rows[1:], lines[1:])


def decoded(path: Path) -> str:
    """The text of a file, without a byte-order mark.

    Raises:
        DataError: the file cannot be read, or is not UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path} line {line} is not UTF-8; save the file in that encoding") from None


def guess_delimiter(text: str) -> str:
    r"""The delimiter that the first row has most of, outside quotes; a comma if it has none.

    >>> guess_delimiter('"a,b";c;d\n1;2;3')
    ';'
    """
    first = re.sub(r'"[^"]*"', "", text.lstrip("\r\n").partition("\n")[0])
    return max(DELIMITERS, key=first.count)


def checked_header(path: Path, cells: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns.

    Raises:
        DataError: a column has no name, two have the same, or all are numbers, so that this is no header.
    """
    header = tuple(cell.strip() for cell in cells)
    if all(is_number(name) for name in header):
        raise DataError(f"{path} begins with numbers; its first row must name the columns")
    for place, name in enumerate(header):
        if not name:
            raise DataError(f"{path} has no name for column {place + 1}; name it or take it out")
        if name in header[:place]:
            raise DataError(f"{path} has two columns called '{name}'; rename one")
    return header


def target_column(table: Delimited, target: str | None) -> str:
    """The column to learn, checked.

    Raises:
        DataError: none is said, there is no such column, or there is no other.
    """
    if target is None:
        listed = ", ".join(table.header[:20]) + (", ..." if len(table.header) > 20 else "")
        raise DataError(f"csv:{table.path} needs a target, the column to learn; it has: {listed}")
    if target not in table.header:
        raise DataError(f"{table.path} has no column '{target}'; {did_you_mean(target, table.header)}")
    if len(table.header) == 1:
        raise DataError(f"{table.path} has only the target column '{target}'; nothing is left to learn it from")
    return target


def numbers(table: Delimited, column: str) -> Float64[np.ndarray, " N"]:
    """A column as numbers.

    Raises:
        DataError: a cell is empty, text, NaN or infinite.
    """
    cells = table.cells(column)
    try:
        values = np.fromiter(map(float, cells), np.float64, count=len(cells))
    except ValueError:
        row = next(row for row, cell in enumerate(cells) if not is_number(cell))
        raise DataError(f"{table.at(row, column)} {not_a_number(cells[row])}") from None
    if not np.isfinite(values).all():
        row = next(row for row, cell in enumerate(cells) if not isfinite(float(cell)))
        raise DataError(f"{table.at(row, column)} is {cells[row]}, but must be a finite number")
    return values


def is_number(cell: str) -> bool:
    """Whether a cell can be read as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def not_a_number(cell: str) -> str:
    """What is wrong with a cell that cannot be read as a number.

    >>> not_a_number("3,5")
    "is '3,5', but must be a number; write decimals with a point"
    """
    if not cell:
        return "is empty; fill it in or leave the row out"
    decimal_comma = re.fullmatch(r"[-+]?\d+,\d+", cell)
    return f"is '{cell}', but must be a number" + ("; write decimals with a point" if decimal_comma else "")


def classes(table: Delimited, column: str) -> tuple[list[int], tuple[str, ...]]:
    """A column as classes: the label of each row, and the names in order (of number, if all are numbers).

    Raises:
        DataError: a cell is empty or NaN, there is one class only, or a class has a single row, which could not be
            both in the train and the test set.
    """
    cells = table.cells(column)
    first = {cell: row for row, cell in reversed(list(enumerate(cells)))}
    for missing in {"", "nan"} & {cell.lower() for cell in first}:
        row = next(row for row, cell in enumerate(cells) if cell.lower() == missing)
        raise DataError(f"{table.at(row, column)} is {missing or 'empty'}, but must name a class")
    if len(first) == 1:
        raise DataError(f"{table.path} has one class in column '{column}', '{cells[0]}'; at least two are needed")
    names = sorted(first, key=float) if all(map(is_number, first)) else sorted(first)
    labels = {name: label for label, name in enumerate(names)}
    counts = np.bincount([labels[cell] for cell in cells])
    if counts.min() == 1:
        name = names[int(counts.argmin())]
        raise DataError(
            f"{table.at(first[name], column)} is the only row of class '{name}', which cannot be both in the train and "
            "the test set; add another, leave it out, or is this a task of regression?"
        )
    return [labels[cell] for cell in cells], tuple(names)
