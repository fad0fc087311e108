import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurarium.errors import InvalidValue
from neurarium.parts.bundles import Transitions
from neurarium.parts.returns import n_step, reward_to_go


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(seed=st.integers(0, 10_000), discount=st.floats(0, 1))
def test_the_return_is_that_of_a_sum_over_every_later_step_of_the_episode(seed: int, discount: float) -> None:
    source = chance(seed)
    rewards, following = torch.randn(3, 8, generator=source), torch.randn(3, 8, generator=source)
    ended = torch.rand(3, 8, generator=source) < 0.3
    found = reward_to_go(rewards, ended, following, discount=discount)
    for row in range(3):
        for start in range(8):
            total = 0.0
            for step in range(start, 8):
                total += discount ** (step - start) * float(rewards[row, step])
                if ended[row, step] or step == 7:
                    total += discount ** (step - start + 1) * float(following[row, step])
                    break
            assert found[row, start].item() == pytest.approx(total, rel=1e-4, abs=1e-4)


@given(seed=st.integers(0, 10_000), steps=st.integers(1, 5), discount=st.floats(0.1, 1))
def test_n_steps_are_taken_up_to_the_end_of_the_episode(seed: int, steps: int, discount: float) -> None:
    source = chance(seed)
    window = [
        Transitions(
            torch.randn(4, 2, generator=source),
            torch.randint(3, (4,), generator=source),
            torch.randn(4, generator=source),
            torch.randn(4, 2, generator=source),
            torch.rand(4, generator=source) < 0.2,
            torch.rand(4, generator=source) < 0.2,
        )
        for _ in range(steps)
    ]
    found = n_step(window, discount=discount)
    for row in range(4):
        total, factor, reached = 0.0, 1.0, window[0].next_states[row]
        for step in window:
            total += factor * float(step.rewards[row])
            factor *= discount
            reached = step.next_states[row]
            if step.terminated[row]:
                factor = 0.0
            if step.terminated[row] or step.truncated[row]:
                break
        assert found.returns[row].item() == pytest.approx(total, rel=1e-4, abs=1e-5)
        assert found.factors[row].item() == pytest.approx(factor, rel=1e-5)
        assert torch.equal(found.next_states[row], reached)
    assert torch.equal(found.states, window[0].states)
    assert torch.equal(found.actions, window[0].actions)


def test_what_cannot_be_discounted_is_refused() -> None:
    one, no = torch.ones(1), torch.tensor([False])
    step = Transitions(one, one.long(), one, one, no, no)
    with pytest.raises(InvalidValue, match="the window is empty"):
        n_step([], discount=0.9)
    with pytest.raises(InvalidValue, match=r"discount is 1.5; it lies between 0 and 1"):
        n_step([step], discount=1.5)
    with pytest.raises(InvalidValue, match="discount is -1"):
        reward_to_go(one.unsqueeze(1), no.unsqueeze(1), one.unsqueeze(1), discount=-1)
