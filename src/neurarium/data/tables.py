"""Tables: rows of numbers with a value or a class to learn, standardised by what the train rows show.

scikit-learn's small sets are embedded: `diabetes` to regress, `breast-cancer`, `digits`, `iris` and `wine` to
classify. `csv:FILE` is the reader's own, with the column to learn named by `target`.

Shapes: N rows, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, overload

import numpy as np
import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor

from neurarium.data.batches import Held
from neurarium.data.delimited import classes, numbers, read_delimited, target_column
from neurarium.data.splits import dealt, random_split, stratified_split
from neurarium.errors import DataError, InvalidValue, did_you_mean, require
from neurarium.parts.bundles import Labelled, Paired

Task = Literal["regression", "classification"]
Bundle = TypeVar("Bundle", bound=tuple[Tensor, ...])

EMBEDDED: dict[str, Task] = {
    "diabetes": "regression",
    "breast-cancer": "classification",
    "digits": "classification",
    "iris": "classification",
    "wine": "classification",
}


@dataclass(frozen=True)
class Table(Generic[Bundle]):
    """Rows to train and to test on.

    Attributes:
        train: the rows to learn from: `Labelled` with a class each, or `Paired` with targets of shape (N, 1).
        test: the rows held out.
        features: the name of each input.
        class_names: the name of each class, in the order of the labels; empty for regression.
        name: the data as it was asked for.
        mean: what was taken from each feature.
        scale: what each feature was divided by: `inputs * scale + mean` are the numbers in the file.
    """

    train: Held[Bundle]
    test: Held[Bundle]
    features: tuple[str, ...]
    class_names: tuple[str, ...]
    name: str
    mean: Float[Tensor, " F"]
    scale: Float[Tensor, " F"]

    @property
    def classes(self) -> int:
        """How many classes there are; 0 for regression."""
        return len(self.class_names)


@dataclass(frozen=True)
class RawTable:
    """What a loader found: rows in the order of the data, labels as integers or targets as floats."""

    inputs: Float64[np.ndarray, "N F"]
    targets: Shaped[np.ndarray, " N"]
    features: tuple[str, ...]
    class_names: tuple[str, ...]
    target: str = "target"


@overload
def load_table(
    data: str,
    *,
    target: str | None = ...,
    seed: int,
    task: Literal["regression"],
    device: torch.device | str = ...,
    dtype: torch.dtype = ...,
    shuffle_labels: bool = ...,
    standardise: bool = ...,
) -> Table[Paired]: ...


@overload
def load_table(
    data: str,
    *,
    target: str | None = ...,
    seed: int,
    task: Literal["classification"],
    device: torch.device | str = ...,
    dtype: torch.dtype = ...,
    shuffle_labels: bool = ...,
    standardise: bool = ...,
) -> Table[Labelled]: ...


def load_table(
    data: str,
    *,
    target: str | None = None,
    seed: int,
    task: Task,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    shuffle_labels: bool = False,
    standardise: bool = True,
) -> Table[Any]:
    """A table by name or place, a fifth of it held out by seed (of each class, where there are classes).

    Args:
        data: `diabetes`, `breast-cancer`, `digits`, `iris`, `wine` or `csv:FILE`.
        target: the column to learn, for `csv:FILE`.
        seed: decides the split, the dealing of labels, and the default order of batches.
        task: whether the target is a number or a class.
        device: where the rows live.
        dtype: of inputs and targets.
        shuffle_labels: the negative control: deal the targets of each part out at random among its rows.
        standardise: bring each feature to mean 0 and deviation 1 over the train rows; a constant one is only centred.

    Raises:
        DataError: unknown or unusable data; for a file the message names line and column.
        InvalidValue: a target for a set that has its own.

    >>> table = load_table("diabetes", seed=0, task="regression")
    >>> len(table.train), len(table.test), table.features[:3]
    (354, 88, ('age', 'sex', 'bmi'))
    >>> batch = next(table.train.batches(32))
    >>> batch.inputs.shape, batch.targets.shape
    (torch.Size([32, 10]), torch.Size([32, 1]))
    """
    require(dtype.is_floating_point, f"the dtype of a table is {dtype}, but must be a floating-point one")
    raw = find_table(data, target=target, task=task)
    if task == "classification":
        labels = torch.from_numpy(raw.targets)
        places = stratified_split(labels, seed=seed, class_names=raw.class_names)
    else:
        places = random_split(len(raw.targets), seed=seed)
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused by name in the next line
        mean, scale = fit_standard(raw.inputs[places[0].numpy()], on=standardise)
        inputs = torch.from_numpy((raw.inputs - mean) / scale).to(dtype)
    fitted = torch.from_numpy(np.stack([mean, scale])).to(dtype)
    for values in (inputs, fitted):  # a deviation that overflows would make every input 0
        check_finite(values, data=data, names=raw.features, dtype=dtype)
    train, test = (
        Held(rows_at(raw, inputs, part, data=data, deal=seed if shuffle_labels else None), seed=seed).to(device)
        for part in places
    )
    return Table(train, test, raw.features, raw.class_names, data, *fitted.to(device))


def rows_at(
    raw: RawTable, inputs: Float[Tensor, "N F"], places: Tensor, *, data: str, deal: int | None
) -> Labelled | Paired:
    """The rows at these places, their targets dealt out at random by the seed `deal` if there is one."""
    targets = torch.from_numpy(raw.targets)[places]
    targets = targets if deal is None else dealt(targets, seed=deal)
    if raw.class_names:
        return Labelled(inputs[places], targets)
    targets = targets.to(inputs.dtype).unsqueeze(1)
    check_finite(targets, data=data, names=[raw.target], dtype=inputs.dtype)
    return Paired(inputs[places], targets)


def fit_standard(
    inputs: Float64[np.ndarray, "N F"], *, on: bool = True
) -> tuple[Float64[np.ndarray, " F"], Float64[np.ndarray, " F"]]:
    """The mean and the deviation of each feature; 0 and 1 if not `on`, and 1 for the deviation of a constant.

    >>> mean, scale = fit_standard(np.array([[1.0, 7.0], [3.0, 7.0]]))
    >>> mean.tolist(), scale.tolist()
    ([2.0, 7.0], [1.0, 1.0])
    """
    if not on:
        return np.zeros(inputs.shape[1]), np.ones(inputs.shape[1])
    # A constant is told by its range, for its deviation may round to more than 0, and that of others down to 0.
    deviation = inputs.std(axis=0)
    constant = (inputs.max(axis=0) == inputs.min(axis=0)) | (deviation == 0)
    return inputs.mean(axis=0), np.where(constant, 1.0, deviation)


def check_finite(values: Float[Tensor, "N F"], *, data: str, names: Sequence[str], dtype: torch.dtype) -> None:
    """Refuse numbers too large for the dtype.

    Raises:
        DataError: a column became infinite or NaN.
    """
    finite = values.isfinite().all(0)
    if not finite.all():
        raise DataError(f"{data}: the numbers of '{names[int(finite.int().argmin())]}' are too large for {dtype}")


def find_table(data: str, *, target: str | None, task: Task) -> RawTable:
    """What the data string means.

    Raises:
        DataError: the string names no table, or one for another task.
        InvalidValue: a target for a set that has its own.
    """
    form, _, rest = data.partition(":")
    if form == "csv" and rest:
        return load_csv(Path(rest).expanduser(), target=target, task=task)
    known = [name for name, suits in EMBEDDED.items() if suits == task]
    if data not in EMBEDDED:
        forms = [*known, "csv:FILE"]
        if form == "csv" or Path(data).is_file():
            raise DataError(f"'{data}' is no table; say csv:{'FILE' if form == 'csv' else data}")
        raise DataError(f"'{data}' is no table; {did_you_mean(data, forms)}")
    if data not in known:
        raise DataError(f"'{data}' is a set for {EMBEDDED[data]}, not {task}; for that there are {', '.join(known)}")
    if target is not None:
        raise InvalidValue(f"'{data}' has its own target; target='{target}' is for csv:FILE")
    return load_embedded(data)


def load_embedded(name: str) -> RawTable:
    """One of scikit-learn's sets, in the units it was measured in."""
    from sklearn import datasets

    # Not scaled: scikit-learn scales by all rows, and those to test on must not be looked at.
    found = (
        datasets.load_diabetes(scaled=False)
        if name == "diabetes"
        else getattr(datasets, f"load_{name.replace('-', '_')}")()
    )
    inputs = np.ascontiguousarray(found.data, dtype=np.float64)
    if EMBEDDED[name] == "regression":
        return RawTable(inputs, found.target.astype(np.float64), tuple(found.feature_names), ())
    names = tuple(str(each) for each in found.target_names)
    return RawTable(inputs, found.target.astype(np.int64), tuple(map(str, found.feature_names)), names)


def load_csv(path: Path, *, target: str | None, task: Task) -> RawTable:
    """A file's columns: `target` to learn, and all others, which must be numbers, to learn it from.

    Raises:
        DataError: the file or a cell cannot be used; the message names line and column.
    """
    table = read_delimited(path)
    target = target_column(table, target)
    if len(table.rows) < 2:
        raise DataError(f"{path} has one row, but a train and a test set need at least two")
    features = tuple(name for name in table.header if name != target)
    inputs = np.column_stack([numbers(table, name) for name in features])
    if task == "regression":
        return RawTable(inputs, numbers(table, target), features, (), target)
    labels, names = classes(table, target)
    return RawTable(inputs, np.array(labels, dtype=np.int64), features, names)
