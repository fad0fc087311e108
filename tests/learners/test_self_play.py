"""Self-play: what is noted of a game is what happened in it, and the stream goes on where it stopped."""

import pytest
import torch

from neurarium.errors import InvalidValue
from neurarium.learners.self_play import Played, SelfPlay, turned
from neurarium.parts.replay import Replay
from neurarium.parts.rollouts import Rollouts
from neurarium.parts.tree import Search
from neurarium.worlds.lines import connect_four, tic_tac_toe


def playing(*, games: int = 8, mixing: float = 0.0, warm: int = 4) -> SelfPlay:
    game = tic_tac_toe()
    rollouts = Rollouts(game, generator=torch.Generator().manual_seed(0))
    noise = torch.Generator().manual_seed(1)
    return SelfPlay(
        Search(game, rollouts, simulations=8, noise=1.0, generator=noise),
        games=games,
        batch=16,
        updates=2,
        warm=warm,
        mixing=mixing,
        replay=Replay(Played, capacity=500, generator=torch.Generator().manual_seed(2)),
        generator=torch.Generator().manual_seed(3),
    )


def test_values_are_the_outcome_as_each_mover_saw_it() -> None:
    stream = playing(games=1)
    while stream.ended == 0:
        before = stream.positions
        stream.move()
    told = stream.replay.everything()
    assert len(told.values) == int(before.moves) + 1
    # Whoever moved first, third, ... saw one outcome, the other its opposite.
    signs = torch.tensor([1.0, -1.0]).repeat(5)[: len(told.values)]
    assert (told.values * signs).unique().numel() == 1
    assert told.planes[0].sum() == 0
    assert [int(planes.sum()) for planes in told.planes] == list(range(len(told.values)))
    torch.testing.assert_close(told.policies.sum(1), torch.ones(len(told.policies)))


def test_policies_give_nothing_to_cells_that_are_taken() -> None:
    stream = playing()
    for _ in range(12):
        stream.move()
    told = stream.replay.everything()
    taken = told.planes.amax(1).flatten(1).bool()
    assert told.policies[taken].abs().max() == 0


def test_mixing_takes_the_value_from_the_search() -> None:
    plain, mixed = playing(mixing=0.0), playing(mixing=1.0)
    for stream in (plain, mixed):
        for _ in range(9):
            stream.move()
    assert set(plain.replay.everything().values.tolist()) <= {-1.0, 0.0, 1.0}
    assert mixed.replay.everything().values.unique().numel() > 3


def test_goes_on_where_it_stopped() -> None:
    one, other = playing(), playing()
    for _ in range(7):
        next(one)
    # The rollouts' chance is the evaluator's own, as a network's weights are the learner's.
    assert isinstance(one.search.evaluate, Rollouts)
    assert isinstance(other.search.evaluate, Rollouts)
    other.search.evaluate.generator.set_state(one.search.evaluate.generator.get_state())
    other.load_state_dict(one.state_dict())
    for _ in range(5):
        for mine, theirs in zip(next(one), next(other), strict=True):
            assert torch.equal(mine, theirs)


def test_a_turned_position_is_one_that_the_turned_game_reaches() -> None:
    game = connect_four()
    positions = game.start(1)
    for action in (0, 1, 0):
        positions = game.play(positions, torch.tensor([action]))
    policy = torch.zeros(1, 7)
    policy[0, 2] = 1.0
    played = Played(game.planes(positions).to(torch.uint8).repeat(64, 1, 1, 1), policy.repeat(64, 1), torch.ones(64))
    seen = turned(game, played, generator=torch.Generator().manual_seed(0))
    mirrored = seen.policies[:, 4] == 1
    assert 0 < int(mirrored.sum()) < 64
    assert torch.equal(seen.planes[mirrored], played.planes[mirrored].flip(3))
    assert torch.equal(seen.planes[~mirrored], played.planes[~mirrored])


def test_refuses_what_cannot_be(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match=r"games is 0; it must be at least 1"):
        playing(games=0)
    with pytest.raises(InvalidValue, match=r"mixing is 2; a share lies between 0 and 1"):
        playing(mixing=2)
    with pytest.raises(InvalidValue, match=r"warm is -1"):
        playing(warm=-1)
    with pytest.raises(InvalidValue, match=r"the saved self-play has 8 games, but this one has 4"):
        playing(games=4).load_state_dict(playing(games=8).state_dict())
