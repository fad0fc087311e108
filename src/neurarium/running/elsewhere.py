"""Options that name files, found again when a run is opened or gone on with in another folder than it began in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMS = ("csv", "folder", "idx", "pairs", "text")  # of data, each with a path or two behind a colon


def found_again(options: Mapping[str, Any], began_in: Path) -> dict[str, Any]:
    """The options, relative paths of data that are not here taken from the folder in which the run began.

    >>> found_again({"data": "folder:nowhere", "steps": 3}, Path("/"))
    {'data': 'folder:nowhere', 'steps': 3}
    """
    return {name: _found(value, began_in) if isinstance(value, str) else value for name, value in options.items()}


def _found(text: str, began_in: Path) -> str:
    form, colon, rest = text.partition(":")
    if not colon or form not in FORMS:
        return text
    return f"{form}:{','.join(_place(path, began_in) for path in rest.split(','))}"


def _place(path: str, began_in: Path) -> str:
    there = began_in / path
    return path if Path(path).expanduser().exists() or not there.exists() else str(there)
