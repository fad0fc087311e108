import pytest
import torch
from scipy.stats import chisquare

from neurarium.errors import InvalidValue
from neurarium.parts.unigrams import POWER, Unigrams, keep_probabilities

COUNTS = torch.tensor([5000, 2500, 1200, 600, 0, 300, 150, 40, 5, 1])


def test_wrong_answers_come_as_their_frequency_to_the_power_of_three_quarters() -> None:
    drawn = Unigrams(COUNTS).draw(200_000, generator=torch.Generator().manual_seed(0))
    came = torch.bincount(drawn, minlength=len(COUNTS)).double()
    expected = COUNTS.double() ** POWER
    expected *= len(drawn) / expected.sum()
    some = COUNTS > 0
    assert came[~some].sum() == 0
    assert chisquare(came[some].numpy(), expected[some].numpy()).pvalue > 0.01
    # Without the power they would not fit at all.
    plain = COUNTS.double() * len(drawn) / COUNTS.sum()
    assert chisquare(came[some].numpy(), plain[some].numpy()).pvalue < 1e-6


def test_what_is_kept_is_as_gensim_keeps_it() -> None:
    gensim = pytest.importorskip("gensim", reason="compares with gensim, which is not installed")
    model = gensim.models.Word2Vec(sample=1e-2, min_count=1)
    model.build_vocab_from_freq({f"w{place}": int(count) for place, count in enumerate(COUNTS) if count})
    theirs = [model.wv.get_vecattr(f"w{place}", "sample_int") / 2**32 for place in range(len(COUNTS)) if COUNTS[place]]
    ours = keep_probabilities(COUNTS, sample=1e-2)[COUNTS > 0]
    torch.testing.assert_close(ours, torch.tensor(theirs).float(), rtol=1e-5, atol=1e-6)
    assert keep_probabilities(COUNTS, sample=0).eq(1).all()


@pytest.mark.usefixtures("unchecked")
def test_counts_that_say_nothing_are_refused() -> None:
    with pytest.raises(InvalidValue, match="no word comes at all"):
        Unigrams(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(InvalidValue, match="no word comes at all"):
        keep_probabilities(torch.zeros(0, dtype=torch.int64), sample=1e-3)
    with pytest.raises(InvalidValue, match="sample is -1"):
        keep_probabilities(COUNTS, sample=-1)
