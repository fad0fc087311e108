"""Positions: the published formula; a distance is a rotation; too long is refused."""

from math import cos, sin

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.errors import InvalidValue
from neurarium.parts.positions import Positions, sinusoids

WIDTH = 8


def test_the_waves_are_those_of_the_paper() -> None:
    found = sinusoids(torch.arange(50), width=WIDTH)
    for place in range(50):
        for pair in range(WIDTH // 2):
            angle = place / 10_000 ** (2 * pair / WIDTH)
            assert found[place, pair].item() == pytest.approx(sin(angle), abs=1e-6)
            assert found[place, WIDTH // 2 + pair].item() == pytest.approx(cos(angle), abs=1e-6)


@given(first=st.integers(0, 5000), second=st.integers(0, 5000), by=st.integers(0, 100))
def test_how_alike_two_places_are_depends_on_their_distance_alone(first: int, second: int, by: int) -> None:
    here = sinusoids(torch.tensor([first, second]), width=WIDTH)
    there = sinusoids(torch.tensor([first + by, second + by]), width=WIDTH)
    assert (here[0] @ here[1]).item() == pytest.approx((there[0] @ there[1]).item(), abs=1e-5)


def test_later_places_are_those_of_the_whole() -> None:
    positions, tokens = Positions(width=WIDTH, longest=10), torch.randn(2, 10, WIDTH)
    assert torch.equal(positions(tokens)[:, 4:], positions(tokens[:, 4:], start=4))
    assert not list(positions.state_dict())


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidValue, match="a sequence of 11 tokens is longer than the 10 positions; shorten it"):
        Positions(width=WIDTH, longest=10)(torch.zeros(1, 11, WIDTH))
    with pytest.raises(InvalidValue, match="a sequence of 11 tokens is longer than the 10 positions"):
        Positions(width=WIDTH, longest=10)(torch.zeros(1, 1, WIDTH), start=10)
    with pytest.raises(InvalidValue, match="width is 7; waves come in pairs"):
        sinusoids(torch.arange(3), width=7)
    with pytest.raises(InvalidValue, match="longest is 0; positions need at least 1 place"):
        Positions(width=WIDTH, longest=0)
