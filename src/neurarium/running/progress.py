"""What a person sees of a fit while it goes on: a live line in a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

PLAIN_LINES = 10  # lines a fit prints where there is no terminal


class Progress:
    """Shows step, rate, loss and time left of one fit.

    Args:
        console: where to; `Console(quiet=True)` shows nothing.
        name: the fit's name.
    """

    def __init__(self, console: Console, name: str) -> None:
        self.console = console
        self.name = name
        self._started = time.perf_counter()
        self._first_step: int | None = None
        self._told = 0
        self._bar: Bar | None = None
        if console.is_terminal and not console.quiet:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                TimeRemainingColumn(),
                TextColumn("{task.fields[tell]}"),
            )
            self._bar = Bar(*columns, console=console, transient=True)
            self._task = self._bar.add_task(name, total=1.0, tell="")

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, step: int, done: float, measures: Mapping[str, float]) -> None:
        """Take in where the fit stands; shown when it is time."""
        seconds = time.perf_counter() - self._started
        if self._first_step is None:
            self._first_step = step
        if self._bar:
            self._bar.update(self._task, completed=done, tell=self._tell(step, seconds, measures))
        elif int(done * PLAIN_LINES) > self._told:
            self._told = int(done * PLAIN_LINES)
            left = f"  {seconds / done - seconds:.0f} s left" if 0 < done < 1 else ""
            self.console.print(
                f"{self.name} {done:4.0%}  {self._tell(step, seconds, measures)}{left}", highlight=False, soft_wrap=True
            )

    def _tell(self, step: int, seconds: float, measures: Mapping[str, float]) -> str:
        rate = (step - (self._first_step or 0)) / seconds if seconds > 0 else 0.0
        values = "  ".join(f"{name} {value:.4g}" for name, value in measures.items())
        return f"step {step}  {rate:.0f}/s  {values}"
