"""Captioning of generated scenes, or of the reader's own pictures."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.captions import CaptionedImages, CaptionedSet, load_captioned
from neurarium.data.vocabulary import END, PAD, START, words_of
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.encoders import build_encoder
from neurarium.systems.vision.captioning import Caption, Captioner, judge, write_all

DRAWN = 12  # images drawn with their captions
LOOKED_AT = 3  # images drawn with what is looked at before each word
LONGER = 4  # words that may be written beyond the longest caption learned from


@recipe(
    expects=[Expect("exact_match", at_least=0.90)],
    smoke=dict(
        things=1, scenes=500, test_scenes=200, steps=60, lr=1e-2, hidden=64, encoder="captioning:maps=12", beam=2
    ),
    control=dict(shuffle_captions=True),
)
def captioning(
    run: Run,
    *,
    data: str = "scenes",
    encoder: str = "captioning",
    steps: int = 1200,
    batch: int = 64,
    lr: float = 4e-3,
    hidden: int = 128,
    beam: int = 3,
    scenes: int = 8000,
    test_scenes: int = 1000,
    things: int = 2,
    size: int = 32,
    shuffle_captions: bool = False,
) -> Result:
    """A convnet and an LSTM with attention say what is on a picture.

    Scenes show one or two things, and their captions name size, colour, kind and how the two stand to each other. A
    fifth of all pairs of things never stood together in training, and every test scene shows one of these: who has
    learned whole captions by heart fails. A caption is an exact match if it is one of the true ones word for word,
    written from the picture alone. Look at the heat: nobody taught it where things are.

    Args:
        data: scenes (shapes), digits (handwritten), mixed (both), or folder:DIR (pictures and captions.txt or .csv, a
            line a caption: file, tab or comma, caption).
        encoder: what reads the pictures: captioning (a small convnet) or another one, NAME:option=value.
        steps: updates.
        batch: captions an update.
        lr: learning rate at the start; it falls along a cosine.
        hidden: units of the LSTM.
        beam: beginnings that the search for the best caption keeps (1: greedy).
        scenes: how many are generated to learn from.
        test_scenes: how many are generated to test on.
        things: most things on a generated scene, 1 or 2.
        size: pixels a side that every picture is brought to.
        shuffle_captions: learn from captions of other pictures (the negative control).
    """
    images = load_captioned(
        data,
        seed=run.seed,
        device=run.device,
        scenes=scenes,
        test_scenes=test_scenes,
        things=things,
        size=size,
        shuffle_captions=shuffle_captions,
    )
    if images.note:
        run.say(images.note)
    model = Captioner(
        build_encoder(encoder, shape=images.train.pixels.shape), words=len(images.vocabulary), hidden=hidden
    )
    limit = images.train.captions.shape[1] + LONGER
    learner = Caption(model, marks=(PAD, START, END), limit=limit, width=beam, lr=lr, schedule=cosine)

    def evaluate(width: int | None = None) -> dict[str, float]:
        written = [images.vocabulary.read(row) for row in write_all(learner, images.test.chunks(), width=width)]
        return judge(written, [[words_of(text) for text in texts] for texts in images.test.references])

    run.fit(
        learner, images.train.batches(batch, seed=run.seed), steps=steps, evaluate=lambda: evaluate(1), evaluations=5
    )
    run.picture("captions", draw_captions(learner, images))
    run.picture("attention", draw_attention(learner, images))
    return run.result(**evaluate(), greedy_exact_match=evaluate(1)["exact_match"])


def draw_captions(learner: Caption, images: CaptionedImages) -> Figure:
    """Test images with what was written of them, and a true caption below where that is not one."""
    shown = _first(images.test, DRAWN)
    written = images.vocabulary.decode(learner.write(shown).tokens)
    figure, axes = panels(-(-len(shown) // 4), 4, width=2.9, height=3.0)
    for ax in axes:
        ax.axis("off")
    for ax, image, text, texts in zip(axes, shown, written, images.test.references, strict=False):
        true = [" ".join(words_of(one)) for one in texts]
        _show(ax, image)
        right = text in true
        ax.set_title(_folded(text), fontsize=9, color=COLOURS[2] if right else COLOURS[1])
        if not right:
            ax.text(0.5, -0.03, _folded(f"true: {true[0]}"), fontsize=8, ha="center", va="top", transform=ax.transAxes)
    return figure


def draw_attention(learner: Caption, images: CaptionedImages) -> Figure:
    """Where the decoder looks before each word that it writes."""
    shown = _first(images.test, LOOKED_AT)
    tokens = learner.write(shown).tokens
    looks = learner.glances(shown, tokens).float().cpu()
    with_end = [row.index(END) + 1 if END in row else len(row) for row in tokens.tolist()]
    figure, axes = panels(len(shown), 1 + max(with_end), width=1.25, height=1.5)
    for ax in axes:
        ax.axis("off")
    for row, image in enumerate(shown):
        line = axes[row * (1 + max(with_end)) :]
        _show(line[0], image)
        for ax, token, look in zip(line[1:], tokens[row, : with_end[row]].tolist(), looks[row], strict=False):
            _show(ax, image)
            extent = (-0.5, image.shape[2] - 0.5, image.shape[1] - 0.5, -0.5)
            ax.imshow(look.numpy(), cmap="inferno", alpha=0.6, vmin=0, extent=extent, interpolation="bilinear")
            ax.set_title(images.vocabulary.words[token], fontsize=10)
    return figure


def _first(images: CaptionedSet, count: int) -> Tensor:
    return next(images.chunks(min(count, len(images.references))))


def _show(ax: Axes, image: Tensor) -> None:
    ax.imshow(image.cpu().permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _folded(text: str, width: int = 26) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
