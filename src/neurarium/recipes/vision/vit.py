"""A vision transformer on the embedded digits, or on images of your own."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor
from torch.optim import AdamW

from neurarium.data.augmented import Augmented
from neurarium.data.images import load_images
from neurarium.learners.classify import Classify
from neurarium.parts.bundles import Labelled
from neurarium.parts.encoders import Classifier
from neurarium.parts.schedules import warm_up
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.vision.augmentation import build_augment
from neurarium.systems.vision.vit import ViT, class_attention, rollout

DECAY = 0.05  # of the weights; a transformer knows little of pictures and learns a small set by heart
EPOCHS = 10
FEWEST = 1200  # updates: 54 epochs of the digits
DRAWN = 10  # pictures in the sheet of attention
GLOW = 0.85  # how far the patch looked at most is covered


@recipe(
    expects=[Expect("test_accuracy", at_least=0.96)],
    smoke=dict(steps=60, depth=2, width=32, lr=5e-3),
    control=dict(shuffle_labels=True),
)
def vit(
    run: Run,
    *,
    data: str = "digits",
    patch: int = 0,
    width: int = 48,
    depth: int = 4,
    heads: int = 4,
    hidden: int = 96,
    steps: int | None = None,
    batch: int = 64,
    lr: float = 2e-3,
    dropout: float = 0.1,
    augment: str = "affine:0.7:0.5",
    shuffle_labels: bool = False,
) -> Result:
    """A transformer reads a digit as a sentence of patches.

    Each patch of the picture becomes a token with a learned position; one more token gathers from the others, by
    attention, what the classifier needs. The first picture shows where this token looks in the last block, head by
    head, and how much of each patch reaches it through all blocks. The second shows the positions, which began as
    noise: each square is how much alike one of them has become to all others, often its neighbours in row or column.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        patch: pixels a side, which must divide the images (0: 2 for images up to 16 pixels, 4 up to 64, 16 beyond).
        width: numbers of a token.
        depth: number of blocks.
        heads: of attention; they must divide the width.
        hidden: units of the feed-forward networks (0: four times the width).
        steps: updates (default: 10 epochs, but at least 1200).
        batch: examples an update.
        lr: learning rate at its highest.
        dropout: chance in training that a weight of attention, a hidden unit or an output is left out.
        augment: changes of the images to learn from, as NAME:CHANCE:STRENGTH,... of the recipe augmentation, or none.
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    images = load_images(data, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    encoder = ViT(
        shape=images.shape, patch=patch, width=width, depth=depth, heads=heads, hidden=hidden, dropout=dropout
    )
    net = Classifier(encoder, classes=images.classes)
    run.classes = images.class_names
    learner = Classify(net, optimizer=partial(AdamW, weight_decay=DECAY, fused=True), lr=lr, schedule=warm_up())

    def evaluate() -> dict[str, float]:
        return learner.evaluate(images.test.chunks(500), prefix="test_")

    steps = max(FEWEST, EPOCHS * len(images.train) // batch) if steps is None else steps
    stream = Augmented(images.train.batches(batch, seed=run.seed), build_augment(augment), seed=run.seed)
    run.fit(learner, stream, steps=steps, evaluate=evaluate)
    run.picture("attention", draw_attention(learner, next(images.test.chunks(1000)), images.class_names))
    run.picture("positions", draw_positions(encoder))
    return run.result(**evaluate())


def draw_attention(learner: Classify[Classifier[ViT]], batch: Labelled, names: tuple[str, ...]) -> Figure:
    """One picture of each class: where each head of the last block looks for the class token, and the rollout."""
    encoder = learner.model.encoder
    firsts = [(batch.labels == label).nonzero()[:1, 0] for label in range(len(names))]
    images = batch.inputs[torch.cat(firsts)[:DRAWN]]
    blocks = encoder.attention(images)
    heads = class_attention(blocks[-1], encoder.grid)
    rows = {f"head {head + 1}": heads[:, head] for head in range(heads.shape[1])}
    rows |= {"rollout": rollout(blocks, encoder.grid)}
    figure, axes = panels(1 + len(rows), len(images), width=0.9, height=0.9)
    predicted = learner.predict(images).argmax(1).tolist()
    for place, image in enumerate(images.float().cpu()):
        axes[place].set_title(names[predicted[place]], fontsize=8)
        for row, maps in enumerate((None, *rows.values())):
            ax = axes[row * len(images) + place]
            ax.imshow(shown(image).numpy(), cmap="gray_r")
            if maps is not None:
                glow(ax, maps[place], image.shape[1:])
    for ax, name in zip(axes[:: len(images)], ("read as", *rows), strict=True):
        ax.set_ylabel(name, fontsize=8)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
    return figure


def glow(ax: Axes, weights: Float[Tensor, "h w"], sides: Sequence[int]) -> None:
    """Lay a colour over an image: none on the patch that was looked at least, most on the one looked at most."""
    high, wide = sides
    covering = weights.float().cpu() - weights.min().cpu()
    covering = covering / covering.max().clamp(min=1e-12)
    colour = ListedColormap([COLOURS[1]])
    edges = (-0.5, wide - 0.5, high - 0.5, -0.5)
    ax.imshow(torch.zeros_like(covering).numpy(), cmap=colour, alpha=GLOW * covering.numpy(), extent=edges)


def shown(image: Float[Tensor, "C H W"]) -> Float[Tensor, "H W *C"]:
    """An image as matplotlib takes it, in grey if it has not three channels."""
    return image.permute(1, 2, 0) if image.shape[0] == 3 else image.mean(0)


@torch.no_grad()
def draw_positions(encoder: ViT) -> Figure:
    """The cosine between each position and all others, laid out as the patches are."""
    positions = torch.nn.functional.normalize(encoder.positions[0, 1:].float().cpu(), dim=1)
    alike = (positions @ positions.T).unflatten(1, encoder.grid)
    high, wide = encoder.grid
    figure, axes = panels(high, wide, width=max(0.5, 4 / wide), height=max(0.5, 4 / wide))
    for ax, likeness in zip(axes, alike, strict=True):
        drawn = ax.imshow(likeness.numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=axes, shrink=0.6, label="cosine")
    figure.suptitle("how much alike each position is to all others", fontsize=10)
    return figure
