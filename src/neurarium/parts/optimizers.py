"""Optimisers as the rest of the house takes them: a function from parameters and a learning rate to an optimiser."""

from collections.abc import Iterable
from functools import partial
from typing import Protocol, runtime_checkable

from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer


@runtime_checkable
class MakeOptimizer(Protocol):
    """Anything that builds an optimiser from parameters and a learning rate: a torch class, or a partial of one."""

    def __call__(self, parameters: Iterable[Tensor], /, *, lr: float) -> Optimizer: ...


# One kernel for all parameters: the same numbers as the plain loop, sooner.
adam: MakeOptimizer = partial(Adam, fused=True)
adamw: MakeOptimizer = partial(AdamW, fused=True)
sgd: MakeOptimizer = partial(SGD, fused=True)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group.

    >>> import torch
    >>> optimizer = adam([torch.zeros(1, requires_grad=True)], lr=0.1)
    >>> set_rate(optimizer, 0.05)
    >>> optimizer.param_groups[0]["lr"]
    0.05
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
