"""Tic-tac-toe and connect four, held move for move to OpenSpiel's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.errors import InvalidValue
from neurarium.parts.games import Game, action_of, any_legal, joined, rows, where
from neurarium.worlds.lines import Lines, connect_four, tic_tac_toe

GAMES = {"tic_tac_toe": tic_tac_toe, "connect_four": connect_four}


@pytest.mark.parametrize("name", GAMES)
def test_plays_as_openspiel_does_move_for_move(name: str) -> None:
    pyspiel = pytest.importorskip("pyspiel")
    game, chance = GAMES[name](), torch.Generator().manual_seed(0)
    positions = game.start(200)
    theirs = [pyspiel.load_game(name).new_initial_state() for _ in range(200)]
    while not positions.over.all():
        legal = game.legal(positions)
        actions = any_legal(legal, generator=chance)
        positions = game.play(positions, actions)
        for row, state in enumerate(theirs):
            assert legal[row].nonzero().flatten().tolist() == ([] if state.is_terminal() else state.legal_actions())
            if not state.is_terminal():
                state.apply_action(int(actions[row]))
            assert positions.over[row].item() == state.is_terminal()
            assert positions.outcome[row].item() == (state.returns()[0] if state.is_terminal() else 0)
            assert state.is_terminal() or positions.player[row].item() == 1 - 2 * state.current_player()


@pytest.mark.parametrize("name", GAMES)
def test_is_a_game(name: str) -> None:
    assert isinstance(GAMES[name](), Game)


@given(seed=st.integers(0, 2**20), name=st.sampled_from(sorted(GAMES)), plies=st.integers(0, 12))
def test_a_symmetric_game_goes_on_symmetrically(seed: int, name: str, plies: int) -> None:
    game, chance = GAMES[name](), torch.Generator().manual_seed(seed)
    for cells, actions in zip(game.cell_symmetries, game.action_symmetries, strict=True):
        one, other = game.start(1), game.start(1)
        for _ in range(plies):
            action = any_legal(game.legal(one), generator=chance)
            one, other = game.play(one, action), game.play(other, (actions == action).nonzero().flatten())
        assert torch.equal(game.planes(one).flatten(2)[:, :, cells], game.planes(other).flatten(2))
        assert torch.equal(game.legal(one)[:, actions], game.legal(other))
        assert torch.equal(one.outcome, other.outcome)


def test_a_game_that_is_over_stays_as_it_is() -> None:
    game = tic_tac_toe()
    positions = game.start(1)
    for cell in (0, 3, 1, 4, 2, 8):
        positions = game.play(positions, torch.tensor([cell]))
    assert positions.moves.tolist() == [5]
    assert positions.outcome.tolist() == [1.0]
    assert not game.legal(positions).any()


def test_any_board_will_do() -> None:
    game = Lines(height=2, width=5, line=3, gravity=False, name="low")
    positions = game.start(1)
    for cell in (0, 5, 1, 6, 2):
        positions = game.play(positions, torch.tensor([cell]))
    assert positions.outcome.tolist() == [1.0]


def test_batches_are_taken_apart_and_joined() -> None:
    game = connect_four()
    two = game.play(game.start(2), torch.tensor([3, 4]))
    assert torch.equal(joined([rows(two, torch.tensor([1])), rows(two, torch.tensor([0]))]).board, two.board.flip(0))
    mixed = where(torch.tensor([True, False]), two, game.start(2))
    assert mixed.moves.tolist() == [1, 0]


def test_any_legal_action_is_as_likely_as_another() -> None:
    legal = torch.tensor([[True, False, True, True]]).expand(30_000, 4)
    counts = any_legal(legal, generator=torch.Generator().manual_seed(0)).bincount(minlength=4)
    assert counts[1] == 0
    assert counts[counts > 0].tolist() == pytest.approx([10_000] * 3, rel=0.05)


def test_a_move_is_named_in_words() -> None:
    game = tic_tac_toe()
    positions = game.play(game.start(1), torch.tensor([4]))
    assert action_of(game, positions, " A3 ") == 0
    with pytest.raises(InvalidValue, match=r"'b2' is no legal move here; legal are a3, b3"):
        action_of(game, positions, "b2")


def test_refuses_boards_that_cannot_be(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match=r"line is 9; a board of 3×3 cannot hold it"):
        Lines(height=3, width=3, line=9, gravity=False, name="x")
    with pytest.raises(InvalidValue, match=r"games is 0"):
        connect_four().start(0)
