r"""Discrete Gymnasium environments without a transition table: stepped copy by copy in Python, the slow way.

A running environment cannot be saved, but its episode can: chance as it stood when the episode began, and the actions
since. Going back there plays them again. A state of several discrete parts is numbered as mixed-radix digits.

Source: Gymnasium 1.x, `Env.step`, `Env.reset` and `Env.np_random`.
Shapes: W copies of the world.
"""

from math import prod
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Int64
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.bundles import Transitions
from neurarium.parts.markov import Dynamics

Environment = gymnasium.Env[Any, Any]


def digits(space: spaces.Space[Any]) -> list[tuple[int, int]] | None:
    """How many values each part of a discrete space takes, and the first of them; None if the space is not discrete.

    >>> digits(spaces.Tuple([spaces.Discrete(32), spaces.Discrete(11, start=1)]))
    [(32, 0), (11, 1)]
    """
    if isinstance(space, spaces.Discrete):
        return [(int(space.n), int(space.start))]
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return [(int(size), int(start)) for size, start in zip(space.nvec, space.start, strict=True)]
    if isinstance(space, spaces.Tuple) and all(isinstance(part, spaces.Discrete) for part in space.spaces):
        return [(int(part.n), int(part.start)) for part in space.spaces if isinstance(part, spaces.Discrete)]
    return None


def same_copies(state: dict[str, Any], copies: int) -> None:
    """Refuse a saved world of another number of copies.

    Raises:
        InvalidValue: the numbers differ.
    """
    saved = len(state["positions"])
    require(saved == copies, f"the saved world has {saved} copies, but this one has {copies}")


class StepWorld:
    """Copies of an environment without a table, stepped one by one in Python.

    A running environment cannot be saved. Its episode can: chance as it stood when the episode began, and the actions
    since. Going back there plays them again, and says so if that leads elsewhere.

    Args:
        environments: the copies.
        limit: steps after which an episode is truncated.
        generator: where the copies' seeds come from.
        device: where states and transitions live.
    """

    def __init__(
        self,
        environments: list[Environment],
        *,
        limit: int,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        sizes, space = digits(environments[0].observation_space), environments[0].action_space
        assert sizes is not None
        assert isinstance(space, spaces.Discrete)
        self.dynamics: Dynamics | None = None
        self._sizes, self._first_action = sizes, int(space.start)
        self.states, self.actions = prod(size for size, _ in sizes), int(space.n)
        self.limit = limit
        self._environments = environments
        self._chance: list[dict[str, Any]] = [{} for _ in environments]
        self._taken: list[list[int]] = [[] for _ in environments]
        seeds = torch.randint(2**31, (len(environments),), generator=generator).tolist()
        for environment, seed in zip(environments, seeds, strict=True):
            environment.reset(seed=seed)
        self.positions = torch.tensor([self._begin(copy) for copy in range(len(environments))], device=device)

    def step(self, actions: Int64[Tensor, " W"], /) -> Transitions:
        """Every copy takes its action; whose episode ends stands at the start of a new one afterwards."""
        steps = [self._step_one(copy, action) for copy, action in enumerate(actions.tolist())]
        after, rewards, terminated, truncated = zip(*steps, strict=True)
        ended = [end or cut for end, cut in zip(terminated, truncated, strict=True)]
        begun = [self._begin(copy) if over else after[copy] for copy, over in enumerate(ended)]
        before, device = self.positions, self.positions.device
        self.positions = torch.tensor(begun, device=device)
        return Transitions(
            before,
            actions,
            torch.tensor(rewards, dtype=torch.float32, device=device),
            torch.tensor(after, device=device),
            torch.tensor(terminated, device=device),
            torch.tensor(truncated, device=device),
        )

    def _step_one(self, copy: int, action: int) -> tuple[int, float, bool, bool]:
        seen, reward, terminated, truncated, _ = self._environments[copy].step(action + self._first_action)
        self._taken[copy].append(action)
        return self._number(seen), float(reward), terminated, truncated or len(self._taken[copy]) >= self.limit

    def _begin(self, copy: int) -> int:
        environment = self._environments[copy]
        self._chance[copy] = dict(environment.unwrapped.np_random.bit_generator.state)
        self._taken[copy] = []
        return self._number(environment.reset()[0])

    def _number(self, seen: Any) -> int:
        number = 0
        for (size, start), digit in zip(self._sizes, np.asarray(seen).reshape(-1).tolist(), strict=True):
            number = number * size + int(digit) - start
        return number

    def state_dict(self) -> dict[str, Any]:
        """For every copy: where it stands, its chance at the start of its episode, its actions since."""
        taken = [list(actions) for actions in self._taken]
        return {"positions": self.positions.clone(), "chance": list(self._chance), "taken": taken}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back there, by playing the episodes again.

        Raises:
            InvalidValue: the state is of another number of copies, or the environment does not play the same again.
        """
        same_copies(state, len(self.positions))
        for copy, (chance, taken) in enumerate(zip(state["chance"], state["taken"], strict=True)):
            self._environments[copy].unwrapped.np_random.bit_generator.state = chance
            place = self._begin(copy)
            for action in taken:
                place = self._step_one(copy, action)[0]
            require(
                place == int(state["positions"][copy]),
                f"{self._environments[copy]} cannot be resumed: played again, its episode comes to another state; "
                "it must draw all chance from its np_random",
            )
        self.positions = state["positions"].to(self.positions.device).clone()
