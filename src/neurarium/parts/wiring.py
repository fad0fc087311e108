r"""Wiring: who is connected to whom, how strongly, and how many steps later.

A spike that takes d steps to arrive is looked up d steps back. Connections of equal delay stand in one matrix, and the
matrices of all delays below one another, so that what arrives in a step is a single product with the spikes of as many
moments of the past. Weights may be dense or sparse, delays alike or each connection's own. No gradient is needed here.

Source: CS 479 §3.1 (weight matrix z = xW), §3.2; Brunel 2000, Dynamics of sparsely connected networks of excitatory and
inhibitory spiking neurons, §2.1 (random connections, delays, excitation and inhibition from neurons of their own).
Shapes: B batch, N neurons, L different delays. Units: weights in s (a current without dimension for each Hz).
"""

from typing import NamedTuple
from warnings import catch_warnings, simplefilter

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from neurarium.errors import InvalidValue, require


class Group(NamedTuple):
    """Neurons of one kind.

    Attributes:
        neurons: how many.
        weight: of each of their connections in s; negative for inhibition.
    """

    neurons: int
    weight: float


def connect(groups: tuple[Group, ...], *, part: float, generator: torch.Generator) -> Float[Tensor, "N N"]:
    """Sparse random weights: every neuron hears the same part of each group, others of it than its neighbour.

    Args:
        groups: one after the other.
        part: of a group that each neuron hears, itself never.
        generator: decides which.

    Raises:
        InvalidValue: a group without neurons, or a part that is not between 0 and 1.

    >>> weights = connect((Group(80, 0.1), Group(20, -0.4)), part=0.1, generator=torch.Generator().manual_seed(0))
    >>> heard = (weights.to_dense() != 0).sum(0)
    >>> weights.is_sparse, heard.min().item(), heard.max().item(), weights.to_dense()[80:].max().item()
    (True, 10, 10, 0.0)
    """
    require(0 <= part <= 1, f"part is {part}, but must be between 0 and 1")
    smallest = min((group.neurons for group in groups), default=0)
    require(smallest >= 1, f"a group has {smallest} neurons, but must have at least 1")
    neurons = sum(group.neurons for group in groups)
    chance = torch.rand(neurons, neurons, generator=generator).fill_diagonal_(2)
    sources, strengths, start = [], [], 0
    for group in groups:
        heard = min(round(part * group.neurons), neurons - 1)
        sources.append(start + chance[start : start + group.neurons].argsort(dim=0)[:heard])
        strengths.append(torch.full((heard, neurons), group.weight))
        start += group.neurons
    source = torch.cat(sources)
    places = torch.stack([source, torch.arange(neurons).expand_as(source)]).flatten(1)
    values = torch.cat(strengths).flatten()
    return torch.sparse_coo_tensor(places, values, (neurons, neurons), check_invariants=True).coalesce()


class Wiring(nn.Module):
    """What arrives at every neuron from the spikes of the past.

    Args:
        weights: from neuron j (row) to neuron i (column), dense or sparse; kept so.
        delays: in whole steps, at least 1: of all connections, or of each.

    Raises:
        InvalidValue: weights that are not square, empty or not finite, or delays below 1 or of another shape.

    >>> wiring = Wiring(torch.tensor([[0.0, 2.0], [3.0, 0.0]]), delays=torch.tensor([[1, 1], [2, 1]]))
    >>> latest, before = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> wiring((latest, before)).tolist()  # 2 from neuron 0 a step ago, 3 from neuron 1 two steps ago
    [[3.0, 2.0]]
    """

    weights: Tensor

    def __init__(self, weights: Float[Tensor, "N N"], *, delays: int | Int64[Tensor, "N N"] = 1) -> None:
        super().__init__()
        check_weights(weights)
        self.neurons = weights.shape[0]
        self.lags, stacked = stacked_by_delay(weights, delays)
        self.register_buffer("weights", stacked)

    @property
    def longest(self) -> int:
        """The longest delay: how many steps of the past are needed."""
        return max(self.lags)

    def forward(self, past: tuple[Float[Tensor, "B N"], ...]) -> Float[Tensor, "B N"]:
        """Σⱼ wⱼᵢ aⱼ(t − dⱼᵢ), from the spikes (0 or 1) of the past, those of the last step first."""
        moments = [past[lag - 1] for lag in self.lags]
        spikes = moments[0] if len(moments) == 1 else torch.cat(moments, dim=1)
        # z = a W
        if self.weights.layout != torch.strided:
            return (self.weights @ spikes.T).T
        return spikes @ self.weights if self.weights.is_cuda else gathered(spikes, self.weights)


def gathered(spikes: Float[Tensor, "B M"], weights: Float[Tensor, "M N"]) -> Float[Tensor, "B N"]:
    """The product, as a sum over the rows of those that fired: few do in a step, so most of the work is left out.

    >>> gathered(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[3.0, 4.0], [0.0, 0.0]]
    """
    fired = spikes.nonzero()[:, 1]
    if spikes.shape[0] == 1:
        starts = torch.zeros(1, dtype=torch.long, device=spikes.device)
    else:
        counts = spikes.sum(1).long()
        starts = counts.cumsum(0) - counts
    return embedding_bag(fired, weights, starts, mode="sum")


def stacked_by_delay(
    weights: Float[Tensor, "N N"], delays: int | Int64[Tensor, "N N"]
) -> tuple[tuple[int, ...], Tensor]:
    """The different delays, and the weights of each below those of the one before; transposed by rows if sparse."""
    neurons, dense = weights.shape[0], weights.layout == torch.strided
    if isinstance(delays, int):
        check_delays(delays, delays)
        lags = (delays,)
        return lags, weights if dense else by_rows(weights)
    if delays.shape != weights.shape:
        one_each = f"the weights {tuple(weights.shape)}; give one number, or one for each weight"
        raise InvalidValue(f"delays are {tuple(delays.shape)}, but {one_each}")
    check_delays(int(delays.min()), int(delays.max()))
    sparse = weights.to_sparse_coo().coalesce()
    source, target = sparse.indices()
    found, place = torch.unique(delays[source, target], return_inverse=True)
    lags = tuple(found.tolist()) or (1,)
    indices = torch.stack([place * neurons + source, target])
    shape = (len(lags) * neurons, neurons)
    stacked = torch.sparse_coo_tensor(indices, sparse.values(), shape, check_invariants=True)
    return lags, stacked.to_dense() if dense else by_rows(stacked)


def by_rows(weights: Tensor) -> Tensor:
    """Sparse weights transposed and laid out by rows, which is how a product reads them fastest."""
    with catch_warnings():
        simplefilter("ignore", UserWarning)  # PyTorch calls the layout a beta, each time a process first uses it
        return weights.to_sparse_coo().T.coalesce().to_sparse_csr()


def check_weights(weights: Tensor) -> None:
    """Refuse weights that connect no neurons to themselves.

    Raises:
        InvalidValue: they are not square, empty, or NaN or infinite.
    """
    shape = tuple(weights.shape)
    square = len(shape) == 2 and shape[0] == shape[1] and shape[0] > 0
    require(square, f"the weights are {shape}, but must be square: from each of the neurons to each")
    values = weights if weights.layout == torch.strided else weights.to_sparse_coo().coalesce().values()
    require(bool(values.isfinite().all()), "a weight is NaN or infinite; every weight must be finite")


def check_delays(shortest: int, longest: int) -> None:
    """Refuse spikes that arrive before they leave.

    Raises:
        InvalidValue: a delay below 1.
    """
    require(shortest >= 1, f"a delay is {shortest} steps (the longest {longest}), but each must be at least 1")
