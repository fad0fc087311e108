import json
from pathlib import Path

import pytest

from neurarium.errors import InvalidValue, RunError
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.uses import analogy as analogies
from neurarium.uses import neighbours as nearest
from neurarium.uses.analogy import analogy
from neurarium.uses.neighbours import neighbours


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"words": 40_000, "epochs": 8, "lr": 0.05, "width": 32}
    settings, out = Settings(device="cpu", threads=1), tmp_path_factory.mktemp("runs")
    return train(find("word2vec"), options, settings, out=out, renders=False).folder


def test_neighbours_of_a_country_are_countries(run_folder: Path) -> None:
    found = [word for word, _ in neighbours(run_folder, "France", top=5)]
    countries = {
        "italy",
        "spain",
        "germany",
        "greece",
        "egypt",
        "japan",
        "peru",
        "china",
        "russia",
        "norway",
        "austria",
    }
    countries |= {"poland", "sweden", "cuba", "kenya", "iran", "iraq", "canada", "portugal", "new_zealand"}
    countries |= {"south_korea", "united_states", "saudi_arabia"}
    assert len(set(found) & countries) >= 4


def test_the_commands_print_lines_or_json(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nearest.command([str(run_folder), "king", "--top", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert analogies.command([str(run_folder), "france", "paris", "new zealand", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 5
    assert [(row["word"], row["cosine"]) for row in rows] == analogy(run_folder, "france", "paris", "new_zealand")
    assert not {row["word"] for row in rows} & {"france", "paris", "new_zealand"}


def test_what_cannot_be_asked_is_refused_in_words(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="did you mean 'france'"):
        neighbours(run_folder, "frnace")
    with pytest.raises(RunError, match="is not a run folder"):
        neighbours(tmp_path, "france")
    folder = train(find("elman"), {"steps": 2}, Settings(device="cpu", threads=1), out=tmp_path).folder
    with pytest.raises(RunError, match=r"has no vectors\.txt.*take a run of word2vec"):
        analogy(folder, "a", "b", "c")
