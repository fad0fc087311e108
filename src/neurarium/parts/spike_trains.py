r"""Spike trains: values written as spikes, and what a raster says in numbers.

A rate code fires the more often the larger the value; a latency code fires once, the sooner the larger. Both are made
without chance, so that the same picture always gives the same spikes.

The intervals between the spikes of a clock are all alike; those of a Poisson process, which forgets when it last fired,
have a standard deviation as large as their mean. Their ratio, the coefficient of variation, is 0 for the one and 1 for
the other.

Source: Dayan & Abbott 2001, Theoretical Neuroscience, §1.4 (coefficient of variation), §1.5 (rate and temporal codes).
Differs: the rate code's spikes are evenly spaced rather than drawn by chance.
Shapes: B batch, T time steps, N neurons or inputs. Units: s, Hz.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import require

OFTEN = 0.25  # spikes a step of the value 1 in a rate code: 250 Hz in steps of 1 ms
LATEST = 0.6  # part of the time by which every input of a latency code has fired
GOLDEN = 0.6180339887498949  # neighbouring inputs are so far apart in phase, and no two alike
FAINTEST = 0.02  # values below it do not fire in a latency code
INTERVALS = 5  # fewer say nothing of how irregular a neuron is


def rate_code(values: Float[Tensor, "B N"], *, steps: int, often: float = OFTEN) -> Float[Tensor, "B T N"]:
    """Evenly spaced spikes, the more the larger a value from 0 to 1.

    Args:
        values: what is written; above 1 counts as 1.
        steps: T.
        often: spikes a step of the value 1, at most 1.

    Raises:
        InvalidValue: no step, or more than a spike a step.

    >>> rate_code(torch.tensor([[0.0, 0.5, 1.0]]), steps=40).sum(1)
    tensor([[ 0.,  5., 10.]])
    """
    require(steps >= 1, f"steps is {steps}, but must be at least 1")
    require(0 < often <= 1, f"often is {often} spikes a step, but must be above 0 and at most 1")
    phase = torch.arange(1, values.shape[1] + 1, device=values.device).mul(GOLDEN).frac().to(values.dtype)
    time = torch.arange(steps + 1, device=values.device, dtype=values.dtype).unsqueeze(1)
    # ⌊r (t + 1) + φ⌋ − ⌊r t + φ⌋
    return (values.clamp(0, 1).unsqueeze(1) * (often * time) + phase).floor().diff(dim=1)


def latency_code(values: Float[Tensor, "B N"], *, steps: int, latest: float = LATEST) -> Float[Tensor, "B T N"]:
    """One spike each, the sooner the larger a value from 0 to 1; none for values that are nearly 0.

    Args:
        values: what is written; above 1 counts as 1.
        steps: T.
        latest: part of the time by which the smallest value has fired.

    Raises:
        InvalidValue: no step, or a part that is not between 0 and 1.

    >>> latency_code(torch.tensor([[0.0, 0.25, 1.0]]), steps=5, latest=1.0)[0].T
    tensor([[0., 0., 0., 0., 0.],
            [0., 0., 0., 1., 0.],
            [1., 0., 0., 0., 0.]])
    """
    require(steps >= 1, f"steps is {steps}, but must be at least 1")
    require(0 < latest <= 1, f"latest is {latest}, but must be above 0 and at most 1")
    time = torch.arange(steps, device=values.device, dtype=values.dtype).unsqueeze(1)
    # t = (1 − x) (last step)
    due = ((1 - values.clamp(0, 1)) * (latest * steps - 1)).round()
    return ((due.unsqueeze(1) == time) & (values >= FAINTEST).unsqueeze(1)).to(values.dtype)


def irregularity(spikes: Float[Tensor, "B T N"], *, at_least: int = INTERVALS) -> Float[Tensor, " M"]:
    """The coefficient of variation of the intervals of every neuron that has enough of them.

    Args:
        spikes: 1 in the steps in which a neuron fired.
        at_least: how many intervals are enough.

    Raises:
        InvalidValue: no neuron has enough.

    >>> clock = torch.zeros(1, 100, 1)
    >>> clock[0, ::10] = 1
    >>> irregularity(clock)
    tensor([0.])
    """
    trains = spikes.transpose(1, 2).flatten(0, 1)
    neuron, step = trains.nonzero(as_tuple=True)
    same = neuron[1:] == neuron[:-1]
    interval, owner = step.diff()[same].double(), neuron[1:][same]
    count, total, squares = (
        torch.zeros(len(trains), dtype=torch.float64, device=spikes.device).index_add_(0, owner, power)
        for power in (torch.ones_like(interval), interval, interval.square())
    )
    enough = count >= at_least
    why = f"no neuron fired {at_least + 1} times, which its {at_least} intervals need; simulate longer or drive harder"
    require(bool(enough.any()), why)
    mean = total[enough] / count[enough]
    # √(⟨x²⟩ − ⟨x⟩²)/⟨x⟩
    return ((squares[enough] / count[enough] - mean.square()).clamp(min=0).sqrt() / mean).to(spikes.dtype)
