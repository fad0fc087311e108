r"""Pairs to learn sequence to sequence from: letters to be reversed, or sentences and their translations.

Source: Elliott, Frank, Sima'an & Specia 2016, Multi30K: multilingual English-German image descriptions (multi30k).
"""

import gzip
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from neurarium.data.batches import epoch_order
from neurarium.data.buckets import Bucketed, PairSet
from neurarium.data.letters import Letters, reversal
from neurarium.data.public import local_copy
from neurarium.data.sequences import Endless
from neurarium.data.splits import random_split
from neurarium.data.subwords import Subwords
from neurarium.errors import DataError, did_you_mean, require
from neurarium.parts.pairs import Coding, Pairs

FORMS = ("reversal", "multi30k", "pairs:SRC,TGT")
MULTI30K = ("train", "val", "test_2016_flickr")  # parts to learn from, to watch and to be tested on
WATCHED = 200  # pairs at the most on which learning is watched


@dataclass(frozen=True)
class Texts:
    """Pairs of texts, as they are read and as tokens."""

    sources: list[str]
    targets: list[str]
    pairs: PairSet


@dataclass(frozen=True)
class Translations:
    """Pairs to learn from, to watch and to be tested on, and what turns them into tokens.

    Attributes:
        words: texts as tokens and back.
        batches: a stream of pairs to learn from, given how many tokens a batch has.
        watched: pairs on which learning is watched.
        test: pairs to be tested on.
        judged: by which measure.
        longest: tokens of the longest source or target that is learned from, marks included.
        note: what the reader should know, in a line.
    """

    words: Coding
    batches: Callable[[int], Endless[Pairs] | Bucketed]
    watched: Texts
    test: Texts
    judged: Literal["exact_match", "bleu"]
    longest: int
    note: str = ""


def load_pairs(
    data: str = "reversal",
    *,
    seed: int,
    device: torch.device | str = "cpu",
    subwords: int = 8000,
    longest: int = 100,
    length: int = 10,
    tests: int = 1000,
    shuffle_targets: bool = False,
) -> Translations:
    """Pairs by name or place.

    Args:
        data: `reversal`, `multi30k` (German to English) or `pairs:SRC,TGT` (two UTF-8 files, plain or .gz, a sentence a
            line; a fifth is held out for the test).
        seed: decides letters, splits and the order of batches.
        device: where the batches live.
        subwords: tokens of the vocabulary that both languages share, marks included.
        longest: tokens of a sentence, above which a pair is not learned from.
        length: most letters of a reversal.
        tests: reversals to be tested on.
        shuffle_targets: the negative control: deal the targets to learn from out at random.

    Raises:
        DataError: unknown, missing or damaged data; the message says which file and why.
        InvalidValue: a count is below 1.
        MissingExtra: sentences need the library `tokenizers`.

    >>> pairs = load_pairs("reversal", seed=0, tests=3)
    >>> [text[::-1] for text in pairs.test.sources] == pairs.test.targets
    True
    """
    form, _, rest = data.partition(":")
    if data == "reversal":
        return _reversals(seed, device, length=length, tests=tests, shuffle_targets=shuffle_targets)
    if data == "multi30k":
        parts = [read_pairs(*multi30k(part)) for part in MULTI30K]
    elif form == "pairs" and rest.count(",") == 1:
        parts = _split(read_pairs(*(Path(name.strip()).expanduser() for name in rest.split(","))), seed=seed)
    else:
        raise DataError(f"'{data}' names no pairs; {did_you_mean(data, FORMS)}")
    return _sentences(parts, seed, device, subwords=subwords, longest=longest, shuffle_targets=shuffle_targets)


Lines = tuple[list[str], list[str]]


def _reversals(
    seed: int, device: torch.device | str, *, length: int, tests: int, shuffle_targets: bool
) -> Translations:
    words = Letters()
    require(tests >= 1, f"tests is {tests}; at least 1 reversal must be tested")

    def batches(tokens: int) -> Endless[Pairs]:
        count = max(1, tokens // (length + 1))
        draw = partial(reversal, count=count, length=length, shuffle_targets=shuffle_targets, device=device)
        return Endless(draw, torch.Generator().manual_seed(2 * seed))

    # A generator of its own, so that the test stays the same whatever is learned from.
    drawn = reversal(torch.Generator().manual_seed(2 * seed + 1), count=tests, length=length)
    sources, targets = ([words.decode(row) for row in field.tolist()] for field in drawn)
    test = _texts((sources, targets), words, device)
    watched = _texts((sources[:WATCHED], targets[:WATCHED]), words, device)
    return Translations(words, batches, watched, test, "exact_match", length + 2)


def _sentences(
    parts: Sequence[Lines],
    seed: int,
    device: torch.device | str,
    *,
    subwords: int,
    longest: int,
    shuffle_targets: bool,
) -> Translations:
    (sources, targets), watched, test = parts
    words = Subwords.of([*sources, *targets], size=subwords)
    rows = list(zip(words.encode_all(sources), words.encode_all(targets), strict=True))
    kept = [pair for pair in rows if max(map(len, pair)) <= longest]
    if not kept:
        raise DataError(f"every pair has a sentence of more than {longest} tokens; allow longer ones")
    heard, said = ([pair[side] for pair in kept] for side in (0, 1))
    if shuffle_targets:
        said = [said[place] for place in epoch_order(len(said), seed=seed, epoch=0).tolist()]
    train = PairSet(heard, said, words.marks, device=device)
    left_out = len(rows) - len(kept)
    return Translations(
        words,
        partial(_bucketed, train, seed),
        _texts((watched[0][:WATCHED], watched[1][:WATCHED]), words, device),
        _texts(test, words, device),
        "bleu",
        2 + max(max(map(len, heard)), max(map(len, said))),
        f"not learned from, as they are longer than {longest} tokens: {left_out} of {len(rows)} pairs"
        if left_out
        else "",
    )


def _bucketed(pairs: PairSet, seed: int, tokens: int) -> Bucketed:
    return Bucketed(pairs, tokens=tokens, seed=seed)


def _texts(lines: Lines, words: Coding, device: torch.device | str) -> Texts:
    heard, said = ([words.encode(text) for text in texts] for texts in lines)
    return Texts(*lines, PairSet(heard, said, words.marks, device=device))


def multi30k(part: str) -> tuple[Path, Path]:
    """The German and the English file of a part of Multi30k.

    Raises:
        DataError: there is no local copy.
    """
    folder = local_copy("multi30k")
    if folder is None:
        wanted = f"{MULTI30K[0]}.de.gz, {MULTI30K[0]}.en.gz and so on"
        raise DataError(f"there is no local copy of multi30k; put {wanted} into $NEURARIUM_DATA/multi30k")
    return folder / f"{part}.de.gz", folder / f"{part}.en.gz"


def read_pairs(source: Path, target: Path) -> Lines:
    """The sentences of two files, line by line; lines that are blank in both are passed over.

    Raises:
        DataError: a file is missing, damaged, empty or not UTF-8, the two differ in length, or a line is blank in one.
    """
    sources, targets = read_sentences(source), read_sentences(target)
    if len(sources) != len(targets):
        raise DataError(
            f"{source} has {len(sources)} lines, but {target} has {len(targets)}; line by line they must be pairs"
        )
    for number, pair in enumerate(zip(sources, targets, strict=True), start=1):
        if bool(pair[0]) != bool(pair[1]):
            blank = target if pair[0] else source
            raise DataError(f"{blank} line {number} is blank, but its partner is not; take the line out of both files")
    kept = [pair for pair in zip(sources, targets, strict=True) if pair[0]]
    return [pair[0] for pair in kept], [pair[1] for pair in kept]


def read_sentences(path: Path) -> list[str]:
    """The lines of a UTF-8 file, plain or .gz, without the spaces around them.

    Raises:
        DataError: the file is missing, damaged, empty or not UTF-8.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise DataError(f"{path} is damaged or no gzip file; make it anew") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path} line {line} is not UTF-8; save the file in that encoding") from None
    if not text.strip():
        raise DataError(f"{path} is empty; write a sentence a line")
    # Not splitlines: it also parts at signs that some sentences hold, and the files would no longer match.
    return [line.strip() for line in text.removesuffix("\n").split("\n")]


def _split(lines: Lines, *, seed: int) -> list[Lines]:
    if len(lines[0]) < 2:
        raise DataError("the files hold a single pair; one to learn from and one to test on are needed")
    train, test = (
        ([lines[0][place] for place in places.tolist()], [lines[1][place] for place in places.tolist()])
        for places in random_split(len(lines[0]), seed=seed)
    )
    return [train, test, test]
