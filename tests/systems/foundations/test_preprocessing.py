from pathlib import Path

import pytest
import torch
from sklearn import decomposition
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from neurarium.data.tables import load_table
from neurarium.errors import DataError, InvalidValue, NeurariumError
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.foundations.preprocessing import (
    WAYS,
    Way,
    condition,
    moments,
    preprocessor,
    stable_rate,
    whiteness,
)


def raw_wine() -> tuple[Tensor, Tensor]:
    table = load_table("wine", seed=0, task="classification", standardise=False, dtype=torch.float64)
    return table.train.all().inputs, table.test.all().inputs


@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_scikit_learns_fitted_on_the_training_rows(way: Way) -> None:
    learned, held_out = raw_wine()
    ours = preprocessor(learned, way, share=0.9, standardise=True)(held_out)
    scaler = StandardScaler().fit(learned.numpy())
    peer = held_out.numpy() if way == "raw" else scaler.transform(held_out.numpy())
    if way in ("pca", "whitened"):
        fitted = decomposition.PCA(n_components=0.9, whiten=way == "whitened").fit(scaler.transform(learned.numpy()))
        peer, ours = abs(fitted.transform(peer)), ours.abs()
    torch.testing.assert_close(ours, torch.from_numpy(peer), rtol=1e-8, atol=1e-8)


def test_moments_are_the_eigenvalues_of_the_gram_matrix() -> None:
    inputs = torch.randn(20, 3, dtype=torch.float64)
    design = torch.cat([inputs, torch.ones(20, 1).double()], dim=1)
    torch.testing.assert_close(moments(inputs), torch.linalg.eigvalsh(design.T @ design / 20).flip(0))
    # A column twice adds a direction without variance, which descent never takes.
    assert len(moments(inputs.repeat(1, 2))) == 4
    assert condition(inputs.repeat(1, 2)) >= 1
    assert stable_rate(inputs) == pytest.approx(2 / float(moments(inputs)[0]))


def test_whitening_is_white_and_needs_equally_long_in_every_direction() -> None:
    learned, _ = raw_wine()
    prepared = {way: preprocessor(learned, way)(learned) for way in WAYS}
    assert whiteness(prepared["whitened"]) < 1e-8
    assert condition(prepared["whitened"]) == pytest.approx(len(learned) / (len(learned) - 1))
    assert condition(prepared["raw"]) > 100 * condition(prepared["z_score"]) > condition(prepared["whitened"])


@pytest.mark.usefixtures("unchecked")
def test_unusable_requests_are_refused() -> None:
    with pytest.raises(InvalidValue, match="way is 'zca', but must be one of raw, z_score, pca, whitened"):
        preprocessor(torch.zeros(2, 2), "zca")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="a covariance needs at least 2"):
        whiteness(torch.zeros(1, 2))


def test_a_table_with_a_constant_and_a_repeated_column_is_used(tmp_path: Path) -> None:
    rows = [f"{index % 7},{index % 7},5,{index % 3},{'ab'[index % 7 > 3]}" for index in range(60)]
    (tmp_path / "own.csv").write_text("\n".join(["p,q,r,s,kind", *rows]))
    options = dict(data=f"csv:{tmp_path / 'own.csv'}", target="kind", steps=20, batch=8, standardise=True)
    done = train(find("preprocessing"), options, Settings(device="cpu"), out=tmp_path)
    measures = done.result["measures"]
    assert measures["cumulative_variance_2"] == pytest.approx(1, abs=1e-5)
    assert "cumulative_variance_10" not in measures
    assert measures["whiteness"] < 1e-4


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (dict(share=0.0), InvalidValue, r"share is 0\.0, but must be above 0 and at most 1"),
        (dict(batch=0), InvalidValue, "the batch size is 0"),
        (dict(steps=-1), InvalidValue, "steps is -1"),
        (dict(data="digit"), DataError, "did you mean 'digits'"),
        (dict(target="pixel_0_0"), InvalidValue, "has its own target"),
    ],
)
def test_the_recipe_refuses_impossible_options(
    tmp_path: Path, options: dict[str, float], kind: type[NeurariumError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        train(find("preprocessing"), options, Settings(device="cpu"), out=tmp_path)
