"""The trace: measures by fit, step and wall time, one JSON object a line, only ever appended to.

`{"fit": "fit", "step": 100, "seconds": 0.81, "measures": {"loss": 0.31}}`. A loss in it is the mean over the steps
since the line before. When a run is resumed from a checkpoint, the lines after that checkpoint go, and are written
again.
"""

import json
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TextIO

import torch
from torch import Tensor

from neurarium.errors import InvalidValue, NotFinite
from neurarium.learners.learner import Measures
from neurarium.learners.stream import State
from neurarium.running.files import write_whole


class Line(NamedTuple):
    """One line of a trace."""

    fit: str
    step: int
    seconds: float
    measures: dict[str, float]


class Trace:
    """Appends lines to a file, each of them whole on the disk's side before the next step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def write(self, fit: str, step: int, seconds: float, measures: dict[str, float]) -> None:
        """Append one line."""
        if self._file is None:
            self._file = self.path.open("a", buffering=1)
        line = Line(fit, step, round(seconds, 3), measures)
        self._file.write(json.dumps(line._asdict()) + "\n")

    def lines(self) -> list[Line]:
        """All lines; a last line that a crash cut short is not one."""
        return read_trace(self.path)

    def rewind(self, fit: str, step: int) -> None:
        """Drop the lines of a fit that came after a step."""
        self.close()
        if self.path.exists():
            kept = [line for line in self.lines() if line.fit != fit or line.step <= step]
            write_whole(self.path, "".join(json.dumps(line._asdict()) + "\n" for line in kept).encode())

    def close(self) -> None:
        """Let go of the file; the next line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_trace(path: Path) -> list[Line]:
    """The lines of a trace file; none if there is no file."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(Line(**json.loads(text)))
        except (ValueError, TypeError):
            break  # only the last line can be broken, by a crash during its writing
    return lines


@dataclass
class Window:
    """Measures of the steps since the last line, left on their device so that no step waits for them."""

    steps: list[int] = field(default_factory=list)
    values: dict[str, list[Tensor | float]] = field(default_factory=dict)

    def add(self, step: int, measures: Measures) -> None:
        """Take in one step's measures.

        Raises:
            InvalidValue: a measure is not a scalar, or the names differ from the steps before.
        """
        if self.steps and measures.keys() != self.values.keys():
            raise InvalidValue(f"step {step} returned measures {sorted(measures)}, earlier ones {sorted(self.values)}")
        self.steps.append(step)
        for name, value in measures.items():
            self.values.setdefault(name, []).append(value)

    def check(self) -> dict[str, list[float]]:
        """The measures as numbers over the steps, all finite.

        Raises:
            NotFinite: names the first step and the measure.
        """
        columns = {name: _column(name, values) for name, values in self.values.items()}
        for name, column in columns.items():
            for step, value in zip(self.steps, column, strict=True):
                if not isfinite(value):
                    raise NotFinite(
                        f"{name} became {value} at step {step}; "
                        "try a smaller learning rate, and look at the data for extreme values"
                    )
        return columns

    def flush(self) -> dict[str, float]:
        """The mean of each measure, and a new start."""
        means = {name: fmean(column) for name, column in self.check().items()}
        self.steps, self.values = [], {}
        return means

    def state_dict(self) -> State:
        """The pending measures."""
        return {"steps": list(self.steps), "values": self.check()}

    def load_state_dict(self, state: State) -> None:
        """Go back to pending measures."""
        self.steps = list(state["steps"])
        self.values = {name: list(column) for name, column in state["values"].items()}


def _column(name: str, values: list[Any]) -> list[float]:
    tensors = [value for value in values if isinstance(value, Tensor)]
    if any(value.numel() != 1 for value in tensors):
        raise InvalidValue(f"the measure {name} is not a scalar")
    if len(tensors) == len(values):
        # One wait for the device for all steps, rather than one a step.
        return torch.stack([value.detach().reshape(()) for value in tensors]).tolist()
    return [float(value) for value in values]
