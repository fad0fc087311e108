"""Recurrent attention on the embedded digits, each somewhere in a dark field, on MNIST, or on images of your own."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from neurarium.data.batches import Batches
from neurarium.data.images import load_images
from neurarium.data.imagesets import ImageSet
from neurarium.errors import require
from neurarium.parts.bundles import Labelled
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.vision.recurrent_attention import Attend, Glimpses, RecurrentAttention

FIELD = 28  # pixels a side, MNIST's
PLACES = 64  # at which a picture is shown in training, where it has so many
TRIED = 4  # places at which each test picture is tried
EPOCHS = 10
SHOWN = 6  # pictures in the film
SHARP = 8  # pixels a side of the sharpest patch at most, RAM §4.1


@recipe(
    expects=[
        Expect("test_accuracy", at_least=0.93),
        Expect("test_accuracy", at_least=0.95, given={"data": "mnist"}),
    ],
    smoke=dict(steps=40, place="centre", glimpses=2, batch=64, lr=4e-3),
    control=dict(shuffle_labels=True),
)
def recurrent_attention(
    run: Run,
    *,
    data: str = "digits",
    place: Literal["random", "centre"] = "random",
    field: int | None = None,
    glimpses: int = 6,
    patch: int | None = None,
    scales: int = 3,
    deviation: float = 0.15,
    steps: int | None = None,
    batch: int = 128,
    lr: float = 2e-3,
    shuffle_labels: bool = False,
) -> Result:
    """A small eye wanders over a picture, looks six times, and then names the digit.

    The embedded digits are 8×8 pixels, each put at random into a dark field of 28×28. The eye sees 4×4 pixels sharply,
    8×8 and 16×16 ever more coarsely; no glimpse shows a whole digit as it is. What was seen is taught by cross-entropy;
    where to look next by REINFORCE, with no other reward than the right answer at the end. Watch the film of the
    glimpses: squares are what the eye covers, the patches below are what it sees.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        place: where in the field a picture lies: random, or always in its centre.
        field: pixels a side of the field (default: 28, or the picture's larger side if that is more).
        glimpses: how often the eye looks.
        patch: pixels a side of the sharpest patch (default: half of the picture's smaller side, at most 8).
        scales: how many patches the eye sees at once, each twice as wide as the one before.
        deviation: of a place about its mean while learning, in half fields.
        steps: updates (default: 10 epochs, but at least 2000).
        batch: examples an update.
        lr: learning rate at the start; where to look is learned at a quarter of it.
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    images = load_images(data, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    channels, *sides = images.shape
    side = max(FIELD, *sides) if field is None else field
    train, test = (
        strewn(part, side=side, places=places if place == "random" else 0, generator=run.generator(name))
        for part, places, name in ((images.train, PLACES, "train places"), (images.test, TRIED, "test places"))
    )
    patch = min(SHARP, max(1, min(sides) // 2)) if patch is None else patch
    net = RecurrentAttention(
        shape=(channels, side, side),
        classes=images.classes,
        glimpses=glimpses,
        patch=patch,
        scales=scales,
        deviation=deviation,
    )
    learner = Attend(net, lr=lr, schedule=cosine)

    def evaluate() -> dict[str, float]:
        return learner.evaluate(test.chunks(1000), prefix="test_")

    steps = max(2000, EPOCHS * len(images.train) // batch) if steps is None else steps
    stream: Batches[Labelled] = Batches(train, batch, seed=run.seed)
    run.fit(learner, stream, steps=steps, evaluate=evaluate)
    shown = test.take(torch.arange(SHOWN, device=run.device))
    seen = learner.look(shown.inputs)
    for number in range(glimpses):
        frame = draw_glimpses(shown, seen, number=number, names=images.class_names)
        run.picture("glimpses", frame, step=number + 1)
    run.film("glimpses", milliseconds=900)
    run.picture("glimpses", draw_glimpses(shown, seen, number=glimpses - 1, names=images.class_names))
    return run.result(**evaluate())


@dataclass(frozen=True)
class Strewn:
    """Images in a dark field, each at several places: what a batch takes is put together only then.

    Attributes:
        images: what lies in the field.
        side: pixels a side of the field.
        corners: the upper left corner of each image at each of its places, (row, column); the first of all images come
            first, then the second of all.
    """

    images: ImageSet
    side: int
    corners: Int64[Tensor, "M 2"]

    @property
    def device(self) -> torch.device:
        """Where the images live."""
        return self.images.device

    def __len__(self) -> int:
        return len(self.corners)

    def take(self, index: Int64[Tensor, " B"], /) -> Labelled:
        """The fields at these places in the order."""
        inputs, labels = self.images.take(index % len(self.images))
        count, channels, height, width = inputs.shape
        corners = self.corners[index]
        rows = corners[:, 0].view(-1, 1, 1) + torch.arange(height, device=self.device).view(1, -1, 1)
        columns = corners[:, 1].view(-1, 1, 1) + torch.arange(width, device=self.device).view(1, 1, -1)
        fields = inputs.new_zeros(count, self.side, self.side, channels)
        fields[torch.arange(count, device=self.device).view(-1, 1, 1), rows, columns] = inputs.permute(0, 2, 3, 1)
        return Labelled(fields.permute(0, 3, 1, 2).contiguous(), labels)

    def chunks(self, size: int) -> list[Labelled]:
        """Every field once, in order."""
        return [self.take(index) for index in torch.arange(len(self), device=self.device).split(size)]


def strewn(images: ImageSet, *, side: int, places: int, generator: torch.Generator) -> Strewn:
    """Images in a field of `side` pixels a side, each at so many random places, or once in the centre if that is 0.

    Raises:
        InvalidValue: the images do not fit into the field.
    """
    _, height, width = images.shape
    require(side >= max(height, width), f"field is {side}, but the images are {height}×{width}; take a larger --field")
    room = torch.tensor([side - height, side - width])
    # Where there are fewer places than asked for, more of them would be the same again.
    count = len(images) * min(max(places, 1), int((room + 1).prod()))
    if places:
        corners = (torch.rand(count, 2, generator=generator) * (room + 1)).long()
    else:
        corners = (room // 2).expand(count, 2)
    return Strewn(images, side, corners.to(images.device))


def draw_glimpses(batch: Labelled, seen: Glimpses, *, number: int, names: tuple[str, ...]) -> Figure:
    """The glimpse of some number at each picture: above, what the eye covers and its way there; below, what it sees."""
    count = len(batch.labels)
    figure, axes = panels(2, count, width=1.6, height=1.3)
    grid = axes[0].get_gridspec()
    assert grid is not None
    grid.set_height_ratios([3, 1])
    for row, label in enumerate(batch.labels.tolist()):
        above, below = axes[row], axes[count + row]
        _draw_way(above, batch.inputs[row].cpu(), seen, row=row, number=number)
        belief = torch.softmax(seen.logits[row, number].float().cpu(), dim=0)
        says = int(belief.argmax())
        title = f"glimpse {number + 1}: {names[says]} ({float(belief[says]):.2f})"
        above.set_title(title, fontsize=8, color=COLOURS[2] if says == label else COLOURS[1])
        _draw_patches(below, seen.patches[row, number].float().cpu())
    return figure


def _draw_way(ax: Axes, image: Float[Tensor, "C H W"], seen: Glimpses, *, row: int, number: int) -> None:
    _, height, width = image.shape
    ax.imshow(
        _pixels(image).numpy(), cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0), interpolation="nearest"
    )
    way = (seen.places[row, : number + 1].float().cpu() + 1) / 2 * torch.tensor([width, height])
    ax.plot(way[:, 0], way[:, 1], "-o", color=COLOURS[3], markersize=3, linewidth=1.2)
    across, down = way[-1].tolist()
    _, _, scales, _, patch, _ = seen.patches.shape
    for scale in range(scales):
        wide = patch * 2**scale
        ax.add_patch(
            Rectangle((across - wide / 2, down - wide / 2), wide, wide, fill=False, color=_shade(scale), linewidth=1.4)
        )
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.axis("off")


def _draw_patches(ax: Axes, patches: Float[Tensor, "S C P P"]) -> None:
    for scale, patch in enumerate(patches):
        place = (1.1 * scale, 1.1 * scale + 1, 0, 1)
        ax.imshow(_pixels(patch).numpy(), cmap="gray", vmin=0, vmax=1, extent=place, interpolation="nearest")
        ax.add_patch(Rectangle((place[0], 0), 1, 1, fill=False, color=_shade(scale), linewidth=1.6))
    ax.set(xlim=(-0.05, 1.1 * len(patches) - 0.05), ylim=(-0.05, 1.05), aspect="equal")
    ax.axis("off")


def _shade(scale: int) -> str:
    return (COLOURS[1], COLOURS[5], COLOURS[4], COLOURS[2], COLOURS[6])[scale % 5]


def _pixels(image: Float[Tensor, "C H W"]) -> Tensor:
    """As pyplot takes it: one channel of grey or three of colour, last."""
    image = image if image.shape[0] == 3 else image.mean(0, keepdim=True)
    return image.permute(1, 2, 0).squeeze(-1)
