"""Games by name, as the command line knows them."""

from collections.abc import Callable

import torch

from neurarium.errors import InvalidValue, did_you_mean, require
from neurarium.parts.games import Game
from neurarium.worlds.backgammon import Backgammon
from neurarium.worlds.go import Go
from neurarium.worlds.lines import connect_four, tic_tac_toe

GAMES: dict[str, Callable[[], Game]] = {"tic_tac_toe": tic_tac_toe, "connect_four": connect_four}
GO, BACKGAMMON = "go:SIZE", "backgammon"  # the one name with a number in it, and the one game with dice


def load_game(name: str, *, generator: torch.Generator | None = None) -> Game:
    """The game of this name, as batched tensors.

    Args:
        name: tic_tac_toe, connect_four, go:SIZE (as go:9; komi is 7.5, on boards below 9 × 9 it is 0.5), or backgammon.
        generator: where dice come from; one of its own, always the same, if not given.

    Raises:
        InvalidValue: there is no such game (the nearest name is told), or no board of that size.

    >>> load_game("connect_four").actions, load_game("go:5").actions
    (7, 26)
    >>> load_game("conect_four")
    Traceback (most recent call last):
    neurarium.errors.InvalidValue: there is no game 'conect_four'; did you mean 'connect_four'?
    """
    kind, _, size = name.partition(":")
    if kind == "go":
        require(size.isdecimal(), f"game '{name}' says no size; Go is named {GO}, as go:9")
        return Go(size=int(size))
    if name == BACKGAMMON:
        return Backgammon(generator=generator or torch.Generator().manual_seed(0))
    if name not in GAMES:
        raise InvalidValue(f"there is no game '{name}'; {did_you_mean(name, [*GAMES, GO, BACKGAMMON])}")
    return GAMES[name]()
