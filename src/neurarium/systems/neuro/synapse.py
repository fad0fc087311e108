r"""The postsynaptic filter: a spike train becomes a current, by convolution or by differential equations.

A spike lets a current flow behind the synapse, h(t) = k tⁿ e^(−t/τ). The current of a spike train is the sum of one h
for each spike, which is the train, a sum of Dirac's deltas, convolved with h. It is also what comes out of n + 1 leaks
in a row (`parts.synapses`), which need no memory of the past: what a simulation does, step after step. Here is the
convolution, directly or by Fourier's transform, with the kernel that makes it exact for spikes spread over their step.

Source: CS 479 §3.1 (postsynaptic filter and its k; spike train; filtered spike train).
Differs: time comes in steps, and the kernel is h's mean over each; `summed` is Σ h(t − t_p) itself, at exact times.
Shapes: B batch, T time steps, K steps of the kernel, N synapses, P spikes. Units: s; h and filtered spikes in Hz.
"""

from math import exp, lgamma, log
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv1d, pad

from neurarium.errors import InvalidValue, did_you_mean, require
from neurarium.parts.synapses import TAU, check_times

Scale = Literal["area", "peak"]
Method = Literal["fft", "direct"]

KEPT = 1e-7  # what of the area a kernel may leave out at its end


def scale_of(n: int, tau: float, scale: Scale = "area") -> float:
    """k: with "area" the filter's area is 1, with "peak" its largest value is 1.

    Raises:
        InvalidValue: n below 0, a time constant that is not positive, or an unknown scale.

    >>> round(scale_of(0, 0.005)), round(scale_of(1, 0.005))
    (200, 40000)
    """
    require(n >= 0, f"n is {n}, but must be at least 0")
    check_times(tau, tau)
    if scale not in get_args(Scale):
        raise InvalidValue(f"scale is '{scale}'; {did_you_mean(scale, get_args(Scale))}")
    if scale == "peak":
        # the largest value of tⁿ e^(−t/τ) is that at t = nτ
        return exp(n - n * log(n * tau)) if n else 1.0
    # k = 1/(n! τⁿ⁺¹), so that ∫h = 1
    return exp(-lgamma(n + 1) - (n + 1) * log(tau))


def postsynaptic(
    time: Float[Tensor, "*shape"], *, n: int = 0, tau: float = TAU, scale: Scale = "area"
) -> Float[Tensor, "*shape"]:
    """The current a time (s) after a spike; 0 before it.

    Raises:
        InvalidValue: n below 0, a time constant that is not positive, or an unknown scale.

    >>> postsynaptic(torch.tensor([-0.001, 0.0, 0.005])).round().tolist()
    [0.0, 200.0, 74.0]
    """
    past = time.clamp(min=0)
    # h(t) = k tⁿ e^(−t/τ), in logarithms, because k is huge for large n
    current = torch.exp(torch.xlogy(torch.full_like(past, n), past) + log(scale_of(n, tau, scale)) - past / tau)
    return torch.where(time >= 0, current, 0)


def kernel(
    *, n: int = 0, tau: float = TAU, dt: float = 0.001, scale: Scale = "area", steps: int | None = None
) -> Float[Tensor, " K"]:
    """The mean of h over each step, from the spike on; its area is that of h.

    Args:
        n: how often the current is smoothed before it decays.
        tau: time constant in s.
        dt: length of a step in s.
        scale: what k makes 1.
        steps: K; as many as hold all of the area but 1e-7, if not given.

    Raises:
        InvalidValue: n below 0, a time or number of steps that is not positive, or an unknown scale.

    >>> filter = kernel(n=2, tau=0.005, dt=0.001)
    >>> round(0.001 * filter.sum().item(), 6)
    1.0
    """
    check_times(dt, tau)
    area = scale_of(n, tau, scale) / scale_of(n, tau)
    steps = length(n, tau, dt) if steps is None else steps
    require(steps >= 1, f"steps is {steps}, but must be at least 1")
    ends = torch.arange(steps + 1, dtype=torch.float64) * (dt / tau)
    # ∫₀ᵗ h is the incomplete gamma function P(n + 1, t/τ)
    return area * torch.special.gammainc(torch.full_like(ends, n + 1), ends).diff() / dt


def length(n: int, tau: float, dt: float) -> int:
    """After how many steps all of the filter's area but 1e-7 is over."""
    steps = 1
    order = torch.tensor(n + 1.0, dtype=torch.float64)
    while torch.special.gammaincc(order, torch.tensor(steps * dt / tau, dtype=torch.float64)) > KEPT:
        steps *= 2
    return steps


def convolve(
    signal: Float[Tensor, "B T N"], filter: Float[Tensor, " K"], *, dt: float, method: Method = "fft"
) -> Float[Tensor, "B T N"]:
    """The signal after the filter: each step's current is the sum over the steps before it and itself.

    Args:
        signal: constant within each step; for spikes, their number divided by dt.
        filter: from `kernel`.
        dt: length of a step in s.
        method: by Fourier's transform, whose work grows as T log T, or directly, as T K.

    Raises:
        InvalidValue: the signal is empty or not finite, dt is not positive, or the method is unknown.

    >>> train = torch.zeros(1, 100, 1, dtype=torch.float64)
    >>> train[0, 10] = 1000.0  # a spike in a step of a millisecond
    >>> convolve(train, kernel(), dt=0.001)[0, 9:13, 0].round().abs().tolist()
    [0.0, 181.0, 148.0, 122.0]
    """
    require(signal.numel() > 0, f"the signal is {tuple(signal.shape)}: empty; give at least one step of one example")
    require(bool(signal.isfinite().all()), "the signal is NaN or infinite somewhere; every value must be finite")
    check_times(dt, dt)
    if method not in get_args(Method):
        raise InvalidValue(f"method is '{method}'; {did_you_mean(method, get_args(Method))}")
    batch, steps, synapses = signal.shape
    filter = filter.to(signal)[:steps]
    rows = signal.transpose(1, 2).reshape(batch * synapses, 1, steps)
    if method == "fft":
        size = steps + filter.shape[0] - 1  # so long that nothing comes round from the end to the beginning
        # F(a ∗ h) = F(a) F(h)
        current = torch.fft.irfft(torch.fft.rfft(rows, size) * torch.fft.rfft(filter, size), size)[..., :steps]
    else:
        # s(t) = Σᵤ a(u) h(t − u) dt
        current = conv1d(pad(rows, (filter.shape[0] - 1, 0)), filter.flip(0)[None, None])
    return dt * current.reshape(batch, synapses, steps).transpose(1, 2)


def train(times: Float[Tensor, " P"], *, steps: int, dt: float) -> Float[Tensor, "1 T 1"]:
    """Spikes at these times (s) as their number in every step.

    Raises:
        InvalidValue: a time that is NaN or outside the steps.

    >>> train(torch.tensor([0.0005, 0.0021, 0.0029]), steps=4, dt=0.001).flatten().tolist()
    [1.0, 0.0, 2.0, 0.0]
    """
    inside = bool(((times >= 0) & (times < steps * dt)).all())
    require(inside, f"a spike lies outside the {steps} steps, which end at {steps * dt:g} s")
    return torch.bincount((times / dt).long(), minlength=steps).to(times.dtype)[None, :, None]


def summed(times: Float[Tensor, " P"], at: Float[Tensor, " T"], *, n: int = 0, tau: float = TAU) -> Float[Tensor, " T"]:
    """The filtered spike train at any times, spikes being where they are: the formula itself.

    Raises:
        InvalidValue: n below 0, or a time constant that is not positive.

    >>> summed(torch.tensor([0.0, 0.001]), torch.tensor([0.001])).round().tolist()  # 164 left of the first, 200 new
    [364.0]
    """
    # s(t) = Σ_p h(t − t_p)
    return postsynaptic(at[:, None] - times, n=n, tau=tau).sum(1)
