r"""Operations on whole arrays: functions of each element, reductions, changes of shape, and softmax with cross-entropy.

Each is an `Op` with its rule, and a function that applies it.

Source: CS 479 §9.2 (σ' = σ(1 − σ)), §6 (categorical cross-entropy).
Differs: cross-entropy takes logits and labels and shifts by the largest logit, so that no exponential overflows; where
several elements are the largest, `maximum` deals the slope out equally.
Shapes: B batch, K classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from neurarium.errors import InvalidValue, require
from neurarium.parts.autodiff import Value, Var, apply
from neurarium.parts.autodiff_operations import Array, Op

Axis = int | tuple[int, ...] | None


class Exp(Op):
    """eˣ."""

    needs = "output"

    def forward(self, *values: Array) -> Any:
        self.y = np.exp(values[0])
        return self.y

    def backward(self, slope: Array) -> tuple[Any, ...]:
        # y' = y
        return (slope * self.y,)


class Log(Op):
    """The natural logarithm."""

    needs = "args"

    def forward(self, *values: Array) -> Any:
        (self.x,) = values
        return np.log(self.x)

    def backward(self, slope: Array) -> tuple[Any, ...]:
        # y' = 1/x
        return (slope / self.x,)


class Tanh(Op):
    """The hyperbolic tangent."""

    needs = "output"

    def forward(self, *values: Array) -> Any:
        self.y = np.tanh(values[0])
        return self.y

    def backward(self, slope: Array) -> tuple[Any, ...]:
        # y' = 1 − y²
        return (slope * (1 - self.y**2),)


class Sigmoid(Op):
    """1/(1 + e⁻ˣ)."""

    needs = "output"

    def forward(self, *values: Array) -> Any:
        # σ(x) = ½ (1 + tanh(x/2)), which overflows nowhere
        self.y = 0.5 * (1 + np.tanh(0.5 * values[0]))
        return self.y

    def backward(self, slope: Array) -> tuple[Any, ...]:
        # y' = y (1 − y)
        return (slope * self.y * (1 - self.y),)


class ReLU(Op):
    """max(x, 0)."""

    def forward(self, *values: Array) -> Any:
        self.on = values[0] > 0
        # not x · (x > 0), which makes NaN of −∞
        return np.maximum(values[0], 0)

    def backward(self, slope: Array) -> tuple[Any, ...]:
        # y' = 1 where x > 0, else 0
        return (slope * self.on,)


class Sum(Op):
    """Σ x over some axes."""

    def __init__(self, axis: Axis, keepdims: bool) -> None:
        self.axis, self.keepdims = axis, keepdims

    def forward(self, *values: Array) -> Any:
        self.shape = values[0].shape
        return values[0].sum(axis=self.axis, keepdims=self.keepdims)

    def backward(self, slope: Array) -> tuple[Any, ...]:
        # ∂Σx/∂xᵢ = 1
        return (np.broadcast_to(restored(slope, self.axis, self.keepdims), self.shape),)


class Max(Op):
    """The largest element along some axes."""

    needs = "args"

    def __init__(self, axis: Axis, keepdims: bool) -> None:
        self.axis, self.keepdims = axis, keepdims

    def forward(self, *values: Array) -> Any:
        (x,) = values
        require(x.size > 0, f"the maximum of an array of shape {x.shape} does not exist; it has no elements")
        top = x.max(axis=self.axis, keepdims=True)
        self.largest = x == top
        return top if self.keepdims else x.max(axis=self.axis)

    def backward(self, slope: Array) -> tuple[Any, ...]:
        # 1 at the largest, else 0; shared by equals
        share = self.largest / self.largest.sum(axis=self.axis, keepdims=True)
        return (restored(slope, self.axis, self.keepdims) * share,)


class Reshape(Op):
    """The same elements in another shape."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.wanted = tuple(shape)

    def forward(self, *values: Array) -> Any:
        self.shape = values[0].shape
        try:
            return values[0].reshape(self.wanted)
        except ValueError:
            raise InvalidValue(
                f"Reshape of {self.shape} to {self.wanted}: the number of elements differs; it must stay the same"
            ) from None

    def backward(self, slope: Array) -> tuple[Any, ...]:
        return (slope.reshape(self.shape),)


class Transpose(Op):
    """The axes in another order."""

    def __init__(self, axes: Sequence[int] | None) -> None:
        self.axes = None if axes is None else tuple(axes)

    def forward(self, *values: Array) -> Any:
        ndim = values[0].ndim
        axes = tuple(reversed(range(ndim))) if self.axes is None else tuple(axis % max(ndim, 1) for axis in self.axes)
        if sorted(axes) != list(range(ndim)):
            raise InvalidValue(f"Transpose of {values[0].shape} by axes {self.axes}: each of its axes must come once")
        self.back = np.argsort(axes)
        return values[0].transpose(axes)

    def backward(self, slope: Array) -> tuple[Any, ...]:
        return (slope.transpose(self.back),)


class Concatenate(Op):
    """Arrays one after another along an axis."""

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, *values: Array) -> Any:
        try:
            out = np.concatenate(values, axis=self.axis)
        except ValueError:
            shapes = " and ".join(str(value.shape) for value in values)
            raise InvalidValue(
                f"Concatenate of shapes {shapes} along axis {self.axis}: all other sizes must be equal"
            ) from None
        self.ends = np.cumsum([value.shape[self.axis] for value in values])[:-1]
        return out

    def backward(self, slope: Array) -> tuple[Any, ...]:
        return tuple(np.split(slope, self.ends, axis=self.axis))


class Pad(Op):
    """Zeros around an array, so many before and after along each axis."""

    def __init__(self, widths: Sequence[tuple[int, int]]) -> None:
        self.widths = tuple(widths)

    def forward(self, *values: Array) -> Any:
        (x,) = values
        fits = len(self.widths) == x.ndim and all(min(pair) >= 0 for pair in self.widths)
        require(fits, f"Pad of {x.shape} by {self.widths}: give (before, after), 0 or more, for each axis")
        self.inside = tuple(
            slice(before, before + size) for (before, _), size in zip(self.widths, x.shape, strict=True)
        )
        return np.pad(x, self.widths)

    def backward(self, slope: Array) -> tuple[Any, ...]:
        return (slope[self.inside],)


class SoftmaxCrossEntropy(Op):
    """−log softmax(logits) at the labels, averaged over the batch."""

    def __init__(self, labels: Array) -> None:
        self.labels = np.array(labels)

    def forward(self, *values: Array) -> Any:
        (logits,) = values
        self._require_labels(logits)
        # log softmax(z)ₖ = zₖ − m − log Σ e^(z − m), with m the largest z
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        self.softmax, self.rows = np.exp(log_softmax), np.arange(logits.shape[0])
        return -log_softmax[self.rows, self.labels].mean()

    def backward(self, slope: Array) -> tuple[Any, ...]:
        # ∂E/∂z = (softmax(z) − onehot(t))/B
        by_logits = self.softmax.copy()
        by_logits[self.rows, self.labels] -= 1
        return (slope * by_logits / len(self.rows),)

    def _require_labels(self, logits: Array) -> None:
        if logits.ndim != 2 or self.labels.shape != logits.shape[:1] or not self.labels.size:
            raise InvalidValue(
                f"logits are {logits.shape} and labels {self.labels.shape}; they must be (B, K) and (B,)"
            )
        whole = self.labels.dtype.kind in "iu"
        if not whole or self.labels.min() < 0 or self.labels.max() >= logits.shape[1]:
            raise InvalidValue(
                f"labels must be whole numbers from 0 to {logits.shape[1] - 1}, one for each row of logits"
            )


def restored(slope: Array, axis: Axis, keepdims: bool) -> Array:
    """A reduction's slope with the axes it lost back as 1, to broadcast over what was reduced."""
    return slope if keepdims or axis is None else np.expand_dims(slope, axis)


def exp(x: Value) -> Var:
    """eˣ, element by element."""
    return apply(Exp(), x)


def log(x: Value) -> Var:
    """The natural logarithm, element by element; −∞ at 0 and NaN below, as in NumPy."""
    return apply(Log(), x)


def tanh(x: Value) -> Var:
    """The hyperbolic tangent, element by element."""
    return apply(Tanh(), x)


def sigmoid(x: Value) -> Var:
    """The logistic function, element by element."""
    return apply(Sigmoid(), x)


def relu(x: Value) -> Var:
    """The positive part, element by element; its slope at 0 is 0."""
    return apply(ReLU(), x)


def total(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Var:
    """The sum over some axes, or all."""
    return apply(Sum(axis, keepdims), x)


def mean(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Var:
    """The mean over some axes, or all.

    >>> x = Var([[1.0, 3.0], [5.0, 7.0]])
    >>> mean(x, axis=0).val.tolist()
    [3.0, 5.0]
    """
    summed = total(x, axis, keepdims=keepdims)
    return summed / (np.size(x.val if isinstance(x, Var) else x) / max(1, summed.val.size))


def maximum(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Var:
    """The largest element along some axes, or of all."""
    return apply(Max(axis, keepdims), x)


def reshape(x: Value, shape: Sequence[int]) -> Var:
    """The same elements in another shape, one size of which may be −1; a view where NumPy can give one."""
    return apply(Reshape(shape), x)


def transpose(x: Value, axes: Sequence[int] | None = None) -> Var:
    """A view with the axes in another order, or reversed."""
    return apply(Transpose(axes), x)


def concatenate(parts: Sequence[Value], axis: int = 0) -> Var:
    """Arrays joined along an axis."""
    require(len(parts) > 0, "concatenate was given nothing; it needs at least one array")
    return apply(Concatenate(axis), *parts)


def pad(x: Value, widths: Sequence[tuple[int, int]]) -> Var:
    """Zeros around an array: (before, after) for each axis."""
    return apply(Pad(widths), x)


def softmax_cross_entropy(logits: Value, labels: Array) -> Var:
    """Mean cross-entropy of logits (B, K) with the labels (B,).

    Raises:
        InvalidValue: other shapes, an empty batch, or a label that is no class.

    >>> z = Var([[1000.0, 0.0]])
    >>> softmax_cross_entropy(z, np.array([1])).val.item()
    1000.0
    """
    return apply(SoftmaxCrossEntropy(labels), logits)
