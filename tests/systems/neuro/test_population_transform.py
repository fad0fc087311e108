from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.decoders import draw_values
from neurarium.parts.tuning import Tuning
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.neuro.population_coding import Population, make_population, rmse
from neurarium.systems.neuro.population_transform import (
    Transform,
    current_gap,
    full_current,
    low_rank_current,
    rank,
    rates_under,
)


def turned(neurons: int = 80, targets: int = 50, *, double: bool = False) -> Transform:
    generator = torch.Generator().manual_seed(0)
    pair = (make_population(size, 2, generator=generator) for size in (neurons, targets))
    before, behind = (population.double() if double else population for population in pair)
    return Transform(before, behind, lambda x: [-x[1], x[0]])


@given(
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 20), st.integers(1, 4), st.integers(1, 20)),
    seed=st.integers(0, 1000),
)
def test_both_ways_give_the_same_currents(sizes: tuple[int, int, int, int], seed: int) -> None:
    batch, neurons, numbers, targets = sizes
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, neurons), (neurons, numbers), (numbers, targets))
    rates, decoders, encoders = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    bias = torch.randn(targets, generator=generator, dtype=torch.float64)
    given_rates = [rates.clone().requires_grad_(), rates.clone().requires_grad_()]
    low = low_rank_current(given_rates[0], decoders, encoders, bias)
    full = full_current(given_rates[1], decoders @ encoders, bias)
    torch.testing.assert_close(low, full, rtol=1e-10, atol=1e-10)
    low.square().sum().backward(), full.square().sum().backward()
    torch.testing.assert_close(given_rates[0].grad, given_rates[1].grad, rtol=1e-9, atol=1e-9)


def test_each_current_is_the_sum_written_out() -> None:
    transform = turned(6, 4, double=True)
    values = draw_values(3, 2, generator=torch.Generator().manual_seed(1)).double()
    rates = transform.before.encode(values)
    for example, currents in zip(rates, transform(rates), strict=True):
        read = [sum(float(a * d) for a, d in zip(example, column, strict=True)) for column in transform.decoders.T]
        for neuron, current in enumerate(currents):
            along = sum(number * float(e) for number, e in zip(read, transform.behind.encoders[neuron], strict=True))
            wanted = float(transform.behind.gain[neuron]) * along + float(transform.behind.bias[neuron])
            assert float(current) == pytest.approx(wanted, rel=1e-9)


def test_the_weights_are_nengos_for_the_same_populations() -> None:
    nengo = pytest.importorskip("nengo")
    with nengo.Network(seed=2) as net:
        one, other = (nengo.Ensemble(40, 2, neuron_type=nengo.LIFRate(), n_eval_points=300) for _ in range(2))
        solver = nengo.solvers.LstsqL2(weights=True)
        link = nengo.Connection(one, other, function=lambda x: [-x[1], x[0]], solver=solver)
    with nengo.Simulator(net, progress_bar=False) as simulator:
        built = [simulator.data[ensemble] for ensemble in (one, other)]
        weights = torch.tensor(simulator.data[link].weights)
    pair = [
        Population(
            Tuning(*(torch.tensor(part) for part in (each.encoders, each.gain, each.bias))),
            torch.tensor(each.eval_points),
        )
        for each in built
    ]
    ours = Transform(pair[0], pair[1], lambda x: [-x[1], x[0]]).weights()
    torch.testing.assert_close(weights.T, ours, rtol=1e-5, atol=1e-8)


def test_the_second_population_holds_the_function_and_the_weights_have_its_rank() -> None:
    transform = turned(600, 500)
    values = 0.9 * draw_values(200, 2, generator=torch.Generator().manual_seed(1))
    assert rmse(transform.compute(values), torch.stack([-values[:, 1], values[:, 0]], dim=1)) < 0.02
    rates = transform.before.encode(values)
    assert current_gap(transform(rates), full_current(rates, transform.weights(), transform.bias)) < 1e-5
    assert rank(transform.weights()) == 2
    assert transform.weights().shape == (600, 500)
    assert transform.products() == (2 * 1100, 600 * 500)


def test_a_chain_of_two_transforms_turns_twice() -> None:
    transform = turned(500, 500)
    again = Transform(transform.behind, transform.behind, lambda x: [-x[1], x[0]])
    values = 0.8 * draw_values(100, 2, generator=torch.Generator().manual_seed(1))
    held = rates_under(transform(transform.before.encode(values)), transform.behind)
    assert rmse(transform.behind.decode(rates_under(again(held), transform.behind)), -values) < 0.03


@pytest.mark.parametrize(
    ("activities", "message"),
    [
        (torch.zeros(5, 3), r"the activities are \(5, 3\), but the last dimension must be the 80 neurons"),
        (torch.zeros(0, 80), r"the activities are \(0, 80\): empty; give at least one"),
        (torch.full((5, 80), torch.nan), "the activities are NaN or infinite somewhere"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_unusable_rates_are_refused(activities: Tensor, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        turned()(activities)


def test_a_function_of_another_number_of_values_and_foreign_currents_are_refused() -> None:
    transform = turned()
    with pytest.raises(InvalidValue, match="the function gives 1 numbers, but the second population holds 2"):
        Transform(transform.before, transform.behind, lambda x: x[0])
    with pytest.raises(InvalidValue, match=r"the currents are \(1, 3\), but the last dimension must be the 50 neurons"):
        rates_under(torch.zeros(1, 3), transform.behind)


def test_the_recipe_refuses_impossible_options(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="largest is 50, but must be at least 125"):
        train(find("population_transform"), dict(largest=50), Settings(device="cpu"), out=tmp_path)
    with pytest.raises(InvalidValue, match="neurons is 0, but must be at least 1"):
        train(find("population_transform"), dict(neurons=0), Settings(device="cpu"), out=tmp_path)
