import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from neurarium.cli import main
from neurarium.errors import DataError, InvalidValue, RunError
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.uses.predict import predict


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    return train(find("lenet"), {"steps": 800}, Settings(device="cpu", threads=1), out=out).folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten digits in colour, one file each."""
    folder, found = tmp_path_factory.mktemp("pictures"), load_digits()
    paths = [folder / f"{label}.png" for label in range(10)]
    for label, path in enumerate(paths):
        pixels = found.images[int(np.flatnonzero(found.target == label)[0])] * 255 / 16
        Image.fromarray(pixels.astype(np.uint8)).convert("RGB").save(path)
    return paths


def test_a_trained_net_names_pictures_from_files(run_folder: Path, pictures: list[Path], tmp_path: Path) -> None:
    found = predict(run_folder, pictures, top=2, out=tmp_path)
    named = [prediction.classes[0][0] for prediction in found]
    assert sum(name == path.stem for name, path in zip(named, pictures, strict=True)) >= 9
    for prediction in found:
        first, second = (probability for _, probability in prediction.classes)
        assert 1 >= first >= second >= 0
        with Image.open(prediction.picture) as drawn:
            assert drawn.size[0] > 400


def test_the_command_prints_lines_or_json(
    run_folder: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(run_folder), str(pictures[0]), str(pictures[1]), "--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{pictures[0]}: ")
    assert main(["predict", str(run_folder), str(pictures[3]), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert set(row) == {"image", "classes", "picture"}
    assert len(row["classes"]) == 3
    assert sum(each["probability"] for each in row["classes"]) <= 1 + 1e-6


def test_what_cannot_be_named_is_refused_in_words(run_folder: Path, pictures: list[Path], tmp_path: Path) -> None:
    torn = tmp_path / "torn.png"
    torn.write_bytes(pictures[0].read_bytes()[:60])
    with pytest.raises(DataError, match=r"torn\.png cannot be read as an image"):
        predict(run_folder, [torn])
    with pytest.raises(DataError, match=r"there is no file .*none\.png"):
        predict(run_folder, [tmp_path / "none.png"])
    with pytest.raises(InvalidValue, match="no image is given"):
        predict(run_folder, [])
    with pytest.raises(InvalidValue, match="--top is 0"):
        predict(run_folder, pictures, top=0)
    with pytest.raises(RunError, match="is not a run folder"):
        predict(tmp_path, pictures)


def test_a_run_of_another_family_is_told_apart(pictures: list[Path], tmp_path: Path) -> None:
    folder = train(find("elman"), {"steps": 2}, Settings(device="cpu", threads=1), out=tmp_path).folder
    with pytest.raises(RunError, match="trained no classifier of images; take a run of lenet"):
        predict(folder, pictures)
