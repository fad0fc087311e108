from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from neurarium.data.tables import load_table
from neurarium.errors import InvalidValue
from neurarium.learners.classify import Classify
from neurarium.parts.penalties import strength_of
from neurarium.parts.schedules import cosine
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.foundations.softmax_regression import (
    SoftmaxRegression,
    penalised_adam,
    penalised_error,
    softmax_delta,
)


@pytest.mark.parametrize(("data", "c"), [("iris", 0.1), ("wine", 1.0), ("digits", 0.01)])
def test_converged_weights_are_scikit_learns_at_the_same_c(data: str, c: float) -> None:
    table = load_table(data, seed=0, task="classification", dtype=torch.float64)
    batch = table.train.all()
    model = SoftmaxRegression(shape=(len(table.features),), classes=table.classes, dtype=torch.float64)
    optimizer = penalised_adam(strength_of(c, len(table.train)))
    learner = Classify(model, optimizer=optimizer, lr=0.05, schedule=cosine)
    for step in range(1500):
        learner.progress = step / 1500
        learner.learn(batch)
    peer = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(batch.inputs.numpy(), batch.labels.numpy())
    assert model.weight.detach().numpy() == pytest.approx(peer.coef_, abs=1e-4)
    # A number added to all biases changes no probability, so they are compared without their mean.
    bias = model.bias.detach() - model.bias.detach().mean()
    assert bias.numpy() == pytest.approx(peer.intercept_ - peer.intercept_.mean(), abs=1e-4)
    probabilities = learner.predict(batch.inputs).numpy()
    assert probabilities == pytest.approx(peer.predict_proba(batch.inputs.numpy()), abs=1e-4)


@given(seed=st.integers(0, 10_000), strength=st.floats(0, 2), examples=st.integers(1, 12))
def test_the_gradient_is_the_delta_times_the_input_and_the_penalty(seed: int, strength: float, examples: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(examples, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (examples,), generator=generator)
    model = SoftmaxRegression(shape=(5,), classes=3, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.randn(3, 5, generator=generator, dtype=torch.float64))
    logits = model(inputs)
    loss = penalised_error(logits, labels, model.weight, strength=strength)
    weight, bias = torch.autograd.grad(loss, [model.weight, model.bias])
    delta = softmax_delta(logits, labels).detach()
    torch.testing.assert_close(weight, -delta.T @ inputs / examples + strength * model.weight.detach())
    torch.testing.assert_close(bias, -delta.mean(0))
    torch.testing.assert_close(delta.sum(1), torch.zeros(examples, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_is_refused() -> None:
    model = SoftmaxRegression(shape=(1, 2, 2), classes=2)
    with pytest.raises(InvalidValue, match=r"inputs are \(1, 2, 3\), but this model was built for \(1, 2, 2\)"):
        model(torch.zeros(4, 1, 2, 3))
    with pytest.raises(InvalidValue, match="classes is 1"):
        SoftmaxRegression(shape=(2,), classes=1)
    with pytest.raises(InvalidValue, match="hold nothing"):
        SoftmaxRegression(shape=(0,), classes=2)
    with pytest.raises(InvalidValue, match=r"c is 0\.0, but must be positive"):
        strength_of(0.0, 10)
    with pytest.raises(InvalidValue, match="examples is 0"):
        strength_of(1.0, 0)
    with pytest.raises(InvalidValue, match="strength is -1"):
        penalised_adam(-1.0)
    with pytest.raises(InvalidValue, match="strength is -1"):
        penalised_error(torch.zeros(1, 2), torch.tensor([0]), torch.ones(2, 1), strength=-1.0)


def test_a_file_of_ones_own_is_learned(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(400, 2, generator=generator)
    rows = [f"{x},{y},{'up' if x + y > 0 else 'down'}" for x, y in points.tolist()]
    (tmp_path / "points.csv").write_text("\n".join(["x,y,side", *rows]))
    options = dict(data=f"csv:{tmp_path / 'points.csv'}", target="side", steps=200)
    done = train(find("softmax_regression"), options, Settings(device="cpu"), out=tmp_path)
    assert done.result["measures"]["test_accuracy"] >= 0.9
    assert list((done.folder / "pictures").glob("weights.png"))


def test_images_have_their_own_classes(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="'digits' has its own classes"):
        train(find("softmax_regression"), dict(target="x"), Settings(device="cpu"), out=tmp_path)
