"""Tree search of many games at once: visit for visit OpenSpiel's, and whole after every phase."""

from functools import cache
from types import ModuleType
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue, NotFinite
from neurarium.parts.games import Game, Positions, any_legal, rows
from neurarium.parts.tree import Evaluation, Search, Tree, root_values, root_visits, temperature_policy
from neurarium.parts.tree_nodes import ENDED, NEW, places
from neurarium.worlds.lines import Lines, connect_four, tic_tac_toe

GAMES = {"tic_tac_toe": tic_tac_toe, "connect_four": connect_four}


PRIME = 1_000_003
FACTORS = torch.randint(PRIME, (10, 43), generator=torch.Generator().manual_seed(0))


class Advice:
    """Fixed priors and values of every board, as if drawn by chance; counts the positions it was asked about."""

    def __init__(self, game: Game) -> None:
        self.game, self.asked = game, 0

    def __call__(self, positions: Positions) -> Evaluation:
        self.asked += len(positions.player)
        assert not positions.over.any()
        boards = torch.nn.functional.pad(positions.board.flatten(1).long() + 1, (1, 0), value=1)
        mixed = boards @ FACTORS[: self.game.actions + 1, : boards.shape[1]].T % PRIME
        drawn = (mixed * 40503 % PRIME % 2**15) / 2**15  # multiples of 2⁻¹⁵: sums of values are exact
        weights = (0.05 + drawn[:, 1:]) * self.game.legal(positions)
        return Evaluation(weights / weights.sum(1, keepdim=True), 2 * drawn[:, 0] - 1)


def scattered(game: Game, games: int, seed: int = 0) -> tuple[Positions, list[list[int]]]:
    """Games at various points, some of them over, and the actions that led there."""
    chance = torch.Generator().manual_seed(seed)
    positions = game.start(games)
    played: list[list[int]] = [[] for _ in range(games)]
    stops = torch.randint(game.longest, (games,), generator=chance)
    for ply in range(game.longest):
        actions = any_legal(game.legal(positions), generator=chance)
        moving = (stops > ply) & ~positions.over
        after = game.play(positions, actions)
        for row in moving.nonzero().flatten().tolist():
            played[row].append(int(actions[row]))
        fields = zip(after, positions, strict=True)
        positions = Positions(*(torch.where(moving.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in fields))
    return positions, played


def their_visits(pyspiel: ModuleType, name: str, played: list[int], rule: str, simulations: int) -> list[int]:
    """Root visits of OpenSpiel's bot, asked with the same advice."""
    mcts = pytest.importorskip("open_spiel.python.algorithms.mcts")
    game, ours = pyspiel.load_game(name), GAMES[name]()
    advice = Advice(ours)

    @cache
    def asked(text: str, player: int) -> tuple[float, list[float]]:
        lines = [["o.x".index(mark) - 1 for mark in line] for line in text.split()]
        board, one = torch.tensor([lines], dtype=torch.int8), ours.start(1)
        evaluation = advice(one._replace(board=board, player=one.player * player))
        return float(evaluation.values) * player, evaluation.priors[0].tolist()

    class Asked:
        def ask(self, state: Any) -> tuple[float, list[float]]:
            return asked(str(state), 1 - 2 * state.current_player())

        def evaluate(self, state: Any) -> list[float]:
            value = self.ask(state)[0]
            return [value, -value]

        def prior(self, state: Any) -> list[tuple[int, float]]:
            priors = self.ask(state)[1]
            return [(action, priors[action]) for action in state.legal_actions()]

    class InOrder:
        def shuffle(self, items: list[Any]) -> None:
            """Leaves them as they are, so that ties go to the first."""

    node = mcts.SearchNode
    bot = mcts.MCTSBot(
        game,
        1.25,
        simulations + 1,  # the root's own evaluation counts there
        Asked(),
        solve=False,
        random_state=InOrder(),
        child_selection_fn=node.puct_value if rule == "puct" else node.uct_value,
    )
    state = game.new_initial_state()
    for action in played:
        state.apply_action(action)
    counts = {child.action: child.explore_count for child in bot.mcts_search(state).children}
    return [counts.get(action, 0) for action in range(ours.actions)]


@pytest.mark.parametrize("rule", ["puct", "uct"])
@pytest.mark.parametrize("name", GAMES)
def test_visits_are_those_of_openspiel(name: str, rule: Literal["puct", "uct"]) -> None:
    pyspiel = pytest.importorskip("pyspiel")
    game = GAMES[name]()
    positions, played = scattered(game, 12)
    simulations = 50
    tree = Search(game, Advice(game), simulations=simulations, rule=rule).run(positions)
    for row, visits in enumerate(root_visits(tree).tolist()):
        if positions.over[row]:
            assert sum(visits) == 0
        else:
            assert visits == their_visits(pyspiel, name, played[row], rule, simulations)


def test_it_grows_the_golden_tree() -> None:
    game = connect_four()
    tree = Search(game, Advice(game), simulations=100).run(game.start(1))
    assert root_visits(tree).tolist() == GOLDEN_VISITS
    assert tree.children[0, :4].tolist() == GOLDEN_CHILDREN
    torch.testing.assert_close(root_values(tree), torch.tensor(GOLDEN_VALUES), rtol=0, atol=1e-4)


# Of 100 simulations from connect four's empty board under `Advice`; OpenSpiel's bot counts the same.
GOLDEN_VISITS = [[7, 8, 7, 5, 26, 11, 36]]
GOLDEN_VALUES = [[-0.2339, -0.0606, -0.2597, -0.3693, 0.0058, -0.0783, -0.0122]]
GOLDEN_CHILDREN = [
    [4, 14, 2, 8, 11, 5, 1],
    [69, 75, 40, 41, 42, 70, 72],
    [59, -1, -1, -1, -1, -1, 3],
    [-1, 18, -1, -1, -1, 58, -1],
]


def whole(tree: Tree) -> None:
    """What must hold of any tree: counts and sums agree from node to node."""
    games, nodes, _ = tree.means.shape
    assert torch.equal(tree.visits == 0, tree.children == NEW)
    mover = tree.positions.player.view(games, nodes)
    for game, node, action in (tree.children >= 0).nonzero().tolist():
        child = int(tree.children[game, node, action])
        assert node < child < tree.used[game]
        assert tree.parents[game, child] == node
        assert tree.visits[game, child].sum() == tree.visits[game, node, action] - 1  # the first was its evaluation
        below = tree.totals[game, child].sum() * mover[game, child] * mover[game, node]
        assert abs(float(tree.totals[game, node, action] - below)) <= 1 + 1e-4  # the value of that evaluation
    assert (tree.children >= 0).flatten(1).sum(1).tolist() == (tree.used - 1).tolist()
    unused = torch.arange(nodes) >= tree.used.unsqueeze(1)
    assert not tree.visits[unused].any()
    assert torch.equal(tree.parents == -1, unused | (torch.arange(nodes) == 0))


@settings(max_examples=12)
@given(seed=st.integers(0, 2**16), name=st.sampled_from(sorted(GAMES)), rule=st.sampled_from(["puct", "uct"]))
def test_a_tree_is_whole_and_so_is_what_hangs_below_an_action(
    seed: int, name: str, rule: Literal["puct", "uct"]
) -> None:
    game, chance = GAMES[name](), torch.Generator().manual_seed(seed)
    search = Search(game, Advice(game), simulations=20, rule=rule)
    tree = search.run(scattered(game, 4, seed)[0])
    whole(tree)
    actions = any_legal(game.legal(tree.roots), generator=chance)
    after, before = game.play(tree.roots, actions), tree.visits[torch.arange(4), 0, actions]
    tree = search.follow(tree, actions)
    whole(tree)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(tree.roots, after, strict=True))
    assert torch.equal(root_visits(tree).sum(1), (before - 1).clamp(min=0) * ~after.over)
    tree = search.run(tree)
    whole(tree)
    assert torch.equal(root_visits(tree).sum(1), 20 * (~after.over).long())


def test_a_tree_used_again_asks_only_for_what_is_missing_and_goes_on_as_if_it_had_begun_there() -> None:
    game = connect_four()
    advice = Advice(game)
    search = Search(game, advice, simulations=100)
    tree = search.run(game.start(2))
    best = root_visits(tree).argmax(1)
    tree = search.follow(tree, best)
    kept, asked = root_visits(tree).sum(1), advice.asked
    tree = search.run(tree)
    assert kept.min() > 10
    assert advice.asked - asked <= 2 * 100 - kept.sum()
    # The advice is fixed, so a subtree is just the tree that a search from its root would have grown.
    anew = search.run(game.play(game.start(2), best))
    assert torch.equal(root_visits(tree), root_visits(anew))


def test_games_do_not_touch_each_other() -> None:
    game = connect_four()
    positions, _ = scattered(game, 12)
    search = Search(game, Advice(game), simulations=40)
    together = root_visits(search.run(positions))
    for row in range(12):
        assert torch.equal(root_visits(search.run(rows(positions, torch.tensor([row]))))[0], together[row])


class Twice(Lines):
    """Tic-tac-toe in which everybody has two moves running."""

    def __init__(self) -> None:
        super().__init__(height=3, width=3, line=3, gravity=False, name="twice")

    def play(self, positions: Positions, actions: Tensor) -> Positions:
        after = super().play(positions, actions)
        player = (1 - 2 * (after.moves // 2 % 2)).to(torch.int8)
        return after._replace(player=torch.where(after.over, after.player, player))


def test_worth_goes_by_who_is_to_move(unchecked: None) -> None:
    game = Twice()
    positions = game.start(1)
    for cell in (0, 3, 7, 8):
        positions = game.play(positions, torch.tensor([cell]))

    def ignorant(positions: Positions) -> Evaluation:
        legal = game.legal(positions)
        return Evaluation(legal / legal.sum(1, keepdim=True), torch.zeros(len(legal)))

    # x holds a3 and a2 and has two moves: a1 wins at once, and still wins after any other.
    tree = Search(game, ignorant, simulations=300, exploration=4.0).run(positions)
    assert root_values(tree)[0, 6] == 1
    assert (root_values(tree)[game.legal(positions)] > 0.5).all()
    whole(tree)


def test_noise_is_mixed_into_the_roots_priors_and_nowhere_else() -> None:
    game = connect_four()
    chance = torch.Generator().manual_seed(0)
    search = Search(game, Advice(game), simulations=30, noise=0.3, noise_share=0.25, generator=chance)
    tree = search.run(game.start(64))
    noise = (tree.weights[:, 0] - 0.75 * tree.priors[:, 0]) / 0.25
    torch.testing.assert_close(noise.sum(1), torch.ones(64))
    assert noise.min() > -1e-6
    torch.testing.assert_close(noise.mean(0), torch.full((7,), 1 / 7), rtol=0, atol=0.12)
    assert noise.var(0).mean() == pytest.approx(6 / 49 / (7 * 0.3 + 1), rel=0.3)  # of a symmetric Dirichlet
    grown = tree.children[:, 1] != ENDED
    assert torch.equal(tree.weights[:, 1][grown], tree.priors[:, 1][grown])
    assert len(root_visits(tree).unique(dim=0)) > 16


def test_a_temperature_says_how_far_the_most_visited_is_preferred() -> None:
    visits = torch.tensor([[8, 4, 0, 4], [0, 1, 0, 0]])
    torch.testing.assert_close(temperature_policy(visits, temperature=0.5)[0], torch.tensor([64, 16, 0, 16]) / 96)
    assert temperature_policy(visits, temperature=0.0).argmax(1).tolist() == [0, 1]
    assert temperature_policy(visits, temperature=1e-3)[0, 0] == pytest.approx(1)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), nodes=st.integers(1, 40))
def test_places_are_those_of_a_walk(seed: int, nodes: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    parents = torch.tensor([-1] + [int(torch.randint(n, (), generator=chance)) for n in range(1, nodes)])
    top = int(torch.randint(nodes, (), generator=chance))
    below = [n for n in range(nodes) if top in walk(parents.tolist(), n)]
    expected = [below.index(n) if n in below else -1 for n in range(nodes)]
    assert places(parents.unsqueeze(0), torch.tensor([top])).tolist() == [expected]


def walk(parents: list[int], node: int) -> list[int]:
    return [node] if parents[node] < 0 else [node, *walk(parents, parents[node])]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"simulations": 0}, "simulations is 0"),
        ({"rule": "best"}, "rule is 'best'"),
        ({"exploration": -1.0}, "exploration is -1.0"),
        ({"noise": 0.3}, "noise needs a generator"),
        ({"noise_share": 2.0}, "noise_share is 2.0"),
        ({"noise": 0.3, "rule": "uct", "generator": torch.Generator()}, "take rule puct"),
    ],
)
def test_values_outside_their_rule_are_refused(options: dict[str, Any], message: str, unchecked: None) -> None:
    game = tic_tac_toe()
    with pytest.raises(InvalidValue, match=message):
        Search(game, Advice(game), **{"simulations": 5, **options})


def test_what_cannot_be_searched_is_refused(unchecked: None) -> None:
    game = tic_tac_toe()
    search = Search(game, Advice(game), simulations=5)
    tree = search.run(game.play(game.start(1), torch.tensor([4])))
    with pytest.raises(InvalidValue, match="'b2' is no legal move in game 0"):
        search.follow(tree, torch.tensor([4]))
    with pytest.raises(InvalidValue, match="has room for 5 simulations, not 9"):
        Search(game, Advice(game), simulations=9).run(tree)
    with pytest.raises(InvalidValue, match="no games to search"):
        search.run(rows(game.start(1), torch.zeros(0, dtype=torch.int64)))
    with pytest.raises(InvalidValue, match="temperature is -1"):
        temperature_policy(torch.ones(1, 2), temperature=-1.0)

    def broken(positions: Positions) -> Evaluation:
        return Evaluation(torch.full((len(positions.player), 9), torch.nan), torch.zeros(len(positions.player)))

    with pytest.raises(NotFinite, match="no finite number"):
        Search(game, broken, simulations=5).run(game.start(1))
