import pytest
import torch
from torch import Tensor

from neurarium.errors import InvalidValue, NotFinite
from neurarium.parts.blocks import Blocks, several
from neurarium.parts.simulation import Probe, simulate


def leak(voltage: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
    after = torch.lerp(voltage, current, 0.25)
    return torch.stack([voltage, after], dim=-1), after


def test_step_by_step_it_is_simulate() -> None:
    current = torch.rand(2, 23, 3)
    done = Blocks(leak).simulate(torch.zeros(2, 3), current, keep=True)
    expected = simulate(leak, torch.zeros(2, 3), current.unbind(1), probes={"shown": Probe(lambda shown, _: shown)})
    assert torch.equal(done.kept["shown"], expected.kept["shown"])
    assert torch.equal(done.state, expected.state)
    assert not Blocks(leak).simulate(torch.zeros(2, 3), current).kept


@pytest.mark.parametrize("steps", [23, 20, 7])
def test_in_blocks_it_is_the_same_whatever_is_left_over(steps: int) -> None:
    current = torch.rand(2, steps, 3)
    blocks = Blocks(leak, compiled=True, steps=10)
    blocks.block = several(leak)  # the compiler's work is tested where it pays
    done, expected = (way.simulate(torch.zeros(2, 3), current, keep=True) for way in (blocks, Blocks(leak)))
    assert torch.equal(done.kept["shown"], expected.kept["shown"])
    assert torch.equal(done.state, expected.state)


def test_nothing_to_simulate_and_runaways_are_refused() -> None:
    with pytest.raises(InvalidValue, match="there is no step to simulate"):
        Blocks(leak).simulate(torch.zeros(2, 3), torch.zeros(2, 0, 3))
    with pytest.raises(InvalidValue, match="steps is 0, but a block needs at least 1"):
        Blocks(leak, steps=0)
    with pytest.raises(NotFinite, match="NaN or infinite by step 1"):
        Blocks(leak).simulate(torch.zeros(2, 3), torch.full((2, 1, 3), torch.inf))
