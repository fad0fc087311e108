import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.decoders import Function
from neurarium.parts.simulation import relaxed
from neurarium.parts.tuning import Tuning, rate
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.neuro.population_coding import Population, make_population, rmse
from neurarium.systems.neuro.population_dynamics import (
    Dynamics,
    controlled_oscillator,
    integrator,
    lorenz,
    oscillator,
    true_values,
    turning,
)


def build(function: Function, dimensions: int, *, neurons: int = 400, spiking: bool = False, seed: int = 0) -> Dynamics:
    population = make_population(neurons, dimensions, generator=torch.Generator().manual_seed(seed))
    return Dynamics(population, function, spiking=spiking)


def nengo_pair(spiking: bool, neurons: int, steps: int) -> tuple[Tensor, Tensor]:
    """The same oscillator with the same neurons, kicked in the same way: what goes into Nengo's ensemble, and ours."""
    nengo = pytest.importorskip("nengo")
    swing = oscillator(2.0)
    with nengo.Network(seed=3) as net:
        kick = nengo.Node(lambda t: [8.0, 0.0] if t < 0.1 else [0.0, 0.0])
        neuron_type = nengo.LIF() if spiking else nengo.LIFRate()
        ensemble = nengo.Ensemble(neurons, 2, neuron_type=neuron_type, n_eval_points=800)

        def moved(y: np.ndarray) -> list[float]:
            return [float(value + 0.1 * flow) for value, flow in zip(y, swing(torch.tensor(y)), strict=True)]

        nengo.Connection(ensemble, ensemble, function=moved, synapse=0.1)
        nengo.Connection(kick, ensemble, transform=0.1, synapse=0.1)
        probe = nengo.Probe(ensemble, "input")
    with nengo.Simulator(net, progress_bar=False) as simulator:
        simulator.run_steps(steps)
        built = simulator.data[ensemble]
        theirs = torch.tensor(simulator.data[probe])
    parts = [torch.tensor(np.asarray(part)) for part in (built.encoders, built.gain, built.bias, built.eval_points)]
    ours = Dynamics(Population(Tuning(*parts[:3]), parts[3]), swing, spiking=spiking)
    inputs = torch.zeros(1, steps, 2, dtype=torch.float64)
    inputs[:, :99, 0] = 8.0
    return theirs, ours.follow(torch.zeros(1, 2, dtype=torch.float64), steps, inputs=inputs)[0]


def test_rate_neurons_go_nengos_way_step_by_step() -> None:
    theirs, ours = nengo_pair(spiking=False, neurons=150, steps=600)
    # Nengo shows what went into a step, ours what is there after it.
    torch.testing.assert_close(ours[:-1], theirs[1:], rtol=0, atol=1e-10)
    assert ours.norm(dim=1).max() > 0.6


def test_spiking_neurons_swing_as_fast_and_as_far_as_nengos() -> None:
    theirs, ours = nengo_pair(spiking=True, neurons=400, steps=1500)
    frequency, peer = (float(turning(way[None, 200:], 0.001)) for way in (ours, theirs))
    assert frequency == pytest.approx(peer, rel=0.02)
    assert frequency == pytest.approx(2.0, rel=0.05)
    assert float(ours[200:].norm(dim=1).mean() / theirs[200:].norm(dim=1).mean()) == pytest.approx(1, abs=0.06)


def test_the_low_rank_step_is_that_of_full_weights_and_a_filter_on_every_current() -> None:
    dynamics = build(oscillator(1.0), 2, neurons=60).double()
    start = torch.tensor([[0.6, 0.2]], dtype=torch.float64)
    current, decay = start @ dynamics.encoders, torch.full((1, 60), math.exp(-0.001 / 0.1), dtype=torch.float64)
    for value in dynamics.follow(start, 50)[0]:
        current = relaxed(current, rate(current + dynamics.bias) @ dynamics.weights(), decay)
        torch.testing.assert_close(value @ dynamics.encoders, current[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spiking", [False, True])
def test_any_python_function_is_followed(spiking: bool) -> None:
    def quick_above_slow_below(y: Tensor) -> float:
        return -4 * float(y[0]) if y[0] > 0 else -math.tanh(y[0])

    dynamics = build(quick_above_slow_below, 1, spiking=spiking)
    start = torch.tensor([[0.9], [-0.9]])
    wanted = true_values(quick_above_slow_below, start, 50, dt=0.005)
    assert rmse(dynamics.follow(start, 250)[:, 4::5], wanted) < 0.03


@pytest.mark.parametrize("spiking", [False, True])
def test_an_integrator_adds_up_its_input_and_keeps_the_sum(spiking: bool) -> None:
    inputs = torch.zeros(1, 600, 1)
    inputs[:, 100:300] = 3.0
    way = build(integrator, 1, neurons=800, spiking=spiking).follow(torch.zeros(1, 1), 600, inputs=inputs)[0, :, 0]
    assert float(way[99]) == pytest.approx(0, abs=0.02)
    assert float(way[310]) == pytest.approx(0.6, abs=0.04)
    assert float(way[-1]) == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize("spiking", [False, True])
@pytest.mark.parametrize("frequency", [0.5, 2.0])
def test_an_oscillator_turns_at_its_frequency(spiking: bool, frequency: float) -> None:
    way = build(oscillator(frequency), 2, spiking=spiking).follow(torch.tensor([[0.8, 0.0]]), 1000)
    assert float(turning(way, 0.001)) == pytest.approx(frequency, rel=0.05)


def test_a_controlled_oscillator_turns_as_its_third_value_says_and_the_other_way_below_0() -> None:
    start = torch.tensor([[0.6, 0.0, 0.5], [0.6, 0.0, -0.5]])
    told = torch.zeros(2, 800, 3)
    told[:, :, 2] = 5 * start[:, 2:]
    way = build(controlled_oscillator(4.0), 3, neurons=800).follow(start, 800, inputs=told)
    assert turning(way, 0.001).tolist() == pytest.approx([2.0, -2.0], rel=0.08)


def test_lorenz_stays_on_the_true_way_at_first() -> None:
    start = torch.tensor([[1.0, 2.0, -10.0]]) / 32
    wanted = true_values(lorenz, start, 80, dt=0.005)
    way = build(lorenz, 3, neurons=1000).follow(start, 400)[:, 4::5]
    assert rmse(way, wanted) < 0.3 * float(wanted.std())
    x1, x2, x3 = 1.0, 2.0, 18.0
    flow = [10 * (x2 - x1), x1 * (28 - x3) - x2, x1 * x2 - 8 / 3 * x3]
    assert lorenz(start[0]) == pytest.approx([number / 32 for number in flow])


def test_neurons_begin_in_the_midst_of_their_firing() -> None:
    dynamics = build(integrator, 1, neurons=1000, spiking=True)
    state = dynamics.begin(torch.tensor([[0.5]]))
    factors, value = dynamics.neuron.factors(dynamics.encoders), state.value
    for _ in range(20):
        state = dynamics.step(state._replace(value=value), torch.zeros(1, 1), factors)
    assert float(state.value) == pytest.approx(0.5, abs=0.01)
    assert (state.membranes.voltage <= 1).all()


def test_a_batch_is_as_one_after_the_other_and_chance_decides_only_the_membranes() -> None:
    dynamics, start = build(oscillator(1.0), 2, spiking=False), torch.tensor([[0.8, 0.0], [0.0, 0.5]])
    together = dynamics.follow(start, 55)
    torch.testing.assert_close(together[1:], dynamics.follow(start[1:], 55))
    torch.testing.assert_close(together[:, :33], dynamics.follow(start, 33))
    noisy = build(oscillator(1.0), 2, spiking=True)
    one, same, other = (noisy.follow(start, 30, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # the compiler uses these itself
@pytest.mark.usefixtures("unchecked")  # the compiler cannot read through the checks of shapes
def test_compiled_steps_are_the_same() -> None:
    dynamics, start = build(oscillator(1.0), 2, spiking=True), torch.tensor([[0.8, 0.0]])
    torch.testing.assert_close(
        dynamics.follow(start, 50, compiled=True), dynamics.follow(start, 50), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda y: 5 * y, r"the recurrent weights are unstable: f pushes every value of length 1 outwards, by 5/s"),
        (
            lambda y: -3000 * y,
            r"unstable: f pulls back by 3000/s, too fast for steps of 0.001 s.*at most 0.000666667 s",
        ),
        (lambda y: y[0], "the function gives 1 numbers, but must give 2, one for each of y"),
        (lambda y: "up", "gives 'up', but must give a number"),
    ],
)
def test_an_equation_that_cannot_be_held_is_refused(function: Callable[[Tensor], object], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        build(function, 2, neurons=100)


def test_a_value_that_runs_away_is_told_with_its_time() -> None:
    saddle = build(lambda y: [12 * y[0], -12 * y[1]], 2, neurons=100)
    with pytest.raises(InvalidValue, match=r"the value ran away: at step \d+ \(0\.\d+ s\) its length passed 1.5"):
        saddle.follow(torch.tensor([[0.5, 0.0]]), 1000)


@pytest.mark.parametrize(
    ("start", "steps", "inputs", "message"),
    [
        (torch.zeros(1, 3), 5, None, r"the start is \(1, 3\), but must be \(batch, 2\)"),
        (torch.zeros(0, 2), 5, None, r"the start is \(0, 2\), but must be \(batch, 2\), at least one value"),
        (torch.zeros(1, 2), 0, None, "steps is 0, but must be at least 1"),
        (torch.zeros(1, 2), 5, torch.zeros(1, 4, 2), r"the inputs are \(1, 4, 2\), but must be \(1, 5, 2\)"),
        (torch.full((1, 2), torch.nan), 5, None, "the start is NaN or infinite somewhere"),
        (torch.zeros(1, 2), 5, torch.full((1, 5, 2), torch.inf), "the input is NaN or infinite somewhere"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_unusable_starts_and_inputs_are_refused(start: Tensor, steps: int, inputs: Tensor | None, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        build(oscillator(1.0), 2, neurons=50).follow(start, steps, inputs=inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(frequency=0.0), "frequency is 0.0 Hz, but must be positive"),
        (dict(seconds=0.01), "seconds is 0.01, but must be at least 100 steps of 0.001 s"),
        (dict(tau=-1.0), "tau is -1.0 s, but must be positive"),
        (dict(dt=0.01), "dt is 0.01 s, but must be at most tau_refractory"),
    ],
)
def test_the_recipe_refuses_impossible_options(tmp_path: Path, options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        train(find("population_dynamics"), options, Settings(device="cpu"), out=tmp_path)
