r"""Glyphs: printed characters in many fonts, turned, leaned, thickened and blurred, each image with its own draw.

The fonts are those that matplotlib brings along, so nothing is fetched. Every character is first drawn to the same
height, since a small picture cannot tell a large letter from a small one by its size; what the two cases of a few
letters (o and O, s and S, x and X) differ in is lost with it, and nobody can name those better than by guessing.

Shapes: G glyphs, N images, C channels, H height, W width.
"""

from functools import lru_cache
from pathlib import Path
from string import ascii_letters, digits

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from neurarium.data.images import Images
from neurarium.data.imagesets import HeldPixels, ImageSet
from neurarium.errors import InvalidValue, require
from neurarium.parts.augmentation import Motion, affine, blur

LETTERS = ascii_letters
DIGITS = digits
DEJAVU = tuple(
    f"DejaVu{family}"
    for family in (
        *("Sans", "Sans-Bold", "Sans-Oblique", "Sans-BoldOblique"),
        *("SansMono", "SansMono-Bold", "SansMono-Oblique", "SansMono-BoldOblique"),
        *("Serif", "Serif-Bold", "Serif-Italic", "Serif-BoldItalic"),
    )
)
OTHERS = (
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
"""Times-like and TeX's own fonts: no glyph of them is one of DejaVu's."""

SIDE = 32  # pixels a side at which glyphs are drawn and moved, before they are made small
TALL = 26  # pixels of that which a character fills
POINTS = 48  # size of the font before it is brought to that height
TURN = 25.0  # degrees either way
LEAN = 25.0  # degrees either way
SHIFT = 3.0  # pixels of the large drawing, either way
ZOOM = (0.7, 1.1)
BLUR = (0.3, 1.2)  # deviation in pixels of the large drawing
REACH = 4  # pixels, three deviations of the widest blur
THICKER = 0.5  # share of glyphs whose strokes gain a pixel on each side
AT_ONCE = 4096  # images drawn in one go


def printed(
    characters: str,
    *,
    count: int,
    shape: tuple[int, int, int] = (1, 16, 16),
    fonts: tuple[str, ...] = DEJAVU,
    seed: int,
    device: torch.device | str = "cpu",
) -> ImageSet:
    """Images of characters, light on dark, as many of each; the label is the character's place in the string.

    Args:
        characters: one a class.
        count: of images.
        shape: channels, height and width; all channels are the same.
        fonts: names of matplotlib's font files.
        seed: decides fonts and distortions.
        device: where the images live.

    Raises:
        InvalidValue: fewer images than characters, a shape without pixels, or no such font.

    >>> images = printed("abc", count=6, seed=0)
    >>> images.shape, images.labels.tolist()
    ((1, 16, 16), [0, 1, 2, 0, 1, 2])
    """
    require(len(characters) >= 1, "no character is given; name at least one")
    require(count >= len(characters), f"{count} images are asked for, but there are {len(characters)} characters")
    require(min(shape) >= 1, f"images of shape {shape} have no pixels; every side needs at least 1")
    pixels = drawn(characters, count, shape[1:], fonts, seed)
    labels = torch.arange(count) % len(characters)
    held = HeldPixels(pixels.expand(-1, shape[0], -1, -1).contiguous().to(device))
    return ImageSet(held, labels.to(device), seed=seed)


def printed_digits(
    *, train: int, test: int, shape: tuple[int, int, int] = (1, 16, 16), seed: int, device: torch.device | str = "cpu"
) -> Images:
    """Printed digits in fonts other than DejaVu, to learn from and to test on."""
    both = printed(DIGITS, count=train + test, shape=shape, fonts=OTHERS, seed=seed, device=device)
    places = torch.arange(train + test, device=both.device)
    parts = [
        ImageSet(HeldPixels(both.pixels.take(place)), both.labels[place], seed=seed)
        for place in places.split([train, test])
    ]
    return Images(parts[0], parts[1], tuple(DIGITS), "printed")


@lru_cache(maxsize=8)
def drawn(
    characters: str, count: int, size: tuple[int, int], fonts: tuple[str, ...], seed: int
) -> UInt8[Tensor, "N 1 H W"]:
    """The characters in turn, each in a font and under a distortion of its own."""
    chance = torch.Generator().manual_seed(seed)
    glyphs = torch.stack([glyph(character, font) for font in fonts for character in characters])
    font = torch.randint(len(fonts), (count,), generator=chance)
    which = font * len(characters) + torch.arange(count) % len(characters)
    chunks = []
    for some in which.split(AT_ONCE):
        large = distorted(glyphs[some].unsqueeze(1).float() / 255, generator=chance)
        small = interpolate(large, size=size, mode="bilinear", antialias=True)
        # Hairlines fade when they are made small: the brightest pixel of each image is brought back to 1.
        bright = small / small.amax((1, 2, 3), keepdim=True).clamp(min=1e-3)
        chunks.append((255 * bright.clamp(0, 1)).round().byte())
    return torch.cat(chunks)


@lru_cache(maxsize=4096)
def glyph(character: str, font: str) -> UInt8[Tensor, "H W"]:
    """One character in the middle of a square, as tall as every other.

    Raises:
        InvalidValue: there is no such font.

    >>> glyph("l", "DejaVuSans").max(1).values.count_nonzero().item()
    26
    """
    from PIL import Image, ImageDraw, ImageFont

    path = font_file(font)
    ink = ImageFont.truetype(str(path), POINTS)
    left, top, right, bottom = (int(edge) for edge in ink.getbbox(character))
    close = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(close).text((-left, -top), character, font=ink, fill=255)
    close = close.crop(close.getbbox())
    wide = min(TALL, max(2, round(close.width * TALL / close.height)))
    canvas = Image.new("L", (SIDE, SIDE))
    middle = ((SIDE - wide) // 2, (SIDE - TALL) // 2)
    canvas.paste(close.resize((wide, TALL), Image.Resampling.BILINEAR), middle)
    return torch.frombuffer(bytearray(canvas.tobytes()), dtype=torch.uint8).reshape(SIDE, SIDE)


def font_file(font: str) -> Path:
    """Where matplotlib keeps a font.

    Raises:
        InvalidValue: it has none of that name.
    """
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    if not path.is_file():
        raise InvalidValue(f"matplotlib brings no font '{font}'; take one of {', '.join(DEJAVU[:3])}, ...")
    return path


def distorted(glyphs: Float[Tensor, "N 1 H W"], *, generator: torch.Generator) -> Float[Tensor, "N 1 H W"]:
    """Each glyph as it is or thicker, then turned, leaned, zoomed and shifted, then blurred."""
    count = len(glyphs)

    def between(low: float, high: float) -> Float[Tensor, " N"]:
        return low + (high - low) * torch.rand(count, generator=generator)

    stroked = torch.where((between(0, 1) < THICKER)[:, None, None, None], thickened(glyphs), glyphs)
    motion = Motion(
        turn=between(-TURN, TURN),
        across=between(-SHIFT, SHIFT),
        down=between(-SHIFT, SHIFT),
        zoom=between(*ZOOM),
        shear=between(-LEAN, LEAN),
    )
    return blur(affine(stroked, motion), between(*BLUR), radius=REACH)


def thickened(glyphs: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N 1 H W"]:
    """The glyphs with strokes a pixel wider on each side.

    >>> line = torch.zeros(1, 1, 5, 5).index_fill(3, torch.tensor([2]), 1.0)
    >>> thickened(line)[0, 0, 0].tolist()
    [0.0, 1.0, 1.0, 1.0, 0.0]
    """
    return max_pool2d(glyphs, 3, stride=1, padding=1)
