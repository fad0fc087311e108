"""Picture files for tests: colours that say which file they are."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(width: int = 6, height: int = 4, *, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def write_class(folder: Path, *, count: int = 5, mode: str = "RGB", size: tuple[int, int] = (6, 4)) -> None:
    """A class folder of PNG files, each different."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        seed = sum(folder.name.encode()) + number
        picture(*size, mode=mode, seed=seed).save(folder / f"{number:03}.png")
