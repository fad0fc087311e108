"""Each schedule against torch's scheduler, over a whole training."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    SequentialLR,
    StepLR,
)

from neurarium.errors import InvalidValue
from neurarium.parts.schedules import Schedule, constant, cosine, exponential, inverse_time, stepwise, warm_up

STEPS = 120
PEERS: dict[str, tuple[Schedule, Callable[[torch.optim.SGD], LRScheduler]]] = {
    "constant": (constant, lambda sgd: ConstantLR(sgd, factor=1.0)),
    "cosine": (cosine, lambda sgd: CosineAnnealingLR(sgd, T_max=STEPS)),
    "multistep": (stepwise(at=(0.3, 0.7), factor=0.2), lambda sgd: MultiStepLR(sgd, [36, 84], gamma=0.2)),
    "step": (stepwise(at=(1 / 3, 2 / 3), factor=0.1), lambda sgd: StepLR(sgd, step_size=40, gamma=0.1)),
    "exponential": (exponential(end=0.01), lambda sgd: ExponentialLR(sgd, gamma=0.01 ** (1 / STEPS))),
    # torch has no class for 1/t; its way to have one is a function of the step.
    "inverse_time": (inverse_time(end=0.1), lambda sgd: LambdaLR(sgd, lambda step: 1 / (1 + 0.075 * step))),
    "warm_up": (
        warm_up(cosine, over=0.25, start=0.1),
        lambda sgd: SequentialLR(
            sgd, [LinearLR(sgd, start_factor=0.1, total_iters=30), CosineAnnealingLR(sgd, T_max=90)], milestones=[30]
        ),
    ),
}


@pytest.mark.parametrize("name", PEERS)
# torch's own SequentialLR steps with an epoch, which torch itself warns about.
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
def test_a_schedule_is_that_of_torch(name: str) -> None:
    schedule, make = PEERS[name]
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    peer = make(sgd)
    for step in range(STEPS):
        assert 0.5 * schedule(step / STEPS) == pytest.approx(sgd.param_groups[0]["lr"], rel=1e-9, abs=1e-12), step
        sgd.step()
        peer.step()


@given(
    start=st.floats(0, 1),
    over=st.floats(0.01, 0.99),
    end=st.floats(0.001, 1),
    one=st.floats(0, 1),
    other=st.floats(0, 1),
)
def test_rates_stay_between_0_and_1_and_fall_once_they_are_up(
    start: float, over: float, end: float, one: float, other: float
) -> None:
    early, late = sorted((one, other))
    for falling in (stepwise(at=(over,), factor=end), exponential(end=end), inverse_time(end=end), cosine):
        assert 0 <= falling(late) <= falling(early) <= falling(0.0) == 1.0
        warm = warm_up(falling, over=over, start=start)
        assert 0 <= warm(early) <= 1 + 1e-12
        assert warm(0.0) == start
        assert warm(over) == 1.0
        assert warm(1.0) == pytest.approx(falling(1.0))


@pytest.mark.parametrize("steps", [1, 7, 30, 1000, 3000])
@pytest.mark.parametrize("tenths", [1, 3, 5, 7, 9])
def test_a_fall_comes_at_its_very_step(steps: int, tenths: int) -> None:
    schedule = stepwise(at=(tenths / 10,), factor=0.5)
    for step in range(steps):
        assert (schedule(step / steps) < 1) == (10 * step >= tenths * steps)


@pytest.mark.usefixtures("unchecked")
def test_unusable_schedules_are_refused() -> None:
    for make, options, message in (
        (stepwise, dict(at=(0.5, 1.0)), r"at is \(0\.5, 1\.0\); every fall lies above 0 and below 1"),
        (stepwise, dict(at=(0.7, 0.5)), "but must rise; sort it"),
        (stepwise, dict(factor=0.0), r"factor is 0\.0, but must be above 0"),
        (exponential, dict(end=0.0), r"end is 0\.0, but must be above 0"),
        (inverse_time, dict(end=1.5), r"end is 1\.5, but must be above 0 and at most 1"),
        (warm_up, dict(over=1.0), r"over is 1\.0; the rise takes a part"),
        (warm_up, dict(start=-0.1), r"start is -0\.1, but must be at least 0"),
    ):
        with pytest.raises(InvalidValue, match=message):
            make(**options)
