"""Augmentation: two networks learn from the same few images, one of them from a new version each time."""

import copy
from itertools import chain

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate

from neurarium.data.augmented import Augmented
from neurarium.data.few import Chosen, few_of_each
from neurarium.data.images import load_images
from neurarium.learners.classify import Classify
from neurarium.parts.encoders import Classifier
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.encoders import build_encoder
from neurarium.systems.vision.augmentation import OPERATIONS, Augment, build_augment

VERSIONS = 8  # of an image, drawn side by side
SHOWN = 6  # images of the data set
PHOTOGRAPH = 112  # pixels a side
VIEW = "crop,flip:0.5,jitter:0.8,grey:0.2,blur:0.5"  # Chen et al. 2020, appendix A


@recipe(
    expects=[Expect("augmented_gain", above=0.0)],
    smoke=dict(steps=150, labels=2),
    control=dict(augment="none"),
)
def augmentation(
    run: Run,
    *,
    data: str = "digits",
    augment: str = "affine",
    encoder: str = "lenet",
    labels: int = 10,
    steps: int = 800,
    batch: int = 64,
    lr: float = 5e-3,
) -> Result:
    """Augmentation makes much of few images.

    Two networks begin alike and see the same few labelled images in the same order, as often as each other. One sees
    them as they are; the other sees each a little turned, shifted, zoomed and sheared, never twice the same. Both are
    asked about all images that neither learned from. Look at the operations, each drawn anew for every picture.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        augment: operations in order, NAME:CHANCE:STRENGTH with the last two left out if 1: crop, flip, jitter, grey,
            blur, affine, cutout; or none. Choose those that change no label: a mirrored digit is no digit.
        encoder: what reads the images, NAME:option=value,...
        labels: labelled images of each class.
        steps: updates of each network.
        batch: images an update.
        lr: learning rate at the start.
    """
    images = load_images(data, seed=run.seed, device=run.device)
    run.note(data=images.name)
    changes = build_augment(augment, compiled=run.settings.compile)
    chosen, others = few_of_each(images.train.labels, labels, generator=run.generator("labels"))
    few, rest = Chosen(images.train, chosen), [Chosen(images.train, others)] if len(others) else []
    net = Classifier(build_encoder(encoder, shape=images.shape), classes=images.classes)
    run.classes = images.class_names
    draw(run, changes, few)
    accuracy = {}
    for name in ("plain", "augmented"):
        learner = Classify(copy.deepcopy(net), lr=lr, schedule=cosine)
        stream = few.batches(batch, seed=run.seed)

        def evaluate(learner: Classify[Classifier] = learner) -> dict[str, float]:  # type: ignore[type-arg]
            unseen = chain(images.test.chunks(1000), *(part.chunks(1000) for part in rest))
            return learner.evaluate(unseen, prefix="test_")

        changed = Augmented(stream, changes, seed=run.seed) if name == "augmented" else stream
        run.fit(learner, changed, steps=steps, name=name, evaluate=evaluate, evaluations=5)
        accuracy[name] = evaluate()["test_accuracy"]
    plain, augmented = accuracy["plain"], accuracy["augmented"]
    return run.result(augmented_gain=augmented - plain, plain_accuracy=plain, augmented_accuracy=augmented)


def draw(run: Run, changes: Augment, few: Chosen) -> None:
    """Each operation on a photograph, and what the augmented network is shown."""
    photo = photograph(PHOTOGRAPH)
    rows = {name: versions(photo, build_augment(name), run.generator("photograph")) for name in OPERATIONS}
    rows["all of a\nview"] = versions(photo, build_augment(VIEW), run.generator("photograph"))
    run.picture("operations", gallery(rows))
    some, names = few.take(torch.arange(0, len(few), max(1, len(few) // SHOWN), device=few.device)[:SHOWN])
    chance = run.generator("versions")
    shown = [versions(image, changes, chance) for image in some.cpu()]
    titles = [f"{label}" + " " * row for row, label in enumerate(names.tolist())]  # no two of one name
    run.picture("versions", gallery(dict(zip(titles, shown, strict=True))))


def photograph(side: int) -> Float[Tensor, "3 side side"]:
    """scikit-learn's photograph of a flower, its middle square at this size."""
    from sklearn.datasets import load_sample_image

    pixels = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None].float() / 255
    height, width = pixels.shape[2:]
    left = (width - height) // 2
    middle = pixels[:, :, :, left : left + height]
    return interpolate(middle, size=(side, side), mode="bilinear", antialias=True)[0]


def versions(
    image: Float[Tensor, "C H W"], changes: Augment, generator: torch.Generator
) -> Float[Tensor, "versions C H W"]:
    """An image and how it looks augmented, time after time."""
    many = image.expand(VERSIONS, *image.shape)
    return torch.cat([image[None], changes(many, generator=generator)])


def gallery(rows: dict[str, Float[Tensor, "versions C H W"]]) -> Figure:
    """A row of images for each name, the first as it was."""
    columns = 1 + VERSIONS
    figure, axes = panels(len(rows), columns, width=0.95, height=0.95)
    for row, (name, images) in enumerate(rows.items()):
        for column, image in enumerate(images.permute(0, 2, 3, 1)):
            ax = axes[row * columns + column]
            ax.imshow(image.squeeze(-1).clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            for side in ax.spines.values():
                side.set_visible(False)
        axes[row * columns].set_ylabel(name.strip(), fontsize=9)
    axes[0].set_title("as it is", fontsize=9)
    return figure
