"""How long the files are: the longest, and those in src that are over the limit. Exits with 1 if any is."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 350
SHOWN = 10


def lengths(folder: Path) -> dict[Path, int]:
    """The number of lines of every Python file below a folder, longest first."""
    counted = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py")}
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def too_long(folder: Path, *, limit: int = LIMIT) -> list[str]:
    """One line for every file that is over the limit."""
    return [
        f"{path} has {lines} lines; split it, {limit} is the limit"
        for path, lines in lengths(folder).items()
        if lines > limit
    ]


def main() -> int:
    """Print the report."""
    for room in ("src", "tests", "benchmarks"):
        files = lengths(ROOT / room)
        print(f"{room}: {len(files)} files, {sum(files.values())} lines; the longest:")
        for path, lines in list(files.items())[:SHOWN]:
            print(f"{lines:6d}  {path.relative_to(ROOT)}")
    faults = too_long(ROOT / "src")
    print("\n".join(faults) or f"no file in src is over {LIMIT} lines")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
