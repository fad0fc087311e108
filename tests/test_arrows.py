"""The house stands as drawn: arrows run one way, every system has its recipe and test, opening a file runs no code."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import ARROWS, misplaced, missing_mirrors, unenforced_protocols, unsafe_loading, wrong_arrows


@pytest.fixture(scope="session")
def package(root: Path) -> Path:
    return root / "src" / "neurarium"


def test_arrows_run_one_way(package: Path) -> None:
    assert wrong_arrows(package) == []


def test_every_system_has_its_recipe_and_its_test(package: Path, root: Path) -> None:
    assert missing_mirrors(package, root / "tests") == []


def test_everything_lies_where_the_plan_says(package: Path) -> None:
    assert misplaced(package) == []


def test_opening_a_file_never_runs_code(package: Path) -> None:
    assert unsafe_loading(package) == []


def test_every_protocol_can_be_enforced(package: Path) -> None:
    assert unenforced_protocols(package) == []


@pytest.mark.parametrize("module", ["neurarium", "neurarium.cli", "neurarium.running.catalogue"])
def test_commands_answer_without_heavy_imports(module: str) -> None:
    program = f"import sys, {module}; print(*sorted({{'torch', 'numpy', 'matplotlib'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# The checks themselves, tried on small houses with a fault built in.


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A sound little house: one system with its recipe and test."""
    package = tmp_path / "src" / "neurarium"
    files = {
        "__init__.py": "__version__ = '1'",
        "errors.py": "class Oops(Exception): ...",
        "parts/__init__.py": "",
        "parts/gate.py": "import torch\nfrom neurarium.errors import Oops",
        "running/__init__.py": "",
        "running/run.py": "from neurarium import __version__\nfrom ..parts import gate",
        "systems/__init__.py": "",
        "systems/vision/__init__.py": "",
        "systems/vision/net.py": "from neurarium.parts.gate import torch",
        "recipes/__init__.py": "",
        "recipes/vision/__init__.py": "",
        "recipes/vision/net.py": "from neurarium.systems.vision import net\nfrom neurarium.running.run import gate",
        "cli.py": "import neurarium.running.run as run",
        "__main__.py": "from neurarium.cli import run",
    }
    for name, source in files.items():
        write(package / name, source)
    write(tmp_path / "tests" / "systems" / "vision" / "test_net.py", "")
    return package


def write(path: Path, source: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)


def test_a_sound_house_has_no_faults(planted: Path, tmp_path: Path) -> None:
    assert wrong_arrows(planted) == []
    assert missing_mirrors(planted, tmp_path / "tests") == []
    assert misplaced(planted) == []
    assert unsafe_loading(planted) == []


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        ("errors.py", "from neurarium import __version__", "errors must not import __init__"),
        ("parts/gate.py", "from neurarium.learners.learner import Learner", "parts must not import learners"),
        ("parts/gate.py", "import neurarium.data.images", "parts must not import data"),
        ("parts/gate.py", "from .. import running", "parts must not import running"),
        ("parts/gate.py", "from ..running import run", "parts must not import running"),
        ("parts/__init__.py", "from ..systems.vision import net", "parts must not import systems"),
        ("learners/one.py", "from neurarium import running", "learners must not import running"),
        ("learners/one.py", "from neurarium.systems.vision.net import Net", "learners must not import systems"),
        ("systems/vision/net.py", "from neurarium.data.images import load", "systems must not import data"),
        ("systems/vision/net.py", "from neurarium.worlds import grid", "systems must not import worlds"),
        ("systems/vision/net.py", "from ...running import run", "systems must not import running"),
        ("systems/vision/net.py", "def f():\n    from neurarium import data", "systems must not import data"),
        ("running/run.py", "import neurarium.systems", "running must not import systems"),
        ("running/run.py", "from neurarium.recipes.vision import net", "running must not import recipes"),
        (
            "running/run.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from neurarium.data import images",
            "running must not import data",
        ),
        ("running/run.py", "from neurarium.worlds import grid", "running must not import worlds"),
        ("data/images.py", "from neurarium.running.seeds import seed", "data must not import running"),
        ("worlds/grid.py", "from neurarium.learners.stream import State", "worlds must not import learners"),
        ("cli.py", "from neurarium.data.images import load", "cli must not import data"),
        ("recipes/vision/net.py", "from neurarium.cli import main", "recipes must not import cli"),
        ("attic/old.py", "", "attic is no room of the plan"),
    ],
)
def test_a_wrong_arrow_is_found(planted: Path, file: str, source: str, fault: str) -> None:
    write(planted / file, source)
    (found,) = wrong_arrows(planted)
    assert fault in found


def test_a_name_alone_is_no_import(planted: Path) -> None:
    write(planted / "running" / "run.py", "from importlib import import_module\nimport_module('neurarium.recipes')")
    assert wrong_arrows(planted) == []


def test_every_arrow_points_to_a_room() -> None:
    assert set().union(*ARROWS.values()) <= set(ARROWS)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import joblib",
        "from pickle import loads",
        "def f():\n    import cloudpickle as c",
        "import torch\ntorch.save({}, 'x')",
        "import torch as t\nt.load('x')",
        "from torch import load",
        "from torch import save as keep",
        "import torch.jit\ntorch.jit.load('x')",
        "import torch.distributed.checkpoint as dcp",
        "from torch.distributed import checkpoint",
        "from torch import serialization",
        "import torch\nwriter = torch.save",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "from anywhere import read\nread('x', weights_only=False)",
    ],
)
def test_unsafe_loading_is_found(planted: Path, source: str) -> None:
    write(planted / "running" / "run.py", source)
    assert len(unsafe_loading(planted)) >= 1


@pytest.mark.parametrize(
    "source",
    [
        "from safetensors.torch import load, save\nload(save({}))",
        "import torch\ntorch.export.save(None, 'x')",
        "import numpy as np\nnp.load('x', allow_pickle=False)",
        "import json\njson.load(open('x'))",
        "class Run:\n    def save(self): self.save()",
    ],
)
def test_safe_loading_is_left_alone(planted: Path, source: str) -> None:
    write(planted / "running" / "run.py", source)
    assert unsafe_loading(planted) == []


def test_a_protocol_without_a_check_is_found(planted: Path) -> None:
    write(
        planted / "parts" / "gate.py",
        "class A(Protocol): ...\n@runtime_checkable\nclass B(Protocol[T]): ...\nclass C(typing.Protocol[T]): ...",
    )
    assert [line.split()[1] for line in unenforced_protocols(planted)] == ["A", "C"]


@pytest.mark.parametrize(
    ("gone", "fault"),
    [
        ("src/neurarium/recipes/vision/net.py", "has no src/neurarium/recipes/vision/net.py"),
        ("tests/systems/vision/test_net.py", "has no tests/systems/vision/test_net.py"),
        ("src/neurarium/systems/vision/net.py", "has no system of the same path"),
    ],
)
def test_a_missing_mirror_is_found(planted: Path, tmp_path: Path, gone: str, fault: str) -> None:
    (tmp_path / gone).unlink()
    (found,) = missing_mirrors(planted, tmp_path / "tests")
    assert fault in found


@pytest.mark.parametrize(
    ("file", "fault"),
    [
        ("systems/sound/__init__.py", "systems/sound is no family"),
        ("systems/net.py", "must lie at systems/<family>/<system>.py"),
        ("recipes/vision/deep/net.py", "must lie at recipes/<family>/<system>.py"),
        ("parts/utils.py", "does not say what is inside"),
        ("running/helpers/__init__.py", "does not say what is inside"),
        ("parts/attention/heads.py", "parts/attention has no __init__.py"),
    ],
)
def test_a_misplaced_file_is_found(planted: Path, file: str, fault: str) -> None:
    write(planted / file, "")
    assert any(fault in line for line in misplaced(planted))
