r"""Residual: how what a branch computed is joined with what it was given.

Plain layers replace their input. A residual block adds to it, so that doing nothing is easy and gradients pass the sum
undiminished. ReZero adds a learned multiple of the branch, nothing at first: however deep the net, it begins as the
identity, and each layer takes part as soon as its multiple has left zero.

Source: CSE 151B, ReZero (x + α F(x)), Convolutional Networks (F(x) + x); He, Zhang, Ren & Sun 2016, Deep residual
learning for image recognition, eq. 1; Bachlechner et al. 2021, ReZero is All You Need, eq. 1.
Shapes: any; the branch's output has that of its input.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, did_you_mean
from neurarium.parts.initialization import kaiming


class Replace(nn.Module):
    """No residual: what the branch computed, alone.

    >>> Replace()(torch.tensor([1.0]), torch.tensor([5.0]))
    tensor([5.])
    """

    def forward(self, inputs: Float[Tensor, "*shape"], branch: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The branch's output."""
        # y = F(x)
        return branch


class Add(nn.Module):
    """A plain residual: the input, corrected.

    >>> Add()(torch.tensor([1.0]), torch.tensor([5.0]))
    tensor([6.])
    """

    def forward(self, inputs: Float[Tensor, "*shape"], branch: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The sum."""
        # y = x + F(x)
        return inputs + branch


class ReZero(nn.Module):
    """The input, and a learned multiple of the branch: 0 at first, so that the layer begins as the identity.

    >>> ReZero()(torch.tensor([1.0]), torch.tensor([5.0])).detach()
    tensor([1.])
    """

    def __init__(self) -> None:
        super().__init__()
        # One number in a vector: sharded training takes no parameter without dimensions.
        self.alpha = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Float[Tensor, "*shape"], branch: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The sum, the branch weighed by α."""
        # y = x + α F(x)
        return inputs + self.alpha * branch


MakeJoin = Callable[[], nn.Module]
"""Builds a module of (input, branch's output): any class of this file."""

JOINS: Mapping[str, MakeJoin] = {"plain": Add, "none": Replace, "rezero": ReZero}
"""The ways to join, as options on the command line name them."""


def join_named(name: str) -> MakeJoin:
    """The way to join of this name.

    Raises:
        InvalidValue: there is none.

    >>> join_named("rezero").__name__
    'ReZero'
    """
    if name not in JOINS:
        raise InvalidValue(f"residual is '{name}'; {did_you_mean(name, JOINS)}")
    return JOINS[name]


class Residual(nn.Module):
    """A branch, and the way in which its output is joined with its input.

    Args:
        branch: F, whose output has the shape of its input.
        join: builds the module that joins both.

    >>> Residual(branch=nn.ReLU(), join=Add)(torch.tensor([-1.0, 2.0]))
    tensor([-1.,  4.])
    """

    def __init__(self, *, branch: nn.Module, join: MakeJoin = Add) -> None:
        super().__init__()
        self.branch = branch
        self.join = join()

    def forward(self, inputs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The input, joined with what the branch made of it."""
        return self.join(inputs, self.branch(inputs))


def normed_convolution(maps_in: int, maps_out: int, kernel: int, *, stride: int = 1) -> list[nn.Module]:
    """A convolution and batch norm; the norm would subtract a bias, so there is none.

    >>> [type(layer).__name__ for layer in normed_convolution(2, 4, 3)]
    ['Conv2d', 'BatchNorm2d']
    """
    convolve = nn.Conv2d(maps_in, maps_out, kernel, stride=stride, padding=kernel // 2, bias=False)
    kaiming(convolve.weight)
    return [convolve, nn.BatchNorm2d(maps_out)]


def two_convolutions(maps_in: int, maps: int, *, stride: int = 1) -> nn.Sequential:
    """F of two 3×3 convolutions (He et al. 2016, fig. 5, left).

    >>> two_convolutions(2, 4, stride=2)(torch.zeros(1, 2, 6, 6)).shape
    torch.Size([1, 4, 3, 3])
    """
    first = normed_convolution(maps_in, maps, 3, stride=stride)
    return nn.Sequential(*first, nn.ReLU(inplace=True), *normed_convolution(maps, maps, 3))


def alphas(net: nn.Module) -> Float[Tensor, " layers"]:
    """α of every ReZero in a network, in the order of its layers.

    Raises:
        InvalidValue: the network has none.

    >>> alphas(nn.Sequential(Residual(branch=nn.ReLU(), join=ReZero), Residual(branch=nn.ReLU(), join=ReZero)))
    tensor([0., 0.])
    """
    found = [part.alpha.detach() for part in net.modules() if isinstance(part, ReZero)]
    if not found:
        raise InvalidValue(f"{type(net).__name__} has no ReZero, so no α to look at; build it with residual='rezero'")
    return torch.cat(found)
