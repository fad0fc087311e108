"""word2vec: ours through `fit`, against gensim with a worker a core, on the same text with the same settings.

Both begin when the vocabulary is known: gensim has the sentences as lists of words in memory, ours the numbers of the
words on disk, as its recipe does. What is scored beside is the made-up world at the recipe's default settings; gensim's
scores there are the constant `GENSIM_SCORE` of the recipe.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks.harness import Benchmark
from neurarium.data import small_world
from neurarium.data.contexts import Neighbourhoods
from neurarium.data.corpus import BREAK, Corpus, number_words, settle
from neurarium.data.phrases import join_phrases
from neurarium.data.questions import number_questions
from neurarium.parts.analogies import share_right
from neurarium.running.run import Run
from neurarium.running.settings import Settings
from neurarium.systems.sequence.word2vec import NegativeSampling, Word2Vec

WORKERS = os.cpu_count() or 1
WIDTH, WINDOW, NEGATIVES, SAMPLE, LR, LEAST = 100, 5, 5, 1e-3, 0.025, 5
EPOCHS = 5  # of the made-up world, as in the recipe
WORDS = 400_000
VOCABULARY = 30_000  # of the text whose words come as those of a language do
SENTENCE = 20
SEEDS = (0, 1, 2)


def world() -> Corpus:
    """The made-up world of the recipe."""
    found = number_words(lambda: small_world.tell(words=WORDS), least=LEAST)
    return settle(join_phrases(found, least=LEAST, threshold=60), least=LEAST)


def zipf() -> Corpus:
    """Random words, the n-th most frequent coming 1/n as often as the first."""
    frequency = 1 / np.arange(1, VOCABULARY + 1)
    chosen = np.random.default_rng(0).choice(VOCABULARY, size=2 * WORDS, p=frequency / frequency.sum())
    text = "\n".join(" ".join(f"w{word}" for word in row) for row in chosen.reshape(-1, SENTENCE).tolist())
    return settle(number_words(lambda: [text], least=LEAST), least=LEAST)


def sentences(corpus: Corpus) -> list[list[str]]:
    """The same text as gensim wants it: lists of words."""
    ends = np.flatnonzero(corpus.numbers == BREAK)
    return [[corpus.words[n] for n in part if n >= 0] for part in np.split(corpus.numbers, ends) if (part >= 0).any()]


def ours(corpus: Corpus, *, mode: str = "skipgram", epochs: int = 1, seed: int = 0) -> torch.Tensor:
    """Vectors by our learner, with trace, progress and the checkpoint at the end, as `neurarium train` would."""
    stream = Neighbourhoods(corpus, torch.Generator().manual_seed(seed), window=WINDOW, sample=SAMPLE)
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        run = Run(Path(folder), Settings(seed=seed), Console(file=nowhere))
        model = Word2Vec(words=len(corpus.words), width=WIDTH)
        learner = NegativeSampling(model, mode=mode, negatives=NEGATIVES, lr=LR)
        run.fit(learner, stream, steps=epochs * stream.batches)
    return model.inner.detach()


def gensims(told: Iterable[list[str]], *, mode: str = "skipgram", seed: int = 0) -> Any:
    """A model of gensim with the same settings that knows its words and has learned nothing yet."""
    from gensim.models import Word2Vec as Gensim

    settings = dict(vector_size=WIDTH, window=WINDOW, negative=NEGATIVES, sample=SAMPLE, alpha=LR, min_count=LEAST)
    model = Gensim(sg=int(mode == "skipgram"), workers=WORKERS, seed=seed, **settings)
    model.build_vocab(told)
    return model


def scores() -> dict[str, float]:
    """What each scores on the made-up world at the default settings of the recipe, mean over seeds."""
    corpus = world()
    told = sentences(corpus)
    measured: dict[str, list[float]] = {}
    for mode in ("skipgram", "cbow"):
        for seed in SEEDS:
            peer = gensims(told, mode=mode, seed=seed)
            peer.train(told, total_examples=len(told), epochs=EPOCHS)
            mine, theirs = ours(corpus, mode=mode, epochs=EPOCHS, seed=seed), torch.from_numpy(peer.wv.vectors)
            for who, words, vectors in (("ours", corpus.words, mine), ("gensim", peer.wv.index_to_key, theirs)):
                asked = number_questions(small_world.questions(), {word: number for number, word in enumerate(words)})
                measured.setdefault(f"{mode}_score_{who}", []).append(share_right(vectors, asked))
    return {name: statistics.fmean(values) for name, values in measured.items()}


def side_ours(make: Callable[[], Corpus]) -> Callable[[], float]:
    """A pass over the text."""
    corpus = make()

    def work() -> float:
        ours(corpus)
        return float((corpus.counts.sum()).item())

    return work


def side_gensim(make: Callable[[], Corpus]) -> Callable[[], float]:
    """A pass over the text by gensim."""
    corpus = make()
    told = sentences(corpus)
    model = gensims(told)

    def work() -> float:
        model.train(told, total_examples=len(told), epochs=1)
        return float((corpus.counts.sum()).item())

    return work


def zipf_ours() -> Callable[[], float]:
    """Text of many words."""
    return side_ours(zipf)


def zipf_gensim() -> Callable[[], float]:
    """Text of many words by gensim."""
    return side_gensim(zipf)


def also() -> dict[str, float]:
    """The scores, and the ratio where there are so few words that both sides' vectors stay in the nearest cache."""
    mine, theirs = side_ours(world), side_gensim(world)
    mine(), theirs()
    ratios = []
    for _ in range(3):
        seconds = []
        for work in (mine, theirs):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[1] / seconds[0])
    return {**scores(), "few_words_ratio": statistics.median(ratios)}


def benchmark() -> Benchmark:
    """A vocabulary as large as a text's; beside it, the scores of both where the answers are known."""
    work = (
        f"a pass over {2 * WORDS:,} words by Zipf's law, of {VOCABULARY:,}: skip-gram, {WIDTH} dimensions, window "
        f"{WINDOW}, {NEGATIVES} wrong answers, words above {SAMPLE:g} thinned out; ours with trace and checkpoint; "
        "words counted as they stand in the text"
    )
    peer = f"gensim, {WORKERS} workers"
    return Benchmark("word2vec", work, "words", zipf_ours, zipf_gensim, peer, 1.0, also=also)


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {
    "word2vec": benchmark,
}
