"""RBMs against scikit-learn, against sums over every state, and against the exact gradient of the likelihood."""

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neural_network import BernoulliRBM
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.bundles import Labelled
from neurarium.recipes.energy.rbm import Prepare, base_rates
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.energy.rbm import (
    RBM,
    ContrastiveDivergence,
    annealed_log_z,
    contrast,
    exact_log_z,
    gibbs,
    sample,
)


def make(visible: int = 4, hidden: int = 3, *, seed: int = 0, deviation: float = 0.8) -> RBM:
    """A small machine in float64 with weights and biases of some size."""
    torch.manual_seed(seed)
    model = RBM(shape=(visible,), hidden=hidden, deviation=deviation).double()
    for bias in (model.visible_bias, model.hidden_bias):
        bias.copy_(0.5 * torch.randn_like(bias))
    return model


def states(units: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=units)), dtype=torch.float64)


def labelled(inputs: Tensor) -> Labelled:
    return Labelled(inputs, torch.zeros(len(inputs), dtype=torch.long))


def data() -> Tensor:
    """Visible states of four units, some more often than others."""
    return states(4)[torch.tensor([3, 3, 3, 12, 12, 5, 15, 0])]


def parameters(model: RBM) -> list[Tensor]:
    return [model.weight, model.visible_bias, model.hidden_bias]


def exact_gradient(model: RBM, seen: Tensor) -> list[Tensor]:
    """Of the mean log likelihood, by autograd through a sum over every visible state."""
    weight, ours, theirs = (each.detach().clone().requires_grad_() for each in parameters(model))

    def log_unnormalised(visible: Tensor) -> Tensor:
        return visible @ ours + torch.nn.functional.softplus(visible @ weight + theirs).sum(1)

    (log_unnormalised(seen).mean() - log_unnormalised(states(4)).logsumexp(0)).backward()
    return [each.grad for each in (weight, ours, theirs) if each.grad is not None]


def expected_contrast(model: RBM, seen: Tensor, k: int) -> list[Tensor]:
    """The mean of CD-k's step, by the transition matrix of its chain: no chance is left in it."""
    every_visible, every_hidden = states(4), states(3)
    to_hidden = likelihoods(model.hidden_probability(every_visible), every_hidden)
    to_visible = likelihoods(model.visible_probability(every_hidden), every_visible)
    start = (seen[:, None] == every_visible).all(2).double().mean(0)
    end = start @ torch.linalg.matrix_power(to_hidden @ to_visible, k)
    probability = model.hidden_probability(every_visible)
    both = every_visible[:, :, None] * probability[:, None, :]
    change = start - end
    return [torch.einsum("s,svh->vh", change, both), change @ every_visible, change @ probability]


def likelihoods(probability: Tensor, outcomes: Tensor) -> Tensor:
    each = torch.where(outcomes > 0, probability[:, None], 1 - probability[:, None])
    return each.prod(2)


def step_of(learner: ContrastiveDivergence, batch: Tensor) -> list[Tensor]:
    before = [each.clone() for each in parameters(learner.model)]
    learner.learn(labelled(batch))
    return [now - then for now, then in zip(parameters(learner.model), before, strict=True)]


@given(visible=st.integers(1, 6), hidden=st.integers(1, 6), seed=st.integers(0, 1000))
def test_free_energy_is_the_sum_over_hidden_states_and_scikit_learns(visible: int, hidden: int, seed: int) -> None:
    model, seen = make(visible, hidden, seed=seed), states(visible)
    every = states(hidden)
    slow = [-(-model.energy(row.expand(len(every), -1), every)).logsumexp(0) for row in seen]
    torch.testing.assert_close(model.free_energy(seen), torch.stack(slow))
    peer = BernoulliRBM(n_components=hidden)
    peer.components_, peer.intercept_hidden_ = model.weight.T.numpy(), model.hidden_bias.numpy()
    peer.intercept_visible_ = model.visible_bias.numpy()
    torch.testing.assert_close(model.free_energy(seen), torch.from_numpy(peer._free_energy(seen.numpy())))
    torch.testing.assert_close(model(seen), torch.from_numpy(peer.transform(seen.numpy())))


def test_gaps_are_differences_of_energies_and_decide_probabilities_with_the_temperature() -> None:
    model, seen, hidden = make(), states(4), states(3)[[1, 6]].repeat(8, 1)
    for gap, unit, layer in ((model.hidden_gap(seen), 1, "h"), (model.visible_gap(hidden), 2, "v")):
        on, off = (hidden if layer == "h" else seen).clone(), (hidden if layer == "h" else seen).clone()
        on[:, unit], off[:, unit] = 1, 0
        pairs = [(seen, each) if layer == "h" else (each, hidden) for each in (on, off)]
        torch.testing.assert_close(gap[:, unit], model.energy(*pairs[0]) - model.energy(*pairs[1]))
    warm = model.hidden_probability(seen, temperature=2.5)
    torch.testing.assert_close(warm, 1 / (1 + (model.hidden_gap(seen) / 2.5).exp()))
    cold = model.visible_probability(hidden, temperature=1e-3)
    assert torch.equal(cold.round(), (model.visible_gap(hidden) < 0).double())


def test_samples_come_as_often_as_they_should() -> None:
    probability = torch.tensor([[0.0, 0.1, 0.5, 0.9, 1.0]]).expand(20_000, -1)
    drawn = sample(probability, torch.Generator().manual_seed(0))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(drawn.mean(0), probability[0], rtol=0, atol=0.015)


def test_a_long_wander_visits_states_as_often_as_their_energy_allows() -> None:
    model = make(3, 2)
    start = torch.zeros(20_000, 3, dtype=torch.float64)
    dreamt = gibbs(model, start, steps=30, generator=torch.Generator().manual_seed(1)).visible
    often = torch.stack([(dreamt == state).all(1).double().mean() for state in states(3)])
    torch.testing.assert_close(often, (-model.free_energy(states(3))).softmax(0), rtol=0, atol=0.015)


def test_contrast_is_the_loop_of_its_definition() -> None:
    model = make()
    seen, dreamt = data(), states(4)[:5]
    awake, asleep = model.hidden_probability(seen), model.hidden_probability(dreamt)
    slow = model.weight.clone()
    for i, j in itertools.product(range(4), range(3)):
        together = (seen[:, i] * awake[:, j]).mean() - (dreamt[:, i] * asleep[:, j]).mean()
        slow[i, j] += 0.3 * (together - 0.1 * model.weight[i, j])
    biases = model.visible_bias + 0.3 * (seen.mean(0) - dreamt.mean(0))
    contrast(model, (seen, awake), (dreamt, asleep), rate=0.3, decay=0.1)
    torch.testing.assert_close(model.weight.data, slow)
    torch.testing.assert_close(model.visible_bias.data, biases)


def test_the_mean_of_a_step_nears_the_exact_gradient_as_k_grows() -> None:
    model, seen = make(deviation=0.5), data()
    exact = torch.cat([each.flatten() for each in exact_gradient(model, seen)])
    distances = []
    for k in (1, 3, 10, 60):
        mean = torch.cat([each.flatten() for each in expected_contrast(model, seen, k)])
        distances.append(float((mean - exact).norm()))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-9


@pytest.mark.parametrize("k", [1, 4])
def test_a_step_is_its_mean_when_the_batch_is_large(k: int) -> None:
    model, seen = make(), data()
    wanted = expected_contrast(model, seen, k)
    found = step_of(ContrastiveDivergence(model, steps=k, lr=1.0), seen.repeat(4000, 1))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0.015)


def test_persistent_chains_follow_the_exact_gradient_and_live_on() -> None:
    model, seen = make(), data()
    learner = ContrastiveDivergence(model, chains=20_000, lr=0.0)
    learner.chains = learner.chains.double() if learner.chains is not None else None
    for _ in range(30):
        learner.learn(labelled(seen))
    exact, learner.lr = exact_gradient(model, seen), 1.0
    for one, other in zip(step_of(learner, seen), exact, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0.02)
    assert "chains" in learner.state_dict()


def test_nothing_leans_on_autograd() -> None:
    model = RBM(shape=(4,), hidden=3)
    with torch.inference_mode(False), torch.enable_grad():
        ContrastiveDivergence(model, lr=0.1).learn(labelled(data().float()))
    assert all(not each.requires_grad and each.grad is None for each in model.parameters())


@settings(max_examples=20)
@given(visible=st.integers(1, 7), hidden=st.integers(1, 7), seed=st.integers(0, 1000))
def test_log_z_is_the_sum_over_every_state(visible: int, hidden: int, seed: int) -> None:
    model = make(visible, hidden, seed=seed)
    assert exact_log_z(model) == pytest.approx(float((-model.free_energy(states(visible))).logsumexp(0)))


def test_annealing_estimates_log_z() -> None:
    model, base = make(10, 6), torch.zeros(10, dtype=torch.float64)
    chance = torch.Generator().manual_seed(0)
    assert annealed_log_z(model, base=base, temperatures=300, generator=chance) == pytest.approx(
        exact_log_z(model), abs=0.02
    )
    model.weight.zero_()  # independent units with these very biases: known without a step
    model.hidden_bias.zero_()
    known = annealed_log_z(model, base=model.visible_bias, chains=3, temperatures=1)
    assert known == pytest.approx(exact_log_z(model), abs=1e-9)


def test_pictures_are_shifted_by_a_pixel_and_made_binary() -> None:
    images = torch.rand(6, 3, 5, 4)
    drawn = Prepare(0.5)(images, generator=torch.Generator().manual_seed(0))
    every = Prepare(0.5).all_shifts(labelled(images))
    assert drawn.shape == (6, 1, 5, 4)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert all(any(torch.equal(one, other) for other in every.inputs[place::6]) for place, one in enumerate(drawn))
    assert torch.equal(Prepare(None).units(images), images.mean(1, keepdim=True))
    assert base_rates(torch.tensor([[0.0], [0.0]])).sigmoid().item() == pytest.approx(0.25)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: RBM(shape=(), hidden=3), "shape \\(\\) hold nothing"),
        (lambda: RBM(shape=(4,), hidden=0), "hidden is 0"),
        (lambda: make()(torch.zeros(2, 5)), "inputs are \\(5,\\), but this model was built for \\(4,\\)"),
        (lambda: make().hidden_probability(states(4), temperature=0.0), "temperature is 0.0"),
        (lambda: gibbs(make(), states(4), steps=0), "steps is 0"),
        (lambda: ContrastiveDivergence(make(), steps=0), "steps is 0"),
        (lambda: ContrastiveDivergence(make(), lr=-1.0), "lr is -1.0"),
        (lambda: ContrastiveDivergence(make()).learn(labelled(data() / 2)), "the data holds 0.5, but units are 0 or 1"),
        (lambda: ContrastiveDivergence(make()).learn(labelled(-data())), "the data holds -1, but"),
        (lambda: ContrastiveDivergence(make()).learn(labelled(data() * torch.nan)), "the data holds nan, but"),
        (lambda: ContrastiveDivergence(make()).learn(labelled(data()[:0])), "the batch is empty"),
        (lambda: exact_log_z(RBM(shape=(30,), hidden=25)), "2\\^25 states are too many"),
        (lambda: annealed_log_z(make(), base=torch.zeros(4), chains=0), "chains is 0"),
        (lambda: annealed_log_z(make(), base=torch.zeros(4), temperatures=0), "temperatures is 0"),
    ],
)
def test_what_cannot_be_is_refused(wrong, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidValue, match=message):
        wrong()


@pytest.mark.parametrize(("option", "value"), [("threshold", 1.0), ("few", 21)])
def test_options_outside_their_rules_are_refused(option: str, value: float, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=f"{option} is {value}"):
        train(find("rbm"), {option: value}, Settings(device="cpu"), out=tmp_path)
