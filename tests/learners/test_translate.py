"""Translate: what is taught, what is written, and what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neurarium.data.letters import Letters, reversal
from neurarium.errors import CheckpointError, InvalidValue
from neurarium.learners.translate import Translate, Translator, exact_match, smoothed_loss
from neurarium.parts.pairs import Pairs, padded
from neurarium.parts.search import Written, beam, greedy

MARKS = Letters.marks


class Copier(nn.Module):
    """Says the source's tokens one after another; of its two weights one sharpens what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(8.0))
        self.bias = nn.Parameter(torch.zeros(30))

    def forward(self, source: Tensor, mask: Tensor, target: Tensor) -> Tensor:
        state, steps = self.encode(source, mask), []
        for tokens in target.unbind(1):
            logits, state = self.step(state, tokens)
            steps.append(logits)
        return torch.stack(steps, dim=1)

    def encode(self, source: Tensor, mask: Tensor) -> Any:
        return source, torch.zeros_like(source[:, 0])

    def step(self, state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        source, place = state
        said = source.gather(1, place.clamp(max=source.shape[1] - 1).unsqueeze(1)).squeeze(1)
        return self.sharpness * nn.functional.one_hot(said, 30) + self.bias, (source, place + 1)


def copies(count: int = 20, length: int = 5) -> Pairs:
    source = reversal(torch.Generator().manual_seed(0), count=count, length=length).source
    return Pairs(source, torch.cat([torch.full((count, 1), MARKS.start), source], dim=1))


def test_the_loss_is_that_of_the_smoothed_target() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 7, generator=draw, dtype=torch.float32, requires_grad=True)
    targets = torch.tensor([[3, 2, 0, 0], [5, 6, 4, 2], [2, 0, 0, 0]])
    total, count = torch.zeros(()), 0
    for row in range(3):
        for place in range(4):
            if targets[row, place] != 0:
                wanted = torch.full((7,), 0.2 / 7)
                wanted[targets[row, place]] += 0.8
                chances = logits[row, place].exp() / logits[row, place].exp().sum()
                total = total - (wanted * chances.log()).sum()
                count += 1
    found = smoothed_loss(logits, targets, pad=0, smoothing=0.2)
    torch.testing.assert_close(found, total / count)
    (one,), (other,) = (torch.autograd.grad(loss, logits, retain_graph=True) for loss in (found, total / count))
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert not one[targets == 0].any()


def test_how_much_padding_there_is_makes_no_difference() -> None:
    learner, batch = Translate(Copier(), Letters()), copies()
    wider = Pairs(*(nn.functional.pad(field, (0, 3)) for field in batch))
    assert learner.evaluate([wider])["loss"] == pytest.approx(learner.evaluate([batch])["loss"], rel=1e-6)
    halves = [Pairs(*(field[rows] for field in batch)) for rows in (slice(0, 7), slice(7, 20))]
    assert learner.evaluate(halves, prefix="test_")["test_loss"] == pytest.approx(
        learner.evaluate([batch])["loss"], rel=1e-6
    )


def test_it_learns_and_clips() -> None:
    losses = {}
    for clip in (None, 1e-4):
        learner = Translate(Copier(), Letters(), clip=clip, optimizer=torch.optim.SGD, lr=1.0)
        before = learner.model.get_parameter("sharpness").item()
        losses[clip] = float(learner.learn(copies())["loss"])
        moved = abs(learner.model.get_parameter("sharpness").item() - before)
        assert moved > 1e-3 if clip is None else moved <= 1e-4
    assert losses[None] == losses[1e-4]


def test_it_writes_by_greedy_and_by_beam_search() -> None:
    learner, batch = Translate(Copier(), Letters(), width=3), copies()
    first, state = torch.full((20,), MARKS.start), Copier().encode(batch.source, batch.source != 0)
    model = learner.model
    assert isinstance(model, Translator)
    wanted = {1: greedy(model.step, state, first, end=MARKS.end, limit=20)}
    wanted[3] = beam(model.step, state, first, end=MARKS.end, limit=20, width=3).best
    for width, each in wanted.items():
        found = learner.write(batch.source, width=width)
        assert isinstance(found, Written)
        torch.testing.assert_close(found.tokens, each.tokens)
    texts = ["abc", "z", "hello"]
    assert learner.translate(texts) == texts
    assert learner.translate(texts, width=1, size=2) == texts
    assert exact_match(learner.write_all([batch]), [learner.words.decode(row) for row in batch.target.tolist()]) == 1


def test_what_it_writes_ends() -> None:
    learner = Translate(Copier(), Letters())
    with torch.no_grad():
        learner.model.get_parameter("bias")[5] = 99.0  # it says nothing but b
    assert learner.translate(["a"]) == ["b" * (2 * 2 + 8)]


def test_its_state_holds_the_words() -> None:
    learner, other = Translate(Copier(), Letters()), Translate(Copier(), Letters())
    learner.learn(copies())
    other.load_state_dict(learner.state_dict())
    assert torch.equal(other.model.get_parameter("bias"), learner.model.get_parameter("bias"))
    state = learner.state_dict()
    assert state["words"] == Letters().state_dict()
    state["words"] = {"letters": "xyz"}
    with pytest.raises(InvalidValue, match="of another task"):
        other.load_state_dict(state)
    state.pop("words")
    with pytest.raises(CheckpointError, match="differs in words"):
        other.load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoothing": 1.0}, "smoothing is 1.0; it must be at least 0 and below 1"),
        ({"clip": 0.0}, "clip is 0.0"),
        ({"width": 0}, "the beam's width is 0"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        Translate(Copier(), Letters(), **options)


def test_what_is_no_translator_is_refused() -> None:
    with pytest.raises(InvalidValue, match="Linear is no translator; it needs forward"):
        Translate(nn.Linear(1, 1), Letters())


def test_texts_that_cannot_be_translated() -> None:
    learner = Translate(Copier(), Letters())
    with pytest.raises(InvalidValue, match="text 2 is empty"):
        learner.translate(["a", " "])
    with pytest.raises(InvalidValue, match="'é' is no letter that is known"):
        learner.translate(["é"])
    with pytest.raises(InvalidValue, match="a source of the batch is all padding"):
        learner.write(torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(InvalidValue, match="Copier has no attention"):
        learner.alignment(padded([[4]], MARKS), [4, 2])
    with pytest.raises(InvalidValue, match="1 texts and 0 targets"):
        exact_match(["a"], [])


def test_batches_that_cannot_be(unchecked: None) -> None:
    learner, batch = Translate(Copier(), Letters()), copies()
    for spoiled, message in (
        (Pairs(batch.source[:0], batch.target[:0]), "the batch is empty"),
        (Pairs(batch.source[:3], batch.target), "must come in equal number"),
        (Pairs(batch.source, torch.zeros_like(batch.target)), "a target of the batch is all padding"),
        (Pairs(batch.source, batch.target.masked_fill(batch.target > 3, 30)), "tokens 0 to 30, but known are 0 to 29"),
    ):
        with pytest.raises(InvalidValue, match=message):
            learner.learn(spoiled)
