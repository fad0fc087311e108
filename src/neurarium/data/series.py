r"""Series: numbers in the order of time, cut into windows that each come with what followed them.

`mackey-glass` is generated: a chaotic flow, seen through noise. `csv:FILE` is the reader's own, one row a step. The
last fifth is held out, for what is forecast must lie in the future of what was learned from.

Source: Mackey & Glass 1977, Oscillation and chaos in physiological control systems, eq. 4b.
Shapes: N steps, B windows, W steps of a window, S steps to forecast.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from neurarium.data.batches import Held
from neurarium.data.delimited import numbers, read_delimited, target_column
from neurarium.data.splits import TEST_FRACTION
from neurarium.errors import DataError, InvalidValue, did_you_mean, require
from neurarium.parts.bundles import Paired

DELAY = 17.0  # s; the flow is chaotic from about 16.8 s on
GROWTH, DECAY, POWER = 0.2, 0.1, 10  # 1/s, 1/s, –
STEP = 0.1  # s, of Euler's rule
SETTLING = 500  # s left out until the flow has forgotten where it began


@dataclass(frozen=True)
class Series:
    """Windows to learn from and, later in time, windows to test on.

    Attributes:
        train: windows (B, W) and the S steps that followed each, of the first part.
        test: the same of the last part; no step is in both.
        values: the whole series, in units of the first part's deviation from its mean.
        split: the first step of the last part.
        mean: what was taken from each number.
        scale: what it was divided by: `values * scale + mean` are the numbers in the file.
    """

    train: Held[Paired]
    test: Held[Paired]
    values: Float[Tensor, " N"]
    split: int
    mean: float
    scale: float


def load_series(
    data: str,
    *,
    target: str | None = None,
    window: int,
    horizon: int,
    generator: torch.Generator,
    seed: int = 0,
    length: int = 3000,
    noise: float = 0.1,
    shuffle_targets: bool = False,
    device: torch.device | str = "cpu",
) -> Series:
    """A series by name or place, cut into windows.

    Args:
        data: `mackey-glass` or `csv:FILE`.
        target: the column that is the series, for `csv:FILE`; it may be left out if there is no other.
        window: steps W that are seen.
        horizon: steps S that are to be forecast.
        generator: where chance comes from.
        seed: the default order of batches.
        length: steps of `mackey-glass`.
        noise: standard deviation of what is added to each step of `mackey-glass`, in units of the flow's own.
        shuffle_targets: the negative control: deal out what followed the windows to learn from at random among them.
        device: where the windows live.

    Raises:
        DataError: unknown or unusable data, too short for the windows, or without change.
        InvalidValue: a window, horizon, length or noise outside its rule, or a target for a series that has one column.

    >>> series = load_series("mackey-glass", window=20, horizon=5, generator=torch.Generator().manual_seed(0))
    >>> inputs, targets = series.test.all()
    >>> inputs.shape, targets.shape, series.split
    (torch.Size([576, 20]), torch.Size([576, 5]), 2400)
    """
    require(window >= 1, f"window is {window}, but must be at least 1 step")
    require(horizon >= 1, f"horizon is {horizon}, but must be at least 1 step")
    found = find_series(data, target=target, generator=generator, length=length, noise=noise)
    split = round(len(found) * (1 - TEST_FRACTION))
    if min(split, len(found) - split) < window + horizon:
        raise DataError(
            f"{data} has {len(found)} steps, a fifth of them held out; windows of {window} and {horizon} steps after "
            f"them need {round((window + horizon) / TEST_FRACTION)}: shorten the window or the horizon"
        )
    for part, values in (("first four fifths", found[:split]), ("last fifth", found[split:])):
        if values.min() == values.max():
            raise DataError(f"{data} never changes in its {part}; there is nothing to forecast")
    mean, scale = float(found[:split].mean()), float(found[:split].std())
    values = ((found - mean) / scale).float().to(device)
    train, test = windows(values[:split], window, horizon), windows(values[split:], window, horizon)
    if shuffle_targets:
        dealt = torch.randperm(len(train.targets), generator=generator).to(device)
        train = train._replace(targets=train.targets[dealt])
    return Series(Held(train, seed=seed), Held(test, seed=seed), values, split, mean, scale)


def windows(values: Float[Tensor, " N"], window: int, horizon: int) -> Paired:
    """Every stretch of a series as a window and the steps that followed it.

    >>> inputs, targets = windows(torch.arange(6.0), 3, 2)
    >>> inputs.tolist(), targets.tolist()
    ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], [[3.0, 4.0], [4.0, 5.0]])
    """
    stretches = values.unfold(0, window + horizon, 1)
    return Paired(*(part.contiguous() for part in stretches.split([window, horizon], dim=1)))


def find_series(
    data: str, *, target: str | None, generator: torch.Generator, length: int, noise: float
) -> Float64[Tensor, " N"]:
    """The numbers that the data string means.

    Raises:
        DataError: the string names no series, or a file that cannot be used.
        InvalidValue: a target for a series that has one column, or a length or noise outside its rule.
    """
    form, _, rest = data.partition(":")
    if form == "csv" and rest:
        return read_column(Path(rest).expanduser(), target)
    if data != "mackey-glass":
        if form == "csv" or Path(data).is_file():
            raise DataError(f"'{data}' is no series; say csv:{'FILE' if form == 'csv' else data}")
        raise DataError(f"'{data}' is no series; {did_you_mean(data, ['mackey-glass', 'csv:FILE'])}")
    if target is not None:
        raise InvalidValue(f"'{data}' is one series; target='{target}' is for csv:FILE")
    return mackey_glass(generator, length=length, noise=noise)


def read_column(path: Path, target: str | None) -> Float64[Tensor, " N"]:
    """A column of a file as numbers; its only one if no target is said.

    Raises:
        DataError: the file or a cell cannot be used, or it has several columns and none is named.
    """
    table = read_delimited(path)
    alone = len(table.header) == 1 and target in (None, *table.header)
    return torch.from_numpy(numbers(table, table.header[0] if alone else target_column(table, target)))


def mackey_glass(generator: torch.Generator, *, length: int, noise: float = 0.0) -> Float64[Tensor, " N"]:
    """A chaotic flow whose growth depends on what it was a while ago, a step a second, seen through noise.

    Args:
        generator: where the flow begins, and the noise.
        length: steps N.
        noise: standard deviation of what is added to each step, in units of the flow's own.

    Raises:
        InvalidValue: fewer than 2 steps, or a negative noise.

    >>> flow = mackey_glass(torch.Generator().manual_seed(0), length=1000)
    >>> 0.2 < float(flow.min()) < 0.6 < 1.2 < float(flow.max()) < 1.5
    True
    """
    require(length >= 2, f"length is {length} steps, but must be at least 2")
    require(noise >= 0, f"noise is {noise}, but must be 0 or more")
    every, lag = round(1 / STEP), round(DELAY / STEP)
    path = [float(0.8 + 0.8 * torch.rand((), generator=generator))] * (lag + 1)
    for _ in range((length + SETTLING) * every):
        # dx/dt = β x(t − τ) / (1 + x(t − τ)ⁿ) − γ x(t)
        past, now = path[-lag - 1], path[-1]
        path.append(now + STEP * (GROWTH * past / (1 + past**POWER) - DECAY * now))
    flow = torch.tensor(path[::every][-length:], dtype=torch.float64)
    return flow + noise * flow.std() * torch.randn(length, generator=generator, dtype=torch.float64)
