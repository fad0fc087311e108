import pytest
import torch
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.regularisers import dropout, gaussian_noise, jittered, moved


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.9])
def test_dropout_keeps_the_expectation(p: float) -> None:
    values = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    drawn = dropout(values.expand(200_000, 3), p, generator=chance())
    share = float((drawn == 0).double().mean())
    assert share == pytest.approx(p, abs=0.005)
    # Its standard error is |x| √(p/((1 − p) n)), at most 0.014 here.
    assert torch.allclose(drawn.mean(0), values, atol=0.05)


def test_dropout_lets_errors_back_only_where_it_let_values_through() -> None:
    values = torch.ones(1000, requires_grad=True)
    dropped = dropout(values, 0.5, generator=chance())
    dropped.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, dropped.detach())
    assert set(dropped.tolist()) == {0.0, 2.0}


def ridge(inputs: Tensor, targets: Tensor, penalty: float) -> Tensor:
    """Least squares with penalty |w|² by the normal equations."""
    eye = torch.eye(inputs.shape[1], dtype=inputs.dtype)
    return torch.linalg.solve(inputs.T @ inputs + penalty * eye, inputs.T @ targets)


def test_noise_at_the_inputs_of_linear_regression_is_ridge() -> None:
    examples, sigma, copies = 20, 0.6, 40_000
    inputs = torch.randn(examples, 3, generator=chance(1), dtype=torch.float64)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64)
    noisy = gaussian_noise(inputs.repeat(copies, 1), sigma, generator=chance(2))
    learned = torch.linalg.lstsq(noisy, targets.repeat(copies, 1)).solution
    expected = ridge(inputs, targets, examples * sigma**2)  # Nσ²
    assert torch.allclose(learned, expected, atol=0.01)
    assert not torch.allclose(learned, ridge(inputs, targets, 0.0), atol=0.2)


def test_noise_at_the_inputs_has_the_gradient_of_ridge() -> None:
    examples, sigma, copies = 20, 0.6, 40_000
    inputs = torch.randn(examples, 3, generator=chance(1), dtype=torch.float64)
    targets = torch.randn(examples, 1, generator=chance(3), dtype=torch.float64)
    weights = torch.randn(3, 1, generator=chance(4), dtype=torch.float64, requires_grad=True)
    noisy = gaussian_noise(inputs.repeat(copies, 1), sigma, generator=chance(2))
    ((noisy @ weights - targets.repeat(copies, 1)).square().sum() / copies).backward()
    plain = 2 * inputs.T @ (inputs @ weights - targets) + 2 * examples * sigma**2 * weights
    assert weights.grad is not None
    assert torch.allclose(weights.grad, plain, rtol=0.02, atol=0.3)


def test_every_network_of_a_stack_has_its_own_strength() -> None:
    strengths = torch.tensor([0.0, 0.5, 2.0]).reshape(3, 1, 1)
    noise = gaussian_noise(torch.zeros(3, 400, 50), strengths, generator=chance())
    assert torch.allclose(noise.std((1, 2)), strengths.flatten(), rtol=0.02)
    shares = (dropout(torch.ones(3, 400, 50), strengths / 4, generator=chance()) == 0).float().mean((1, 2))
    assert torch.allclose(shares, strengths.flatten() / 4, atol=0.02)
    image = torch.rand(1, 1, 8, 8, generator=chance()).expand(3, 5, 1, 8, 8)
    shaken = jittered(image, strengths[..., None, None], generator=chance())
    assert torch.allclose(shaken[0], image[0], atol=1e-5)
    assert float((shaken[1] - image[1]).abs().mean()) < float((shaken[2] - image[2]).abs().mean())


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 6, 10)])
def test_a_shift_by_whole_pixels_moves_them_and_lets_in_zeros(shape: tuple[int, int, int]) -> None:
    images = torch.rand(2, *shape, generator=chance())
    found = moved(images, turn=torch.zeros(2), across=torch.tensor([2.0, 0.0]), down=torch.tensor([0.0, -1.0]))
    right, up = torch.zeros(shape), torch.zeros(shape)
    right[..., 2:] = images[0, ..., :-2]
    up[:, :-1] = images[1, :, 1:]
    assert torch.allclose(found, torch.stack([right, up]), atol=1e-5)


def test_a_quarter_turn_is_exact_and_goes_before_the_shift() -> None:
    images = torch.rand(1, 1, 8, 8, generator=chance())
    turned = torch.rot90(images, dims=(2, 3))
    found = moved(images, turn=torch.tensor([90.0]), across=torch.tensor([1.0]), down=torch.zeros(1))
    assert torch.allclose(found[..., 1:], turned[..., :-1], atol=1e-5)
    assert float(found[..., 0].abs().max()) < 1e-5


def test_turning_does_not_stretch_images_that_are_not_square() -> None:
    image = torch.zeros(1, 1, 5, 9)
    image[..., 2, 2:7] = 1.0  # a bar of five pixels, to stand upright
    found = moved(image, turn=torch.tensor([90.0]), across=torch.zeros(1), down=torch.zeros(1))
    upright = torch.zeros(1, 1, 5, 9)
    upright[..., :, 4] = 1.0
    assert torch.allclose(found, upright, atol=1e-5)


def test_impossible_strengths_are_refused() -> None:
    values, images = torch.ones(3), torch.ones(2, 1, 4, 4)
    with pytest.raises(InvalidValue, match="the chance to drop a value reaches 1;"):
        dropout(values, 1.0, generator=chance())
    with pytest.raises(InvalidValue, match="it must be at least 0 and below 1"):
        dropout(values, torch.tensor([0.1, 0.2, -0.1]), generator=chance())
    with pytest.raises(InvalidValue, match=r"deviation falls to -0\.5; it must be 0 or more"):
        gaussian_noise(values, -0.5, generator=chance())
    with pytest.raises(InvalidValue, match="the largest shift falls to -1 pixels"):
        jittered(images, -1.0, generator=chance())


@pytest.mark.usefixtures("unchecked")
def test_images_without_a_batch_are_refused_by_name() -> None:
    with pytest.raises(InvalidValue, match=r"images are \(1, 4, 4\), but must be \(B, C, H, W\)"):
        moved(torch.ones(1, 4, 4), turn=torch.zeros(()), across=torch.zeros(()), down=torch.zeros(()))
