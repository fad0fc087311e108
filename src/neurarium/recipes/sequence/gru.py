"""The GRU on tasks that need a long memory: the adding problem, and a latch."""

from typing import Literal

from neurarium.recipes.sequence.lstm import KINDS, carry
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.sequence.gru import GRU


@recipe(
    expects=[
        Expect("mse", at_most=0.01),
        Expect("accuracy", at_least=0.99, given=dict(task="latch")),
    ],
    smoke=dict(steps=150, length=20, hidden=16),
    control=dict(shuffle_targets=True),
)
def gru(
    run: Run,
    *,
    task: Literal["adding", "latch"] = "adding",
    gates: Literal["both", "simple"] = "both",
    length: int = 200,
    steps: int = 800,
    batch: int = 64,
    lr: float = 1e-2,
    hidden: int = 32,
    spread: bool = True,
    shuffle_targets: bool = False,
) -> Result:
    """A GRU carries two numbers over two hundred steps, in its hidden units themselves.

    Of two hundred numbers two are marked, and only at the end is the network asked for their sum. Look at the gates:
    the update gate keeps nearly everything nearly always, and lets go at the marks, where the state steps up. The latch
    asks for one bit, given at the first step, after as much noise as you like.

    Args:
        task: adding (the sum of the two marked numbers) or latch (which bit came first).
        gates: both (update and reset, in PyTorch's kernel) or simple (one that mixes old and new).
        length: steps of a sequence.
        steps: updates.
        batch: sequences an update, each of them new.
        lr: learning rate at the start; it falls along a cosine.
        hidden: number of hidden units.
        spread: begin with memories of all time scales up to the length; else every gate begins about half open.
        shuffle_targets: learn from the answers to other sequences (the negative control).
    """
    kind = KINDS[task]
    memory = max(3, length) if spread else None
    net = GRU(inputs=kind.inputs, hidden=hidden, outputs=1, gates=gates, memory=memory)
    return carry(run, net, kind, length=length, steps=steps, batch=batch, lr=lr, shuffle_targets=shuffle_targets)
