r"""Attention: each query looks through the keys, and takes the mean of the values of those that suit it.

A query says what is looked for, a key what there is, a value what is handed over. How well query and key suit each
other is their product; a softmax makes weights of it that sum to 1. Several heads look for different things at once.
Whatever the distance, everything is one step away. Order does not matter: positions must be put into the inputs.

Source: CS 479 §31.1; CSE 151B, Transformer Networks; NYU NN II, Transformers ("Attention is All You Need"); Vaswani et
al. 2017, Attention is all you need, §3.2.1, eq. 1 (scaled dot product), §3.2.2 (heads).
Differs: a query that may look at nothing is answered with zeros (the softmax of nothing is undefined). In masks True
means "may be looked at", where torch.nn.MultiheadAttention's say True for what is left out.
Shapes: B batch, H heads, T queries, S keys, D width, M width of a memory, d width of a head's queries and keys, e of
its values.
"""

from math import sqrt
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import dropout as drop
from torch.nn.functional import scaled_dot_product_attention

from neurarium.errors import InvalidValue, require
from neurarium.parts.initialization import xavier

SHORT = 256  # places whose weights are worth holding all at once


class Attended(NamedTuple):
    """What attention found, and where it looked."""

    outputs: Float[Tensor, "B *H T e"]
    weights: Float[Tensor, "B H T S"]


class Memory(NamedTuple):
    """What can be looked through: the keys and values of every head."""

    keys: Float[Tensor, "B H S d"]
    values: Float[Tensor, "B H S d"]

    def then(self, later: "Memory") -> "Memory":
        """This memory, and behind it what came later."""
        return Memory(torch.cat([self.keys, later.keys], 2), torch.cat([self.values, later.values], 2))


def attend(
    query: Float[Tensor, "B H T d"],
    key: Float[Tensor, "B H S d"],
    value: Float[Tensor, "B H S e"],
    *,
    mask: Bool[Tensor, "#B #H #T #S"] | None = None,
    dropout: float = 0.0,
) -> Attended:
    """Scaled dot-product attention, written out.

    Args:
        query: what is looked for.
        key: what there is.
        value: what is handed over.
        mask: True where a query may look.
        dropout: chance that a weight is left out of the mean (the weights returned are whole).

    >>> query, key = torch.tensor([[[[9.0, 0.0]]]]), torch.tensor([[[[9.0, 0.0], [0.0, 9.0]]]])
    >>> value = torch.tensor([[[[1.0], [5.0]]]])
    >>> attend(query, key, value).outputs.item()
    1.0
    >>> attend(query, key, value, mask=torch.tensor([[[[False, True]]]])).outputs.item()
    5.0
    """
    # E = Q Kᵀ / √d
    scores = query @ key.transpose(-2, -1) / sqrt(query.shape[-1])
    if mask is not None:
        # The lowest number, not −∞: a row of nothing else then has a gradient, and its weights become 0 below.
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    # A = softmax(E)
    weights = torch.softmax(scores, dim=-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    # O = A V
    return Attended(drop(weights, dropout) @ value, weights)


def attend_fast(
    query: Float[Tensor, "B H T d"],
    key: Float[Tensor, "B H S d"],
    value: Float[Tensor, "B H S e"],
    *,
    mask: Bool[Tensor, "#B #H #T #S"] | None = None,
    dropout: float = 0.0,
    causal: bool = False,
) -> Float[Tensor, "B H T e"]:
    """The outputs of `attend`, sooner: by PyTorch's own kernel, which never holds the weights of all queries at once.

    On a CPU that kernel goes back slowly in bfloat16; over few places plain products are then three to eight times as
    fast, and are used.

    Args:
        query: what is looked for.
        key: what there is.
        value: what is handed over.
        mask: True where a query may look.
        dropout: chance that a weight is left out of the mean.
        causal: query t sees keys up to t (for as many queries as keys, and no mask).
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and max(query.shape[-2], key.shape[-2]) <= SHORT:
        if mask is None:
            return _attend_short(query, key, value, causal=causal, dropout=dropout)
        return attend(query, key, value, mask=mask, dropout=dropout).outputs
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal)


def _attend_short(
    query: Float[Tensor, "B H T d"],
    key: Float[Tensor, "B H S d"],
    value: Float[Tensor, "B H S e"],
    *,
    causal: bool,
    dropout: float,
) -> Float[Tensor, "B H T e"]:
    # As `attend`, every query seeing a key: so what is hidden needs no more than a low score, added on the way.
    queries, keys = query.shape[-2], key.shape[-2]
    low = torch.full((queries, keys), torch.finfo(query.dtype).min if causal else 0.0, dtype=query.dtype)
    scaled, keys_down = (query / sqrt(query.shape[-1])).flatten(0, 1), key.flatten(0, 1).transpose(1, 2)
    weights = torch.softmax(torch.baddbmm(low.triu(keys - queries + 1), scaled, keys_down), dim=-1)
    return torch.bmm(drop(weights, dropout), value.flatten(0, 1)).unflatten(0, query.shape[:2])


def causal_mask(queries: int, keys: int, *, device: torch.device | None = None) -> Bool[Tensor, "T S"]:
    """True where a query may look if nothing sees what comes after it; the queries are the last of the keys.

    Raises:
        InvalidValue: more queries than keys.

    >>> causal_mask(2, 3).int()
    tensor([[1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    require(queries <= keys, f"{queries} queries cannot be the last of {keys} keys; causal needs at least as many keys")
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


class MultiHeadAttention(nn.Module):
    """Some heads side by side, each with its own queries, keys and values; their findings are mixed at the end.

    Args:
        width: D, of the queries and of what comes out.
        heads: number of heads H; each works with D / H numbers.
        memory_width: of what is looked through (default: D).
        dropout: chance in training that a weight is left out.
        bias: whether the projections have biases.

    Raises:
        InvalidValue: heads that do not divide the width, a dropout out of range; in use, inputs of another width.

    >>> attention = MultiHeadAttention(width=8, heads=2)
    >>> tokens = torch.rand(1, 5, 8)
    >>> attention(tokens).shape
    torch.Size([1, 5, 8])
    >>> attention.look(tokens, causal=True).weights[0, 0, 0].detach()  # the first sees itself alone
    tensor([1., 0., 0., 0., 0.])
    """

    def __init__(
        self, *, width: int, heads: int, memory_width: int | None = None, dropout: float = 0.0, bias: bool = True
    ) -> None:
        super().__init__()
        fits = heads >= 1 and width >= 1 and width % heads == 0
        require(fits, f"heads is {heads}, but must divide the width {width}; choose one of its divisors")
        require(0 <= dropout < 1, f"dropout is {dropout}; it must be at least 0 and below 1")
        self.width, self.heads, self.dropout = width, heads, dropout
        self.memory_width = width if memory_width is None else memory_width
        self.query = nn.Linear(width, width, bias=bias)
        self.memory = nn.Linear(self.memory_width, 2 * width, bias=bias)  # keys, then values
        self.output = nn.Linear(width, width, bias=bias)
        for weight in (self.query.weight, *self.memory.weight.chunk(2), self.output.weight):
            xavier(weight)
        for layer in (self.query, self.memory, self.output):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(
        self,
        queries: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S M"] | Memory | None = None,
        *,
        seen: Bool[Tensor, "B S"] | None = None,
        causal: bool = False,
        mask: Bool[Tensor, "#B T S"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """What the heads found.

        Args:
            queries: who looks.
            memory: what is looked through, as it is or made ready by `remember` (default: the queries themselves).
            seen: True for each key that holds something, False for padding (default: all).
            causal: nothing sees what comes after it; the queries are the last T of the S keys.
            mask: any further restriction, True where a query may look.
        """
        ready = self.remember(queries if memory is None else memory)
        query = self._queries(queries)
        plain = causal and seen is None and mask is None and query.shape[2] == ready.keys.shape[2]
        allowed = None if plain else _allowed(query, ready.keys, seen=seen, causal=causal, mask=mask)
        rate = self.dropout if self.training else 0.0
        found = attend_fast(query, ready.keys, ready.values, mask=allowed, dropout=rate, causal=plain)
        return self.output(found.transpose(1, 2).flatten(2))

    def look(
        self,
        queries: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S M"] | Memory | None = None,
        *,
        seen: Bool[Tensor, "B S"] | None = None,
        causal: bool = False,
        mask: Bool[Tensor, "#B T S"] | None = None,
    ) -> Attended:
        """The same as `forward`, written out, and with it the weights of every head."""
        ready = self.remember(queries if memory is None else memory)
        query = self._queries(queries)
        allowed = _allowed(query, ready.keys, seen=seen, causal=causal, mask=mask)
        rate = self.dropout if self.training else 0.0
        found, weights = attend(query, ready.keys, ready.values, mask=allowed, dropout=rate)
        return Attended(self.output(found.transpose(1, 2).flatten(2)), weights)

    def remember(self, memory: Float[Tensor, "B S M"] | Memory) -> Memory:
        """The keys and values of all heads. What will be looked through again need be made ready only once."""
        if isinstance(memory, Memory):
            return memory
        _check_width(memory, self.memory_width, "the memory is")
        # K = X W_K, V = X W_V
        keys, values = self.memory(memory).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return Memory(keys, values)

    def _queries(self, queries: Tensor) -> Tensor:
        _check_width(queries, self.width, "the queries are")
        # Q = X W_Q
        return self.query(queries).unflatten(2, (self.heads, -1)).transpose(1, 2)


def _check_width(tokens: Tensor, width: int, what: str) -> None:
    if tokens.ndim != 3 or tokens.shape[2] != width:
        raise InvalidValue(f"{what} {tuple(tokens.shape)}, but this attention was built for (B, T, {width})")


def _allowed(
    query: Tensor, keys: Tensor, *, seen: Tensor | None, causal: bool, mask: Tensor | None
) -> Bool[Tensor, "#B 1 #T S"] | None:
    """All restrictions as one, over all heads; None if there is none."""
    batch, _, queries, _ = query.shape
    count = keys.shape[2]
    parts = [causal_mask(queries, count, device=query.device)[None, None]] if causal else []
    if seen is not None:
        wanted = f"needs (B, S) = ({batch}, {count}), True for each key that is no padding"
        require(tuple(seen.shape) == (batch, count), f"seen is {tuple(seen.shape)}, but {wanted}")
        parts.append(seen[:, None, None])
    if mask is not None:
        fits = mask.ndim == 3 and mask.shape[0] in (1, batch) and tuple(mask.shape[1:]) == (queries, count)
        require(fits, f"the mask is {tuple(mask.shape)}, but needs ({batch} or 1, {queries}, {count})")
        parts.append(mask[:, None])
    if not parts:
        return None
    allowed = parts[0]
    for part in parts[1:]:
        allowed = allowed & part
    return allowed
