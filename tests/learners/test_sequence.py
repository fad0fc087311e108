"""Sequences: what is taught, how far errors travel, and how the length grows; against slow, explicit versions."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from neurarium.errors import InvalidValue, NotFinite
from neurarium.learners.sequence import Targets, ThroughTime, bit_losses, bits_right, growing, taught_steps, whole
from neurarium.parts.bundles import Sequences
from neurarium.parts.optimizers import sgd
from neurarium.running.states import difference
from neurarium.running.trace import Window
from neurarium.systems.sequence.elman import Elman

B, T = 3, 7


def drawn(*, mask: Tensor | None = None) -> Sequences:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(B, T, 2, generator=generator).double()
    targets = torch.randint(2, (B, T, 1), generator=generator).double()
    mask = torch.rand(B, T, generator=generator) < 0.5 if mask is None else mask
    return Sequences(inputs, targets, mask)


def taught(**options: Any) -> tuple[ThroughTime, Elman]:
    torch.manual_seed(0)
    model = Elman(inputs=2, hidden=4, outputs=1).double()
    return ThroughTime(model, optimizer=sgd, **{"lr": 0.1, **options}), model


def gradients(batch: Sequences, **options: Any) -> dict[str, Tensor]:
    learner, model = taught(**options)
    learner.learn(batch)
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def explicit(batch: Sequences, chosen: Tensor, truncate: int) -> dict[str, Tensor]:
    """BPTT(k) by hand: every step written out, the state made a constant at the start of each chunk."""
    _, model = taught()
    loss = torch.zeros(()).double()
    for n in range(B):
        state = torch.zeros(4).double()
        for t in range(T):
            if t % truncate == 0:
                state = state.detach()
            cell = model.cell
            state = torch.tanh(batch.inputs[n, t] @ cell.input_weights + state @ cell.recurrent_weights + cell.bias)
            p = torch.sigmoid(state @ model.readout.weight.T + model.readout.bias)[0]
            y = batch.targets[n, t, 0]
            if chosen[n, t]:
                loss = loss - y * torch.log(p) - (1 - y) * torch.log(1 - p)
    (loss / chosen.sum()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], rtol=1e-11, atol=1e-13)


def chosen_by(targets: Targets, mask: Tensor) -> Tensor:
    last = torch.zeros(B, T).bool()
    last[:, -1] = True
    return {"all": torch.ones(B, T).bool(), "last": last, "some": mask}[targets]


@pytest.mark.parametrize("targets", ["all", "last", "some"])
@pytest.mark.parametrize("truncate", [1, 2, 3, T - 1, T])
def test_truncated_backpropagation_is_the_explicit_one(targets: Targets, truncate: int) -> None:
    batch = drawn()
    wanted = explicit(batch, chosen_by(targets, batch.mask), truncate)
    assert_same(gradients(batch, targets=targets, truncate=truncate), wanted)


@pytest.mark.parametrize("truncate", [T, T + 1, 1000])
def test_truncation_beyond_the_sequence_is_none_to_the_bit(truncate: int) -> None:
    assert difference(gradients(drawn()), gradients(drawn(), truncate=truncate)) is None


def test_truncation_changes_the_gradient_and_not_the_loss() -> None:
    full, cut = taught()[0], taught(truncate=2)[0]
    one, other = full.learn(drawn())["loss"], cut.learn(drawn())["loss"]
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(full.model.cell.recurrent_weights, cut.model.cell.recurrent_weights)  # type: ignore[union-attr,arg-type]


def test_no_error_crosses_the_cut() -> None:
    batch = drawn()
    inputs = batch.inputs.clone().requires_grad_()
    learner, _ = taught(targets="last", truncate=3)
    learner.learn(Sequences(inputs, batch.targets, batch.mask))
    # Chunks begin at 0, 3 and 6; the last step, 6, is alone in its chunk.
    assert inputs.grad is not None
    assert bool((inputs.grad[:, :6] == 0).all())
    assert bool((inputs.grad[:, 6] != 0).any())


def test_masked_steps_give_exactly_no_gradient() -> None:
    mask = torch.zeros(B, T).bool()
    mask[0, 3] = mask[2, 1] = True
    seen: list[Tensor] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = taught()[1]

        def forward(self, inputs: Tensor, carried: Tensor | None = None) -> tuple[Tensor, Tensor]:
            outputs, carried = self.inner(inputs, carried)
            outputs.retain_grad()
            seen.append(outputs)
            return outputs, carried

    batch = drawn(mask=mask)
    inputs = batch.inputs.clone().requires_grad_()
    ThroughTime(Watched(), targets="some", optimizer=sgd).learn(batch._replace(inputs=inputs))
    gradient = seen[0].grad
    assert gradient is not None
    assert bool((gradient[~mask] == 0).all())
    assert bool((gradient[mask] != 0).all())
    # Nor to what comes after the last taught step, nor to sequences that are not taught at all.
    assert inputs.grad is not None
    assert bool((inputs.grad[0, 4:] == 0).all())
    assert bool((inputs.grad[1] == 0).all())
    assert bool((inputs.grad[2, 2:] == 0).all())


def test_targets_that_are_masked_are_never_looked_at() -> None:
    batch = drawn()
    spoiled = batch._replace(targets=batch.targets.masked_fill(~batch.mask.unsqueeze(2), torch.nan))
    assert difference(gradients(batch, targets="some"), gradients(spoiled, targets="some")) is None


def test_every_batch_begins_anew() -> None:
    learner, _ = taught(lr=0.0)
    assert float(learner.learn(drawn())["loss"]) == float(learner.learn(drawn())["loss"])


@given(progress=st.floats(0, 1), steps=st.integers(1, 200), start=st.integers(1, 50), by=st.integers(1, 9))
def test_a_curriculum_grows_from_its_start_to_the_whole(progress: float, steps: int, start: int, by: int) -> None:
    curriculum = growing(start=start, by=by, until=0.8)
    length = curriculum(progress, steps)
    assert min(start, steps) == curriculum(0.0, steps) <= length <= curriculum(min(1.0, progress + 0.1), steps)
    assert length == steps or (length - start) % by == 0
    assert curriculum(0.81, steps) == steps == whole(progress, steps)


def test_the_curriculum_cuts_what_is_learned_and_not_what_is_evaluated() -> None:
    batch = drawn(mask=torch.ones(B, T).bool())
    learner, _ = taught(curriculum=growing(start=2, by=2), targets="last")
    lengths = []
    for progress in (0.0, 0.2, 0.4, 0.6):
        learner.progress = progress
        lesson = learner.lesson(batch)
        lengths.append(lesson.mask.shape[1])
        assert lesson.inputs.shape[1] == lesson.targets.shape[1] == lengths[-1]
        assert lesson.mask.sum() == B
        assert bool(lesson.mask[:, -1].all())
    assert lengths == [2, 4, 6, 7]
    learner.progress = 0.0
    short = Sequences(batch.inputs[:, :2], batch.targets[:, :2], batch.mask[:, :2])
    assert float(learner.lesson(batch).inputs.sum()) == float(short.inputs.sum())
    assert learner.evaluate([batch]) != learner.evaluate([short])


def test_evaluation_counts_at_the_mask_and_loss_where_taught() -> None:
    batch = drawn()
    learner, model = taught(measures={"accuracy": bits_right})
    logits = model(batch.inputs)[0].detach()
    right = ((logits > 0) == (batch.targets > 0.5))[..., 0]
    measured = learner.evaluate([batch, batch], prefix="test_")
    assert measured["test_accuracy"] == pytest.approx(float(right[batch.mask].double().mean()))
    assert measured["test_loss"] == pytest.approx(
        float(bit_losses(logits.flatten(0, 1), batch.targets.flatten(0, 1)).mean())
    )
    halves = [Sequences(*(field[:1] for field in batch)), Sequences(*(field[1:] for field in batch))]
    assert learner.evaluate(halves, prefix="test_") == pytest.approx(measured)


def test_the_objective_and_the_width_of_the_output_are_arguments() -> None:
    torch.manual_seed(0)
    model = Elman(inputs=1, hidden=12, outputs=3)
    symbols = torch.randint(3, (16, 8))
    batch = Sequences(symbols.unsqueeze(2).float(), symbols, torch.ones(16, 8).bool())
    learner = ThroughTime(model, objective=nn.CrossEntropyLoss(reduction="none"), lr=0.05)
    losses = [float(learner.learn(batch)["loss"]) for _ in range(60)]
    assert losses[-1] < 0.1 < 0.9 < losses[0]


def test_a_state_goes_back_to_the_bit() -> None:
    learner, _ = taught(truncate=3)
    state = learner.state_dict()
    torch.manual_seed(9)
    other = ThroughTime(Elman(inputs=2, hidden=4, outputs=1).double(), optimizer=sgd, lr=0.1, truncate=3)
    other.load_state_dict(state)
    learner.learn(drawn())
    other.learn(drawn())
    assert difference(learner.state_dict(), other.state_dict()) is None


def test_nan_in_a_sequence_shows_in_the_loss() -> None:
    batch = drawn(mask=torch.ones(B, T).bool())
    batch.inputs[1, 2, 0] = torch.nan
    window = Window()
    window.add(4, taught()[0].learn(batch))
    with pytest.raises(NotFinite, match="loss became nan at step 4"):
        window.check()


def test_a_batch_in_which_nothing_is_taught_is_refused() -> None:
    batch = drawn(mask=torch.zeros(B, T).bool())
    with pytest.raises(InvalidValue, match="the mask is False at every step, so nothing is taught; set it True where"):
        taught(targets="some")[0].learn(batch)
    assert float(taught(targets="all")[0].learn(batch)["loss"]) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: Sequences(*(field[:0] for field in b)), "the batch is empty; inputs, targets and mask need"),
        (
            lambda b: Sequences(*(field[:, :0] for field in b)),
            r"have \[0, 0, 0\] steps; all must have the same, at least 1",
        ),
        (lambda b: b._replace(mask=b.mask[:, 1:]), r"inputs, targets and mask have \[7, 7, 6\] steps"),
        (lambda b: b._replace(targets=b.targets[1:]), r"fields of \[3, 2, 3\] examples"),
        (lambda b: b._replace(mask=b.mask.unsqueeze(2)), r"are \(3, 7, 2\), \(3, 7, 1\), \(3, 7, 1\); they must be"),
        (lambda b: b._replace(inputs=b.inputs[..., :1]), "the inputs are 1 wide, but this cell was built for 2"),
        (lambda b: b._replace(targets=b.targets.repeat(1, 1, 2)), "the outputs are 1 wide, the targets 2"),
    ],
)
def test_a_misshaped_batch_is_refused(change: Any, message: str, unchecked: None) -> None:
    with pytest.raises(InvalidValue, match=message):
        taught()[0].learn(change(drawn()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(truncate=0), "truncate is 0; errors must travel back at least 1 step"),
        (dict(targets="first"), "targets is 'first'; choose all, last or some"),
    ],
)
def test_options_outside_their_rule_are_refused(options: dict[str, Any], message: str, unchecked: None) -> None:
    with pytest.raises(InvalidValue, match=message):
        taught(**options)


def test_a_curriculum_that_never_grows_is_refused() -> None:
    with pytest.raises(InvalidValue, match="from 2 steps by 0 never grows"):
        growing(start=2, by=0)
    with pytest.raises(InvalidValue, match="until is 0"):
        growing(start=2, by=3, until=0)


def test_the_last_step_is_one_a_sequence() -> None:
    assert taught_steps(torch.zeros(2, 3).bool(), "last").tolist() == [[False, False, True]] * 2
