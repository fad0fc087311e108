r"""Pairs of token sequences: what was said, what it becomes, and how texts turn into tokens and back.

A source is its tokens and an end; a target has a start before them too, for a decoder begins after the start and stops
by saying the end. What is shorter than the longest of its batch is padded behind its end.

Shapes: B pairs, S tokens of the longest source, T of the longest target, marks included.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.bundles import check_batch


class Marks(NamedTuple):
    """The tokens that are no part of a text: padding, and where a sequence begins and ends."""

    pad: int
    start: int
    end: int


class Pairs(NamedTuple):
    """Sources, and what each is to become.

    >>> batch = Pairs(torch.tensor([[4, 5, 2], [6, 2, 0]]), torch.tensor([[1, 5, 4, 2], [1, 6, 2, 0]]))
    >>> check_pairs(batch, Marks(pad=0, start=1, end=2))
    """

    source: Int64[Tensor, "B S"]
    target: Int64[Tensor, "B T"]


@runtime_checkable
class Coding(Protocol):
    """Texts as tokens and back, the same ones after its state was loaded."""

    marks: Marks

    def __len__(self) -> int:
        """How many tokens there are, marks included."""
        ...

    def encode(self, text: str, /) -> list[int]:
        """The tokens of a text, without marks."""
        ...

    def decode(self, tokens: Sequence[int], /) -> str:
        """The text of tokens up to the first end; other marks are passed over."""
        ...

    def pieces(self, tokens: Sequence[int], /) -> list[str]:
        """Each token as one can read it."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


def padded(rows: Sequence[Sequence[int]], marks: Marks, *, begin: bool = False) -> Int64[Tensor, "B T"]:
    """Tokens of several texts as one tensor: each with its end, padded to the longest.

    Args:
        rows: the tokens of each text, without marks.
        marks: the tokens of the marks.
        begin: put a start before each, as targets have it.

    Raises:
        InvalidValue: there is no text.

    >>> padded([[4, 5], []], Marks(pad=0, start=1, end=2), begin=True).tolist()
    [[1, 4, 5, 2], [1, 2, 0, 0]]
    """
    require(len(rows) > 0, "there is no text; give at least one")
    whole = [[*([marks.start] if begin else []), *row, marks.end] for row in rows]
    longest = max(map(len, whole))
    return torch.tensor([row + [marks.pad] * (longest - len(row)) for row in whole], dtype=torch.int64)


def text_of(tokens: Sequence[int], marks: Marks) -> list[int]:
    """The tokens up to the first end, marks left out.

    >>> text_of([1, 5, 4, 2, 2, 0], Marks(pad=0, start=1, end=2))
    [5, 4]
    """
    row = list(tokens)
    until = row.index(marks.end) if marks.end in row else len(row)
    return [token for token in row[:until] if token not in marks]


def check_pairs(batch: Pairs, marks: Marks) -> None:
    """Refuse pairs that are empty or disagree in number, and rows that are no sequences.

    Raises:
        InvalidValue: says which.
    """
    check_batch(batch, wanted="sources and targets")
    check_rows(batch.source, marks, what="source")
    check_rows(batch.target, marks, what="target")
    starts = batch.target == marks.start
    require(bool(starts[:, 0].all() and starts.sum() == starts.shape[0]), "every target begins with one start mark")


def check_rows(tokens: Int64[Tensor, "B T"], marks: Marks, *, what: str) -> None:
    """Refuse rows of nothing but padding, and rows that are not tokens, one end, and then padding alone.

    Raises:
        InvalidValue: says which.
    """
    require(tokens.ndim == 2 and tokens.shape[1] > 0, f"the {what}s are {tuple(tokens.shape)}; give rows of tokens")
    padding = tokens == marks.pad
    require(not bool(padding.all(1).any()), f"a {what} of the batch is all padding; leave empty sequences out")
    ends = (tokens == marks.end).long()
    # Behind the end, and only there, the count of the ends before a place is 1.
    behind = ends.cumsum(1) - ends
    fits = (ends.sum(1) == 1).all() and ((behind == 1) == padding).all()
    require(bool(fits), f"a {what} of the batch is misshaped; a row is tokens, one end mark, and then only padding")


def present(tokens: Int64[Tensor, "B T"], marks: Marks) -> Bool[Tensor, "B T"]:
    """Where there is a token and no padding."""
    return tokens != marks.pad
