"""Training a dense network and a convnet: ours through `fit`, against a plain PyTorch loop."""

import os
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.harness import Benchmark, synthetic_images
from neurarium.data.batches import Held
from neurarium.data.images import load_images
from neurarium.learners.classify import Classify
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import Labelled
from neurarium.running.devices import keep_freed_memory
from neurarium.running.run import Run
from neurarium.running.settings import Settings

SAMPLES = 60_000
BATCH = 128


def dense() -> nn.Module:
    """784-256-256-10."""
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


def convnet() -> nn.Module:
    """Two 3×3 convolutions of 32 and 64 channels, pooled, and a dense head, for 28×28 images."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 7 * 7, 10)),
    )


def convnet_pooled_first() -> nn.Module:
    """The same function: ReLU is increasing, so it may as well come after the maximum."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(64 * 7 * 7, 10)),
    )


def through_fit(
    learner: Learner[Labelled], data: Held[Labelled], settings: Settings, steps: int | None = None
) -> float:
    """Ours: with trace, progress and the checkpoint at the end, as `neurarium train` would; returns the samples."""
    keep_freed_memory()
    steps = steps or len(data) // BATCH
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        run = Run(Path(folder), settings, Console(file=nowhere))
        run.fit(learner, data.batches(BATCH, seed=0), steps=steps)
    return steps * BATCH


def plain_loop(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The peer: what most tutorials write; returns the samples."""
    loader = DataLoader(TensorDataset(images, labels), batch_size=BATCH, shuffle=True, drop_last=True)
    optimizer = torch.optim.Adam(model.parameters())
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
    return len(loader) * BATCH


def dense_ours() -> Callable[[], float]:
    """784-256-256-10 through `fit`."""
    data = Held(Labelled(*synthetic_images(SAMPLES, (784,))))
    return lambda: through_fit(Classify(dense()), data, Settings())


def dense_peer() -> Callable[[], float]:
    """784-256-256-10 in a plain loop."""
    images, labels = synthetic_images(SAMPLES, (784,))
    return lambda: plain_loop(dense(), images, labels)


def dense_benchmark() -> Benchmark:
    """784-256-256-10, batch 128, Adam, 60,000 samples."""
    work = (
        "train 784-256-256-10 by Adam, batch 128, one pass over 60,000 samples; ours with trace, progress, checkpoint"
    )
    peer = "PyTorch with DataLoader"
    return Benchmark("dense_network", work, "samples", dense_ours, dense_peer, peer, 1.5, also=loop_overhead, rounds=9)


def convnet_ours() -> Callable[[], float]:
    """The convnet through `fit` at the precision that `auto` chooses."""
    data = Held(Labelled(*synthetic_images(SAMPLES // 2, (1, 28, 28))))
    return lambda: through_fit(Classify(convnet_pooled_first()), data, Settings(precision="auto"))


def convnet_peer() -> Callable[[], float]:
    """The convnet in a plain loop."""
    images, labels = synthetic_images(SAMPLES // 2, (1, 28, 28))
    return lambda: plain_loop(convnet(), images, labels)


def convnet_benchmark() -> Benchmark:
    """28×28 convnet of 32 and 64 channels, batch 128."""
    work = "train a 28×28 convnet (32-64 channels) by Adam, batch 128, one pass over 30,000 samples; ours at auto"
    peer = "PyTorch float32 with DataLoader"
    return Benchmark("convnet", work, "samples", convnet_ours, convnet_peer, peer, 2.5, also=convnet_accuracies)


def convnet_accuracies() -> dict[str, float]:
    """Test accuracy of both after the same 400 steps on the digits at 28×28: bfloat16 must not harm it."""
    images = load_images("digits", seed=0, size=28)
    learner = Classify(convnet_pooled_first())
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), Settings(precision="auto"))
        run.fit(learner, images.train.batches(BATCH, seed=0), steps=400)
    plain = Classify(convnet())
    for batch in islice(images.train.batches(BATCH, seed=0), 400):
        plain.learn(batch)
    accuracies = {"accuracy_auto": learner, "accuracy_float32": plain}
    return {name: each.evaluate(images.test.chunks())["accuracy"] for name, each in accuracies.items()}


class Idle(Learner[Labelled]):
    """Learns nothing, so that what is left of a step is the loop's own cost."""

    def __init__(self) -> None:
        self.model = nn.Linear(1, 1)
        self.loss = torch.zeros(())

    def learn(self, batch: Labelled) -> Measures:
        """Nothing."""
        return {"loss": self.loss}


def loop_overhead() -> dict[str, float]:
    """Microseconds a step that the loop itself costs, and the stream with it."""
    data = Held(Labelled(torch.zeros(SAMPLES, 784), torch.zeros(SAMPLES, dtype=torch.int64)))
    steps, stream = 5000, data.batches(BATCH, seed=0)
    through_fit(Idle(), data, Settings(), 20)  # imports on first use
    start = time.perf_counter()
    for _ in range(steps):
        next(stream)
    alone = time.perf_counter() - start
    start = time.perf_counter()
    through_fit(Idle(), data, Settings(), steps)
    both = time.perf_counter() - start
    return {"stream_microseconds": 1e6 * alone / steps, "loop_microseconds": 1e6 * (both - alone) / steps}


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {"dense_network": dense_benchmark, "convnet": convnet_benchmark}
