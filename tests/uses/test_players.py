"""Who sits down at a board, and who is refused."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from neurarium.errors import InvalidValue, MissingExtra, RunError
from neurarium.parts.games import Advises, Chance, Player
from neurarium.uses import players
from neurarium.uses.players import lay_table, learner_of
from neurarium.worlds.lines import connect_four


class Learned:
    """A learner that plays, without a run around it."""

    def __init__(self) -> None:
        self.game = connect_four()

    def player(self, *, generator: torch.Generator) -> Player:
        return Chance(self.game, generator=generator)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["random", "minimax:2", "uct:5"])
@pytest.mark.parametrize("game", ["tic_tac_toe", "connect_four", "go:4"])
def test_players_by_name_choose_what_is_legal(name: str, game: str) -> None:
    table = lay_table([name], game=game)
    positions = table.game.start(2)
    actions = table.players[0].choose(positions)
    assert table.game.legal(positions).gather(1, actions.unsqueeze(1)).all()
    assert isinstance(table.players[0], Advises) == (name != "random")


def test_perfect_plays_connect_four_without_a_mistake() -> None:
    pytest.importorskip("bitbully")
    table = lay_table(["perfect"], game="connect_four")
    game, player = table.game, table.players[0]
    start = game.start(1)
    assert player.choose(start).tolist() == [3]
    ready = start
    for column in (0, 6, 0, 6, 0, 5):
        ready = game.play(ready, torch.tensor([column]))
    assert player.choose(ready).tolist() == [0]
    assert isinstance(player, Advises)
    assert player.weigh(start)[0].tolist() == [-2, -1, 0, 1, 0, -1, -2]


def test_a_run_brings_its_game_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(players, "learner_of", lambda word: Learned())
    table = lay_table(["runs/some/001", "random"])
    assert table.game.name == "connect_four"
    with pytest.raises(InvalidValue, match="runs/some/001 plays connect_four, not go:9"):
        lay_table(["runs/some/001", "random"], game="go:9")


def test_refuses_who_cannot_play(unchecked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for word, complaint in {
        "minimax": "player 'minimax' is written minimax:DEPTH, as minimax:4",
        "minimax:x": "is written minimax:DEPTH",
        "random:3": "player 'random:3' is written random, as random",
        "minimax:0": "depth is 0",
        "uct:0": "simulations is 0",
        "somebody": "there is no run or player 'somebody'; players are random, minimax:DEPTH",
    }.items():
        with pytest.raises(InvalidValue, match=complaint):
            lay_table([word], game="connect_four")
    with pytest.raises(InvalidValue, match="what do random play\\? say --game"):
        lay_table(["random"])
    with pytest.raises(InvalidValue, match="perfect plays connect_four, not tic_tac_toe"):
        lay_table(["perfect"], game="tic_tac_toe")
    with pytest.raises(InvalidValue, match="minimax cannot play backgammon, which has dice"):
        lay_table(["minimax:2"], game="backgammon")
    with pytest.raises(RunError, match="is not a run folder"):
        lay_table([str(tmp_path)])
    monkeypatch.setitem(sys.modules, "bitbully", None)
    with pytest.raises(MissingExtra, match="perfect is the solver bitbully, which is not installed"):
        lay_table(["perfect"], game="connect_four")


def test_a_run_that_plays_nothing_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = {"fit": SimpleNamespace(learner=object())}
    monkeypatch.setattr(players, "open_run", lambda folder: SimpleNamespace(fits=fits))
    with pytest.raises(RunError, match="trained nothing that plays a game; take a run of alphago_zero"):
        learner_of(str(tmp_path))
    fits["other"] = SimpleNamespace(learner=Learned())
    assert learner_of(str(tmp_path)).game.name == "connect_four"
