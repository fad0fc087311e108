from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neurarium.errors import InvalidValue
from neurarium.learners.classify import Classify
from neurarium.parts.bundles import Labelled
from neurarium.parts.encoders import Classifier
from neurarium.parts.modes import evaluating
from neurarium.parts.spike_trains import irregularity
from neurarium.parts.surrogate import arctan, fast_sigmoid
from neurarium.parts.wiring import Group, connect
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.neuro.lif import LIF, exact_step
from neurarium.systems.neuro.spiking_network import SpikingNetwork, SpikingReader, let_vote, surrogate_step

MORSE: Any = "morse"
NEURONS, DT, STEPS = 20, 2e-4, 2500
# Spike counts that Brian2 2.9.0 gives for `peers_network` in half a second.
BRIAN2 = [10, 11, 13, 12, 16, 18, 20, 20, 21, 23, 27, 27, 29, 30, 31, 34, 36, 35, 36, 39]


def peers_network() -> tuple[Tensor, Tensor, Tensor]:
    """Weights, delays and currents of a recurrent network of both kinds."""
    chance = torch.Generator().manual_seed(0)
    weights = connect((Group(16, 0.002), Group(4, -0.006)), part=0.25, generator=chance)
    delays = torch.randint(1, 13, (NEURONS, NEURONS), generator=chance)
    return weights.double(), delays, torch.linspace(1.1, 2.5, NEURONS, dtype=torch.float64)


def counts_of(*, dense: bool) -> Tensor:
    weights, delays, current = peers_network()
    network = SpikingNetwork(weights.to_dense() if dense else weights, delays=delays, dt=DT)
    return network(current.expand(1, STEPS, NEURONS)).sum(1)[0]


@pytest.mark.parametrize("dense", [True, False])
def test_spike_counts_are_what_brian2_gave(dense: bool) -> None:
    ours, theirs = counts_of(dense=dense), torch.tensor(BRIAN2, dtype=torch.float64)
    assert float(ours.sum()) == pytest.approx(float(theirs.sum()), rel=0.02)
    assert (ours - theirs).abs().max() <= 1
    current = peers_network()[2]
    alone = LIF(neurons=NEURONS, dt=DT)(current.expand(1, STEPS, NEURONS)).sum(1)[0]
    assert alone.sum() > 1.05 * theirs.sum()  # the connections matter


def test_spike_counts_are_brian2s() -> None:
    try:
        brian2 = pytest.importorskip("brian2")
    except AttributeError:
        pytest.skip("this Brian2 cannot be imported under this NumPy")
    brian2.prefs.codegen.target = "numpy"
    brian2.start_scope()
    clock = brian2.Clock(dt=DT * brian2.second)
    equations = """
    dv/dt = (s + J - v)/(20*ms) : 1 (unless refractory)
    ds/dt = -s/(5*ms) : 1
    J : 1
    """
    firing: dict[str, Any] = dict(threshold="v > 1", reset="v = 0", refractory=2 * brian2.ms, method="exact")
    group = brian2.NeuronGroup(NEURONS, equations, clock=clock, **firing)
    weights, delays, current = peers_network()
    (source, target), values = weights.indices(), weights.values()
    group.J = current.numpy()
    synapses = brian2.Synapses(group, group, "w : 1", on_pre="s_post += w", clock=clock)
    synapses.connect(i=source.numpy(), j=target.numpy())
    synapses.w = values.numpy() / 0.005
    synapses.delay = delays[source, target].numpy() * DT * brian2.second
    monitor = brian2.SpikeMonitor(group)
    brian2.Network(group, synapses, monitor).run(STEPS * DT * brian2.second)
    theirs, ours = torch.tensor(monitor.count[:]), counts_of(dense=True)
    assert theirs.tolist() == BRIAN2
    assert float(ours.sum()) == pytest.approx(float(theirs.sum()), rel=0.02)


def test_without_weights_every_neuron_is_alone() -> None:
    current = 3 * torch.rand(2, 60, 4)
    recording = SpikingNetwork(torch.zeros(4, 4)).record(current)
    alone = LIF(neurons=4).record(current)
    assert torch.equal(recording.spikes, alone.spikes)
    assert torch.equal(recording.voltage, alone.voltage)
    assert recording.current.abs().max() == 0


def test_a_spike_arrives_its_delay_later_and_its_weight_is_the_area_of_the_current() -> None:
    weights = torch.zeros(3, 3, dtype=torch.float64)
    weights[0, 1], weights[0, 2] = 0.002, -0.001
    network = SpikingNetwork(weights, delays=torch.tensor([[1, 4, 9]] * 3))
    current = torch.zeros(1, 120, 3, dtype=torch.float64)
    current[0, :20, 0] = 2.0
    recording = network.record(current)
    assert recording.spikes.sum((0, 1)).tolist() == [1, 0, 0]
    fired = int(recording.spikes[0, :, 0].argmax())
    for neuron, delay in ((1, 4), (2, 9)):
        got = recording.current[0, :, neuron]
        assert int(got.nonzero()[0]) == fired + delay
        assert float(got.sum() * network.dt) == pytest.approx(float(weights[0, neuron]), rel=1e-6)


def test_a_simulation_goes_on_where_another_ended() -> None:
    weights, delays, current = peers_network()
    network = SpikingNetwork(weights, delays=delays, dt=DT)
    given = current.expand(2, 600, NEURONS)
    start = network.scattered(given, generator=torch.Generator().manual_seed(1))
    whole, first = network.record(given, start), network.record(given[:, :250], start)
    second = network.record(given[:, 250:], first.state)
    assert torch.equal(whole.spikes, torch.cat([first.spikes, second.spikes], dim=1))
    assert torch.equal(whole.spikes, network(given, start))
    assert torch.equal(whole.voltage[:, -1], second.voltage[:, -1])


def test_excitation_without_inhibition_runs_away_and_is_refused() -> None:
    weights = connect((Group(40, 0.01), Group(10, 0.0)), part=0.5, generator=torch.Generator().manual_seed(0))
    current = torch.full((1, 400, 50), 1.5)
    message = r"the recurrent weights are unstable: by 0.1 s neurons fire at \d+ Hz.*no more than 500 Hz; weaken"
    with pytest.raises(InvalidValue, match=message):
        SpikingNetwork(weights)(current)
    with pytest.raises(InvalidValue, match=message):
        SpikingNetwork(weights).record(current)
    # As fast, but driven from outside: nothing to blame on the weights.
    assert SpikingNetwork(torch.zeros(50, 50))(200 * current).mean() > 0.4


def test_a_balanced_network_is_irregular_and_a_driven_neuron_a_clock() -> None:
    chance = torch.Generator().manual_seed(0)
    weights = connect((Group(240, 0.0027), Group(60, -0.0164)), part=0.1, generator=chance)
    network = SpikingNetwork(weights, delays=torch.randint(1, 5, (300, 300), generator=chance), dt=5e-4)
    current = torch.full((1, 1000, 300), 2.0)
    spikes = network(current, network.scattered(current, generator=chance))
    assert 0.7 < irregularity(spikes).mean() < 1.4
    alone = SpikingNetwork(torch.zeros(300, 300), dt=5e-4)(current)
    assert irregularity(alone).mean() < 0.05


def test_the_surrogate_step_is_the_exact_step_to_the_bit() -> None:
    neuron, current = LIF(neurons=9), 6 * torch.rand(40, 5, 9)
    ours = theirs = neuron.rest(current[0])
    for now in current:
        learned, exact = (
            step(state, now, neuron.factors(now)) for step, state in ((surrogate_step, ours), (exact_step, theirs))
        )
        ours, theirs = learned.state, exact.state
        assert torch.equal(learned.spikes, exact.spikes)
        assert torch.equal(ours.voltage, theirs.voltage)
        assert torch.equal(ours.hold, theirs.hold)


@pytest.mark.parametrize("slope", [fast_sigmoid, arctan])
def test_the_surrogate_gradient_is_the_one_written_out(slope: Any) -> None:
    neuron = LIF(neurons=1)
    current = (4 * torch.rand(60, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).requires_grad_()
    state, total, history = neuron.rest(current.detach()[None, :1]), torch.zeros((), dtype=torch.float64), []
    factors = neuron.factors(current)
    for now in current:
        decay = float((state.hold * factors.decay).clamp(min=factors.floor, max=1))
        reached = float(torch.lerp(now, state.voltage, decay).detach())
        spikes, state = surrogate_step(state, now.view(1, 1), factors, slope=slope)
        total = total + spikes.sum()
        history.append((decay, reached, float(spikes.detach())))
    total.backward()
    # Backward through v ← J + (v − J) d and v ← v (1 − a), from the last step to the first.
    gradients, through = [], 0.0
    for decay, reached, fired in reversed(history):
        through = float(slope(torch.tensor(reached - 1, dtype=torch.float64))) + through * (1 - fired)
        gradients.append(through * (1 - decay))
        through *= decay
    assert current.grad is not None
    torch.testing.assert_close(current.grad, torch.tensor(gradients[::-1], dtype=torch.float64))
    assert total >= 3


@pytest.mark.parametrize("code", ["rate", "latency"])
def test_the_reader_learns_by_spikes_and_reads_the_same_without_a_gradient(code: Any) -> None:
    torch.manual_seed(0)
    reader = SpikingReader(shape=(1, 4, 4), neurons=40, outputs=20, code=code, steps=20)
    net = Classifier(reader, classes=2)
    let_vote(net.head)
    images = torch.zeros(20, 1, 4, 4)
    images[:10, :, :2], images[10:, :, 2:] = 0.9, 0.9
    batch = Labelled(images, torch.arange(20) // 10)
    learner = Classify(net, lr=0.02)
    losses = [float(learner.learn(batch)["loss"]) for _ in range(25)]
    assert losses[-1] < 0.3 * losses[0]
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in reader.parameters())
    with_gradient = reader.fire(images).detach()
    with evaluating(net):
        assert torch.equal(reader.fire(images), with_gradient)
        counts = reader(images)
    assert set(with_gradient.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(counts, with_gradient[:, :, 20:].sum(1))
    assert learner.evaluate([batch])["accuracy"] == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(SpikingReader, code=MORSE), "code is 'morse', but must be one of rate, latency"),
        (partial(SpikingReader, steps=0), "steps is 0, but must be at least 1"),
        (partial(SpikingReader, neurons=5), "neurons is 5, but must be at least the 100 outputs among them"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_impossible_readers_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        make(shape=(1, 4, 4))


@pytest.mark.parametrize(
    ("current", "message"),
    [
        (torch.zeros(1, 5, 4), r"the current is \(1, 5, 4\), but must be \(batch, steps, 3 neurons\)"),
        (torch.zeros(1, 0, 3), r"the current is \(1, 0, 3\): empty"),
        (torch.full((1, 5, 3), torch.nan), "the current is NaN or infinite somewhere"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_unusable_currents_are_refused(current: Tensor, message: str) -> None:
    network = SpikingNetwork(torch.zeros(3, 3))
    with pytest.raises(InvalidValue, match=message):
        network(current)
    with pytest.raises(InvalidValue, match=message):
        network.record(current)


def test_other_misfits_are_refused() -> None:
    network = SpikingNetwork(torch.zeros(3, 3))
    with pytest.raises(InvalidValue, match=r"the state is \(2, 3\), but this current needs \(5, 3\); see rest"):
        network(torch.zeros(5, 4, 3), network.rest(torch.zeros(2, 3)))
    with pytest.raises(InvalidValue, match=r"compiled is True, but the weights are sparse; give weights.to_dense\(\)"):
        SpikingNetwork(torch.eye(3).to_sparse(), compiled=True)
    with pytest.raises(InvalidValue, match=r"dt is 0.003 s, but must be at most tau_refractory"):
        SpikingNetwork(torch.zeros(3, 3), dt=0.003)
    with pytest.raises(InvalidValue, match=r"tau is 0.0 s, but must be positive"):
        SpikingNetwork(torch.zeros(3, 3), tau_synapse=0.0)
    with pytest.raises(InvalidValue, match="a pixel is NaN or infinite"):
        SpikingReader(shape=(1, 2, 2))(torch.full((1, 1, 2, 2), torch.nan))
    with pytest.raises(InvalidValue, match="3 output neurons cannot vote for 5 classes"):
        let_vote(nn.Linear(3, 5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(seconds=0.05), r"seconds is 0.05, but must be longer than the 0.1 s that do not count"),
        (dict(population=10), "population is 10, but must be at least 20"),
        (dict(inhibition=-1.0), r"inhibition is -1.0, but must be at least 0"),
        (dict(inhibition=0.0), "the recurrent weights are unstable"),
    ],
)
def test_the_recipe_refuses_impossible_options(tmp_path: Path, options: dict[str, float], message: str) -> None:
    small = dict(steps=1, neurons=10, time_steps=5, population=200, seconds=0.2)
    with pytest.raises(InvalidValue, match=message):
        train(find("spiking_network"), {**small, **options}, Settings(device="cpu"), out=tmp_path)
