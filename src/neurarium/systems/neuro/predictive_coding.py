r"""Predictive coding: every layer predicts the one below, and learns from what it got wrong.

Values nobody clamps move until nothing pulls at them any more, down the energy F (the nodes and how they settle are
`parts/predictive_nodes`). Only then do the weights change, each by the product of the two nodes at its ends: the value
above and the error below. So settling carries the information that backpropagation would send back through the
network, and no rule sees more than its own connection. Autograd has no part in it.

Clamp both ends to learn, the bottom to infer what is on top, the top to generate the bottom, a part of the bottom to
have the rest filled in. With a picture on top the network names it; with a label on top it draws.

Source: CS 479 §29.1.4 (dynamics, dM and dW; training, generating, inference); Whittington & Bogacz 2017, An
approximation of the error backpropagation algorithm in a predictive coding network with local Hebbian synaptic
plasticity, eqs. 2.18-2.19, and §2.3 (a large variance of the output brings the rule near backpropagation); Millidge,
Tschantz & Buckley 2020, Predictive coding approximates backprop along arbitrary computation graphs, §2.
Differs: every weight steps by an optimiser, whose memory is the weight's own. W stays Mᵀ, because both start as that
and learn the same product.
Shapes: B batch, F pixels, K classes, U units of a layer, A units of the layer above.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from neurarium.errors import InvalidValue, did_you_mean, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import Labelled, check_batch
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adam, set_rate
from neurarium.parts.predictive_nodes import Activity, Layer, PredictiveCoding, energy, error, largest_rate, settle
from neurarium.parts.schedules import Schedule, constant

Top = Literal["picture", "label"]
Rule = Literal["settled", "fixed", "backpropagation"]
TOPS: tuple[Top, ...] = get_args(Top)
RULES: tuple[Rule, ...] = get_args(Rule)
FOLLOWED = 20  # updates between two looks at the largest rate, which costs as much as a few of them


def backpropagated(model: PredictiveCoding, values: Sequence[Layer], bottom: Layer) -> tuple[Layer, ...]:
    """Backpropagation's errors, from a sweep down and a sweep up through the same weights turned round.

    Args:
        model: whose errors they are.
        values: of every layer, as the sweep down left them.
        bottom: what the lowest should have been.
    """
    found = [error(bottom, values[0], model.variances[0])]
    for value, weight in zip(values[1:-1], model.M, strict=False):
        # δⁱ = σ'(μⁱ) ⊙ (δⁱ⁻¹ (Mⁱ⁻¹)ᵀ)
        found.append((1 - torch.tanh(value).square()) * (found[-1] @ weight.T))
    return tuple(found)


def changes(
    output: Float[Tensor, "B A"], wrong: Float[Tensor, "B U"]
) -> tuple[Float[Tensor, "A U"], Float[Tensor, "U A"], Float[Tensor, " U"]]:
    """Where the weights down, the weights up and the biases between two layers go, from the nodes at their ends.

    >>> down, up, bias = changes(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5]]))
    >>> down.tolist(), up.tolist(), bias.tolist()
    ([[0.5], [1.0]], [[0.5, 1.0]], [0.5])
    """
    # dMⁱ/dt = σ(xⁱ⁺¹)ᵀ εⁱ, the mean over the batch
    down = (output.T @ wrong).div_(output.shape[0])
    # dWⁱ/dt = (εⁱ)ᵀ σ(xⁱ⁺¹): the same products, at the connections that lead up
    return down, down.T.contiguous(), wrong.mean(0)


class LearnLocally(Learner[Labelled]):
    """Teaches a network of predictions by what its own nodes know, on pictures and labels.

    Args:
        model: whose weights move.
        top: what its top layer is: a picture, which predicts a label, or a label, which predicts a picture.
        rule: where the errors come from: from settling; from settling under the fixed-prediction assumption; or, to
            compare, from backpropagation.
        settling: steps of settling before an update.
        rate: dt/τ of these; by default the largest that surely settles, followed as the weights grow.
        optimizer: builds from parameters and `lr` what makes a step of a weight from its own changes.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.

    Raises:
        InvalidValue: an unknown top or rule, or a negative learning rate.

    >>> net = PredictiveCoding(sizes=(2, 16, 2), generator=torch.Generator().manual_seed(0))
    >>> learner = LearnLocally(net, top="picture", lr=0.05)
    >>> corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> xor = Labelled(corners, torch.tensor([0, 1, 1, 0]))
    >>> for _ in range(100):
    ...     _ = learner.learn(xor)
    >>> learner.evaluate([xor])
    {'accuracy': 1.0}
    """

    def __init__(
        self,
        model: PredictiveCoding,
        *,
        top: Top,
        rule: Rule = "settled",
        settling: int = 30,
        rate: float | None = None,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-3,
        schedule: Schedule = constant,
    ) -> None:
        for name, value, known in (("top", top, TOPS), ("rule", rule, RULES)):
            require(value in known, f"there is no {name} '{value}'; {did_you_mean(value, known)}")
        require(lr >= 0, f"lr is {lr}, but must be 0 or more")
        self.model = model
        self.top, self.rule = top, rule
        self.settling, self.follows, self.updates = settling, rate is None, 0
        self.rate = self.surely() if rate is None else rate
        self.lr, self.schedule = lr, schedule
        self.optimizer = optimizer(model.parameters(), lr=lr)

    @torch.no_grad()
    def learn(self, batch: Labelled) -> Measures:
        """Clamp both ends, settle, and change every weight by the two nodes at its ends.

        Raises:
            InvalidValue: the batch is empty or misshaped, or the rate too large.
        """
        outputs, errors = self.settled(batch, self.rule)
        model = self.model
        for layer, each in enumerate(errors):
            down, up, bias = changes(outputs[layer + 1], each)
            # Optimisers go down, changes lead up.
            model.M[layer].grad, model.W[layer].grad, model.biases[layer].grad = down.neg_(), up.neg_(), -bias
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        self.optimizer.step()
        self.updates += 1
        if self.follows and self.updates % FOLLOWED == 0:
            self.rate = self.surely()
        return {"energy": energy(model, errors)}

    def surely(self) -> float:
        """A dt/τ with which the values settle, at the weights of now."""
        # Fixed predictions take errors up and nothing back: a layer is done in a step once the one below it is.
        return min(self.model.variances) if self.rule == "fixed" else largest_rate(self.model)

    def settled(self, batch: Labelled, rule: Rule) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
        """Outputs and errors of a batch with both ends clamped, by one of the rules."""
        top, bottom = self.ends(batch)
        values = self.model.sweep(top)
        if bottom.shape != values[0].shape:
            raise InvalidValue(f"the bottom is given {tuple(bottom.shape)}, but is predicted {tuple(values[0].shape)}")
        if rule == "backpropagation":
            return tuple(torch.tanh(value) for value in values), backpropagated(self.model, values, bottom)
        free = [False, *[True] * (len(values) - 2), False]
        start, fixed = (bottom, *values[1:]), rule == "fixed"
        done = settle(self.model, start, free=free, steps=self.settling, rate=self.rate, fixed=fixed)
        return done.state.outputs, done.state.errors

    @torch.no_grad()
    def angle(self, batch: Labelled) -> float:
        """The angle in degrees between this rule's changes of M and backpropagation's, at the weights of now."""
        ours, theirs = (
            torch.cat([changes(above, each)[0].flatten() for above, each in zip(outputs[1:], errors, strict=True)])
            for outputs, errors in (self.settled(batch, self.rule), self.settled(batch, "backpropagation"))
        )
        # |a − b| and |a + b| of unit vectors: exact where the cosine would be rounded to 1
        ours, theirs = ours / ours.norm(), theirs / theirs.norm()
        return float(torch.rad2deg(2 * torch.atan2((ours - theirs).norm(), (ours + theirs).norm())))

    def infer(self, pictures: Float[Tensor, "B ..."], *, steps: int = 200) -> Float[Tensor, "B K"]:
        """The label nodes at equilibrium with the picture clamped; the largest is the class."""
        if self.top == "picture":
            return self.model(pictures)
        return self.complete(pictures, torch.ones_like(pictures[:1]), steps=steps).values[-1]

    @torch.no_grad()
    def complete(
        self, pictures: Float[Tensor, "B ..."], known: Float[Tensor, "#B ..."], *, steps: int = 200
    ) -> Activity:
        """Where a network that predicts pictures settles with only the known pixels clamped.

        Args:
            pictures: pixels, of which the hidden ones are never looked at.
            known: 1 for a known pixel, 0 for a hidden one.
            steps: of settling.

        Raises:
            InvalidValue: the network's top is no label.
        """
        require(self.top == "label", "a network with the picture on top completes none; build one with the label there")
        known = known.flatten(1)
        values = self.model.sweep(pictures.new_zeros(pictures.shape[0], self.classes))
        start = (torch.lerp(values[0], pictures.flatten(1), known), *values[1:])
        whole = bool((known == 1).all())
        free = [False if whole else 1 - known, *[True] * (len(values) - 1)]
        return settle(self.model, start, free=free, steps=steps, rate=self.rate).state

    @property
    def classes(self) -> int:
        """K."""
        return self.model.M[0].shape[1] if self.top == "picture" else self.model.M[-1].shape[0]

    def evaluate(self, batches: Iterable[Labelled], *, prefix: str = "", steps: int = 200) -> dict[str, float]:
        """Accuracy of what is inferred in so many steps, over all examples of some batches."""
        with evaluating(self.model):
            hits = [self.infer(batch.inputs, steps=steps).argmax(1) == batch.labels for batch in batches]
        return {f"{prefix}accuracy": float(torch.cat(hits).float().mean())}

    def example(self, batch: Labelled) -> dict[str, tuple[Tensor, ...]]:
        """What the network has on top."""
        return {"model": (self.ends(batch)[0],)}

    def ends(self, batch: Labelled) -> tuple[Float[Tensor, "B _"], Float[Tensor, "B _"]]:
        """What a batch clamps the top and the bottom to: flat pictures, and 1 at the label with 0 elsewhere.

        Raises:
            InvalidValue: the batch is empty or misshaped, or has a label that is none of the classes.
        """
        inputs, labels = batch
        check_batch((inputs, labels), wanted="inputs and labels")
        require(labels.ndim == 1, f"labels are {tuple(labels.shape)}, but must be one class for each input")
        within = int(labels.min()) >= 0 and int(labels.max()) < self.classes
        require(
            within, f"a label lies outside 0 to {self.classes - 1}; the network was built for {self.classes} classes"
        )
        picture, label = inputs.flatten(1), one_hot(labels, self.classes).to(inputs.dtype)
        return (picture, label) if self.top == "picture" else (label, picture)
