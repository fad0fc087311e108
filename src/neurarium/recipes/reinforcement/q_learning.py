"""Q-learning on FrozenLake, Taxi, CliffWalking, or any other discrete Gymnasium environment."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.markov import expected_returns, reachable, value_iteration
from neurarium.running.pictures import panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.reinforcement.q_learning import Experience, QLearning
from neurarium.worlds.grids import Grid, grids
from neurarium.worlds.tabular import World, episode_returns, load_world, make

LEARNERS = 64  # where the world lives in tensors, more cost next to nothing
LEARNERS_IN_PYTHON = 1  # where it is stepped one by one
EPISODES = 40_000  # of evaluation, all learners together: a standard error of 0.002 on the lake
EPISODES_IN_PYTHON = 1_000
BRIGHT = 0.8  # share of the colour scale above which marks are dark


@recipe(
    expects=[
        Expect("mean_return", at_least=0.73),
        Expect("mean_return", at_least=7.7, given={"environment": "Taxi-v4"}),
        Expect("mean_return", at_least=-13, given={"environment": "CliffWalking-v1"}),
    ],
    smoke=dict(steps=3000),
    control=dict(lr=0.0),
)
def q_learning(
    run: Run,
    *,
    environment: str = "FrozenLake-v1",
    steps: int = 80_000,
    learners: int | None = None,
    discount: float = 0.99,
    lr: float = 1.0,
    epsilon_end: float = 0.1,
    epsilon_share: float = 0.1,
    episodes: int | None = None,
) -> Result:
    """Q-learning finds its way over a frozen lake, or through any discrete Gymnasium environment.

    A table says what each action is worth in each state. Every step moves one entry towards the reward plus what the
    best action in the next state seems worth. Actions are random at first, then ever more the table's own. Many
    learners, each with a table and a world of its own, learn at once; the results are means over all of them, none is
    picked out. `mean_return` is what their greedy policies collect in episodes of the environment's own length. Where
    the environment has a transition table, the exact `expected_return`, that of the optimal policy (at the same
    discount), and the distance to its values Q* are given too: `q_gap` is the mean |Q − Q*| over the pairs that can be
    met, `start_gap` that of the best value at the start.

    Args:
        environment: FrozenLake-v1, FrozenLake8x8-v1, Taxi-v4, CliffWalking-v1, or another id with discrete spaces.
        steps: updates of each learner.
        learners: tables learned at once (default: 64, or 1 where the environment has no transition table).
        discount: γ, what a reward one step later is worth, below 1.
        lr: step size of an entry's first update; 0 learns nothing (the negative control).
        epsilon_end: chance of a random action, once it has fallen from 1.
        epsilon_share: share of the steps over which it falls.
        episodes: of evaluation, all learners together (default: 40,000, or 1,000 without a transition table).
    """
    drawn = make(environment)
    has_table = load_world(environment, copies=1, generator=run.generator("probe")).dynamics is not None
    learners = learners if learners is not None else LEARNERS if has_table else LEARNERS_IN_PYTHON
    world = load_world(environment, copies=learners, generator=run.generator("world"), device=run.device)
    learner = QLearning(
        learners=learners,
        states=world.states,
        actions=world.actions,
        discount=discount,
        lr=lr,
        epsilon_end=epsilon_end,
        epsilon_share=epsilon_share,
    )
    episodes = episodes if episodes is not None else EPISODES if has_table else EPISODES_IN_PYTHON
    require(episodes >= 1, f"episodes is {episodes}; evaluation needs at least 1")
    stream = Experience(world, learner.act, generator=run.generator("exploration"))
    optimal = None if world.dynamics is None else value_iteration(world.dynamics, discount=discount)

    def evaluate() -> dict[str, float]:
        return {} if optimal is None else against_optimum(learner, world, optimal)

    run.fit(learner, stream, steps=steps, evaluate=evaluate if has_table else None)
    run.picture("values", draw_values(grids(drawn, world.states), learner.table.values[0], optimal, met(world)))
    each = -(-episodes // learners)
    return run.result(mean_return=play(run, environment, learner, each, at_once=has_table), **evaluate())


def play(run: Run, environment: str, learner: QLearning, episodes: int, *, at_once: bool) -> float:
    """The mean return of all greedy policies over so many episodes each: a world an episode, or a world a learner."""
    policies = learner.greedy()
    who = torch.arange(len(policies), device=run.device).repeat(episodes if at_once else 1)
    world = load_world(environment, copies=len(who), generator=run.generator("evaluation"), device=run.device)
    returns = episode_returns(world, lambda states: policies[who, states], episodes=1 if at_once else episodes)
    return float(returns.mean())


def against_optimum(learner: QLearning, world: World, optimal: Tensor) -> dict[str, float]:
    """How the greedy policies and the values compare with the best there is, by the environment's own table."""
    assert world.dynamics is not None
    returns = expected_returns(world.dynamics, learner.greedy(), steps=world.limit)
    best = expected_returns(world.dynamics, optimal.argmax(1).unsqueeze(0), steps=world.limit)
    values, starts = learner.table.values.double(), world.dynamics.starts
    gap = (values - optimal).abs()[:, reachable(world.dynamics)]
    start_gap = ((values.amax(2) - optimal.amax(1)) @ starts).abs()
    return {
        "expected_return": float(returns.mean()),
        "worst_return": float(returns.min()),
        "optimal_return": float(best),
        "q_gap": float(gap.mean()),
        "start_gap": float(start_gap.mean()),
    }


def met(world: World) -> np.ndarray:
    """Which states can be met; as far as one knows without a table, all."""
    everything = torch.ones(world.states, dtype=torch.bool)
    return (everything if world.dynamics is None else reachable(world.dynamics)).cpu().numpy()


def draw_values(maps: list[Grid], values: Tensor, optimal: Tensor | None, met: np.ndarray) -> Figure:
    """Maps of the best value and action of every state that can be met: the first learner's, and the optimum's."""
    tables = {"learned": values} if optimal is None else {"learned": values, "optimal": optimal}
    wide = maps[0].states.shape[1] > 2 * maps[0].states.shape[0]
    stacked = wide or len(maps) > 1
    rows, columns = (len(tables), len(maps)) if stacked else (1, len(tables))
    figure, axes = panels(rows, columns, width=8.0 if wide else 3.6, height=2.9 if wide else 3.4)
    pairs = [(name, grid) for name in tables for grid in maps]
    places = [grid.states[grid.states >= 0] for grid in maps]
    drawn = np.concatenate(
        [tables[name].amax(1).cpu().numpy()[place[met[place]]] for name in tables for place in places]
    )
    for ax, (name, grid) in zip(axes, pairs, strict=True):
        image = draw_grid(ax, grid, tables[name].cpu().numpy(), met, (drawn.min(), drawn.max()))
        ax.set_title(f"{name}: {grid.title}" if grid.title else name)
    figure.colorbar(image, ax=axes, label="max Q(s, ·)", shrink=0.8)
    return figure


def draw_grid(ax: Axes, grid: Grid, values: np.ndarray, met: np.ndarray, span: tuple[float, float]) -> AxesImage:
    """One map: colour for the value, an arrow (or a word) for the greedy action, grey where none is ever needed."""
    best, action = values.max(1)[grid.states], values.argmax(1)[grid.states]
    inside = (grid.states >= 0) & met[grid.states]
    image = ax.imshow(np.where(inside, best, np.nan), vmin=span[0], vmax=span[1], cmap="viridis")
    ax.set(xticks=[], yticks=[], facecolor="#e4e4e4")
    ax.grid(False)
    for (row, column), state in np.ndenumerate(grid.states):
        bright = best[row, column] > span[0] + BRIGHT * (span[1] - span[0])
        colour = "white" if inside[row, column] and not bright else "#333333"
        ax.text(column - 0.42, row - 0.28, str(grid.letters[row, column]), color=colour, fontsize=8, weight="bold")
        if inside[row, column] and np.ptp(values[state]) > 0:
            draw_action(ax, row, column, int(action[row, column]), grid, colour)
    return image


def draw_action(ax: Axes, row: int, column: int, action: int, grid: Grid, colour: str) -> None:
    """An arrow in the action's direction; its name or number where it has none."""
    if action in grid.moves:
        right, down = grid.moves[action]
        start, end = (column - 0.25 * right, row - 0.25 * down), (column + 0.25 * right, row + 0.25 * down)
        ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.6})
    else:
        word = grid.words.get(action, str(action))
        ax.text(column, row, word, color=colour, ha="center", va="center", fontsize=9)
