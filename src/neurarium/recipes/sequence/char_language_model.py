"""Character language models: LSTM, GRU, minGRU or a transformer reads a text, and writes on."""

import re
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import AdamW

from neurarium.data.text import Alphabet, Window, Windows, every_window, read_text, split_text
from neurarium.learners.language import NextToken, go_on
from neurarium.parts.gates import GRUCell, LSTMCell
from neurarium.parts.modes import evaluating
from neurarium.parts.scan import MinGRUCell, in_parallel
from neurarium.parts.schedules import cosine, warm_up
from neurarium.running.pictures import panels, printable
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.sequence.char_language_model import RecurrentText, TransformerText

BETAS = (0.9, 0.99)  # of AdamW; the second forgets sooner than its 0.999, as befits some thousand updates
WARM_UP = 0.05  # of the training in which the learning rate rises
EVALUATIONS = 5  # over the fit; each reads the whole of the text's end
EVALUATED = 64  # windows at a time
LINES, COLUMNS = 12, 64  # of the drawn passage
MOST_BITS = 8.0  # surprise drawn darkest
TEMPERATURES = (0.5, 0.8, 1.1)  # of the drawn samples
PROMPT = 40  # characters of the unseen text that they begin with
WRITTEN = 360  # characters of each
SHOWN = 14  # lines


@dataclass(frozen=True)
class Size:
    """What suits a kind of network: measured on tinyshakespeare as the least loss after some minutes on a CPU."""

    layers: int
    width: int
    batch: int
    lr: float


SIZES = {
    "transformer": Size(layers=3, width=128, batch=8, lr=4e-3),
    "lstm": Size(layers=1, width=256, batch=32, lr=4e-3),
    "gru": Size(layers=1, width=256, batch=32, lr=4e-3),
    "mingru": Size(layers=3, width=256, batch=32, lr=4e-3),
}


@recipe(
    expects=[
        Expect("val_loss", at_most=1.5),
        Expect("val_loss", at_most=1.75, given=dict(data="tinyshakespeare", steps=10_000)),
        Expect("val_loss", at_most=1.75, given=dict(data="tinyshakespeare", net="lstm", steps=2500)),
    ],
    smoke=dict(steps=60, layers=1, width=32, length=16),
    control=dict(shuffle_characters=True),
)
def char_language_model(
    run: Run,
    *,
    data: str = "python",
    net: Literal["transformer", "lstm", "gru", "mingru"] = "transformer",
    steps: int = 1500,
    batch: int | None = None,
    length: int = 64,
    lr: float | None = None,
    layers: int | None = None,
    width: int | None = None,
    heads: int = 4,
    dropout: float = 0.0,
    weight_decay: float = 0.1,
    shuffle_characters: bool = False,
) -> Result:
    """A network reads a text character by character, says what comes next, and writes on.

    Nobody tells it what a word is. Before it has learned, every character surprises it by the logarithm of how many
    there are; then it knows which are frequent, then which follow which, then words, then what a sentence looks like.
    The last tenth of the text is kept for judging: `val_loss` is the mean surprise there in nats, `perplexity` its
    exponential, `bits_per_character` the same in bits. Look at the passage, each character as dark as it was
    surprising: the beginnings of words surprise, their ends do not. And look at what it writes at three temperatures;
    `neurarium sample RUN --prompt "..."` writes more.

    Args:
        data: python (the language's reference, English), tinyshakespeare, wikitext2 or text:FILE (any UTF-8).
        net: transformer, lstm, gru or mingru.
        steps: updates.
        batch: windows an update (default: 8 for the transformer, 32 for the others).
        length: characters of a window; the transformer never looks further back.
        lr: learning rate at its highest (default: 0.004); it rises, then falls along a cosine.
        layers: number of layers (default: 1 for lstm and gru, 3 for transformer and mingru).
        width: numbers in each layer for a character (default: 128 for the transformer, 256 for the others).
        heads: of the transformer's attention.
        dropout: of the transformer, the chance that a number is left out in training; for texts read many times.
        weight_decay: of AdamW.
        shuffle_characters: learn from the characters in random order (the negative control).
    """
    text = read_text(data)
    alphabet = Alphabet.of(text)
    learned, kept = (alphabet.encode(part).to(run.device) for part in split_text(text))
    if shuffle_characters:
        learned = learned[torch.randperm(learned.shape[0], generator=run.generator("shuffle")).to(run.device)]
    size = chosen(net, layers=layers, width=width, batch=batch, lr=lr)
    model = build(net, size, symbols=len(alphabet), length=length, heads=heads, dropout=dropout)
    optimizer = partial(AdamW, fused=True, betas=BETAS, weight_decay=weight_decay)
    schedule = warm_up(cosine, over=WARM_UP)
    learner = NextToken(model, coder=alphabet, optimizer=optimizer, lr=size.lr, schedule=schedule)
    test = windows_of(kept, length=length)

    def evaluate() -> dict[str, float]:
        return learner.evaluate(test)

    stream = Windows(learned, length=length, count=size.batch, generator=run.generator("train"))
    run.fit(learner, stream, steps=steps, evaluate=evaluate, evaluations=EVALUATIONS)
    if run.renders:  # writing takes longer than a short run learns
        run.picture("surprise", draw_surprise(learner, kept, length=length))
        run.picture("writing", draw_writing(learner, opening(text, alphabet).to(run.device), run))
    return run.result(**evaluate())


def chosen(net: str, *, layers: int | None, width: int | None, batch: int | None, lr: float | None) -> Size:
    """The sizes that suit a kind of network, but for those that are given."""
    usual = SIZES[net]
    return Size(
        layers=usual.layers if layers is None else layers,
        width=usual.width if width is None else width,
        batch=usual.batch if batch is None else batch,
        lr=usual.lr if lr is None else lr,
    )


def build(
    net: str, size: Size, *, symbols: int, length: int, heads: int, dropout: float
) -> TransformerText | RecurrentText:
    """A network of the wanted kind."""
    layers, width = size.layers, size.width
    if net == "transformer":
        return TransformerText(symbols=symbols, width=width, layers=layers, heads=heads, length=length, dropout=dropout)
    recurrent = partial(RecurrentText, symbols=symbols, width=width, layers=layers)
    if net == "mingru":
        # Its gates do not see the state, so all steps are taken at once; units begin with memories of many lengths.
        return recurrent(cell=partial(MinGRUCell, memory=length), unroll=in_parallel)
    return recurrent(cell=LSTMCell if net == "lstm" else GRUCell)


def windows_of(tokens: Int64[Tensor, " N"], *, length: int) -> list[Window]:
    """The whole of a text as batches of windows."""
    every = every_window(tokens, length=length)
    pairs = zip(every.inputs.split(EVALUATED), every.targets.split(EVALUATED), strict=True)
    return [Window(inputs, targets) for inputs, targets in pairs]


def draw_surprise(
    learner: NextToken[TransformerText | RecurrentText], kept: Int64[Tensor, " N"], *, length: int
) -> Figure:
    """A passage that it has not learned from, each character as dark as it was surprising."""
    passage = every_window(kept, length=length)
    count = max(1, LINES * COLUMNS // length)
    inputs, targets = passage.inputs[:count], passage.targets[:count]
    with evaluating(learner.model):
        logits = learner.model(inputs).flatten(0, 1).float()
    # b = −log₂ p(x)
    bits = (cross_entropy(logits, targets.flatten(), reduction="none") / torch.tensor(2.0).log()).cpu()
    figure, [ax] = panels(width=9.6, height=3.2)
    _draw_passage(ax, learner.coder.decode(targets.flatten()), bits)
    ax.set_title(
        f"Each character's surprise on an unseen passage: {float(bits.mean()):.2f} bits on the mean", fontsize=10
    )
    figure.colorbar(ax.images[0], ax=ax, label="bits", shrink=0.9, extend="max")
    return figure


def _draw_passage(ax: Axes, text: str, bits: Float[Tensor, " N"]) -> None:
    lines = -(-len(text) // COLUMNS)
    grid = torch.zeros(lines * COLUMNS)
    grid[: len(text)] = bits
    ax.imshow(grid.view(lines, COLUMNS).numpy(), cmap="OrRd", vmin=0, vmax=MOST_BITS, aspect="auto")
    for place, character in enumerate(printable(text)):
        ax.text(
            place % COLUMNS,
            place // COLUMNS,
            character,
            family="monospace",
            fontsize=8.5,
            ha="center",
            va="center_baseline",
            color="white" if bits[place] > 0.75 * MOST_BITS else "black",
            parse_math=False,
        )
    ax.axis("off")


def opening(text: str, alphabet: Alphabet) -> Int64[Tensor, " T"]:
    """The first paragraph of the text's end that begins with a letter, or just its beginning."""
    kept = split_text(text)[1]
    found = re.search(r"\n\n(?=[^\W\d_])", kept[:-PROMPT])
    begins = found.end() if found else 0
    return alphabet.encode(kept[begins : begins + PROMPT])


def draw_writing(learner: NextToken[TransformerText | RecurrentText], prompt: Int64[Tensor, " T"], run: Run) -> Figure:
    """How it goes on after an unseen beginning (grey), at several temperatures."""
    figure, axes = panels(1, len(TEMPERATURES), width=4.0, height=2.4)
    given = learner.coder.decode(prompt)
    hidden = re.sub(r"[^\n]", " ", given)
    for ax, temperature in zip(axes, TEMPERATURES, strict=True):
        chance = run.generator("writing", str(temperature))
        read = prompt.unsqueeze(0)
        with evaluating(learner.model):
            tokens = list(go_on(learner.model, read, length=WRITTEN, generator=chance, temperature=temperature))
        written = learner.coder.decode(torch.cat(tokens))
        for text, colour in ((given, "grey"), (hidden + written, "black")):
            for number, line in enumerate(wrapped(text)):
                ax.text(0, 1 - number / SHOWN, line, color=colour, family="monospace", fontsize=7.5, parse_math=False)
        ax.set_ylim(0, 1 + 1 / SHOWN)
        ax.set_title(f"temperature {temperature}", fontsize=10)
        ax.axis("off")
    return figure


def wrapped(text: str, *, columns: int = 56) -> list[str]:
    """The first lines of a text, the longer ones broken; characters as in `printable`.

    >>> wrapped("to be or not", columns=6)
    ['to be ', 'or not']
    """
    cut = [line[at : at + columns] for line in text.split("\n") for at in range(0, max(1, len(line)), columns)]
    return [printable(line) for line in cut[:SHOWN]]
