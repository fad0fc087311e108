"""Texts: read whole from a file or by a public name, their characters as numbers, and windows of them as batches.

Shapes: B windows, T steps, N characters of the text.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from neurarium.data.public import fetch, local_copy
from neurarium.data.sequences import Endless
from neurarium.errors import DataError, InvalidValue, require

COPIES = {"tinyshakespeare": "tinyshakespeare.txt", "wikitext2": "wikitext2-valid.txt"}  # in $NEURARIUM_DATA/text
FORMS = "python, tinyshakespeare, wikitext2 or text:FILE"


def read_text(where: str) -> str:
    """A text as it stands, with plain line ends.

    Args:
        where: `python` (the interpreter's own reference, English, 0.5 MB, always there), `tinyshakespeare` (plays,
            1.1 MB), `wikitext2` (articles, its validation part, 1.1 MB), or `text:FILE`.

    Raises:
        InvalidValue: there is no such name.
        DataError: the file is missing, not UTF-8, or has fewer than two characters; a public text is not here and
            cannot be downloaded.

    >>> "statement" in read_text("python")
    True
    """
    if where == "python":
        return _reference()
    if where in COPIES:
        return _decoded(_public(where))
    form, _, path = where.partition(":")
    require(form == "text" and path != "", f"there is no text '{where}'; give {FORMS}")
    return _decoded(Path(path).expanduser())


def _reference() -> str:
    from pydoc_data.topics import topics  # what help() prints of the language, topic by topic

    return "\n".join(topics[name] for name in sorted(topics))


def _public(name: str) -> Path:
    folder = local_copy("text")
    copy = folder / COPIES[name] if folder else None
    return copy if copy and copy.is_file() else fetch(name)[0]


def _decoded(path: Path) -> str:
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        wrong = f"byte {error.start} is {content[error.start]:#04x}"
        raise DataError(f"{path} is not UTF-8: {wrong}; save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror}") from None
    if len(text) < 2:
        raise DataError(f"{path} has {len(text)} characters; a text to learn from needs at least two")
    return text


@dataclass(frozen=True)
class Alphabet:
    """The characters that are known; a character's number is its place.

    Raises:
        InvalidValue: there is none, or one comes twice.

    >>> alphabet = Alphabet.of("abba c")
    >>> alphabet.characters, alphabet.encode("cab").tolist(), alphabet.decode(alphabet.encode("cab"))
    (' abc', [3, 1, 2], 'cab')
    """

    characters: str

    def __post_init__(self) -> None:
        require(len(self.characters) > 0, "an alphabet needs at least one character")
        require(len(set(self.characters)) == len(self.characters), "an alphabet names a character twice")

    @classmethod
    def of(cls, text: str) -> "Alphabet":
        """The characters of a text, sorted."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of every character."""
        return {character: number for number, character in enumerate(self.characters)}

    def encode(self, text: str) -> Int64[Tensor, " N"]:
        """A text as numbers.

        Raises:
            InvalidValue: it has a character that is not known.
        """
        strange = sorted(set(text) - set(self.characters))
        if strange:
            raise InvalidValue(f"the text has {strange[0]!r}, which is none of the {len(self)} characters learned from")
        return torch.tensor([self.numbers[character] for character in text], dtype=torch.int64)

    def decode(self, tokens: Int64[Tensor, " N"]) -> str:
        """Numbers as a text."""
        return "".join(self.characters[number] for number in tokens.tolist())


class Window(NamedTuple):
    """Stretches of a text, and the same one character on.

    Attributes:
        inputs: characters.
        targets: at every step the character that comes next.
    """

    inputs: Int64[Tensor, "B T"]
    targets: Int64[Tensor, "B T"]


class Windows(Endless[Window]):
    """Random stretches of a text without end: a `Stream`.

    Args:
        tokens: the text.
        length: steps T of a stretch.
        count: stretches B a batch.
        generator: decides where they begin.

    Raises:
        InvalidValue: a count or length below 1, or a text not longer than `length`.

    >>> windows = Windows(torch.arange(9), length=3, count=2, generator=torch.Generator().manual_seed(0))
    >>> inputs, targets = next(windows)
    >>> inputs.shape, bool((targets == inputs + 1).all())
    (torch.Size([2, 3]), True)
    """

    def __init__(self, tokens: Int64[Tensor, " N"], *, length: int, count: int, generator: torch.Generator) -> None:
        require(count >= 1, f"the batch size is {count}, but must be at least 1")
        _check_length(tokens, length)
        self.tokens, self.length, self.count = tokens, length, count
        super().__init__(self._draw, generator)

    def _draw(self, generator: torch.Generator) -> Window:
        starts = torch.randint(self.tokens.shape[0] - self.length, (self.count,), generator=generator)
        return windows_at(self.tokens, starts.to(self.tokens.device), length=self.length)


def windows_at(tokens: Int64[Tensor, " N"], starts: Int64[Tensor, " B"], *, length: int) -> Window:
    """The stretches that begin at these places.

    >>> windows_at(torch.arange(9), torch.tensor([0, 4]), length=2).targets.tolist()
    [[1, 2], [5, 6]]
    """
    places = starts.unsqueeze(1) + torch.arange(length + 1, device=tokens.device)
    stretch = tokens[places]
    return Window(stretch[:, :-1], stretch[:, 1:])


def every_window(tokens: Int64[Tensor, " N"], *, length: int) -> Window:
    """The whole text in stretches one after the other, each character a target once; the ragged rest is left out.

    Raises:
        InvalidValue: the text is not longer than `length`.

    >>> every_window(torch.arange(8), length=3).inputs.tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    _check_length(tokens, length)
    starts = torch.arange(0, tokens.shape[0] - length, length, device=tokens.device)
    return windows_at(tokens, starts, length=length)


def _check_length(tokens: Tensor, length: int) -> None:
    size = tokens.shape[0]
    require(length >= 1, f"a window has {length} characters, but needs at least 1")
    require(size > length, f"the text has {size} characters, but a window of {length} needs {length + 1}; shorten it")


def split_text(text: str, *, share: float = 0.1) -> tuple[str, str]:
    """The beginning of a text to learn from, and its end to judge by.

    Args:
        text: the whole.
        share: of the end.

    Raises:
        InvalidValue: `share` is not between 0 and 1, or leaves a part empty.

    >>> split_text("0123456789", share=0.2)
    ('01234567', '89')
    """
    cut = len(text) - round(len(text) * share)
    if not 0 < cut < len(text):
        raise InvalidValue(f"a share of {share} of {len(text)} characters leaves a part empty; give a longer text")
    return text[:cut], text[cut:]
