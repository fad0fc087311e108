from math import exp

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue, NotFinite
from neurarium.parts.simulation import (
    Integrator,
    Probe,
    constant,
    euler,
    relaxed,
    runge_kutta,
    simulate,
    steps_in,
)


def leak(voltage: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
    voltage = voltage + 0.1 * (current - voltage)
    return (voltage > 0.5).float(), voltage


@given(steps=st.integers(1, 40), every=st.integers(1, 12))
def test_a_probe_keeps_every_so_many_steps_and_nothing_else(steps: int, every: int) -> None:
    current = torch.rand(3, steps, 2, generator=torch.Generator().manual_seed(0))
    start = torch.zeros(3, 2)
    probes = {"all": Probe(lambda _, voltage: voltage), "some": Probe(lambda spikes, _: spikes, every=every)}
    done = simulate(leak, start, current.unbind(1), probes=probes)
    assert torch.equal(done.kept["all"][:, -1], done.state)
    wanted = (done.kept["all"] > 0.5).float()[:, every - 1 :: every]
    if steps >= every:
        assert torch.equal(done.kept["some"], wanted)
    else:
        assert done.kept["some"].numel() == 0


@given(cut=st.integers(1, 19))
def test_a_simulation_goes_on_from_its_state_as_if_never_stopped(cut: int) -> None:
    current = torch.rand(3, 20, 2, generator=torch.Generator().manual_seed(1))
    whole = simulate(leak, torch.zeros(3, 2), current.unbind(1))
    first = simulate(leak, torch.zeros(3, 2), current[:, :cut].unbind(1))
    assert torch.equal(simulate(leak, first.state, current[:, cut:].unbind(1)).state, whole.state)


@pytest.mark.parametrize(("rule", "order"), [(euler, 1), (runge_kutta, 4)])
def test_an_integrators_error_falls_with_its_order(rule: Integrator, order: int) -> None:
    def turning(state: tuple[Tensor, Tensor], _: None) -> tuple[Tensor, Tensor]:
        x, y = state
        return -y, x

    def error(steps: int) -> float:
        step = rule(turning, 1.0 / steps)
        state = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
        for _ in range(steps):
            state = step(state, None)
        wanted = torch.tensor(1.0, dtype=torch.float64)
        return float(torch.hypot(state[0] - wanted.cos(), state[1] - wanted.sin()))

    assert error(40) / error(80) == pytest.approx(2**order, rel=0.1)


def test_exponential_euler_is_exact_for_a_leak_whatever_the_step() -> None:
    for dt in (0.1, 1.0, 10.0):
        found = relaxed(torch.tensor(3.0), torch.tensor(1.0), torch.tensor(exp(-dt / 2)))
        assert float(found) == pytest.approx(1 + 2 * exp(-dt / 2), rel=1e-6)


def test_what_leaves_the_numbers_is_told_with_its_time() -> None:
    def explosive(state: Tensor, _: None) -> tuple[None, Tensor]:
        return None, state * 1e10

    with pytest.raises(NotFinite, match=r"became NaN or infinite by step 100 \(0.1 s\); take smaller steps"):
        simulate(explosive, torch.ones(2), constant(None, 250), dt=0.001)
    with pytest.raises(NotFinite, match="by step 7;"):
        simulate(explosive, torch.ones(2), constant(None, 7))


def test_no_steps_are_refused() -> None:
    with pytest.raises(InvalidValue, match="there is no step to simulate"):
        simulate(leak, torch.zeros(1, 1), [])
    with pytest.raises(InvalidValue, match="a probe reads every 0 steps"):
        Probe(lambda _, state: state, every=0)
    with pytest.raises(InvalidValue, match=r"seconds is 0.0001, but must be at least a step of 0.001 s"):
        steps_in(0.0001, 0.001)
