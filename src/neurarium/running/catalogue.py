"""The catalogue: every recipe, found by walking `recipes/` and reading, not importing. Imports no PyTorch.

A recipe's docstring, options and promises stand in its source; reading them takes milliseconds where importing PyTorch
takes seconds. So `list`, `show` and `--help` answer at once, and only `load` imports the recipe itself.
"""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from neurarium.errors import InvalidValue, did_you_mean
from neurarium.running.recipe import Expect, Recipe

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"

# What a recipe's decorator and annotations may be written with, so that they can be read without importing it.
WORDS = {"Expect": Expect, "Literal": Literal, "dict": dict, "list": list, "tuple": tuple}
TYPES = {"str": str, "int": int, "float": float, "bool": bool, "None": None}


@dataclass(frozen=True)
class Option:
    """One option of a recipe: its name, type, default and help."""

    name: str
    type: Any
    default: Any
    help: str


@dataclass(frozen=True)
class Entry:
    """A recipe as its source tells it."""

    name: str
    path: Path
    doc: str
    options: tuple[Option, ...]
    expects: tuple[Expect, ...]
    slow: bool

    @property
    def ours(self) -> bool:
        """Whether the recipe belongs to this house, rather than to a file of the user's."""
        return self.path.is_relative_to(RECIPES)

    @property
    def family(self) -> str:
        """The folder it stands in."""
        return self.path.parent.name if self.ours else "elsewhere"

    @property
    def idea(self) -> str:
        """The first sentence of its docstring."""
        return self.doc.split("\n", 1)[0]

    @property
    def system(self) -> Path:
        """The system's file, at the same path as the recipe's."""
        return ROOT / "systems" / self.path.relative_to(RECIPES) if self.ours else self.path

    def load(self) -> Recipe:
        """The recipe itself; this imports PyTorch."""
        found = getattr(self._module(), self.name)
        assert isinstance(found, Recipe), f"{self.name} in {self.path} is not a recipe"
        return found

    def _module(self) -> ModuleType:
        if self.ours:
            return importlib.import_module(f"neurarium.recipes.{self.family}.{self.path.stem}")
        return _import_outside(self.path)


@cache
def _import_outside(path: Path) -> ModuleType:
    """A user's file as a module, once a process, as `import` would."""
    name = f"neurarium_outside_{path.stem}_{abs(hash(path))}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def catalogue() -> dict[str, Entry]:
    """Every recipe of the house by name, family by family."""
    return {entry.name: entry for path in sorted(RECIPES.glob("*/*.py")) for entry in read(path)}


def find(name: str) -> Entry:
    """The recipe of this name, or the one in a file of this path.

    Raises:
        InvalidValue: there is none; the nearest name is given.
    """
    if name.endswith(".py"):
        entries = read(Path(name).resolve()) if Path(name).exists() else []
        if len(entries) != 1:
            raise InvalidValue(f"{name} holds {len(entries)} recipes; a file to train from holds exactly one")
        return entries[0]
    # A recipe is named as its file, so only that one is read: another that is half-written does no harm.
    known = {path.stem: path for path in RECIPES.glob("*/*.py") if path.stem != "__init__"}
    if name not in known:
        raise InvalidValue(f"there is no recipe '{name}'; {did_you_mean(name, known)}")
    for entry in read(known[name]):
        if entry.name == name:
            return entry
    raise InvalidValue(f"{known[name]} holds no recipe '{name}'")


def families() -> list[str]:
    """The families that have recipes."""
    return sorted({entry.family for entry in catalogue().values()})


def read(path: Path) -> list[Entry]:
    """The recipes in a file.

    Raises:
        InvalidValue: the file is not Python, or a decorator or signature cannot be read without importing it.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{path} is not readable Python: {error}") from None
    words = {**WORDS, **TYPES, **_constants(tree)}
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [_entry(path, node, call, words) for node in functions if (call := _decorator(node))]


def _constants(tree: ast.Module) -> dict[str, Any]:
    """The file's own named constants that are plain values."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            with suppress(ValueError):
                found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def _decorator(node: ast.FunctionDef) -> ast.Call | None:
    for call in node.decorator_list:
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "recipe":
            return call
    return None


def _entry(path: Path, node: ast.FunctionDef, call: ast.Call, words: Mapping[str, Any]) -> Entry:
    told = {word.arg: _value(path, word.value, words) for word in call.keywords if word.arg in ("expects", "slow")}
    doc = cleandoc(ast.get_docstring(node) or "")
    helps = _argument_helps(doc)
    pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    options = tuple(_option(path, argument, default, helps, words) for argument, default in pairs)
    return Entry(node.name, path, doc, options, tuple(told["expects"]), bool(told.get("slow", False)))


def _option(
    path: Path, argument: ast.arg, default: ast.expr | None, helps: Mapping[str, str], words: Mapping[str, Any]
) -> Option:
    if argument.annotation is None or default is None:
        raise InvalidValue(f"{path}: option '{argument.arg}' needs a type and a default")
    kind = _value(path, argument.annotation, words)
    return Option(argument.arg, kind, _value(path, default, words), helps.get(argument.arg, ""))


def _value(path: Path, node: ast.expr, words: Mapping[str, Any]) -> Any:
    code = compile(ast.Expression(node), str(path), "eval")
    try:
        return eval(code, {"__builtins__": {}}, dict(words))
    except Exception as error:
        raise InvalidValue(
            f"{path}:{node.lineno}: '{ast.unparse(node)}' cannot be read without importing ({error}); options and "
            f"promises are written with plain values, the file's own plain constants, {', '.join(WORDS)}"
        ) from None


def _argument_helps(doc: str) -> dict[str, str]:
    """The lines of a docstring's `Args:` section, by argument."""
    helps: dict[str, str] = {}
    _, _, section = doc.partition("\nArgs:\n")
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        if line.startswith("    ") and not line.startswith("     ") and ": " in line:
            name, text = line.strip().split(": ", 1)
            helps[name] = text
        elif line.strip() and name:
            helps[name] += " " + line.strip()
    return helps
