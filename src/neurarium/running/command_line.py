"""What every command shares: parsing with tyro, its errors told in one line, and runs by name. Imports no PyTorch."""

import io
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import tyro

from neurarium.errors import InvalidValue


def parse(target: Any, words: Sequence[str], program: str, *, description: str | None = None) -> Any:
    """What `target` (a function or dataclass) returns for these words of a command line.

    Raises:
        InvalidValue: the words do not fit; the nearest option is named.
        SystemExit: help was asked for and printed.
    """
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            return tyro.cli(target, prog=program, description=description, args=list(words), config=CONFIG)
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise InvalidValue(f"{one_line(told.getvalue())} (see {program} --help)") from None


def run_folder(given: Path) -> Path:
    """The folder as given, or under `runs/`: 'lenet/003' is enough."""
    return given if given.exists() or not (Path("runs") / given).exists() else Path("runs") / given


RULE = re.compile(r"(─|-){4,}")  # a ruled line of a box, drawn in Unicode or, where the terminal has none, ASCII

CONFIG = (tyro.conf.FlagCreatePairsOff,)


def one_line(box: str) -> str:
    r"""The first paragraph of one of tyro's error boxes, and the option it suggests, as one line.

    >>> one_line("╭─ ──╮\n│ Unrecognized: --stps │\n│ ──── │\n│ Perhaps you meant: │\n│ --steps INT │\n╰──╯")
    'unrecognized: --stps; did you mean --steps?'
    """
    lines = [line.strip("│|─-+╭╮╰╯ ") if RULE.search(line) else line.strip("│| ") for line in box.splitlines()[1:]]
    text = " ".join(line if line else "\n" for line in lines).strip().split("\n")
    first = re.sub(r"\s*Got errors:.*", "", text[0]).strip()
    meant = re.search(r"Perhaps you meant:\s*(--[\w-]+)", " ".join(text))
    hint = f"; did you mean {meant[1]}?" if meant else ""
    return first[:1].lower() + first[1:].rstrip(".") + hint
