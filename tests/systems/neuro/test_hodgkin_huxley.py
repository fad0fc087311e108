import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue, NotFinite
from neurarium.parts.simulation import runge_kutta
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.neuro.hodgkin_huxley import (
    LARGEST,
    HodgkinHuxley,
    Membrane,
    State,
    derivative,
    exponential_step,
    gates,
)

# What Brian2 2.9.0 gives after 50, 100, 300 and 600 steps of 0.05 ms, in mV, under 2, 10 and 80 µA/cm².
STEPS = [50, 100, 300, 600]
TRACES = {
    "exponential_euler": [
        [-61.61471, 36.565896, -25.186876],
        [-60.129703, -74.824971, -64.168709],
        [-63.629109, -57.455299, -51.949433],
        [-63.46716, -57.347617, -52.472685],
    ],
    "runge_kutta": [
        [-61.556163, 28.678044, -28.225015],
        [-60.035404, -75.058095, -63.279558],
        [-63.572467, -56.655799, -49.139734],
        [-63.459425, -55.371296, -45.73203],
    ],
}


def held(current: float, steps: int) -> Tensor:
    return torch.full((1, steps, 1), current, dtype=torch.float64)


@pytest.mark.parametrize("method", TRACES)
@pytest.mark.usefixtures("unchecked")
def test_the_voltage_is_what_brian2_gave(method: str) -> None:
    neuron = HodgkinHuxley(neurons=3, dt=5e-5, method=method)  # type: ignore[arg-type]
    current = torch.tensor([2.0, 10.0, 80.0], dtype=torch.float64).expand(1, 600, 3)
    voltage = neuron.record(current).states.voltage[0, torch.tensor(STEPS) - 1]
    torch.testing.assert_close(voltage, torch.tensor(TRACES[method], dtype=torch.float64), rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["exponential_euler", "runge_kutta"])
@pytest.mark.usefixtures("unchecked")
def test_the_voltage_is_brian2s_step_by_step(method: str) -> None:
    try:
        brian2 = pytest.importorskip("brian2")
    except AttributeError:
        pytest.skip("this Brian2 cannot be imported under this NumPy")
    brian2.prefs.codegen.target = "numpy"
    equations = """
    dv/dt = (J - 0.3*(v + 54.387) - 120*m**3*h*(v - 50) - 36*n**4*(v + 77))/ms : 1
    dn/dt = (an*(1 - n) - bn*n)/ms : 1
    dm/dt = (am*(1 - m) - bm*m)/ms : 1
    dh/dt = (ah*(1 - h) - bh*h)/ms : 1
    an = 0.1/exprel(-(v + 55)/10) : 1
    bn = 0.125*exp(-(v + 65)/80) : 1
    am = 1/exprel(-(v + 40)/10) : 1
    bm = 4*exp(-(v + 65)/18) : 1
    ah = 0.07*exp(-(v + 65)/20) : 1
    bh = 1/(1 + exp(-(v + 35)/10)) : 1
    J : 1
    """
    peers = {"exponential_euler": "exponential_euler", "runge_kutta": "rk4"}
    brian2.start_scope()
    clock = brian2.Clock(dt=0.05 * brian2.ms)
    group = brian2.NeuronGroup(3, equations, method=peers[method], clock=clock)
    current = torch.tensor([2.0, 10.0, 80.0], dtype=torch.float64)
    ours = HodgkinHuxley(neurons=3, dt=5e-5, method=method)  # type: ignore[arg-type]
    start = ours.rest(current[None])
    group.v, group.n, group.m, group.h = (part[0].numpy() for part in start)
    group.J = current.numpy()
    monitor = brian2.StateMonitor(group, "v", record=True, clock=clock, when="end")
    brian2.Network(group, monitor).run(30 * brian2.ms)
    voltage = ours.record(current.expand(1, 600, 3)).states.voltage[0]
    assert voltage.max() > 30
    torch.testing.assert_close(voltage, torch.from_numpy(monitor.v.T), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("method", "order"), [("exponential_euler", 1), ("runge_kutta", 4)])
@pytest.mark.usefixtures("unchecked")
def test_the_error_falls_with_the_methods_order(method: str, order: int) -> None:
    def after(dt: float, method: str) -> float:
        neuron = HodgkinHuxley(neurons=1, dt=dt, method=method)  # type: ignore[arg-type]
        return float(neuron.record(held(10.0, round(0.002 / dt))).state.voltage)

    exact = after(5e-6, "runge_kutta")
    coarse, fine = (abs(after(dt, method) - exact) for dt in (4e-5, 2e-5))
    assert 0.75 * 2**order < coarse / fine < 1.4 * 2**order


@pytest.mark.parametrize("method", ["exponential_euler", "runge_kutta"])
@pytest.mark.usefixtures("unchecked")
def test_the_largest_step_works(method: str) -> None:
    neuron = HodgkinHuxley(neurons=3, dt=LARGEST[method], method=method)  # type: ignore[arg-type]
    current = torch.tensor([[0.0, 10.0, 80.0]], dtype=torch.float64)
    rate = neuron.measure_rate(current, seconds=0.07, settle=0.025).rate[0].tolist()
    assert rate == pytest.approx([0, 68.3, 0], rel=0.06)


@pytest.mark.usefixtures("unchecked")
def test_runge_kutta_diverges_at_a_slightly_larger_step() -> None:
    neuron = HodgkinHuxley(neurons=1, dt=LARGEST["runge_kutta"])
    neuron.dt = 8e-5  # past the check
    with pytest.raises(NotFinite, match="take smaller steps"):
        neuron.record(held(500.0, 200))


@pytest.mark.usefixtures("unchecked")
def test_rest_is_rest_and_the_rate_is_the_rows() -> None:
    neuron = HodgkinHuxley(neurons=2, dt=7e-5)
    firing = neuron.measure_rate(torch.tensor([[0.0, 10.0]]), seconds=0.08, settle=0.03)
    assert firing.rate[0, 1].item() == pytest.approx(68.3, abs=0.5)
    assert firing.spikes[0, 0] == 0
    assert neuron.record(torch.zeros(1, 200, 2)).states.voltage.add(65).abs().max() < 0.01


@pytest.mark.usefixtures("unchecked")
def test_the_rate_does_not_depend_on_where_the_counting_begins() -> None:
    neuron = HodgkinHuxley(neurons=1, dt=1e-4, method="exponential_euler")
    current = torch.tensor([[15.0]], dtype=torch.float64)
    early, late = (neuron.measure_rate(current, seconds=0.1, settle=settle) for settle in (0.02, 0.0437))
    assert early.rate.item() == pytest.approx(late.rate.item(), rel=0.005)
    assert early.spikes > late.spikes > 1


@given(
    voltage=st.floats(-150.0, 100.0), opened=st.tuples(*[st.floats(0.0, 1.0)] * 3), dt=st.sampled_from([0.001, 0.1, 5])
)
@settings(deadline=None)
def test_exponential_euler_keeps_gates_and_voltage_in_their_bounds(
    voltage: float, opened: tuple[float, ...], dt: float
) -> None:
    state = State(*(torch.tensor([[value]], dtype=torch.float64) for value in (voltage, *opened)))
    after = exponential_step(state, torch.zeros(1, 1, dtype=torch.float64), Membrane(), dt)
    assert all(0 <= float(gate) <= 1 for gate in after[1:])
    assert min(voltage, -77) - 1e-9 <= float(after.voltage) <= max(voltage, 50) + 1e-9


@pytest.mark.parametrize("voltage", [-55.0, -40.0])
def test_the_gates_are_smooth_where_the_formula_is_zero_over_zero(voltage: float) -> None:
    at = torch.tensor([voltage - 1e-6, voltage, voltage + 1e-6], dtype=torch.float64, requires_grad=True)
    for gate in gates(at):
        assert gate.target.isfinite().all()
        torch.testing.assert_close(gate.rate[1], gate.rate[[0, 2]].mean(), rtol=1e-9, atol=0)
    assert gates(torch.tensor([voltage]))[0].target.isfinite().all()


def test_the_derivative_vanishes_at_the_gates_targets() -> None:
    voltage = torch.tensor([[-70.0, -20.0]], dtype=torch.float64)
    state = State(voltage, *(gate.target for gate in gates(voltage)))
    changing = derivative(state, torch.zeros_like(voltage), Membrane())
    assert all(part.abs().max() < 1e-12 for part in changing[1:])
    after = runge_kutta(HodgkinHuxley(neurons=2).derivative, 0.0)(state, voltage)
    assert all(torch.equal(one, other) for one, other in zip(state, after, strict=True))


@pytest.mark.usefixtures("unchecked")
def test_without_potassium_channels_a_spike_does_not_end() -> None:
    current = held(10.0, 300)
    plain = HodgkinHuxley(neurons=1, dt=5e-5).record(current).states.voltage
    poisoned = HodgkinHuxley(neurons=1, dt=5e-5, membrane=Membrane(potassium=0.0)).record(current).states.voltage
    assert plain.min() < -70
    assert poisoned[0, 100:].min() > -55


def test_a_recording_goes_on_where_another_ended_and_neurons_are_independent() -> None:
    current = 20 * torch.rand(2, 60, 4, dtype=torch.float64)
    neuron = HodgkinHuxley(neurons=4)
    whole, first = neuron.record(current), neuron.record(current[:, :25])
    second = neuron.record(current[:, 25:], first.state)
    assert torch.equal(whole.states.voltage, torch.cat([first.states.voltage, second.states.voltage], dim=1))
    assert torch.equal(whole.state.h, second.state.h)
    alone = HodgkinHuxley(neurons=1).record(current[1:2, :, 2:3])
    torch.testing.assert_close(alone.states.voltage, whole.states.voltage[1:2, :, 2:3], rtol=1e-12, atol=1e-12)


COMPILED = """
import torch
from neurarium.parts.blocks import Blocks
from neurarium.systems.neuro.hodgkin_huxley import HodgkinHuxley, gates
voltage = torch.linspace(-90, 50, 141)  # in single precision; at -55 and -40 a formula is zero over zero
for quick, exact in zip(torch.compile(gates)(voltage), gates(voltage.double()), strict=True):
    for one, other in zip(quick, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)
current = 30 * torch.rand(1, 4, dtype=torch.float64)
for method in ("exponential_euler", "runge_kutta"):
    eager, quick = (HodgkinHuxley(neurons=4, dt=5e-5, method=method, compiled=compiled) for compiled in (False, True))
    quick.counting = Blocks(quick.tally, compiled=True, steps=2)  # short, because compiling long ones takes long
    one, other = (neuron.measure_rate(current, seconds=0.05005) for neuron in (eager, quick))
    assert torch.equal(one.spikes, other.spikes)
    torch.testing.assert_close(one.rate, other.rate, rtol=1e-6, atol=1e-6)
"""


@pytest.mark.slow
def test_the_compiled_rule_is_the_eager_one() -> None:
    # In a process of its own: the type checks of tests are not for the compiler.
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(neurons=0), "neurons is 0, but must be at least 1"),
        (dict(dt=0.0), r"dt is 0.0 s, but must be positive"),
        (dict(dt=float("nan")), r"dt is nan s, but must be positive"),
        (dict(dt=1e-4), r"dt is 0.0001 s, but must be at most 7e-05 s, the largest step that works with runge_kutta"),
        (dict(dt=2e-4, method="exponential_euler"), r"at most 0.0001 s, the largest step that works with exponential"),
        (dict(method="midpoint"), "method is 'midpoint', but must be one of exponential_euler, runge_kutta"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_impossible_neurons_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        HodgkinHuxley(**{"neurons": 3, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("current", "message"),
    [
        (torch.zeros(1, 5, 4), r"the current is \(1, 5, 4\), but its last dimension must be the 3 neurons"),
        (torch.zeros(1, 0, 3), r"the current is \(1, 0, 3\): empty"),
        (torch.zeros(0, 5, 3), r"the current is \(0, 5, 3\): empty"),
        (torch.full((1, 5, 3), torch.nan), "the current is NaN or infinite somewhere"),
    ],
)
def test_unusable_currents_are_refused(current: Tensor, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        HodgkinHuxley(neurons=3)(current)


def test_wrong_states_times_and_membranes_are_refused() -> None:
    neuron = HodgkinHuxley(neurons=3)
    with pytest.raises(InvalidValue, match=r"the state is \(2, 3\), but this current needs \(5, 3\); see rest"):
        neuron.record(torch.zeros(5, 1, 3), neuron.rest(torch.zeros(2, 3)))
    with pytest.raises(InvalidValue, match=r"settle is 0.2 s, but must be shorter than the 0.1 s"):
        neuron.measure_rate(torch.zeros(1, 3), seconds=0.1, settle=0.2)
    with pytest.raises(InvalidValue, match=r"capacitance is 0.0, but must be positive"):
        Membrane(capacitance=0.0)
    with pytest.raises(InvalidValue, match=r"sodium is -1.0, but must be at least 0"):
        Membrane(sodium=-1.0)


def test_the_recipe_refuses_impossible_options(tmp_path: Path) -> None:
    for options, message in ((dict(points=1), "points is 1"), (dict(dt=0.001), "dt is 0.001 s, but must be at most")):
        with pytest.raises(InvalidValue, match=message):
            train(find("hodgkin_huxley"), options, Settings(device="cpu"), out=tmp_path)
