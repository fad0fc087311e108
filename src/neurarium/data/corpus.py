"""A text of any length as numbers of words, read piece by piece and kept on disk, so that memory never holds it.

The text is read twice: once to count its words, once to write the number of each to a file without a name, which is
gone when nobody holds it any more. A word is a run of letters and digits, with hyphens and apostrophes inside, or a
mark such as <unk>. Windows never reach over a break.

Shapes: W numbers of the text, V words.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from neurarium.data.text import read_text
from neurarium.errors import DataError, require

BREAK = -1  # in place of a word: a break in the text
RARE = -2  # a word that is not known
PIECE = 1 << 20  # characters read, or numbers worked on, at a time
MOST_WORDS = 20_000_000  # distinct words counted at a time; beyond, those counted once are forgotten

Breaks = Literal["line", "paragraph"]

PATTERNS = {
    "line": re.compile(r"\n|<\w+>|\w+(?:['’-]\w+)*"),
    "paragraph": re.compile(r"\n\s*\n|<\w+>|\w+(?:['’-]\w+)*"),
}


@dataclass(frozen=True)
class Corpus:
    """A text as numbers.

    Attributes:
        words: all that are known; a word's number is its place.
        numbers: of the words in the order of the text, with `BREAK` and `RARE` in between.
    """

    words: tuple[str, ...]
    numbers: np.ndarray

    @cached_property
    def counts(self) -> Int64[Tensor, " V"]:
        """How often each word comes."""
        counts = np.zeros(len(self.words), dtype=np.int64)
        for piece in self.pieces():
            counts += np.bincount(piece[piece >= 0], minlength=len(self.words))
        return torch.from_numpy(counts)

    def pieces(self) -> Iterator[np.ndarray]:
        """The numbers, some at a time."""
        for start in range(0, len(self.numbers), PIECE):
            yield np.asarray(self.numbers[start : start + PIECE])


def read_pieces(where: str) -> Iterator[str]:
    """A text, some of it at a time; a word is never cut in two.

    Args:
        where: what `read_text` takes; a file (`text:FILE`) is not held in memory.

    Raises:
        InvalidValue: there is no such text.
        DataError: a file is missing, empty or not UTF-8.
    """
    if not where.startswith("text:") or where == "text:":
        yield read_text(where)
        return
    path, rest = Path(where.removeprefix("text:")).expanduser(), ""
    try:
        with path.open(encoding="utf-8-sig") as file:
            while piece := file.read(PIECE):
                piece = rest + piece
                cut = max(piece.rfind(" "), piece.rfind("\n")) + 1 or len(piece)
                yield piece[:cut]
                rest = piece[cut:]
        yield rest
    except UnicodeDecodeError as error:
        wrong = f"near its character {error.start} a byte is {error.object[error.start]:#04x}"
        raise DataError(f"{path} is not UTF-8: {wrong}; save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror}") from None


def number_words(
    read: Callable[[], Iterable[str]], *, least: int = 5, breaks: Breaks = "line", lower: bool = True
) -> Corpus:
    r"""Count the words of a text, then write their numbers to disk.

    Args:
        read: begins the text anew, and gives it in pieces.
        least: how often a word must come to be known.
        breaks: what windows do not reach over: the end of a line, or an empty line.
        lower: do not tell capitals from small letters.

    Raises:
        InvalidValue: `least` is below 1.
        DataError: the text has no word, or none that comes so often.

    >>> corpus = number_words(lambda: ["The cat saw", " the dog.\nThe end"], least=1)
    >>> corpus.words, corpus.numbers.tolist()
    (('the', 'cat', 'saw', 'dog', 'end'), [0, 1, 2, 0, 3, -1, 0, 4])
    """
    require(least >= 1, f"least is {least}; a word must come at least once to be known")

    def found() -> Iterator[list[str]]:
        return (PATTERNS[breaks].findall(piece.lower() if lower else piece) for piece in read())

    counts = count_words(found())
    words = tuple(word for word, count in counts.most_common() if count >= least)
    if not words:
        most = f"the most frequent comes {max(counts.values())} times" if counts else "it has none"
        raise DataError(f"the text has no word that comes {least} times or more ({most}); take a longer one")
    known = {word: number for number, word in enumerate(words)}

    def number(word: str) -> int:
        return known.get(word, BREAK if word[0] == "\n" else RARE)

    return Corpus(words, on_disk(np.fromiter(map(number, words), np.int32, len(words)) for words in found()))


def count_words(found: Iterable[Sequence[str]]) -> Counter[str]:
    """How often each word comes; breaks are no words."""
    counts: Counter[str] = Counter()
    for words in found:
        counts.update(words)
        if len(counts) > MOST_WORDS:
            counts = Counter({word: count for word, count in counts.items() if count > 1})
    return Counter({word: count for word, count in counts.items() if word[0] != "\n"})


def on_disk(pieces: Iterable[np.ndarray]) -> np.ndarray:
    """Numbers in a file of their own that has no name, and is there as long as the array is.

    >>> on_disk([np.array([1, 2]), np.array([3])]).tolist()
    [1, 2, 3]
    """
    with tempfile.TemporaryFile(prefix="neurarium-") as file:
        for piece in pieces:
            file.write(piece.astype(np.int32).tobytes())
        if not file.tell():
            return np.empty(0, dtype=np.int32)
        file.flush()
        return np.memmap(file, dtype=np.int32, mode="r")


def settle(corpus: Corpus, *, least: int = 5) -> Corpus:
    """The same text with the most frequent word first, and without those that come too seldom.

    Raises:
        DataError: fewer than two words are left; nothing can be told of a single one.

    >>> settled = settle(Corpus(("a", "b", "c"), np.array([0, 1, RARE, 1, 2, BREAK, 2, 2], dtype=np.int32)), least=2)
    >>> settled.words, settled.numbers.tolist()
    (('c', 'b'), [1, 1, 0, -1, 0, 0])
    """
    counts = corpus.counts.numpy()
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] >= least]
    if len(order) < 2:
        raise DataError(
            f"the text has {len(order)} words that come {least} times or more; it takes two to be neighbours"
        )
    places = np.full(len(counts) + 2, RARE, dtype=np.int32)
    places[order] = np.arange(len(order))
    places[BREAK] = BREAK  # −1 and −2 are the last places of the table
    kept = (places[piece] for piece in corpus.pieces())
    numbers = on_disk(piece[piece != RARE] for piece in kept)
    return Corpus(tuple(corpus.words[place] for place in order), numbers)


def shuffle(corpus: Corpus, *, seed: int) -> Corpus:
    """The same words in random order, a million at a time, with the breaks where they were: company says nothing.

    >>> shuffled = shuffle(Corpus(("a", "b"), np.array([0, 0, 1, BREAK, 1], dtype=np.int32)), seed=0)
    >>> sorted(shuffled.numbers.tolist()), int(shuffled.numbers[3])
    ([-1, 0, 0, 1, 1], -1)
    """
    chance = np.random.default_rng(seed)

    def mixed(piece: np.ndarray) -> np.ndarray:
        done = piece.copy()
        done[piece >= 0] = chance.permutation(piece[piece >= 0])
        return done

    return Corpus(corpus.words, on_disk(map(mixed, corpus.pieces())))
