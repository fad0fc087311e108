"""Masked language model: a transformer fills in the characters that were hidden from it."""

from functools import partial

import torch
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.optim import AdamW

from neurarium.data.sequences import Endless
from neurarium.data.text import Alphabet, every_window, read_text, split_text, windows_at
from neurarium.errors import require
from neurarium.learners.language import Coder
from neurarium.parts.modes import evaluating
from neurarium.parts.schedules import cosine, warm_up
from neurarium.running.pictures import panels, printable
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.sequence.masked_language_model import SHARE, Blanks, FillBlanks, MaskedText, hide

BETAS = (0.9, 0.99)  # of AdamW; the second forgets sooner than its 0.999, as befits some thousand updates
WARM_UP = 0.05  # of the training in which the learning rate rises
READ = 400  # characters of the text for each update
LEAST = 1000  # updates
EVALUATIONS = 5  # over the fit; each reads the whole of the text's end
EVALUATED = 64  # windows at a time
LINES, COLUMNS = 10, 48  # of the drawn passage
SHOWN = 6  # blanks whose chances are drawn
LIKELIEST = 4  # characters of each
SHARES = (0.05, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)  # hidden, for the picture of accuracy
COMPARED = 256  # windows for each point of it
RIGHT, WRONG = "#2e933c", "#d1495b"


@recipe(
    expects=[
        Expect("masked_accuracy", at_least=0.65),
        Expect("masked_accuracy", at_least=0.60, given=dict(data="tinyshakespeare")),
    ],
    smoke=dict(steps=80, length=32, layers=1, width=64, lr=1e-2),
    control=dict(shuffle_characters=True),
    exempt=dict(refuses="it reads texts of any length, so one more character is no wrong shape"),
)
def masked_language_model(
    run: Run,
    *,
    data: str = "python",
    steps: int | None = None,
    batch: int = 16,
    length: int = 64,
    share: float = 0.15,
    lr: float = 4e-3,
    layers: int = 3,
    width: int = 128,
    heads: int = 4,
    weight_decay: float = 0.1,
    shuffle_characters: bool = False,
) -> Result:
    """A transformer reads a text in which some characters are hidden, and learns to say which.

    Unlike a language model that guesses what comes next, it sees both sides of every blank: "c?t" is not "c" and then
    anything. Of the chosen characters most are covered by a sign; some show a random one instead, some the true one, so
    that nothing that is read can be trusted blindly. The last tenth of the text is kept for judging. There all chosen
    characters, 15 in a hundred, are covered: `masked_accuracy` is how many of them it names, `masked_loss` its mean
    surprise at the truth in nats. Look at a filled passage and the chances beside it, at how the accuracy falls as more
    is hidden, and at how hard the ends of a window are, where only one side is known.
    `neurarium fill RUN "to be or ___"` fills blanks of your own.

    Args:
        data: python (the language's reference, English), tinyshakespeare, wikitext2 or text:FILE (any UTF-8).
        steps: updates (default: one for each 400 characters of the text, but at least 1000).
        batch: windows an update.
        length: characters of a window.
        share: of the characters, chosen to be guessed in training.
        lr: learning rate at its highest; it rises, then falls along a cosine.
        layers: blocks of the transformer.
        width: numbers in each layer for a character.
        heads: of attention.
        weight_decay: of AdamW.
        shuffle_characters: learn from the characters in random order (the negative control).
    """
    require(batch >= 1, f"the batch size is {batch}, but must be at least 1")
    text = read_text(data)
    alphabet = Alphabet.of(text)
    learned, kept = (alphabet.encode(part).to(run.device) for part in split_text(text))
    if shuffle_characters:
        learned = learned[torch.randperm(learned.shape[0], generator=run.generator("shuffle")).to(run.device)]
    symbols = len(alphabet)
    model = MaskedText(symbols=symbols, width=width, layers=layers, heads=heads)
    optimizer = partial(AdamW, fused=True, betas=BETAS, weight_decay=weight_decay)
    learner = FillBlanks(model, coder=alphabet, optimizer=optimizer, lr=lr, schedule=warm_up(cosine, over=WARM_UP))
    every_window(learned, length=length)  # refuses a length that the text is too short for
    test = covered(every_window(kept, length=length).inputs, SHARE, symbols=symbols, chance=run.generator("test"))

    def draw(chance: torch.Generator) -> Blanks:
        starts = torch.randint(learned.shape[0] - length, (batch,), generator=chance).to(learned.device)
        windows = windows_at(learned, starts, length=length).inputs
        return hide(windows, symbols=symbols, generator=chance, share=share)

    def evaluate() -> dict[str, float]:
        return learner.evaluate(test)

    steps = max(LEAST, len(text) // READ) if steps is None else steps
    stream = Endless(draw, run.generator("train"))
    run.fit(learner, stream, steps=steps, evaluate=evaluate, evaluations=EVALUATIONS)
    if run.renders:
        windows = every_window(kept, length=length).inputs
        run.picture("filled", draw_filled(learner, kept, chance=run.generator("filled")))
        run.picture("accuracy", draw_accuracy(learner, windows, test, chance=run.generator("accuracy")))
    return run.result(**evaluate())


def covered(windows: Int64[Tensor, "B T"], share: float, *, symbols: int, chance: torch.Generator) -> list[Blanks]:
    """Windows as batches in which every chosen character is covered: none is given away."""
    return [
        hide(part, symbols=symbols, generator=chance, share=share, covered=1.0, swapped=0.0)
        for part in windows.split(EVALUATED)
    ]


def draw_filled(learner: FillBlanks[MaskedText], kept: Int64[Tensor, " N"], *, chance: torch.Generator) -> Figure:
    """An unseen passage: what was filled in (green where right, red with the truth below), and some of the chances."""
    rows = max(1, min(LINES, kept.shape[0] // COLUMNS))
    passage = kept[: rows * COLUMNS].unsqueeze(0)
    inputs, targets, chosen = covered(passage, SHARE, symbols=len(learner.coder), chance=chance)[0]
    with evaluating(learner.model):
        chances = learner.model(inputs).float().softmax(2)[0].cpu()
    places = chosen[0].nonzero().flatten().tolist()
    truth, guessed = learner.coder.decode(targets[0]), learner.coder.decode(chances.argmax(1))
    right = sum(truth[place] == guessed[place] for place in places)
    figure, [left, bars] = panels(1, 2, width=6.2, height=4.2)
    _draw_passage(left, truth, guessed, places)
    left.set_title(f"An unseen passage: {right} of {len(places)} hidden characters named", fontsize=10)
    # Some blanks, from the least sure to the surest.
    by_sureness = sorted(places, key=lambda place: float(chances[place].max()))
    some = by_sureness[:: max(1, len(places) // SHOWN)][:SHOWN]
    for number, place in enumerate(some):
        _draw_chances(bars, chances[place], learner.coder, truth, place, top=number * (LIKELIEST + 1.6))
    bars.invert_yaxis()
    bars.set(xlim=(-0.05, 1), yticks=[], xlabel="chance")
    bars.set_title("What it thought of some blanks (green: the truth)", fontsize=10)
    return figure


def _draw_passage(ax: Axes, truth: str, guessed: str, places: list[int]) -> None:
    hidden = set(places)
    write = partial(ax.text, family="monospace", ha="center", va="center", parse_math=False)
    for place, character in enumerate(truth):
        column, row = place % COLUMNS, place // COLUMNS
        shown = printable(character)
        if place not in hidden:
            write(column, row, shown, fontsize=8.5, color="0.35")
            continue
        good = guessed[place] == character
        box = {"boxstyle": "square,pad=0.12", "facecolor": RIGHT if good else WRONG, "linewidth": 0}
        write(column, row, marked(guessed[place]), fontsize=8.5, color="white", fontweight="bold", bbox=box)
        if not good:
            write(column, row + 0.45, marked(character), fontsize=6, color=WRONG)
    ax.set(xlim=(-1, COLUMNS), ylim=(-(-len(truth) // COLUMNS) - 0.3, -0.7))
    ax.axis("off")


def _draw_chances(ax: Axes, chances: Float[Tensor, " K"], coder: Coder, truth: str, place: int, *, top: float) -> None:
    """The likeliest characters at a blank, under the words that it stands in."""
    write = partial(ax.text, family="monospace", va="center", parse_math=False)
    before, after = truth[max(0, place - 9) : place], truth[place + 1 : place + 10]
    write(0.0, top, f"{printable(before)}▢{printable(after)}", fontsize=8)
    values, best = chances.topk(min(LIKELIEST, chances.shape[0]))
    for line, (value, character) in enumerate(zip(values.tolist(), coder.decode(best), strict=True), start=1):
        ax.barh(top + line, value, height=0.8, color=RIGHT if character == truth[place] else "0.75")
        write(-0.02, top + line, marked(character), fontsize=7, ha="right")


def draw_accuracy(
    learner: FillBlanks[MaskedText], windows: Int64[Tensor, "B T"], test: list[Blanks], *, chance: torch.Generator
) -> Figure:
    """How many blanks are named, by how much is hidden, and by where in its window a blank stands."""
    figure, [by_share, by_place] = panels(1, 2, width=4.6, height=3.2)
    few = windows[:COMPARED]
    symbols = len(learner.coder)
    found = [learner.evaluate(covered(few, share, symbols=symbols, chance=chance)) for share in SHARES]
    by_share.plot(SHARES, [each["masked_accuracy"] for each in found], "o-")
    by_share.set(xlabel="share hidden", ylabel="named", xlim=(0, 1), ylim=(0, 1), title="The more is hidden")
    with evaluating(learner.model):
        hits = [((learner.model(inputs).argmax(2) == targets) & chosen).sum(0) for inputs, targets, chosen in test]
    chosen = torch.stack([chosen.sum(0) for _, _, chosen in test]).sum(0)
    named = torch.stack(hits).sum(0) / chosen.clamp(min=1)
    by_place.plot(range(1, windows.shape[1] + 1), named.tolist(), "o-", markersize=3)
    by_place.set(xlabel="place in the window", ylim=(0, 1), title="One side known, or both")
    return figure


def marked(character: str) -> str:
    """The same, a space as a sign that can be seen.

    >>> marked(" ")
    '␣'
    """
    return "␣" if character == " " else printable(character)
