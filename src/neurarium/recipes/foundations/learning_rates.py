"""Learning rates: seven schedules teach the same reader of digits, or of images or a table of your own."""

from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor
from torch.optim import SGD

from neurarium.data.labelled import load_labelled
from neurarium.errors import require
from neurarium.learners.classify import Classify
from neurarium.parts.bundles import Labelled
from neurarium.parts.modes import evaluating
from neurarium.parts.schedules import Schedule, constant, cosine, exponential, inverse_time, stepwise, warm_up
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.foundations.learning_rates import Bowl, Walks, expected_heights, lowest, noise_floor, rates, walk
from neurarium.systems.foundations.softmax_regression import SoftmaxRegression, penalised_error

SMALL = 0.01  # of the large rate: the constant small one, and what the falling ones come down to
SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "small": lambda progress: SMALL,
    "step": stepwise(at=(0.5, 0.75), factor=SMALL**0.5),
    "exponential": exponential(end=SMALL),
    "inverse-time": inverse_time(end=SMALL),
    "cosine": cosine,
    "warm-up": warm_up(cosine),
}
"""Every schedule by name; those after the first two fall."""

LOOKS = 50  # measurements of the training error in a fit
BOWL, BOWL_RATE = Bowl(), 0.5
BOWL_STEPS, WALKERS = 600, 4000
WALKED = ("constant", "small", "step", "inverse-time")  # the schedules that walk in the bowl
LOWEST = 1e-5  # training error above the bottom that is drawn as none: about what float32 can tell


@recipe(
    expects=[Expect("decay_gain", above=0), Expect("small_gain", above=0), Expect("floor_gap", at_most=0.1)],
    smoke=dict(steps=300, lr=3.0),
    control=dict(decay=False),
)
def learning_rates(
    run: Run,
    *,
    data: str = "digits",
    target: str | None = None,
    steps: int = 3000,
    batch: int = 8,
    lr: float = 1.0,
    strength: float = 0.01,
    decay: bool = True,
) -> Result:
    """A large learning rate arrives, a small one comes to rest, and a falling one does both.

    A softmax regression is taught seven times by plain stochastic descent: from the same weights, with the same batches
    in the same order, at a constant rate, at a hundredth of it, and under five schedules that fall. Its error, with a
    penalty on large weights, has one lowest point. Look at how high over it each curve ends: the large constant rate
    hovers, because every small batch pulls its own way, and the small one is still on its way. `decay_gain` is the
    final training error of the constant rate minus that of the worst of the falling schedules; `small_gain` puts the
    small constant rate in its place. The second picture is a bowl with noise of known size, where the height at which a
    walk hovers follows from a formula: the lines are computed, the dots are means of 4,000 walks.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR, folder:DIR, breast-cancer, iris, wine or csv:FILE.
        target: the column that names the class, for csv:FILE.
        steps: updates under each schedule.
        batch: examples an update; the fewer, the noisier.
        lr: the large learning rate, at which all but one begin.
        strength: of the penalty ½ λ Σ w² on all weights; without it there may be no lowest point, and no noise there.
        decay: whether the falling schedules fall; if not, nothing can be gained (the negative control).
    """
    require(strength >= 0, f"strength is {strength}, but must be 0 or more")
    examples = load_labelled(data, target=target, seed=run.seed, device=run.device)
    run.note(data=examples.name)
    shape = tuple(examples.train.all().inputs.shape[1:])

    def error_of(model: SoftmaxRegression, batch: Labelled) -> Tensor:
        weights = torch.cat([model.weight, model.bias.unsqueeze(1)], dim=1)
        return penalised_error(model(batch.inputs), batch.labels, weights, strength=strength)

    model = SoftmaxRegression(shape=shape, classes=examples.classes).to(run.device)
    bottom = lowest(lambda: error_of(model, examples.train.all()), list(model.parameters()))
    errors = {}
    for name, schedule in SCHEDULES.items():
        model = SoftmaxRegression(shape=shape, classes=examples.classes)
        chosen = schedule if decay or name == "small" else constant
        descent = partial(SGD, weight_decay=strength, fused=True)
        learner = Classify(model, optimizer=descent, lr=lr, schedule=chosen)

        def watch(learner: Classify[SoftmaxRegression] = learner) -> dict[str, float]:
            with evaluating(learner.model):
                above = float(error_of(learner.model, examples.train.all())) - bottom
            return {"above_bottom": above, **learner.evaluate(examples.test.chunks(1000), prefix="test_")}

        stream = examples.train.batches(batch, seed=run.seed)
        run.fit(learner, stream, steps=steps, name=name, evaluate=watch, evaluations=LOOKS)
        errors[name] = watch()["above_bottom"]

    table = rates([(BOWL_RATE, SCHEDULES[name]) for name in WALKED], steps=BOWL_STEPS)
    expected = expected_heights(table, BOWL)
    walks = walk(table, BOWL, walkers=WALKERS, generator=run.generator("bowl"))
    run.picture("schedules", draw_schedules(run, errors, lr))
    run.picture("noise_floor", draw_floor(walks, expected))
    worst = max(error for name, error in errors.items() if name not in ("constant", "small"))
    return run.result(
        decay_gain=errors["constant"] - worst,
        small_gain=errors["small"] - worst,
        floor_gap=floor_gap(walks.heights, expected),
        **{f"above_bottom_{name.replace('-', '_')}": error for name, error in errors.items()},
    )


def floor_gap(heights: Float[Tensor, "R T1"], expected: Float[Tensor, "R T1"]) -> float:
    """How far the mean height over the second half of the steps lies from the expected, relatively, at the worst."""
    half = heights.shape[1] // 2
    return float((heights[:, half:].mean(1) / expected[:, half:].mean(1) - 1).abs().max())


def ink(name: str) -> str:
    """The colour of a schedule."""
    return COLOURS[list(SCHEDULES).index(name) % len(COLOURS)]


def draw_schedules(run: Run, errors: Mapping[str, float], lr: float) -> Figure:
    """The rate over the training, and how high above the lowest point the training error is under it."""
    figure, (left, right) = panels(1, 2, width=5.4, height=4.0)
    progress = torch.linspace(0, 1, 401).tolist()
    for name, schedule in SCHEDULES.items():
        style = "--" if name in ("constant", "small") else "-"
        left.semilogy(progress, [lr * schedule(done) for done in progress], style, color=ink(name), linewidth=1.6)
        lines = [line for line in run.trace.lines() if line.fit == name and "above_bottom" in line.measures]
        heights = [max(LOWEST, line.measures["above_bottom"]) for line in lines]
        label = f"{name}: {errors[name]:.4f}"
        right.semilogy([line.step for line in lines], heights, style, color=ink(name), linewidth=1.6, label=label)
    left.set(xlabel="part of the training", ylabel="learning rate", title="Schedules", ylim=(lr * SMALL / 4, lr * 1.5))
    right.set(xlabel="step", title="Training error above its lowest point")
    right.legend(fontsize=8, title="in the end", title_fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def draw_floor(walks: Walks, expected: Float[Tensor, "R T1"]) -> Figure:
    """One walk in the bowl under each schedule, and the mean height of many with what was expected of it."""
    figure, (left, right) = panels(1, 2, width=5.4, height=4.0)
    every = torch.arange(0, expected.shape[1], 25)
    for name, one, heights, line in zip(WALKED, walks.one, walks.heights, expected, strict=True):
        left.plot(one, color=ink(name), linewidth=0.9, label=name)
        right.semilogy(line, color=ink(name), linewidth=1.2, label=name)
        right.semilogy(every, heights[every], "o", color=ink(name), markersize=3)
    floor = noise_floor(BOWL_RATE, BOWL)
    right.axhline(
        floor, color="black", linewidth=0.8, linestyle=":", label=f"noise floor α σ²/(2(2 − α λ)) = {floor:.3f}"
    )
    left.set(xlabel="step", ylabel="weight", title="One walk with each schedule, in the same noise", ylim=(-3, 10))
    right.set(xlabel="step", title="Mean height over the bottom: computed, and walked")
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    return figure
