"""Masked language models: what is hidden, what counts, who sees what, and filling blanks."""

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import gelu

from neurarium.data.sequences import Endless
from neurarium.data.text import Alphabet
from neurarium.errors import InvalidValue
from neurarium.parts.optimizers import sgd
from neurarium.running.pictures import printable
from neurarium.systems.sequence.masked_language_model import (
    REACH,
    Blanks,
    FillBlanks,
    Layer,
    MaskedText,
    NearAttention,
    fill,
    hide,
    masked_loss,
    near_sighted,
)

ABC = Alphabet("abcde")
SIGN = len(ABC)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def texts(count: int = 3, length: int = 12) -> Tensor:
    return torch.randint(SIGN, (count, length), generator=chance())


def blanks(count: int = 3, length: int = 12) -> Blanks:
    return hide(texts(count, length), symbols=SIGN, generator=chance(1), share=0.3)


def learner(lr: float = 0.1) -> FillBlanks[Any]:
    torch.manual_seed(0)
    return FillBlanks(MaskedText(symbols=SIGN, width=8, layers=2, heads=2), coder=ABC, optimizer=sgd, lr=lr)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 5), length=st.integers(1, 30), share=st.floats(0.01, 1), seed=st.integers(0, 99))
def test_the_share_is_chosen_and_nothing_else_is_touched(count: int, length: int, share: float, seed: int) -> None:
    tokens = texts(count, length)
    inputs, targets, chosen = hide(tokens, symbols=SIGN, generator=chance(seed), share=share)
    assert torch.equal(targets, tokens)
    assert chosen.sum(1).tolist() == [max(1, round(share * length))] * count
    assert torch.equal(inputs[~chosen], tokens[~chosen])
    assert int(inputs.max()) <= SIGN
    every = hide(tokens, symbols=SIGN, generator=chance(seed), share=share, covered=1.0, swapped=0.0)
    assert torch.equal(every.inputs == SIGN, every.chosen)


def test_of_the_chosen_80_are_covered_10_swapped_10_kept() -> None:
    # All texts are one character, so that a swapped one shows (but for one in 50 that is the same).
    inputs, _, chosen = hide(torch.zeros(400, 100, dtype=torch.int64), symbols=50, generator=chance())
    seen = inputs[chosen]
    count = 400 * 15
    assert seen.shape[0] == count
    covered, kept = int((seen == 50).sum()) / count, int((seen == 0).sum()) / count
    assert covered == pytest.approx(0.8, abs=0.02)  # four standard deviations
    assert kept == pytest.approx(0.1 + 0.1 / 50, abs=0.016)
    others = seen[(seen > 0) & (seen < 50)].bincount(minlength=50)[1:]
    assert int(others.min()) > 0
    # Every place is as likely as any other.
    assert chosen.float().mean(0).sub(0.15).abs().max() < 0.08


def test_places_are_chosen_anew_for_every_batch_and_resumed() -> None:
    stream = Endless(lambda g: hide(texts(), symbols=SIGN, generator=g), chance())
    first, state = next(stream), stream.state_dict()
    second, third = next(stream), next(stream)
    assert not torch.equal(first.chosen, second.chosen)
    stream.load_state_dict(state)
    for again, before in zip((next(stream), next(stream)), (second, third), strict=True):
        assert all(torch.equal(one, two) for one, two in zip(again, before, strict=True))


def test_only_chosen_places_count_to_the_bit() -> None:
    inputs, targets, chosen = blanks()
    other = torch.where(chosen, targets, (targets + 1 + texts() % (SIGN - 1)) % SIGN)
    assert (other != targets)[~chosen].all()
    losses, gradients = [], []
    for answers in (targets, other):
        net = learner().model
        loss = masked_loss(net(inputs), answers, chosen)
        loss.backward()
        losses.append(loss)
        gradients.append([parameter.grad for parameter in net.parameters()])
    assert torch.equal(*losses)
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))
    # And each that is chosen does count.
    for b, t in chosen.nonzero().tolist():
        wrong = targets.clone()
        wrong[b, t] = (wrong[b, t] + 1) % SIGN
        assert masked_loss(learner().model(inputs), wrong, chosen) != losses[0]


def test_the_loss_and_its_gradient_are_the_ones_written_out() -> None:
    logits = torch.randn(3, 12, SIGN, generator=chance(), dtype=torch.float64, requires_grad=True)
    _, targets, chosen = blanks()
    places = [(b, t) for b, t in product(range(3), range(12)) if chosen[b, t]]
    slow = torch.stack([logits[b, t].exp().sum().log() - logits[b, t, targets[b, t]] for b, t in places]).mean()
    (wanted,) = torch.autograd.grad(slow, logits)
    loss = masked_loss(logits, targets, chosen)
    (found,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(loss.double(), slow, rtol=1e-6, atol=0)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-8)
    assert not found[~chosen].any()


def test_a_layer_is_pytorchs_encoder_layer_with_a_liking_for_distances() -> None:
    torch.manual_seed(0)
    mine, tokens = Layer(width=8, heads=2), torch.randn(3, 40, 8)
    peer = nn.TransformerEncoderLayer(8, 2, 32, dropout=0.0, activation=gelu, batch_first=True, norm_first=True)
    pairs = {
        peer.self_attn.in_proj_weight: mine.attention.read.weight,
        peer.self_attn.in_proj_bias: mine.attention.read.bias,
        peer.self_attn.out_proj.weight: mine.attention.output.weight,
        peer.linear1.weight: mine.feed.inner.weight,
        peer.linear1.bias: mine.feed.inner.bias,
        peer.linear2.weight: mine.feed.outer.weight,
        peer.linear2.bias: mine.feed.outer.bias,
        peer.norm1.weight: mine.attention_norm.weight,
        peer.norm2.weight: mine.feed_norm.weight,
    }
    for theirs, ours in pairs.items():
        theirs.data.copy_(ours.data)
    liking = torch.zeros(2, 40, 40)
    for head, t, s in product(range(2), range(40), range(40)):
        liking[head, t, s] = mine.attention.liking[head, max(-REACH, min(REACH, s - t)) + REACH].detach()
    found, wanted = mine(tokens), peer(tokens, src_mask=liking.repeat(3, 1, 1))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    (found.sin().sum() + wanted.sin().sum()).backward()
    for theirs, ours in pairs.items():
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4)


def test_it_looks_to_both_sides_and_begins_near() -> None:
    net, tokens = learner().model, texts(1, 9)
    embedded = net.embedding(tokens).detach().requires_grad_()
    (reach,) = torch.autograd.grad(net.layers(embedded)[0, 4].square().sum(), embedded)
    assert (reach[0].norm(dim=1) > 0).all()
    likes = near_sighted(4)
    assert likes.argmax(1).sub(REACH).tolist() == [1, -1, 1, -1]
    assert (likes[2] >= likes[0]).all()  # the second pair sees further


def test_an_update_is_the_one_written_out() -> None:
    mine, other, batch = learner(), learner(), blanks()
    measured = mine.learn(batch)
    loss = masked_loss(other.model(batch.inputs), batch.targets, batch.chosen)
    loss.backward()
    norm = torch.stack([parameter.grad.norm() for parameter in other.model.parameters()]).norm()
    torch.testing.assert_close(measured["loss"], loss.detach())
    for one, two in zip(mine.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(one, two - 0.1 * min(1.0, 1 / float(norm)) * two.grad, rtol=1e-4, atol=1e-7)


def test_evaluation_counts_every_chosen_place_once() -> None:
    mine, batch = learner(), blanks(5)
    uneven = [Blanks(*(part[:4] for part in batch)), Blanks(*(part[4:] for part in batch))]
    found = mine.evaluate(uneven)
    logits = mine.model(batch.inputs).detach()
    right = [logits[b, t].argmax() == batch.targets[b, t] for b, t in batch.chosen.nonzero().tolist()]
    assert found["masked_accuracy"] == pytest.approx(sum(map(int, right)) / len(right))
    assert found["masked_loss"] == pytest.approx(float(masked_loss(logits, batch.targets, batch.chosen)), rel=1e-5)


class Heard(nn.Module):
    """Names each blank as the character before it, surer the nearer to the end it stands; notes what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[list[int]] = []

    def forward(self, tokens: Tensor) -> Tensor:
        self.shown.append(tokens[0].tolist())
        before = tokens.roll(1, 1).clamp(max=SIGN - 1)
        return nn.functional.one_hot(before, SIGN) * (1.0 + torch.arange(tokens.shape[1])).unsqueeze(1)


def test_the_surest_blank_is_filled_first_and_the_text_read_anew() -> None:
    heard = Heard()
    filled = fill(heard, torch.tensor([2, SIGN, 1, SIGN, SIGN]), symbols=SIGN)
    # The last blank is surest: it stands behind a blank, which it takes for the last character.
    assert filled.tokens.tolist() == [2, 2, 1, 1, 4]
    assert heard.shown == [[2, 5, 1, 5, 5], [2, 5, 1, 5, 4], [2, 5, 1, 1, 4]]
    assert filled.chances.sum(1).tolist() == pytest.approx([0, 1, 0, 1, 1])
    assert filled.chances[3].argmax() == 1


def test_a_text_without_blanks_stays_as_it_is() -> None:
    tokens = texts(1)[0]
    filled = fill(learner().model, tokens, symbols=SIGN)
    assert torch.equal(filled.tokens, tokens)
    assert not filled.chances.any()


def test_line_ends_are_shown() -> None:
    assert printable("a\tb\n") == "a b↵"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: hide(texts(), symbols=SIGN, generator=chance(), share=0.0), "share is 0.0; the share of hidden"),
        (lambda: hide(texts(), symbols=SIGN, generator=chance(), share=1.5), "above 0 and at most 1"),
        (lambda: hide(texts(), symbols=SIGN, generator=chance(), covered=0.9, swapped=0.2), "together at most 1"),
        (lambda: hide(texts()[:0], symbols=SIGN, generator=chance()), "no place to hide; give at least one"),
        (lambda: MaskedText(symbols=SIGN, width=8, heads=3), "heads is 3, but must divide the width 8"),
        (lambda: NearAttention(width=8, heads=0), "heads is 0"),
        (lambda: MaskedText(symbols=0, width=8), "symbols is 0; it must be at least 1"),
        (lambda: MaskedText(symbols=5, width=8, layers=0), "layers is 0; it must be at least 1"),
        (lambda: learner().evaluate([]), "no text to evaluate on; give at least one batch"),
        (lambda: learner().learn(Blanks(*(part[:0] for part in blanks()))), "the batch is empty"),
        (lambda: learner().learn(blanks()._replace(targets=texts(3, 5))), "all must be one"),
        (lambda: learner().learn(Blanks(*(part[0] for part in blanks()))), "all must be one"),
        (lambda: learner().learn(blanks()._replace(chosen=texts() < 0)), "no place of the batch is chosen"),
    ],
)
def test_what_cannot_be_is_refused_in_words(wrong: Any, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        wrong()
