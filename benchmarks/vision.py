"""Training ResNet-20: ours through `fit` at the precision that `auto` chooses, against a plain PyTorch loop."""

import os
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad, relu
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.harness import Benchmark, synthetic_images
from neurarium.data.batches import Batches, Held
from neurarium.data.images import load_images
from neurarium.learners.classify import Classify, evaluate_classes
from neurarium.parts.bundles import Labelled
from neurarium.parts.encoders import Classifier
from neurarium.parts.schedules import Schedule, constant, cosine
from neurarium.running.devices import keep_freed_memory
from neurarium.running.run import Run
from neurarium.running.settings import Settings
from neurarium.systems.vision.resnet import ResNet

SAMPLES = 1920
BATCH = 64
SIDE = 32
LR, MOMENTUM = 0.1, 0.9
COMPARED = 150  # updates after which the accuracies are compared


class PlainBlock(nn.Module):
    """Two convolutions and the sum, as most tutorials write it, with option A's shortcut."""

    def __init__(self, maps_in: int, maps: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(maps_in, maps, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)
        self.missing = maps - maps_in

    def forward(self, inputs: Tensor) -> Tensor:
        """The sum."""
        hidden = self.bn2(self.conv2(relu(self.bn1(self.conv1(inputs)))))
        passed = pad(inputs[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.missing)) if self.missing else inputs
        return relu(hidden + passed)


def plain_resnet20(channels: int = 3) -> nn.Module:
    """ResNet-20 in plain torch.nn."""
    sizes = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
    stages = [
        block
        for maps_in, maps, stride in sizes
        for block in (PlainBlock(maps_in, maps, stride), PlainBlock(maps, maps, 1), PlainBlock(maps, maps, 1))
    ]
    stem = [nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def our_learner(channels: int = 3, schedule: Schedule = constant) -> Classify[Classifier[ResNet]]:
    """ResNet-20 as the recipe builds it."""
    torch.manual_seed(0)
    net = Classifier(ResNet(shape=(channels, SIDE, SIDE), depth=20), classes=10)
    return Classify(net, optimizer=partial(SGD, momentum=MOMENTUM, fused=True), lr=LR, schedule=schedule)


def through_fit(learner: Classify[Classifier[ResNet]], stream: Batches[Labelled], steps: int) -> None:
    """Ours: with trace, progress and the checkpoint at the end, as `neurarium train --precision auto` would."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        run = Run(Path(folder), Settings(precision="auto"), Console(file=nowhere))
        run.fit(learner, stream, steps=steps)


def resnet20_ours() -> Callable[[], float]:
    """ResNet-20 through `fit`."""
    data = Held(Labelled(*synthetic_images(SAMPLES, (3, SIDE, SIDE))))

    def work() -> float:
        through_fit(our_learner(), data.batches(BATCH, seed=0), SAMPLES // BATCH)
        return SAMPLES

    return work


def resnet20_peer() -> Callable[[], float]:
    """ResNet-20 in a plain loop."""
    images, labels = synthetic_images(SAMPLES, (3, SIDE, SIDE))

    def work() -> float:
        model = plain_resnet20()
        optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
        loader = DataLoader(TensorDataset(images, labels), batch_size=BATCH, shuffle=True, drop_last=True)
        for inputs, targets in loader:
            plain_step(model, optimizer, inputs, targets)
        return len(loader) * BATCH

    return work


def plain_step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    """One update as most tutorials write it."""
    optimizer.zero_grad()
    loss = cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()


def resnet20_accuracies() -> dict[str, float]:
    """Test accuracy of both after the same batches of digits at 32×32 from the same weights, the rate on a cosine."""
    images = load_images("digits", seed=0, size=SIDE)
    ours, plain = our_learner(channels=1, schedule=cosine), plain_resnet20(channels=1)
    for mine, theirs in zip(ours.model.parameters(), plain.parameters(), strict=True):
        theirs.data.copy_(mine.data)
    optimizer = torch.optim.SGD(plain.parameters(), lr=LR, momentum=MOMENTUM)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, COMPARED)
    for batch in islice(images.train.batches(BATCH, seed=0), COMPARED):
        plain_step(plain, optimizer, batch.inputs, batch.labels)
        scheduler.step()
    through_fit(ours, images.train.batches(BATCH, seed=0), COMPARED)
    nets = {"accuracy_auto": ours.model, "accuracy_float32": plain}
    return {name: evaluate_classes(net, images.test.chunks(200))["accuracy"] for name, net in nets.items()}


def resnet20_benchmark() -> Benchmark:
    """ResNet-20, 32×32, batch 64."""
    work = "train ResNet-20 on 32×32 images by SGD with momentum, batch 64, 30 updates; ours at auto, with checkpoint"
    return Benchmark(
        name="resnet20",
        work=work,
        unit="samples",
        ours=resnet20_ours,
        peer=resnet20_peer,
        peer_name="PyTorch float32",
        at_least=1.8,
        also=resnet20_accuracies,
    )


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {"resnet20": resnet20_benchmark}
