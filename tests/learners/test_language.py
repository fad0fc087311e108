"""Next-token learning: cross-entropy at all places, by all its names, and writing on."""

from math import exp, log
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurarium.data.text import Alphabet
from neurarium.errors import InvalidValue
from neurarium.learners.language import NextToken, go_on, surprise
from neurarium.parts.optimizers import sgd
from neurarium.parts.search import keep_top_k
from neurarium.systems.sequence.char_language_model import RecurrentText, TransformerText

ABC = Alphabet("abcde")


def texts(count: int = 3, length: int = 6) -> tuple[Tensor, Tensor]:
    tokens = torch.randint(5, (count, length + 1), generator=torch.Generator().manual_seed(0))
    return tokens[:, :-1], tokens[:, 1:]


def learner(clip: float | None = None, lr: float = 0.1) -> NextToken[Any]:
    torch.manual_seed(0)
    return NextToken(RecurrentText(symbols=5, width=7), coder=ABC, clip=clip, optimizer=sgd, lr=lr)


@pytest.mark.parametrize("clip", [None, 0.01])
def test_an_update_is_the_one_written_out(clip: float | None) -> None:
    mine, other = learner(clip), learner(clip)
    inputs, targets = texts()
    measured = mine.learn((inputs, targets))
    chances = other.model(inputs).softmax(2)
    loss = -sum(chances[b, t, targets[b, t]].log() for b in range(3) for t in range(6)) / 18
    loss.backward()
    norm = torch.stack([parameter.grad.norm() for parameter in other.model.parameters()]).norm()
    shorter = 1.0 if clip is None else min(1.0, clip / float(norm))
    torch.testing.assert_close(measured["loss"], loss.detach())
    for one, two in zip(mine.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(one, two - 0.1 * shorter * two.grad, rtol=1e-4, atol=1e-7)


def test_evaluation_counts_every_place_once() -> None:
    mine, (inputs, targets) = learner(), texts(count=5)
    uneven = [(inputs[:4], targets[:4]), (inputs[4:], targets[4:])]
    found = mine.evaluate(uneven)
    whole = float(mine.learn((inputs, targets))["loss"])
    assert found["val_loss"] == pytest.approx(whole, rel=1e-5)
    assert found["perplexity"] == pytest.approx(exp(whole), rel=1e-5)
    assert found["bits_per_character"] == pytest.approx(whole / log(2), rel=1e-5)
    assert set(mine.evaluate(uneven, prefix="test_")) == {"test_loss", "perplexity", "bits_per_character"}


def test_a_huge_loss_is_no_error() -> None:
    assert surprise(1e6)["perplexity"] == float("inf")


@settings(max_examples=20, deadline=None)
@given(temperature=st.floats(0.1, 3), top_k=st.integers(1, 5), seed=st.integers(0, 99))
def test_what_is_written_is_drawn_from_what_is_said(temperature: float, top_k: int, seed: int) -> None:
    torch.manual_seed(1)
    net, read = TransformerText(symbols=5, width=8, layers=1, heads=2, length=16).eval(), texts()[0]
    net.readout.weight.data.mul_(50)
    generator = torch.Generator().manual_seed(seed)
    written = torch.stack(
        list(go_on(net, read, length=4, generator=generator, temperature=temperature, top_k=top_k)), dim=1
    )
    # The same, all of the text read anew for every character.
    generator, tokens = torch.Generator().manual_seed(seed), read
    for _ in range(4):
        logits = net(tokens)[:, -1] / temperature
        chances = keep_top_k(logits, top_k).softmax(1)
        tokens = torch.cat([tokens, torch.multinomial(chances, 1, generator=generator)], dim=1)
    assert torch.equal(written, tokens[:, 6:])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ((torch.zeros(0, 4, dtype=torch.int64),) * 2, "the batch is empty"),
        ((torch.zeros(2, 0, dtype=torch.int64),) * 2, r"are \(2, 0\) and \(2, 0\); both must be \(B, T\)"),
        ((torch.zeros(4, dtype=torch.int64),) * 2, r"both must be \(B, T\)"),
        ((torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64)), r"\(2, 4\) and \(2, 3\)"),
        ((torch.zeros(2, 4, dtype=torch.int64), torch.zeros(3, 4, dtype=torch.int64)), "equal number"),
        ((torch.full((2, 4), torch.nan), torch.zeros(2, 4, dtype=torch.int64)), "they must be whole numbers"),
    ],
)
def test_unusable_batches_are_refused_in_words(batch: tuple[Tensor, Tensor], said: str) -> None:
    mine = learner()
    with pytest.raises(InvalidValue, match=said):
        mine.learn(batch)
    with pytest.raises(InvalidValue, match=said):
        mine.evaluate([batch])


def test_what_else_is_refused() -> None:
    with pytest.raises(InvalidValue, match="clip is 0"):
        learner(clip=0)
    with pytest.raises(InvalidValue, match="no text to evaluate on"):
        learner().evaluate([])
    nothing, chance = torch.zeros(1, 0, dtype=torch.int64), torch.Generator()
    with pytest.raises(InvalidValue, match="has no token"):
        next(go_on(learner().model, nothing, length=1, generator=chance))
    with pytest.raises(InvalidValue, match="temperature is 0"):
        next(go_on(learner().model, texts()[0], length=1, generator=chance, temperature=0))
