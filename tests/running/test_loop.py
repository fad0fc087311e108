import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neurarium.data.batches import Held
from neurarium.errors import InvalidValue, NotFinite
from neurarium.learners.classify import Classify
from neurarium.learners.learner import Learner
from neurarium.parts.bundles import Labelled
from neurarium.running.loop import Budget, Fit, Interrupted
from neurarium.running.run import Run
from neurarium.running.settings import Settings
from neurarium.running.states import copy_state, difference


def data() -> Held[Labelled]:
    inputs = torch.randn(96, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Held(Labelled(inputs, (inputs.mean((1, 2, 3)) > 0).long()))


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 16, 3), nn.Dropout(0.2), nn.Flatten(), nn.Linear(16 * 36, 2))


def run_in(folder: Path, **settings: Any) -> Run:
    folder.mkdir(parents=True, exist_ok=True)
    return Run(folder, Settings(device="cpu", **settings))


def fit(run: Run, steps: int = 40, **options: Any) -> dict[str, Any]:
    learner = Classify(network(), lr=1e-2)
    run.fit(learner, data().batches(16, seed=run.seed), steps=steps, **options)
    return learner.state_dict()


def stopping_at(step: int) -> Any:
    def before(fit: Fit) -> None:
        fit.stop_at = step

    return before


@pytest.mark.parametrize("stop_at", [1, 5, 6, 7, 12, 39])  # an epoch is 6 steps
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_stopped_and_resumed_is_the_same_to_the_bit(stop_at: int, precision: str, tmp_path: Path) -> None:
    whole_run = run_in(tmp_path / "whole", precision=precision)
    whole = fit(whole_run)
    first = run_in(tmp_path / "cut", precision=precision)
    first.before_fit = stopping_at(stop_at)
    with pytest.raises(Interrupted, match=rf"step {stop_at}, .* neurarium resume"):
        fit(first)
    torch.rand(5)
    second = run_in(tmp_path / "cut", precision=precision)
    assert difference(fit(second), whole) is None
    traces = [[(line.step, line.measures) for line in run.trace.lines()] for run in (whole_run, second)]
    assert traces[0] == traces[1]


def test_moments_keep_the_layout_of_their_weights_across_a_resume(tmp_path: Path) -> None:
    run = run_in(tmp_path, precision="bfloat16")
    run.before_fit = stopping_at(3)
    with pytest.raises(Interrupted):
        fit(run)
    learner = Classify(network(), lr=1e-2)
    seen = []

    def look(fit: Fit) -> None:
        fit.observe = lambda step, batch: seen.append(step)

    again = run_in(tmp_path, precision="bfloat16")
    again.before_fit = look
    again.fit(learner, data().batches(16, seed=0), steps=5)
    weight = next(learner.model.parameters())
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert learner.optimizer.state[weight]["exp_avg"].stride() == weight.stride()
    assert seen == [4, 5]


def test_looking_on_changes_nothing(tmp_path: Path) -> None:
    looks: list[int] = []

    def evaluate() -> Mapping[str, float]:
        return {"chance": float(torch.rand(()))}

    seen = fit(run_in(tmp_path / "a"), evaluate=evaluate, draw=looks.append)
    unseen = fit(run_in(tmp_path / "b"))
    assert difference(seen, unseen) is None
    assert looks == [4, 8, 12, 16, 20, 24, 28, 32, 36, 40]


def test_looking_on_comes_as_often_as_asked(tmp_path: Path) -> None:
    looks: list[int] = []
    fit(run_in(tmp_path / "a"), evaluations=3, draw=looks.append)
    assert looks == [14, 27, 40]
    with pytest.raises(InvalidValue, match="evaluations is 0; a fit is looked at once or more"):
        fit(run_in(tmp_path / "b"), evaluations=0)


def test_a_fits_name_is_a_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="a fit is named '1/t'; use letters, digits"):
        run_in(tmp_path).fit(Classify(network()), data().batches(16), steps=1, name="1/t")


class Diverges(Learner[Labelled]):
    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def learn(self, batch: Labelled) -> dict[str, Tensor]:
        self.count += 1
        return {"fine": torch.zeros(()), "loss": torch.tensor(float("nan") if self.count == self.at else 1.0)}


def test_nan_stops_the_run_at_its_step_and_is_never_saved(tmp_path: Path) -> None:
    run = run_in(tmp_path, save_seconds=0.0)
    with pytest.raises(NotFinite, match="loss became nan at step 17"):
        run.fit(Diverges(17), data().batches(16), steps=4000)
    saved = sorted(path.name for path in (tmp_path / "checkpoints" / "fit").iterdir())
    assert saved == ["000000015", "000000016"]


def test_nan_late_in_a_window_is_dated_right(tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match="at step 1234;"):
        run_in(tmp_path).fit(Diverges(1234), data().batches(16), steps=100_000)


def test_ctrl_c_leaves_a_whole_checkpoint_between_two_steps(tmp_path: Path) -> None:
    def press(fit: Fit) -> None:
        fit.observe = lambda step, batch: os.kill(os.getpid(), signal.SIGINT) if step == 7 else None

    run = run_in(tmp_path / "cut")
    run.before_fit = press
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="step 7"):
        fit(run)
    assert signal.getsignal(signal.SIGINT) is handler
    assert difference(fit(run_in(tmp_path / "cut")), fit(run_in(tmp_path / "whole"))) is None


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    class Slow(Diverges):
        def learn(self, batch: Labelled) -> dict[str, Tensor]:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            return super().learn(batch)

    with pytest.raises(KeyboardInterrupt):
        run_in(tmp_path).fit(Slow(99), data().batches(16), steps=10)


def test_minutes_end_the_fit_and_drive_the_schedule(tmp_path: Path) -> None:
    learner = Classify(network())
    seen: list[float] = []

    def look(fit: Fit) -> None:
        fit.observe = lambda step, batch: seen.append(learner.progress)

    run = run_in(tmp_path, minutes=0.005)
    run.before_fit = look
    run.fit(learner, data().batches(16), steps=0)
    assert len(seen) > 3
    assert seen == sorted(seen)
    assert 0 <= seen[0] < 0.5 < seen[-1] < 1


def test_budgets_are_checked() -> None:
    with pytest.raises(InvalidValue, match="steps is -1; a fit takes 0 steps or more"):
        Budget(-1)
    with pytest.raises(InvalidValue, match="minutes is 0; it must be positive"):
        Budget(1, 0)


def test_no_steps_is_a_fit_that_changes_nothing(tmp_path: Path) -> None:
    learner = Classify(network())
    before = copy_state(learner.state_dict())
    run_in(tmp_path).fit(learner, data().batches(16), steps=0)
    assert difference(learner.state_dict(), before) is None


def test_two_fits_need_two_names(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    fit(run, steps=2)
    with pytest.raises(InvalidValue, match="two fits are named 'fit'"):
        fit(run, steps=2)
    fit(run, steps=2, name="second")
    assert {line.fit for line in run.trace.lines()} == {"fit", "second"}


def test_a_learner_may_not_take_a_name_that_checkpoints_need(tmp_path: Path) -> None:
    learner = Diverges(99)
    learner.stream = torch.zeros(1)  # type: ignore[attr-defined]
    with pytest.raises(InvalidValue, match=r"attributes \['stream'\]"):
        run_in(tmp_path).fit(learner, data().batches(16), steps=1)


def test_bfloat16_really_computes_in_bfloat16_and_near_float32(tmp_path: Path) -> None:
    types: set[torch.dtype] = set()
    learner = Classify(network(), lr=1e-2)
    learner.model.register_forward_hook(lambda module, inputs, output: types.add(output.dtype))
    low = run_in(tmp_path / "low", precision="bfloat16").fit(learner, data().batches(16), steps=30)
    assert types == {torch.bfloat16}
    assert all(parameter.dtype == torch.float32 for parameter in learner.model.parameters())
    full = run_in(tmp_path / "full").fit(Classify(network(), lr=1e-2), data().batches(16), steps=30)
    assert abs(low["loss"] - full["loss"]) < 0.2
