"""A window into a multilayer network: it forecasts a noisy series, a step at a time and on from its own answers."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from neurarium.data.series import Series, load_series
from neurarium.parts.bundles import Paired
from neurarium.parts.places import squared_errors
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.foundations.linear_regression import solve
from neurarium.systems.sequence.autoregressive_window import AutoregressiveWindow, Forecaster, persistence, skill

DRAWN = 240  # steps of the series, after the first window
FORECASTS = 4  # drawn, one after another


@recipe(
    expects=[Expect("skill", at_least=0.5)],
    smoke=dict(steps=120, length=1000, lr=5e-3),
    control=dict(shuffle_targets=True),
)
def autoregressive_window(
    run: Run,
    *,
    data: str = "mackey-glass",
    target: str | None = None,
    window: int = 32,
    horizon: int = 20,
    taught: int = 1,
    steps: int = 1000,
    batch: int = 64,
    lr: float = 2e-3,
    hidden: int = 64,
    length: int = 3000,
    noise: float = 0.1,
    shuffle_targets: bool = False,
) -> Result:
    """A network without memory forecasts a series from a window of its past.

    It names the next step; the answer moves into the window, and the forecast rolls on. The skill is how much of the
    squared error of persistence (all stays as it is) it does away with, over all steps up to the horizon, against the
    noisy numbers that came. Beside it stand a linear window (least squares, rolled forward in the same way) and the
    mean of what was learned from, which far ahead is all that can be known of chaos. Look at how skill falls with the
    distance, and at where the forecasts leave the series.

    Args:
        data: mackey-glass (a chaotic flow seen through noise) or csv:FILE, one row a step.
        target: the column that is the series, for csv:FILE with several.
        window: steps that are seen.
        horizon: steps that are forecast.
        taught: steps that forecasts roll forward while they are taught; 1: only the next step is taught.
        steps: updates.
        batch: windows an update.
        lr: learning rate at the start; it falls along a cosine.
        hidden: units of each of the two hidden layers.
        length: steps of mackey-glass; the last fifth is held out.
        noise: of mackey-glass, in units of its own deviation.
        shuffle_targets: learn from what followed other windows (the negative control).
    """
    series = load_series(
        data,
        target=target,
        window=window,
        horizon=horizon,
        generator=run.generator("series"),
        seed=run.seed,
        length=length,
        noise=noise,
        shuffle_targets=shuffle_targets,
        device=run.device,
    )
    learner = Forecaster(AutoregressiveWindow(window=window, hidden=hidden), taught=taught, lr=lr, schedule=cosine)
    test = series.test.all()
    stream = series.train.batches(batch)
    run.fit(learner, stream, steps=steps, evaluate=lambda: learner.evaluate([test], prefix="test_"))

    forecasts = {
        "network": learner.forecast(test.inputs, horizon),
        "linear window": linear_forecast(series.train.all(), test.inputs, horizon),
        "mean": torch.zeros_like(test.targets),  # the series is in deviations from it
    }
    reference = squared_errors(persistence(test.inputs, horizon), test.targets)
    errors = {name: squared_errors(forecast, test.targets) for name, forecast in forecasts.items()}
    run.picture("forecasts", draw_forecasts(learner, series, window, horizon))
    run.picture("skill", draw_skill(errors, reference))
    return run.result(
        skill=skill(errors["network"], reference),
        next_step_skill=skill(errors["network"][:, 0], reference[:, 0]),
        linear_skill=skill(errors["linear window"], reference),
        mean_skill=skill(errors["mean"], reference),
    )


def linear_forecast(train: Paired, inputs: Float[Tensor, "B W"], steps: int) -> Float[Tensor, "B S"]:
    """Forecasts of the best linear window (least squares on the next step), rolled forward."""
    weights = solve(train.inputs.cpu(), train.targets[:, :1].cpu()).weights.to(inputs)
    windows = inputs
    for _ in range(steps):
        following = windows[:, -len(weights) + 1 :] @ weights[:-1] + weights[-1]
        windows = torch.cat([windows, following], dim=1)
    return windows[:, -steps:]


def draw_forecasts(learner: Forecaster, series: Series, window: int, horizon: int) -> Figure:
    """Forecasts from a few moments of the unseen part, rolled on beyond the horizon, over what came."""
    values = series.values[series.split :]
    shown = min(len(values), window + max(DRAWN, horizon))
    reach = max(horizon, (shown - window) // FORECASTS)
    figure, [ax] = panels(width=9.0, height=3.4)
    ax.plot((values[:shown].cpu() * series.scale) + series.mean, ".", color=COLOURS[-1], markersize=3.5, label="came")
    for start in range(window, shown - horizon + 1, reach):
        seen = values[start - window : start]
        rolled = torch.cat([seen[-1:], learner.forecast(seen.unsqueeze(0), reach)[0]]).cpu()
        _draw_forecast(ax, start - 1, rolled * series.scale + series.mean, horizon, named=start == window)
    ax.set(xlabel="step of the unseen part", ylabel="value", xlim=(0, shown))
    ax.set_title(f"Forecasts of {horizon} steps from windows of {window}", fontsize=10)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower right", ncols=4, fontsize=8)
    return figure


def _draw_forecast(ax: Axes, start: int, rolled: Float[Tensor, " S"], horizon: int, *, named: bool) -> None:
    times = range(start, start + len(rolled))
    near, far = slice(horizon + 1), slice(horizon, None)
    labels = ("forecast", "rolled on beyond the horizon", "last seen") if named else (None, None, None)
    ax.plot(times[near], rolled[near], color=COLOURS[1], linewidth=2, label=labels[0])
    ax.plot(times[far], rolled[far], color=COLOURS[1], linewidth=1.2, linestyle=":", label=labels[1])
    ax.plot(start, rolled[0], "o", color=COLOURS[0], markersize=6, label=labels[2])


def draw_skill(errors: Mapping[str, Tensor], reference: Float[Tensor, "B S"]) -> Figure:
    """Skill over persistence at every distance."""
    figure, [ax] = panels(width=6.0, height=3.6)
    distances = range(1, reference.shape[1] + 1)
    for (name, found), colour in zip(errors.items(), (COLOURS[1], COLOURS[0], COLOURS[-1]), strict=True):
        skills = [skill(found[:, step - 1], reference[:, step - 1]) for step in distances]
        ax.plot(distances, skills, "o-", color=colour, markersize=3, linewidth=1.4, label=name)
    ax.axhline(0, color="black", linewidth=1, linestyle="--", label="persistence")
    ax.set(xlabel="steps ahead", ylabel="skill", ylim=(-0.6, 1.05))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(f"Share of persistence's squared error that {len(reference)} forecasts do away with", fontsize=10)
    ax.legend(fontsize=8, loc="lower right")
    return figure
