r"""Simulation: state in, current in, state out, step after step, and probes that keep what is asked for.

A rule makes one step: from the state and the input of a step it gives what the step shows (its output) and the state
after it. Any number of neurons in any batch are one tensor. A probe reads something of a step at the interval asked
for; nothing else is kept, so that a long simulation needs no more memory than what one wants to see of it.

Source: Dayan & Abbott 2001, Theoretical Neuroscience, §5.11 (appendix: integrating the membrane potential, exponential
Euler); Hairer, Nørsett & Wanner 1993, Solving Ordinary Differential Equations I, §II.1 (Runge's and Kutta's rules).
Shapes: B batch, T time steps, K steps kept. Units: s.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import InvalidValue, NotFinite, require

StateT = TypeVar("StateT")
OutputT = TypeVar("OutputT")
InputT = TypeVar("InputT")

Rule = Callable[[StateT, InputT], tuple[OutputT, StateT]]
"""One step: the state before it and its input; what it shows and the state after it."""

CHECKED = 100  # steps between two looks for values that are not finite


@dataclass(frozen=True)
class Probe(Generic[OutputT, StateT]):
    """What is kept of a simulation.

    Attributes:
        read: of a step.
        every: steps between two readings; the first is after so many steps.

    Raises:
        InvalidValue: an interval below 1.
    """

    read: Callable[[OutputT, StateT], Tensor]
    every: int = 1

    def __post_init__(self) -> None:
        require(self.every >= 1, f"a probe reads every {self.every} steps; the interval must be at least 1")


@dataclass(frozen=True)
class Simulated(Generic[StateT]):
    """How a simulation ended, and what its probes kept.

    Attributes:
        state: after the last step, to go on from.
        kept: for each probe its readings, time after the batch: (B, K, ...).
    """

    state: StateT
    kept: Mapping[str, Tensor] = field(default_factory=dict)


@torch.no_grad()
def simulate(
    rule: Rule[StateT, InputT, OutputT],
    state: StateT,
    inputs: Iterable[InputT],
    *,
    probes: Mapping[str, Probe[OutputT, StateT]] | None = None,
    dt: float | None = None,
) -> Simulated[StateT]:
    """Run a rule over its inputs.

    Args:
        rule: makes a step.
        state: before the first.
        inputs: of every step, in order; `current.unbind(1)` for a tensor (B, T, N), `constant(current, steps)` for one
            that does not change.
        probes: what to keep, by name.
        dt: length of a step in s, only to say when something went wrong.

    Raises:
        InvalidValue: there is no step.
        NotFinite: the state became NaN or infinite; says in which step at the latest.

    >>> leak = lambda voltage, current: (voltage > 0.5, voltage + 0.5 * (current - voltage))
    >>> done = simulate(
    ...     leak,
    ...     torch.zeros(1, 1),
    ...     constant(torch.ones(1, 1), 4),
    ...     probes={"v": Probe(lambda _, voltage: voltage, every=2)},
    ... )
    >>> done.kept["v"].flatten().tolist(), done.state.item()
    ([0.75, 0.9375], 0.9375)
    """
    probes = probes or {}
    kept: dict[str, list[Tensor]] = {name: [] for name in probes}
    due = [(kept[name], probe.read, probe.every) for name, probe in probes.items()]
    step = 0
    for step, given in enumerate(inputs, start=1):
        output, state = rule(state, given)
        for readings, read, every in due:
            if step % every == 0:
                readings.append(read(output, state))
        if step % CHECKED == 0:
            check_finite(state, step=step, dt=dt)
    require(step > 0, "there is no step to simulate; give inputs for at least one")
    check_finite(state, step=step, dt=dt)
    return Simulated(state, {name: stacked(readings) for name, readings in kept.items()})


def stacked(readings: list[Tensor]) -> Tensor:
    """Readings with time after the batch; an empty tensor if the probe was never due."""
    return torch.stack(readings, dim=min(1, readings[0].ndim)) if readings else torch.empty(0)


def constant(value: InputT, steps: int) -> Iterable[InputT]:
    """The same input at every step.

    >>> list(constant(0.5, 3))
    [0.5, 0.5, 0.5]
    """
    return (value for _ in range(steps))


def check_finite(state: Any, *, step: int, dt: float | None = None) -> None:
    """Stop a simulation that has left the numbers.

    Raises:
        NotFinite: says at which step, and that smaller steps may help.
    """
    for value in tensors_of(state):
        # The sum is NaN or infinite if anything is, and a fraction of the time of isfinite().all().
        if value.is_floating_point() and not bool(torch.isfinite(value.sum())) and not bool(value.isfinite().all()):
            when = f"step {step}" if dt is None else f"step {step} ({step * dt:g} s)"
            raise NotFinite(f"the simulation became NaN or infinite by {when}; take smaller steps or weaker weights")


def tensors_of(state: Any) -> list[Tensor]:
    """The tensors in a state: a tensor, or a tuple of such."""
    if isinstance(state, Tensor):
        return [state]
    return [value for part in state for value in tensors_of(part)] if isinstance(state, tuple) else []


Derivative = Callable[[StateT, InputT], StateT]
"""dy/dt at a state under an input, of the same form as the state: a tensor or a (named) tuple of tensors."""


@runtime_checkable
class Integrator(Protocol):
    """Makes the step of a state from its derivative."""

    def __call__(self, derivative: Derivative[Any, Any], dt: float, /) -> Callable[[Any, Any], Any]: ...


def euler(derivative: Derivative[StateT, InputT], dt: float) -> Callable[[StateT, InputT], StateT]:
    """Euler's rule: the error of a whole simulation falls as dt.

    >>> step = euler(lambda y, _: -y, 0.1)
    >>> step(torch.tensor(1.0), None).item()
    0.8999999761581421
    """

    def step(state: StateT, given: InputT) -> StateT:
        # y ← y + dt f(y)
        return _moved(state, derivative(state, given), dt)

    return step


def runge_kutta(derivative: Derivative[StateT, InputT], dt: float) -> Callable[[StateT, InputT], StateT]:
    """The classical rule of fourth order: the error falls as dt⁴.

    >>> step = runge_kutta(lambda y, _: -y, 0.1)
    >>> round(step(torch.tensor(1.0, dtype=torch.float64), None).item(), 7)  # e^−0.1 = 0.9048374
    0.9048375
    """

    def step(state: StateT, given: InputT) -> StateT:
        k1 = derivative(state, given)
        k2 = derivative(_moved(state, k1, dt / 2), given)
        k3 = derivative(_moved(state, k2, dt / 2), given)
        k4 = derivative(_moved(state, k3, dt), given)
        # y ← y + dt/6 (k₁ + 2 k₂ + 2 k₃ + k₄)
        return _moved(_moved(state, _moved(k1, k4, 1.0), dt / 6), _moved(k2, k3, 1.0), dt / 3)

    return step


def relaxed(
    value: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"], decay: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """One step of exponential Euler: exact for dx/dt = (x∞ − x)/τ while x∞ and τ stand still.

    Args:
        value: x.
        target: x∞.
        decay: e^(−dt/τ).

    >>> relaxed(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(0.25)).item()
    0.75
    """
    # x ← x∞ + (x − x∞) e^(−dt/τ)
    return torch.lerp(target, value, decay)


def _moved(state: StateT, change: StateT, by: float) -> StateT:
    if isinstance(state, Tensor):
        return cast("StateT", torch.add(state, cast("Tensor", change), alpha=by))
    parts = [_moved(one, other, by) for one, other in zip(cast("Any", state), cast("Any", change), strict=True)]
    return cast("StateT", type(state)(*parts) if hasattr(state, "_fields") else tuple(parts))


def steps_in(seconds: float, dt: float) -> int:
    """How many steps a time takes.

    Raises:
        InvalidValue: a time that is no whole step or more, or a step that is not positive.

    >>> steps_in(0.1, 0.001)
    100
    """
    require(dt > 0, f"dt is {dt} s, but must be positive")
    require(seconds >= dt, f"seconds is {seconds}, but must be at least a step of {dt} s")
    return round(seconds / dt)


def check_current(current: Tensor, voltage: Tensor, *, neurons: int) -> None:
    """Refuse a current that neurons cannot be driven by, or that does not fit the voltage they stand at.

    Args:
        current: (B, N) or (B, T, N).
        voltage: (B, N) if it fits.
        neurons: N.

    Raises:
        InvalidValue: it is empty, not finite, or of another shape.

    >>> check_current(torch.ones(2, 5, 3), torch.zeros(2, 3), neurons=3)
    """
    shape, wanted = tuple(current.shape), (current.shape[0], neurons)
    if shape[-1] != neurons:
        raise InvalidValue(f"the current is {shape}, but its last dimension must be the {neurons} neurons")
    if voltage.shape != wanted:
        raise InvalidValue(f"the state is {tuple(voltage.shape)}, but this current needs {wanted}; see rest()")
    require(current.numel() > 0, f"the current is {shape}: empty; give at least one step of one example")
    # The extremes are infinite or NaN if anything is, and 40 times as fast to find as by isfinite().all().
    low, high = torch.aminmax(current)
    finite = bool(torch.isfinite(high - low))
    require(finite, "the current is NaN or infinite somewhere; every value must be finite")
