"""Minimax held to known trees and perfect solvers; alpha-beta held to minimax."""

from dataclasses import dataclass, field
from functools import cache
from math import inf

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurarium.errors import InvalidValue
from neurarium.parts.games import Advises, Chance, Player, any_legal
from neurarium.systems.reinforcement.minimax import (
    Minimax,
    Row,
    Rows,
    State,
    against_every_reply,
    alpha_beta,
    minimax,
)
from neurarium.worlds.heuristics import heuristic_of, lines_of, open_lines
from neurarium.worlds.lines import Lines, connect_four, tic_tac_toe


@dataclass
class Node:
    """A tree written down: either an end with its value, or children."""

    value: float = 0.0
    children: list["Node"] = field(default_factory=list)
    player: int = 1

    @property
    def over(self) -> bool:
        return not self.children

    def legal(self) -> range:
        return range(len(self.children))

    def play(self, action: int) -> "Node":
        return self.children[action]


def slow(node: Node, depth: int) -> float:
    """What minimax is, in one line."""
    if node.over or depth == 0:
        return node.value
    return (max if node.player == 1 else min)(slow(child, depth - 1) for child in node.children)


PLAYER = st.sampled_from([1, -1])
TREES = st.recursive(
    st.builds(Node, value=st.integers(-4, 4).map(float)),
    lambda below: st.builds(
        Node, value=st.integers(-4, 4).map(float), children=st.lists(below, min_size=1, max_size=4), player=PLAYER
    ),
    max_leaves=40,
)


@given(tree=TREES, depth=st.integers(0, 5), haste=st.sampled_from([0.0, 0.01]))
def test_alpha_beta_is_minimax_on_any_tree_whoever_is_to_move(tree: Node, depth: int, haste: float) -> None:
    def guess(node: Node) -> float:
        return node.value

    plain = minimax(tree, depth=depth, heuristic=guess, haste=haste)
    pruned = alpha_beta(tree, depth=depth, heuristic=guess, haste=haste)
    assert plain[:2] == pruned[:2]
    assert pruned.nodes <= plain.nodes
    if haste == 0:
        assert plain.value == slow(tree, depth)


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 2**20), plies=st.integers(0, 14), depth=st.integers(1, 3))
def test_alpha_beta_is_minimax_on_connect_four(seed: int, plies: int, depth: int) -> None:
    game, chance = connect_four(), torch.Generator().manual_seed(seed)
    positions = game.start(1)
    for _ in range(plies):
        positions = game.play(positions, any_legal(game.legal(positions), generator=chance))
    states = Rows(game, guess=heuristic_of(game))
    plain, pruned = (
        search(states.state(positions), depth=depth, heuristic=states.heuristic) for search in (minimax, alpha_beta)
    )
    assert plain[:2] == pruned[:2]


@pytest.mark.usefixtures("unchecked")
def test_the_whole_tree_of_tic_tac_toe_is_the_known_one() -> None:
    states = Rows(tic_tac_toe())
    pruned = alpha_beta(states.state(), depth=9)
    assert len(states._known) < 3_000  # what is cut is never worked out
    whole = minimax(states.state(), depth=9)
    assert (whole.value, whole.nodes) == (0.0, 549_946)
    assert len(states._known) == 5_478
    assert pruned[:2] == whole[:2]
    assert pruned.nodes / whole.nodes < 0.03


@pytest.mark.usefixtures("unchecked")
def test_no_reply_at_tic_tac_toe_beats_it_from_either_side() -> None:
    states = Rows(tic_tac_toe())

    @cache
    def choose(state: Row) -> int:
        return alpha_beta(state, depth=9).action or 0

    for side in (1, -1):
        won, drawn, lost = against_every_reply(states.state(), choose, side=side)
        assert lost == 0
        assert won > drawn > 0


@pytest.mark.usefixtures("unchecked")
def test_scores_late_connect_four_positions_as_a_perfect_solver_does() -> None:
    bitbully = pytest.importorskip("bitbully")
    solver, game, chance = bitbully.BitBully(opening_book=None), connect_four(), torch.Generator().manual_seed(0)
    checked = 0
    while checked < 6:
        positions, board = game.start(1), bitbully.Board()
        while int(positions.moves) < 30 and not positions.over:
            action = any_legal(game.legal(positions), generator=chance)
            positions = game.play(positions, action)
            board.play(int(action))
        if positions.over:
            continue
        left = 42 - int(positions.moves)
        states = Rows(game)
        # With haste 1 an end counts 1 + the plies left at it: the score of a perfect solver counts them in pairs.
        for column, score in solver.score_all_moves(board).items():
            after = states.state(positions).play(column)
            value = int(positions.player) * alpha_beta(after, depth=left - 1, haste=1.0).value
            assert (value > 0) - (value < 0) == (score > 0) - (score < 0)
            assert (abs(int(value)) + 1) // 2 == abs(score)
        checked += 1


@pytest.mark.usefixtures("unchecked")
def test_a_player_wins_at_once_and_stops_the_other() -> None:
    game = connect_four()
    player = Minimax(game, depth=3, guess=heuristic_of(game))
    assert isinstance(player, Player)
    assert isinstance(player, Advises)
    ready, threatened = game.start(1), game.start(1)
    for column in (0, 6, 0, 6, 0, 5):
        ready = game.play(ready, torch.tensor([column]))
    for column in (0, 3, 1, 3, 6, 3):
        threatened = game.play(threatened, torch.tensor([column]))
    assert player.choose(ready).tolist() == [0]
    assert player.choose(threatened).tolist() == [3]
    values = player.weigh(threatened)[0]
    assert int(values.argmax()) == 3
    assert (values[[0, 1, 2, 4, 5, 6]] < -0.9).all()


def test_chance_loses_to_two_plies() -> None:
    game = tic_tac_toe()
    player, chance = Minimax(game, depth=2), Chance(game, generator=torch.Generator().manual_seed(0))
    positions = game.start(16)
    while not positions.over.all():
        mover = player if int(positions.moves.max()) % 2 == 0 else chance
        positions = game.play(positions, mover.choose(positions))
    assert (positions.outcome == 1).float().mean() > 0.7


def test_heuristics_see_open_lines() -> None:
    board = torch.zeros(3, 6, 7, dtype=torch.int8)
    board[0, 5, :3] = 1
    board[1, 5, :3] = -1
    guess = open_lines(board, line=4)
    assert guess[0] == -guess[1] > 0.2
    assert guess[2] == 0
    assert len(lines_of(3, 3, line=3)) == 8
    assert open_lines(torch.ones(1, 6, 7, dtype=torch.int8), line=4) < 1
    blocked = board.clone()
    blocked[0, 5, 3] = -1
    assert open_lines(blocked, line=4)[0] < guess[0]


def test_a_row_is_a_state() -> None:
    row = Rows(Lines(height=2, width=2, line=2, gravity=False, name="small")).state()
    assert isinstance(row, State)
    assert minimax(row, depth=0) == (0.0, None, 1)
    assert alpha_beta(row, depth=2, alpha=-inf, beta=inf).nodes == 11


def test_refuses_a_player_who_does_not_look(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match="depth is 0; a player looks at least 1 ply ahead"):
        Minimax(tic_tac_toe(), depth=0)
