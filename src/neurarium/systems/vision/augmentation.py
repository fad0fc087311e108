r"""Augmentation: what a picture shows stays the same when it is cropped, turned, tinted or blurred; so say it again.

Each operation is drawn for each image anew: whether it happens, and how strongly. A network that must give the same
answer to every version cannot rest on what they do not share. Operations are named with their chance, and strength if
one likes, `crop,flip:0.5,jitter:0.8:0.5`, and happen in that order, to a whole batch on its device.

Source: CSE 151B, Contrastive Learning; NYU NN II, "Data augmentation"; CS 479 §10.2.1; Chen, Kornblith, Norouzi &
Hinton 2020, A simple framework for contrastive learning of visual representations, §3, appendix A; Szegedy et al.
2015, Going deeper with convolutions, §6; DeVries & Taylor 2017, Improved regularization of convolutional neural
networks with cutout, §3.2.
Differs: the parts of jitter come in one order (brightness, contrast, saturation, hue) instead of a random one; a crop
whose drawn shape does not fit is cut to the image instead of drawn again, and may begin between two pixels.
Shapes: B batch, C channels, H height, W width, D numbers drawn for an operation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import InvalidValue, did_you_mean, require
from neurarium.parts import colour
from neurarium.parts.augmentation import RADIUS, Box, Motion, affine, blur, crop_resize, cutout, flip

SMALLEST_CROP = 0.08  # of the area, Szegedy et al. 2015, §6
ASPECT = 4 / 3  # of a crop's sides at the most, Szegedy et al. 2015, §6
JITTER = 0.4  # brightness, contrast, saturation: Chen et al. 2020, appendix B.9 (0.8 × strength 0.5)
HUE = 0.1  # turns, as above
BLUR = (0.1, 2.0)  # pixels, Chen et al. 2020, appendix A
TURN = 15.0  # degrees, ours, as are the next three: small enough for a digit to stay one
SHIFT = 0.1  # of a side
ZOOM = 1.1  # factor
SHEAR = 10.0  # degrees
HOLE = 0.5  # of a side: DeVries & Taylor 2017, §4.1 (16 of 32 pixels for CIFAR-10)
CHUNK = 2**22  # bytes worked on at once by a processor, so that they stay in its cache


@runtime_checkable
class Operation(Protocol):
    """One kind of change. How it goes follows from uniform numbers alone, `numbers` of them an image."""

    numbers: ClassVar[int]

    def __call__(self, images: Float[Tensor, "B C H W"], uniform: Float[Tensor, "B D"], /) -> Float[Tensor, "B C H W"]:
        """The images changed, each by its own numbers from 0 to 1."""
        ...


@dataclass(frozen=True)
class Crop:
    """A box of random area and shape, resized to the whole image; at strength 1 from 8% of the area."""

    strength: float = 1.0
    numbers: ClassVar[int] = 4

    def __call__(self, images: Float[Tensor, "B C H W"], uniform: Float[Tensor, "B 4"], /) -> Float[Tensor, "B C H W"]:
        return crop_resize(images, self.box(uniform, height=images.shape[2], width=images.shape[3]))

    def box(self, uniform: Float[Tensor, "B 4"], *, height: int, width: int) -> Box:
        """The boxes for some numbers."""
        area, aspect, top, left = uniform.unbind(1)
        least = max(SMALLEST_CROP, 1 - self.strength * (1 - SMALLEST_CROP))
        # A ~ U(least, 1) HW;  ln(w/h) ~ U(−ln 4/3, ln 4/3)
        area = (least + (1 - least) * area) * height * width
        aspect = torch.exp((2 * aspect - 1) * log(ASPECT) * min(self.strength, 1.0))
        # Not under a pixel: a smaller box might hold no pixel's middle.
        tall = (area / aspect).sqrt().clamp(min=1, max=height)
        wide = (area * aspect).sqrt().clamp(min=1, max=width)
        return Box(top * (height - tall), left * (width - wide), tall, wide)


@dataclass(frozen=True)
class Flip:
    """Left and right exchanged."""

    numbers: ClassVar[int] = 0

    def __call__(self, images: Float[Tensor, "B C H W"], uniform: Float[Tensor, "B 0"], /) -> Float[Tensor, "B C H W"]:
        return flip(images)


@dataclass(frozen=True)
class Jitter:
    """Brightness, contrast and saturation by factors about 1, and the hue by turns about 0."""

    strength: float = 1.0
    numbers: ClassVar[int] = 4

    def __call__(self, images: Float[Tensor, "B C H W"], uniform: Float[Tensor, "B 4"], /) -> Float[Tensor, "B C H W"]:
        # f ~ U(max(0, 1 − j), 1 + j)
        most = JITTER * self.strength
        low = max(0.0, 1 - most)
        factors = (low + (1 + most - low) * uniform[:, :3]).unbind(1)
        turns = (2 * uniform[:, 3] - 1) * min(HUE * self.strength, 0.5)
        for change, factor in zip((colour.brightness, colour.contrast, colour.saturation), factors, strict=True):
            images = change(images, factor)
        return colour.hue(images, turns)


@dataclass(frozen=True)
class Grey:
    """Without colour."""

    numbers: ClassVar[int] = 0

    def __call__(self, images: Float[Tensor, "B C H W"], uniform: Float[Tensor, "B 0"], /) -> Float[Tensor, "B C H W"]:
        return colour.greyscale(images)


@dataclass(frozen=True)
class Blur:
    """Smoothed by a Gaussian of 0.1 to 2 pixels."""

    strength: float = 1.0
    numbers: ClassVar[int] = 1

    def __call__(self, images: Float[Tensor, "B C H W"], uniform: Float[Tensor, "B 1"], /) -> Float[Tensor, "B C H W"]:
        deviation = BLUR[0] + (BLUR[1] * self.strength - BLUR[0]) * uniform[:, 0]
        return blur(images, deviation.clamp(min=BLUR[0]), radius=min(RADIUS, *(side - 1 for side in images.shape[2:])))


@dataclass(frozen=True)
class Affine:
    """Turned, shifted, zoomed and sheared a little, outside 0."""

    strength: float = 1.0
    numbers: ClassVar[int] = 5

    def __call__(self, images: Float[Tensor, "B C H W"], uniform: Float[Tensor, "B 5"], /) -> Float[Tensor, "B C H W"]:
        turn, across, down, zoom, shear = ((2 * uniform - 1) * self.strength).unbind(1)
        height, width = images.shape[2:]
        zooms = torch.exp(zoom * log(ZOOM))
        return affine(images, Motion(turn * TURN, across * SHIFT * width, down * SHIFT * height, zooms, shear * SHEAR))


@dataclass(frozen=True)
class Cutout:
    """A square hole about a random pixel; at strength 1 half a side wide."""

    strength: float = 1.0
    numbers: ClassVar[int] = 2

    def __call__(self, images: Float[Tensor, "B C H W"], uniform: Float[Tensor, "B 2"], /) -> Float[Tensor, "B C H W"]:
        height, width = images.shape[2:]
        side = round(HOLE * self.strength * min(height, width))
        top, left = (uniform * uniform.new_tensor([height, width])).floor().sub(side // 2).unbind(1)
        sides = torch.full_like(top, side)
        return cutout(images, Box(top, left, sides, sides))


OPERATIONS: Mapping[str, type[Crop | Flip | Jitter | Grey | Blur | Affine | Cutout]] = {
    "crop": Crop,
    "flip": Flip,
    "jitter": Jitter,
    "grey": Grey,
    "blur": Blur,
    "affine": Affine,
    "cutout": Cutout,
}
"""Every operation by its name on the command line."""

FUSED = (Crop, Jitter)  # compiled 1.1 and 1.9 times as fast; an affine change, half as fast


class Step(NamedTuple):
    """An operation and the chance that an image gets it."""

    operation: Operation
    chance: float = 1.0


class Augment:
    """Operations one after another, each on the images that drew it.

    All chance comes from a generator on the CPU, and only the numbers move to the images' device: so a seed means the
    same on every device, and nothing waits for it. Images are not written to.

    Args:
        steps: in the order in which they happen.
        compiled: make one program of a crop and one of a jitter by `torch.compile`, which is sooner done and the same
            but for the last digits, after some ten seconds at the first call.

    Raises:
        InvalidValue: a chance is not between 0 and 1.

    >>> augment = Augment([Step(Flip(), 0.5)])
    >>> images = torch.tensor([0.0, 1.0]).expand(6, 1, 1, 2)
    >>> augment(images, generator=torch.Generator().manual_seed(0))[:, 0, 0, 0].tolist()
    [1.0, 0.0, 1.0, 1.0, 1.0, 0.0]
    """

    def __init__(self, steps: Sequence[Step], *, compiled: bool = False) -> None:
        for operation, chance in steps:
            name = type(operation).__name__.lower()
            require(0 <= chance <= 1, f"the chance of {name} is {chance:g}; it must be from 0 to 1")
        self.steps = tuple(steps)
        self.programs: list[Callable[[Tensor, Tensor], Tensor]] = [
            torch.compile(operation.__call__, dynamic=True) if compiled and isinstance(operation, FUSED) else operation
            for operation, _ in steps
        ]

    def __call__(self, images: Float[Tensor, "B C H W"], *, generator: torch.Generator) -> Float[Tensor, "B C H W"]:
        """The images, each changed by its own draw."""
        # One row an image and as many columns for every batch: what one image draws changes nothing for another.
        drawn = torch.rand(images.shape[0], self.numbers, generator=generator)
        if images.device.type != "cpu" or images.numel() * images.element_size() <= CHUNK:
            return self.change(images, drawn)
        size = max(1, CHUNK // (images[0].numel() * images.element_size()))
        pieces = zip(images.split(size), drawn.split(size), strict=True)
        return torch.cat([self.change(*piece) for piece in pieces])

    @property
    def numbers(self) -> int:
        """How many numbers are drawn for an image: one to decide on each operation, and the operation's own."""
        return sum(1 + step.operation.numbers for step in self.steps)

    def change(self, images: Float[Tensor, "B C H W"], drawn: Float[Tensor, "B D"]) -> Float[Tensor, "B C H W"]:
        """The images changed by numbers drawn before, which lie on the CPU."""
        start, images = 0, images.clone()
        for (operation, chance), program in zip(self.steps, self.programs, strict=True):
            end = start + 1 + operation.numbers
            chosen = (drawn[:, start] < chance).nonzero().flatten()
            uniform = drawn[:, start + 1 : end].index_select(0, chosen).to(images.device, images.dtype)
            start = end
            apply = program if len(chosen) > 1 else operation  # for one image another program would be made
            if len(chosen) == images.shape[0]:
                images = apply(images, uniform)
            elif len(chosen):
                place = chosen.to(images.device)
                images.index_copy_(0, place, apply(images.index_select(0, place), uniform))
        return images


def build_augment(text: str, *, compiled: bool = False) -> Augment:
    """An augmentation from its operations' names, each with its chance and strength: `NAME:CHANCE:STRENGTH,...`.

    Args:
        text: operations in order; `:CHANCE` and `:STRENGTH` may be left out and are 1 then; or `none`.
        compiled: as of `Augment`.

    Raises:
        InvalidValue: there is no such operation, or a chance or strength that cannot be.

    >>> [type(step.operation).__name__ for step in build_augment("crop,flip:0.5,jitter:0.8:0.5").steps]
    ['Crop', 'Flip', 'Jitter']
    """
    return Augment([] if text == "none" else [_step(part.strip()) for part in text.split(",")], compiled=compiled)


def _step(part: str) -> Step:
    name, *numbers = part.split(":")
    if name not in OPERATIONS:
        raise InvalidValue(f"there is no augmentation '{name}'; {did_you_mean(name, [*OPERATIONS, 'none'])}")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        raise InvalidValue(f"'{part}' is not {name} with numbers; write {name}:CHANCE:STRENGTH") from None
    require(len(values) <= 2, f"'{part}' has {len(values)} numbers; write {name}:CHANCE:STRENGTH")
    made = OPERATIONS[name]
    if len(values) < 2:
        return Step(made(), *values)
    if issubclass(made, Flip | Grey):
        raise InvalidValue(f"'{part}' gives a strength, but {name} has none; write {name}:CHANCE")
    strength = values[1]
    most = 1.0 if made is Crop else 10.0
    require(0 <= strength <= most, f"the strength of {name} is {strength:g}; it must be from 0 to {most:g}")
    return Step(made(strength=strength), values[0])
