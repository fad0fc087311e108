r"""Q-learning: learn what every action is worth from single steps, whoever chose them.

Q(s,a) is the discounted return to expect after doing a in s and acting well from then on. Each step gives a better
guess of it (the reward, plus what the best action in the next state seems worth), and the table moves a little towards
that guess. The next state's value counts whatever the learner really does there, so it may explore as it likes: here
ε-greedily, at random at first and then ever more by its own table. Values spread backward from the rewards, one step a
visit. Many learners, each with a table, a world and chances of its own, learn at once as one tensor program.

Source: CSE 151B, Q-Learning; Watkins & Dayan 1992, Q-learning, eq. 1; Sutton & Barto 2018, §6.5 (eq. 6.8); step size
α_n = α/(1 + (1 − γ) n) after n visits of (s,a): the rescaled linear one of Wainwright 2019, Stochastic approximation
with cone-contractive operators: sharp ℓ∞-bounds for Q-learning.
Differs: that step size in place of a constant, because it begins at 1 (right where the world is certain) and falls
where it is not; over the second half of the training it also falls in a line to 0, so that the last draws of chance do
not decide between actions that are nearly as good. Greedy means the first of equal actions.
Shapes: M learners, S states, A actions, B states asked about.
"""

from collections.abc import Callable
from typing import Any, Protocol, Self, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import Transitions, check_batch
from neurarium.parts.exploration import epsilon_greedy, exploration

ENTRIES_MAX = 2**30  # of a table: 4 GB


def annealing(progress: float) -> float:
    """The factor of the step size by progress: 1 through the first half of the training, then in a line to 0.

    >>> annealing(0.3), annealing(0.75), annealing(1.0)
    (1.0, 0.5, 0.0)
    """
    return min(1.0, 2 * (1 - progress))


def step_size(visits: Int64[Tensor, " M"], *, lr: float, discount: float) -> Float[Tensor, " M"]:
    """How far a value moves towards its target after `visits` earlier moves.

    >>> step_size(torch.tensor([0, 100]), lr=1.0, discount=0.99).tolist()
    [1.0, 0.5]
    """
    # α_n = α / (1 + (1 − γ) n)
    return lr / (1 + (1 - discount) * visits)


def td_error(
    value: Float[Tensor, " M"],
    reward: Float[Tensor, " M"],
    next_values: Float[Tensor, "M A"],
    terminated: Bool[Tensor, " M"],
    *,
    discount: float,
) -> Float[Tensor, " M"]:
    """How much better a step turned out than its value said.

    Nothing follows a termination. After a truncation something would have, so its value still counts.

    >>> one, next_values = torch.ones(1), torch.tensor([[0.0, 10.0]])
    >>> td_error(one, one, next_values, torch.tensor([False]), discount=0.5).item()
    5.0
    """
    # δ = r + γ (1 − terminated) max_a' Q(s',a') − Q(s,a)
    return reward + discount * ~terminated * next_values.amax(1) - value


class ActionValues(nn.Module):
    """Tables of Q(s,a), one a learner, all 0 at first.

    Args:
        learners: number of tables M.
        states: number of states S.
        actions: number of actions A.

    Raises:
        InvalidValue: one of them is below 1, or the tables are too large.

    >>> ActionValues(learners=2, states=16, actions=4)(torch.tensor([0, 5, 15])).shape
    torch.Size([3, 2, 4])
    """

    values: Float[Tensor, "M S A"]
    first_row: Int64[Tensor, " M"]

    def __init__(self, *, learners: int, states: int, actions: int) -> None:
        super().__init__()
        for name, count in (("learners", learners), ("states", states), ("actions", actions)):
            require(count >= 1, f"{name} is {count}; a table needs at least 1")
        entries = learners * states * actions
        require(
            entries <= ENTRIES_MAX,
            f"{learners} tables of {states} states and {actions} actions have {entries:,} entries, over the limit of "
            f"{ENTRIES_MAX:,}; take fewer learners, or a system that approximates the values",
        )
        self.register_buffer("values", torch.zeros(learners, states, actions))
        self.register_buffer("first_row", torch.arange(learners) * states, persistent=False)

    def forward(self, states: Int64[Tensor, " B"]) -> Float[Tensor, "B M A"]:
        """What every learner thinks of these states."""
        return self.values[:, states].transpose(0, 1)

    def own(self, states: Int64[Tensor, " M"]) -> Float[Tensor, "M A"]:
        """What each learner thinks of its own state."""
        # Q_i(s,·), as a row of all tables under one another: a third of the time of values[learner, states].
        return self.values.flatten(0, 1).index_select(0, self.first_row + states)


class QLearning(Learner[Transitions]):
    """Learners that improve their tables with every step.

    Args:
        learners: how many learn at once, each from one transition of a batch.
        states: number of states.
        actions: number of actions.
        discount: γ, from 0 up to but without 1.
        lr: α, the step size of a pair's first update, 0 to 1; annealed in the second half of the training.
        epsilon_end: chance of a random action at the end, 0 to 1.
        epsilon_share: share of the training over which that chance falls from 1, above 0.

    Raises:
        InvalidValue: a value outside its rule, or a batch that is not one transition a learner.

    >>> learner = QLearning(learners=1, states=2, actions=2)
    >>> one, no = torch.tensor([1]), torch.tensor([False])
    >>> batch = Transitions(0 * one, one, torch.tensor([-1.0]), one, terminated=no, truncated=no)
    >>> learner.learn(batch)["td_error"].item()
    1.0
    >>> learner.table.values.tolist()
    [[[0.0, -1.0], [0.0, 0.0]]]
    """

    channels_last = False

    def __init__(
        self,
        *,
        learners: int,
        states: int,
        actions: int,
        discount: float = 0.99,
        lr: float = 1.0,
        epsilon_end: float = 0.1,
        epsilon_share: float = 0.1,
    ) -> None:
        require(0 <= discount < 1, f"discount is {discount}; it must be at least 0 and below 1")
        require(0 <= lr <= 1, f"lr is {lr}; a step size lies between 0 and 1")
        require(0 <= epsilon_end <= 1, f"epsilon_end is {epsilon_end}; a probability lies between 0 and 1")
        require(epsilon_share > 0, f"epsilon_share is {epsilon_share}; it must be positive")
        self.table = ActionValues(learners=learners, states=states, actions=actions)
        self.visits = torch.zeros(learners, states, actions, dtype=torch.int64)
        self.discount, self.lr = discount, lr
        self.epsilon_end, self.epsilon_share = epsilon_end, epsilon_share

    @property
    def epsilon(self) -> float:
        """The chance of a random action now."""
        return exploration(self.progress, end=self.epsilon_end, share=self.epsilon_share)

    def act(self, states: Int64[Tensor, " M"], draws: Float[Tensor, "2 M"]) -> Int64[Tensor, " M"]:
        """What each learner does in its state, ε-greedily."""
        return epsilon_greedy(self.table.own(states), epsilon=self.epsilon, draws=draws)

    def learn(self, batch: Transitions) -> Measures:
        """One update of each learner, from one transition each."""
        self._check(batch)
        pair = (batch.states * self.table.values.shape[2] + batch.actions).unsqueeze(1)
        values, visits = self.table.values.flatten(1), self.visits.flatten(1)  # views: (M, S A)
        value, visit = values.gather(1, pair).squeeze(1), visits.gather(1, pair).squeeze(1)
        following = self.table.own(batch.next_states)
        error = td_error(value, batch.rewards, following, batch.terminated, discount=self.discount)
        rate = step_size(visit, lr=self.lr * annealing(self.progress), discount=self.discount)
        # Q(s,a) ← Q(s,a) + α δ
        values.scatter_(1, pair, (value + rate * error).unsqueeze(1))
        visits.scatter_(1, pair, (visit + 1).unsqueeze(1))
        return {"td_error": error.abs().mean(), "reward": batch.rewards.mean(), "epsilon": self.epsilon}

    def greedy(self) -> Int64[Tensor, "M S"]:
        """Each learner's policy: the best action in every state, the first of equals."""
        return self.table.values.argmax(2)

    def example(self, batch: Transitions) -> dict[str, tuple[Tensor, ...]]:
        """The states of a batch, for the table."""
        return {"table": (batch.states,)}

    def _check(self, batch: Transitions) -> None:
        check_batch(batch, wanted="transitions")
        learners = (len(self.table.values),)
        for name, field in batch._asdict().items():
            if field.shape != learners:
                raise InvalidValue(
                    f"the batch's {name} have shape {tuple(field.shape)}, but {learners[0]} learners take one "
                    f"transition each: {learners}"
                )


@runtime_checkable
class World(Protocol):
    """Copies of an environment that step together, `positions` saying where each stands."""

    positions: Int64[Tensor, " M"]

    def step(self, actions: Int64[Tensor, " M"], /) -> Transitions: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


class Experience:
    """A stream of what happens to learners who act in a world: one step of every copy a batch.

    Args:
        world: as many copies as learners.
        act: the behaviour policy: actions from positions and two uniform draws a learner.
        generator: where the draws come from.

    >>> from neurarium.worlds.tabular import load_world
    >>> world = load_world("CliffWalking-v1", copies=2, generator=torch.Generator())
    >>> learner = QLearning(learners=2, states=world.states, actions=world.actions)
    >>> next(Experience(world, learner.act, generator=torch.Generator())).states.tolist()
    [36, 36]
    """

    def __init__(
        self,
        world: World,
        act: Callable[[Int64[Tensor, " M"], Float[Tensor, "2 M"]], Int64[Tensor, " M"]],
        *,
        generator: torch.Generator,
    ) -> None:
        self.world = world
        self.act = act
        self.generator = generator

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Transitions:
        positions = self.world.positions
        draws = torch.rand(2, len(positions), generator=self.generator).to(positions.device)
        return self.world.step(self.act(positions, draws))

    def state_dict(self) -> dict[str, Any]:
        """Where the world and the draws stand; the learner's part in the choice is in the learner."""
        return {"world": self.world.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back there."""
        self.world.load_state_dict(state["world"])
        self.generator.set_state(state["generator"].cpu())
