"""The loop: stream → learner → trace, with checkpoints, evaluation, pictures and a way to stop.

It knows the Learner and the Stream and no system. Nothing in a step waits for the device or the disk: measures stay
tensors until a line of the trace is due.
"""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from neurarium.errors import require
from neurarium.learners.learner import Learner
from neurarium.learners.stream import Stream
from neurarium.running import ranks
from neurarium.running.checkpoints import newest_whole, save_checkpoint, steps_of, sweep
from neurarium.running.devices import autocast, untouched_chance
from neurarium.running.progress import Progress
from neurarium.running.seeds import random_state, restore_random_state
from neurarium.running.trace import Trace, Window

LINES = 100  # lines of a trace that a fit of known length writes
LONGEST_WINDOW = 100  # steps between two lines at the most, so that NaN is seen soon


class Interrupted(Exception):
    """The user stopped the run; its checkpoint is whole."""


@dataclass(frozen=True)
class Budget:
    """How long a fit goes on: a number of steps, or minutes instead."""

    steps: int
    minutes: float | None = None

    def __post_init__(self) -> None:
        require(self.steps >= 0, f"steps is {self.steps}; a fit takes 0 steps or more")
        if self.minutes is not None:
            require(self.minutes > 0, f"minutes is {self.minutes}; it must be positive")

    def progress(self, step: int, seconds: float) -> float:
        """How much of it is used up, 0 to 1."""
        if self.minutes is not None:
            return min(1.0, seconds / (60 * self.minutes))
        return step / self.steps if self.steps else 1.0

    @property
    def window(self) -> int:
        """Steps between two lines of the trace."""
        return LONGEST_WINDOW // 4 if self.minutes else min(LONGEST_WINDOW, max(1, self.steps // LINES))


@dataclass
class Fit:
    """One stretch of learning, with all it needs and where it stands.

    Attributes:
        name: the fit's name in the trace and among the checkpoints.
        evaluate: called `evaluations` times over the fit, the last time at its end; its measures go to the trace.
        draw: called at the same moments with the step.
        save_seconds: seconds between two checkpoints (0: after every step).
        writer: whether this process writes the trace, checkpoints and pictures.
        stop_at: stop there as if the user had interrupted.
        observe: called after every step with its number and batch.
    """

    name: str
    learner: Learner[Any]
    stream: Stream[Any]
    budget: Budget
    trace: Trace
    checkpoints: Path
    device: torch.device
    dtype: torch.dtype
    evaluate: Callable[[], Mapping[str, float]] | None = None
    evaluations: int = 10
    draw: Callable[[int], None] | None = None
    writer: bool = True
    save_seconds: float = 30.0
    stop_at: int | None = None
    observe: Callable[[int, Any], None] | None = None

    step: int = 0
    seconds: float = 0.0
    window: Window = field(default_factory=Window)
    last: dict[str, float] = field(default_factory=dict)

    def restore(self) -> list[str]:
        """Go back to the newest whole checkpoint, if there is one; returns a line for each that was not whole."""
        if self.writer:
            sweep(self.checkpoints)
        state, complaints = newest_whole(self.checkpoints)
        if state is not None:
            loop = state.pop("loop")
            self.stream.load_state_dict(state.pop("stream"))
            chance = state.pop("random")
            restore_random_state({**chance, "torch": chance["torch"][ranks.rank() % len(chance["torch"])]})
            self.learner.load_state_dict(state)
            self.step, self.seconds, self.last = loop["step"], loop["seconds"], loop["last"]
            self.window.load_state_dict(loop["window"])
        if self.writer:
            self.trace.rewind(self.name, self.step)
        return complaints

    def save(self) -> None:
        """Write a checkpoint of this moment (never one that holds NaN)."""
        loop = {"step": self.step, "seconds": self.seconds, "last": self.last, "window": self.window.state_dict()}
        chance = random_state()
        chance["torch"] = ranks.all_random_states(chance["torch"])
        if self.writer:
            state = {**self.learner.state_dict(), "stream": self.stream.state_dict()}
            save_checkpoint(self.checkpoints, self.step, {**state, "random": chance, "loop": loop})

    def weights(self) -> list[Path]:
        """The files of the newest checkpoint that hold networks."""
        steps = steps_of(self.checkpoints)
        newest = [self.checkpoints / f"{step:09d}" for step in steps[-1:]]
        paths = [place / f"{name}.safetensors" for place in newest for name in self.learner.modules()]
        return [path for path in paths if path.exists()]

    def run(self, progress: Progress) -> dict[str, float]:
        """Learn until the budget is used up; returns the last line's measures.

        Raises:
            NotFinite: a measure became NaN or infinite.
            Interrupted: the user pressed Ctrl-C; a whole checkpoint is written first.
        """
        start, saved = time.perf_counter() - self.seconds, time.perf_counter()
        over = self._used_up()
        with Stop() as stop, closing(self.trace):
            while not over:
                self._advance()
                now = time.perf_counter()
                self.seconds = now - start
                self._tell(progress)
                stops = stop.asked or self.step == self.stop_at
                stops, saves, over = ranks.any_asks(stops, now - saved >= self.save_seconds, self._used_up())
                if stops:
                    self.save()
                    raise Interrupted(f"stopped at step {self.step}, all of it saved; go on with: {self._way_on}")
                if saves and not over:
                    self.save()
                    saved = time.perf_counter()
            if self.window.steps:
                self._flush(progress)
        self.save()
        return self.last

    @property
    def _way_on(self) -> str:
        return f"neurarium resume {self.checkpoints.parents[1]}"

    def _advance(self) -> None:
        self.learner.progress = self.budget.progress(self.step, self.seconds)
        batch = ranks.share(next(self.stream))
        with autocast(self.device, self.dtype):
            measures = self.learner.learn(batch)
        self.step += 1
        self.window.add(self.step, measures)
        if self.observe:
            self.observe(self.step, batch)

    def _used_up(self) -> bool:
        return self.budget.progress(self.step, self.seconds) >= 1.0

    def _tell(self, progress: Progress) -> None:
        before, now = self.learner.progress, self.budget.progress(self.step, self.seconds)
        if len(self.window.steps) >= self.budget.window:
            self._flush(progress)
        if int(before * self.evaluations) < int(now * self.evaluations):
            self._look(progress)

    def _look(self, progress: Progress) -> None:
        with untouched_chance(self.device), autocast(self.device, self.dtype):
            if self.evaluate:
                self._write(progress, dict(self.evaluate()))
            if self.draw and self.writer:
                self.draw(self.step)

    def _flush(self, progress: Progress) -> None:
        ranks.mean_measures(self.window)
        self._write(progress, self.window.flush())

    def _write(self, progress: Progress, measures: dict[str, float]) -> None:
        self.last = {**self.last, **measures}
        if self.writer:
            self.trace.write(self.name, self.step, self.seconds, measures)
            progress.show(self.step, self.budget.progress(self.step, self.seconds), self.last)


class Stop:
    """Turns Ctrl-C and the system's request to end into a wish that the loop sees between two steps.

    A second Ctrl-C interrupts at once. Outside the main thread signals cannot be caught, and nothing changes.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
