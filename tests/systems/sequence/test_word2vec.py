from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from neurarium.data import small_world
from neurarium.data.contexts import Contexts, Neighbourhoods
from neurarium.data.corpus import BREAK, number_words, settle
from neurarium.data.phrases import join_phrases
from neurarium.data.questions import number_questions
from neurarium.data.word_vectors import WordVectors, as_text
from neurarium.errors import InvalidValue
from neurarium.parts.analogies import share_right
from neurarium.systems.sequence.word2vec import NegativeSampling, Word2Vec, cbow, comings, skipgram

N, B, S, K, D, V = 2, 3, 5, 4, 6, 7
NEGATIVES = 5


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def vectors(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centres, around, wrong, near; the last centre of all has no neighbour."""
    sizes = ((N, B, D), (N, S, D), (N, K, D))
    centres, around, wrong = (torch.randn(*size, generator=generator).double().requires_grad_() for size in sizes)
    near = torch.randint(2, (N, B, S), generator=generator).double()
    near[-1, -1] = 0
    return centres, around, wrong, near


def skipgram_slowly(centres: Tensor, around: Tensor, wrong: Tensor, near: Tensor) -> Tensor:
    """Pair by pair, each with its part of the wrong answers."""
    loss = centres.new_zeros(())
    for n in range(N):
        for b in range(B):
            for s in range(S):
                if near[n, b, s]:
                    loss = loss - logsigmoid(centres[n, b] @ around[n, s])
                    for k in range(K):
                        loss = loss - NEGATIVES / K * logsigmoid(-centres[n, b] @ wrong[n, k])
    return loss


def cbow_slowly(centres: Tensor, around: Tensor, wrong: Tensor, near: Tensor) -> Tensor:
    """Word by word, each asked for by the mean of its neighbours."""
    loss = centres.new_zeros(())
    for n in range(N):
        for b in range(B):
            if near[n, b].any():
                mean = around[n][near[n, b] > 0].mean(0)
                loss = loss - logsigmoid(mean @ centres[n, b])
                for k in range(K):
                    loss = loss - NEGATIVES / K * logsigmoid(-mean @ wrong[n, k])
    return loss


def test_skipgram_is_the_loss_of_its_pairs_and_its_gradient() -> None:
    fields = vectors(chance())
    slow = skipgram_slowly(*fields)
    gradients = torch.autograd.grad(-slow, fields[:3])
    with torch.no_grad():
        climb = skipgram(*fields, negatives=NEGATIVES)
    torch.testing.assert_close(climb.loss, slow.detach())
    torch.testing.assert_close(climb[:3], gradients)
    assert climb.pairs == fields[3].sum()


def test_cbow_is_the_loss_of_its_words_and_its_gradient_for_each_of_the_mean_in_full() -> None:
    centres, around, wrong, near = fields = vectors(chance())
    slow = cbow_slowly(*fields)
    by_centres, by_wrong = torch.autograd.grad(-slow, (centres, wrong), retain_graph=True)
    with torch.no_grad():
        climb = cbow(*fields, negatives=NEGATIVES)
    torch.testing.assert_close(climb.loss, slow.detach())
    torch.testing.assert_close((climb.centres, climb.wrong), (by_centres, by_wrong))
    # Word by word, undivided: what the gradient of the mean is, times the number of words in it.
    expected = torch.zeros_like(around)
    for n in range(N):
        for b in range(B):
            chosen = near[n, b] > 0
            one = torch.zeros_like(near)
            one[n, b] = near[n, b]
            if chosen.any():
                (part,) = torch.autograd.grad(-cbow_slowly(centres, around, wrong, one), (around,))
                expected += part * chosen.sum()
    torch.testing.assert_close(climb.around, expected)


@pytest.mark.parametrize("mode", ["skipgram", "cbow"])
def test_every_coming_of_a_word_moves_it(mode: str) -> None:
    torch.manual_seed(0)
    learner = NegativeSampling(Word2Vec(words=V, width=D), mode=mode, negatives=NEGATIVES, lr=0.1)
    model = learner.model
    model.outer.copy_(torch.randn(V, D))
    model.inner.copy_(torch.randn(V, D))
    generator = chance()
    centres, around, wrong = (torch.randint(V, (N, size), generator=generator) for size in (B, S, K))
    near = torch.randint(2, (N, B, S), generator=generator).float()
    inner, outer = model.inner.clone(), model.outer.clone()
    middle, beside = (outer, inner) if mode == "cbow" else (inner, outer)
    climb = (cbow if mode == "cbow" else skipgram)(
        middle[centres], beside[around], outer[wrong], near, negatives=NEGATIVES
    )
    for table, words, gradient in ((middle, centres, climb[0]), (beside, around, climb[1]), (outer, wrong, climb[2])):
        for word, row in zip(words.flatten().tolist(), gradient.flatten(0, 1), strict=True):
            table[word] += 0.1 * row
    measures = learner.learn((centres, around, near, wrong))
    torch.testing.assert_close(model.inner, inner)
    torch.testing.assert_close(model.outer, outer)
    assert float(measures["pairs"]) > 0


def test_the_rate_falls_evenly() -> None:
    torch.manual_seed(0)
    moved = []
    for progress in (0.0, 0.5):
        learner = NegativeSampling(Word2Vec(words=2, width=2), lr=0.1)
        learner.model.inner.fill_(1.0)
        learner.progress = progress
        batch = Contexts(
            torch.zeros(1, 1, dtype=torch.int64),
            torch.ones(1, 1, dtype=torch.int64),
            torch.ones(1, 1, 1),
            torch.zeros(1, 1, dtype=torch.int64),
        )
        learner.learn(batch)
        moved.append(float(learner.model.outer[1, 0]))
    assert moved[0] == pytest.approx(0.05)
    assert moved[1] == pytest.approx(0.025)


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_learned_is_refused_in_words() -> None:
    model = Word2Vec(words=V, width=D)
    with pytest.raises(InvalidValue, match="words is 1; it takes two to be neighbours"):
        Word2Vec(words=1)
    with pytest.raises(InvalidValue, match="width is 0"):
        Word2Vec(words=2, width=0)
    with pytest.raises(InvalidValue, match="mode is 'glove'; give skipgram or cbow"):
        NegativeSampling(model, mode="glove")
    with pytest.raises(InvalidValue, match="negatives is 0; without wrong answers"):
        NegativeSampling(model, negatives=0)
    with pytest.raises(InvalidValue, match="lr is -1"):
        NegativeSampling(model, lr=-1)
    empty = torch.zeros(0, 1, dtype=torch.int64)
    with pytest.raises(InvalidValue, match="the batch is empty"):
        NegativeSampling(model).learn((empty, empty, torch.zeros(0, 1, 1), empty))
    one = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(InvalidValue, match=r"near is \(1, 2, 1\)"):
        NegativeSampling(model).learn((one, one, torch.zeros(1, 2, 1), one))


def test_more_answers_or_a_larger_rate_allow_a_word_to_come_less_often() -> None:
    usual = comings(lr=0.025, window=5, negatives=5)
    assert comings(lr=0.05, window=5, negatives=5) == pytest.approx(usual / 2)
    assert comings(lr=0.025, window=5, negatives=11) == pytest.approx(usual / 2)
    assert comings(lr=0.0, window=5, negatives=5) > usual


def test_gensim_learns_no_more_from_the_same_text() -> None:
    gensim = pytest.importorskip("gensim", reason="compares with gensim, which is not installed")
    words, epochs, width, lr = 100_000, 14, 50, 0.05
    found = number_words(lambda: small_world.tell(words=words))
    corpus = settle(join_phrases(found, threshold=60))
    torch.manual_seed(0)
    most = comings(lr=lr, window=5, negatives=5)
    stream = Neighbourhoods(corpus, chance(), comings=most)
    learner = NegativeSampling(Word2Vec(words=len(corpus.words), width=width), lr=lr)
    steps = epochs * stream.batches
    for step in range(steps):
        learner.progress = step / steps
        learner.learn(next(stream))
    ends = np.flatnonzero(corpus.numbers == BREAK)
    told = [[corpus.words[n] for n in part if n >= 0] for part in np.split(corpus.numbers, ends)]
    peer = gensim.models.Word2Vec(
        told, sg=1, vector_size=width, alpha=lr, epochs=epochs, min_count=1, sample=1e-3, workers=1, seed=0
    )
    known = {word: number for number, word in enumerate(corpus.words)}
    mine = share_right(learner.model.inner, number_questions(small_world.questions(), known))
    theirs = share_right(
        torch.from_numpy(peer.wv.vectors), number_questions(small_world.questions(), peer.wv.key_to_index)
    )
    assert mine >= theirs - 0.02
    assert theirs > 0.9


def test_gensim_opens_the_file(tmp_path: Path) -> None:
    gensim = pytest.importorskip("gensim", reason="opens the file with gensim, which is not installed")
    words = WordVectors(("the", "new_york", "café"), torch.randn(3, 4, generator=chance()))
    (tmp_path / "vectors.txt").write_bytes(as_text(words))
    opened = gensim.models.KeyedVectors.load_word2vec_format(str(tmp_path / "vectors.txt"))
    assert tuple(opened.index_to_key) == words.words
    assert np.array_equal(opened.vectors, words.vectors.numpy())
