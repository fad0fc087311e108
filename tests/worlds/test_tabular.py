from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from neurarium.errors import InvalidValue, MissingExtra
from neurarium.worlds.stepped import StepWorld
from neurarium.worlds.tabular import HORIZON, TableWorld, episode_returns, load_world, make, table_of

TABLES = ["FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "CliffWalkingSlippery-v1", "Taxi-v4"]


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Dice:
    """Hands Gymnasium the draws that the tensors took."""

    def __init__(self, draws: Iterator[float]) -> None:
        self.draws = draws

    def random(self) -> float:
        return next(self.draws)


@pytest.mark.parametrize("environment", TABLES)
def test_step_for_step_as_gymnasium_with_the_same_draws(environment: str) -> None:
    draws = torch.rand(4001, 2, generator=chance(3)).double()
    world = load_world(environment, copies=1, generator=chance(3))
    peer = gymnasium.make(environment, max_episode_steps=world.limit)

    def reset(draw: float) -> int:
        peer.reset(seed=0)  # for the wrappers; where it stands is then drawn as the tensors drew it
        bare: Any = peer.unwrapped
        bare.s = int(np.argmax(np.cumsum(bare.initial_state_distrib) > draw))
        return int(bare.s)

    assert reset(float(draws[0, 1])) == world.positions.item()
    actions = torch.randint(world.actions, (4000, 1), generator=chance(4))
    episodes = 0
    for action, draw in zip(actions, draws[1:], strict=True):
        bare: Any = peer.unwrapped
        bare.np_random = Dice(iter([float(draw[0])]))
        theirs = peer.step(int(action))
        bare.np_random = np.random.default_rng(0)
        ours = world.step(action)
        assert (ours.next_states.item(), ours.rewards.item()) == (theirs[0], theirs[1])
        assert (ours.terminated.item(), ours.truncated.item()) == theirs[2:4]
        if theirs[2] or theirs[3]:
            episodes += 1
            assert reset(float(draw[1])) == world.positions.item()
        else:
            assert world.positions.item() == theirs[0]
    assert episodes > 2


def test_where_no_limit_is_given_an_episode_is_cut_off_at_the_horizon() -> None:
    world = load_world("CliffWalking-v1", copies=1, generator=chance())
    steps = [world.step(torch.tensor([3])) for _ in range(HORIZON)]  # left, into the wall
    assert [step.truncated.item() for step in steps] == [False] * (HORIZON - 1) + [True]
    assert not steps[-1].terminated.item()


def test_slippery_moves_come_as_often_as_the_table_says() -> None:
    world = load_world("FrozenLake-v1", copies=30_000, generator=chance())
    landed = world.step(torch.full((30_000,), 2)).next_states.bincount(minlength=16)  # right: up (stays), right, down
    expected = 10_000
    assert landed.sum() == landed[[0, 1, 4]].sum()
    assert float(((landed[[0, 1, 4]] - expected) ** 2 / expected).sum()) < 13.8  # χ², 2 degrees of freedom, p = 0.001


class Corridor(gymnasium.Env[Any, Any]):
    """Without a table: a walk over (place, coin), where chance decides both the start and the coin."""

    def __init__(self, *, honest: bool = True) -> None:
        self.observation_space = spaces.MultiDiscrete([5, 2])
        self.action_space = spaces.Discrete(2, start=1)
        self.honest, self.elsewhere, self.place = honest, np.random.default_rng(0), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(3))
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in (1, 2)
        self.place = max(0, self.place + (1 if action == 2 else -1))
        return self._seen(), -1.0, self.place == 4, False, {}

    def _seen(self) -> np.ndarray:
        source = self.np_random if self.honest else self.elsewhere
        return np.array([self.place, source.integers(2)])


def corridor(*, honest: bool = True) -> StepWorld:
    return StepWorld([Corridor(honest=honest) for _ in range(3)], limit=6, generator=chance(1))


def test_a_stepped_world_goes_on_bit_for_bit_from_mid_episode() -> None:
    world = corridor()
    actions = torch.randint(2, (60, 3), generator=chance(2))
    for action in actions[:31]:
        world.step(action)
    state = world.state_dict()
    rest = [world.step(action) for action in actions[31:]]
    again = corridor()
    again.load_state_dict(state)
    for step, action in zip(rest, actions[31:], strict=True):
        for ours, theirs in zip(again.step(action), step, strict=True):
            assert torch.equal(ours, theirs)


def test_a_stepped_world_begins_anew_and_cuts_off_at_its_limit() -> None:
    world = corridor()
    steps = [world.step(torch.ones(3, dtype=torch.int64)) for _ in range(20)]
    for before, after in pairwise(steps):
        over = before.terminated | before.truncated
        assert torch.equal(after.states[~over], before.next_states[~over])
        assert (before.next_states[before.terminated] >= 8).all()
        assert (after.states[over] < 6).all()
    left = [world.step(torch.zeros(3, dtype=torch.int64)).truncated.any().item() for _ in range(12)]
    assert any(left)


def test_an_environment_with_chance_of_its_own_is_not_resumed_in_silence() -> None:
    world = corridor(honest=False)
    for _ in range(5):
        world.step(torch.zeros(3, dtype=torch.int64))
    states = []
    for _ in range(8):  # one of them must come out differently
        try:
            world.load_state_dict(world.state_dict())
        except InvalidValue as error:
            states.append(str(error))
    assert any("np_random" in text for text in states)


def test_a_table_world_goes_on_bit_for_bit() -> None:
    world = load_world("Taxi-v4", copies=8, generator=chance())
    actions = torch.randint(6, (300, 8), generator=chance(1))
    for action in actions[:150]:
        world.step(action)
    state = world.state_dict()
    rest = [world.step(action) for action in actions[150:]]
    again = load_world("Taxi-v4", copies=8, generator=chance(9))
    again.load_state_dict(state)
    for step, action in zip(rest, actions[150:], strict=True):
        for ours, theirs in zip(again.step(action), step, strict=True):
            assert torch.equal(ours, theirs)


def test_other_numbers_of_copies_are_refused() -> None:
    state = load_world("Taxi-v4", copies=2, generator=chance()).state_dict()
    with pytest.raises(InvalidValue, match="has 2 copies, but this one has 3"):
        load_world("Taxi-v4", copies=3, generator=chance()).load_state_dict(state)


def test_a_table_is_trusted_only_where_nothing_changes_it() -> None:
    assert table_of(make("Taxi-v4")) is not None
    assert table_of(gymnasium.make("Taxi-v4", fickle_passenger=True)) is None
    assert table_of(gymnasium.wrappers.TransformReward(make("Taxi-v4"), lambda reward: 2 * float(reward))) is None


def test_blackjack_has_no_table_and_is_stepped() -> None:
    world = load_world("Blackjack-v1", copies=2, generator=chance())
    assert isinstance(world, StepWorld)
    assert (world.states, world.actions) == (32 * 11 * 2, 2)
    returns = episode_returns(world, lambda states: torch.zeros_like(states), episodes=20)
    assert ((returns >= -1) & (returns <= 1)).all()


def test_a_walk_along_the_cliff_costs_13() -> None:
    world = load_world("CliffWalking-v1", copies=4, generator=chance())
    assert isinstance(world, TableWorld)
    along = torch.full((48,), 1)
    along[36], along[35] = 0, 2
    assert episode_returns(world, lambda states: along[states], episodes=3).tolist() == [-13.0] * 4


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ("FrozenLak-v1", "did you mean 'FrozenLake-v1'"),
        ("Taxi-v3", "has no environment 'Taxi-v3'; did you mean 'Taxi-v4'"),
        ("qqqqqq", "known: Blackjack-v1, CliffWalking"),
        ("CartPole-v1", "a table needs discrete ones"),
        ("Pendulum-v1", "a table needs discrete ones"),
    ],
)
def test_what_is_no_discrete_environment_is_refused(environment: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message) as caught:
        load_world(environment, copies=1, generator=chance())
    assert "\n" not in str(caught.value)


def test_a_missing_library_is_named() -> None:
    with pytest.raises(MissingExtra, match="nowhere_at_all"):
        make("nowhere_at_all:World-v0")


def test_no_copies_are_refused() -> None:
    with pytest.raises(InvalidValue, match="copies is 0"):
        load_world("Taxi-v4", copies=0, generator=chance())
