"""Sequence to sequence on letters to be turned round, Multi30k, or the reader's own sentences."""

from collections.abc import Mapping
from functools import partial
from typing import Literal, NamedTuple

from matplotlib.figure import Figure

from neurarium.data.buckets import Bucketed
from neurarium.data.pairs import Texts, Translations, load_pairs
from neurarium.learners.translate import Translate, exact_match
from neurarium.parts.bleu import bleu
from neurarium.parts.schedules import cosine, warm_up
from neurarium.running.pictures import panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.running.translators import aligns, by_length, draw_alignments
from neurarium.systems.sequence.seq2seq import Seq2Seq

DRAWN = 3  # test pairs drawn with where the decoder looked
WARM_UP = 0.05  # of the training, in which the learning rate rises


class Size(NamedTuple):
    """What fits a task: units, tokens of a batch, learning rate, dropout, and how long to learn."""

    hidden: int
    tokens: int
    lr: float
    dropout: float
    steps: int = 0
    epochs: int = 0


SIZES = {
    "exact_match": Size(hidden=64, tokens=1024, lr=1e-2, dropout=0.0, steps=400),
    "bleu": Size(hidden=256, tokens=2000, lr=2e-3, dropout=0.2, epochs=12),
}


@recipe(
    expects=[
        Expect("exact_match", at_least=0.99),
        Expect("bleu", at_least=20, given={"data": "multi30k"}, seeds=1),
    ],
    smoke=dict(length=4, steps=60, tokens=160, hidden=24, tests=200),
    control=dict(shuffle_targets=True),
)
def seq2seq(
    run: Run,
    *,
    data: str = "reversal",
    attention: bool = True,
    compare: bool | None = None,
    cell: Literal["gru", "lstm"] = "gru",
    steps: int | None = None,
    tokens: int | None = None,
    lr: float | None = None,
    hidden: int | None = None,
    dropout: float | None = None,
    smoothing: float = 0.1,
    beam: int = 4,
    subwords: int = 4000,
    longest: int = 100,
    length: int = 15,
    tests: int = 1000,
    shuffle_targets: bool = False,
) -> Result:
    """One network reads a sequence and another writes what becomes of it, looking back at what was read.

    Letters are to be written from behind, or German sentences in English. Beside the network with attention learns one
    without, which must put all it has read into one vector: it loses hold of long words. Look at the alignment: nobody
    said which letter answers which, and the weights run along the diagonal from the end. Afterwards ask it yourself:
    neurarium translate RUN "…".

    Args:
        data: reversal (of letters), multi30k (German to English) or pairs:SRC,TGT (two text files, plain or .gz, a
            sentence a line; a fifth of them is held out for the test).
        attention: look back at every token that was read; without it there is one vector.
        compare: teach the network without attention too (default: for reversal).
        cell: gru or lstm.
        steps: updates (default: 400 for reversal, 12 epochs of sentences).
        tokens: places of a batch's targets, padding included (default: 1024 for reversal, 2000 for sentences).
        lr: learning rate at its highest, after a rise; it falls along a cosine (default: 0.01, or 0.002 for sentences).
        hidden: units of the networks, and numbers that stand for a token (default: 64, or 256 for sentences).
        dropout: chance that a number of an embedding is hidden in training (default: 0, or 0.2 for sentences).
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
    size = SIZES[pairs.judged]
    hidden = size.hidden if hidden is None else hidden
    build = partial(
        Seq2Seq,
        tokens=len(pairs.words),
        hidden=hidden,
        embedding=hidden,
        cell=cell,
        dropout=size.dropout if dropout is None else dropout,
    )
    nets = {"attention": build(attention=max(1, hidden // 2))} if attention else {}
    if not attention or (pairs.judged == "exact_match" if compare is None else compare):
        nets["plain"] = build(attention=0)
    rate = size.lr if lr is None else lr
    schedule = warm_up(cosine, over=WARM_UP)
    learners = {
        name: Translate(net, pairs.words, smoothing=smoothing, width=beam, lr=rate, schedule=schedule)
        for name, net in nets.items()
    }
    for name, learner in learners.items():
        teach(run, learner, pairs, size=size, tokens=tokens, steps=steps, name=name)
    return conclude(run, learners, pairs)


def teach(
    run: Run, learner: Translate, pairs: Translations, *, size: Size, tokens: int | None, steps: int | None, name: str
) -> None:
    """Teach a translator, judged on the watched pairs as it learns; sizes that are None are those that fit the task."""
    if pairs.note:
        run.say(pairs.note)
    stream = pairs.batches(size.tokens if tokens is None else tokens)
    if steps is None:
        steps = size.epochs * stream.per_epoch if isinstance(stream, Bucketed) else size.steps

    def evaluate() -> dict[str, float]:
        return {f"test_{name}": value for name, value in judge(learner, pairs.watched, pairs.judged, width=1).items()}

    run.fit(learner, stream, steps=steps, name=name, evaluate=evaluate)


def judge(learner: Translate, texts: Texts, by: Literal["exact_match", "bleu"], *, width: int) -> dict[str, float]:
    """How good what a translator writes is, and the loss of what it should have written."""
    written = learner.write_all(texts.pairs.chunks(), width=width)
    measures = learner.evaluate(texts.pairs.chunks())
    if by == "bleu":
        return {"bleu": bleu(written, [[target] for target in texts.targets]), **measures}
    return {"exact_match": exact_match(written, texts.targets), **measures}


def conclude(run: Run, learners: Mapping[str, Translate], pairs: Translations) -> Result:
    """Draw translators and measure them on the test: the first is the one promised for, the others are compared."""
    first, *others = learners
    learner, by = learners[first], pairs.judged
    if aligns(learner):
        run.picture("alignment", draw_alignments(learner, drawn(pairs.test.sources)))
    measures = judge(learner, pairs.test, by, width=1)
    if by == "bleu":
        measures = {"greedy_bleu": measures["bleu"], **judge(learner, pairs.test, by, width=learner.width)}
    for name in others:
        measures[f"{name}_{by}"] = judge(learners[name], pairs.test, by, width=1)[by]
    if by == "exact_match":
        run.picture("lengths", draw_lengths(learners, pairs.test))
    return run.result(**measures)


def drawn(texts: list[str]) -> list[str]:
    """Some texts of middling length, which a picture has room for."""
    middling = sorted(texts, key=lambda text: (len(text), text))[len(texts) // 2 :]
    return middling[:: max(1, len(middling) // DRAWN)][:DRAWN]


def draw_lengths(learners: Mapping[str, Translate], test: Texts) -> Figure:
    """How many words of each length come out right to the letter, with attention and without."""
    figure, [ax] = panels(width=5.0, height=3.2)
    for name, learner in learners.items():
        written = learner.write_all(test.pairs.chunks(), width=1)
        right = [one == other for one, other in zip(written, test.targets, strict=True)]
        label = {"attention": "with attention", "plain": "without: one vector for all"}.get(name, name)
        ax.plot(*by_length(right, [len(text) for text in test.sources]), "o-", markersize=4, label=label)
    ax.set(xlabel="letters", ylabel="right to the letter", ylim=(-0.03, 1.05))
    ax.legend(fontsize=9, loc="lower left")
    return figure
