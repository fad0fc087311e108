"""The autoregressive window: its forecasts are a window moved by hand, and it foretells what can be foretold."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score
from torch import nn

from neurarium.data.series import load_series
from neurarium.errors import InvalidValue
from neurarium.parts.bundles import Paired
from neurarium.parts.places import squared_errors
from neurarium.systems.sequence.autoregressive_window import AutoregressiveWindow, Forecaster, persistence, skill

B, W, S = 5, 6, 4


def taught_somewhere() -> AutoregressiveWindow:
    """A network that does not stand at its start, where it is persistence."""
    torch.manual_seed(0)
    net = AutoregressiveWindow(window=W, hidden=8).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net


def test_untaught_it_is_persistence() -> None:
    windows = torch.randn(B, W)
    net = AutoregressiveWindow(window=W, hidden=8)
    assert torch.equal(net.roll_forward(windows, S), persistence(windows, S))
    assert Forecaster(net).evaluate([Paired(windows, torch.randn(B, S))])["skill"] == 0


@given(steps=st.integers(1, 3 * W))
def test_a_forecast_is_the_window_moved_by_hand(steps: int) -> None:
    net = taught_somewhere()
    start = torch.randn(1, W).double()
    series = start[0].tolist()
    for _ in range(steps):
        series.append(net(torch.tensor([series[-W:]], dtype=torch.float64)).item())
    wanted = torch.tensor([series[W:]], dtype=torch.float64)
    torch.testing.assert_close(net.roll_forward(start, steps), wanted, rtol=1e-12, atol=1e-12)


def test_the_errors_of_a_rolled_forecast_travel_back_through_its_own_answers() -> None:
    net = taught_somewhere()
    windows = torch.randn(B, W).double()
    assert torch.autograd.gradcheck(lambda given: net.roll_forward(given, S), windows.requires_grad_())


@pytest.mark.parametrize("taught", [None, 1, 3])
def test_the_loss_is_over_the_steps_that_are_taught(taught: int | None) -> None:
    net = taught_somewhere()
    batch = Paired(torch.randn(B, W).double(), torch.randn(B, S).double())
    steps = taught or S
    wanted = nn.functional.mse_loss(net.roll_forward(batch.inputs, steps), batch.targets[:, :steps])
    found = Forecaster(net, taught=taught, lr=0.0).learn(batch)["loss"]
    torch.testing.assert_close(found, wanted.detach(), rtol=1e-12, atol=0)


def test_skill_over_the_mean_is_r_squared() -> None:
    came, forecast = torch.randn(50).double(), torch.randn(50).double()
    over_mean = skill((forecast - came) ** 2, (came.mean() - came) ** 2)
    assert over_mean == pytest.approx(r2_score(came, forecast), rel=1e-12)


def test_skill_of_perfect_equal_and_worse_forecasts() -> None:
    reference = torch.rand(20) + 0.1
    assert (skill(0 * reference, reference), skill(reference, reference)) == (1.0, 0.0)
    assert skill(2 * reference, reference) < 0


def test_it_foretells_a_flow_and_cannot_from_what_followed_other_windows() -> None:
    reached = {}
    for shuffled in (False, True):
        torch.manual_seed(0)
        series = load_series(
            "mackey-glass",
            window=24,
            horizon=20,
            generator=torch.Generator().manual_seed(0),
            length=1200,
            shuffle_targets=shuffled,
        )
        learner = Forecaster(AutoregressiveWindow(window=24, hidden=32), taught=1, lr=5e-3)
        stream = series.train.batches(64)
        for _ in range(200):
            learner.learn(next(stream))
        reached[shuffled] = learner.evaluate([series.test.all()])["skill"]
    assert reached[False] >= 0.8
    assert reached[True] < 0.5


def test_evaluation_does_not_depend_on_how_it_is_cut() -> None:
    learner = Forecaster(taught_somewhere())
    whole = Paired(torch.randn(B, W).double(), torch.randn(B, S).double())
    parts = [Paired(*(field[:2] for field in whole)), Paired(*(field[2:] for field in whole))]
    assert learner.evaluate(parts) == pytest.approx(learner.evaluate([whole]))
    errors = squared_errors(learner.forecast(whole.inputs, S), whole.targets)
    assert learner.evaluate([whole])["loss"] == pytest.approx(float(errors.mean()))


def test_what_does_not_fit_is_refused(unchecked: None) -> None:
    net = AutoregressiveWindow(window=W, hidden=8)
    with pytest.raises(InvalidValue, match="the windows are 3 steps wide, but this network sees 6; cut them so"):
        net(torch.zeros(B, 3))
    with pytest.raises(InvalidValue, match="a forecast of 0 steps was asked for; it has at least 1"):
        net.roll_forward(torch.zeros(B, W), 0)
    with pytest.raises(InvalidValue, match="window is 0, but must be at least 1 step"):
        AutoregressiveWindow(window=0, hidden=8)
    with pytest.raises(InvalidValue, match="hidden is 0; a layer needs at least 1 unit"):
        AutoregressiveWindow(window=W, hidden=0)
    with pytest.raises(InvalidValue, match="taught is 0; forecasts must be taught at least 1 step"):
        Forecaster(net, taught=0)
    with pytest.raises(InvalidValue, match=r"windows and targets are \(5, 6, 1\) and \(5, 4\); they must be \(B, W\)"):
        Forecaster(net).learn(Paired(torch.zeros(B, W, 1), torch.zeros(B, S)))
