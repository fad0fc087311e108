"""Conditional adversarial networks: digits on demand, and pictures from their edges."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.image_pairs import ImagePairs, load_image_pairs
from neurarium.data.images import Images, load_images
from neurarium.errors import require
from neurarium.parts.adversarial import LOSSES, Outputs
from neurarium.parts.schedules import cosine
from neurarium.recipes.generative.judging import Judge, taught_judge
from neurarium.running.pictures import mosaic
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.generative.conditional_gan import (
    ByClass,
    ByPicture,
    ClassCritic,
    ClassGenerator,
    PairCritic,
    Translator,
)

SHOWN = 8  # rows of the sheet of samples
COLUMNS = 12  # pairs in a picture
WATCHED = 200  # pictures on which the players are watched
CHUNK = 500  # pairs at a time
MOST = 5000  # held-out pairs that are judged
RATES = {"classes": 1e-3, "translation": 2e-3}
STEPS = {"classes": 1500, "translation": 300}
BATCHES = {"classes": 64, "translation": 32}


@recipe(
    expects=[
        Expect("label_accuracy", at_least=0.95),
        Expect("label_accuracy", at_least=0.90, given={"task": "translation"}),
        Expect("l1_gain", at_least=0.5, given={"task": "translation"}),
    ],
    smoke=dict(steps=100, judge_steps=150, width=8, judged=200),
    control=dict(shuffle_labels=True),
)
def conditional_gan(
    run: Run,
    *,
    task: Literal["classes", "translation"] = "classes",
    data: str = "digits",
    loss: Literal["non_saturating", "minimax"] = "non_saturating",
    steps: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    width: int = 16,
    noise: int = 32,
    telling: Literal["projection", "concatenation"] = "projection",
    dropout: float = 0.5,
    distance: float = 100.0,
    size: int | None = None,
    judged: int = 1000,
    judge_steps: int = 1500,
    shuffle_labels: bool = False,
) -> Result:
    """Forger and detective are both told what the picture should be of, so that one can ask for it.

    Told a class, the generator draws digits from noise: label_accuracy is how often a classifier that was taught on
    real digits alone names the class asked for. In the sheet a row has one noise and a column one class. Told a
    picture (task translation), it turns edges into the digits they were taken from, on pairs it never saw: l1_gain is
    how much nearer to the right one it comes than the mean digit, as a share.

    Args:
        task: what the players are told: classes, or a picture (translation).
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class); for translation the edges
            of these are what is given, and pairs:DIR_A,DIR_B are two folders of equally named pictures.
        loss: what the generator minimises: non_saturating, −log D, or minimax, log(1 − D).
        steps: turns of both players (default: 1500 for classes, 300 for translation).
        batch: real pictures a turn, and as many made ones (default: 64 for classes, 32 for translation).
        lr: learning rate of both (default: 0.001 for classes; 0.002 at the start for translation, falling to 0).
        width: maps of the generator at full size, a multiple of 8; the critic of classes has twice as many.
        noise: how many normal numbers a picture is made from (classes).
        telling: how the critic is told the class: projection or concatenation.
        dropout: chance that one of its features is hidden in training (classes).
        distance: weight of the distance to the right picture beside the critic's word (translation; 100 in the paper).
        size: height and width of all pictures (default: their own; 16 for the digits that are translated to).
        judged: pictures that the measures are taken on (classes).
        judge_steps: updates of the classifier that judges.
        shuffle_labels: tell the players anything but what the picture is of (the negative control).
    """
    rate = RATES[task] if lr is None else lr
    steps = STEPS[task] if steps is None else steps
    game = Game(loss, steps, BATCHES[task] if batch is None else batch, rate)
    if task == "translation":
        pairs = load_image_pairs(data, seed=run.seed, device=run.device, shuffle=shuffle_labels, size=size)
        tell(run, pairs)
        judge = taught_judge(run, pairs.images, steps=judge_steps) if pairs.images else None
        translator = Translator(given=pairs.given, channels=pairs.wanted[0], width=width)
        both = (pairs.given[0] + pairs.wanted[0], *pairs.given[1:])
        return translate(run, game, translator, PairCritic(shape=both, width=width), distance, pairs, judge)
    require(not data.startswith("pairs:"), f"'{data}' has no classes; say --task translation, or give a folder a class")
    images = load_images(data, seed=run.seed, device=run.device, size=size)
    tell(run, images)
    run.classes = images.class_names
    judge = taught_judge(run, images, steps=judge_steps)
    if shuffle_labels:
        images = load_images(data, seed=run.seed, device=run.device, size=size, shuffle_labels=True)
    shape, classes = images.shape, images.classes
    generator = ClassGenerator(shape=shape, classes=classes, noise=noise, width=width)
    critic = ClassCritic(shape=shape, classes=classes, width=2 * width, telling=telling, dropout=dropout)
    return ask(run, game, generator, critic, images, judge, judged)


class Game(NamedTuple):
    """How long and how fast it is played."""

    loss: str
    steps: int
    batch: int
    lr: float


def tell(run: Run, data: Images | ImagePairs) -> None:
    """Say what the data turned out to be."""
    run.note(data=data.name)
    if data.note:
        run.say(data.note)


def ask(
    run: Run, game: Game, generator: ClassGenerator, critic: ClassCritic, images: Images, judge: Judge, judged: int
) -> Result:
    """Play on classes, and judge what is drawn when each of them is asked for."""
    learner = ByClass(generator, critic, generator_loss=LOSSES[game.loss], lr=game.lr).to(run.device)
    classes = images.classes
    noise = torch.randn(judged, generator.noise, generator=run.generator("samples")).to(run.device)
    labels = torch.arange(judged, device=run.device) % classes
    # A row of the sheet has one noise, so that what the class alone changes can be seen.
    shown = noise[:SHOWN].repeat_interleave(classes, dim=0), torch.arange(classes, device=run.device).repeat(SHOWN)
    real = next(images.train.chunks(WATCHED))

    def samples() -> Tensor:
        parts = zip(noise.split(CHUNK), labels.split(CHUNK), strict=True)
        return torch.cat([learner.decode(*part) for part in parts])

    def evaluate() -> dict[str, float]:
        return {"label_accuracy": judge.label_accuracy(samples(), labels)}

    def draw(step: int) -> None:
        made = labels[:WATCHED]
        warn(run, learner.outputs(real, (learner.decode(noise[:WATCHED], made), made)), step)
        run.picture("samples", mosaic(learner.decode(*shown), columns=classes), step=step)

    draw(0)
    stream = images.train.batches(game.batch, seed=run.seed)
    run.fit(learner, stream, steps=game.steps, evaluate=evaluate, draw=draw)
    run.film("samples", milliseconds=500)
    run.picture("samples", mosaic(learner.decode(*shown), columns=classes))
    return run.result(**evaluate(), **judge.likeness(samples()))


def translate(
    run: Run,
    game: Game,
    translator: Translator,
    critic: PairCritic,
    distance: float,
    pairs: ImagePairs,
    judge: Judge | None,
) -> Result:
    """Play on pairs, and judge what pictures become that were not learned from."""
    learner = ByPicture(
        translator, critic, distance=distance, generator_loss=LOSSES[game.loss], lr=game.lr, schedule=cosine
    ).to(run.device)
    given, wanted = next(pairs.test.chunks(MOST))
    watched, real = given[:WATCHED], wanted[:WATCHED]
    blind = float((wanted - mean_picture(pairs)).abs().mean())

    def made() -> Tensor:
        return torch.cat([learner.translate(part) for part in given.split(CHUNK)])

    def evaluate() -> dict[str, float]:
        fake = made()
        l1 = float((fake - wanted).abs().mean())
        measures = {"test_l1": l1, "l1_gain": 1 - l1 / blind}
        if judge is not None and pairs.images is not None:
            labels = next(pairs.images.test.chunks(MOST)).labels
            measures["label_accuracy"] = judge.label_accuracy(fake, labels)
        return measures

    def draw(step: int) -> None:
        fake = learner.translate(watched)
        warn(run, learner.outputs((real, watched), (fake, watched)), step)
        run.picture("translations", draw_translations(watched, fake, real), step=step)

    stream = pairs.train.batches(game.batch, seed=run.seed)
    run.fit(learner, stream, steps=game.steps, evaluate=evaluate, draw=draw)
    run.film("translations", milliseconds=500)
    run.picture("translations", draw_translations(watched, learner.translate(watched), real))
    return run.result(**evaluate())


def mean_picture(pairs: ImagePairs) -> Float[Tensor, "C H W"]:
    """What to guess without looking: the mean of what the training pictures should become."""
    total, count = torch.zeros(()), 0
    for batch in pairs.train.chunks(CHUNK):
        total = total.to(batch.targets) + batch.targets.sum(0)
        count += len(batch.targets)
    return total / count


def warn(run: Run, outputs: Outputs, step: int) -> None:
    """Say so where the discriminator has won."""
    if outputs.won:
        run.say(outputs.warning(step))


def draw_translations(given: Tensor, made: Tensor, wanted: Tensor) -> Figure:
    """What was given, what was made of it, and the right picture below."""
    rows = [images[: 2 * COLUMNS].expand(-1, made.shape[1], -1, -1).split(COLUMNS) for images in (given, made, wanted)]
    return mosaic(torch.cat([part for three in zip(*rows, strict=True) for part in three]), columns=COLUMNS)
