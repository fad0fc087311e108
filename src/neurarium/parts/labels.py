"""Labels that someone asks for: whether they are classes that there are."""

from jaxtyping import Int64
from torch import Tensor

from neurarium.errors import InvalidValue


def check_labels(labels: Int64[Tensor, " B"], classes: int) -> None:
    """Refuse labels outside the classes, where there are any.

    Raises:
        InvalidValue: names the first.

    >>> import torch
    >>> check_labels(torch.tensor([0, 9]), 10)
    >>> check_labels(torch.tensor([0, 12, 11]), 10)
    Traceback (most recent call last):
    neurarium.errors.InvalidValue: label 12 is none of the 10 classes, 0 to 9
    """
    if classes and len(labels):
        wrong = labels[(labels < 0) | (labels >= classes)]
        if len(wrong):
            raise InvalidValue(f"label {int(wrong[0])} is none of the {classes} classes, 0 to {classes - 1}")
