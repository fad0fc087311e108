from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from neurarium.errors import InvalidValue
from neurarium.parts import autodiff_arrays as ours
from neurarium.parts.autodiff import Var, apply, no_grad
from neurarium.parts.autodiff_graph import graph_of
from neurarium.parts.autodiff_images import conv2d, max_pool2d
from neurarium.parts.autodiff_operations import Add, ChangedInPlace, GraphFreed

few = settings(max_examples=12)  # for each of many operations
seeds = st.integers(0, 10_000)
sizes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def drawn(seed: int, *shapes: tuple[int, ...], positive: bool = False) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    arrays = [generator.normal(size=shape) for shape in shapes]
    return [np.abs(array) + 0.5 for array in arrays] if positive else arrays


def same(mine: Callable[..., Any], theirs: Callable[..., Any], *arrays: np.ndarray, seed: int = 0) -> None:
    """The same output and the same gradients, for a random slope, as torch autograd."""
    vars_ = [Var(array.copy()) for array in arrays]
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    out, peer = mine(*vars_), theirs(*tensors)
    np.testing.assert_allclose(out.val, peer.detach().numpy(), rtol=1e-10, atol=1e-10)
    slope = np.asarray(np.random.default_rng(seed).normal(size=out.shape))
    out.backward(slope)
    peer.backward(torch.tensor(slope))
    for var, tensor in zip(vars_, tensors, strict=True):
        assert var.grad is not None
        assert tensor.grad is not None
        np.testing.assert_allclose(var.grad, tensor.grad.numpy(), rtol=1e-10, atol=1e-10)


ELEMENTWISE: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "exp": (ours.exp, torch.exp),
    "log": (ours.log, torch.log),
    "tanh": (ours.tanh, torch.tanh),
    "sigmoid": (ours.sigmoid, torch.sigmoid),
    "relu": (lambda x: ours.relu(x - 1), lambda x: torch.relu(x - 1)),
    "power": (lambda x: x**-1.5, lambda x: x**-1.5),
    "square": (lambda x: x**2, lambda x: x**2),
    "zeroth power": (lambda x: x**0, lambda x: x**0),
    "negative": (lambda x: -x, lambda x: -x),
    "with numbers": (lambda x: 2 / (3 - x * 2) + (1 + x) / 4, lambda x: 2 / (3 - x * 2) + (1 + x) / 4),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
@few
@given(seed=seeds, shape=sizes)
def test_functions_of_each_element_are_torchs(name: str, seed: int, shape: tuple[int, ...]) -> None:
    same(*ELEMENTWISE[name], *drawn(seed, shape, positive=True), seed=seed)


@few
@given(seed=seeds, shape=sizes, ones=st.lists(st.booleans(), min_size=4, max_size=4), cut=st.integers(0, 3))
@pytest.mark.parametrize("sign", ["+", "-", "*", "/"])
def test_arithmetic_broadcasts_as_torch(
    sign: str, seed: int, shape: tuple[int, ...], ones: list[bool], cut: int
) -> None:
    other = tuple(1 if one else size for size, one in zip(shape, ones, strict=False))[min(cut, len(shape)) :]
    rules: dict[str, Callable[[Any, Any], Any]] = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
    }
    rule = rules[sign]
    a, b = drawn(seed, shape, other, positive=True)
    same(rule, rule, a, b, seed=seed)
    same(rule, rule, b, a, seed=seed)


@few
@given(seed=seeds, batch=sizes, size=st.tuples(*[st.integers(1, 4)] * 3), kind=st.integers(0, 4))
def test_products_of_matrices_are_torchs(
    seed: int, batch: tuple[int, ...], size: tuple[int, int, int], kind: int
) -> None:
    n, m, p = size
    shapes = [((n, m), (m, p)), ((m,), (m,)), ((*batch, n, m), (m,)), ((m,), (*batch, m, p))]
    shapes.append(((*batch, n, m), (1, m, p)))
    same(lambda a, b: a @ b, lambda a, b: a @ b, *drawn(seed, *shapes[kind]), seed=seed)


@few
@given(seed=seeds, shape=sizes, data=st.data(), keepdims=st.booleans())
def test_reductions_are_torchs(seed: int, shape: tuple[int, ...], data: st.DataObject, keepdims: bool) -> None:
    some = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    axis = tuple(sorted(some))
    (x,) = drawn(seed, shape)
    same(lambda a: ours.total(a, axis, keepdims=keepdims), lambda a: a.sum(axis, keepdim=keepdims), x)
    same(lambda a: ours.mean(a, axis, keepdims=keepdims), lambda a: a.mean(axis, keepdim=keepdims), x)
    ties = np.round(x)
    same(lambda a: ours.maximum(a, axis, keepdims=keepdims), lambda a: a.amax(axis, keepdim=keepdims), ties)
    same(ours.mean, torch.mean, x)
    same(ours.maximum, torch.amax, ties)


@few
@given(seed=seeds, shape=st.tuples(*[st.integers(1, 4)] * 3), data=st.data())
def test_changes_of_shape_are_torchs(seed: int, shape: tuple[int, int, int], data: st.DataObject) -> None:
    axes = tuple(data.draw(st.permutations(range(3))))
    axis = data.draw(st.integers(-3, 2))
    x, y = drawn(seed, shape, shape)
    same(lambda a: ours.transpose(ours.reshape(a, (-1, shape[0]))), lambda a: a.reshape(-1, shape[0]).T, x)
    same(lambda a: ours.transpose(a, axes), lambda a: a.permute(axes), x)
    same(lambda a, b: ours.concatenate([a, b, a], axis), lambda a, b: torch.cat([a, b, a], axis), x, y)
    same(lambda a: ours.pad(a, [(1, 2), (0, 1), (3, 0)]), lambda a: F.pad(a, (3, 0, 0, 1, 1, 2)), x)


INDICES: list[Any] = [
    2,
    (slice(None, None, 2), -1),
    (..., None, 0),
    (slice(1, 4), None, slice(None)),
    np.array([0, 3, 0, 0]),
    (np.array([0, 1, 0]), np.array([2, 2, 2])),
    (slice(None), np.array([[1, 1], [0, 2]])),
    np.array([True, False, True, True]),
]


@pytest.mark.parametrize("where", INDICES, ids=str)
def test_indexing_is_torchs(where: Any) -> None:
    keys = where if isinstance(where, tuple) else (where,)
    theirs = tuple(torch.tensor(key) if isinstance(key, np.ndarray) else key for key in keys)
    same(lambda a: a[where], lambda a: a[theirs], *drawn(0, (4, 3)))


@few
@given(seed=seeds, batch=st.integers(1, 5), classes=st.integers(2, 6), scale=st.sampled_from([1.0, 1e3]))
def test_softmax_cross_entropy_is_torchs(seed: int, batch: int, classes: int, scale: float) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, batch)
    (logits,) = drawn(seed, (batch, classes))
    same(
        lambda z: ours.softmax_cross_entropy(z, labels),
        lambda z: F.cross_entropy(z, torch.tensor(labels)),
        logits * scale,
    )


@few
@given(
    seed=seeds,
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    side=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
)
def test_convolution_is_torchs(
    seed: int,
    channels: tuple[int, int],
    kernel: tuple[int, int],
    side: tuple[int, int],
    stride: int,
    padding: int,
) -> None:
    into, out = channels
    arrays = drawn(seed, (2, into, *side), (out, into, *kernel), (out,))
    same(
        lambda x, w, b: conv2d(x, w, b, stride=stride, padding=padding),
        lambda x, w, b: F.conv2d(x, w, b, stride=stride, padding=padding),
        *arrays,
    )


@few
@given(
    seed=seeds, side=st.tuples(st.integers(3, 7), st.integers(3, 7)), size=st.integers(1, 3), stride=st.integers(1, 3)
)
def test_pooling_is_torchs(seed: int, side: tuple[int, int], size: int, stride: int) -> None:
    def theirs(x: Tensor) -> Tensor:
        return F.max_pool2d(x, size, stride)

    same(lambda x: max_pool2d(x, size, stride=stride), theirs, *drawn(seed, (2, 2, *side)))


def test_branches_add_up_and_gradients_until_zeroed() -> None:
    a = Var(1.0)
    b = a + a
    c = b + b
    c.backward(keep_graph=True)
    assert a.grad is not None
    assert a.grad.item() == 4
    c.backward(keep_graph=True)
    assert a.grad.item() == 8
    c.zero_grad()
    assert [var.grad for var in (a, b, c)] == [None] * 3


def test_a_deep_and_branching_graph_is_walked_once() -> None:
    x = end = Var(1.0)
    for _ in range(3000):  # 2³⁰⁰⁰ paths
        end = (end + end) * 0.5
    end.backward()
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(1)


def test_a_freed_graph_is_refused_by_name() -> None:
    a = Var(2.0)
    b = a * a
    b.backward()
    with pytest.raises(GraphFreed, match="backward meets a Var whose graph was freed"):
        b.backward()
    with pytest.raises(GraphFreed, match=r"Add meets a Var whose graph was freed.*detach\(\)"):
        b + 1
    assert (b.detach() + a).val.item() == 6
    shared = a * 3
    one, two = shared + 1, shared + 2
    one.backward()
    with pytest.raises(GraphFreed):
        two.backward()


def test_a_change_in_place_is_refused_where_it_matters() -> None:
    a, b = Var([1.0, 2.0]), Var([3.0, 4.0])
    product, added = ours.total(a * b), ours.total(a + b)
    with no_grad():
        a[0] = 7.0
    with pytest.raises(ChangedInPlace, match="a value that Multiply needs"):
        product.backward()
    assert [a.grad, b.grad] == [None, None]  # refused before anything was added
    added.backward()  # a sum's slope does not depend on the values
    y = ours.exp(a)
    view = ours.reshape(y, (2, 1))[0]
    with no_grad():
        view.write(0.0)
    assert y.val[0] == 0
    with pytest.raises(ChangedInPlace, match="Exp"):
        y.backward([1.0, 1.0])
    data = Var([1.0, 2.0], requires_grad=False)
    loss = ours.total(data * a)
    data[1] = 5.0
    with pytest.raises(ChangedInPlace):
        loss.backward()


def test_writing_is_guarded() -> None:
    a = Var(np.ones(2))
    with pytest.raises(InvalidValue, match="writing to a Var is no operation of its graph"):
        a[0] = 2.0
    with pytest.raises(ValueError, match="read-only"):
        a.val[0] = 2.0
    with pytest.raises(AttributeError):
        a.val = np.zeros(2)  # type: ignore[misc]


def test_without_recording_there_is_no_graph() -> None:
    a = Var(2.0)
    with no_grad():
        b = a * a
    assert b.creator is None
    with pytest.raises(InvalidValue, match="needs no gradient"):
        b.backward()
    assert (a * a).creator is not None


def test_numbers_take_the_precision_of_arrays() -> None:
    x = Var(np.ones(3, dtype=np.float32))
    loss = ours.mean((2 * x - 1) ** 2 / 3)
    loss.backward()
    assert x.grad is not None
    assert loss.val.dtype == x.grad.dtype == np.float32
    assert Var([1, 2]).val.dtype == np.float64
    assert isinstance(np.ones(2) * Var([1.0, 2.0]), Var)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Var(np.ones((2, 3))) + np.ones((3, 2)), r"Add of shapes \(2, 3\) and \(3, 2\): they do not broadcast"),
        (lambda: Var(np.ones((2, 3))) @ np.ones((2, 3)), r"MatMul of shapes \(2, 3\) and \(2, 3\)"),
        (lambda: ours.reshape(np.ones(6), (4, 2)), r"Reshape of \(6,\) to \(4, 2\)"),
        (lambda: ours.transpose(np.ones((2, 3)), (0, 0)), r"Transpose of \(2, 3\) by axes \(0, 0\)"),
        (lambda: ours.concatenate([np.ones((2, 3)), np.ones((2, 4))]), r"\(2, 3\) and \(2, 4\) along axis 0"),
        (lambda: ours.concatenate([]), "given nothing"),
        (lambda: ours.pad(np.ones(2), [(1, -1)]), "0 or more, for each axis"),
        (lambda: ours.maximum(np.ones((0, 2))), "has no elements"),
        (lambda: ours.softmax_cross_entropy(np.ones((2, 3)), np.array([0, 3])), "whole numbers from 0 to 2"),
        (lambda: ours.softmax_cross_entropy(np.ones((2, 3)), np.array([0])), r"logits are \(2, 3\) and labels \(1,\)"),
        (lambda: conv2d(np.ones((1, 2, 4, 4)), np.ones((1, 1, 2, 2))), r"images are \(1, 2, 4, 4\) and kernels"),
        (lambda: conv2d(np.ones((1, 1, 2, 2)), np.ones((1, 1, 3, 3))), "do not fit into images"),
        (lambda: conv2d(np.ones((1, 1, 2, 2)), np.ones((1, 1, 1, 1)), stride=0), "the stride is 0"),
        (lambda: max_pool2d(np.ones((1, 1, 2, 2)), 0), "both must be at least 1"),
        (lambda: Var([1.0, 2.0]).backward(), r"of shape \(2,\) needs a slope"),
        (lambda: Var([1.0, 2.0]).backward([1.0]), r"the slope has shape \(1,\), but the Var \(2,\)"),
        (lambda: Var("a"), "holds real numbers"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(wrong: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        wrong()


def test_an_op_is_one_application() -> None:
    op = Add()
    apply(op, Var(1.0), 2.0)
    with pytest.raises(InvalidValue, match="this Add was applied before"):
        apply(op, Var(1.0), 2.0)


def test_the_drawn_graph_has_every_node_once_and_leads_from_left_to_right() -> None:
    a = Var(1.0, name="a")
    b = a + a
    c = b * b + a
    c.backward(keep_graph=True)
    graph = graph_of(c)
    assert sorted(node.text for node in graph.nodes if "\n" not in node.text) == ["+", "+", "×"]
    assert len(graph.nodes) == 7
    assert len(graph.edges) == 6 + 3
    assert all(graph.nodes[before].column < graph.nodes[after].column for before, after in graph.edges)
    assert len({(node.column, node.row) for node in graph.nodes}) == 7
    assert "a\nval 1\ngrad 9" in {node.text for node in graph.nodes}
