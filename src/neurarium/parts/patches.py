r"""Patches: an image as a row of tokens.

Source: Dosovitskiy et al. 2021, An image is worth 16x16 words, eq. 1 (a linear map of each patch's pixels).
Shapes: B batch, C channels, H height, W width, P patches, D width of a token.
"""

from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import require
from neurarium.parts.initialization import xavier

PATCH_BY_SIDE = ((16, 2), (64, 4))  # pixels: images up to this side get patches of that one; larger ones:
LARGE_PATCH = 16  # pixels, Dosovitskiy et al. 2021, ViT-B/16


class Patches(nn.Module):
    """A token of each patch.

    Args:
        channels: of the images.
        patch: pixels a side.
        width: D, of a token.

    >>> import torch
    >>> Patches(channels=1, patch=2, width=16)(torch.zeros(3, 1, 8, 6)).shape
    torch.Size([3, 12, 16])
    """

    def __init__(self, *, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.project = nn.Linear(channels * patch**2, width)
        xavier(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B P D"]:
        """The tokens, row by row."""
        # z = x_p E, eq. 1
        return self.project(cut(images, self.patch))


def patch_for(side: int) -> int:
    """Pixels a side of a patch that suits images of this side.

    >>> patch_for(8), patch_for(28), patch_for(224)
    (2, 4, 16)
    """
    return next((patch for largest, patch in PATCH_BY_SIDE if side <= largest), LARGE_PATCH)


def check_cut(sides: tuple[int, ...], patch: int) -> None:
    """Refuse patches that leave a rest.

    Raises:
        InvalidValue: a side is no multiple of the patch; the message names the nearest patches that fit.
    """
    height, width = sides
    fitting = [size for size in range(1, min(sides) + 1) if height % size == 0 and width % size == 0]
    near = sorted(sorted(fitting, key=lambda size: abs(size - patch))[:3])
    remedy = f"take patch={' or '.join(map(str, near))}, or images of another size"
    require(patch in fitting, f"images are {height}×{width} pixels, which patches of {patch} do not divide; {remedy}")


def cut(images: Float[Tensor, "B C H W"], patch: int) -> Float[Tensor, "B P pixels"]:
    """The patches row by row, each as a list of its pixels, channel by channel.

    >>> import torch
    >>> cut(torch.arange(16.0).view(1, 1, 4, 4), 2)[0, 1]
    tensor([2., 3., 6., 7.])
    """
    tiles = images.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # B C h p w p
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
