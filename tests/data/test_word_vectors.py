from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurarium.data.questions import read_questions
from neurarium.data.small_world import RELATIONS, lexicon, questions, tell
from neurarium.data.word_vectors import WordVectors, as_text, read_word_vectors
from neurarium.errors import DataError, InvalidValue


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4))
def test_what_is_written_is_read_to_the_bit(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("words") / "vectors.txt"
    words = WordVectors(("new_york", "naïve"), torch.tensor(values).view(2, 2))
    path.write_bytes(as_text(words))
    read = read_word_vectors(path)
    assert read.words == words.words
    assert torch.equal(read.vectors, words.vectors)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not be read"):
        read_word_vectors(tmp_path / "none.txt")
    for number, content in enumerate(("hello", "2 2\na 1 2\n", "1 2\na 1 b\n", "1 2\na 1 2 3\n", "1 1\na nan\n", "")):
        path = tmp_path / f"{number}.txt"
        path.write_text(content)
        with pytest.raises(DataError, match=r"not in word2vec's text format|write it anew"):
            read_word_vectors(path)


def test_unknown_words_are_told_with_the_nearest_spellings() -> None:
    words = WordVectors(("france", "new_york", "paris", "rome"), torch.eye(4))
    assert words.number("France") == 0
    assert words.number("New York") == 1
    with pytest.raises(InvalidValue, match="'frnace' is none of the 4 words learned; did you mean 'france'"):
        words.analogy("frnace", "paris", "rome")
    with pytest.raises(InvalidValue, match="'xyzzy' is none of the 4 words learned; no known word is spelt like it"):
        words.nearest("xyzzy")
    with pytest.raises(InvalidValue, match="top is 9"):
        words.nearest("rome", top=9)
    with pytest.raises(InvalidValue, match="2 words, but 3 vectors"):
        WordVectors(("a", "b"), torch.eye(3))


def test_questions_are_read_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "questions.txt"
    path.write_text(": capitals\nAthens Greece Oslo Norway\n\n: family\nboy girl king queen\n")
    one, other = read_questions(path)
    assert tuple(one) == ("capitals", "athens", "greece", "oslo", "norway")
    assert other.relation == "family"
    path.write_text("a b c\n")
    with pytest.raises(DataError, match="line 1, has 3 words; a question has four"):
        read_questions(path)
    path.write_text(": nothing\n")
    with pytest.raises(DataError, match="has no question"):
        read_questions(path)
    with pytest.raises(DataError, match="could not be read"):
        read_questions(tmp_path / "none.txt")


def test_the_made_up_world_has_no_word_twice_and_says_nothing_of_two_things_at_once() -> None:
    words = lexicon()
    assert len(set(words)) == len(words)
    told = list(tell(words=2000))
    assert told == list(tell(words=2000))
    assert told != list(tell(words=2000, seed=1))
    forms = {form for relation in RELATIONS for pair in relation.pairs for form in pair}
    names = [form for form in forms if " " in form]
    for sentence in "".join(told).splitlines():
        for name in names:
            sentence = sentence.replace(name, name.replace(" ", "_"))
        assert sum(word.replace("_", " ") in forms for word in sentence.split()) == 1
    assert len(questions()) == sum(2 * len(r.pairs) * (len(r.pairs) - 1) for r in RELATIONS)
    with pytest.raises(InvalidValue, match="a world of 3 words has no sentence"):
        list(tell(words=3))
