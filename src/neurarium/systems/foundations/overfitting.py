r"""Overfitting: a network with more weights than examples learns them by heart, mistakes included, and ways to stop it.

What is to be learned is regular, what is wrong with the examples is not; a network learns the first sooner than the
second. So one may stop it in time, make weights costly, disturb it so that it cannot rely on details, or give it more
and other examples. Each control has a strength, and validation examples say which one is right: networks of every
strength are taught abreast, all from the same first weights.

Source: CSE 151B, Dealing with Overfitting (early stopping, more data, L1, L2, weight elimination, dropout, noise at
inputs, hidden units and outputs); CS 479 §10.2.1 (validation, augmentation); Prechelt 1998, Early stopping - but when?;
Weigend, Rumelhart & Huberman 1991, Generalization by weight-elimination, eq. 2; Srivastava et al. 2014, Dropout.
Differs: early stopping keeps the weights of the lowest validation loss seen, and learning goes on, so that one sees
what stopping saved; noise at the outputs is added to the logits, for added to the targets it has no effect on the mean
of a cross-entropy; dropout hides hidden units alone.
Shapes: B batch, M networks (S strengths × R of each), F features, K classes, N examples, C H W of an image, L looks.
"""

from collections.abc import Iterable
from copy import deepcopy
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, relu

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.learners.population import Members
from neurarium.parts.bundles import Labelled, check_batch
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adam
from neurarium.parts.penalties import l1, l2, weight_elimination
from neurarium.parts.regularisers import dropout, gaussian_noise, jittered

TRAIN, VALIDATION, TEST = 0, 1, 2  # the sets of examples in `Controlled.curves`
LOSS, ACCURACY = 0, 1  # what is measured on each
NEVER = 1e30  # a validation loss before the first look


@runtime_checkable
class Penalty(Protocol):
    """What the weights of one network cost."""

    def __call__(self, parameters: Iterable[Tensor], /) -> Float[Tensor, ""]: ...


@runtime_checkable
class Disturbance(Protocol):
    """Values as they are while a network learns."""

    def __call__(
        self, values: Float[Tensor, "*shape"], strength: Tensor, /, *, generator: torch.Generator
    ) -> Float[Tensor, "*shape"]: ...


def untouched(values: Float[Tensor, "*shape"], _: Tensor, /, *, generator: torch.Generator) -> Float[Tensor, "*shape"]:
    """No disturbance."""
    return values


class Control(NamedTuple):
    """A way against overfitting. What it does not name is left as it is.

    Attributes:
        strengths: to choose from.
        penalty: what of the weights is added to the loss, times the strength.
        inputs, hidden, outputs: how images, hidden units and logits are disturbed, by the strength.
        stops: whether the weights of the lowest validation loss are kept.
        adds: whether there are more examples to learn from.
    """

    strengths: tuple[float, ...] = (0.0,)
    penalty: Penalty | None = None
    inputs: Disturbance = untouched
    hidden: Disturbance = untouched
    outputs: Disturbance = untouched
    stops: bool = False
    adds: bool = False


CONTROLS: dict[str, Control] = {
    "none": Control(),
    "early_stopping": Control(stops=True),
    "l1": Control(penalty=l1, strengths=(1e-3, 2e-3, 4e-3, 8e-3)),
    "l2": Control(penalty=l2, strengths=(1e-3, 3e-3, 1e-2, 2e-2)),
    "elimination": Control(penalty=weight_elimination, strengths=(3e-4, 1e-3, 3e-3, 6e-3)),
    "dropout": Control(hidden=dropout, strengths=(0.25, 0.5, 0.75, 0.9)),
    "noise_inputs": Control(inputs=gaussian_noise, strengths=(0.1, 0.2, 0.4, 0.8)),
    "noise_hidden": Control(hidden=gaussian_noise, strengths=(0.5, 1.0, 2.0, 4.0)),
    "noise_outputs": Control(outputs=gaussian_noise, strengths=(3.0, 6.0, 12.0, 24.0)),
    "augmentation": Control(inputs=jittered, strengths=(0.25, 0.5, 1.0, 1.5)),
    "more_data": Control(adds=True),
}
"""Every control by name."""


def mistaken(
    labels: Int64[Tensor, " N"], share: float, *, classes: int, generator: torch.Generator
) -> Int64[Tensor, " N"]:
    """The labels with a share of them wrong: each of those names another class.

    Raises:
        InvalidValue: the share is not between 0 and 1, or there is no other class.

    >>> wrong = mistaken(torch.zeros(10, dtype=torch.long), 0.3, classes=5, generator=torch.Generator())
    >>> int((wrong != 0).sum())
    3
    """
    require(0 <= share <= 1, f"the share of mistakes is {share}, but must be between 0 and 1")
    require(classes >= 2, f"classes is {classes}; a mistake takes at least 2")
    places = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))].to(labels.device)
    others = torch.randint(1, classes, (len(places),), generator=generator).to(labels.device)
    changed = labels.clone()
    changed[places] = (labels[places] + others) % classes
    return changed


def disturbed_logits(
    model: Members,
    images: Float[Tensor, "B M C H W"],
    control: Control,
    strengths: Float[Tensor, " M"],
    *,
    generator: torch.Generator,
) -> Float[Tensor, "B M K"]:
    """The logits of every network on its own images, with the control's disturbances on the way.

    >>> model = Members(sizes=(64, 8, 10), seeds=[0, 1], gains=torch.ones(2))
    >>> images, strengths = torch.ones(5, 2, 1, 8, 8), torch.tensor([0.0, 0.5])
    >>> logits = disturbed_logits(model, images, CONTROLS["dropout"], strengths, generator=torch.Generator())
    >>> same = torch.isclose(logits, model(images.flatten(2)), atol=1e-6)
    >>> bool(same[:, 0].all()), bool(same[:, 1].all())
    (True, False)
    """
    own = strengths.reshape(-1, 1, 1)
    hidden = control.inputs(images.transpose(0, 1), own[..., None, None], generator=generator).flatten(2)
    last = len(model.weights) - 1
    for layer, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
        # a_m = b_m + h_m W_m, h_m = the disturbed inputs or ReLU(a_m) of the layer before
        sums = torch.baddbmm(bias, hidden, weight)
        disturb = control.outputs if layer == last else control.hidden
        hidden = disturb(sums if layer == last else relu(sums), own, generator=generator)
    return hidden.transpose(0, 1)


def cross_entropies(logits: Float[Tensor, "B M K"], labels: Int64[Tensor, "B M"]) -> Float[Tensor, " M"]:
    """The mean cross-entropy of every network."""
    # E_m = −(1/B) Σ ln softmax(a_m)_t
    return cross_entropy(logits.permute(0, 2, 1), labels, reduction="none").mean(0)


def costs(penalty: Penalty, model: Members) -> Float[Tensor, " M"]:
    """What the weights of every network cost; biases are free.

    >>> model = Members(sizes=(2, 3), seeds=[0, 0], gains=torch.tensor([1.0, 2.0]))
    >>> once, twice = costs(l2, model).tolist()
    >>> round(twice / once, 4)
    4.0
    """
    found: Tensor = torch.func.vmap(penalty)(list(model.weights))
    return found


def judged(model: Members, data: Labelled) -> Float[Tensor, "2 M"]:
    """Loss and accuracy of every network on the same examples, undisturbed."""
    members = model.shape[0]
    inputs, labels = data.inputs.flatten(1), data.labels
    with evaluating(model):
        logits = model(inputs.unsqueeze(1).expand(-1, members, -1))
    right = (logits.argmax(2) == labels.unsqueeze(1)).to(logits.dtype).mean(0)
    return torch.stack([cross_entropies(logits, labels.unsqueeze(1).expand(-1, members)), right])


class Sets(NamedTuple):
    """Images to look at while networks learn: those they learn from, those that choose, and those that judge."""

    train: Labelled
    validation: Labelled
    test: Labelled


class Outcome(NamedTuple):
    """What a control came to at one strength: accuracies, means over the networks, and the spread of the last."""

    strength: float
    train: float
    validation: float
    test: float
    spread: float

    @property
    def gap(self) -> float:
        """Accuracy on what was learned from, less that on what was never seen."""
        return self.train - self.test


class Controlled(Learner[Labelled]):
    """Teaches networks under one control, several at each strength, and looks at them at intervals.

    Args:
        model: S × R networks, those of one strength side by side.
        control: whose strengths are S.
        sets: what they are looked at with.
        generator: of the disturbances.
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate.
        every: steps between two looks.
        looks: that are remembered.

    Raises:
        InvalidValue: the networks cannot be shared out among the strengths, or `every` or `looks` is below 1.

    >>> images = Labelled(torch.eye(4).reshape(4, 1, 2, 2), torch.tensor([0, 1, 0, 1]))
    >>> model = Members(sizes=(4, 16, 2), seeds=[0, 0], gains=torch.ones(2))
    >>> penalised = Control(penalty=l2, strengths=(0.0, 1.0))
    >>> chance = torch.Generator()
    >>> learner = Controlled(model, control=penalised, sets=Sets(images, images, images), generator=chance, lr=0.05)
    >>> batch = Labelled(images.inputs.unsqueeze(1).expand(4, 2, 1, 2, 2), images.labels.unsqueeze(1).expand(4, 2))
    >>> for _ in range(100):
    ...     measures = learner.learn(batch)
    >>> learner.outcome().strength  # a cost of 1 a squared weight leaves no weights
    0.0
    """

    def __init__(
        self,
        model: Members,
        *,
        control: Control,
        sets: Sets,
        generator: torch.Generator,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-3,
        every: int = 20,
        looks: int = 1,
    ) -> None:
        members, count = model.shape[0], len(control.strengths)
        require(members % count == 0, f"{members} networks cannot be shared out among {count} strengths")
        require(min(every, looks) >= 1, f"every is {every} and looks is {looks}; both must be at least 1")
        self.model, self.control, self.sets, self.generator = model, control, sets, generator
        self.strengths = torch.tensor(control.strengths).repeat_interleave(members // count)
        self.optimizer = optimizer(model.parameters(), lr=lr)
        self.every, self.step = every, 0
        self.curves = torch.zeros(looks, len(sets), 2, members)
        self.lowest = torch.full((members,), NEVER)
        self.stopped = torch.zeros(members, dtype=torch.long)
        if control.stops:
            self.kept = deepcopy(model).requires_grad_(False)

    def learn(self, batch: Labelled) -> Measures:
        """One gradient step of every network on its own examples; returns the mean of their losses.

        Raises:
            InvalidValue: the batch is empty, or not of one row of images and labels a network.
        """
        self.optimizer.zero_grad()
        losses = self.losses(batch)
        losses.sum().backward()
        self.optimizer.step()
        self.step += 1
        if self.step % self.every == 0:
            self._look()
        return {"loss": losses.detach().mean()}

    def losses(self, batch: Labelled) -> Float[Tensor, " M"]:
        """What every network shall make small: its cross-entropy when disturbed, and the cost of its weights."""
        images, labels = batch
        check_batch((images, labels), wanted="images and labels")
        members, features = self.model.shape
        if images.ndim != 5 or images.shape[1] != members or images[0, 0].numel() != features:
            raise InvalidValue(
                f"images are {tuple(images.shape)}; they must be (B, {members}, C, H, W), CHW={features}"
            )
        if labels.shape != images.shape[:2]:
            raise InvalidValue(
                f"labels are {tuple(labels.shape)}, but must be {tuple(images.shape[:2])}: (B, networks)"
            )
        logits = disturbed_logits(self.model, images, self.control, self.strengths, generator=self.generator)
        losses = cross_entropies(logits, labels)
        # J_m = E_m + λ_m C(w_m)
        return losses + self.strengths * costs(self.control.penalty, self.model) if self.control.penalty else losses

    @property
    def chosen(self) -> Members:
        """The networks that count: those at the lowest validation loss under early stopping, else the latest."""
        return self.kept if self.control.stops else self.model

    def outcome(self) -> Outcome:
        """What the networks of the strength with the highest validation accuracy reach."""
        strengths = self.control.strengths
        found = torch.stack([judged(self.chosen, part)[ACCURACY] for part in self.sets]).unflatten(
            1, (len(strengths), -1)
        )
        best = int(found[VALIDATION].mean(1).argmax())
        train, validation, test = found[:, best].mean(1).tolist()
        return Outcome(strengths[best], train, validation, test, float(found[TEST, best].std(correction=0)))

    def example(self, batch: Labelled) -> dict[str, tuple[Tensor, ...]]:
        """The images of a batch, for the networks that count."""
        return {"kept" if self.control.stops else "model": (batch[0].flatten(2),)}

    def _look(self) -> None:
        found = torch.stack([judged(self.model, part) for part in self.sets])
        place = self.step // self.every - 1
        if place < len(self.curves):
            self.curves[place] = found
        better = found[VALIDATION, LOSS] < self.lowest
        self.lowest = torch.where(better, found[VALIDATION, LOSS], self.lowest)
        self.stopped = torch.where(better, self.step, self.stopped)
        if self.control.stops:
            with torch.no_grad():
                for mine, theirs in zip(self.kept.parameters(), self.model.parameters(), strict=True):
                    mine[better] = theirs[better]
