"""Classification: a network whose outputs are logits, taught by cross-entropy.

Source: CSE 151B, Objective Functions (multinomial → cross-entropy).
Shapes: B batch, K classes.
"""

from collections.abc import Iterable
from typing import Generic, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import Labelled, check_batch
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adam, set_rate
from neurarium.parts.schedules import Schedule, constant

Model = TypeVar("Model", bound=nn.Module)


class Classify(Learner[Labelled], Generic[Model]):
    """Teaches a network to name the class of its input.

    Args:
        model: a module from inputs (B, ...) to logits (B, K).
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.

    >>> _ = torch.manual_seed(0)
    >>> learner = Classify(nn.Linear(2, 2), lr=0.1)
    >>> batch = Labelled(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    >>> losses = [float(learner.learn(batch)["loss"]) for _ in range(100)]
    >>> losses[-1] < 0.1 < losses[0]
    True
    >>> learner.predict(batch.inputs).argmax(1).tolist()
    [0, 1]
    """

    def __init__(
        self,
        model: Model,
        *,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-3,
        schedule: Schedule = constant,
    ) -> None:
        self.model = model
        self.lr = lr
        self.schedule = schedule
        self.optimizer = optimizer(model.parameters(), lr=lr)

    def learn(self, batch: Labelled) -> Measures:
        """One gradient step on cross-entropy.

        Raises:
            InvalidValue: the batch is empty, or has more inputs than labels or fewer.
        """
        inputs, labels = batch
        check_batch((inputs, labels), wanted="inputs and labels")
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        self.optimizer.zero_grad()
        loss = cross_entropy(self.model(inputs), labels)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}

    def predict(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B K"]:
        """Probabilities of the classes, in evaluation mode."""
        with evaluating(self.model):
            return torch.softmax(self.model(inputs).float(), dim=1)

    def evaluate(self, batches: Iterable[Labelled], *, prefix: str = "") -> dict[str, float]:
        """Mean loss and accuracy over all examples of some batches, in evaluation mode.

        Args:
            batches: the examples, in as many batches as suits memory.
            prefix: put before the measures' names ("test_").
        """
        return evaluate_classes(self.model, batches, prefix=prefix)

    def example(self, batch: Labelled) -> dict[str, tuple[Tensor, ...]]:
        """The inputs of a batch, for the model."""
        return {"model": (batch[0],)}


def evaluate_classes(model: nn.Module, batches: Iterable[Labelled], *, prefix: str = "") -> dict[str, float]:
    """Mean cross-entropy and accuracy of a network of logits over all examples of some batches, in evaluation mode.

    >>> batch = Labelled(torch.eye(2), torch.tensor([0, 1]))
    >>> evaluate_classes(nn.Identity(), [batch])["accuracy"]
    1.0
    """
    seen, loss, correct = 0, 0.0, 0
    with evaluating(model):
        for inputs, labels in batches:
            logits = model(inputs)
            loss += float(cross_entropy(logits.float(), labels, reduction="sum"))
            correct += int(correct_of(logits, labels))
            seen += len(labels)
    return {f"{prefix}loss": loss / seen, f"{prefix}accuracy": correct / seen}


def correct_of(logits: Float[Tensor, "B K"], labels: Int64[Tensor, " B"]) -> Int64[Tensor, ""]:
    """How many examples have their label's logit as the largest.

    >>> correct_of(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])).item()
    1
    """
    return (logits.argmax(dim=1) == labels).sum()
