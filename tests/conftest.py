"""What tests share."""

import os
from pathlib import Path

import jaxtyping
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data sets: `$NEURARIUM_DATA`, or `shared/data` beside the repository. Skips where there are none."""
    folder = Path(os.environ.get("NEURARIUM_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set NEURARIUM_DATA to a folder that holds it")
    return folder


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run without type checks in signatures, as users do: for tests of what is said to someone who errs."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
