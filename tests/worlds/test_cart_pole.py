from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from neurarium.errors import InvalidValue
from neurarium.worlds.cart_pole import LIMIT, CartPole


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def leaning(seen: torch.Tensor) -> torch.Tensor:
    """Pushes to where the pole falls, and back to the middle: keeps it up for long."""
    return (seen @ torch.tensor([0.1, 0.3, 3.0, 1.0]) > 0).long()


@pytest.mark.parametrize("skill", [0.0, 0.8, 1.0])
def test_step_for_step_as_gymnasium(skill: float) -> None:
    world, source = CartPole(copies=3, generator=chance(1)), chance(2)
    peers: list[Any] = [gymnasium.make("CartPole-v1") for _ in range(3)]

    def begin(row: int) -> None:
        peers[row].reset(seed=0)  # for the wrappers; it then stands where the tensors stand
        peers[row].unwrapped.state = world.state[row].numpy().copy()

    for row in range(3):
        begin(row)
    ends = 0
    for _ in range(520):
        wild = torch.rand(3, generator=source) >= skill
        actions = torch.where(wild, torch.randint(2, (3,), generator=source), leaning(world.observations))
        step = world.step(actions)
        for row, peer in enumerate(peers):
            seen, reward, terminated, truncated, _ = peer.step(int(actions[row]))
            np.testing.assert_allclose(step.next_states[row].numpy(), seen, rtol=1e-5, atol=1e-6)
            assert (step.rewards[row].item(), step.terminated[row].item()) == (reward, terminated)
            assert step.truncated[row].item() == truncated
            if terminated or truncated:
                ends += 1
                begin(row)
            else:
                assert torch.equal(world.observations[row], step.next_states[row])
    assert ends >= 3  # at full skill, by the limit
    assert (world.state.abs() < 10).all()


def test_an_episode_that_ends_is_followed_by_a_start_in_the_same_step() -> None:
    world = CartPole(copies=64, generator=chance())
    before, fallen = world.observations, 0
    for _ in range(60):
        step = world.step(torch.ones(64, dtype=torch.int64))
        assert torch.equal(step.states, before)
        before = world.observations
        over = step.terminated
        fallen += int(over.sum())
        assert (before[over].abs() <= 0.05).all()
        assert torch.equal(before[~over], step.next_states[~over])
    assert fallen > 64


def test_after_500_steps_it_is_cut_off_but_not_over() -> None:
    world = CartPole(copies=4, generator=chance())
    steps = [world.step(leaning(world.observations)) for _ in range(LIMIT)]
    assert not any(bool(step.terminated.any()) for step in steps)
    assert [bool(step.truncated.all()) for step in steps] == [False] * (LIMIT - 1) + [True]
    assert not world.elapsed.any()


def test_it_goes_on_where_it_stood() -> None:
    world, again = CartPole(copies=5, generator=chance(1)), CartPole(copies=5, generator=chance(9))
    actions = torch.randint(2, (80, 5), generator=chance(2))
    for action in actions[:40]:
        world.step(action)
    again.load_state_dict(world.state_dict())
    for action in actions[40:]:
        for ours, theirs in zip(again.step(action), world.step(action), strict=True):
            assert torch.equal(ours, theirs)


def test_what_is_no_world_is_refused() -> None:
    with pytest.raises(InvalidValue, match="copies is 0"):
        CartPole(copies=0, generator=chance())
    with pytest.raises(InvalidValue, match="the saved world has 2 copies, but this one has 3"):
        CartPole(copies=3, generator=chance()).load_state_dict(CartPole(copies=2, generator=chance()).state_dict())
