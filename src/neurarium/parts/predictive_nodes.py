r"""Nodes of predictive coding: values and errors, the connections between layers, and how values settle.

Predictions μ go down from layer to layer through weights M, errors ε go up through weights W. Values that are not
clamped move down the energy F until each is pulled as hard by its own error as by those it causes below.

Source: CS 479 §29.1 (nodes §29.1.1, energy §29.1.3, dynamics §29.1.4); Whittington & Bogacz 2017, An approximation of
the error backpropagation algorithm in a predictive coding network with local Hebbian synaptic plasticity, eqs.
2.14-2.17; Millidge, Tschantz & Buckley 2020, Predictive coding approximates backprop along arbitrary computation
graphs, §2 (the fixed-prediction assumption).
Differs: v is the variance throughout (the notes as read write v² in the density). Error nodes are at their equilibrium
(x − μ)/v unless they are given a time constant. σ is tanh. W starts as Mᵀ, as the notes assume.
Shapes: B batch, U units of a layer, A units of the layer above. Layers are counted from the bottom, from 0; time is in
units of the value nodes' time constant τ.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import exp
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, NotFinite, require
from neurarium.parts.simulation import Probe, Simulated, constant, relaxed, simulate

Layer = Float[Tensor, "B _"]
"""The value nodes, outputs or error nodes of one layer."""

Free = bool | Float[Tensor, "#B _"]
"""Whether a layer's values move: all, none, or those where a mask is 1."""


class Activity(NamedTuple):
    """A network at one moment, from the bottom layer to the top.

    Attributes:
        values: x of every layer.
        outputs: σ(x) of every layer, from which the predictions are made.
        errors: ε of every layer but the top, which nothing predicts.
    """

    values: tuple[Layer, ...]
    outputs: tuple[Layer, ...]
    errors: tuple[Layer, ...]


Step = Callable[[Activity, None], tuple[Activity, Activity]]
Probes = Mapping[str, Probe[Activity, Activity]]


class PredictiveCoding(nn.Module):
    """Layers of value and error nodes, and the connections between neighbours.

    Args:
        sizes: units of each layer, the bottom first.
        variances: v of each layer but the top: how much its values may differ from their prediction (default: 1).
        generator: where the first weights come from.

    Raises:
        InvalidValue: fewer than two layers, a width below 1, a variance that is not positive or one too many, or, in
            use, a top layer of another width.

    >>> net = PredictiveCoding(sizes=(10, 32, 64))  # a picture of 64 pixels predicts one of 10 labels
    >>> net(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        sizes: Sequence[int],
        variances: Sequence[float] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        require(len(sizes) >= 2 and min(sizes) >= 1, f"sizes are {tuple(sizes)}; give two layers or more, of 1 unit up")
        self.variances = tuple(variances or [1.0] * (len(sizes) - 1))
        fits = len(self.variances) == len(sizes) - 1 and min(self.variances) > 0
        require(fits, f"variances are {self.variances}; give {len(sizes) - 1}, all positive: one a layer below the top")
        drawn = [torch.randn(above, below, generator=generator) / above**0.5 for below, above in pairwise(sizes)]
        self.M = nn.ParameterList(drawn)
        self.W = nn.ParameterList([weight.T.clone(memory_format=torch.contiguous_format) for weight in drawn])
        self.biases = nn.ParameterList([torch.zeros(below) for below in sizes[:-1]])

    def forward(self, top: Float[Tensor, "B ..."]) -> Layer:
        """What the bottom is at equilibrium with only the top clamped."""
        return self.sweep(top)[0]

    def sweep(self, top: Float[Tensor, "B ..."]) -> tuple[Layer, ...]:
        """Every layer's values as the one above predicts them, so that no error is anywhere; the bottom first."""
        values = [top.flatten(1)]
        if values[0].shape[1] != self.M[-1].shape[0]:
            wanted = self.M[-1].shape[0]
            raise InvalidValue(f"the top layer is given {values[0].shape[1]} values, but this network has {wanted}")
        for weight, bias in zip(reversed(self.M), reversed(self.biases), strict=True):
            values.insert(0, prediction(torch.tanh(values[0]), weight, bias))
        return tuple(values)


def prediction(output: Float[Tensor, "B A"], weight: Float[Tensor, "A U"], bias: Float[Tensor, " U"]) -> Layer:
    """What a layer says the one below it should be.

    >>> prediction(torch.tensor([[0.5, 1.0]]), torch.tensor([[2.0], [3.0]]), torch.tensor([1.0])).tolist()
    [[5.0]]
    """
    # μⁱ = σ(xⁱ⁺¹) Mⁱ + βⁱ
    return torch.addmm(bias, output, weight)


def error(value: Layer, predicted: Layer, variance: float) -> Layer:
    """Where an error node comes to rest.

    >>> error(torch.tensor([[3.0]]), torch.tensor([[2.0]]), 0.5).tolist()
    [[2.0]]
    """
    # εⁱ = (xⁱ − μⁱ) / vⁱ, where dεⁱ/dt = xⁱ − μⁱ − vⁱ εⁱ is 0
    return (value - predicted).div_(variance)


def move_(value: Layer, own: Layer | None, slope: Layer, below: Layer | None, *, rate: float, free: Free) -> None:
    """One step of a layer's values, in place: towards their prediction, and to where they predict better.

    Args:
        value: x of the layer.
        own: ε of the layer; none at the top.
        slope: σ'(x) of the layer.
        below: what the errors of the layer below send up, ε W; none at the bottom.
        rate: dt/τ.
        free: which of the values move.
    """
    mask = free if isinstance(free, Tensor) else 1.0
    # τ dxⁱ/dt = σ'(xⁱ) ⊙ (εⁱ⁻¹ Wⁱ⁻¹) − εⁱ
    if below is not None:
        value.addcmul_(slope * mask, below, value=rate)
    if own is not None:
        value.sub_(own * mask, alpha=rate)


def dynamics(
    model: PredictiveCoding, start: Activity, free: Sequence[Free], *, rate: float, lag: float, fixed: bool
) -> Step:
    """The rule of one step for `simulate`; it moves the tensors of its state in place.

    Args:
        model: whose connections the nodes have.
        start: where it begins.
        free: which values move.
        rate: dt/τ.
        lag: time constant of the error nodes over τ; 0 keeps them at their equilibrium.
        fixed: the fixed-prediction assumption: outputs, slopes and predictions stay as they are at the start.
    """
    layers, variances = range(len(start.values)), model.variances
    # What a layer that does not move predicts needs to be worked out only once.
    still = [fixed or free[layer] is False for layer in layers]
    outputs = [output.clone() for output in start.outputs]
    predicted = [prediction(*each) for each in zip(outputs[1:], model.M, model.biases, strict=True)]
    slopes = [1 - output.square() for output in outputs]
    decays = [exp(-variance * rate / lag) if lag else 0.0 for variance in variances]

    def step(state: Activity, _: None) -> tuple[Activity, Activity]:
        values, errors = state.values, list(state.errors)
        sent = [None, *(each @ weight for each, weight in zip(errors, model.W, strict=True))]
        for layer in layers:
            if free[layer] is not False:
                own = errors[layer] if layer < len(errors) else None
                move_(values[layer], own, slopes[layer], sent[layer], rate=rate, free=free[layer])
            if not still[layer]:
                torch.tanh(values[layer], out=outputs[layer])
                # σ'(x) = 1 − σ(x)²
                slopes[layer] = 1 - outputs[layer].square()
        for layer, decay in enumerate(decays):
            if not still[layer + 1]:
                predicted[layer] = prediction(outputs[layer + 1], model.M[layer], model.biases[layer])
            target = error(values[layer], predicted[layer], variances[layer])
            errors[layer] = relaxed(errors[layer], target, torch.full_like(target, decay)) if decay else target
        state = Activity(values, tuple(outputs), tuple(errors))
        return state, state

    return step


def energy(model: PredictiveCoding, errors: Sequence[Layer]) -> Float[Tensor, ""]:
    """F, the mean over the batch: how unlikely the values are, given what is predicted.

    >>> net = PredictiveCoding(sizes=(1, 2), variances=(0.5,))
    >>> energy(net, (torch.tensor([[2.0], [0.0]]),)).item()  # ½ · 0.5 · 2², and 0
    0.5
    """
    # F = ½ Σᵢ |xⁱ − μⁱ|² / vⁱ = ½ Σᵢ vⁱ |εⁱ|²
    parts = [each.square().sum() * variance for each, variance in zip(errors, model.variances, strict=True)]
    return torch.stack(parts).sum() / (2 * errors[0].shape[0])


def largest_rate(model: PredictiveCoding) -> float:
    """A dt/τ under which the values surely settle once the errors are small.

    >>> net = PredictiveCoding(sizes=(1, 1, 1))
    >>> for weight in net.M:
    ...     _ = weight.data.fill_(1.0)
    >>> largest_rate(net)
    0.5
    """
    pairs = [(float(torch.linalg.matrix_norm(M.detach(), 2)), v) for M, v in zip(model.M, model.variances, strict=True)]
    own = [*((1 + norm) / variance for norm, variance in pairs), 0.0]
    below = [0.0, *((norm**2 + norm) / variance for norm, variance in pairs)]
    # 2/λ with λ = maxᵢ (1 + |Mⁱ|)/vⁱ + (|Mⁱ⁻¹|² + |Mⁱ⁻¹|)/vⁱ⁻¹, which bounds ∂²F/∂x² row by row of blocks (σ' ≤ 1)
    return 2 / max(one + other for one, other in zip(own, below, strict=True))


@torch.no_grad()
def settle(
    model: PredictiveCoding,
    values: Sequence[Layer],
    *,
    free: Sequence[Free],
    steps: int,
    rate: float,
    lag: float = 0.0,
    fixed: bool = False,
    probes: Probes | None = None,
) -> Simulated[Activity]:
    """Let the free values move; what is clamped stays.

    Args:
        model: whose nodes they are.
        values: of every layer at the start, the bottom first.
        free: for each layer True, False (clamped), or a mask of 1 where it moves.
        steps: how many.
        rate: dt/τ.
        lag: time constant of the error nodes over τ; they then begin at 0.
        fixed: the fixed-prediction assumption, under which the errors settle at backpropagation's.
        probes: what to keep; the tensors they see go on changing, so they must copy.

    Raises:
        InvalidValue: no step, a rate or lag outside its range, values that are not finite, or a rate too large.

    >>> net = PredictiveCoding(sizes=(2, 3, 4), generator=torch.Generator().manual_seed(0))
    >>> start = (torch.ones(1, 2), *net.sweep(torch.ones(1, 4))[1:])  # both ends clamped
    >>> kept = {"F": Probe(lambda now, _: energy(net, now.errors))}
    >>> falling = settle(net, start, free=(False, True, False), steps=9, rate=0.1, probes=kept).kept["F"]
    >>> bool((falling.diff() < 0).all())
    True
    """
    require(rate > 0, f"rate is {rate}, but must be positive; it is dt/τ")
    require(lag >= 0, f"lag is {lag}, but must be 0 or more; it is the error nodes' time constant over τ")
    values = tuple(value.clone() for value in values)
    outputs = tuple(torch.tanh(value) for value in values)
    predicted = [prediction(*each) for each in zip(outputs[1:], model.M, model.biases, strict=True)]
    errors = tuple(error(*each) for each in zip(values, predicted, model.variances, strict=False))
    before = float(energy(model, errors))
    require(before < float("inf"), "a value is NaN or infinite somewhere; the network can settle from finite ones only")
    start = Activity(values, outputs, tuple(torch.zeros_like(each) for each in errors) if lag else errors)
    step = dynamics(model, start, free, rate=rate, lag=lag, fixed=fixed)
    try:
        done = simulate(step, start, constant(None, steps), probes=probes)
        rose = not (fixed or lag) and float(energy(model, done.state.errors)) > 2 * before + 1e-3
    except NotFinite:
        rose = True
    if rose:
        largest = largest_rate(model)
        raise InvalidValue(f"rate is {rate:g}, with which the energy rises; with these weights {largest:.2g} works")
    return done
