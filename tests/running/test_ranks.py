"""Two processes under torchrun learn what one process learns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed import is_available

from neurarium.running.catalogue import find
from neurarium.running.checkpoints import load_checkpoint
from neurarium.running.settings import Settings
from neurarium.running.train import train

pytestmark = pytest.mark.skipif(not is_available(), reason="this PyTorch has no torch.distributed")

LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "neurarium"]


def together(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *LAUNCH, *words], capture_output=True, text=True, check=False, env=os.environ
    )


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    # Without dropout: what is left out would differ between the slices of a batch and the whole.
    words = ["--steps", "20", "--dropout", "0", "--name", "two", "--out", str(tmp_path), "--device", "cpu"]
    done = together("train", "lenet", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model.safetensors") == 1, "one process speaks"
    alone = train(find("lenet"), {"steps": 20, "dropout": 0.0}, Settings(device="cpu"), out=tmp_path, name="one")
    result = json.loads((tmp_path / "lenet" / "two" / "result.json").read_text())
    assert result["measures"] == pytest.approx(alone.result["measures"], abs=1e-4)
    states = [load_checkpoint(tmp_path / "lenet" / name / "checkpoints/fit/000000020") for name in ("one", "two")]
    for name, weight in states[0]["model"].items():
        # Sums in another order: Adam turns rounding in near-zero gradients into small steps, so compare as a whole.
        assert (weight - states[1]["model"][name]).norm() < 1e-3 * weight.norm(), name
    assert len(states[1]["random"]["torch"]) == 2


def test_a_batch_that_cannot_be_shared_is_named(tmp_path: Path) -> None:
    done = together("train", "lenet", "--steps", "2", "--batch", "63", "--out", str(tmp_path), "--device", "cpu")
    assert done.returncode != 0
    assert "a batch of 63 cannot be shared equally by 2 processes; change --batch" in done.stderr
