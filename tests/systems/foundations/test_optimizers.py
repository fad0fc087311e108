from functools import partial
from math import ceil, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.errors import InvalidValue
from neurarium.parts.optimizers import MakeOptimizer
from neurarium.parts.rules import Descent, Momentum
from neurarium.recipes.foundations.optimizers import chosen
from neurarium.systems.foundations.optimizers import (
    LESSONS,
    RATES,
    RULES,
    SURFACES,
    Height,
    Network,
    Quadratic,
    best_walk,
    steps_until,
    walk_abreast,
)

TORCHS: dict[str, MakeOptimizer] = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "rprop": torch.optim.Rprop,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
}


def bowl(condition: float = 100.0, seed: int = 0, dimensions: int = 10) -> Quadratic:
    return Quadratic(dimensions=dimensions, condition=condition, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", TORCHS)
def test_walks_are_those_of_torchs_rules(name: str) -> None:
    start = torch.tensor(SURFACES["rosenbrock"].start, dtype=torch.float64)
    walk = partial(walk_abreast, SURFACES["rosenbrock"].height, start, steps=100, rates=(1e-4, 1e-3))
    assert torch.allclose(walk(RULES[name]), walk(TORCHS[name]), rtol=0, atol=1e-10)


def test_steps_of_plain_descent_are_those_of_theory() -> None:
    # at the rate 1, E after n steps is ½ Σ λᵢ (1 − λᵢ)²ⁿ d², so the count can be had without walking
    curved = bowl()
    weights = curved.curvatures / curved.curvatures.sum()
    counts = torch.arange(2000).unsqueeze(1)
    left = (weights * (1 - curved.curvatures) ** (2 * counts)).sum(1)
    expected = int((left <= 1e-6).nonzero()[0])
    assert steps_until(curved, Descent, tolerance=1e-6, longest=2000) == expected == 414


def test_momentum_beats_descent_as_the_condition_grows() -> None:
    counts = {
        condition: [steps_until(bowl(condition), make, tolerance=1e-6, longest=3000) for make in (Descent, Momentum)]
        for condition in (10.0, 50.0)
    }
    assert counts[50.0][1] < counts[50.0][0] / 1.5
    assert counts[10.0][0] < counts[50.0][0] / 3


def test_plain_descent_from_a_flat_direction_takes_as_long_as_its_curvature_says() -> None:
    way = walk_abreast(lambda points: points.square().sum(-1) * 0.005, torch.ones(1), Descent, steps=2000, rates=(1.0,))
    reached = int((way[:, 0, 0] < 0.01).nonzero()[0])
    assert reached == ceil(log(0.01) / log(0.99))


@given(seed=st.integers(0, 1000), condition=st.floats(1, 1e4), dimensions=st.integers(2, 6))
def test_a_quadratic_has_the_condition_it_was_given(seed: int, condition: float, dimensions: int) -> None:
    curved = bowl(condition, seed, dimensions)
    hessian = torch.autograd.functional.hessian(curved.height, curved.start)
    values = torch.linalg.eigvalsh(hessian)
    assert float(values[-1] / values[0]) == pytest.approx(condition, rel=1e-6)
    assert float(curved.start.norm()) == pytest.approx(1.0)


@pytest.mark.parametrize("name", SURFACES)
def test_bottoms_are_flat_and_at_zero(name: str) -> None:
    surface = SURFACES[name]
    for bottom in surface.bottoms:
        point = torch.tensor(bottom, dtype=torch.float64, requires_grad=True)
        height = surface.height(point)
        (slope,) = torch.autograd.grad(height, point)
        assert height.item() == pytest.approx(0, abs=1e-12)
        assert slope.tolist() == pytest.approx([0, 0], abs=1e-9)
    assert torch.linalg.eigvalsh(torch.autograd.functional.hessian(surface.height, point.detach()))[0] > 0


@pytest.mark.parametrize("place", SURFACES)
@pytest.mark.parametrize("name", ["sgd", "gains", "adam"])
def test_the_best_walk_descends_inside_the_frame(place: str, name: str) -> None:
    surface = SURFACES[place]
    rate, way = best_walk(surface, RULES[name], steps=60)
    assert rate in RATES
    assert surface.height(way[-1]) < 0.3 * surface.height(way[0])
    assert bool(((way >= torch.tensor(surface.low)) & (way <= torch.tensor(surface.high))).all())


def test_walks_abreast_do_not_touch_one_another() -> None:
    height: Height = SURFACES["rosenbrock"].height
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    together = walk_abreast(height, start, Momentum, steps=40, rates=(1e-3, 5.0))
    alone = walk_abreast(height, start, Momentum, steps=40, rates=(1e-3,))
    assert torch.equal(together[:, 0], alone[:, 0])
    assert not together[-1, 1].isfinite().all()


def test_which_networks_are_taught() -> None:
    assert chosen("all") == list(LESSONS)
    assert chosen("adam batch") == ["adam", "batch"]
    with pytest.raises(InvalidValue, match="there is no network 'adma'; did you mean 'adam'"):
        chosen("adma")
    with pytest.raises(InvalidValue, match="networks names adam more than once"):
        chosen("adam adam")
    with pytest.raises(InvalidValue, match="networks is 'batch', but test_accuracy is adam's; add adam"):
        chosen("batch")


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="dimensions is 1, but a condition number needs at least 2"):
        bowl(dimensions=1)
    with pytest.raises(InvalidValue, match=r"condition is 0\.5, but must be at least 1"):
        bowl(0.5)
    with pytest.raises(InvalidValue, match="steps is -1, but must be 0 or more"):
        walk_abreast(bowl().height, bowl().start, Descent, steps=-1)
    with pytest.raises(InvalidValue, match="there are no rates to walk with"):
        walk_abreast(bowl().height, bowl().start, Descent, steps=1, rates=())
    with pytest.raises(InvalidValue, match=r"inputs are \(1, 8, 9\), but this network was built for \(1, 8, 8\)"):
        Network(shape=(1, 8, 8), hidden=4, classes=10)(torch.zeros(2, 1, 8, 9))
    with pytest.raises(InvalidValue, match="hidden is 0, but must be at least 1"):
        Network(shape=(1, 8, 8), hidden=0, classes=10)
    with pytest.raises(InvalidValue, match="classes is 1; a classifier needs at least 2"):
        Network(shape=(1, 8, 8), hidden=4, classes=1)
