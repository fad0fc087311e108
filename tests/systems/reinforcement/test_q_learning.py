import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.errors import InvalidValue
from neurarium.parts.bundles import Transitions
from neurarium.parts.exploration import epsilon_greedy, exploration
from neurarium.parts.markov import Dynamics, expected_returns, reachable, value_iteration
from neurarium.systems.reinforcement.q_learning import (
    ActionValues,
    Experience,
    QLearning,
    annealing,
)
from neurarium.worlds.tabular import TableWorld

STATES, ACTIONS, OUTCOMES, DISCOUNT = 5, 3, 2, 0.8


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def process(seed: int) -> Dynamics:
    """A small process with random rules; every tenth outcome ends the episode."""
    source, shape = chance(seed), (STATES, ACTIONS, OUTCOMES)
    odds = torch.rand(shape, generator=source) + 0.1
    return Dynamics(
        (odds / odds.sum(-1, keepdim=True)).double(),
        torch.randint(STATES, shape, generator=source),
        torch.randn(shape, generator=source),
        torch.rand(shape, generator=source) < 0.1,
        torch.full((STATES,), 1 / STATES, dtype=torch.float64),
    )


def transitions(source: torch.Generator, learners: int) -> Transitions:
    return Transitions(
        torch.randint(STATES, (learners,), generator=source),
        torch.randint(ACTIONS, (learners,), generator=source),
        torch.randn(learners, generator=source),
        torch.randint(STATES, (learners,), generator=source),
        torch.rand(learners, generator=source) < 0.2,
        torch.rand(learners, generator=source) < 0.2,
    )


@given(seed=st.integers(0, 10_000), lr=st.floats(0, 1), discount=st.floats(0, 0.99), progress=st.floats(0, 1))
def test_the_update_is_that_of_dicts_and_loops(seed: int, lr: float, discount: float, progress: float) -> None:
    learner = QLearning(learners=3, states=STATES, actions=ACTIONS, lr=lr, discount=discount)
    learner.progress = progress
    table = {(i, s, a): 0.0 for i in range(3) for s in range(STATES) for a in range(ACTIONS)}
    visits = dict.fromkeys(table, 0)
    source = chance(seed)
    for _ in range(30):
        batch = transitions(source, 3)
        learner.learn(batch)
        for i, (s, a, r, after, terminated, _) in enumerate(zip(*(field.tolist() for field in batch), strict=True)):
            follow = 0.0 if terminated else max(table[i, after, b] for b in range(ACTIONS))
            rate = lr * min(1.0, 2 * (1 - progress)) / (1 + (1 - discount) * visits[i, s, a])
            table[i, s, a] += rate * (r + discount * follow - table[i, s, a])
            visits[i, s, a] += 1
    slow = torch.tensor(list(table.values())).view(3, STATES, ACTIONS)
    torch.testing.assert_close(learner.table.values, slow, rtol=1e-5, atol=1e-5)
    assert learner.visits.flatten().tolist() == list(visits.values())


def test_the_update_is_that_of_dicts_and_loops_to_the_bit_where_every_number_is_exact() -> None:
    learner = QLearning(learners=1, states=2, actions=2, discount=0.5, lr=0.5)
    one, no = torch.tensor([1]), torch.tensor([False])
    for _ in range(2):  # α = 1/2, then 1/3 of ...: (1 + ½·1) = 3/2
        learner.learn(Transitions(0 * one, one, torch.tensor([3.0]), one, no, no))
    assert learner.table.values[0, 0, 1].item() == np.float32(1.5) + np.float32(1 / 3) * np.float32(1.5)


@pytest.mark.parametrize("seed", [0, 1])
def test_it_comes_to_the_optimum_that_value_iteration_finds(seed: int) -> None:
    dynamics = process(seed)
    optimal = value_iteration(dynamics, discount=DISCOUNT)

    def gap_after(steps: int) -> float:
        learner = QLearning(learners=64, states=STATES, actions=ACTIONS, discount=DISCOUNT, epsilon_end=1.0)
        world = TableWorld(dynamics, limit=10, copies=64, generator=chance(1))
        stream = Experience(world, learner.act, generator=chance(2))
        for step in range(steps):
            learner.progress = step / steps
            learner.learn(next(stream))
        return float((learner.table.values - optimal).abs().mean())

    near, nearer = gap_after(400), gap_after(1600)
    assert nearer < 0.06 * optimal.abs().mean()
    assert nearer < 0.65 * near  # chance averages out as 1/√steps: four times the steps, half the gap


def test_nothing_follows_a_termination_and_something_a_truncation() -> None:
    learner = QLearning(learners=2, states=2, actions=2, discount=0.5)
    learner.table.values[:, 1] = 8.0
    which = torch.tensor([True, False])
    states = torch.zeros(2, dtype=torch.int64)
    learner.learn(Transitions(states, states, torch.ones(2), states + 1, terminated=which, truncated=~which))
    assert learner.table.values[:, 0, 0].tolist() == [1.0, 5.0]


def test_learners_do_not_touch_each_other() -> None:
    together = QLearning(learners=4, states=STATES, actions=ACTIONS)
    alone = QLearning(learners=1, states=STATES, actions=ACTIONS)
    source = chance()
    for _ in range(50):
        batch = transitions(source, 4)
        together.learn(batch)
        alone.learn(Transitions(*(field[2:3] for field in batch)))
    assert torch.equal(together.table.values[2], alone.table.values[0])


def test_exploration_falls_and_then_stays() -> None:
    fallen = [exploration(p, start=1.0, end=0.2, share=0.5) for p in (0.0, 0.25, 0.5, 1.0)]
    assert fallen == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert [annealing(p) for p in (0.0, 0.5, 0.75, 1.0)] == [1, 1, 0.5, 0]


def test_the_share_of_random_actions_is_epsilon() -> None:
    values = torch.tensor([0.0, 1.0, 0.0, 0.0]).expand(100_000, 4)
    chosen = epsilon_greedy(values, epsilon=0.4, draws=torch.rand(2, 100_000, generator=chance()))
    shares = chosen.bincount(minlength=4) / 100_000
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.7, 0.1, 0.1]), rtol=0, atol=0.005)


def test_a_rate_of_zero_learns_nothing() -> None:
    learner = QLearning(learners=4, states=STATES, actions=ACTIONS, lr=0.0)
    learner.learn(transitions(chance(), 4))
    assert not learner.table.values.any()


def test_experience_goes_on_where_it_stood() -> None:
    def stream() -> Experience:
        learner = QLearning(learners=8, states=STATES, actions=ACTIONS)
        world = TableWorld(process(0), limit=7, copies=8, generator=chance(1))
        return Experience(world, learner.act, generator=chance(2))

    first, second = stream(), stream()
    for _ in range(20):
        next(first)
    second.load_state_dict(first.state_dict())
    for _ in range(20):
        assert all(torch.equal(a, b) for a, b in zip(next(first), next(second), strict=True))


@given(seed=st.integers(0, 1000))
def test_the_optimum_satisfies_bellman_and_no_policy_beats_it(seed: int) -> None:
    dynamics = process(seed)
    optimal = value_iteration(dynamics, discount=DISCOUNT)
    follow = optimal.amax(1)[dynamics.next_states] * ~dynamics.terminated
    swept = (dynamics.probabilities * (dynamics.rewards + DISCOUNT * follow)).sum(-1)
    torch.testing.assert_close(optimal, swept, rtol=0, atol=1e-9)
    policy = torch.randint(ACTIONS, (STATES,), generator=chance(seed))
    rows = torch.arange(STATES)
    weight = dynamics.probabilities * ~dynamics.terminated
    matrix = torch.zeros(STATES, STATES, dtype=torch.float64)
    for state in range(STATES):
        matrix[state].index_add_(0, dynamics.next_states[state, policy[state]], weight[state, policy[state]])
    reward = (dynamics.probabilities * dynamics.rewards).sum(-1)[rows, policy]
    exact = torch.linalg.solve(torch.eye(STATES, dtype=torch.float64) - DISCOUNT * matrix, reward)
    assert (optimal.amax(1) >= exact - 1e-9).all()


def test_the_exact_return_is_what_episodes_give_on_average() -> None:
    dynamics = process(3)
    policy = torch.randint(ACTIONS, (1, STATES), generator=chance())
    exact = expected_returns(dynamics, policy, steps=6)
    world = TableWorld(dynamics, limit=6, copies=40_000, generator=chance(1))
    total, alive = torch.zeros(40_000), torch.ones(40_000)
    for _ in range(6):
        step = world.step(policy[0, world.positions])
        total += alive * step.rewards
        alive *= ~step.terminated
    assert abs(total.double().mean() - exact.item()) < 5 * total.std() / 200
    assert reachable(dynamics).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"discount": 1.0}, "discount is 1.0"),
        ({"lr": -0.1}, "lr is -0.1"),
        ({"epsilon_end": 1.5}, "epsilon_end is 1.5"),
        ({"epsilon_share": 0.0}, "epsilon_share is 0.0"),
    ],
)
def test_values_outside_their_rule_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        QLearning(learners=1, states=2, actions=2, **options)


def test_tables_without_entries_or_with_too_many_are_refused() -> None:
    with pytest.raises(InvalidValue, match="learners is 0"):
        ActionValues(learners=0, states=1, actions=1)
    with pytest.raises(InvalidValue, match="take fewer learners"):
        ActionValues(learners=64, states=10**8, actions=4)


def test_batches_that_are_not_one_transition_a_learner_are_refused(unchecked: None) -> None:
    learner = QLearning(learners=2, states=STATES, actions=ACTIONS)
    with pytest.raises(InvalidValue, match="2 learners take one transition each"):
        learner.learn(transitions(chance(), 3))
    with pytest.raises(InvalidValue, match="batch is empty"):
        learner.learn(transitions(chance(), 0))
