from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.decoders import draw_values
from neurarium.parts.tuning import Tuning
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.neuro.population_coding import Population, make_population, rmse


def population(neurons: int = 100, dimensions: int = 1, *, seed: int = 0) -> Population:
    return make_population(neurons, dimensions, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dimensions", [1, 2])
def test_activities_and_decoders_are_those_of_a_nengo_ensemble(dimensions: int) -> None:
    nengo = pytest.importorskip("nengo")
    with nengo.Network(seed=1) as net:
        ensemble = nengo.Ensemble(60, dimensions, neuron_type=nengo.LIFRate(), n_eval_points=400)
        square = nengo.Connection(ensemble, nengo.Node(size_in=dimensions), function=lambda x: x**2)
    with nengo.Simulator(net, progress_bar=False) as simulator:
        built = simulator.data[ensemble]
        theirs, decoders = built, simulator.data[square].weights
    encoders, gain, bias, values = (
        torch.tensor(np.asarray(array)) for array in (theirs.encoders, theirs.gain, theirs.bias, theirs.eval_points)
    )
    ours = Population(Tuning(encoders, gain, bias), values)
    _, activities = nengo.utils.ensemble.tuning_curves(ensemble, simulator, inputs=values.numpy())
    torch.testing.assert_close(ours.encode(values), torch.tensor(activities), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.decoders_for(lambda y: y**2).T, torch.tensor(decoders), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_100_neurons_hold_a_scalar_to_a_hundredth_and_more_hold_it_better(seed: int) -> None:
    values = draw_values(500, 1, generator=torch.Generator().manual_seed(9))
    few, some, many = (rmse(population(size, seed=seed)(values), values) for size in (15, 100, 500))
    assert few > some > many
    assert some <= 0.010


def test_a_vector_and_a_function_of_it_come_from_the_same_rates() -> None:
    coded = population(600, 2)
    values = 0.9 * draw_values(300, 2, generator=torch.Generator().manual_seed(9))
    assert rmse(coded(values), values) < 0.01
    product = coded.encode(values) @ coded.decoders_for(lambda y: y[0] * y[1])
    assert rmse(product, values.prod(1, keepdim=True)) < 0.02


def test_noise_costs_what_the_decoders_were_told() -> None:
    coded = population(200)
    values = draw_values(4000, 1, generator=torch.Generator().manual_seed(9))
    rates = coded.encode(values)
    noisy = coded.decode(coded.noisy(rates, torch.Generator().manual_seed(1)))
    sigma = 0.1 * float(coded.encode(coded.values).max())
    expected = (rmse(coded(values), values) ** 2 + sigma**2 * float(coded.decoders.square().sum())) ** 0.5
    assert rmse(noisy, values) == pytest.approx(expected, rel=0.05)


def test_another_generator_makes_another_population() -> None:
    assert torch.equal(population().decoders, population().decoders)
    assert not torch.equal(population().decoders, population(seed=1).decoders)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(5, 3), r"the values are \(5, 3\), but the last dimension must be 2, the encoders'"),
        (torch.zeros(0, 2), r"the values are \(0, 2\): empty; give at least one"),
        (torch.full((5, 2), torch.nan), "the values are NaN or infinite somewhere"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_unusable_values_are_refused(values: Tensor, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        population(20, 2)(values)


def test_a_silent_population_is_refused() -> None:
    silent = Tuning(torch.ones(4, 1), torch.ones(4), torch.full((4,), -3.0))
    with pytest.raises(InvalidValue, match="all 4 neurons are silent in all 9 examples, so nothing can be decoded"):
        Population(silent, torch.linspace(-1, 1, 9).unsqueeze(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(dimensions=1), "dimensions is 1, but vectors have at least 2"),
        (dict(draws=0), "draws is 0, but must be at least 1"),
        (dict(largest=50), "largest is 50, but must be at least 100"),
        (dict(noise=-1.0), r"noise is -1.0, but must be 0 or more"),
    ],
)
def test_the_recipe_refuses_impossible_options(tmp_path: Path, options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        train(find("population_coding"), options, Settings(device="cpu"), out=tmp_path)
