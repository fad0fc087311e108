"""Word vectors: words with their vectors, in the text format of word2vec that gensim and others open.

The first line says how many words there are and of how many dimensions; then a word a line, its numbers after it.

Shapes: V words, D dimensions.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import DataError, InvalidValue, require
from neurarium.parts.analogies import closest, offsets

VECTORS = "vectors.txt"  # their place in a run's folder

Near = list[tuple[str, float]]
"""Words and their cosines, the closest first."""


@dataclass(frozen=True)
class WordVectors:
    """Words and a vector for each.

    Raises:
        InvalidValue: their numbers differ.

    >>> some = WordVectors(("king", "queen", "man"), torch.tensor([[1.0, 0.0], [1.0, 0.5], [0.0, 1.0]]))
    >>> some.nearest("king", top=1)
    [('queen', 0.8944271802902222)]
    >>> some.nearest("kings")
    Traceback (most recent call last):
    neurarium.errors.InvalidValue: 'kings' is none of the 3 words learned; did you mean 'king'?
    """

    words: tuple[str, ...]
    vectors: Float[Tensor, "V D"]

    def __post_init__(self) -> None:
        named, placed = len(self.words), len(self.vectors)
        require(named == placed, f"there are {named} words, but {placed} vectors; each word has one")

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of every word."""
        return {word: number for number, word in enumerate(self.words)}

    def number(self, word: str) -> int:
        """The number of a word; its own spelling, small letters, or with `_` for spaces.

        Raises:
            InvalidValue: it is not known; the nearest spellings are named.
        """
        for spelling in (word, word.lower(), word.lower().replace(" ", "_")):
            if spelling in self.numbers:
                return self.numbers[spelling]
        near = [f"'{known}'" for known in get_close_matches(word.lower(), self.words, n=3)]
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else f"no known word is spelt like it; '{self.words[0]}' is one"
        )
        raise InvalidValue(f"'{word}' is none of the {len(self.words)} words learned; {hint}")

    def nearest(self, word: str, *, top: int = 10) -> Near:
        """The words closest to one.

        Raises:
            InvalidValue: it is not known, or there are not so many others.
        """
        here = torch.tensor([[self.number(word)]])
        return self._named(closest(self.vectors, self.vectors[here[0]], not_these=here, top=top))

    def analogy(self, first: str, second: str, third: str, *, top: int = 5) -> Near:
        """What is to `third` as `second` is to `first`.

        Raises:
            InvalidValue: a word is not known, or there are not so many others.
        """
        asked = torch.tensor([[self.number(word) for word in (first, second, third)]])
        return self._named(closest(self.vectors, offsets(self.vectors, asked), not_these=asked, top=top))

    def _named(self, found: tuple[Tensor, Tensor]) -> Near:
        words, cosines = (part[0].tolist() for part in found)
        return [(self.words[number], cosine) for number, cosine in zip(words, cosines, strict=True)]


def as_text(words: WordVectors) -> bytes:
    """The content of a file in word2vec's text format.

    >>> as_text(WordVectors(("a", "new_york"), torch.tensor([[1.0, 0.5], [0.0, -2.0]]))).decode().splitlines()
    ['2 2', 'a 1 0.5', 'new_york 0 -2']
    """
    count, width = words.vectors.shape
    rows = words.vectors.tolist()
    # Nine digits give back every single-precision number to the bit.
    lines = (f"{word} {' '.join(f'{x:.9g}' for x in row)}\n" for word, row in zip(words.words, rows, strict=True))
    return "".join([f"{count} {width}\n", *lines]).encode()


def read_word_vectors(path: Path) -> WordVectors:
    """Word vectors from a file in word2vec's text format.

    Raises:
        DataError: the file is missing, or not in this format.
    """
    try:
        head, *lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        count, width = map(int, head.split())
        words, rows = [], np.empty((len(lines), width), dtype=np.float32)
        for place, line in enumerate(lines):
            word, _, numbers = line.partition(" ")
            words.append(word)
            rows[place] = np.fromiter(map(float, numbers.split()), np.float32)
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path} is not in word2vec's text format: {error}") from None
    if count != len(words) or not count or not np.isfinite(rows).all():
        raise DataError(f"{path} promises {count} words, but {len(words)} whole ones are there; write it anew")
    return WordVectors(tuple(words), torch.from_numpy(rows))
