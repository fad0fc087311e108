"""Policy gradient (REINFORCE) balances a pole, or learns any Gymnasium environment with numbers to see."""

from collections.abc import Sequence
from typing import Literal

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from neurarium.errors import require
from neurarium.parts.dense import dense
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.running.trace import Line
from neurarium.systems.reinforcement.policy_gradient import Play, PolicyGradient
from neurarium.worlds.vectors import Plane, load_vectors, plane, trial

SIDE = 121  # points along each side of a map
MOST = 4  # actions drawn


@recipe(
    expects=[
        Expect("mean_return", at_least=475),
        Expect("steps_used", at_most=150_000),
        Expect("seconds", at_most=30, timing=True),
    ],
    smoke=dict(steps=5, enough=300, episodes=10),
    control=dict(lr=0.0),
)
def policy_gradient(
    run: Run,
    *,
    environment: str = "CartPole-v1",
    steps: int = 50,
    copies: int = 6,
    enough: int = 1200,
    baseline: Literal["none", "mean", "value"] = "value",
    reward_to_go: bool = True,
    discount: float = 0.99,
    hidden: int = 64,
    lr: float = 1e-2,
    value_lr: float = 1e-2,
    episodes: int = 100,
) -> Result:
    """REINFORCE learns to balance a pole from how long it stayed up.

    A network says how likely each action shall be, and one is drawn. After some whole episodes the drawn actions are
    taught to the network as if they had been right, each times how much better things went than a second network had
    expected (the baseline). No world model, no search: good episodes become more likely. `mean_return` is what the
    final weights collect, always taking the likeliest action, in episodes from new starts; no checkpoint is picked out.
    `steps_used` counts every step of training in the environment, `seconds` the time of training.

    Args:
        environment: CartPole-v1, or another Gymnasium id with Box observations and Discrete actions.
        steps: updates of the policy.
        copies: whole episodes played side by side.
        enough: steps in the environment for each update, at least; more rounds of episodes are played until then.
        baseline: what is subtracted from a return: none, mean (of the batch), or value (a learned network).
        reward_to_go: whether an action is credited with what came after it alone, not with the whole return.
        discount: γ, what a reward one step later is worth.
        hidden: units in each of the two layers of both networks.
        lr: learning rate of the policy, falling along a half cosine; 0 learns nothing (the negative control).
        value_lr: the same of the baseline's network.
        episodes: of evaluation.
    """
    require(episodes >= 1, f"episodes is {episodes}; evaluation needs at least 1")
    world = load_vectors(environment, copies=copies, generator=run.generator("world"), device=run.device)
    width = world.observations.shape[1]
    learner = PolicyGradient(
        dense((width, hidden, hidden, world.actions), nn.Tanh),
        dense((width, hidden, hidden, 1), nn.Tanh) if baseline == "value" else None,
        baseline=baseline,
        togo=reward_to_go,
        discount=discount,
        lr=lr,
        value_lr=value_lr,
        schedule=cosine,
    )
    stream = Play(world, learner.act, generator=run.generator("actions"), enough=enough)
    run.fit(learner, stream, steps=steps)
    trials = load_vectors(environment, copies=episodes, generator=run.generator("evaluation"), device=run.device)
    found = trial(trials, learner.best_actions)
    if run.renders:
        run.picture("returns", draw_returns(run.trace.lines()))
        run.picture("policy", draw_policy(learner, plane(environment, found.states, side=SIDE)))
    return run.result(
        mean_return=float(found.returns.mean()),
        worst_return=float(found.returns.min()),
        steps_used=learner.steps_used,
        seconds=run.fits["fit"].seconds,
    )


def draw_returns(lines: Sequence[Line]) -> Figure:
    """The mean return of each update's episodes, over the steps of the environment used so far."""
    figure, [ax] = panels(width=6.0)
    kept = [line.measures for line in lines if "return" in line.measures]
    ax.plot([one["env_steps"] for one in kept], [one["return"] for one in kept], "o-", markersize=3, linewidth=1.4)
    ax.set(xlabel="steps in the environment", ylabel="return", title="actions drawn from the policy, as it learns")
    return figure


@torch.no_grad()
def draw_policy(learner: PolicyGradient, view: Plane) -> Figure:
    """How likely each action but the first is over a plane of what is seen, and what the baseline expects there."""
    chances = torch.softmax(learner.policy(view.states), dim=1).T[1 : MOST + 1]
    figure, axes = panels(1, len(chances) + (learner.value is not None), width=4.4, height=3.6)
    for number, (ax, chance) in enumerate(zip(axes, chances, strict=False), start=1):
        draw_map(figure, ax, chance, view, f"chance of action {number}", between=(0, 1))
    if learner.value is not None:
        draw_map(figure, axes[-1], learner.value(view.states).squeeze(-1), view, "return expected")
    return figure


def draw_map(
    figure: Figure, ax: Axes, values: Tensor, view: Plane, title: str, *, between: tuple[float, float] | None = None
) -> None:
    """Numbers over a plane as colours; between two bounds, as blue and red with white in the middle."""
    grid = values.view(SIDE, SIDE).cpu().numpy()
    colours = "viridis" if between is None else "RdBu_r"
    image = ax.imshow(grid, origin="lower", aspect="auto", extent=view.extent, cmap=colours)
    if between is not None:
        image.set_clim(*between)
    figure.colorbar(image, ax=ax)
    ax.set(xlabel=view.names[0], ylabel=view.names[1], title=title)
    ax.grid(False)
