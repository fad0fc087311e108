from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from neurarium.errors import InvalidValue
from neurarium.learners.classify import Classify
from neurarium.parts.bundles import Labelled
from neurarium.parts.rules import (
    GAINS,
    Adam,
    Descent,
    Gains,
    Momentum,
    Nesterov,
    RMSprop,
    Rprop,
    Rule,
    Shrink,
    adamw,
    soft_threshold_,
)

Pair = tuple[Callable[..., Rule], Callable[..., torch.optim.Optimizer]]

PAIRS: dict[str, Pair] = {
    "descent": (Descent, torch.optim.SGD),
    "momentum": (Momentum, partial(torch.optim.SGD, momentum=0.9)),
    "nesterov": (Nesterov, partial(torch.optim.SGD, momentum=0.9, nesterov=True)),
    "rprop": (Rprop, torch.optim.Rprop),
    "rmsprop": (RMSprop, torch.optim.RMSprop),
    "adam": (Adam, torch.optim.Adam),
    "adam with L2": (
        partial(Adam, shrink=Shrink(l2=0.01)),
        partial(torch.optim.Adam, weight_decay=0.01),
    ),
    "momentum with L2": (
        partial(Momentum, shrink=Shrink(l2=0.01)),
        partial(torch.optim.SGD, momentum=0.9, weight_decay=0.01),
    ),
    "adamw": (adamw, torch.optim.AdamW),
}

EVERY = (Descent, Momentum, Nesterov, Gains, Rprop, RMSprop, Adam, adamw)


def parameters(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((5, 3), (7,), ())]
    return [value.requires_grad_() for value in made]


@pytest.mark.parametrize("name", PAIRS)
def test_the_same_gradients_give_torchs_weights_after_a_thousand_steps(name: str) -> None:
    ours, theirs = parameters(), parameters()
    mine, peer = (make(given, lr=0.003) for make, given in zip(PAIRS[name], (ours, theirs), strict=True))
    generator = torch.Generator().manual_seed(1)
    for step in range(1000):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator, dtype=torch.float64) + 0.3
            other.grad = one.grad.clone()
        if step == 500 and name != "rprop":  # a schedule acts at once, as in torch
            for optimizer in (mine, peer):
                optimizer.param_groups[0]["lr"] = 0.001
        mine.step()
        peer.step()
    assert all(torch.allclose(one, other, rtol=0, atol=1e-10) for one, other in zip(ours, theirs, strict=True))


def test_gains_by_hand() -> None:
    # α = 0.1, gradients 1, 2, −1, −1, 0 → gains 1, 1.05, 0.9975, 1.0475, 1.0475
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer, seen = Gains([weight], lr=0.1), []
    for gradient in (1.0, 2.0, -1.0, -1.0, 0.0):
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        seen.append((round(weight.item(), 9), round(optimizer.state[weight]["gain"].item(), 9)))
    assert seen == [(-0.1, 1.0), (-0.31, 1.05), (-0.21025, 0.9975), (-0.1055, 1.0475), (-0.1055, 1.0475)]


def test_gains_compare_with_the_smoothed_gradient() -> None:
    # θ = 0.5, gradients 2, −1, 1: δ̄ = 1, 0, 0.5; the second disagrees with 1, the third meets 0 and changes nothing
    weight = torch.zeros(1, requires_grad=True)
    optimizer, seen = Gains([weight], lr=0.1, smooth=0.5), []
    for gradient in (2.0, -1.0, 1.0):
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        seen += [optimizer.state[weight]["gain"].item(), optimizer.state[weight]["trace"].item()]
    assert seen == pytest.approx([1.0, 1.0, 0.95, 0.0, 0.95, 0.5])


@pytest.mark.parametrize(("signs", "end"), [((1.0, 1.0), GAINS[1]), ((1.0, -1.0), GAINS[0])])
def test_gains_stay_within_their_range(signs: tuple[float, float], end: float) -> None:
    weight = torch.zeros(1, requires_grad=True)
    optimizer = Gains([weight], lr=1e-3)
    for step in range(300):
        weight.grad = torch.full_like(weight, signs[step % 2])
        optimizer.step()
    assert optimizer.state[weight]["gain"].item() == pytest.approx(end)


@given(st.floats(-5, 5), st.floats(0, 3))
def test_the_proximal_step_is_the_least_of_distance_and_penalty(start: float, threshold: float) -> None:
    weight = torch.tensor(start, dtype=torch.float64)
    soft_threshold_(weight, threshold)
    places = torch.cat([torch.linspace(-6, 6, 4001, dtype=torch.float64), torch.zeros(1), weight.unsqueeze(0)])
    cost = 0.5 * (places - start).square() + threshold * places.abs()
    assert cost[-1] <= cost.min() + 1e-9


def test_an_l1_penalty_leaves_useless_weights_at_exactly_zero() -> None:
    weight = torch.tensor([1.0, 1.0, 1.0], requires_grad=True)
    optimizer = Descent([weight], lr=0.1, shrink=Shrink(l1=0.5))
    for _ in range(200):
        optimizer.zero_grad()
        (0.5 * (weight - torch.tensor([3.0, 0.2, -0.4])).square()).sum().backward()
        optimizer.step()
    assert weight.tolist() == pytest.approx([2.5, 0.0, 0.0])
    assert weight[1:].abs().max() == 0


def test_a_groups_own_settings_hold() -> None:
    free, held = (torch.ones(1, requires_grad=True) for _ in range(2))
    optimizer = adamw([{"params": [free], "decay": 0.0}, {"params": [held]}], lr=0.1, decay=0.5)
    free.grad, held.grad = torch.zeros(1), torch.zeros(1)
    optimizer.step()
    assert (free.item(), held.item()) == pytest.approx((1.0, 0.95))


@pytest.mark.parametrize("make", EVERY)
def test_a_learner_goes_on_from_its_state_to_the_bit(make: Callable[..., Rule]) -> None:
    def learner() -> Classify[nn.Linear]:
        torch.manual_seed(0)
        return Classify(nn.Linear(4, 3), optimizer=make, lr=0.01)

    batches = [Labelled(torch.randn(8, 4), torch.randint(3, (8,))) for _ in range(10)]
    whole, first, second = learner(), learner(), learner()
    for batch in batches:
        whole.learn(batch)
    for batch in batches[:5]:
        first.learn(batch)
    second.load_state_dict(first.state_dict())
    for batch in batches[5:]:
        second.learn(batch)
    assert torch.equal(whole.model.weight, second.model.weight)


@pytest.mark.parametrize("make", EVERY)
def test_gradients_are_left_as_they_were_and_none_moves_nothing(make: Callable[..., Rule]) -> None:
    taught, untaught = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    taught.grad = torch.tensor([1.0, -2.0, 0.0])
    optimizer = make([taught, untaught], lr=0.1)
    assert optimizer.step(lambda: 7.0) == 7.0
    assert taught.grad.tolist() == [1.0, -2.0, 0.0]
    assert untaught.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (Descent, {"lr": -1.0}, "lr is -1.0, but must be 0 or more"),
        (Momentum, {"keep": 1.0}, "keep is 1.0, but must be at least 0 and below 1"),
        (Adam, {"eps": 0.0}, "eps is 0.0, but must be positive"),
        (Adam, {"beta2": 1.5}, "beta2 is 1.5, but must be at least 0 and below 1"),
        (adamw, {"decay": -0.1}, "decay is -0.1, but must be 0 or more"),
        (Gains, {"smooth": -0.1}, "smooth is -0.1, but must be at least 0 and below 1"),
    ],
)
def test_wrong_settings_are_named(make: Callable[..., Rule], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        make([torch.zeros(1, requires_grad=True)], **{"lr": 0.1, **settings})


def test_a_sparse_gradient_is_refused() -> None:
    table = nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(InvalidValue, match="a gradient is sparse"):
        Adam(table.parameters(), lr=0.1).step()
