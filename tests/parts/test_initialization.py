from math import isclose, sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.init import _calculate_fan_in_and_fan_out, kaiming_normal_, xavier_normal_

from neurarium.errors import InvalidValue
from neurarium.parts.initialization import Initialize, fan_in_normal, fans, kaiming, standard_normal, xavier

OUTPUTS, INPUTS = 300, 200

RULES = {
    standard_normal: 1.0,
    fan_in_normal: 1 / sqrt(INPUTS),
    xavier: sqrt(2 / (INPUTS + OUTPUTS)),
    kaiming: sqrt(2 / INPUTS),
}


def drawn(initialize: Initialize, *shape: int) -> torch.Tensor:
    return initialize(torch.empty(*shape), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("initialize", "std"), RULES.items(), ids=lambda value: getattr(value, "__name__", None))
def test_the_mean_is_zero_and_the_deviation_that_of_the_rule(initialize: Initialize, std: float) -> None:
    weight = drawn(initialize, OUTPUTS, INPUTS)
    # The deviation of n normal numbers is itself uncertain by σ/√(2n), their mean by σ/√n.
    assert abs(float(weight.mean())) < 4 * std / sqrt(weight.numel())
    assert isclose(float(weight.std()), std, rel_tol=4 / sqrt(2 * weight.numel()))


@given(shape=st.lists(st.integers(1, 6), min_size=2, max_size=5))
def test_fans_are_those_of_torch(shape: list[int]) -> None:
    assert fans(torch.empty(shape)) == _calculate_fan_in_and_fan_out(torch.empty(shape))


@pytest.mark.parametrize("shape", [(30, 20), (16, 6, 5, 5), (8, 4, 3)])
def test_the_numbers_are_those_of_torch_under_the_same_seed(shape: tuple[int, ...]) -> None:
    theirs = kaiming_normal_(torch.empty(shape), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn(kaiming, *shape), theirs)
    theirs = xavier_normal_(torch.empty(shape), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn(xavier, *shape), theirs)


def test_a_parameter_is_filled_in_place_and_still_learns() -> None:
    layer = torch.nn.Linear(4, 3)
    before = layer.weight.detach().clone()
    assert kaiming(layer.weight) is layer.weight
    assert not torch.equal(layer.weight, before)
    assert layer.weight.requires_grad


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("initialize", RULES)
@pytest.mark.parametrize("shape", [(5,), (0, 3), ()])
def test_a_weight_without_fan_in_is_refused(initialize: Initialize, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidValue, match=r"has no fan-in; it must be \(outputs, inputs, \.\.\.\)"):
        initialize(torch.empty(shape))
