r"""The expression graph as something to draw: where each Var and Op stands, and what leads where.

Columns go by distance from the end; within a column, a node stands near what it came from.

Source: CS 479 §9.1 (operations are squares, values circles).
"""

from dataclasses import dataclass

import numpy as np

from neurarium.parts.autodiff import Var
from neurarium.parts.autodiff_operations import Op

SIGNS = {
    "Add": "+",
    "Subtract": "−",
    "Multiply": "×",
    "Divide": "÷",
    "MatMul": "@",
    "SoftmaxCrossEntropy": "Softmax\nCross-\nEntropy",
}


@dataclass
class Node:
    """A Var or an Op at its place.

    Attributes:
        what: the Var or the Op itself.
        column: place from left to right; every arrow leads to a later one.
        row: place within the column, around 0.
    """

    what: Var | Op
    column: int
    row: float = 0.0

    @property
    def text(self) -> str:
        """What is written there: an operation's sign, or a value above its gradient."""
        if isinstance(self.what, Op):
            return SIGNS.get(self.what.name, self.what.name)
        named = [self.what.name] if self.what.name else []
        shape = ["×".join(map(str, self.what.shape))] if self.what.val.size > 1 else []
        gradient = [] if self.what.grad is None else [f"grad {told(self.what.grad)}"]
        return "\n".join([*named, *shape, f"val {told(self.what.val)}", *gradient])


@dataclass(frozen=True)
class Graph:
    """Nodes from left to right, and edges as pairs of their places in the list."""

    nodes: list[Node]
    edges: list[tuple[int, int]]


def told(array: np.ndarray) -> str:
    """A number as it is; of an array the root of its mean square.

    >>> told(np.array(-2.0)), told(np.full((2, 3), 4.0))
    ('−2', 'rms 4')
    """
    if array.size == 1:
        return f"{array.item():.3g}".replace("-", "−")
    return f"rms {np.sqrt(np.mean(np.square(array))):.2g}".replace("-", "−")


def graph_of(end: Var) -> Graph:
    r"""The graph behind a Var; `backward(keep_graph=True)` leaves it standing, with the gradients in it.

    >>> a = Var(1.0, name="a")
    >>> b = a + a
    >>> b.backward(keep_graph=True)
    >>> [node.text for node in graph_of(b).nodes]
    ['a\nval 1\ngrad 2', '+', 'val 2\ngrad 1']
    """
    places: dict[int, int] = {}
    nodes: list[Node] = []
    edges: list[tuple[int, int]] = []
    for what in arguments_first(end):
        before = [places[id(arg)] for arg in parents(what)]
        column = 1 + max((nodes[place].column for place in before), default=-1)
        places[id(what)] = len(nodes)
        edges += [(place, len(nodes)) for place in before]
        nodes.append(Node(what, column))
    _pull_right(nodes, edges)
    _set_rows(nodes, edges)
    return Graph(nodes, edges)


def parents(what: Var | Op) -> list[Var | Op]:
    """What leads to a node: the creator of a Var, the arguments of an Op."""
    if isinstance(what, Op):
        return list(what.args)
    return [what.creator] if what.creator else []


def arguments_first(end: Var) -> list[Var | Op]:
    """Every Var and Op behind a Var, each after what leads to it."""
    order: list[Var | Op] = []
    seen: set[int] = set()
    stack: list[tuple[Var | Op, bool]] = [(end, False)]
    while stack:
        what, done = stack.pop()
        if done:
            order.append(what)
        elif id(what) not in seen:
            seen.add(id(what))
            stack.append((what, True))
            stack += [(parent, False) for parent in reversed(parents(what))]
    return order


def _pull_right(nodes: list[Node], edges: list[tuple[int, int]]) -> None:
    # Everything stands just before its first use, so that edges stay short.
    for place, node in reversed(list(enumerate(nodes))):
        uses = [nodes[after].column for before, after in edges if before == place]
        node.column = min(uses) - 1 if uses else node.column


def _set_rows(nodes: list[Node], edges: list[tuple[int, int]]) -> None:
    for column in range(1 + max(node.column for node in nodes)):
        here = [place for place, node in enumerate(nodes) if node.column == column]
        wanted = {}
        for place in here:
            rows = [nodes[before].row for before, after in edges if after == place]
            wanted[place] = sum(rows) / len(rows) if rows else len(nodes)  # what comes in from outside, below
        ordered = sorted(here, key=lambda place: wanted[place])
        middle = (len(here) - 1) / 2
        for rank, place in enumerate(ordered):
            nodes[place].row = rank - middle
