"""Tables: what a file says is what is learned from, and every cell that cannot be used is named."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.preprocessing import StandardScaler

from neurarium.data.tables import EMBEDDED, Task, fit_standard, load_table
from neurarium.errors import DataError, InvalidValue, NeurariumError
from neurarium.parts.bundles import Labelled, Paired

ROWS = [f"{number},{number * number % 7},{'ab'[number % 2]},{number / 4}" for number in range(10)]
HEADER = "x,z,kind,y"


def write(folder: Path, text: str | bytes) -> str:
    path = folder / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return f"csv:{path}"


def lines(*rows: str) -> str:
    return "\n".join(rows) + "\n"


def test_diabetes_is_scikit_learns_in_its_own_units() -> None:
    table = load_table("diabetes", seed=0, task="regression", dtype=torch.float64)
    found = load_diabetes(scaled=False)
    known = {tuple(np.round(row, 6)): target for row, target in zip(found.data, found.target, strict=True)}
    for part in (table.train, table.test):
        bundle = part.all()
        assert isinstance(bundle, Paired)
        raw = (bundle.inputs * table.scale + table.mean).numpy()
        assert [known[tuple(np.round(row, 6))] for row in raw] == bundle.targets.squeeze(1).tolist()


def test_standardised_as_scikit_learn_would_by_the_train_rows_alone() -> None:
    found = load_breast_cancer()
    table = load_table("breast-cancer", seed=3, task="classification", dtype=torch.float64)
    raw = load_table("breast-cancer", seed=3, task="classification", dtype=torch.float64, standardise=False)
    scaler = StandardScaler().fit(raw.train.all().inputs.numpy())
    np.testing.assert_allclose(table.test.all().inputs, scaler.transform(raw.test.all().inputs.numpy()), atol=1e-9)
    np.testing.assert_allclose(table.mean, scaler.mean_)
    np.testing.assert_allclose(table.scale, scaler.scale_)
    assert table.class_names == tuple(found.target_names)
    assert table.features == tuple(found.feature_names)
    assert (raw.mean.unique().tolist(), raw.scale.unique().tolist()) == ([0.0], [1.0])


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_embedded_set_loads_for_its_task_and_no_other(name: str) -> None:
    task = EMBEDDED[name]
    other: Task = "regression" if task == "classification" else "classification"
    table = load_table(name, seed=0, task=task)
    bundle = table.train.all()
    assert isinstance(bundle, Paired if task == "regression" else Labelled)
    assert bundle.inputs.isfinite().all()
    assert bundle.inputs.dtype == torch.float32
    assert (table.classes > 1) == (task == "classification")
    with pytest.raises(DataError, match=f"'{name}' is a set for {task}, not {other}; for that there are"):
        load_table(name, seed=0, task=other)


def test_a_constant_feature_is_only_centred(tmp_path: Path) -> None:
    data = write(tmp_path, lines("a,b,y", *(f"0.1,{number},{number}" for number in range(10))))
    table = load_table(data, target="y", seed=0, task="regression")
    assert float(table.scale[0]) == 1.0
    assert float(table.train.all().inputs[:, 0].abs().max()) < 1e-6


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_standardised_columns_have_mean_0_and_deviation_1_or_are_constant(column: list[float]) -> None:
    inputs = np.array(column)[:, None]
    mean, scale = fit_standard(inputs)
    standard = (inputs - mean) / scale
    assert np.isfinite(standard).all()
    if np.ptp(inputs) > 1e-3:
        assert abs(standard.mean()) < 1e-3
        assert standard.std() == pytest.approx(1.0, abs=1e-3)


def test_a_file_for_regression(tmp_path: Path) -> None:
    rows = [row.replace("a,", "1,").replace("b,", "2,") for row in ROWS]
    table = load_table(write(tmp_path, lines(HEADER, *rows)), target="y", seed=0, task="regression", standardise=False)
    assert table.features == ("x", "z", "kind")
    assert (len(table.train), len(table.test), table.class_names) == (8, 2, ())
    for part in (table.train.all(), table.test.all()):
        assert torch.equal(part.inputs[:, :1] / 4, part.targets)


def test_a_file_for_classification_with_names_of_text(tmp_path: Path) -> None:
    table = load_table(
        write(tmp_path, lines(HEADER, *ROWS)), target="kind", seed=0, task="classification", standardise=False
    )
    assert (table.class_names, table.classes, table.features) == (("a", "b"), 2, ("x", "z", "y"))
    for part in (table.train.all(), table.test.all()):
        assert torch.equal(part.inputs[:, 0].long() % 2, part.labels)
    assert table.test.all().labels.sort().values.tolist() == [0, 1]


def test_classes_that_are_numbers_come_in_their_order(tmp_path: Path) -> None:
    rows = [f"{number},{(9, 10, 100)[number % 3]}" for number in range(12)]
    table = load_table(write(tmp_path, lines("x,k", *rows)), target="k", seed=0, task="classification")
    assert table.class_names == ("9", "10", "100")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_marks_and_line_ends_make_no_difference(
    tmp_path: Path, delimiter: str, mark: bytes, end: str
) -> None:
    plain = load_table(write(tmp_path, lines(HEADER, *ROWS)), target="kind", seed=0, task="classification")
    text = end.join([HEADER, "", *ROWS]).replace(",", delimiter)
    other = load_table(write(tmp_path, mark + text.encode()), target="kind", seed=0, task="classification")
    assert torch.equal(plain.train.all().inputs, other.train.all().inputs)
    assert other.features == plain.features


def test_quotes_may_hold_delimiters_and_line_ends(tmp_path: Path) -> None:
    text = '"a;b, c",k\n' + lines(*(f'{number},"{"ab"[number % 2]}\n,"' for number in range(6)))
    table = load_table(write(tmp_path, text), target="k", seed=0, task="classification")
    assert table.features == ("a;b, c",)
    assert table.class_names == ("a\n,", "b\n,")


BAD: list[tuple[str | bytes, str | None, Literal["regression", "classification"], str]] = [
    ("", "y", "regression", "table.csv is empty"),
    ("\n\n", "y", "regression", "table.csv is empty"),
    ("x,y\n", "y", "regression", "has a header, but no rows"),
    ("x,y\n1,2\n", "y", "regression", "has one row, but a train and a test set need"),
    ("1,2\n3,4\n", "y", "regression", "begins with numbers; its first row must name the columns"),
    ("x,,y\n1,2,3\n", "y", "regression", "has no name for column 2"),
    ("x,y,x\n1,2,3\n", "y", "regression", "has two columns called 'x'"),
    ("x,y\n1,2\n1\n", "y", "regression", "line 3 has 1 cells, but the header has 2"),
    ("x,y\n1,2\n\n1,2,3\n", "y", "regression", "line 4 has 3 cells, but the header has 2"),
    ("x,y\n1,2\n,3\n", "y", "regression", "line 3, column 'x' is empty"),
    ("x,y\n1,2\nnan,3\n", "y", "regression", "line 3, column 'x' is nan, but must be a finite number"),
    ("x,y\n1,2\n3,-inf\n", "y", "regression", "line 3, column 'y' is -inf, but must be a finite number"),
    ("x,y\n1,2\n1e999,3\n", "y", "regression", "line 3, column 'x' is 1e999, but must be a finite number"),
    ("x,y\n1,2\nred,3\n", "y", "regression", "line 3, column 'x' is 'red', but must be a number"),
    ("x;y\n1;2\n1,5;3\n", "y", "regression", "is '1,5', but must be a number; write decimals with a point"),
    ("x,y\n1,2\n3,red\n", "y", "regression", "line 3, column 'y' is 'red', but must be a number"),
    ("x,y\n1,2\n1e39,3\n", "y", "regression", "numbers of 'x' are too large for torch.float32"),
    ("x,y\n1,2\n2,1e39\n3,1e39\n", "y", "regression", "numbers of 'y' are too large for torch.float32"),
    ("x,y\n1e308,2\n-1e308,3\n1e308,4\n", "y", "regression", "numbers of 'x' are too large"),
    (b"x,y\n1,2\n\xff,3\n", "y", "regression", "line 3 is not UTF-8"),
    ("x,y\n1,2".encode("utf-16"), "y", "regression", "line 1 is not UTF-8"),
    ('x,y\n1,2\n"3,4\n', "y", "regression", "line 3 is not well-formed"),
    ("x,y\n1,2\n", None, "regression", "needs a target, the column to learn; it has: x, y"),
    ("width,height\n1,2\n", "hieght", "regression", "has no column 'hieght'; did you mean 'height'?"),
    ("y\n1\n2\n", "y", "regression", "has only the target column 'y'"),
    ("x,k\n1,a\n2,a\n", "k", "classification", "has one class in column 'k', 'a'"),
    ("x,k\n1,a\n2,a\n3,b\n", "k", "classification", "line 4, column 'k' is the only row of class 'b'"),
    ("x,k\n1,a\n2,\n3,b\n", "k", "classification", "line 3, column 'k' is empty, but must name a class"),
    ("x,k\n1,a\n2,NaN\n3,b\n", "k", "classification", "line 3, column 'k' is nan, but must name a class"),
]


@pytest.mark.parametrize(("text", "target", "task", "message"), BAD)
def test_names_what_is_wrong_with_a_file(
    tmp_path: Path, text: str | bytes, target: str | None, task: Task, message: str
) -> None:
    data = write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        load_table(data, target=target, seed=0, task=task)
    assert message in str(caught.value)
    assert "table.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_columns_are_not_all_listed(tmp_path: Path) -> None:
    names = ",".join(f"c{number}" for number in range(30))
    with pytest.raises(DataError, match=r"c18, c19, \.\.\.$"):
        load_table(write(tmp_path, lines(names, names.replace("c", ""))), seed=0, task="regression")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("diabetis", "'diabetis' is no table; did you mean 'diabetes'?"),
        ("xyz", "'xyz' is no table; known: csv:FILE, diabetes"),
        ("csv:", "'csv:' is no table; say csv:FILE"),
        ("csv:nowhere.csv", "nowhere.csv cannot be read: No such file or directory"),
    ],
)
def test_names_what_is_no_table(data: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load_table(data, target="y", seed=0, task="regression")
    assert message in str(caught.value)


def test_a_bare_path_is_told_its_form(tmp_path: Path) -> None:
    path = write(tmp_path, lines(HEADER, *ROWS)).removeprefix("csv:")
    with pytest.raises(DataError, match="is no table; say csv:/"):
        load_table(path, target="y", seed=0, task="regression")


def test_refuses_arguments_that_do_not_fit() -> None:
    with pytest.raises(InvalidValue, match="'iris' has its own target; target='y' is for csv:FILE"):
        load_table("iris", target="y", seed=0, task="classification")
    with pytest.raises(NeurariumError, match=r"dtype of a table is torch\.int64, but must be a floating-point one"):
        load_table("iris", seed=0, task="classification", dtype=torch.int64)


def test_the_seed_decides_the_split_and_the_control() -> None:
    first, again, other = (load_table("iris", seed=seed, task="classification") for seed in (0, 0, 1))
    assert torch.equal(first.test.all().inputs, again.test.all().inputs)
    assert not torch.equal(first.test.all().inputs, other.test.all().inputs)
    control = load_table("iris", seed=0, task="classification", shuffle_labels=True)
    assert torch.equal(control.train.all().inputs, first.train.all().inputs)
    assert torch.equal(control.train.all().labels.bincount(), first.train.all().labels.bincount())
    assert float((control.train.all().labels == first.train.all().labels).float().mean()) < 0.6


def test_targets_of_regression_are_dealt_too() -> None:
    plain, control = (load_table("diabetes", seed=0, task="regression", shuffle_labels=on) for on in (False, True))
    for real, dealt in ((plain.train.all(), control.train.all()), (plain.test.all(), control.test.all())):
        assert torch.equal(real.targets.sort(0).values, dealt.targets.sort(0).values)
        assert float((real.targets == dealt.targets).float().mean()) < 0.2
