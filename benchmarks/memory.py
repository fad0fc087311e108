"""Training a Neural Turing Machine: ours through `fit`, against one written straight from the equations."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_similarity, softplus

from benchmarks.harness import Benchmark
from benchmarks.sequence import through_fit
from neurarium.data.algorithms import copy
from neurarium.learners.sequence import ThroughTime
from neurarium.systems.sequence.neural_turing_machine import NeuralTuringMachine

BITS, LENGTH, BATCH = 8, 20, 16
UNITS, ROWS, WIDTH = 100, 128, 20
CLIP, LR = 1.0, 1e-3
STEPS = 60

draw = partial(copy, count=BATCH, least=LENGTH, most=LENGTH, bits=BITS)


class Head(nn.Module):
    """A head as most implementations write it: a layer for each parameter, the equations in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.key, self.strength, self.gate = nn.Linear(UNITS, WIDTH), nn.Linear(UNITS, 1), nn.Linear(UNITS, 1)
        self.shift, self.power = nn.Linear(UNITS, 3), nn.Linear(UNITS, 1)
        self.erase, self.add = nn.Linear(UNITS, WIDTH), nn.Linear(UNITS, WIDTH)

    def address(self, hidden: Tensor, memory: Tensor, before: Tensor) -> Tensor:
        """Where the head looks."""
        likeness = cosine_similarity(memory, self.key(hidden).unsqueeze(1), dim=2)
        content = torch.softmax(softplus(self.strength(hidden)) * likeness, dim=1)
        gate = torch.sigmoid(self.gate(hidden))
        blended = gate * content + (1 - gate) * before
        shifts = torch.softmax(self.shift(hidden), dim=1)
        moved = sum(shifts[:, [place]] * blended.roll(place - 1, dims=1) for place in range(3))
        sharp = (moved + 1e-16) ** (1 + softplus(self.power(hidden)))
        return sharp / sharp.sum(dim=1, keepdim=True)


class Plain(nn.Module):
    """A reading head, a writing head and an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.controller = nn.LSTMCell(BITS + 1 + WIDTH, UNITS)
        self.reader, self.writer = Head(), Head()
        self.readout = nn.Linear(UNITS + WIDTH, BITS)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs at every step."""
        batch = inputs.shape[0]
        memory, read = inputs.new_full((batch, ROWS, WIDTH), 1e-6), inputs.new_zeros(batch, WIDTH)
        start = inputs.new_zeros(batch, ROWS)
        start[:, 0] = 1
        reads, writes = start, start
        hidden, cells = inputs.new_zeros(batch, UNITS), inputs.new_zeros(batch, UNITS)
        outputs = []
        for step in inputs.unbind(1):
            hidden, cells = self.controller(torch.cat([step, read], dim=1), (hidden, cells))
            reads, writes = self.reader.address(hidden, memory, reads), self.writer.address(hidden, memory, writes)
            read = torch.bmm(reads.unsqueeze(1), memory).squeeze(1)
            erase, add = torch.sigmoid(self.writer.erase(hidden)), self.writer.add(hidden)
            where = writes.unsqueeze(2)
            memory = memory * (1 - where * erase.unsqueeze(1)) + where * add.unsqueeze(1)
            outputs.append(self.readout(torch.cat([hidden, read], dim=1)))
        return torch.stack(outputs, dim=1)


def ours() -> Callable[[], float]:
    """Through `fit`."""

    def work() -> float:
        net = NeuralTuringMachine(inputs=BITS + 1, outputs=BITS, units=UNITS, rows=ROWS, width=WIDTH)
        learner = ThroughTime(net, targets="some", clip=CLIP, lr=LR)
        through_fit(learner, draw, STEPS)
        return STEPS

    return work


def peer() -> Callable[[], float]:
    """In a plain loop."""

    def work() -> float:
        net, generator = Plain(), torch.Generator().manual_seed(0)
        optimizer = torch.optim.Adam(net.parameters(), lr=LR)
        for _ in range(STEPS):
            inputs, targets, mask = draw(generator)
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(net(inputs)[mask], targets[mask]).backward()
            nn.utils.clip_grad_norm_(net.parameters(), CLIP)
            optimizer.step()
        return STEPS

    return work


def copy_benchmark() -> Benchmark:
    """Copying 20 vectors, memory of 128 rows of 20, batch 16."""
    work = (
        f"train a Neural Turing Machine (LSTM of {UNITS}, one reading and one writing head, memory {ROWS} by {WIDTH}) "
        f"to copy {LENGTH} vectors of {BITS} bits, batch {BATCH}, {STEPS} updates by Adam, gradients clipped; ours "
        "with trace, progress, checkpoint"
    )
    return Benchmark("neural_turing_machine", work, "updates", ours, peer, "the equations in eager PyTorch", 3.0)


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {"neural_turing_machine": copy_benchmark}
