"""The contract: what every recipe must keep, check by check. Tests hold the catalogue to it; `neurarium check` yours.

Each check runs the recipe at its smoke budget and looks at one promise of the house. A recipe may be exempt from a
check, with a reason, and an exemption from a check that would pass is itself a failure.
"""

import random
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from neurarium.errors import InvalidValue, NeurariumError
from neurarium.learners.learner import Learner
from neurarium.running import export as exporting
from neurarium.running.catalogue import Entry, find, read
from neurarium.running.checkpoints import load_checkpoint, steps_of
from neurarium.running.loop import Fit, Interrupted
from neurarium.running.recipe import Recipe
from neurarium.running.settings import Settings
from neurarium.running.states import copy_state, difference
from neurarium.running.trace import read_trace
from neurarium.running.train import Finished, resume, train

STEPS_LOOKED_AT = 5  # steps at the start of a fit in which every parameter must be reached by a gradient


class Broken(Exception):
    """A check's finding: which promise does not hold, and how."""


@dataclass(frozen=True)
class Finding:
    """What one check came to: kept, broken, or exempt with a reason."""

    recipe: str
    check: str
    outcome: str
    text: str = ""

    @property
    def fine(self) -> bool:
        """Whether the contract holds here."""
        return self.outcome in ("kept", "exempt")


@dataclass
class Bench:
    """Runs one recipe at its smoke budget, in folders of its own."""

    entry: Entry
    root: Path
    count: int = 0
    fits: list[Fit] = field(default_factory=list)

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
        **options: Any,
    ) -> Finished:
        """One run in a new folder; the fits it made are in `fits`."""
        self.count += 1
        self.fits = []

        def look(fit: Fit) -> None:
            self.fits.append(fit)
            if before_fit:
                before_fit(fit)

        options = {**self.recipe.smoke, **options}
        settings = Settings(seed=seed, device="cpu", save_seconds=save_seconds)
        return train(self.entry, options, settings, out=self.root, name=f"run{self.count}", before_fit=look)

    @property
    def folder(self) -> Path:
        """The folder of the last run."""
        return self.root / self.recipe.name / f"run{self.count}"


def check_finishes(bench: Bench) -> None:
    """The recipe runs at its smoke budget, and its result has every promised measure, finite."""
    done = bench.run()
    measures = done.result["measures"]
    missing = {expect.measure for expect in bench.recipe.expects} - set(measures)
    if missing:
        raise Broken(f"the result lacks the promised measures {sorted(missing)}")
    odd = [name for name, value in measures.items() if not isfinite(value)]
    if odd:
        raise Broken(f"the result's {odd} are not finite")
    if not list((done.folder / "pictures").glob("*.png")):
        raise Broken("there is nothing to look at: no picture was made")


def check_repeats(bench: Bench) -> None:
    """The same seed gives the same bits whatever chance was drawn before it; another seed gives others."""
    first = remains(bench.run())
    torch.rand(7), np.random.default_rng().random(7), random.random()
    _same(first, remains(bench.run()), "a second run with the same seed differs")
    if difference(first, remains(bench.run(seed=1))) is None:
        raise Broken("another seed gives the same bits: the seed decides nothing")


def check_resumes(bench: Bench) -> None:
    """Interrupted and resumed, a run ends as the uninterrupted one: weights, optimiser, chance, place in the data."""
    whole = remains(bench.run())
    if not bench.fits:
        raise Broken("it makes no fit, so there is nothing to resume; exempt it with that reason")
    for number, fit in enumerate(list(bench.fits)):
        for stop_at in sorted({1, max(1, fit.step // 2), max(1, fit.step - 1)}):
            _interrupt(bench, number, stop_at)
            _same(
                whole,
                remains(resume(bench.folder)),
                f"stopped at step {stop_at} of '{fit.name}' and resumed, it differs",
            )


def check_watching(bench: Bench) -> None:
    """Evaluating and drawing change nothing: a run that is never looked at learns the same."""

    def blind(fit: Fit) -> None:
        fit.evaluate = fit.draw = None

    watched = _learned(bench.run())
    unwatched = _learned(bench.run(before_fit=blind))
    _same(watched, unwatched, "looking at the run changes what it learns (a generator is shared, or a mode left on)")


def check_stateless(bench: Bench) -> None:
    """An update follows from the learner's state and the batch alone: nothing is left over from the update before."""

    def probe(fit: Fit) -> None:
        first, second = next(fit.stream), next(fit.stream)
        start = copy_state(fit.learner.state_dict())
        clean = _after(fit.learner, start, [first])
        stained = _after(fit.learner, start, [second], then=first)
        _same(clean, stained, f"in fit '{fit.name}' an update depends on the update before it (zero_grad forgotten?)")

    _probe(bench, probe)


def check_gradients(bench: Bench) -> None:
    """Every trainable parameter gets a finite gradient that is not all zero within the first few steps."""

    def probe(fit: Fit) -> None:
        wanted = {
            f"{name}.{path}": parameter
            for name, module in fit.learner.modules().items()
            for path, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        reached: set[str] = set()
        for _ in range(STEPS_LOOKED_AT):
            fit.learner.learn(next(fit.stream))
            reached |= {name for name, parameter in wanted.items() if _has_gradient(name, parameter)}
        if reached != set(wanted):
            raise Broken(f"no gradient reaches {sorted(set(wanted) - reached)} in fit '{fit.name}'")

    _probe(bench, probe)


def check_refuses(bench: Bench) -> None:
    """An empty or misshaped batch is refused in words, and NaN stops the run with step and measure named."""

    def probe(fit: Fit) -> None:
        batch = next(fit.stream)
        start = copy_state(fit.learner.state_dict())
        for name, spoil in SPOILERS.items():
            fit.learner.load_state_dict(start)
            _must_refuse(fit, name, spoil(batch))

    _probe(bench, probe)


def check_learns(bench: Bench) -> None:
    """At its smoke budget the recipe does better than its negative control and than a learner that never updates."""
    if not bench.recipe.expects:
        raise Broken("it promises nothing, so nothing can be learned or missed; exempt it with that reason")
    promise = bench.recipe.expects[0]
    learned = [bench.run(seed=seed).result["measures"][promise.measure] for seed in (0, 1)]
    control = [bench.run(seed=seed, **bench.recipe.control).result["measures"][promise.measure] for seed in (0, 1)]
    _better(
        promise.direction, learned, control, f"{promise.measure} of the negative control {dict(bench.recipe.control)}"
    )
    if bench.fits:
        frozen = [bench.run(seed=seed, before_fit=_freeze).result["measures"][promise.measure] for seed in (0, 1)]
        _better(promise.direction, learned, frozen, f"{promise.measure} without learning")


def check_exports(bench: Bench) -> None:
    """The networks can be taken away as safetensors and as a program, and compute the same there."""
    folder = bench.run().folder
    if not any(fit.learner.modules() for fit in bench.fits):
        raise Broken("it has no network to export; exempt it with that reason")
    for form in ("safetensors", "torch"):
        if not exporting.export(folder, form):
            raise Broken(f"nothing was exported as {form}; Learner.example names what is worth it")


ALL_CHECKS: dict[str, Callable[[Bench], None]] = {
    "finishes": check_finishes,
    "repeats": check_repeats,
    "resumes": check_resumes,
    "watching": check_watching,
    "stateless": check_stateless,
    "gradients": check_gradients,
    "refuses": check_refuses,
    "learns": check_learns,
    "exports": check_exports,
}


def check(entry: Entry, name: str) -> Finding:
    """Hold a recipe to one check."""
    reason = entry.load().exempt.get(name)
    with tempfile.TemporaryDirectory(prefix="neurarium-") as root:
        try:
            ALL_CHECKS[name](Bench(entry, Path(root)))
        except Broken as finding:
            return Finding(entry.name, name, "exempt" if reason else "broken", reason or str(finding))
        except NeurariumError as error:
            return Finding(entry.name, name, "broken", f"stopped with: {error}")
    if reason:
        return Finding(entry.name, name, "stale", f"exempt ('{reason}'), but it would pass; drop the exemption")
    return Finding(entry.name, name, "kept")


def check_module(module: str, console: Console) -> int:
    """Hold every recipe of a file, a module or the catalogue to every check, and print what was found.

    Returns:
        0 if the contract holds, 1 if not.
    """
    findings = []
    for entry in _entries(module):
        for name in ALL_CHECKS:
            finding = check(entry, name)
            findings.append(finding)
            text = f"{finding.recipe}  {finding.check:10} {finding.outcome}  {finding.text}".rstrip()
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    return 0 if all(finding.fine for finding in findings) else 1


def _entries(module: str) -> list[Entry]:
    if not module.endswith(".py") and "." not in module:
        return [find(module)]
    path = (
        Path(module).resolve()
        if module.endswith(".py")
        else Path(module.replace(".", "/")).with_suffix(".py").resolve()
    )
    if not path.exists():
        raise InvalidValue(f"there is no file {module}")
    entries = read(path)
    if not entries:
        raise InvalidValue(f"{module} holds no recipe; a recipe is a function under @recipe(...)")
    return entries


def remains(done: Finished) -> dict[str, Any]:
    """All that a run leaves, but for wall times: checkpoints, trace and measures."""
    trace = [(line.fit, line.step, line.measures) for line in read_trace(done.folder / "trace.jsonl")]
    return {"learned": _learned(done), "trace": trace, "measures": done.result["measures"]}


def _learned(done: Finished) -> dict[str, Any]:
    learned = {}
    for fit in sorted((done.folder / "checkpoints").glob("*")):
        state = load_checkpoint(fit / f"{steps_of(fit)[-1]:09d}")
        state["loop"].pop("seconds")
        state["loop"].pop("last")
        learned[fit.name] = state
    return learned


def _interrupt(bench: Bench, number: int, stop_at: int) -> None:
    def stop(fit: Fit) -> None:
        if len(bench.fits) == number + 1:
            fit.stop_at = stop_at

    try:
        bench.run(before_fit=stop)
    except Interrupted:
        return
    raise Broken(f"fit number {number} did not stop at step {stop_at}")


def _probe(bench: Bench, look: Callable[[Fit], None]) -> None:
    """Call `look` with every fit of a run before it begins; each then learns as usual, from a state put back."""
    seen = 0

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

    bench.run(before_fit=before)
    if not seen:
        raise Broken("it makes no fit, so there is no learner to look at; exempt it with that reason")


def _after(learner: Learner[Any], start: Any, before: list[Any], then: Any = None) -> Any:
    """The state after learning from `start`: from a batch, or from another and then, after going back, from `then`."""
    for batch in [*before, *([] if then is None else [then])]:
        learner.load_state_dict(copy_state(start))
        torch.manual_seed(0)
        learner.learn(batch)
    return copy_state(learner.state_dict())


def _has_gradient(name: str, parameter: Tensor) -> bool:
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


def _must_refuse(fit: Fit, name: str, spoiled: Any) -> None:
    try:
        measures = fit.learner.learn(spoiled)
        fit.window.add(1, measures)
        fit.window.check()
    except NeurariumError as error:
        if len(str(error)) < 10:
            raise Broken(f"{name} is refused without saying why in fit '{fit.name}'") from None
        return
    except Exception as error:
        if type(error).__module__.startswith("jaxtyping"):
            return  # in tests, shape annotations refuse before the system does
        raise Broken(
            f"{name} is refused by {type(error).__name__}, not in words for people, in fit '{fit.name}'"
        ) from error
    finally:
        fit.window.steps, fit.window.values = [], {}
    raise Broken(f"{name} is learned from without a word in fit '{fit.name}'")


def _freeze(fit: Fit) -> None:
    """Let the learner go through the motions, and put it back after every step."""
    learner, start = fit.learner, copy_state(fit.learner.state_dict())
    learn = learner.learn

    def only_measure(batch: Any) -> Mapping[str, Any]:
        measures = learn(batch)
        learner.load_state_dict(copy_state(start))
        return measures

    learner.learn = only_measure  # type: ignore[method-assign]


def _better(direction: int, learned: list[float], other: list[float], what: str) -> None:
    gain = [direction * (mine - theirs) for mine, theirs in zip(learned, other, strict=True)]
    if direction and min(gain) <= 0:
        raise Broken(f"learning reaches {learned}, but {what} is {other}: nothing is learned, or something leaks")


def _same(one: Any, other: Any, complaint: str) -> None:
    place = difference(one, other)
    if place is not None:
        raise Broken(f"{complaint}: first at {place}")
