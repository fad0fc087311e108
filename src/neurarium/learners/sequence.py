r"""Sequences: a recurrent network taught by backpropagation through time.

The network is unrolled over the steps of a sequence and the errors of the taught steps are sent back through all of
them. Which steps are taught, how far back errors travel and how long the sequences are at first are arguments.

Source: CS 479 §17 (E = Σ αᵢ L(yᵢ, tᵢ), backprop through time); CSE 151B, Recurrent Neural Networks (targets at all,
final or some time layers; BPTT(1); curriculum training); Elman 1990, Finding structure in time (one step back);
Pascanu, Mikolov & Bengio 2013, On the difficulty of training recurrent neural networks, alg. 1 (clipping).
Differs: αᵢ is 0 or 1, and E is the mean over the taught steps; the curriculum grows with the share of the training that
is done, not with the error.
Shapes: B batch, T time steps, I inputs, N places (taught steps of all sequences).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import Sequences, check_batch
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adam, set_rate
from neurarium.parts.recurrence import Carried, detached
from neurarium.parts.schedules import Schedule, constant

Places = Callable[[Tensor, Tensor], Tensor]
"""A number for each place, from the outputs (N, ...) and the targets (N, ...) there."""

Curriculum = Callable[[float, int], int]
"""How many steps of sequences of T steps to learn from, by progress (0 to 1) and T."""

Targets = Literal["all", "last", "some"]
"""Where a network is taught: at every step, at the last one, or at the steps of the batch's mask."""


def whole(progress: float, steps: int) -> int:
    """No curriculum: all steps throughout.

    >>> whole(0.0, 59)
    59
    """
    return steps


def growing(*, start: int, by: int, until: float = 0.5) -> Curriculum:
    """A curriculum that begins with `start` steps and adds `by` steps at equal intervals until it has them all.

    Args:
        start: steps at the beginning.
        by: steps added at a time.
        until: progress at which sequences are whole.

    Raises:
        InvalidValue: `start` or `by` is below 1, or `until` is not above 0 and at most 1.

    >>> curriculum = growing(start=2, by=3)
    >>> [curriculum(progress, 11) for progress in (0.0, 0.2, 0.4, 0.6, 1.0)]
    [2, 5, 8, 11, 11]
    """
    require(start >= 1 and by >= 1, f"a curriculum from {start} steps by {by} never grows; give at least 1 for both")
    require(0 < until <= 1, f"until is {until}; it must lie above 0 and be at most 1")

    def steps_at(progress: float, steps: int) -> int:
        stages = max(0, -(-(steps - start) // by))
        return min(steps, start + by * int(progress / until * stages))

    return steps_at


def bit_losses(logits: Float[Tensor, "N O"], bits: Float[Tensor, "N O"]) -> Float[Tensor, "N O"]:
    """Cross-entropy of bits, from logits, at each place.

    Raises:
        InvalidValue: outputs and targets differ in width.
    """
    if logits.shape != bits.shape:
        raise InvalidValue(f"the outputs are {logits.shape[-1]} wide, the targets {bits.shape[-1]}; they must agree")
    # L = −t log g(y) − (1 − t) log(1 − g(y)), g the logistic function
    return binary_cross_entropy_with_logits(logits, bits, reduction="none")


def bits_right(logits: Float[Tensor, "N O"], bits: Float[Tensor, "N O"]) -> Bool[Tensor, "N O"]:
    """Whether the likelier bit is the right one, at each place.

    >>> bits_right(torch.tensor([[0.3], [-2.0]]), torch.tensor([[1.0], [1.0]])).flatten().tolist()
    [True, False]
    """
    return (logits > 0) == (bits > 0.5)


class ThroughTime(Learner[Sequences]):
    """Teaches a recurrent network by (truncated) backpropagation through time.

    Args:
        model: from inputs (B, T, I) and a state (or None) to outputs (B, T, ...) and the state after the last step.
        objective: the loss at each place, from outputs and targets there.
        measures: what else `evaluate` reports, by name: each the mean of a number at each place.
        targets: which steps are taught.
        truncate: k of BPTT(k), steps that errors travel back at most: a sequence is cut into chunks of k steps, the
            state goes on from chunk to chunk as a constant, and the chunks' gradients are summed for one update.
            None: all steps.
        curriculum: how many of the steps to learn from, by progress; the first ones are kept.
        clip: the gradient's greatest norm, all parameters taken together; one that is longer is shortened to it (None:
            never). Errors may grow from step to step on their way back, and one such update can undo many.
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.

    Raises:
        InvalidValue: `truncate` is below 1, `clip` is not above 0, or `targets` is no choice.

    >>> from neurarium.parts.recurrence import ElmanCell, project_ahead
    >>> class Delay(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.cell, self.readout = ElmanCell(inputs=1, hidden=8), nn.Linear(8, 1)
    ...
    ...     def forward(self, inputs, carried=None):
    ...         hidden, carried = project_ahead(self.cell, inputs, carried)
    ...         return self.readout(hidden), carried
    >>> _ = torch.manual_seed(0)
    >>> bits = torch.randint(2, (32, 9, 1)).float()
    >>> batch = Sequences(bits, bits.roll(1, dims=1), torch.arange(9).gt(0).expand(32, 9))  # say what was last
    >>> learner = ThroughTime(Delay(), measures={"accuracy": bits_right}, targets="some", lr=0.02)
    >>> losses = [float(learner.learn(batch)["loss"]) for _ in range(100)]
    >>> learner.evaluate([batch])["accuracy"]
    1.0
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        objective: Places = bit_losses,
        measures: Mapping[str, Places] | None = None,
        targets: Targets = "all",
        truncate: int | None = None,
        curriculum: Curriculum = whole,
        clip: float | None = None,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-3,
        schedule: Schedule = constant,
    ) -> None:
        require(targets in ("all", "last", "some"), f"targets is '{targets}'; choose all, last or some")
        require(truncate is None or truncate >= 1, f"truncate is {truncate}; errors must travel back at least 1 step")
        require(clip is None or clip > 0, f"clip is {clip}; a gradient's greatest norm must be above 0")
        self.model = model
        self.objective = objective
        self.measures = measures or {}
        self.targets = targets
        self.truncate = truncate
        self.curriculum = curriculum
        self.clip = clip
        self.lr = lr
        self.schedule = schedule
        self.optimizer = optimizer(model.parameters(), lr=lr)

    def learn(self, batch: Sequences) -> Measures:
        """One gradient step on the mean loss of the taught steps.

        Raises:
            InvalidValue: the batch is empty or misshaped, or none of its steps is taught.
        """
        check_sequences(batch)
        lesson = self.lesson(batch)
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        self.optimizer.zero_grad()
        loss = self.backpropagate(lesson)
        if self.clip is not None:
            # g ← g min(1, clip/‖g‖)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return {"loss": loss}

    def lesson(self, batch: Sequences) -> Sequences:
        """The batch as it is taught: as long as the curriculum says, its mask the steps that are taught."""
        steps = self.curriculum(self.progress, batch.mask.shape[1])
        inputs, targets, mask = (field[:, :steps] for field in batch)
        return Sequences(inputs, targets, taught_steps(mask, self.targets))

    def backpropagate(self, lesson: Sequences) -> Float[Tensor, ""]:
        """Add the gradient of the mean loss over the mask's steps to the parameters'; returns that loss."""
        steps = lesson.mask.shape[1]
        count = lesson.mask.sum()
        loss = lesson.inputs.new_zeros(())
        carried: Carried | None = None
        for start in range(0, steps, self.truncate or steps):
            inputs, targets, mask = (field[:, start : start + (self.truncate or steps)] for field in lesson)
            outputs, carried = self.model(inputs, detached(carried))
            # E = Σᵢ αᵢ L(yᵢ, tᵢ) / Σᵢ αᵢ. Steps with αᵢ = 0 are left out, not multiplied by 0: NaN may stand there.
            part = self.objective(self._at(mask, outputs), self._at(mask, targets)).sum() / count
            part.backward()
            loss = loss + part.detach()
        return loss

    def _at(self, mask: Bool[Tensor, "B T"], values: Shaped[Tensor, "B T ..."]) -> Shaped[Tensor, "N ..."]:
        # Where every step is taught there is nothing to leave out, and no copy to make.
        return values.flatten(0, 1) if self.targets == "all" else values[mask]

    def predict(self, inputs: Float[Tensor, "B T I"]) -> Shaped[Tensor, "B T ..."]:
        """The outputs at every step, in evaluation mode."""
        with evaluating(self.model):
            outputs: Tensor = self.model(inputs)[0]
        return outputs

    def evaluate(self, batches: Iterable[Sequences], *, prefix: str = "") -> dict[str, float]:
        """Means over some batches of whole sequences, in evaluation mode.

        Args:
            batches: the sequences, in as many batches as suits memory.
            prefix: put before the measures' names ("test_").

        Returns:
            `loss` over the steps that would be taught, every measure over the steps of the mask.
        """
        sums: dict[str, list[float]] = {name: [0.0, 0.0] for name in ("loss", *self.measures)}
        for batch in batches:
            check_sequences(batch)
            outputs = self.predict(batch.inputs)
            for name, places in {"loss": self.objective, **self.measures}.items():
                mask = taught_steps(batch.mask, self.targets) if name == "loss" else batch.mask
                values = places(outputs[mask], batch.targets[mask])
                sums[name][0] += float(values.sum())
                sums[name][1] += values.numel()
        return {f"{prefix}{name}": total / max(count, 1) for name, (total, count) in sums.items()}

    def example(self, batch: Sequences) -> dict[str, tuple[Tensor, ...]]:
        """The inputs of a batch, for the model; the state is zeros then."""
        return {"model": (batch[0],)}


def taught_steps(mask: Bool[Tensor, "B T"], targets: Targets) -> Bool[Tensor, "B T"]:
    """The steps that are taught: all, the last, or those of the mask.

    Raises:
        InvalidValue: the mask is wanted, and is False everywhere.

    >>> taught_steps(torch.tensor([[False, True, False]]), "last").tolist()
    [[False, False, True]]
    """
    if targets == "some":
        require(
            bool(mask.any()), "the mask is False at every step, so nothing is taught; set it True where targets are"
        )
        return mask
    taught = torch.full_like(mask, targets == "all")
    taught[:, -1] = True
    return taught


def check_sequences(batch: Sequences) -> None:
    """Refuse sequences that are empty, or whose inputs, targets and mask disagree in number or length.

    Raises:
        InvalidValue: says which.
    """
    inputs, targets, mask = batch
    check_batch((inputs, targets, mask), wanted="inputs, targets and mask")
    if min(inputs.ndim, targets.ndim, mask.ndim) < 2 or mask.ndim > 2:
        shapes = ", ".join(str(tuple(field.shape)) for field in batch)
        raise InvalidValue(f"inputs, targets and mask are {shapes}; they must be (B, T, ...), (B, T, ...) and (B, T)")
    lengths = [field.shape[1] for field in batch]
    if len(set(lengths)) > 1 or not lengths[0]:
        raise InvalidValue(f"inputs, targets and mask have {lengths} steps; all must have the same, at least 1")
