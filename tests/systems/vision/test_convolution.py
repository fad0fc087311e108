from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from neurarium.errors import DataError, InvalidValue, NeurariumError
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.vision.convolution import (
    EDGES,
    Pooling,
    convolve,
    count_weights,
    cross_correlate,
    discrete,
    fourier,
    locally_connected,
    pointwise,
    pool,
    riemann,
)


class Plan(NamedTuple):
    """Sizes that fit together."""

    images: Tensor
    kernels: Tensor
    bias: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    kernel, padding = ([draw(st.integers(low, high)) for _ in "hw"] for low, high in ((1, 4), (0, 3)))
    sides = [draw(st.integers(max(1, k - 2 * p), 9)) for k, p in zip(kernel, padding, strict=True)]
    batch, channels, maps = (draw(st.integers(1, 3)) for _ in "bcm")
    torch.manual_seed(draw(st.integers(0, 1000)))
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    images, kernels = torch.randn(batch, channels, *sides), torch.randn(maps, channels, *kernel)
    leaves = (images.requires_grad_(), kernels.requires_grad_(), torch.randn(maps, requires_grad=True))
    return Plan(*leaves, stride, (padding[0], padding[1]))


def must_be_close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def slopes(output: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    """Gradients of something that treats every output differently."""
    weight = torch.linspace(-1, 1, output.numel()).reshape(output.shape)
    return torch.autograd.grad((output * weight).sum(), leaves)


def must_agree(ours: Tensor, theirs: Tensor, *leaves: Tensor) -> None:
    must_be_close(ours, theirs)
    for mine, other in zip(slopes(ours, *leaves), slopes(theirs, *leaves), strict=True):
        must_be_close(mine, other)


@given(plans())
def test_cross_correlation_is_what_torch_calls_convolution(plan: Plan) -> None:
    images, kernels, bias, stride, padding = plan
    ours = cross_correlate(images, kernels, bias, stride=stride, padding=padding)
    must_agree(ours, functional.conv2d(images, kernels, bias, stride, padding), images, kernels, bias)


@given(plans())
def test_a_tied_local_layer_is_a_convolution(plan: Plan) -> None:
    images, kernels, bias, stride, padding = plan
    shared = cross_correlate(images, kernels, bias, stride=stride, padding=padding)
    down, across = shared.shape[2:]
    untied, biases = kernels.expand(down, across, *kernels.shape), bias.expand(down, across, -1)
    must_agree(locally_connected(images, untied, biases, stride=stride, padding=padding), shared, images, kernels, bias)
    _, *shape = images.shape
    counts = count_weights(
        (shape[0], shape[1], shape[2]),
        maps=kernels.shape[0],
        kernel=(kernels.shape[2], kernels.shape[3]),
        stride=stride,
        padding=padding,
    )
    assert (counts.shared, counts.local) == (kernels.numel(), untied.numel())
    assert counts.dense == images[0].numel() * shared[0].numel()


def test_an_untied_local_layer_looks_through_another_kernel_at_every_place() -> None:
    images, kernels = torch.randn(2, 3, 5, 6), torch.randn(3, 2, 4, 3, 3, 3)  # stride 1 down, 3 across
    maps = locally_connected(images, kernels, stride=(1, 3))
    for row in range(3):
        for column in range(2):
            seen = images[:, :, row : row + 3, 3 * column : 3 * column + 3]
            expected = functional.conv2d(seen, kernels[row, column])[:, :, 0, 0]
            must_be_close(maps[:, :, row, column], expected)


@given(plans())
def test_convolution_and_its_spectrum_are_the_double_sum(plan: Plan) -> None:
    images, kernels = plan.images.detach(), plan.kernels.detach()
    rows, columns = kernels.shape[2:]
    expected = torch.zeros(len(images), len(kernels), images.shape[2] + rows - 1, images.shape[3] + columns - 1)
    for i in range(images.shape[2]):
        for j in range(images.shape[3]):
            pixel = torch.einsum("bc,mckl->bmkl", images[:, :, i, j], kernels)
            expected[:, :, i : i + rows, j : j + columns] += pixel
    must_be_close(convolve(images, kernels, padding=(rows - 1, columns - 1)), expected)
    must_be_close(fourier(images, kernels), expected)


def test_without_room_the_spectrum_goes_round_in_a_circle() -> None:
    images, kernels = torch.randn(1, 1, 6, 7), torch.randn(1, 1, 3, 3)
    around = functional.conv2d(functional.pad(images, (2, 0, 2, 0), mode="circular"), kernels.flip(2, 3))
    must_be_close(fourier(images, kernels, room=False)[:, :, :6, :7], around)


@given(plans(), st.sampled_from(["max", "average", "sum"]))
def test_pooling_is_that_of_torch(plan: Plan, kind: Pooling) -> None:
    images, kernel = plan.images, tuple(plan.kernels.shape[2:])
    padding = tuple(min(p, k // 2) for p, k in zip(plan.padding, kernel, strict=True))
    if any(k > n + 2 * p for n, k, p in zip(images.shape[2:], kernel, padding, strict=True)):
        return
    pooled = pool(images, (kernel[0], kernel[1]), kind=kind, stride=plan.stride, padding=(padding[0], padding[1]))
    if kind == "max":
        theirs = functional.max_pool2d(images, kernel, plan.stride, padding)
    else:
        divide = 1 if kind == "sum" else None
        theirs = functional.avg_pool2d(images, kernel, plan.stride, padding, divisor_override=divide)
    must_agree(pooled, theirs, images)


def test_pooling_steps_by_its_window_unless_told() -> None:
    images = torch.randn(1, 2, 7, 9)
    assert torch.equal(pool(images, (2, 3)), functional.max_pool2d(images, (2, 3)))


def test_a_one_by_one_convolution_is_a_linear_layer_at_every_pixel() -> None:
    images, layer = torch.randn(2, 3, 4, 5, requires_grad=True), nn.Linear(3, 6)
    by_pixel = layer(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    must_agree(pointwise(images, layer.weight, layer.bias), by_pixel, images, layer.weight, layer.bias)


@given(st.integers(1, 20), st.integers(1, 20))
def test_the_discrete_definition_is_that_of_numpy(signal: int, kernel: int) -> None:
    f, g = torch.randn(signal).double(), torch.randn(kernel).double()
    np.testing.assert_allclose(discrete(f, g).numpy(), np.convolve(f.numpy(), g.numpy()), atol=1e-12)
    torch.testing.assert_close(discrete(f, g), discrete(g, f))


def test_the_riemann_sum_nears_the_integral_with_the_square_of_the_step() -> None:
    def fast(x: Tensor) -> Tensor:
        return torch.exp(-2 * x)

    def slow(x: Tensor) -> Tensor:
        return torch.exp(-x)

    errors = []
    for step in (0.1, 0.05, 0.025):
        x, y = riemann(fast, slow, step=step, until=4.0)
        # ∫_0^x e^{−2s} e^{−(x−s)} ds = e^{−x} − e^{−2x}
        errors.append(float((y - (slow(x) - fast(x))).abs().max()))
    assert errors[2] < 1e-4
    assert all(3.8 < before / after < 4.2 for before, after in pairwise(errors))


def test_the_notes_kernel_finds_horizontal_edges_and_no_others() -> None:
    kernel = torch.tensor(EDGES["horizontal edges"]).float()[None, None]
    step = (torch.arange(8) >= 4).float()
    across, down = step.expand(8, 8)[None, None], step[:, None].expand(8, 8)[None, None]
    assert cross_correlate(across, kernel).abs().max() == 0
    assert cross_correlate(down, kernel)[0, 0, :, 0].tolist() == [0, 0, 6, 6, 0, 0]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, w: cross_correlate(x, w[:, :, :, :3]), r"images are \(2, 3, 5, 5\), but these kernels look at"),
        (lambda x, w: convolve(x, w), r"these kernels look at \(batch, 2, H, W\)"),
        (lambda x, w: fourier(x, w), r"these kernels look at \(batch, 2, H, W\)"),
        (lambda x, w: pointwise(x[0], w[:, :, 0, 0]), r"images are \(3, 5, 5\)"),
        (lambda x, w: convolve(x[:, :2], w), "a kernel of 8 pixels does not fit on 5 pixels with 0 more at each end"),
        (lambda x, w: convolve(x[:, :2], w, padding=1), "take a smaller kernel or more padding"),
        (lambda x, w: convolve(x[:, :2], w, padding=2, stride=0), "the stride is 0"),
        (lambda x, w: convolve(x[:, :2], w, padding=-1), "the padding is -1"),
        (lambda x, w: pool(x, 2, padding=2), "the padding is 2, but must be at most half the window of 2"),
        (
            lambda x, w: pool(x, 2, kind=cast(Any, "mean")),
            "the kind of pooling is 'mean', but must be one of max, average, sum",
        ),
        (lambda x, w: locally_connected(x, torch.ones(2, 3, 1, 3, 3, 3)), r"for \(2, 3\) places, .* have \(3, 3\)"),
        (lambda x, w: discrete(x, torch.ones(0)), "a signal or kernel is empty"),
        (lambda x, w: riemann(torch.exp, torch.exp, step=0.0, until=1.0), "step is 0.0; it must be positive"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(call: Callable[[Tensor, Tensor], Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        call(torch.ones(2, 3, 5, 5), torch.ones(4, 2, 8, 8))


def test_a_picture_and_a_kernel_of_ones_own(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    options = dict(image=str(tmp_path / "mine.png"), size=48, kernel="1 0 -1; 2 0 -2")
    done = train(find("convolution"), options, Settings(device="cpu"), out=tmp_path)
    assert done.result["measures"]["fourier_gap"] < 1e-5


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (dict(image="chnia"), DataError, "did you mean 'china'"),
        (dict(image=__file__), DataError, "test_convolution.py cannot be read as an image: not an image"),
        (dict(size=20), InvalidValue, r"427×640 pixels brought to a size of 20 are \(13, 20\)"),
        (dict(size=64, kernel="1 a"), InvalidValue, "the kernel '1 a' is not of numbers"),
        (dict(size=64, kernel="1 2; 3"), InvalidValue, "must have equally long rows, of 1 to 15 numbers"),
        (dict(size=64, kernel="1 nan"), InvalidValue, "must be of finite numbers"),
    ],
)
def test_the_recipe_refuses_what_it_cannot_show(
    tmp_path: Path, options: dict[str, Any], kind: type[NeurariumError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        train(find("convolution"), options, Settings(device="cpu"), out=tmp_path)
