"""Augmentation: two views of a batch at once, against PIL an image at a time with the same operations.

Two peers: lightly's transform as its users run it, and the same operations with PIL doing no more than it must.
Lightly's side needs lightly and torchvision, which are no part of the development setup.
"""

import math
import multiprocessing
import random
from collections.abc import Callable
from itertools import islice

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.harness import Benchmark
from neurarium.data.augmented import Views
from neurarium.data.imagesets import HeldPixels, ImageSet
from neurarium.running.devices import keep_freed_memory
from neurarium.systems.vision.augmentation import ASPECT, BLUR, HUE, JITTER, SMALLEST_CROP, build_augment

SIDE, BATCH = 32, 256
IMAGES = 8 * BATCH
EPOCHS = 16  # of ours a turn, for one takes less than a tenth of a second
WORKERS = 2
OPERATIONS = "crop,flip:0.5,jitter:0.8,grey:0.2,blur:0.5"  # two views of Chen et al. 2020, appendix A


def pixels() -> Tensor:
    """Smooth colour pictures as bytes."""
    coarse = torch.rand(IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear").mul(255).byte()


def ours() -> Callable[[], float]:
    """A stream of two views of every batch, compiled before the clock starts."""
    keep_freed_memory()
    images = ImageSet(HeldPixels(pixels()), torch.zeros(IMAGES, dtype=torch.int64))
    stream = Views(images.batches(BATCH, seed=0), build_augment(OPERATIONS, compiled=True), seed=0)

    def work() -> float:
        for first, second in islice(stream, EPOCHS * IMAGES // BATCH):
            assert first.shape == second.shape
        return EPOCHS * IMAGES

    return work


class PerImage(Dataset[tuple[Tensor, Tensor]]):
    """Two views of each image, by PIL, an image at a time."""

    def __init__(self) -> None:
        self.images = pixels().permute(0, 2, 3, 1).numpy()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = Image.fromarray(self.images[index])
        return as_tensor(augmented(image)), as_tensor(augmented(image))


def as_tensor(image: Image.Image) -> Tensor:
    """As floats from 0 to 1."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div_(255)


def augmented(image: Image.Image) -> Image.Image:
    """Crop and resize, flip, jitter, grey, blur, as SimCLR's reference pipelines do it with PIL."""
    image = cropped(image)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if random.random() < 0.8:
        for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = enhancer(image).enhance(random.uniform(1 - JITTER, 1 + JITTER))
        image = turned(image, random.uniform(-HUE, HUE))
    if random.random() < 0.2:
        image = image.convert("L").convert("RGB")
    if random.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(*BLUR)))
    return image


def cropped(image: Image.Image) -> Image.Image:
    """A box of random area and shape, resized."""
    area = random.uniform(SMALLEST_CROP, 1) * SIDE * SIDE
    aspect = math.exp(random.uniform(-math.log(ASPECT), math.log(ASPECT)))
    tall, wide = (min(SIDE, max(1, round(math.sqrt(value)))) for value in (area / aspect, area * aspect))
    top, left = random.randint(0, SIDE - tall), random.randint(0, SIDE - wide)
    return image.crop((left, top, left + wide, top + tall)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def turned(image: Image.Image, turns: float) -> Image.Image:
    """The hue moved on, as torchvision does it for PIL."""
    hue, saturation, value = image.convert("HSV").split()
    moved = np.array(hue) + np.array(round(turns * 255)).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(moved), saturation, value)).convert("RGB")


class Lightly(PerImage):
    """Two views of each image, by lightly's transform for SimCLR."""

    def __init__(self) -> None:
        super().__init__()
        from lightly.transforms import SimCLRTransform

        # Strengths and chances as in `OPERATIONS`, which are the paper's for small images.
        self.transform = SimCLRTransform(input_size=SIDE, cj_strength=JITTER / 0.8, normalize=None)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        first, second = self.transform(Image.fromarray(self.images[index]))
        return first, second


def lightly_peer() -> Callable[[], float]:
    """Lightly's transform in a DataLoader."""
    return loaded(Lightly())


def lean_peer() -> Callable[[], float]:
    """The operations with PIL in a DataLoader."""
    return loaded(PerImage())


def loaded(dataset: Dataset[tuple[Tensor, Tensor]]) -> Callable[[], float]:
    """A pass over a data set in a DataLoader with two workers, started once."""
    # The harness ends its sides as daemons, which may have no children; these end by themselves with their parent.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)

    def work() -> float:
        for first, second in loader:
            assert first.shape == second.shape
        return IMAGES

    return work


WORK = f"two views of 32×32 colour images, batch {BATCH}: {OPERATIONS}"


def lightly_benchmark() -> Benchmark:
    """Two views of 32×32 colour images, the peer being a library that many use."""
    peer = f"lightly's SimCLRTransform, {WORKERS} workers"
    return Benchmark("augmentation", WORK, "images", ours, lightly_peer, peer, 12.0, rounds=9)


def lean_benchmark() -> Benchmark:
    """The same, the peer doing nothing that it need not."""
    peer = f"PIL an image at a time, {WORKERS} workers"
    return Benchmark("augmentation_lean", WORK, "images", ours, lean_peer, peer, 12.0, rounds=9)


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {
    "augmentation": lightly_benchmark,
    "augmentation_lean": lean_benchmark,
}
