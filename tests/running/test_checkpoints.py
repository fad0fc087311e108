from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.errors import CheckpointError
from neurarium.running.checkpoints import load_checkpoint, newest_whole, save_checkpoint, steps_of, sweep
from neurarium.running.states import difference

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.builds(torch.tensor, st.integers(0, 9)),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=4), inner, max_size=3),
        st.dictionaries(st.integers(0, 9), inner, max_size=3),
    ),
    max_leaves=12,
)


def state() -> dict[str, Any]:
    return {
        "model": {"weight": torch.arange(6.0).reshape(2, 3), "half": torch.ones(2, dtype=torch.bfloat16)},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"betas": (0.9, 0.99), "lr": 0.1}]},
        "loop": {"step": 3, "last": {}},
    }


@given(tree=trees)
def test_any_state_comes_back_as_it_was(tree: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("fit")
    place = save_checkpoint(folder, 1, {"entry": {"tree": tree}})
    back = load_checkpoint(place)["entry"]["tree"]
    assert difference(back, tree) is None
    assert type(back) is type(tree)


def test_tied_weights_and_strides_come_back(tmp_path: Path) -> None:
    weight = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    back = load_checkpoint(save_checkpoint(tmp_path, 1, {"model": {"a": weight, "b": weight, "t": weight[0, 0].T}}))
    assert torch.equal(back["model"]["a"], weight)
    assert torch.equal(back["model"]["b"], weight)
    assert torch.equal(back["model"]["t"], weight[0, 0].T)


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 30):
        save_checkpoint(tmp_path, step, state())
    assert steps_of(tmp_path) == [2, 30]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_damage_is_named_and_the_one_before_is_used(name: str, damage: str, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, state())
    path = save_checkpoint(tmp_path, 2, state()) / name
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(path.parent)
    back, complaints = newest_whole(tmp_path)
    assert difference(back, state()) is None
    assert len(complaints) == 1


@given(data=st.data())
def test_every_single_flipped_bit_is_seen(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = save_checkpoint(tmp_path_factory.mktemp("fit"), 1, state())
    path = data.draw(st.sampled_from(sorted(place.iterdir())))
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    try:
        back = load_checkpoint(place)
    except CheckpointError:
        return
    # A flip that leaves the JSON's meaning alone (white space) does no harm.
    assert path.name == "manifest.json"
    assert difference(back, state()) is None


def test_none_whole_is_an_error_and_none_at_all_is_not(tmp_path: Path) -> None:
    assert newest_whole(tmp_path) == (None, [])
    (save_checkpoint(tmp_path, 1, state()) / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"no checkpoint .* is whole"):
        newest_whole(tmp_path)


def test_a_write_that_fails_leaves_what_was_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, 1, state())

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path, 2, state())
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["000000001"]


def test_a_draft_of_a_killed_process_is_never_taken_for_a_checkpoint(tmp_path: Path) -> None:
    place = save_checkpoint(tmp_path, 1, state())
    place.rename(tmp_path / ".000000002.partial")
    assert newest_whole(tmp_path) == (None, [])
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_cannot_be_saved_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'inner\.odd' is a set"):
        save_checkpoint(tmp_path, 1, {"entry": {"inner": {"odd": {1}}}})
    assert steps_of(tmp_path) == []


def test_another_format_is_refused_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurarium.running.checkpoints.FORMAT", 99)
    place = save_checkpoint(tmp_path, 1, state())
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format 99"):
        load_checkpoint(place)
