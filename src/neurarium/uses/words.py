"""The words that a run has placed, opened for whoever asks of them."""

from collections.abc import Sequence
from json import dumps
from pathlib import Path

from neurarium.data.word_vectors import VECTORS, Near, WordVectors, read_word_vectors
from neurarium.errors import RunError
from neurarium.running.train import read_run


def open_words(folder: Path) -> WordVectors:
    """The words and vectors of a finished run.

    Raises:
        RunError: the folder is no run, not finished, or one that placed no words.
        DataError: the vectors are damaged.
    """
    about = read_run(folder)
    path = folder / VECTORS
    if not path.is_file():
        way = f"finish it by 'neurarium resume {folder}'" if about["recipe"] == "word2vec" else "take a run of word2vec"
        raise RunError(f"{folder} has no {VECTORS}: no word was placed in it to the end; {way}")
    return read_word_vectors(path)


def tell(found: Near, *, json: bool) -> None:
    """Print words and cosines, a word a line or as JSON."""
    if json:
        print(dumps([{"word": word, "cosine": cosine} for word, cosine in found], indent=2))
    else:
        print("\n".join(lines(found)))


def lines(found: Sequence[tuple[str, float]]) -> list[str]:
    """A line for each word.

    >>> lines([("queen", 0.75), ("man", 0.5)])
    ['queen  0.750', 'man    0.500']
    """
    longest = max(len(word) for word, _ in found)
    return [f"{word:{longest}}  {cosine:.3f}" for word, cosine in found]
