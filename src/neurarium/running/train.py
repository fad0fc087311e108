"""Start a run, go on with one, or open one for its learners."""

import json
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from neurarium import __version__
from neurarium.errors import CheckpointError, DataError, NeurariumError, RunError, require
from neurarium.running import ranks
from neurarium.running.catalogue import Entry, find
from neurarium.running.checkpoints import fits_of
from neurarium.running.devices import keep_freed_memory
from neurarium.running.elsewhere import found_again
from neurarium.running.files import disk_errors_told, held, write_json
from neurarium.running.loop import Fit
from neurarium.running.pictures import curves
from neurarium.running.recipe import Recipe
from neurarium.running.run import Reached, Result, Run
from neurarium.running.settings import Settings

Observer = Callable[[Fit], None]


@dataclass(frozen=True)
class Finished:
    """A run that came to its end."""

    folder: Path
    result: dict[str, Any]
    weights: list[Path]


def train(
    entry: Entry,
    options: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
    *,
    out: Path = Path("runs"),
    name: str | None = None,
    console: Console | None = None,
    before_fit: Observer | None = None,
    renders: bool = True,
) -> Finished:
    """Run a recipe from the start, in a new folder `<out>/<recipe>/<name>`.

    Args:
        entry: the recipe, as the catalogue found it.
        options: the recipe's options that differ from its defaults.
        settings: seed, device and so on.
        out: folder of all runs.
        name: of this run; the next free number if not given.
        console: where progress is shown; nowhere if not given.
        before_fit: called with every fit before it begins.
        renders: whether pictures become files.

    Raises:
        RunError: the folder exists already, cannot be written, or is in use.
        InvalidValue: an option does not exist or has a value outside its rule.
    """
    recipe, settings = entry.load(), settings or Settings()
    resolved = recipe.options(options or {})
    require(
        settings.minutes is None or "steps" in resolved, f"{recipe.name} learns nothing in steps; leave out --minutes"
    )
    with disk_errors_told(out):
        folder = Path(ranks.agree(lambda: str(_new_folder(out / recipe.name, name))))
    with _holding(folder), _nothing_left_of_a_refusal(folder):
        if ranks.first():
            _describe(folder, entry, resolved, settings)
        quiet = Console(quiet=True)
        run = Run(folder, settings, console or quiet, before_fit=before_fit, renders=renders)
        return _go(recipe, resolved, run)


def resume(
    folder: Path, *, console: Console | None = None, before_fit: Observer | None = None, renders: bool = True
) -> Finished:
    """Go on with a run that was interrupted, from its newest whole checkpoint.

    Raises:
        RunError: the folder is not a run of neurarium, is damaged, finished, or in use.
    """
    about = read_run(folder)
    if (folder / "result.json").exists():
        raise RunError(f"{folder} is finished; its result is in {folder / 'result.json'}; train anew to go further")
    entry = find(about["source"] or about["recipe"])
    with _holding(folder):
        settings, quiet = Settings(**about["settings"]), Console(quiet=True)
        run = Run(folder, settings, console or quiet, before_fit=before_fit, renders=renders)
        return _go(entry.load(), found_again(about["options"], Path(about["began_in"])), run)


def open_run(folder: Path) -> Run:
    """A run with its learners as they were last saved, in `run.fits`; nothing is trained or written.

    Raises:
        RunError: the folder is not a run, holds no checkpoint, or learned from data that is not there any more.
    """
    about = read_run(folder)
    saved = fits_of(folder)
    if not saved:
        raise RunError(f"{folder} has no checkpoint: {about['recipe']} learned nothing in it that could be taken away")
    run = Run(folder, Settings(**{**about["settings"], "device": "cpu", "precision": "float32"}), opened=set(saved))
    try:
        recipe = find(about["source"] or about["recipe"]).load()
        recipe(run, **found_again(about["options"], Path(about["began_in"])))
    except Reached:
        return run
    except DataError as error:
        raise RunError(f"{folder} is opened with the data it learned from, which is not there: {error}") from None
    raise CheckpointError(f"{folder} has checkpoints of fits {saved} that {about['recipe']} does not make any more")


def read_run(folder: Path) -> dict[str, Any]:
    """A run's run.json.

    Raises:
        RunError: there is none, or it is damaged.
    """
    path = folder / "run.json"
    if not path.exists():
        raise RunError(f"{folder} is not a run folder: it has no run.json")
    try:
        about = json.loads(path.read_text())
        Settings(**about["settings"])
        about.setdefault("began_in", ".")
        return {key: about[key] for key in ("recipe", "source", "options", "settings", "versions", "began_in")}
    except (ValueError, KeyError, TypeError):
        raise RunError(f"{path} is damaged or of another program; a run cannot be resumed without it") from None


def _go(recipe: Recipe, options: Mapping[str, Any], run: Run) -> Finished:
    keep_freed_memory()
    result = recipe(run, **options)
    if picture := curves(run.trace.lines()):
        run.picture("curves", picture)
    summary = {
        "recipe": recipe.name,
        "seed": run.seed,
        "measures": result.measures,
        "expects": _kept(recipe, {**options, **run.facts}, result),
        "seconds": round(run.seconds, 3),
    }
    if run.writes:
        with disk_errors_told(run.folder):
            write_json(run.folder / "result.json", summary)
    return Finished(run.folder, summary, [path for fit in run.fits.values() for path in fit.weights()])


def _kept(recipe: Recipe, options: Mapping[str, Any], result: Result) -> list[dict[str, Any]]:
    kept = []
    for expect in recipe.expects:
        if expect.applies(recipe.defaults, options):
            met = expect.met(result.measures.get(expect.measure, float("nan")))
            kept.append({"measure": expect.measure, "bound": expect.bound, "met": met})
    return kept


def _new_folder(parent: Path, name: str | None) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    if name is not None:
        require(
            re.fullmatch(r"[\w.-]+", name) is not None, f"--name is '{name}'; use letters, digits, '.', '_' and '-'"
        )
        return _claim(parent / name)
    while True:
        taken = [int(path.name) for path in parent.iterdir() if path.name.isdigit()]
        try:
            return _claim(parent / f"{max(taken, default=0) + 1:03d}")
        except RunError:
            continue  # another process took the number in between


def _claim(folder: Path) -> Path:
    try:
        folder.mkdir()
    except FileExistsError:
        raise RunError(
            f"{folder} exists; go on with it by 'neurarium resume {folder}', or choose another --name"
        ) from None
    return folder


@contextmanager
def _holding(folder: Path) -> Iterator[None]:
    """Hold the folder for all processes of this run, and part from them at the end."""
    with held(folder) if ranks.first() else nullcontext():
        yield
        ranks.leave()


@contextmanager
def _nothing_left_of_a_refusal(folder: Path) -> Iterator[None]:
    """Remove a run's folder again if its options or data were refused before it learned or drew anything."""
    try:
        yield
    except NeurariumError:
        if ranks.first() and {path.name for path in folder.iterdir()} <= {"run.json", ".lock"}:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _describe(folder: Path, entry: Entry, options: Mapping[str, Any], settings: Settings) -> None:
    about = {
        "recipe": entry.name,
        "source": None if entry.ours else str(entry.path),
        "options": dict(options),
        "began_in": str(Path.cwd()),
        "settings": settings.as_dict(),
        "versions": versions(),
        "machine": machine(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    with disk_errors_told(folder):
        write_json(folder / "run.json", about)


def versions() -> dict[str, str]:
    """The versions that decide a run's bits."""
    found = {"neurarium": __version__, "python": platform.python_version()}
    for package in ("torch", "numpy", "gymnasium", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """What the run is computed on."""
    about = {"system": platform.system(), "processor": platform.machine(), "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        about["cuda"] = torch.cuda.get_device_name()
    return about
