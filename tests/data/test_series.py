"""Series: cut into windows in the order of time, generated or read from the reader's own file."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.data.series import load_series, mackey_glass, windows
from neurarium.errors import DataError, InvalidValue


def chance(seed: int = 0) -> torch.Generator:
    """A generator."""
    return torch.Generator().manual_seed(seed)


def write(folder: Path, text: str) -> str:
    """A file of these rows, as data."""
    (folder / "own.csv").write_text(text)
    return f"csv:{folder / 'own.csv'}"


@given(length=st.integers(8, 30), window=st.integers(1, 5), horizon=st.integers(1, 3))
def test_every_stretch_is_a_window_and_what_followed_it(length: int, window: int, horizon: int) -> None:
    values = torch.arange(float(length))
    inputs, targets = windows(values, window, horizon)
    assert len(inputs) == length - window - horizon + 1
    for start, (seen, came) in enumerate(zip(inputs, targets, strict=True)):
        assert torch.equal(seen, values[start : start + window])
        assert torch.equal(came, values[start + window : start + window + horizon])


def test_no_step_is_both_learned_from_and_tested_on(tmp_path: Path) -> None:
    data = write(tmp_path, "load\n" + "\n".join(map(str, range(100))))
    series = load_series(data, window=5, horizon=3, generator=chance())
    inside = [torch.cat([*part.all()], dim=1) * series.scale + series.mean for part in (series.train, series.test)]
    assert inside[0].max().round() == 79
    assert inside[1].min().round() == 80
    whole = series.values * series.scale + series.mean
    torch.testing.assert_close(whole, torch.arange(100.0), rtol=0, atol=1e-3)
    learned = series.values[: series.split]
    assert float(learned.mean()) == pytest.approx(0, abs=1e-6)
    assert float(learned.std()) == pytest.approx(1, abs=1e-6)


def test_shuffling_deals_out_what_followed_and_leaves_the_test_alone() -> None:
    plain, dealt = (
        load_series("mackey-glass", window=9, horizon=4, generator=chance(), length=300, shuffle_targets=shuffled)
        for shuffled in (False, True)
    )
    assert torch.equal(plain.train.all().inputs, dealt.train.all().inputs)
    assert not torch.equal(plain.train.all().targets, dealt.train.all().targets)
    rows = [sorted(part.train.all().targets.tolist()) for part in (plain, dealt)]
    assert rows[0] == rows[1]
    assert torch.equal(plain.test.all().targets, dealt.test.all().targets)


def test_the_flow_keeps_its_equation() -> None:
    flow = mackey_glass(chance(), length=400)
    # Central differences of a step a second agree with the slope that the equation names, but for their own error.
    slope = (flow[19:] - flow[17:-2]) / 2
    past, now = flow[1:-18], flow[18:-1]
    wanted = 0.2 * past / (1 + past**10) - 0.1 * now
    assert float((slope - wanted).abs().mean()) < 0.05 * float(slope.abs().mean())


def test_noise_is_as_strong_as_asked_for() -> None:
    clean, noisy = (mackey_glass(chance(), length=4000, noise=noise) for noise in (0.0, 0.3))
    assert float((noisy - clean).std() / clean.std()) == pytest.approx(0.3, rel=0.05)


def test_a_column_is_found(tmp_path: Path) -> None:
    rows = "\n".join(f"{step},{step % 7}" for step in range(60))
    data = write(tmp_path, "day,load\n" + rows)
    series = load_series(data, target="load", window=2, horizon=1, generator=chance())
    torch.testing.assert_close((series.values * series.scale + series.mean)[:7], torch.arange(7.0))
    with pytest.raises(DataError, match="needs a target, the column to learn; it has: day, load"):
        load_series(data, window=2, horizon=1, generator=chance())
    with pytest.raises(DataError, match="has no column 'lod'; did you mean 'load'"):
        load_series(data, target="lod", window=2, horizon=1, generator=chance())


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    def load(data: str, *, window: int = 2, horizon: int = 1, target: str | None = None) -> None:
        load_series(data, target=target, window=window, horizon=horizon, generator=chance())

    with pytest.raises(DataError, match="'mackey-gras' is no series; did you mean 'mackey-glass'"):
        load("mackey-gras")
    with pytest.raises(DataError, match="'csv' is no series; say csv:FILE"):
        load("csv")
    with pytest.raises(InvalidValue, match="'mackey-glass' is one series; target='x' is for csv:FILE"):
        load("mackey-glass", target="x")
    with pytest.raises(InvalidValue, match="window is 0, but must be at least 1 step"):
        load("mackey-glass", window=0)
    with pytest.raises(InvalidValue, match="horizon is 0, but must be at least 1 step"):
        load("mackey-glass", horizon=0)
    with pytest.raises(DataError, match=r"has 10 steps, .* windows of 2 and 1 steps after them need 15"):
        load(write(tmp_path, "x\n" + "\n".join(map(str, range(10)))))
    with pytest.raises(DataError, match="never changes in its last fifth; there is nothing to forecast"):
        load(write(tmp_path, "x\n" + "\n".join([*map(str, range(40)), *["1"] * 10])))
    with pytest.raises(DataError, match="line 4, column 'x' is empty; fill it in"):
        load(write(tmp_path, 'x,y\n1,1\n2,1\n"",1\n'), target="x")
    with pytest.raises(InvalidValue, match=r"noise is -1\.0, but must be 0 or more"):
        mackey_glass(chance(), length=9, noise=-1.0)
    with pytest.raises(InvalidValue, match="length is 1 steps, but must be at least 2"):
        mackey_glass(chance(), length=1)
