r"""ResNet: every block adds a correction to what it was given.

A deep stack of plain layers is hard to teach: adding layers makes even its training error worse, although the added
layers need only do nothing. A residual block makes doing nothing easy. It computes F(x) and returns F(x) + x, so that a
branch of zeros is the identity, and gradients pass the sum undiminished. Twenty layers or a hundred then learn alike.

Source: CSE 151B, Convolutional Networks (a layer's output becomes F(x) + x); NYU NN II, "Residual Networks (ResNet)";
He, Zhang, Ren & Sun 2016, Deep residual learning for image recognition, eq. 1 and 2, fig. 5, table 1, §4.2 (small).
Differs: a bottleneck strides in its 3×3 convolution, where its first 1×1 would drop three quarters of its input unseen;
the large stem pools before its ReLU, the same function for a quarter of the work. The small nets pass size changes by
option A (zeros in place of the missing maps), the large ones by option B (a projection), as published.
Shapes: B batch, C channels, H height, W width, D features, M maps, h and w places; I and O maps in and out, L blocks.
"""

from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from neurarium.errors import InvalidValue, require
from neurarium.parts.encoders import Encoded, Encoder
from neurarium.parts.modes import evaluating
from neurarium.parts.residual import normed_convolution, two_convolutions

SMALL_STAGES = 3  # §4.2: of 2n layers each, 6n + 2 with the stem and the head
SMALL_WIDTH = 16  # maps of the first stage, §4.2; each further stage has twice as many, here and in table 1
LARGE_WIDTH = 64  # maps of the first stage, table 1
EXPANSION = 4  # maps that a bottleneck returns, for each that its 3×3 convolution has, fig. 5
BASIC: Mapping[int, tuple[int, ...]] = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # blocks a stage by depth, table 1
BOTTLENECK: Mapping[int, tuple[int, ...]] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class Pad(nn.Module):
    """Option A: a shortcut to fewer places and more maps without parameters; the added maps are zero.

    Args:
        maps: of the output.
        stride: every which place of the input is kept.

    >>> Pad(maps=3, stride=2)(torch.ones(1, 2, 4, 4)).sum((2, 3))
    tensor([[4., 4., 0.]])
    """

    def __init__(self, *, maps: int, stride: int) -> None:
        super().__init__()
        self.maps = maps
        self.stride = stride

    def forward(self, inputs: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Every `stride`-th place, and zeros for the maps that the input does not have."""
        kept = inputs[:, :, :: self.stride, :: self.stride]
        return pad(kept, (0, 0, 0, 0, 0, self.maps - inputs.shape[1]))


class Residual(nn.Module):
    """A block: a branch, and a shortcut beside it.

    Args:
        branch: F, from the block's input to its output.
        shortcut: what brings the input to the shape of F's output; without one the block is plain layers.

    >>> block = Residual(branch=two_convolutions(2, 2), shortcut=nn.Identity()).eval()
    >>> _ = nn.init.zeros_(block.branch[-1].weight)
    >>> images = torch.rand(1, 2, 4, 4)
    >>> torch.equal(block(images), images)
    True
    """

    def __init__(self, *, branch: nn.Sequential, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut

    def forward(self, inputs: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """The input, corrected."""
        if self.shortcut is None:
            return relu(self.branch(inputs))
        # y = σ(F(x) + W_s x), eq. 2; W_s = 1 where the shapes agree, eq. 1
        return relu(self.branch(inputs) + self.shortcut(inputs))


def bottleneck(maps_in: int, maps: int, *, stride: int = 1) -> nn.Sequential:
    """F of a 1×1 convolution to few maps, a 3×3 on these, and a 1×1 to four times as many (fig. 5, right)."""
    narrow = [*normed_convolution(maps_in, maps, 1), nn.ReLU(inplace=True)]
    look = [*normed_convolution(maps, maps, 3, stride=stride), nn.ReLU(inplace=True)]
    return nn.Sequential(*narrow, *look, *normed_convolution(maps, EXPANSION * maps, 1))


class ResNet(Encoder):
    """The last stage's maps, averaged over the places.

    Args:
        shape: channels, height and width of the images.
        depth: 18, 34, 50, 101 or 152 for the nets of table 1 (stem of stride 4, four stages); any other 6n + 2 for
            those of §4.2 (three stages): 8, 14, 20, 32, 44, 56, 110.
        width: maps of the first stage (0: as published, 64 or 16).
        skip: whether blocks have their shortcuts; without them it is the plain net of the same depth.

    Raises:
        InvalidValue: a depth of neither form, a negative width, or images smaller than the strides together.

    >>> from neurarium.parts.encoders import Classifier
    >>> net = Classifier(ResNet(shape=(3, 32, 32), depth=20), classes=10)
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    >>> sum(p.numel() for p in net.parameters())  # 0.27 M, table 6
    269722
    """

    def __init__(self, *, shape: tuple[int, int, int], depth: int = 20, width: int = 0, skip: bool = True) -> None:
        require(width >= 0, f"width is {width}; it is a number of maps, or 0 for as many as published")
        large = depth in BASIC or depth in BOTTLENECK
        stages = _stages(depth)
        width = width or (LARGE_WIDTH if large else SMALL_WIDTH)
        expansion = EXPANSION if depth in BOTTLENECK else 1
        widest = expansion * width * 2 ** (len(stages) - 1)
        # The strides: each stage but the first halves the image, and the large stem does so twice.
        super().__init__(shape=shape, width=widest, smallest=2 ** (len(stages) - 1 + 2 * large))
        self.stem = _large_stem(shape[0], width) if large else _small_stem(shape[0], width)
        blocks, maps_in = [], width
        for stage, count in enumerate(stages):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                maps = width * 2**stage
                make = bottleneck if depth in BOTTLENECK else two_convolutions
                way = _shortcut(maps_in, expansion * maps, stride=stride, project=large) if skip else None
                blocks.append(Residual(branch=make(maps_in, maps, stride=stride), shortcut=way))
                maps_in = expansion * maps
        self.blocks = nn.Sequential(*blocks)

    @property
    def residuals(self) -> list[Residual]:
        """The blocks from the stem to the head."""
        return [cast("Residual", block) for block in self.blocks]

    def encode(self, images: Float[Tensor, "B C H W"]) -> Encoded:
        """The last stage's maps and their means."""
        maps = self.blocks(self.stem(images))
        return Encoded(maps.mean((2, 3)), maps)

    def encode_without(self, images: Float[Tensor, "B C H W"], block: int) -> Float[Tensor, "B D"]:
        """The features when one block passes on what it was given, its branch cut out.

        Args:
            images: to read.
            block: counted from 0.

        Raises:
            InvalidValue: there is no such block, or it has no shortcut.
        """
        count = len(self.blocks)
        require(0 <= block < count, f"block is {block}; this ResNet has blocks 0 to {count - 1}")
        maps = self.stem(images)
        for number, residual in enumerate(self.residuals):
            maps = relu(_passed(residual, maps)) if number == block else residual(maps)
        return maps.mean((2, 3))


@torch.no_grad()
def corrections(encoder: ResNet, images: Float[Tensor, "B C H W"]) -> Float[Tensor, " L"]:
    """How large what each block adds is, beside what it passes on: a ratio a block, in evaluation mode.

    Raises:
        InvalidValue: the net has no shortcuts.

    >>> _ = torch.manual_seed(0)
    >>> corrections(ResNet(shape=(1, 8, 8), depth=14), torch.rand(4, 1, 8, 8)).shape
    torch.Size([6])
    """
    ratios = []
    with evaluating(encoder):
        maps = encoder.stem(images)
        for residual in encoder.residuals:
            added, passed = residual.branch(maps), _passed(residual, maps)
            # |F(x)| / |W_s x|
            ratios.append(added.norm() / passed.norm())
            maps = relu(added + passed)
    return torch.stack(ratios)


def _passed(residual: Residual, inputs: Tensor) -> Tensor:
    if residual.shortcut is None:
        raise InvalidValue("the blocks have no shortcut to look at; build the net with skip=True")
    return cast("Tensor", residual.shortcut(inputs))


def _stages(depth: int) -> tuple[int, ...]:
    """Blocks a stage."""
    known = {**BASIC, **BOTTLENECK}
    if depth in known:
        return known[depth]
    per_stage = (depth - 2) // (2 * SMALL_STAGES)
    fits = per_stage >= 1 and depth == 2 * SMALL_STAGES * per_stage + 2
    require(fits, f"depth is {depth}; take 18, 34, 50, 101 or 152, or 6n + 2 such as 8, 14, 20, 32, 44, 56, 110")
    return (per_stage,) * SMALL_STAGES


def _small_stem(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(*normed_convolution(channels, width, 3), nn.ReLU(inplace=True))


def _large_stem(channels: int, width: int) -> nn.Sequential:
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(*normed_convolution(channels, width, 7, stride=2), pool, nn.ReLU(inplace=True))


def _shortcut(maps_in: int, maps_out: int, *, stride: int, project: bool) -> nn.Module:
    if stride == 1 and maps_in == maps_out:
        return nn.Identity()
    if project:
        return nn.Sequential(*normed_convolution(maps_in, maps_out, 1, stride=stride))
    return Pad(maps=maps_out, stride=stride)
