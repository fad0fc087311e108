from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from neurarium.data import corpus as module
from neurarium.data.contexts import BLOCK, SHARED, Neighbourhoods, words_an_update
from neurarium.data.corpus import BREAK, RARE, Corpus, number_words, read_pieces, settle
from neurarium.data.phrases import join_phrases
from neurarium.errors import DataError, InvalidValue

TEXT = "Der Hund läuft.\nThe dog's well-known <unk> runs 3 times\n\nthe end of the dog\n"


def test_a_file_is_read_in_pieces_that_cut_no_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 20, encoding="utf-8")
    whole = number_words(lambda: [TEXT * 20], least=1)
    monkeypatch.setattr(module, "PIECE", 17)
    pieces = list(read_pieces(f"text:{path}"))
    assert "".join(pieces) == TEXT * 20
    assert max(map(len, pieces)) < 40
    small = number_words(lambda: read_pieces(f"text:{path}"), least=1)
    assert small.words == whole.words
    assert small.numbers.tolist() == whole.numbers.tolist()
    assert torch.equal(small.counts, whole.counts)


def test_words_marks_and_breaks() -> None:
    corpus = number_words(lambda: [TEXT], least=1)
    assert {"läuft", "dog's", "well-known", "<unk>", "3"} <= set(corpus.words)
    assert (corpus.numbers == BREAK).sum() == 4
    assert (number_words(lambda: [TEXT], least=1, breaks="paragraph").numbers == BREAK).sum() == 1
    assert "The" in number_words(lambda: [TEXT], least=1, lower=False).words
    assert (number_words(lambda: [TEXT], least=2).numbers == RARE).sum() > 0


def test_a_text_that_cannot_be_used_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no word that comes 5 times or more \(it has none\)"):
        number_words(lambda: ["... !"])
    with pytest.raises(DataError, match=r"no word that comes 5 times or more \(the most frequent comes 1 times\)"):
        number_words(lambda: ["one two"])
    with pytest.raises(InvalidValue, match="least is 0"):
        number_words(lambda: ["one"], least=0)
    with pytest.raises(DataError, match="has 1 words that come 2 times or more; it takes two"):
        settle(number_words(lambda: ["a a a b"], least=1), least=2)
    (tmp_path / "latin.txt").write_bytes("läuft".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.txt is not UTF-8.*0xe4.*save it as UTF-8"):
        list(read_pieces(f"text:{tmp_path / 'latin.txt'}"))
    with pytest.raises(DataError, match=r"none\.txt could not be read: No such file"):
        list(read_pieces(f"text:{tmp_path / 'none.txt'}"))
    with pytest.raises(InvalidValue, match="there is no text 'pyhton'"):
        list(read_pieces("pyhton"))


def test_phrases_are_the_pairs_whose_score_is_high_joined_from_left_to_right() -> None:
    words = ("a", "b", "c", "d")
    chance = np.random.default_rng(0)
    numbers = np.concatenate([[0, 1, 0, 1, 1, 2, BREAK], chance.integers(2, 4, 200), [0, 1] * 5]).astype(np.int32)
    corpus = Corpus(words, numbers)
    joined = join_phrases(corpus, least=1, threshold=10)
    # By hand: of all pairs only (a, b) comes so much more often than a and b by chance.
    counts = np.bincount(numbers[numbers >= 0])
    scores = {}
    for first, second in pairwise(numbers):
        if first >= 0 and second >= 0:
            together = sum((x, y) == (first, second) for x, y in pairwise(numbers))
            scores[first, second] = (together - 1) / counts[first] / counts[second] * counts.sum()
    names = tuple(f"{words[a]}_{words[b]}" for (a, b), score in sorted(scores.items()) if score > 10)
    assert joined.words == words + names
    assert "a_b" in names
    text = [(words + names)[n] if n >= 0 else "." for n in joined.numbers[:5]]
    assert text == ["a_b", "a_b", "b", "c", "."]
    with pytest.raises(InvalidValue, match="threshold is -1"):
        join_phrases(corpus, threshold=-1)


def stream_of(numbers: list[int], *, batch: int, window: int = 2, seed: int = 0) -> Neighbourhoods:
    words = tuple("abcdefgh")
    corpus = Corpus(words, np.array(numbers, dtype=np.int32))
    return Neighbourhoods(corpus, torch.Generator().manual_seed(seed), window=window, sample=0, batch=batch)


def test_contexts_are_the_pairs_within_a_drawn_reach_and_none_over_a_break() -> None:
    numbers = [0, 1, 2, BREAK, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 1, 1, 1]
    centres, around, near, wrong = next(stream_of(numbers, batch=len(numbers)))
    assert centres.shape == (2, BLOCK)
    assert near.shape == (2, BLOCK, BLOCK + 4)
    assert wrong.shape == (2, SHARED)
    words = [number for number in numbers if number >= 0]
    assert centres.flatten().tolist()[: len(words)] == words
    for place in range(len(words)):
        block, row = divmod(place, BLOCK)
        columns = near[block, row].nonzero().flatten().tolist()
        others = [block * BLOCK + column - 2 for column in columns]
        assert place not in others
        assert [int(around[block, column]) for column in columns] == [words[other] for other in others]
        left, right = (0, 2) if place < 3 else (3, len(words) - 1)
        reach = max(abs(other - place) for other in others)
        assert 1 <= reach <= 2
        assert others == [o for o in range(place - reach, place + reach + 1) if o != place and left <= o <= right]
    assert near.flatten(0, 1)[len(words) :].sum() == 0


def test_a_stream_goes_on_where_it_was_and_reads_the_text_over_and_over() -> None:
    numbers = [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]
    stream = stream_of(numbers, batch=4)
    assert stream.batches == 3
    seen = [next(stream).centres.flatten().tolist() for _ in range(4)]
    assert seen[0][:4] == seen[3][:4] == [0, 1, 2, 3]
    assert seen[2][:2] == [0, 1]
    state = stream.state_dict()
    then = next(stream)
    other = stream_of(numbers, batch=4, seed=1)
    other.load_state_dict(state)
    assert all(torch.equal(*pair) for pair in zip(then, next(other), strict=True))
    with pytest.raises(InvalidValue, match="it is of another stream"):
        other.load_state_dict({"place": 3, "generator": state["generator"]})


def test_frequent_words_are_thinned_out_and_decide_how_long_an_update_is() -> None:
    numbers = [0] * 900 + [1, 2, 3, 4] * 25
    corpus = Corpus(tuple("abcdefgh"), np.random.default_rng(0).permutation(np.array(numbers, dtype=np.int32)))
    stream = Neighbourhoods(corpus, torch.Generator().manual_seed(0), sample=0.01, batch=1000)
    batch = next(stream)
    kept = torch.bincount(batch.centres[batch.near.sum(2) > 0], minlength=8)
    assert 60 < kept[0] < 160  # 900 (√(0.01/0.9) + 0.01/0.9) = 105
    assert kept[1:5].sum() > 60
    assert words_an_update(corpus.counts, torch.ones(8), comings=18) == 20
    for wrong in (dict(window=0), dict(batch=0), dict(comings=0.0)):
        with pytest.raises(InvalidValue, match=f"{next(iter(wrong))} is 0"):
            Neighbourhoods(corpus, torch.Generator(), **wrong)
