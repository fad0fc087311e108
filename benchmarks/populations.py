"""A population of 1,000 spiking neurons that swings: ours, a block of steps as one program, against Nengo."""

from collections.abc import Callable
from math import pi

import torch

from benchmarks.harness import Benchmark
from neurarium.systems.neuro.population_coding import make_population
from neurarium.systems.neuro.population_dynamics import BLOCK, Dynamics, oscillator

NEURONS = 1000
FREQUENCY = 1.0  # Hz
TAU, DT = 0.1, 0.001  # s
SECONDS = 2.0  # simulated in a turn


def oscillator_ours() -> Callable[[], float]:
    """Ours, compiled before the clock starts; every step's value is kept."""
    population = make_population(NEURONS, 2, generator=torch.Generator().manual_seed(0))
    dynamics = Dynamics(population, oscillator(FREQUENCY), tau=TAU, dt=DT)
    dynamics.follow(torch.tensor([[0.8, 0.0]]), BLOCK, compiled=True)
    last = torch.tensor([[0.8, 0.0]])

    def work() -> float:
        nonlocal last
        last = dynamics.follow(last, round(SECONDS / DT), compiled=True)[:, -1]
        return SECONDS

    return work


def oscillator_peer() -> Callable[[], float]:
    """Nengo's, built before the clock starts; every step's decoded value is kept."""
    import nengo

    def moved(y: list[float]) -> list[float]:
        omega = 2 * pi * FREQUENCY
        return [y[0] - TAU * omega * y[1], y[1] + TAU * omega * y[0]]

    with nengo.Network(seed=0) as net:
        kick = nengo.Node(lambda t: [8.0, 0.0] if t < 0.1 else [0.0, 0.0])
        ensemble = nengo.Ensemble(NEURONS, 2)
        nengo.Connection(ensemble, ensemble, function=moved, synapse=TAU)
        nengo.Connection(kick, ensemble, transform=TAU, synapse=TAU)
        nengo.Probe(ensemble, "input")
    simulator = nengo.Simulator(net, dt=DT, progress_bar=False)

    def work() -> float:
        simulator.run_steps(round(SECONDS / DT), progress_bar=False)
        return SECONDS

    return work


def oscillator_benchmark() -> Benchmark:
    """A recurrent population of 1,000 leaky integrate-and-fire neurons, steps of 1 ms."""
    work = f"{NEURONS:,} spiking neurons connected to themselves swing at {FREQUENCY:g} Hz, steps of {1e3 * DT:g} ms"
    return Benchmark(
        "population_oscillator", work, "simulated seconds", oscillator_ours, oscillator_peer, "Nengo", at_least=4.0
    )


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {"population_oscillator": oscillator_benchmark}
