from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.replay import Replay


class Game(NamedTuple):
    """Another bundle than transitions: boards, as a search has judged them."""

    board: Tensor
    visits: Tensor
    won: Tensor


def games(numbers: range) -> Game:
    count = torch.tensor(list(numbers))
    return Game(count.view(-1, 1, 1).expand(-1, 2, 3).to(torch.int8), count.view(-1, 1).float(), count % 2 == 0)


def ring(capacity: int = 7, seed: int = 0) -> Replay[Game]:
    return Replay(Game, capacity=capacity, generator=torch.Generator().manual_seed(seed))


@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6), capacity=st.integers(1, 9))
def test_it_holds_the_newest_in_their_order(sizes: list[int], capacity: int) -> None:
    replay, added = ring(capacity), 0
    for size in sizes:
        replay.add(games(range(added, added + size)))
        added += size
    kept = range(max(0, added - capacity), added)
    held = replay.everything()
    assert len(replay) == len(kept)
    for ours, theirs in zip(held, games(kept), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.dtype == theirs.dtype


def test_every_row_is_drawn_as_often_and_whole() -> None:
    replay = ring()
    replay.add(games(range(10)))
    drawn = replay.sample(14_000)
    assert torch.equal(drawn.board[:, 0, 0].float(), drawn.visits[:, 0])
    counts = drawn.visits.flatten().long().bincount(minlength=10)
    assert counts[:3].sum() == 0  # driven out
    assert float(((counts[3:] - 2000) ** 2 / 2000).sum()) < 22.5  # χ², 6 degrees of freedom, p = 0.001


@pytest.mark.parametrize("before", [0, 3, 7, 12])
def test_it_goes_on_where_it_stood(before: int) -> None:
    replay = ring()
    if before:
        replay.add(games(range(before)))
        replay.sample(3)
    state: dict[str, Any] = replay.state_dict()
    again = ring(seed=5)
    again.load_state_dict(state)
    for one in (replay, again):
        one.add(games(range(50, 55)))
    for ours, theirs in zip(again.sample(20), replay.sample(20), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(again.everything().board, replay.everything().board)


def test_what_is_saved_does_not_change_afterwards() -> None:
    replay = ring()
    replay.add(games(range(7)))
    saved = replay.state_dict()["held"]["visits"]
    replay.add(games(range(20, 24)))
    assert saved.flatten().tolist() == list(range(7))


def test_what_it_cannot_hold_or_draw_is_refused() -> None:
    with pytest.raises(InvalidValue, match="capacity is 0"):
        ring(0)
    with pytest.raises(InvalidValue, match="has no fields; a replay keeps NamedTuples"):
        Replay(tuple, capacity=3, generator=torch.Generator())
    replay = ring()
    with pytest.raises(InvalidValue, match="the replay is empty; add experience before drawing"):
        replay.sample(1)
    with pytest.raises(InvalidValue, match="the replay is empty; add experience before looking"):
        replay.everything()
    with pytest.raises(InvalidValue, match="the batch is empty"):
        replay.add(games(range(0)))
    replay.add(games(range(2)))
    with pytest.raises(InvalidValue, match="the batch is 0"):
        replay.sample(0)
    with pytest.raises(InvalidValue, match=r"rows of visits have shape \(2,\), but the replay keeps \(1,\)"):
        replay.add(games(range(2))._replace(visits=torch.zeros(2, 2)))
    with pytest.raises(InvalidValue, match="the saved replay keeps 7 rows, but this one 8"):
        ring(8).load_state_dict(replay.state_dict())
