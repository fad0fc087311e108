"""How the house is kept: files of a readable length, one version number, pins that fit the ranges."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import neurarium
from tests.file_lengths import lengths, too_long


def test_no_source_file_is_too_long(root: Path) -> None:
    assert too_long(root / "src") == []


def test_a_file_over_the_limit_is_reported(tmp_path: Path) -> None:
    (tmp_path / "fits.py").write_text("x = 1\n" * 350)
    (tmp_path / "long.py").write_text("x = 1\n" * 351)
    assert list(lengths(tmp_path).values()) == [351, 350]
    (report,) = too_long(tmp_path)
    assert "long.py has 351 lines" in report


def test_one_version_everywhere(root: Path) -> None:
    assert f"\nversion: {neurarium.__version__}\n" in (root / "CITATION.cff").read_text()


def pins(root: Path) -> dict[str, str]:
    lines = (root / "constraints.txt").read_text().splitlines()
    named = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in named}


@pytest.mark.parametrize("extra", [None, "onnx", "games", "peers", "dev"])
def test_every_requirement_is_pinned_within_its_range(root: Path, extra: str | None) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    pinned = pins(root)
    for wanted in map(Requirement, lines):
        if wanted.name != "neurarium":
            assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), wanted


def test_pins_name_versions_and_no_places(root: Path) -> None:
    text = (root / "constraints.txt").read_text()
    assert "://" not in text
    assert " @ " not in text
    assert "+cpu" not in text
