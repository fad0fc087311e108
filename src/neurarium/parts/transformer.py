r"""The transformer's block: tokens exchange what they know by attention, then each thinks for itself.

Attention moves information between the tokens, a small network of two layers works on each of them alone; both stand
beside a path that keeps what was there. Encoders, decoders (causal, with a memory to look through), vision
transformers and language models are stacks of this one block.

Source: CS 479 §31.2; CSE 151B, Transformer Networks, ReZero (transformers); Vaswani et al. 2017, Attention is all you
need, §3.1 and §3.3, eq. 2; Xiong et al. 2020, On Layer Normalization in the Transformer Architecture, table 1 (norm
before or after); Bachlechner et al. 2021, ReZero is All You Need, §5 (no norm, one α for the parts of a block).
Differs: the activation is GELU unless another is passed, as it came to be after Vaswani et al.
Shapes: B batch, T tokens, S tokens of a memory, D width, M width of a memory, H heads.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import dropout as drop
from torch.nn.functional import gelu

from neurarium.errors import did_you_mean, require
from neurarium.parts.attention import Memory, MultiHeadAttention
from neurarium.parts.initialization import xavier
from neurarium.parts.residual import Add, MakeJoin

NORMS = ("before", "after", "none")
EXPANSION = 4  # hidden units of the feed-forward network for each of its inputs, Vaswani et al. 2017, §3.3
EVERY = slice(None)


class Looked(NamedTuple):
    """Tokens, and where each looked to become what it is."""

    tokens: Float[Tensor, "B T D"]
    weights: Float[Tensor, "B H T S"]


class FeedForward(nn.Module):
    """Two dense layers, the same for every token.

    Args:
        width: D, of inputs and outputs.
        hidden: units between.
        activation: elementwise, of the hidden units.
        dropout: chance in training that a hidden unit is left out.

    Raises:
        InvalidValue: no units, or a dropout out of range.

    >>> import torch
    >>> FeedForward(width=4, hidden=8)(torch.zeros(1, 3, 4)).shape
    torch.Size([1, 3, 4])
    """

    def __init__(
        self, *, width: int, hidden: int, activation: Callable[[Tensor], Tensor] = gelu, dropout: float = 0.0
    ) -> None:
        super().__init__()
        require(width >= 1 and hidden >= 1, f"width {width} and hidden {hidden}; a network needs 1 of both at least")
        require(0 <= dropout < 1, f"dropout is {dropout}; it must be at least 0 and below 1")
        self.activation, self.dropout = activation, dropout
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width)
        for layer in (self.inner, self.outer):
            xavier(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Each token, worked on alone."""
        # y = W₂ φ(W₁ x + b₁) + b₂
        return self.outer(drop(self.activation(self.inner(tokens)), self.dropout, self.training))


class Block(nn.Module):
    """Attention among the tokens, attention to a memory if there is one, and a feed-forward network.

    Args:
        width: D, of every token.
        heads: of attention.
        hidden: units of the feed-forward network (default: 4 D).
        memory_width: M of a memory that every block of a decoder looks through; None for a block without.
        activation: of the feed-forward network.
        dropout: chance in training that a weight of attention, a hidden unit or an output of a part is left out.
        norm: layer norm "before" each part, "after" each sum, or "none" (ReZero needs none).
        residual: builds what joins a part's input and output: Add, Replace or ReZero of parts/residual.py.

    Raises:
        InvalidValue: an unknown norm, or a width, heads or dropout that fit nothing; in use, a memory that is missing
            or too many.

    >>> import torch
    >>> block = Block(width=8, heads=2)
    >>> block(torch.rand(1, 5, 8)).shape
    torch.Size([1, 5, 8])
    >>> from neurarium.parts.residual import ReZero
    >>> tokens = torch.rand(1, 5, 8)
    >>> torch.equal(Block(width=8, heads=2, norm="none", residual=ReZero)(tokens), tokens)
    True
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        hidden: int | None = None,
        memory_width: int | None = None,
        activation: Callable[[Tensor], Tensor] = gelu,
        dropout: float = 0.0,
        norm: str = "before",
        residual: MakeJoin = Add,
    ) -> None:
        super().__init__()
        require(norm in NORMS, f"norm is '{norm}'; {did_you_mean(norm, NORMS)}")
        self.norm, self.dropout = norm, dropout
        self.attention = MultiHeadAttention(width=width, heads=heads, dropout=dropout)
        self.feed = FeedForward(width=width, hidden=hidden or EXPANSION * width, activation=activation, dropout=dropout)
        self.join = residual()
        self.attention_norm, self.feed_norm = self._norm(width), self._norm(width)
        self.cross: MultiHeadAttention | None = None
        if memory_width is not None:
            self.cross = MultiHeadAttention(width=width, heads=heads, memory_width=memory_width, dropout=dropout)
            self.cross_norm = self._norm(width)

    def forward(
        self,
        tokens: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S M"] | Memory | None = None,
        *,
        seen: Bool[Tensor, "B T"] | None = None,
        causal: bool = False,
        memory_seen: Bool[Tensor, "B S"] | None = None,
        mask: Bool[Tensor, "#B T T"] | None = None,
        asked: slice = EVERY,
    ) -> Float[Tensor, "B asked D"]:
        """The tokens after the block.

        Args:
            tokens: to work on.
            memory: to look through, as it is or made ready by `cross.remember`.
            seen: True for each token that is no padding.
            causal: no token sees those after it.
            memory_seen: the same as `seen`, for the memory.
            mask: any further restriction, True where a token may look at another.
            asked: the tokens wanted; the others are only looked at. With `causal` they must be the last.
        """
        ready = self._before(self.attention_norm, tokens)
        found = self.attention(ready[:, asked], ready, seen=seen, causal=causal, mask=mask)
        return self._rest(self._after(self.attention_norm, tokens[:, asked], found), memory, memory_seen)

    def look(
        self,
        tokens: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S M"] | Memory | None = None,
        *,
        seen: Bool[Tensor, "B T"] | None = None,
        causal: bool = False,
        memory_seen: Bool[Tensor, "B S"] | None = None,
        mask: Bool[Tensor, "#B T T"] | None = None,
    ) -> Looked:
        """The same as `forward`, and with it the weights with which the tokens looked at each other."""
        ready = self._before(self.attention_norm, tokens)
        found, weights = self.attention.look(ready, seen=seen, causal=causal, mask=mask)
        return Looked(self._rest(self._after(self.attention_norm, tokens, found), memory, memory_seen), weights)

    def step(
        self,
        tokens: Float[Tensor, "B T D"],
        past: Memory | None,
        memory: Float[Tensor, "B S M"] | Memory | None = None,
        *,
        memory_seen: Bool[Tensor, "B S"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], Memory]:
        """Some more tokens of a causal stack, those before them known by their keys and values alone.

        Args:
            tokens: that come next.
            past: what the step before returned; None at the start.
            memory: to look through.
            memory_seen: True for each token of it that is no padding.

        Returns:
            The tokens after the block, and the past for the next step.
        """
        ready = self._before(self.attention_norm, tokens)
        now = self.attention.remember(ready)
        now = past.then(now) if past is not None else now
        found = self.attention(ready, now, causal=True)
        return self._rest(self._after(self.attention_norm, tokens, found), memory, memory_seen), now

    def _rest(self, tokens: Tensor, memory: Tensor | Memory | None, memory_seen: Tensor | None) -> Tensor:
        needs = "needs a memory to look through" if self.cross else "has no memory; build it with memory_width="
        require((self.cross is None) == (memory is None), f"this block {needs}")
        if self.cross is not None:
            found = self.cross(self._before(self.cross_norm, tokens), memory, seen=memory_seen)
            tokens = self._after(self.cross_norm, tokens, found)
        return self._after(self.feed_norm, tokens, self.feed(self._before(self.feed_norm, tokens)))

    def _norm(self, width: int) -> nn.Module:
        return nn.Identity() if self.norm == "none" else nn.LayerNorm(width)

    def _before(self, norm: nn.Module, tokens: Tensor) -> Tensor:
        return norm(tokens) if self.norm == "before" else tokens

    def _after(self, norm: nn.Module, tokens: Tensor, found: Tensor) -> Tensor:
        # before: x + F(norm(x));  after: norm(x + F(x));  none: x + α F(x)
        joined = self.join(tokens, drop(found, self.dropout, self.training))
        return norm(joined) if self.norm == "after" else joined
