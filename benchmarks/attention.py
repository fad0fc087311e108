"""Training a vision transformer: our net against the same from torch.nn, both by the same learner."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from benchmarks.harness import Benchmark, synthetic_images
from neurarium.learners.classify import Classify
from neurarium.parts.bundles import Labelled
from neurarium.parts.encoders import Classifier
from neurarium.running.devices import keep_freed_memory
from neurarium.systems.vision.vit import ViT

SHAPE, PATCH = (1, 28, 28), 4
WIDTH, DEPTH, HEADS, HIDDEN, CLASSES = 64, 6, 4, 256, 10
BATCH = 64
STEPS = 10


class TorchViT(nn.Module):
    """The net as it is put together from torch.nn: a strided convolution and `nn.TransformerEncoder`, norm first."""

    def __init__(self) -> None:
        super().__init__()
        channels, height, width = SHAPE
        self.cut = nn.Conv2d(channels, WIDTH, PATCH, stride=PATCH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, 0.0, gelu, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, DEPTH, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.class_token = nn.Parameter(0.02 * torch.randn(1, 1, WIDTH))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 1 + height * width // PATCH**2, WIDTH))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits from the class token."""
        patches = self.cut(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(images.shape[0], 1, -1), patches], 1) + self.positions
        return self.head(self.body(tokens)[:, 0])


def training(model: nn.Module) -> Callable[[], float]:
    """Some updates by Adam in float32; returns the samples."""
    keep_freed_memory()
    batch = Labelled(*synthetic_images(BATCH, SHAPE))
    learner = Classify(model)

    def work() -> float:
        for _ in range(STEPS):
            learner.learn(batch)
        return STEPS * BATCH

    return work


def vit_ours() -> Callable[[], float]:
    """Ours: the last block works on the class token alone, as it always does."""
    encoder = ViT(shape=SHAPE, patch=PATCH, width=WIDTH, depth=DEPTH, heads=HEADS, hidden=HIDDEN)
    return training(Classifier(encoder, classes=CLASSES))


def vit_peer() -> Callable[[], float]:
    """The peer's."""
    return training(TorchViT())


def vit_benchmark() -> Benchmark:
    """28×28 images in patches of 4, 6 blocks of width 64, batch 64."""
    work = "train a ViT (28×28, patch 4, 6 blocks of width 64, 4 heads) by Adam, batch 64, float32, the same learner"
    peer = "nn.TransformerEncoder, norm first"
    return Benchmark("vit", work, "samples", vit_ours, vit_peer, peer, 1.0)


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {"vit": vit_benchmark}
