"""Softmax regression on handwritten digits, other images, or a table of your own."""

from collections.abc import Sequence

from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.images import Images
from neurarium.data.labelled import load_labelled
from neurarium.learners.classify import Classify
from neurarium.parts.penalties import strength_of
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.foundations.softmax_regression import SoftmaxRegression, penalised_adam

COLUMNS = 5  # templates a row
NAMED = 64  # features of a table that are named below its weights, at most


@recipe(
    expects=[Expect("test_accuracy", at_least=0.95)],
    smoke=dict(steps=150),
    control=dict(shuffle_labels=True),
)
def softmax_regression(
    run: Run,
    *,
    data: str = "digits",
    target: str | None = None,
    steps: int = 3000,
    batch: int = 64,
    lr: float = 2e-2,
    c: float = 1.0,
    shuffle_labels: bool = False,
) -> Result:
    """Softmax regression weighs the pixels once for every class and lets the classes compete.

    There is nothing between input and output but a weighted sum, so what was learned can be looked at: the weights of a
    class are a picture, red where ink speaks for the class and blue where it speaks against it. The penalty keeps them
    small and smooth; its C means what it means in scikit-learn's LogisticRegression, whose weights these approach.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR, folder:DIR, breast-cancer, iris, wine or csv:FILE.
        target: the column that names the class, for csv:FILE.
        steps: updates.
        batch: examples an update.
        lr: learning rate at the start; it falls to 0 along a cosine.
        c: how much the examples count against the penalty; smaller means smaller weights.
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    found = load_labelled(data, target=target, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    run.note(data=found.name)
    shape = found.shape if isinstance(found, Images) else (len(found.features),)
    learner = Classify(
        SoftmaxRegression(shape=shape, classes=found.classes),
        optimizer=penalised_adam(strength_of(c, len(found.train))),
        lr=lr,
        schedule=cosine,
    )

    def evaluate() -> dict[str, float]:
        return learner.evaluate(found.test.chunks(1000), prefix="test_")

    run.fit(learner, found.train.batches(batch, seed=run.seed), steps=steps, evaluate=evaluate)
    weight = learner.model.weight.detach().cpu()
    if isinstance(found, Images):
        run.picture("weights", draw_templates(weight.unflatten(1, found.shape).mean(1), found.class_names))
    else:
        run.picture("weights", draw_table(weight, found.class_names, found.features))
    return run.result(**evaluate())


def draw_templates(weights: Float[Tensor, "K H W"], names: Sequence[str]) -> Figure:
    """The weights of every class where its pixels are."""
    rows = -(-len(weights) // COLUMNS)
    figure, axes = panels(rows, COLUMNS, width=1.7, height=1.9)
    reach = largest(weights)
    for ax in axes:
        ax.axis("off")
    for ax, template, name in zip(axes, weights, names, strict=False):
        shades = ax.imshow(template.numpy(), cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest")
        ax.set_title(name)
    figure.colorbar(shades, ax=axes, label="weight: for (+) or against (−)", shrink=0.8)
    return figure


def draw_table(weights: Float[Tensor, "K F"], names: Sequence[str], features: Sequence[str]) -> Figure:
    """The weight of every feature for every class."""
    figure, (ax,) = panels(width=max(5.0, 0.3 * len(features)), height=2.2 + 0.3 * len(names))
    reach = largest(weights)
    shades = ax.imshow(weights.numpy(), cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto", interpolation="nearest")
    ax.grid(visible=False)
    ax.set_yticks(range(len(names)), list(names))
    if len(features) <= NAMED:
        ax.set_xticks(range(len(features)), list(features), rotation=90, fontsize=7)
    figure.colorbar(shades, ax=ax, label="weight")
    return figure


def largest(weights: Float[Tensor, "K ..."]) -> float:
    """The largest size of a weight, and 1 where all are 0, so that colours have a range."""
    return float(weights.abs().max()) or 1.0
