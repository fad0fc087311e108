r"""Letters to be turned round: pairs drawn at random, without end, that a network can only write by looking back.

Source: Sutskever, Vinyals & Le 2014, Sequence to sequence learning with neural networks, §3.3 (why order matters).
Shapes: B pairs of a batch, S and T tokens of its longest source and target, marks included.
"""

import string
from collections.abc import Sequence
from typing import Any

import torch

from neurarium.data.sequences import deal
from neurarium.data.vocabulary import END, MARKS, PAD, START
from neurarium.errors import require
from neurarium.parts.pairs import Marks, Pairs, text_of

LETTERS = string.ascii_lowercase
FIRST_LETTER = len(MARKS)  # tokens before it are marks


class Letters:
    """The small letters, a token each: a `Coding`.

    >>> letters = Letters()
    >>> letters.encode("cab"), letters.decode([6, 4, 2, 0]), len(letters)
    ([6, 4, 5], 'ca', 30)
    """

    marks = Marks(PAD, START, END)

    def __len__(self) -> int:
        return FIRST_LETTER + len(LETTERS)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text's letters; spaces are passed over.

        Raises:
            InvalidValue: a character that is no small letter.
        """
        letters = [letter for letter in text if not letter.isspace()]
        for letter in letters:
            require(letter in LETTERS, f"'{letter}' is no letter that is known; write with the small letters a to z")
        return [FIRST_LETTER + LETTERS.index(letter) for letter in letters]

    def decode(self, tokens: Sequence[int]) -> str:
        """The letters up to the first end; other marks are passed over."""
        return "".join(self.pieces(text_of(tokens, self.marks)))

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Each token as one can read it."""
        return [MARKS[token] if token < FIRST_LETTER else LETTERS[token - FIRST_LETTER] for token in tokens]

    def state_dict(self) -> dict[str, Any]:
        """Which letters they are."""
        return {"letters": LETTERS}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Letters are always the same.

        Raises:
            InvalidValue: the state is of other letters.
        """
        require(state == self.state_dict(), "the saved letters are not a to z; they are of another task")


def reversal(
    generator: torch.Generator,
    *,
    count: int,
    length: int,
    shuffle_targets: bool = False,
    device: torch.device | str = "cpu",
) -> Pairs:
    """Random letters, of random number; the target is the source from behind.

    Args:
        generator: where chance comes from.
        count: number of pairs B.
        length: most letters of a source; the least is 1.
        shuffle_targets: take the targets of other sources; nothing can then be learned.
        device: where the batch is put.

    Raises:
        InvalidValue: `count` or `length` is below 1.

    >>> pairs = reversal(torch.Generator().manual_seed(1), count=2, length=4)
    >>> [Letters().decode(row) for row in (*pairs.source.tolist(), *pairs.target.tolist())]
    ['qo', 'hpzw', 'oq', 'wzph']
    """
    require(count >= 1, f"the batch size is {count}, but must be at least 1")
    require(length >= 1, f"length is {length} letters, but must be at least 1")
    lengths = torch.randint(1, length + 1, (count, 1), generator=generator)
    letters = torch.randint(len(LETTERS), (count, length), generator=generator) + FIRST_LETTER
    place = torch.arange(length + 1).expand(count, -1)
    # Behind the letters an end, then padding.
    marks = torch.where(place == lengths, END, PAD)
    source = torch.where(place < lengths, torch.nn.functional.pad(letters, (0, 1)), marks)
    behind = source.gather(1, (lengths - 1 - place).clamp(min=0))
    target = torch.where(place < lengths, behind, marks)
    if shuffle_targets:
        target = target[deal(count, generator)]
    longest = int(lengths.max()) + 1
    starts = torch.full((count, 1), START)
    return Pairs(source[:, :longest].to(device), torch.cat([starts, target[:, :longest]], dim=1).to(device))
