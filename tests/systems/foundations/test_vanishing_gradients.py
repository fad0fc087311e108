from math import sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import layer_norm

from neurarium.errors import InvalidValue
from neurarium.parts.initialization import fan_in_normal, kaiming
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.foundations.vanishing_gradients import (
    ACTIVATIONS,
    Block,
    Gated,
    Normed,
    Plain,
    PreNormed,
    Residual,
    autograd_jacobian,
    decay,
    deep,
    gradient_norms,
    product,
    recurrent,
    through,
)

ZERO = torch.zeros(64).double()


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=chance(seed), dtype=torch.float64)


def blocks_of(activation: str, seed: int) -> dict[str, Block]:
    shape = ACTIVATIONS[activation]
    weight, gate = normal(6, 6, seed=seed), normal(6, 6, seed=seed + 1)
    plain = Plain(weight, normal(6, seed=seed + 2), shape)
    return {
        "plain": plain,
        "normed": Normed(weight, shape),
        "branch": PreNormed(weight, shape),
        "residual": Residual(PreNormed(weight, shape), 0.7),
        "gated": Gated(plain, gate, 1.5),
    }


@given(seed=st.integers(0, 200), activation=st.sampled_from(sorted(ACTIVATIONS)))
def test_every_written_jacobian_is_autograd_s(seed: int, activation: str) -> None:
    example = normal(6, seed=seed + 3)
    blocks = blocks_of(activation, seed)
    for block in blocks.values():
        torch.testing.assert_close(block.jacobian(example), autograd_jacobian([block], example))
    chain = list(blocks.values())
    torch.testing.assert_close(product(chain, example)[-1], autograd_jacobian(chain, example))


@pytest.mark.parametrize("kind", ["depth", "time"])
def test_the_written_product_is_autograd_s_jacobian_for_every_network(kind: str) -> None:
    networks = deep(16, 6, "logistic", generator=chance()) if kind == "depth" else recurrent(16, 6, generator=chance())
    example = normal(16, seed=1)
    for blocks in networks.values():
        oracle = autograd_jacobian(blocks, example)
        torch.testing.assert_close(product(blocks, example)[-1], oracle, rtol=0, atol=1e-12 * float(oracle.abs().max()))


def test_gradients_are_errors_times_the_written_product() -> None:
    for blocks in deep(8, 4, "tanh", generator=chance()).values():
        inputs, errors = normal(5, 8, seed=1), normal(5, 8, seed=2)
        arrived = torch.stack([e @ product(blocks, x)[-1] for x, e in zip(inputs, errors, strict=True)])
        norms = gradient_norms(blocks, inputs, errors)
        torch.testing.assert_close(norms[0], arrived.square().mean().sqrt())
        torch.testing.assert_close(norms[-1], errors.square().mean().sqrt())


def test_the_norm_is_torch_s() -> None:
    weight, inputs = normal(6, 6), normal(4, 6, seed=1)
    expected = torch.tanh(layer_norm(inputs @ weight.T, (6,)))
    torch.testing.assert_close(Normed(weight, ACTIVATIONS["tanh"])(inputs), expected)
    torch.testing.assert_close(
        PreNormed(weight, ACTIVATIONS["tanh"])(inputs), torch.tanh(layer_norm(inputs, (6,))) @ weight.T
    )


@given(seed=st.integers(0, 100), bound=st.floats(0.1, 3.0))
def test_a_logistic_layer_stretches_by_no_more_than_a_quarter_of_its_weights(seed: int, bound: float) -> None:
    turn = bound * torch.linalg.qr(normal(8, 8, seed=seed)).Q
    block = Plain(turn, normal(8, seed=seed + 1), ACTIVATIONS["logistic"])
    assert torch.linalg.matrix_norm(block.jacobian(normal(8, seed=seed + 2)), 2) <= bound / 4 + 1e-12


def test_rezero_is_the_identity_and_a_wide_open_gate_too() -> None:
    weight = normal(64, 64)
    inputs, plain = normal(3, 64, seed=1), Plain(weight, ZERO, ACTIVATIONS["relu"])
    for block, gap in ((Residual(plain, 0.0), 0.0), (Gated(plain, 0 * weight, 50.0), 1e-12)):
        torch.testing.assert_close(block(inputs), inputs, atol=gap, rtol=gap)
        torch.testing.assert_close(block.jacobian(inputs[0]), torch.eye(64).double(), atol=1e-12, rtol=0)


def test_the_scale_of_weights_under_a_norm_cancels() -> None:
    weight, inputs = fan_in_normal(torch.empty(64, 64).double(), generator=chance()), normal(3, 64, seed=1)
    one, large = (Normed(factor * weight, ACTIVATIONS["relu"]) for factor in (1.0, 1000.0))
    torch.testing.assert_close(large.jacobian(inputs[0]), one.jacobian(inputs[0]), rtol=1e-3, atol=1e-4)  # but for ε


def test_one_residual_layer_stretches_a_random_error_by_root_two() -> None:
    inputs, errors = normal(256, 512, seed=1), normal(256, 512, seed=2)
    plain = Plain(
        kaiming(torch.empty(512, 512).double(), generator=chance()), torch.zeros(512).double(), ACTIVATIONS["relu"]
    )
    assert decay(gradient_norms([Residual(plain)], inputs, errors)) == pytest.approx(sqrt(2), rel=0.02)
    assert decay(gradient_norms([plain], inputs, errors)) == pytest.approx(1.0, rel=0.05)


def test_what_vanishes_explodes_and_keeps() -> None:
    inputs, errors = normal(16, 64, seed=1), normal(16, 64, seed=2)
    expected = {
        "logistic": (0.2, 0.25),
        "logistic, large weights": (1.3, 2.2),
        "ReLU, N(0, 1/√n)": (0.65, 0.75),
        "ReLU, Kaiming": (0.9, 1.1),
        "ReLU, N(0, 1), normed": (0.9, 1.1),
        "residual, no norm": (sqrt(2), 2.0),
        "residual, normed first": (1.0, 1.25),
        "ReZero": (1.0 - 1e-9, 1.0 + 1e-9),
        "gates": (0.9, 1.0),
    }
    networks = deep(64, 30, "logistic", generator=chance())
    assert set(networks) == set(expected)
    for name, (low, high) in expected.items():
        assert low <= decay(gradient_norms(networks[name], inputs, errors)) <= high, name


@pytest.mark.usefixtures("unchecked")
def test_what_makes_no_network_is_refused_in_words() -> None:
    plain = Plain(torch.eye(3), torch.zeros(3), ACTIVATIONS["relu"])
    with pytest.raises(InvalidValue, match="there are no blocks; a network needs at least one"):
        through([], torch.ones(2, 3))
    with pytest.raises(InvalidValue, match=r"errors are \(2, 4\) and inputs \(2, 3\); they must be alike"):
        gradient_norms([plain], torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(InvalidValue, match="1 steps of 4 units; a product of Jacobians takes 2 of both"):
        recurrent(4, 1, generator=chance())
    for options, message in (
        ({"depth": 1}, "1 layers of 64 units; a product of Jacobians takes 2"),
        ({"width": 1}, "layers of 1 units"),
        ({"activation": "sine"}, "activation is 'sine'; choose logistic, tanh, relu"),
        ({"batch": 0}, "batch is 0, but must be at least 1"),
    ):
        with pytest.raises(InvalidValue, match=message):
            train(find("vanishing_gradients"), options, Settings(threads=1))


def test_the_negative_control_misses_the_promise() -> None:
    options = {"depth": 12, "steps": 12, "width": 24}
    kept = train(find("vanishing_gradients"), options, Settings(threads=1)).result["measures"]
    missed = train(find("vanishing_gradients"), {**options, "activation": "relu"}, Settings(threads=1)).result[
        "measures"
    ]
    assert kept["logistic_decay"] < 0.3 < missed["logistic_decay"]
    assert kept["jacobian_gap"] < 1e-12
