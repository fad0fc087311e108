from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import gelu, relu

from neurarium.errors import InvalidValue
from neurarium.parts import activations
from neurarium.parts.attention import Memory
from neurarium.parts.residual import JOINS, Add, MakeJoin, Replace, Residual, ReZero, alphas, join_named
from neurarium.parts.transformer import Block, FeedForward


def copy_attention(ours: nn.Module, theirs: nn.MultiheadAttention) -> None:
    own = dict(ours.named_parameters())
    theirs.in_proj_weight.copy_(torch.cat([own["query.weight"], own["memory.weight"]]))
    theirs.in_proj_bias.copy_(torch.cat([own["query.bias"], own["memory.bias"]]))
    theirs.out_proj.weight.copy_(own["output.weight"])
    theirs.out_proj.bias.copy_(own["output.bias"])


@torch.no_grad()
def encoder_layer(block: Block, norm: str) -> nn.TransformerEncoderLayer:
    """Torch's layer with copied weights."""
    layer = nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, activation=gelu, batch_first=True, norm_first=norm == "before"
    )
    copy_attention(block.attention, layer.self_attn)
    layer.linear1.load_state_dict(block.feed.inner.state_dict())
    layer.linear2.load_state_dict(block.feed.outer.state_dict())
    return layer


@torch.no_grad()
def decoder_layer(block: Block, norm: str) -> nn.TransformerDecoderLayer:
    """Torch's layer with copied weights."""
    layer = nn.TransformerDecoderLayer(
        8, 2, 16, dropout=0.0, activation=relu, batch_first=True, norm_first=norm == "before"
    )
    assert block.cross is not None
    copy_attention(block.attention, layer.self_attn)
    copy_attention(block.cross, layer.multihead_attn)
    layer.linear1.load_state_dict(block.feed.inner.state_dict())
    layer.linear2.load_state_dict(block.feed.outer.state_dict())
    return layer


def slopes_at(outputs: Tensor, inputs: Tensor) -> Tensor:
    weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(outputs, inputs, weights)
    return gradient


@pytest.mark.parametrize("norm", ["before", "after"])
def test_same_weights_same_outputs_and_gradients_as_torchs_encoder_layer(norm: str) -> None:
    torch.manual_seed(0)
    block = Block(width=8, heads=2, hidden=16, norm=norm)
    layer = encoder_layer(block, norm)
    tokens = torch.randn(3, 5, 8, requires_grad=True)
    seen = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] * 4 + [False]])
    mine, theirs = block(tokens, seen=seen), layer(tokens, src_key_padding_mask=~seen)
    assert torch.allclose(mine, theirs, atol=1e-5)
    assert torch.allclose(slopes_at(mine, tokens), slopes_at(theirs, tokens), atol=1e-5)


@pytest.mark.parametrize("norm", ["before", "after"])
def test_same_weights_same_outputs_and_gradients_as_torchs_decoder_layer(norm: str) -> None:
    torch.manual_seed(0)
    block = Block(width=8, heads=2, hidden=16, memory_width=8, activation=relu, norm=norm)
    layer = decoder_layer(block, norm)
    tokens, memory = torch.randn(2, 5, 8, requires_grad=True), torch.randn(2, 4, 8, requires_grad=True)
    seen = torch.tensor([[True] * 4, [True] * 2 + [False] * 2])
    mine = block(tokens, memory, causal=True, memory_seen=seen)
    ahead = nn.Transformer.generate_square_subsequent_mask(5)
    theirs = layer(tokens, memory, tgt_mask=ahead, tgt_is_causal=True, memory_key_padding_mask=~seen.expand(2, 4))
    assert torch.allclose(mine, theirs, atol=1e-5)
    for inputs in (tokens, memory):
        weights = torch.ones_like(mine)
        ours, wanted = (torch.autograd.grad(each, inputs, weights, retain_graph=True)[0] for each in (mine, theirs))
        assert torch.allclose(ours, wanted, atol=1e-5)


@pytest.mark.parametrize("norm", ["before", "after", "none"])
@pytest.mark.parametrize("join", JOINS.values())
def test_asked_for_some_tokens_it_gives_those_it_would_give_anyway(norm: str, join: MakeJoin) -> None:
    torch.manual_seed(0)
    block, tokens = Block(width=8, heads=2, norm=norm, residual=join), torch.randn(2, 5, 8)
    assert torch.allclose(block(tokens)[:, 1:3], block(tokens, asked=slice(1, 3)), atol=1e-6)
    last = slice(-2, None)
    assert torch.allclose(block(tokens, causal=True)[:, last], block(tokens, causal=True, asked=last), atol=1e-6)
    looked = block.look(tokens, causal=True)
    assert torch.allclose(looked.tokens, block(tokens, causal=True), atol=1e-6)
    assert looked.weights.shape == (2, 2, 5, 5)


@pytest.mark.parametrize("memory_width", [None, 6])
def test_step_by_step_is_all_at_once(memory_width: int | None) -> None:
    torch.manual_seed(0)
    blocks = [Block(width=8, heads=2, memory_width=memory_width) for _ in range(2)]
    tokens, memory = torch.randn(2, 5, 8), torch.randn(2, 3, 6) if memory_width else None
    whole = tokens
    for block in blocks:
        whole = block(whole, memory, causal=True)
    pasts: list[Memory | None] = [None, None]
    found = []
    for part in tokens.split([2, 1, 1, 1], 1):
        for place, block in enumerate(blocks):
            part, pasts[place] = block.step(part, pasts[place], memory)
        found.append(part)
    assert torch.allclose(torch.cat(found, 1), whole, atol=1e-5)


@settings(deadline=None, max_examples=10)
@given(tokens=st.integers(1, 4), heads=st.integers(1, 3))
def test_rezero_begins_as_the_identity_and_so_does_its_jacobian(tokens: int, heads: int) -> None:
    width = 2 * heads
    block = Block(width=width, heads=heads, norm="none", residual=ReZero).double()
    inputs = torch.randn(1, tokens, width).double()
    jacobian = torch.autograd.functional.jacobian(block, inputs).reshape(tokens * width, -1)
    assert torch.equal(jacobian, torch.eye(tokens * width).double())
    assert len(alphas(block)) == 1  # shared by the parts of a block


def test_joins_are_what_they_are_called() -> None:
    inputs, branch = torch.tensor([2.0]), torch.tensor([5.0])
    scaled = ReZero()
    nn.init.constant_(scaled.alpha, 0.5)
    joins: list[tuple[nn.Module, float]] = [(Replace(), 5.0), (Add(), 7.0), (scaled, 4.5)]
    for join, wanted in joins:
        assert join(inputs, branch).item() == wanted
    assert Residual(branch=nn.ReLU(), join=join_named("none"))(torch.tensor([-2.0])) == 0


@pytest.mark.parametrize("activation", [gelu, relu])
def test_the_activation_is_the_one_passed(activation: Callable[[Tensor], Tensor]) -> None:
    feed = FeedForward(width=4, hidden=6, activation=activation)
    tokens = torch.randn(2, 3, 4)
    written = {gelu: activations.gelu, relu: activations.relu}[activation]
    assert torch.allclose(feed(tokens), feed.outer(written(feed.inner(tokens))), atol=1e-6)


def test_dropout_is_for_training_alone() -> None:
    torch.manual_seed(0)
    block = Block(width=8, heads=2, hidden=16, dropout=0.5)
    tokens = torch.rand(2, 5, 8)
    assert not torch.equal(block(tokens), block(tokens))
    assert torch.equal(block.eval()(tokens), block(tokens))


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    tokens = torch.zeros(1, 2, 8)
    with pytest.raises(InvalidValue, match="norm is 'befor'; did you mean 'before'"):
        Block(width=8, heads=2, norm="befor")
    with pytest.raises(InvalidValue, match="residual is 'zero'; did you mean 'rezero'"):
        join_named("zero")
    with pytest.raises(InvalidValue, match="this block has no memory; build it with memory_width="):
        Block(width=8, heads=2)(tokens, tokens)
    with pytest.raises(InvalidValue, match="this block needs a memory to look through"):
        Block(width=8, heads=2, memory_width=8)(tokens)
    with pytest.raises(InvalidValue, match="width 0 and hidden 3; a network needs 1 of both at least"):
        FeedForward(width=0, hidden=3)
    with pytest.raises(InvalidValue, match="Linear has no ReZero, so no α to look at"):
        alphas(nn.Linear(1, 1))
