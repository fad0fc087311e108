"""ReZero on the embedded digits, or on images of your own: 64 layers against plain and residual ones."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.images import Images, load_images
from neurarium.errors import NotFinite
from neurarium.learners.classify import Classify
from neurarium.learners.learner import Measures
from neurarium.parts.bundles import Labelled
from neurarium.parts.encoders import Classifier
from neurarium.parts.residual import alphas
from neurarium.parts.schedules import Schedule, cosine
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.vision.rezero import ReZeroNet, first_weights

JOINED = {"rezero": "rezero", "plain": "none", "residual": "plain"}  # the fits, and their nets' option
LABELS = {"rezero": "ReZero, x + αF(x)", "plain": "plain, F(x)", "residual": "residual, x + F(x)"}
RATES = {"dense": 1e-3, "convolutional": 1e-2, "transformer": 5e-3}  # by form, found on the digits
EPOCHS = 5
FEWEST = 600  # updates: 27 epochs of the digits
JUDGED = 256  # test images whose signal is followed through the layers
MOMENTS = 100  # of the training, at which every α is kept for the picture

Net = Classifier[ReZeroNet]


@recipe(
    expects=[Expect("rezero_accuracy", at_least=0.95), Expect("plain_accuracy", at_most=0.3)],
    smoke=dict(steps=60, depth=20, lr=3e-3),
    control=dict(shuffle_labels=True),
)
def rezero(
    run: Run,
    *,
    data: str = "digits",
    form: Literal["dense", "convolutional", "transformer"] = "dense",
    depth: int = 64,
    width: int = 64,
    heads: int = 4,
    start: Literal["fan-in", "kaiming", "xavier"] = "fan-in",
    steps: int | None = None,
    batch: int = 64,
    lr: float | None = None,
    shuffle_labels: bool = False,
) -> Result:
    """Sixty-four layers learn at once if each of them begins by doing nothing.

    Three nets begin with the same weights, N(0, 1/√fan-in), and see the same batches. Plain layers lose the signal on
    the way, and with it every gradient; residual ones, which have no norms here, blow it up. A ReZero net weighs each
    layer by an α that begins at 0: it passes the image on untouched, then takes its layers in. The picture shows the
    signal before training, the losses, and every α. The promise about plain layers is for this start: kaiming's, made
    for ReLU, keeps more of the signal, and plain layers may then learn part of the task.

    The other forms compute more a block; on one core try --form convolutional --depth 24 --width 16 --steps 200.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        form: dense, convolutional or transformer.
        depth: number of blocks, each one layer (a transformer's: attention and a network of two layers).
        width: units, maps, or numbers of a token.
        heads: of a transformer's attention; they must divide the width.
        start: rule of the first weights: fan-in, kaiming or xavier.
        steps: updates of each of the three (default: 5 epochs, but at least 600).
        batch: examples an update.
        lr: learning rate at the start (default: 0.001, convolutional 0.01, transformer 0.005); it falls along a cosine.
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    images = load_images(data, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    run.classes = images.class_names
    steps = max(FEWEST, EPOCHS * len(images.train) // batch) if steps is None else steps
    accuracies, signals, kept = {}, {}, torch.zeros(0)
    seen = next(images.test.chunks(JUDGED)).inputs
    for name, residual in JOINED.items():
        encoder = ReZeroNet(shape=images.shape, form=form, depth=depth, width=width, heads=heads, residual=residual)
        net = Classifier(encoder, classes=images.classes)
        first_weights(net, start, generator=run.generator("weights"))
        signals[name] = encoder.to(seen.device).signal(seen).cpu()
        rate = RATES[form] if lr is None else lr
        learner = (Watched if name == "rezero" else Classify)(net, lr=rate, schedule=cosine)
        accuracies[name] = teach(run, name, learner, images, steps=steps, batch=batch)
        kept = learner.kept.cpu() if isinstance(learner, Watched) else kept
    run.picture("depth", draw_depth(run, signals, kept, accuracies))
    measures = {f"{name}_accuracy": accuracy for name, accuracy in accuracies.items()}
    return run.result(**measures, alpha=float(kept[-1].abs().mean()))


class Watched(Classify[Net]):
    """Classify, keeping what every α was at evenly spread moments of the training.

    Attributes:
        kept: α by moment and layer; moments ahead hold the newest.
    """

    def __init__(self, model: Net, *, lr: float, schedule: Schedule) -> None:
        super().__init__(model, lr=lr, schedule=schedule)
        self.kept: Float[Tensor, "moments layers"] = alphas(model).repeat(MOMENTS, 1)

    def learn(self, batch: Labelled) -> Measures:
        """One gradient step, and a look at α."""
        measures = super().learn(batch)
        found = alphas(self.model)
        self.kept[min(int(self.progress * MOMENTS), MOMENTS - 1) :] = found
        return {**measures, "alpha": found.abs().mean()}


def teach(run: Run, name: str, learner: Classify[Net], images: Images, *, steps: int, batch: int) -> float:
    """Let one net learn; its accuracy on all test images, also if its loss grew beyond all numbers."""

    def evaluate() -> dict[str, float]:
        return learner.evaluate(images.test.chunks(1000), prefix="test_")

    stream = images.train.batches(batch, seed=run.seed)
    try:
        run.fit(learner, stream, steps=steps, name=name, evaluate=evaluate)
    except NotFinite as error:
        if name == "rezero":
            raise
        run.say(f"{name}: {error} (here that is the point)")
    return evaluate()["test_accuracy"]


def draw_depth(
    run: Run,
    signals: Mapping[str, Float[Tensor, " states"]],
    kept: Float[Tensor, "moments layers"],
    accuracies: Mapping[str, float],
) -> Figure:
    """The signal through the first weights, the three losses, and α of every layer over the training."""
    figure, (signal, loss, alpha) = panels(1, 3, width=4.6, height=3.6)
    for name, colour in zip(JOINED, COLOURS, strict=False):
        signal.plot(signals[name], color=colour, linewidth=1.8, label=LABELS[name])
        points = curve(run, name)
        loss.plot(list(points), list(points.values()), color=colour, label=f"{name}: {accuracies[name]:.1%} right")
    signal.set(yscale="log", xlabel="block", ylabel="signal / signal in", title="Before training: the signal")
    signal.legend(fontsize=8)
    loss.set(yscale="log", xlabel="step", ylabel="cross-entropy", title="Training: the loss")
    loss.legend(fontsize=8)
    largest = max(float(kept.abs().max()), 1e-12)
    extent = (0, 100, 0.5, kept.shape[1] + 0.5)
    seen = alpha.imshow(
        kept.T.numpy(), cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto", origin="lower", extent=extent
    )
    alpha.set(xlabel="training done / %", ylabel="block", title="ReZero: α of every block")
    alpha.grid(visible=False)
    figure.colorbar(seen, ax=alpha, label="α")
    return figure


def curve(run: Run, name: str) -> dict[int, float]:
    """The training loss of a fit, by step."""
    return {
        line.step: line.measures["loss"] for line in run.trace.lines() if line.fit == name and "loss" in line.measures
    }
