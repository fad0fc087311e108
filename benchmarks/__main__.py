"""`python -m benchmarks [NAME ...]`: run comparisons, print the ratios, write `results/benchmarks.json`."""

import sys

from rich.console import Console

from benchmarks import attention, augmentation, foundations, networks, scan, sequence, vision
from benchmarks.harness import keep, run, tell
from neurarium.errors import InvalidValue, did_you_mean

BENCHMARKS = {
    **networks.BENCHMARKS,
    **foundations.BENCHMARKS,
    **vision.BENCHMARKS,
    **augmentation.BENCHMARKS,
    **attention.BENCHMARKS,
    **scan.BENCHMARKS,
    **sequence.BENCHMARKS,
}


def main(names: list[str]) -> int:
    """Run the named comparisons, or all; 1 if a promised ratio was missed."""
    console, timings = Console(), []
    for name in names or BENCHMARKS:
        if name not in BENCHMARKS:
            raise InvalidValue(f"there is no benchmark '{name}'; {did_you_mean(name, BENCHMARKS)}")
        timing = run(BENCHMARKS[name]())
        tell(console, timing)
        timings.append(timing)
        keep(timings)
    return 0 if all(timing.as_dict()["met"] for timing in timings) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
