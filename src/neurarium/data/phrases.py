"""Phrases: two words that come together far more often than by chance are made one, as new_york.

Source: CS 479 §20 (common phrases as words); Mikolov et al. 2013, Distributed representations of words and phrases and
their compositionality, §4, eq. 6.
Differs: the score is multiplied by the number of words in the text, as in word2phrase.c, so that one threshold serves
texts of any length. A phrase that lies across two pieces of a million words is not joined there.
Shapes: W numbers of a piece, P pairs.
"""

from collections.abc import Iterator

import numpy as np

from neurarium.data.corpus import Corpus, on_disk
from neurarium.errors import require

MOST_PAIRS = 50_000_000  # distinct pairs counted at a time; beyond, those counted once are forgotten


def join_phrases(corpus: Corpus, *, least: int = 5, threshold: float = 100.0) -> Corpus:
    """Make phrases of two words one word; of three and four when done twice.

    Args:
        corpus: with the words in it that phrases are made of.
        least: δ, the comings of a pair that count for nothing.
        threshold: above which score a pair is a phrase; more joins less.

    Raises:
        InvalidValue: `least` or `threshold` is negative.

    >>> from neurarium.data.corpus import number_words
    >>> text = "i saw new york . you saw big new york . we saw a new car . new york saw you . "
    >>> joined = join_phrases(number_words(lambda: [text], least=1), least=1, threshold=2.5)
    >>> [joined.words[number] for number in joined.numbers[:6]]
    ['i', 'saw', 'new_york', 'you', 'saw', 'big']
    """
    require(least >= 0, f"least is {least}; it must not be negative")
    require(threshold >= 0, f"threshold is {threshold}; it must not be negative")
    phrases = find_phrases(corpus, least=least, threshold=threshold)
    first, second = phrases // len(corpus.words), phrases % len(corpus.words)
    names = tuple(f"{corpus.words[a]}_{corpus.words[b]}" for a, b in zip(first, second, strict=True))

    def joined() -> Iterator[np.ndarray]:
        return (_join(piece.astype(np.int64), phrases, len(corpus.words)) for piece in corpus.pieces())

    return Corpus((*corpus.words, *names), on_disk(joined()))


def find_phrases(corpus: Corpus, *, least: int, threshold: float) -> np.ndarray:
    """The pairs that are phrases, each as first · V + second, in order."""
    pairs, together = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    for piece in corpus.pieces():
        coming = _pairs(piece.astype(np.int64), len(corpus.words))
        found, counts = np.unique(coming[coming >= 0], return_counts=True)
        merged, place = np.unique(np.concatenate([pairs, found]), return_inverse=True)
        total = np.bincount(place, weights=np.concatenate([together, counts])).astype(np.int64)
        often = total > (1 if len(merged) > MOST_PAIRS else 0)
        pairs, together = merged[often], total[often]
    counts = corpus.counts.numpy()
    alone = counts[pairs // len(counts)] * counts[pairs % len(counts)].astype(np.float64)
    # score(a, b) = (count(ab) − δ) / (count(a) count(b)) · words
    score = (together - least) / np.maximum(alone, 1) * counts.sum()
    return pairs[score > threshold]


def _pairs(numbers: np.ndarray, words: int) -> np.ndarray:
    """Each number with the next, as first · V + second; −1 where one of them is no word."""
    first, second = numbers[:-1], numbers[1:]
    return np.where((first >= 0) & (second >= 0), first * words + second, -1)


def _join(numbers: np.ndarray, phrases: np.ndarray, words: int) -> np.ndarray:
    """The numbers, with the first word of each phrase replaced by it and the second left out."""
    if len(numbers) < 2 or not len(phrases):
        return numbers
    pairs = _pairs(numbers, words)
    place = np.minimum(np.searchsorted(phrases, pairs), len(phrases) - 1)
    fits = phrases[place] == pairs
    # From left to right: in a chain of overlapping phrases every other one is taken.
    here = np.arange(len(fits))
    begins = fits & ~np.concatenate([[False], fits[:-1]])
    taken = fits & ((here - np.maximum.accumulate(np.where(begins, here, 0))) % 2 == 0)
    done = numbers.copy()
    done[:-1][taken] = words + place[taken]
    return done[~np.concatenate([[False], taken])]
