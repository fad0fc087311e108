"""Nearest vectors and analogies: what is to c as b is to a?

Source: CS 479 §20 (similar words, similar vectors); Mikolov et al. 2013, Linguistic regularities in continuous space
word representations, §4 (the offset b − a + c, and the cosine).
Shapes: V words, D dimensions, Q questions, T answers.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from neurarium.errors import require

AT_ONCE = 1 << 24  # cosines computed at a time, 64 MB


def closest(
    vectors: Float[Tensor, "V D"], wanted: Float[Tensor, "Q D"], *, not_these: Int64[Tensor, "Q N"], top: int = 1
) -> tuple[Int64[Tensor, "Q T"], Float[Tensor, "Q T"]]:
    """The words that lie closest to the wanted places by the angle, and the cosines, the closest first.

    Args:
        vectors: of all words.
        wanted: places.
        not_these: words that are no answer, for each place.
        top: how many answers T.

    Raises:
        InvalidValue: `top` is below 1, or more than there are words left.

    >>> vectors = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    >>> words, cosines = closest(vectors, vectors[:1], not_these=torch.tensor([[0]]), top=2)
    >>> words.tolist(), [round(cosine, 3) for cosine in cosines[0].tolist()]
    ([[2, 1]], [0.707, 0.0])
    """
    most = len(vectors) - not_these.shape[1]
    require(1 <= top <= most, f"top is {top}, but of {len(vectors)} words 1 to {most} can be named")
    unit = normalize(vectors)
    found = []
    step = max(1, AT_ONCE // len(vectors))
    for start in range(0, len(wanted), step):
        # cos(u, v) = u·v / |u||v|
        cosines = normalize(wanted[start : start + step]) @ unit.T
        found.append(cosines.scatter_(1, not_these[start : start + step], -2.0).topk(top))
    return torch.cat([best.indices for best in found]), torch.cat([best.values for best in found])


def offsets(vectors: Float[Tensor, "V D"], questions: Int64[Tensor, "Q N"]) -> Float[Tensor, "Q D"]:
    """Where the answer should lie: the third word moved as the second is from the first, all of them of length 1."""
    a, b, c = normalize(vectors)[questions[:, :3]].unbind(1)
    # x = b − a + c
    return b - a + c


def share_right(vectors: Float[Tensor, "V D"], questions: Int64[Tensor, "Q 4"]) -> float:
    """The share of questions whose answer is the closest of all words but those in the question.

    Raises:
        InvalidValue: no question.

    >>> plane = torch.tensor([[1.0, 0.1], [1.0, 0.6], [3.0, 0.2], [3.0, 1.7]])
    >>> share_right(plane, torch.tensor([[0, 1, 2, 3]]))
    1.0
    """
    require(len(questions) > 0, "no question is given; its words must all be known")
    answers, _ = closest(vectors, offsets(vectors, questions), not_these=questions[:, :3])
    return float((answers[:, 0] == questions[:, 3]).double().mean())
