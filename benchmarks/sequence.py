"""Training an LSTM as a language model: ours through `fit`, against nn.LSTM in a plain loop."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.harness import Benchmark
from neurarium.data.sequences import Endless
from neurarium.learners.sequence import ThroughTime
from neurarium.parts.bundles import Sequences
from neurarium.running.devices import keep_freed_memory
from neurarium.running.run import Run
from neurarium.running.settings import Settings
from neurarium.systems.sequence.lstm import LSTM

SYMBOLS = 65  # as many as tinyshakespeare has
WIDTH = 128
WINDOW = 64  # characters an update, of each sequence
STEPS = 300  # so that what a run costs once (a checkpoint, a trace) is as small a part as in a real one
BATCH = 32


class Plain(nn.Module):
    """What most tutorials write: nn.LSTM and a linear layer."""

    def __init__(self, *, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True)
        self.readout = nn.Linear(hidden, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs at every step."""
        outputs: Tensor = self.readout(self.lstm(inputs)[0])
        return outputs


def through_fit(learner: ThroughTime, draw: Callable[[torch.Generator], Sequences], steps: int) -> None:
    """Ours: with trace, progress and the checkpoint at the end, as `neurarium train` would."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        run = Run(Path(folder), Settings(), Console(file=nowhere))
        stream: Endless[Sequences] = Endless(draw, torch.Generator().manual_seed(0))
        run.fit(learner, stream, steps=steps)


def characters(generator: torch.Generator) -> Sequences:
    """Random symbols, one-hot, and the symbol after each: a language model's batch, whatever the language."""
    symbols = torch.randint(SYMBOLS, (BATCH, WINDOW + 1), generator=generator)
    inputs = nn.functional.one_hot(symbols[:, :-1], SYMBOLS).float()
    return Sequences(inputs, symbols[:, 1:], torch.ones(BATCH, WINDOW, dtype=torch.bool))


def language_ours() -> Callable[[], float]:
    """A character model through `fit`."""

    def work() -> float:
        net = LSTM(inputs=SYMBOLS, hidden=WIDTH, outputs=SYMBOLS)
        learner = ThroughTime(net, objective=nn.CrossEntropyLoss(reduction="none"), clip=1.0, lr=2e-3)
        through_fit(learner, characters, STEPS)
        return STEPS * BATCH * WINDOW

    return work


def language_peer() -> Callable[[], float]:
    """A character model in a plain loop."""

    def work() -> float:
        net, generator = Plain(inputs=SYMBOLS, hidden=WIDTH, outputs=SYMBOLS), torch.Generator().manual_seed(0)
        optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
        for _ in range(STEPS):
            batch = characters(generator)
            optimizer.zero_grad()
            cross_entropy(net(batch.inputs).flatten(0, 1), batch.targets.flatten()).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        return STEPS * BATCH * WINDOW

    return work


def language_benchmark() -> Benchmark:
    """LSTM of 128 units over 65 symbols, windows of 64, batch 32."""
    work = (
        f"train an LSTM ({WIDTH} units, {SYMBOLS} symbols) to predict the next character, windows of {WINDOW}, batch "
        f"{BATCH}, {STEPS} updates by Adam, gradients clipped; ours with trace, progress, checkpoint"
    )
    peer = "nn.LSTM in a plain loop"
    return Benchmark("lstm_language_model", work, "characters", language_ours, language_peer, peer, 1.0)


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {
    "lstm_language_model": language_benchmark,
}
