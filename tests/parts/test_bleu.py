"""BLEU: what Papineni et al. define, by hand."""

from math import exp

import pytest

from neurarium.errors import InvalidValue
from neurarium.parts.bleu import bleu

WHOLE = "the cat sat on the mat at noon"


def test_a_copy_is_perfect_and_nothing_shared_is_nothing() -> None:
    assert bleu([WHOLE, "so it is"], [[WHOLE], ["so it is"]]) == pytest.approx(100)
    assert bleu(["x y z w"], [[WHOLE]]) == pytest.approx(0)


def test_short_texts_pay_for_their_brevity() -> None:
    # Half the words, all of them right: only the brevity penalty e^(1 − r/c) is left.
    assert bleu(["the cat sat on"], [[WHOLE]]) == pytest.approx(100 * exp(1 - 8 / 4))


def test_any_of_several_references_may_be_met() -> None:
    assert bleu(["a b c d", WHOLE], [["x y", "a b c d"], [WHOLE]]) == pytest.approx(100)


def test_punctuation_is_split_off_unless_told_otherwise() -> None:
    assert bleu(["one two three four."], [["one two three four ."]]) == pytest.approx(100)
    assert bleu(["one two three four."], [["one two three four ."]], tokenizer="none") < 100


def test_what_cannot_be_scored_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="there is no text to score; give at least one"):
        bleu([], [])
    with pytest.raises(InvalidValue, match="there are 1 texts, but references for 0; each needs its own"):
        bleu(["a"], [])
    with pytest.raises(InvalidValue, match="a text has no reference; give at least one for each"):
        bleu(["a"], [[]])
