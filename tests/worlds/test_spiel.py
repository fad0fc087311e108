"""OpenSpiel's games as states: what is played, and what is refused."""

import sys

import pytest

from neurarium.errors import InvalidValue, MissingExtra
from neurarium.systems.reinforcement.minimax import Rows, State, alpha_beta, minimax
from neurarium.worlds.lines import tic_tac_toe
from neurarium.worlds.spiel import load_spiel

UNFIT = {
    "hearts": "is for 4, but minimax plays games for 2",
    "catch": "is for 1, but minimax plays games for 2",
    "backgammon": "has chance in it",
    "kuhn_poker": "has chance in it",
    "phantom_ttt": "has hidden information",
    "matrix_pd": "has moves made at the same time",
}


def test_tic_tac_toe_is_the_same_game_as_ours() -> None:
    pytest.importorskip("pyspiel")
    ours, theirs = Rows(tic_tac_toe()).state(), load_spiel("tic_tac_toe")
    assert isinstance(theirs, State)
    for action in (4, 0, 8, 2):
        ours, theirs = ours.play(action), theirs.play(action)
    one, other = minimax(ours, depth=9), minimax(theirs, depth=9)
    assert (one.value, one.nodes) == (other.value, other.nodes)
    assert theirs.over is False
    assert "x" in str(theirs)


@pytest.mark.parametrize("name", ["breakthrough(rows=4,columns=4)", "connect_four", "othello", "dots_and_boxes"])
def test_serves_any_open_zero_sum_game_for_two(name: str) -> None:
    pytest.importorskip("pyspiel")
    state = load_spiel(name)
    plain, pruned = (
        search(state, depth=2, heuristic=lambda s: len(s.legal()) / 100) for search in (minimax, alpha_beta)
    )
    assert plain[:2] == pruned[:2]
    assert pruned.nodes < plain.nodes


@pytest.mark.parametrize("name", UNFIT)
def test_refuses_what_minimax_cannot_play(name: str, unchecked: None) -> None:
    pytest.importorskip("pyspiel")
    with pytest.raises(InvalidValue, match=UNFIT[name]):
        load_spiel(name)


def test_names_what_is_meant_and_what_is_missing(unchecked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyspiel")
    with pytest.raises(InvalidValue, match=r"OpenSpiel has no game 'othelo'; did you mean 'othello'\?"):
        load_spiel("othelo")
    with pytest.raises(InvalidValue, match=r"OpenSpiel cannot load 'othello\(speed=3\)': Unknown parameter 'speed'"):
        load_spiel("othello(speed=3)")
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(MissingExtra, match=r"pip install 'neurarium\[games\]'"):
        load_spiel("othello")
