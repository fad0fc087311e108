import pytest
import torch
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.activations import relu, tanh
from neurarium.parts.initialization import fan_in_normal, kaiming, standard_normal
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.foundations.initialization import deep_weights, ensemble, propagate


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=chance(seed), dtype=torch.float64)


def test_signals_are_those_of_the_deltas_written_out() -> None:
    weights = deep_weights([5, 7, 6, 4], fan_in_normal, generator=chance())
    inputs, errors = normal(9, 5, seed=1), normal(9, 4, seed=2)
    signals = propagate(weights, inputs.clone(), errors, activation=tanh)
    outputs = []
    for weight in weights:
        inputs = torch.tanh(inputs @ weight.T)
        outputs.append(inputs)
    deltas = [errors]
    for weight, output in zip(weights[:0:-1], outputs[:0:-1], strict=True):
        deltas.insert(0, (deltas[0] * (1 - output**2)) @ weight)
    for found, expected in ((signals.activations, outputs), (signals.gradients, deltas)):
        torch.testing.assert_close(found, torch.stack([each.var() for each in expected]))


def test_kaiming_keeps_the_variance_under_relu_and_n_over_fan_in_halves_it() -> None:
    for initialize, factor in ((kaiming, 1.0), (fan_in_normal, 0.5), (standard_normal, 64.0)):
        signals = ensemble([128] * 11, initialize, activation=relu, networks=24, batch=16, generator=chance())
        per_layer = signals.activation_ratio ** (1 / 9)
        assert per_layer == pytest.approx(factor, rel=0.06)
        assert signals.gradient_ratio ** (1 / 9) == pytest.approx(factor, rel=0.06)


def test_under_normal_weights_tanh_saturates() -> None:
    signals = ensemble([128] * 6, standard_normal, activation=tanh, networks=2, batch=16, generator=chance())
    assert signals.activations[-1] > 0.9


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="a network needs an input and at least one layer"):
        deep_weights([3], kaiming, generator=chance())
    with pytest.raises(InvalidValue, match="every layer needs at least 1 unit"):
        deep_weights([3, 0], kaiming, generator=chance())
    with pytest.raises(InvalidValue, match="there are no weights; a network needs at least one layer"):
        propagate([], normal(2, 3), normal(2, 3), activation=relu)
    with pytest.raises(InvalidValue, match=r"inputs are \(2, 4\) and errors \(2, 3\); this network needs \(B, 3\)"):
        propagate([normal(3, 3)], normal(2, 4), normal(2, 3), activation=relu)
    with pytest.raises(InvalidValue, match="networks is 0, but must be at least 1"):
        ensemble([3, 3], kaiming, activation=relu, networks=0, batch=2, generator=chance())
    with pytest.raises(InvalidValue, match="batch is 1; a variance needs at least 2 examples"):
        ensemble([3, 3], kaiming, activation=relu, networks=1, batch=1, generator=chance())


@pytest.mark.usefixtures("unchecked")
def test_options_that_make_no_network_are_refused() -> None:
    for options, message in (({"depth": 1}, "takes at least 2"), ({"width": 1}, "width is 1, but must be at least 2")):
        with pytest.raises(InvalidValue, match=message):
            train(find("initialization"), options, Settings())


def test_the_negative_control_misses_the_promise() -> None:
    options = {"networks": 1, "width": 32}
    kept = train(find("initialization"), options, Settings(threads=1)).result["measures"]
    missed = train(find("initialization"), {**options, "scheme": "fan_in"}, Settings(threads=1)).result["measures"]
    assert missed["kaiming_variance_ratio"] < 1e-9 < kept["kaiming_variance_ratio"]
