"""Resume means resume: killed with SIGKILL at random moments, every system ends as if nothing had happened."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from neurarium.running.catalogue import catalogue

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")

RECIPES = catalogue()


def killed(name: str, kills: int, root: Path) -> None:
    """In a process of its own: a forked child of the suite's would inherit threads in unknown states."""
    command = [sys.executable, "-m", "tests.killing", str(kills), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    assert f"{name}: killed {kills} times, resumed, same to the bit" in done.stdout


def test_a_system_survives_two_kills(root: Path) -> None:
    killed("linear_regression", 2, root)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_system_survives_five_kills(name: str, root: Path) -> None:
    killed(name, 5, root)
