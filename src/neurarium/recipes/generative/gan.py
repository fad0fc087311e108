"""A generative adversarial network on a ring of Gaussians, where forgetting a mode shows, and on images."""

from typing import Literal

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from neurarium.data.images import Images, load_images
from neurarium.data.mixtures import GOOD_WITHIN, Mixture, ring
from neurarium.parts.adversarial import LOSSES
from neurarium.parts.likeness import class_entropy, confident
from neurarium.parts.schedules import cosine
from neurarium.recipes.generative.judging import Judge, taught_judge
from neurarium.running.pictures import COLOURS, mosaic, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.generative.gan import (
    IMAGE_NOISE,
    NOISE,
    Adversarial,
    Discriminator,
    Generator,
    ImageDiscriminator,
    ImageGenerator,
)

JUDGED = 10_000  # generated samples that the measures are taken on
DRAWN = 2_000  # samples in a picture
FINE = 80  # places a side at which the discriminator's output is drawn
STEPS, IMAGE_STEPS = 15_000, 2_500
BATCH, IMAGE_BATCH = 256, 64
DECAY = 0.995  # of the averaged weights that images are drawn with
IMAGES_JUDGED = 1_000
WATCHED = 200  # images on which the players are watched
CHUNK = 500  # images generated at a time
ROWS, COLUMNS = 8, 12  # of the sheet


@recipe(
    expects=[
        Expect("good_samples", at_least=0.90),
        Expect("modes", equals=8),
        Expect("class_entropy", at_least=2.2, given={"data": "digits"}),
        Expect("confident", at_least=0.75, given={"data": "digits"}),
        Expect("copies", at_most=0.02, given={"data": "digits"}),
    ],
    smoke=dict(steps=300, lr=4e-3),
    control=dict(lr=0.0),
)
def gan(
    run: Run,
    *,
    data: str = "ring",
    loss: Literal["non_saturating", "minimax"] = "non_saturating",
    steps: int | None = None,
    batch: int | None = None,
    lr: float = 1e-3,
    noise: int | None = None,
    width: int = 16,
    judge_steps: int = 1500,
    gaussians: int = 8,
    radius: float = 2.0,
    deviation: float = 0.02,
) -> Result:
    """Two networks play forger and detective until eight small Gaussians come out of noise.

    The discriminator learns to tell real points from generated ones, the generator to be taken for real. The data are
    the field's touchstone for forgetful generators: eight Gaussians of deviation 0.02 on a circle of radius 2. A sample
    is good within three deviations of its nearest centre; a Gaussian is found (a mode) if a quarter of its equal share
    of samples are good ones there. Watch the film: the same noise, moving as the game goes on.

    Given images, they play on those, and a classifier that was taught on real ones alone judges what comes out: how
    sure it is (confident), whether all classes come equally often (class_entropy), how far both sets lie from each
    other (frechet; of real images frechet_floor), and whether they are the training images again (copies; of unseen
    real ones 0.01 would count).

    Args:
        data: ring, or images: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        loss: what the generator minimises: non_saturating, −log D(G(z)), or minimax, log(1 − D(G(z))).
        steps: turns of both players (default: 15,000 on the ring, 2,500 on images).
        batch: real samples a turn, and as many generated ones (default: 256 points, 64 images).
        lr: learning rate of both players; on the ring it falls to 0 along a cosine (0: nothing is learned).
        noise: how many normal numbers a sample is made from (default: 2 for a point, 32 for an image).
        width: maps of an image's generator at full size, a multiple of 8; its critic has twice as many.
        judge_steps: updates of the classifier that judges images.
        gaussians: how many there are on the ring.
        radius: of the ring.
        deviation: standard deviation of each Gaussian.
    """
    if data != "ring":
        images = load_images(data, seed=run.seed, device=run.device)
        run.note(data=images.name)
        if images.note:
            run.say(images.note)
        judge = taught_judge(run, images, steps=judge_steps)
        players = (
            ImageGenerator(shape=images.shape, noise=IMAGE_NOISE if noise is None else noise, width=width),
            ImageDiscriminator(shape=images.shape, width=2 * width),
        )
        learner = Adversarial(*players, generator_loss=LOSSES[loss], decay=DECAY, lr=lr).to(run.device)
        return play_images(
            run,
            learner,
            images,
            judge,
            steps=IMAGE_STEPS if steps is None else steps,
            batch=IMAGE_BATCH if batch is None else batch,
        )
    mixture, noise = ring(gaussians, radius=radius, deviation=deviation), NOISE if noise is None else noise
    learner = Adversarial(
        Generator(noise=noise), Discriminator(), generator_loss=LOSSES[loss], lr=lr, schedule=cosine
    ).to(run.device)
    fixed = torch.randn(JUDGED, noise, generator=run.generator("fixed noise")).to(run.device)
    real = mixture.sample(JUDGED, generator=run.generator("real samples")).inputs.to(run.device)

    def evaluate() -> dict[str, float]:
        modes, good = mixture.likeness(learner.decode(fixed))
        return {"modes": modes, "good_samples": good}

    def draw(step: int) -> None:
        outputs = learner.outputs(real, fixed)
        if outputs.won:
            run.say(outputs.warning(step))
        run.picture("samples", draw_frame(learner, mixture, real, fixed, title=f"step {step}"), step=step)

    draw(0)
    stream = mixture.batches(BATCH if batch is None else batch, seed=run.seed, device=run.device)
    run.fit(learner, stream, steps=STEPS if steps is None else steps, evaluate=evaluate, draw=draw)
    run.film("samples", milliseconds=500)
    run.picture("samples", draw_samples(learner, mixture, real, fixed))
    return run.result(**evaluate())


def play_images(run: Run, learner: Adversarial, images: Images, judge: Judge, *, steps: int, batch: int) -> Result:
    """Play on images, and judge what comes out."""
    fixed = torch.randn(IMAGES_JUDGED, learner.generator.noise, generator=run.generator("fixed noise")).to(run.device)
    real = next(images.train.chunks(WATCHED)).inputs

    def samples() -> Tensor:
        return torch.cat([learner.decode(part) for part in fixed.split(CHUNK)])

    def evaluate() -> dict[str, float]:
        probabilities = judge.classes(samples())
        return {"confident": confident(probabilities), "class_entropy": class_entropy(probabilities)}

    def draw(step: int) -> None:
        outputs = learner.outputs(real, fixed[:WATCHED])
        if outputs.won:
            run.say(outputs.warning(step))
        run.picture("samples", mosaic(learner.decode(fixed[: ROWS * COLUMNS]), columns=COLUMNS), step=step)

    draw(0)
    run.fit(learner, images.train.batches(batch, seed=run.seed), steps=steps, evaluate=evaluate, draw=draw)
    run.film("samples", milliseconds=500)
    run.picture("samples", mosaic(learner.decode(fixed[: ROWS * COLUMNS]), columns=COLUMNS))
    return run.result(**judge.likeness(samples()))


def draw_frame(learner: Adversarial, mixture: Mixture, real: Tensor, noise: Tensor, *, title: str) -> Figure:
    """Real and generated samples on the discriminator's output."""
    figure, (whole,) = panels(width=5.2, height=4.4)
    _draw_whole(whole, learner, mixture, real[:DRAWN], learner.decode(noise[:DRAWN]))
    whole.set_title(title)
    return figure


def draw_samples(learner: Adversarial, mixture: Mixture, real: Tensor, noise: Tensor) -> Figure:
    """Real and generated samples on the discriminator's output, and each one's place about its nearest centre."""
    figure, (whole, close) = panels(1, 2, width=5.0, height=4.4)
    real, fake = real[:DRAWN], learner.decode(noise[:DRAWN])
    _draw_whole(whole, learner, mixture, real, fake)
    whole.set_title("real and generated samples")
    places = [
        (points - mixture.centres.to(points)[mixture.nearest(points)[1]]) / mixture.deviation for points in (real, fake)
    ]
    _scatter(close, *places)
    close.add_patch(Circle((0, 0), GOOD_WITHIN, fill=False, linestyle="--", color="0.3"))
    close.set(xlim=(-8, 8), ylim=(-8, 8), aspect="equal", title="about the nearest centre")
    close.set(xlabel=f"standard deviations of {mixture.deviation:g}; good inside the circle")
    return figure


def _draw_whole(ax: Axes, learner: Adversarial, mixture: Mixture, real: Tensor, fake: Tensor) -> None:
    reach = float(1.5 * mixture.centres.abs().max())
    side = torch.linspace(-reach, reach, FINE)
    output = learner.judge(torch.cartesian_prod(side, side).to(real)).reshape(FINE, FINE).T.cpu()
    shades = ax.contourf(side, side, output, levels=torch.linspace(0, 1, 11).tolist(), cmap="Greys", alpha=0.35)
    ax.figure.colorbar(shades, ax=ax, label="discriminator's output D", shrink=0.8, ticks=[0, 0.5, 1])
    _scatter(ax, real, fake)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    ax.grid(visible=False)
    ax.legend(loc="upper right", fontsize=8, markerscale=3)


def _scatter(ax: Axes, real: Tensor, fake: Tensor) -> None:
    for points, name, colour, size in (
        (real.cpu(), "real", COLOURS[1], 7.0),
        (fake.cpu(), "generated", COLOURS[0], 3.0),
    ):
        ax.scatter(points[:, 0], points[:, 1], s=size, color=colour, alpha=0.5, linewidths=0, label=name)
