r"""Policy gradient (REINFORCE): let the net choose by chance, and make what turned out well more likely.

The outputs of a network are a softmax over actions, from which one is drawn. The drawn action is then taken for the
teacher: the weights are changed as if it had been the right answer, times how well the episode went. After a good
episode its actions become likelier, after a bad one less so; that needs no model of the world, and on average the
change is the gradient of the expected return. Chance makes it noisy, and three things make it less so, none of which
changes the average: count for an action only what came after it (reward-to-go); subtract from a return what was to be
expected anyway (a baseline, from the other steps or learned by a second network); and play many episodes at once.

Source: CSE 151B, Reinforcement Learning (policy; gradient: sample, treat the sample as the teacher, multiply the weight
changes); Williams 1992, Simple statistical gradient-following algorithms, eq. 4 (REINFORCE); Sutton & Barto 2018,
§13.3–13.4 (eq. 13.8, baseline eq. 13.11); Schulman et al. 2016, Generalized advantage estimation, §3 (γ^t left out).
Differs: the notes multiply by the sign of the reward, here by the return itself. With reward-to-go the factor γ^t of
later steps is left out, as is usual. Advantages are brought to deviation 1 in each batch, so that one learning rate
does for weak and strong rewards. Where an episode was truncated, the learned baseline, if there is one, says what would
have followed; without one nothing is counted.
Shapes: B episodes, T steps of the longest, D numbers seen, A actions, W copies of a world.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Self

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, pad

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import check_batch
from neurarium.parts.exploration import World, softmax_sample
from neurarium.parts.optimizers import MakeOptimizer, adam, set_rate
from neurarium.parts.returns import reward_to_go
from neurarium.parts.schedules import Schedule, constant

Baseline = Literal["none", "mean", "value"]


class Episodes(NamedTuple):
    """Whole episodes, side by side from their first step; what is beyond the end of one is masked.

    Attributes:
        states: what was seen before each step.
        actions: what was done.
        rewards: what it brought.
        mask: the steps that were taken; a row of True, then of False.
        last_states: what was seen after the last step.
        terminated: whether nothing follows that; if not, the episode was truncated.
    """

    states: Float[Tensor, "B T D"]
    actions: Int64[Tensor, "B T"]
    rewards: Float[Tensor, "B T"]
    mask: Bool[Tensor, "B T"]
    last_states: Float[Tensor, "B D"]
    terminated: Bool[Tensor, " B"]


def episode_returns(batch: Episodes, following: Float[Tensor, " B"], *, discount: float) -> Float[Tensor, "B T"]:
    """The discounted return from every step of every episode.

    Args:
        batch: the episodes.
        following: what is expected after each episode's last step, if it was truncated.
        discount: γ.
    """
    last = batch.mask & ~torch.cat((batch.mask[:, 1:], torch.zeros_like(batch.mask[:, :1])), dim=1)
    after = (following * ~batch.terminated).unsqueeze(1).expand_as(batch.rewards)
    return reward_to_go(batch.rewards * batch.mask, last, after, discount=discount)


def surrogate(
    logits: Float[Tensor, "B T A"],
    actions: Int64[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, " B"]:
    """For each episode a loss whose gradient, descended, makes actions of high advantage likelier.

    >>> logits = torch.zeros(1, 1, 2, requires_grad=True)
    >>> taken, seen = torch.tensor([[0]]), torch.ones(1, 1, dtype=torch.bool)
    >>> surrogate(logits, taken, torch.tensor([[2.0]]), seen).sum().backward()
    >>> logits.grad.flatten().tolist()  # −(teacher − output) · 2
    [-1.0, 1.0]
    """
    # The sample is the teacher: cross-entropy of the softmax with the action drawn from it, −log π(a|s) …
    taught = cross_entropy(logits.flatten(0, 1), actions.flatten(), reduction="none").view_as(advantages)
    # … times the return: L = −Σ_t A_t log π(a_t|s_t)
    return (taught * advantages * mask).sum(1)


class PolicyGradient(Learner[Episodes]):
    """A policy that learns from whole episodes.

    Args:
        policy: from what is seen (…, D) to logits (…, A).
        value: from what is seen (…, D) to one number, for the learned baseline; None where there is none.
        baseline: what is subtracted from a return: nothing, the mean over all steps of the batch, or the value.
        togo: whether an action is credited only with what came after it; if not, with the whole return.
        discount: γ.
        optimizer: builds both networks' optimisers from parameters and a learning rate.
        lr: learning rate of the policy at the schedule's 1.
        value_lr: the same of the baseline's network.
        value_steps: gradient steps of the baseline's network a batch.
        schedule: factor of both learning rates by progress.

    Raises:
        InvalidValue: a value outside its rule, a value network without its baseline or the other way about, or a batch
            that is none.

    >>> _ = torch.manual_seed(0)
    >>> learner = PolicyGradient(nn.Linear(1, 2), lr=0.1)
    >>> arms = torch.tensor([[0], [1]])  # a bandit: the second arm pays
    >>> ones, yes = torch.ones(2, 1), torch.ones(2, 1, dtype=torch.bool)
    >>> batch = Episodes(ones.unsqueeze(2), arms, arms.float(), yes, ones, yes[:, 0])
    >>> for _ in range(50):
    ...     measures = learner.learn(batch)
    >>> learner.best_actions(ones).tolist()
    [1, 1]
    """

    channels_last = False

    def __init__(
        self,
        policy: nn.Module,
        value: nn.Module | None = None,
        *,
        baseline: Baseline = "none",
        togo: bool = True,
        discount: float = 0.99,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-2,
        value_lr: float = 1e-2,
        value_steps: int = 10,
        schedule: Schedule = constant,
    ) -> None:
        require(baseline in ("none", "mean", "value"), f"baseline is '{baseline}'; take none, mean or value")
        require((value is not None) == (baseline == "value"), "a value network and baseline 'value' go together")
        require(0 <= discount <= 1, f"discount is {discount}; it lies between 0 and 1")
        require(lr >= 0 and value_lr >= 0, f"lr is {lr} and value_lr {value_lr}; a learning rate is at least 0")
        require(value_steps >= 1, f"value_steps is {value_steps}; the baseline takes at least 1")
        self.policy = policy
        self.value = value
        self.baseline = baseline
        self.togo = togo
        self.discount, self.lr, self.value_lr, self.value_steps = discount, lr, value_lr, value_steps
        self.schedule = schedule
        self.optimizer = optimizer(policy.parameters(), lr=lr)
        self.value_optimizer = None if value is None else optimizer(value.parameters(), lr=value_lr)
        self.steps_used = 0  # of the world, in all

    def learn(self, batch: Episodes) -> Measures:
        """One change of the policy from some whole episodes, and of the baseline."""
        check_episodes(batch)
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        returns = self.returns(batch)
        self.optimizer.zero_grad()
        loss = surrogate(self.policy(batch.states), batch.actions, self.advantages(batch, returns), batch.mask).mean()
        loss.backward()
        self.optimizer.step()
        measures = {"return": (batch.rewards * batch.mask).sum(1).mean()}
        if self.value is not None:
            measures["value_loss"] = self._learn_value(batch.states[batch.mask], returns[batch.mask])
        self.steps_used += int(batch.mask.sum())
        return {"loss": loss.detach(), **measures, "env_steps": float(self.steps_used)}

    def returns(self, batch: Episodes) -> Float[Tensor, "B T"]:
        """The return of every step: what came after it, up to and beyond a truncation."""
        nothing = torch.zeros(len(batch.terminated), device=batch.rewards.device)
        with torch.no_grad():
            following = nothing if self.value is None else self.value(batch.last_states).squeeze(-1)
        return episode_returns(batch, following, discount=self.discount)

    @torch.no_grad()
    def advantages(self, batch: Episodes, returns: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """How much better each step's return is than the baseline, at deviation 1."""
        credited = returns if self.togo else returns[:, :1].expand_as(returns)
        if self.value is not None:
            credited = credited - self.value(batch.states).squeeze(-1)
        if self.baseline == "mean":
            credited = credited - credited[batch.mask].mean()
        scale = credited[batch.mask].square().mean().sqrt()
        return credited / scale.clamp(min=1e-6)

    def _learn_value(self, states: Float[Tensor, "N D"], returns: Float[Tensor, " N"]) -> Tensor:
        assert self.value is not None and self.value_optimizer is not None  # noqa: PT018
        set_rate(self.value_optimizer, self.value_lr * self.schedule(self.progress))
        for _ in range(self.value_steps):
            self.value_optimizer.zero_grad()
            # b(s) ← E[R | s]: the mean squared error
            loss = mse_loss(self.value(states).squeeze(-1), returns)
            loss.backward()
            self.value_optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def act(self, states: Float[Tensor, "W D"], draws: Float[Tensor, " W"]) -> Int64[Tensor, " W"]:
        """An action for each copy of a world, drawn from the policy."""
        return softmax_sample(self.policy(states), draws=draws)

    @torch.no_grad()
    def best_actions(self, states: Float[Tensor, "B D"]) -> Int64[Tensor, " B"]:
        """The likeliest action in each state."""
        return self.policy(states).argmax(1)

    def example(self, batch: Episodes) -> dict[str, tuple[Tensor, ...]]:
        """What was seen at first, for both networks."""
        first = (batch.states[:, 0],)
        return {"policy": first} if self.value is None else {"policy": first, "value": first}


def check_episodes(batch: Episodes) -> None:
    """Refuse a batch that is empty or whose fields do not fit together.

    Raises:
        InvalidValue: says what is wrong.
    """
    check_batch(batch, wanted="episodes")
    states = tuple(batch.states.shape)
    if len(states) != 3:
        raise InvalidValue(f"the episodes' states have shape {states}; they must be (episodes, steps, numbers seen)")
    wanted = {"actions": states[:2], "rewards": states[:2], "mask": states[:2], "last_states": states[::2]}
    for name, shape in {**wanted, "terminated": states[:1]}.items():
        found = tuple(getattr(batch, name).shape)
        if found != shape:
            raise InvalidValue(f"the episodes' {name} have shape {found}, but states {states} go with {shape}")


class Play:
    """A stream of whole episodes that a policy plays, one in every copy of a world, in rounds until it has enough.

    Args:
        world: the copies.
        act: the policy: actions from what is seen and a uniform draw a copy.
        generator: where the draws come from.
        enough: steps that a batch has at least, all episodes together.

    Raises:
        InvalidValue: fewer than 1 step.
    """

    def __init__(
        self,
        world: World,
        act: Callable[[Float[Tensor, "W D"], Float[Tensor, " W"]], Int64[Tensor, " W"]],
        *,
        generator: torch.Generator,
        enough: int = 1,
    ) -> None:
        require(enough >= 1, f"enough is {enough}; a batch has at least 1 step")
        self.world = world
        self.act = act
        self.generator = generator
        self.enough = enough

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Episodes:
        rounds, steps = [self._round()], 0
        while (steps := steps + int(rounds[-1].mask.sum())) < self.enough:
            rounds.append(self._round())
        return joined(rounds)

    def _round(self) -> Episodes:
        """An episode in every copy, from its start."""
        self.world.restart()
        copies, device = len(self.world.observations), self.world.observations.device
        alive = torch.ones(copies, dtype=torch.bool, device=device)
        terminated, last = ~alive, self.world.observations
        steps, masks = [], []
        while bool(alive.any()):
            draws = torch.rand(copies, generator=self.generator).to(device)
            step = self.world.step(self.act(self.world.observations, draws))
            steps.append(step)
            masks.append(alive)
            ends = alive & (step.terminated | step.truncated)
            terminated = torch.where(ends, step.terminated, terminated)
            last = torch.where(ends.unsqueeze(1), step.next_states, last)
            alive = alive & ~ends
        states, actions, rewards = (torch.stack([step[field] for step in steps], dim=1) for field in range(3))
        return Episodes(states, actions, rewards, torch.stack(masks, dim=1), last, terminated)

    def state_dict(self) -> dict[str, Any]:
        """Where the world and the draws stand; the policy's part in the choice is in the learner."""
        return {"world": self.world.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back there."""
        self.world.load_state_dict(state["world"])
        self.generator.set_state(state["generator"].cpu())


def joined(rounds: list[Episodes]) -> Episodes:
    """The episodes of several batches in one, padded to the longest.

    >>> ones, yes = torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool)
    >>> two = Episodes(ones.unsqueeze(2), ones.long(), ones, yes, ones[:, :1], yes[:, 0])
    >>> one = two._replace(**{name: getattr(two, name)[:, :1] for name in ("states", "actions", "rewards", "mask")})
    >>> joined([one, two]).mask.tolist()
    [[True, False], [True, True]]
    """
    longest = max(batch.mask.shape[1] for batch in rounds)
    padded = [
        [pad(field, (0, 0) * (field.ndim - 2) + (0, longest - field.shape[1])) for field in batch[:4]]
        for batch in rounds
    ]
    along = [torch.cat(fields) for fields in zip(*padded, strict=True)]
    return Episodes(*along, *(torch.cat([batch[field] for batch in rounds]) for field in (4, 5)))
