import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.data.vocabulary import END, MARKS, PAD, START, UNKNOWN, Vocabulary, words_of
from neurarium.errors import DataError, InvalidValue

WORDS = st.lists(st.sampled_from(["red", "green", "circle", "left", "of", "don't", ","]), min_size=1, max_size=8)


@given(texts=st.lists(WORDS.map(" ".join), min_size=1, max_size=6))
def test_what_is_encoded_is_read_back(texts: list[str]) -> None:
    vocabulary = Vocabulary.of(texts)
    tokens = vocabulary.encode(texts)
    assert vocabulary.decode(tokens) == [" ".join(words_of(text)) for text in texts]
    assert (tokens[:, 0] == START).all()
    assert ((tokens == END).sum(1) == 1).all()
    after = (tokens == END).cumsum(1) - (tokens == END).int() > 0
    assert ((tokens == PAD) == after).all()


def test_the_most_frequent_word_comes_first_and_rare_ones_are_unknown() -> None:
    vocabulary = Vocabulary.of(["b a", "b c", "b a"], least=2)
    assert vocabulary.words == (*MARKS, "b", "a")
    assert vocabulary.encode(["b c"]).tolist() == [[START, 4, UNKNOWN, END]]
    assert vocabulary.decode(torch.tensor([[START, UNKNOWN, END]])) == ["<unknown>"]
    assert vocabulary.unknown(["c a", "d"]) == ["c", "d"]


def test_a_mark_in_a_text_is_no_mark() -> None:
    vocabulary = Vocabulary.of(["the <end> of it"])
    assert vocabulary.encode(["the <end> of it"]).tolist()[0].count(END) == 1


@pytest.mark.usefixtures("unchecked")
def test_what_makes_no_vocabulary_is_refused() -> None:
    with pytest.raises(DataError, match="the texts have no word that occurs 3 times or more"):
        Vocabulary.of(["a b"], least=3)
    with pytest.raises(InvalidValue, match="a vocabulary begins with its marks <pad>, <start>, <end>, <unknown>"):
        Vocabulary(("a",))
    with pytest.raises(InvalidValue, match="a vocabulary names a word twice"):
        Vocabulary((*MARKS, "a", "a"))
    with pytest.raises(InvalidValue, match="there is no text to encode"):
        Vocabulary.of(["a"]).encode([])
