"""Filling the blanks of a text by a trained masked language model."""

import json
from pathlib import Path

import pytest

from neurarium.errors import InvalidValue, RunError
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.uses.fill import command, fill_text

TINY = dict(steps=200, lr=1e-2, batch=8, length=16, layers=1, width=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has read one sentence often enough to know it."""
    root = tmp_path_factory.mktemp("fill")
    (root / "text.txt").write_text("to be or not to be. " * 40)
    options = {**TINY, "data": f"text:{root / 'text.txt'}"}
    return train(
        find("masked_language_model"), options, Settings(device="cpu", threads=1), out=root, renders=False
    ).folder


def test_blanks_are_filled_and_their_chances_named(folder: Path) -> None:
    filled, blanks = fill_text(folder, "to be or n_t t_ be.", top=2)
    assert filled == "to be or not to be."
    assert [blank.place for blank in blanks] == [11, 15]
    for blank in blanks:
        (first, likeliest), (_, second) = blank.characters
        assert first == "o"
        assert 1 >= likeliest >= second >= 0
    assert fill_text(folder, "to b? or not", sign="?")[0] == "to be or not"


def test_the_command_prints_lines_or_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command([str(folder), "to b_ or not to be.", "--top", "2"]) == 0
    text, line = capsys.readouterr().out.splitlines()
    assert text == "to be or not to be."
    assert line.startswith("place 5: 'e' 0.")
    assert command([str(folder), "to b_ or not to be.", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["text"] == "to be or not to be."
    (blank,) = told["blanks"]
    assert blank["place"] == 5
    assert len(blank["characters"]) == 3


def test_what_cannot_be_filled_is_refused_in_words(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="no '_' to fill; write one for each"):
        fill_text(folder, "to be")
    with pytest.raises(InvalidValue, match="'X', which is none of the"):
        fill_text(folder, "X_")
    with pytest.raises(InvalidValue, match="--sign is '__'; a blank is written as one character"):
        fill_text(folder, "to be", sign="__")
    with pytest.raises(InvalidValue, match="--top is 0"):
        fill_text(folder, "to b_", top=0)
    other = train(find("lenet"), {"steps": 1}, Settings(device="cpu", threads=1), out=tmp_path, renders=False).folder
    with pytest.raises(RunError, match="fills blanks; take a run of masked_language_model"):
        fill_text(other, "to b_")
