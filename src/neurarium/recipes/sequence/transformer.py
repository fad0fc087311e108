"""The transformer on letters to be turned round, Multi30k, or the reader's own sentences."""

from typing import Literal, NamedTuple

from matplotlib.figure import Figure

from neurarium.data.pairs import load_pairs
from neurarium.learners.translate import Translate
from neurarium.parts.modes import evaluating
from neurarium.parts.pairs import present
from neurarium.parts.schedules import cosine, warm_up
from neurarium.recipes.sequence.seq2seq import Size, conclude, teach
from neurarium.running.pictures import panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.running.translators import draw_weights
from neurarium.systems.sequence.transformer import LONGEST, Transformer, inverse_root

WARM_UP = 0.05  # of the training, in which the learning rate rises
HEADS_DRAWN = 4  # of each block


class Shape(NamedTuple):
    """What fits a task: how it is taught, and blocks a side, heads, and hidden units for each number of a token."""

    size: Size
    depth: int
    heads: int
    expansion: int


SCHEDULES = {"cosine": warm_up(cosine, over=WARM_UP), "root": inverse_root(over=WARM_UP)}

SHAPES = {
    "exact_match": Shape(Size(hidden=64, tokens=1024, lr=4e-3, dropout=0.0, steps=800), 2, 4, 2),
    "bleu": Shape(Size(hidden=256, tokens=2000, lr=1e-3, dropout=0.2, epochs=12), 3, 4, 4),
}


@recipe(
    expects=[
        Expect("exact_match", at_least=0.99),
        Expect("bleu", at_least=25, given={"data": "multi30k"}, seeds=1),
    ],
    smoke=dict(length=3, steps=60, tokens=160, width=32, tests=200),
    control=dict(shuffle_targets=True),
)
def transformer(
    run: Run,
    *,
    data: str = "reversal",
    steps: int | None = None,
    tokens: int | None = None,
    lr: float | None = None,
    width: int | None = None,
    depth: int | None = None,
    heads: int | None = None,
    norm: Literal["before", "after"] = "before",
    schedule: Literal["cosine", "root"] = "cosine",
    dropout: float | None = None,
    smoothing: float = 0.1,
    beam: int = 4,
    subwords: int = 4000,
    longest: int = 100,
    length: int = 10,
    tests: int = 1000,
    shuffle_targets: bool = False,
) -> Result:
    """A transformer reads a sequence all at once and writes what becomes of it, by attention alone.

    Letters are to be written from behind, or German sentences in English. Nothing in the network is recurrent: where a
    letter stands it knows from waves that are added to it, and while it learns, all places of all words are taught at
    once. Look at the heads: some learn to look at the mirrored place, with nothing but the waves to find it by.
    Afterwards ask it yourself: neurarium translate RUN "…".

    Args:
        data: reversal (of letters), multi30k (German to English) or pairs:SRC,TGT (two text files, plain or .gz, a
            sentence a line; a fifth of them is held out for the test).
        steps: updates (default: 800 for reversal, 12 epochs of sentences).
        tokens: places of a batch's targets, padding included (default: 1024 for reversal, 2000 for sentences).
        lr: learning rate at its highest, after a rise (default: 0.004, or 0.001 for sentences).
        width: numbers of a token (default: 64, or 256 for sentences).
        depth: blocks that read, and as many that write (default: 2, or 3 for sentences).
        heads: of each attention (default: 4).
        norm: layer norm before each part, or after each sum as published, which wants a smaller learning rate.
        schedule: how the learning rate falls after its rise: along a cosine to 0, or as 1/√t, as published, which
            leaves it high at the end of a short training.
        dropout: chance that a number is hidden in training (default: 0, or 0.2 for sentences).
        smoothing: part of the target's probability that is spread over all tokens.
        beam: beginnings that the search for the best translation of a sentence keeps (letters are written greedily).
        subwords: tokens of the vocabulary that both languages share.
        longest: tokens of a sentence, above which a pair is not learned from.
        length: most letters of a word to be reversed.
        tests: words to be tested on.
        shuffle_targets: learn from targets of other sources (the negative control).
    """
    pairs = load_pairs(
        data,
        seed=run.seed,
        device=run.device,
        subwords=subwords,
        longest=longest,
        length=length,
        tests=tests,
        shuffle_targets=shuffle_targets,
    )
    size, blocks, looks, expansion = SHAPES[pairs.judged]
    width = size.hidden if width is None else width
    net = Transformer(
        tokens=len(pairs.words),
        width=width,
        heads=looks if heads is None else heads,
        depth=blocks if depth is None else depth,
        hidden=expansion * width,
        dropout=size.dropout if dropout is None else dropout,
        norm=norm,
        # What is written may be twice as long as what was read.
        longest=max(LONGEST, 3 * pairs.longest),
    )
    rate = size.lr if lr is None else lr
    learner = Translate(net, pairs.words, smoothing=smoothing, width=beam, lr=rate, schedule=SCHEDULES[schedule])
    teach(run, learner, pairs, size=size, tokens=tokens, steps=steps, name="fit")
    texts = sorted(pairs.test.sources, key=lambda text: (len(text), text))
    run.picture("heads", draw_heads(learner, texts[3 * len(texts) // 4]))
    return conclude(run, {"transformer": learner}, pairs)


def draw_heads(learner: Translate, text: str) -> Figure:
    """Where each head of each writing block looks in what was read, a row a block."""
    [source] = learner.sources([text])
    marks, words, net = learner.words.marks, learner.words, learner.model
    assert isinstance(net, Transformer)
    tokens = learner.write(source).tokens
    with evaluating(net):
        target = tokens.new_tensor([[marks.start, *tokens[0, :-1].tolist()]])
        weights = net.look(source, present(source, marks), target)[:, 0].float().cpu()
    shown = min(HEADS_DRAWN, weights.shape[1])
    side = 1.2 + 0.16 * max(source.shape[1], tokens.shape[1])
    figure, axes = panels(weights.shape[0], shown, width=side, height=side)
    for place, ax in enumerate(axes):
        block, head = divmod(place, shown)
        draw_weights(ax, words.pieces(source[0].tolist()), words.pieces(tokens[0].tolist()), weights[block, head])
        ax.tick_params(labelsize=6)
        ax.set(xlabel="", ylabel="", title=f"block {block + 1}, head {head + 1}")
        ax.title.set_fontsize(8)
    return figure
