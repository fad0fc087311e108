"""`python -m benchmarks [NAME ...]`: run comparisons, print the ratios, write `results/benchmarks.json`."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from rich.console import Console

from benchmarks.harness import Benchmark, keep, run, tell
from neurarium.errors import InvalidValue, did_you_mean


def found() -> dict[str, Callable[[], Benchmark]]:
    """The comparisons of every file beside this one, by name."""
    every: dict[str, Callable[[], Benchmark]] = {}
    for file in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        every |= getattr(import_module(f"benchmarks.{file.stem}"), "BENCHMARKS", {})
    return every


def main(names: list[str]) -> int:
    """Run the named comparisons, or all; 1 if a promised ratio was missed."""
    console, timings, known = Console(), [], found()
    for name in names or known:
        if name not in known:
            raise InvalidValue(f"there is no benchmark '{name}'; {did_you_mean(name, known)}")
        timing = run(known[name]())
        tell(console, timing)
        timings.append(timing)
        keep(timings)
    return 0 if all(timing.as_dict()["met"] for timing in timings) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
