"""Contexts: words with the words around them and wrong answers for both, in blocks that one matrix product scores.

Source: Mikolov et al. 2013, Efficient estimation of word representations in vector space, §3.2 (a window of random
reach) and Distributed representations of words and phrases, §2.2, §2.3 (wrong answers, subsampling).
Differs: neighbouring words stand together in a block and share their wrong answers; windows end where a batch does.
Shapes: N blocks, B words of a block, S = B + 2R words in and around it for windows of reach R, K wrong answers.
"""

from math import ceil
from typing import Any, NamedTuple, Self

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neurarium.data.corpus import BREAK, Corpus
from neurarium.errors import InvalidValue, require
from neurarium.parts.unigrams import Unigrams, keep_probabilities

BLOCK = 16  # words of a block; more waste products of words that are not neighbours, fewer are slower one by one
SHARED = 16  # wrong answers that a block shares
LARGEST = 2048  # words of an update at the most, after subsampling


class Contexts(NamedTuple):
    """A batch: in each block, words, the words around them, and which of those are near which.

    Attributes:
        centres: words.
        around: the words of the block with those before and after it.
        near: 1 where a word around stands in the window of a centre, else 0.
        wrong: words drawn at random.
    """

    centres: Int64[Tensor, "N B"]
    around: Int64[Tensor, "N S"]
    near: Float[Tensor, "N B S"]
    wrong: Int64[Tensor, "N K"]


class Neighbourhoods:
    """All of a text, over and over: a `Stream`.

    Args:
        corpus: the text.
        generator: of this stream alone; decides what is left out, how far windows reach, and the wrong answers.
        window: the farthest reach of a window to each side; each word's is drawn from 1 to this.
        sample: the frequency above which words are thinned out.
        batch: words of the text an update; by default as `comings` allows.
        comings: how often the most frequent word may come in an update on average; its comings do not see one another.
        device: where batches are put.

    Raises:
        InvalidValue: a window or a batch below 1, or no comings at all.
    """

    def __init__(
        self,
        corpus: Corpus,
        generator: torch.Generator,
        *,
        window: int = 5,
        sample: float = 1e-3,
        batch: int | None = None,
        comings: float = 12.0,
        device: torch.device | str = "cpu",
    ) -> None:
        require(window >= 1, f"window is {window}; a word's nearest neighbour is 1 away")
        require(batch is None or batch >= 1, f"batch is {batch}; an update takes at least 1 word")
        require(comings > 0, f"comings is {comings}, but must be positive")
        self.corpus, self.generator, self.window, self.device = corpus, generator, window, device
        self.keep = keep_probabilities(corpus.counts, sample=sample)
        self.batch = batch or words_an_update(corpus.counts, self.keep, comings=comings)
        self.place = 0
        self._unigrams = Unigrams(corpus.counts)
        away = torch.arange(BLOCK + 2 * window) - window - torch.arange(BLOCK)[:, None]
        # A word is no neighbour of itself.
        self._away: Int64[Tensor, "B S"] = torch.where(away == 0, window + 1, away.abs())

    @property
    def batches(self) -> int:
        """How many batches the text has."""
        return ceil(len(self.corpus.numbers) / self.batch)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Contexts:
        words, stretch = self._read()
        blocks = ceil(len(words) / BLOCK)
        short = blocks * BLOCK - len(words)
        centres = _padded(words, 0, short, 0).view(blocks, BLOCK)
        centre_stretch = _padded(stretch, 0, short, -2).view(blocks, BLOCK, 1)
        size, margin = BLOCK + 2 * self.window, self.window
        around = _padded(words, margin, margin + short, 0).unfold(0, size, BLOCK)
        same = _padded(stretch, margin, margin + short, -1).unfold(0, size, BLOCK)[:, None] == centre_stretch
        reach = torch.randint(1, self.window + 1, (blocks, BLOCK, 1), generator=self.generator)
        near: Bool[Tensor, "N B S"] = (self._away <= reach) & same
        wrong = self._unigrams.draw(blocks * SHARED, generator=self.generator).view(blocks, SHARED)
        return Contexts(*(field.to(self.device) for field in (centres, around, near.float(), wrong)))

    def _read(self) -> tuple[Int64[Tensor, " W"], Int64[Tensor, " W"]]:
        """The next words that are not left out, and the number of the stretch between two breaks that each is in."""
        while True:
            numbers = torch.from_numpy(self.corpus.numbers[self.place : self.place + self.batch].astype("int64"))
            self.place = (self.place + self.batch) % (self.batches * self.batch)
            stays = torch.rand(len(numbers), generator=self.generator) < self.keep[numbers.clamp(min=0)]
            stays &= numbers >= 0
            if stays.any():
                return numbers[stays], (numbers == BREAK).cumsum(0)[stays]

    def state_dict(self) -> dict[str, Any]:
        """Where the text is read, and where the generator stands."""
        return {"place": self.place, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back to a place.

        Raises:
            InvalidValue: the state is of another stream.
        """
        place, saved = state.get("place"), state.get("generator")
        if not isinstance(place, int) or not isinstance(saved, Tensor) or place % self.batch:
            raise InvalidValue("the saved place is none in this text; it is of another stream")
        self.place = place
        self.generator.set_state(saved.cpu())


def words_an_update(counts: Int64[Tensor, " V"], keep: Float[Tensor, " V"], *, comings: float) -> int:
    """How many words of the text an update takes, so that its most frequent word comes so often after thinning.

    >>> words_an_update(torch.tensor([50, 30, 20]), torch.ones(3), comings=20)
    40
    """
    kept = counts * keep.double()
    words = min(float(LARGEST), comings * float(kept.sum() / kept.max()))
    return max(1, round(words * float(counts.sum() / kept.sum())))


def _padded(numbers: Int64[Tensor, " W"], before: int, after: int, value: int) -> Int64[Tensor, " P"]:
    return torch.nn.functional.pad(numbers, (before, after), value=value)
