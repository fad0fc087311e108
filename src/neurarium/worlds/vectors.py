r"""Worlds seen as rows of numbers: any Gymnasium environment with Box observations and Discrete actions.

CartPole is written as batched tensors (`worlds.cart_pole`). Any other is stepped copy by copy in Python: right, but
much slower. A running environment cannot be saved, but its episode can: chance as it stood when the episode began, and
the actions since. Going back there plays them again.

An episode that ends is followed by the next one's start in the same step, as in `worlds.tabular`; observations of any
shape are laid out in one row of float32.

Source: Gymnasium 1.x, `Env.step`, `Env.reset` and `Env.np_random`.
Shapes: W copies of the world, D numbers seen of each.
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Int64
from torch import Tensor

from neurarium.errors import InvalidValue, MissingExtra, did_you_mean, require
from neurarium.parts.bundles import Transitions
from neurarium.parts.exploration import World
from neurarium.worlds.cart_pole import NAME, CartPole
from neurarium.worlds.stepped import Environment
from neurarium.worlds.tabular import HORIZON

WATCHED = 8  # copies whose states a trial keeps
MARGIN = 0.02  # share of the states left out at either end of a plane

EXTRAS = {"box2d": "box2d", "mujoco": "mujoco", "atari": "atari", "classic_control": "classic-control"}


def load_vectors(
    environment: str, *, copies: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> World:
    """Copies of a Gymnasium environment: in tensors if it is CartPole, stepped in Python otherwise.

    Args:
        environment: its id ("CartPole-v1", or "my_module:MyEnvironment-v0" to import the module first).
        copies: how many.
        generator: where their chance comes from.
        device: where observations and transitions live.

    Raises:
        InvalidValue: no such environment (the nearest id is named), actions that are not discrete, observations that
            are no array, no copies.
        MissingExtra: the environment needs a library that is not installed.

    >>> world = load_vectors("MountainCar-v0", copies=2, generator=torch.Generator())
    >>> world.observations.shape, world.actions, world.limit
    (torch.Size([2, 2]), 3, 200)
    >>> load_vectors("CartPole-v11", copies=1, generator=torch.Generator())
    Traceback (most recent call last):
    neurarium.errors.InvalidValue: gymnasium has no environment 'CartPole-v11'; did you mean 'CartPole-v1'?
    """
    require(copies >= 1, f"copies is {copies}; a world has at least 1")
    if environment == NAME:
        return CartPole(copies=copies, generator=generator, device=device)
    return SteppedVectors([make(environment) for _ in range(copies)], generator=generator, device=device)


def make(environment: str) -> Environment:
    """One environment of this id, checked to be seen as an array and to take discrete actions.

    Raises:
        InvalidValue: there is none, it cannot be made, or its observations or actions are of another kind.
        MissingExtra: it needs a library that is not installed.
    """
    made = open_environment(environment)
    if not isinstance(made.action_space, spaces.Discrete):
        raise InvalidValue(
            f"environment '{environment}' has actions {made.action_space}; this learner chooses among Discrete ones, "
            f"as {NAME} has"
        )
    if not isinstance(made.observation_space, spaces.Box):
        raise InvalidValue(
            f"environment '{environment}' has observations {made.observation_space}; a network needs a Box of numbers; "
            "q_learning takes discrete states"
        )
    return made


def open_environment(environment: str, *, render_mode: str | None = None) -> Environment:
    """Any Gymnasium environment, as `gymnasium.make` makes it, drawing itself in this mode if one is given.

    Raises:
        InvalidValue: there is none, or it cannot be made.
        MissingExtra: it needs a library that is not installed.
    """
    known = gymnasium.registry
    if environment not in known and ":" not in environment:
        raise InvalidValue(f"gymnasium has no environment '{environment}'; {did_you_mean(environment, known)}")
    try:
        return gymnasium.make(environment, render_mode=render_mode)
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise MissingExtra(f"environment '{environment}' cannot be loaded: {needed(environment, error)}") from None
    except gymnasium.error.Error as error:
        raise InvalidValue(f"environment '{environment}' cannot be made: {error}") from None


def needed(environment: str, error: Exception) -> str:
    """What is missing, and what to install for it."""
    spec = gymnasium.registry.get(environment)
    family = next((EXTRAS[name] for name in EXTRAS if spec and f".{name}." in str(spec.entry_point)), None)
    way = "install what it needs" if family is None else f'pip install "gymnasium[{family}]"'
    reason = str(error).split(",")[0]
    return f"{' '.join(reason.split())}; {way}"


class SteppedVectors:
    """Copies of an environment, stepped one by one in Python.

    Args:
        environments: the copies.
        generator: where the copies' seeds come from.
        device: where observations and transitions live.
    """

    def __init__(
        self, environments: list[Environment], *, generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> None:
        first = environments[0]
        seen, space = first.observation_space, first.action_space
        assert isinstance(seen, spaces.Box)
        assert isinstance(space, spaces.Discrete)
        self.width, self._first_action = prod(seen.shape), int(space.start)
        self.actions = int(space.n)
        self.limit = (first.spec.max_episode_steps if first.spec else None) or HORIZON
        self._environments = environments
        self._chance: list[dict[str, Any]] = [{} for _ in environments]
        self._taken: list[list[int]] = [[] for _ in environments]
        seeds = torch.randint(2**31, (len(environments),), generator=generator).tolist()
        for environment, seed in zip(environments, seeds, strict=True):
            environment.reset(seed=seed)
        self.observations = torch.zeros(len(environments), self.width, device=device)
        self.restart()

    def restart(self) -> None:
        """Every copy begins an episode."""
        self.observations = self._tensor([self._begin(copy) for copy in range(len(self._environments))])

    def step(self, actions: Int64[Tensor, " W"], /) -> Transitions:
        """Every copy takes its action; whose episode ends stands at the start of a new one afterwards."""
        steps = [self._step_one(copy, action) for copy, action in enumerate(actions.tolist())]
        after, rewards, terminated, truncated = zip(*steps, strict=True)
        ended = [end or cut for end, cut in zip(terminated, truncated, strict=True)]
        before, device = self.observations, self.observations.device
        self.observations = self._tensor(
            [self._begin(copy) if over else after[copy] for copy, over in enumerate(ended)]
        )
        return Transitions(
            before,
            actions,
            torch.tensor(rewards, dtype=torch.float32, device=device),
            self._tensor(list(after)),
            torch.tensor(terminated, device=device),
            torch.tensor(truncated, device=device),
        )

    def _step_one(self, copy: int, action: int) -> tuple[np.ndarray, float, bool, bool]:
        seen, reward, terminated, truncated, _ = self._environments[copy].step(action + self._first_action)
        self._taken[copy].append(action)
        cut = bool(truncated) or len(self._taken[copy]) >= self.limit
        return row(seen), float(reward), bool(terminated), cut

    def _begin(self, copy: int) -> np.ndarray:
        environment = self._environments[copy]
        self._chance[copy] = dict(environment.unwrapped.np_random.bit_generator.state)
        self._taken[copy] = []
        return row(environment.reset()[0])

    def _tensor(self, rows: list[np.ndarray]) -> Float[Tensor, "W D"]:
        return torch.from_numpy(np.stack(rows)).to(self.observations.device)

    def state_dict(self) -> dict[str, Any]:
        """For every copy: what is seen of it, its chance at the start of its episode, its actions since."""
        taken = [list(actions) for actions in self._taken]
        return {"observations": self.observations.clone(), "chance": list(self._chance), "taken": taken}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back there, by playing the episodes again.

        Raises:
            InvalidValue: the state is of another number of copies, or the environment does not play the same again.
        """
        saved, copies = len(state["taken"]), len(self._environments)
        require(saved == copies, f"the saved world has {saved} copies, but this one has {copies}")
        rows = []
        for copy, (chance, taken) in enumerate(zip(state["chance"], state["taken"], strict=True)):
            self._environments[copy].unwrapped.np_random.bit_generator.state = chance
            seen = self._begin(copy)
            for action in taken:
                seen = self._step_one(copy, action)[0]
            rows.append(seen)
        self.observations = self._tensor(rows)
        require(
            torch.equal(self.observations, state["observations"].to(self.observations.device)),
            f"{self._environments[0]} cannot be resumed: played again, an episode comes to another state; it must draw "
            "all chance from its np_random",
        )


def row(seen: Any) -> np.ndarray:
    """An observation as one row of float32.

    >>> row(np.zeros((2, 3), dtype=np.uint8)).shape
    (6,)
    """
    return np.asarray(seen, dtype=np.float32).reshape(-1)


class Trial(NamedTuple):
    """What came of letting a policy act.

    Attributes:
        returns: the undiscounted return of an episode of each copy.
        states: what was seen in the episodes of the first few copies.
    """

    returns: Float[Tensor, " W"]
    states: Float[Tensor, "N D"]


def trial(world: World, policy: Callable[[Tensor], Tensor]) -> Trial:
    """Let a policy act for one episode in every copy, from its start.

    >>> world = load_vectors("CartPole-v1", copies=20, generator=torch.Generator().manual_seed(0))
    >>> along = trial(world, lambda seen: (seen[:, 2] + seen[:, 3] > 0).long())  # push to where the pole falls
    >>> bool(along.returns.mean() > 100)
    True
    """
    world.restart()
    first = world.observations
    returns = torch.zeros(len(first), dtype=torch.float64, device=first.device)
    alive = torch.ones(len(first), dtype=torch.bool, device=first.device)
    seen = []
    while bool(alive.any()):
        seen.append(world.observations[:WATCHED][alive[:WATCHED]])
        step = world.step(policy(world.observations))
        returns += step.rewards * alive
        alive = alive & ~(step.terminated | step.truncated)
    return Trial(returns, torch.cat(seen))


class Plane(NamedTuple):
    """A plane through the space of what is seen, for maps of what a learner thinks.

    Attributes:
        states: points of it, row by row from its lower left corner; what does not span it is at its mean.
        axes: which two numbers span it.
        names: of these two.
        extent: left, right, bottom, top.
    """

    states: Float[Tensor, "P D"]
    axes: tuple[int, int]
    names: tuple[str, str]
    extent: tuple[float, float, float, float]


PLANES = {  # what is worth a map; of others, the first two numbers
    "CartPole-v1": ((2, 3), ("angle (rad)", "angular velocity (rad/s)"), (-0.21, 0.21, -2.5, 2.5)),
    "MountainCar-v0": ((0, 1), ("place", "speed"), (-1.2, 0.6, -0.07, 0.07)),
}


def plane(environment: str, seen: Float[Tensor, "N D"], *, side: int) -> Plane:
    """The plane that shows most of an environment, about the states that were seen.

    Args:
        environment: its id.
        seen: what was seen of it.
        side: points along each side.

    >>> plane("CartPole-v1", torch.zeros(5, 4), side=3).states[:, 3].tolist()
    [-2.5, -2.5, -2.5, 0.0, 0.0, 0.0, 2.5, 2.5, 2.5]
    """
    second = min(1, seen.shape[1] - 1)
    low, high = torch.quantile(seen[:100_000], torch.tensor([MARGIN, 1 - MARGIN], device=seen.device), dim=0).cpu()
    spans = (float(low[0]), float(high[0]), float(low[second]), float(high[second]))
    axes, names, extent = PLANES.get(environment, ((0, second), ("seen, first", f"seen, {second + 1}."), spans))
    states = seen.mean(0).repeat(side * side, 1)
    up, along = torch.meshgrid(torch.linspace(*extent[2:], side), torch.linspace(*extent[:2], side), indexing="ij")
    states[:, axes[0]], states[:, axes[1]] = along.flatten().to(seen), up.flatten().to(seen)
    return Plane(states, axes, names, extent)
