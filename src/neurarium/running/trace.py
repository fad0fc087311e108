"""The trace: measures by fit, step and wall time, one JSON object a line, only ever appended to.

`{"fit": "fit", "step": 100, "seconds": 0.81, "measures": {"loss": 0.31}}`. A loss in it is the mean over the steps
since the line before. When a run is resumed from a checkpoint, the lines after that checkpoint go, and are written
again.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

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
    """Appends lines to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, fit: str, step: int, seconds: float, measures: dict[str, float]) -> None:
        """Append one line."""
        line = Line(fit, step, round(seconds, 3), measures)
        with self.path.open("a") as file:
            file.write(json.dumps(line._asdict()) + "\n")

    def lines(self) -> list[Line]:
        """All lines; a last line that a crash cut short is not one."""
        return read_trace(self.path)

    def rewind(self, fit: str, step: int) -> None:
        """Drop the lines of a fit that came after a step."""
        if self.path.exists():
            kept = [line for line in self.lines() if line.fit != fit or line.step <= step]
            write_whole(self.path, "".join(json.dumps(line._asdict()) + "\n" for line in kept).encode())


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

    def check(self) -> dict[str, Tensor]:
        """The measures as vectors over the steps, all finite.

        Raises:
            NotFinite: names the first step and the measure.
        """
        columns = {name: _column(name, values) for name, values in self.values.items()}
        for name, column in columns.items():
            bad = (~torch.isfinite(column)).nonzero()
            if len(bad):
                place = int(bad[0])
                raise NotFinite(
                    f"{name} became {float(column[place])} at step {self.steps[place]}; "
                    "try a smaller learning rate, and look at the data for extreme values"
                )
        return columns

    def flush(self) -> dict[str, float]:
        """The mean of each measure, and a new start."""
        means = {name: float(column.mean()) for name, column in self.check().items()}
        self.steps, self.values = [], {}
        return means

    def state_dict(self) -> State:
        """The pending measures."""
        return {"steps": list(self.steps), "values": {name: column.tolist() for name, column in self.check().items()}}

    def load_state_dict(self, state: State) -> None:
        """Go back to pending measures."""
        self.steps = list(state["steps"])
        self.values = {name: list(column) for name, column in state["values"].items()}


def _column(name: str, values: list[Any]) -> Tensor:
    tensors = [value for value in values if isinstance(value, Tensor)]
    if any(value.numel() != 1 for value in tensors):
        raise InvalidValue(f"the measure {name} is not a scalar")
    if len(tensors) == len(values):
        return torch.stack([value.detach().reshape(()) for value in tensors]).cpu().double()
    return torch.tensor([float(value) for value in values], dtype=torch.float64)
