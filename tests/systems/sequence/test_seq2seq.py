"""Sequence to sequence: the fast form is the plain one, padding is never looked at, and letters are turned round."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from neurarium.data.letters import Letters, reversal
from neurarium.errors import InvalidValue
from neurarium.learners.translate import Aligning, Translate, Translator, exact_match
from neurarium.parts.pairs import Pairs, present
from neurarium.systems.sequence.seq2seq import Seq2Seq, turned

KINDS = [("gru", 5), ("lstm", 5), ("gru", 0), ("lstm", 0)]


def build(cell: str = "gru", attention: int = 5, *, hidden: int = 7) -> Seq2Seq:
    torch.manual_seed(0)
    return Seq2Seq(tokens=30, hidden=hidden, embedding=6, cell=cell, attention=attention)  # type: ignore[arg-type]


def some(count: int = 5, length: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    pairs = reversal(torch.Generator().manual_seed(1), count=count, length=length)
    return pairs.source, present(pairs.source, Letters.marks), pairs.target[:, :-1]


def kernel_of(cell: Any) -> nn.GRU | nn.LSTM:
    kernel: nn.GRU | nn.LSTM = cell.kernel
    return kernel


def step_after_step(net: Seq2Seq, source: Tensor, mask: Tensor, target: Tensor) -> Tensor:
    state, steps = net.encode(source, mask), []
    for tokens in target.unbind(1):
        logits, state = net.step(state, tokens)
        steps.append(logits)
    return torch.stack(steps, dim=1)


@pytest.mark.parametrize(("cell", "attention"), KINDS)
def test_the_fast_form_is_the_plain_one(cell: str, attention: int) -> None:
    net = build(cell, attention)
    read = some()
    fast, plain = net(*read), step_after_step(net, *read)
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)
    weights = torch.randn(fast.shape, generator=torch.Generator().manual_seed(2))
    gradients = [
        torch.autograd.grad((logits * weights).sum(), list(net.parameters()), allow_unused=True)
        for logits in (fast, plain)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_encoder_is_pytorchs_bidirectional_one(cell: str) -> None:
    net = build(cell)
    source, mask, _ = some()
    kernel = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](6, 7, batch_first=True, bidirectional=True)
    state = {
        **kernel_of(net.forward_cell).state_dict(),
        **{f"{name}_reverse": value for name, value in kernel_of(net.backward_cell).state_dict().items()},
    }
    kernel.load_state_dict(state)
    packed = nn.utils.rnn.pack_padded_sequence(
        net.embedding(source), mask.sum(1), batch_first=True, enforce_sorted=False
    )
    outputs, last = kernel(packed)
    wanted, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    found = net.encode(source, mask)
    assert found.annotations is not None
    torch.testing.assert_close(found.annotations[mask], wanted[mask], atol=1e-6, rtol=1e-5)
    last = last[0] if cell == "lstm" else last
    torch.testing.assert_close(found.summary, torch.cat([last[0], last[1]], dim=1), atol=1e-6, rtol=1e-5)


def test_a_step_with_attention_as_in_the_paper() -> None:
    net = build()
    source, mask, target = some(count=1)
    read = net.encode(source, mask)
    annotations = read.annotations
    attention = net.attention
    assert annotations is not None
    assert attention is not None
    hidden = torch.tanh(net.begin[0](read.summary))
    # e_j = vᵀ tanh(W s + b + U h_j), one place after another
    scores = torch.stack(
        [
            attention.score(torch.tanh(attention.ask(hidden[0]) + attention.answer(place)))[0]
            for place in annotations[0, : int(mask.sum())]
        ]
    )
    weights = torch.exp(scores) / torch.exp(scores).sum()
    context = sum(weight * place for weight, place in zip(weights, annotations[0], strict=False))
    embedded = net.embedding(target[:, 0])
    kernel = kernel_of(net.cell)
    cell = nn.GRUCell(kernel.input_size, kernel.hidden_size)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in kernel.state_dict().items()})
    hidden = cell(torch.cat([embedded, context.unsqueeze(0)], dim=1), hidden)
    gathered = torch.tanh(net.gather(torch.cat([hidden, context.unsqueeze(0), embedded], dim=1)))
    wanted = gathered @ net.embedding.weight.T + net.bias
    torch.testing.assert_close(net(source, mask, target)[:, 0], wanted, atol=1e-5, rtol=1e-5)
    looked = net.align(source, mask, target)[0, 0]
    torch.testing.assert_close(looked[mask[0]], weights, atol=1e-6, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 1000), st.sampled_from(["gru", "lstm"]))
def test_weights_sum_to_one_and_are_zero_on_padding(count: int, length: int, seed: int, cell: str) -> None:
    pairs = reversal(torch.Generator().manual_seed(seed), count=count, length=length)
    mask = present(pairs.source, Letters.marks)
    with torch.no_grad():
        weights = build(cell).align(pairs.source, mask, pairs.target[:, :-1])
    assert weights.shape == (count, pairs.target.shape[1] - 1, pairs.source.shape[1])
    torch.testing.assert_close(weights.sum(2), torch.ones(weights.shape[:2]))
    assert not weights.masked_select(~mask.unsqueeze(1)).any()


@pytest.mark.parametrize(("cell", "attention"), KINDS)
def test_what_others_of_the_batch_are_makes_no_difference(cell: str, attention: int) -> None:
    net = build(cell, attention)
    source, mask, target = some()
    together = net(source, mask, target)
    for row in range(len(source)):
        length = int(mask[row].sum())
        alone = net(source[row : row + 1, :length], mask[row : row + 1, :length], target[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)


def test_later_targets_change_nothing_before_them() -> None:
    net = build()
    source, mask, target = some()
    other = target.clone()
    other[:, 3:] = 9
    assert torch.equal(net(source, mask, target)[:, :3], net(source, mask, other)[:, :3])


def test_without_attention_there_is_nothing_to_look_at(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match="without attention; there is no alignment"):
        build(attention=0).align(*some())


def test_turning_twice_changes_nothing() -> None:
    values = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([5, 2, 1])
    assert torch.equal(turned(turned(values, lengths), lengths), values)
    assert torch.equal(turned(values, lengths)[0], values[0].flip(0))


def test_it_is_a_translator_that_aligns() -> None:
    assert isinstance(build(), Translator)
    assert isinstance(build(), Aligning)


def test_it_learns_to_turn_letters_round() -> None:
    torch.manual_seed(0)
    learner = Translate(Seq2Seq(tokens=30, hidden=32, embedding=32, attention=16), Letters(), lr=3e-2)
    draw = torch.Generator().manual_seed(0)
    losses = [float(learner.learn(reversal(draw, count=32, length=3))["loss"]) for _ in range(60)]
    assert losses[-1] < losses[0] / 2
    written = learner.translate(["abc", "xy", "q"], width=1)
    assert exact_match(written, ["cba", "yx", "q"]) == 1
    assert learner.translate(["abc"], width=3) == ["cba"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 0}, "tokens is 0; a network needs at least 1"),
        ({"hidden": 0}, "hidden is 0"),
        ({"cell": "rnn"}, "cell is 'rnn'; choose gru or lstm"),
        ({"attention": -1}, "attention is -1 units"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_sizes_that_cannot_be(unchecked: None, change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        Seq2Seq(**{"tokens": 9, "hidden": 4, "embedding": 4, **change})  # type: ignore[arg-type]


def test_a_mask_that_does_not_fit(unchecked: None) -> None:
    source, mask, target = some()
    with pytest.raises(InvalidValue, match="the mask is"):
        build()(source, mask[:, :-1], target)


def test_a_batch_is_what_it_must_be(unchecked: None) -> None:
    learner = Translate(build(), Letters())
    good = reversal(torch.Generator().manual_seed(0), count=4, length=3)
    with pytest.raises(InvalidValue, match="a source of the batch is all padding"):
        learner.learn(Pairs(torch.zeros_like(good.source), good.target))
    with pytest.raises(InvalidValue, match="has tokens 0 to 99, but known are 0 to 29"):
        learner.learn(Pairs(good.source.masked_fill(good.source > 3, 99), good.target))
