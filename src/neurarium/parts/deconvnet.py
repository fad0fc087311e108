r"""The deconvnet: a net run backwards, from one excitation down to the pixels that caused it.

Each layer is undone in turn. A pooling puts each value back where its window had the maximum, remembered by switches
from the way up; a rectifier rectifies what comes down; a convolution is undone by its filters transposed. This is a
backward pass with another rule for rectifiers, so that is how it is run here: compute a net inside `Deconvolving`, and
the gradient of one of its activations is that activation's deconvolution.

Source: Zeiler & Fergus 2014, Visualizing and understanding convolutional networks, §2.1; CSE 151B, Visualizing Features
(for max pooling, keep track of which activations were the maximum); as a rule for the backward pass: Springenberg,
Dosovitskiy, Brox & Riedmiller 2015, Striving for simplicity, §3.4 and fig. 1.
Differs: windows of a pooling that overlap are summed at a pixel that is the maximum of several.
Shapes: B batch, M maps, H height, W width, h and w places.
"""

from typing import Any, NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor, relu
from torch.autograd import Function
from torch.nn.functional import max_pool2d
from torch.overrides import TorchFunctionMode

from neurarium.errors import require

UNDONE = {
    *("__add__", "__get__", "__getitem__", "adaptive_avg_pool2d", "add", "add_", "avg_pool2d", "batch_norm", "cat"),
    *("clone", "conv2d", "dim", "dropout", "flatten", "linear", "mean", "pad", "reshape", "size", "view"),
}
"""Functions that are linear in evaluation mode, or only ask; autograd transposes them."""


class Pooled(NamedTuple):
    """The maxima of windows, and where they stood."""

    values: Float[Tensor, "B M h w"]
    switches: Int64[Tensor, "B M h w"]


def unpool(
    values: Float[Tensor, "B M h w"], switches: Int64[Tensor, "B M h w"], *, shape: tuple[int, int]
) -> Float[Tensor, "B M H W"]:
    """Each value back where its window had the maximum, 0 elsewhere; windows that overlap there are summed.

    >>> import torch
    >>> unpool(torch.tensor([[[[5.0]]]]), torch.tensor([[[[2]]]]), shape=(2, 2)).squeeze().tolist()
    [[0.0, 0.0], [5.0, 0.0]]
    """
    flat = values.new_zeros(*values.shape[:2], shape[0] * shape[1])
    # x_i = Σ_p y_p [s_p = i]
    return flat.scatter_add(2, switches.flatten(2), values.flatten(2)).unflatten(2, shape)


class Switched(Function):
    """Max pooling forward; unpooling by the remembered switches backward."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, *window: Any) -> Tensor:
        """The maxima; `window` is what torch's max_pool2d takes: kernel, stride, padding, dilation, rounding up."""
        pooled = Pooled(*max_pool2d(maps, *window, return_indices=True))
        ctx.save_for_backward(pooled.switches)
        ctx.shape = tuple(maps.shape[2:])
        return pooled.values

    @staticmethod
    def backward(ctx: Any, *signal: Tensor) -> tuple[Tensor | None, ...]:
        """The signal, unpooled."""
        return unpool(signal[0], ctx.saved_tensors[0], shape=ctx.shape), None, None, None, None, None


class Rectified(Function):
    """A rectifier forward; and the same rectifier backward, whatever was rectified forward."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        """What is positive."""
        return relu(maps)

    @staticmethod
    def backward(ctx: Any, *signal: Tensor) -> Tensor:
        """What is positive of the signal: max(0, R), where a gradient would have R·[x > 0]."""
        return relu(signal[0])


class Deconvolving(TorchFunctionMode):
    """Inside, a net in evaluation mode is computed as always, but its backward pass becomes the deconvnet's.

    Raises:
        InvalidValue: the net computes something else than rectifiers, poolings and linear functions.

    >>> import torch
    >>> x = torch.tensor([-1.0, 2.0], requires_grad=True)
    >>> with Deconvolving():
    ...     y = torch.relu(x)
    >>> torch.autograd.grad(y, x, torch.tensor([3.0, -3.0]))  # the plain gradient would be (0, −3)
    (tensor([3., 0.]),)
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace rectifiers and poolings, let linear functions pass, refuse all others."""
        name = getattr(func, "__name__", str(func))
        if name in ("relu", "relu_"):
            return Rectified.apply(args[0])  # type: ignore[no-untyped-call]
        if name == "max_pool2d":
            return Switched.apply(args[0], *_window(*args[1:], **(kwargs or {})))  # type: ignore[no-untyped-call]
        require(
            name in UNDONE,
            f"the net computes {name}, and a deconvnet cannot undo it; it undoes convolutions, pooling, rectifiers, "
            "dense layers and norms",
        )
        return func(*args, **(kwargs or {}))


def _window(
    kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, **_: bool
) -> tuple[Any, ...]:
    return kernel_size, stride or kernel_size, padding, dilation, ceil_mode
