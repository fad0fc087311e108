"""Reproduce: recipes at their default budget over seeds, what was measured written to `results/`.

Each run has a process of its own, so that nothing of one reaches another. The negative control runs beside the promise.
`results/<family>/<recipe>.json` holds the values; `results/README.md` is the table made from all of them. What cannot
be run here, for want of a data set, keeps the values it has.
"""

import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from neurarium.errors import DataError, InvalidValue, NeurariumError, require
from neurarium.running.catalogue import Entry, catalogue, find
from neurarium.running.files import disk_errors_told, write_json, write_whole
from neurarium.running.recipe import Expect, Recipe


@dataclass(frozen=True)
class Asked:
    """One thing to measure: a recipe with some options, over seeds."""

    entry: Entry
    given: Mapping[str, Any]
    control: bool = False


def reproduce(
    names: Sequence[str],
    *,
    every: bool,
    seeds: int | None,
    jobs: int,
    results: Path,
    console: Console,
    missing: bool = False,
) -> int:
    """Run recipes and write what was measured.

    Args:
        names: recipes; none of them with `every`.
        every: take the whole catalogue.
        seeds: runs of each variant, with seeds 0, 1, ... (default: as many as its promises say).
        missing: run only what has no value in the folder yet.
        jobs: processes at the same time; the cores are shared among them.
        results: folder of the measured values.
        console: where progress is told.

    Returns:
        0 if every promise was kept and every control missed it, 1 if not.

    Raises:
        InvalidValue: no recipe or an unknown one is named, or a count is not positive.
    """
    require(seeds is None or seeds > 0, f"--seeds is {seeds}; it must be positive")
    require(jobs > 0, f"--jobs is {jobs}; it must be positive")
    if bool(names) == every:
        raise InvalidValue("name the recipes to reproduce, or say --all")
    entries = list(catalogue().values()) if every else [find(name) for name in names]
    fine = True
    with _pool(jobs) as pool:
        waiting = []
        for entry in entries:
            before = _before(results, entry)
            waiting.append((entry, before, _submit(pool, entry, before if missing else {}, seeds, jobs)))
        for entry, before, runs in waiting:
            measured = _gather(entry, before, runs, console)
            with disk_errors_told(results):
                (results / entry.family).mkdir(parents=True, exist_ok=True)
                write_json(results / entry.family / f"{entry.name}.json", measured)
                write_whole(results / "README.md", summary(results).encode())
            fine &= all(row["met"] is not row["control"] for row in measured["verdicts"])
    return 0 if fine else 1


def promised_seeds(entry: Entry, given: Mapping[str, Any] | None = None) -> int:
    """How many seeds a recipe's promises are made for: those with these options, or all of them."""
    mine = (expect.seeds for expect in entry.expects if given is None or expect.given == given)
    return max(mine, default=Expect.seeds)


def variants(recipe: Recipe, entry: Entry) -> list[Asked]:
    """What a recipe's promises ask to be measured: each set of given options once, and the negative control."""
    given: list[Mapping[str, Any]] = []
    for expect in entry.expects:
        if expect.given not in given:
            given.append(expect.given)
    return [*(Asked(entry, options) for options in given or [{}]), Asked(entry, recipe.control, control=True)]


def summary(results: Path) -> str:
    """The table of all measured values, as Markdown."""
    rows = [
        "# Measured results",
        "",
        "Written by `neurarium reproduce`; every value is the mean over seeds ± their standard deviation.",
        "",
    ]
    rows += [
        "| recipe | given | measure | promised | measured | worst seed | kept | seconds | negative control |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(results.glob("*/*.json")):
        rows += _rows(json.loads(path.read_text()))
    return "\n".join(rows) + "\n"


Runs = list[tuple[Asked, list["Future[dict[str, Any]]"]]]


def _pool(jobs: int) -> Executor:
    # A fresh process for each run; spawned, because a forked PyTorch shares its threads' locks.
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1)


def _before(results: Path, entry: Entry) -> dict[str, Any]:
    """What the results file of a recipe says so far; nothing if there is none."""
    path = results / entry.family / f"{entry.name}.json"
    if not path.exists():
        return {}
    try:
        before: dict[str, Any] = json.loads(path.read_text())
        return before if "variants" in before and "control" in before else {}
    except ValueError:
        return {}


def _known(before: Mapping[str, Any], asked: Asked) -> dict[str, Any] | None:
    """What was measured before of one thing that is asked for."""
    if not before:
        return None
    found = [before["control"]] if asked.control else before["variants"]
    return next((one for one in found if one.get("given") == asked.given and one["seeds"]), None)


def _submit(pool: Executor, entry: Entry, known: Mapping[str, Any], seeds: int | None, jobs: int) -> Runs:
    threads = max(1, (os.cpu_count() or 1) // jobs)

    def submit(one: Asked) -> list["Future[dict[str, Any]]"]:
        if _known(known, one):
            return []
        count = seeds or promised_seeds(entry, None if one.control else one.given)
        return [pool.submit(_run_one, entry.name, dict(one.given), seed, threads) for seed in range(count)]

    return [(one, submit(one)) for one in variants(entry.load(), entry)]


def _run_one(name: str, options: dict[str, Any], seed: int, threads: int) -> dict[str, Any]:
    """One run in this process; its result, or the line it stopped with."""
    from neurarium.running.settings import Settings
    from neurarium.running.train import machine, train, versions

    with tempfile.TemporaryDirectory(prefix="neurarium-") as out:
        try:
            done = train(find(name), options, Settings(seed=seed, threads=threads), out=Path(out))
        except NeurariumError as error:
            return {"seed": seed, "stopped": str(error), "no_data": isinstance(error, DataError)}
        return {**done.result, "versions": versions(), "machine": {**machine(), "model": _processor()}}


def _gather(entry: Entry, before: Mapping[str, Any], runs: Runs, console: Console) -> dict[str, Any]:
    measured: dict[str, Any] = {
        **{name: before[name] for name in ("versions", "machine", "date") if name in before},
        "recipe": entry.name,
        "family": entry.family,
        "variants": [],
        "control": {},
        "verdicts": [],
    }
    for asked, futures in runs:
        rows = [future.result() for future in futures]
        about = _about(asked, rows)
        # Only for want of data: a run that failed must not hide behind older values.
        known = _known(before, asked) if all(row.get("no_data") for row in rows) else None
        for row in rows:
            if "versions" in row:
                measured |= {"versions": row["versions"], "machine": row["machine"], "date": time.strftime("%Y-%m-%d")}
        if rows:
            console.print(_told(asked, about), markup=False, highlight=False, soft_wrap=True)
        about = known or about
        if asked.control:
            measured["control"] = about
        else:
            measured["variants"].append(about)
        measured["verdicts"] += _verdicts(asked, about)
    return measured


def _about(asked: Asked, rows: list[dict[str, Any]]) -> dict[str, Any]:
    done = [row for row in rows if "measures" in row]
    stopped = sorted({row["stopped"] for row in rows if "stopped" in row})
    names = done[0]["measures"] if done else {}
    return {
        "given": dict(asked.given),
        "seeds": [row["seed"] for row in done],
        "measures": {name: _spread([row["measures"][name] for row in done]) for name in names},
        "seconds": _spread([row["seconds"] for row in done]) if done else None,
        "stopped": stopped,
        "date": time.strftime("%Y-%m-%d") if done else None,
    }


def _spread(values: list[float]) -> dict[str, Any]:
    return {"mean": statistics.fmean(values), "spread": statistics.pstdev(values), "values": values}


def _verdicts(asked: Asked, about: dict[str, Any]) -> list[dict[str, Any]]:
    """Each promise that was run: whether every seed kept it (of a control: whether any seed did, which it must not)."""
    expects = [expect for expect in asked.entry.expects if asked.control or expect.given == asked.given]
    rows = []
    for expect in expects[:1] if asked.control else expects:
        values = about["measures"].get(expect.measure, {"values": []})["values"]
        if values:
            met = (any if asked.control else all)(expect.met(value) for value in values)
            row = {"measure": expect.measure, "bound": expect.bound, "given": dict(asked.given), "met": met}
            rows.append({**row, "control": asked.control})
    return rows


def _told(asked: Asked, about: dict[str, Any]) -> str:
    label = "control" if asked.control else ", ".join(f"{name} {value}" for name, value in asked.given.items())
    values = ", ".join(
        f"{name} {spread['mean']:.4g} ± {spread['spread']:.2g}" for name, spread in about["measures"].items()
    )
    return f"{asked.entry.name}{f' ({label})' if label else ''}: {values or 'not run: ' + '; '.join(about['stopped'])}"


def _rows(measured: dict[str, Any]) -> list[str]:
    rows = []
    for verdict in measured["verdicts"]:
        if verdict["control"]:
            continue
        variant = next(one for one in measured["variants"] if one["given"] == verdict["given"])
        control = measured["control"]["measures"].get(verdict["measure"]) if not verdict["given"] else None
        cells = [
            measured["recipe"],
            ", ".join(f"{name} {value}" for name, value in verdict["given"].items()),
            verdict["measure"],
            verdict["bound"],
            _plus_minus(variant["measures"][verdict["measure"]]),
            f"{_worst(verdict['bound'], variant['measures'][verdict['measure']]['values']):.4g}",
            "yes" if verdict["met"] else "**no**",
            f"{variant['seconds']['mean']:.0f}",
            _plus_minus(control) if control else "",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _plus_minus(spread: dict[str, Any]) -> str:
    return f"{spread['mean']:.4g} ± {spread['spread']:.2g}"


def _worst(bound: str, values: list[float]) -> float:
    return max(values) if bound.startswith("<") else min(values)


def _processor() -> str:
    """The processor's own name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()
