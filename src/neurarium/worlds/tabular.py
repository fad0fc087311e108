r"""Worlds of finitely many states and actions: any discrete Gymnasium environment, many copies at once.

Gymnasium's toy text environments carry their own transition table. Where there is one, and nothing but a time limit
wraps it, the copies live in tensors: a state and a count of steps each, moved by the inverse of the table's cumulative
probabilities, as Gymnasium itself draws. Any other discrete environment is stepped copy by copy in Python
(`worlds.stepped`): right, but much slower.

An episode that ends, by termination or by its time limit, is followed by the next one's start in the same step: the
transition tells where the old episode ended, `positions` where the new one begins. An environment without a time limit
of its own is given one of `HORIZON` steps.

Source: Gymnasium 1.x, envs/toy_text (`P`, `initial_state_distrib`, `categorical_sample`) and wrappers TimeLimit.
Shapes: W copies of the world, S states, A actions, K outcomes of a step (at most).
"""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit
from jaxtyping import Float, Int64
from torch import Tensor

from neurarium.errors import InvalidValue, MissingExtra, did_you_mean, require
from neurarium.parts.bundles import Transitions
from neurarium.parts.markov import Dynamics
from neurarium.worlds.stepped import Environment, StepWorld, digits, same_copies

HORIZON = 1000  # steps after which an episode is cut off where the environment has no limit of its own
TOY_TEXT = "gymnasium.envs.toy_text"  # where Gymnasium keeps the environments that have tables
PLAIN_WRAPPERS = (TimeLimit, OrderEnforcing, PassiveEnvChecker)  # these leave the table true
NEVER = 2.0  # a cumulative probability that no draw reaches

Policy = Callable[[Int64[Tensor, " W"]], Int64[Tensor, " W"]]


@runtime_checkable
class World(Protocol):
    """Copies of one environment that step together.

    Attributes:
        states: how many states there are.
        actions: how many actions there are.
        limit: steps after which an episode is truncated.
        dynamics: the environment's own table, if it has one.
        positions: the state each copy is in.
    """

    states: int
    actions: int
    limit: int
    dynamics: Dynamics | None
    positions: Int64[Tensor, " W"]

    def step(self, actions: Int64[Tensor, " W"], /) -> Transitions: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


def load_world(
    environment: str, *, copies: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> "TableWorld | StepWorld":
    """Copies of a Gymnasium environment: in tensors if it has a table, stepped in Python otherwise.

    Args:
        environment: its id ("FrozenLake-v1", or "my_module:MyEnvironment-v0" to import the module first).
        copies: how many.
        generator: where their chance comes from.
        device: where states and transitions live.

    Raises:
        InvalidValue: no such environment (the nearest id is named), states or actions that are not discrete, no copies.
        MissingExtra: the environment needs a library that is not installed.

    >>> world = load_world("CliffWalking-v1", copies=2, generator=torch.Generator())
    >>> world.positions.tolist(), world.states, world.actions
    ([36, 36], 48, 4)
    >>> step = world.step(torch.tensor([0, 1]))  # up; right, into the cliff and back to the start
    >>> step.next_states.tolist(), step.rewards.tolist()
    ([24, 36], [-1.0, -100.0])
    """
    require(copies >= 1, f"copies is {copies}; a world has at least 1, one for each learner")
    first = make(environment)
    limit = first.spec.max_episode_steps if first.spec else None
    dynamics = table_of(first)
    if dynamics is not None:
        moved = Dynamics(*(field.to(device) for field in dynamics))
        return TableWorld(moved, limit=limit or HORIZON, copies=copies, generator=generator)
    rest = [make(environment) for _ in range(copies - 1)]
    return StepWorld([first, *rest], limit=limit or HORIZON, generator=generator, device=device)


def make(environment: str) -> Environment:
    """One environment of this id, checked to be discrete.

    Raises:
        InvalidValue: there is none, it cannot be made, or its states or actions are not discrete.
        MissingExtra: it needs a library that is not installed.
    """
    known = gymnasium.registry
    if environment not in known and ":" not in environment:
        toys = [name for name, spec in known.items() if str(spec.entry_point).startswith(TOY_TEXT)]
        hint = did_you_mean(environment, known if get_close_matches(environment, known) else toys)
        raise InvalidValue(f"gymnasium {gymnasium.__version__} has no environment '{environment}'; {hint}")
    try:
        made = gymnasium.make(environment)
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise MissingExtra(f"environment '{environment}' cannot be loaded: {error}; install what it needs") from None
    except gymnasium.error.Error as error:
        raise InvalidValue(f"environment '{environment}' cannot be made: {error}") from None
    if digits(made.observation_space) is None or not isinstance(made.action_space, spaces.Discrete):
        raise InvalidValue(
            f"environment '{environment}' has states {made.observation_space} and actions {made.action_space}; a table "
            "needs discrete ones (Discrete actions; Discrete, MultiDiscrete or Tuple-of-Discrete states)"
        )
    return made


def table_of(environment: Environment) -> Dynamics | None:
    """The environment's own transition table, or None where it has none or does not go by it alone."""
    bare, layer = environment.unwrapped, environment
    while isinstance(layer, PLAIN_WRAPPERS):
        layer = layer.env
    table, starts = getattr(bare, "P", None), getattr(bare, "initial_state_distrib", None)
    # A fickle passenger changes its mind outside the table.
    if layer is not bare or table is None or starts is None or getattr(bare, "fickle_passenger", False):
        return None
    states, actions = len(table), len(table[0])
    outcomes = max(len(table[state][action]) for state in range(states) for action in range(actions))
    padding = [(0.0, 0, 0.0, True)] * outcomes
    rows = [(table[s][a] + padding)[:outcomes] for s in range(states) for a in range(actions)]
    chance, after, rewards, ends = (
        np.array(column).reshape(states, actions, outcomes)
        for column in zip(*(zip(*row, strict=True) for row in rows), strict=True)
    )
    return Dynamics(
        torch.from_numpy(chance.astype(np.float64)),
        torch.from_numpy(after.astype(np.int64)),
        torch.from_numpy(rewards.astype(np.float32)),
        torch.from_numpy(ends.astype(bool)),
        torch.from_numpy(np.asarray(starts, dtype=np.float64)),
    )


class TableWorld:
    """Copies of a table's world, as tensors: a state and a count of steps each.

    Args:
        dynamics: the table, on the device where the copies shall live.
        limit: steps after which an episode is truncated.
        copies: how many.
        generator: where chance comes from; its draws are the same for every device.
    """

    def __init__(self, dynamics: Dynamics, *, limit: int, copies: int, generator: torch.Generator) -> None:
        self.dynamics: Dynamics | None = dynamics
        self.states, self.actions, self._outcomes = dynamics.probabilities.shape
        self.limit = limit
        self.generator = generator
        self._cumulative = _cumulative(dynamics.probabilities).flatten(0, 1)  # (S A, K)
        self._next_states = dynamics.next_states.flatten()  # (S A K), as are the next two
        self._rewards = dynamics.rewards.flatten()
        self._terminated = dynamics.terminated.flatten()
        self._starts = dynamics.starts.nonzero().flatten()
        self._starts_cumulative = _cumulative(dynamics.starts[self._starts])
        self.elapsed = torch.zeros(copies, dtype=torch.int64, device=self._starts.device)
        self.positions = self._begun(self._draw())

    def step(self, actions: Int64[Tensor, " W"], /) -> Transitions:
        """Every copy takes its action; whose episode ends stands at the start of a new one afterwards."""
        before, draws = self.positions, self._draw()
        pair = before * self.actions + actions
        place = pair * self._outcomes
        if self._outcomes > 1:
            # The outcome is the first whose cumulative probability exceeds the draw.
            place = place + (self._cumulative.index_select(0, pair) <= draws[0].unsqueeze(1)).sum(1)
        after, terminated = self._next_states.index_select(0, place), self._terminated.index_select(0, place)
        self.elapsed = self.elapsed + 1
        truncated = self.elapsed >= self.limit
        over = terminated | truncated
        self.elapsed = self.elapsed * ~over
        self.positions = torch.where(over, self._begun(draws), after)
        return Transitions(before, actions, self._rewards.index_select(0, place), after, terminated, truncated)

    def _draw(self) -> Float[Tensor, "2 W"]:
        return torch.rand(2, len(self.elapsed), generator=self.generator).to(self.elapsed.device)

    def _begun(self, draws: Float[Tensor, "2 W"]) -> Int64[Tensor, " W"]:
        if len(self._starts) == 1:
            return self._starts.expand(len(self.elapsed))
        return self._starts[torch.searchsorted(self._starts_cumulative, draws[1], right=True)]

    def state_dict(self) -> dict[str, Any]:
        """Where every copy stands, and where chance does."""
        chance = self.generator.get_state()
        return {"positions": self.positions.clone(), "elapsed": self.elapsed.clone(), "generator": chance}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back there.

        Raises:
            InvalidValue: the state is of another number of copies.
        """
        same_copies(state, len(self.positions))
        self.positions = state["positions"].to(self.elapsed.device).clone()
        self.elapsed = state["elapsed"].to(self.elapsed.device).clone()
        self.generator.set_state(state["generator"].cpu())


def _cumulative(probabilities: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """Cumulative probabilities in float32, as draws are; from the last possible outcome on, beyond every draw."""
    later = probabilities.flip(-1).cumsum(-1).flip(-1) - probabilities
    return torch.where(later <= 0, NEVER, probabilities.cumsum(-1)).float()


def episode_returns(world: World, policy: Policy, *, episodes: int = 1) -> Float[Tensor, " W"]:
    """Each copy's mean undiscounted return over its next episodes; the copies must stand at a start.

    >>> world = load_world("CliffWalking-v1", copies=1, generator=torch.Generator())
    >>> along = torch.full((48,), 1)  # right, but up at the start and down at the far end
    >>> along[36], along[35] = 0, 2
    >>> episode_returns(world, lambda states: along[states]).tolist()
    [-13.0]
    """
    require(episodes >= 1, f"episodes is {episodes}; there must be at least 1")
    total = torch.zeros(world.positions.shape, dtype=torch.float64, device=world.positions.device)
    left = torch.full_like(world.positions, episodes)
    while bool(left.any()):
        step = world.step(policy(world.positions))
        total += step.rewards * (left > 0)
        left = (left - (step.terminated | step.truncated).long()).clamp(min=0)
    return total / episodes
