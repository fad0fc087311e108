"""Analogies: questions of the form "paris is to france as rome is to what?", from a file or from a made-up world.

Source: Mikolov et al. 2013, Efficient estimation of word representations in vector space, §4.1, and the format of the
file questions-words.txt that was published with it: four words a line, and lines that begin with `:` name a relation.
Shapes: Q questions.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from neurarium.errors import DataError


class Question(NamedTuple):
    """`second` is to `first` as `answer` is to `third`; the relation is that between the two."""

    relation: str
    first: str
    second: str
    third: str
    answer: str


def read_questions(path: Path, *, lower: bool = True) -> list[Question]:
    """The questions of a file in the format of questions-words.txt.

    Args:
        path: the file.
        lower: do not tell capitals from small letters.

    Raises:
        DataError: the file is missing, not UTF-8, has a line of other than four words, or no question.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror}") from None
    relation, questions = "", []
    for number, line in enumerate(lines, start=1):
        words = (line.lower() if lower else line).split()
        if line.startswith(":"):
            relation = line[1:].strip()
        elif words:
            if len(words) != 4:
                raise DataError(f"{path}, line {number}, has {len(words)} words; a question has four")
            questions.append(Question(relation, *words))
    if not questions:
        raise DataError(f"{path} has no question; write four words a line, as 'paris france rome italy'")
    return questions


def number_questions(questions: Sequence[Question], known: Mapping[str, int]) -> Int64[Tensor, "Q 4"]:
    """The questions all of whose words are known, as numbers.

    >>> asked = [Question("", "a", "b", "c", "d"), Question("", "a", "b", "c", "x")]
    >>> number_questions(asked, {"a": 0, "b": 1, "c": 2, "d": 3}).tolist()
    [[0, 1, 2, 3]]
    """
    rows = [[known[word] for word in asked[1:]] for asked in questions if all(word in known for word in asked[1:])]
    return torch.tensor(rows, dtype=torch.int64).view(-1, 4)
