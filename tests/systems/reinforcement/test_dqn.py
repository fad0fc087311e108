"""DQN: its targets by hand, its target network, and a replay that goes on where it stood."""

import pytest
import torch
from torch import Tensor, nn

from neurarium.errors import InvalidValue
from neurarium.parts.bundles import Transitions
from neurarium.parts.dense import dense
from neurarium.parts.replay import Replay
from neurarium.parts.returns import Lookahead, n_step
from neurarium.systems.reinforcement.dqn import DQN, Replayed, check_lookahead, targets
from neurarium.worlds.cart_pole import CartPole


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table(rows: list[list[float]]) -> nn.Linear:
    """A network that looks values up: states are one-hot, row s holds the values of state s."""
    net = nn.Linear(len(rows), len(rows[0]), bias=False)
    net.weight.data = torch.tensor(rows).T.contiguous()
    return net


def learner_of(value: list[list[float]], target: list[list[float]], *, double: bool) -> DQN:
    learner = DQN(table(value), double=double)
    learner.target.load_state_dict(table(target).state_dict())
    return learner


def step(state: int, after: int, reward: float, *, terminated: bool = False, truncated: bool = False) -> Transitions:
    seen = torch.eye(2)
    return Transitions(
        seen[state : state + 1],
        torch.tensor([1]),
        torch.tensor([reward]),
        seen[after : after + 1],
        torch.tensor([terminated]),
        torch.tensor([truncated]),
    )


@pytest.mark.parametrize(
    ("double", "terminated", "truncated", "wanted"),
    [
        (False, False, False, 1 + 0.5 * 8),  # r + γ max Q⁻
        (True, False, False, 1 + 0.5 * 6),  # r + γ Q⁻(argmax Q): the learning net prefers action 1
        (False, True, False, 1.0),  # nothing follows
        (True, True, False, 1.0),
        (False, False, True, 1 + 0.5 * 8),  # cut off, but something would have followed
        (True, False, True, 1 + 0.5 * 6),
        (False, True, True, 1.0),
    ],
)
def test_targets_by_hand(double: bool, terminated: bool, truncated: bool, wanted: float) -> None:
    learner = learner_of([[0.0, 0.0], [2.0, 3.0]], [[0.0, 0.0], [8.0, 6.0]], double=double)
    batch = n_step([step(0, 1, 1.0, terminated=terminated, truncated=truncated)], discount=0.5)
    assert learner.targets(batch).tolist() == [wanted]


def test_a_target_of_two_real_rewards_by_hand() -> None:
    learner = learner_of([[0.0, 0.0], [2.0, 3.0]], [[0.0, 0.0], [8.0, 6.0]], double=True)
    whole = n_step([step(0, 0, 1.0), step(0, 1, 4.0)], discount=0.5)
    assert learner.targets(whole).tolist() == [1 + 0.5 * 4 + 0.25 * 6]
    cut = n_step([step(0, 1, 1.0, truncated=True), step(0, 0, 100.0)], discount=0.5)
    assert learner.targets(cut).tolist() == [1 + 0.5 * 6]


def test_with_one_network_the_double_target_is_the_plain_one() -> None:
    values, batch = torch.randn(6, 3, generator=chance()), Lookahead(*[torch.rand(6)] * 5)
    plain = batch.returns + batch.factors * values.amax(1)
    assert torch.equal(targets(batch._replace(actions=batch.actions.long()), values, values), plain)


def test_a_unit_divides_returns_and_nothing_else() -> None:
    batch = n_step([step(0, 1, 1.0)], discount=0.5)
    learner = DQN(table([[0.0, 0.0], [2.0, 3.0]]), unit=4.0)
    assert learner.targets(batch).tolist() == [1 / 4 + 0.5 * 3]


@pytest.mark.parametrize(("follow", "hold"), [(0.25, 1), (1.0, 3)])
def test_the_target_network_follows(follow: float, hold: int) -> None:
    torch.manual_seed(0)
    net = nn.Linear(2, 2)
    learner = DQN(net, follow=follow, hold=hold)
    batch = n_step([step(0, 1, 1.0)], discount=0.5)
    kept: Tensor = net.weight.detach().clone()
    for number in range(1, 7):
        learner.learn(batch)
        if number % hold == 0:
            kept = kept + follow * (net.weight.detach() - kept)
        torch.testing.assert_close(learner.target.weight, kept)
    assert not any(parameter.requires_grad for parameter in learner.target.parameters())


def stream(learner: DQN, *, seed: int = 0, steps: int = 3) -> Replayed:
    return Replayed(
        CartPole(copies=4, generator=chance(seed)),
        learner.act,
        generator=chance(seed + 1),
        replay=Replay(Lookahead, capacity=100, generator=chance(seed + 2)),
        batch=8,
        steps=steps,
        beginning=20,
    )


@pytest.mark.parametrize("before", [1, 2, 60])
def test_the_stream_goes_on_where_it_stood(before: int) -> None:
    torch.manual_seed(0)
    learner = DQN(dense((4, 8, 2), nn.Tanh))
    first, second = stream(learner), stream(learner, seed=7)
    for _ in range(before):
        next(first)
    second.load_state_dict(first.state_dict())
    for _ in range(40):
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(next(first), next(second), strict=True))
    assert first.steps_used == second.steps_used
    assert torch.equal(first.ended.everything().returns, second.ended.everything().returns)


def test_the_replay_holds_what_the_world_did() -> None:
    learner = DQN(dense((4, 8, 2), nn.Tanh))
    told = stream(learner, steps=2)
    for _ in range(30):
        next(told)
    held = told.replay.everything()
    bootstrapped = held.factors > 0
    assert held.factors[bootstrapped].unique().tolist() == pytest.approx([0.99**2])
    torch.testing.assert_close(held.returns[bootstrapped], torch.full_like(held.returns[bootstrapped], 1.99))
    episodes = told.ended.everything()
    # Every step is 1: what was collected in ended episodes is no more than the steps taken.
    assert 0 < episodes.returns.sum() <= told.steps_used


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"follow": 0.0}, r"follow is 0.0"),
        ({"hold": 0}, "hold is 0"),
        ({"epsilon_end": 2.0}, r"epsilon_end is 2.0"),
        ({"epsilon_share": 0.0}, r"epsilon_share is 0.0"),
        ({"lr": -0.1}, r"lr is -0.1"),
        ({"unit": 0.0}, r"unit is 0.0"),
    ],
)
def test_values_outside_their_rule_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        DQN(nn.Linear(1, 2), **options)  # type: ignore[arg-type]


def test_streams_and_batches_that_do_not_fit_are_refused(unchecked: None) -> None:
    learner = DQN(dense((4, 8, 2), nn.Tanh))
    with pytest.raises(InvalidValue, match="the returns are of 0 steps"):
        stream(learner, steps=0)
    world, replay = CartPole(copies=1, generator=chance()), Replay(Lookahead, capacity=5, generator=chance())
    with pytest.raises(InvalidValue, match=r"begins after 6 steps; .* no more than the replay's 5"):
        Replayed(world, learner.act, generator=chance(), replay=replay, batch=1, beginning=6)
    with pytest.raises(InvalidValue, match="batch is 0"):
        Replayed(world, learner.act, generator=chance(), replay=replay, batch=0)
    batch = next(stream(learner))
    with pytest.raises(InvalidValue, match="the batch is empty"):
        check_lookahead(Lookahead(*(field[:0] for field in batch)))
    with pytest.raises(InvalidValue, match=r"returns have shape \(8, 1\), but states \(8, 4\) go with \(8,\)"):
        check_lookahead(batch._replace(returns=batch.returns.unsqueeze(1)))
