import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.bundles import Labelled
from neurarium.parts.preprocessing import PCA
from neurarium.parts.schedules import cosine
from neurarium.systems.generative.autoencoder import (
    Autoencoder,
    Reconstruct,
    lost,
    principal_angles,
    squared_error,
)


def examples(count: int = 300, width: int = 6, *, seed: int = 0) -> Tensor:
    """Data whose variances fall from direction to direction."""
    chance = torch.Generator().manual_seed(seed)
    spread = torch.linalg.qr(torch.randn(width, width, generator=chance)).Q * torch.logspace(0, -2, width)[:, None]
    return torch.randn(count, width, generator=chance) @ spread + 0.5


def labelled(images: Tensor) -> Labelled:
    return Labelled(images, torch.zeros(len(images), dtype=torch.int64))


@given(seed=st.integers(0, 100), count=st.integers(1, 6))
def test_components_lose_the_variance_outside(seed: int, count: int) -> None:
    data = examples(seed=seed)
    discarded = (len(data) - 1) / len(data) * float(PCA.fit(data).variances[count:].sum())
    assert lost(PCA.fit(data, components=count), data) == pytest.approx(discarded, abs=1e-5)


def test_a_linear_network_comes_to_the_principal_subspace_and_its_error() -> None:
    data = examples()
    torch.manual_seed(0)
    model = Autoencoder(features=6, code=2)
    model.centre(data)
    learner = Reconstruct(model, lr=2e-2, schedule=cosine)
    for step in range(600):
        learner.progress = step / 600
        learner.learn(labelled(data))
    best = PCA.fit(data, components=2)
    assert learner.evaluate([labelled(data)])["error"] == pytest.approx(lost(best, data), rel=5e-3)
    assert model.decoder is not None
    spanned = model.decoder[0].weight.detach().T  # type: ignore[operator]
    assert float(principal_angles(spanned, best.directions).max()) < 0.05


def test_no_linear_network_does_better_than_components() -> None:
    data = examples()
    floor = lost(PCA.fit(data, components=2), data)
    for seed in range(20):
        torch.manual_seed(seed)
        model = Autoencoder(features=6, code=2)
        model.centre(data)
        assert float(squared_error(model(data), data).mean().detach()) >= floor - 1e-6


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), size=st.integers(1, 4))
def test_angles_are_those_of_subspaces_not_of_the_rows_that_span_them(seed: int, size: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    rows, mixing = (
        torch.randn(size, 7, generator=chance),
        torch.randn(size, size, generator=chance) + 3 * torch.eye(size),
    )
    assert float(principal_angles(rows, mixing @ rows).abs().max()) < 2e-3
    turned = principal_angles(torch.eye(7)[:1], torch.tensor([[1.0, 1.0, 0, 0, 0, 0, 0]]))
    assert float(turned) == pytest.approx(torch.pi / 4, abs=1e-5)


def test_tied_weights_are_the_encoders_turned_round() -> None:
    torch.manual_seed(0)
    model = Autoencoder(features=6, code=2, hidden=(4,), tied=True)
    names = {name for name, _ in model.named_parameters()}
    assert {name for name in names if "weight" in name} == {"encoder.0.weight", "encoder.2.weight"}
    first, second = model.encoder[0].weight, model.encoder[2].weight
    codes = torch.randn(3, 2)
    wanted = torch.nn.functional.silu(codes @ second) @ first  # type: ignore[operator]
    torch.testing.assert_close(model.decode(codes), wanted)


def test_what_is_shown_is_spoiled_and_what_is_asked_for_is_not() -> None:
    model = Reconstruct(Autoencoder(features=1000, code=1), noise=0.5)
    shown = model.spoil(torch.zeros(50, 1000), torch.Generator().manual_seed(0))
    assert float(shown.std()) == pytest.approx(0.5, rel=0.02)
    model = Reconstruct(Autoencoder(features=1000, code=1), erased=0.3)
    shown = model.spoil(torch.ones(50, 1000), torch.Generator().manual_seed(0))
    assert float((shown == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert set(shown.unique().tolist()) == {0.0, 1.0}


def test_bad_values_are_told() -> None:
    with pytest.raises(InvalidValue, match="pictures have 9 pixels, but this network was built for 4"):
        Autoencoder(features=4, code=1)(torch.rand(1, 9))
    with pytest.raises(InvalidValue, match="code is 0"):
        Autoencoder(features=4, code=0)
    with pytest.raises(InvalidValue, match=r"erased is 1\.0"):
        Reconstruct(Autoencoder(features=4, code=1), erased=1.0)
    with pytest.raises(InvalidValue, match="there is no batch"):
        Reconstruct(Autoencoder(features=4, code=1)).evaluate([])
