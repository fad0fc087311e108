"""A recipe of a stranger's, right in every respect; tests plant faults in it, one at a time."""

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neurarium.errors import InvalidValue
from neurarium.learners.learner import Learner, Measures
from neurarium.running.pictures import panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run

POINTS, PLACES = 400, 6


class Points(NamedTuple):
    """Points in the plane, and on which side of the line each lies."""

    inputs: Tensor
    labels: Tensor


class PointStream:
    """Minibatches drawn with a generator of its own."""

    def __init__(self, points: Points, chance: torch.Generator) -> None:
        self.points, self.chance = points, chance

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Points:
        chosen = torch.randint(len(self.points.labels), (32,), generator=self.chance)
        return Points(self.points.inputs[chosen], self.points.labels[chosen])

    def state_dict(self) -> dict[str, Any]:
        return {"chance": self.chance.get_state()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.chance.set_state(state["chance"])


class Side(Learner[Points]):
    """Tells on which side of a line a point lies."""

    def __init__(self, *, lr: float) -> None:
        self.model = nn.Linear(PLACES, 2)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=lr)

    def learn(self, batch: Points) -> Measures:
        inputs, labels = batch
        if inputs.shape[1:] != (PLACES,) or labels.shape != inputs.shape[:1] or len(labels) == 0:
            raise InvalidValue(f"the batch has shapes {inputs.shape} and {labels.shape}; wanted (B, {PLACES}) and (B,)")
        self.optimizer.zero_grad()
        loss = cross_entropy(self.model(inputs), labels)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}

    def example(self, batch: Points) -> dict[str, tuple[Tensor, ...]]:
        return {"model": (batch.inputs,)}


def draw_points(chance: torch.Generator, shuffle: bool) -> Points:
    inputs = torch.randn(POINTS, PLACES, generator=chance)
    labels = (inputs[:, 0] + inputs[:, 1] > 0).long()
    if shuffle:
        labels = labels[torch.randperm(POINTS, generator=chance)]
    return Points(inputs, labels)


@recipe(
    expects=[Expect("test_accuracy", at_least=0.9)],
    smoke=dict(steps=40),
    control=dict(shuffle_labels=True),
)
def small(run: Run, *, steps: int = 200, lr: float = 0.05, shuffle_labels: bool = False) -> Result:
    """Points on two sides of a line."""
    train = draw_points(run.generator("train"), shuffle_labels)
    test = draw_points(run.generator("test"), shuffle_labels)
    learner = Side(lr=lr)
    chance = run.generator("order")

    def accuracy() -> dict[str, float]:
        with torch.no_grad():
            right = learner.model(test.inputs).argmax(1) == test.labels
        return {"test_accuracy": float(right.float().mean())}

    run.fit(learner, PointStream(train, chance), steps=steps, evaluate=accuracy)
    figure, (ax,) = panels()
    ax.scatter(test.inputs[:, 0].numpy(), test.inputs[:, 1].numpy(), c=test.labels.numpy(), s=4)
    run.picture("points", figure)
    return run.result(**accuracy())
