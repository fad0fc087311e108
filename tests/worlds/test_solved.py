"""Solved positions, held to a perfect solver and to a search without any cleverness."""

from functools import cache
from typing import Any

import pytest
import torch

from neurarium.errors import InvalidValue
from neurarium.parts.games import any_legal, where
from neurarium.worlds.go import Go
from neurarium.worlds.lines import connect_four, tic_tac_toe
from neurarium.worlds.solved import CONNECT_FOUR, by_chance, kept, optimal_moves, solved, stored

STONES, COUNT = (8, 16), 200


def drawn() -> list[str]:
    """The actions of random games of connect four, of 8 to 16 moves, in which nobody has won."""
    game, chance, games = connect_four(), torch.Generator().manual_seed(0), 8 * COUNT
    lengths = torch.randint(STONES[0], STONES[1] + 1, (games,), generator=chance)
    positions, played = game.start(games), [""] * games
    for ply in range(STONES[1]):
        actions = any_legal(game.legal(positions), generator=chance)
        on = (lengths > ply) & ~positions.over
        for row in on.nonzero().flatten().tolist():
            played[row] += str(int(actions[row]))
        positions = where(on, game.play(positions, actions), positions)
    return [moves for moves, over in zip(played, positions.over.tolist(), strict=True) if not over]


def answer(solver: Any, board: Any) -> int | None:
    """The optimal actions as bits; none where the position is left out."""
    if board.can_win_next():
        return None
    worth = {action: (score > 0) - (score < 0) for action, score in solver.score_all_moves(board).items()}
    best = max(worth.values())
    bits = sum(1 << action for action, sign in worth.items() if sign == best)
    return bits if len(set(worth.values())) > 1 else None


def test_connect_fours_answers_are_those_of_a_perfect_solver() -> None:
    bitbully = pytest.importorskip("bitbully")
    solver = bitbully.BitBully("12-ply-dist")
    for word in CONNECT_FOUR.split()[::8]:
        board, (moves, bits) = bitbully.Board(), word.split(":")
        assert board.play(moves)
        assert answer(solver, board) == int(bits, 16)


@pytest.mark.slow
def test_connect_fours_are_the_first_telling_positions_of_random_play() -> None:
    bitbully = pytest.importorskip("bitbully")
    solver, words = bitbully.BitBully("12-ply-dist"), list[str]()
    for moves in drawn():
        board = bitbully.Board()
        assert board.play(moves)
        bits = answer(solver, board)
        words += [] if bits is None else [f"{moves}:{bits:x}"]
        if len(words) == COUNT:
            break
    assert words == CONNECT_FOUR.split()


def test_tic_tac_toes_are_those_of_plain_recursion() -> None:
    lines = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]

    @cache
    def worth(board: tuple[int, ...], player: int) -> int:
        """To the one to move."""
        if any(board[a] == board[b] == board[c] == -player for a, b, c in lines):
            return -1
        free = [cell for cell in range(9) if not board[cell]]
        return max((-worth(placed(board, cell, player), -player) for cell in free), default=0)

    def placed(board: tuple[int, ...], cell: int, player: int) -> tuple[int, ...]:
        return (*board[:cell], player, *board[cell + 1 :])

    known = solved(tic_tac_toe())
    boards = [tuple(board) for board in known.positions.board.flatten(1).tolist()]
    for board, player, optimal in zip(boards, known.positions.player.tolist(), known.optimal.tolist(), strict=True):
        values = {cell: -worth(placed(board, cell, player), -player) for cell in range(9) if not board[cell]}
        assert [cell for cell in range(9) if optimal[cell]] == [
            cell for cell, value in values.items() if value == max(values.values())
        ]
        assert len(set(values.values())) > 1
    assert len(set(boards)) == len(boards) > 2000


class Told:
    """A player who knows the answers, or does the opposite."""

    def __init__(self, answers: torch.Tensor) -> None:
        self.answers = answers

    def choose(self, positions: object) -> torch.Tensor:
        return self.answers.long().argmax(1)


def test_the_share_is_that_of_the_positions_whose_worth_is_kept() -> None:
    game = connect_four()
    known = solved(game)
    wrong = game.legal(known.positions) & ~known.optimal
    assert optimal_moves(Told(known.optimal), known) == 1
    assert optimal_moves(Told(wrong), known) == 0
    assert kept(torch.full((COUNT,), 3), known) == pytest.approx(float(known.optimal[:, 3].float().mean()))
    assert 0.2 < by_chance(game, known) < 0.5
    assert known.some(50).positions.moves.tolist() == known.positions.moves[::4].tolist()
    assert len(known.some(1000).optimal) == COUNT


def test_what_is_not_solved_is_refused(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match=r"no positions of .* are solved; take tic_tac_toe or connect_four"):
        solved(Go(size=5))
    with pytest.raises(InvalidValue, match="positions is 0"):
        solved(connect_four()).some(0)
    with pytest.raises(InvalidValue, match="illegal move 7"):
        stored(connect_four(), "0000000:1")
