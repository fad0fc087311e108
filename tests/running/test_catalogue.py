from pathlib import Path

import pytest

from neurarium.errors import InvalidValue
from neurarium.running.catalogue import catalogue, find, read
from neurarium.running.recipe import Expect, recipe

SOURCE = '''
from neurarium.running.recipe import Expect, recipe

@recipe(expects=[Expect("mse", at_most=0.1)], smoke=dict(steps=1), control=dict(lr=0.0), slow=True)
def mine(run, *, steps: int | None = None, lr: float = 1e-3, kind: Literal["a", "b"] = "a"):
    """A recipe of mine.

    More about it.

    Args:
        steps: how many
            updates.
        lr: learning rate.
    """
'''


def written(folder: Path, source: str) -> Path:
    path = folder / "mine.py"
    path.write_text(source)
    return path


def test_a_recipe_is_read_without_being_imported(tmp_path: Path) -> None:
    (entry,) = read(written(tmp_path, "import no_such_module\n" + SOURCE))
    assert (entry.name, entry.family, entry.idea, entry.slow) == ("mine", "elsewhere", "A recipe of mine.", True)
    assert entry.expects == (Expect("mse", at_most=0.1),)
    told = [(option.name, option.default, option.help) for option in entry.options]
    assert told == [("steps", None, "how many updates."), ("lr", 1e-3, "learning rate."), ("kind", "a", "")]


def test_plain_constants_of_the_file_may_be_named(tmp_path: Path) -> None:
    source = "RATE, CLOSE = 1, 2\nSMALL = 0.5\n" + SOURCE.replace("at_most=0.1", "at_most=SMALL / 5")
    (entry,) = read(written(tmp_path, source.replace("lr: float = 1e-3", "lr: float = SMALL")))
    assert entry.expects == (Expect("mse", at_most=0.1),)
    assert entry.options[1].default == 0.5


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"'DEFAULT' cannot be read without importing"):
        read(written(tmp_path, SOURCE.replace("= 1e-3", "= DEFAULT")))
    with pytest.raises(InvalidValue, match="option 'lr' needs a type and a default"):
        read(written(tmp_path, SOURCE.replace("lr: float = 1e-3", "lr=1e-3")))
    with pytest.raises(InvalidValue, match="is not readable Python"):
        read(written(tmp_path, "def ("))


def test_the_catalogue_is_the_folder() -> None:
    assert list(catalogue()) == [entry.name for entry in catalogue().values()]
    assert all(entry.path.stem == entry.name for entry in catalogue().values()), "a recipe is named as its file"
    assert find("lenet").family == "vision"


def test_an_expectation_needs_a_bound() -> None:
    with pytest.raises(InvalidValue, match=r"Expect\('mse'\) has no bound"):
        Expect("mse")


@pytest.mark.parametrize(
    ("expect", "met", "missed", "bound"),
    [
        (Expect("x", at_least=1), 1.0, 0.9, ">= 1"),
        (Expect("x", at_most=1), 1.0, 1.1, "<= 1"),
        (Expect("x", above=0), 0.1, 0.0, "> 0"),
        (Expect("x", below=1), 0.9, 1.0, "< 1"),
        (Expect("x", equals=8), 8.0, 7.0, "== 8"),
        (Expect("x", at_least=1, at_most=2), 1.5, 2.5, ">= 1 and <= 2"),
    ],
)
def test_bounds(expect: Expect, met: float, missed: float, bound: str) -> None:
    assert expect.met(met)
    assert not expect.met(missed)
    assert not expect.met(float("nan"))
    assert expect.bound == bound


def test_a_decorator_that_names_an_unknown_option_or_check_is_refused() -> None:
    def body(run: object, *, steps: int = 1) -> None: ...

    with pytest.raises(InvalidValue, match=r"no option 'step'; did you mean 'steps'"):
        recipe(expects=[], smoke={"step": 1}, control={})(body)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match=r"exempt from 'resume'; did you mean 'resumes'"):
        recipe(expects=[], smoke={}, control={}, exempt={"resume": "no"})(body)  # type: ignore[arg-type]
