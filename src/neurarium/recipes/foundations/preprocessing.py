"""Z-score, principal components and whitening on the embedded digits or a table of your own."""

from collections.abc import Sequence
from functools import partial
from math import isqrt

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from neurarium.data.batches import Held
from neurarium.data.tables import load_table
from neurarium.errors import require
from neurarium.learners.classify import Classify
from neurarium.parts.bundles import Labelled
from neurarium.parts.optimizers import sgd
from neurarium.parts.preprocessing import PCA, ZScore
from neurarium.running.pictures import COLOURS, panels, sheet
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.running.trace import Line
from neurarium.systems.foundations.preprocessing import WAYS, condition, preprocessor, stable_rate, whiteness

COUNTS = (2, 10, 20, 29, 40)  # components whose share of the variance is measured
REBUILT = 10  # digits in the picture of reconstructions
DRAWN = 600  # examples in a scatter plot
SAME = 0.999  # correlation from which on two features are one, and nothing is seen of two
CLOSE = 0.0005  # how near our shares of variance must be to the published ones


@recipe(
    expects=[
        Expect("cumulative_variance_2", at_least=0.2851 - CLOSE, at_most=0.2851 + CLOSE),
        Expect("cumulative_variance_10", at_least=0.7382 - CLOSE, at_most=0.7382 + CLOSE),
        Expect("cumulative_variance_20", at_least=0.8943 - CLOSE, at_most=0.8943 + CLOSE),
        Expect("cumulative_variance_29", at_least=0.9548 - CLOSE, at_most=0.9548 + CLOSE),
        Expect("cumulative_variance_40", at_least=0.9882 - CLOSE, at_most=0.9882 + CLOSE),
    ],
    smoke=dict(steps=60),
    control=dict(shuffle_features=True),
)
def preprocessing(
    run: Run,
    *,
    data: str = "digits",
    target: str | None = None,
    share: float = 0.95,
    standardise: bool = False,
    steps: int = 1500,
    batch: int = 64,
    shuffle_features: bool = False,
) -> Result:
    """Preprocessing finds the few directions in which data vary, and makes them all alike.

    A layer of logits learns from raw inputs, from z-scores, from principal components and from whitened ones, each
    fitted on the training rows alone and built into the model, and each at the rate that its steepest direction allows.
    Look at the digits rebuilt from 2 to 40 numbers, and at how much sooner evened-out inputs are learned from. The
    measures `cumulative_variance_k` are the shares that the first k components hold over all rows, for comparison with
    published ones; `train_variance_k` are those of the training rows, on which the models stand.

    Args:
        data: digits, breast-cancer, iris, wine or csv:FILE, whose other columns must be numbers.
        target: the column to predict, for csv:FILE.
        share: of the variance that principal components and whitening keep for the classifiers.
        standardise: start principal components from z-scores, as they must where columns have different units.
        steps: updates of each classifier.
        batch: examples an update.
        shuffle_features: deal every column out at random by itself; nothing then goes together (the negative control).
    """
    require(0 < share <= 1, f"share is {share}, but must be above 0 and at most 1")
    table = load_table(data, target=target, seed=run.seed, task="classification", standardise=False)
    train, test = (part.all().inputs for part in (table.train, table.test))
    if shuffle_features:
        train, test = (dealt_by_column(part, run.generator("columns")) for part in (train, test))
    constant = int((train.amax(0) == train.amin(0)).sum())
    if constant:
        run.say(f"{constant} of {len(table.features)} features are constant over the training rows: centred only")
    start = ZScore.fit(train) if standardise else nn.Identity()
    pca = PCA.fit(start(train))
    everyone = torch.cat([train, test])
    overall = PCA.fit(ZScore.fit(everyone)(everyone) if standardise else everyone)

    measures = {**shares_of(overall, "cumulative_variance"), **shares_of(pca, "train_variance")}
    learned = Held(Labelled(train, table.train.all().labels)).to(run.device)
    held_out = Held(Labelled(test, table.test.all().labels)).to(run.device)
    for way in WAYS:
        prepare = preprocessor(train, way, share=share, standardise=standardise)
        prepared = prepare(train)
        model = nn.Sequential(*prepare, nn.Linear(prepared.shape[1], table.classes))
        learner = Classify(model, optimizer=sgd, lr=stable_rate(prepared))
        judge = partial(learner.evaluate, [held_out.all()], prefix="test_")
        run.fit(learner, learned.batches(batch, seed=run.seed), steps=steps, name=way, evaluate=judge)
        measures[f"accuracy_{way}"] = judge()["test_accuracy"]
        measures[f"condition_{way}"] = condition(prepared)
    measures["whiteness"] = whiteness(preprocessor(train, "whitened", share=share, standardise=standardise)(train))

    run.picture("spectrum", draw_spectrum(pca, overall))
    run.picture("whitened", draw_whitened(Labelled(train, table.train.all().labels), table.features))
    run.picture("learning", draw_learning(run.trace.lines()))
    if table.name == "digits" and not standardise:
        run.picture("reconstructions", draw_reconstructions(pca, test[:REBUILT]))
    return run.result(**measures)


def dealt_by_column(inputs: Float[Tensor, "N F"], generator: torch.Generator) -> Float[Tensor, "N F"]:
    """Every column dealt out at random by itself: it keeps its mean and deviation, but goes with no other."""
    return inputs.gather(0, torch.rand(inputs.shape, generator=generator).argsort(0))


def shares_of(pca: PCA, name: str) -> dict[str, float]:
    """The shares of variance that the first so many components hold, for those counts that there are."""
    return {f"{name}_{count}": float(pca.cumulative[count - 1]) for count in COUNTS if count <= pca.components}


def draw_spectrum(pca: PCA, overall: PCA) -> Figure:
    """The variance of each direction, and the share that the first of them hold together."""
    figure, (left, right) = panels(1, 2, width=4.8, height=3.6)
    for fitted, label, style in ((pca, "training rows", "-"), (overall, "all rows", "--")):
        places = torch.arange(1, fitted.components + 1)
        left.semilogy(places, fitted.variances, style, linewidth=1.6, label=label)
        right.plot(places, fitted.cumulative, style, linewidth=1.6, label=label)
    left.set(xlabel="component", ylabel="variance", title="Spectrum")
    right.set(xlabel="components kept", ylabel="share of the variance", title="Held together", ylim=(0, 1.03))
    for count in (count for count in COUNTS if count <= overall.components):
        held = float(overall.cumulative[count - 1])
        right.plot(count, held, "o", color=COLOURS[1], markersize=5)
        right.annotate(f"{count}: {held:.1%}", (count, held), (8, -13), textcoords="offset points", fontsize=8)
    left.legend()
    right.legend(loc="lower right")
    return figure


def draw_whitened(batch: Labelled, features: Sequence[str]) -> Figure:
    """The two features that go together most, as they are, turned onto their own components, and whitened."""
    first, second = most_alike(ZScore.fit(batch.inputs)(batch.inputs))
    two = batch.inputs[:, [first, second]]
    drawn = {"raw": two, "z-score": ZScore.fit(two)(two)}
    drawn |= {"principal components": PCA.fit(two)(two), "whitened": PCA.fit(two, whiten=True)(two)}
    figure, axes = panels(1, len(drawn), width=3.3, height=3.3)
    for ax, (title, points) in zip(axes, drawn.items(), strict=True):
        turned = title in ("principal components", "whitened")
        names = ["component 1", "component 2"] if turned else [str(features[place]) for place in (first, second)]
        across, up = points[:DRAWN, 0], points[:DRAWN, -1]
        ax.scatter(across, up, c=batch.labels[:DRAWN], cmap="tab10", s=9, alpha=0.7, linewidths=0)
        ax.set(title=title, xlabel=names[0], ylabel=names[1])
        ax.axis("equal")  # one scale on both axes, so that round is round
    return figure


def most_alike(scores: Float[Tensor, "N F"]) -> tuple[int, int]:
    """The two features most alike short of being the same; twice the only one if there is one."""
    together = (scores.T @ scores).abs().triu(diagonal=1) / len(scores)
    together[together > SAME] = 0
    first, second = divmod(int(together.argmax()), scores.shape[1])
    return first, second


def draw_learning(lines: Sequence[Line]) -> Figure:
    """The training loss and the test accuracy of each way over the steps."""
    figure, axes = panels(1, 2, width=4.8, height=3.6)
    for ax, measure, title in zip(axes, ("loss", "test_accuracy"), ("Training loss", "Test accuracy"), strict=True):
        for way, colour in zip(WAYS, COLOURS, strict=False):
            points = [
                (line.step, line.measures[measure]) for line in lines if line.fit == way and measure in line.measures
            ]
            ax.plot(*zip(*points, strict=True), color=colour, linewidth=1.4, label=way.replace("_", "-"))
        ax.set(xlabel="step", title=title)
    axes[0].set_yscale("log")
    axes[0].legend()
    return figure


def draw_reconstructions(pca: PCA, inputs: Float[Tensor, "B F"]) -> Figure:
    """Images as they are in the first row, and rebuilt from 2, 10, ... components in the next ones."""
    outputs, counts = pca(inputs), [count for count in COUNTS if count <= pca.components]
    first = [torch.cat([outputs[:, :count], torch.zeros_like(outputs[:, count:])], dim=1) for count in counts]
    rows = [inputs, *(pca.inverse(each) for each in first)]
    names = ["original", *(f"from {count}" for count in counts)]
    titles = [name if place == 0 else " " for name in names for place in range(len(inputs))]
    side = isqrt(inputs.shape[1])
    return sheet(torch.cat(rows).reshape(-1, side, side), columns=len(inputs), titles=titles, scale=0.8)
