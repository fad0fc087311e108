"""The README is true: its links lead somewhere, its commands exist, its Python runs."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from neurarium.cli import COMMANDS
from neurarium.running.catalogue import catalogue

PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_into_the_repository_leads_somewhere(page: str, root: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (root / page).read_text(encoding="utf-8"))
    lost = [link for link in links if "://" not in link and not ((root / page).parent / link).exists()]
    assert not lost


def test_every_command_and_recipe_named_exists(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    for command, name in re.findall(r"^neurarium (\w+)(?: ([\w./-]+))?", text, flags=re.MULTILINE):
        assert command in COMMANDS
        if command in ("train", "show") and not name.endswith(".py"):
            assert name in catalogue()
    targets = re.findall(r"^make (\w+)", text, flags=re.MULTILINE)
    assert targets
    assert all(f"\n{target}:" in (root / "Makefile").read_text() for target in targets)


def test_every_recipe_is_in_the_table(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    assert [name for name in catalogue() if f"`{name}`" not in text] == []


def test_the_python_runs(root: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(code, {})
    assert "torch.Size([64, 10])" in told.getvalue()
