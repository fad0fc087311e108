"""Deep Q-network (DQN) balances a pole, or learns any Gymnasium environment with numbers to see."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from neurarium.errors import require
from neurarium.parts.dense import dense
from neurarium.parts.replay import Replay
from neurarium.parts.returns import Lookahead
from neurarium.parts.schedules import cosine
from neurarium.recipes.reinforcement.policy_gradient import SIDE, draw_map
from neurarium.running.pictures import panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.running.trace import Line
from neurarium.systems.reinforcement.dqn import DQN, Ended, Replayed
from neurarium.worlds.vectors import Plane, load_vectors, plane, trial

DOTS = 4000  # replayed states drawn at most
GLANCE = 20  # episodes of an evaluation in passing


@recipe(
    expects=[Expect("mean_return", at_least=475)],
    smoke=dict(steps=150, batch=64, beginning=300, episodes=10),
    control=dict(lr=0.0),
)
def dqn(
    run: Run,
    *,
    environment: str = "CartPole-v1",
    steps: int = 8000,
    copies: int = 16,
    batch: int = 256,
    capacity: int = 50_000,
    beginning: int = 1000,
    double: bool = True,
    n_step: int = 5,
    follow: float = 0.1,
    hold: int = 1,
    discount: float = 0.99,
    epsilon_end: float = 0.02,
    epsilon_share: float = 0.2,
    hidden: int = 64,
    lr: float = 3e-3,
    episodes: int = 100,
) -> Result:
    """A deep Q-network learns to balance a pole from replayed steps.

    A network says what each action is worth; the better one is taken, or now and then any. Every step goes into a
    replay, and batches drawn from it move the values towards the rewards of the next few steps plus what the state
    after them seems worth to an older copy of the network, which follows slowly. `mean_return` is what the final
    weights collect, always taking the best action, in episodes from new starts; no checkpoint is picked out.
    `steps_used` counts every step of training in the environment.

    Args:
        environment: CartPole-v1, or another Gymnasium id with Box observations and Discrete actions.
        steps: updates, one for each step of all copies.
        copies: environments that step side by side.
        batch: steps drawn from the replay for an update.
        capacity: steps that the replay keeps.
        beginning: steps in the replay before learning begins.
        double: whether the learning network picks the action that the older one judges (double DQN).
        n_step: real rewards in a target before a guess takes over.
        follow: share of the way that the older network follows at each of its moves; 1 is a hard copy.
        hold: updates between two of its moves.
        discount: γ, what a reward one step later is worth, below 1.
        epsilon_end: chance of a random action, once it has fallen from 1.
        epsilon_share: share of the steps over which it falls.
        hidden: units in each of the network's two layers.
        lr: learning rate, falling along a half cosine; 0 learns nothing (the negative control).
        episodes: of evaluation.
    """
    require(episodes >= 1, f"episodes is {episodes}; evaluation needs at least 1")
    require(0 <= discount < 1, f"discount is {discount}; it must be at least 0 and below 1")
    world = load_vectors(environment, copies=copies, generator=run.generator("world"), device=run.device)
    learner = DQN(
        dense((world.observations.shape[1], hidden, hidden, world.actions), nn.Tanh),
        double=double,
        follow=follow,
        hold=hold,
        epsilon_end=epsilon_end,
        epsilon_share=epsilon_share,
        lr=lr,
        schedule=cosine,
        unit=1 / (1 - discount),
    )
    stream = Replayed(
        world,
        learner.act,
        generator=run.generator("exploration"),
        replay=Replay(Lookahead, capacity=capacity, generator=run.generator("replay")),
        batch=batch,
        discount=discount,
        steps=n_step,
        beginning=beginning,
    )

    def tried(count: int, purpose: str) -> Tensor:
        trials = load_vectors(environment, copies=count, generator=run.generator(purpose), device=run.device)
        return trial(trials, learner.best_actions).returns

    run.fit(learner, stream, steps=steps, evaluate=lambda: {"return": float(tried(GLANCE, "glance").mean())})
    returns = tried(episodes, "evaluation")
    if run.renders:
        replayed = stream.replay.everything().states
        view = plane(environment, replayed, side=SIDE)
        run.picture("returns", draw_returns(stream.ended, run.trace.lines(), stream.steps_used / max(1, steps)))
        run.picture("values", draw_values(learner, view))
        run.picture("replay", draw_replay(replayed, view))
    mean, worst = float(returns.mean()), float(returns.min())
    return run.result(mean_return=mean, worst_return=worst, steps_used=stream.steps_used)


def draw_returns(ended: Replay[Ended], lines: Sequence[Line], steps: float) -> Figure:
    """The return of each episode of training, and of the best actions looked at in passing.

    Args:
        ended: the episodes.
        lines: of the trace.
        steps: of the environment for an update.
    """
    figure, [ax] = panels(width=6.4)
    if len(ended):
        episodes = ended.everything()
        ax.plot(episodes.moments.cpu(), episodes.returns.cpu(), ".", markersize=3, alpha=0.35, label="while exploring")
    kept = [(line.step * steps, line.measures["return"]) for line in lines if "return" in line.measures]
    ax.plot(*zip(*kept, strict=True), "o-", markersize=4, linewidth=1.6, label="best actions")
    ax.set(xlabel="steps in the environment", ylabel="return of an episode")
    ax.legend(loc="lower right")
    return figure


@torch.no_grad()
def draw_values(learner: DQN, view: Plane) -> Figure:
    """What the best action is worth over a plane of what is seen, and by how much it beats the others there."""
    values = learner.value(view.states) * learner.unit
    best = values.topk(2, dim=1).values
    two = values.shape[1] == 2
    margin = values[:, 1] - values[:, 0] if two else best[:, 0] - best[:, 1]
    figure, (worth, ahead) = panels(1, 2, width=4.4, height=3.6)
    draw_map(figure, worth, best[:, 0], view, "max Q(s, ·)")
    most = float(margin.abs().max())
    title = "Q(s, 1) − Q(s, 0)" if two else "best above second best"
    draw_map(figure, ahead, margin, view, title, between=(-most, most) if two else None)
    return figure


def draw_replay(states: Tensor, view: Plane) -> Figure:
    """Where the states of the replay lie on a plane, the newest brightest."""
    figure, [ax] = panels(width=5.2, height=3.8)
    shown = torch.linspace(0, len(states) - 1, min(DOTS, len(states))).long()
    places = states[shown.to(states.device)].cpu()
    age = (shown - len(states) + 1).numpy()
    dots = ax.scatter(places[:, view.axes[0]], places[:, view.axes[1]], c=age, s=4, cmap="viridis", linewidths=0)
    figure.colorbar(dots, ax=ax, label="steps from now")
    ax.set(xlabel=view.names[0], ylabel=view.names[1], title=f"{len(states):,} replayed states")
    return figure
