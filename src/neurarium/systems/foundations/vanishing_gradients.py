r"""Vanishing gradients: what a long product of Jacobians does to an error on its way back, in depth and in time.

The gradient at a layer is the gradient at the next times the Jacobian between them. Fifty layers multiply fifty
Jacobians: if each shrinks a little, nothing arrives; if each stretches a little, all is noise. The logistic function's
slope is at most a quarter; large weights stretch. ReLU with Kaiming's weights, a norm, a path around each layer, that
path with a branch that begins at nothing (ReZero), and gates that keep, each mend it in their own way. A recurrent
network is the same product with one weight matrix at every step, so only its singular values and gates decide.

Source: CS 479 §12.1 (Vanishing Gradients, Exploding Gradients), §18; NYU NN II, Optimization challenges, Residual
Networks (ResNet), Gradient vanishing, Gating functions in LSTM; CSE 151B, ReZero, LSTM Cell; He et al. 2016, Identity
Mappings in Deep Residual Networks, eq. 3; Srivastava, Greff & Schmidhuber 2015, Highway Networks, eq. 3; Bachlechner et
al. 2021, ReZero is All You Need, eq. 1; Tallec & Ollivier 2018, Can recurrent neural networks warp time?, §2 (the bias
of a keep gate that is to remember T steps is log T).
Differs: one width throughout, random weights, nothing is trained; the norm is layer norm without γ and β, so that each
example has a Jacobian of its own; the gate is a highway layer's, and over time a GRU's update gate without its reset.
Shapes: B batch, N units, L layers (or time steps).
"""

from collections.abc import Callable, Sequence
from math import log, sqrt
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import InvalidValue, require
from neurarium.parts.initialization import fan_in_normal, kaiming, standard_normal
from neurarium.parts.normalization import EPSILON, standardise

LARGE = 20.0  # times N(0, 1/√fan-in): weights under which even the logistic function's slopes stretch
LARGE_IN_TIME = 3.0  # the same for tanh, whose slope is four times as steep
SHRINKING = 0.9  # largest singular value of a recurrent matrix that forgets
DRIVE = 0.5  # deviation of what the inputs add to a recurrent unit at a step


@runtime_checkable
class Block(Protocol):
    """One layer, or one step of time, from N numbers to N numbers."""

    def __call__(self, inputs: Float[Tensor, "B N"], /) -> Float[Tensor, "B N"]: ...

    def jacobian(self, inputs: Float[Tensor, " N"], /) -> Float[Tensor, "N N"]:
        """The derivative of every output (row) by every input (column) at one example, written out."""
        ...


class Activation(NamedTuple):
    """A function of the net input, and its slope."""

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


ACTIVATIONS = {
    # g' = g (1 − g) ≤ ¼
    "logistic": Activation(torch.sigmoid, lambda net: torch.sigmoid(net) * (1 - torch.sigmoid(net))),
    # tanh' = 1 − tanh² ≤ 1
    "tanh": Activation(torch.tanh, lambda net: 1 - torch.tanh(net) ** 2),
    # 1 where the unit is on, 0 where it is off
    "relu": Activation(torch.relu, lambda net: (net > 0).to(net.dtype)),
}
"""Activations by name."""


class Plain(NamedTuple):
    """A dense layer: φ(W x + b).

    >>> eye = torch.eye(2, dtype=torch.float64)
    >>> Plain(3 * eye, torch.zeros(2, dtype=torch.float64), ACTIVATIONS["relu"]).jacobian(
    ...     torch.tensor([1.0, -1.0]).double()
    ... )
    tensor([[3., 0.],
            [0., 0.]], dtype=torch.float64)
    """

    weight: Float[Tensor, "N N"]
    bias: Float[Tensor, " N"]
    activation: Activation

    def __call__(self, inputs: Float[Tensor, "B N"], /) -> Float[Tensor, "B N"]:
        # y = φ(W x + b)
        return self.activation.function(inputs @ self.weight.T + self.bias)

    def jacobian(self, inputs: Float[Tensor, " N"], /) -> Float[Tensor, "N N"]:
        # ∂y/∂x = diag(φ'(W x + b)) W
        return self.activation.slope(self.weight @ inputs + self.bias).unsqueeze(1) * self.weight


class Normed(NamedTuple):
    """A dense layer whose net input is normed: φ(norm(W x)). The scale of W cancels."""

    weight: Float[Tensor, "N N"]
    activation: Activation

    def __call__(self, inputs: Float[Tensor, "B N"], /) -> Float[Tensor, "B N"]:
        # y = φ(n), n = norm(W x)
        return self.activation.function(standardise(inputs @ self.weight.T, [1])[0])

    def jacobian(self, inputs: Float[Tensor, " N"], /) -> Float[Tensor, "N N"]:
        normal, norm = norm_jacobian(self.weight @ inputs)
        # ∂y/∂x = diag(φ'(n)) ∂n/∂a W
        return self.activation.slope(normal).unsqueeze(1) * (norm @ self.weight)


class PreNormed(NamedTuple):
    """The branch of a residual block: W φ(norm(x)). However large x has grown, the branch adds as much."""

    weight: Float[Tensor, "N N"]
    activation: Activation

    def __call__(self, inputs: Float[Tensor, "B N"], /) -> Float[Tensor, "B N"]:
        # y = W φ(n), n = norm(x)
        return self.activation.function(standardise(inputs, [1])[0]) @ self.weight.T

    def jacobian(self, inputs: Float[Tensor, " N"], /) -> Float[Tensor, "N N"]:
        normal, norm = norm_jacobian(inputs)
        # ∂y/∂x = W diag(φ'(n)) ∂n/∂x
        return self.weight @ (self.activation.slope(normal).unsqueeze(1) * norm)


class Residual(NamedTuple):
    """A path around a branch. With scale 0, ReZero before learning, the block is the identity, whatever the branch.

    A branch of Kaiming's weights and ReLU, with no norm, stretches a gradient of random direction by √2, and by more
    those directions along which many layers add up, since ReLU's outputs all have one sign.
    """

    branch: Block
    scale: float = 1.0

    def __call__(self, inputs: Float[Tensor, "B N"], /) -> Float[Tensor, "B N"]:
        # y = x + α F(x)
        return inputs + self.scale * self.branch(inputs)

    def jacobian(self, inputs: Float[Tensor, " N"], /) -> Float[Tensor, "N N"]:
        # ∂y/∂x = I + α ∂F/∂x
        return torch.eye(inputs.shape[0], dtype=inputs.dtype) + self.scale * self.branch.jacobian(inputs)


class Gated(NamedTuple):
    """A gate for each unit, between keeping it and taking the branch's: k x + (1 − k) F(x)."""

    branch: Block
    weight: Float[Tensor, "N N"]
    bias: float

    def keep(self, inputs: Float[Tensor, "*B N"]) -> Float[Tensor, "*B N"]:
        """How far each gate is open for what was there, from 0 to 1."""
        # k = g(V x + b)
        return torch.sigmoid(inputs @ self.weight.T + self.bias)

    def __call__(self, inputs: Float[Tensor, "B N"], /) -> Float[Tensor, "B N"]:
        keep = self.keep(inputs)
        # y = k x + (1 − k) F(x)
        return keep * inputs + (1 - keep) * self.branch(inputs)

    def jacobian(self, inputs: Float[Tensor, " N"], /) -> Float[Tensor, "N N"]:
        keep, branch = self.keep(inputs), self.branch(inputs.unsqueeze(0))[0]
        gate = (inputs - branch) * keep * (1 - keep)
        # ∂y/∂x = diag(k) + diag(1 − k) ∂F/∂x + diag((x − F(x)) k (1 − k)) V
        through = (1 - keep).unsqueeze(1) * self.branch.jacobian(inputs)
        return torch.diag(keep) + through + gate.unsqueeze(1) * self.weight


def norm_jacobian(net: Float[Tensor, " N"]) -> tuple[Float[Tensor, " N"], Float[Tensor, "N N"]]:
    """A layer norm's output and its Jacobian: it takes out the mean, and what would only make the vector longer.

    >>> normal, jacobian = norm_jacobian(torch.tensor([1.0, 2.0, 4.0]).double())
    >>> bool((jacobian @ torch.ones(3).double()).abs().max() < 1e-12)
    True
    """
    normal, _, variance = standardise(net, [0])
    count = net.shape[0]
    eye = torch.eye(count, dtype=net.dtype)
    # ∂n/∂a = (I − 1 1ᵀ/N − n nᵀ/N) / √(σ² + ε)
    return normal, (eye - 1 / count - torch.outer(normal, normal) / count) * torch.rsqrt(variance + EPSILON)


def through(blocks: Sequence[Block], inputs: Float[Tensor, "B N"]) -> list[Float[Tensor, "B N"]]:
    """The inputs, and the outputs of every block after the other.

    Raises:
        InvalidValue: there are no blocks, or inputs that do not fit the first.
    """
    require(len(blocks) >= 1, "there are no blocks; a network needs at least one")
    states = [inputs]
    for block in blocks:
        states.append(block(states[-1]))
    return states


def gradient_norms(
    blocks: Sequence[Block], inputs: Float[Tensor, "B N"], errors: Float[Tensor, "B N"]
) -> Float[Tensor, " steps"]:
    """The size of the gradient before every block and after the last, where it is the given errors'.

    Args:
        blocks: of the network.
        inputs: of the first block.
        errors: the gradient at the outputs of the last.

    Returns:
        Root mean squares, L + 1 of them, input first.

    Raises:
        InvalidValue: there are no blocks, or errors of another shape than the inputs.

    >>> double = Plain(2 * torch.eye(3).double(), torch.zeros(3).double(), ACTIVATIONS["relu"])
    >>> gradient_norms([double, double], torch.ones(2, 3).double(), torch.ones(2, 3).double()).tolist()
    [4.0, 2.0, 1.0]
    """
    if errors.shape != inputs.shape:
        raise InvalidValue(f"errors are {tuple(errors.shape)} and inputs {tuple(inputs.shape)}; they must be alike")
    states = through(blocks, inputs.clone().requires_grad_())
    gradients = torch.autograd.grad(states[-1], states, errors)
    return torch.stack([gradient.square().mean().sqrt() for gradient in gradients])


def decay(norms: Float[Tensor, " steps"]) -> float:
    """What one block does to the gradient on its way back, as the geometric mean over all: below 1 it vanishes.

    >>> round(decay(torch.tensor([0.25, 0.5, 1.0])), 6)
    0.5
    """
    # (‖∂E/∂x₀‖ / ‖∂E/∂x_L‖)^(1/L)
    return float((norms[0] / norms[-1]) ** (1 / (norms.shape[0] - 1)))


def product(blocks: Sequence[Block], example: Float[Tensor, " N"]) -> list[Float[Tensor, "N N"]]:
    """The Jacobian of one, two, ... all blocks at one example, each the product of those written out.

    >>> double = Plain(2 * torch.eye(1).double(), torch.zeros(1).double(), ACTIVATIONS["relu"])
    >>> [float(jacobian) for jacobian in product([double, double], torch.ones(1).double())]
    [2.0, 4.0]
    """
    products: list[Tensor] = []
    states = through(blocks, example.unsqueeze(0))
    for block, state in zip(blocks, states[:-1], strict=True):
        own = block.jacobian(state[0])
        # J = J_L ⋯ J_2 J_1
        products.append(own @ products[-1] if products else own)
    return products


def autograd_jacobian(blocks: Sequence[Block], example: Float[Tensor, " N"]) -> Float[Tensor, "N N"]:
    """The Jacobian of all blocks at one example as autograd has it: the oracle of `product`."""
    return torch.func.jacrev(lambda inputs: through(blocks, inputs.unsqueeze(0))[-1][0])(example)


def deep(width: int, depth: int, activation: str, *, generator: torch.Generator) -> dict[str, list[Block]]:
    """Networks of many layers, each with weights of its own, by what is done against vanishing.

    Args:
        width: units N of every layer.
        depth: number of layers L.
        activation: of the first network, with weights N(0, 1/√fan-in): logistic, tanh or relu.
        generator: of the weights.

    Raises:
        InvalidValue: fewer than 2 units or layers, or an unknown activation.

    >>> list(deep(4, 2, "logistic", generator=torch.Generator().manual_seed(0)))[-2:]
    ['ReZero', 'gates']
    """
    require(width >= 2 and depth >= 2, f"{depth} layers of {width} units; a product of Jacobians takes 2 of both")
    require(activation in ACTIVATIONS, f"activation is '{activation}'; choose {', '.join(ACTIVATIONS)}")
    logistic, tanh, relu = ACTIVATIONS.values()
    zero = torch.zeros(width).double()

    def small() -> Tensor:
        return fan_in_normal(torch.empty(width, width).double(), generator=generator)

    def fit() -> Tensor:
        return kaiming(torch.empty(width, width).double(), generator=generator)

    def steep() -> Block:
        weight = LARGE * small()
        # Outputs are about ½: this bias puts the net inputs where the slope is highest.
        return Plain(weight, -weight.sum(1) / 2, logistic)

    makers: dict[str, Callable[[], Block]] = {
        activation: lambda: Plain(small(), zero, ACTIVATIONS[activation]),
        "logistic, large weights": steep,
        "ReLU, N(0, 1/√n)": lambda: Plain(small(), zero, relu),
        "ReLU, Kaiming": lambda: Plain(fit(), zero, relu),
        "ReLU, N(0, 1), normed": lambda: Normed(
            standard_normal(torch.empty(width, width).double(), generator=generator), relu
        ),
        "residual, no norm": lambda: Residual(Plain(fit(), zero, relu)),
        "residual, normed first": lambda: Residual(PreNormed(fit(), relu)),
        "ReZero": lambda: Residual(Plain(fit(), zero, relu), 0.0),
        "gates": lambda: Gated(Plain(small(), zero, tanh), small(), log(depth)),
    }
    return {name: [make() for _ in range(depth)] for name, make in makers.items()}


def recurrent(width: int, steps: int, *, generator: torch.Generator) -> dict[str, list[Block]]:
    """Recurrent networks unrolled over time: the same weights at every step, and other inputs, here as biases.

    Args:
        width: units N.
        steps: of time.
        generator: of the weights and inputs.

    Raises:
        InvalidValue: fewer than 2 units or steps.

    >>> list(recurrent(4, 2, generator=torch.Generator().manual_seed(0)))[-1]
    'gates'
    """
    require(width >= 2 and steps >= 2, f"{steps} steps of {width} units; a product of Jacobians takes 2 of both")
    tanh = ACTIVATIONS["tanh"]
    drives = DRIVE * torch.randn(steps, width, generator=generator).double()
    normal, other = (torch.randn(width, width, generator=generator).double() for _ in range(2))
    turn = torch.linalg.qr(normal).Q  # orthogonal: all its singular values are 1
    weights = {
        "tanh, singular values 0.9": SHRINKING * turn,
        "tanh, singular values 1": turn,
        "tanh, large weights": LARGE_IN_TIME * normal / sqrt(width),
    }
    unrolled: dict[str, list[Block]] = {
        name: [Plain(weight, drive, tanh) for drive in drives] for name, weight in weights.items()
    }
    # k ≈ T/(1 + T) at every step, so that 1/e is left of what is kept for T steps.
    unrolled["gates"] = [Gated(Plain(turn, drive, tanh), other / sqrt(width), log(steps)) for drive in drives]
    return unrolled
