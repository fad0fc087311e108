import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.parts.exploration import World, softmax_sample
from neurarium.worlds.cart_pole import CartPole


@given(seed=st.integers(0, 1000), actions=st.integers(1, 5))
def test_actions_are_drawn_as_often_as_the_softmax_says(seed: int, actions: int) -> None:
    source = torch.Generator().manual_seed(seed)
    logits = torch.randn(actions, generator=source)
    draws = (torch.arange(10_000) + 0.5) / 10_000  # evenly spread: shares are exact up to the grid
    chosen = softmax_sample(logits.expand(10_000, actions), draws=draws)
    shares = chosen.bincount(minlength=actions) / 10_000
    torch.testing.assert_close(shares, torch.softmax(logits, 0), rtol=0, atol=2e-4)


def test_a_world_is_known_by_what_it_answers() -> None:
    assert isinstance(CartPole(copies=1, generator=torch.Generator()), World)
