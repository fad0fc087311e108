import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.wiring import Group, Wiring, connect


def slow(weights: Tensor, delays: Tensor, past: tuple[Tensor, ...]) -> Tensor:
    arrived = torch.zeros_like(past[0])
    for source in range(len(weights)):
        for target in range(len(weights)):
            sent = past[int(delays[source, target]) - 1][:, source]
            arrived[:, target] += weights[source, target] * sent
    return arrived


@given(neurons=st.integers(1, 7), longest=st.integers(1, 6), seed=st.integers(0, 99), sparse=st.booleans())
def test_what_arrives_is_every_spike_its_delay_later(neurons: int, longest: int, seed: int, sparse: bool) -> None:
    chance = torch.Generator().manual_seed(seed)
    weights = torch.randn(neurons, neurons, generator=chance, dtype=torch.float64)
    weights = weights * (torch.rand(neurons, neurons, generator=chance) < 0.6)
    delays = torch.randint(1, longest + 1, (neurons, neurons), generator=chance)
    past = tuple((torch.rand(3, neurons, generator=chance) < 0.5).double() for _ in range(longest))
    wiring = Wiring(weights.to_sparse() if sparse else weights, delays=delays)
    assert wiring.longest <= longest
    torch.testing.assert_close(wiring(past), slow(weights, delays, past))
    together = Wiring(weights.to_sparse() if sparse else weights, delays=longest)
    torch.testing.assert_close(together(past), slow(weights, torch.full_like(delays, longest), past))


def test_connections_are_as_many_as_asked_for_and_as_strong_as_their_group() -> None:
    groups = (Group(60, 0.5), Group(20, -2.0))
    made = connect(groups, part=0.2, generator=torch.Generator().manual_seed(3))
    weights = made.to_dense()
    assert made.is_sparse
    assert ((weights[:60] == 0.5).sum(0) == 12).all()
    assert ((weights[60:] == -2.0).sum(0) == 4).all()
    assert (weights.diagonal() == 0).all()
    assert made.values().numel() == 80 * 16
    assert torch.equal(weights, connect(groups, part=0.2, generator=torch.Generator().manual_seed(3)).to_dense())


@pytest.mark.parametrize(
    ("weights", "delays", "message"),
    [
        (torch.zeros(2, 3), 1, r"the weights are \(2, 3\), but must be square"),
        (torch.zeros(0, 0), 1, r"the weights are \(0, 0\), but must be square"),
        (torch.full((2, 2), torch.nan), 1, "a weight is NaN or infinite; every weight must be finite"),
        (torch.full((2, 2), torch.inf).to_sparse(), 1, "a weight is NaN or infinite"),
        (torch.zeros(2, 2), 0, r"a delay is 0 steps \(the longest 0\), but each must be at least 1"),
        (torch.zeros(2, 2), torch.tensor([[1, 2], [-1, 4]]), r"a delay is -1 steps \(the longest 4\)"),
        (torch.zeros(2, 2), torch.ones(3, 3).long(), r"delays are \(3, 3\), but the weights \(2, 2\); give one"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_impossible_wirings_are_refused(weights: Tensor, delays: int | Tensor, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        Wiring(weights, delays=delays)


def test_impossible_groups_are_refused() -> None:
    chance = torch.Generator()
    with pytest.raises(InvalidValue, match=r"part is 1.5, but must be between 0 and 1"):
        connect((Group(3, 1.0),), part=1.5, generator=chance)
    with pytest.raises(InvalidValue, match="a group has 0 neurons, but must have at least 1"):
        connect((Group(3, 1.0), Group(0, 1.0)), part=0.5, generator=chance)
