r"""Blocks: many steps of a simulation in one compiled call.

A step of a thousand neurons is some fifty small operations, and calling each takes longer than doing it.
`torch.compile` makes one program of them, and of ten steps in a row one call, which is many times as fast. The rule
stays the same and so does what it computes, but for the last digits; compiling takes seconds to a minute, once for
every shape.

Shapes: B batch, T time steps, K steps of a block, N neurons. Units: s.
"""

from collections.abc import Callable
from typing import Any, Generic

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.simulation import Probe, Rule, Simulated, StateT, simulate

STEPS = 10  # a block: more compile longer and gain little
# All steps in one loop over the neurons, else most is computed twice.
OPTIONS: dict[str, str | int | bool | Callable[..., Any]] = {"max_fusion_size": 4000}


def several(rule: Rule[StateT, Tensor, Tensor]) -> Rule[StateT, Tensor, Tensor]:
    """The rule for the inputs (B, K, N) of K steps at once, made of the rule for one; it shows (B, K, ...).

    >>> shown, state = several(lambda total, value: (2 * total, total + value))(torch.zeros(1, 1), torch.ones(1, 3, 1))
    >>> shown.flatten().tolist(), state.item()
    ([0.0, 2.0, 4.0], 3.0)
    """

    def block(state: StateT, inputs: Tensor) -> tuple[Tensor, StateT]:
        shown = []
        for given in inputs.unbind(1):
            output, state = rule(state, given)
            shown.append(output)
        return torch.stack(shown, dim=1), state

    return block


class Blocks(Generic[StateT]):
    """Simulates a rule whose inputs and outputs are tensors, a block of compiled steps at a time or step by step.

    Args:
        rule: makes a step.
        compiled: whether to compile; if not, this is `simulate`.
        steps: K, in a block. What is left over at the end is made step by step.

    Raises:
        InvalidValue: a block without a step.

    >>> leak = lambda voltage, current: (voltage, voltage + 0.5 * (current - voltage))
    >>> done = Blocks(leak).simulate(torch.zeros(1, 1), torch.ones(1, 4, 1), keep=True)
    >>> done.kept["shown"].flatten().tolist(), done.state.item()
    ([0.0, 0.5, 0.75, 0.875], 0.9375)
    """

    def __init__(self, rule: Rule[StateT, Tensor, Tensor], *, compiled: bool = False, steps: int = STEPS) -> None:
        require(steps >= 1, f"steps is {steps}, but a block needs at least 1")
        self.rule, self.compiled, self.steps = rule, compiled, steps
        # Compiled at the first call, not here.
        self.block: Callable[..., Any] = torch.compile(several(rule), fullgraph=True, dynamic=False, options=OPTIONS)

    def simulate(
        self, state: StateT, inputs: Float[Tensor, "B T N"], *, keep: bool = False, dt: float | None = None
    ) -> Simulated[StateT]:
        """Run the rule over its inputs.

        Args:
            state: before the first step.
            inputs: of every step.
            keep: whether to keep what every step showed, as "shown" (B, T, ...).
            dt: length of a step in s, only to say when something went wrong.

        Raises:
            InvalidValue: there is no step.
            NotFinite: the state became NaN or infinite.
        """
        require(inputs.shape[1] > 0, "there is no step to simulate; give inputs for at least one")
        whole = inputs.shape[1] // self.steps * self.steps if self.compiled else 0
        probes: dict[str, Probe[Tensor, StateT]] = {"shown": Probe(lambda shown, _: shown)} if keep else {}
        kept = []
        if whole:
            length = None if dt is None else dt * self.steps
            done = simulate(self.block, state, inputs[:, :whole].split(self.steps, dim=1), probes=probes, dt=length)
            state, kept = done.state, [value.flatten(1, 2) for value in done.kept.values()]
        if whole < inputs.shape[1]:
            done = simulate(self.rule, state, inputs[:, whole:].unbind(1), probes=probes, dt=dt)
            state, kept = done.state, [*kept, *done.kept.values()]
        return Simulated(state, {"shown": torch.cat(kept, dim=1)} if keep else {})
