from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.data.text import Alphabet, Windows, every_window, read_text, split_text
from neurarium.errors import DataError, InvalidValue


def test_a_file_is_read_with_line_ends_as_one_character_and_without_its_mark(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffgrüß\r\ndich".encode())
    assert read_text(f"text:{tmp_path / 'a.txt'}") == "grüß\ndich"


def test_a_local_copy_of_a_public_text_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "tinyshakespeare.txt").write_text("To be")
    monkeypatch.setenv("NEURARIUM_DATA", str(tmp_path))
    assert read_text("tinyshakespeare") == "To be"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 characters; a text to learn from needs at least two"),
        (b"a", "has 1 characters"),
        (b"ab\xffc", "is not UTF-8: byte 2 is 0xff; save it as UTF-8"),
    ],
)
def test_a_text_that_cannot_be_learned_from_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text(f"text:{tmp_path / 'a.txt'}")


def test_a_missing_file_and_an_unknown_name_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not be read: No such file"):
        read_text(f"text:{tmp_path / 'none.txt'}")
    with pytest.raises(InvalidValue, match="there is no text 'hamlet'; give python"):
        read_text("hamlet")


@given(st.text(min_size=1))
def test_what_is_encoded_is_decoded_the_same(text: str) -> None:
    alphabet = Alphabet.of(text)
    assert alphabet.decode(alphabet.encode(text)) == text


def test_a_strange_character_is_named() -> None:
    with pytest.raises(InvalidValue, match="the text has 'x', which is none of the 2 characters learned from"):
        Alphabet.of("ab").encode("axb")


@given(size=st.integers(2, 60), length=st.integers(1, 20))
def test_every_window_teaches_each_character_at_most_once_in_order(size: int, length: int) -> None:
    if size <= length:
        with pytest.raises(InvalidValue, match="shorten it"):
            every_window(torch.arange(size), length=length)
        return
    inputs, targets = every_window(torch.arange(size), length=length)
    assert targets.flatten().tolist() == list(range(1, 1 + inputs.shape[0] * length))
    assert size - 1 - targets.numel() < length
    assert torch.equal(targets, inputs + 1)


def test_a_stream_of_windows_goes_back_to_its_place() -> None:
    stream = Windows(torch.arange(50), length=5, count=4, generator=torch.Generator().manual_seed(1))
    state = stream.state_dict()
    first = next(stream)
    stream.load_state_dict(state)
    assert torch.equal(next(stream).inputs, first.inputs)


def test_a_share_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(InvalidValue, match="leaves a part empty"):
        split_text("ab", share=0.1)
