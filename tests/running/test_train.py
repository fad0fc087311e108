import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from neurarium.errors import CheckpointError, InvalidValue, RunError
from neurarium.running.catalogue import find
from neurarium.running.loop import Fit, Interrupted
from neurarium.running.probes import remains
from neurarium.running.settings import Settings
from neurarium.running.states import difference
from neurarium.running.train import Finished, open_run, resume, train

LENET = find("lenet")


def short(folder: Path, steps: int = 12, **options: object) -> Finished:
    return train(LENET, {"steps": steps, **options}, Settings(device="cpu"), out=folder, name="run")


def interrupted(folder: Path, stop_at: int = 5) -> Path:
    def stop(fit: Fit) -> None:
        fit.stop_at = stop_at

    settings = Settings(device="cpu", save_seconds=0.0)
    with pytest.raises(Interrupted):
        train(LENET, {"steps": 12}, settings, out=folder, name="run", before_fit=stop)
    return folder / "lenet" / "run"


def test_the_run_folder_is_as_promised(tmp_path: Path) -> None:
    done = short(tmp_path)
    about = json.loads((done.folder / "run.json").read_text())
    assert about["recipe"] == "lenet"
    assert about["options"]["steps"] == 12
    assert about["settings"]["seed"] == 0
    assert set(about["versions"]) >= {"neurarium", "python", "torch", "numpy"}
    result = json.loads((done.folder / "result.json").read_text())
    assert result == done.result
    assert set(result) == {"recipe", "seed", "measures", "expects", "seconds"}
    assert {path.name for path in (done.folder / "pictures").iterdir()} == {"curves.png", "filters.png"}
    assert [path.name for path in done.weights] == ["model.safetensors"]
    line = json.loads((done.folder / "trace.jsonl").read_text().splitlines()[0])
    assert set(line) == {"fit", "step", "seconds", "measures"}


def test_runs_are_numbered(tmp_path: Path) -> None:
    folders = [train(LENET, {"steps": 0}, Settings(), out=tmp_path).folder.name for _ in range(2)]
    assert folders == ["001", "002"]


def test_a_promise_is_reported_only_for_its_own_options(tmp_path: Path) -> None:
    assert short(tmp_path).result["expects"] == []  # steps differ from the default budget
    defaults = LENET.load().defaults
    applying = [expect for expect in LENET.expects if expect.applies(defaults, {**defaults, "data": "mnist"})]
    assert [expect.at_least for expect in applying] == [0.99]


def test_a_taken_name_is_refused_with_the_way_on(tmp_path: Path) -> None:
    short(tmp_path)
    with pytest.raises(
        RunError, match=r"run exists; go on with it by 'neurarium resume .*run', or choose another --name"
    ):
        short(tmp_path)


def test_resume_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "cut")
    whole = short(tmp_path / "whole")
    done = resume(folder)
    assert difference(remains(done), remains(whole)) is None
    assert done.result["seconds"] > 0


def test_a_finished_run_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is finished; its result is in"):
        resume(short(tmp_path).folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"recipe": "lenet"}', '{"settings": {"sed": 1}}'])
def test_a_foreign_or_damaged_folder_is_not_resumed(content: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run folder: it has no run\.json"):
        resume(tmp_path)
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run\.json is damaged or of another program"):
        resume(tmp_path)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "cut")
    newest = folder / "checkpoints" / "fit" / "000000005" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:100])
    assert resume(folder).result["measures"] == short(tmp_path / "whole").result["measures"]


def test_a_run_without_a_whole_checkpoint_says_so(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    for manifest in folder.glob("checkpoints/fit/*/manifest.json"):
        manifest.write_text("not json")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole"):
        resume(folder)


HOLD = """
import sys, pathlib
from neurarium.running.files import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="in use by another process; wait for it, or train under another --name"):
            resume(folder)
        other.kill()
    assert resume(folder).result["measures"]


def test_an_unknown_option_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"lenet has no option 'stepz'; did you mean 'steps'\?"):
        train(LENET, {"stepz": 1}, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_opening_a_run_gives_its_learner_and_writes_nothing(tmp_path: Path) -> None:
    folder = short(tmp_path).folder
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    run = open_run(folder)
    assert run.fits["fit"].step == 12
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_run_finds_its_data_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for number in range(24):
        place = here / "mine" / ("dark" if number % 2 else "light")
        place.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 10 * number).save(place / f"{number}.png")
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    folder = short(tmp_path, data="folder:mine").folder
    monkeypatch.chdir(elsewhere)
    assert open_run(folder).classes == ("dark", "light")
    (here / "mine").rename(here / "theirs")
    with pytest.raises(
        RunError, match="opened with the data it learned from, which is not there: mine is not a folder"
    ):
        open_run(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files, as a full disk would")
def test_a_full_disk_is_one_clear_line_and_what_was_whole_stays(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from neurarium.cli import main\n"
        "limit = int(sys.argv.pop(1))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
        "sys.exit(main())"
    )
    words = ["train", "lenet", "--steps", "12", "--out", str(tmp_path), "--name", "run"]
    limit = 100_000  # bytes: the model's file fits, the optimiser's does not
    done = subprocess.run(
        [sys.executable, "-c", code, str(limit), *words], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "cannot write to" in line
    assert "make room" in line
    assert not list((tmp_path / "lenet" / "run" / "checkpoints").rglob("*.safetensors"))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != limit
    assert resume(tmp_path / "lenet" / "run").result["measures"]


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", str(tmp_path))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(RunError, match=r"the disk is read-only; choose another folder with --out"):
        short(tmp_path)
