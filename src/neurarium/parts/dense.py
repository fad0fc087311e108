"""Dense layers in a row: the plainest network, as a part of others."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from neurarium.errors import require


def dense(sizes: Sequence[int], activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Dense layers with an activation between every two.

    Args:
        sizes: of the inputs, of each layer between, and of the outputs.
        activation: makes one.

    Raises:
        InvalidValue: a size below 1.

    >>> [type(layer).__name__ for layer in dense((2, 8, 1), nn.ReLU)]
    ['Linear', 'ReLU', 'Linear']
    """
    require(min(sizes) >= 1, f"the layers have sizes {list(sizes)}, but each must be at least 1")
    layers = [layer for before, after in pairwise(sizes) for layer in (nn.Linear(before, after), activation())]
    return nn.Sequential(*layers[:-1])
