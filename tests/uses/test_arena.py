"""Two players meet: both sides are played, and the interval is Wilson's."""

import json

import pytest

from neurarium.errors import InvalidValue
from neurarium.uses.arena import arena, command


def test_who_looks_ahead_beats_who_does_not() -> None:
    met = arena("minimax:2", "random", games=40, game="tic_tac_toe")
    assert met.score.games == 40
    share, (low, high) = met.shares["score"]
    assert 0.5 < low < share < high
    assert sum(met.shares[name][0] for name in ("won", "drawn", "lost")) == pytest.approx(1)


def test_sides_are_swapped_so_equals_are_equal() -> None:
    met = arena("minimax:1", "minimax:1", games=20, game="tic_tac_toe", opening=3)
    assert met.score.won == met.score.lost  # the same openings, from both sides


@pytest.mark.usefixtures("unchecked")
def test_the_same_seed_gives_the_same_games() -> None:
    one, other = (arena("uct:4", "random", games=10, game="tic_tac_toe", seed=3) for _ in range(2))
    assert one == other


def test_the_command_prints_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["random", "random", "--game", "tic_tac_toe", "--games", "10"]
    assert command(words) == 0
    told = capsys.readouterr().out
    assert "random against random at tic_tac_toe, 10 games" in told
    assert "5 openings of 2 random moves, each played from both sides" in told
    assert command([*words, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["won"] + row["drawn"] + row["lost"] == row["games"] == 10
    assert set(row["shares"]) == {"won", "drawn", "lost", "score"}


def test_refuses_what_is_no_match(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match="games is 0"):
        arena("random", "random", games=0, game="tic_tac_toe")
    with pytest.raises(InvalidValue, match="opening is -1"):
        arena("random", "random", opening=-1, game="tic_tac_toe")
    with pytest.raises(InvalidValue, match="there is no game 'chess'"):
        arena("random", "random", game="chess")
    with pytest.raises(InvalidValue, match="--gmes"):
        command(["random", "random", "--gmes", "3"])
