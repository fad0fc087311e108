import csv
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.bundles import Labelled
from neurarium.parts.predictive_nodes import (
    Activity,
    PredictiveCoding,
    energy,
    largest_rate,
    settle,
)
from neurarium.parts.simulation import Probe
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.neuro.predictive_coding import LearnLocally, backpropagated, changes

SIZES = (4, 7, 6, 5)


def make(
    sizes: tuple[int, ...] = SIZES, *, seed: int = 0, variances: tuple[float, ...] | None = None
) -> PredictiveCoding:
    net = PredictiveCoding(sizes=sizes, variances=variances, generator=torch.Generator().manual_seed(seed))
    return net.double()


def ends(net: PredictiveCoding, seed: int = 0) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    above, below = net.M[-1].shape[0], net.M[0].shape[1]
    return (
        torch.randn(3, above, generator=chance, dtype=torch.float64),
        torch.randn(3, below, generator=chance, dtype=torch.float64),
    )


def kept_energy(net: PredictiveCoding) -> dict[str, Probe[Activity, Activity]]:
    return {"F": Probe(lambda now, _: energy(net, now.errors))}


def from_autograd(
    net: PredictiveCoding, top: Tensor, bottom: Tensor
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Autograd's −∂loss/∂μ of every layer below the top, bottom first, and gradients of M and biases."""
    values = [top]
    for weight, bias in zip(reversed(net.M), reversed(net.biases), strict=True):
        values.insert(0, torch.tanh(values[0]) @ weight + bias)
    loss = (values[0] - bottom).square().sum() / (2 * net.variances[0])
    parameters = [*values[:-1], *net.M, *net.biases]
    found = torch.autograd.grad(loss, parameters)
    layers = len(net.M)
    return [-each for each in found[:layers]], list(found[layers : 2 * layers]), list(found[2 * layers :])


@pytest.mark.parametrize("variances", [(1.0, 1.0, 1.0), (3.0, 0.5, 2.0)])
def test_with_fixed_predictions_errors_settle_at_autograds_deltas(variances: tuple[float, ...]) -> None:
    net = make(variances=variances)
    top, bottom = ends(net)
    deltas, weights, biases = from_autograd(net, top, bottom)
    with torch.no_grad():
        values = net.sweep(top)
    start, free = (bottom, *values[1:]), (False, True, True, False)
    settled = settle(net, start, free=free, steps=400, rate=0.2, fixed=True).state
    swept = backpropagated(net, [value.detach() for value in values], bottom)
    for ours, sent, theirs in zip(settled.errors, swept, deltas, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(sent.detach(), theirs)
    for layer, each in enumerate(settled.errors):
        down, up, bias = changes(settled.outputs[layer + 1], each)
        torch.testing.assert_close(-down, weights[layer] / 3, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(-bias, biases[layer] / 3, rtol=1e-8, atol=1e-10)
        assert torch.equal(up, down.T)


def test_with_rate_1_fixed_predictions_are_backpropagation_after_a_step_a_layer() -> None:
    net = make()
    top, bottom = ends(net)
    values = [value.detach() for value in net.sweep(top)]
    free = (False, True, True, False)
    settled = settle(net, (bottom, *values[1:]), free=free, steps=2, rate=1.0, fixed=True).state
    for ours, theirs in zip(settled.errors, backpropagated(net, values, bottom), strict=True):
        torch.testing.assert_close(ours, theirs.detach())


@given(
    seed=st.integers(0, 1000),
    hidden=st.lists(st.integers(1, 9), max_size=3),
    variance=st.floats(0.2, 5.0),
    moves=st.tuples(st.booleans(), st.booleans()),
    part=st.floats(0.05, 0.9),
)
@settings(deadline=None, max_examples=30)
def test_energy_falls_with_whatever_is_clamped(
    seed: int, hidden: list[int], variance: float, moves: tuple[bool, bool], part: float
) -> None:
    net = make((4, *hidden, 3), seed=seed, variances=(variance,) * (len(hidden) + 1))
    top, bottom = ends(net, seed)
    start = [bottom / 4, *[value.detach() for value in net.sweep(top / 4)[1:]]]
    free = (moves[0], *[True] * len(hidden), moves[1])
    done = settle(net, start, free=free, steps=40, rate=part * largest_rate(net) / 2, probes=kept_energy(net))
    falls = done.kept["F"].diff()
    assert bool((falls <= 1e-12).all())
    for layer, moved in enumerate(free):
        if not moved:
            assert torch.equal(done.state.values[layer], start[layer])


def test_the_pull_on_values_is_the_energys_gradient_and_rests_where_it_is_0() -> None:
    net = make(variances=(2.0, 0.5, 1.0))
    top, bottom = ends(net)
    start = [bottom, *[(value + 0.3).detach() for value in net.sweep(top)[1:]]]
    leaves = [value.clone().requires_grad_() for value in start]
    fall = torch.zeros((), dtype=torch.float64)
    for layer in range(3):
        wrong = leaves[layer] - (torch.tanh(leaves[layer + 1]) @ net.M[layer] + net.biases[layer])
        fall = fall + wrong.square().sum() / (2 * net.variances[layer])
    wanted = torch.autograd.grad(fall, leaves)
    moved = settle(net, start, free=[True] * 4, steps=1, rate=1e-3).state.values
    for ours, before, gradient in zip(moved, start, wanted, strict=True):
        torch.testing.assert_close((before - ours) / 1e-3, gradient, rtol=1e-6, atol=1e-8)


def test_error_nodes_with_a_time_constant_rest_where_those_without_do() -> None:
    net = make(variances=(2.0, 1.0, 1.0))
    top, bottom = ends(net)
    start, free = [bottom, *[value.detach() for value in net.sweep(top)[1:]]], (False, True, True, False)
    slow, quick = (settle(net, start, free=free, steps=600, rate=0.1, lag=lag).state for lag in (0.1, 0.0))
    for ours, theirs in zip(slow.errors, quick.errors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_a_clamped_top_generates_the_sweep_from_anywhere() -> None:
    net = make()
    top, bottom = ends(net)
    start = [bottom, *[torch.zeros_like(value) for value in net.sweep(top)[1:-1]], top]
    generated = settle(net, start, free=(True, True, True, False), steps=600, rate=0.3).state
    torch.testing.assert_close(generated.values[0], net.sweep(top)[0].detach(), rtol=1e-6, atol=1e-8)
    assert float(energy(net, generated.errors)) < 1e-12


def test_a_large_variance_of_the_output_brings_the_rule_to_backpropagation() -> None:
    chance = torch.Generator().manual_seed(1)
    batch = Labelled(torch.rand(8, 5, generator=chance), torch.arange(8) % 4)
    angles = []
    for variance in (1.0, 10.0, 100.0):
        net = PredictiveCoding(sizes=SIZES, variances=(variance, 1.0, 1.0), generator=torch.Generator().manual_seed(0))
        angles.append(LearnLocally(net, top="picture", settling=200).angle(batch))
    assert angles[0] > 3 * angles[1] > 9 * angles[2] > 0
    assert LearnLocally(net, top="picture", rule="fixed", settling=3).angle(batch) < 1e-2


def striped(count: int = 40) -> Labelled:
    labels = torch.arange(count) % 2
    across = torch.zeros(2, 1, 4, 4)
    across[0, :, ::2], across[1, :, :, ::2] = 1, 1
    return Labelled(
        across[labels] + 0.1 * torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(0)), labels
    )


def test_with_a_label_on_top_it_draws_infers_and_completes() -> None:
    batch = striped()
    net = PredictiveCoding(sizes=(16, 8, 2), generator=torch.Generator().manual_seed(0))
    learner = LearnLocally(net, top="label", lr=2e-2, settling=15)
    for _ in range(80):
        learner.learn(batch)
    assert learner.evaluate([batch], steps=100)["accuracy"] == 1.0
    drawn = net(torch.eye(2)).detach()
    for label in range(2):
        mean = batch.inputs[batch.labels == label].mean(0).flatten()
        assert float((drawn[label] - mean).abs().max()) < 0.1
    known = torch.zeros(1, 1, 4, 4)
    known[..., :2, :] = 1
    seen = batch.inputs * known + 99 * (1 - known)
    filled = learner.complete(seen, known, steps=400).values[0].reshape(-1, 1, 4, 4)
    assert torch.equal((filled * known), seen * known)
    assert float(((filled - batch.inputs) * (1 - known)).square().mean()) < 0.05
    assert all(torch.allclose(up, down.T, atol=1e-5) for up, down in zip(net.W, net.M, strict=True))


def test_nothing_is_learned_at_rate_0_and_no_gradient_is_recorded() -> None:
    net = PredictiveCoding(sizes=(2, 8, 16))
    before = [weight.detach().clone() for weight in net.parameters()]
    learner = LearnLocally(net, top="picture", lr=0.0)
    assert not learner.learn(striped())["energy"].requires_grad  # type: ignore[union-attr]
    assert all(torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True))


@pytest.mark.usefixtures("unchecked")
def test_what_is_wrong_is_named() -> None:
    net = PredictiveCoding(sizes=(2, 8, 16))
    good = striped(4)
    learner = LearnLocally(net, top="picture")
    for call, message in (
        (lambda: PredictiveCoding(sizes=(4,)), "give two layers or more"),
        (lambda: PredictiveCoding(sizes=(4, 3), variances=(1.0, 1.0)), "give 1, all positive"),
        (lambda: PredictiveCoding(sizes=(4, 3), variances=(-1.0,)), "give 1, all positive"),
        (lambda: net(torch.zeros(2, 15)), "is given 15 values, but this network has 16"),
        (lambda: LearnLocally(net, top="pictur"), "did you mean 'picture'"),  # type: ignore[arg-type]
        (lambda: LearnLocally(net, top="label", rule="fix"), "there is no rule 'fix'"),  # type: ignore[arg-type]
        (lambda: LearnLocally(net, top="label", lr=-1.0), "lr is -1.0, but must be 0 or more"),
        (lambda: learner.learn(Labelled(good.inputs[:0], good.labels[:0])), "the batch is empty"),
        (lambda: learner.learn(Labelled(good.inputs, good.labels.unsqueeze(1))), "must be one class for each"),
        (lambda: learner.learn(Labelled(good.inputs, good.labels + 1)), "a label lies outside 0 to 1"),
        (lambda: learner.learn(Labelled(good.inputs * torch.nan, good.labels)), "a value is NaN or infinite"),
        (lambda: learner.complete(good.inputs, good.inputs), "build one with the label there"),
        (lambda: LearnLocally(net, top="picture", rate=0.0).learn(good), "rate is 0.0, but must be positive"),
        (lambda: LearnLocally(net, top="picture", settling=0).learn(good), "there is no step to simulate"),
        (lambda: LearnLocally(net, top="picture", rate=3.0).learn(good), "rate is 3, with which the energy rises"),
    ):
        with pytest.raises(InvalidValue, match=message):
            call()


def test_the_recipe_compares_three_rules_in_one_table(tmp_path: Path) -> None:
    options = dict(steps=2, hidden=8, settling=2, completing=5)
    done = train(find("predictive_coding"), options, Settings(device="cpu", threads=1), out=tmp_path, name="run")
    with (done.folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["rule"] for row in rows] == ["predictive coding", "fixed prediction", "backpropagation"]
    assert float(rows[2]["angle"]) == 0.0 < float(rows[0]["angle"])
    assert all(float(row["seconds"]) >= 0 for row in rows)
    names = {path.stem for path in (done.folder / "pictures").glob("*.png")}
    assert {"comparison", "completed", "drawn", "settling"} <= names
