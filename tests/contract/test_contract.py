"""The contract over the whole catalogue."""

import jaxtyping
import pytest

from neurarium.running.catalogue import catalogue
from neurarium.running.contract import ALL_CHECKS, check
from neurarium.running.probes import Bench

RECIPES = catalogue()
CHECKED = ("finishes",)  # with type checks in signatures


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    """The bench of each recipe, so that its checks, run one after another, share its plain runs."""
    return {name: Bench(entry, tmp_path_factory.mktemp(name)) for name, entry in RECIPES.items()}


@pytest.fixture
def _typed(monkeypatch: pytest.MonkeyPatch, check_name: str) -> None:
    """Check types in signatures in one run of each recipe: they would only slow down the others, which do the same."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", check_name not in CHECKED)


@pytest.mark.parametrize("check_name", ALL_CHECKS)
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.usefixtures("_typed")
def test_contract(benches: dict[str, Bench], recipe: str, check_name: str) -> None:
    finding = check(benches[recipe], check_name)
    assert finding.fine, f"{recipe} breaks '{check_name}': {finding.text}"


@pytest.mark.parametrize("recipe", RECIPES)
def test_smoke_and_control_name_real_options(recipe: str) -> None:
    made = RECIPES[recipe].load()
    assert made.smoke
    # Where nothing is promised there is nothing that a control could miss; the exemption says so.
    assert made.control or "learns" in made.exempt
    assert made.name == recipe
    assert tuple(made.expects) == RECIPES[recipe].expects
    assert made.defaults == {option.name: option.default for option in RECIPES[recipe].options}
    assert all(option.help for option in RECIPES[recipe].options), "every option is explained under Args:"
