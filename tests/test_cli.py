"""What a user types, and what they are told when it is wrong: one clear line and a non-zero exit."""

import gzip
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neurarium.cli import main

pytestmark = pytest.mark.usefixtures("unchecked")


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a wrong command ends in."""
    code = main(list(words))
    told = capsys.readouterr()
    assert code == 2, told.out + told.err
    lines = told.err.strip().splitlines()
    assert len(lines) == 1, told.err
    assert lines[0].startswith("neurarium: ")
    return lines[0].removeprefix("neurarium: ")


def image(path: Path, *, mode: str = "L", side: int = 12, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side), value, np.uint8)).convert(mode).save(path)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trian"], "there is no command 'trian'; did you mean 'train'?"),
        (["train", "lent"], "there is no recipe 'lent'; did you mean 'lenet'?"),
        (["show", "lent"], "there is no recipe 'lent'; did you mean 'lenet'?"),
        (["list", "visoin"], "there is no family 'visoin'; did you mean 'vision'?"),
        (["train", "lenet", "--stps", "3"], "did you mean --steps?"),
        (["train", "lenet", "--steps", "many"], "error parsing --steps"),
        (["train", "lenet", "--steps", "-5"], "steps is -5; a fit takes 0 steps or more"),
        (["train", "lenet", "--batch", "0"], "must be at least 1"),
        (["train", "lenet", "--device", "gpu"], "invalid choice 'gpu'"),
        (["train", "lenet", "--seed", "-1"], "--seed is -1; it must be 0 or more"),
        (["train", "lenet", "--minutes", "0"], "--minutes is 0.0; it must be positive"),
        (["train", "lenet", "--name", "../x"], "--name is '../x'; use letters, digits"),
        (["train", "lenet", "--data", "digist"], "did you mean 'digits'?"),
        (["train", "lenet", "--data", "idx:nowhere"], "nowhere"),
        (["train", "lenet", "--data", "folder:nowhere"], "nowhere"),
        (["train", "lif", "--minutes", "1"], "lif learns nothing in steps; leave out --minutes"),
        (["train", "nowhere.py"], "nowhere.py holds 0 recipes"),
        (["resume", "nowhere"], "nowhere is not a run folder: it has no run.json"),
        (["export", "nowhere"], "nowhere is not a run folder"),
        (["export"], "missing"),
        (["check", "nowhere.py"], "there is no file nowhere.py"),
        (["reproduce"], "name the recipes to reproduce, or say --all"),
        (["reproduce", "lenet", "--seeds", "0"], "--seeds is 0; it must be positive"),
        (["reproduce", "lent"], "did you mean 'lenet'?"),
        (["train", "linear_regression", "--data", "csv:nowhere.csv", "--target", "y"], "nowhere.csv"),
    ],
)
def test_a_mistake_is_told_in_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert line in said(capsys, *words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    line = said(capsys, "train", "lenet", "--device", "cuda", "--steps", "1")
    assert line == "--device cuda: PyTorch finds no such device on this machine; it has: cpu"


def test_an_empty_folder_and_a_folder_of_one_class(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert "empty" in said(capsys, "train", "lenet", "--data", "folder:empty")
    image(Path("one/cats/a.png"))
    assert "class" in said(capsys, "train", "lenet", "--data", "folder:one")


def test_a_class_of_unreadable_images(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        image(Path(f"pictures/cats/{number}.png"))
    Path("pictures/dogs").mkdir()
    Path("pictures/dogs/broken.png").write_bytes(Path("pictures/cats/0.png").read_bytes()[:40])
    assert "dogs" in said(capsys, "train", "lenet", "--data", "folder:pictures")


def test_a_truncated_idx_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("set").mkdir()
    header = struct.pack(">IIII", 0x803, 10, 28, 28)
    Path("set/train-images-idx3-ubyte").write_bytes(header + bytes(100))
    with gzip.open("set/train-labels-idx1-ubyte.gz", "wb") as file:
        file.write(struct.pack(">II", 0x801, 10) + bytes(10))
    assert "train-images-idx3-ubyte" in said(capsys, "train", "lenet", "--data", "idx:set")


@pytest.mark.parametrize(
    ("rows", "target", "line"),
    [
        ("a,y\n1,2\nnan,3\n4,5\n", "y", "line 3"),
        ("a,y\n1,2\nred,3\n4,5\n", "y", "line 3"),
        ("a,y\n1,2\n3,4\n", "z", "'z'"),
        ("a,y\n", "y", "rows"),
    ],
)
def test_a_table_that_cannot_be_used(rows: str, target: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("table.csv").write_text(rows)
    assert line in said(capsys, "train", "linear_regression", "--data", "csv:table.csv", "--target", target)


def test_a_learning_rate_that_diverges(capsys: pytest.CaptureFixture[str]) -> None:
    line = said(capsys, "train", "lenet", "--lr", "1e18", "--steps", "300", "--out", "runs")
    assert "loss became" in line
    assert "at step" in line


def test_finished_and_damaged_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "lenet", "--steps", "3", "--name", "a"]) == 0
    capsys.readouterr()
    assert "is finished" in said(capsys, "resume", "lenet/a")
    assert "exists; go on with it" in said(capsys, "train", "lenet", "--name", "a")
    Path("runs/lenet/a/run.json").write_text("{}")
    assert "is damaged" in said(capsys, "resume", "runs/lenet/a")


def test_train_tells_the_result_and_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "lenet", "--steps", "20", "--name", "a"]) == 0
    told = capsys.readouterr().out
    assert "test_accuracy" in told
    assert "curves.png" in told
    assert "model.safetensors" in told
    assert "neurarium export runs/lenet/a" in told
    for form, ending in (("safetensors", "safetensors"), ("torch", "pt2")):
        assert main(["export", "lenet/a", "--format", form]) == 0
        assert Path(f"runs/lenet/a/export/model.{ending}").exists()


@pytest.mark.parametrize(
    "words", [["--help"], ["list"], ["list", "vision"], ["show", "lenet"], ["train", "lenet", "--help"]]
)
def test_looking_up_never_imports_torch_and_is_quick(words: list[str]) -> None:
    code = "import sys\nfrom neurarium.cli import main\ntry: main(sys.argv[1:])\nfinally: print('torch' in sys.modules)"
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert done.stdout.splitlines()[-1] == "False"
    # 0.3 s is the promise on an idle machine; beside the rest of the suite it is given more.
    assert statistics.median(seconds) < 1.0


def test_show_tells_promise_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "lenet"]) == 0
    told = capsys.readouterr().out
    assert "test_accuracy >= 0.98" in told
    assert "LeCun" in told
    assert "--batch 64" in told
