r"""word2vec: words as points, placed so that the words around each can be told from it.

Two layers and nothing between: a word picks its vector, and the inner product of that with another word's outer vector
says how likely the two are neighbours. Skip-gram asks a word for each of those around it; continuous bag of words
(CBOW) asks the mean of those around for the word in the middle. To normalise over all words would take too long, so
each right answer is told apart from a few wrong ones drawn at random. What comes out is more than was asked for: words
of one kind lie together, and the same difference leads from france to paris as from italy to rome.

The sum over pairs is made of matrix products. The words of a block stand in a row, so all inner products of a block
with what is around it are one product, of which a band is wanted; and a block's words share their wrong answers. The
gradients are written out below: they are three products of the same kind, and nothing need be kept for autograd.

Source: CS 479 §20 (word pairs within a window, embedding, negative cases); Mikolov et al. 2013, Efficient estimation of
word representations in vector space, §3; Mikolov et al. 2013, Distributed representations of words and phrases and
their compositionality, §2.2, eq. 4; Ji et al. 2016, Parallelizing word2vec in shared and distributed memory, §3 (shared
wrong answers, matrix products).
Differs: an update sums the gradients of a batch instead of going pair by pair; wrong answers are shared by the words
of a block, weighted so that their expectation is that of `negatives` a pair; one of them may by chance be a right one.
As in word2vec.c, CBOW gives each word of the mean the mean's whole gradient. Vectors begin twice as long as there, as
in gensim.
Shapes: N blocks, B words of a block, S words in and around it, K wrong answers of a block, V words known, D dimensions.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from neurarium.errors import require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import check_batch
from neurarium.parts.schedules import Schedule

LEAST_RATE = 1e-4  # of the first learning rate, word2vec.c
LONGEST_STEP = 10.8  # learning rate times answers to a word in an update; three times this diverges
TINY = 1e-30  # in place of a probability that rounds to 0, under a logarithm

Batch = tuple[Int64[Tensor, "N B"], Int64[Tensor, "N S"], Float[Tensor, "N B S"], Int64[Tensor, "N K"]]
"""Centres, the words around them, 1 where two of them are near, and wrong answers."""


class Climb(NamedTuple):
    """Gradients of the log likelihood by the vectors of a batch, the loss summed over its pairs, and their number."""

    centres: Float[Tensor, "N B D"]
    around: Float[Tensor, "N S D"]
    wrong: Float[Tensor, "N K D"]
    loss: Float[Tensor, ""]
    pairs: Float[Tensor, ""]


class Objective(NamedTuple):
    """A way of asking: its gradients, and whether the inner vectors are those of the words around."""

    climb: Callable[..., Climb]
    from_around: bool


def skipgram(
    centres: Float[Tensor, "N B D"],
    around: Float[Tensor, "N S D"],
    wrong: Float[Tensor, "N K D"],
    near: Float[Tensor, "N B S"],
    *,
    negatives: float,
) -> Climb:
    """Which words are around this one? Inner vectors of the centres, outer ones of what is around and of wrong answers.

    >>> one = torch.ones(1, 1, 2)
    >>> climb = skipgram(one, 0 * one, 0 * one, torch.ones(1, 1, 1), negatives=5)
    >>> climb.around.tolist(), climb.wrong.tolist(), round(float(climb.loss), 3)  # six times ln 2
    ([[[0.5, 0.5]]], [[[-2.5, -2.5]]], 4.159)
    """
    pairs = near.sum(2, keepdim=True)
    right_is, wrong_is = _likely(centres, around), _likely(centres, wrong)
    share = pairs * (negatives / wrong.shape[1])
    # L = −Σ_near ln σ(x·y) − (k/K) pairs Σ_wrong ln σ(−x·n)
    loss = -_sum_of_logs(near, right_is) - _sum_of_logs(share, 1 - wrong_is)
    # −∂L/∂(x·y) = near (1 − σ(x·y)),  −∂L/∂(x·n) = −(k/K) pairs σ(x·n)
    right_error, wrong_error = torch.addcmul(near, near, right_is, value=-1), wrong_is.mul_(-share)
    # −∂L/∂x = Σ (−∂L/∂(x·y)) y + Σ (−∂L/∂(x·n)) n
    by_centres = torch.baddbmm(torch.bmm(right_error, around), wrong_error, wrong)
    # −∂L/∂y = Σ (−∂L/∂(x·y)) x,  −∂L/∂n = Σ (−∂L/∂(x·n)) x
    by_around, by_wrong = torch.bmm(right_error.mT, centres), torch.bmm(wrong_error.mT, centres)
    return Climb(by_centres, by_around, by_wrong, loss, pairs.sum())


def cbow(
    centres: Float[Tensor, "N B D"],
    around: Float[Tensor, "N S D"],
    wrong: Float[Tensor, "N K D"],
    near: Float[Tensor, "N B S"],
    *,
    negatives: float,
) -> Climb:
    """Which word is in the middle of these? Inner vectors of what is around, outer ones of centres and wrong answers.

    >>> one = torch.ones(1, 1, 2)
    >>> cbow(0 * one, one, 0 * one, torch.ones(1, 1, 1), negatives=5).centres.tolist()
    [[[0.5, 0.5]]]
    """
    pairs = near.sum(2, keepdim=True)
    asked = (pairs > 0).float()  # a word without neighbours is not asked for
    shares = near / pairs.clamp(min=1)
    # h = mean of the vectors near
    mean = torch.bmm(shares, around)
    right_is, wrong_is = torch.sigmoid((mean * centres).sum(2, keepdim=True)), _likely(mean, wrong)
    share = asked * (negatives / wrong.shape[1])
    # L = −ln σ(h·y) − (k/K) Σ_wrong ln σ(−h·n)
    loss = -_sum_of_logs(asked, right_is) - _sum_of_logs(share, 1 - wrong_is)
    # −∂L/∂(h·y) = 1 − σ(h·y),  −∂L/∂(h·n) = −(k/K) σ(h·n)
    right_error, wrong_error = asked * (1 - right_is), wrong_is.mul_(-share)
    # −∂L/∂h = (1 − σ(h·y)) y − (k/K) Σ σ(h·n) n, and each word of the mean is moved by all of it
    by_mean = torch.baddbmm(right_error * centres, wrong_error, wrong)
    return Climb(right_error * mean, torch.bmm(near.mT, by_mean), torch.bmm(wrong_error.mT, mean), loss, asked.sum())


def _likely(one: Float[Tensor, "N B D"], other: Float[Tensor, "N S D"]) -> Float[Tensor, "N B S"]:
    # P(neighbours) = σ(x·y)
    return torch.bmm(one, other.mT).sigmoid_()


def _sum_of_logs(weights: Tensor, probabilities: Tensor) -> Float[Tensor, ""]:
    return (weights * probabilities.clamp(min=TINY).log_()).sum()


OBJECTIVES = {"skipgram": Objective(skipgram, from_around=False), "cbow": Objective(cbow, from_around=True)}


def linear(progress: float) -> float:
    """From 1 down to almost 0, evenly (word2vec.c).

    >>> linear(0.0), linear(0.25), linear(1.0)
    (1.0, 0.75, 0.0001)
    """
    # η/η₀ = max(1 − t/T, 10⁻⁴)
    return max(1 - progress, LEAST_RATE)


class Word2Vec(nn.Module):
    """A vector for each word, and another that is used when the word is an answer.

    Args:
        words: number of words V.
        width: dimensions D of a vector.

    Raises:
        InvalidValue: fewer than two words, or no dimension.

    >>> Word2Vec(words=10, width=4)(torch.tensor([3, 3])).shape
    torch.Size([2, 4])
    """

    def __init__(self, *, words: int, width: int = 100) -> None:
        super().__init__()
        require(words >= 2, f"words is {words}; it takes two to be neighbours")
        require(width >= 1, f"width is {width}; a vector needs at least 1 dimension")
        # Learned by the rule above, without autograd.
        self.inner = nn.Parameter((2 * torch.rand(words, width) - 1) / width, requires_grad=False)
        self.outer = nn.Parameter(torch.zeros(words, width), requires_grad=False)

    def forward(self, words: Int64[Tensor, " B"]) -> Float[Tensor, "B D"]:
        """The vectors of words by their numbers."""
        return self.inner[words]


class NegativeSampling(Learner[Batch]):
    """Learns words by telling their neighbours from others.

    Args:
        model: the vectors.
        mode: `skipgram` or `cbow`.
        negatives: k, the wrong answers to each right one.
        lr: the learning rate at the start.
        schedule: how it falls.

    Raises:
        InvalidValue: a negative learning rate, or no wrong answers at all.
    """

    def __init__(
        self,
        model: Word2Vec,
        *,
        mode: str = "skipgram",
        negatives: float = 5,
        lr: float = 0.025,
        schedule: Schedule = linear,
    ) -> None:
        require(mode in OBJECTIVES, f"mode is '{mode}'; give {' or '.join(OBJECTIVES)}")
        require(negatives > 0, f"negatives is {negatives}; without wrong answers all words become one")
        require(lr >= 0, f"lr is {lr}, but must not be negative")
        self.model, self.objective = model, OBJECTIVES[mode]
        self.negatives, self.lr, self.schedule = negatives, lr, schedule

    @torch.no_grad()
    def learn(self, batch: Batch) -> Measures:
        """One step up the likelihood of the batch's pairs."""
        centres, around, near, wrong = batch
        self._check(batch)
        inner, outer = self.model.inner, self.model.outer
        middle, beside = (outer, inner) if self.objective.from_around else (inner, outer)
        chosen = _rows(middle, centres), _rows(beside, around), _rows(outer, wrong)
        climb = self.objective.climb(*chosen, near, negatives=self.negatives)
        rate = self.lr * self.schedule(self.progress)
        # v ← v − η ∂L/∂v, for every coming of every word
        for table, words, gradient in (
            (middle, centres, climb[0]),
            (beside, around, climb[1]),
            (outer, wrong, climb[2]),
        ):
            table.index_add_(0, words.reshape(-1), gradient.view(-1, gradient.shape[2]), alpha=rate)
        return {"loss": climb.loss / climb.pairs.clamp(min=1), "pairs": climb.pairs}

    def example(self, batch: Batch) -> dict[str, tuple[Tensor, ...]]:
        return {"model": (batch[0][:, 0],)}

    def _check(self, batch: Batch) -> None:
        check_batch(batch, wanted="words and the words around them")
        centres, around, near, wrong = batch
        require(
            all(field.ndim == 2 for field in (centres, around, wrong))
            and near.shape == (*centres.shape, around.shape[1]),
            f"near is {tuple(near.shape)}, but must say for each of {tuple(centres.shape)} centres which of "
            f"{tuple(around.shape)} words around are near",
        )


def comings(*, lr: float, window: int, negatives: float) -> float:
    """How often a word may come in an update: its comings are moved together, and all of them must not go too far.

    >>> round(comings(lr=0.025, window=5, negatives=5), 6)
    12.0
    """
    # n η (R + 1)(1 + k) ≤ step: a coming is asked for in R + 1 pairs on average, each with 1 + k answers
    return LONGEST_STEP / (max(lr, LEAST_RATE) * (window + 1) * (1 + negatives))


def _rows(table: Float[Tensor, "V D"], words: Int64[Tensor, "N S"]) -> Float[Tensor, "N S D"]:
    return table.index_select(0, words.reshape(-1)).view(*words.shape, -1)
