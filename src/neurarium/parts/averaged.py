r"""Averaged weights: a second network that is the running mean of what the first one was.

Steps on noisy gradients wander around the place they are drawn to; their mean lies nearer to it. Generators are
sampled from, and teachers judged by, the mean.

Source: Polyak & Juditsky 1992, Acceleration of stochastic approximation by averaging, §1 (averaging); Ho, Jain & Abbeel
2020, Denoising diffusion probabilistic models, appendix B (a moving mean with decay 0.9999).
Differs: the decay grows from 0 in the first steps, so that the mean soon forgets where it began.
"""

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from neurarium.errors import require

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Averaged(nn.Module, Generic[ModuleT]):
    """The running mean of a module's parameters; buffers are those of now.

    Args:
        module: what is averaged; it is copied, and the copy lies in `mean`.
        decay: how much of the mean stays at a step.

    Raises:
        InvalidValue: a decay that is not at least 0 and below 1.

    >>> layer = nn.Linear(1, 1)
    >>> averaged = Averaged(layer, decay=0.5)
    >>> with torch.no_grad():
    ...     _ = layer.weight.fill_(1.0), averaged.mean.weight.fill_(0.0)
    >>> for _ in range(20):
    ...     averaged.update(layer)
    >>> round(averaged.mean.weight.item(), 4)
    1.0
    """

    steps: Tensor

    def __init__(self, module: ModuleT, *, decay: float = 0.999) -> None:
        super().__init__()
        require(0 <= decay < 1, f"decay is {decay}; it must be at least 0 and below 1")
        self.decay = decay
        self.mean: ModuleT = deepcopy(module).requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, module: ModuleT) -> None:
        """Take in what the module is now."""
        self.steps += 1
        steps = int(self.steps)
        # m ← d m + (1 − d) w, with d = min(decay, (1 + n)/(10 + n))
        weight = 1 - min(self.decay, (1 + steps) / (10 + steps))
        mine: list[Tensor] = list(self.mean.parameters())
        theirs: list[Tensor] = list(module.parameters())
        torch._foreach_lerp_(mine, theirs, weight)
        for kept, now in zip(self.mean.buffers(), module.buffers(), strict=True):
            kept.copy_(now)
