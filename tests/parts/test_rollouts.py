"""Random games to the end, against games played one by one and against exact odds."""

import pytest
import torch

from neurarium.errors import InvalidValue
from neurarium.parts.games import Positions, joined
from neurarium.parts.rollouts import Rollouts, play_out
from neurarium.worlds.lines import Lines, connect_four, tic_tac_toe


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def after(game: Lines, *actions: int) -> Positions:
    positions = game.start(1)
    for action in actions:
        positions = game.play(positions, torch.tensor([action]))
    return positions


def odds(game: Lines, positions: Positions) -> float:
    """The first player's exact expectation under random play, by recursion."""
    if positions.over.item():
        return float(positions.outcome)
    moves = game.legal(positions)[0].nonzero().flatten().tolist()
    return sum(odds(game, game.play(positions, torch.tensor([move]))) for move in moves) / len(moves)


def test_the_mean_is_what_random_play_comes_to() -> None:
    game = tic_tac_toe()
    for moves in ((0, 4, 8, 2), (4, 0, 2, 6), (0, 1, 4, 2, 8)):
        positions = after(game, *moves)
        evaluation = Rollouts(game, rollouts=4000, generator=chance())(positions)
        assert evaluation.values.item() * positions.player.item() == pytest.approx(odds(game, positions), abs=0.05)


def test_every_game_goes_its_own_way_and_ended_ones_keep_their_outcome() -> None:
    game = connect_four()
    won = after(game, 0, 1, 0, 1, 0, 1, 0)
    open_ = after(game, 3)
    ends = play_out(game, joined([won, open_, won, open_]), generator=chance())
    assert ends[0] == ends[2] == 1
    assert set(play_out(game, game.start(300), generator=chance()).tolist()) >= {-1.0, 1.0}


def test_values_are_the_movers_and_priors_equal() -> None:
    game = tic_tac_toe()
    lost = after(game, 0, 3, 1, 4, 8)  # x is about to complete the upper row; so is o the middle one, and o moves
    evaluation = Rollouts(game, rollouts=2000, generator=chance())(lost)
    assert evaluation.values.item() == pytest.approx(-odds(game, lost), abs=0.06)
    assert evaluation.priors[0].tolist() == [0, 0, 0.25, 0, 0, 0.25, 0.25, 0.25, 0]


def test_the_same_seed_plays_the_same_games() -> None:
    game = connect_four()
    ends = [play_out(game, game.start(50), generator=chance(seed)) for seed in (1, 1, 2)]
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_no_rollouts_are_refused(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match="rollouts is 0"):
        Rollouts(tic_tac_toe(), rollouts=0, generator=chance())
