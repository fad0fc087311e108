"""Matches: fair to both sides, and as sure as they say."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.errors import InvalidValue
from neurarium.parts.games import Chance, Positions
from neurarium.parts.matches import Score, advantage, opened, play_match, wilson
from neurarium.parts.rollouts import Rollouts
from neurarium.parts.tree import Search
from neurarium.systems.reinforcement.monte_carlo_tree_search import SearchPlayer
from neurarium.worlds.lines import connect_four, tic_tac_toe


class Lowest:
    """Takes the first legal action: leaves nothing to chance."""

    def choose(self, positions: Positions) -> torch.Tensor:
        return tic_tac_toe().legal(positions).int().argmax(1)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_player_who_meets_itself_wins_as_often_as_it_loses() -> None:
    # Every opening is played from both sides, so without chance the score is even to the game.
    score = play_match(tic_tac_toe(), Lowest(), Lowest(), games=60, generator=chance())
    assert score.won == score.lost
    assert score.games == 60


def test_who_searches_beats_who_does_not() -> None:
    game = tic_tac_toe()
    searcher = SearchPlayer(Search(game, Rollouts(game, generator=chance(1)), simulations=60, rule="uct"))
    score = play_match(game, searcher, Chance(game, generator=chance(2)), games=40, generator=chance(3))
    assert score.share > 0.8
    swapped = play_match(game, Chance(game, generator=chance(2)), searcher, games=40, generator=chance(3))
    assert swapped.share < 0.2


def test_openings_are_not_over() -> None:
    positions = opened(tic_tac_toe(), 500, moves=7, generator=chance())
    assert not positions.over.any()
    assert set(positions.moves.tolist()) == {0, 7}
    assert opened(connect_four(), 3, moves=2, generator=chance()).moves.tolist() == [2, 2, 2]


@given(count=st.integers(1, 400), share=st.floats(0, 1))
def test_an_interval_holds_its_share_and_narrows(count: int, share: float) -> None:
    low, high = wilson(share, count)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1
    narrower = wilson(share, 4 * count)
    assert narrower[1] - narrower[0] < high - low


def test_wilson_is_statisticians() -> None:
    stats = pytest.importorskip("scipy.stats")
    interval = stats.binomtest(30, 40).proportion_ci(method="wilson")
    assert wilson(0.75, 40) == pytest.approx((interval.low, interval.high), abs=1e-6)


def test_an_advantage_is_as_great_as_the_others_disadvantage() -> None:
    assert advantage(0.7, 50) == pytest.approx(-advantage(0.3, 50))
    assert advantage(1.0, 10) < advantage(1.0, 1000)
    assert Score(1, 1, 0).share == 0.75


def test_refuses_what_cannot_be(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match=r"games is 0; a match has at least 1"):
        play_match(tic_tac_toe(), Lowest(), Lowest(), games=0, generator=chance())
    with pytest.raises(InvalidValue, match=r"opening is -1"):
        play_match(tic_tac_toe(), Lowest(), Lowest(), games=2, generator=chance(), opening=-1)
