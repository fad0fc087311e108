import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import decomposition
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from neurarium.errors import InvalidValue
from neurarium.parts.preprocessing import PCA, ZScore, how_many


def digits() -> Tensor:
    return torch.from_numpy(load_digits().data)


def cloud(seed: int, *, examples: int, features: int, directions: int) -> Tensor:
    """Inputs that vary in so many directions, away from 0."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(examples, directions, generator=generator, dtype=torch.float64)
    return 3 + hidden @ torch.randn(directions, features, generator=generator, dtype=torch.float64)


def test_z_scores_are_scikit_learns_constant_pixels_included() -> None:
    inputs = digits()
    peer = StandardScaler().fit(inputs.numpy())
    ours = ZScore.fit(inputs)
    np.testing.assert_allclose(ours(inputs).numpy(), peer.transform(inputs.numpy()), atol=1e-10)
    np.testing.assert_allclose(ours.inverse(ours(inputs)).numpy(), inputs.numpy(), atol=1e-10)
    assert ours.scale[0] == 1  # the corner is never inked


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("components", [1, 20, 61])
def test_components_are_scikit_learns_up_to_sign(whiten: bool, components: int) -> None:
    inputs = digits()
    train, test = inputs[:1200], inputs[1200:]
    peer = decomposition.PCA(n_components=components, whiten=whiten, svd_solver="full").fit(train.numpy())
    ours = PCA.fit(train, components=components, whiten=whiten)
    signs = np.sign((ours.directions.numpy() * peer.components_).sum(1))
    np.testing.assert_allclose(ours.directions.numpy() * signs[:, None], peer.components_, atol=1e-9)
    np.testing.assert_allclose(ours.variances.numpy(), peer.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(ours.cumulative.numpy(), peer.explained_variance_ratio_.cumsum(), rtol=1e-9)
    outputs = ours(test)
    np.testing.assert_allclose(outputs.numpy() * signs, peer.transform(test.numpy()), rtol=1e-7, atol=1e-7)
    peer_back = peer.inverse_transform(peer.transform(test.numpy()))
    np.testing.assert_allclose(ours.inverse(outputs).numpy(), peer_back, atol=1e-8)


@pytest.mark.parametrize("share", [0.5, 0.8943, 0.95, 0.9882])
def test_a_share_keeps_as_many_as_scikit_learn(share: float) -> None:
    inputs = digits()
    assert (
        PCA.fit(inputs, share=share).components
        == decomposition.PCA(n_components=share).fit(inputs.numpy()).n_components_
    )


@given(seed=st.integers(0, 10_000), examples=st.integers(3, 40), directions=st.integers(1, 6))
def test_components_are_centred_uncorrelated_and_white_in_as_many_directions_as_vary(
    seed: int, examples: int, directions: int
) -> None:
    inputs = cloud(seed, examples=examples, features=6, directions=directions)
    pca = PCA.fit(inputs, whiten=True)
    assert pca.components == min(directions, examples - 1)
    outputs = pca(inputs)
    torch.testing.assert_close(outputs.mean(0), torch.zeros(pca.components).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        outputs.T @ outputs / (examples - 1), torch.eye(pca.components).double(), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(pca.inverse(outputs), inputs, atol=1e-6, rtol=1e-6)  # nothing that varies was dropped


@given(seed=st.integers(0, 10_000), kept=st.integers(1, 5))
def test_what_is_dropped_is_the_error_of_rebuilding(seed: int, kept: int) -> None:
    inputs = cloud(seed, examples=30, features=6, directions=6)
    pca, whole = PCA.fit(inputs, components=kept), PCA.fit(inputs)
    error = (pca.inverse(pca(inputs)) - inputs).square().sum() / (len(inputs) - 1)
    torch.testing.assert_close(error, whole.variances[kept:].sum())


def test_gradients_pass_as_through_the_formula() -> None:
    pca = PCA.fit(cloud(0, examples=30, features=4, directions=4), components=2, whiten=True)
    torch.autograd.gradcheck(pca, torch.randn(3, 4, dtype=torch.float64, requires_grad=True))


def test_what_was_fitted_travels_with_the_model() -> None:
    inputs = cloud(0, examples=30, features=4, directions=4).float()
    scores = ZScore.fit(inputs)
    model = nn.Sequential(scores, PCA.fit(scores(inputs), components=2), nn.Linear(2, 3))
    assert not [name for name, _ in model.named_parameters() if not name.startswith("2.")]
    program = torch.export.export(model, (inputs,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    torch.testing.assert_close(program.module()(inputs[:7]), model(inputs[:7]))
    others = inputs + 5
    again = nn.Sequential(ZScore.fit(others), PCA.fit(others, components=2), nn.Linear(2, 3))
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(inputs), model(inputs), rtol=0, atol=0)


@pytest.mark.usefixtures("unchecked")
def test_unusable_inputs_are_refused() -> None:
    inputs = cloud(0, examples=10, features=3, directions=2)
    spoiled = inputs.clone()
    spoiled[4, 1] = torch.nan
    for given_inputs, options, message in (
        (inputs, dict(components=3), "components is 3, but the inputs vary in 2 directions; choose 1 to 2"),
        (inputs, dict(components=0), "components is 0"),
        (inputs, dict(share=1.5), r"share is 1\.5, but must be above 0 and at most 1"),
        (inputs, dict(share=0.5, components=1), "both given; choose one"),
        (inputs[:1], {}, "there are 1 inputs to fit on, but at least 2 are needed"),
        (torch.full((5, 3), 0.1), {}, "the inputs are all the same"),
        (spoiled, {}, "feature 1 is NaN or infinite"),
        (inputs.reshape(10, 3, 1), {}, r"inputs are \(10, 3, 1\), but must be \(N, F\)"),
    ):
        with pytest.raises(InvalidValue, match=message):
            PCA.fit(given_inputs, **options)
    with pytest.raises(InvalidValue, match="feature 1 is NaN"):
        ZScore.fit(spoiled)
    with pytest.raises(InvalidValue, match="at least 1 are needed"):
        ZScore.fit(inputs[:0])
    for fitted in (ZScore.fit(inputs), PCA.fit(inputs)):
        with pytest.raises(InvalidValue, match=r"inputs are \(10, 2\), but must be \(B, 3\)"):
            fitted(inputs[:, :2])
    with pytest.raises(InvalidValue, match=r"a scale is 0, but each must be positive"):
        ZScore(torch.zeros(2), torch.zeros(2))
    with pytest.raises(InvalidValue, match="no variance to divide by"):
        PCA(torch.zeros(2), torch.eye(2), torch.tensor([1.0, 0.0]), torch.tensor(1.0), whiten=True)
    with pytest.raises(InvalidValue, match="mean, directions and variances are"):
        PCA(torch.zeros(2), torch.eye(3), torch.ones(3), torch.tensor(3.0))


def test_all_of_the_variance_is_all_directions() -> None:
    assert how_many(torch.tensor([0.7, 0.2, 0.1]), share=1.0) == 3


def test_the_first_components_are_those_of_a_smaller_fit(unchecked: None) -> None:
    inputs = torch.randn(50, 6, generator=torch.Generator().manual_seed(3))
    whole, few = PCA.fit(inputs, whiten=True), PCA.fit(inputs, components=2, whiten=True)
    torch.testing.assert_close(whole.first(2)(inputs), few(inputs))
    with pytest.raises(InvalidValue, match=r"9 components are asked for; there are 1 to 6"):
        whole.first(9)
