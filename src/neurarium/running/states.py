"""States as values: copied, and compared to the bit."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def copy_state(state: Any) -> Any:
    """A copy that shares no tensor with the original.

    >>> one = {"a": torch.zeros(1)}
    >>> other = copy_state(one)
    >>> _ = one["a"].add_(1)
    >>> other["a"].item()
    0.0
    """
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, Mapping):
        return {key: copy_state(value) for key, value in state.items()}
    if isinstance(state, tuple | list):
        return type(state)(copy_state(value) for value in state)
    return state


def difference(one: Any, other: Any, place: str = "") -> str | None:
    """Where two states first differ by a bit (NaN is the same as NaN), or None.

    >>> difference({"a": [1, torch.zeros(2)]}, {"a": [1, torch.zeros(2)]})
    >>> difference({"a": [1, torch.zeros(2)]}, {"a": [1, torch.ones(2)]})
    'a.1'
    """
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return None if _same_tensor(one, other) else place or "the tensor"
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return f"{place} (keys {sorted(map(str, one.keys() ^ other.keys()))})"
        return _first(((key, one[key], other[key]) for key in one), place)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        if len(one) != len(other):
            return f"{place} (lengths {len(one)} and {len(other)})"
        return _first(((number, *pair) for number, pair in enumerate(zip(one, other, strict=True))), place)
    same = one == other or (one != one and other != other)
    return None if same else f"{place} ({one} and {other})"


def _first(pairs: Any, place: str) -> str | None:
    for key, one, other in pairs:
        found = difference(one, other, f"{place}.{key}" if place else str(key))
        if found is not None:
            return found
    return None


def _same_tensor(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    as_bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[one.element_size()]
    one, other = (value.detach().cpu().contiguous().view(as_bits) for value in (one, other))
    return torch.equal(one, other)
