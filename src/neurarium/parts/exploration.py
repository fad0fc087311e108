r"""Exploration: whoever learns by acting must also do what does not seem best, or better ways are never found.

What such learners share: the world they act in, seen as rows of numbers; how often they act at random; and the way in
which one of them, once it has learned, is asked for its best.

Source: CSE 151B, Reinforcement Learning ("explore different options rather than picking the best known paths";
ε-greedy, large at first and smaller over time); Sutton & Barto 2018, §2.2, §2.8 (softmax of preferences).
Shapes: W copies of a world, D numbers seen of each, B states, A actions.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from neurarium.parts.bundles import Transitions


@runtime_checkable
class World(Protocol):
    """Copies of an environment that step together.

    Attributes:
        actions: how many different ones there are.
        limit: steps after which an episode is truncated.
    """

    actions: int
    limit: int

    @property
    def observations(self) -> Float[Tensor, "W D"]:
        """What is seen of each copy now."""

    def step(self, actions: Int64[Tensor, " W"], /) -> Transitions:
        """Every copy takes its action; whose episode ends stands at the start of a new one afterwards."""

    def restart(self) -> None:
        """Every copy begins an episode."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


@runtime_checkable
class Acts(Protocol):
    """A learner that has learned what to do: what `neurarium watch` asks a finished run for."""

    def best_actions(self, states: Shaped[Tensor, "B ..."]) -> Int64[Tensor, " B"]:
        """What it takes for the best action in each of these states."""


def exploration(progress: float, *, start: float = 1.0, end: float = 0.1, share: float = 0.1) -> float:
    """ε, the chance of a random action: falls in a line from `start` to `end` over a share of the training, then stays.

    >>> exploration(0.0), exploration(0.25, end=0.0, share=0.5), exploration(0.9, end=0.05)
    (1.0, 0.5, 0.05)
    """
    # ε = ε₁ + (ε₀ − ε₁) max(0, 1 − t / (share T))
    return end + (start - end) * max(0.0, 1 - progress / share)


def epsilon_greedy(values: Float[Tensor, "W A"], *, epsilon: float, draws: Float[Tensor, "2 W"]) -> Int64[Tensor, " W"]:
    """The best action, or with probability ε any action.

    Args:
        values: of each action, row by row.
        epsilon: ε.
        draws: uniform in [0, 1): the first row decides whether to explore, the second where.

    >>> values = torch.tensor([[0.0, 2.0, 1.0], [0.0, 2.0, 1.0]])
    >>> epsilon_greedy(values, epsilon=0.1, draws=torch.tensor([[0.5, 0.05], [0.0, 0.99]])).tolist()
    [1, 2]
    """
    anywhere = (draws[1] * values.shape[1]).long()
    return torch.where(draws[0] < epsilon, anywhere, values.argmax(1))


def softmax_sample(logits: Float[Tensor, "W A"], *, draws: Float[Tensor, " W"]) -> Int64[Tensor, " W"]:
    """An action drawn from the softmax of the logits.

    Args:
        logits: of each action, row by row.
        draws: uniform in [0, 1).

    >>> softmax_sample(torch.zeros(3, 2), draws=torch.tensor([0.0, 0.49, 0.51])).tolist()
    [0, 0, 1]
    """
    # The first action whose cumulative probability exceeds the draw.
    cumulative = torch.softmax(logits, dim=1)[:, :-1].cumsum(1)
    return (cumulative <= draws.unsqueeze(1)).sum(1)
