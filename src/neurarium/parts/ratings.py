r"""Ratings: how strong each of many players is, from who won how much against whom.

Every player has a number; the difference of two decides how much of the points one takes from the other on average.
The numbers are those under which the results were likeliest. Two hundred points are three quarters of the score.

Source: Bradley & Terry 1952, Rank analysis of incomplete block designs, eq. 1 (the model); Elo 1978, The rating of
chessplayers, §1.4 (the scale); maximum likelihood by Newton's method.
Differs: virtual draws against an average player may be added, so that who won everything has a rating too.
Shapes: P players.
"""

from math import log

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import InvalidValue, require

SCALE = 400 / log(10)  # Elo points in which odds grow e-fold
ROUNDS = 100
SETTLED = 1e-9  # change of all strengths at which the search ends
STRIDE = 2.0  # the largest change at once, so that no step leaps over the top


def expected_share(difference: float) -> float:
    """Share of the points of one whose rating is so much higher.

    >>> expected_share(0), round(expected_share(200), 2)
    (0.5, 0.76)
    """
    # E = 1 / (1 + 10^(−d/400))
    return float(1 / (1 + 10 ** (-difference / 400)))


def elo(points: Float[Tensor, "P P"], *, draws: float = 1.0) -> Float[Tensor, " P"]:
    """Elo ratings of maximum likelihood, 0 on average.

    Args:
        points: row i, column j: what i took from j; a win counts 1, a draw a half for both.
        draws: virtual draws of everyone against a player of rating 0. With 0 it is the likelihood alone, for which
            everyone must be linked to everyone by chains of points taken.

    Returns:
        Ratings in Elo points.

    Raises:
        InvalidValue: no square table of numbers from 0 up, negative `draws`, or a table that has no likeliest ratings.

    Three quarters of the points are 191 more:

    >>> ratings = elo(torch.tensor([[0.0, 75.0], [25.0, 0.0]]), draws=0)
    >>> [round(rating) for rating in ratings.tolist()]
    [95, -95]
    """
    shape = tuple(points.shape)
    require(len(shape) == 2 and shape[0] == shape[1], f"points has shape {shape}; give one row and one column a player")
    fine = bool((points >= 0).all()) and bool(points.isfinite().all())
    require(fine, "points has a number that is negative or not finite; what was taken is 0 or more")
    require(draws >= 0, f"draws is {draws}; it must be 0 or more")
    won = points.double().clone().fill_diagonal_(0)
    games, strength = won + won.T, torch.zeros(len(won), dtype=torch.float64)
    for _ in range(ROUNDS):
        step = newton_step(strength, won, games, draws=draws)
        strength = strength + step * min(1.0, STRIDE / max(STRIDE, float(step.abs().max())))
        if step.abs().max() < SETTLED:
            return ((strength - strength.mean()) * SCALE).to(points.dtype)
    raise InvalidValue("no ratings are likeliest: some players took all points or none from the rest; take draws=1")


def newton_step(
    strength: Float[Tensor, " P"], won: Float[Tensor, "P P"], games: Float[Tensor, "P P"], *, draws: float
) -> Float[Tensor, " P"]:
    """Newton's step towards the top of the log-likelihood, which is concave."""
    share = torch.sigmoid(strength.unsqueeze(1) - strength)
    level = torch.sigmoid(strength)
    # ∂L/∂s_i = Σ_j (w_ij − n_ij σ(s_i − s_j)) + d (½ − σ(s_i))
    slope = (won - games * share).sum(1) + draws * (0.5 - level)
    # −∂²L/∂s_i∂s_j = −n_ij σ σ̄, and on the diagonal its negative sum with the draws' own
    weight = games * share * (1 - share)
    bend = torch.diag(weight.sum(1) + draws * level * (1 - level)) - weight
    return torch.linalg.pinv(bend, hermitian=True) @ slope
