"""Time ours and a peer in turn on the same work, and keep the ratio.

Machines drift by a tenth from minute to minute, so the two sides take turns: ours, the peer, ours, the peer. Each round
gives one ratio; the median of them is the claim, and the smallest and largest stand beside it. The first turn of each
side is thrown away (compilation, caches).
"""

import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from neurarium.running.files import write_json
from neurarium.running.train import machine, versions

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks.json"


@dataclass(frozen=True)
class Benchmark:
    """One comparison.

    Attributes:
        name: of the comparison.
        work: what both sides do, in words.
        unit: what is counted ("samples").
        ours: does the work and returns how many units it did.
        peer: the same by the named peer.
        peer_name: who the peer is.
        at_least: the ratio that is promised.
        also: further values to measure once, by name (accuracies, overheads).
    """

    name: str
    work: str
    unit: str
    ours: Callable[[], float]
    peer: Callable[[], float]
    peer_name: str
    at_least: float
    rounds: int = 5
    also: Callable[[], dict[str, float]] | None = None


@dataclass
class Timing:
    """What one comparison came to; rates are units a second."""

    name: str
    work: str
    unit: str
    peer: str
    at_least: float
    ours_rates: list[float] = field(default_factory=list)
    peer_rates: list[float] = field(default_factory=list)
    also: dict[str, float] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        """Ours over the peer's, round by round."""
        return [ours / peer for ours, peer in zip(self.ours_rates, self.peer_rates, strict=True)]

    def as_dict(self) -> dict[str, Any]:
        """For the results file."""
        ratio = {"median": statistics.median(self.ratios), "min": min(self.ratios), "max": max(self.ratios)}
        return {**asdict(self), "ratio": ratio, "met": ratio["median"] >= self.at_least}


def run(benchmark: Benchmark) -> Timing:
    """Both sides in turn, the first turns thrown away."""
    timing = Timing(benchmark.name, benchmark.work, benchmark.unit, benchmark.peer_name, benchmark.at_least)
    benchmark.ours(), benchmark.peer()
    for _ in range(benchmark.rounds):
        timing.ours_rates.append(_rate(benchmark.ours))
        timing.peer_rates.append(_rate(benchmark.peer))
    if benchmark.also:
        timing.also = benchmark.also()
    return timing


def _rate(work: Callable[[], float]) -> float:
    start = time.perf_counter()
    units = work()
    return units / (time.perf_counter() - start)


def tell(console: Console, timing: Timing) -> None:
    """Print one comparison as one line."""
    about = timing.as_dict()
    ratio, also = about["ratio"], "  ".join(f"{name} {value:.4g}" for name, value in timing.also.items())
    console.print(
        f"{timing.name}: {ratio['median']:.2f}× {timing.peer} ({ratio['min']:.2f}–{ratio['max']:.2f}; promised "
        f"{timing.at_least:g}×)  {statistics.median(timing.ours_rates):,.0f} against "
        f"{statistics.median(timing.peer_rates):,.0f} {timing.unit}/s  {also}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def keep(timings: list[Timing], path: Path = RESULTS) -> None:
    """Write the comparisons into the results file, beside those measured before."""
    known = json.loads(path.read_text())["benchmarks"] if path.exists() else {}
    known |= {timing.name: {**timing.as_dict(), "date": time.strftime("%Y-%m-%d")} for timing in timings}
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"versions": versions(), "machine": {**machine(), "python": platform.python_version()}}
    write_json(path, {**about, "benchmarks": known})


def synthetic_images(count: int, shape: tuple[int, ...], classes: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pictures of the wanted size with labels, for timing alone."""
    chance = torch.Generator().manual_seed(0)
    return torch.rand(count, *shape, generator=chance), torch.randint(classes, (count,), generator=chance)
