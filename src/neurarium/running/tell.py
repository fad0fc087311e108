"""What the command line says of recipes and runs. Imports no PyTorch."""

import ast
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from neurarium.errors import InvalidValue, did_you_mean
from neurarium.running.catalogue import ROOT, Entry, catalogue, families
from neurarium.running.recipe import Expect

if TYPE_CHECKING:
    from neurarium.running.train import Finished

LABEL = re.compile(r"[A-Z]\w+:")


def list_recipes(console: Console, family: str) -> None:
    """Print the systems of one family, or of all.

    Raises:
        InvalidValue: there is no such family.
    """
    if family and family not in families():
        raise InvalidValue(f"there is no family '{family}'; {did_you_mean(family, families())}")
    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    for heading in ("family", "recipe", "idea", "promised"):
        table.add_column(heading, no_wrap=heading != "idea")
    for entry in catalogue().values():
        if not family or entry.family == family:
            promised = "; ".join(_promise(expect) for expect in entry.expects[:1])
            table.add_row(entry.family, entry.name, entry.idea, promised)
    console.print(table)


def show_recipe(console: Console, entry: Entry) -> None:
    """Print all that is known of one system."""
    about, _, _ = entry.doc.partition("\nArgs:\n")
    console.print(f"{entry.name}  ({entry.family})\n", style="bold", highlight=False)
    console.print(_flowing(about) + "\n", markup=False, highlight=False)
    console.print(_flowing(_card(entry.system)) + "\n", markup=False, highlight=False)
    console.print("options", style="bold")
    for option in entry.options:
        console.print(
            f"  --{option.name.replace('_', '-')} {option.default}   {option.help}", markup=False, highlight=False
        )
    console.print("\npromised and measured", style="bold")
    for line in _evidence(entry):
        console.print(f"  {line}", markup=False, highlight=False)
    console.print(f"\nsystem: {_short(entry.system)}\nrecipe: {_short(entry.path)}", markup=False, highlight=False)
    console.print(f"run it: neurarium train {entry.name}", markup=False, highlight=False)


def finished(console: Console, entry: Entry, done: "Finished") -> None:
    """Print a run's result against its promise, where everything lies, and what to try next."""
    result, folder = done.result, done.folder
    console.print()
    kept = {row["measure"]: row for row in result["expects"]}
    for name, value in result["measures"].items():
        console.print(f"  {name} {value:.4g}{_verdict(kept.get(name))}", markup=False, highlight=False)
    console.print(f"  {result['seconds']:.1f} s, seed {result['seed']}\n", markup=False, highlight=False)
    for line in _whereabouts(folder, done.weights):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print("\nnext:", markup=False, highlight=False)
    for command in _next_commands(entry, folder):
        console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)


def measured(entry: Entry) -> dict[str, Any] | None:
    """The results file of a recipe, as `reproduce` wrote it: beside the package, or in the repository."""
    for folder in (ROOT / "results", ROOT.parents[1] / "results"):
        path = folder / entry.family / f"{entry.name}.json"
        if path.exists():
            return dict(json.loads(path.read_text()))
    return None


def _promise(expect: Expect) -> str:
    given = ", ".join(f"{name} {value}" for name, value in expect.given.items())
    return f"{expect.measure} {expect.bound}" + (f" ({given})" if given else "")


def _evidence(entry: Entry) -> list[str]:
    if not entry.expects:
        return ["no promise: the pictures are the result"]
    found = measured(entry)
    lines = []
    for expect in entry.expects:
        value = _measured_value(found, expect) if found else None
        lines.append(f"{_promise(expect)}: {value or 'not yet run'}")
    return lines


def _measured_value(found: dict[str, Any], expect: Expect) -> str | None:
    for variant in found["variants"]:
        if variant["given"] == dict(expect.given) and expect.measure in variant["measures"]:
            value = variant["measures"][expect.measure]
            seeds = f"{len(value['values'])} seeds, {variant['seconds']['mean']:.0f} s each"
            return f"measured {value['mean']:.4g} ± {value['spread']:.2g} (worst {_worst(value, expect):.4g}; {seeds})"
    return None


def _worst(value: dict[str, Any], expect: Expect) -> float:
    return float(min(value["values"], key=expect.merit))


def _card(system: Path) -> str:
    return ast.get_docstring(ast.parse(system.read_text(encoding="utf-8"))) or ""


def _flowing(text: str) -> str:
    """Paragraphs as single lines, for the terminal to wrap; a line that begins with a label ("Source:") begins anew."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        joins = bool(lines) and bool(lines[-1]) and bool(line) and not line.startswith(" ") and not LABEL.match(line)
        if joins and not lines[-1].startswith(" "):
            lines[-1] += " " + line
        else:
            lines.append(line)
    return "\n".join(lines)


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT.parent)) if path.is_relative_to(ROOT) else str(path)


def _verdict(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    return f"   promised {row['bound']}: {'kept' if row['met'] else 'MISSED'}"


def _whereabouts(folder: Path, weights: list[Path]) -> list[str]:
    pictures = sorted(path.name for path in (folder / "pictures").glob("*") if path.is_file())
    lines = [f"pictures  {folder / 'pictures'}: {', '.join(pictures)}"] if pictures else []
    lines += [f"weights   {path}" for path in weights]
    return [*lines, f"result    {folder / 'result.json'}"]


def _next_commands(entry: Entry, folder: Path) -> list[str]:
    told = next((option.help for option in entry.options if option.name == "data"), "")
    commands = [f"neurarium show {entry.name}", f"neurarium train {entry.name} --help"]
    if "folder:" in told:
        commands.append(f"neurarium train {entry.name} --data folder:PATH/TO/YOUR/PICTURES")
    elif "csv:" in told:
        commands.append(f"neurarium train {entry.name} --data csv:YOUR/TABLE.csv --target COLUMN")
    if (folder / "checkpoints").exists():
        commands.append(f"neurarium export {folder} --format safetensors")
    return [*commands, "neurarium list"]
