"""The universal transformer: a weight-tied transformer at fixed steps; Graves' halting otherwise; it learns to add."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurarium.data.sequences import Endless
from neurarium.data.sums import carry_distances, sums
from neurarium.errors import InvalidValue
from neurarium.parts.bundles import Sequences
from neurarium.parts.positions import sinusoids
from neurarium.parts.transformer import Block
from neurarium.systems.sequence.universal_transformer import EPSILON, Ponder, UniversalTransformer, growth, halt

B, T, I, D, LIMIT = 3, 6, 2, 8, 5  # noqa: E741 - the shape letters


@pytest.mark.parametrize("norm", ["before", "after"])
@pytest.mark.parametrize("coordinates", [False, True])
def test_with_fixed_steps_it_is_one_block_repeated(norm: str, coordinates: bool) -> None:
    torch.manual_seed(0)
    net = UniversalTransformer(
        inputs=I, outputs=1, width=D, heads=2, limit=LIMIT, adaptive=False, coordinates=coordinates, norm=norm
    )
    block = Block(width=D, heads=2, activation=torch.relu, norm=norm)
    block.load_state_dict(net.block.state_dict())
    inputs = torch.randn(B, T, I)
    state = net.embedding(inputs)
    for step in range(LIMIT):
        place = sinusoids(torch.arange(T), width=D) + sinusoids(torch.tensor([step + 1]), width=D)
        state = block(state + place if coordinates else state)
    found = net.ponder(inputs)
    torch.testing.assert_close(found.outputs, net.readout(state), rtol=1e-5, atol=1e-6)
    assert (found.steps == LIMIT).all()
    mine, theirs = (
        torch.autograd.grad((outputs * torch.arange(T).view(T, 1)).sum(), list(weights), allow_unused=True)
        for outputs, weights in ((found.outputs, net.block.parameters()), (net.readout(state), block.parameters()))
    )
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def slow_weights(chances: list[float]) -> list[float]:
    """The weights of one place's steps, as Graves 2016, eq. 6 to 9 read."""
    for count in range(1, len(chances) + 1):
        if sum(chances[:count]) >= 1 - EPSILON or count == len(chances):
            remainder = 1 - sum(chances[: count - 1])
            return [*chances[: count - 1], remainder] + [0.0] * (len(chances) - count)
    raise AssertionError


@settings(deadline=None)
@given(chances=st.lists(st.floats(0.02, 0.98).map(lambda chance: round(chance, 3)), min_size=1, max_size=8))
def test_halting_weights_are_graves_and_sum_to_one(chances: list[float]) -> None:
    left, weights = torch.ones(1, 1).double(), []
    for place, chance in enumerate(chances):
        chance_now = torch.full((1, 1), chance).double()
        weight, left, _ = halt(left, chance_now, last=place == len(chances) - 1)
        weights.append(weight.item())
    assert sum(weights) == pytest.approx(1)
    near_the_edge = any(abs(sum(chances[:n]) - 1 + EPSILON) < 1e-9 for n in range(len(chances) + 1))
    assert near_the_edge or weights == pytest.approx(slow_weights(chances))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 100), limit=st.integers(1, 9))
def test_the_weights_of_every_place_sum_to_one(seed: int, limit: int) -> None:
    torch.manual_seed(seed)
    net = UniversalTransformer(inputs=I, outputs=1, width=D, heads=2, limit=4)
    inputs = torch.randn(B, T, I)
    weights, (_, steps, costs) = net.watch(inputs, limit), net.ponder(inputs, limit)
    torch.testing.assert_close(weights.sum(0), torch.ones(B, T))
    assert torch.equal((weights > 0).sum(0).float(), steps)
    assert ((costs > steps) & (costs <= steps + 1)).all()


def test_what_comes_out_is_the_weighted_mean_and_what_has_halted_stays() -> None:
    torch.manual_seed(0)
    net = UniversalTransformer(inputs=I, outputs=1, width=D, heads=2, limit=LIMIT, coordinates=False)
    assert net.halting is not None
    inputs = torch.randn(B, T, I)
    state = net.embedding(inputs)
    total, spent, over = torch.zeros(B, T, D), torch.zeros(B, T), torch.zeros(B, T).bool()
    for step in range(LIMIT):
        new = net.block(state)
        for row in range(B):
            for place in range(T):
                if not over[row, place]:
                    state = state.clone()
                    state[row, place] = new[row, place]
                    chance = torch.sigmoid(net.halting(new[row, place])).squeeze()
                    ends = bool(spent[row, place] + chance >= 1 - EPSILON) or step == LIMIT - 1
                    weight = 1 - spent[row, place] if ends else chance
                    total[row, place] += weight.detach() * new[row, place].detach()
                    spent[row, place] += weight.detach()
                    over[row, place] = ends
    torch.testing.assert_close(net.ponder(inputs).outputs, net.readout(total), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_without_coordinates_a_place_knows_only_what_reached_it(causal: bool) -> None:
    torch.manual_seed(0)
    steps, places, changed = 3, 12, 6
    net = UniversalTransformer(
        inputs=I, outputs=1, width=D, heads=2, limit=steps, adaptive=False, causal=causal, reach=1, coordinates=False
    )
    inputs = torch.randn(1, places, I)
    other = inputs.clone()
    other[:, changed] += 1
    differ = (net.ponder(inputs).outputs != net.ponder(other).outputs)[0, :, 0].nonzero().flatten().tolist()
    assert differ == list(range(changed if causal else changed - steps, changed + steps + 1))


def reached(*, shuffled: bool) -> tuple[dict[str, float], float]:
    torch.manual_seed(0)
    net = UniversalTransformer(
        inputs=2, outputs=1, width=16, heads=2, hidden=32, limit=8, causal=True, reach=1, coordinates=False
    )
    learner = Ponder(net, lr=1e-2)
    draw = partial(sums, count=32, places=6, shuffle_targets=shuffled)
    stream = Endless(draw, torch.Generator().manual_seed(0))
    for _ in range(120):
        learner.learn(next(stream))
    test = sums(torch.Generator().manual_seed(1), count=200, places=6)
    slope = growth(learner.predict(test.inputs).steps, carry_distances(test.inputs).float())
    return learner.evaluate([test]), slope


def test_it_learns_to_add_and_cannot_from_other_results() -> None:
    learned, _ = reached(shuffled=False)
    assert learned["accuracy"] > 0.6
    assert learned["accuracy"] <= learned["bit_accuracy"]
    assert reached(shuffled=True)[0]["accuracy"] < 0.3


def test_a_price_calls_for_larger_chances() -> None:
    torch.manual_seed(0)
    net = UniversalTransformer(inputs=2, outputs=1, width=D, heads=2)
    assert net.halting is not None
    net.ponder(torch.randn(B, T, 2)).costs.mean().backward()
    slope = net.halting.bias.grad
    assert slope is not None
    assert slope.item() < 0


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused() -> None:
    def net(**sizes: int) -> UniversalTransformer:
        return UniversalTransformer(**{"inputs": 2, "outputs": 1, "width": D, "heads": 2, **sizes})  # type: ignore[arg-type]

    with pytest.raises(InvalidValue, match=r"the inputs are \(3, 6, 1\), but this network was built for \(B, T, 2\)"):
        net()(torch.zeros(B, T, 1))
    with pytest.raises(InvalidValue, match="limit is 0; a universal transformer takes at least 1 step"):
        net().ponder(torch.zeros(B, T, 2), 0)
    with pytest.raises(InvalidValue, match="outputs is 0; a universal transformer needs at least 1"):
        net(outputs=0)
    with pytest.raises(InvalidValue, match="reach is 0; a place must see at least 1 beside it"):
        net(reach=0)
    with pytest.raises(InvalidValue, match="price is -1; a step costs 0 or more"):
        Ponder(net(), price=-1)
    with pytest.raises(InvalidValue, match="all places are equally difficult"):
        growth(torch.ones(3), torch.ones(3))
    inputs, targets, mask = sums(torch.Generator().manual_seed(0), count=B, places=T)
    with pytest.raises(InvalidValue, match="the mask is False at every place, so nothing is taught"):
        Ponder(net()).learn(Sequences(inputs, targets, torch.zeros_like(mask)))


def test_a_place_may_take_more_steps_than_it_was_built_for() -> None:
    torch.manual_seed(0)
    net = UniversalTransformer(inputs=2, outputs=1, width=D, heads=2, limit=2)
    assert net.halting is not None
    bias: Tensor = net.halting.bias
    torch.nn.init.constant_(bias, -3.0)
    inputs = torch.randn(B, T, 2)
    assert net.ponder(inputs).steps.max() == 2
    assert net.ponder(inputs, 50).steps.max() > 10
