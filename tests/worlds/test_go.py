"""Go on small boards, held move for move to OpenSpiel's."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.games import Game, Positions, action_of, any_legal
from neurarium.worlds.go import Go


def move(game: Go, positions: Positions, chance: torch.Generator, *, passing: float = 0.02) -> Tensor:
    """Any legal move; a pass only sometimes, or where nothing else is left."""
    legal = game.legal(positions)
    passes = torch.rand(len(legal), generator=chance) < passing
    legal[:, -1] &= passes | ~legal[:, :-1].any(1)
    legal[:, :-1] &= ~passes.unsqueeze(1)
    return any_legal(legal, generator=chance)


def follow(game: Go, games: int, seed: int, *, passing: float, limit: int = 10**6) -> tuple[Positions, list[Any]]:
    """Play games of chance here and there, and compare everything at every move."""
    pyspiel = pytest.importorskip("pyspiel")
    theirs = [
        pyspiel.load_game(f"go(board_size={game.size},komi={game.komi})").new_initial_state() for _ in range(games)
    ]
    positions, chance = game.start(games), torch.Generator().manual_seed(seed)
    while not positions.over.all() and limit:
        legal, actions = game.legal(positions).tolist(), move(game, positions, chance, passing=passing)
        positions, limit = game.play(positions, actions), limit - 1
        signs, ends = positions.outcome.tolist(), positions.over.tolist()
        for row, state in enumerate(theirs):
            if state.is_terminal():
                assert not any(legal[row])
                continue
            assert [action for action, may in enumerate(legal[row]) if may] == state.legal_actions()
            state.apply_action(int(actions[row]))
            assert ends[row] == state.is_terminal()
            assert signs[row] == state.returns()[0]
    for row, state in enumerate(theirs):
        lines = [line.split()[1] for line in str(state).splitlines()[2 : 2 + game.size]]
        ours = ["".join(line.split()[1:]) for line in game.text(positions, row).splitlines()[: game.size]]
        assert [line.translate(str.maketrans("XO+", "xo.")) for line in lines] == ours
    return positions, theirs


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("size", "komi", "games", "passing"),
    [(3, 0.5, 120, 0.05), (5, 0.5, 120, 0.0), (5, 1.0, 60, 0.1), (7, 7.5, 20, 0.02)],
)
def test_plays_as_openspiel_does_move_for_move(size: int, komi: float, games: int, passing: float) -> None:
    positions, theirs = follow(Go(size=size, komi=komi), games, seed=size, passing=passing)
    assert all(state.is_terminal() for state in theirs)
    if size == 3:  # so small a board repeats itself, which is a draw
        assert ((positions.outcome == 0) & (positions.moves < 18)).any()


@pytest.mark.usefixtures("unchecked")
def test_a_large_board_is_played_too() -> None:
    follow(Go(size=13), 2, seed=0, passing=0.0, limit=150)


def told(game: Go, words: str) -> Positions:
    """One game, by its moves."""
    positions = game.start(1)
    for word in words.split():
        positions = game.play(positions, torch.tensor([action_of(game, positions, word)]))
    return positions


def test_a_ko_is_not_retaken_at_once() -> None:
    game = Go(size=5)
    positions = told(game, "b1 c1 a2 d2 b3 c3 c2 b2")
    assert positions.board[0, 1].tolist() == [1, -1, 0, -1, 0]
    with pytest.raises(InvalidValue, match="'c2' is no legal move here"):
        action_of(game, positions, "c2")
    later = told(game, "b1 c1 a2 d2 b3 c3 c2 b2 e5 a5 c2")
    assert later.board[0, 1].tolist() == [1, 0, 1, -1, 0]


def test_two_passes_end_it_and_area_counts() -> None:
    game = Go(size=5, komi=0.5)
    positions = told(game, "c1 d1 c2 d2 c3 d3 c4 d4 c5 d5 pass pass")
    assert positions.over.item()
    assert game.score(positions.board).tolist() == [15 - 10 - 0.5]
    assert positions.outcome.tolist() == [1.0]
    assert told(Go(size=5, komi=9.0), "c3 pass pass").outcome.tolist() == [1.0]
    assert told(Go(size=5), "pass pass").outcome.tolist() == [-1.0]
    assert told(Go(size=5, komi=0.0), "pass pass").outcome.tolist() == [0.0]


def flooded(board: list[list[int]]) -> tuple[list[int], list[int]]:
    """Each cell's least cell of its group and number of its liberties, slowly."""
    size = len(board)

    def beside(cell: int) -> list[int]:
        row, column = divmod(cell, size)
        around = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
        return [r * size + c for r, c in around if 0 <= r < size and 0 <= c < size]

    flat = [stone for line in board for stone in line]
    labels, liberties = [], []
    for cell, stone in enumerate(flat):
        group, border = {cell}, [cell]
        while border:
            near = {other for one in border for other in beside(one) if flat[other] == stone} - group
            group |= near
            border = list(near)
        labels.append(min(group))
        liberties.append(len({o for one in group for o in beside(one) if flat[o] == 0}) if stone else 0)
    return labels, liberties


@settings(deadline=None, max_examples=25)
@given(size=st.integers(2, 9), seed=st.integers(0, 2**20), share=st.floats(0, 1))
def test_groups_and_liberties_are_those_of_a_slow_search(size: int, seed: int, share: float) -> None:
    chance, game = torch.Generator().manual_seed(seed), Go(size=size)
    colours = torch.randint(0, 2, (3, size, size), generator=chance) * 2 - 1
    board = (colours * (torch.rand(3, size, size, generator=chance) < share)).to(torch.int8)
    found = game.groups(board.flatten(1))
    for row in range(3):
        labels, liberties = flooded(board[row].tolist())
        assert found.label[row].tolist() == labels
        stones = board[row].flatten() != 0
        assert found.liberties[row][stones].tolist() == torch.tensor(liberties)[stones].tolist()


def test_a_winding_group_is_one() -> None:
    board = torch.zeros(9, 9, dtype=torch.int8)
    board[::2] = 1
    board[1::4, 8], board[3::4, 0] = 1, 1
    assert Go(size=9).groups(board.view(1, 81)).label[0][board.flatten() == 1].unique().tolist() == [0]


@pytest.mark.usefixtures("unchecked")
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**20))
def test_a_symmetric_game_goes_on_symmetrically(seed: int) -> None:
    game = Go(size=4)
    for cells, actions in zip(game.cell_symmetries, game.action_symmetries, strict=True):
        chance = torch.Generator().manual_seed(seed)
        one, other = game.start(1), game.start(1)
        for _ in range(20):
            action = move(game, one, chance)
            one, other = game.play(one, action), game.play(other, (actions == action).nonzero().flatten())
        assert torch.equal(game.planes(one).flatten(2)[:, :, cells], game.planes(other).flatten(2))
        assert torch.equal(game.legal(one)[:, actions], game.legal(other))
        assert torch.equal(one.outcome, other.outcome)


def test_it_is_a_game_with_words() -> None:
    game = Go(size=9)
    assert isinstance(game, Game)
    assert (game.action("J9"), game.action("pass")) == (80, 81)
    assert game.text(game.start(1)).splitlines()[-1].split() == list("abcdefghj")
    planes = game.planes(told(game, "c3"))[0]
    assert [float(part.sum()) for part in (planes, planes[1, 2, 2])] == [1, 1]


def test_refuses_boards_that_cannot_be(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match="size is 20; a board of Go has 2 to 19 cells"):
        Go(size=20)
    with pytest.raises(InvalidValue, match="'i5' is no cell of a board of 9; from a1 to j9"):
        Go(size=9).action("i5")
    with pytest.raises(InvalidValue, match="longest is 1"):
        Go(size=9, longest=1)
    with pytest.raises(InvalidValue, match="games is 0"):
        Go().start(0)
