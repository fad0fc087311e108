r"""Operations of automatic differentiation: what each computes, and what its output's slope says of its arguments'.

An `Op` is a square of the expression graph. `forward` goes from the arguments to the output; `backward` takes the
slope s of the final result by the output, and by the chain rule gives the slope by each argument. Here are arithmetic,
products of matrices and indexing; more stand in `autodiff_arrays` and `autodiff_images`.

Source: CS 479 §9.1.1 (Op and its arguments), §9.2 (s has the shape of the Op's output).
Differs: arguments broadcast as in NumPy; a slope is then summed over the places that shared a value.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from neurarium.errors import InvalidValue, NeurariumError

Array = NDArray[Any]


class GraphFreed(NeurariumError, RuntimeError):
    """A Var was used whose graph a backward has already walked and freed."""


class ChangedInPlace(NeurariumError, RuntimeError):
    """A value that backward needs is no longer the one that was computed with."""


@dataclass
class Version:
    """How often some memory was written to; all Vars that look at the same memory share one."""

    count: int = 0


class Op(ABC):
    """An operation applied once: a square of the graph. A new one is a class with `forward` and `backward`.

    >>> class Square(Op):
    ...     needs = "args"
    ...
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x * x
    ...
    ...     def backward(self, slope):
    ...         return (slope * 2 * self.x,)
    >>> from neurarium.parts.autodiff import Var, apply
    >>> x = Var([1.0, 3.0])
    >>> apply(Square(), x).backward([1, 1])
    >>> x.grad.tolist()
    [2.0, 6.0]
    """

    needs: ClassVar[Literal["nothing", "args", "output"]] = "nothing"
    """Whose values `backward` computes with; those must not change in between."""

    args: tuple[Any, ...] = ()
    freed: bool = False
    watched: tuple[tuple[Version, int], ...] = ()

    @abstractmethod
    def forward(self, *values: Array) -> Any:
        """The output from the arguments; what `backward` will need is kept as attributes."""

    @abstractmethod
    def backward(self, slope: Array) -> tuple[Any, ...]:
        """The slope by each argument, from the slope by the output; None where there is none."""

    @property
    def name(self) -> str:
        """The operation's name in messages and drawings."""
        return type(self).__name__

    def check(self) -> None:
        """Refuse to differentiate what was freed or has changed.

        Raises:
            GraphFreed: a backward has been here before.
            ChangedInPlace: a value that `backward` needs was written to.
        """
        if self.freed:
            raise GraphFreed(freed_text("backward"))
        if any(version.count != count for version, count in self.watched):
            raise ChangedInPlace(
                f"a value that {self.name} needs for its slope was written to after it was used; compute anew or copy"
            )

    def pass_back(self, slope: Array) -> Iterator[tuple[Any, Array]]:
        """Each argument that wants a gradient, with its part."""
        with np.errstate(all="ignore"):
            parts = self.backward(slope)
        for arg, part in zip(self.args, parts, strict=True):
            if arg.requires_grad and part is not None:
                yield arg, np.asarray(part, dtype=arg.val.dtype)

    def free(self) -> None:
        """Let go of arguments and kept values."""
        vars(self).clear()
        self.freed = True


def freed_text(where: str) -> str:
    """The message of `GraphFreed`."""
    return f"{where} meets a Var whose graph was freed by backward; compute it anew, detach() it, or keep_graph=True"


def summed_to(slope: Array, shape: tuple[int, ...]) -> Array:
    """The slope by a value of this shape that was broadcast: the sum over all places where it was used.

    >>> summed_to(np.ones((2, 3)), (3,)).tolist(), summed_to(np.ones((2, 3)), (2, 1)).tolist()
    ([2.0, 2.0, 2.0], [[3.0], [3.0]])
    """
    if slope.shape == shape:
        return slope
    slope = np.asarray(slope.sum(axis=tuple(range(slope.ndim - len(shape)))))
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1 != slope.shape[axis])
    return slope.sum(axis=stretched, keepdims=True) if stretched else slope


class Elementwise(Op):
    """Two arguments that broadcast against each other."""

    def forward(self, *values: Array) -> Array:
        """The result, or an error that names both shapes."""
        self.a, self.b = values
        try:
            return np.asarray(self.combine(self.a, self.b))
        except ValueError:
            raise InvalidValue(
                f"{self.name} of shapes {self.a.shape} and {self.b.shape}: they do not broadcast; every size must "
                "be equal or 1, counted from the last"
            ) from None

    def backward(self, slope: Array) -> tuple[Any, ...]:
        by_a, by_b = self.slopes(slope)
        return summed_to(np.asarray(by_a), self.a.shape), summed_to(np.asarray(by_b), self.b.shape)

    @abstractmethod
    def combine(self, a: Array, b: Array) -> Any:
        """Element by element."""

    @abstractmethod
    def slopes(self, slope: Array) -> tuple[Any, Any]:
        """Slopes by both, in the shape of the output."""


class Add(Elementwise):
    """a + b."""

    def combine(self, a: Array, b: Array) -> Any:
        return a + b

    def slopes(self, slope: Array) -> tuple[Any, Any]:
        # ∂(a + b)/∂a = 1,  ∂(a + b)/∂b = 1
        return slope, slope


class Subtract(Elementwise):
    """a − b."""

    def combine(self, a: Array, b: Array) -> Any:
        return a - b

    def slopes(self, slope: Array) -> tuple[Any, Any]:
        # ∂(a − b)/∂a = 1,  ∂(a − b)/∂b = −1
        return slope, -slope


class Multiply(Elementwise):
    """a · b, element by element."""

    needs = "args"

    def combine(self, a: Array, b: Array) -> Any:
        return a * b

    def slopes(self, slope: Array) -> tuple[Any, Any]:
        # ∂(a b)/∂a = b,  ∂(a b)/∂b = a
        return slope * self.b, slope * self.a


class Divide(Elementwise):
    """a / b."""

    needs = "args"

    def combine(self, a: Array, b: Array) -> Any:
        return a / b

    def slopes(self, slope: Array) -> tuple[Any, Any]:
        # ∂(a/b)/∂a = 1/b,  ∂(a/b)/∂b = −a/b²
        return slope / self.b, -slope * self.a / self.b**2


class Power(Op):
    """xⁿ for a fixed n."""

    needs = "args"

    def __init__(self, exponent: float) -> None:
        self.exponent = exponent

    def forward(self, *values: Array) -> Any:
        (self.x,) = values
        return self.x**self.exponent

    def backward(self, slope: Array) -> tuple[Any, ...]:
        # ∂xⁿ/∂x = n xⁿ⁻¹, and 0 everywhere if n is 0
        return (slope * self.exponent * self.x ** (self.exponent - 1) if self.exponent else 0 * slope,)


class MatMul(Op):
    """A B over the last two dimensions; those before broadcast. A vector is a row on the left, a column right."""

    needs = "args"

    def forward(self, *values: Array) -> Any:
        self.a, self.b = values
        try:
            return self.a @ self.b
        except ValueError:
            raise InvalidValue(
                f"MatMul of shapes {self.a.shape} and {self.b.shape}: the last size of the first must be the last but "
                "one of the second, and what stands before must broadcast"
            ) from None

    def backward(self, slope: Array) -> tuple[Any, ...]:
        a = self.a[np.newaxis] if self.a.ndim == 1 else self.a
        b = self.b[:, np.newaxis] if self.b.ndim == 1 else self.b
        slope = np.expand_dims(slope, -1) if self.b.ndim == 1 else slope
        slope = np.expand_dims(slope, -2) if self.a.ndim == 1 else slope
        # ∂E/∂A = S Bᵀ,  ∂E/∂B = Aᵀ S
        by_a, by_b = slope @ b.swapaxes(-1, -2), a.swapaxes(-1, -2) @ slope
        return summed_to(by_a, a.shape).reshape(self.a.shape), summed_to(by_b, b.shape).reshape(self.b.shape)


class Index(Op):
    """x[where], by slices (a view of the same memory) or by arrays of places or truth values (a copy)."""

    def __init__(self, where: Any) -> None:
        keys = where if isinstance(where, tuple) else (where,)
        # Slices name a place once; arrays may name one many times, and are kept as they now are.
        self.simple = all(key is None or key is ... or isinstance(key, int | np.integer | slice) for key in keys)
        self.where = tuple(np.array(key) if isinstance(key, list | np.ndarray) else key for key in keys)

    def forward(self, *values: Array) -> Any:
        (x,) = values
        self.shape = x.shape
        return x[self.where]

    def backward(self, slope: Array) -> tuple[Any, ...]:
        # a place gets the sum of the slopes of all copies that were taken of it
        whole = np.zeros(self.shape, dtype=slope.dtype)
        if self.simple:
            whole[self.where] = slope
        else:
            np.add.at(whole, self.where, slope)
        return (whole,)
