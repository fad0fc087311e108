"""TD-Gammon: its inputs by hand, its gradients against autograd, TD(1) against Monte Carlo, its turns and moves."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurarium.errors import InvalidValue
from neurarium.parts.games import Advises, Plays, any_legal, rows
from neurarium.systems.reinforcement.td_gammon import (
    Evaluation,
    SelfPlay,
    TDGammon,
    TurnGame,
    Turns,
    falling,
    tesauro,
)
from neurarium.worlds.backgammon import Backgammon
from neurarium.worlds.backgammon_moves import opening, turned
from neurarium.worlds.backgammon_rivals import any_turn, play_sides, pubeval, pubeval_installed


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learner_of(games: int, seed: int = 0, **options: Any) -> TDGammon:
    torch.manual_seed(seed)
    return TDGammon(game=Backgammon(generator=chance(seed)), games=games, hidden=7, **options)


def slow_inputs(board: list[int], mine: bool) -> list[float]:
    """The 198 inputs as Sutton & Barto tell them, number by number."""
    units: list[float] = []
    for place in range(1, 25):
        for count in (max(0, board[place]), max(0, -board[place])):
            units += [float(count >= 1), float(count >= 2), float(count >= 3), max(0, count - 3) / 2]
    own, other = sum(max(0, n) for n in board), sum(max(0, -n) for n in board)
    units += [board[0] / 2, -board[25] / 2, (15 - own) / 15, (15 - other) / 15, float(mine), float(not mine)]
    return units


def test_the_opening_has_tesauros_inputs() -> None:
    units = tesauro(opening().unsqueeze(0), torch.tensor([True]))[0]
    points = units[:192].view(24, 2, 4)
    assert points[0].tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]  # two of one's own furthest away
    assert points[11].tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]  # five
    assert points[16].tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]  # three
    assert points[23].tolist() == [[0, 0, 0, 0], [1, 1, 0, 0]]
    assert units[192:].tolist() == [0, 0, 0, 0, 1, 0]


@settings(max_examples=10)
@given(seed=st.integers(0, 2**20))
def test_every_board_has_tesauros_inputs(seed: int) -> None:
    game, source = Backgammon(generator=chance(seed)), chance(seed)
    positions = game.start(4)
    for _ in range(30):
        positions = game.play(positions, any_legal(game.legal(positions), generator=source))
    to_move = positions.player == 1
    slow = torch.tensor([slow_inputs(b, m) for b, m in zip(positions.board.tolist(), to_move.tolist(), strict=True)])
    torch.testing.assert_close(tesauro(positions.board, to_move), slow)


def test_gradients_are_autograds() -> None:
    torch.manual_seed(0)
    network, units = Evaluation(hidden=5), torch.rand(3, 198)
    value, gradient = network.gradients(units)
    torch.testing.assert_close(value, network(units))
    for row in range(3):
        network.zero_grad()
        network(units)[row].backward()
        slow = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        torch.testing.assert_close(gradient[row], slow)


def whole_game(seed: int) -> tuple[list[torch.Tensor], bool]:
    """A game of random turns: the boards before each roll as the one to move saw them; whether the first won."""
    game = Backgammon(generator=chance(seed))
    positions, boards, side = game.start(1), [], any_turn(game)
    starter = positions.player
    while not positions.over:
        boards.append(game.seen(positions))
        positions = game.turn(positions, side(boards[-1], positions.record[:, :2]))
    return boards, bool((positions.outcome == starter).item())


def turns_of(boards: list[torch.Tensor]) -> list[Turns]:
    yes, no = torch.tensor([True]), torch.tensor([False])
    after = [*boards[1:], torch.zeros_like(boards[0])]
    last = len(boards) - 1
    return [Turns(board, after[t], yes if t == last else no, yes if t == 0 else no) for t, board in enumerate(boards)]


def updates(learner: TDGammon, boards: list[torch.Tensor]) -> torch.Tensor:
    """The sum of all updates over a game with the weights held fixed."""
    learner.lr, total = 0.0, torch.zeros(())
    for batch in turns_of(boards):
        learner.learn(batch)
        total = total - torch.cat([p.grad.flatten() for p in learner.network.parameters() if p.grad is not None])
    return total


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_td_1_over_a_whole_game_is_the_monte_carlo_update(seed: int) -> None:
    boards, won = whole_game(seed)
    learner = learner_of(1, seed, decay=1.0)
    slow: torch.Tensor | float = 0.0
    for turn, board in enumerate(boards):
        value, gradient = learner.network.gradients(tesauro(board, torch.tensor([True])))
        mine = won if turn % 2 == 0 else not won  # whether the one to move here won in the end
        slow = slow + (float(mine) - value) * gradient[0]
    torch.testing.assert_close(updates(learner, boards), slow, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("decay", [0.0, 0.7])
def test_td_lambda_is_the_rule_of_the_notes_in_one_players_eyes(decay: float) -> None:
    boards, won = whole_game(3)
    learner = learner_of(1, decay=decay)
    values, gradients = [], []
    for turn, board in enumerate(boards):
        value, gradient = learner.network.gradients(tesauro(board, torch.tensor([True])))
        values.append(value.item() if turn % 2 == 0 else 1 - value.item())  # Y, the chance of the first to move
        gradients.append(gradient[0] if turn % 2 == 0 else -gradient[0])
    values.append(float(won))
    slow = torch.zeros_like(gradients[0])
    for t in range(len(boards)):
        slow += (values[t + 1] - values[t]) * sum(decay ** (t - k) * gradients[k] for k in range(t + 1))
    torch.testing.assert_close(updates(learner, boards), slow, rtol=1e-3, atol=2e-4)


def test_games_do_not_touch_each_others_traces() -> None:
    one, two = whole_game(0)[0], whole_game(1)[0]
    together, alone = learner_of(2, lr=0.0), learner_of(1, lr=0.0)
    for first, second in zip(turns_of(one)[:9], turns_of(two)[:9], strict=True):
        together.learn(Turns(*(torch.cat(pair) for pair in zip(first, second, strict=True))))
        alone.learn(second)
    torch.testing.assert_close(together.trace[1], alone.trace[0])


def test_the_turn_chosen_is_the_best_of_all() -> None:
    learner, source = learner_of(20), chance(1)
    game = learner.game
    assert isinstance(game, TurnGame)
    positions = game.start(20)
    for _ in range(25):
        positions = game.play(positions, any_legal(game.legal(positions), generator=source))
    boards, dice = game.seen(positions), positions.record[:, :2]
    chosen, (after, games) = learner.choose(boards, dice), game.afterstates(boards, dice)
    values = learner.chances(after)
    for row in range(20):
        own = values[games == row]
        assert torch.equal(chosen[row], after[games == row][own.argmax()])
        torch.testing.assert_close(learner.chances(chosen[row : row + 1])[0], own.max())


def test_move_by_move_it_plays_the_turns_it_would_choose() -> None:
    learner = learner_of(40)
    game, player = learner.game, learner.player(generator=chance())
    assert all(isinstance(one, kind) for one, kind in ((learner, Plays), (player, Advises)))
    positions = game.start(40)
    positions.record[:20] = torch.tensor([3, 3, 0])  # doubles: two actions a turn
    wanted = learner.choose(game.seen(positions), positions.record[:, :2])
    after = game.play(positions, player.choose(positions))
    assert torch.equal(after.player == positions.player, torch.arange(40) < 20)
    again = rows(after, torch.arange(20))
    ended = game.play(again, player.choose(again))
    torch.testing.assert_close(learner.chances(turned(game.seen(ended))), learner.chances(wanted[:20]))
    torch.testing.assert_close(
        learner.chances(turned(game.seen(rows(after, torch.arange(20, 40))))), learner.chances(wanted[20:])
    )
    legal = game.legal(positions)
    weights = player.weigh(positions)
    assert ((weights >= 0) == legal).all()


def test_a_won_board_is_certain() -> None:
    board = torch.zeros(1, 26, dtype=torch.int8)
    board[0, 20] = -3
    assert learner_of(1).chances(board).item() == 1


def test_self_play_goes_on_where_it_stood() -> None:
    def stream() -> SelfPlay:
        return SelfPlay(learner_of(6), games=6)

    first, second = stream(), stream()
    for _ in range(30):
        next(first)
    second.load_state_dict(first.state_dict())
    for _ in range(30):
        assert all(torch.equal(a, b) for a, b in zip(next(first), next(second), strict=True))


def test_turns_follow_each_other() -> None:
    stream = SelfPlay(learner_of(32), games=32)
    before = next(stream)
    assert before.began.all()
    ends = 0
    for _ in range(150):
        batch = next(stream)
        on = ~before.ended
        assert torch.equal(batch.before[on], before.after[on])
        assert torch.equal(batch.began, before.ended)
        assert (batch.before[batch.began] == opening()).all()
        ends, before = ends + int(batch.ended.sum()), batch
    assert ends > 0


def test_a_rate_of_zero_learns_nothing_and_the_rate_falls_at_the_end() -> None:
    learner = learner_of(4, lr=0.0)
    weights = learner.network.hidden.weight.clone()
    stream = SelfPlay(learner, games=4)
    for _ in range(5):
        learner.learn(next(stream))
    assert torch.equal(learner.network.hidden.weight, weights)
    assert [falling(p, share=0.5) for p in (0.0, 0.5, 0.75, 1.0)] == [1, 1, 0.5, 0]


def test_pubeval_makes_legal_turns_and_beats_chance() -> None:
    if not pubeval_installed():
        pytest.skip("gnubg_nn is not installed")
    game, side = Backgammon(generator=chance()), pubeval()
    positions = game.start(60)
    for _ in range(12):
        boards, dice = game.seen(positions), positions.record[:, :2]
        played, (after, games) = side(boards, dice), game.afterstates(boards, dice)
        known = {(int(g), *b) for g, b in zip(games, after.tolist(), strict=True)}
        assert all((row, *board) in known for row, board in enumerate(played.tolist()))
        positions = game.turn(positions, played)
    assert (play_sides(game, side, any_turn(game), games=100) > 0).float().mean() > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.5}, r"decay \(λ\) is 1.5"),
        ({"decay": -0.1}, r"decay \(λ\) is -0.1"),
        ({"lr": -1.0}, r"lr is -1.0"),
    ],
)
def test_values_outside_their_rule_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        learner_of(1, **options)


def test_no_games_no_units_and_foreign_batches_are_refused(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match=r"games is 0"):
        learner_of(0)
    with pytest.raises(InvalidValue, match=r"hidden is 0"):
        Evaluation(hidden=0)
    game = Backgammon(generator=chance())
    with pytest.raises(InvalidValue, match=r"games is 0"):
        play_sides(game, any_turn(game), any_turn(game), games=0)
    learner, batch = learner_of(2), next(SelfPlay(learner_of(3), games=3))
    with pytest.raises(InvalidValue, match=r"batch's before has shape \(3, 26\), but must have \(2, 26\)"):
        learner.learn(batch)
    with pytest.raises(InvalidValue, match=r"batch is empty"):
        learner.learn(Turns(*(field[:0] for field in batch)))
