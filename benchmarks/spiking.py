"""A recurrent network of 512 spiking neurons, all connected to all: ours against Nengo, snnTorch and Brian2's C++.

Ours makes ten steps a call of `torch.compile`; it is compiled, and Brian2's program built, before the clock starts.
Weights, currents, time constants and steps are the same; snnTorch's neuron has no refractory period. Brian2's
side needs a Brian2 that the installed NumPy allows, and a C++ compiler.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Benchmark
from neurarium.systems.neuro.spiking_network import SpikingNetwork

NEURONS, STEPS, BATCH = 512, 1000, 64
DT, TAU_MEMBRANE, TAU_REFRACTORY, TAU_SYNAPSE = 0.001, 0.02, 0.002, 0.005  # s
STRENGTH, INHIBITORY = 0.003, 0.2  # s, root of the summed squares of a neuron's weights; part of neurons that inhibit


def network() -> tuple[Tensor, Tensor]:
    """Weights, a fifth of the neurons inhibiting four times as strongly, and constant currents."""
    chance = torch.Generator().manual_seed(0)
    weights = STRENGTH / NEURONS**0.5 * torch.rand(NEURONS, NEURONS, generator=chance)
    weights[: round(INHIBITORY * NEURONS)] *= -4
    return weights, 1.1 + 0.9 * torch.rand(NEURONS, generator=chance)


def ours(batch: int) -> Callable[[], float]:
    """Ours, compiled before the clock starts."""
    weights, current = network()
    spiking = SpikingNetwork(weights, compiled=True)
    given = current.expand(batch, STEPS, NEURONS)
    spiking(given[:, :20])

    def work() -> float:
        spiking(given)
        return batch * STEPS * NEURONS

    return work


def ours_single() -> Callable[[], float]:
    """One network."""
    return ours(1)


def ours_batch() -> Callable[[], float]:
    """64 networks at once."""
    return ours(BATCH)


def nengo_peer() -> Callable[[], float]:
    """Nengo's, built before the clock starts; every step's spikes are kept."""
    import nengo

    weights, current = network()
    with nengo.Network(seed=0) as net:
        neuron = nengo.LIF(tau_rc=TAU_MEMBRANE, tau_ref=TAU_REFRACTORY)
        ensemble = nengo.Ensemble(NEURONS, 1, neuron_type=neuron, gain=[1.0] * NEURONS, bias=current.tolist())
        nengo.Connection(ensemble.neurons, ensemble.neurons, transform=weights.T.numpy(), synapse=TAU_SYNAPSE)
        nengo.Probe(ensemble.neurons)
    simulator = nengo.Simulator(net, dt=DT, progress_bar=False)

    def work() -> float:
        simulator.reset()
        simulator.run_steps(STEPS, progress_bar=False)
        return STEPS * NEURONS

    return work


def snntorch_peer() -> Callable[[], float]:
    """SnnTorch's `Synaptic` neuron (current and voltage), its spikes fed back, in the usual loop over steps."""
    import snntorch

    weights, current = network()
    leak = torch.exp(torch.tensor([-DT / TAU_SYNAPSE, -DT / TAU_MEMBRANE]))
    neuron: Any = snntorch.Synaptic(alpha=leak[0], beta=leak[1], threshold=1.0, reset_mechanism="zero")
    # Weights and current in its units: what they add to current and voltage in a step.
    scaled, drive = weights / TAU_SYNAPSE * (1 - leak[1]), (current * (1 - leak[1]) * (1 - leak[0])).unsqueeze(0)

    @torch.no_grad()
    def work() -> float:
        synaptic, voltage = neuron.init_synaptic()
        spikes, kept = torch.zeros(1, NEURONS), []
        for _ in range(STEPS):
            spikes, synaptic, voltage = neuron(drive + spikes @ scaled, synaptic, voltage)
            kept.append(spikes)
        torch.stack(kept, dim=1)
        return STEPS * NEURONS

    return work


def brian_peer() -> Callable[[], float]:
    """Brian2's C++ standalone program, built before the clock starts; its own clock is stretched by repeating runs."""
    import brian2

    brian2.set_device("cpp_standalone", build_on_run=False)
    weights, current = network()
    clock = brian2.Clock(dt=DT * brian2.second)
    equations = """
    dv/dt = (s + J - v)/tau_membrane : 1 (unless refractory)
    ds/dt = -s/tau_synapse : 1
    J : 1
    """
    names = dict(tau_membrane=TAU_MEMBRANE * brian2.second, tau_synapse=TAU_SYNAPSE * brian2.second)
    firing: dict[str, Any] = dict(threshold="v > 1", reset="v = 0", refractory=TAU_REFRACTORY * brian2.second)
    group = brian2.NeuronGroup(NEURONS, equations, clock=clock, method="exact", namespace=names, **firing)
    group.J = current.numpy()
    synapses = brian2.Synapses(group, group, "w : 1", on_pre="s_post += w", delay=DT * brian2.second, clock=clock)
    synapses.connect()
    synapses.w = weights.flatten().numpy() / TAU_SYNAPSE
    monitor = brian2.SpikeMonitor(group)
    brian2.Network(group, synapses, monitor).run(STRETCH * STEPS * DT * brian2.second)
    brian2.device.build(run=False)

    def work() -> float:
        brian2.device.run(with_output=False)
        return STRETCH * STEPS * NEURONS

    return work


STRETCH = 20  # so many times as many steps for Brian2's program, so that starting it does not count


def nengo_benchmark() -> Benchmark:
    """One network against Nengo."""
    work = f"a recurrent network of {NEURONS} LIF neurons, {STEPS:,} steps of {1e3 * DT:g} ms, all weights"
    return Benchmark("spiking_nengo", work, "neuron-steps", ours_single, nengo_peer, "Nengo", at_least=1.5)


def snntorch_benchmark() -> Benchmark:
    """One network against snnTorch."""
    work = f"a recurrent network of {NEURONS} LIF neurons, {STEPS:,} steps of {1e3 * DT:g} ms, all weights"
    return Benchmark("spiking_snntorch", work, "neuron-steps", ours_single, snntorch_peer, "snnTorch", at_least=6.0)


def brian_benchmark() -> Benchmark:
    """A batch of networks against as many neuron-steps of Brian2."""
    work = f"{BATCH} recurrent networks of {NEURONS} LIF neurons at once, {STEPS:,} steps, against one in Brian2"
    return Benchmark(
        "spiking_brian2", work, "neuron-steps", ours_batch, brian_peer, "Brian2 C++ standalone", at_least=1.0
    )


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {
    "spiking_nengo": nengo_benchmark,
    "spiking_snntorch": snntorch_benchmark,
    "spiking_brian2": brian_benchmark,
}
