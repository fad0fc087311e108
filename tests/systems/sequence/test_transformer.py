"""The transformer: torch's with copied weights; causal to the bit; order only through positions; cached as whole."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from neurarium.data.letters import Letters, reversal
from neurarium.data.sequences import Endless
from neurarium.errors import InvalidValue
from neurarium.learners.translate import Translate
from neurarium.parts.pairs import Pairs
from neurarium.parts.search import beam, greedy
from neurarium.parts.transformer import Block
from neurarium.systems.sequence.transformer import Transformer, inverse_root

KNOWN, WIDTH, HEADS, DEPTH, HIDDEN = 11, 16, 4, 2, 24
END = KNOWN - 1


def built(*, norm: str = "after", longest: int | None = 20, dropout: float = 0.0) -> Transformer:
    torch.manual_seed(0)
    net = Transformer(
        tokens=KNOWN,
        width=WIDTH,
        heads=HEADS,
        depth=DEPTH,
        hidden=HIDDEN,
        norm=norm,
        longest=longest,
        dropout=dropout,
    )
    for name, weights in net.named_parameters():  # biases begin at 0, where a mistaken one would not show
        if name.endswith("bias"):
            nn.init.normal_(weights)
    return net


def sentences() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    source, target = torch.randint(1, KNOWN, (3, 7)), torch.randint(1, KNOWN, (3, 5))
    source[1, 4:] = 0
    target[1, 3:] = 0
    return source, source != 0, target


@torch.no_grad()
def copy_attention(ours: nn.Module, theirs: nn.MultiheadAttention) -> None:
    own = dict(ours.named_parameters())
    theirs.in_proj_weight.copy_(torch.cat([own["query.weight"], own["memory.weight"]]))
    theirs.in_proj_bias.copy_(torch.cat([own["query.bias"], own["memory.bias"]]))
    theirs.out_proj.weight.copy_(own["output.weight"])
    theirs.out_proj.bias.copy_(own["output.bias"])


def torchs(net: Transformer, norm: str) -> nn.Transformer:
    """Torch's own with copied weights."""
    peer = nn.Transformer(
        WIDTH, HEADS, DEPTH, DEPTH, HIDDEN, dropout=0.0, batch_first=True, norm_first=norm == "before"
    )
    for side in ("encoder", "decoder"):
        stack = getattr(peer, side)
        for block, layer in zip(getattr(net, side), stack.layers, strict=True):
            assert isinstance(block, Block)
            copy_attention(block.attention, layer.self_attn)
            norms = [block.attention_norm, block.feed_norm]
            if block.cross is not None:
                copy_attention(block.cross, layer.multihead_attn)
                norms.insert(1, block.cross_norm)
            for place, each in enumerate(norms):
                getattr(layer, f"norm{place + 1}").load_state_dict(each.state_dict())
            layer.linear1.load_state_dict(block.feed.inner.state_dict())
            layer.linear2.load_state_dict(block.feed.outer.state_dict())
        if norm == "before":
            stack.norm.load_state_dict(getattr(net, f"{side}_norm").state_dict())
        else:
            stack.norm = None  # the paper has none there
    return peer


@pytest.mark.parametrize("norm", ["before", "after"])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_same_weights_same_logits_and_gradients_as_torchs_transformer(norm: str) -> None:
    net = built(norm=norm)
    peer = torchs(net, norm)
    source, mask, target = sentences()
    left_out = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    ahead = nn.Transformer.generate_square_subsequent_mask(5)

    def theirs() -> Tensor:
        assert net.positions is not None
        read, wrote = (net.positions(net.embedding(tokens) * WIDTH**0.5) for tokens in (source, target))
        found = peer(
            read,
            wrote,
            tgt_mask=ahead,
            src_key_padding_mask=left_out,
            memory_key_padding_mask=left_out,
            tgt_is_causal=True,
        )
        return found @ net.embedding.weight.T

    pull = torch.randn(3, 5, KNOWN)
    results = [
        [logits, *torch.autograd.grad((logits * pull).sum(), net.embedding.weight)]
        for logits in (net(source, mask, target), theirs())
    ]
    for mine, wanted in zip(*results, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-5)
    for logits in (net(source, mask, target), theirs()):
        (logits * pull).sum().backward()
    for block, layer in zip(net.decoder, peer.decoder.layers, strict=True):
        slopes = [layer.linear1.weight.grad, dict(block.named_parameters())["feed.inner.weight"].grad]
        torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=10)
@given(place=st.integers(1, 4), token=st.integers(1, KNOWN - 1), norm=st.sampled_from(["before", "after"]))
def test_no_token_sees_those_after_it_not_by_a_bit(place: int, token: int, norm: str) -> None:
    net = built(norm=norm)
    source, mask, target = sentences()
    other = target.clone()
    other[:, place:] = token
    assert torch.equal(net(source, mask, target)[:, :place], net(source, mask, other)[:, :place])


@settings(deadline=None, max_examples=10)
@given(order=st.permutations(range(7)))
def test_without_positions_order_means_nothing_and_with_them_it_does(order: list[int]) -> None:
    source, mask, target = sentences()
    for longest in (None, 20):
        net = built(longest=longest)
        read, shuffled = net.read(source, mask), net.read(source[:, order], mask[:, order])
        close = torch.allclose(read[:, order], shuffled, atol=1e-5)
        logits = torch.allclose(net(source, mask, target), net(source[:, order], mask[:, order], target), atol=1e-4)
        assert close == logits == (longest is None or order == sorted(order))


def test_padding_changes_nothing() -> None:
    net = built()
    source, mask, target = sentences()
    alone = net(source[1:2, :4], mask[1:2, :4], target[1:2, :3])
    torch.testing.assert_close(net(source, mask, target)[1:2, :3], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["before", "after"])
def test_step_by_step_is_all_at_once(norm: str) -> None:
    net = built(norm=norm)
    source, mask, target = sentences()
    state, steps = net.encode(source, mask), []
    for tokens in target.unbind(1):
        logits, state = net.step(state, tokens)
        steps.append(logits)
    torch.testing.assert_close(torch.stack(steps, dim=1), net(source, mask, target), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_greedy_with_a_cache_writes_what_reading_all_again_each_time_writes() -> None:
    net = built().eval()
    source, mask, _ = sentences()
    found = greedy(net.step, net.encode(source, mask), torch.ones(3, dtype=torch.int64), end=END, limit=8).tokens
    written = torch.ones(3, 1, dtype=torch.int64)
    for _ in range(found.shape[1]):
        written = torch.cat([written, net(source, mask, written)[:, -1:].argmax(2)], dim=1)
    for mine, slow in zip(found.tolist(), written[:, 1:].tolist(), strict=True):
        until = mine.index(END) + 1 if END in mine else len(mine)
        assert mine[:until] == slow[:until]


@torch.no_grad()
def test_what_the_beam_says_of_its_best_is_what_the_network_says_of_it_read_as_a_whole() -> None:
    net = built().eval()
    source, mask, _ = sentences()
    first = torch.ones(3, dtype=torch.int64)
    best = beam(net.step, net.encode(source, mask), first, end=END, limit=8, width=4).best
    before = torch.cat([first.unsqueeze(1), best.tokens[:, :-1]], dim=1)
    chosen = torch.log_softmax(net(source, mask, before), dim=2).gather(2, best.tokens.unsqueeze(2)).squeeze(2)
    ends = (best.tokens == END).long()
    counts = ends.cumsum(1) - ends == 0
    torch.testing.assert_close((chosen * counts).sum(1), best.log_probabilities, rtol=1e-4, atol=1e-4)


def test_where_it_looks_sums_to_one_and_never_lies_in_padding() -> None:
    net = built()
    source, mask, target = sentences()
    weights = net.look(source, mask, target)
    assert weights.shape == (DEPTH, 3, HEADS, 5, 7)
    torch.testing.assert_close(weights.sum(4), torch.ones(DEPTH, 3, HEADS, 5))
    torch.testing.assert_close(net.align(source, mask, target).sum(2), torch.ones(3, 5))
    assert not weights[:, 1, :, :, 4:].any()
    assert net.training


def reached(*, shuffled: bool) -> float:
    torch.manual_seed(0)
    net = Transformer(tokens=len(Letters()), width=32, heads=4, depth=1, dropout=0.0, norm="before")
    learner = Translate(net, Letters(), lr=5e-3, smoothing=0.0)
    stream = Endless(partial(reversal, count=64, length=3, shuffle_targets=shuffled), torch.Generator().manual_seed(0))
    for _ in range(120):
        learner.learn(next(stream))
    return learner.evaluate([reversal(torch.Generator().manual_seed(1), count=200, length=3)])["loss"]


def test_it_learns_to_reverse_and_cannot_from_other_strings() -> None:
    assert reached(shuffled=False) < 0.5
    assert reached(shuffled=True) > 1.5


@given(step=st.integers(1, 1000))
def test_the_schedule_is_that_of_the_paper(step: int) -> None:
    total, warm = 1000, 40
    wanted = min(step**-0.5, step * warm**-1.5) / warm**-0.5
    assert inverse_root(over=warm / total)(step / total) == pytest.approx(wanted)


@pytest.mark.usefixtures("unchecked")
def test_pairs_that_cannot_be_learned_from_are_refused() -> None:
    learner = Translate(built(), Letters())
    source, _, target = sentences()
    with pytest.raises(InvalidValue, match="the batch is empty; sources and targets need at least one example"):
        learner.learn(Pairs(source[:0], target[:0]))
    with pytest.raises(InvalidValue, match="a source of the batch is all padding; leave empty sequences out"):
        learner.learn(Pairs(torch.zeros_like(source), target))
    with pytest.raises(InvalidValue, match="a source of the batch is misshaped; a row is tokens, one end mark"):
        learner.learn(Pairs(torch.full_like(source, 5), target))


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused() -> None:
    net = built()
    source, mask, target = sentences()
    with pytest.raises(InvalidValue, match="a sequence of 21 tokens is longer than the 20 positions; shorten it"):
        net(source[:, :1].expand(-1, 21), mask[:, :1].expand(-1, 21), target)
    with pytest.raises(InvalidValue, match=r"the tokens are \(3, 0\); a transformer takes \(B, T\), T at least 1"):
        net(source[:, :0], mask[:, :0], target)
    with pytest.raises(InvalidValue, match=r"seen is \(3, 6\), but needs \(B, S\) = \(3, 7\)"):
        net(source, mask[:, 1:], target)
    with pytest.raises(InvalidValue, match="depth is 0; a transformer needs at least 1 block a side"):
        Transformer(tokens=3, depth=0)
    with pytest.raises(InvalidValue, match="tokens is 0; a transformer must know at least 1"):
        Transformer(tokens=0)
    with pytest.raises(InvalidValue, match="heads is 3, but must divide the width 16"):
        Transformer(tokens=3, width=16, heads=3)
