"""Games by name."""

import pytest

from neurarium.errors import InvalidValue
from neurarium.parts.games import Game
from neurarium.worlds.go import Go
from neurarium.worlds.named import load_game


@pytest.mark.parametrize("name", ["tic_tac_toe", "connect_four", "go:5", "go:19", "backgammon"])
def test_loads_a_game_that_has_this_name(name: str) -> None:
    game = load_game(name)
    assert isinstance(game, Game)
    assert game.name == name


def test_komi_follows_the_size() -> None:
    small, large = load_game("go:7"), load_game("go:9")
    assert isinstance(small, Go)
    assert isinstance(large, Go)
    assert (small.komi, large.komi) == (0.5, 7.5)


def test_names_what_is_meant(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match=r"there is no game 'tictactoe'; did you mean 'tic_tac_toe'\?"):
        load_game("tictactoe")
    with pytest.raises(InvalidValue, match="game 'go' says no size; Go is named go:SIZE, as go:9"):
        load_game("go")
    with pytest.raises(InvalidValue, match="size is 40"):
        load_game("go:40")
