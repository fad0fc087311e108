from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression as Peer
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from neurarium.data.tables import load_table
from neurarium.errors import InvalidValue, NeurariumError
from neurarium.parts.bundles import Labelled
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.foundations.logistic_regression import (
    Descend,
    LogisticRegression,
    cross_entropy,
    cross_entropy_slope,
    newton,
    safe_rate,
    squared_error,
    squared_error_slope,
)


def problem(seed: int, *, examples: int = 40, features: int = 4) -> Labelled:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(examples, features, generator=generator, dtype=torch.float64)
    noise = torch.randn(examples, generator=generator, dtype=torch.float64)
    labels = (inputs.sum(1) + noise >= 0).long()
    labels[:2] = torch.tensor([0, 1])
    return Labelled(inputs, labels)


@pytest.mark.parametrize("c", [0.1, 1.0, 10.0])
def test_newtons_weights_are_scikit_learns_at_the_same_penalty(c: float) -> None:
    table = load_table("breast-cancer", seed=0, task="classification", dtype=torch.float64)
    inputs, labels = table.train.all()
    weights = newton(inputs, labels.double(), strength=1 / (c * len(labels)))
    peer = Peer(C=c, tol=1e-10, solver="newton-cholesky").fit(inputs.numpy(), labels.numpy())
    assert weights[:-1].numpy() == pytest.approx(peer.coef_[0], abs=1e-5)
    assert weights[-1].item() == pytest.approx(peer.intercept_[0], abs=1e-5)


def test_descent_on_cross_entropy_ends_at_scikit_learns_coefficients() -> None:
    batch = problem(0, examples=60)
    strength = 1 / len(batch.labels)
    rate = safe_rate(batch.inputs, strength=strength)
    learner = Descend(LogisticRegression(features=4), objective=cross_entropy, strength=strength, lr=rate)
    for _ in range(300):
        learner.learn(batch)
    peer = Peer(C=1.0, tol=1e-10).fit(batch.inputs.numpy(), batch.labels.numpy())
    assert learner.model.weight.detach().numpy() == pytest.approx(peer.coef_[0], abs=1e-3)
    assert learner.model.bias.item() == pytest.approx(peer.intercept_[0], abs=1e-3)
    probabilities = peer.predict_proba(batch.inputs.numpy())[:, 1]
    assert learner.predict(batch.inputs).numpy() == pytest.approx(probabilities, abs=1e-3)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), size=st.floats(0.01, 30))
def test_errors_and_slopes_are_torchs(seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    net = (size * torch.randn(7, generator=generator, dtype=torch.float64)).requires_grad_()
    targets = torch.randint(2, (7,), generator=generator).double()
    for ours, slope, peer in (
        (cross_entropy, cross_entropy_slope, binary_cross_entropy_with_logits(net, targets)),
        (squared_error, squared_error_slope, mse_loss(net.sigmoid(), targets) / 2),
    ):
        torch.testing.assert_close(ours(net, targets), peer)
        (gradient,) = torch.autograd.grad(peer, [net])
        torch.testing.assert_close(slope(net, targets).detach(), 7 * gradient)
        torch.testing.assert_close(torch.autograd.grad(ours(net, targets), [net])[0], gradient)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), size=st.floats(0, 20))
def test_at_the_safe_rate_descent_never_rises(seed: int, size: float) -> None:
    batch, strength = problem(seed), 0.05
    rate = safe_rate(batch.inputs, strength=strength)
    learner = Descend(LogisticRegression(features=4), objective=cross_entropy, strength=strength, lr=rate)
    with torch.no_grad():
        learner.model.weight.fill_(-size)
    errors = []
    for _ in range(6):
        penalty = strength / 2 * float(learner.model.weight.detach().square().sum())
        errors.append(float(learner.learn(batch)["loss"]) + penalty)
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(errors))


def test_sure_and_wrong_squared_error_stalls_and_cross_entropy_does_not() -> None:
    net, targets = torch.tensor([-12.0], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    assert float(squared_error_slope(net, targets).abs()) < 1e-5
    assert float(cross_entropy_slope(net, targets).abs()) > 0.99


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_is_refused() -> None:
    learner = Descend(LogisticRegression(features=2), objective=cross_entropy, lr=0.1)
    inputs, labels = torch.zeros(4, 2), torch.tensor([0, 1, 1, 0])
    for batch, message in (
        (Labelled(inputs[:0], labels[:0]), "the batch is empty"),
        (Labelled(inputs, labels[:2]), "must come in equal number"),
        (Labelled(inputs[:, :1], labels), r"inputs are \(4, 1\), but must be \(B, 2\)"),
        (Labelled(inputs, labels + 1), "labels must be 0 or 1"),
    ):
        with pytest.raises(InvalidValue, match=message):
            learner.learn(batch)
    with pytest.raises(InvalidValue, match="features is 0"):
        LogisticRegression(features=0)
    with pytest.raises(InvalidValue, match="lr is -1"):
        Descend(learner.model, objective=cross_entropy, lr=-1.0)
    with pytest.raises(InvalidValue, match="strength is -1"):
        Descend(learner.model, objective=cross_entropy, strength=-1.0, lr=0.1)
    with pytest.raises(InvalidValue, match="strength is 0"):
        newton(inputs, labels.double(), strength=0.0)
    with pytest.raises(InvalidValue, match="NaN or infinite"):
        newton(inputs * torch.nan, labels.double(), strength=1.0)
    with pytest.raises(InvalidValue, match="all examples are of one class"):
        newton(inputs, torch.ones(4), strength=1.0)


def test_a_file_of_ones_own_is_learned(tmp_path: Path) -> None:
    points = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    rows = [f"{x},{y},{'up' if x + y > 0 else 'down'}" for x, y in points.tolist()]
    (tmp_path / "points.csv").write_text("\n".join(["x,y,side", *rows]))
    options = dict(data=f"csv:{tmp_path / 'points.csv'}", target="side", steps=100, wrong_steps=20)
    done = train(find("logistic_regression"), options, Settings(device="cpu"), out=tmp_path)
    assert done.result["measures"]["test_accuracy"] >= 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(c=0.0), r"c is 0\.0, but must be positive"),
        (dict(lr=-1.0), "lr is -1"),
        (dict(data="iris"), "'iris' has 3 classes, but one unit tells 2"),
        (dict(data="brest-cancer"), "did you mean 'breast-cancer'"),
    ],
)
def test_the_recipe_refuses_impossible_options(tmp_path: Path, options: dict[str, float | str], message: str) -> None:
    with pytest.raises(NeurariumError, match=message):
        train(find("logistic_regression"), options, Settings(device="cpu"), out=tmp_path)
