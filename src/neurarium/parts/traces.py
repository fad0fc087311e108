r"""Eligibility traces of many games at once: how much each parameter had to do with what was lately thought.

A trace is a fading sum of gradients, one row a game. When a game's next guess differs from the last, every parameter
moves by that difference times its trace, so that earlier guesses are corrected too, the later the more. A trace that
does not fade (λ = 1) corrects them all alike, and by the end of a game that comes to the Monte Carlo update.

Source: CSE 151B, Reinforcement Learning (the temporal difference rule); Sutton 1988, Learning to predict by the methods
of temporal differences, eq. 4.
Shapes: B games, P parameters.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def faded(
    trace: Float[Tensor, "B P"], gradient: Float[Tensor, "B P"], *, decay: float, began: Bool[Tensor, " B"]
) -> Float[Tensor, "B P"]:
    """The traces one step on, written over the old ones; a game that has just begun has no past.

    Args:
        trace: of each game so far.
        gradient: of what is thought of each game now.
        decay: λ; below 0 where the one to move changes and each thinks of his own chances.
        began: which games have just begun.

    >>> trace = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    >>> faded(trace, torch.ones(2, 2), decay=0.5, began=torch.tensor([False, True])).tolist()
    [[1.5, 2.0], [1.0, 1.0]]
    """
    keep = torch.where(began, 0.0, decay).unsqueeze(1)
    # e_t = λ e_{t−1} + ∇Y_t
    return torch.addcmul(gradient, trace, keep, out=trace)


def credited(trace: Float[Tensor, "B P"], errors: Float[Tensor, " B"]) -> Float[Tensor, " P"]:
    """What all games together say about each parameter.

    Args:
        trace: of each game.
        errors: by how much the next guess of each game differs from the last.

    >>> credited(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1.0, -1.0])).tolist()
    [-2.0, -2.0]
    """
    # Δw ∝ Σ_games (Y_{t+1} − Y_t) Σ_k λ^{t−k} ∇Y_k
    return errors @ trace
