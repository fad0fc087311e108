from pathlib import Path

import pytest
import torch

from neurarium.errors import InvalidValue, NotFinite
from neurarium.running.trace import Trace, Window, read_trace


def test_lines_come_back(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "trace.jsonl")
    trace.write("fit", 10, 1.23456, {"loss": 0.5})
    trace.write("fit", 20, 2.0, {"loss": 0.25, "test_loss": 0.3})
    trace.close()
    assert [tuple(line) for line in trace.lines()] == [
        ("fit", 10, 1.235, {"loss": 0.5}),
        ("fit", 20, 2.0, {"loss": 0.25, "test_loss": 0.3}),
    ]


def test_a_line_cut_short_by_a_crash_is_dropped(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "trace.jsonl")
    trace.write("fit", 10, 1.0, {"loss": 0.5})
    trace.close()
    with trace.path.open("a") as file:
        file.write('{"fit": "fit", "step": 2')
    assert len(trace.lines()) == 1
    trace.rewind("fit", 10)
    trace.write("fit", 20, 2.0, {"loss": 0.4})
    trace.close()
    assert [line.step for line in read_trace(trace.path)] == [10, 20]


def test_rewind_drops_only_the_later_lines_of_its_fit(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "trace.jsonl")
    for fit, step in (("first", 10), ("second", 5), ("second", 10)):
        trace.write(fit, step, 1.0, {"loss": 0.5})
    trace.rewind("second", 5)
    assert [(line.fit, line.step) for line in trace.lines()] == [("first", 10), ("second", 5)]


def test_a_window_is_the_mean_of_its_steps() -> None:
    window = Window()
    for step, value in enumerate((1.0, 2.0, 6.0)):
        window.add(step, {"loss": torch.tensor(value), "rate": value})
    assert window.flush() == {"loss": 3.0, "rate": 3.0}
    assert not window.steps


def test_a_window_saved_and_restored_gives_the_same_mean() -> None:
    values = torch.randn(7)
    whole, first, second = Window(), Window(), Window()
    for step, value in enumerate(values):
        whole.add(step, {"loss": value})
        if step < 4:
            first.add(step, {"loss": value})
    second.load_state_dict(first.state_dict())
    for step in (4, 5, 6):
        second.add(step, {"loss": values[step]})
    assert second.flush() == whole.flush()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_first_step_and_measure_that_are_not_finite_are_named(bad: float) -> None:
    window = Window()
    for step, value in ((41, 1.0), (42, bad), (43, bad)):
        window.add(step, {"fine": torch.tensor(0.0), "loss": torch.tensor(value)})
    with pytest.raises(NotFinite, match=r"loss became (nan|inf) at step 42"):
        window.flush()


def test_measures_must_be_scalars_of_the_same_names() -> None:
    window = Window()
    window.add(1, {"loss": torch.zeros(2)})
    with pytest.raises(InvalidValue, match="loss is not a scalar"):
        window.flush()
    window = Window()
    window.add(1, {"loss": 1.0})
    with pytest.raises(InvalidValue, match=r"step 2 returned measures \['accuracy'\]"):
        window.add(2, {"accuracy": 1.0})
