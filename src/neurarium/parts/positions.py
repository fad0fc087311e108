r"""Positions: where in its sequence a token stands, as a vector of waves that is added to it.

Attention does not know order; it must stand in the tokens. Each pair of numbers turns with its own frequency, fast to
slow, like the hands of a clock: near places have near vectors, and to move by a fixed distance is the same rotation
everywhere.

Source: Vaswani et al. 2017, Attention is all you need, §3.5; CSE 151B, Transformer Networks; CS 479 §31.2.
Differs: sine and cosine stand in two halves and not in turns (an order of columns that no layer after can tell).
Shapes: B batch, T places, D width.
"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from neurarium.errors import require

SLOWEST = 10_000.0  # the longest wave is so many times 2π places, §3.5


def sinusoids(places: Shaped[Tensor, " T"], *, width: int) -> Float[Tensor, "T D"]:
    """The vectors of some places.

    Args:
        places: counted from 0; they need not follow each other, or be whole.
        width: of the vectors, even.

    Raises:
        InvalidValue: a width that is odd or below 2.

    >>> sinusoids(torch.tensor([0, 1]), width=4)
    tensor([[0.0000, 0.0000, 1.0000, 1.0000],
            [0.8415, 0.0100, 0.5403, 0.9999]])
    """
    require(width >= 2 and width % 2 == 0, f"width is {width}; waves come in pairs, so it must be even and at least 2")
    # ω_i = 10000^(−2i/D), in doubles: a float of 10,000 places times ω would be off by more than its last digit
    waves = SLOWEST ** -(torch.arange(0, width, 2, device=places.device, dtype=torch.float64) / width)
    angles = places.double().unsqueeze(1) * waves
    # PE(t, 2i) = sin(ω_i t), PE(t, 2i + 1) = cos(ω_i t)
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


class Positions(nn.Module):
    """Adds to every token where it stands.

    Args:
        width: of the tokens, even.
        longest: places that are known.

    Raises:
        InvalidValue: a width that is odd or below 2, fewer than 1 place; in use, a sequence longer than the positions.

    >>> Positions(width=4, longest=8)(torch.zeros(1, 2, 4))[0]
    tensor([[0.0000, 0.0000, 1.0000, 1.0000],
            [0.8415, 0.0100, 0.5403, 0.9999]])
    """

    def __init__(self, *, width: int, longest: int) -> None:
        super().__init__()
        require(longest >= 1, f"longest is {longest}; positions need at least 1 place")
        self.longest = longest
        # Not saved: it follows from its two arguments.
        self.register_buffer("table", sinusoids(torch.arange(longest), width=width), persistent=False)

    def forward(self, tokens: Float[Tensor, "B T D"], *, start: int = 0) -> Float[Tensor, "B T D"]:
        """The tokens with their places; the first stands at `start`."""
        end = start + tokens.shape[1]
        check_fits(end, self.longest)
        table: Tensor = self.table  # type: ignore[assignment]
        return tokens + table[start:end].to(tokens.dtype)


def check_fits(length: int, longest: int) -> None:
    """Refuse a sequence that is longer than the positions.

    Raises:
        InvalidValue: it is.

    >>> check_fits(9, 8)
    Traceback (most recent call last):
    neurarium.errors.InvalidValue: a sequence of 9 tokens is longer than the 8 positions; shorten it or raise longest
    """
    require(
        length <= longest,
        f"a sequence of {length} tokens is longer than the {longest} positions; shorten it or raise longest",
    )
