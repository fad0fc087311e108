r"""Autoregressive window: time mapped to space, so that a network without memory can foretell a series.

The last steps of a series, laid side by side, are an input like any other; what came next is the target; and the window
moves on. A network that names the next step from the last few can go on by itself: its answer takes the newest place in
the window, the oldest falls out, and so a forecast rolls forward as far as one likes, and its errors with it.

Source: CSE 151B, Recurrent Neural Networks ("Map time into space: map time into fixed input window and move window");
Lapedes & Farber 1987, Nonlinear signal processing using neural networks, §IV.
Differs: the network says by how much the series changes, and begins by saying that it does not. Beside the next step
it can be taught on forecasts rolled forward, through its own answers (`taught`).
Shapes: B windows, W steps of a window, S steps of a forecast.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import Paired, check_batch
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adam, set_rate
from neurarium.parts.places import squared_errors
from neurarium.parts.schedules import Schedule, constant


class AutoregressiveWindow(nn.Module):
    """The next step of a series from the last few.

    Args:
        window: steps W that are seen.
        hidden: units of each of the two hidden layers.

    Raises:
        InvalidValue: a window or width below 1, windows of another width, or a forecast of no steps.

    >>> net = AutoregressiveWindow(window=3, hidden=8)
    >>> windows = torch.tensor([[0.1, 0.2, 0.3]])
    >>> net(windows).tolist() == windows[:, -1:].tolist()  # untaught, it says that all stays as it is
    True
    >>> net.roll_forward(windows, 5).shape
    torch.Size([1, 5])
    """

    def __init__(self, *, window: int, hidden: int) -> None:
        super().__init__()
        require(window >= 1, f"window is {window}, but must be at least 1 step")
        require(hidden >= 1, f"hidden is {hidden}; a layer needs at least 1 unit")
        self.window = window
        self.layers = nn.Sequential(
            nn.Linear(window, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1)
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, windows: Float[Tensor, "B W"]) -> Float[Tensor, "B 1"]:
        """The step that comes next."""
        if windows.shape[1] != self.window:
            raise InvalidValue(
                f"the windows are {windows.shape[1]} steps wide, but this network sees {self.window}; cut them so"
            )
        # x̂_{t+1} = x_t + f(x_{t−W+1}, ..., x_t)
        change: Tensor = self.layers(windows)
        return windows[:, -1:] + change

    def roll_forward(self, windows: Float[Tensor, "B W"], steps: int) -> Float[Tensor, "B S"]:
        """The next steps, each from those before it, forecast or seen."""
        require(steps >= 1, f"a forecast of {steps} steps was asked for; it has at least 1")
        forecast = []
        for _ in range(steps):
            following = self(windows)
            forecast.append(following)
            # The window moves on by a step, and what was forecast is seen as if it had come.
            windows = torch.cat([windows[:, 1:], following], dim=1)
        return torch.cat(forecast, dim=1)


def persistence(windows: Float[Tensor, "B W"], steps: int) -> Float[Tensor, "B S"]:
    """The forecast that all stays as it is.

    >>> persistence(torch.tensor([[1.0, 2.0]]), 3).tolist()
    [[2.0, 2.0, 2.0]]
    """
    # x̂_{t+s} = x_t
    return windows[:, -1:].expand(-1, steps)


def skill(errors: Float[Tensor, "..."], reference: Float[Tensor, "..."]) -> float:
    """How much of a reference's squared error a forecast does away with: 1 is perfect, 0 no better, below 0 worse.

    Args:
        errors: the squared errors of the forecast.
        reference: those of the reference.

    >>> skill(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0]))
    0.75
    """
    # 1 − Σ (x̂ − x)² / Σ (x̂_ref − x)²
    return 1 - float(errors.sum()) / float(reference.sum().clamp(min=torch.finfo(reference.dtype).tiny))


class Forecaster(Learner[Paired]):
    """Teaches a window on its forecasts, rolled forward as far as the targets reach.

    Args:
        model: the window.
        taught: steps that forecasts are rolled forward in teaching, at most (1: only the next step is taught; None: as
            far as the targets reach).
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.

    Raises:
        InvalidValue: `taught` is below 1.

    >>> times = torch.arange(100.0).unsqueeze(1) + torch.arange(8.0)
    >>> inputs, targets = torch.sin(times / 4).split([4, 4], dim=1)
    >>> _ = torch.manual_seed(0)
    >>> learner = Forecaster(AutoregressiveWindow(window=4, hidden=16), lr=0.01)
    >>> untaught = learner.evaluate([Paired(inputs, targets)])["skill"]
    >>> losses = [float(learner.learn(Paired(inputs, targets))["loss"]) for _ in range(100)]
    >>> untaught, learner.evaluate([Paired(inputs, targets)])["skill"] > 0.95
    (0.0, True)
    """

    def __init__(
        self,
        model: AutoregressiveWindow,
        *,
        taught: int | None = None,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-3,
        schedule: Schedule = constant,
    ) -> None:
        require(taught is None or taught >= 1, f"taught is {taught}; forecasts must be taught at least 1 step")
        self.model = model
        self.taught = taught
        self.lr = lr
        self.schedule = schedule
        self.optimizer = optimizer(model.parameters(), lr=lr)

    def learn(self, batch: Paired) -> Measures:
        """One gradient step on the mean squared error of the forecasts' steps.

        Raises:
            InvalidValue: the batch is empty or misshaped.
        """
        inputs, targets = self._checked(batch)
        targets = targets[:, : self.taught]
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        self.optimizer.zero_grad()
        # L = mean over s = 1 ... S of (x̂_{t+s} − x_{t+s})²
        loss = squared_errors(self.model.roll_forward(inputs, targets.shape[1]), targets).mean()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}

    def forecast(self, windows: Float[Tensor, "B W"], steps: int) -> Float[Tensor, "B S"]:
        """The next steps, in evaluation mode."""
        with evaluating(self.model):
            return self.model.roll_forward(windows, steps)

    def evaluate(self, batches: Iterable[Paired], *, prefix: str = "") -> dict[str, float]:
        """Mean squared error of the forecasts, and their skill over persistence, over all steps of some batches."""
        errors, reference = [], []
        for batch in batches:
            inputs, targets = self._checked(batch)
            steps = targets.shape[1]
            errors.append(squared_errors(self.forecast(inputs, steps), targets))
            reference.append(squared_errors(persistence(inputs, steps), targets))
        seen = torch.cat(errors)
        return {f"{prefix}loss": float(seen.mean()), f"{prefix}skill": skill(seen, torch.cat(reference))}

    def example(self, batch: Paired) -> dict[str, tuple[Tensor, ...]]:
        """The windows of a batch, for the model; it answers with the next step."""
        return {"model": (batch[0],)}

    @staticmethod
    def _checked(batch: Paired) -> Paired:
        inputs, targets = batch
        check_batch((inputs, targets), wanted="windows and what followed them")
        if inputs.ndim != 2 or targets.ndim != 2:
            raise InvalidValue(
                f"windows and targets are {tuple(inputs.shape)} and {tuple(targets.shape)}; they must be (B, W) and "
                "(B, S)"
            )
        return batch
