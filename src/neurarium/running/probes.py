"""Probes: how the contract looks into a run without the recipe knowing."""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neurarium.errors import NeurariumError
from neurarium.learners.learner import Learner
from neurarium.running.catalogue import Entry
from neurarium.running.checkpoints import load_checkpoint, steps_of
from neurarium.running.loop import Fit, Interrupted
from neurarium.running.recipe import Expect, Recipe
from neurarium.running.settings import Settings
from neurarium.running.states import copy_state, difference
from neurarium.running.trace import read_trace
from neurarium.running.train import Finished, resume, train


class Broken(Exception):
    """A check's finding: which promise does not hold, and how."""


class Seen(Exception):
    """Everything that was to be looked at has been; the run need not go on."""


@dataclass
class Bench:
    """Runs one recipe at its smoke budget, in folders of its own. Plain runs are kept, for many checks begin with one.

    Attributes:
        fits: those of the last run.
    """

    entry: Entry
    root: Path
    count: int = 0
    fits: list[Fit] = field(default_factory=list)
    kept: dict[int, tuple[Finished, list[Fit]]] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        """The recipe under test."""
        return self.entry.load()

    def run(
        self,
        *,
        seed: int = 0,
        before_fit: Callable[[Fit], None] | None = None,
        save_seconds: float = 1e9,
        renders: bool = False,
        **options: Any,
    ) -> Finished:
        """One run in a new folder, without pictures unless asked for; the fits it made are in `fits`."""
        self.count += 1
        self.fits = []

        def look(fit: Fit) -> None:
            self.fits.append(fit)
            if before_fit:
                before_fit(fit)

        options = {**self.recipe.smoke, **options}
        # One thread: smoke runs are small, and the suite runs several beside one another.
        settings = Settings(seed=seed, device="cpu", threads=1, save_seconds=save_seconds)
        name = f"run{self.count}"
        return train(self.entry, options, settings, out=self.root, name=name, before_fit=look, renders=renders)

    def plain(self, *, seed: int = 0) -> Finished:
        """The run without options or interference; made once for each seed. That of seed 0 has its pictures."""
        if seed not in self.kept:
            self.kept[seed] = (self.run(seed=seed, renders=seed == 0), self.fits)
        done, self.fits = self.kept[seed]
        return done

    def remains(self, done: Finished) -> dict[str, Any]:
        """All that a run leaves, but for what measures time."""
        return remains(done, [expect.measure for expect in self.recipe.expects if expect.timing])

    @property
    def folder(self) -> Path:
        """The folder of the last run."""
        return self.root / self.recipe.name / f"run{self.count}"


def remains(done: Finished, timings: Collection[str] = ()) -> dict[str, Any]:
    """All that a run leaves, but for what measures time: checkpoints, trace and measures."""
    measures = {name: value for name, value in done.result["measures"].items() if name not in timings}
    trace = [(line.fit, line.step, line.measures) for line in read_trace(done.folder / "trace.jsonl")]
    return {"learned": learned_in(done), "trace": trace, "measures": measures}


def learned_in(done: Finished) -> dict[str, Any]:
    """The newest checkpoint of every fit, but for wall times."""
    learned = {}
    for fit in sorted((done.folder / "checkpoints").glob("*")):
        state = load_checkpoint(fit / f"{steps_of(fit)[-1]:09d}")
        state["loop"].pop("seconds")
        state["loop"].pop("last")
        learned[fit.name] = state
    return learned


def interrupt(bench: Bench, stops: Iterable[tuple[str, int]]) -> Finished:
    """Stop one run at steps of its fits, in order, as the user would, and go on with it each time, to its end."""
    remaining = list(stops)

    def stop(fit: Fit) -> None:
        if remaining and remaining[0][0] == fit.name:
            fit.stop_at = remaining[0][1]

    go_on: Callable[[], Finished] = partial(bench.run, before_fit=stop)
    while remaining:
        try:
            go_on()
        except Interrupted:
            remaining.pop(0)
        else:
            name, step = remaining[0]
            raise Broken(f"'{name}' did not stop at step {step}")
        go_on = partial(resume, bench.folder, before_fit=stop, renders=False)
    return go_on()


def probe(bench: Bench, look: Callable[[Fit], None]) -> None:
    """Call `look` with every fit of a run before it begins; each but the last then learns, from a state put back."""
    bench.plain()
    fits, seen = len(bench.fits), 0
    if not fits:
        raise Broken("it makes no fit, so there is no learner to look at; exempt it with that reason")

    def before(fit: Fit) -> None:
        nonlocal seen
        seen += 1
        learner, stream, chance = (
            copy_state(fit.learner.state_dict()),
            copy_state(fit.stream.state_dict()),
            torch.get_rng_state(),
        )
        look(fit)
        fit.learner.load_state_dict(learner)
        fit.stream.load_state_dict(stream)
        torch.set_rng_state(chance)
        if seen == fits:
            raise Seen

    with suppress(Seen):
        bench.run(before_fit=before)


def after(learner: Learner[Any], start: Any, before: list[Any], then: Any = None) -> Any:
    """The state after learning from `start`: from a batch, or from another and then, after going back, from `then`."""
    for batch in [*before, *([] if then is None else [then])]:
        learner.load_state_dict(copy_state(start))
        torch.manual_seed(0)
        learner.learn(batch)
    return copy_state(learner.state_dict())


def has_gradient(name: str, parameter: Tensor) -> bool:
    """Whether a parameter has a gradient other than zero; a gradient that is not finite breaks the contract."""
    if parameter.grad is None:
        return False
    if not torch.isfinite(parameter.grad).all():
        raise Broken(f"the gradient of {name} is not finite")
    return bool((parameter.grad != 0).any())


def _map(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    fields = [change(value) if isinstance(value, Tensor) else value for value in batch]
    return type(batch)(*fields) if hasattr(batch, "_fields") else type(batch)(fields)


def _widened(value: Tensor) -> Tensor:
    return torch.cat([value, value[..., :1]], dim=-1) if value.ndim > 1 else value.unsqueeze(1)


SPOILERS: dict[str, Callable[[Any], Any]] = {
    "an empty batch": lambda batch: _map(batch, lambda value: value[:0]),
    "a misshaped batch": lambda batch: _map(batch, _widened),
    "NaN": lambda batch: _map(batch, lambda value: value * torch.nan if value.is_floating_point() else value),
}


def must_refuse(fit: Fit, name: str, spoiled: Any) -> None:
    """Learn from a spoiled batch; it must end in words for people, or in a measure that is not finite."""
    try:
        measures = fit.learner.learn(spoiled)
        fit.window.add(1, measures)
        fit.window.check()
    except NeurariumError as error:
        if len(str(error)) < 10:
            raise Broken(f"{name} is refused without saying why in fit '{fit.name}'") from None
        return
    except Exception as error:
        raise Broken(
            f"{name} is refused by {type(error).__name__}, not in words for people, in fit '{fit.name}'"
        ) from error
    finally:
        fit.window.steps, fit.window.values = [], {}
    raise Broken(f"{name} is learned from without a word in fit '{fit.name}'")


def look_once(fit: Fit) -> None:
    """Evaluate at the end only, and draw nothing: for a run of which the result alone is wanted."""
    fit.evaluations, fit.draw = 1, None


def freeze(fit: Fit) -> None:
    """Let the learner go through the motions, and put it back after every step."""
    look_once(fit)
    learner, start = fit.learner, copy_state(fit.learner.state_dict())
    learn = learner.learn

    def only_measure(batch: Any) -> Mapping[str, Any]:
        measures = learn(batch)
        learner.load_state_dict(copy_state(start))
        return measures

    learner.learn = only_measure  # type: ignore[method-assign]


def must_be_better(promise: Expect, learned: list[float], other: list[float], what: str) -> None:
    """Every value must have more merit for the promise than its counterpart."""
    gain = [promise.merit(mine) - promise.merit(theirs) for mine, theirs in zip(learned, other, strict=True)]
    if min(gain) <= 0:
        raise Broken(f"learning reaches {learned}, but {what} is {other}: nothing is learned, or something leaks")


def must_be_same(one: Any, other: Any, complaint: str) -> None:
    """Two states must be the same to the bit; the complaint is ended by the place where they differ."""
    place = difference(one, other)
    if place is not None:
        raise Broken(f"{complaint}: first at {place}")
