r"""Image decoder: a vector becomes a few coarse places, and these become a picture by doubling.

One dense layer lays out the coarsest maps; each stage then doubles the sides and halves the maps, and a last
convolution makes channels of them. Whatever draws pictures from a vector (noise, a code, a word's meaning) can draw
with it.

Source: Radford, Metz & Chintala 2016, Unsupervised representation learning with deep convolutional GANs, fig. 1 and §3
(no pooling, batch norm, rectifiers; maps halve as sides double); Odena, Dumoulin & Olah 2016, Deconvolution and
checkerboard artifacts (repeat places, then convolve).
Differs: sides double by repeating places instead of by transposed convolutions; sides that are no power of two are cut
from the next that fits; what comes out is plain numbers, for whoever knows what a pixel is to squash.
Shapes: B batch, Z numbers of the vector, C channels, H height, W width, M maps.
"""

from collections.abc import Callable
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from neurarium.errors import InvalidValue, require

COARSE = 7  # pixels that a side has at most where the picture begins
MOST = 8  # times as many maps as at full size, at most

MakeNorm = Callable[[int], nn.Module]
"""Builds what brings maps to one size, from their number."""


class ImageDecoder(nn.Module):
    """From vectors to pictures, as plain numbers.

    Args:
        inputs: Z, numbers of the vector.
        shape: channels, height and width of a picture.
        width: maps at full size.
        norm: follows each layer but the last; None for nothing.
        activation: follows that.

    Raises:
        InvalidValue: a size below 1; in use, vectors of another length.

    >>> import torch
    >>> ImageDecoder(inputs=5, shape=(3, 30, 20), width=4)(torch.zeros(2, 5)).shape
    torch.Size([2, 3, 30, 20])
    """

    def __init__(
        self,
        *,
        inputs: int,
        shape: tuple[int, int, int],
        width: int = 32,
        norm: MakeNorm | None = nn.BatchNorm2d,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        require(inputs >= 1, f"inputs is {inputs}; a picture needs at least 1 number to be drawn from")
        require(width >= 1, f"width is {width}; a picture needs at least 1 map")
        require(min(shape) >= 1, f"the shape is {shape}; channels, height and width must be at least 1")
        self.inputs, self.shape = inputs, shape
        widths = [width * min(2**stage, MOST) for stage in reversed(range(doublings(shape) + 1))]
        self.coarse = (widths[0], *(-(-side // 2 ** doublings(shape)) for side in shape[1:]))

        def after(maps: int) -> nn.Sequential:
            return nn.Sequential(*([norm(maps)] if norm else []), activation())

        self.layout = nn.Linear(inputs, self.coarse[0] * self.coarse[1] * self.coarse[2], bias=norm is None)
        self.first = after(widths[0])
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, maps, 3, padding=1, bias=norm is None), after(maps))
            for before, maps in pairwise(widths)
        )
        self.head = nn.Conv2d(width, shape[0], 3, padding=1)

    def forward(self, vectors: Float[Tensor, "B Z"]) -> Float[Tensor, "B C H W"]:
        """One picture for each vector."""
        if vectors.shape[1:] != (self.inputs,):
            raise InvalidValue(
                f"vectors are {tuple(vectors.shape[1:])}, but this decoder was built for ({self.inputs},)"
            )
        images = self.first(self.layout(vectors).unflatten(1, self.coarse))
        for stage in self.stages:
            images = stage(interpolate(images, scale_factor=2.0, mode="nearest"))
        return self.head(images[:, :, : self.shape[1], : self.shape[2]])


def doublings(shape: tuple[int, int, int]) -> int:
    """How often the sides double from where they are coarse.

    >>> doublings((1, 8, 8)), doublings((1, 28, 28)), doublings((3, 32, 32)), doublings((3, 64, 48))
    (1, 2, 3, 4)
    """
    side, times = max(shape[1:]), 0
    while side > COARSE:
        side, times = -(-side // 2), times + 1
    return times
