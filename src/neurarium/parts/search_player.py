r"""A player who searches before each move, from scratch, and takes the action that the search took most often.

Source: Silver et al. 2017, Mastering the game of Go without human knowledge, Methods, Play (at temperature 0).
Shapes: B games, A actions.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neurarium.parts.games import Positions
from neurarium.parts.tree import Search, root_visits


class SearchPlayer:
    """Takes the most visited action.

    Args:
        search: how it thinks.

    >>> from neurarium.parts.rollouts import Rollouts
    >>> from neurarium.worlds.lines import tic_tac_toe
    >>> game = tic_tac_toe()
    >>> rollouts = Rollouts(game, generator=torch.Generator().manual_seed(0))
    >>> player = SearchPlayer(Search(game, rollouts, simulations=100, rule="uct"))
    >>> positions = game.start(1)
    >>> for cell in (0, 3, 1, 4):  # two in a row for both
    ...     positions = game.play(positions, torch.tensor([cell]))
    >>> player.choose(positions).tolist(), player.weighs
    ([2], 'visits')
    """

    weighs = "visits"

    def __init__(self, search: Search) -> None:
        self.search = search

    def choose(self, positions: Positions) -> Int64[Tensor, " B"]:
        """The action that the search took most often, the first of equals."""
        return root_visits(self.search.run(positions)).argmax(1)

    def weigh(self, positions: Positions) -> Float[Tensor, "B A"]:
        """How often the search took each action."""
        return root_visits(self.search.run(positions)).to(torch.float32)
