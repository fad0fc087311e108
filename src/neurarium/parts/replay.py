r"""Replay: a ring of experience that is learned from again, in another order than it came in.

What was just seen resembles what was seen before it; a batch drawn from all of the past does not. When the ring is
full, the newest takes the oldest's place. It holds bundles of any kind, field by field in tensors, and it can be saved
with the chance that draws from it, so that a resumed run draws the same.

Source: Lin 1992, Self-improving reactive agents, §4 (experience replay); Mnih et al. 2015, Human-level control through
deep reinforcement learning, Methods.
Shapes: B batch, N capacity.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from neurarium.errors import InvalidValue, require
from neurarium.parts.bundles import check_batch

Bundle = TypeVar("Bundle", bound=tuple[Any, ...])


class Replay(Generic[Bundle]):
    """The newest rows of experience, up to a capacity.

    Args:
        kind: the bundle's class, a NamedTuple of tensors.
        capacity: rows kept.
        generator: where the draws come from; of the CPU.

    Raises:
        InvalidValue: a capacity below 1, or a kind without fields.

    >>> from neurarium.parts.bundles import Labelled
    >>> replay = Replay(Labelled, capacity=3, generator=torch.Generator())
    >>> for number in range(5):
    ...     replay.add(Labelled(torch.full((1, 2), float(number)), torch.tensor([number])))
    >>> len(replay), sorted(replay.everything().labels.tolist())
    (3, [2, 3, 4])
    >>> replay.sample(8).inputs.shape
    torch.Size([8, 2])
    """

    def __init__(self, kind: Callable[..., Bundle], *, capacity: int, generator: torch.Generator) -> None:
        require(capacity >= 1, f"capacity is {capacity}; a replay keeps at least 1 row")
        self.fields: tuple[str, ...] = getattr(kind, "_fields", ())
        require(bool(self.fields), f"{kind} has no fields; a replay keeps NamedTuples of tensors")
        self.kind = kind
        self.capacity = capacity
        self.generator = generator
        self.seen = 0  # rows ever added
        self._rings: tuple[Tensor, ...] = ()  # (N, ...) each, made when the first rows tell their shapes

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(self, bundle: Bundle) -> None:
        """Take in the rows of a bundle, in their order; of more rows than the capacity, the last.

        Raises:
            InvalidValue: it is empty, or its rows have another shape than those before.
        """
        check_batch(bundle, wanted="rows of experience")
        rows = len(bundle[0])
        if not self._rings:
            self._rings = tuple(value.new_zeros(self.capacity, *value.shape[1:]) for value in bundle)
        for name, ring, value in zip(self.fields, self._rings, bundle, strict=True):
            if ring.shape[1:] != value.shape[1:]:
                raise InvalidValue(
                    f"rows of {name} have shape {tuple(value.shape[1:])}, but the replay keeps {tuple(ring.shape[1:])}"
                )
        kept = min(rows, self.capacity)
        places = (torch.arange(rows - kept, rows) + self.seen) % self.capacity
        for ring, value in zip(self._rings, bundle, strict=True):
            ring[places.to(ring.device)] = value[-kept:]
        self.seen += rows

    def sample(self, count: int) -> Bundle:
        """So many rows drawn from all, each as likely, with repetition.

        Raises:
            InvalidValue: there is nothing to draw from, or fewer than 1 row is asked for.
        """
        require(count >= 1, f"the batch is {count}; at least 1 row must be drawn")
        require(len(self) > 0, "the replay is empty; add experience before drawing from it")
        drawn = torch.randint(len(self), (count,), generator=self.generator)
        return self._bundle([ring[drawn.to(ring.device)] for ring in self._rings])

    def everything(self) -> Bundle:
        """All rows, the oldest first.

        Raises:
            InvalidValue: there is none.
        """
        require(len(self) > 0, "the replay is empty; add experience before looking at it")
        order = (torch.arange(len(self)) + (self.seen if self.seen > self.capacity else 0)) % self.capacity
        return self._bundle([ring[order.to(ring.device)] for ring in self._rings])

    def state_dict(self) -> dict[str, Any]:
        """What it holds, how much it has seen, and where its chance stands."""
        held = {name: ring[: len(self)].clone() for name, ring in zip(self.fields, self._rings, strict=False)}
        return {"held": held, "seen": self.seen, "capacity": self.capacity, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back there.

        Raises:
            InvalidValue: the state is of another capacity.
        """
        saved = state["capacity"]
        require(saved == self.capacity, f"the saved replay keeps {saved} rows, but this one {self.capacity}")
        self.seen = state["seen"]
        self.generator.set_state(state["generator"].cpu())
        held = [state["held"][name] for name in self.fields] if self.seen else []
        self._rings = tuple(value.new_zeros(self.capacity, *value.shape[1:]) for value in held)
        for ring, value in zip(self._rings, held, strict=True):
            ring[: len(value)] = value

    def _bundle(self, values: list[Tensor]) -> Bundle:
        return self.kind(*values)
