from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Lasso, Ridge
from torch import Tensor
from torch.distributions import Bernoulli, Laplace, Multinomial, Normal

from neurarium.errors import DataError, InvalidValue, NeurariumError
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.foundations import linear_regression
from neurarium.systems.foundations.maximum_likelihood import (
    Prior,
    Regression,
    bernoulli,
    bernoulli_pairing,
    gaussian,
    gaussian_pairing,
    gaussian_prior,
    laplace,
    laplace_prior,
    minimise,
    multinomial,
    multinomial_pairing,
    relative,
)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def targets_of(name: str, seed: int, examples: int, outputs: int) -> Tensor:
    values = normal(examples, outputs, seed=seed + 1)
    return {
        "gaussian": 3 * values + 2,
        "bernoulli": (values > 0.3).double(),
        "multinomial": (3 * values.abs()).round(),
    }[name]


ZERO = torch.tensor(0.0, dtype=torch.float64)

PAIRINGS = {
    "gaussian": gaussian_pairing(1.7),
    "bernoulli": bernoulli_pairing(),
    "multinomial": multinomial_pairing(),
}


def counted(net: Tensor, counts: Tensor) -> Tensor:
    """Torch's Multinomial takes one total for all rows."""
    rows = zip(net, counts, strict=True)
    return torch.stack([Multinomial(int(row.sum()), logits=logits).log_prob(row) for logits, row in rows])


@pytest.mark.parametrize(
    ("ours", "peer", "name"),
    [
        (partial(gaussian, deviation=0.6), lambda a, t: Normal(a, 0.6).log_prob(t).sum(1), "gaussian"),
        (partial(laplace, width=0.6), lambda a, t: Laplace(a, 0.6).log_prob(t).sum(1), "gaussian"),
        (bernoulli, lambda a, t: Bernoulli(logits=a).log_prob(t).sum(1), "bernoulli"),
        (multinomial, counted, "multinomial"),
    ],
)
@given(seed=st.integers(0, 10_000), examples=st.integers(1, 8), outputs=st.integers(1, 4))
def test_densities_are_those_of_torch_distributions(
    ours: Callable[[Tensor, Tensor], Tensor],
    peer: Callable[[Tensor, Tensor], Tensor],
    name: str,
    seed: int,
    examples: int,
    outputs: int,
) -> None:
    net, targets = normal(examples, outputs, seed=seed).requires_grad_(), targets_of(name, seed, examples, outputs)
    values = [density(net, targets) for density in (ours, peer)]
    torch.testing.assert_close(*values, rtol=1e-10, atol=1e-10)
    slopes = [torch.autograd.grad(value.sum(), net)[0] for value in values]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", PAIRINGS)
@given(seed=st.integers(0, 10_000), examples=st.integers(1, 20), outputs=st.integers(2, 5))
def test_an_error_is_the_negative_logarithm_of_its_likelihood(
    name: str, seed: int, examples: int, outputs: int
) -> None:
    targets = targets_of(name, seed, examples, outputs)
    assert PAIRINGS[name].gap(2 * normal(examples, outputs, seed=seed), targets) < 1e-12


@pytest.mark.parametrize("name", PAIRINGS)
@given(seed=st.integers(0, 10_000))
def test_the_slope_by_the_net_input_is_output_less_target(name: str, seed: int) -> None:
    net, targets = normal(6, 3, seed=seed), targets_of(name, seed, 6, 3)
    pairing = PAIRINGS[name]
    outputs = pairing.outputs(net) * (targets.sum(1, keepdim=True) if name == "multinomial" else 1)
    slope = torch.func.grad(lambda a: pairing.surprise(a, targets))(net)
    torch.testing.assert_close(slope, pairing.share * (outputs - targets), rtol=1e-10, atol=1e-10)


def single(name: str, seed: int, examples: int) -> Tensor:
    """Targets of which the mean is the best output: multinomial ones with one class an example."""
    if name != "multinomial":
        return targets_of(name, seed, examples, 2)
    return torch.eye(3, dtype=torch.float64)[torch.arange(examples) * (1 + seed % 3) ** 2 % 7 % 3]


@pytest.mark.parametrize("name", PAIRINGS)
@pytest.mark.parametrize("seed", range(4))
def test_the_lowest_error_is_at_the_greatest_likelihood(name: str, seed: int) -> None:
    targets = single(name, seed, 42)
    assert PAIRINGS[name].best_gap(targets) < 1e-9
    # No other constant output makes the targets more probable than their mean does.
    net = minimise(lambda a: PAIRINGS[name].error(a.expand_as(targets), targets), torch.zeros_like(targets[:1]))
    lowest = PAIRINGS[name].surprise(net.expand_as(targets), targets)
    for other in net + 0.1 * normal(20, targets.shape[1], seed=seed):
        assert PAIRINGS[name].surprise(other.expand_as(targets), targets) >= lowest - 1e-9


def test_the_wrong_likelihood_is_found_out() -> None:
    net, targets = normal(21, 1, seed=0), targets_of("gaussian", 0, 21, 1)
    wrong = replace(gaussian_pairing(1.7), log_likelihood=partial(laplace, width=1.7))
    assert wrong.gap(net, targets) > 0.1
    assert wrong.best_gap(targets) > 1e-2
    swapped = replace(bernoulli_pairing(), error=gaussian_pairing().error)
    assert swapped.gap(net, (targets > 2).double()) > 0.1


def problem(seed: int, *, examples: int = 40, features: int = 5) -> Regression:
    inputs, noise = normal(examples, features, seed=seed), normal(examples, seed=seed + 1)
    targets = inputs @ normal(features, seed=seed + 2) + noise
    return Regression(inputs - inputs.mean(0), targets - targets.mean(), 0.8)


@pytest.mark.parametrize(
    ("make", "peer"),
    [
        (gaussian_prior, lambda width, w: Normal(ZERO, width).log_prob(w).sum()),
        (laplace_prior, lambda width, w: Laplace(ZERO, width).log_prob(w).sum()),
    ],
)
@given(seed=st.integers(0, 10_000), width=st.floats(0.01, 10))
def test_penalties_are_the_negative_logarithms_of_priors(
    make: Callable[[float], Prior], peer: Callable[[float, Tensor], Tensor], seed: int, width: float
) -> None:
    prior, weights = make(width), normal(5, seed=seed)
    assert float(prior.surprise(weights)) == pytest.approx(-float(peer(width, weights)), rel=1e-9)
    left = float(prior.surprise(weights) - prior.rate * prior.penalty([weights]))
    assert left == pytest.approx(float(prior.surprise(torch.zeros_like(weights))), rel=1e-6, abs=1e-6)
    assert problem(seed).gap(weights, prior) < 1e-9


@given(seed=st.integers(0, 1_000), width=st.floats(0.02, 5))
def test_ridge_is_scikit_learns_and_the_bottom_of_the_penalised_error(seed: int, width: float) -> None:
    regression, prior = problem(seed), gaussian_prior(width)
    peer = Ridge(alpha=0.8**2 / width**2, fit_intercept=False, tol=1e-12)
    weights = regression.ridge(prior)
    assert weights.numpy() == pytest.approx(peer.fit(regression.inputs, regression.targets).coef_, rel=1e-8, abs=1e-10)
    assert relative(minimise(lambda w: regression.penalised_error(w, prior), torch.zeros(5).double()), weights) < 1e-9


@pytest.mark.parametrize("width", [0.005, 0.02, 0.1, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_lasso_is_scikit_learns(seed: int, width: float) -> None:
    regression, prior = problem(seed), laplace_prior(width)
    strength = prior.strength(40, 0.8)
    peer = Lasso(alpha=strength, fit_intercept=False, tol=1e-12, max_iter=100_000)
    weights = regression.lasso(prior)
    assert weights.numpy() == pytest.approx(peer.fit(regression.inputs, regression.targets).coef_, rel=1e-6, abs=1e-8)
    assert regression.slack(weights, prior) < 1e-9
    assert regression.slack(weights + 0.01, prior) > 1e-3


@given(seed=st.integers(0, 1_000))
def test_a_narrow_laplace_prior_sets_weights_to_zero_and_a_gaussian_one_does_not(seed: int) -> None:
    regression = problem(seed)
    pull = float((regression.inputs.T @ regression.targets / 40).abs().max())
    enough = 0.8**2 / 40 / pull  # the width at which λ is the largest slope at 0
    assert not regression.lasso(laplace_prior(enough * 0.99)).any()
    assert (regression.lasso(laplace_prior(enough * 1.01)) != 0).any()
    assert (regression.ridge(gaussian_prior(enough)) != 0).all()
    lengths = [float(regression.ridge(gaussian_prior(width)).norm()) for width in (0.01, 0.1, 1.0, 10.0)]
    assert lengths == sorted(lengths)


def test_a_prior_that_says_nothing_leaves_least_squares() -> None:
    regression = problem(0)
    free = linear_regression.solve(regression.inputs, regression.targets.unsqueeze(1)).weights[:-1, 0]
    for weights in (regression.ridge(gaussian_prior(1e5)), regression.lasso(laplace_prior(1e9))):
        torch.testing.assert_close(weights, free, rtol=1e-7, atol=1e-7)


def test_repeated_and_empty_columns_are_solved_too() -> None:
    inputs = problem(0).inputs
    regression = Regression(torch.cat([inputs, inputs, torch.zeros(40, 1)], dim=1), problem(0).targets, 0.8)
    assert regression.slack(regression.lasso(laplace_prior(0.1)), laplace_prior(0.1)) < 1e-6
    ridge = regression.ridge(gaussian_prior(0.1))
    torch.testing.assert_close(ridge[:5], ridge[5:10])
    assert ridge[10] == 0


@pytest.mark.usefixtures("unchecked")
def test_unusable_values_are_refused() -> None:
    two = torch.zeros(2, 1).double()
    for act, message in (
        (lambda: gaussian_pairing(0.0), r"deviation is 0\.0, but must be positive"),
        (lambda: gaussian(two, two, deviation=-1), "deviation is -1"),
        (lambda: gaussian_prior(-1.0), r"width is -1\.0, but must be positive"),
        (lambda: laplace_prior(float("nan")), "width is nan"),
        (lambda: bernoulli_pairing().gap(two, two[:1]), "must come in equal number"),
        (lambda: bernoulli_pairing().gap(two[:0], two[:0]), "the batch is empty"),
        (lambda: bernoulli_pairing().gap(two, torch.zeros(2, 2)), r"targets are \(2, 2\), but the outputs \(2, 1\)"),
        (lambda: Regression(two, two[:1, 0], 1.0), "must come in equal number"),
        (lambda: Regression(two, two[:, 0], 0.0), "do the inputs fit exactly"),
        (lambda: Regression(two / 0, two[:, 0], 1.0), "the inputs are NaN or infinite"),
    ):
        with pytest.raises(InvalidValue, match=message):
            act()


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    rows = torch.cat([normal(30, 3, seed=0), normal(30, 1, seed=1)], dim=1).tolist()
    path = tmp_path / "table.csv"
    path.write_text("\n".join(",".join(map(str, row)) for row in [["a", "b", "c", "price"], *rows]))
    options = dict(data=f"csv:{path}", target="price", points=3)
    measures = train(find("maximum_likelihood"), options, Settings(device="cpu"), out=tmp_path).result["measures"]
    assert all(value <= 1e-6 for name, value in measures.items() if name.endswith("_gap"))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (dict(width=0.0), InvalidValue, r"width is 0\.0, but must be positive"),
        (dict(points=1), InvalidValue, "points is 1"),
        (dict(data="diabetis"), DataError, "did you mean 'diabetes'"),
    ],
)
def test_the_recipe_refuses_impossible_options(
    tmp_path: Path, options: dict[str, float], kind: type[NeurariumError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        train(find("maximum_likelihood"), options, Settings(device="cpu"), out=tmp_path)
