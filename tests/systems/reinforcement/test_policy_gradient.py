"""REINFORCE: its mean change is the gradient of the expected return, found by going through every episode there is."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from neurarium.errors import InvalidValue
from neurarium.parts.dense import dense
from neurarium.systems.reinforcement.policy_gradient import (
    Baseline,
    Episodes,
    Play,
    PolicyGradient,
    check_episodes,
    episode_returns,
    joined,
    surrogate,
)
from neurarium.worlds.cart_pole import CartPole

STEPS, ACTIONS = 3, 2


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def every_episode(seed: int) -> Episodes:
    """All 8 sequences of actions in a world of three steps that sees all that was done, with random rewards."""
    taken = torch.tensor(list(product(range(ACTIONS), repeat=STEPS)))
    states = torch.zeros(len(taken), STEPS, STEPS)
    for step in range(STEPS):
        states[:, step, :step] = 2.0 * taken[:, :step] - 1
        states[:, step, step] = 0.5
    known: dict[tuple[int, ...], float] = {}
    source = chance(seed)
    rewards = torch.zeros(len(taken), STEPS)
    for row, step in product(range(len(taken)), range(STEPS)):
        past = tuple(taken[row, : step + 1].tolist())
        known.setdefault(past, float(torch.randn(1, generator=source)))
        rewards[row, step] = known[past]
    yes = torch.ones(len(taken), STEPS, dtype=torch.bool)
    return Episodes(states, taken, rewards, yes, states[:, -1], yes[:, 0])


def likelihoods(policy: nn.Module, batch: Episodes) -> Tensor:
    chosen = torch.softmax(policy(batch.states), 2).gather(2, batch.actions.unsqueeze(2)).squeeze(2)
    return chosen.prod(1)


@pytest.mark.parametrize(("togo", "discount"), [(False, 0.7), (False, 1.0), (True, 1.0)])
@given(seed=st.integers(0, 500))
def test_the_mean_gradient_is_that_of_the_expected_return(togo: bool, discount: float, seed: int) -> None:
    torch.manual_seed(seed)
    batch, policy = every_episode(seed), dense((STEPS, 5, ACTIONS), nn.Tanh)
    powers = discount ** torch.arange(STEPS)
    # The exact one: differentiate Σ_τ p(τ) R(τ), every episode τ at its own likelihood.
    exact = torch.autograd.grad(
        (likelihoods(policy, batch) * (batch.rewards * powers).sum(1)).sum(), list(policy.parameters())
    )
    returns = episode_returns(batch, torch.zeros(len(batch.actions)), discount=discount)
    credited = returns if togo else returns[:, :1].expand_as(returns)
    # Any baseline that looks at the state alone leaves the mean as it is.
    baseline = torch.sin(batch.states.sum(2) * 3)
    losses = surrogate(policy(batch.states), batch.actions, credited - baseline, batch.mask)
    found = torch.autograd.grad((likelihoods(policy, batch).detach() * -losses).sum(), list(policy.parameters()))
    for ours, theirs in zip(found, exact, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_gradient_by_hand() -> None:
    logits = torch.tensor([[[0.0, 1.0]]], requires_grad=True)
    surrogate(logits, torch.tensor([[0]]), torch.tensor([[3.0]]), torch.tensor([[True]])).sum().backward()
    # The teacher is (1, 0), the output softmax(0, 1): the change is 3 times their difference.
    output = torch.softmax(torch.tensor([0.0, 1.0]), 0)
    assert logits.grad is not None
    torch.testing.assert_close(-logits.grad[0, 0], 3 * (torch.tensor([1.0, 0.0]) - output))


def test_nothing_follows_a_termination_and_a_value_a_truncation() -> None:
    ones, yes = torch.ones(2, 3), torch.tensor([[True, True, True], [True, True, False]])
    batch = Episodes(
        ones.unsqueeze(2), ones.long(), ones, yes, last_states=ones[:, :1], terminated=torch.tensor([True, False])
    )
    found = episode_returns(batch, torch.tensor([8.0, 8.0]), discount=0.5)
    assert found[0].tolist() == [1.75, 1.5, 1.0]
    assert found[1, :2].tolist() == [1 + 0.5 * (1 + 0.5 * 8), 1 + 0.5 * 8]
    learner = PolicyGradient(nn.Linear(1, 2), nn.Linear(1, 1), baseline="value", discount=0.5)
    assert learner.value is not None
    learner.value.load_state_dict({"weight": torch.zeros(1, 1), "bias": torch.tensor([8.0])})
    assert torch.equal(learner.returns(batch)[:, :2], found[:, :2])


@pytest.mark.parametrize("baseline", ["none", "mean", "value"])
def test_advantages_have_deviation_one_and_the_mean_is_taken_off(baseline: Baseline) -> None:
    batch = every_episode(3)
    value = nn.Linear(STEPS, 1) if baseline == "value" else None
    learner = PolicyGradient(nn.Linear(STEPS, 2), value, baseline=baseline)
    found = learner.advantages(batch, learner.returns(batch))
    assert found.square().mean().item() == pytest.approx(1, rel=1e-4)
    if baseline == "mean":
        assert found.mean().item() == pytest.approx(0, abs=1e-5)


def test_what_lies_beyond_an_end_changes_nothing() -> None:
    torch.manual_seed(0)
    policy, batch = nn.Linear(4, 2), next(Play(CartPole(copies=5, generator=chance()), still, generator=chance(1)))
    beyond = ~batch.mask
    spoiled = batch._replace(
        states=torch.where(beyond.unsqueeze(2), 7.0, batch.states), rewards=torch.where(beyond, 9.0, batch.rewards)
    )
    states = []
    for one in (batch, spoiled):
        learner = PolicyGradient(dense((4, 2), nn.Tanh), baseline="mean")
        learner.policy.load_state_dict({"0.weight": policy.weight, "0.bias": policy.bias})
        learner.learn(one)
        states.append(learner.policy.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def still(seen: Tensor, draws: Tensor) -> Tensor:
    return (draws > 0.5).long()


def test_episodes_are_whole_and_come_in_rounds_until_there_are_enough() -> None:
    stream = Play(CartPole(copies=4, generator=chance()), still, generator=chance(1), enough=200)
    batch = next(stream)
    assert int(batch.mask.sum()) >= 200
    assert len(batch.mask) % 4 == 0
    assert batch.terminated.all()  # nobody stays up for 500 steps by chance
    lengths = batch.mask.sum(1)
    assert torch.equal(batch.mask, torch.arange(batch.mask.shape[1]) < lengths.unsqueeze(1))
    assert (batch.states[:, 0].abs() <= 0.05).all()
    assert ((batch.last_states[:, 2].abs() > 0.2) | (batch.last_states[:, 0].abs() > 2.4)).all()
    # What a step led to is what the next one began with.
    rows = torch.arange(len(lengths))
    assert not torch.equal(batch.states[rows, lengths - 1], batch.last_states)
    assert sum(len(one.mask) for one in (joined([batch, batch]),)) == 2 * len(batch.mask)


def test_the_stream_goes_on_where_it_stood() -> None:
    first, second = (Play(CartPole(copies=3, generator=chance(seed)), still, generator=chance(seed)) for seed in (1, 2))
    next(first)
    second.load_state_dict(first.state_dict())
    for ours, theirs in zip(next(first), next(second), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "median"}, "baseline is 'median'; take none, mean or value"),
        ({"baseline": "value"}, "a value network and baseline 'value' go together"),
        ({"discount": 1.1}, r"discount is 1.1"),
        ({"lr": -1.0}, r"lr is -1.0"),
        ({"value_steps": 0}, "value_steps is 0"),
    ],
)
def test_values_outside_their_rule_are_refused(options: dict[str, float], message: str, unchecked: None) -> None:
    with pytest.raises(InvalidValue, match=message):
        PolicyGradient(nn.Linear(1, 2), **options)  # type: ignore[arg-type]


def test_batches_that_are_no_episodes_are_refused(unchecked: None) -> None:
    batch = every_episode(0)
    with pytest.raises(InvalidValue, match="the batch is empty; episodes need"):
        check_episodes(Episodes(*(field[:0] for field in batch)))
    with pytest.raises(InvalidValue, match=r"rewards have shape \(8, 2\), but states \(8, 3, 3\) go with \(8, 3\)"):
        check_episodes(batch._replace(rewards=batch.rewards[:, :2]))
    with pytest.raises(InvalidValue, match=r"states have shape \(8, 3\)"):
        check_episodes(batch._replace(states=batch.states[:, 0]))
    with pytest.raises(InvalidValue, match="enough is 0"):
        Play(CartPole(copies=1, generator=chance()), still, generator=chance(), enough=0)
