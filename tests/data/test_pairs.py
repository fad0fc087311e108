"""Pairs: drawn or read, as tokens and in buckets, and what is said to someone whose files do not fit together."""

import gzip
import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from neurarium.data.buckets import Bucketed, PairSet
from neurarium.data.letters import Letters, reversal
from neurarium.data.pairs import load_pairs, read_pairs
from neurarium.data.subwords import Subwords
from neurarium.errors import DataError, InvalidValue, MissingExtra
from neurarium.parts.pairs import Marks, Pairs, check_pairs, padded

MARKS = Marks(0, 1, 2)

SENTENCES = [("Ein Hund läuft.", "A dog runs."), ("Zwei Katzen schlafen.", "Two cats sleep."), ("Hallo!", "Hello!")]


def write(place: Path, pairs: list[tuple[str, str]], *, times: int = 1) -> str:
    for name, side in (("a.de", 0), ("b.en", 1)):
        lines = [pair[side] for pair in pairs] * times
        (place / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"pairs:{place / 'a.de'},{place / 'b.en'}"


def test_reversals_are_reversed_and_padded_behind_their_end() -> None:
    pairs = reversal(torch.Generator().manual_seed(0), count=200, length=7)
    check_pairs(pairs, MARKS)
    letters = Letters()
    texts = [letters.decode(row) for row in pairs.source.tolist()]
    assert [letters.decode(row) for row in pairs.target.tolist()] == [text[::-1] for text in texts]
    assert {len(text) for text in texts} == set(range(1, 8))
    assert pairs.source.shape == (200, 8)
    assert pairs.target.shape == (200, 9)


def test_the_control_deals_targets_out() -> None:
    pairs = reversal(torch.Generator().manual_seed(0), count=200, length=7, shuffle_targets=True)
    check_pairs(pairs, MARKS)
    letters = Letters()
    decoded = ([letters.decode(row) for row in field.tolist()] for field in pairs)
    assert sum(one[::-1] == other for one, other in zip(*decoded, strict=True)) < 10


def test_reversals_go_on_where_they_were() -> None:
    stream = load_pairs("reversal", seed=3).batches(110)
    next(stream)
    state = stream.state_dict()
    wanted = next(stream)
    again = load_pairs("reversal", seed=3).batches(110)
    again.load_state_dict(state)
    assert torch.equal(next(again).source, wanted.source)
    assert wanted.source.shape[0] == 10


def lengths_of(pairs: PairSet) -> list[tuple[int, int]]:
    return list(zip(pairs.source.lengths.tolist(), pairs.target.lengths.tolist(), strict=True))


def some_pairs(count: int = 500) -> PairSet:
    draw = torch.Generator().manual_seed(0)
    sides = torch.randint(1, 30, (2, count), generator=draw).tolist()
    heard, said = ([[4 + place] * length for place, length in enumerate(side)] for side in sides)
    return PairSet(heard, said, MARKS)


def test_every_epoch_has_every_pair_once_in_batches_of_one_length() -> None:
    pairs = some_pairs()
    stream = Bucketed(pairs, tokens=300, seed=0)
    for _ in range(2):
        batches = list(itertools.islice(stream, stream.per_epoch))
        seen = torch.cat([batch.source[:, 0] for batch in batches])
        assert seen.sort().values.tolist() == [4 + place for place in range(500)]
        for batch in batches:
            check_pairs(batch, MARKS)
            assert batch.source.shape[0] * max(batch.source.shape[1], batch.target.shape[1]) <= 300
        tokens = sum(int((batch.source != 0).sum()) for batch in batches)
        assert tokens / sum(batch.source.numel() for batch in batches) > 0.9


def test_epochs_differ_and_a_place_is_found_again() -> None:
    pairs = some_pairs()
    stream = Bucketed(pairs, tokens=300, seed=0)
    first = [batch.source[:, 0].tolist() for batch in itertools.islice(stream, stream.per_epoch)]
    second = [batch.source[:, 0].tolist() for batch in itertools.islice(stream, 5)]
    assert first[:5] != second
    state = stream.state_dict()
    wanted = next(stream)
    again = Bucketed(pairs, tokens=300, seed=0)
    again.load_state_dict(state)
    assert torch.equal(next(again).target, wanted.target)


def test_a_place_of_other_pairs_is_refused() -> None:
    state = Bucketed(some_pairs(), tokens=300, seed=0).state_dict()
    with pytest.raises(InvalidValue, match="has pairs 500, but this stream has 499"):
        Bucketed(some_pairs(499), tokens=300, seed=0).load_state_dict(state)
    with pytest.raises(InvalidValue, match="has tokens 300, but this stream has 200"):
        Bucketed(some_pairs(), tokens=200, seed=0).load_state_dict(state)
    with pytest.raises(InvalidValue, match="needs counts"):
        Bucketed(some_pairs(), tokens=300, seed=0).load_state_dict({**state, "epoch": None})


def test_a_pair_longer_than_a_batch_comes_alone() -> None:
    stream = Bucketed(PairSet([[4] * 50, [5]], [[4], [5]], MARKS), tokens=10, seed=0)
    assert sorted(batch.source.shape[1] for batch in itertools.islice(stream, 2)) == [2, 51]


@pytest.mark.parametrize("form", ["plain", "gz"])
def test_the_readers_own_pairs(tmp_path: Path, form: str) -> None:
    data = write(tmp_path, SENTENCES, times=20)
    if form == "gz":
        for name in ("a.de", "b.en"):
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        data = f"pairs:{tmp_path / 'a.de.gz'},{tmp_path / 'b.en.gz'}"
    found = load_pairs(data, seed=0, subwords=300)
    assert found.judged == "bleu"
    assert len(found.test.sources) == 12
    assert dict(SENTENCES)[found.test.sources[0]] == found.test.targets[0]
    batch = next(found.batches(200))
    check_pairs(batch, found.words.marks)
    for source, target in zip(batch.source.tolist(), batch.target.tolist(), strict=True):
        assert dict(SENTENCES)[found.words.decode(source)] == found.words.decode(target)


def test_subwords_are_the_same_in_another_process(tmp_path: Path) -> None:
    data = write(tmp_path, SENTENCES, times=20)
    script = (
        "from neurarium.data.pairs import load_pairs\n"
        f"print(load_pairs({data!r}, seed=0, subwords=300).words.state_dict()['table'])"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    words = load_pairs(data, seed=0, subwords=300).words
    assert words.state_dict()["table"] == told.strip()
    again = Subwords(told.strip())
    assert again.encode("Ein Kater läuft.") == words.encode("Ein Kater läuft.")


def test_marks_in_a_text_are_letters() -> None:
    words = Subwords.of(["a cat"], size=262)
    tokens = words.encode("<end> <pad>")
    assert min(tokens) > 3
    assert words.decode([1, *tokens, 2, 5]) == "<end> <pad>"


def test_subwords_come_back_from_their_state() -> None:
    words, other = Subwords.of(["a cat, a cat"], size=262), Subwords.of(["a dog, a dog"], size=262)
    other.load_state_dict(words.state_dict())
    assert other.encode("a cat") == words.encode("a cat")
    with pytest.raises(InvalidValue, match="262 subwords, but this run has 261"):
        Subwords.of(["a dog, a dog"], size=261).load_state_dict(words.state_dict())
    with pytest.raises(InvalidValue, match="no table of subwords"):
        Subwords("{}")
    with pytest.raises(InvalidValue, match="bytes and marks take 260"):
        Subwords.of(["a"], size=100)


def test_long_pairs_are_left_out_of_learning(tmp_path: Path) -> None:
    long = " ".join(f"{number}" for number in range(300))
    data = write(tmp_path, [*SENTENCES * 10, (long, long)])
    notes = [load_pairs(data, seed=seed, subwords=300, longest=50).note for seed in range(4)]
    assert "not learned from, as they are longer than 50 tokens: 1 of 25 pairs" in notes
    with pytest.raises(DataError, match="every pair has a sentence of more than 1 tokens"):
        load_pairs(data, seed=0, subwords=300, longest=1)


def damaged(place: Path, content: bytes, name: str = "b.en") -> str:
    data = write(place, SENTENCES)
    (place / name).write_bytes(content)
    return data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"b\.en is empty; write a sentence a line"),
        (b"one\ntwo\n", r"a\.de has 3 lines, but .*b\.en has 2"),
        (b"one\n\xff\xfe\nthree\n", r"b\.en line 2 is not UTF-8"),
        (b"one\n \nthree\n", r"b\.en line 2 is blank, but its partner is not"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_pairs(damaged(tmp_path, content), seed=0)


def test_files_that_are_not_there_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"x cannot be read: No such file"):
        read_pairs(tmp_path / "x", tmp_path / "y")
    (tmp_path / "x.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"x\.gz is damaged or no gzip file"):
        read_pairs(tmp_path / "x.gz", tmp_path / "y")
    for data in ("reversl", "pairs:one", "pairs:a,b,c"):
        with pytest.raises(DataError, match="names no pairs"):
            load_pairs(data, seed=0)
    monkeypatch.setenv("NEURARIUM_DATA", str(tmp_path))
    with pytest.raises(DataError, match="no local copy of multi30k"):
        load_pairs("multi30k", seed=0)


def test_a_single_pair_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a single pair"):
        load_pairs(write(tmp_path, SENTENCES[:1]), seed=0)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers.models", None)
    with pytest.raises(MissingExtra, match=r"neurarium\[text\]"):
        Subwords.of(["a"], size=300)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ([[0, 0]], [[1, 4, 2]], "a source of the batch is all padding"),
        ([[4, 2]], [[0, 0, 0]], "a target of the batch is all padding"),
        ([[4, 2, 4]], [[1, 4, 2]], "a source of the batch is misshaped"),
        ([[4, 0, 2]], [[1, 4, 2]], "a source of the batch is misshaped"),
        ([[4, 5, 6]], [[1, 4, 2]], "a source of the batch is misshaped"),
        ([[4, 2]], [[4, 4, 2]], "begins with one start mark"),
        ([[4, 2]], [[1, 1, 2]], "begins with one start mark"),
    ],
)
def test_rows_that_are_no_sequences_are_refused(source: list, target: list, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InvalidValue, match=message):
        check_pairs(Pairs(torch.tensor(source), torch.tensor(target)), MARKS)


def test_empty_batches_are_refused() -> None:
    nothing = torch.zeros(0, 3, dtype=torch.int64)
    with pytest.raises(InvalidValue, match="the batch is empty"):
        check_pairs(Pairs(nothing, nothing), MARKS)
    with pytest.raises(InvalidValue, match="there is no text"):
        padded([], MARKS)
    with pytest.raises(InvalidValue, match="0 sources and 0 targets"):
        PairSet([], [], MARKS)


def test_letters_that_are_none() -> None:
    assert Letters().encode("a b") == Letters().encode("ab")
    with pytest.raises(InvalidValue, match="'ä' is no letter that is known"):
        Letters().encode("ä")
    with pytest.raises(InvalidValue, match="not a to z"):
        Letters().load_state_dict({})


def test_counts_below_one_are_refused() -> None:
    with pytest.raises(InvalidValue, match="length is 0 letters"):
        load_pairs("reversal", seed=0, length=0)
    with pytest.raises(InvalidValue, match="tests is 0"):
        load_pairs("reversal", seed=0, tests=0)
    with pytest.raises(InvalidValue, match="tokens is 0"):
        Bucketed(some_pairs(3), tokens=0, seed=0)


def test_multi30k(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURARIUM_DATA", str(shared))
    if not (shared / "multi30k").is_dir():
        pytest.skip("no multi30k")
    # The small part to learn from: joining bytes over all of the large one takes seconds.
    monkeypatch.setattr("neurarium.data.pairs.MULTI30K", ("val", "val", "test_2016_flickr"))
    found = load_pairs("multi30k", seed=0, subwords=2000)
    assert len(found.test.sources) == 1000
    assert found.test.targets[0] == "A man in an orange hat starring at something."
    assert len(found.words) == 2000
    batch = next(found.batches(2000))
    check_pairs(batch, found.words.marks)
