"""Linear regression on the diabetes table or a table of your own: closed form, and three descents towards it."""

from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.tables import Table, load_table
from neurarium.errors import require
from neurarium.parts.bundles import Paired
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.foundations.linear_regression import Descent, LinearRegression, Solution, solve

PRECISE = 1e-6  # relative distance from the closed form at which batch descent may stop
LONGEST = 200_000  # steps of batch descent at the most: about 10 seconds
REMEMBERED = 2_000  # points of each way that are kept for the pictures
LEVELS, FINE = 9, 80  # contour lines, and places a side that they are drawn through
LOWEST = 1e-12  # loss above the lowest that is drawn as none


@recipe(
    expects=[Expect("closed_form_gap", at_most=1e-4)],
    smoke=dict(steps=300, passes=2),
    control=dict(lr=0.0),
    exempt=dict(gradients="the delta rule is written out and moves the weights itself; no .grad is ever filled"),
)
def linear_regression(
    run: Run,
    *,
    data: str = "diabetes",
    target: str | None = None,
    steps: int | None = None,
    passes: int = 40,
    batch: int = 32,
    lr: float | None = None,
) -> Result:
    """Linear regression finds the bottom of a bowl at once, or walks there by the delta rule.

    The closed form is computed from the singular values of the inputs. Batch descent arrives at the same weights;
    stochastic and minibatch descent come near in far fewer looks at the data, then wander about the bottom, because
    every example pulls its own way. Learning rates follow from the bowl's curvatures and the largest input. Look at the
    loss curves, and at the paths through a valley between two weights that can stand in for each other.

    Args:
        data: diabetes or csv:FILE, whose other columns must be numbers.
        target: the column to predict, for csv:FILE.
        steps: of batch descent (default: as many as surely come within a millionth of the closed form).
        passes: over the data, of stochastic and minibatch descent.
        batch: examples a step of minibatch descent.
        lr: learning rate of all three (default: of each by its rule; 0 learns nothing and is the negative control).
    """
    require(passes >= 0, f"passes is {passes}, but must be 0 or more")
    require(batch >= 1, f"the batch size is {batch}, but must be at least 1")
    require(run.device.type != "mps", "linear_regression computes in float64, which mps has not; use --device cpu")
    table = load_table(data, target=target, seed=run.seed, task="regression", device=run.device, dtype=torch.float64)
    solution = solve(*table.train.all())
    if solution.rank < solution.columns:
        dependent = f"only {solution.rank} of {solution.columns} columns (one is the bias's) are independent"
        run.say(f"{dependent}; of the equally good weights the closed form gives those of the smallest norm")
    if steps is None:
        steps = min(solution.steps_to(PRECISE), LONGEST)
        if steps == LONGEST:
            run.say(f"some columns are so alike that batch descent may not arrive within its {LONGEST:,} steps")

    size = len(table.train)
    plans = {
        "batch": (size, steps, solution.batch_rate()),
        "stochastic": (1, passes * size, solution.sampled_rate(1)),
        "minibatch": (batch, passes * max(1, size // batch), solution.sampled_rate(batch)),
    }
    descents = {}
    for name, (examples, length, rate) in plans.items():
        learner = descents[name] = start(table, rate if lr is None else lr, length)
        judge = partial(learner.evaluate, [table.test.all()], prefix="test_")
        run.fit(learner, table.train.batches(examples), steps=length, name=name, evaluate=judge)

    shares = {name: min(examples, size) / size for name, (examples, _, _) in plans.items()}
    run.picture("loss", draw_losses(descents, shares, solution))
    run.picture("paths", draw_paths(descents, solution, table))
    gaps = {name: solution.gap(learner.model.stacked) for name, learner in descents.items()}
    r2 = descents["batch"].evaluate([table.test.all()])["r2"]
    return run.result(
        closed_form_gap=gaps["batch"], r2=r2, stochastic_gap=gaps["stochastic"], minibatch_gap=gaps["minibatch"]
    )


def start(table: Table[Paired], lr: float, steps: int) -> Descent:
    """A descent at 0 that will remember a couple of thousand points of its way."""
    every = max(1, steps // REMEMBERED)
    remember = 1 + max(0, steps) // every
    return Descent(LinearRegression(features=len(table.features)), lr=lr, remember=remember, every=every)


def draw_losses(descents: Mapping[str, Descent], shares: Mapping[str, float], solution: Solution) -> Figure:
    """How far each descent's loss lies above the closed form's, by how often it has looked at the data."""
    figure, (ax,) = panels(width=6.4, height=3.8)
    for (name, learner), colour in zip(descents.items(), COLOURS, strict=False):
        excess = solution.excess(learner.path[: learner.seen]).cpu()
        looks = shares[name] * learner.every * torch.arange(learner.seen)
        ax.loglog(looks[1:], excess[1:].clamp(min=LOWEST), color=colour, linewidth=1.4, label=name)
    ax.set(xlabel="looks at the whole data", ylabel="loss above the closed form's", title="Three descents")
    ax.legend()
    return figure


def draw_paths(descents: Mapping[str, Descent], solution: Solution, table: Table[Paired]) -> Figure:
    """The ways of the descents in the plane of two weights, over the loss with all others at their best."""
    pair, names = alike(table), [*table.features, "bias"]
    best = solution.weights[list(pair), 0].cpu()
    paths = {name: learner.path[: learner.seen, list(pair), 0].cpu() for name, learner in descents.items()}
    figure, axes = panels(1, len(paths), width=4.2, height=3.9)
    spread = torch.cat([*paths.values(), best.unsqueeze(0)])
    for ax, (name, path), colour in zip(axes, paths.items(), COLOURS, strict=False):
        draw_bowl(ax, solution, pair, spread)
        ax.plot(path[:, 0], path[:, 1], color=colour, linewidth=1.6 if name == "batch" else 0.7)
        ax.plot(*path[0], "o", color="black", markersize=5)
        ax.plot(*best, "*", color="black", markersize=11)
        ax.set(xlabel=f"weight of {names[pair[0]]}", title=name)
    axes[0].set_ylabel(f"weight of {names[pair[1]]}")
    return figure


def alike(table: Table[Paired]) -> tuple[int, int]:
    """The two features most alike, between which the bowl is a valley; the only feature and the bias if it is one."""
    inputs = table.train.all().inputs
    if inputs.shape[1] == 1:
        return 0, 1
    together = (inputs.T @ inputs).abs().triu(diagonal=1)  # the features are standardised
    return divmod(int(together.argmax()), inputs.shape[1])


def draw_bowl(ax: Axes, solution: Solution, pair: tuple[int, int], spread: Float[Tensor, "P 2"]) -> None:
    """Contour lines of the loss, each twice as high above the closed form as the one inside it."""
    low, high = spread.amin(0), spread.amax(0)
    margin = 0.1 * (high - low).clamp(min=1e-9)
    across, up = (torch.linspace(float(a), float(b), FINE) for a, b in zip(low - margin, high + margin, strict=True))
    weights = solution.weights.repeat(FINE * FINE, 1, 1)
    grid = torch.cartesian_prod(across, up).to(weights)
    weights[:, list(pair), 0] = grid
    excess = solution.excess(weights).reshape(FINE, FINE).T.cpu()
    levels = float(excess.max()) / 2.0 ** torch.arange(LEVELS, -1, -1)
    if levels[0] > 0:
        ax.contour(across, up, excess, levels=levels.tolist(), colors=COLOURS[7], linewidths=0.7, alpha=0.7)
