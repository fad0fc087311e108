import builtins
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neurarium.errors import MissingExtra, RunError
from neurarium.parts.encoders import Classifier
from neurarium.running.catalogue import find
from neurarium.running.export import Exported, Format, ParityError, _checked, _gap, export, export_module
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.vision.lenet import LeNet


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return train(find("lenet"), {"steps": 4}, Settings(device="cpu"), out=tmp_path).folder


@pytest.mark.parametrize("form", ["safetensors", "torch", "onnx"])
def test_a_run_is_taken_away_and_computes_the_same(form: Format, run_folder: Path) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    (exported,) = export(run_folder, form)
    assert exported.path.exists()
    assert exported.gap < 1e-5
    assert "parity checked" in exported.line


def test_the_torch_program_runs_without_our_code(run_folder: Path) -> None:
    (exported,) = export(run_folder, "torch")
    program = torch.export.load(exported.path).module()
    assert program(torch.rand(7, 1, 8, 8)).shape == (7, 10)


def test_where_to(run_folder: Path, tmp_path: Path) -> None:
    (exported,) = export(run_folder, "safetensors", tmp_path / "elsewhere")
    assert exported.path == tmp_path / "elsewhere" / "model.safetensors"


def test_a_difference_is_seen() -> None:
    net = Classifier(LeNet(shape=(1, 8, 8)), classes=3)
    inputs = (torch.rand(2, 1, 8, 8),)
    assert _gap(net, inputs, net) == 0.0
    gap = _gap(net, inputs, lambda images: net(images) * 1.01)
    assert gap == pytest.approx(0.01, rel=0.05)


def test_a_network_that_takes_one_size_of_batch_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="Identity as exported does not take a batch of 5"):
        _gap(nn.Identity(), (torch.rand(2, 3),), FixedBatchProgram())
    with pytest.raises(ParityError, match="differs from the network"):
        _checked(Exported(tmp_path / "x.pt2", "torch", 0.1))


class FixedBatchProgram:
    def __call__(self, inputs: Tensor) -> Tensor:
        assert inputs.shape[0] == 2, "Guard failed: batch is 2"
        return inputs


def test_without_the_extra_its_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"pip install 'neurarium\[onnx\]'"):
        export_module(nn.Linear(2, 2), (torch.rand(2, 2),), "onnx", tmp_path / "net")


def test_a_run_that_learned_nothing_has_nothing_to_export(tmp_path: Path) -> None:
    folder = train(find("lif"), dict(find("lif").load().smoke), Settings(device="cpu"), out=tmp_path).folder
    with pytest.raises(RunError, match="lif learned nothing in it that could be taken away"):
        export(folder, "safetensors")
