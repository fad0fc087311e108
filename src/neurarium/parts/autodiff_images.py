r"""Operations on images: convolution and max pooling.

Both look at every window of an image. The windows are a strided view of the same memory (`sliding_window_view`), and a
convolution is then one product of matrices: windows as rows, kernels as columns. Backward, the slope of every window
is added to the pixels that it saw.

Source: NYU NN II, slides on convolution and pooling; the `im2col` form of Chellapilla, Puri & Simard 2006.
Differs: as everywhere in the field, "convolution" is cross-correlation: the kernel is not flipped.
Shapes: B batch, C channels, H height, W width, O output channels, k × l kernel, h × w windows.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from neurarium.errors import InvalidValue, require
from neurarium.parts.autodiff import Value, Var, apply
from neurarium.parts.autodiff_arrays import pad
from neurarium.parts.autodiff_operations import Array, Op


class Convolve(Op):
    """y[b, o, i, j] = Σ x[b, c, i·stride + u, j·stride + v] w[o, c, u, v]."""

    needs = "args"

    def __init__(self, stride: int) -> None:
        require(stride >= 1, f"the stride is {stride}, but must be at least 1")
        self.stride = stride

    def forward(self, *values: Array) -> Any:
        x, kernels = values
        if x.ndim != 4 or kernels.ndim != 4 or x.shape[1] != kernels.shape[1]:
            raise InvalidValue(
                f"images are {x.shape} and kernels {kernels.shape}; they must be (B, C, H, W) and (O, C, k, l)"
            )
        self.shape, self.kernels = x.shape, kernels
        seen = windows(x, kernels.shape[2:], self.stride).transpose(0, 2, 3, 1, 4, 5)
        self.places = seen.shape[:3]
        self.rows = seen.reshape(-1, kernels[0].size)
        # one row a window, one column a kernel
        out = self.rows @ kernels.reshape(len(kernels), -1).T
        return out.reshape(*self.places, -1).transpose(0, 3, 1, 2)

    def backward(self, slope: Array) -> tuple[Any, ...]:
        by_rows = slope.transpose(0, 2, 3, 1).reshape(len(self.rows), -1)
        # ∂E/∂w = Sᵀ X, with the windows X as rows
        by_kernels = (by_rows.T @ self.rows).reshape(self.kernels.shape)
        # ∂E/∂X = S w, and each pixel sums over the windows that saw it
        by_windows = by_rows @ self.kernels.reshape(len(self.kernels), -1)
        by_windows = by_windows.reshape(*self.places, *self.kernels.shape[1:]).transpose(0, 3, 1, 2, 4, 5)
        return put_back(by_windows, self.shape, self.stride), by_kernels


class MaxPool(Op):
    """The largest pixel of every window; the first of equals."""

    def __init__(self, size: int, stride: int) -> None:
        require(min(size, stride) >= 1, f"pooling has size {size} and stride {stride}; both must be at least 1")
        self.size, self.stride = size, stride

    def forward(self, *values: Array) -> Any:
        (x,) = values
        require(x.ndim == 4, f"images are {x.shape}, but must be (B, C, H, W)")
        self.shape = x.shape
        seen = windows(x, (self.size, self.size), self.stride)
        flat = seen.reshape(*seen.shape[:4], -1)
        self.which = flat.argmax(axis=-1)[..., np.newaxis]
        return np.take_along_axis(flat, self.which, axis=-1)[..., 0]

    def backward(self, slope: Array) -> tuple[Any, ...]:
        # the whole slope goes to the largest
        flat = np.zeros((*slope.shape, self.size**2), dtype=slope.dtype)
        np.put_along_axis(flat, self.which, slope[..., np.newaxis], axis=-1)
        return (put_back(flat.reshape(*slope.shape, self.size, self.size), self.shape, self.stride),)


def windows(x: Array, size: tuple[int, ...], stride: int) -> Array:
    """All windows (B, C, h, w, k, l) of images (B, C, H, W), as a view.

    Raises:
        InvalidValue: the window is larger than the image.

    >>> windows(np.arange(9.0).reshape(1, 1, 3, 3), (2, 2), 1)[0, 0, 1, 1].tolist()
    [[4.0, 5.0], [7.0, 8.0]]
    """
    if min(size) < 1 or size[0] > x.shape[2] or size[1] > x.shape[3]:
        raise InvalidValue(
            f"windows of {size} do not fit into images of {x.shape[2:]}; pad the images or use smaller ones"
        )
    return sliding_window_view(x, size, axis=(2, 3))[:, :, ::stride, ::stride]


def put_back(seen: Array, shape: tuple[int, ...], stride: int) -> Array:
    """Images (B, C, H, W) in which every pixel is the sum over the windows (B, C, h, w, k, l) that saw it."""
    images = np.zeros(shape, dtype=seen.dtype)
    height, width = seen.shape[2] * stride, seen.shape[3] * stride
    for u in range(seen.shape[4]):
        for v in range(seen.shape[5]):
            # within one place of the kernel no two windows meet, so slices can be added
            images[:, :, u : u + height : stride, v : v + width : stride][:, :, : seen.shape[2], : seen.shape[3]] += (
                seen[..., u, v]
            )
    return images


def conv2d(images: Value, kernels: Value, bias: Value | None = None, *, stride: int = 1, padding: int = 0) -> Var:
    """Kernels (O, C, k, l) over images (B, C, H, W), and a bias (O,) for each output channel.

    Raises:
        InvalidValue: shapes that do not fit, a stride below 1 or a padding below 0.

    >>> edges = conv2d(np.eye(4).reshape(1, 1, 4, 4), np.array([[[[-1.0, 1.0]]]]))
    >>> edges.shape, edges.val[0, 0, 1].tolist()
    ((1, 1, 4, 3), [1.0, -1.0, 0.0])
    """
    if padding:
        images = pad(images, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    out = apply(Convolve(stride), images, kernels)
    if bias is None:
        return out
    column = bias if isinstance(bias, Var) else Var(bias, requires_grad=False)
    return out + column[:, np.newaxis, np.newaxis]


def max_pool2d(images: Value, size: int, *, stride: int | None = None) -> Var:
    """The largest pixel of every size × size window, `stride` (default: `size`) apart; a ragged rest is left out.

    >>> max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2).val[0, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    return apply(MaxPool(size, size if stride is None else stride), images)
