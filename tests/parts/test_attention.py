from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from neurarium.errors import InvalidValue
from neurarium.parts.attention import MultiHeadAttention, attend, attend_fast, causal_mask


def heads_of(*sizes: int, seed: int = 0) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed)).double().requires_grad_()


def torchs(ours: MultiHeadAttention) -> nn.MultiheadAttention:
    """torch.nn's module with copied weights."""
    memory = ours.memory_width
    theirs = nn.MultiheadAttention(ours.width, ours.heads, kdim=memory, vdim=memory, batch_first=True)
    theirs.load_state_dict(translated(ours, {name: value.detach() for name, value in ours.named_parameters()}))
    return theirs


def translated(ours: MultiHeadAttention, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our parameters, or their gradients, under the names of torch.nn."""
    query, memory = own["query.weight"], own["memory.weight"]
    if ours.memory_width == ours.width:
        weights = {"in_proj_weight": torch.cat([query, memory])}
    else:
        weights = dict(zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), (query, *memory.chunk(2)), strict=True))
    biases = {"in_proj_bias": torch.cat([own["query.bias"], own["memory.bias"]])}
    output = {"out_proj.weight": own["output.weight"], "out_proj.bias": own["output.bias"]}
    return {**weights, **biases, **output}


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.grad for name, value in module.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", ["self", "causal", "padded", "cross", "narrow memory", "all"])
def test_same_weights_same_outputs_and_gradients_as_torch(kind: str, fast: bool) -> None:
    torch.manual_seed(0)
    cross = kind in ("cross", "narrow memory")
    ours = MultiHeadAttention(width=12, heads=3, memory_width=5 if kind == "narrow memory" else None)
    for bias in (ours.query.bias, ours.memory.bias, ours.output.bias):
        nn.init.normal_(bias)
    theirs = torchs(ours)
    queries = torch.randn(2, 4, 12)
    memory = torch.randn(2, 6, ours.memory_width) if cross else queries
    seen = torch.ones(2, memory.shape[1], dtype=torch.bool)
    if kind in ("padded", "narrow memory", "all"):
        seen[1, -2:] = False
    causal = kind in ("causal", "all")
    given = memory if cross else None
    looked = ours.look(queries, given, seen=seen, causal=causal)
    mine = ours(queries, given, seen=seen, causal=causal) if fast else looked.outputs
    wanted, weights = theirs(
        *(queries, memory, memory),
        key_padding_mask=~seen,
        attn_mask=~causal_mask(4, 4) if causal else None,
        average_attn_weights=False,
    )
    assert torch.allclose(mine, wanted, atol=1e-5)
    assert torch.allclose(looked.weights, weights, atol=1e-5)
    slopes = torch.randn_like(mine)
    mine.backward(slopes)
    wanted.backward(slopes)
    found = translated(ours, gradients(ours))
    for name, gradient in gradients(theirs).items():
        assert torch.allclose(found.pop(name), gradient, atol=1e-5)
    assert not found


@settings(deadline=None, max_examples=25)
@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    queries=st.integers(1, 5),
    keys=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_the_fast_form_is_the_written_one(batch: int, heads: int, queries: int, keys: int, seed: int) -> None:
    query = heads_of(batch, heads, queries, 4, seed=seed)
    key, value = (heads_of(batch, heads, keys, 4, seed=seed + extra) for extra in (1000, 2000))
    # Some rows may be all False: such a query is answered with zeros by both.
    mask = torch.rand(batch, 1, queries, keys, generator=torch.Generator().manual_seed(seed)) > 0.5
    written, weights = attend(query, key, value, mask=mask)
    fast = attend_fast(query, key, value, mask=mask)
    assert torch.allclose(written, fast, atol=1e-12)
    slopes = torch.ones_like(fast)
    mine = torch.autograd.grad(written, [query, key, value], slopes)
    theirs = torch.autograd.grad(fast, [query, key, value], slopes)
    assert all(torch.allclose(one, other, atol=1e-10) for one, other in zip(mine, theirs, strict=True))
    assert torch.equal(weights == 0, ~mask.expand_as(weights))
    sums = mask.any(-1).double().expand(batch, heads, queries)
    assert torch.allclose(weights.sum(-1), sums)


@pytest.mark.parametrize("causal", [False, True])
def test_few_places_in_bfloat16_are_as_exact_as_bfloat16_is(causal: bool) -> None:
    exact = [heads_of(2, 3, 6, 4, seed=seed) for seed in range(3)]
    coarse = [part.detach().bfloat16().requires_grad_() for part in exact]
    written = attend(*exact, mask=causal_mask(6, 6)[None, None] if causal else None).outputs
    fast = attend_fast(*coarse, causal=causal)
    assert fast.dtype == torch.bfloat16
    assert torch.allclose(fast.double(), written, atol=0.03)
    slopes = torch.autograd.grad(written.sum(), exact), torch.autograd.grad(fast.sum(), coarse)
    assert all(torch.allclose(one, other.double(), atol=0.06) for one, other in zip(*slopes, strict=True))


def test_one_pair_at_a_time_gives_the_same() -> None:
    query, key, value = (heads_of(1, 1, *sizes).detach() for sizes in ((2, 3), (4, 3), (4, 5)))
    outputs = attend(query, key, value).outputs
    for t in range(2):
        scores = [sum(float(query[0, 0, t, i] * key[0, 0, s, i]) for i in range(3)) / 3**0.5 for s in range(4)]
        powers = [2.718281828459045**score for score in scores]
        wanted = sum((power / sum(powers)) * value[0, 0, s] for s, power in enumerate(powers))
        assert torch.allclose(outputs[0, 0, t], torch.as_tensor(wanted), atol=1e-12)


def test_attention_does_not_know_the_order() -> None:
    attention = MultiHeadAttention(width=8, heads=2).double()
    tokens, order = torch.rand(2, 5, 8).double(), torch.tensor([3, 0, 4, 1, 2])
    assert torch.allclose(attention(tokens)[:, order], attention(tokens[:, order]), atol=1e-12)


def test_nothing_sees_what_comes_after_it_and_nothing_sees_padding() -> None:
    attention = MultiHeadAttention(width=8, heads=2)
    tokens = torch.rand(1, 5, 8)
    other = tokens.clone()
    other[:, 3:] += 1
    assert torch.allclose(attention(tokens, causal=True)[:, :3], attention(other, causal=True)[:, :3], atol=1e-6)
    seen = torch.tensor([[True, True, True, False, False]])
    assert torch.allclose(attention(tokens, seen=seen)[:, :3], attention(other, seen=seen)[:, :3], atol=1e-6)
    short = attention(tokens[:, :3])
    assert torch.allclose(attention(tokens, seen=seen)[:, :3], short, atol=1e-6)


def test_word_by_word_with_a_memory_is_all_at_once() -> None:
    attention = MultiHeadAttention(width=8, heads=2)
    tokens = torch.rand(2, 5, 8)
    memory, found = attention.remember(tokens[:, :2]), [attention(tokens[:, :2], causal=True)]
    for step in range(2, 5):
        memory = memory.then(attention.remember(tokens[:, step : step + 1]))
        found.append(attention(tokens[:, step : step + 1], memory, causal=True))
    assert torch.allclose(torch.cat(found, 1), attention(tokens, causal=True), atol=1e-6)


def test_a_mask_of_ones_own() -> None:
    attention = MultiHeadAttention(width=8, heads=2)
    tokens, mask = torch.rand(2, 5, 8), torch.eye(5, dtype=torch.bool).unsqueeze(0)
    _, values = attention.memory(tokens).chunk(2, 2)
    assert torch.allclose(attention(tokens, mask=mask), attention.output(values), atol=1e-6)


def test_dropout_is_for_training_alone() -> None:
    attention, tokens = MultiHeadAttention(width=8, heads=2, dropout=0.5), torch.rand(1, 5, 8)
    for call in (attention, lambda tokens: attention.look(tokens).outputs):
        attention.train()
        assert not torch.allclose(call(tokens), call(tokens))
        attention.eval()
        assert torch.equal(call(tokens), call(tokens))


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="heads is 3, but must divide the width 8; choose one of its divisors"):
        MultiHeadAttention(width=8, heads=3)
    with pytest.raises(InvalidValue, match=r"dropout is 1\.0; it must be at least 0 and below 1"):
        MultiHeadAttention(width=8, heads=2, dropout=1.0)
    attention = MultiHeadAttention(width=8, heads=2, memory_width=3)
    tokens, memory = torch.zeros(2, 5, 8), torch.zeros(2, 4, 3)
    with pytest.raises(InvalidValue, match=r"the memory is \(2, 5, 8\), but this attention was built for \(B, T, 3\)"):
        attention(tokens)
    with pytest.raises(
        InvalidValue, match=r"the queries are \(2, 4, 3\), but this attention was built for \(B, T, 8\)"
    ):
        attention(memory, memory)
    with pytest.raises(InvalidValue, match=r"seen is \(2, 5\), but needs \(B, S\) = \(2, 4\)"):
        attention(tokens, memory, seen=torch.ones(2, 5).bool())
    with pytest.raises(InvalidValue, match=r"the mask is \(5, 4\), but needs \(2 or 1, 5, 4\)"):
        attention(tokens, memory, mask=torch.ones(5, 4).bool())
    with pytest.raises(InvalidValue, match="5 queries cannot be the last of 4 keys"):
        attention(tokens, memory, causal=True)
