"""Time ours and a peer in turn on the same work, and keep the ratio.

Machines drift by a tenth from minute to minute, so the two sides take turns: ours, the peer, ours, the peer. Each round
gives one ratio; the median of them is the claim, and the smallest and largest stand beside it. The first turn of each
side is thrown away (compilation, caches).
"""

import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from neurarium.running.files import write_json
from neurarium.running.train import machine, versions

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks.json"


Side = Callable[[], Callable[[], float]]
"""Prepares one side of a comparison; what it returns does the work and says how many units it did."""


@dataclass(frozen=True)
class Benchmark:
    """One comparison.

    Attributes:
        name: of the comparison.
        work: what both sides do, in words.
        unit: what is counted ("samples").
        ours: prepares our side, in a process of its own.
        peer: prepares the named peer's, in another.
        peer_name: who the peer is.
        at_least: the ratio that is promised.
        also: further values to measure once, by name (accuracies, overheads).
    """

    name: str
    work: str
    unit: str
    ours: Side
    peer: Side
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
    # A process for each side, so that neither's settings (threads, memory, precision) reach the other.
    with _side(benchmark.ours) as ours, _side(benchmark.peer) as peer:
        _turn(ours), _turn(peer)
        for _ in range(benchmark.rounds):
            timing.ours_rates.append(_turn(ours))
            timing.peer_rates.append(_turn(peer))
    if benchmark.also:
        timing.also = benchmark.also()
    return timing


@contextmanager
def _side(prepare: Side) -> Iterator["Connection[None, float]"]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(prepare, there), daemon=True)
    process.start()
    try:
        yield here
    finally:
        process.terminate()
        process.join()


def _serve(prepare: Side, orders: "Connection[float, None]") -> None:
    work = prepare()
    while True:
        orders.recv()
        start = time.perf_counter()
        units = work()
        orders.send(units / (time.perf_counter() - start))


def _turn(side: "Connection[None, float]") -> float:
    side.send(None)
    return side.recv()


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
