"""Training minGRU over 512 steps: all steps at once by a scan, against the same net one step after the other."""

from collections.abc import Callable
from functools import partial

import torch

from benchmarks.harness import Benchmark
from neurarium.data.sequences import adding
from neurarium.learners.sequence import ThroughTime
from neurarium.parts.places import squared_errors
from neurarium.parts.recurrence import step_by_step
from neurarium.parts.scan import RunLinear, in_parallel
from neurarium.running.devices import keep_freed_memory
from neurarium.systems.sequence.mingru import MinRecurrent

LENGTH = 512
BATCH, HIDDEN, LAYERS = 32, 32, 2  # as the recipe trains it
STEPS = 3


def learner_of(unroll: RunLinear) -> ThroughTime:
    """The recipe's network and learner; the same weights whichever way it runs."""
    torch.manual_seed(0)
    model = MinRecurrent(inputs=2, hidden=HIDDEN, outputs=1, layers=LAYERS, memory=LENGTH, unroll=unroll)
    return ThroughTime(model, objective=squared_errors, targets="last", lr=1e-2)


def training(unroll: RunLinear) -> Callable[[], float]:
    """Some updates by Adam in float32; returns the steps of all sequences."""
    keep_freed_memory()
    batch = adding(torch.Generator().manual_seed(0), count=BATCH, length=LENGTH)
    learner = learner_of(unroll)

    def work() -> float:
        for _ in range(STEPS):
            learner.learn(batch)
        return STEPS * BATCH * LENGTH

    return work


def gap() -> dict[str, float]:
    """The largest difference between the outputs of both forms."""
    inputs = adding(torch.Generator().manual_seed(0), count=BATCH, length=LENGTH).inputs
    parallel, steps = (learner_of(unroll).predict(inputs) for unroll in (in_parallel, step_by_step))
    return {"largest_difference": float((parallel - steps).abs().max())}


def mingru_scan_benchmark() -> Benchmark:
    """The minGRU as the recipe trains it, 512 steps."""
    work = f"train {LAYERS} layers of {HIDDEN} minGRU units by Adam, batch {BATCH}, {LENGTH} steps, the same learner"
    return Benchmark(
        name="mingru_scan",
        work=work,
        unit="steps",
        ours=partial(training, in_parallel),
        peer=partial(training, step_by_step),
        peer_name="its own step form",
        at_least=5.0,
        also=gap,
    )


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {"mingru_scan": mingru_scan_benchmark}
