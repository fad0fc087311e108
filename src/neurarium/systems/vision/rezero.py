r"""ReZero: a net of any depth that begins as the identity.

Every layer adds a learned multiple α of what it computed to what it was given, and α begins at 0. The whole stack is
then the identity, whatever its weights: no signal dies or blows up on the way through it, and no gradient on the way
back. Where a layer's contribution would lower the loss its α leaves zero, and the layer takes part. Why the multiple
matters can be seen with one unit a layer and no bends: L layers multiply their input by (1 + αw)^L, which explodes or
dies out for α = 1 and stays 1 for α = 0.

Source: CSE 151B, ReZero (x + α F(x), the toy, transformers), "Initializing weights" (N(0, 1/√fan-in)); Bachlechner et
al. 2021, ReZero is All You Need, eq. 1 (and its dense, convolutional and transformer nets).
Differs: a convolutional block is one layer at the images' own size, where the paper's is that of a ResNet; a
transformer is read by the mean of its tokens, and its positions begin at 0. With residual="plain" it is a residual net
without norms (x + F(x)), with "none" a stack of plain layers (F(x)), both from the same first weights.
Shapes: B batch, C channels, H height, W width, D features, P patches, h and w places, L blocks (states: L + 1).
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import did_you_mean, require
from neurarium.parts.encoders import Encoded, Encoder
from neurarium.parts.initialization import Initialize, fan_in_normal, kaiming, xavier
from neurarium.parts.modes import evaluating
from neurarium.parts.patches import Patches, check_cut, patch_for
from neurarium.parts.residual import MakeJoin, Residual, join_named
from neurarium.parts.transformer import Block

FORMS = ("dense", "convolutional", "transformer")
KERNEL = 3  # pixels a side, of every convolution

STARTS: Mapping[str, Initialize] = {"fan-in": fan_in_normal, "kaiming": kaiming, "xavier": xavier}
"""The rules for first weights, as options on the command line name them."""


class Tokens(nn.Module):
    """A token of each patch, with a learned vector for its position.

    Args:
        shape: channels, height and width of the images.
        width: D, of a token.

    Raises:
        InvalidValue: no patch suits images of that size.

    >>> Tokens(shape=(1, 8, 8), width=12)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 16, 12])
    """

    def __init__(self, *, shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        channels, *sides = shape
        patch = patch_for(max(sides))
        check_cut((sides[0], sides[1]), patch)
        self.grid = (sides[0] // patch, sides[1] // patch)
        self.patches = Patches(channels=channels, patch=patch, width=width)
        self.positions = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], width))

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B P D"]:
        """The tokens, row by row."""
        return self.patches(images) + self.positions


class ReZeroNet(Encoder):
    """One layer that reads the image, and a stack of blocks that begins as the identity.

    The maps of the dense form have one place, for it knows none.

    Args:
        shape: channels, height and width of the images.
        form: "dense", "convolutional" or "transformer".
        depth: L, number of blocks; each is one layer, or attention and a network of two layers for a transformer.
        width: D, units, maps, or numbers of a token.
        heads: of a transformer's attention; they must divide the width.
        residual: "rezero" for x + α F(x), "plain" for x + F(x), "none" for F(x).
        start: rule of the first weights: "fan-in", "kaiming" or "xavier".

    Raises:
        InvalidValue: an unknown form, residual or start, no block, heads that do not divide the width, or images that
            a transformer's patches do not divide.

    >>> net = ReZeroNet(shape=(1, 8, 8), depth=1000, width=16)
    >>> images = torch.rand(2, 1, 8, 8)
    >>> torch.equal(net(images), net.stem(images))
    True
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        form: str = "dense",
        depth: int = 64,
        width: int = 64,
        heads: int = 4,
        residual: str = "rezero",
        start: str = "fan-in",
    ) -> None:
        require(form in FORMS, f"form is '{form}'; {did_you_mean(form, FORMS)}")
        require(depth >= 1, f"depth is {depth}; a net has at least 1 block")
        super().__init__(shape=shape, width=width)
        join = join_named(residual)
        self.stem = _stem(form, shape, width)
        self.blocks = nn.Sequential(*(_block(form, width, heads, join) for _ in range(depth)))
        first_weights(self, start)

    def encode(self, images: Float[Tensor, "B C H W"]) -> Encoded:
        """The mean over the places of what the last block returns."""
        maps = self._places(self.blocks(self.stem(images)))
        return Encoded(maps.mean((2, 3)), maps)

    def signal(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, " states"]:
        """How large the signal is after each block, against how it came in: root mean squares over the first's."""
        with evaluating(self):
            states = [self.stem(images)]
            for block in self.blocks:
                states.append(block(states[-1]))
        sizes = torch.stack([state.float().square().mean().sqrt() for state in states])
        return sizes / sizes[0]

    def _places(self, states: Tensor) -> Float[Tensor, "B D h w"]:
        if isinstance(self.stem, Tokens):
            return states.transpose(1, 2).unflatten(2, self.stem.grid)
        return states if states.ndim == 4 else states[:, :, None, None]


def first_weights(net: nn.Module, start: str, *, generator: torch.Generator | None = None) -> None:
    """Draw the weights of every dense and convolutional layer by one rule, and set their biases to 0.

    Args:
        net: whose layers begin anew; every α and position is left as it is.
        start: name of the rule.
        generator: of the numbers; one seed gives nets that differ in their joins alone the same weights.

    Raises:
        InvalidValue: there is no such rule.

    >>> layer = nn.Linear(100, 400)
    >>> first_weights(layer, "fan-in", generator=torch.Generator().manual_seed(0))
    >>> round(layer.weight.std().item(), 2), layer.bias.any().item()
    (0.1, False)
    """
    require(start in STARTS, f"start is '{start}'; {did_you_mean(start, STARTS)}")
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            STARTS[start](layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _stem(form: str, shape: tuple[int, int, int], width: int) -> nn.Module:
    """What brings images to the width of the blocks."""
    if form == "transformer":
        return Tokens(shape=shape, width=width)
    if form == "convolutional":
        return nn.Sequential(nn.Conv2d(shape[0], width, KERNEL, padding=KERNEL // 2), nn.ReLU())
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], width), nn.ReLU())


def _block(form: str, width: int, heads: int, join: MakeJoin) -> nn.Module:
    """One block, without norm."""
    if form == "transformer":
        return Block(width=width, heads=heads, norm="none", residual=join)
    # y = x + α σ(W x + b)
    layer: nn.Module = nn.Linear(width, width)
    if form == "convolutional":
        layer = nn.Conv2d(width, width, KERNEL, padding=KERNEL // 2)
    return Residual(branch=nn.Sequential(layer, nn.ReLU()), join=join)
