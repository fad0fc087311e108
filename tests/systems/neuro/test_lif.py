from math import exp, log
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.tuning import rate
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.neuro.lif import LIF, Membrane, Recording, State, measure_rate

MEMBRANE = Membrane(capacitance=2e-9)  # 20 ms


def slow(amperes: list[float], *, dt: float, tau_refractory: float) -> tuple[list[float], list[float]]:
    """Spike times in s and volts at the ends of the steps, from event to event, in volts and amperes."""
    tau, volts, silent_until = MEMBRANE.capacitance / MEMBRANE.conductance, MEMBRANE.rest, 0.0
    spikes, trace = [], []
    for step, current in enumerate(amperes):
        now, end, target = step * dt, (step + 1) * dt, MEMBRANE.rest + current / MEMBRANE.conductance
        while now < end:
            if now < silent_until:
                now, volts = min(end, silent_until), MEMBRANE.rest
                continue
            firing = target > MEMBRANE.threshold
            wait = tau * log((target - volts) / (target - MEMBRANE.threshold)) if firing else float("inf")
            if now + wait < end:
                now, volts = now + wait, MEMBRANE.rest
                spikes.append(now)
                silent_until = now + tau_refractory
            else:
                volts, now = target + (volts - target) * exp(-(end - now) / tau), end
        trace.append(volts)
    return spikes, trace


def spike_times(recording: Recording) -> Tensor:
    return recording.times[recording.times.isfinite()]


@given(
    levels=st.lists(st.floats(-2.0, 12.0), min_size=1, max_size=30),
    dt=st.sampled_from([0.0005, 0.001, 0.0017, 0.002]),
    tau_refractory=st.sampled_from([0.002, 0.0033, 0.005]),
)
def test_every_step_is_that_of_the_dimensioned_neuron_followed_from_event_to_event(
    levels: list[float], dt: float, tau_refractory: float
) -> None:
    amperes = [1.5e-9 * level for level in levels for _ in range(7)]
    times, volts = slow(amperes, dt=dt, tau_refractory=tau_refractory)
    current = MEMBRANE.current(torch.tensor(amperes, dtype=torch.float64))
    assert isinstance(current, Tensor)
    neuron = LIF(neurons=1, dt=dt, tau_membrane=MEMBRANE.tau, tau_refractory=tau_refractory)
    recording = neuron.record(current[None, :, None])
    torch.testing.assert_close(spike_times(recording), torch.tensor(times, dtype=torch.float64), rtol=0, atol=1e-9)
    ours = MEMBRANE.volts(recording.voltage[0, :, 0])
    torch.testing.assert_close(ours, torch.tensor(volts, dtype=torch.float64), rtol=0, atol=1e-9)


def test_without_a_spike_the_voltage_is_the_explicit_model() -> None:
    recording = LIF(neurons=1).record(torch.full((1, 200, 1), 0.9, dtype=torch.float64))
    seconds = 0.001 * torch.arange(1, 201, dtype=torch.float64)
    torch.testing.assert_close(recording.voltage[0, :, 0], 0.9 * (1 - (-seconds / 0.02).exp()), rtol=0, atol=1e-12)
    assert recording.spikes.sum() == 0


@pytest.mark.parametrize("dt", [0.0001, 0.001, 0.002])
def test_spike_counts_are_nengos(dt: float) -> None:
    nengo = pytest.importorskip("nengo")
    torch.manual_seed(0)
    # Held for 5 steps; not below 0, where Nengo stops its neurons.
    current = (8 * torch.rand(1, 200, 50, dtype=torch.float64)).repeat_interleave(5, dim=1)
    ours, peer = LIF(neurons=50, dt=dt).record(current), nengo.LIF()
    output, voltage, refractory = (torch.zeros(50, dtype=torch.float64).numpy() for _ in range(3))
    counts = torch.zeros(50)
    for now, mine in zip(current[0], ours.voltage[0], strict=True):
        peer.step(dt=dt, J=now.numpy(), output=output, voltage=voltage, refractory_time=refractory)
        counts += torch.from_numpy(output > 0)
        assert mine.numpy() == pytest.approx(voltage, abs=1e-9)
    assert (ours.spikes.sum(1)[0] - counts).abs().max() <= 1
    assert counts.min() > 20 * dt / 0.001


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dt", [0.0002, 0.001, 0.002])
def test_the_rate_is_the_formulas_at_any_step(dt: float, dtype: torch.dtype) -> None:
    current = torch.linspace(1.01, 20, 100, dtype=dtype).unsqueeze(0)
    firing = measure_rate(LIF(neurons=100, dt=dt), current, seconds=0.5)
    error = (firing.rate / rate(current) - 1).abs().max()
    assert error < (1e-10 if dtype == torch.float64 else 1e-4)
    assert (firing.spikes - 0.5 * rate(current)).abs().max() <= 1


def test_the_current_at_the_threshold_and_just_above_it_makes_no_nan() -> None:
    current = torch.tensor([[0.0, 1.0, 1.0 + 2e-7, 1.00001, -50.0]])
    firing = measure_rate(LIF(neurons=5), current, seconds=2.0)
    assert firing.rate.isfinite().all()
    assert firing.spikes[0, [0, 1, 4]].tolist() == [0, 0, 0]
    assert firing.spikes[0, 3] > 5


def test_euler_comes_closer_as_steps_shorten_and_stays_behind_the_exact_step() -> None:
    current = torch.linspace(1.5, 8, 30, dtype=torch.float64).unsqueeze(0)
    errors = []
    for dt in (0.001, 0.0002, 0.00004):
        firing = measure_rate(LIF(neurons=30, dt=dt, method="euler"), current, seconds=0.08)
        errors.append(float((firing.rate / rate(current) - 1).abs().max()))
    assert errors[0] > 2.5 * errors[1] > 6.25 * errors[2] > 1e-4
    assert errors[0] > 0.05


def test_a_recording_goes_on_where_another_ended() -> None:
    current = 3 * torch.rand(2, 60, 4, dtype=torch.float64)
    neuron = LIF(neurons=4)
    whole, first = neuron.record(current), neuron.record(current[:, :25])
    second = neuron.record(current[:, 25:], first.state)
    assert torch.equal(whole.spikes, torch.cat([first.spikes, second.spikes], dim=1))
    assert torch.equal(whole.state.voltage, second.state.voltage)
    assert torch.equal(whole.state.hold, second.state.hold)


def test_stepping_is_recording_and_forward_and_leaves_the_state_alone() -> None:
    current = 3 * torch.rand(2, 60, 4)
    neuron = LIF(neurons=4)
    state, spikes = neuron.rest(current), []
    for now in current.unbind(1):
        before = State(*(field.clone() for field in state))
        stepped = neuron.step(state, now)
        assert all(torch.equal(mine, old) for mine, old in zip(state, before, strict=True))
        spikes.append(stepped.spikes)
        state = stepped.state
    assert torch.equal(torch.stack(spikes, dim=1), neuron(current))
    assert torch.equal(neuron.record(current).spikes, neuron(current))
    assert neuron(current).sum() > 0


def test_the_batch_and_the_neurons_are_independent() -> None:
    current = 3 * torch.rand(3, 50, 4)
    whole = LIF(neurons=4).record(current)
    alone = LIF(neurons=1).record(current[1:2, :, 2:3])
    assert torch.equal(whole.voltage[1:2, :, 2:3], alone.voltage)
    assert torch.equal(whole.spikes[1:2, :, 2:3], alone.spikes)


def test_a_neuron_is_silent_for_its_refractory_period() -> None:
    recording = LIF(neurons=1, tau_refractory=0.0053).record(torch.full((1, 300, 1), 1000.0, dtype=torch.float64))
    intervals = spike_times(recording).diff()
    assert intervals.min() > 0.0053
    assert intervals.max() < 0.0054


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(neurons=0), "neurons is 0, but must be at least 1"),
        (dict(dt=0.0), r"dt is 0.0 s, but must be positive"),
        (dict(dt=-0.001), r"dt is -0.001 s, but must be positive"),
        (dict(dt=0.003), r"dt is 0.003 s, but must be at most tau_refractory, 0.002 s.*take smaller steps"),
        (dict(dt=float("nan")), r"dt is nan s, but must be positive"),
        (dict(tau_membrane=0.0), "tau_membrane is 0.0 s, but must be positive"),
        (dict(tau_refractory=-1.0), "tau_refractory is -1.0 s, but must be positive"),
        (dict(tau_membrane=1e-6), "tau_refractory is 0.002 s, but must be at most 50 tau_membrane, 1e-06 s"),
        (dict(method="midpoint"), "method is 'midpoint', but must be one of exact, euler"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_impossible_neurons_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        LIF(**{"neurons": 3, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("current", "message"),
    [
        (torch.zeros(1, 5, 4), r"the current is \(1, 5, 4\), but its last dimension must be the 3 neurons"),
        (torch.zeros(1, 0, 3), r"the current is \(1, 0, 3\): empty"),
        (torch.zeros(0, 5, 3), r"the current is \(0, 5, 3\): empty"),
        (torch.full((1, 5, 3), torch.nan), "the current is NaN or infinite somewhere"),
        (torch.full((1, 5, 3), -torch.inf), "the current is NaN or infinite somewhere"),
    ],
)
def test_unusable_currents_are_refused(current: Tensor, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        LIF(neurons=3)(current)
    with pytest.raises(InvalidValue, match=message):
        LIF(neurons=3).record(current)


def test_a_step_refuses_nan_and_a_state_of_another_batch() -> None:
    neuron = LIF(neurons=3)
    state = neuron.rest(torch.zeros(2, 3))
    with pytest.raises(InvalidValue, match="NaN or infinite"):
        neuron.step(state, torch.full((2, 3), torch.nan))
    with pytest.raises(InvalidValue, match=r"the state is \(2, 3\), but this current needs \(5, 3\); see rest"):
        neuron.step(state, torch.zeros(5, 3))
    with pytest.raises(InvalidValue, match=r"seconds is 0.0001, but must be at least a step"):
        measure_rate(neuron, torch.zeros(2, 3), seconds=0.0001)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(capacitance=0.0), "capacitance is 0.0, but must be positive"),
        (dict(conductance=-1.0), "conductance is -1.0, but must be positive"),
        (dict(threshold=-0.07), "threshold is -0.07 V, but must be above rest, -0.065 V"),
    ],
)
def test_impossible_membranes_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        Membrane(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(strongest=1.0), "strongest is 1.0, but must be above the threshold"),
        (dict(currents=3), "currents is 3, but a curve needs at least 8"),
        (dict(dt=0.01), "dt is 0.01 s, but must be at most tau_refractory"),
        (dict(neurons=0), "neurons is 0, but must be at least 1"),
    ],
)
def test_the_recipe_refuses_impossible_options(tmp_path: Path, options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        train(find("lif"), options, Settings(device="cpu"), out=tmp_path)
