"""Autoencoders beside principal components, on the embedded digits, MNIST, or images of your own."""

from functools import partial

import torch
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.images import Images, load_images
from neurarium.parts.preprocessing import PCA
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import by_class, mosaic, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.generative.autoencoder import (
    Autoencoder,
    Reconstruct,
    lost,
    principal_angles,
)

CODES = (2, 8, 16, 32)  # numbers that linear codes have
LINEAR_BATCH = 2048  # all digits at once, so that nothing keeps a linear network from its optimum
LINEAR_RATE = 1e-2
SHOWN = 12  # pictures in a row
DRAWN = 1500  # pictures whose codes are drawn
ERASED = 0.5  # share of the pixels that the denoising network must do without


@recipe(
    expects=[
        Expect("linear_gap", at_most=0.01),
        Expect("deep_gain", at_least=0.15),
    ],
    smoke=dict(steps=250, linear_steps=250, hidden=64),
    control=dict(lr=0.0, linear_steps=0),
)
def autoencoder(
    run: Run,
    *,
    data: str = "digits",
    steps: int = 4000,
    batch: int = 64,
    lr: float = 2e-3,
    linear_steps: int = 2500,
    code: int = 2,
    hidden: int = 256,
    layers: int = 2,
    noise: float = 0.0,
    tied: bool = False,
) -> Result:
    """A network says again what it was shown, through two numbers.

    Linear networks with 2, 8, 16 and 32 numbers in the middle come to the same error as so many principal components:
    linear_gap is the largest relative distance on unseen pictures. A deep one with two numbers does better: deep_gain
    is the share of the components' error that it saves. Another of its kind sees pictures with half of their pixels
    erased and learns to give back the whole. Look at the two maps: where components mix the classes, the deep code
    parts them.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        steps: updates of the deep networks.
        batch: pictures an update of theirs.
        lr: learning rate at the start; it falls to 0 along a cosine (0: nothing is learned).
        linear_steps: updates of the linear networks, with all pictures (up to 2,048) in each.
        code: numbers of the deep code.
        hidden: units of the layer next to the picture; each further one has half.
        layers: between picture and code, and between code and picture.
        noise: deviation of noise on what the deep network is shown.
        tied: the deep decoder's weights are the encoder's, turned round.
    """
    images = load_images(data, seed=run.seed, device=run.device)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    train, test = (torch.cat([part.inputs for part in half.chunks()]) for half in (images.train, images.test))
    components = PCA.fit(train.flatten(1))
    pixels, codes = train[0].numel(), [size for size in CODES if size <= components.components]
    gaps, angle = [], 0.0
    for size in codes:
        learner = linear(run, images, train, size=size, steps=linear_steps)
        wanted = components.first(size)
        error = learner.evaluate(images.test.chunks(), prefix="")["error"]
        gaps.append(abs(error / lost(wanted, test) - 1))
        angle = max(angle, float(principal_angles(spanned(learner.model), wanted.directions).max()))
    sizes = tuple(max(1, hidden // 2**layer) for layer in range(layers))
    deep = Reconstruct(
        Autoencoder(features=pixels, code=code, hidden=sizes, tied=tied), noise=noise, lr=lr, schedule=cosine
    )
    repair = Reconstruct(
        Autoencoder(features=pixels, code=max(CODES[1], code), hidden=sizes), erased=ERASED, lr=lr, schedule=cosine
    )
    for name, learner in (("deep", deep), ("repair", repair)):
        learner.model.centre(train)
        stream = images.train.batches(batch, seed=run.seed)
        run.fit(learner, stream, steps=steps, name=name, evaluate=partial(tested, learner, images))
    few = components.first(code)
    run.picture("map", draw_maps(few, deep, next(images.test.chunks(DRAWN)), images.class_names))
    run.picture("reconstructions", draw_back(few, deep, test[:SHOWN]))
    run.picture("repaired", draw_repaired(repair, test[:SHOWN], run.generator("erased")))
    error = tested(deep, images)["test_error"]
    return run.result(
        linear_gap=max(gaps),
        linear_angle=angle,
        deep_gain=1 - error / lost(few, test),
        deep_error=error,
        components_error=lost(few, test),
        **{f"error_{size}": lost(components.first(size), test) for size in codes},
    )


def linear(run: Run, images: Images, train: Tensor, *, size: int, steps: int) -> Reconstruct:
    """A linear network with so many numbers in the middle, taught."""
    model = Autoencoder(features=train[0].numel(), code=size)
    model.centre(train)
    learner = Reconstruct(model, lr=LINEAR_RATE, schedule=cosine)
    run.fit(learner, images.train.batches(LINEAR_BATCH, seed=run.seed), steps=steps, name=f"linear_{size}")
    return learner


def spanned(model: Autoencoder) -> Tensor:
    """Rows that span what a linear network can give back."""
    assert model.decoder is not None
    return model.decoder[0].weight.detach().T.cpu()  # type: ignore[operator]


def tested(learner: Reconstruct, images: Images) -> dict[str, float]:
    """The error on unseen pictures."""
    return learner.evaluate(images.test.chunks(), prefix="test_")


def draw_maps(components: PCA, deep: Reconstruct, test: tuple[Tensor, ...], names: tuple[str, ...]) -> Figure:
    """Where unseen pictures lie by their first two numbers: principal components beside the deep code."""
    inputs, labels = test
    figure, axes = panels(1, 2, width=5.2, height=4.8)
    places = {"principal components": components(inputs.flatten(1)), "deep code": deep.encode(inputs)}
    for ax, (title, codes) in zip(axes, places.items(), strict=True):
        by_class(ax, spread(codes), labels, names)
        ax.set_title(title)
    axes[1].legend(fontsize=7, markerscale=1.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def spread(codes: Tensor) -> Tensor:
    """The first two numbers of codes; of one number, that number twice."""
    return codes[:, [0, min(1, codes.shape[1] - 1)]]


def draw_back(components: PCA, deep: Reconstruct, images: Tensor) -> Figure:
    """Unseen pictures; below them what the components give back, and the deep network."""
    rough = components.inverse(components(images.flatten(1))).view(images.shape)
    return mosaic(torch.cat([images, rough, deep.give_back(images)]), columns=len(images), scale=0.6)


def draw_repaired(repair: Reconstruct, images: Tensor, generator: torch.Generator) -> Figure:
    """Unseen pictures; below them what is left of them, and what the network makes of that."""
    spoilt = repair.spoil(images, generator)
    return mosaic(torch.cat([images, spoilt, repair.give_back(spoilt)]), columns=len(images), scale=0.6)
