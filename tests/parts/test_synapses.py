import pytest
import torch
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.simulation import Probe, constant, runge_kutta, simulate
from neurarium.parts.synapses import Synapse, exponential


@pytest.mark.parametrize("n", [0, 1])
def test_it_filters_as_nengo_does(n: int) -> None:
    nengo = pytest.importorskip("nengo")
    signal = torch.randn(1, 300, 2, dtype=torch.float64)
    peer = (nengo.Lowpass, nengo.Alpha)[n](0.01).filt(signal[0].numpy(), dt=0.002, y0=0)
    ours = Synapse(n=n, tau=0.01, dt=0.002)(signal)[0]
    assert ours.numpy() == pytest.approx(peer, abs=1e-9)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_a_step_solves_the_equations(n: int) -> None:
    synapse = Synapse(n=n, tau=0.005, dt=0.002)
    signal, fine = torch.randn(2, 3, dtype=torch.float64), 100
    state = torch.randn(2, n + 1, 3, dtype=torch.float64)
    current, after = synapse.rule(signal)(state, signal)
    move = runge_kutta(synapse.derivative, synapse.dt / fine)
    slow = simulate(lambda now, given: (now, move(now, given)), state, constant(signal, fine)).state
    torch.testing.assert_close(after, slow, rtol=1e-9, atol=1e-9)
    assert torch.equal(current, after[:, -1])


def test_the_exponential_factors_are_the_synapse_with_one_stage() -> None:
    signal = torch.rand(2, 50, 3, dtype=torch.float64)
    spikes = (signal > 0.7).double()
    factors, synapse = exponential(0.001, 0.02), Synapse(n=0, tau=0.02)
    values = counted = torch.zeros(2, 3, dtype=torch.float64)
    for now, fired, value, current in zip(
        *(each.unbind(1) for each in (signal, spikes, synapse(signal), synapse.spikes(spikes))), strict=True
    ):
        values, counted = factors.value(values, now), factors.spikes(counted, fired)
        torch.testing.assert_close(values, value)
        torch.testing.assert_close(counted, current)


@pytest.mark.parametrize(("n", "tau", "dt"), [(0, 0.005, 0.001), (3, 0.01, 0.02), (20, 0.001, 0.0005)])
def test_a_constant_comes_through_and_a_spikes_area_is_1(n: int, tau: float, dt: float) -> None:
    synapse = Synapse(n=n, tau=tau, dt=dt)
    held = synapse(torch.full((1, 300, 1), 3.0, dtype=torch.float64))
    assert held[0, -1].item() == pytest.approx(3, abs=1e-9)
    spike = torch.zeros(1, 300, 1, dtype=torch.float64)
    spike[0, 0] = 1
    assert dt * synapse.spikes(spike).sum().item() == pytest.approx(1, abs=1e-9)


def test_gradients_pass_and_simulate_takes_the_rule() -> None:
    signal = torch.rand(1, 6, 2, dtype=torch.float64, requires_grad=True)
    synapse = Synapse(n=2)
    assert torch.autograd.gradcheck(synapse, signal)
    probes: dict[str, Probe[Tensor, Tensor]] = {"current": Probe(lambda current, _: current)}
    plain = signal.detach()
    done = simulate(synapse.rule(plain), synapse.rest(plain[:, 0]), plain.unbind(1), probes=probes)
    assert torch.equal(done.kept["current"], synapse(plain))


def test_float32_is_as_good_as_its_digits() -> None:
    signal = torch.rand(1, 200, 4, dtype=torch.float64)
    ours = Synapse(n=3)(signal.float())
    assert ours.dtype == torch.float32
    assert (ours.double() - Synapse(n=3)(signal)).abs().max() < 1e-5


@pytest.mark.usefixtures("unchecked")
def test_impossible_synapses_are_refused() -> None:
    with pytest.raises(InvalidValue, match="n is -1, but must be at least 0"):
        Synapse(n=-1)
    with pytest.raises(InvalidValue, match=r"tau is 0.0 s, but must be positive"):
        exponential(0.001, 0.0)
    with pytest.raises(InvalidValue, match="dt is nan s, but must be positive"):
        Synapse(dt=float("nan"))
    with pytest.raises(InvalidValue, match=r"the signal is \(1, 0, 2\): empty"):
        Synapse()(torch.zeros(1, 0, 2))
