"""Checkpoints that are whole or absent: safetensors beside a JSON manifest with hashes. Opening one runs no code.

A checkpoint is a folder `<fit>/<step>/`. Each top-level entry of the state (a network, an optimiser, the stream, the
random state, the loop) puts its tensors into a safetensors file of that name; everything else stands in
`manifest.json`, with the size and SHA-256 of each file and of itself. It is written in a hidden folder beside its
place, flushed to the disk and only then renamed, so a crash at any moment leaves the checkpoints before it untouched.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from neurarium.errors import CheckpointError
from neurarium.running.files import flush_folder, write_whole

FORMAT = 1  # raised when the layout changes, so that an old program says so rather than guesses
MANIFEST = "manifest.json"
KEPT = 2  # checkpoints of a fit that stay: the newest, and one to fall back to


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any]) -> Path:
    """Write `folder/<step>` whole, then drop all but the newest two.

    Args:
        folder: the checkpoints of one fit.
        step: the step the state belongs to.
        state: nested state by top-level entry.

    Raises:
        OSError: the disk is full or read-only; nothing half-written is left.
    """
    place, draft = folder / f"{step:09d}", folder / f".{step:09d}.partial"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        _write_files(draft, step, state)
        shutil.rmtree(place, ignore_errors=True)
        draft.rename(place)
        flush_folder(folder)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    for old in steps_of(folder)[:-KEPT]:
        shutil.rmtree(folder / f"{old:09d}", ignore_errors=True)
    return place


def load_checkpoint(place: Path) -> dict[str, Any]:
    """Read a checkpoint back, after checking every byte of it.

    Raises:
        CheckpointError: a file is missing, truncated or altered, or the format is not known; the file is named.
    """
    manifest = _read_manifest(place)
    state: dict[str, Any] = {}
    for entry, tree in manifest["state"].items():
        tensors = _read_tensors(place / f"{entry}.safetensors", manifest["files"])
        state[entry] = _decode(tree, tensors)
    return state


def steps_of(folder: Path) -> list[int]:
    """The steps of which there are checkpoints, oldest first, whole or not."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit()) if folder.is_dir() else []


def newest_whole(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest checkpoint that is whole, and a line for each newer one that is not.

    Raises:
        CheckpointError: there are checkpoints, but none of them is whole.
    """
    complaints: list[str] = []
    for step in reversed(steps_of(folder)):
        try:
            return load_checkpoint(folder / f"{step:09d}"), complaints
        except CheckpointError as error:
            complaints.append(str(error))
    if complaints:
        raise CheckpointError(f"no checkpoint in {folder} is whole; the newest: {complaints[0]}")
    return None, complaints


def _write_files(draft: Path, step: int, state: Mapping[str, Any]) -> None:
    files: dict[str, Any] = {}
    trees: dict[str, Any] = {}
    for entry, value in state.items():
        tensors: dict[str, Tensor] = {}
        trees[entry] = _encode(value, "" if isinstance(value, Mapping) else entry, tensors)
        if tensors:
            content = tensors_to_bytes(tensors)
            write_whole(draft / f"{entry}.safetensors", content)
            files[f"{entry}.safetensors"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {"format": FORMAT, "step": step, "files": files, "state": trees}
    manifest["sha256"] = _digest(manifest)
    write_whole(draft / MANIFEST, json.dumps(manifest, indent=1).encode())
    flush_folder(draft)


def _digest(manifest: dict[str, Any]) -> str:
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _read_manifest(place: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((place / MANIFEST).read_bytes())
        whole = manifest["sha256"] == _digest(manifest)
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(f"{place / MANIFEST} is missing or damaged") from None
    if not whole:
        raise CheckpointError(f"{place / MANIFEST} was altered: its SHA-256 does not match")
    if manifest["format"] != FORMAT:
        raise CheckpointError(f"{place} has format {manifest['format']}; this neurarium reads format {FORMAT}")
    return dict(manifest)


def _read_tensors(path: Path, files: dict[str, Any]) -> dict[str, Tensor]:
    if path.name not in files:
        return {}
    promised = files[path.name]
    try:
        content = path.read_bytes()
    except OSError:
        raise CheckpointError(f"{path} is missing") from None
    if len(content) != promised["bytes"]:
        raise CheckpointError(f"{path} is truncated: {len(content)} bytes of {promised['bytes']}")
    if hashlib.sha256(content).hexdigest() != promised["sha256"]:
        raise CheckpointError(f"{path} was altered: its SHA-256 does not match")
    try:
        return tensors_from_bytes(content)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from None


# JSON knows neither tensors, tuples nor number keys, so the tree marks them: {"tensor": path}, {"tuple": [...]},
# {"pairs": [[key, value], ...]}. Every plain dict stands under "dict", so no key of a state can be taken for a mark.


def _encode(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        # A clone, because safetensors refuses tensors that share memory (tied weights).
        tensors[path] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": path}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {"dict": {key: _encode(item, _join(path, key), tensors) for key, item in value.items()}}
        return {"pairs": [[key, _encode(item, _join(path, key), tensors)] for key, item in value.items()]}
    if isinstance(value, tuple | list):
        items = [_encode(item, _join(path, place), tensors) for place, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CheckpointError(
        f"the state at '{path}' is a {type(value).__name__}; a checkpoint holds tensors and plain values"
    )


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _decode(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_decode(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    ((mark, content),) = tree.items()
    match mark:
        case "tensor":
            return tensors[content]
        case "dict":
            return {key: _decode(item, tensors) for key, item in content.items()}
        case "pairs":
            return {key: _decode(item, tensors) for key, item in content}
        case _:
            return tuple(_decode(item, tensors) for item in content)


def sweep(folder: Path) -> None:
    """Remove what a killed process left half-written, before writing anew."""
    for draft in folder.glob(".*.partial"):
        shutil.rmtree(draft, ignore_errors=True)


def fits_of(run_folder: Path) -> list[str]:
    """The names of the fits of which a run has checkpoints."""
    root = run_folder / "checkpoints"
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir()) if root.is_dir() else []
