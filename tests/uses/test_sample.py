"""Writing by a finished run: from any beginning, by chance that a seed decides."""

from collections.abc import Callable
from pathlib import Path

import pytest

from neurarium.errors import InvalidValue, NeurariumError, RunError
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.uses.sample import command

SMALL = {"steps": 30, "layers": 1, "width": 16, "length": 16}
Say = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    return train(find("char_language_model"), SMALL, Settings(threads=1), out=out, renders=False).folder


@pytest.fixture
def say(folder: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """What the command prints for some words."""

    def asked(*words: str) -> str:
        assert command([str(folder), *words]) == 0
        return capsys.readouterr().out

    return asked


def test_it_goes_on_with_the_prompt(say: Say) -> None:
    text = say("--prompt", "The ", "--length", "70")
    assert text.startswith("The ")
    assert len(text) == 4 + 70 + 1
    assert text.endswith("\n")


def test_the_seed_decides(say: Say) -> None:
    one = say("--length", "40")
    assert len(one) == 41
    assert say("--length", "40") == one
    assert say("--length", "40", "--seed", "1") != one


@pytest.mark.parametrize("greedy", [("--top-k", "1"), ("--top-p", "0.0001"), ("--temperature", "0.0001")])
def test_without_chance_seeds_do_not_matter(say: Say, greedy: tuple[str, str]) -> None:
    assert say("--length", "40", *greedy) == say("--length", "40", "--seed", "5", *greedy)


def test_several_texts_stand_under_their_numbers(say: Say) -> None:
    text = say("--prompt", "If", "--count", "3", "--length", "9")
    parts = text.split(" of 3 ---\n")
    assert [part[-5:] for part in parts[:-1]] == ["--- 1", "--- 2", "--- 3"]
    bodies = [parts[1][:11], parts[2][:11], parts[3][:11]]
    assert all(body.startswith("If") for body in bodies)
    assert len(set(bodies)) > 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--prompt", "der Bär"), "the text has 'ä', which is none of the"),
        (("--length", "0"), "--length is 0"),
        (("--count", "0"), "--count is 0"),
        (("--seed", "-1"), "--seed is -1"),
        (("--temperature", "0"), "temperature is 0"),
        (("--top-k", "0"), "top_k is 0"),
        (("--top-p", "1.5"), "top_p is 1.5"),
        (("--tmperature", "1"), "did you mean --temperature"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(
    say: Say, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InvalidValue, match=said) as error:
        say(*words)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""


def test_a_text_without_lines_or_words_starts_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("äöü" * 200, encoding="utf-8")
    options = {**SMALL, "data": f"text:{text}"}
    run = train(find("char_language_model"), options, Settings(threads=1), out=tmp_path, renders=False).folder
    command([str(run), "--length", "5"])
    written = capsys.readouterr().out
    assert len(written) == 6
    assert set(written[:-1]) <= set("äöü")


def test_other_runs_do_not_write(tmp_path: Path) -> None:
    run = train(find("elman"), {"steps": 2}, Settings(threads=1), out=tmp_path, renders=False).folder
    with pytest.raises(NeurariumError, match=r"trained nothing that writes|learned nothing"):
        command([str(run)])
    with pytest.raises(RunError, match="not a run folder"):
        command([str(tmp_path / "none")])
