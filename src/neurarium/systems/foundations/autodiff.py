r"""Autodiff: networks that learn by an engine of our own, and nothing else.

A network is an expression of many values. Written with Vars, it leaves its graph behind; backward from the loss gives
every weight its slope by the chain rule, without anyone deriving the network's gradient by hand. Gradient descent
then only has to zero the old slopes, walk the graph, and step.

The engine is `parts.autodiff` (Var, Op, backward) with its operations; here are two networks written in it, the rules
SGD and Adam on its Vars, and the learner. PyTorch only holds the weights' memory, so that they can be checkpointed and
taken away: a Var and its parameter look at the same numbers.

Source: CS 479 §9 (auto-differentiation), §10 (neural nets with it: evaluate, zero-grad, backward, v ← v − κ v.grad);
CSE 151B, Momentum; Kingma & Ba 2015, Adam, algorithm 1.
Differs: cross-entropy on minibatches; weights start at random with variance 2/fan-in (He et al. 2015) for ReLU.
Shapes: B batch, C channels, H height, W width, K classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.learners.stream import State
from neurarium.parts.autodiff import Value, Var, no_grad
from neurarium.parts.autodiff_arrays import relu, reshape, softmax_cross_entropy
from neurarium.parts.autodiff_images import conv2d, max_pool2d
from neurarium.parts.bundles import Labelled, check_batch
from neurarium.parts.schedules import Schedule, constant

HIDDEN = (64,)  # units of the dense network's hidden layers
MAPS = (16, 32)  # feature maps of the convnet
KERNEL = 3  # pixels a side
BETAS = (0.9, 0.999)  # Kingma & Ba 2015, §2
EPSILON = 1e-8  # Kingma & Ba 2015, §2


def draw(generator: torch.Generator, *shape: int, fan_in: int) -> nn.Parameter:
    """Random weights of variance 2/fan-in."""
    return nn.Parameter(torch.randn(*shape, generator=generator) * (2 / fan_in) ** 0.5)


def variables(module: nn.Module) -> dict[str, Var]:
    """A Var for every parameter of a module, by name, which looks at the parameter's own memory.

    >>> layer = nn.Linear(2, 1)
    >>> weights = variables(layer)
    >>> with no_grad():
    ...     weights["bias"].write(7.0)
    >>> layer.bias.item()
    7.0
    """
    return {name: Var(parameter.detach().numpy(), name=name) for name, parameter in module.named_parameters()}


class Network(nn.Module, ABC):
    """What holds the weights; a subclass says in `logits` what is computed with them, in Vars.

    Args:
        shape: channels, height and width of the images.
        classes: number of classes K.
    """

    def __init__(self, *, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        require(classes >= 2, f"classes is {classes}; a classifier needs at least 2")
        self.shape = shape

    @abstractmethod
    def logits(self, images: Value, weights: Mapping[str, Var]) -> Var:
        """Logits (B, K) of images (B, C, H, W)."""

    def require_shape(self, images: Tensor) -> None:
        """Refuse images of another shape.

        Raises:
            InvalidValue: the images are not those that the network was built for.
        """
        if images.shape[1:] != self.shape:
            raise InvalidValue(f"images are {tuple(images.shape[1:])}, but the network was built for {self.shape}")


class Dense(Network):
    """Dense layers with ReLU between them.

    >>> net = Dense(shape=(1, 8, 8), classes=10, generator=torch.Generator().manual_seed(0))
    >>> net.logits(np.zeros((2, 1, 8, 8)), variables(net)).shape
    (2, 10)
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        classes: int,
        generator: torch.Generator,
        hidden: Sequence[int] = HIDDEN,
    ) -> None:
        super().__init__(shape=shape, classes=classes)
        sizes = (prod(shape), *hidden, classes)
        require(min(sizes) >= 1, f"the layers have sizes {list(sizes)}, but each must be at least 1")
        self.weight = nn.ParameterList([draw(generator, a, b, fan_in=a) for a, b in pairwise(sizes)])
        self.bias = nn.ParameterList([torch.zeros(b) for b in sizes[1:]])

    def logits(self, images: Value, weights: Mapping[str, Var]) -> Var:
        # h ← ReLU(h W + b)
        values = reshape(images, (-1, prod(self.shape)))
        for layer in range(len(self.weight)):
            values = relu(values) if layer else values
            values = values @ weights[f"weight.{layer}"] + weights[f"bias.{layer}"]
        return values


class Convnet(Network):
    """Convolution, ReLU and pooling, twice, and a dense layer.

    Raises:
        InvalidValue: images under 4×4 pixels.

    >>> net = Convnet(shape=(1, 8, 8), classes=10, generator=torch.Generator().manual_seed(0))
    >>> net.logits(np.zeros((2, 1, 8, 8)), variables(net)).shape
    (2, 10)
    """

    def __init__(self, *, shape: tuple[int, int, int], classes: int, generator: torch.Generator) -> None:
        super().__init__(shape=shape, classes=classes)
        channels, height, width = shape
        require(min(height, width) >= 4, f"images are {height}×{width} pixels; two poolings need at least 4×4")
        first, second = MAPS
        left = second * (height // 4) * (width // 4)
        self.conv1 = draw(generator, first, channels, KERNEL, KERNEL, fan_in=channels * KERNEL**2)
        self.bias1 = nn.Parameter(torch.zeros(first))
        self.conv2 = draw(generator, second, first, KERNEL, KERNEL, fan_in=first * KERNEL**2)
        self.bias2 = nn.Parameter(torch.zeros(second))
        self.head = draw(generator, left, classes, fan_in=left)
        self.bias3 = nn.Parameter(torch.zeros(classes))

    def logits(self, images: Value, weights: Mapping[str, Var]) -> Var:
        # Pooling before ReLU gives the same for a quarter of the work.
        maps = relu(max_pool2d(conv2d(images, weights["conv1"], weights["bias1"], padding=KERNEL // 2), 2))
        maps = relu(max_pool2d(conv2d(maps, weights["conv2"], weights["bias2"], padding=KERNEL // 2), 2))
        return reshape(maps, (-1, self.head.shape[0])) @ weights["head"] + weights["bias3"]


@runtime_checkable
class Rule(Protocol):
    """A rule that moves Vars by their gradients, with moments that a checkpoint can hold."""

    def step(self, lr: float) -> None: ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State, /) -> None: ...


class SGD:
    """Descent with momentum: v ← v − κ grad, where past steps go on.

    >>> x = Var([4.0])
    >>> rule = SGD([x], momentum=0.0)
    >>> (x * x).backward()
    >>> rule.step(0.25)
    >>> x.val.tolist()
    [2.0]
    """

    def __init__(self, weights: Iterable[Var], *, momentum: float = 0.9) -> None:
        require(0 <= momentum < 1, f"momentum is {momentum}, but must be at least 0 and below 1")
        self.weights = list(weights)
        self.momentum = momentum
        self.velocity = [np.zeros_like(weight.val) for weight in self.weights]

    def step(self, lr: float) -> None:
        """Move every weight by its `grad`."""
        with no_grad():
            for weight, velocity in zip(self.weights, self.velocity, strict=True):
                # u ← µ u + grad
                velocity[...] = self.momentum * velocity + gradient_of(weight)
                # w ← w − κ u
                weight.write(weight.val - lr * velocity)

    def state_dict(self) -> State:
        return {f"velocity{place}": torch.from_numpy(value) for place, value in enumerate(self.velocity)}

    def load_state_dict(self, state: State, /) -> None:
        for place, value in enumerate(self.velocity):
            value[...] = state[f"velocity{place}"].numpy()


class Adam:
    """Steps of about the learning rate in every direction, however steep (Kingma & Ba 2015, algorithm 1).

    >>> x = Var([4.0, 400.0])
    >>> rule = Adam([x])
    >>> (x[0] * x[0] + x[1] * x[1]).backward()
    >>> rule.step(1.0)
    >>> x.val.round(6).tolist()
    [3.0, 399.0]
    """

    def __init__(self, weights: Iterable[Var]) -> None:
        self.weights = list(weights)
        self.steps = 0
        self.first = [np.zeros_like(weight.val) for weight in self.weights]
        self.second = [np.zeros_like(weight.val) for weight in self.weights]

    def step(self, lr: float) -> None:
        """Move every weight by its `grad`."""
        self.steps += 1
        one, two = BETAS
        with no_grad():
            for weight, first, second in zip(self.weights, self.first, self.second, strict=True):
                gradient = gradient_of(weight)
                # m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²
                first[...] = one * first + (1 - one) * gradient
                second[...] = two * second + (1 - two) * gradient**2
                # m̂ = m/(1 − β₁ᵗ),  v̂ = v/(1 − β₂ᵗ)
                m, v = first / (1 - one**self.steps), second / (1 - two**self.steps)
                # w ← w − κ m̂/(√v̂ + ε)
                weight.write(weight.val - lr * m / (np.sqrt(v) + EPSILON))

    def state_dict(self) -> State:
        moments = {"first": self.first, "second": self.second}
        held = {f"{name}{i}": torch.from_numpy(value) for name, all_ in moments.items() for i, value in enumerate(all_)}
        return {"steps": self.steps, **held}

    def load_state_dict(self, state: State, /) -> None:
        self.steps = state["steps"]
        for place, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            first[...], second[...] = state[f"first{place}"].numpy(), state[f"second{place}"].numpy()


def gradient_of(weight: Var) -> np.ndarray:
    """The gradient, or an error that says whose is missing."""
    if weight.grad is None:
        raise InvalidValue(f"{weight.name or 'a weight'} has no gradient to step by; call backward() on a loss of it")
    return weight.grad


class Teach(Learner[Labelled]):
    """Teaches a network by the engine: evaluate, zero the old slopes, walk back, step.

    Args:
        network: whose weights are learned.
        rule: SGD or Adam, the class itself or anything that builds a rule from the weights' Vars.
        lr: learning rate κ at the schedule's 1.
        schedule: factor of the learning rate by progress.

    >>> net = Dense(shape=(1, 1, 2), classes=2, generator=torch.Generator().manual_seed(0))
    >>> learner = Teach(net, lr=0.05)
    >>> batch = Labelled(torch.tensor([[[[0.0, 1.0]]], [[[1.0, 0.0]]]]), torch.tensor([0, 1]))
    >>> losses = [learner.learn(batch)["loss"] for _ in range(50)]
    >>> losses[-1] < 0.1 < losses[0]
    True
    """

    channels_last = False  # the engine shares the parameters' memory, which must stay where it is

    def __init__(
        self,
        network: Network,
        *,
        rule: type[SGD] | type[Adam] = Adam,
        lr: float = 2e-3,
        schedule: Schedule = constant,
    ) -> None:
        require(lr >= 0, f"lr is {lr}, but must not be negative")
        self.network = network
        self.weights = variables(network)
        self.rule = rule(self.weights.values())
        self.lr = lr
        self.schedule = schedule

    def learn(self, batch: Labelled) -> Measures:
        """One step on cross-entropy.

        Raises:
            InvalidValue: the batch is empty, of other shapes, or has a label that is no class.
        """
        loss = self.loss(batch)
        loss.zero_grad()
        loss.backward()
        self.rule.step(self.lr * self.schedule(self.progress))
        for name, parameter in self.network.named_parameters():
            # For whoever looks for gradients where PyTorch keeps them; the engine does not need it.
            parameter.grad = torch.from_numpy(self.weights[name].grad)
        return {"loss": loss.val.item()}

    def loss(self, batch: Labelled) -> Var:
        """The loss of a batch, with its graph."""
        images, labels = batch
        check_batch((images, labels), wanted="images and labels")
        self.network.require_shape(images)
        return softmax_cross_entropy(self.network.logits(images.numpy(), self.weights), labels.numpy())

    def predict(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Logits of the classes."""
        self.network.require_shape(images)
        with no_grad():
            return torch.from_numpy(self.network.logits(images.numpy(), self.weights).val.copy())

    def evaluate(self, batches: Iterable[Labelled], *, prefix: str = "") -> dict[str, float]:
        """Mean loss and accuracy over all examples of some batches."""
        seen, loss, correct = 0, 0.0, 0
        with no_grad():
            for batch in batches:
                loss += self.loss(batch).val.item() * len(batch.labels)
                correct += int((self.predict(batch.inputs).argmax(1) == batch.labels).sum())
                seen += len(batch.labels)
        return {f"{prefix}loss": loss / seen, f"{prefix}accuracy": correct / seen}
