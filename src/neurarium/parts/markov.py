r"""Finite Markov decision processes whose rules are known: the dynamics as tables, and what planning makes of them.

From the tables come the optimum (value iteration), a policy's expected return under a time limit (backward induction)
and which states can be met at all. Learners from experience never see the tables; they are judged by them.

Source: Sutton & Barto 2018, Reinforcement Learning, §3.1 (dynamics), §4.1 (policy evaluation), §4.4 (value iteration).
Shapes: S states, A actions, K outcomes of a step (at most), M policies.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neurarium.errors import require


class Dynamics(NamedTuple):
    """What each action may lead to from each state; where a step has fewer than K outcomes, the rest have chance 0."""

    probabilities: Float[Tensor, "S A K"]
    next_states: Int64[Tensor, "S A K"]
    rewards: Float[Tensor, "S A K"]
    terminated: Bool[Tensor, "S A K"]
    starts: Float[Tensor, " S"]


def value_iteration(dynamics: Dynamics, *, discount: float, tolerance: float = 1e-10) -> Float[Tensor, "S A"]:
    """The optimal action values Q*, in float64.

    Args:
        dynamics: the process.
        discount: γ, from 0 up to but without 1, so that sweeping contracts to Q*.
        tolerance: the largest error of any value.

    Raises:
        InvalidValue: the discount is outside [0, 1).

    One state, whose first action pays 1 and goes on, and whose second pays 1 and ends:

    >>> ends = torch.tensor([[[False], [True]]])
    >>> ones = torch.ones(1, 2, 1)
    >>> loop = Dynamics(ones, torch.zeros(1, 2, 1, dtype=torch.int64), ones, ends, torch.ones(1))
    >>> value_iteration(loop, discount=0.9).round(decimals=6).tolist()
    [[10.0, 1.0]]
    """
    require(0 <= discount < 1, f"discount is {discount}; it must be at least 0 and below 1")
    going_on = discount * dynamics.probabilities.double() * ~dynamics.terminated
    reward = (dynamics.probabilities.double() * dynamics.rewards).sum(-1)
    values = torch.zeros_like(reward)
    while True:
        # Q(s,a) ← Σ p(s',r|s,a) (r + γ (1 − terminated) max Q(s',a'))
        swept = reward + (going_on * values.amax(1)[dynamics.next_states]).sum(-1)
        change = float((swept - values).abs().max())
        values = swept
        # A sweep that changes values by c leaves an error of at most c γ / (1 − γ).
        if change * discount <= tolerance * (1 - discount):
            return values


def expected_returns(dynamics: Dynamics, policies: Int64[Tensor, "M S"], *, steps: int) -> Float[Tensor, " M"]:
    """The exact expected undiscounted return of deterministic policies within a time limit, in float64.

    Args:
        dynamics: the process.
        policies: the action of each state, policy by policy.
        steps: the time limit.

    Raises:
        InvalidValue: steps is below 1.

    >>> ones = torch.ones(1, 1, 1)
    >>> endless = Dynamics(ones, torch.zeros(1, 1, 1, dtype=torch.int64), ones, ones < 0, torch.ones(1))
    >>> expected_returns(endless, torch.zeros(1, 1, dtype=torch.int64), steps=7).tolist()
    [7.0]
    """
    require(steps >= 1, f"steps is {steps}; an episode has at least 1")
    state = torch.arange(policies.shape[1], device=policies.device)
    chance = dynamics.probabilities.double()[state, policies]
    reward = (chance * dynamics.rewards[state, policies]).sum(-1)
    going_on, after = chance * ~dynamics.terminated[state, policies], dynamics.next_states[state, policies]
    value = torch.zeros_like(reward)
    for _ in range(steps):
        # V_t(s) = Σ p(s',r|s,π(s)) (r + (1 − terminated) V_{t+1}(s'))
        value = reward + (going_on * value.gather(1, after.flatten(1)).view_as(going_on)).sum(-1)
    return value @ dynamics.starts.double()


def reachable(dynamics: Dynamics) -> Bool[Tensor, " S"]:
    """The states in which an action may have to be chosen: those that some policy meets before the end of an episode.

    >>> ones = torch.ones(2, 1, 1)
    >>> apart = Dynamics(ones, torch.tensor([[[0]], [[0]]]), ones, ones < 0, torch.tensor([1.0, 0.0]))
    >>> reachable(apart).tolist()
    [True, False]
    """
    found, leads_on = dynamics.starts > 0, (dynamics.probabilities > 0) & ~dynamics.terminated
    while True:
        wider = found.clone()
        wider[dynamics.next_states[found][leads_on[found]]] = True
        if torch.equal(wider, found):
            return found
        found = wider
