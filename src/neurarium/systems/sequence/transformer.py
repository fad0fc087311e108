r"""Transformer: a sequence is read all at once and written token by token, by attention alone.

The encoder's tokens look at each other; the decoder's look at those written before them and, through a second
attention, at all that was read. Nothing recurs, so a whole sequence is learned from in one parallel pass; order is in
the tokens, as waves of position. Writing keeps the keys and values of what was written, so that a token costs one step.

Source: Vaswani et al. 2017, Attention is all you need, §3.1 (stacks), §3.4 (tied embeddings, times √D), §3.5
(positions), eq. 3 (schedule), §5.4 (dropout of the sums); CSE 151B, Transformer Networks; CS 479 §31.2.
Differs: norm may stand before each part (Xiong et al. 2020), with one more after each stack; weights of attention and
hidden units are dropped out too, as later code does; the schedule rises to 1 and is told progress instead of steps.
Shapes: B pairs, S tokens of the longest source, T of the longest target, L blocks of the decoder, D width, H heads, K
tokens known.
"""

from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn, relu
from torch.nn.functional import dropout as drop
from torch.nn.functional import linear

from neurarium.errors import InvalidValue, require
from neurarium.parts.attention import Memory, MultiHeadAttention
from neurarium.parts.modes import evaluating
from neurarium.parts.positions import Positions
from neurarium.parts.schedules import Schedule, warm_up
from neurarium.parts.transformer import Block

LONGEST = 512  # tokens of a sequence
WARM_UP = 0.04  # of the training: 4,000 of the paper's 100,000 steps, §5.3


class Writing(NamedTuple):
    """Where the decoder stands: what was read and what it wrote, as the keys and values of every block.

    Attributes:
        memories: of the source, made ready once.
        mask: False where the source is padding.
        pasts: of what was written; None before the first token.
    """

    memories: tuple[Memory, ...]
    mask: Bool[Tensor, "B S"]
    pasts: tuple[Memory | None, ...]


class Transformer(nn.Module):
    """Encoder and decoder: a `learners.translate.Translator`.

    Args:
        tokens: how many are known, K, by both sides; one embedding serves both, and is the readout too.
        width: D, of every token.
        heads: of each attention.
        depth: blocks of the encoder, and as many of the decoder.
        hidden: units of the feed-forward networks (default: 4 D).
        dropout: chance in training that a weight of attention, a hidden unit, or a number of a sum is left out.
        norm: layer norm "after" each sum, as published, or "before" each part, which needs less care in learning.
        longest: tokens that a sequence may have; None for a network without positions.

    Raises:
        InvalidValue: sizes that fit nothing; in use, a sequence longer than the positions, or one of no tokens.

    >>> net = Transformer(tokens=10, width=16, heads=2, depth=2)
    >>> source, target = torch.tensor([[4, 5, 2], [6, 2, 0]]), torch.tensor([[1, 5, 4], [1, 6, 2]])
    >>> net(source, source != 0, target).shape
    torch.Size([2, 3, 10])
    """

    def __init__(
        self,
        *,
        tokens: int,
        width: int = 512,
        heads: int = 8,
        depth: int = 6,
        hidden: int | None = None,
        dropout: float = 0.1,
        norm: str = "after",
        longest: int | None = LONGEST,
    ) -> None:
        super().__init__()
        require(tokens >= 1, f"tokens is {tokens}; a transformer must know at least 1")
        require(depth >= 1, f"depth is {depth}; a transformer needs at least 1 block a side")
        self.width, self.dropout = width, dropout
        self.embedding = nn.Embedding(tokens, width)
        # σ = 1/√D: logits begin with variance 1, and an embedding times √D stands level with its position.
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.positions = None if longest is None else Positions(width=width, longest=longest)
        block = partial(Block, width=width, heads=heads, hidden=hidden, activation=relu, dropout=dropout, norm=norm)
        self.encoder = nn.ModuleList(block() for _ in range(depth))
        self.decoder = nn.ModuleList(block(memory_width=width) for _ in range(depth))
        self.encoder_norm = nn.LayerNorm(width) if norm == "before" else nn.Identity()
        self.decoder_norm = nn.LayerNorm(width) if norm == "before" else nn.Identity()

    def forward(
        self, source: Int64[Tensor, "B S"], mask: Bool[Tensor, "B S"], target: Int64[Tensor, "B T"]
    ) -> Float[Tensor, "B T K"]:
        """Logits of the token after each of the target's."""
        read, tokens = self.read(source, mask), self._embed(target)
        # A target's padding stands behind all that counts, so nothing that counts can see it.
        for block in self.decoder:
            tokens = block(tokens, read, causal=True, memory_seen=mask)
        return self._readout(tokens)

    def read(self, source: Int64[Tensor, "B S"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """The source after the encoder, each token by now knowing all the others."""
        tokens = self._embed(source)
        for block in self.encoder:
            tokens = block(tokens, seen=mask)
        return self.encoder_norm(tokens)

    def encode(self, source: Int64[Tensor, "B S"], mask: Bool[Tensor, "B S"]) -> Writing:
        """The state before the first token is written: the source, read and made ready for every block."""
        read = self.read(source, mask)
        memories = tuple(attention.remember(read) for attention in self._crossings())
        return Writing(memories, mask, (None,) * len(memories))

    def step(self, state: Writing, tokens: Int64[Tensor, " B"]) -> tuple[Float[Tensor, "B K"], Writing]:
        """One token further: logits of the next, and the state after."""
        first = state.pasts[0]
        written = 0 if first is None else first.keys.shape[2]
        now = self._embed(tokens.unsqueeze(1), start=written)
        pasts = []
        for block, memory, past in zip(self.decoder, state.memories, state.pasts, strict=True):
            assert isinstance(block, Block)
            now, past = block.step(now, past, memory, memory_seen=state.mask)
            pasts.append(past)
        return self._readout(now)[:, 0], state._replace(pasts=tuple(pasts))

    def look(
        self, source: Int64[Tensor, "B S"], mask: Bool[Tensor, "B S"], target: Int64[Tensor, "B T"]
    ) -> Float[Tensor, "L B H T S"]:
        """Where every head of every block of the decoder looks in the source before each token after the target's."""
        asked: list[Tensor] = []
        crossings = self._crossings()
        hooks = [each.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0])) for each in crossings]
        try:
            with evaluating(self):
                self(source, mask, target)
                read = self.read(source, mask)
                found = [each.look(one, read, seen=mask) for each, one in zip(crossings, asked, strict=True)]
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack([attended.weights for attended in found])

    def align(
        self, source: Int64[Tensor, "B S"], mask: Bool[Tensor, "B S"], target: Int64[Tensor, "B T"]
    ) -> Float[Tensor, "B T S"]:
        """The weights of the source's tokens before each token after the target's: the mean of all heads."""
        return self.look(source, mask, target).mean((0, 2))

    def _crossings(self) -> list[MultiHeadAttention]:
        return [block.cross for block in self.decoder if isinstance(block, Block) and block.cross is not None]

    def _embed(self, tokens: Tensor, *, start: int = 0) -> Tensor:
        if tokens.ndim != 2 or tokens.shape[1] == 0:
            raise InvalidValue(f"the tokens are {tuple(tokens.shape)}; a transformer takes (B, T), T at least 1")
        # x_t = √D E[y_t] + PE(t)
        vectors = self.width**0.5 * self.embedding(tokens)
        vectors = vectors if self.positions is None else self.positions(vectors, start=start)
        return drop(vectors, self.dropout, self.training)

    def _readout(self, tokens: Tensor) -> Tensor:
        # z = E x, with the E that embeds
        return linear(self.decoder_norm(tokens), self.embedding.weight)


def inverse_root(*, over: float = WARM_UP, start: float = 0.0) -> Schedule:
    """A straight rise to 1, then a fall as 1/√t: the paper's schedule, its highest rate at `lr`.

    Args:
        over: the part of the training that the rise takes, above 0 and below 1.
        start: where the rise begins.

    Raises:
        InvalidValue: a part or a start outside its range.

    >>> schedule = inverse_root(over=0.04)
    >>> [round(schedule(progress), 6) for progress in (0.0, 0.02, 0.04, 0.16, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.2]
    """

    def fall(rest: float) -> float:
        # η/η₀ = √(t_w / t)
        return float((over / (over + rest * (1 - over))) ** 0.5)

    # η = D^−½ min(t^−½, t · t_w^−3/2), which is largest at t_w
    return warm_up(fall, over=over, start=start)
