"""Run: what a recipe is given. It fits, records, draws and ends in a result, all inside one run folder."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console

from neurarium.errors import NotFinite, require
from neurarium.learners.learner import Learner
from neurarium.learners.stream import Stream
from neurarium.running import ranks, seeds
from neurarium.running.devices import choose_device, choose_precision, settle
from neurarium.running.files import disk_errors_told, write_whole
from neurarium.running.loop import Budget, Fit
from neurarium.running.pictures import film, png, svg
from neurarium.running.progress import Progress
from neurarium.running.settings import Settings
from neurarium.running.trace import Trace

RESERVED = {"stream", "random", "loop"}
"""Names in a checkpoint that a learner's attributes may not take."""


@dataclass(frozen=True)
class Result:
    """What a recipe came to."""

    measures: dict[str, float]


class Reached(Exception):
    """A run that was opened only for its learners has loaded the last of them."""


@dataclass
class Run:
    """One run of one recipe.

    Attributes:
        folder: where everything goes.
        settings: seed, device, precision and so on.
        facts: option values as they turned out to be (`data="mnist"` for a folder that holds MNIST).
        classes: names of the classes that its network tells apart, for `predict`.
        before_fit: called with every `Fit` before it begins; the contract and other observers look in here.
        renders: whether pictures become files; drawing them takes longer than a short run learns.
        opened: fits whose learners are wanted; the run then trains and writes nothing, and ends at the last of them.
    """

    folder: Path
    settings: Settings = field(default_factory=Settings)
    console: Console = field(default_factory=lambda: Console(quiet=True))
    facts: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    before_fit: Callable[[Fit], None] | None = None
    renders: bool = True
    opened: set[str] | None = None

    def __post_init__(self) -> None:
        self.device = choose_device(self.settings.device)
        self.trace = Trace(self.folder / "trace.jsonl")
        self.fits: dict[str, Fit] = {}
        self._started = time.perf_counter()
        self._before = 0.0  # seconds of fits done before this process
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        _settle_algorithms(self.device, compiled=self.settings.compile)
        # Filling every new tensor with NaN first would help to find reads of unset memory, and costs a third of a step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        ranks.join()
        seeds.seed_everything(self.seed)

    @property
    def seed(self) -> int:
        """Where chance begins."""
        return self.settings.seed

    @property
    def writes(self) -> bool:
        """Whether this process writes into the folder."""
        return self.opened is None and ranks.first()

    @property
    def seconds(self) -> float:
        """Wall time so far, that before a resume included."""
        return self._before + time.perf_counter() - self._started

    def generator(self, *names: str | int) -> torch.Generator:
        """A CPU generator of its own for the named purpose, decided by the run's seed."""
        return seeds.generator(self.seed, *names)

    def fit(
        self,
        learner: Learner[Any],
        stream: Stream[Any],
        *,
        steps: int,
        name: str = "fit",
        evaluate: Callable[[], Mapping[str, float]] | None = None,
        evaluations: int = 10,
        draw: Callable[[int], None] | None = None,
    ) -> dict[str, float]:
        """Let a learner learn from a stream; goes on from the newest whole checkpoint if there is one.

        Args:
            learner: what learns; brought to the run's device first.
            stream: where its batches come from.
            steps: number of updates, unless the run's settings give minutes.
            name: of this fit, if the recipe has several.
            evaluate: measures to take over the fit and at its end. Chance drawn in it is given back.
            evaluations: how often that is, evenly spread.
            draw: pictures to make at the same moments; it is called with the step.

        Returns:
            The last value of every measure in the trace.

        Raises:
            NotFinite: a measure became NaN or infinite.
            InvalidValue: two fits of one name, a name that is no file's, a negative number of steps or looks, or a
                reserved attribute name.
        """
        require(
            re.fullmatch(r"[\w.-]+", name) is not None,
            f"a fit is named '{name}'; use letters, digits, '.', '_' and '-'",
        )
        require(name not in self.fits, f"two fits are named '{name}'; give each a name of its own")
        taken = sorted(RESERVED & set(learner.state_dict()))
        require(evaluations > 0, f"evaluations is {evaluations}; a fit is looked at once or more")
        require(not taken, f"{type(learner).__name__} has attributes {taken}; a checkpoint needs these names")
        fit = self._prepare(name, learner, stream, Budget(steps, self.settings.minutes))
        fit.evaluate, fit.evaluations, fit.draw = evaluate, evaluations, draw
        if self.before_fit:
            self.before_fit(fit)
        with disk_errors_told(self.folder):
            for complaint in fit.restore():
                self.say(f"warning: {complaint}; going on from an older checkpoint")
            self._before += fit.seconds
            if self.opened is not None:
                return self._open(fit)
            with Progress(ranks.speaker(self.console), name) as progress:
                return fit.run(progress)

    def record(self, name: str, step: int, **measures: float) -> None:
        """Write a line of measures that belong to no fit (points of a curve, stages of a solution)."""
        known = any(line.fit == name and line.step == step for line in self.trace.lines())
        if self.writes and not known:
            with disk_errors_told(self.folder):
                self.trace.write(name, step, self.seconds, measures)
                self.trace.close()

    def picture(self, name: str, figure: Figure, *, step: int | None = None, vector: bool = False) -> None:
        """Save a figure as `pictures/<name>.png` (and .svg), or as one of a series `pictures/<name>/<step>.png`."""
        if self.writes and self.renders:
            place = self.folder / "pictures" / (f"{name}.png" if step is None else f"{name}/{step:09d}.png")
            with disk_errors_told(self.folder):
                place.parent.mkdir(parents=True, exist_ok=True)
                write_whole(place, png(figure))
                if vector:
                    write_whole(place.with_suffix(".svg"), svg(figure))

    def film(self, name: str, *, milliseconds: int = 300) -> None:
        """Join the series `pictures/<name>/` into the moving picture `pictures/<name>.gif`."""
        frames = sorted((self.folder / "pictures" / name).glob("*.png"))
        if self.writes and frames:
            with disk_errors_told(self.folder):
                write_whole(self.folder / "pictures" / f"{name}.gif", film(frames, milliseconds))

    def note(self, **facts: Any) -> None:
        """Say what an option turned out to be, for the promises to be matched against."""
        self.facts.update(facts)

    def say(self, text: str) -> None:
        """Print a line for the person at the terminal."""
        ranks.speaker(self.console).print(text, highlight=False, markup=False, soft_wrap=True)

    def result(self, **measures: float) -> Result:
        """The result, of finite numbers.

        Raises:
            NotFinite: a measure is NaN or infinite.
        """
        values = {name: float(value) for name, value in measures.items()}
        for name, value in values.items():
            if not isfinite(value):
                raise NotFinite(f"the result's {name} is {value}; the run did not come to a usable end")
        return Result(values)

    def _prepare(self, name: str, learner: Learner[Any], stream: Stream[Any], budget: Budget) -> Fit:
        dtype = choose_precision(self.settings.precision, learner, self.device)
        settle(learner, self.device, dtype, compiled=self.settings.compile and self.opened is None)
        ranks.learn_together(learner)
        fit = self.fits[name] = Fit(
            name=name,
            learner=learner,
            stream=stream,
            budget=budget,
            trace=self.trace,
            checkpoints=self.folder / "checkpoints" / name,
            device=self.device,
            dtype=dtype,
            writer=self.writes,
            save_seconds=self.settings.save_seconds,
        )
        return fit

    def _open(self, fit: Fit) -> dict[str, float]:
        assert self.opened is not None
        self.opened.discard(fit.name)
        if not self.opened:
            raise Reached
        return fit.last


def _settle_algorithms(device: torch.device, *, compiled: bool) -> None:
    """Let PyTorch take algorithms that repeat bit for bit; where some have none (not on a CPU), it only warns."""
    only_warns = device.type != "cpu"
    if compiled:
        torch.use_deterministic_algorithms(True, warn_only=only_warns)
    else:  # the same without telling the compiler, the import of which takes a second
        torch.set_deterministic_debug_mode("warn" if only_warns else "error")
