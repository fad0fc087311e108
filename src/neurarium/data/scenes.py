r"""Scenes: one or two coloured things on a dark ground, and the captions that are true of them.

A thing is a shape or a handwritten digit with a colour and a size; two things stand in a relation. The captions follow
a grammar, and a scene of two has two true ones, since whoever stands above another has that one below:

    caption  → thing | thing relation thing
    thing    → "a" size colour kind
    relation → "above" | "below" | "left of" | "right of"

A fifth of all pairs of things (colour and kind of both) is held out by seed: no training scene shows one, and every
test scene does; each single thing is seen in training. All scenes of a batch are drawn at once, each thing as a
function of the distance of every pixel from its centre.

Shapes: N scenes, H height and width, G glyphs of handwritten digits, O things that there are; two things a scene.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample

from neurarium.data.images import load_images
from neurarium.errors import require

SHAPES = ("circle", "square", "triangle", "cross")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
KINDS = SHAPES + DIGITS
SIZES = ("small", "large")
RELATIONS = ("above", "below", "left of", "right of")  # neighbours are each other's converse
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
PAINTS = ((0.9, 0.15, 0.15), (0.1, 0.7, 0.2), (0.2, 0.35, 0.95), (0.95, 0.85, 0.1), (0.65, 0.2, 0.8), (0.9, 0.9, 0.9))

RADII = ((0.125, 0.015), (0.2, 0.02))  # of small and large things, and how far they vary, in sides of the picture
GAP = 0.03  # sides of the picture between two things at least
ALONE = 0.25  # share of scenes with one thing, where two are possible
JITTER = 0.08  # how far a colour varies
GROUND = (0.05, 0.25)  # greys of the ground
NOISE = 0.03  # standard deviation of each pixel
SMALLEST = 24  # pixels a side at which a small digit can still be read
AT_ONCE = 1024  # scenes drawn in one go
HELD_OUT = 0.2  # share of the pairs of things that only test scenes show
THINGS = len(COLOURS) * len(KINDS)  # a thing's number is its colour times the kinds, and its kind

What = Literal["scenes", "digits", "mixed"]
"""What the things are: shapes, handwritten digits, or both, which are then equally frequent."""


class Scenes(NamedTuple):
    """What is on each scene; the second thing and the relation mean nothing where there is one alone.

    The relation is that of the first thing to the second.
    """

    kinds: Int64[Tensor, "N 2"]
    colours: Int64[Tensor, "N 2"]
    sizes: Int64[Tensor, "N 2"]
    relations: Int64[Tensor, " N"]
    things: Int64[Tensor, " N"]


class Glyphs(NamedTuple):
    """Handwritten digits from 0 to 1, and which they are, in order."""

    images: Float[Tensor, "G 1 8 8"]
    labels: Int64[Tensor, " G"]


def load_glyphs(*, seed: int, test: bool = False) -> Glyphs:
    """scikit-learn's handwritten digits: those to learn from, or the fifth held out by seed."""
    digits = load_images("digits", seed=seed)
    images, labels = (digits.test if test else digits.train).all()
    order = labels.argsort(stable=True)
    return Glyphs(images[order], labels[order])


def held_out_pairs(*, seed: int) -> Bool[Tensor, "O O"]:
    """Which pairs of things no training scene shows, whichever is named first.

    >>> held_out = held_out_pairs(seed=0)
    >>> held_out.shape, torch.equal(held_out, held_out.T), round(float(held_out.float().mean()), 1)
    (torch.Size([84, 84]), True, 0.2)
    """
    drawn = torch.rand(THINGS, THINGS, generator=torch.Generator().manual_seed(seed)).triu()
    return torch.maximum(drawn, drawn.T) < HELD_OUT


def invent(
    generator: torch.Generator,
    *,
    count: int,
    held_out: Bool[Tensor, "O O"],
    unseen: bool = False,
    what: What = "scenes",
    things: int = 2,
) -> Scenes:
    """Scenes at random.

    Args:
        generator: where chance comes from.
        count: number of scenes N.
        held_out: the pairs of things that training scenes do without.
        unseen: scenes of such pairs, for tests (all of two things, unless one is the most); else of none.
        what: what the things are.
        things: most things on a scene, 1 or 2.

    Raises:
        InvalidValue: `count` is below 1, or `things` neither 1 nor 2.

    >>> scenes = invent(torch.Generator().manual_seed(0), count=2, held_out=held_out_pairs(seed=0), unseen=True)
    >>> scenes.things.tolist(), scenes.kinds.shape
    ([2, 2], torch.Size([2, 2]))
    """
    require(count >= 1, f"the number of scenes is {count}, but must be at least 1")
    require(things in (1, 2), f"things is {things}; a scene shows 1 or 2")
    shapes, digits = {"scenes": (1, 0), "digits": (0, 1), "mixed": (1, 1)}[what]
    often = [shapes / len(SHAPES)] * len(SHAPES) + [digits / len(DIGITS)] * len(DIGITS)
    weights = torch.tensor(often).repeat(len(COLOURS))
    one = torch.multinomial(weights, count, replacement=True, generator=generator)
    allowed = held_out if unseen else ~held_out
    other = torch.multinomial(weights * allowed[one], 1, generator=generator)
    pair = torch.cat([one.unsqueeze(1), other], dim=1)
    sizes = torch.randint(len(SIZES), (count, 2), generator=generator)
    relations = torch.randint(len(RELATIONS), (count,), generator=generator)
    alone = torch.rand(count, generator=generator) < (1.0 if things == 1 else 0.0 if unseen else ALONE)
    return Scenes(pair % len(KINDS), pair // len(KINDS), sizes, relations, 2 - alone.long())


def describe(scenes: Scenes) -> list[tuple[str, ...]]:
    """Every true caption of each scene.

    >>> row = torch.tensor([[0, 13]])
    >>> describe(Scenes(row, torch.tensor([[0, 1]]), torch.tensor([[0, 1]]), torch.tensor([2]), torch.tensor([2])))
    [('a small red circle left of a large green nine', 'a large green nine right of a small red circle')]
    """
    captions: list[tuple[str, ...]] = []
    for kinds, colours, sizes, relation, things in zip(*(field.tolist() for field in scenes), strict=True):
        one, other = (
            f"a {SIZES[size]} {COLOURS[colour]} {KINDS[kind]}"
            for kind, colour, size in zip(kinds, colours, sizes, strict=True)
        )
        pair = (f"{one} {RELATIONS[relation]} {other}", f"{other} {RELATIONS[relation ^ 1]} {one}")
        captions.append(pair if things == 2 else (one,))
    return captions


def paint(
    scenes: Scenes, generator: torch.Generator, *, glyphs: Glyphs | None = None, side: int = 32
) -> UInt8[Tensor, "N 3 side side"]:
    """The scenes as pictures.

    Args:
        scenes: what is on them.
        generator: decides places, exact sizes and tones, handwriting and noise.
        glyphs: the handwritten digits to use, where there are digits.
        side: pixels a side.

    Raises:
        InvalidValue: fewer than 24 pixels a side, or digits without glyphs.

    >>> chance = torch.Generator().manual_seed(0)
    >>> scenes = invent(chance, count=3, held_out=held_out_pairs(seed=0), what="mixed")
    >>> paint(scenes, chance, glyphs=load_glyphs(seed=0)).shape
    torch.Size([3, 3, 32, 32])
    """
    require(side >= SMALLEST, f"scenes of {side} pixels a side are too small to read; give at least {SMALLEST}")
    digits = bool((scenes.kinds >= len(SHAPES)).any())
    require(not digits or glyphs is not None, "the scenes show digits; give glyphs=load_glyphs(seed=...)")
    parts = zip(*(field.split(AT_ONCE) for field in scenes), strict=True)
    return torch.cat([_paint(Scenes(*part), generator, glyphs, side) for part in parts])


def place(scenes: Scenes, generator: torch.Generator) -> tuple[Float[Tensor, "N 2 2"], Float[Tensor, "N 2"]]:
    """Centres (x, y) and radii of the things, in sides of the picture; the two stand clear of one another.

    Along the axis of their relation they are parted by a gap; across it they are shifted by at most half as much.
    """

    def between(low: Tensor, high: Tensor) -> Tensor:
        return low + (high - low) * torch.rand(low.shape, generator=generator)

    radius, spread = torch.tensor(RADII)[scenes.sizes].unbind(2)
    radius = between(radius - spread, radius + spread)
    # The one that comes first from the top or the left: the first thing if it is above or left of the other.
    turned = (scenes.relations % 2 == 1).unsqueeze(1)
    near, far = torch.where(turned, radius.flip(1), radius).unbind(1)
    start = between(near, 1 - near - 2 * far - GAP)
    stop = between(start + near + GAP + far, 1 - far)
    across = between(near, 1 - near)
    shift = (stop - start) / 2
    other = torch.minimum(torch.maximum(between(across - shift, across + shift), far), 1 - far)
    along_across = torch.stack([torch.stack([start, across], 1), torch.stack([stop, other], 1)], 1)
    along_across = torch.where(turned.unsqueeze(2), along_across.flip(1), along_across)
    centres = torch.where((scenes.relations >= 2).view(-1, 1, 1), along_across, along_across.flip(2))
    # One alone may be anywhere.
    alone = (scenes.things == 1).view(-1, 1, 1)
    edge = radius.unsqueeze(2).expand_as(centres)
    return torch.where(alone, between(edge, 1 - edge), centres), radius


def _paint(scenes: Scenes, generator: torch.Generator, glyphs: Glyphs | None, side: int) -> Tensor:
    count = len(scenes.kinds)
    centres, radius = place(scenes, generator)
    pixels = (torch.arange(side) + 0.5) / side
    x = (pixels.view(1, 1, 1, -1) - centres[..., 0, None, None]) / radius[..., None, None]
    y = (pixels.view(1, 1, -1, 1) - centres[..., 1, None, None]) / radius[..., None, None]
    x, y = torch.broadcast_tensors(x, y)
    cover = _cover(scenes.kinds, x, y, radius * side, generator, glyphs)
    cover[:, 1] *= (scenes.things == 2).view(-1, 1, 1)
    ground = GROUND[0] + (GROUND[1] - GROUND[0]) * torch.rand(count, 1, 1, 1, generator=generator)
    image = ground.expand(count, 3, side, side)
    paints = torch.tensor(PAINTS)[scenes.colours] + JITTER * (2 * torch.rand(count, 2, 3, generator=generator) - 1)
    for thing in range(2):
        # I ← (1 − m) I + m colour
        image = torch.lerp(image, paints[:, thing, :, None, None], cover[:, thing : thing + 1])
    image = image + NOISE * torch.randn(image.shape, generator=generator)
    return (image.clamp(0, 1) * 255).round().byte()


def _cover(
    kinds: Tensor, x: Tensor, y: Tensor, radius: Tensor, generator: torch.Generator, glyphs: Glyphs | None
) -> Float[Tensor, "N 2 H H"]:
    """How much of each pixel each thing covers; x and y are measured from its centre in its radii."""
    across, down = x.abs(), y.abs()
    # Distances from the edge, negative inside, of a thing of radius 1.
    distances = torch.stack(
        [
            torch.hypot(x, y) - 0.95,  # circle
            torch.maximum(across, down) - 0.85,  # square
            torch.maximum(y - 0.8, (2 * across - y - 1) / 5**0.5),  # triangle: its apex up, half as wide as high
            torch.maximum(torch.maximum(across, down) - 1, torch.minimum(across, down) - 0.3),  # cross
        ],
        dim=2,
    )
    shape = kinds.clamp(max=len(SHAPES) - 1).view(*kinds.shape, 1, 1, 1).expand(-1, -1, 1, *x.shape[2:])
    shapes = (0.5 - distances.gather(2, shape).squeeze(2) * radius[..., None, None]).clamp(0, 1)
    # Drawn in any case, so that shapes look the same whatever else there is.
    share = torch.rand(kinds.shape, generator=generator)
    if glyphs is None or bool((kinds < len(SHAPES)).all()):
        return shapes
    return torch.where((kinds < len(SHAPES))[..., None, None], shapes, _written(kinds, x, y, share, glyphs))


def _written(kinds: Tensor, x: Tensor, y: Tensor, share: Tensor, glyphs: Glyphs) -> Float[Tensor, "N 2 H H"]:
    """The digits, each in a handwriting that its share (0 to 1) of all those of its kind decides."""
    digit = (kinds - len(SHAPES)).clamp(min=0)
    starts = torch.searchsorted(glyphs.labels, torch.arange(len(DIGITS) + 1))
    chosen = starts[digit] + (share * (starts[digit + 1] - starts[digit])).long()
    grid = torch.stack([x, y], dim=-1).flatten(0, 1)
    return grid_sample(glyphs.images[chosen.flatten()], grid, align_corners=False).view_as(x)
