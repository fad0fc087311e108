"""Places: a number for each place that outputs and targets have, for learners that choose the places and take the mean.

Shapes: N places (samples, or taught steps of all sequences), O outputs.
"""

from jaxtyping import Float
from torch import Tensor

from neurarium.errors import InvalidValue


def squared_errors(outputs: Float[Tensor, "N O"], targets: Float[Tensor, "N O"]) -> Float[Tensor, "N O"]:
    """The squared error of each output at each place.

    Args:
        outputs: what was answered.
        targets: what was wanted.

    Returns:
        Its mean is the mean squared error.

    Raises:
        InvalidValue: outputs and targets differ in shape.

    >>> import torch
    >>> squared_errors(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.5], [1.0]])).flatten().tolist()
    [0.25, 4.0]
    """
    if outputs.shape != targets.shape:
        raise InvalidValue(
            f"the outputs are {tuple(outputs.shape)}, the targets {tuple(targets.shape)}; make them agree"
        )
    # L = (y − t)²
    return (outputs - targets) ** 2
