r"""What a batch of search trees is made of: arrays of nodes, and the subtree below an action as a tree of its own.

All trees lie in the same arrays, game by game and node by node; the children of a node are numbers of nodes. A node is
never older than its parent, so the nodes below an action keep their order when they move to the front.

Source: the layout of mctx (Google DeepMind 2021), with what a score is made of kept ready: its mean and its bonus.
Shapes: B games, N nodes a game, A actions.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neurarium.parts.games import Positions

NEW, ENDED = -1, -2  # in place of a child: nobody has been there; the game ends there


@dataclass
class Tree:
    """The trees of a batch of games; node 0 of each is where it stands.

    Attributes:
        positions: of every node, game by game: B N rows.
        priors: what the evaluator gave each action.
        visits: how often each action was taken.
        totals: sum of what came of it, as the node's mover sees it; divided by the visits, its mean.
        children: the node it leads to; `NEW` where there is none yet, `ENDED` where the game ends.
        parents: the node each node hangs below; −1 for the root.
        used: how many nodes each game has.
        means: what an action scores without a bonus; −∞ where it is not legal.
        weights: how much exploring it counts: its prior (with noise at the root), or 1 in UCT; 0 where the game ends.
        bonuses: the weight, less by visits.
        reaches: the factor of a node's bonuses, by its own visits.
    """

    positions: Positions
    priors: Float[Tensor, "B N A"]
    visits: Int64[Tensor, "B N A"]
    totals: Float[Tensor, "B N A"]
    children: Int64[Tensor, "B N A"]
    parents: Int64[Tensor, "B N"]
    used: Int64[Tensor, " B"]
    means: Float[Tensor, "B N A"]
    weights: Float[Tensor, "B N A"]
    bonuses: Float[Tensor, "B N A"]
    reaches: Float[Tensor, "B N"]

    @property
    def roots(self) -> Positions:
        """Where the games stand."""
        games, nodes = self.reaches.shape
        return picked(self.positions, torch.arange(games, device=self.reaches.device) * nodes)


def picked(positions: Positions, index: Int64[Tensor, " K"]) -> Positions:
    """Some of the games by number: `games.rows` without masks, in a third of the time."""
    return Positions(*(field.index_select(0, index) for field in positions))


def bare(positions: Positions, *, nodes: int, actions: int) -> Tree:
    """Trees without anything in them, each with one node used.

    Args:
        positions: one a game, for their shape alone.
        nodes: room for so many a game.
        actions: of the game.
    """
    games, device = len(positions.player), positions.board.device

    def filled(value: float, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.full((games, nodes, *shape), value, dtype=dtype, device=device)

    return Tree(
        positions=Positions(*(field.new_zeros(games * nodes, *field.shape[1:]) for field in positions)),
        priors=filled(0, actions),
        visits=filled(0, actions, dtype=torch.int64),
        totals=filled(0, actions),
        children=filled(NEW, actions, dtype=torch.int64),
        parents=filled(NEW, dtype=torch.int64),
        used=torch.ones(games, dtype=torch.int64, device=device),
        means=filled(0, actions),
        weights=filled(0, actions),
        bonuses=filled(0, actions),
        reaches=filled(0),
    )


def subtrees(tree: Tree, top: Int64[Tensor, " B"]) -> Tree:
    """What hangs below a node of each game, as trees whose root it is; bare where there is no such node.

    Args:
        tree: what was searched.
        top: the node that becomes the root; negative for none.
    """
    games, nodes, actions = tree.means.shape
    place = places(tree.parents, top)
    kept = place >= 0
    moved = bare(tree.roots, nodes=nodes, actions=actions)
    source = kept.flatten().nonzero().squeeze(1)
    goal = (place + torch.arange(games, device=top.device).unsqueeze(1) * nodes)[kept]
    # Numbers of nodes change with their places; what is below 0 stays as it is.
    marks = torch.tensor([[ENDED, NEW]], device=top.device).expand(games, 2)
    numbers = torch.cat((place, marks), 1)
    children = numbers.gather(1, tree.children.flatten(1) % (nodes + 2)).view_as(tree.children)
    parents = numbers.gather(1, tree.parents % (nodes + 2))
    old = (*tree.positions, children, parents, *(getattr(tree, name) for name in CARRIED))
    new = (*moved.positions, moved.children, moved.parents, *(getattr(moved, name) for name in CARRIED))
    for before, after in zip(old, new, strict=True):
        flat = (games * nodes, *before.shape[2:]) if before.shape[:2] == (games, nodes) else before.shape
        after.view(flat)[goal] = before.view(flat)[source]
    moved.used.copy_(kept.sum(1).clamp(min=1))
    return moved


CARRIED = ("priors", "visits", "totals", "means", "weights", "bonuses", "reaches")  # what moves as it is


def places(parents: Int64[Tensor, "B N"], top: Int64[Tensor, " B"]) -> Int64[Tensor, "B N"]:
    """Where each node stands among those below `top` (itself the first); −1 if it hangs elsewhere.

    >>> places(torch.tensor([[-1, 0, 0, 2, 1, 3]]), torch.tensor([2])).tolist()
    [[-1, -1, 0, 1, -1, 2]]
    """
    below = torch.arange(parents.shape[1], device=parents.device) == top.unsqueeze(1)
    # Ancestors 1, 2, 4, ... steps up: after so many doublings every node has looked at all of its own.
    above = parents.clamp(min=0)
    for _ in range(parents.shape[1].bit_length()):
        below = below | below.gather(1, above)
        above = above.gather(1, above)
    return torch.where(below, below.cumsum(1) - 1, -1)
