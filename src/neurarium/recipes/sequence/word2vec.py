"""word2vec on any text: words as points, their neighbours and their analogies."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor

from neurarium.data import small_world
from neurarium.data.contexts import Neighbourhoods
from neurarium.data.corpus import Corpus, number_words, read_pieces, settle, shuffle
from neurarium.data.phrases import join_phrases
from neurarium.data.questions import Question, number_questions, read_questions
from neurarium.data.word_vectors import VECTORS, WordVectors, as_text
from neurarium.errors import require
from neurarium.parts.analogies import share_right
from neurarium.running.files import disk_errors_told, write_whole
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.sequence.word2vec import NegativeSampling, Word2Vec, comings

GENSIM_SCORE = {"skipgram": 0.9965, "cbow": 0.6809}
"""What gensim 4.4 scores on the made-up world at the default settings, mean of seeds 0, 1, 2: benchmarks/words.py."""

WORLD = 0  # the seed of the made-up world, the same in every run, so that runs can be compared
MAPPED = 240  # words on the map
KINDS = 10  # colours of the map
NEIGHBOURS = 60.0  # perplexity of t-SNE: so wide that kinds akin stand beside one another
PULL = 4.0  # early exaggeration of t-SNE; its usual 12 leaves no room inside a kind to read the words
PAIRS_DRAWN = 24
LETTER = (4.4, 8.0)  # points that a letter of a word in a picture takes, across and up
CYCLE = (*COLOURS, "#b8488f", "#5f7f1f")  # a colour for each kind


@recipe(
    expects=[
        Expect("score_gap", at_most=0.02),
        Expect("words_per_second", at_least=100_000, timing=True),
    ],
    smoke=dict(words=60_000, epochs=6, lr=0.05, width=50),
    control=dict(shuffle_words=True),
)
def word2vec(
    run: Run,
    *,
    data: str = "world",
    words: int = 400_000,
    epochs: int = 5,
    steps: int | None = None,
    batch: int | None = None,
    lr: float = 0.025,
    mode: Literal["skipgram", "cbow"] = "skipgram",
    width: int = 100,
    window: int = 5,
    negatives: float = 5,
    sample: float = 1e-3,
    least: int = 5,
    phrases: int = 1,
    threshold: float = 60.0,
    breaks: Literal["line", "paragraph"] = "line",
    lower: bool = True,
    questions: str = "",
    shuffle_words: bool = False,
) -> Result:
    """word2vec places words so that their neighbours in the text can be told, and finds what they mean.

    The made-up world tells of countries and capitals, kings and queens, dogs and cats, each among words that go with
    it, and never says of two what one is to the other. Yet the vectors know: paris − france + italy is nearest to rome.
    The score is the share of such questions answered, the gap how far it is below gensim's at the default settings.
    A text of your own is read piece by piece and may be larger than memory. Ask the run afterwards: `neurarium
    neighbours RUN WORD`, `neurarium analogy RUN A B C`; its vectors.txt opens in gensim.

    Args:
        data: world (made up, its analogies known), text:FILE (yours), wikitext2, python or tinyshakespeare.
        words: of the made-up world.
        epochs: times that the text is read, unless steps are given.
        steps: updates.
        batch: words of the text an update (default: as many as the most frequent word allows).
        lr: learning rate at the start; it falls evenly.
        mode: ask a word for those around it (skipgram) or those around for the word in the middle (cbow).
        width: dimensions of a vector.
        window: farthest reach to each side; each word's is drawn from 1 to this.
        negatives: wrong answers to each right one.
        sample: frequency above which words are thinned out; 0 keeps all.
        least: how often a word must come to be known.
        phrases: times that pairs of words which often come together are joined.
        threshold: of the score above which a pair is a phrase.
        breaks: what windows do not reach over, the end of a line or an empty line (for texts with wrapped lines).
        lower: do not tell capitals from small letters.
        questions: file of analogies to score, in the format of questions-words.txt.
        shuffle_words: bring the words of the text into random order (the negative control).
    """
    require(epochs >= 0, f"epochs is {epochs}; a text is read 0 times or more")
    read = _reader(data, words)
    corpus = prepare(read, least=least, phrases=phrases, threshold=threshold, breaks=breaks, lower=lower)
    if shuffle_words:
        corpus = shuffle(corpus, seed=run.seed)
    most = comings(lr=lr, window=window, negatives=negatives)
    stream = Neighbourhoods(
        corpus,
        run.generator("contexts"),
        window=window,
        sample=sample,
        batch=batch,
        comings=most,
        device=run.device,
    )
    model = Word2Vec(words=len(corpus.words), width=width)
    learner = NegativeSampling(model, mode=mode, negatives=negatives, lr=lr)
    named = {word: number for number, word in enumerate(corpus.words)}
    asked = small_world.questions() if data == "world" else read_questions(Path(questions)) if questions else []
    numbered = number_questions(asked, named)

    def evaluate() -> dict[str, float]:
        return {"score": share_right(model.inner.float().cpu(), numbered)} if len(numbered) else {}

    steps = epochs * stream.batches if steps is None else steps
    last = run.fit(learner, stream, steps=steps, evaluate=evaluate)
    vectors = model.inner.detach().float().cpu()
    if run.writes:
        with disk_errors_told(run.folder):
            write_whole(run.folder / VECTORS, as_text(WordVectors(corpus.words, vectors)))
    if run.renders:
        draw(run, corpus, vectors, asked, numbered)
    measures = evaluate() | {"words_per_second": steps * stream.batch / max(run.fits["fit"].seconds, 1e-9)}
    if asked:
        measures["known"] = len(numbered) / len(asked)
    if data == "world" and "score" in measures:
        measures["score_gap"] = GENSIM_SCORE[mode] - measures["score"]
    return run.result(**measures, loss=last.get("loss", 0.0), vocabulary=len(corpus.words))


def prepare(
    read: Callable[[], Iterable[str]],
    *,
    least: int,
    phrases: int,
    threshold: float,
    breaks: Literal["line", "paragraph"],
    lower: bool,
) -> Corpus:
    """A text as numbers, with phrases joined and rare words left out."""
    require(phrases >= 0, f"phrases is {phrases}; pairs are joined 0 times or more")
    corpus = number_words(read, least=least, breaks=breaks, lower=lower)
    for _ in range(phrases):
        corpus = join_phrases(corpus, least=least, threshold=threshold)
    return settle(corpus, least=least)


def _reader(data: str, words: int) -> Callable[[], Iterable[str]]:
    if data == "world":
        return lambda: small_world.tell(words=words, seed=WORLD)
    return lambda: read_pieces(data)


def draw(
    run: Run,
    corpus: Corpus,
    vectors: Float[Tensor, "V D"],
    asked: Sequence[Question],
    numbered: Int64[Tensor, "Q 4"],
) -> None:
    """The map of words, and the pairs of the relation with the most questions."""
    shown = numbered.unique() if len(numbered) else torch.arange(len(vectors))
    shown = shown[:MAPPED]  # the most frequent
    run.picture("map", draw_map([corpus.words[number] for number in shown.tolist()], vectors[shown]))
    known = set(corpus.words)
    counts: dict[str, dict[tuple[str, str], None]] = {}
    for one in asked:
        if one.first in known and one.second in known and (one.second, one.first) not in counts.get(one.relation, {}):
            counts.setdefault(one.relation, {})[one.first, one.second] = None
    for relation, pairs in list(counts.items())[:1]:
        if len(pairs) > 1:
            run.picture("relation", draw_relation(relation, list(pairs)[:PAIRS_DRAWN], corpus, vectors))


def draw_map(words: Sequence[str], vectors: Float[Tensor, "V D"]) -> Figure:
    """Words in the plane so that those near in all dimensions stay near (t-SNE), coloured by cluster."""
    unit = torch.nn.functional.normalize(vectors).numpy()
    figure, [ax] = panels(width=11.0, height=8.0)
    if len(words) > 3:
        near = min(NEIGHBOURS, (len(words) - 1) / 3)
        place = TSNE(
            perplexity=near, early_exaggeration=PULL, init="pca", metric="cosine", random_state=0
        ).fit_transform(unit)
        kinds = KMeans(min(KINDS, len(words)), n_init=4, random_state=0).fit_predict(unit)
        name_points(ax, words, place, [CYCLE[kind] for kind in kinds])
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"{len(words)} words, drawn by t-SNE; colours are clusters of their vectors", fontsize=11)
    return figure


def draw_relation(
    relation: str, pairs: Sequence[tuple[str, str]], corpus: Corpus, vectors: Float[Tensor, "V D"]
) -> Figure:
    """Pairs of words in the plane in which they vary most: the same difference leads from each first to its second."""
    named = {word: number for number, word in enumerate(corpus.words)}
    words = [word for pair in pairs for word in pair]
    unit = torch.nn.functional.normalize(vectors[[named[word] for word in words]])
    plane = PCA(2, random_state=0).fit_transform(unit.numpy())
    figure, [ax] = panels(width=8.0, height=7.5)
    for first, second in zip(plane[::2], plane[1::2], strict=True):
        ax.annotate("", second, first, arrowprops=dict(arrowstyle="->", color=COLOURS[-1], alpha=0.6))
    name_points(ax, words, plane, [COLOURS[0], COLOURS[1]] * len(pairs))
    ax.set(xlabel="first principal component", ylabel="second")
    ax.set_title(f"{relation}: {len(pairs)} pairs", fontsize=11)
    return figure


def name_points(ax: Axes, words: Sequence[str], plane: np.ndarray, colours: Sequence[str]) -> None:
    """Points with their words beside them; a word that would lie on one already written is left out."""
    ax.scatter(plane[:, 0], plane[:, 1], c=list(colours), s=10)
    assert ax.figure is not None
    size = 72 * ax.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    points = (plane - plane.min(0)) / np.maximum(np.ptp(plane, axis=0), 1e-9) * 0.85 * size
    written: list[tuple[float, float, float]] = []
    for word, place, (x, y), colour in zip(words, plane, points, colours, strict=True):
        end = x + LETTER[0] * len(word)
        if all(end < left or right < x or abs(y - base) > LETTER[1] for left, right, base in written):
            written.append((x, end, y))
            ax.annotate(word.replace("_", " "), place, (2, 2), textcoords="offset points", fontsize=7.5, color=colour)
