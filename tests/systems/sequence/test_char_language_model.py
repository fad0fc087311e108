"""Character language models: a step is a place of the whole, and costs the same wherever it stands."""

from collections.abc import Callable
from functools import partial
from math import log
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from neurarium.errors import InvalidValue
from neurarium.learners.language import LanguageModel, go_on
from neurarium.parts.gates import GRUCell, LSTMCell, fused
from neurarium.parts.positions import sinusoids
from neurarium.parts.recurrence import step_by_step
from neurarium.parts.scan import MinGRUCell, in_parallel
from neurarium.parts.search import beam, greedy
from neurarium.recipes.sequence.char_language_model import SIZES, build, chosen
from neurarium.systems.sequence.char_language_model import RecurrentText, TransformerText

SYMBOLS, WINDOW = 11, 8
NETS: dict[str, Callable[[], TransformerText | RecurrentText]] = {
    "transformer": partial(TransformerText, symbols=SYMBOLS, width=16, layers=2, heads=4, length=WINDOW),
    "lstm": partial(RecurrentText, symbols=SYMBOLS, width=12, layers=2, embedded=6),
    "gru": partial(RecurrentText, symbols=SYMBOLS, width=12, layers=2, embedded=6, cell=GRUCell),
    "mingru": partial(RecurrentText, symbols=SYMBOLS, width=12, layers=2, cell=MinGRUCell, unroll=in_parallel),
}
every_net = pytest.mark.parametrize("kind", NETS)


def network(kind: str) -> Any:
    torch.manual_seed(0)
    net = NETS[kind]().double()
    net.readout.weight.data.mul_(50)  # so that its opinions differ
    return net


def tokens(count: int = 3, length: int = WINDOW) -> Tensor:
    return torch.randint(SYMBOLS, (count, length), generator=torch.Generator().manual_seed(1))


@every_net
def test_steps_are_the_places_of_the_whole(kind: str) -> None:
    net, read = network(kind), tokens()
    assert isinstance(NETS[kind](), LanguageModel)
    state, said = net.begin(3), []
    for each in read.unbind(1):
        logits, state = net.step(state, each)
        said.append(logits)
    torch.testing.assert_close(torch.stack(said, dim=1), net(read), rtol=1e-10, atol=1e-12)


@every_net
@given(place=st.integers(1, WINDOW - 1))
def test_no_place_sees_those_after_it(kind: str, place: int) -> None:
    net, read = network(kind), tokens()
    other = read.clone()
    other[:, place] = (other[:, place] + 1) % SYMBOLS
    one, two = net(read), net(other)
    torch.testing.assert_close(one[:, :place], two[:, :place], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(one[:, place], two[:, place])


@pytest.mark.parametrize("net", SIZES)
def test_the_first_loss_is_that_of_no_idea(net: str) -> None:
    torch.manual_seed(0)
    size = chosen(net, layers=None, width=None, batch=None, lr=None)
    model = build(net, size, symbols=65, length=64, heads=4, dropout=0.0)
    read = torch.randint(65, (8, 65))
    loss = nn.functional.cross_entropy(model(read[:, :-1]).flatten(0, 1), read[:, 1:].flatten())
    assert float(loss.detach()) == pytest.approx(log(65), abs=0.05)


def test_the_transformer_is_pytorchs() -> None:
    net, read = network("transformer"), tokens()
    assert isinstance(net, TransformerText)
    layer = nn.TransformerEncoderLayer(16, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True)
    peer = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).double()
    for block, theirs in zip(net._blocks(), peer.layers, strict=True):
        attention = block.attention
        theirs.self_attn.in_proj_weight.data = torch.cat([attention.query.weight, attention.memory.weight]).detach()
        theirs.self_attn.out_proj.load_state_dict(attention.output.state_dict())
        theirs.linear1.load_state_dict(block.feed.inner.state_dict())
        theirs.linear2.load_state_dict(block.feed.outer.state_dict())
    places = sinusoids(torch.arange(WINDOW), width=16).double()
    unseen = nn.Transformer.generate_square_subsequent_mask(WINDOW, dtype=torch.float64)
    hidden = peer(net.embedding(read) + places, mask=unseen, is_causal=True)
    outputs = nn.functional.linear(nn.functional.layer_norm(hidden, (16,)), net.readout.weight)
    torch.testing.assert_close(net(read), outputs, rtol=1e-9, atol=1e-9)
    mine, their = (torch.autograd.grad(said.sin().sum(), net.embedding.weight)[0] for said in (net(read), outputs))
    torch.testing.assert_close(mine, their, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("cell", "fast"), [(LSTMCell, fused), (GRUCell, fused), (MinGRUCell, in_parallel)])
def test_the_fast_form_is_the_one_that_can_be_read(cell: type[nn.Module], fast: Callable[..., object]) -> None:
    found = []
    for unroll in (fast, step_by_step):
        torch.manual_seed(0)
        net = RecurrentText(symbols=SYMBOLS, width=12, layers=2, embedded=6, cell=cell, unroll=unroll).double()
        logits = net(tokens())
        found.append([logits, *torch.autograd.grad(logits.sin().sum(), list(net.parameters()))])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-11)


@every_net
def test_a_character_costs_the_same_wherever_it_stands(kind: str) -> None:
    net = network(kind)
    written, looked_at, worked_on = 20 * WINDOW, [], 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal worked_on
        worked_on += inputs[0].numel()

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        looked_at.append(inputs[1].keys.shape[2])

    net.embedding.register_forward_hook(count)
    if isinstance(net, TransformerText):
        net._blocks()[0].attention.register_forward_hook(look)
    state, sizes = net.begin(1), []
    for token in tokens(1, written).unbind(1):
        _, state = net.step(state, token)
        sizes.append(state.tokens.numel() if kind == "transformer" else 0)
    # A window is read again by half, once in half a window: two characters' work for each at the most.
    assert worked_on <= (2 if kind == "transformer" else 1) * written
    assert max(sizes) <= WINDOW
    assert max(looked_at, default=0) <= WINDOW


@pytest.mark.parametrize("window", [1, 2, 3, 8])
def test_a_full_window_forgets_its_older_half(window: int) -> None:
    torch.manual_seed(0)
    net = TransformerText(symbols=SYMBOLS, width=16, layers=2, heads=4, length=window).double()
    read = tokens(2, 4 * window)
    state, begins = net.begin(2), 0
    for place in range(4 * window):
        if place - begins == window:
            begins = place - window // 2
        logits, state = net.step(state, read[:, place])
        torch.testing.assert_close(logits, net(read[:, begins : place + 1])[:, -1], rtol=1e-10, atol=1e-12)
        assert torch.equal(state.tokens, read[:, begins : place + 1])


@every_net
def test_search_goes_through_any_state(kind: str) -> None:
    net, first = network(kind), torch.tensor([1, 2])
    one = greedy(net.step, net.begin(2), first, end=0, limit=12)
    best = beam(net.step, net.begin(2), first, end=0, limit=12, width=1).best
    assert torch.equal(one.tokens, best.tokens)
    wider = beam(net.step, net.begin(2), first, end=0, limit=12, width=3, length_power=0)
    assert wider.tokens.shape[:2] == (2, 3)


def test_a_prompt_may_be_longer_than_the_window() -> None:
    net = network("transformer")
    written = list(go_on(net, tokens(1, 5 * WINDOW), length=3, generator=torch.Generator()))
    assert len(written) == 3


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="9 tokens is longer than the 8 positions"):
        network("transformer")(tokens(1, WINDOW + 1))
    with pytest.raises(InvalidValue, match="width is 0; it must be at least 1"):
        RecurrentText(symbols=5, width=0)
    with pytest.raises(InvalidValue, match="layers is 0"):
        TransformerText(symbols=5, width=8, layers=0)
    with pytest.raises(InvalidValue, match="heads is 3, but must divide"):
        TransformerText(symbols=5, width=8, heads=3)
    with pytest.raises(InvalidValue, match="no steps"):
        network("lstm")(tokens(1, 0))


def test_the_kernel_of_bfloat16_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    net, read, found = network("transformer").float(), tokens(), []
    for short in (0, WINDOW):
        monkeypatch.setattr("neurarium.parts.attention.SHORT", short)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(read)
        found.append((logits.float(), torch.autograd.grad(logits.float().sin().mean(), net.embedding.weight)[0]))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=0.1, atol=0.02 * float(one.detach().abs().max()))
