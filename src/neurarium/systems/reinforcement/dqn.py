r"""Deep Q-network (DQN): Q-learning where a network stands in for the table.

A network that sees numbers says what each action is worth. Like the table's entries its outputs move towards the reward
plus what the next state seems worth, but each change moves all other outputs too, and that can run away. Two things
hold it: replay (a batch is drawn from all of the past, not from the last moments, which resemble each other), and a
target network (the next state is judged by an older self that follows slowly). Judging is done by two nets where the
double form is on: the learning one picks the best action, the older one says what it is worth, so that chance
overestimates do not feed on themselves. With n-step returns a target takes in n real rewards before it trusts a guess.

Source: CSE 151B, Q-Learning; Mnih et al. 2015, Human-level control through deep reinforcement learning, Methods,
algorithm 1; van Hasselt, Guez & Silver 2016, Deep reinforcement learning with double Q-learning, eq. 4; Sutton 1988,
n-step returns, as in Hessel et al. 2018, Rainbow, §2 (multi-step); Lillicrap et al. 2016, Continuous control with deep
reinforcement learning, §3 (soft target updates).
Differs: what is seen is a row of numbers, not a screen. A truncated episode is not a terminated one: the value of where
it was cut off still counts. The learning rate falls to 0 along a half cosine, so that the last batches do not decide;
the errors' Huber form stands for the clipped error. Returns may be counted in another unit, so that the network's
outputs need not grow to a hundred before they mean anything. n-step returns are not corrected for exploring actions.
Shapes: B batch, D numbers seen, A actions, W copies of a world.
"""

from collections import deque
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple, Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import Transitions, check_batch
from neurarium.parts.exploration import World, epsilon_greedy, exploration
from neurarium.parts.optimizers import MakeOptimizer, adam, set_rate
from neurarium.parts.replay import Replay
from neurarium.parts.returns import Lookahead, n_step
from neurarium.parts.schedules import Schedule, constant

GRADIENT_MAX = 10.0  # norm to which a gradient is cut; Wang et al. 2016, Dueling network architectures, §4.2
EPISODES_KEPT = 10_000  # whose returns a stream remembers


def targets(batch: Lookahead, next_values: Float[Tensor, "B A"], judged: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
    """What the values of the actions taken should have been.

    Args:
        batch: what was done and what came of it.
        next_values: of the state reached, by the network that picks the action there.
        judged: the same by the network that says what it is worth; of both are one, plain DQN's.

    >>> one = torch.ones(1)
    >>> batch = Lookahead(one, one.long(), one, one, factors=0.5 * one)
    >>> targets(batch, torch.tensor([[1.0, 2.0]]), torch.tensor([[6.0, 4.0]])).item()
    3.0
    """
    # y = R + γⁿ Q⁻(s', argmax_a Q(s', a)), nothing following a termination (the factor is then 0)
    best = next_values.argmax(1, keepdim=True)
    return batch.returns + batch.factors * judged.gather(1, best).squeeze(1)


class DQN(Learner[Lookahead]):
    """A network that learns what each action is worth, from steps drawn from its past.

    Args:
        value: from what is seen (B, D) to the value of each action (B, A).
        double: whether the learning network picks the next action; if not, the target network does both.
        follow: share of the way that the target network takes towards the learning one at every update; 1 with
            `hold` is the hard form.
        hold: updates between two moves of the target network.
        epsilon_end: chance of a random action at the end, 0 to 1.
        epsilon_share: share of the training over which that chance falls from 1, above 0.
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.
        unit: returns are counted in it: at 1/(1 − γ) the values of rewards about 1 come to lie about 1.

    Raises:
        InvalidValue: a value outside its rule, or a batch whose fields do not fit together.

    >>> _ = torch.manual_seed(0)
    >>> learner = DQN(nn.Linear(1, 2), lr=0.1)
    >>> seen, arms = torch.ones(2, 1), torch.tensor([0, 1])  # a bandit: the second arm pays
    >>> batch = Lookahead(seen, arms, arms.float(), seen, torch.zeros(2))
    >>> for _ in range(100):
    ...     measures = learner.learn(batch)
    >>> torch.allclose(learner.value(seen[:1]), torch.tensor([[0.0, 1.0]]), atol=0.05)
    True
    """

    channels_last = False

    def __init__(
        self,
        value: nn.Module,
        *,
        double: bool = True,
        follow: float = 0.01,
        hold: int = 1,
        epsilon_end: float = 0.05,
        epsilon_share: float = 0.2,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-3,
        schedule: Schedule = constant,
        unit: float = 1.0,
    ) -> None:
        require(0 < follow <= 1, f"follow is {follow}; the target network follows by a share above 0 and at most 1")
        require(hold >= 1, f"hold is {hold}; the target network moves every 1 update or more")
        require(0 <= epsilon_end <= 1, f"epsilon_end is {epsilon_end}; a probability lies between 0 and 1")
        require(epsilon_share > 0, f"epsilon_share is {epsilon_share}; it must be positive")
        require(lr >= 0, f"lr is {lr}; a learning rate is at least 0")
        require(unit > 0, f"unit is {unit}; returns are divided by it, so it must be positive")
        self.value = value
        self.unit = unit
        self.target = deepcopy(value).requires_grad_(False)
        self.double, self.follow, self.hold = double, follow, hold
        self.epsilon_end, self.epsilon_share = epsilon_end, epsilon_share
        self.lr, self.schedule = lr, schedule
        self.optimizer = optimizer(value.parameters(), lr=lr)
        self.updates = 0

    @property
    def epsilon(self) -> float:
        """The chance of a random action now."""
        return exploration(self.progress, end=self.epsilon_end, share=self.epsilon_share)

    def learn(self, batch: Lookahead) -> Measures:
        """One step of the values towards their targets, and of the target network towards them."""
        check_lookahead(batch)
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        wanted = self.targets(batch)
        self.optimizer.zero_grad()
        values = self.value(batch.states)
        taken = values.gather(1, batch.actions.unsqueeze(1)).squeeze(1)
        # L = Huber(Q(s, a) − y)
        loss = smooth_l1_loss(taken, wanted)
        loss.backward()
        nn.utils.clip_grad_norm_(self.value.parameters(), GRADIENT_MAX)
        self.optimizer.step()
        self._follow()
        return {"loss": loss.detach(), "value": values.detach().amax(1).mean(), "epsilon": self.epsilon}

    @torch.no_grad()
    def targets(self, batch: Lookahead) -> Float[Tensor, " B"]:
        """What the values of the batch's actions should be, as far as is known now."""
        judged = self.target(batch.next_states)
        batch = batch._replace(returns=batch.returns / self.unit)
        return targets(batch, self.value(batch.next_states) if self.double else judged, judged)

    @torch.no_grad()
    def _follow(self) -> None:
        self.updates += 1
        if self.updates % self.hold == 0:
            # θ⁻ ← θ⁻ + τ (θ − θ⁻)
            theirs: list[Tensor] = list(self.target.parameters())
            mine: list[Tensor] = list(self.value.parameters())
            torch._foreach_lerp_(theirs, mine, self.follow)

    @torch.no_grad()
    def act(self, states: Float[Tensor, "W D"], draws: Float[Tensor, "2 W"]) -> Int64[Tensor, " W"]:
        """What is done in each copy of a world, ε-greedily."""
        return epsilon_greedy(self.value(states), epsilon=self.epsilon, draws=draws)

    @torch.no_grad()
    def best_actions(self, states: Float[Tensor, "B D"]) -> Int64[Tensor, " B"]:
        """The action of the highest value in each state."""
        return self.value(states).argmax(1)

    def example(self, batch: Lookahead) -> dict[str, tuple[Tensor, ...]]:
        """What is seen in a batch, for the network."""
        return {"value": (batch.states,)}


def check_lookahead(batch: Lookahead) -> None:
    """Refuse a batch that is empty or whose fields do not fit together.

    Raises:
        InvalidValue: says what is wrong.
    """
    check_batch(batch, wanted="steps of experience")
    rows, states = (len(batch.states),), tuple(batch.states.shape)
    wanted = {"actions": rows, "returns": rows, "next_states": states, "factors": rows}
    for name, shape in wanted.items():
        found = tuple(getattr(batch, name).shape)
        if found != shape:
            raise InvalidValue(f"the batch's {name} have shape {found}, but states {states} go with {shape}")


class Ended(NamedTuple):
    """Episodes that came to their end in training.

    Attributes:
        returns: undiscounted, of each.
        moments: steps of the world taken in all by then.
    """

    returns: Float[Tensor, " B"]
    moments: Int64[Tensor, " B"]


class Replayed:
    """A stream of batches from the past of a learner who acts: a step of every copy of a world, then a draw.

    Args:
        world: the copies.
        act: the behaviour policy: actions from what is seen and two uniform draws a copy.
        generator: where the behaviour's draws come from.
        replay: where the steps are kept and drawn from.
        batch: steps in a batch.
        discount: γ.
        steps: real rewards in a target, the n of n-step returns.
        beginning: steps in the replay before the first batch is drawn.

    Raises:
        InvalidValue: fewer than 1 step, or a beginning that the replay cannot hold.
    """

    def __init__(
        self,
        world: World,
        act: Callable[[Float[Tensor, "W D"], Float[Tensor, "2 W"]], Int64[Tensor, " W"]],
        *,
        generator: torch.Generator,
        replay: Replay[Lookahead],
        batch: int,
        discount: float = 0.99,
        steps: int = 1,
        beginning: int = 1,
    ) -> None:
        require(steps >= 1, f"the returns are of {steps} steps; they take in at least 1 reward")
        require(batch >= 1, f"batch is {batch}; a batch has at least 1 step")
        require(
            1 <= beginning <= replay.capacity,
            f"learning begins after {beginning} steps; take 1 or more, and no more than the replay's {replay.capacity}",
        )
        self.world = world
        self.act = act
        self.generator = generator
        self.replay = replay
        self.batch, self.discount, self.steps, self.beginning = batch, discount, steps, beginning
        self.ended = Replay(Ended, capacity=EPISODES_KEPT, generator=torch.Generator())
        self.steps_used = 0  # of the world, all copies together
        self._window: deque[Transitions] = deque(maxlen=steps)
        self._returns = torch.zeros(len(world.observations), device=world.observations.device)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Lookahead:
        self._step()
        while len(self.replay) < self.beginning:
            self._step()
        return self.replay.sample(self.batch)

    def _step(self) -> None:
        seen = self.world.observations
        draws = torch.rand(2, len(seen), generator=self.generator).to(seen.device)
        step = self.world.step(self.act(seen, draws))
        self.steps_used += len(seen)
        self._window.append(step)
        if len(self._window) == self.steps:
            self.replay.add(n_step(self._window, discount=self.discount))
        self._returns = self._returns + step.rewards
        over = step.terminated | step.truncated
        if bool(over.any()):
            returns = self._returns[over]
            self.ended.add(Ended(returns, torch.full_like(returns, self.steps_used, dtype=torch.int64)))
            self._returns = self._returns * ~over

    def state_dict(self) -> dict[str, Any]:
        """Where the world, the draws and the replay stand; the learner's part in the choice is in the learner."""
        return {
            "world": self.world.state_dict(),
            "generator": self.generator.get_state(),
            "replay": self.replay.state_dict(),
            "ended": self.ended.state_dict(),
            "steps_used": self.steps_used,
            "window": [list(step) for step in self._window],
            "returns": self._returns.clone(),
        }

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back there."""
        device = self._returns.device
        self.world.load_state_dict(state["world"])
        self.generator.set_state(state["generator"].cpu())
        self.replay.load_state_dict(state["replay"])
        self.ended.load_state_dict(state["ended"])
        self.steps_used = state["steps_used"]
        steps = [Transitions(*(field.to(device) for field in step)) for step in state["window"]]
        self._window = deque(steps, maxlen=self.steps)
        self._returns = state["returns"].to(device).clone()
