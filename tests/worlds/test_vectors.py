from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from neurarium.errors import InvalidValue, MissingExtra
from neurarium.worlds.cart_pole import CartPole
from neurarium.worlds.vectors import SteppedVectors, load_vectors, plane, trial


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Drift(gymnasium.Env[Any, Any]):
    """A number that chance pushes; actions begin at 1, and what is seen is a picture of two by two."""

    def __init__(self, *, honest: bool = True) -> None:
        self.observation_space = spaces.Box(-9.0, 9.0, (2, 2), np.float64)
        self.action_space = spaces.Discrete(2, start=1)
        self.honest, self.elsewhere, self.place = honest, np.random.default_rng(0), 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = float(self.np_random.random())
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in (1, 2)
        source = self.np_random if self.honest else self.elsewhere
        self.place += float(2 * action - 3) + float(source.random())
        return self._seen(), self.place, abs(self.place) > 4, False, {}

    def _seen(self) -> np.ndarray:
        return np.full((2, 2), self.place)


def drift(*, honest: bool = True, limit: int = 9) -> SteppedVectors:
    made: list[Any] = [gymnasium.wrappers.TimeLimit(Drift(honest=honest), limit) for _ in range(3)]
    return SteppedVectors(made, generator=chance(1))


def test_cart_pole_comes_in_tensors_and_others_are_stepped() -> None:
    assert isinstance(load_vectors("CartPole-v1", copies=2, generator=chance()), CartPole)
    assert isinstance(load_vectors("MountainCar-v0", copies=2, generator=chance()), SteppedVectors)


def test_a_stepped_world_is_the_environment_itself() -> None:
    world = load_vectors("Acrobot-v1", copies=1, generator=chance(3))
    peer = gymnasium.make("Acrobot-v1")
    peer.reset(seed=int(torch.randint(2**31, (1,), generator=chance(3))))
    peer.reset()
    seen = peer.reset()[0]
    world.restart()
    assert world.limit == 500
    for action in torch.randint(3, (40, 1), generator=chance(4)):
        assert torch.equal(world.observations[0], torch.from_numpy(seen))
        step = world.step(action)
        seen, reward, terminated, _, _ = peer.step(int(action))
        assert (step.rewards.item(), step.terminated.item()) == (reward, terminated)


def test_it_goes_on_bit_for_bit_from_mid_episode() -> None:
    world, again = drift(), drift()
    actions = torch.randint(2, (60, 3), generator=chance(2))
    for action in actions[:31]:
        world.step(action)
    state = world.state_dict()
    rest = [world.step(action) for action in actions[31:]]
    again.load_state_dict(state)
    for step, action in zip(rest, actions[31:], strict=True):
        for ours, theirs in zip(again.step(action), step, strict=True):
            assert torch.equal(ours, theirs)
    assert any(bool(step.terminated.any()) for step in rest)
    assert any(bool(step.truncated.any()) for step in rest)


def test_an_environment_that_draws_chance_elsewhere_cannot_be_resumed() -> None:
    world = drift(honest=False)
    for _ in range(4):
        world.step(torch.tensor([0, 1, 0]))
    with pytest.raises(InvalidValue, match="cannot be resumed: played again"):
        drift(honest=False).load_state_dict(world.state_dict())
    with pytest.raises(InvalidValue, match="the saved world has 2 copies, but this one has 3"):
        world.load_state_dict({**world.state_dict(), "taken": [[], []]})


def test_a_trial_is_one_whole_episode_of_each_copy() -> None:
    world = drift(limit=5)
    found = trial(world, lambda seen: torch.tensor([0, 1, 1]))
    assert found.returns.shape == (3,)
    assert found.states.shape[1] == 4
    assert found.returns[1] > 0 > found.returns[0]


def test_a_plane_spans_what_was_seen() -> None:
    seen = torch.rand(500, 3, generator=chance())
    view = plane("Somewhere-v0", seen, side=5)
    assert view.states.shape == (25, 3)
    assert view.states[:, 0].min() == pytest.approx(view.extent[0])
    assert view.states[:, 1].max() == pytest.approx(view.extent[3])
    torch.testing.assert_close(view.states[:, 2], seen[:, 2].mean().expand(25))
    assert plane("Somewhere-v0", seen[:, :1], side=2).states.shape == (4, 1)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ("Pendulum-v1", r"has actions Box\(-2.0, 2.0, \(1,\), float32\); this learner chooses among Discrete ones"),
        ("FrozenLake-v1", r"has observations Discrete\(16\); a network needs a Box .* q_learning takes discrete"),
        ("CartPole-v7", "no environment 'CartPole-v7'; did you mean 'CartPole-v1'"),
        ("no_module:Game-v0", "environment 'no_module:Game-v0' cannot be"),
    ],
)
def test_environments_that_do_not_do_are_refused_by_name(environment: str, message: str) -> None:
    with pytest.raises((InvalidValue, MissingExtra), match=message):
        load_vectors(environment, copies=1, generator=chance())


def test_a_missing_library_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise gymnasium.error.DependencyNotInstalled("Box2D is not installed, you can")

    monkeypatch.setattr(gymnasium, "make", fail)
    with pytest.raises(MissingExtra, match=r'Box2D is not installed; pip install "gymnasium\[box2d\]"'):
        load_vectors("LunarLander-v3", copies=1, generator=chance())


def test_no_copies_are_refused() -> None:
    with pytest.raises(InvalidValue, match="copies is 0"):
        load_vectors("Acrobot-v1", copies=0, generator=chance())
