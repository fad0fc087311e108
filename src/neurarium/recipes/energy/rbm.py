"""Restricted Boltzmann machines: features learned without labels, fantasies, and what probability they give to data."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from neurarium.data.augmented import Augmented
from neurarium.data.images import load_images
from neurarium.errors import require
from neurarium.learners.classify import Classify
from neurarium.parts.bundles import Labelled
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import COLOURS, panels, sheet, tiled
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.energy.rbm import RBM, ContrastiveDivergence, annealed_log_z, exact_log_z, gibbs
from neurarium.systems.foundations.softmax_regression import SoftmaxRegression

SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))  # pixels down and right
FILTERS = 100  # drawn, the strongest
DREAMERS = 12  # chains drawn
MOMENTS = (1, 9, 90, 900)  # steps between two looks at them
WARMTHS = (0.5, 1.0, 2.0)  # temperatures at which they are drawn
LOOKED_AT = 500  # pictures whose free energy is drawn, of each kind
AIS_CHAINS = 2000


@recipe(
    expects=[Expect("feature_gain", above=0.0), Expect("log_z_error", at_most=0.01)],
    smoke=dict(steps=1000, lr=0.5, hidden=128, classifier_steps=350, classifier_lr=0.1, temperatures=50, few=4),
    control=dict(lr=0.0),
)
def rbm(
    run: Run,
    *,
    data: str = "digits",
    hidden: int = 256,
    steps: int = 6000,
    batch: int = 64,
    lr: float = 0.2,
    k: int = 1,
    chains: int = 64,
    decay: float = 1e-4,
    threshold: float = 0.3,
    classifier_steps: int = 3000,
    classifier_lr: float = 0.02,
    few: int = 12,
    temperatures: int = 8000,
) -> Result:
    """A restricted Boltzmann machine learns features of pictures by contrasting them with its own fantasies.

    Every picture is seen shifted by at most a pixel, after the test pictures have been set apart. The machine never
    sees a label; then a softmax classifier reads its hidden units, and another reads the pixels themselves, in all
    their greys. A second, small machine has so few hidden units that its partition function can be summed, and annealed
    importance sampling is held against the sum. Look at the filters, at the fantasies as they clear up at three
    temperatures, and at how the free energy tells pictures from noise.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR; colours are made grey.
        hidden: units of the machine whose features are read.
        steps: updates of each machine.
        batch: pictures an update.
        lr: learning rate of the machines at the start; it falls to 0 along a cosine.
        k: Gibbs steps from a picture to the fantasy it is contrasted with.
        chains: fantasies that live on from update to update (persistent contrastive divergence); 0 for none.
        decay: pull of the weights towards 0.
        threshold: of a pixel, above which its unit is on.
        classifier_steps: updates of each classifier.
        classifier_lr: learning rate of the classifiers at the start; it falls to 0 along a cosine.
        few: hidden units of the small machine, at most 20.
        temperatures: steps of the annealing.
    """
    require(0 <= threshold < 1, f"threshold is {threshold}, but must be at least 0 and below 1")
    require(1 <= few <= 20, f"few is {few}, but 2^few states are summed; it must be from 1 to 20")
    images = load_images(data, seed=run.seed, device=run.device)
    run.note(data=images.name)
    binary, grey = Prepare(threshold), Prepare(None)
    shape = (1, *images.shape[1:])

    def learn(name: str, units: int) -> RBM:
        learner = ContrastiveDivergence(
            RBM(shape=shape, hidden=units), steps=k, chains=chains, lr=lr, schedule=cosine, decay=decay
        )
        stream = Augmented(images.train.batches(batch, seed=run.seed), binary, seed=run.seed)
        run.fit(learner, stream, steps=steps, name=name)
        return learner.model

    def classify(name: str, model: nn.Module, prepare: Prepare) -> float:
        learner = Classify(model, lr=classifier_lr, schedule=cosine)

        def evaluate() -> dict[str, float]:
            return learner.evaluate(map(prepare.all_shifts, images.test.chunks(500)), prefix="test_")

        stream = Augmented(images.train.batches(batch, seed=run.seed), prepare, seed=run.seed)
        run.fit(learner, stream, steps=classifier_steps, name=name, evaluate=evaluate)
        return evaluate()["test_accuracy"]

    model, small = learn("machine", hidden), learn("small_machine", few)
    raw = classify("pixels", SoftmaxRegression(shape=shape, classes=images.classes), grey)
    read = SoftmaxRegression(shape=(hidden,), classes=images.classes)
    features = classify("features", nn.Sequential(model, read), binary)

    seen, unseen = (binary.plain(part.take(some(len(part), run))) for part in (images.train, images.test))
    run.picture("filters", draw_filters(model))
    run.picture("fantasies", draw_fantasies(model, run))
    energies = {name: model.free_energy(pictures) for name, pictures in (("train", seen), ("test", unseen))}
    run.picture("free_energy", draw_free_energy(model, energies, seen, run))
    estimate = annealed_log_z(
        small,
        base=base_rates(seen),
        chains=AIS_CHAINS,
        temperatures=temperatures,
        generator=None if run.device.type != "cpu" else run.generator("annealing"),
    )
    return run.result(
        feature_gain=features - raw,
        log_z_error=abs(estimate - exact_log_z(small)),
        feature_accuracy=features,
        raw_accuracy=raw,
        free_energy_gap=float(energies["test"].mean() - energies["train"].mean()),
    )


class Prepare:
    """Pictures as a network gets them: of one channel, shifted by chance, and as 0 and 1 if there is a threshold."""

    def __init__(self, threshold: float | None) -> None:
        self.threshold = threshold

    def __call__(self, images: Float[Tensor, "B C H W"], *, generator: torch.Generator) -> Float[Tensor, "B 1 H W"]:
        picks = torch.randint(len(SHIFTS), (len(images),), generator=generator).to(images.device)
        versions = shifted(self.units(images))
        return versions[picks, torch.arange(len(images), device=images.device)]

    def units(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
        """The pictures where they are."""
        one = images.mean(1, keepdim=True)
        return one if self.threshold is None else (one > self.threshold).to(images.dtype)

    def plain(self, batch: Labelled) -> Float[Tensor, "B V"]:
        """The pictures where they are, as rows."""
        return self.units(batch.inputs).flatten(1)

    def all_shifts(self, batch: Labelled) -> Labelled:
        """Every picture at every place."""
        return Labelled(shifted(self.units(batch.inputs)).flatten(0, 1), batch.labels.repeat(len(SHIFTS)))


def shifted(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "S B C H W"]:
    """The pictures where they are and one pixel to each side; what comes in is 0.

    >>> shifted(torch.tensor([[[[1.0, 2.0]]]]))[:, 0, 0, 0].tolist()
    [[1.0, 2.0], [0.0, 1.0], [2.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    """
    height, width = images.shape[2:]
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    return torch.stack(
        [padded[:, :, 1 - down : 1 - down + height, 1 - right : 1 - right + width] for down, right in SHIFTS]
    )


def some(count: int, run: Run) -> Tensor:
    """Places of at most so many pictures as are looked at."""
    return torch.randperm(count, generator=run.generator("looked at"))[:LOOKED_AT].to(run.device)


def base_rates(visible: Float[Tensor, "B V"]) -> Float[Tensor, " V"]:
    """Biases of independent units that are on as often as those of the data (and once more and off once more)."""
    rate = (visible.sum(0) + 1) / (len(visible) + 2)
    return rate.logit()


def draw_filters(model: RBM) -> Figure:
    """The weights of the hidden units with the strongest ones, where their pixels are."""
    strongest = model.weight.square().sum(0).argsort(descending=True)[:FILTERS]
    return sheet(model.weight[:, strongest].T.reshape(-1, *model.shape), scale=0.55)


def draw_fantasies(model: RBM, run: Run) -> Figure:
    """Chains that begin in noise, as they clear up: a row for every moment, a block for every temperature."""
    figure, axes = panels(1, len(WARMTHS), width=4.6, height=2.2)
    for ax, temperature in zip(axes, WARMTHS, strict=True):
        visible, rows = torch.rand(DREAMERS, model.visible, generator=run.generator("noise")).round().to(run.device), []
        rows.append(visible)
        for steps in MOMENTS:
            visible, probability = gibbs(model, visible, steps=steps, temperature=temperature)
            rows.append(probability)
        canvas = tiled(torch.cat(rows).reshape(-1, *model.shape), columns=DREAMERS)[0]
        ax.imshow(canvas.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        tall = canvas.shape[0] / len(rows)
        moments = [sum(MOMENTS[:place]) for place in range(len(rows))]
        ax.set_yticks([tall * (place + 0.5) for place in range(len(rows))], [f"{moment:,}" for moment in moments])
        ax.set(xticks=[], title=f"temperature {temperature:g}", ylabel="steps")
        ax.grid(visible=False)
    return figure


def draw_free_energy(
    model: RBM, energies: Mapping[str, Float[Tensor, " B"]], seen: Float[Tensor, "B V"], run: Run
) -> Figure:
    """How probable the model finds pictures, fantasies, and noise with as much ink at every pixel as the pictures."""
    dreams = gibbs(model, seen, steps=sum(MOMENTS)).visible
    noise = (torch.rand(seen.shape, generator=run.generator("ink")).to(seen.device) < seen.mean(0)).to(seen.dtype)
    kinds = {**energies, "fantasies": model.free_energy(dreams), "noise": model.free_energy(noise)}
    figure, [ax] = panels(width=6.5)
    everything = torch.cat(list(kinds.values()))
    edges = torch.linspace(float(everything.min()), float(everything.max()) + 1e-3, 50).tolist()
    for (name, values), colour in zip(kinds.items(), COLOURS, strict=False):
        ax.hist(
            values.cpu().numpy(), bins=edges, histtype="step", density=True, linewidth=1.6, color=colour, label=name
        )
    ax.set(xlabel="free energy F(v) = −ln p(v) − ln Z", ylabel="density", title="What the machine expects to see")
    ax.legend()
    return figure
