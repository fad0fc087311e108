"""The plan of the house as code: which room may import which, what stands where, what is never used.

A file's imports are read from its syntax tree, so those inside functions and under `TYPE_CHECKING` count as well.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "neurarium"

# What each room may import besides itself. `__init__` is the package's own file, which holds the version.
ARROWS: dict[str, set[str]] = {
    "__init__": set(),
    "errors": set(),
    "parts": {"errors"},
    "learners": {"errors", "parts"},
    "systems": {"errors", "parts", "learners"},
    "data": {"errors", "parts"},
    "worlds": {"errors", "parts"},
    "running": {"__init__", "errors", "parts", "learners"},
    "recipes": {"errors", "parts", "learners", "systems", "data", "worlds", "running"},
    "uses": {"errors", "parts", "learners", "systems", "data", "worlds", "running"},
    "cli": {"__init__", "errors", "running", "recipes", "uses"},
    "lab": {"__init__", "errors", "running", "recipes"},
    "__main__": {"cli"},
}

FAMILIES = {
    "foundations",
    "vision",
    "sequence",
    "generative",
    "representation",
    "energy",
    "neuro",
    "reinforcement",
    "robustness",
    "sparsity",
}

# What finds systems by name and is none itself.
LISTS = {"systems/encoders.py"}

# What several recipes of a family use, and is none itself.
SHARED = {"recipes/generative/judging.py"}

# Names that say nothing of what is inside.
NAMELESS = {"utils", "util", "helpers", "helper", "misc", "common", "base"}

# Opening a file of these never should, but can, run code that the file brings.
UNSAFE_MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {
    "torch.save",
    "torch.load",
    "torch.jit.save",
    "torch.jit.load",
    "torch.serialization",
    "torch.package",
    "torch.hub",
    "torch.distributed.checkpoint",
}


@dataclass(frozen=True)
class Import:
    """One imported name: `from torch import save as keep` is ("torch.save", "keep")."""

    target: str
    alias: str
    line: int


def imports(source: str, *, module: str, is_package: bool = False) -> Iterator[Import]:
    """Every name that a source imports, relative imports resolved against the module's own name."""
    here = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(name.name, name.asname or name.name.partition(".")[0], node.lineno)
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            for name in node.names:
                yield Import(f"{start}.{name.name}", name.asname or name.name, node.lineno)


def module_name(path: Path, package: Path) -> str:
    """The dotted name of a file of the package."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join([PACKAGE, *(part for part in parts if part != "__init__")])


def room_of(module: str) -> str:
    """The room that a dotted name of the package lies in; what lies in none is a name of the package's own file."""
    first = module.split(".")[1:2]
    return first[0] if first and first[0] in ARROWS else "__init__"


def wrong_arrows(package: Path) -> list[str]:
    """One line for every import that goes against the arrows, and for every room that the plan does not know."""
    faults = []
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room not in ARROWS:
            faults.append(f"{room} is no room of the plan; give it its arrows in {Path(__file__).name}")
            continue
        name = module_name(path, package)
        for found in imports(path.read_text(encoding="utf-8"), module=name, is_package=path.name == "__init__.py"):
            if found.target.split(".")[0] != PACKAGE:
                continue
            target = room_of(found.target)
            if target != room and target not in ARROWS[room]:
                faults.append(f"{path.relative_to(package)}:{found.line}: {room} must not import {target}")
    return list(dict.fromkeys(faults))


def dotted(node: ast.expr) -> str | None:
    """`a.b.c` as a string, or None if the expression is anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return f"{before}.{node.attr}"
    return None


def is_unsafe(name: str) -> bool:
    """Whether a dotted name is, or lies in, something that can run code which a file brings."""
    steps = name.split(".")
    prefixes = {".".join(steps[:n]) for n in range(1, len(steps) + 1)}
    return steps[0] in UNSAFE_MODULES or not prefixes.isdisjoint(UNSAFE_CALLS)


def allows_pickle(call: ast.Call) -> bool:
    """Whether a call says `allow_pickle=` anything but False, or `weights_only=False`."""
    given = {word.arg: ast.unparse(word.value) for word in call.keywords if word.arg}
    return given.get("allow_pickle", "False") != "False" or given.get("weights_only") == "False"


def unsafe_loading(package: Path) -> list[str]:
    """One line for every use of pickle or of what stands on it."""
    faults = []
    for path in sorted(package.rglob("*.py")):
        source, place = path.read_text(encoding="utf-8"), path.relative_to(package)
        names = {}
        for found in imports(source, module=module_name(path, package), is_package=path.name == "__init__.py"):
            names[found.alias] = found.target if found.alias != found.target.partition(".")[0] else found.alias
            if is_unsafe(found.target):
                faults.append(f"{place}:{found.line}: {found.target}")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Attribute) and (name := dotted(node)):
                first, _, rest = name.partition(".")
                if is_unsafe(full := f"{names.get(first, first)}.{rest}"):
                    faults.append(f"{place}:{node.lineno}: {full}")
            elif isinstance(node, ast.Call) and allows_pickle(node):
                faults.append(f"{place}:{node.lineno}: {ast.unparse(node.func)} allows pickle")
    return list(dict.fromkeys(faults))


def systems(package: Path) -> Iterator[tuple[str, str]]:
    """Family and name of every system."""
    for path in sorted((package / "systems").glob("*/*.py")):
        if path.name != "__init__.py":
            yield path.parent.name, path.stem


def missing_mirrors(package: Path, tests: Path) -> list[str]:
    """One line for every system without its recipe or its test, and for every recipe without its system."""
    faults = []
    for family, name in systems(package):
        mirrors = (package / "recipes" / family / f"{name}.py", tests / "systems" / family / f"test_{name}.py")
        missing = (mirror.relative_to(package.parent.parent) for mirror in mirrors if not mirror.is_file())
        faults += [f"systems/{family}/{name}.py has no {mirror}" for mirror in missing]
    for path in sorted((package / "recipes").glob("*/*.py")):
        twin = package / "systems" / path.parent.name / path.name
        shared = path.relative_to(package).as_posix() in SHARED
        if path.name != "__init__.py" and not shared and not twin.is_file():
            faults.append(f"recipes/{path.parent.name}/{path.name} has no system of the same path")
    return faults


def misplaced(package: Path) -> list[str]:
    """One line for every unknown family, system outside a family, folder without `__init__.py` and nameless file."""
    faults = []
    for room in ("systems", "recipes"):
        for path in sorted((package / room).rglob("*.py")):
            place = path.relative_to(package / room)
            if place.name != "__init__.py" and len(place.parts) != 2 and f"{room}/{place}" not in LISTS:
                faults.append(f"{room}/{place} must lie at {room}/<family>/<system>.py")
            elif len(place.parts) > 1 and place.parts[0] not in FAMILIES:
                faults.append(f"{room}/{place.parts[0]} is no family")
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        if NAMELESS.intersection(place.with_suffix("").parts):
            faults.append(f"{place} has a name that does not say what is inside")
        if not (path.parent / "__init__.py").is_file():
            faults.append(f"{place.parent} has no __init__.py")
    return list(dict.fromkeys(faults))


def unenforced_protocols(package: Path) -> list[str]:
    """One line for every protocol that no check at run time, and so no test, can hold a value against."""
    faults = []
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base).partition("[")[0].removeprefix("typing.") for base in node.bases}
                marks = {ast.unparse(mark).removeprefix("typing.") for mark in node.decorator_list}
                if "Protocol" in bases and "runtime_checkable" not in marks:
                    faults.append(f"{path.relative_to(package)}:{node.lineno}: {node.name} needs @runtime_checkable")
    return faults
