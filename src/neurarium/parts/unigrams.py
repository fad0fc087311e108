"""Words by how often they come: which to leave out, and which to draw as wrong answers.

Frequent words teach little by each coming, so some of their comings are left out; and wrong answers are drawn in
proportion to their frequency to the power of 3/4, which gives rare words more than their share.

Source: CS 479 §20 (skip-gram, very common words ignored at random, negative cases); Mikolov et al. 2013, Distributed
representations of words and phrases and their compositionality, §2.2 (power) and §2.3 (subsampling); word2vec.c (the
form of the subsampling that is used everywhere).
Shapes: V words, N drawn.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neurarium.errors import require

POWER = 0.75  # of the frequency, Mikolov et al. 2013, §2.2


def keep_probabilities(counts: Int64[Tensor, " V"], *, sample: float) -> Float[Tensor, " V"]:
    """How likely a coming of each word is kept.

    Args:
        counts: how often each word comes.
        sample: the frequency t above which words are thinned out; 0 keeps all.

    Raises:
        InvalidValue: no word comes at all, or `sample` is negative.

    >>> [round(kept, 3) for kept in keep_probabilities(torch.tensor([990_000, 10_000]), sample=1e-3).tolist()]
    [0.033, 0.416]
    """
    require(len(counts) > 0 and bool(counts.sum() > 0), "no word comes at all; count a text first")
    require(sample >= 0, f"sample is {sample}; give a frequency such as 1e-3, or 0 to keep every word")
    if sample == 0:
        return torch.ones(len(counts))
    frequency = counts.double() / counts.sum()
    # P(keep w) = √(t/f(w)) + t/f(w)
    return (torch.sqrt(sample / frequency) + sample / frequency).clamp(max=1).float()


class Unigrams:
    """Draws words in proportion to their frequency to a power.

    Args:
        counts: how often each word comes.
        power: of the frequency.

    Raises:
        InvalidValue: no word comes at all.

    >>> drawn = Unigrams(torch.tensor([90, 10, 0])).draw(1000, generator=torch.Generator().manual_seed(0))
    >>> [round(int((drawn == word).sum()) / 1000, 1) for word in range(3)]
    [0.8, 0.2, 0.0]
    """

    def __init__(self, counts: Int64[Tensor, " V"], *, power: float = POWER) -> None:
        require(len(counts) > 0 and bool(counts.sum() > 0), "no word comes at all; count a text first")
        # P(w) = f(w)^¾ / Σ f^¾; a word that never comes has no part, whatever the power
        weights = torch.where(counts > 0, counts.double() ** power, 0.0)
        self.probabilities: Float[Tensor, " V"] = weights / weights.sum()
        self._edges = self.probabilities.cumsum(0)

    def draw(self, count: int, *, generator: torch.Generator) -> Int64[Tensor, " N"]:
        """Words, each drawn by itself."""
        places = torch.rand(count, dtype=torch.float64, generator=generator) * self._edges[-1]
        # The word whose stretch of the line from 0 to 1 the place falls into.
        return torch.searchsorted(self._edges, places, right=True).clamp(max=len(self._edges) - 1)
