"""Backgammon, held move for move to OpenSpiel's, and whole turns to GNU Backgammon's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurarium.errors import InvalidValue
from neurarium.parts.games import Game, any_legal, rows
from neurarium.worlds.backgammon import Backgammon
from neurarium.worlds.backgammon_moves import afterstates, borne_off, movable, moved, opening, turned


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def roll_theirs(state: object, positions, row: int) -> None:  # type: ignore[no-untyped-def]
    """Give OpenSpiel the dice, and at the beginning the player, of our position."""
    lower, higher = positions.record[row, :2].tolist()
    for outcome, _ in state.chance_outcomes():  # type: ignore[attr-defined]
        after = state.child(outcome)  # type: ignore[attr-defined]
        board = after.observation_tensor(0)
        if sorted(board[-2:]) == [lower, higher] and after.current_player() == (positions.player[row] == -1):
            state.apply_action(outcome)  # type: ignore[attr-defined]
            return
    raise AssertionError("no such roll")


def test_plays_as_openspiel_does_move_for_move() -> None:
    pyspiel = pytest.importorskip("pyspiel")
    game, source, count = Backgammon(generator=chance()), chance(1), 6
    positions = game.start(count)
    theirs = [pyspiel.load_game("backgammon").new_initial_state() for _ in range(count)]
    for row, state in enumerate(theirs):
        roll_theirs(state, positions, row)
    while not positions.over.all():
        legal = game.legal(positions)
        actions = any_legal(legal, generator=source)
        before, positions = positions, game.play(positions, actions)
        for row, state in enumerate(theirs):
            assert legal[row].nonzero().flatten().tolist() == ([] if state.is_terminal() else state.legal_actions())
            if state.is_terminal():
                continue
            assert before.player[row].item() == 1 - 2 * state.current_player()
            state.apply_action(int(actions[row]))
            if state.is_chance_node():
                roll_theirs(state, positions, row)
            assert positions.over[row].item() == state.is_terminal()
            assert positions.outcome[row].item() == (state.returns()[0] if state.is_terminal() else 0)
            board = positions.board[row].tolist()
            assert [max(0, n) for n in board[1:25]] == [state.board(0, point) for point in range(24)]
            assert [max(0, -n) for n in board[1:25]] == [state.board(1, point) for point in range(24)]
            assert (board[0], -board[25]) == (state.board(0, 100), state.board(1, 100))


def play_on(
    boards: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Any whole turn of each game; a game that is over begins anew."""
    dice = torch.randint(1, 7, (len(boards), 2), generator=generator)
    after, games = afterstates(boards, dice)
    lots = torch.rand(len(after), generator=generator)
    best = torch.zeros(len(boards)).scatter_reduce(0, games, lots, "amax")
    chosen = after[lots == best[games]]
    begun = torch.where((borne_off(chosen) == 15).unsqueeze(1), opening(), turned(chosen))
    return dice, after, games, begun


def test_a_whole_turn_leads_where_gnu_backgammon_says() -> None:
    gnubg = pytest.importorskip("gnubg_nn")
    source, boards = chance(2), opening().repeat(12, 1)
    for _ in range(60):
        dice, after, games, begun = play_on(boards, source)
        for row, board in enumerate(boards.tolist()):
            sides = [[max(0, -n) for n in board[1:]], [max(0, n) for n in board[24::-1]]]
            keys = gnubg.moves(sides, *dice[row].tolist())
            found = [gnubg.board_from_position_key(key) for key in keys] or [sides]
            ours = sorted(tuple(one) for one in after[games == row].tolist())
            theirs = [
                [own - other for own, other in zip([*us[::-1], 0], [0, *them], strict=True)] for them, us in found
            ]
            assert ours == sorted(tuple(one) for one in theirs)
        boards = begun


@settings(max_examples=8)
@given(seed=st.integers(0, 2**20))
def test_a_turn_is_what_its_moves_are(seed: int) -> None:
    """Every board of a whole turn can be reached action by action, and without a double nothing else can."""
    game, source = Backgammon(generator=chance(seed)), chance(seed)
    positions = game.start(3)
    for _ in range(20):
        positions = game.play(positions, any_legal(game.legal(positions), generator=source))
    dice, half = positions.record[:, :2], positions.record[:, 2] == 1
    after, games = game.afterstates(game.seen(positions), dice, half=half)
    row, action = game.legal(positions).nonzero(as_tuple=True)
    ends, on = game.after(positions, row, action), game.goes_on(positions, row, action)
    more, which = game.afterstates(ends[on], dice[row[on]], half=torch.ones(int(on.sum()), dtype=torch.bool))
    reached = {(int(g), *b) for g, b in zip(row[~on], ends[~on].tolist(), strict=True)}
    reached |= {(int(g), *b) for g, b in zip(row[on][which], more.tolist(), strict=True)}
    whole = {(int(g), *b) for g, b in zip(games, after.tolist(), strict=True)}
    open_games = {g for g in range(3) if not positions.over[g]}
    whole = {one for one in whole if one[0] in open_games}
    assert whole <= reached
    plain = {g for g in open_games if dice[g, 0] != dice[g, 1]}
    assert {one for one in reached if one[0] in plain} <= whole


@settings(max_examples=8)
@given(seed=st.integers(0, 2**20))
def test_no_checker_is_lost(seed: int) -> None:
    game, source = Backgammon(generator=chance(seed)), chance(seed)
    positions = game.start(4)
    for _ in range(40):
        positions = game.play(positions, any_legal(game.legal(positions), generator=source))
        sides = (positions.board, turned(positions.board))
        assert all((borne_off(side) >= 0).all() and (borne_off(side) <= 15).all() for side in sides)
        assert game.planes(positions)[:, 2:6, 0, 0].shape == (4, 4)
        ours = game.planes(positions)[:, 0].sum((1, 2)) + game.planes(positions)[:, (2, 4), 0, 0].sum(1)
        assert ours.tolist() == [15.0] * 4


def board(**places: int) -> torch.Tensor:
    """A board by places: p3=2 are two of ours on place 3."""
    made = torch.zeros(1, 26, dtype=torch.int8)
    for place, count in places.items():
        made[0, int(place[1:])] = count
    return made


def starts(made: torch.Tensor, die: int) -> list[int]:
    return movable(made, torch.tensor([die])).nonzero()[:, 1].tolist()


def test_who_is_on_the_bar_comes_first_and_blocked_points_stay_shut() -> None:
    assert starts(board(p0=1, p5=3, p4=-2), 3) == [0]
    assert starts(board(p0=1, p5=3, p4=-2), 4) == []
    assert starts(board(p5=1, p8=-1), 3) == [5]


def test_checkers_are_borne_off_when_all_are_home_the_hindmost_first() -> None:
    assert starts(board(p18=1, p24=1), 1) == [18]
    assert starts(board(p20=1, p23=1), 2) == [20, 23]
    assert starts(board(p20=1, p23=1), 6) == [20]
    assert borne_off(moved(board(p23=1), torch.tensor([23]), torch.tensor([5]))).item() == 15


def test_both_numbers_must_be_used_or_else_the_larger() -> None:
    lone = board(p1=1, p4=-2, p12=-2)  # after the 6 no 5 goes; after the 5 the 6 does not either
    after, _ = afterstates(lone, torch.tensor([[5, 6]]))
    assert after.nonzero()[:, 1].tolist() == [4, 7, 12]
    only = board(p1=1, p7=-2, p12=-2)  # the 6 is shut
    after, _ = afterstates(only, torch.tensor([[6, 5]]))
    assert after[0, 6].item() == 1
    shut = board(p0=2, p5=-2, p6=-2)
    after, _ = afterstates(shut, torch.tensor([[5, 6]]))
    assert torch.equal(after, shut)


def test_moves_are_said_in_common_notation() -> None:
    game = Backgammon(generator=chance())
    positions = rows(game.start(50), torch.arange(50))
    for row in (0, 1, 2):
        positions.record[row] = torch.tensor([[1, 3, 0], [6, 6, 0], [1, 6, 0]][row])
        positions.player[row] = (1, -1, -1)[row]
    assert "8/5 6/5" in game.words(positions, 0)
    assert {"24/18(2)", "13/7(2)", "24/18 13/7"} <= set(game.words(positions, 1))
    assert {"13/7 8/7", "13/7/6", "24/18 8/7"} <= set(game.words(positions, 2))
    word = game.words(positions, 2)["13/7 8/7"]
    assert game.after(positions, torch.tensor([2]), torch.tensor([word]))[0, 18].item() == 2


def test_the_board_is_drawn() -> None:
    game = Backgammon(generator=chance())
    positions = game.start(1)
    positions.player[:], positions.record[:] = 1, torch.tensor([[1, 3, 0]])
    assert game.text(positions).splitlines() == [
        "+ 13 14 15 16 17 18 +---+ 19 20 21 22 23 24 +",
        "|  x           o    |   |  o              x |",
        "|  x           o    |   |  o              x |",
        "|  x           o    |   |  o                |",
        "|  x                |   |  o                |",
        "|  x                |   |  o                |",
        "|                   |bar|                   |",
        "|  o                |   |  x                |",
        "|  o                |   |  x                |",
        "|  o           x    |   |  x                |",
        "|  o           x    |   |  x              o |",
        "|  o           x    |   |  x              o |",
        "+ 12 11 10  9  8  7 +---+  6  5  4  3  2  1 +",
        "off: x 0, o 0   x moves 3 1",
    ]


def test_it_is_a_game_and_dice_are_fair() -> None:
    game = Backgammon(generator=chance())
    assert isinstance(game, Game)
    positions = game.start(36_000)
    assert (positions.record[:, 0] < positions.record[:, 1]).all()
    counts = (positions.record[:, 0] * 7 + positions.record[:, 1]).bincount()
    assert counts[counts > 0].tolist() == pytest.approx([2400] * 15, rel=0.1)
    assert abs(positions.player.float().mean()) < 0.02
    rolled = game.turn(positions, game.seen(positions)).record[:, :2]
    assert rolled.float().mean().item() == pytest.approx(3.5, abs=0.02)
    assert (rolled[:, 0] == rolled[:, 1]).float().mean().item() == pytest.approx(1 / 6, abs=0.01)


def test_a_gammon_is_told() -> None:
    game = Backgammon(generator=chance())
    positions = game.start(2)
    positions.board[:] = board(p24=1, p20=-15)
    positions.board[1, 20] = -14
    positions.player[:] = 1
    after = game.turn(positions, torch.where(positions.board > 0, 0, positions.board))
    assert after.over.tolist() == [True, True]
    assert after.outcome.tolist() == [1.0, 1.0]
    assert game.gammons(after).tolist() == [True, False]
    assert torch.equal(game.turn(after, game.seen(after)).board, after.board)


def test_refuses_no_games(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match=r"games is 0"):
        Backgammon(generator=chance()).start(0)
