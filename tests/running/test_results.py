import json
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from neurarium.running import results
from neurarium.running.catalogue import find


class Pool(Executor):
    """Answers at once, with what the test decides, where the real one would train in other processes."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def submit(self, function: Any, /, *args: Any, **_: Any) -> Future[Any]:
        _, options, seed, _ = args
        done: Future[Any] = Future()
        done.set_result(self.answer(options, seed))
        return done


def row(seed: int, accuracy: float) -> dict[str, Any]:
    about = {"versions": {"torch": "2"}, "machine": {"system": "test"}}
    return {"seed": seed, "measures": {"test_accuracy": accuracy}, "seconds": 2.0, **about}


def reproduce(
    monkeypatch: pytest.MonkeyPatch, folder: Path, answer: Any, *, missing: bool = False
) -> tuple[int, dict[str, Any]]:
    monkeypatch.setattr(results, "_pool", lambda jobs: Pool(answer))
    quiet = Console(quiet=True)
    code = results.reproduce(["lenet"], every=False, seeds=3, jobs=2, results=folder, console=quiet, missing=missing)
    return code, json.loads((folder / "vision" / "lenet.json").read_text())


def test_promises_kept_and_control_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def answer(options: dict[str, Any], seed: int) -> dict[str, Any]:
        return row(seed, 0.1 if "shuffle_labels" in options else 0.991 + 0.001 * seed)

    code, written = reproduce(monkeypatch, tmp_path, answer)
    assert code == 0
    default = written["variants"][0]
    assert default["seeds"] == [0, 1, 2]
    assert default["measures"]["test_accuracy"]["values"] == pytest.approx([0.991, 0.992, 0.993])
    assert default["measures"]["test_accuracy"]["mean"] == pytest.approx(0.992)
    assert [variant["given"] for variant in written["variants"]] == [
        {},
        {"data": "mnist"},
        {"data": "mnist", "steps": 4687},
        {"data": "fashion-mnist"},
    ]
    table = (tmp_path / "README.md").read_text()
    assert "| lenet |  | test_accuracy | >= 0.98 | 0.992 ± 0.00082 | 0.991 | yes | 2 | 0.1 ± 0 |" in table


def test_one_seed_that_misses_is_a_promise_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, written = reproduce(monkeypatch, tmp_path, lambda options, seed: row(seed, 0.97 if seed == 1 else 0.995))
    assert code == 1
    assert not written["verdicts"][0]["met"]


def test_a_control_that_keeps_the_promise_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, written = reproduce(monkeypatch, tmp_path, lambda options, seed: row(seed, 0.995))
    assert code == 1
    assert written["verdicts"][-1]["control"]
    assert written["verdicts"][-1]["met"]


def test_what_could_not_run_is_said_and_claims_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def answer(options: dict[str, Any], seed: int) -> dict[str, Any]:
        if "data" in options:
            return {"seed": seed, "stopped": "mnist is not here"}
        return row(seed, 0.1 if "shuffle_labels" in options else 0.99)

    code, written = reproduce(monkeypatch, tmp_path, answer)
    assert code == 0
    assert written["variants"][1]["stopped"] == ["mnist is not here"]
    assert [verdict["given"] for verdict in written["verdicts"]] == [{}, {"shuffle_labels": True}]


def test_what_cannot_run_keeps_its_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, first = reproduce(monkeypatch, tmp_path, lambda options, seed: row(seed, 0.1 if options else 0.99))
    stopped = {"seed": 0, "stopped": "mnist is not here", "no_data": True}
    _, again = reproduce(
        monkeypatch,
        tmp_path,
        lambda options, seed: stopped if "data" in options else row(seed, 0.2 if options else 0.98),
    )
    assert again["variants"][1:] == first["variants"][1:]
    assert again["variants"][0]["measures"]["test_accuracy"]["mean"] == pytest.approx(0.98)
    assert again["control"]["measures"]["test_accuracy"]["mean"] == pytest.approx(0.2)


def test_a_run_that_fails_does_not_hide_behind_older_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reproduce(monkeypatch, tmp_path, lambda options, seed: row(seed, 0.1 if "shuffle_labels" in options else 0.995))
    failed = {"seed": 0, "stopped": "loss became NaN at step 3", "no_data": False}
    _, again = reproduce(monkeypatch, tmp_path, lambda options, seed: failed)
    assert [variant["seeds"] for variant in again["variants"]] == [[]] * 4
    assert again["variants"][0]["stopped"] == ["loss became NaN at step 3"]
    assert again["verdicts"] == []


def test_only_what_is_missing_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[tuple[dict[str, Any], int]] = []

    def without_data(options: dict[str, Any], seed: int) -> dict[str, Any]:
        if "data" in options:
            return {"seed": seed, "stopped": "mnist is not here"}
        return row(seed, 0.1 if "shuffle_labels" in options else 0.99)

    def with_data(options: dict[str, Any], seed: int) -> dict[str, Any]:
        ran.append((options, seed))
        return row(seed, 0.99)

    _, first = reproduce(monkeypatch, tmp_path, without_data)
    code, again = reproduce(monkeypatch, tmp_path, with_data, missing=True)
    assert code == 0
    given: list[dict[str, Any]] = [{"data": "mnist"}, {"data": "mnist", "steps": 4687}, {"data": "fashion-mnist"}]
    assert ran == [(options, seed) for options in given for seed in range(3)]
    assert again["variants"][0] == first["variants"][0]
    assert again["control"] == first["control"]
    assert len(again["verdicts"]) == 5


def test_a_run_in_a_process_of_its_own_returns_its_result() -> None:
    answer = results._run_one("lenet", {"steps": 2}, 0, 1)
    assert set(answer["measures"]) == {"test_loss", "test_accuracy"}
    assert results._run_one("lenet", {"data": "idx:nowhere"}, 0, 1)["no_data"]
    assert not results._run_one("lenet", {"steps": -1}, 0, 1)["no_data"]


def test_every_variant_is_asked_for_once() -> None:
    entry = find("lenet")
    asked = results.variants(entry.load(), entry)
    assert [(dict(one.given), one.control) for one in asked] == [
        ({}, False),
        ({"data": "mnist"}, False),
        ({"data": "mnist", "steps": 4687}, False),
        ({"data": "fashion-mnist"}, False),
        ({"shuffle_labels": True}, True),
    ]
