r"""Returns: what came after a step, each later reward counted a little less.

R_t = r_{t+1} + γ r_{t+2} + γ² r_{t+3} + …  Where an episode has terminated, nothing follows. Where it was truncated,
someone stopped looking: what would have followed still counts, and a guess of it (a value) has to stand in.

Source: CSE 151B, Reinforcement Learning ("maximize long term expected reward"); Sutton & Barto 2018, eq. 3.9 (return)
and eq. 7.1 (n-step return); Pardo et al. 2018, Time limits in reinforcement learning, §3 (truncation).
Shapes: B rows, T time steps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.bundles import Transitions


class Lookahead(NamedTuple):
    """Some steps of experience taken as one: what n steps brought, and what counts of the state they led to.

    Attributes:
        states: where the first step began.
        actions: what was done there.
        returns: the discounted rewards of the steps, up to n of them or to the end of the episode.
        next_states: where they led.
        factors: what a value of `next_states` counts: γᵏ after k steps, 0 after a termination.

    >>> one = torch.ones(1)
    >>> Lookahead(one, one.long(), one, one, 0.99 * one).factors.shape
    torch.Size([1])
    """

    states: Shaped[Tensor, "B ..."]
    actions: Shaped[Tensor, " B"]
    returns: Float[Tensor, " B"]
    next_states: Shaped[Tensor, "B ..."]
    factors: Float[Tensor, " B"]


def reward_to_go(
    rewards: Float[Tensor, "B T"],
    ended: Bool[Tensor, "B T"],
    following: Float[Tensor, "B T"],
    *,
    discount: float,
) -> Float[Tensor, "B T"]:
    """The discounted return from every step to the end of its episode.

    Args:
        rewards: of each step.
        ended: whether the episode ended with it; what stands beyond is another episode's. The last step ends anyway.
        following: what counts after an end: 0 after a termination, a value of the state that was reached after a
            truncation (or 0, where nothing is known of it). Elsewhere it is never looked at.
        discount: γ.

    Raises:
        InvalidValue: γ is not from 0 to 1.

    >>> rewards, never = torch.tensor([[1.0, 1.0, 1.0]]), torch.zeros(1, 3, dtype=torch.bool)
    >>> reward_to_go(rewards, never, torch.tensor([[0.0, 0.0, 8.0]]), discount=0.5).tolist()
    [[2.75, 3.5, 5.0]]
    """
    require(0 <= discount <= 1, f"discount is {discount}; it lies between 0 and 1")
    found = torch.empty_like(rewards)
    after = following[:, -1]
    for step in reversed(range(rewards.shape[1])):
        after = torch.where(ended[:, step], following[:, step], after)
        # R_t = r_{t+1} + γ R_{t+1}
        after = rewards[:, step] + discount * after
        found[:, step] = after
    return found


def n_step(window: Sequence[Transitions], *, discount: float) -> Lookahead:
    """The n-step return of the first of some steps in succession.

    Args:
        window: n steps of the same copies of a world, one after another.
        discount: γ.

    Raises:
        InvalidValue: there is no step, or γ is not from 0 to 1.

    >>> one, yes, no = torch.ones(1), torch.tensor([True]), torch.tensor([False])
    >>> step = Transitions(one, one.long(), one, 2 * one, terminated=no, truncated=no)
    >>> found = n_step([step, step], discount=0.5)
    >>> found.returns.item(), found.factors.item()
    (1.5, 0.25)
    >>> ends = n_step([step._replace(terminated=yes), step], discount=0.5)
    >>> ends.returns.item(), ends.factors.item()
    (1.0, 0.0)
    """
    require(len(window) >= 1, "the window is empty; an n-step return needs a step at least")
    require(0 <= discount <= 1, f"discount is {discount}; it lies between 0 and 1")
    first = window[0]
    returns, next_states = torch.zeros_like(first.rewards), first.next_states
    factors, alive = torch.ones_like(first.rewards), torch.ones_like(first.terminated)
    for step in window:
        # R = Σ_{i<k} γⁱ r_{i+1}, and γᵏ for what follows, k ≤ n being the steps until the end
        returns = returns + torch.where(alive, factors * step.rewards, 0.0)
        factors = torch.where(alive, discount * factors * ~step.terminated, factors)
        wide = alive.view(-1, *[1] * (next_states.ndim - 1))
        next_states = torch.where(wide, step.next_states, next_states)
        alive = alive & ~(step.terminated | step.truncated)
    return Lookahead(first.states, first.actions, returns, next_states, factors)
