"""Export: a run's networks as files for elsewhere, checked to compute what they computed here."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from neurarium.errors import MissingExtra, NeurariumError
from neurarium.parts.modes import evaluating
from neurarium.running.files import disk_errors_told
from neurarium.running.loop import Fit
from neurarium.running.train import open_run

Format = Literal["safetensors", "torch", "onnx"]

TOLERANCE = 1e-4  # largest difference between the exported network and ours, relative to our largest output


class ParityError(NeurariumError):
    """What was written computes something else than the network it was written from."""


@dataclass(frozen=True)
class Exported:
    """One network in one file.

    Attributes:
        gap: largest difference from our outputs, relative to the largest of them; 0 for weights, which are compared
            to the bit.
    """

    path: Path
    format: Format
    gap: float

    @property
    def line(self) -> str:
        """One line about it."""
        return f"{self.path}  ({self.format}; parity checked, largest relative difference {self.gap:.1e})"


def export(run_folder: Path, form: Format, out: Path | None = None) -> list[Exported]:
    """Write every network of a run that is worth taking away.

    Raises:
        RunError: the folder is no run, or learned nothing.
        ParityError: the written file computes something else.
        MissingExtra: the format needs the extra `onnx`.
    """
    run = open_run(run_folder)
    folder = out or run_folder / "export"
    made = []
    with disk_errors_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for fit in run.fits.values():
            prefix = f"{fit.name}_" if len(run.fits) > 1 else ""
            made += [_export_one(name, fit, form, folder / f"{prefix}{name}") for name in _worth_exporting(fit, form)]
    return made


def export_module(module: nn.Module, inputs: tuple[Tensor, ...], form: Format, stem: Path) -> Exported:
    """Write one module; `inputs` are those of one call of it, whose first dimension is the batch."""
    module = module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return WRITERS[form](module, tuple(field[:1].repeat(2, *[1] * (field.ndim - 1)) for field in inputs), stem)


def _worth_exporting(fit: Fit, form: Format) -> list[str]:
    return list(fit.learner.modules()) if form == "safetensors" else list(fit.learner.example(next(fit.stream)))


def _export_one(name: str, fit: Fit, form: Format, stem: Path) -> Exported:
    module = fit.learner.modules()[name]
    inputs = () if form == "safetensors" else fit.learner.example(next(fit.stream))[name]
    return export_module(module, inputs, form, stem)


def _write_safetensors(module: nn.Module, inputs: tuple[Tensor, ...], stem: Path) -> Exported:
    path = stem.with_suffix(".safetensors")
    weights = {name: value.detach().clone().contiguous() for name, value in module.state_dict().items()}
    save_file(weights, path)
    for name, value in load_file(path).items():
        if not torch.equal(value, weights[name]):
            raise ParityError(f"{path}: {name} was not read back as it was written")
    return Exported(path, "safetensors", 0.0)


def _write_torch(module: nn.Module, inputs: tuple[Tensor, ...], stem: Path) -> Exported:
    path = stem.with_suffix(".pt2")
    with evaluating(module):
        program = torch.export.export(module, inputs, dynamic_shapes=_any_batch(inputs))
    torch.export.save(program, path)
    gap = _gap(module, inputs, torch.export.load(path).module())
    return _checked(Exported(path, "torch", gap))


def _write_onnx(module: nn.Module, inputs: tuple[Tensor, ...], stem: Path) -> Exported:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it and fails later without it
    except ImportError:
        raise MissingExtra(
            "export to onnx needs more libraries; install them with: pip install 'neurarium[onnx]'"
        ) from None
    path = stem.with_suffix(".onnx")
    with evaluating(module), _exporter_quiet():
        program = torch.onnx.export(module, inputs, dynamo=True, dynamic_shapes=_any_batch(inputs), verbose=False)
    assert program is not None
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(*fields: Tensor) -> Any:
        outputs = session.run(None, {name: field.numpy() for name, field in zip(names, fields, strict=True)})
        return [torch.from_numpy(output) for output in outputs]

    return _checked(Exported(path, "onnx", _gap(module, inputs, run)))


@contextmanager
def _exporter_quiet() -> Iterator[None]:
    """Without the exporter's own remarks (optional libraries it does not find, deprecations inside PyTorch)."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


WRITERS: dict[Format, Callable[[nn.Module, tuple[Tensor, ...], Path], Exported]] = {
    "safetensors": _write_safetensors,
    "torch": _write_torch,
    "onnx": _write_onnx,
}


def _any_batch(inputs: tuple[Tensor, ...]) -> tuple[dict[int, Any], ...]:
    batch = torch.export.Dim.AUTO
    return tuple({0: batch} for _ in inputs)


def _gap(module: nn.Module, inputs: tuple[Tensor, ...], written: Callable[..., Any]) -> float:
    """Largest difference between the module and what was written, on a batch of another size."""
    wider = tuple(torch.cat([field, field, field[:1]]) for field in inputs)
    with evaluating(module):
        ours = _tensors(module(*wider))
        try:
            theirs = _tensors(written(*wider))
        except Exception as error:
            # Most often the size of the batch was fixed: `len(tensor)` in a forward pass, for `tensor.shape[0]`.
            what = f"{type(module).__name__} as exported does not take a batch of {len(wider[0])}"
            raise ParityError(f"{what}: {' '.join(str(error).split())[:200]}") from error
    largest = max(float(value.abs().max()) for value in ours)
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)) / max(largest, 1e-12)


def _tensors(outputs: Any) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else [value for output in outputs for value in _tensors(output)]


def _checked(exported: Exported) -> Exported:
    if exported.gap > TOLERANCE:
        raise ParityError(f"{exported.path} differs from the network it was written from by {exported.gap:.1e}")
    return exported
