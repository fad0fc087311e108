r"""A function between two populations: read from the rates of one, written into the currents of the other.

The first population holds a value x. Decoders read f(x) from its rates, and the second population's encoders turn that
into currents, so that it holds f(x). Nothing computes f but the decoders. Between the two stand as few numbers as f
gives: one need not carry them, for decoders times encoders is a matrix of weights from every neuron to every neuron,
W = DE, which is what one would look for in a brain. But W has no more rank than f has numbers, and applying it costs
NM products where D and E apart cost N and M for each number. The currents are the same.

Source: CS 479, "Population Coding" (passing data between populations, W = DE, O(N + M) against O(NM)); Eliasmith &
Anderson 2003, Neural Engineering, §6 (transformations).
Differs: the function may be any Python function of one value, and the gains stand with the encoders in E.
Shapes: B batch, N neurons before, M neurons behind, D dimensions of the value, K of what the function gives. Units: Hz;
decoders in s; currents without dimension (threshold 1).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.parts.decoders import Function
from neurarium.parts.tuning import rate
from neurarium.systems.neuro.population_coding import Population


class Transform(nn.Module):
    """Connects two populations so that the second holds a function of what the first holds.

    Args:
        before: the population that is read.
        behind: the population that is driven.
        function: of one value (D,); gives K numbers, as many as the second population has dimensions.

    Raises:
        InvalidValue: the function cannot be used, or gives another number of values than the second population holds.

    >>> from neurarium.systems.neuro.population_coding import make_population
    >>> generator = torch.Generator().manual_seed(0)
    >>> pair = make_population(300, 2, generator=generator)
    >>> single = make_population(300, 1, generator=generator)
    >>> product = Transform(pair, single, lambda x: x[0] * x[1])
    >>> product.compute(torch.tensor([[0.5, -0.8], [0.6, 0.5]])).flatten().round(decimals=1)
    tensor([-0.4000,  0.3000])
    """

    decoders: Tensor
    encoders: Tensor
    bias: Tensor

    def __init__(self, before: Population, behind: Population, function: Function) -> None:
        super().__init__()
        self.before, self.behind = before, behind
        decoders = before.decoders_for(function)
        if decoders.shape[1] != behind.dimensions:
            gives = f"the function gives {decoders.shape[1]} numbers, but the second population holds"
            raise InvalidValue(f"{gives} {behind.dimensions}; make it of as many dimensions")
        self.register_buffer("decoders", decoders)
        # E = (α e)ᵀ
        self.register_buffer("encoders", (behind.gain.unsqueeze(1) * behind.encoders).T.contiguous())
        self.register_buffer("bias", behind.bias)

    def forward(self, activities: Float[Tensor, "B N"]) -> Float[Tensor, "B M"]:
        """The currents into the second population, through the few numbers between.

        Raises:
            InvalidValue: rates of another number of neurons, none at all, or not finite.
        """
        _check(activities, self.before.neurons)
        return low_rank_current(activities, self.decoders, self.encoders, self.bias)

    def weights(self) -> Float[Tensor, "N M"]:
        """The weight from every neuron before to every neuron behind."""
        # W = D E
        return self.decoders @ self.encoders

    def compute(self, values: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """What the second population holds while the first holds these values."""
        return self.behind.decode(rates_under(self(self.before.encode(values)), self.behind))

    def products(self) -> tuple[int, int]:
        """How many multiplications a step costs through D and E, and through W.

        >>> from neurarium.systems.neuro.population_coding import make_population
        >>> population = make_population(1000, generator=torch.Generator().manual_seed(0))
        >>> Transform(population, population, lambda x: x).products()
        (2000, 1000000)
        """
        neurons, numbers = self.decoders.shape
        behind = self.encoders.shape[1]
        # K (N + M) against N M
        return numbers * (neurons + behind), neurons * behind


def low_rank_current(
    activities: Float[Tensor, "B N"],
    decoders: Float[Tensor, "N K"],
    encoders: Float[Tensor, "K M"],
    bias: Float[Tensor, " M"],
) -> Float[Tensor, "B M"]:
    """The currents through decoders and encoders: N + M products for every number between.

    >>> low_rank_current(torch.ones(1, 2), torch.ones(2, 1), torch.ones(1, 3), torch.zeros(3))
    tensor([[2., 2., 2.]])
    """
    # J = (A D) E + β
    return torch.addmm(bias, activities @ decoders, encoders)


def full_current(
    activities: Float[Tensor, "B N"], weights: Float[Tensor, "N M"], bias: Float[Tensor, " M"]
) -> Float[Tensor, "B M"]:
    """The same currents through a weight from every neuron to every neuron: N M products.

    >>> full_current(torch.ones(1, 2), torch.ones(2, 1) @ torch.ones(1, 3), torch.zeros(3))
    tensor([[2., 2., 2.]])
    """
    # J = A W + β
    return torch.addmm(bias, activities, weights)


def rates_under(current: Float[Tensor, "B M"], population: Population) -> Float[Tensor, "B M"]:
    """How fast the neurons of a population fire under some currents, in Hz.

    Raises:
        InvalidValue: currents of another number of neurons.
    """
    if current.shape[-1] != population.neurons:
        shape = tuple(current.shape)
        raise InvalidValue(f"the currents are {shape}, but the last dimension must be the {population.neurons} neurons")
    # a = G(J)
    return rate(current)


def current_gap(one: Float[Tensor, "B M"], other: Float[Tensor, "B M"]) -> float:
    """The largest distance between two sets of currents, as a part of the largest current.

    >>> current_gap(torch.tensor([[1.0, 4.0]]), torch.tensor([[1.0, 3.0]]))
    0.25
    """
    return float((one - other).abs().max() / one.abs().max())


def rank(weights: Float[Tensor, "N M"], *, tolerance: float = 1e-4) -> int:
    """How many singular values are more than rounding, as a part of the largest.

    >>> rank(torch.ones(3, 1) @ torch.ones(1, 4))
    1
    """
    singular = torch.linalg.svdvals(weights.double())
    return int((singular > tolerance * singular[0]).sum())


def _check(activities: Tensor, neurons: int) -> None:
    shape = tuple(activities.shape)
    if shape[-1:] != (neurons,):
        raise InvalidValue(f"the activities are {shape}, but the last dimension must be the {neurons} neurons read")
    require(activities.numel() > 0, f"the activities are {shape}: empty; give at least one example")
    require(bool(activities.isfinite().all()), "the activities are NaN or infinite somewhere; each must be finite")
