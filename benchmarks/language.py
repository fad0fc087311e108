"""Training language models: ours through `fit`, against a plain loop in the manner of nanoGPT, and one of nn.LSTM."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention

from benchmarks.harness import Benchmark
from neurarium.data.text import Alphabet, Windows
from neurarium.learners.language import NextToken
from neurarium.parts.optimizers import adamw
from neurarium.parts.schedules import cosine, warm_up
from neurarium.running.devices import keep_freed_memory
from neurarium.running.run import Run
from neurarium.running.settings import Settings
from neurarium.systems.sequence.char_language_model import RecurrentText, TransformerText

ALPHABET = Alphabet("".join(chr(ord("0") + number) for number in range(65)))  # as many as tinyshakespeare has
CHARACTERS = 1_000_000  # of the text, random: speed does not ask what it says
LAYERS, HEADS, WIDTH, LENGTH = 4, 4, 128, 64  # nanoGPT's own sizes for a CPU (config/train_shakespeare_char.py)
BATCH = 12
STEPS = 200  # so that what a run costs once (a checkpoint, a trace) is as small a part as in a real one
LSTM_WIDTH, LSTM_BATCH, EMBEDDED = 128, 32, 64
LSTM_STEPS = 200
RATE = 1e-3
TRANSFORMER = (
    f"train a transformer language model ({LAYERS} blocks, width {WIDTH}, {HEADS} heads, windows of {LENGTH}, batch "
    f"{BATCH}), {STEPS} updates by AdamW, gradients clipped"
)


def text() -> Tensor:
    """Random characters."""
    return torch.randint(len(ALPHABET), (CHARACTERS,), generator=torch.Generator().manual_seed(0))


def through_fit(model: nn.Module, *, count: int, steps: int, settings: Settings) -> Callable[[], float]:
    """Ours: with trace, progress and the checkpoint at the end, as `neurarium train` would."""
    keep_freed_memory()
    tokens = text()

    def work() -> float:
        learner = NextToken(model, coder=ALPHABET, optimizer=adamw, lr=RATE, schedule=warm_up(cosine))
        stream = Windows(tokens, length=LENGTH, count=count, generator=torch.Generator().manual_seed(0))
        with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
            Run(Path(folder), settings, Console(file=nowhere)).fit(learner, stream, steps=steps)
        return steps * count * LENGTH

    return work


def in_a_loop(model: nn.Module, *, count: int, steps: int) -> Callable[[], float]:
    """The peer's: batches, forward, backward, clip, AdamW, a look at the loss now and then."""
    keep_freed_memory()
    data = text().numpy().astype(np.uint16)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            places = torch.randint(len(data) - LENGTH, (count,)).tolist()
            yield (
                torch.stack([torch.from_numpy(data[at : at + LENGTH].astype(np.int64)) for at in places]),
                torch.stack([torch.from_numpy(data[at + 1 : at + 1 + LENGTH].astype(np.int64)) for at in places]),
            )

    def work() -> float:
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
        for step, (inputs, targets) in zip(range(steps), batches(), strict=False):
            optimizer.zero_grad(set_to_none=True)
            loss = cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % 10 == 0:
                loss.item()
        return steps * count * LENGTH

    return work


class PlainBlock(nn.Module):
    """A block as nanoGPT writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.feed_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.all = nn.Linear(WIDTH, 3 * WIDTH)
        self.output = nn.Linear(WIDTH, WIDTH)
        self.inner, self.outer = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, hidden: Tensor) -> Tensor:
        """The tokens after the block."""
        parts = self.all(self.attention_norm(hidden)).split(WIDTH, dim=2)
        query, key, value = (part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in parts)
        found = scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.output(found.transpose(1, 2).flatten(2))
        grown: Tensor = hidden + self.outer(gelu(self.inner(self.feed_norm(hidden))))
        return grown


class PlainGPT(nn.Module):
    """A GPT as nanoGPT writes it: learned positions, the readout's weights those of the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(len(ALPHABET), WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.Sequential(*(PlainBlock() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.readout = nn.Linear(WIDTH, len(ALPHABET), bias=False)
        self.readout.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits at every place."""
        hidden = self.embedding(tokens) + self.positions(torch.arange(tokens.shape[1]))
        logits: Tensor = self.readout(self.norm(self.blocks(hidden)))
        return logits


class PlainLSTM(nn.Module):
    """What most tutorials write: nn.Embedding, nn.LSTM and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(ALPHABET), EMBEDDED)
        self.lstm = nn.LSTM(EMBEDDED, LSTM_WIDTH, batch_first=True)
        self.readout = nn.Linear(LSTM_WIDTH, len(ALPHABET))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits at every place."""
        logits: Tensor = self.readout(self.lstm(self.embedding(tokens))[0])
        return logits


def transformer_ours(precision: Any = "bfloat16") -> Callable[[], float]:
    """Our transformer through `fit`, as `neurarium train --precision bfloat16`."""
    model = TransformerText(symbols=len(ALPHABET), width=WIDTH, layers=LAYERS, heads=HEADS, length=LENGTH)
    return through_fit(model, count=BATCH, steps=STEPS, settings=Settings(precision=precision))


def transformer_exact() -> Callable[[], float]:
    """The same in float32."""
    return transformer_ours("float32")


def transformer_peer() -> Callable[[], float]:
    """The form of nanoGPT, in a plain loop."""
    return in_a_loop(PlainGPT(), count=BATCH, steps=STEPS)


def lstm_ours() -> Callable[[], float]:
    """Our LSTM through `fit`."""
    model = RecurrentText(symbols=len(ALPHABET), width=LSTM_WIDTH, embedded=EMBEDDED)
    return through_fit(model, count=LSTM_BATCH, steps=LSTM_STEPS, settings=Settings())


def lstm_peer() -> Callable[[], float]:
    """A plain loop."""
    return in_a_loop(PlainLSTM(), count=LSTM_BATCH, steps=LSTM_STEPS)


def transformer_benchmark() -> Benchmark:
    """The sizes of nanoGPT's recipe for a CPU, ours in bfloat16."""
    work = f"{TRANSFORMER}; ours in bfloat16 with trace, progress, checkpoint"
    peer = "nanoGPT's form in a plain float32 loop"
    return Benchmark("transformer_language_model", work, "characters", transformer_ours, transformer_peer, peer, 1.3)


def exact_benchmark() -> Benchmark:
    """The same, ours in float32 too: what is gained without any loss of precision."""
    work = f"{TRANSFORMER}; both in float32, ours with trace, progress, checkpoint"
    peer = "nanoGPT's form in a plain float32 loop"
    return Benchmark("transformer_float32", work, "characters", transformer_exact, transformer_peer, peer, 1.0)


def lstm_benchmark() -> Benchmark:
    """LSTM of 128 units over an embedding of 65 characters."""
    work = (
        f"train an LSTM language model ({LSTM_WIDTH} units, {EMBEDDED} numbers a character, windows of {LENGTH}, batch "
        f"{LSTM_BATCH}), {LSTM_STEPS} updates by AdamW, gradients clipped; ours with trace, progress, checkpoint"
    )
    peer = "nn.LSTM in a plain loop"
    return Benchmark("lstm_characters", work, "characters", lstm_ours, lstm_peer, peer, 1.0)


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {
    "transformer_language_model": transformer_benchmark,
    "transformer_float32": exact_benchmark,
    "lstm_characters": lstm_benchmark,
}
