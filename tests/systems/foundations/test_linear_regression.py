from io import StringIO
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sklearn.linear_model import LinearRegression as Peer
from sklearn.metrics import r2_score
from torch import Tensor

from neurarium.data.tables import load_table
from neurarium.errors import DataError, InvalidValue, NeurariumError, NotFinite
from neurarium.parts.bundles import Paired
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.foundations.linear_regression import (
    Descent,
    LinearRegression,
    delta_rule,
    r_squared,
    solve,
    squared_error,
)


def problem(seed: int, *, examples: int = 40, features: int = 5, targets: int = 2) -> Paired:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(examples, features, generator=generator, dtype=torch.float64)
    noise = torch.randn(examples, targets, generator=generator, dtype=torch.float64)
    return Paired(inputs, inputs @ torch.randn(features, targets, generator=generator, dtype=torch.float64) + 3 + noise)


@pytest.mark.parametrize("standardise", [True, False])
def test_the_closed_form_is_scikit_learns(standardise: bool) -> None:
    table = load_table("diabetes", seed=0, task="regression", dtype=torch.float64, standardise=standardise)
    inputs, targets = table.train.all()
    weights, peer = solve(inputs, targets).weights, Peer().fit(inputs.numpy(), targets.numpy())
    assert weights[:-1, 0].numpy() == pytest.approx(peer.coef_[0], rel=1e-8)
    assert weights[-1, 0].item() == pytest.approx(peer.intercept_[0], rel=1e-8)
    test = table.test.all()
    ours = r_squared(test.inputs @ weights[:-1] + weights[-1], test.targets)
    assert ours == pytest.approx(r2_score(test.targets, peer.predict(test.inputs.numpy())), rel=1e-8)


@given(seed=st.integers(0, 10_000), copies=st.integers(1, 3), examples=st.integers(2, 30))
def test_of_equally_good_weights_the_closed_form_gives_the_smallest(seed: int, copies: int, examples: int) -> None:
    batch = problem(seed, examples=examples, features=4)
    inputs = batch.inputs.repeat(1, copies)
    design = torch.cat([inputs, torch.ones(examples, 1, dtype=torch.float64)], dim=1)
    solution = solve(inputs, batch.targets)
    torch.testing.assert_close(solution.weights, torch.linalg.pinv(design) @ batch.targets, rtol=1e-6, atol=1e-6)
    assert solution.rank == torch.linalg.matrix_rank(design) <= 5
    assert solution.columns == 4 * copies + 1


def test_curvatures_are_those_of_the_gram_matrix_and_the_excess_that_of_the_error() -> None:
    batch = problem(3)
    design = torch.cat([batch.inputs, torch.ones(40, 1, dtype=torch.float64)], dim=1)
    solution = solve(*batch)
    gram = torch.linalg.eigvalsh(design.T @ design / 40).flip(0)
    torch.testing.assert_close(solution.curvatures, gram)
    others = torch.randn(7, 6, 2, dtype=torch.float64)
    errors = torch.stack([squared_error(design @ weights, batch.targets) for weights in others])
    lowest = squared_error(design @ solution.weights, batch.targets)
    torch.testing.assert_close(solution.excess(others), errors - lowest)


@given(seed=st.integers(0, 10_000), examples=st.integers(1, 20))
def test_the_delta_rule_is_the_gradient_of_the_squared_error(seed: int, examples: int) -> None:
    inputs, targets = problem(seed, examples=examples)
    model = LinearRegression(features=5, targets=2)
    with torch.no_grad():
        model.weight.copy_(torch.randn(5, 2, dtype=torch.float64))
        model.bias.copy_(torch.randn(2, dtype=torch.float64))
    outputs = model(inputs)
    gradients = torch.autograd.grad(squared_error(outputs, targets), [model.weight, model.bias])
    for ours, gradient in zip(delta_rule(inputs, (targets - outputs).detach()), gradients, strict=True):
        torch.testing.assert_close(ours, -gradient, rtol=1e-10, atol=1e-10)


def test_a_step_is_that_of_torchs_gradient_descent() -> None:
    batch, model, peer = problem(0), LinearRegression(features=5, targets=2), LinearRegression(features=5, targets=2)
    learner, optimizer = Descent(model, lr=0.1), torch.optim.SGD(peer.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        loss = squared_error(peer(batch.inputs), batch.targets)
        loss.backward()
        optimizer.step()
        assert float(learner.learn(batch)["loss"]) == pytest.approx(loss.item(), rel=1e-12)
    torch.testing.assert_close(model.stacked, peer.stacked, rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 10_000), copies=st.integers(1, 2), steps=st.integers(1, 60))
def test_batch_descent_is_as_near_as_promised_whether_columns_repeat_or_not(seed: int, copies: int, steps: int) -> None:
    inputs, targets = problem(seed, features=3)
    batch = Paired(inputs.repeat(1, copies), targets)
    solution = solve(*batch)
    learner = Descent(LinearRegression(features=3 * copies, targets=2), lr=solution.batch_rate())
    for _ in range(steps):
        learner.learn(batch)
    # From 0 descent never leaves the span of the inputs, so it goes to the smallest of the best weights.
    assert solution.gap(learner.model.stacked) <= (1 - solution.flattest / solution.steepest) ** steps + 1e-9
    assert (1 - solution.flattest / solution.steepest) ** solution.steps_to(1e-6) <= 1e-6 * (1 + 1e-9)


def test_rates_fall_from_all_examples_to_one() -> None:
    solution = solve(*problem(0))
    rates = [solution.sampled_rate(batch) for batch in (1, 4, 32, 10**9)]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(1 / solution.largest_input)
    assert rates[-1] == pytest.approx(solution.batch_rate())


def test_the_way_is_remembered_and_put_back() -> None:
    batch = problem(1)
    learner = Descent(LinearRegression(features=5, targets=2), lr=0.05, remember=4, every=3)
    points = [learner.model.stacked]
    for step in range(1, 8):
        learner.learn(batch)
        if step % 3 == 0:
            points.append(learner.model.stacked)
    assert learner.seen == 3
    torch.testing.assert_close(learner.path[:3], torch.stack(points), rtol=0, atol=0)
    other = Descent(LinearRegression(features=5, targets=2), lr=0.05, remember=4, every=3)
    other.load_state_dict(learner.state_dict())
    learner.learn(batch), other.learn(batch)
    assert torch.equal(learner.path, other.path)
    for _ in range(20):  # beyond what is kept
        learner.learn(batch)
    assert learner.seen == 4


@pytest.mark.usefixtures("unchecked")
def test_unusable_batches_are_refused() -> None:
    learner = Descent(LinearRegression(features=3), lr=0.1)
    inputs, targets = torch.zeros(4, 3).double(), torch.zeros(4, 1).double()
    for batch, message in (
        (Paired(inputs[:0], targets[:0]), "the batch is empty"),
        (Paired(inputs, targets[:2]), "must come in equal number"),
        (Paired(inputs[:, :2], targets), r"inputs are \(4, 2\), but must be \(B, 3\)"),
        (Paired(inputs, torch.zeros(4, 2).double()), r"targets are \(4, 2\), but the outputs \(4, 1\)"),
        (Paired(inputs, torch.zeros(4).double()), r"targets are \(4,\), but the outputs \(4, 1\)"),
    ):
        with pytest.raises(InvalidValue, match=message):
            learner.learn(batch)


def test_unusable_numbers_are_refused() -> None:
    model = LinearRegression(features=3)
    for options, message in (
        (dict(lr=-0.1), r"lr is -0\.1, but must be 0 or more"),
        (dict(lr=float("nan")), "lr is nan"),
        (dict(lr=0.1, every=0), "every is 0"),
        (dict(lr=0.1, remember=0), "remember is 0"),
    ):
        with pytest.raises(InvalidValue, match=message):
            Descent(model, **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="features is 0"):
        LinearRegression(features=0)
    with pytest.raises(InvalidValue, match="targets is 0"):
        LinearRegression(features=1, targets=0)
    with pytest.raises(InvalidValue, match="the targets are NaN or infinite"):
        solve(torch.zeros(2, 1), torch.tensor([[1.0], [torch.nan]]))
    with pytest.raises(InvalidValue, match="no variance to explain"):
        r_squared(torch.zeros(3, 1), torch.ones(3, 1))


def table_of(tmp_path: Path, inputs: Tensor, targets: Tensor) -> str:
    """A file of columns a, b, ... and price, as a data string."""
    names = [*"abcdefgh"[: inputs.shape[1]], "price"]
    rows = torch.cat([inputs, targets], dim=1).tolist()
    path = tmp_path / "table.csv"
    path.write_text("\n".join(",".join(map(str, row)) for row in [names, *rows]))
    return f"csv:{path}"


def test_a_file_whose_columns_repeat_is_solved_and_said_so(tmp_path: Path) -> None:
    inputs, targets = problem(0, examples=60, features=2, targets=1)
    data = table_of(tmp_path, torch.cat([inputs, 2 * inputs[:, :1]], dim=1), targets)
    console = Console(file=StringIO(), width=300)
    options = dict(data=data, target="price", passes=2, batch=8)
    done = train(find("linear_regression"), options, Settings(device="cpu"), out=tmp_path, console=console)
    assert isinstance(console.file, StringIO)
    assert "only 3 of 4 columns (one is the bias's) are independent" in console.file.getvalue()
    assert done.result["measures"]["closed_form_gap"] < 1e-5
    assert done.result["measures"]["r2"] > 0


def test_one_feature_is_enough(tmp_path: Path) -> None:
    data = table_of(tmp_path, *problem(0, examples=30, features=1, targets=1))
    options = dict(data=data, target="price", passes=1, batch=64)
    done = train(find("linear_regression"), options, Settings(device="cpu"), out=tmp_path)
    assert done.result["measures"]["closed_form_gap"] < 1e-5


def test_a_learning_rate_that_diverges_stops_the_run_at_a_step(tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match=r"loss became (inf|nan) at step \d+; try a smaller learning rate"):
        train(find("linear_regression"), dict(lr=1.0), Settings(device="cpu"), out=tmp_path)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (dict(lr=-1.0), InvalidValue, r"lr is -1\.0, but must be 0 or more"),
        (dict(steps=-1), InvalidValue, "steps is -1"),
        (dict(passes=-1), InvalidValue, "passes is -1"),
        (dict(batch=0), InvalidValue, "the batch size is 0"),
        (dict(data="diabetis"), DataError, "did you mean 'diabetes'"),
        (dict(target="bmi"), InvalidValue, "has its own target"),
    ],
)
def test_the_recipe_refuses_impossible_options(
    tmp_path: Path, options: dict[str, float], kind: type[NeurariumError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        train(find("linear_regression"), options, Settings(device="cpu"), out=tmp_path)
