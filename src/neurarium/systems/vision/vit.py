r"""Vision transformer: a picture is a sentence of patches.

Cut the picture into patches, make a token of each by one linear layer, and add a learned vector for its position; a
transformer then works on them as on words. One more token, of no patch, reads all others through the blocks and is at
the end what the picture looks like. Nothing but the cut knows that pictures have two dimensions: which patches belong
together is learned, and can be seen in where the class token looks.

Source: CSE 151B, Transformer Networks (Image Transformer); CS 479 §31; Dosovitskiy et al. 2021, An Image is Worth 16x16
Words, §3.1, eq. 1-4, table 1; Abnar & Zuidema 2020, Quantifying Attention Flow in Transformers, §3 (rollout).
Differs: sizes that suit small pictures. The last block works on the class token alone, for nothing else of it is read:
the same function for less work. With norm="none" and residual="rezero" it is a ReZero transformer.
Shapes: B batch, C channels, H height, W width, P patches of h × w places, T = P + 1 tokens, D width, K heads.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import require
from neurarium.parts.encoders import Encoded, Encoder
from neurarium.parts.modes import evaluating
from neurarium.parts.patches import Patches, check_cut, patch_for
from neurarium.parts.residual import join_named
from neurarium.parts.transformer import Block

SPREAD = 0.02  # deviation of the first class token and positions; the authors' code
CLASS = slice(0, 1)  # where the class token stands


class Weights(NamedTuple):
    """Where the tokens of one block looked."""

    heads: Float[Tensor, "B K T T"]


class ViT(Encoder):
    """The class token after a stack of transformer blocks.

    The maps are the patches' tokens that the last block looks at.

    Args:
        shape: channels, height and width of the images.
        patch: pixels a side (0: 2 for images up to 16 pixels, 4 up to 64, 16 beyond).
        width: D, of a token.
        depth: number of blocks.
        heads: of attention.
        hidden: units of the feed-forward networks (0: four times the width).
        dropout: chance in training that a weight of attention, a hidden unit or an output is left out.
        norm: layer norm "before" each part, "after" each sum, or "none".
        residual: "plain", "none" or "rezero".

    Raises:
        InvalidValue: patches that do not divide the images, heads that do not divide the width, no block, or an unknown
            norm or residual.

    >>> from neurarium.parts.encoders import Classifier
    >>> net = Classifier(ViT(shape=(1, 8, 8)), classes=10)
    >>> net(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        patch: int = 0,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        hidden: int = 0,
        dropout: float = 0.0,
        norm: str = "before",
        residual: str = "plain",
    ) -> None:
        patch = patch or patch_for(max(shape[1:]))
        require(patch >= 1, f"patch is {patch}; a patch has at least 1 pixel a side, or 0 to let the size decide")
        super().__init__(shape=shape, width=width, smallest=patch)
        require(depth >= 1, f"depth is {depth}; a transformer has at least 1 block")
        check_cut(shape[1:], patch)
        self.grid = (shape[1] // patch, shape[2] // patch)
        self.patches = Patches(channels=shape[0], patch=patch, width=width)
        self.class_token = nn.Parameter(SPREAD * torch.randn(1, 1, width))
        self.positions = nn.Parameter(SPREAD * torch.randn(1, 1 + self.grid[0] * self.grid[1], width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(
                width=width,
                heads=heads,
                hidden=hidden or None,
                dropout=dropout,
                norm=norm,
                residual=join_named(residual),
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width) if norm == "before" else nn.Identity()

    @property
    def layers(self) -> list[Block]:
        """The blocks."""
        return cast("list[Block]", list(self.blocks))

    def encode(self, images: Float[Tensor, "B C H W"]) -> Encoded:
        """The class token at the end, and the patches' tokens that it looked at last."""
        *blocks, last = self.layers
        tokens = self.embed(images)
        for block in blocks:
            tokens = block(tokens)
        classes, patches = tokens.split([1, tokens.shape[1] - 1], 1)
        # Features are made from the maps, so that a slope of theirs along these says what mattered.
        maps = patches.transpose(1, 2).unflatten(2, self.grid)
        tokens = torch.cat([classes, maps.flatten(2).transpose(1, 2)], 1)
        # y = LN(z_L⁰), eq. 4
        return Encoded(self.norm(last(tokens, asked=CLASS)).squeeze(1), maps)

    def embed(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B T D"]:
        """The tokens before the first block: the class token, then the patches, row by row."""
        patches = self.patches(images)
        classes = self.class_token.expand(patches.shape[0], 1, -1)
        # z₀ = [x_class; x_p¹ E; …; x_pᴾ E] + E_pos, eq. 1
        return self.dropout(torch.cat([classes, patches], 1) + self.positions)

    def attention(self, images: Float[Tensor, "B C H W"]) -> list[Weights]:
        """Where every token looked, block by block, in evaluation mode."""
        found = []
        with evaluating(self):
            tokens = self.embed(images)
            for block in self.layers:
                tokens, weights = block.look(tokens)
                found.append(Weights(weights))
        return found


def class_attention(weights: Weights, grid: tuple[int, int]) -> Float[Tensor, "B K h w"]:
    """How much the class token looked at each patch, head by head; what it gave itself is left out.

    >>> class_attention(Weights(torch.full((1, 2, 5, 5), 0.2)), (2, 2)).shape
    torch.Size([1, 2, 2, 2])
    """
    return weights.heads[:, :, 0, 1:].unflatten(2, grid)


def rollout(blocks: Sequence[Weights], grid: tuple[int, int]) -> Float[Tensor, "B h w"]:
    """How much of each patch reaches the class token through all blocks, if attention mixed tokens and nothing else.

    Raises:
        InvalidValue: there are no blocks.

    >>> even = Weights(torch.full((1, 1, 5, 5), 0.2))
    >>> rollout([even], (2, 2))  # half stays where it is, and half is dealt out
    tensor([[[0.1000, 0.1000],
             [0.1000, 0.1000]]])
    """
    require(len(blocks) >= 1, "there are no blocks; a rollout goes through at least one")
    flow = torch.eye(blocks[0].heads.shape[-1], device=blocks[0].heads.device)
    for weights in blocks:
        mixed = weights.heads.mean(1)
        # Ã_l = ½ (A_l + I) Ã_{l−1}
        flow = 0.5 * (mixed + torch.eye(mixed.shape[-1], device=mixed.device)) @ flow
    return flow[:, 0, 1:].unflatten(1, grid)
