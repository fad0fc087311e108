import pytest
import torch

from neurarium.errors import InvalidValue
from neurarium.parts import analogies
from neurarium.parts.analogies import closest, offsets, share_right


def test_the_closest_are_those_of_a_search_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(30, 5, generator=generator)
    wanted, barred = torch.randn(7, 5, generator=generator), torch.randint(30, (7, 2), generator=generator)
    monkeypatch.setattr(analogies, "AT_ONCE", 60)  # two at a time
    words, cosines = closest(vectors, wanted, not_these=barred, top=3)
    for row in range(7):
        alone = torch.cosine_similarity(wanted[row], vectors)
        order = [word for word in alone.argsort(descending=True).tolist() if word not in barred[row].tolist()]
        assert words[row].tolist() == order[:3]
        torch.testing.assert_close(cosines[row], alone[order[:3]])


def test_an_analogy_that_holds_exactly_is_answered_and_the_question_is_no_answer() -> None:
    a, b, c = torch.eye(4)[:3]
    vectors = torch.stack([a, b, c, (b - a + c), torch.eye(4)[3]])
    questions = torch.tensor([[0, 1, 2, 3]])
    torch.testing.assert_close(offsets(vectors, questions), (b - a + c)[None])
    assert share_right(vectors, questions) == 1
    assert share_right(vectors, torch.tensor([[0, 1, 2, 4], [0, 1, 2, 3]])) == 0.5


@pytest.mark.usefixtures("unchecked")
def test_more_answers_than_words_are_refused() -> None:
    vectors = torch.eye(3)
    with pytest.raises(InvalidValue, match="top is 3, but of 3 words 1 to 2 can be named"):
        closest(vectors, vectors[:1], not_these=torch.tensor([[0]]), top=3)
    with pytest.raises(InvalidValue, match="no question is given"):
        share_right(vectors, torch.empty(0, 4, dtype=torch.int64))
