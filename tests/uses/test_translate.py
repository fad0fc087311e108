"""Translate: a run's network is opened and asked, from Python and from the command line."""

import json
from pathlib import Path

import pytest
from PIL import Image

from neurarium.errors import InvalidValue, RunError
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.uses.translate import command, translate

SETTINGS = Settings(device="cpu", threads=1)


@pytest.fixture(scope="module")
def reversing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"length": 3, "steps": 100, "tokens": 128, "hidden": 32, "lr": 2e-2, "tests": 50, "compare": False}
    return train(find("seq2seq"), options, SETTINGS, out=tmp_path_factory.mktemp("runs")).folder


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on sentences of the reader's own."""
    folder = tmp_path_factory.mktemp("pairs")
    numbers = ["eins", "zwei", "drei"], ["one", "two", "three"]
    things = (
        ["Hunde laufen hier", "Katzen laufen hier", "Mäuse laufen dort"],
        ["dogs run here", "cats run here", "mice run there"],
    )
    for side, name in enumerate(("a.de", "b.en")):
        lines = [f"{number} {thing}" for number in numbers[side] for thing in things[side]]
        (folder / name).write_text("\n".join(lines * 8) + "\n", encoding="utf-8")
    data = f"pairs:{folder / 'a.de'},{folder / 'b.en'}"
    options = {
        "data": data,
        "subwords": 300,
        "steps": 80,
        "dropout": 0.0,
        "tokens": 200,
        "hidden": 32,
        "lr": 2e-2,
        "beam": 2,
    }
    return train(find("seq2seq"), options, SETTINGS, out=tmp_path_factory.mktemp("runs")).folder


def test_letters_are_turned_round(reversing: Path) -> None:
    found = translate(reversing, ["abc", "x y"])
    assert [one.text for one in found] == ["cba", "yx"]
    for one in found:
        assert one.picture is not None
        with Image.open(one.picture) as drawn:
            assert drawn.size[0] > 200
    assert found[0].picture == reversing / "translations" / "1.png"


def test_sentences_are_translated(speaking: Path) -> None:
    found = translate(speaking, ["drei Mäuse laufen dort", "eins Katzen laufen hier"], draw=False)
    assert [one.text for one in found] == ["three mice run there", "one cats run here"]
    assert [one.picture for one in found] == [None, None]
    assert json.loads((speaking / "result.json").read_text())["measures"]["bleu"] > 50


def test_the_command_prints_lines_or_json(reversing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command([str(reversing), "abc", "zu", "--beam", "2", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == ["cba", "uz", f"alignment drawn in {tmp_path}"]
    assert command([str(reversing), "abc", "--json", "--no-draw"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"source": "abc", "text": "cba", "picture": None}]


def test_what_cannot_be_translated_is_refused_in_words(reversing: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="no text is given"):
        translate(reversing, [])
    with pytest.raises(InvalidValue, match="text 2 is empty"):
        translate(reversing, ["a", ""])
    with pytest.raises(InvalidValue, match="'B' is no letter"):
        translate(reversing, ["aBc"])
    with pytest.raises(InvalidValue, match="--beam is 0"):
        translate(reversing, ["a"], beam=0)
    with pytest.raises(RunError, match="not a run folder"):
        translate(tmp_path, ["a"])


def test_a_run_of_something_else_is_refused(tmp_path: Path) -> None:
    folder = train(find("elman"), {"steps": 2}, SETTINGS, out=tmp_path).folder
    with pytest.raises(RunError, match="trained no translator; take a run of seq2seq or transformer"):
        translate(folder, ["a"])


def test_without_attention_there_is_no_picture(tmp_path: Path) -> None:
    options = {"length": 2, "steps": 2, "tokens": 32, "hidden": 8, "tests": 5, "attention": False}
    folder = train(find("seq2seq"), options, SETTINGS, out=tmp_path).folder
    assert translate(folder, ["ab"])[0].picture is None
