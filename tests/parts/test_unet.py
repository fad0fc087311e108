import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurarium.errors import InvalidValue
from neurarium.parts.averaged import Averaged
from neurarium.parts.unet import Look, Residual, UNet


@settings(max_examples=15)
@given(
    stages=st.integers(1, 3),
    blocks=st.integers(1, 2),
    looks=st.booleans(),
    condition=st.sampled_from([0, 3]),
    tokens=st.sampled_from([0, 5]),
)
def test_what_comes_out_has_the_size_of_the_picture(
    stages: int, blocks: int, looks: bool, condition: int, tokens: int
) -> None:
    net = UNet(
        channels=2,
        outputs=3,
        width=8,
        factors=(1, 2, 2)[:stages],
        blocks=blocks,
        looks=(0,) if looks else (),
        condition=condition,
        tokens=tokens,
    )
    told = torch.rand(2, condition) if condition else None
    read = torch.rand(2, 4, tokens) if tokens else None
    assert net(torch.rand(2, 2, 12, 8), told, read).shape == (2, 3, 12, 8)
    assert net.stride == 2 ** (stages - 1)


def test_it_says_nothing_at_first_and_every_part_of_it_learns() -> None:
    torch.manual_seed(0)
    net = UNet(channels=1, width=8, factors=(1, 2), looks=(0,), condition=4, tokens=5)
    images, told, read = torch.rand(4, 1, 8, 8), torch.rand(4, 4), torch.rand(4, 3, 5)
    assert not bool(net(images, told, read).any())
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(4):  # what begins at 0 must move before what lies behind it can
        optimizer.zero_grad()
        (net(images, told, read) - images.flip(3)).square().mean().backward()
        optimizer.step()
    still = [name for name, parameter in net.named_parameters() if not bool(parameter.grad.any())]  # type: ignore[union-attr]
    assert still == []


def test_condition_and_tokens_reach_every_place() -> None:
    torch.manual_seed(0)
    block, look = Residual(maps=8, outputs=8, condition=3), Look(maps=8, tokens=4)
    torch.nn.init.normal_(block.second.weight)
    images = torch.rand(1, 8, 4, 4)
    moved = block(images, torch.ones(1, 3)) - block(images, torch.zeros(1, 3))
    read = look(images, torch.rand(1, 2, 4)) - look(images, torch.rand(1, 2, 4))
    assert bool((moved != 0).all())
    assert bool((read != 0).all())


def test_the_way_down_is_handed_over() -> None:
    """Detail smaller than a place of the bottom can come out only through what is handed over."""
    torch.manual_seed(0)
    net = UNet(channels=1, width=8, factors=(1, 1, 1))
    torch.nn.init.normal_(net.head.weight, std=0.1)
    fine = torch.zeros(1, 1, 8, 8)
    fine[..., ::2, ::2] = 1.0
    fine[..., 1::2, 1::2] = 1.0
    out = net(fine)[0, 0].detach()
    assert float((out[2:6:2, 2:6:2] - out[2:6:2, 3:7:2]).abs().min()) > 1e-3


def test_bad_pictures_are_told() -> None:
    net = UNet(channels=1, width=8, factors=(1, 1, 1))
    with pytest.raises(InvalidValue, match="are 6×8, but their sides must be multiples of 4; resize"):
        net(torch.rand(1, 1, 6, 8))
    with pytest.raises(InvalidValue, match=r"was built for \(B, 1, H, W\)"):
        net(torch.rand(1, 3, 8, 8))
    with pytest.raises(InvalidValue, match="built without a condition"):
        net(torch.rand(1, 1, 8, 8), torch.rand(1, 4))
    with pytest.raises(InvalidValue, match="width is 12; it must be a positive multiple of 8"):
        UNet(channels=1, width=12)


def test_averaged_weights_follow_and_end_where_a_still_module_stands() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    averaged = Averaged(layer, decay=0.9)
    start = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(1.0)
    averaged.update(layer)
    share = (averaged.mean.weight - start) / (layer.weight - start)
    torch.testing.assert_close(share, torch.full((2, 3), 1 - 2 / 11))
    for _ in range(300):
        averaged.update(layer)
    torch.testing.assert_close(averaged.mean.weight, layer.weight.detach())
    assert not any(parameter.requires_grad for parameter in averaged.parameters())
    again = Averaged(layer, decay=0.9)
    again.load_state_dict(averaged.state_dict())
    assert int(again.steps) == 301
    with pytest.raises(InvalidValue, match=r"decay is 1\.0"):
        Averaged(layer, decay=1.0)
