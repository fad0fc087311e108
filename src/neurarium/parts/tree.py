r"""Monte Carlo tree search of many games at once, told in phases: select, expand, evaluate, back up.

Every game has a tree of its own; all trees lie in the same arrays, and a simulation is a few tensor operations a level
for all of them together, with one call of the evaluator. Select: from the root down, take the action of highest score,
until it leads where nobody has been. Expand: make that position a node. Evaluate: ask the evaluator what its actions
and it itself seem worth; where the game ended, the outcome says. Back up: every action on the way counts one visit
more, and that worth, as the one who took it sees it.

Source: CSE 151B, Reinforcement Learning (search with a value function at the frontier); Kocsis & Szepesvári 2006,
Bandit based Monte-Carlo planning (UCT); Silver et al. 2017, Mastering the game of Go without human knowledge, Methods
(PUCT, Dirichlet noise); scores and counts as OpenSpiel's `MCTSBot`, to which these are held visit for visit.
Differs: as in `MCTSBot`, an action that was seen to end the game is worth its outcome and is explored no more; endings
are no nodes. Ties go to the first action.
Shapes: B games, N nodes a game, A actions, K games being searched, E actions on the ways of all of them.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from neurarium.errors import InvalidValue, NotFinite, require
from neurarium.parts.games import Game, Positions
from neurarium.parts.tree_nodes import ENDED, NEW, bare, picked, subtrees
from neurarium.parts.tree_nodes import Tree as Tree  # known from here as well: it is what a search grows

FIRST = 1e9  # UCT's score of an action not yet taken: above every mean and bonus
TINY = 1e-300  # below every gamma variable that counts
LEAST = -1e9  # for the logarithm of no visits


class Evaluation(NamedTuple):
    """What positions that are not over seem worth.

    Attributes:
        priors: probabilities over the legal actions, 0 elsewhere.
        values: as the one to move sees them, from −1 to 1.
    """

    priors: Float[Tensor, "B A"]
    values: Float[Tensor, " B"]


Evaluate: TypeAlias = Callable[[Positions], Evaluation]


class Ways(NamedTuple):
    """How one simulation went down K trees.

    Attributes:
        edges: all actions on the ways, as places in the flattened arrays.
        games: whose they are, as a place among the K.
        last: the action each way ends with.
    """

    edges: Int64[Tensor, " E"]
    games: Int64[Tensor, " E"]
    last: Int64[Tensor, " K"]


class Search:
    """Search trees of a game, grown by an evaluator's advice.

    Args:
        game: what is played.
        evaluate: priors and values of positions that are not over, any number at once.
        simulations: root visits of a whole search; each asks the evaluator at most once a game. (OpenSpiel's
            `max_simulations` also counts the root's own evaluation: one more.)
        rule: `puct` explores by priors, `uct` whatever was taken seldom.
        exploration: c, the weight of exploring against what is known.
        noise: α of the Dirichlet noise mixed into the root's priors; 0 for none.
        noise_share: how much of them it makes.
        generator: where the noise comes from.

    Raises:
        InvalidValue: a value outside its rule, or noise without a generator or without priors.

    >>> from neurarium.worlds.lines import tic_tac_toe
    >>> game = tic_tac_toe()
    >>> def ignorant(positions):
    ...     legal = game.legal(positions)
    ...     return Evaluation(legal / legal.sum(1, keepdim=True), torch.zeros(len(legal)))
    >>> positions = game.start(1)
    >>> for cell in (0, 3, 1, 4):  # both have two in a row; the first player is to move
    ...     positions = game.play(positions, torch.tensor([cell]))
    >>> tree = Search(game, ignorant, simulations=50).run(positions)
    >>> root_visits(tree).argmax(1).tolist()
    [2]
    """

    def __init__(
        self,
        game: Game,
        evaluate: Evaluate,
        *,
        simulations: int,
        rule: Literal["puct", "uct"] = "puct",
        exploration: float = 1.25,
        noise: float = 0.0,
        noise_share: float = 0.25,
        generator: torch.Generator | None = None,
    ) -> None:
        require(simulations >= 1, f"simulations is {simulations}; a search needs at least 1")
        require(rule in ("puct", "uct"), f"rule is '{rule}'; known: puct, uct")
        require(exploration >= 0, f"exploration is {exploration}; it must be 0 or more")
        require(noise >= 0, f"noise is {noise}; it must be 0 (none) or more")
        require(0 <= noise_share <= 1, f"noise_share is {noise_share}; a share lies between 0 and 1")
        require(noise == 0 or generator is not None, "noise needs a generator; give one")
        require(noise == 0 or rule == "puct", "noise is mixed into priors, which uct does not use; take rule puct")
        self.game, self.evaluate, self.simulations = game, evaluate, simulations
        self.rule, self.exploration = rule, exploration
        self.noise, self.noise_share, self.generator = noise, noise_share, generator

    @torch.no_grad()
    def begin(self, positions: Positions) -> Tree:
        """Trees that are roots alone, evaluated; there is room for a whole search."""
        games = len(positions.player)
        require(games >= 1, "there are no games to search; give at least 1")
        tree = bare(positions, nodes=self.simulations + 1, actions=self.game.actions)
        self._plant(tree, torch.arange(games, device=positions.board.device), positions)
        return tree

    @torch.no_grad()
    def run(self, start: Positions | Tree) -> Tree:
        """Simulate until every root has `simulations` visits in all; those of a tree that is used again count.

        Args:
            start: where games stand, or trees that go on (and are changed). Games that are over are left alone.
        """
        tree = start if isinstance(start, Tree) else self.begin(start)
        require(
            tree.reaches.shape[1] > self.simulations,
            f"the tree has room for {tree.reaches.shape[1] - 1} simulations, not {self.simulations}; begin it anew",
        )
        if self.noise:
            self._stir(tree)
        missing = (self.simulations - tree.visits[:, 0].sum(1)) * ~tree.roots.over
        for done in range(int(missing.max())):
            self.simulate(tree, (missing > done).nonzero().squeeze(1))
        return tree

    @torch.no_grad()
    def simulate(self, tree: Tree, games: Int64[Tensor, " K"]) -> None:
        """One simulation of some of the games."""
        ways = self.select(tree, games)
        values = self.expand(tree, games, ways.last)
        self.back_up(tree, ways, values)

    def select(self, tree: Tree, games: Int64[Tensor, " K"]) -> Ways:
        """From each root down, the action of highest score, until it leads to no node."""
        nodes, actions = tree.means.shape[1:]
        means, bonuses = tree.means.flatten(0, 1), tree.bonuses.flatten(0, 1)
        reaches, children = tree.reaches.flatten(), tree.children.flatten()
        first = games * nodes
        here, who = first, torch.arange(len(games), device=games.device)
        last, edges, owners = torch.empty_like(games), [], []
        while len(here):
            # puct: Q(s,a) + c P(s,a) √N(s) / (1 + n(s,a));  uct: Q(s,a) + c √(ln N(s) / n(s,a))
            reach = reaches.index_select(0, here).unsqueeze(1)
            scores = torch.addcmul(means.index_select(0, here), bonuses.index_select(0, here), reach)
            edge = torch.add(scores.argmax(1), here, alpha=actions)
            edges.append(edge)
            owners.append(who)
            last[who] = edge
            child = children.index_select(0, edge)
            on = (child >= 0).nonzero().squeeze(1)
            who = who.index_select(0, on)
            here = child.index_select(0, on) + first.index_select(0, who)
        return Ways(torch.cat(edges), torch.cat(owners), last)

    def expand(self, tree: Tree, games: Int64[Tensor, " K"], last: Int64[Tensor, " K"]) -> Float[Tensor, " K"]:
        """Make nodes where the ways end, and evaluate them.

        Returns:
            What was found there, to the first player.
        """
        actions = self.game.actions
        parents = last // actions
        # A way that ends where the game does was there before: the mean of its last action is the outcome.
        values = tree.means.view(-1)[last] * tree.positions.player[parents]
        new = (tree.children.view(-1)[last] == NEW).nonzero().squeeze(1)
        if not len(new):
            return values
        edges, parents, games = last[new], parents[new], games[new]
        positions = self.game.play(picked(tree.positions, parents), edges - parents * actions)
        values[new] = positions.outcome
        going = (~positions.over).nonzero().squeeze(1)
        if len(going) < len(new):
            ended = edges[positions.over]
            tree.children.view(-1)[ended] = ENDED
            tree.weights.view(-1)[ended] = 0
            positions, new, edges, parents, games = (
                picked(positions, going),
                *(which[going] for which in (new, edges, parents, games)),
            )
        if len(new):
            nodes = tree.used[games]
            tree.children.view(-1)[edges] = nodes
            first = games * tree.parents.shape[1]
            tree.parents.view(-1)[first + nodes] = parents - first
            tree.used[games] += 1
            values[new] = self._grow(tree, first + nodes, positions)
        return values

    def back_up(self, tree: Tree, ways: Ways, values: Float[Tensor, " K"]) -> None:
        """Count one visit more, and its worth, for every action on the ways.

        Args:
            tree: what was searched.
            ways: how it was.
            values: what was found at their ends, to the first player.
        """
        edges = ways.edges
        here = edges // self.game.actions
        visits, totals = tree.visits.view(-1), tree.totals.view(-1)
        # An action lies on one way at most: n ← n + 1, W ← W + v.
        n = visits.index_select(0, edges) + 1
        total = totals.index_select(0, edges) + values.index_select(0, ways.games) * tree.positions.player[here]
        visits.index_copy_(0, edges, n)
        totals.index_copy_(0, edges, total)
        tree.means.view(-1).index_copy_(0, edges, total / n)
        bonus = tree.weights.view(-1).index_select(0, edges) * self._falling(n)
        tree.bonuses.view(-1).index_copy_(0, edges, bonus)
        own = tree.visits.view(-1, self.game.actions).index_select(0, here).sum(1) + 1
        tree.reaches.view(-1).index_copy_(0, here, self._reach(own))

    @torch.no_grad()
    def follow(self, tree: Tree, actions: Int64[Tensor, " B"]) -> Tree:
        """The trees below the actions taken, as trees of their own; what hangs elsewhere is forgotten.

        Args:
            tree: what was searched.
            actions: taken at the roots; any where the game is over. One that was never tried starts a new tree.

        Raises:
            InvalidValue: an action that is not legal.
        """
        roots, games = tree.roots, torch.arange(len(actions), device=actions.device)
        illegal = ~self.game.legal(roots).gather(1, actions.unsqueeze(1)).squeeze(1) & ~roots.over
        if illegal.any():
            game = int(illegal.nonzero()[0])
            word = self.game.word(int(actions[game]))
            raise InvalidValue(f"'{word}' is no legal move in game {game}; give every game a legal one")
        top = tree.children[games, 0, actions]
        moved, fresh = subtrees(tree, top), (top < 0).nonzero().squeeze(1)
        if len(fresh):
            self._plant(moved, fresh, self.game.play(picked(roots, fresh), actions[fresh]))
        return moved

    def _plant(self, tree: Tree, games: Int64[Tensor, " K"], positions: Positions) -> None:
        """Let positions be the roots of some games' trees that are still bare."""
        going = (~positions.over).nonzero().squeeze(1)
        first = games * tree.reaches.shape[1]
        for field, given in zip(tree.positions, positions, strict=True):
            field[first] = given
        if len(going):
            self._grow(tree, first[going], picked(positions, going))

    def _grow(self, tree: Tree, nodes: Int64[Tensor, " K"], positions: Positions) -> Float[Tensor, " K"]:
        """Fill nodes with positions that are not over and what the evaluator says of them.

        Returns:
            Their values, to the first player.
        """
        priors, values = self.evaluate(positions)
        if not bool((priors.sum() + values.sum()).isfinite()):
            raise NotFinite("the evaluator gave a prior or a value that is no finite number")
        legal = self.game.legal(positions)
        for field, given in zip(tree.positions, positions, strict=True):
            field.index_copy_(0, nodes, given)
        puct = self.rule == "puct"
        weights = priors * legal if puct else legal.to(priors.dtype)
        means = torch.where(legal, 0.0 if puct else FIRST, -torch.inf)
        for name, given in (("priors", priors), ("weights", weights), ("means", means)):
            getattr(tree, name).flatten(0, 1).index_copy_(0, nodes, given)
        if puct:
            tree.bonuses.flatten(0, 1).index_copy_(0, nodes, weights)
        tree.reaches.flatten().index_copy_(0, nodes, self._reach(torch.ones_like(values)))
        return values * positions.player

    def _stir(self, tree: Tree) -> None:
        """Mix noise into the roots' priors, where the game does not end."""
        legal = (tree.means[:, 0] > -torch.inf).cpu()
        shape = torch.full(legal.shape, self.noise, dtype=torch.float64)
        # Dirichlet: gamma variables divided by their sum.
        drawn = torch._standard_gamma(shape, generator=self.generator).clamp(min=TINY) * legal
        noise = (drawn / drawn.sum(1, keepdim=True).clamp(min=TINY)).to(tree.priors)
        # P ← (1 − ε) P + ε η,  η ~ Dirichlet(α)
        mixed = (1 - self.noise_share) * tree.priors[:, 0] + self.noise_share * noise
        tree.weights[:, 0] = mixed * (tree.children[:, 0] != ENDED)
        tree.bonuses[:, 0] = tree.weights[:, 0] * self._falling(tree.visits[:, 0])

    def _reach(self, visits: Shaped[Tensor, " E"]) -> Float[Tensor, " E"]:
        """What all bonuses of a node are multiplied by: c √N, or c √ln N."""
        return self.exploration * (visits if self.rule == "puct" else visits.log()).sqrt()

    def _falling(self, visits: Int64[Tensor, " *E"]) -> Float[Tensor, " *E"]:
        """How the bonus of an action falls with its own visits: 1 / (1 + n), or 1 / √n."""
        return 1 / (1 + visits) if self.rule == "puct" else visits.rsqrt()


def root_visits(tree: Tree) -> Int64[Tensor, "B A"]:
    """How often each action of the roots was taken."""
    return tree.visits[:, 0]


def root_values(tree: Tree) -> Float[Tensor, "B A"]:
    """What came of each action of the roots on average, to the one to move; 0 where it was never taken."""
    return tree.totals[:, 0] / tree.visits[:, 0].clamp(min=1)


def temperature_policy(visits: Shaped[Tensor, "B A"], *, temperature: float) -> Float[Tensor, "B A"]:
    """Probabilities that follow the visits, the more so the lower the temperature; at 0 the most visited is certain.

    Raises:
        InvalidValue: a negative temperature.

    >>> visits = torch.tensor([[30, 10, 0]])
    >>> temperature_policy(visits, temperature=1.0).tolist(), temperature_policy(visits, temperature=0.0).tolist()
    ([[0.75, 0.25, 0.0]], [[1.0, 0.0, 0.0]])
    """
    require(temperature >= 0, f"temperature is {temperature}; it must be 0 or more")
    if temperature == 0:
        return torch.nn.functional.one_hot(visits.argmax(1), visits.shape[1]).float()
    # π(a) = N(a)^{1/T} / Σ_b N(b)^{1/T}, in logarithms, so that no power overflows
    return torch.softmax(visits.double().log().clamp(min=LEAST) / temperature, 1).float()
