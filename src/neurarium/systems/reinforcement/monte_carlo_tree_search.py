r"""Monte Carlo tree search: find a good move by trying out the promising ones ever more often.

Nothing is learned and little must be known: the rules, and an opinion of a position that may be as poor as one game
played to its end at random. A tree of positions grows one node a simulation, towards what has turned out well so far
and what has been tried least; the move that was tried most often is chosen. The search itself, batched over many games,
is in `parts/tree.py`; this file is about who plays by it, and about telling one simulation step by step.

Source: CSE 151B, Reinforcement Learning (search, value functions); Kocsis & Szepesvári 2006, Bandit based Monte-Carlo
planning (UCT); Coulom 2006, Efficient selectivity and backup operators in Monte-Carlo tree search (the tree).
Differs: of moves tried equally often, the one with the better mean is chosen.
Shapes: B games, A actions.
"""

from copy import deepcopy
from math import sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.games import Game, Positions
from neurarium.parts.rollouts import Rollouts
from neurarium.parts.tree import Search, Tree, Ways, root_values, root_visits, temperature_policy

UCT_EXPLORATION = sqrt(2)  # Auer et al. 2002, Finite-time analysis of the multiarmed bandit problem: √(2 ln n / n_j)


class SearchPlayer:
    """A player who searches from scratch before each move.

    Args:
        search: how it looks ahead.
        temperature: 0 plays the most visited move; above, moves are drawn by visits^(1/T).
        generator: where draws come from; needed where the temperature is above 0.

    Attributes:
        weighs: what its advice counts.

    Raises:
        InvalidValue: a negative temperature, or one above 0 without a generator.

    >>> from neurarium.worlds.lines import tic_tac_toe
    >>> game = tic_tac_toe()
    >>> positions = game.start(1)
    >>> for cell in (0, 4, 1):  # two in the upper row: the second player must stop him there
    ...     positions = game.play(positions, torch.tensor([cell]))
    >>> player = uct_player(game, simulations=100, generator=torch.Generator().manual_seed(0))
    >>> player.choose(positions).tolist()
    [2]
    """

    weighs = "visits"

    def __init__(self, search: Search, *, temperature: float = 0.0, generator: torch.Generator | None = None) -> None:
        require(temperature >= 0, f"temperature is {temperature}; it must be 0 or more")
        require(temperature == 0 or generator is not None, "a temperature above 0 draws moves; give a generator")
        self.search, self.temperature, self.generator = search, temperature, generator

    def choose(self, positions: Positions) -> Int64[Tensor, " B"]:
        """The most visited move of each game, or a draw by visits; any where the game is over."""
        tree = self.search.run(positions)
        if self.temperature == 0:
            return most_visited(tree)
        odds = temperature_policy(root_visits(tree), temperature=self.temperature)
        return torch.multinomial(odds.cpu(), 1, generator=self.generator).squeeze(1).to(odds.device)

    def weigh(self, positions: Positions) -> Float[Tensor, "B A"]:
        """How often a search tried each move."""
        return root_visits(self.search.run(positions)).float()


def most_visited(tree: Tree) -> Int64[Tensor, " B"]:
    """The action of each root that was tried most often; of equals, the one that did better."""
    # a* = argmax_a N(a), ties by Q(a): Q/4 lies between −1/4 and 1/4, less than one visit
    return (root_visits(tree).double() + root_values(tree) / 4).argmax(1)


def uct_player(
    game: Game,
    *,
    simulations: int,
    rollouts: int = 1,
    exploration: float = UCT_EXPLORATION,
    generator: torch.Generator,
) -> SearchPlayer:
    """A player who knows the rules alone: UCT with random games as its opinion.

    Args:
        game: what is played.
        simulations: before each move.
        rollouts: random games from each new position.
        exploration: c.
        generator: where chance comes from.
    """
    advice = Rollouts(game, rollouts=rollouts, generator=generator)
    return SearchPlayer(Search(game, advice, simulations=simulations, rule="uct", exploration=exploration))


class Told(NamedTuple):
    """One simulation of one game, phase by phase.

    Attributes:
        before: the tree it began with.
        way: select: nodes and actions from the root down.
        expanded: the tree with the new node, not yet counted.
        value: evaluate: what was found, to the first player.
        after: back up: the tree with every count on the way changed.
    """

    before: Tree
    way: list[tuple[int, int]]
    expanded: Tree
    value: float
    after: Tree


def tell(search: Search, tree: Tree) -> Told:
    """Simulate once in the first game of a tree, which is changed, and keep how it stood after each phase."""
    only = torch.zeros(1, dtype=torch.int64)
    before = deepcopy(tree)
    ways: Ways = search.select(tree, only)
    values = search.expand(tree, only, ways.last)
    expanded = deepcopy(tree)
    search.back_up(tree, ways, values)
    way = [divmod(edge, search.game.actions) for edge in ways.edges.tolist()]
    return Told(before, way, expanded, float(values), deepcopy(tree))
