"""Denoising diffusion on the embedded digits, MNIST, or a folder of images."""

from functools import partial
from typing import Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.images import load_images
from neurarium.parts.diffusion import SCHEDULES, Diffusion
from neurarium.parts.schedules import cosine
from neurarium.recipes.generative.judging import taught_judge
from neurarium.running.pictures import mosaic
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.generative.ddpm import Denoise, Denoiser

JUDGED = 1000  # samples that the measures are taken on
SHOWN = 8  # rows of the sheet of samples
FRAMES = 12  # columns of the pictures of the ways
ROWS = 4  # pictures on each way
NEAREST = 10  # samples drawn beside their nearest training picture
LARGE = 16  # pixels a side from which on the net has three stages


@recipe(
    expects=[
        Expect("confident", at_least=0.90),
        Expect("class_entropy", at_least=2.25),
        Expect("copies", at_most=0.02),
    ],
    smoke=dict(steps=120, judge_steps=150, noise_steps=50, sample_steps=8, width=16, judged=60),
    control=dict(lr=0.0, steps=10),
)
def ddpm(
    run: Run,
    *,
    data: str = "digits",
    steps: int = 2000,
    batch: int = 64,
    lr: float = 2e-3,
    noise_steps: int = 400,
    schedule: Literal["linear", "cosine"] = "cosine",
    target: Literal["noise", "data", "velocity"] = "noise",
    width: int = 32,
    blocks: int = 1,
    dropout: float = 0.2,
    decay: float = 0.999,
    labels: bool = True,
    guidance: float = 1.0,
    sample_steps: int = 50,
    eta: float = 1.0,
    judged: int = JUDGED,
    judge_steps: int = 1500,
) -> Result:
    """A network learns to take noise away, until it makes digits out of nothing but noise.

    Pictures are mixed with noise of every strength, and a U-Net tells the noise in them. Samples begin as pure noise
    and lose a little of it at every step. They are judged by a classifier that was taught on real pictures alone: how
    sure it is of them (confident), whether all classes come equally often (class_entropy, at most ln 10), and whether
    they are the training pictures again (copies; of unseen real ones 0.01 would count). Look at the way from noise to
    digit, and at each sample beside the training picture nearest to it.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        steps: updates.
        batch: pictures an update.
        lr: learning rate at the start; it falls to 0 along a cosine (0: nothing is learned).
        noise_steps: steps in which a picture drowns.
        schedule: how fast: linear or cosine.
        target: what the network tells: the noise, the data, or velocity, a mixture of both.
        width: maps of the U-Net at full size, a multiple of 8.
        blocks: residual blocks of each of its stages.
        dropout: chance in training that a number in a block is left out.
        decay: of the averaged weights that samples come from.
        labels: tell the network the class, so that one can ask for it.
        guidance: how much the class is exaggerated in sampling (1: not at all).
        sample_steps: steps of sampling, at most noise_steps.
        eta: fresh noise in sampling: 1 ancestral, 0 none (DDIM).
        judged: samples that the measures are taken on.
        judge_steps: updates of the classifier that judges.
    """
    images = load_images(data, seed=run.seed, device=run.device)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    run.classes = images.class_names
    judge = taught_judge(run, images, steps=judge_steps)
    side = min(images.shape[1:])
    network = Denoiser(
        shape=images.shape,
        classes=images.classes if labels else 0,
        width=width,
        factors=(1, 2) if side < LARGE else (1, 2, 2),
        blocks=blocks,
        looks=(1,),
        dropout=dropout,
    )
    process = Diffusion(SCHEDULES[schedule](noise_steps), target=target)
    learner = Denoise(network, process, decay=decay, lr=lr, schedule=cosine)
    chance = run.generator("samples")
    noise = torch.randn(judged, *images.shape, generator=chance).to(run.device)
    asked = torch.arange(judged, device=run.device) % images.classes if labels else None
    taken = partial(learner.sample, steps=sample_steps, eta=eta, guidance=guidance)

    def draw(step: int) -> None:
        if not run.renders:
            return  # sampling costs more than the steps between
        few = SHOWN * images.classes
        samples = taken(noise[:few], labels=asked[:few] if asked is not None else None, generator=fresh(run.seed))
        run.picture("samples", mosaic(samples, columns=images.classes), step=step)

    run.fit(learner, images.train.batches(batch, seed=run.seed), steps=steps, draw=draw, evaluations=8)
    samples = taken(noise, labels=asked, generator=fresh(run.seed))
    if run.renders:
        run.film("samples", milliseconds=500)
        run.picture("samples", mosaic(samples[: SHOWN * images.classes], columns=images.classes))
        run.picture("noising", draw_noising(process, judge.unseen[:ROWS], run.generator("noising")))
        run.picture("denoising", draw_way(learner, noise[:ROWS], asked[:ROWS] if asked is not None else None, run.seed))
        run.picture("nearest", draw_nearest(samples[:NEAREST], judge.trained))
    measures = judge.likeness(samples)
    if asked is not None:
        measures["label_accuracy"] = judge.label_accuracy(samples, asked)
    return run.result(**measures)


def draw_noising(process: Diffusion, images: Tensor, generator: torch.Generator) -> Figure:
    """Real pictures, drowning."""
    noise = torch.randn(images.shape, generator=generator).to(images)
    columns = []
    for step in torch.linspace(0, process.steps - 1, FRAMES).long():
        places = step.expand(len(images)).to(images.device)
        columns.append((process.mix(2 * images - 1, places, noise).mixed + 1) / 2)
    return mosaic(torch.stack(columns, dim=1).flatten(0, 1), columns=FRAMES)


def draw_way(learner: Denoise, noise: Tensor, labels: Tensor | None, seed: int) -> Figure:
    """From noise to picture."""
    way = [(noise + 1) / 2, *learner.walk(noise, labels=labels, generator=fresh(seed))]
    shown = [way[place] for place in torch.linspace(0, len(way) - 1, FRAMES).long()]
    return mosaic(torch.stack(shown, dim=1).flatten(0, 1), columns=FRAMES)


def draw_nearest(samples: Tensor, trained: Tensor) -> Figure:
    """Samples above, and below each the training picture nearest to it."""
    closest = torch.cdist(samples.flatten(1), trained.flatten(1)).argmin(1)
    return mosaic(torch.cat([samples, trained[closest]]), columns=len(samples))


def fresh(seed: int) -> torch.Generator:
    """The same fresh noise at every call, so that frames of a film differ by what was learned alone."""
    return torch.Generator().manual_seed(seed)
