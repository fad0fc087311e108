r"""Character language models: networks that read a text, and can go on writing it.

What comes next? Whoever can say how likely each character is knows spelling, words and something of what they mean, and
can write: draw a character, read it as if it had stood there, draw the next. Two kinds of network answer here. A
recurrent one (LSTM, GRU, minGRU) carries a state from character to character, of fixed size whatever the length. A
transformer looks back at every character of a window; while it writes, it keeps the keys and values of what it has
read, so that each new character is worked on alone. Either way a character costs the same wherever it stands.

Source: CSE 151B, Uses (use RNNs to generate data), Transformer Networks; CS 479 §18, §31; Elman 1990, Finding structure
in time (letters in words); Graves 2013, Generating sequences with recurrent neural networks, §2 and §3 (the network and
its sampling); Vaswani et al. 2017, Attention is all you need, §3 (its decoder, with no memory to look through); Xiong
et al. 2020, On Layer Normalization in the Transformer Architecture, §3 (norm before each part, one at the end).
Differs: recurrent layers above the first add to what they are given, and the readout sees the last alone; a transformer
that has filled its window forgets the older half and reads the rest anew (at most two characters' work for each
written, on the mean of them), since its positions begin at the window's start.
Shapes: B texts, T places, S places read before, K known characters, D width, H heads.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from neurarium.errors import require
from neurarium.parts.attention import Memory
from neurarium.parts.gates import LSTMCell, fused
from neurarium.parts.positions import Positions
from neurarium.parts.recurrence import Cell
from neurarium.parts.transformer import Block

READOUT_SCALE = 0.02  # of the readout's first weights: all characters nearly equally likely, the first loss ln K


@runtime_checkable
class MakeCell(Protocol):
    """Builds a recurrent cell: LSTMCell, GRUCell or MinGRUCell."""

    def __call__(self, *, inputs: int, hidden: int) -> nn.Module: ...


class RecurrentText(nn.Module):
    """A recurrent language model: what has been read stands in the state of its layers.

    Args:
        symbols: known characters K.
        width: D, hidden units of a layer.
        layers: number of layers; each above the first adds to what the one below says.
        embedded: numbers that stand for a character.
        cell: builds the cell of a layer.
        unroll: how cells are run over a whole text: `gates.fused` for LSTM and GRU, `scan.in_parallel` for minGRU,
            `recurrence.step_by_step` for any.

    Raises:
        InvalidValue: a size below 1; in use, texts without a character.

    >>> net = RecurrentText(symbols=5, width=8)
    >>> tokens = torch.tensor([[1, 4, 2]])
    >>> logits, state = net.step(net.begin(1), tokens[:, 0])
    >>> bool(torch.allclose(logits, net(tokens)[:, 0], atol=1e-6))
    True
    """

    def __init__(
        self,
        *,
        symbols: int,
        width: int,
        layers: int = 1,
        embedded: int = 64,
        cell: MakeCell = LSTMCell,
        unroll: Callable[..., Any] = fused,
    ) -> None:
        super().__init__()
        check_sizes({"symbols": symbols, "width": width, "layers": layers, "embedded": embedded})
        self.unroll = unroll
        self.embedding = nn.Embedding(symbols, embedded)
        widths = [embedded, *[width] * (layers - 1)]
        self.layers = nn.ModuleList(cell(inputs=inputs, hidden=width) for inputs in widths)
        self.readout = readout(width, symbols)

    def forward(self, tokens: Int64[Tensor, "B T"]) -> Float[Tensor, "B T K"]:
        """The logits of what comes after each character."""
        hidden = self.embedding(tokens)
        for place, cell in enumerate(self._cells()):
            found = self.unroll(cell, hidden)[0]
            hidden = hidden + found if place else found
        return self.readout(hidden)

    def begin(self, count: int) -> tuple[Any, ...]:
        """The state of so many texts before their first character: zeros."""
        nothing = self.embedding.weight.new_zeros(count, 1, self.embedding.embedding_dim)
        wide = self.readout.weight.new_zeros(count, 1, self.readout.in_features)
        return tuple(cell.begin(wide if place else nothing, None) for place, cell in enumerate(self._cells()))

    def step(self, state: tuple[Any, ...], tokens: Int64[Tensor, " B"]) -> tuple[Float[Tensor, "B K"], tuple[Any, ...]]:
        """The logits of what comes after one more character of each text, and the state then."""
        hidden, states = self.embedding(tokens), []
        for place, (cell, carried) in enumerate(zip(self._cells(), state, strict=True)):
            found, carried = cell.advance(cell.project(hidden), carried)
            hidden = hidden + found if place else found
            states.append(carried)
        return self.readout(hidden), tuple(states)

    def _cells(self) -> list[Cell[Any]]:
        return [cast(Cell[Any], layer) for layer in self.layers]


class Past(NamedTuple):
    """What a transformer has read: the characters in its window, and their keys and values in every block."""

    tokens: Int64[Tensor, "B S"]
    memories: tuple[Memory, ...]


class TransformerText(nn.Module):
    """A transformer as a language model: what has been read stands in a window that every place looks back into.

    Args:
        symbols: known characters K.
        width: D, of every character.
        layers: number of blocks.
        heads: of attention H.
        length: places of the window.
        dropout: chance in training that a number is left out, in every block.

    Raises:
        InvalidValue: a size below 1, a width that is odd or no multiple of the heads; in use, a text longer than the
            window.

    >>> net = TransformerText(symbols=5, width=8, layers=1, heads=2, length=4)
    >>> tokens, state = torch.tensor([[1, 4, 2]]), net.begin(1)
    >>> for token in tokens.unbind(1):
    ...     logits, state = net.step(state, token)
    >>> bool(torch.allclose(logits, net(tokens)[:, -1], atol=1e-6))
    True
    """

    def __init__(
        self, *, symbols: int, width: int, layers: int = 4, heads: int = 4, length: int = 64, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_sizes({"symbols": symbols, "width": width, "layers": layers, "heads": heads, "length": length})
        self.width, self.heads, self.length = width, heads, length
        self.embedding = nn.Embedding(symbols, width)
        self.positions = Positions(width=width, longest=length)
        self.blocks = nn.ModuleList(Block(width=width, heads=heads, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.readout = readout(width, symbols)

    def forward(self, tokens: Int64[Tensor, "B T"]) -> Float[Tensor, "B T K"]:
        """The logits of what comes after each character."""
        hidden = self.positions(self.embedding(tokens))
        for block in self._blocks():
            hidden = block(hidden, causal=True)
        return self.readout(self.norm(hidden))

    def begin(self, count: int) -> Past:
        """The state of so many texts before their first character: an empty window."""
        weight = self.embedding.weight
        nothing = weight.new_zeros(count, self.heads, 0, self.width // self.heads)
        tokens = torch.zeros(count, 0, dtype=torch.int64, device=weight.device)
        return Past(tokens, (Memory(nothing, nothing),) * len(self.blocks))

    def step(self, state: Past, tokens: Int64[Tensor, " B"]) -> tuple[Float[Tensor, "B K"], Past]:
        """The logits of what comes after one more character of each text, and the state then."""
        if state.tokens.shape[1] == self.length:
            state = self._halved(state)
        hidden, state = self._read(state, tokens.unsqueeze(1))
        return self.readout(self.norm(hidden[:, -1])), state

    def _halved(self, state: Past) -> Past:
        # Every place has moved, so what is kept must be read again; that happens once in length/2 characters.
        kept = state.tokens[:, self.length - self.length // 2 :]
        empty = self.begin(kept.shape[0])
        return self._read(empty, kept)[1] if kept.shape[1] else empty

    def _read(self, past: Past, tokens: Int64[Tensor, "B T"]) -> tuple[Float[Tensor, "B T D"], Past]:
        hidden = self.positions(self.embedding(tokens), start=past.tokens.shape[1])
        memories = []
        for block, memory in zip(self._blocks(), past.memories, strict=True):
            hidden, memory = block.step(hidden, memory)
            memories.append(memory)
        return hidden, Past(torch.cat([past.tokens, tokens], dim=1), tuple(memories))

    def _blocks(self) -> list[Block]:
        return [cast(Block, block) for block in self.blocks]


def readout(width: int, symbols: int) -> nn.Linear:
    """The layer that says how likely each character is; at first it hardly prefers any.

    >>> _ = torch.manual_seed(0)
    >>> bool(readout(64, 8)(torch.randn(9, 64)).softmax(1).max() < 0.25)
    True
    """
    layer = nn.Linear(width, symbols)
    nn.init.normal_(layer.weight, std=READOUT_SCALE)
    nn.init.zeros_(layer.bias)
    return layer


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Refuse sizes below 1, given by name.

    Raises:
        InvalidValue: says which.
    """
    for name, size in sizes.items():
        require(size >= 1, f"{name} is {size}; it must be at least 1")
