r"""Buckets: batches of pairs of nearly equal length, so that little of a batch is padding.

Source: Sutskever, Vinyals & Le 2014, Sequence to sequence learning with neural networks, §3.4 ("a 2x speedup").
Shapes: B pairs of a batch, S and T tokens of its longest source and target, marks included.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from jaxtyping import Int64
from torch import Tensor

from neurarium.data.batches import epoch_order
from neurarium.errors import InvalidValue, require
from neurarium.parts.pairs import Marks, Pairs


class Ragged:
    """Many rows of tokens one behind the other, padded only where a batch of them is taken.

    >>> Ragged([[4, 5], [6]], pad=0).take(torch.tensor([1, 0])).tolist()
    [[6, 0], [4, 5]]
    """

    def __init__(self, rows: Sequence[Sequence[int]], *, pad: int, device: torch.device | str = "cpu") -> None:
        self.pad = pad
        self.lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64, device=device)
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.tokens = torch.tensor([token for row in rows for token in row], dtype=torch.int64, device=device)

    def take(self, index: Int64[Tensor, " B"]) -> Int64[Tensor, "B T"]:
        """These rows, padded to the longest of them."""
        lengths, starts = self.lengths[index].unsqueeze(1), self.starts[index].unsqueeze(1)
        place = torch.arange(int(lengths.max()), device=lengths.device)
        found = self.tokens[(starts + place).clamp(max=len(self.tokens) - 1)]
        return torch.where(place < lengths, found, self.pad)


class PairSet:
    """Pairs tokenised once, and taken by index.

    Args:
        sources: tokens of each source, without marks.
        targets: tokens of each target, without marks.
        marks: the tokens of the marks.
        device: where batches go.

    Raises:
        InvalidValue: there is no pair, or not as many sources as targets.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        marks: Marks,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        fits = len(sources) == len(targets) > 0
        require(fits, f"there are {len(sources)} sources and {len(targets)} targets; pairs need as many, at least one")
        self.source = Ragged([[*row, marks.end] for row in sources], pad=marks.pad, device=device)
        self.target = Ragged([[marks.start, *row, marks.end] for row in targets], pad=marks.pad, device=device)

    def __len__(self) -> int:
        return len(self.source.lengths)

    def take(self, index: Int64[Tensor, " B"], /) -> Pairs:
        """The pairs at these places."""
        return Pairs(self.source.take(index), self.target.take(index))

    def chunks(self, size: int = 200) -> Iterator[Pairs]:
        """Every pair once, in order."""
        for index in torch.arange(len(self), device=self.source.tokens.device).split(size):
            yield self.take(index)


class Bucketed:
    """Batches of pairs of nearly equal length, without end: a `Stream`.

    Each epoch the pairs are shuffled, sorted by length so that only equals stay shuffled, cut into batches that hold
    about as many tokens each, and these dealt out at random. A place in the data is an epoch and a batch.

    Args:
        pairs: what is taken from.
        tokens: places of a batch's sources, and of its targets, at the most, padding included (a pair that is longer
            alone makes a batch of its own).
        seed: decides the order, together with the epoch.

    Raises:
        InvalidValue: `tokens` is below 1.

    >>> pairs = PairSet([[4] * n for n in (1, 9, 2, 9, 1)], [[5]] * 5, Marks(0, 1, 2))
    >>> stream = Bucketed(pairs, tokens=20, seed=0)
    >>> sorted(tuple(next(stream).source.shape) for _ in range(2))
    [(2, 10), (3, 3)]
    """

    def __init__(self, pairs: PairSet, *, tokens: int, seed: int) -> None:
        require(tokens >= 1, f"tokens is {tokens}; a batch needs at least 1")
        self.pairs, self.tokens, self.seed = pairs, tokens, seed
        self.epoch = self.position = 0
        self._lengths = pairs.source.lengths.cpu(), pairs.target.lengths.cpu()
        self._plan: list[Tensor] | None = None

    @property
    def per_epoch(self) -> int:
        """How many batches this epoch has."""
        return len(self._planned())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Pairs:
        if self.position >= len(self._planned()):
            self.epoch, self.position, self._plan = self.epoch + 1, 0, None
        index = self._planned()[self.position]
        self.position += 1
        return self.pairs.take(index.to(self.pairs.source.tokens.device))

    def _planned(self) -> list[Tensor]:
        if self._plan is None:
            order = epoch_order(len(self.pairs), seed=self.seed, epoch=self.epoch)
            for lengths in reversed(self._lengths):  # by source, and by target where the sources are equally long
                order = order[lengths[order].argsort(stable=True)]
            batches = order.split(self._sizes(torch.maximum(*self._lengths)[order].tolist()))
            dealt = epoch_order(len(batches), seed=self.seed, epoch=-1 - self.epoch)
            self._plan = [batches[place] for place in dealt.tolist()]
        return self._plan

    def _sizes(self, lengths: Sequence[int]) -> list[int]:
        sizes, longest = [0], 0
        for length in lengths:
            longest = max(longest, length)
            if sizes[-1] and (sizes[-1] + 1) * longest > self.tokens:
                sizes.append(0)
                longest = length
            sizes[-1] += 1
        return sizes

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, and which stream it is."""
        return {"epoch": self.epoch, "position": self.position, **self._identity()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back to a place.

        Raises:
            InvalidValue: the state belongs to other pairs, another batch size or seed, or is no state of a `Bucketed`.
        """
        for name, mine in self._identity().items():
            theirs = state.get(name)
            require(theirs == mine, f"the saved place in the data has {name} {theirs}, but this stream has {mine}")
        epoch, position = state.get("epoch"), state.get("position")
        if not (isinstance(epoch, int) and isinstance(position, int) and epoch >= 0 and position >= 0):
            raise InvalidValue(f"the saved place in the data is epoch {epoch}, batch {position}, but needs counts")
        self.epoch, self.position, self._plan = epoch, position, None

    def _identity(self) -> dict[str, int]:
        lengths = [int(lengths.sum()) for lengths in self._lengths]
        return {
            "pairs": len(self.pairs),
            "source_tokens": lengths[0],
            "target_tokens": lengths[1],
            "tokens": self.tokens,
            "seed": self.seed,
        }
