"""Network in network on the embedded digits, MNIST, Fashion-MNIST, CIFAR-10, or images of your own."""

import torch
from matplotlib.figure import Figure

from neurarium.data.images import Images, load_images
from neurarium.learners.classify import Classify
from neurarium.parts.encoders import Classifier
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.vision.nin import NiN, class_maps

FEWEST = 800  # updates
EPOCHS = 5  # through larger sets
DRAWN = 10  # classes in the picture of class maps
VIVID = 0.99  # share of its places that the colours tell apart


@recipe(
    expects=[Expect("test_accuracy", at_least=0.97)],
    smoke=dict(steps=60, scale=0.125, dropout=0.0),
    control=dict(shuffle_labels=True),
)
def nin(
    run: Run,
    *,
    data: str = "digits",
    steps: int | None = None,
    batch: int = 64,
    lr: float = 2e-3,
    scale: float = 0.25,
    dropout: float = 0.5,
    shuffle_labels: bool = False,
) -> Result:
    """Network in network reads handwritten digits without a dense layer.

    A small network looks at every pixel and its surroundings; three of them in a row end in one map for each class, and
    the mean of a class's map is the evidence for it. Look at the class maps: they show, without any gradient, which
    strokes speak for a digit (red) and which against it (blue).

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        steps: updates (default: 5 epochs, but at least 800).
        batch: examples an update.
        lr: learning rate at the start.
        scale: factor of the published numbers of maps; 1 is the published network, of 966,986 weights on CIFAR-10.
        dropout: chance that a number is left out between the small networks in training.
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    images = load_images(data, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    net = Classifier(NiN(shape=images.shape, scale=scale, dropout=dropout), classes=images.classes)
    run.classes = images.class_names
    learner = Classify(net, lr=lr, schedule=cosine)
    stream = images.train.batches(batch, seed=run.seed)

    def evaluate() -> dict[str, float]:
        return learner.evaluate(images.test.chunks(1000), prefix="test_")

    steps = max(FEWEST, EPOCHS * len(images.train) // batch) if steps is None else steps
    run.fit(learner, stream, steps=steps, evaluate=evaluate)
    run.picture("class_maps", draw_class_maps(net, images))
    return run.result(**evaluate())


def draw_class_maps(net: Classifier[NiN], images: Images) -> Figure:
    """A test image of each class, and beside it how much each of its places speaks for each class."""
    labels = images.test.labels
    shown = [label for label in range(images.classes) if bool((labels == label).any())][:DRAWN]
    rows = torch.stack([(labels == label).nonzero()[0, 0] for label in shown])
    pictures = images.test.take(rows).inputs
    maps = class_maps(net, pictures)
    named = maps.mean((2, 3)).argmax(1).tolist()
    maps, pictures = maps[:, shown].float().cpu(), pictures.float().cpu()
    reach = float(maps.abs().quantile(VIVID)) + 1e-6

    figure, axes = panels(len(shown), 1 + len(shown), width=0.85, height=0.85)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
    for row, picture in enumerate(pictures):
        seen, *places = axes[row * (1 + len(shown)) : (row + 1) * (1 + len(shown))]
        seen.imshow(picture.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
        for column, ax in enumerate(places):
            ax.imshow(maps[row, column].numpy(), cmap="RdBu_r", vmin=-reach, vmax=reach)
            if row == 0:
                ax.set_title(images.class_names[shown[column]][:10], fontsize=9)
            if shown[column] == named[row]:
                right = named[row] == shown[row]
                ax.spines[:].set(visible=True, linewidth=2, color=COLOURS[2 if right else 1])
    axes[0].set_title("seen", fontsize=9)
    figure.suptitle("evidence for each class, place by place (framed: the class named)", fontsize=10)
    return figure
