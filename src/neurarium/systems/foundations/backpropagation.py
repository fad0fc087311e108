r"""Backpropagation: how much each hidden unit is to blame, passed back from layer to layer.

An output unit sees its own error, t − y. A hidden unit has no target; its error is that of the units it feeds, each
weighted by the connection to it, times the slope of its own activation. So one sweep forward and one sweep back give
the gradient of every weight: the input of the weight times the error at its end. Here both sweeps are written out as
matrix products over a batch, and autograd has no part in training.

Source: CSE 151B, Backprop (∂J/∂w = −δ z; δ = t − y at outputs; δ = g'(a) Σ δ w at hidden units); Rumelhart, Hinton &
Williams 1986, Learning representations by back-propagating errors, eqs. 3-7.
Differs: outputs are a softmax taught by cross-entropy (whose δ is t − y), and J is the mean over the batch.
Shapes: B batch, F input features, I units below, J units of a layer, K classes.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neurarium.errors import InvalidValue, did_you_mean, require
from neurarium.learners.classify import evaluate_classes
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import Labelled, check_batch
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adam, set_rate
from neurarium.parts.schedules import Schedule, constant


class Activation(NamedTuple):
    """A hidden unit's g, and its slope g'(a) computed from z = g(a), which the sweep forward has kept."""

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


ACTIVATIONS = {
    # g'(a) = 1 where a > 0, else 0
    "relu": Activation(torch.relu, lambda z: (z > 0).to(z.dtype)),
    # g'(a) = 1 − z²
    "tanh": Activation(torch.tanh, lambda z: 1 - z * z),
    # g'(a) = z (1 − z)
    "logistic": Activation(torch.sigmoid, lambda z: z * (1 - z)),
}


class MLP(nn.Module):
    """Logits from inputs, through any number of hidden layers.

    Args:
        features: width F of an input, when flat.
        hidden: units of each hidden layer.
        classes: number of classes K.
        activation: relu, tanh or logistic.

    Raises:
        InvalidValue: a width below 1, fewer than 2 classes, an unknown activation, or inputs of another width.

    >>> net = MLP(features=64, hidden=(32,), classes=10)
    >>> net(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(self, *, features: int, hidden: Sequence[int], classes: int, activation: str = "relu") -> None:
        super().__init__()
        require(features >= 1, f"features is {features}, but must be at least 1")
        require(min(hidden, default=1) >= 1, f"hidden is {tuple(hidden)}; every layer needs at least 1 unit")
        require(classes >= 2, f"classes is {classes}; a classifier needs at least 2")
        known = did_you_mean(activation, ACTIVATIONS)
        require(activation in ACTIVATIONS, f"there is no activation '{activation}'; {known}")
        self.activation = ACTIVATIONS[activation]
        # Kaiming's 2 makes up for the half of its input that a ReLU throws away.
        gain = 2.0 if activation == "relu" else 1.0
        sizes = list(pairwise([features, *hidden, classes]))
        self.weights = nn.ParameterList([torch.randn(i, j) * (gain / i) ** 0.5 for i, j in sizes])
        self.biases = nn.ParameterList([torch.zeros(j) for _, j in sizes])

    def forward(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B K"]:
        """Logits of the classes."""
        return self.sweep(inputs)[1]

    def sweep(self, inputs: Float[Tensor, "B ..."]) -> tuple[list[Float[Tensor, "B _"]], Float[Tensor, "B K"]]:
        """The sweep forward: what each layer of weights was given (the flat inputs first), and the logits."""
        z = inputs.flatten(1)
        if z.shape[1] != self.weights[0].shape[0]:
            wanted = self.weights[0].shape[0]
            raise InvalidValue(f"the inputs are {z.shape[1]} wide when flat, but this network was built for {wanted}")
        given = [z]
        *below, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in below:
            # z_j = g(a_j), a_j = Σ_i w_ij z_i + b_j
            given.append(self.activation.value(torch.addmm(bias, given[-1], weight)))
        return given, torch.addmm(last[1], given[-1], last[0])


def output_delta(logits: Float[Tensor, "B K"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "B K"]:
    """The error of each output: target minus softmax, −∂J/∂a of each example's cross-entropy.

    >>> output_delta(torch.zeros(1, 2), torch.tensor([1])).tolist()
    [[-0.5, 0.5]]
    """
    delta = torch.softmax(logits, dim=1).neg_()
    # δ_k = t_k − y_k, where t_k is 1 for the label and 0 for the others
    return delta.scatter_add_(1, labels.unsqueeze(1), torch.ones_like(delta[:, :1]))


def hidden_delta(
    slope: Float[Tensor, "B I"], delta: Float[Tensor, "B J"], weight: Float[Tensor, "I J"]
) -> Float[Tensor, "B I"]:
    """The error of each hidden unit, from that of the layer above.

    >>> hidden_delta(torch.tensor([[1.0, 0.5]]), torch.tensor([[2.0]]), torch.tensor([[3.0], [4.0]])).tolist()
    [[6.0, 4.0]]
    """
    # δ_i = g'(a_i) Σ_j δ_j w_ij
    return slope * (delta @ weight.T)


def deltas(
    model: MLP, given: Sequence[Float[Tensor, "B _"]], logits: Float[Tensor, "B K"], labels: Int64[Tensor, " B"]
) -> list[Float[Tensor, "B _"]]:
    """The sweep back: the errors of every layer's units, the first hidden layer's first.

    Args:
        model: whose weights the errors travel along.
        given: what each layer of weights was given in the sweep forward.
        logits: what came out of it.
        labels: what should have.
    """
    found = [output_delta(logits, labels)]
    for layer in range(len(given) - 1, 0, -1):
        slope = model.activation.slope(given[layer])
        found.append(hidden_delta(slope, found[-1], model.weights[layer]))
    return found[::-1]


def gradients(z: Float[Tensor, "B I"], delta: Float[Tensor, "B J"]) -> tuple[Float[Tensor, "I J"], Float[Tensor, " J"]]:
    """The gradient of a layer's weights and biases, from what it was given and the errors it led to.

    >>> weight, bias = gradients(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5]]))
    >>> weight.tolist(), bias.tolist()
    ([[-0.5], [-1.0]], [-0.5])
    """
    # ∂J/∂w_ij = −(1/N) Σₙ δ_j z_i, where a bias is the weight of a constant input 1
    return (z.T @ delta).div_(-z.shape[0]), delta.sum(0).div_(-z.shape[0])


class Backpropagate(Learner[Labelled]):
    """Teaches a network by the two sweeps; an optimiser makes the step from the gradients that they give.

    Args:
        model: whose weights move.
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.

    >>> _ = torch.manual_seed(0)
    >>> learner = Backpropagate(MLP(features=2, hidden=(16,), classes=2), lr=0.05)
    >>> corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> xor = Labelled(corners, torch.tensor([0, 1, 1, 0]))  # what no single layer can learn
    >>> losses = [float(learner.learn(xor)["loss"]) for _ in range(200)]
    >>> learner.evaluate([xor])["accuracy"]
    1.0
    """

    def __init__(
        self, model: MLP, *, optimizer: MakeOptimizer = adam, lr: float = 1e-3, schedule: Schedule = constant
    ) -> None:
        require(lr >= 0, f"lr is {lr}, but must be 0 or more")
        self.model = model
        self.lr = lr
        self.schedule = schedule
        self.optimizer = optimizer(model.parameters(), lr=lr)

    @torch.no_grad()
    def learn(self, batch: Labelled) -> Measures:
        """One sweep forward, one back, one step.

        Raises:
            InvalidValue: the batch is empty or misshaped.
        """
        inputs, labels = batch
        check_batch((inputs, labels), wanted="inputs and labels")
        require(labels.ndim == 1, f"labels are {tuple(labels.shape)}, but must be one class for each input")
        given, logits = self.model.sweep(inputs)
        for layer, delta in enumerate(deltas(self.model, given, logits, labels)):
            # In place of backward(): these are the gradients that the optimiser finds.
            self.model.weights[layer].grad, self.model.biases[layer].grad = gradients(given[layer], delta)
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        self.optimizer.step()
        return {"loss": cross_entropy(logits, labels)}

    def delta_sizes(self, batch: Labelled) -> list[float]:
        """The root mean square of the errors in every layer, the first hidden layer's first."""
        with evaluating(self.model):
            given, logits = self.model.sweep(batch.inputs)
            found = deltas(self.model, given, logits, batch.labels)
        return [float(delta.square().mean().sqrt()) for delta in found]

    def evaluate(self, batches: Iterable[Labelled], *, prefix: str = "") -> dict[str, float]:
        """Mean loss and accuracy over all examples of some batches."""
        return evaluate_classes(self.model, batches, prefix=prefix)

    def example(self, batch: Labelled) -> dict[str, tuple[Tensor, ...]]:
        """The inputs of a batch, for the model."""
        return {"model": (batch[0],)}
