"""The contract: what every recipe must keep, check by check. Tests hold the catalogue to it; `neurarium check` yours.

Each check runs the recipe at its smoke budget and looks at one promise of the house. A recipe may be exempt from a
check, with a reason, and an exemption from a check that would pass is itself a failure.
"""

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from neurarium.errors import InvalidValue, NeurariumError
from neurarium.running import export as exporting
from neurarium.running.catalogue import Entry, find, read
from neurarium.running.loop import Fit
from neurarium.running.probes import (
    SPOILERS,
    Bench,
    Broken,
    after,
    freeze,
    has_gradient,
    interrupt,
    learned_in,
    look_once,
    must_be_better,
    must_be_same,
    must_refuse,
    probe,
)
from neurarium.running.recipe import CHECKS
from neurarium.running.states import copy_state, difference

STEPS_LOOKED_AT = 5  # steps at the start of a fit in which every parameter must be reached by a gradient


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


def check_finishes(bench: Bench) -> None:
    """The recipe runs at its smoke budget, and its result has every measure promised for any data, finite."""
    done = bench.plain()
    measures = done.result["measures"]
    missing = {expect.measure for expect in bench.recipe.expects if not expect.given} - set(measures)
    if missing:
        raise Broken(f"the result lacks the promised measures {sorted(missing)}")
    odd = [name for name, value in measures.items() if not isfinite(value)]
    if odd:
        raise Broken(f"the result's {odd} are not finite")
    if not list((done.folder / "pictures").glob("*.png")):
        raise Broken("there is nothing to look at: no picture was made")


def check_repeats(bench: Bench) -> None:
    """The same seed gives the same bits whatever chance was drawn before it; another seed gives others."""
    first = bench.remains(bench.plain())
    torch.rand(7), np.random.default_rng().random(7), random.random()
    must_be_same(first, bench.remains(bench.run()), "a second run with the same seed differs")
    if difference(first, bench.remains(bench.plain(seed=1))) is None:
        raise Broken("another seed gives the same bits: the seed decides nothing")


def check_resumes(bench: Bench) -> None:
    """Interrupted and resumed, a run ends as the uninterrupted one: weights, optimiser, chance, place in the data."""
    whole = bench.remains(bench.plain())
    if not bench.fits:
        raise Broken("it makes no fit, so there is nothing to resume; exempt it with that reason")
    stops = []
    for number, fit in enumerate(bench.fits):
        middle = max(1, fit.step // 2)
        # The first fit at its edges too; a recipe of many fits runs the same loop in the others.
        edges = {1, max(1, fit.step - 1)} if number == 0 else set()
        stops += [(fit.name, step) for step in sorted({middle} | edges)]
    if difference(whole, bench.remains(interrupt(bench, stops))) is None:
        return
    for name, step in stops:  # which of them it was
        ended = bench.remains(interrupt(bench, [(name, step)]))
        must_be_same(whole, ended, f"stopped at step {step} of '{name}' and resumed, it differs")
    raise Broken(f"stopped at {stops} in turn and resumed each time, it differs")


def check_watching(bench: Bench) -> None:
    """Evaluating and drawing change nothing: a run that is never looked at learns the same."""

    def blind(fit: Fit) -> None:
        fit.evaluate = fit.draw = None

    watched = learned_in(bench.plain())
    if not bench.fits:
        return
    unwatched = learned_in(bench.run(before_fit=blind))
    must_be_same(
        watched, unwatched, "looking at the run changes what it learns (a generator is shared, or a mode left on)"
    )


def check_stateless(bench: Bench) -> None:
    """An update follows from the learner's state and the batch alone: nothing is left over from the update before."""

    def look(fit: Fit) -> None:
        first, second = next(fit.stream), next(fit.stream)
        start = copy_state(fit.learner.state_dict())
        clean = after(fit.learner, start, [first])
        stained = after(fit.learner, start, [second], then=first)
        must_be_same(
            clean, stained, f"in fit '{fit.name}' an update depends on the update before it (zero_grad forgotten?)"
        )

    probe(bench, look)


def check_gradients(bench: Bench) -> None:
    """Every trainable parameter gets a finite gradient that is not all zero within the first few steps."""

    def look(fit: Fit) -> None:
        wanted = {
            f"{name}.{path}": parameter
            for name, module in fit.learner.modules().items()
            for path, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        reached: set[str] = set()
        for _ in range(STEPS_LOOKED_AT):
            fit.learner.learn(next(fit.stream))
            reached |= {name for name, parameter in wanted.items() if has_gradient(name, parameter)}
        if reached != set(wanted):
            raise Broken(f"no gradient reaches {sorted(set(wanted) - reached)} in fit '{fit.name}'")

    probe(bench, look)


def check_refuses(bench: Bench) -> None:
    """An empty or misshaped batch is refused in words, and NaN stops the run with step and measure named."""

    def look(fit: Fit) -> None:
        batch = next(fit.stream)
        start = copy_state(fit.learner.state_dict())
        for name, spoil in SPOILERS.items():
            spoiled = spoil(batch)
            # Whole numbers cannot be NaN: there is nothing to refuse then.
            if difference(list(batch), list(spoiled)) is not None:
                fit.learner.load_state_dict(start)
                must_refuse(fit, name, spoiled)

    probe(bench, look)


def check_learns(bench: Bench) -> None:
    """At its smoke budget the recipe does better than its negative control and than a learner that never updates."""
    if not bench.recipe.expects:
        raise Broken("it promises nothing, so nothing can be learned or missed; exempt it with that reason")
    promise = next(expect for expect in bench.recipe.expects if not expect.timing)
    learned = [bench.plain(seed=seed).result["measures"][promise.measure] for seed in (0, 1)]
    control = [
        bench.run(seed=seed, before_fit=look_once, **bench.recipe.control).result["measures"][promise.measure]
        for seed in (0, 1)
    ]
    must_be_better(promise, learned, control, f"{promise.measure} of the negative control {dict(bench.recipe.control)}")
    if bench.fits and promise.graded:  # a place that must be met may hold before anything is learned
        frozen = [bench.run(seed=seed, before_fit=freeze).result["measures"][promise.measure] for seed in (0, 1)]
        must_be_better(promise, learned, frozen, f"{promise.measure} without learning")


def check_exports(bench: Bench) -> None:
    """The networks can be taken away as safetensors and as a program, and compute the same there."""
    folder = bench.plain().folder
    if not any(fit.learner.modules() for fit in bench.fits):
        raise Broken("it has no network to export; exempt it with that reason")
    for form in ("safetensors", "torch"):
        if not exporting.export(folder, form):
            raise Broken(f"nothing was exported as {form}; Learner.example names what is worth it")


ALL_CHECKS: dict[str, Callable[[Bench], None]] = {name: globals()[f"check_{name}"] for name in CHECKS}


def check(bench: Bench, name: str) -> Finding:
    """Hold the recipe on a bench to one check."""
    recipe = bench.recipe
    reason = recipe.exempt.get(name)
    try:
        ALL_CHECKS[name](bench)
    except Broken as finding:
        return Finding(recipe.name, name, "exempt" if reason else "broken", reason or str(finding))
    except NeurariumError as error:
        return Finding(recipe.name, name, "broken", f"stopped with: {error}")
    if reason:
        return Finding(recipe.name, name, "stale", f"exempt ('{reason}'), but it would pass; drop the exemption")
    return Finding(recipe.name, name, "kept")


def check_module(module: str, console: Console) -> int:
    """Hold every recipe of a file, a module or the catalogue to every check, and print what was found.

    Returns:
        0 if the contract holds, 1 if not.
    """
    findings = []
    for entry in _entries(module):
        with tempfile.TemporaryDirectory(prefix="neurarium-") as root:
            bench = Bench(entry, Path(root))
            for name in ALL_CHECKS:
                finding = check(bench, name)
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
