"""Learner: a system together with the rule by which it learns.

`learn(batch)` makes one update and returns named measures. That is the whole contract with the loop; how many
networks, optimisers, traces or tables stand behind it is the learner's own affair. What a learner is made of lies
in its attributes, and this base class finds it there: modules, optimisers, tensors, generators and numbers. So a
checkpoint holds all of it without a list kept by hand.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from neurarium.errors import CheckpointError
from neurarium.learners.stream import State

Batch = TypeVar("Batch", contravariant=True)

Measures = Mapping[str, Tensor | float]
"""Named scalars; a tensor stays on its device until the trace is written, so a step never waits for it."""


class Learner(ABC, Generic[Batch]):
    """The base of every learner.

    Attributes:
        progress: how much of the training is done, from 0 to 1. The loop sets it before each step; schedules read
            it. In a loop of one's own it stays 0 unless one sets it, and every schedule then stays at its start.
        channels_last: whether convolutions may be laid out channels-last under bfloat16; a learner whose network
            this slows down says False.

    >>> class Mean(Learner[Tensor]):
    ...     def __init__(self):
    ...         self.value = torch.zeros(())
    ...
    ...     def learn(self, batch):
    ...         self.value += 0.5 * (batch.mean() - self.value)
    ...         return {"value": self.value.clone()}
    >>> mean = Mean()
    >>> float(mean.learn(torch.tensor([1.0, 3.0]))["value"])
    1.0
    >>> other = Mean()
    >>> other.load_state_dict(mean.state_dict())
    >>> float(other.value)
    1.0
    """

    progress: float = 0.0
    channels_last: bool = True

    @abstractmethod
    def learn(self, batch: Batch) -> Measures:
        """Make one update from a batch and return its measures."""

    def example(self, batch: Batch) -> dict[str, tuple[Tensor, ...]]:
        """For each module worth exporting, by attribute name, the inputs of one call of it.

        Args:
            batch: a batch of the learner's stream, from which shapes are taken.
        """
        return {}

    def modules(self) -> dict[str, nn.Module]:
        """The learner's networks, by attribute name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, nn.Module)}

    def optimizers(self) -> dict[str, Optimizer]:
        """The learner's optimisers, by attribute name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Optimizer)}

    def to(self, device: torch.device | str) -> Self:
        """Move modules, optimiser state and tensors to a device."""
        for name, value in vars(self).items():
            if isinstance(value, nn.Module):
                value.to(device)
            elif isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        for optimizer in self.optimizers().values():
            _restore_optimizer(optimizer, optimizer.state_dict())
        return self

    def state_dict(self) -> State:
        """All that learning has changed and will need: the state of every attribute that has one."""
        return {name: _state_of(value) for name, value in self._attributes().items()}

    def load_state_dict(self, state: State) -> None:
        """Go back to a state.

        Raises:
            CheckpointError: the state is of another learner (an attribute is missing, or there is one too many).
        """
        mine = set(self._attributes())
        if mine != set(state):
            odd = ", ".join(sorted(mine ^ set(state)))
            raise CheckpointError(f"the state does not fit {type(self).__name__}: it differs in {odd}")
        for name, saved in state.items():
            _restore(self, name, saved)

    def _attributes(self) -> dict[str, Any]:
        # Progress is the loop's to set, not the learner's to keep.
        return {name: value for name, value in vars(self).items() if name != "progress" and _has_state(value)}


def _has_state(value: Any) -> bool:
    return isinstance(value, Tensor | torch.Generator | int | float) or hasattr(value, "load_state_dict")


def _state_of(value: Any) -> Any:
    if isinstance(value, torch.Generator):
        return value.get_state()
    return value.state_dict() if hasattr(value, "load_state_dict") else value


def _restore(learner: Learner[Any], name: str, saved: Any) -> None:
    value = getattr(learner, name)
    if isinstance(value, torch.Generator):
        value.set_state(saved.cpu())
    elif isinstance(value, Optimizer):
        _restore_optimizer(value, saved)
    elif isinstance(value, nn.Module):
        try:
            value.load_state_dict(saved)
        except RuntimeError as error:
            raise CheckpointError(f"the saved {name} does not fit: {' '.join(str(error).split())}") from None
    elif hasattr(value, "load_state_dict"):
        value.load_state_dict(saved)
    elif isinstance(value, Tensor):
        value.data.copy_(saved)
    else:
        setattr(learner, name, saved)


def _restore_optimizer(optimizer: Optimizer, saved: State) -> None:
    """Load the state and give each moment the memory layout of its parameter.

    A checkpoint holds plain contiguous tensors, but the fused CPU kernels walk parameter and moment in memory order:
    beside a channels-last weight, a contiguous moment would be read in the wrong order.
    """
    optimizer.load_state_dict(saved)
    for parameter, moments in optimizer.state.items():
        for name, moment in moments.items():
            if isinstance(moment, Tensor) and moment.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter, dtype=moment.dtype).copy_(moment)
