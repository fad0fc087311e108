r"""Automatic differentiation: an expression that remembers how it was computed can say how it would change.

Every operation leaves an `Op` behind, which knows what it was applied to and, by the chain rule, how a change of its
output is passed on to its arguments. The result, a `Var`, points back to its creator. So the expression is a graph,
and one walk from its end to its beginning gives the slope of one number by every other (reverse mode).

Source: CS 479 §9 (the expression graph; `creator`; `backward` with the sum where branches meet; zero_grad), §10.
Differs: values are n-dimensional arrays that broadcast; the walk goes in topological order, each Op once, instead of
recursively, once for every path; a graph is freed as it is walked. Gradients of gradients are not kept.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from neurarium.errors import InvalidValue, require
from neurarium.parts.autodiff_operations import (
    Add,
    Array,
    Divide,
    GraphFreed,
    Index,
    MatMul,
    Multiply,
    Op,
    Power,
    Subtract,
    Version,
    freed_text,
)

_recording: ContextVar[bool] = ContextVar("recording", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside, operations leave no graph behind, and Vars may be written to.

    >>> a = Var(2.0)
    >>> with no_grad():
    ...     (a * a).creator is None
    True
    """
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


class Var:
    """A value in an expression: a circle of the graph.

    Its array is read-only, so that every change goes through `write` and is counted; a writeable array that the
    Var was made of is shared, not copied, and writing to that one directly goes unseen.

    Args:
        val: a number or an array; whole numbers become float64.
        requires_grad: whether slopes by this value are wanted.
        name: for drawings and messages.

    Attributes:
        grad: the slope of the last expression walked by this value; it adds up until `zero_grad`.
        creator: the Op that this is the output of; None for a Var that was made by hand.

    >>> a = Var(3.0)
    >>> b = a + a
    >>> c = b + b
    >>> c.backward()
    >>> a.grad.item()
    4.0
    """

    __array_ufunc__ = None  # an array on the left of an operator leaves the work to the Var on the right

    def __init__(self, val: Any, *, requires_grad: bool = True, name: str = "") -> None:
        array = np.asarray(val.val if isinstance(val, Var) else val)
        if array.dtype.kind not in "biuf":
            raise InvalidValue(f"a Var holds real numbers, but was given {array.dtype}")
        array = array if array.dtype.kind == "f" else array.astype(np.float64)
        self._look_at(array if array.flags.writeable or isinstance(val, Var) else array.copy())
        self.requires_grad = requires_grad
        self.name = name
        self.grad: Array | None = None
        self.creator: Op | None = None
        self.version: Version = val.version if isinstance(val, Var) else Version()

    def _look_at(self, array: Array) -> None:
        self._array = array.view()
        self._array.flags.writeable = False

    @property
    def val(self) -> Array:
        """The value, read-only."""
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value, and of its gradient."""
        return self._array.shape

    def backward(self, slope: Any = None, *, keep_graph: bool = False) -> None:
        """Add to the `grad` of every Var that this one was computed from the slope of this one by it.

        Args:
            slope: what each element of this Var counts; 1 for a single number, which is the usual case.
            keep_graph: leave the graph as it is, to look at it or to walk it again.

        Raises:
            InvalidValue: nothing requires a gradient, or `slope` is missing or of another shape.
            GraphFreed: the graph, or a part of it, was freed by a backward before.
            ChangedInPlace: a value that is needed was written to since it was used.
        """
        flows = {id(self): self._seed(slope)}
        order = consumers_first(self)
        for var in order:
            if var.creator:
                var.creator.check()
        for var in order:
            flow = flows.pop(id(var))
            # grad ← grad + s
            var.grad = np.array(flow) if var.grad is None else np.asarray(var.grad + flow)
            if var.creator is None:
                continue
            for arg, part in var.creator.pass_back(flow):
                # where branches meet, their slopes add up
                flows[id(arg)] = np.asarray(flows[id(arg)] + part) if id(arg) in flows else part
            if not keep_graph:
                var.creator.free()

    def _seed(self, slope: Any) -> Array:
        require(self.requires_grad, "backward from a Var that needs no gradient; was it computed inside no_grad()?")
        if slope is None:
            require(self._array.size == 1, f"backward from a Var of shape {self.shape} needs a slope; or sum it first")
            return np.ones_like(self._array)
        given = np.asarray(slope, dtype=self._array.dtype)
        require(given.shape == self.shape, f"the slope has shape {given.shape}, but the Var {self.shape}")
        return given

    def zero_grad(self) -> None:
        """Forget the gradient, here and in everything that this was computed from."""
        for var in consumers_first(self):
            var.grad = None

    def detach(self) -> "Var":
        """The same value without its history; it shares the memory, and writes to it are seen."""
        return Var(self, requires_grad=False, name=self.name)

    def write(self, value: Any, where: Any = ...) -> None:
        """Change the value in place; a graph that needs the old one is then of no use, and its backward says so.

        Raises:
            InvalidValue: gradients are being recorded, of which a change in place is no part.
        """
        if _recording.get() and self.requires_grad:
            raise InvalidValue("writing to a Var is no operation of its graph; write inside no_grad(), or compute anew")
        self._array.flags.writeable = True
        try:
            self._array[where] = value.val if isinstance(value, Var) else value
        finally:
            self._array.flags.writeable = False
        self.version.count += 1

    def __setitem__(self, where: Any, value: Any) -> None:
        self.write(value, where)

    def __getitem__(self, where: Any) -> "Var":
        return apply(Index(where), self)

    def __add__(self, other: "Value") -> "Var":
        return apply(Add(), self, other)

    def __sub__(self, other: "Value") -> "Var":
        return apply(Subtract(), self, other)

    def __mul__(self, other: "Value") -> "Var":
        return apply(Multiply(), self, other)

    def __truediv__(self, other: "Value") -> "Var":
        return apply(Divide(), self, other)

    def __matmul__(self, other: "Value") -> "Var":
        return apply(MatMul(), self, other)

    def __radd__(self, other: "Value") -> "Var":
        return apply(Add(), other, self)

    def __rsub__(self, other: "Value") -> "Var":
        return apply(Subtract(), other, self)

    def __rmul__(self, other: "Value") -> "Var":
        return apply(Multiply(), other, self)

    def __rtruediv__(self, other: "Value") -> "Var":
        return apply(Divide(), other, self)

    def __rmatmul__(self, other: "Value") -> "Var":
        return apply(MatMul(), other, self)

    def __neg__(self) -> "Var":
        return apply(Multiply(), self, -1)

    def __pow__(self, exponent: float) -> "Var":
        return apply(Power(exponent), self)

    def __repr__(self) -> str:
        return f"Var({self._array.tolist() if self._array.size <= 8 else self.shape}, name={self.name!r})"


Value = Var | Array | np.generic | float | int


def apply(op: Op, *args: Value) -> Var:
    """The output of an operation, which remembers its creator if a slope may be asked for.

    Args:
        op: a new one; an Op is one application.
        args: what it is applied to; plain arrays and numbers are constants.

    Raises:
        InvalidValue: the Op was applied before, or the shapes do not fit.
        GraphFreed: the graph of an argument was freed by a backward.
    """
    require(not op.args and not op.freed, f"this {op.name} was applied before; an Op is one application")
    given = as_vars(args)
    with np.errstate(all="ignore"):  # infinities flow on, and the loop stops at the first measure that has them
        out = np.asarray(op.forward(*(var.val for var in given)))
    result = Var(0.0)
    result._look_at(out)  # a view stays a view, of memory whose version it shares
    result.version = next((var.version for var in given if np.may_share_memory(var.val, out)), result.version)
    result.requires_grad = _recording.get() and any(var.requires_grad for var in given)
    if result.requires_grad:
        if any(var.creator and var.creator.freed for var in given):
            raise GraphFreed(freed_text(op.name))
        watched = {"nothing": (), "args": given, "output": (result,)}[op.needs]
        op.args, op.watched = given, tuple((var.version, var.version.count) for var in watched)
        result.creator = op
    return result


def as_vars(args: Sequence[Value]) -> tuple[Var, ...]:
    """The arguments as Vars; a plain number takes the precision of the arrays beside it."""
    kinds = [arg.val.dtype if isinstance(arg, Var) else arg.dtype for arg in args if not isinstance(arg, float | int)]
    dtype = np.result_type(*kinds) if kinds else np.dtype(np.float64)
    plain = [np.asarray(arg, dtype=dtype) if isinstance(arg, float | int) else arg for arg in args]
    return tuple(arg if isinstance(arg, Var) else Var(arg, requires_grad=False) for arg in plain)


def consumers_first(end: Var) -> list[Var]:
    """Every Var that wants a gradient, each after all that were computed from it: a topological order.

    >>> a = Var(1.0, name="a")
    >>> b = a + a
    >>> [var.name for var in consumers_first(b * a)]
    ['', '', 'a']
    """
    order: list[Var] = []
    seen: set[int] = set()
    stack = [(end, False)]
    while stack:  # not recursive, for graphs are deeper than Python's stack
        var, done = stack.pop()
        if done:
            order.append(var)
        elif id(var) not in seen:
            seen.add(id(var))
            stack.append((var, True))
            stack += [(arg, False) for arg in (var.creator.args if var.creator else ()) if arg.requires_grad]
    return order[::-1]
