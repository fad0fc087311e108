"""Vocabulary: words as numbers and back, from the texts that are learned from.

Four numbers are marks: padding, where a sequence begins and ends, and a word that is not known.

Shapes: B texts, T tokens of the longest with its two marks.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int64
from torch import Tensor

from neurarium.errors import DataError, require

MARKS = ("<pad>", "<start>", "<end>", "<unknown>")
PAD, START, END, UNKNOWN = range(len(MARKS))
WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


def words_of(text: str) -> list[str]:
    """The words of a text in small letters, punctuation apart.

    >>> words_of("A dog's ball, red-hot.")
    ['a', "dog's", 'ball', ',', 'red-hot', '.']
    """
    return WORD.findall(text.lower())


@dataclass(frozen=True)
class Vocabulary:
    """The marks and the known words; a word's number is its place.

    Attributes:
        words: the marks first.

    Raises:
        InvalidValue: the marks are not first, or a word comes twice.

    >>> vocabulary = Vocabulary.of(["a cat", "a dog"])
    >>> tokens = vocabulary.encode(["a cat", "dog"])
    >>> tokens.tolist()
    [[1, 4, 5, 2], [1, 6, 2, 0]]
    >>> vocabulary.decode(tokens)
    ['a cat', 'dog']
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        require(self.words[: len(MARKS)] == MARKS, f"a vocabulary begins with its marks {', '.join(MARKS)}")
        require(len(set(self.words)) == len(self.words), "a vocabulary names a word twice; name each once")

    @classmethod
    def of(cls, texts: Iterable[str], *, least: int = 1) -> "Vocabulary":
        """The words of some texts, the most frequent first.

        Args:
            texts: what is learned from.
            least: how often a word must occur to be known.

        Raises:
            DataError: no word occurs so often.
        """
        counts = Counter(word for text in texts for word in words_of(text))
        known = sorted(
            (word for word, count in counts.items() if count >= least), key=lambda word: (-counts[word], word)
        )
        if not known:
            raise DataError(f"the texts have no word that occurs {least} times or more; a vocabulary needs one")
        return cls((*MARKS, *known))

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of every word."""
        return {word: number for number, word in enumerate(self.words)}

    def encode(self, texts: Sequence[str]) -> Int64[Tensor, "B T"]:
        """Texts as tokens, each between its marks and padded to the longest; words not known become the mark for it.

        Raises:
            InvalidValue: there is no text.
        """
        require(len(texts) > 0, "there is no text to encode; give at least one")
        rows = [[START, *(self.numbers.get(word, UNKNOWN) for word in words_of(text)), END] for text in texts]
        longest = max(map(len, rows))
        return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])

    def decode(self, tokens: Int64[Tensor, "B T"]) -> list[str]:
        """Tokens as texts: up to the first end, without starts and padding, words parted by spaces."""
        return [" ".join(self.read(row)) for row in tokens.tolist()]

    def read(self, row: Sequence[int]) -> list[str]:
        """The words of one row of tokens."""
        row = list(row)
        until = row.index(END) if END in row else len(row)
        return [self.words[token] for token in row[:until] if token not in (PAD, START)]

    def unknown(self, texts: Iterable[str]) -> list[str]:
        """The words of some texts that are not known, sorted.

        >>> Vocabulary.of(["a cat"]).unknown(["a dog", "cat"])
        ['dog']
        """
        return sorted({word for text in texts for word in words_of(text)} - set(self.words))
