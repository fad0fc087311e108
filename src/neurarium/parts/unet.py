r"""U-Net: a picture goes down to where one place sees it all, comes up again, and meets on the way what it was.

Going down, each stage halves the sides; coming up, each doubles them and is handed the maps of the same size from the
way down, so that fine detail need not pass through the bottom. A vector (a time, a class) can speak to every block,
and tokens (a text) can be looked through by attention.

Source: Ronneberger, Fischer & Brox 2015, U-Net, fig. 1; Ho, Jain & Abbeel 2020, Denoising diffusion probabilistic
models, appendix B (residual blocks with group norm, a time in each, attention at coarse places); Rombach et al. 2022,
High-resolution image synthesis with latent diffusion models, §3.3 (attention to tokens); Dhariwal & Nichol 2021,
Diffusion models beat GANs on image synthesis, eq. 6 (a condition scales and shifts what was normalised).
Differs: sides are doubled by repeating places before a convolution, and halved by a convolution of stride 2; the last
layer of every branch begins at 0, so that each block begins as its shortcut (Ho et al.: there too).
Shapes: B batch, C channels, H height, W width, M maps, E numbers of the condition, S tokens, T width of a token.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import dropout as drop
from torch.nn.functional import interpolate, silu

from neurarium.errors import InvalidValue, require
from neurarium.parts.attention import MultiHeadAttention

GROUPS = 8  # of maps that are normalised together: as many as divide every width in use
HEAD = 32  # maps a head of attention works with, at least


class Residual(nn.Module):
    """Two convolutions beside a shortcut; a condition scales and shifts the maps between them.

    Args:
        maps: M that come in.
        outputs: maps that come out.
        condition: E numbers of the condition (0: there is none).
        dropout: chance in training that a number before the second convolution is left out.

    >>> block = Residual(maps=8, outputs=16, condition=4)
    >>> block(torch.rand(2, 8, 6, 6), torch.rand(2, 4)).shape
    torch.Size([2, 16, 6, 6])
    """

    def __init__(self, *, maps: int, outputs: int, condition: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.first_norm, self.second_norm = grouped(maps), grouped(outputs)
        self.first = nn.Conv2d(maps, outputs, 3, padding=1)
        self.second = silent(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.told = nn.Linear(condition, 2 * outputs) if condition else None
        self.shortcut = nn.Conv2d(maps, outputs, 1) if maps != outputs else nn.Identity()

    def forward(
        self, images: Float[Tensor, "B M H W"], condition: Float[Tensor, "B E"] | None = None
    ) -> Float[Tensor, "B N H W"]:
        """The maps, corrected."""
        hidden = self.first(silu(self.first_norm(images)))
        hidden = self.second_norm(hidden)
        if self.told is not None and condition is not None:
            scale, shift = self.told(silu(condition))[:, :, None, None].chunk(2, dim=1)
            # h ← (1 + a(c)) h + b(c)
            hidden = torch.addcmul(hidden + shift, hidden, scale)
        hidden = self.second(drop(silu(hidden), self.dropout, self.training))
        # y = S x + F(x, c)
        return self.shortcut(images) + hidden


class Look(nn.Module):
    """Every place looks at every other, and at tokens if there are any.

    Args:
        maps: M.
        tokens: T, width of a token (0: there are none).

    >>> Look(maps=8, tokens=4)(torch.rand(2, 8, 3, 3), torch.rand(2, 5, 4)).shape
    torch.Size([2, 8, 3, 3])
    """

    def __init__(self, *, maps: int, tokens: int = 0) -> None:
        super().__init__()
        heads = max(1, maps // HEAD)
        self.norm = grouped(maps)
        self.attention = MultiHeadAttention(width=maps, heads=heads)
        nn.init.zeros_(self.attention.output.weight)
        self.token_norm = nn.LayerNorm(maps) if tokens else None
        self.reading = MultiHeadAttention(width=maps, heads=heads, memory_width=tokens) if tokens else None

    def forward(
        self, images: Float[Tensor, "B M H W"], tokens: Float[Tensor, "B S T"] | None = None
    ) -> Float[Tensor, "B M H W"]:
        """The maps, with what each place found."""
        places = images.flatten(2).transpose(1, 2)
        places = places + self.attention(self.norm(images).flatten(2).transpose(1, 2))
        if self.reading is not None and self.token_norm is not None and tokens is not None:
            places = places + self.reading(self.token_norm(places), tokens)
        return places.transpose(1, 2).unflatten(2, (images.shape[2], images.shape[3]))


class Stage(nn.Module):
    """A residual block, and attention where it is wanted."""

    def __init__(
        self, *, maps: int, outputs: int, condition: int, looks: bool, tokens: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.block = Residual(maps=maps, outputs=outputs, condition=condition, dropout=dropout)
        self.look = Look(maps=outputs, tokens=tokens) if looks else None

    def forward(self, images: Tensor, condition: Tensor | None, tokens: Tensor | None) -> Tensor:
        """The maps after both."""
        images = self.block(images, condition)
        return images if self.look is None else self.look(images, tokens)


class UNet(nn.Module):
    """Maps of the size of the picture, from the picture, what it is told, and what it can read.

    Args:
        channels: C of the pictures.
        outputs: channels of what comes out (default: C).
        width: maps at full size.
        factors: widths of the stages as multiples of `width`, one a size, from full size down.
        blocks: residual blocks of each stage on the way down, and one more on the way up.
        looks: at which stages places look at each other, counted from 0 at full size; the bottom always does.
        condition: E numbers of the vector that speaks to every block (0: none).
        tokens: T, width of the tokens that attention reads (0: none).
        dropout: chance in training that a number in a block is left out.

    Raises:
        InvalidValue: a width that is no multiple of 8, no stage or block; in use, pictures of other channels or with
            sides that the stages do not divide, or a condition or tokens that are missing or too many.

    >>> net = UNet(channels=1, width=8, factors=(1, 2), condition=4)
    >>> net(torch.rand(2, 1, 8, 8), torch.rand(2, 4)).shape, net.stride
    (torch.Size([2, 1, 8, 8]), 2)
    """

    def __init__(
        self,
        *,
        channels: int,
        outputs: int | None = None,
        width: int = 32,
        factors: Sequence[int] = (1, 2, 2),
        blocks: int = 1,
        looks: Sequence[int] = (),
        condition: int = 0,
        tokens: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require(
            width >= GROUPS and width % GROUPS == 0, f"width is {width}; it must be a positive multiple of {GROUPS}"
        )
        require(len(factors) >= 1 and min(factors) >= 1, f"factors are {list(factors)}; give one of 1 or more a stage")
        require(blocks >= 1, f"blocks is {blocks}; each stage needs at least 1")
        self.channels, self.condition, self.tokens = channels, condition, tokens
        self.stride = 2 ** (len(factors) - 1)
        widths = [width * factor for factor in factors]
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()

        def stage(maps: int, outputs: int, looks: bool) -> Stage:
            return Stage(maps=maps, outputs=outputs, condition=condition, looks=looks, tokens=tokens, dropout=dropout)

        maps, kept = width, [width]
        for level, wide in enumerate(widths):
            for _ in range(blocks):
                self.down.append(stage(maps, wide, level in looks))
                maps = wide
                kept.append(maps)
            if level < len(widths) - 1:
                self.shrink.append(nn.Conv2d(maps, maps, 3, stride=2, padding=1))
                kept.append(maps)
        self.bottom = nn.ModuleList([stage(maps, maps, True), stage(maps, maps, False)])
        for level, wide in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(stage(maps + kept.pop(), wide, level in looks))
                maps = wide
            if level > 0:
                self.grow.append(nn.Conv2d(maps, maps, 3, padding=1))
        self.blocks = blocks
        self.norm = grouped(maps)
        self.head = silent(nn.Conv2d(maps, outputs or channels, 3, padding=1))

    def forward(
        self,
        images: Float[Tensor, "B C H W"],
        condition: Float[Tensor, "B E"] | None = None,
        tokens: Float[Tensor, "B S T"] | None = None,
    ) -> Float[Tensor, "B N H W"]:
        """What it makes of them."""
        self._check(images, condition, tokens)
        images = self.stem(images)
        kept = [images]
        for number, stage in enumerate(self.down, start=1):
            images = stage(images, condition, tokens)
            kept.append(images)
            if number % self.blocks == 0 and number < len(self.down):
                images = self.shrink[number // self.blocks - 1](images)
                kept.append(images)
        for stage in self.bottom:
            images = stage(images, condition, tokens)
        for number, stage in enumerate(self.up, start=1):
            images = stage(torch.cat([images, kept.pop()], dim=1), condition, tokens)
            if number % (self.blocks + 1) == 0 and number < len(self.up):
                grown = interpolate(images, scale_factor=2.0, mode="nearest")
                images = self.grow[number // (self.blocks + 1) - 1](grown)
        return self.head(silu(self.norm(images)))

    def _check(self, images: Tensor, condition: Tensor | None, tokens: Tensor | None) -> None:
        shape = tuple(images.shape)
        if images.ndim != 4 or shape[1] != self.channels:
            raise InvalidValue(f"the pictures are {shape}, but this U-Net was built for (B, {self.channels}, H, W)")
        if shape[2] % self.stride or shape[3] % self.stride:
            raise InvalidValue(
                f"the pictures are {shape[2]}×{shape[3]}, but their sides must be multiples of {self.stride}; resize "
                "them or take fewer stages"
            )
        for name, given, width in (("a condition", condition, self.condition), ("tokens", tokens, self.tokens)):
            if (given is not None) != bool(width):
                raise InvalidValue(f"this U-Net was built {'with' if width else 'without'} {name}; build it anew")


def grouped(maps: int) -> nn.GroupNorm:
    """A norm over groups of maps."""
    return nn.GroupNorm(GROUPS, maps)


def silent(layer: nn.Conv2d) -> nn.Conv2d:
    """The same layer, which says nothing at first."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
