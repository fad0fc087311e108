"""Who plays by tree search, and how one simulation is told; the search's own oracle is in tests/parts/test_tree.py."""

import pytest
import torch

from neurarium.errors import InvalidValue
from neurarium.parts.games import Advises, Chance, Player, Positions
from neurarium.parts.rollouts import Rollouts
from neurarium.parts.tree import Evaluation, Search, root_values, root_visits
from neurarium.systems.reinforcement.monte_carlo_tree_search import SearchPlayer, most_visited, tell, uct_player
from neurarium.worlds.lines import connect_four, tic_tac_toe
from neurarium.worlds.solved import optimal_moves, solved


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_more_simulations_find_more_of_the_best_moves() -> None:
    game = connect_four()
    known = solved(game).some(50)
    few, many = (optimal_moves(uct_player(game, simulations=n, generator=chance()), known) for n in (7, 80))
    assert many > few + 0.1
    assert many > 0.5


def test_tic_tac_toe_is_played_nearly_perfectly() -> None:
    game = tic_tac_toe()
    assert optimal_moves(uct_player(game, simulations=200, generator=chance()), solved(game).some(80)) > 0.9


def test_it_beats_chance() -> None:
    game = tic_tac_toe()
    positions, random = game.start(40), Chance(game, generator=chance())
    searching = uct_player(game, simulations=60, generator=chance())
    while not positions.over.all():
        player = random if int(positions.moves.max()) % 2 else searching
        positions = game.play(positions, player.choose(positions))
    assert (positions.outcome == -1).sum() <= 1
    assert (positions.outcome == 1).sum() >= 32


def test_a_search_player_chooses_and_advises() -> None:
    game = connect_four()
    player = uct_player(game, simulations=30, generator=chance())
    assert isinstance(player, Player)
    assert isinstance(player, Advises)
    assert player.weigh(game.start(3)).sum(1).tolist() == [30, 30, 30]


def ignorant(positions: Positions) -> Evaluation:
    legal = connect_four().legal(positions)
    return Evaluation(legal / legal.sum(1, keepdim=True), torch.zeros(len(legal)))


def test_a_temperature_draws_by_visits() -> None:
    search = Search(connect_four(), ignorant, simulations=20)
    start = connect_four().start(1000)
    drawn = SearchPlayer(search, temperature=1.0, generator=chance()).choose(start).bincount(minlength=7)
    visits = root_visits(search.run(connect_four().start(1)))[0]
    torch.testing.assert_close(drawn / 1000, visits / 20, rtol=0, atol=0.05)


def test_of_equally_visited_moves_the_better_is_chosen() -> None:
    game = tic_tac_toe()
    tree = Search(game, Rollouts(game, generator=chance()), simulations=9, rule="uct").run(game.start(20))
    assert (root_visits(tree) == 1).all()
    chosen = root_values(tree).gather(1, most_visited(tree).unsqueeze(1)).squeeze(1)
    assert torch.equal(chosen, root_values(tree).amax(1))


def test_a_simulation_told_is_the_same_simulation() -> None:
    game = tic_tac_toe()
    search = Search(game, Fixed(), simulations=30)
    tree = search.begin(game.start(1))
    told = [tell(search, tree) for _ in range(30)]
    assert torch.equal(tree.visits, search.run(game.start(1)).visits)
    for story in told:
        grown = int(story.expanded.used - story.before.used)
        assert torch.equal(story.expanded.visits, story.before.visits)
        changed = (story.after.visits - story.before.visits).squeeze(0).nonzero().tolist()
        assert changed == sorted([node, action] for node, action in story.way)
        assert grown == 1 or story.after.children[0, story.way[-1][0], story.way[-1][1]] < 0
        for (node, action), (after, _) in zip(story.way, story.way[1:], strict=False):
            assert story.before.children[0, node, action] == after


class Fixed(Rollouts):
    """No chance in it, so that two searches are the same."""

    def __init__(self) -> None:
        super().__init__(tic_tac_toe(), generator=chance())

    def __call__(self, positions: Positions) -> Evaluation:
        self.generator.manual_seed(int(positions.board.long().sum()) + 5)
        return super().__call__(positions)


def test_values_outside_their_rule_are_refused(unchecked: None) -> None:
    search = Search(connect_four(), ignorant, simulations=5)
    with pytest.raises(InvalidValue, match="temperature is -1"):
        SearchPlayer(search, temperature=-1.0)
    with pytest.raises(InvalidValue, match="give a generator"):
        SearchPlayer(search, temperature=1.0)
