r"""Population coding: many neurons together represent a value, and decoders read it back.

Every neuron of the population prefers a direction, its encoder. A value drives it by how far the value lies along that
direction, times its gain, plus its bias; how fast it fires then is its tuning curve. No single rate says what the value
is: a neuron is silent over half of the range and crooked over the other. Added up with the right weights, the crooked
curves give the value, the better the more neurons there are. The same rates hold functions of the value as well: only
the decoders are others.

Source: CS 479 §2.2 (tuning curves) and "Population Coding" (decoding as regression, noise as σ²I, vectors); Eliasmith &
Anderson 2003, Neural Engineering, §2. Gains, biases and encoders stand in `parts.tuning`, the solution in
`parts.decoders`.
Differs: values live in the ball of radius 1; the neurons answer with rates, spikes come with `population_dynamics`.
Shapes: B batch, P examples, N neurons, D dimensions of the value, K of what is decoded. Units: Hz; decoders in s.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.parts.decoders import NOISE, Function, draw_values, solve_decoders, tabulate
from neurarium.parts.tuning import Tuning, random_tuning, rate

EXAMPLES = 1000  # values at which decoders are solved, at least; Nengo takes as many for a small population
EXAMPLES_A_NEURON = 2  # and so many for each neuron of a large one


class Population(nn.Module):
    """Neurons that hold a value in their rates, and what reads it back.

    Args:
        tuning: encoders, gains and biases.
        values: examples at which decoders are solved.
        noise: of the rates, as a part of the fastest.

    Raises:
        InvalidValue: values of other dimensions than the encoders, or what `solve_decoders` refuses.

    >>> population = make_population(200, generator=torch.Generator().manual_seed(0))
    >>> values = torch.tensor([[-0.6], [0.8]])
    >>> population(values).flatten().round(decimals=1)
    tensor([-0.6000,  0.8000])
    >>> squared = population.decoders_for(lambda x: x**2)
    >>> (population.encode(values) @ squared).flatten().round(decimals=1)
    tensor([0.4000, 0.6000])
    """

    encoders: Tensor
    gain: Tensor
    bias: Tensor
    values: Tensor
    decoders: Tensor

    def __init__(self, tuning: Tuning, values: Float[Tensor, "P D"], *, noise: float = NOISE) -> None:
        super().__init__()
        for name, tensor in (*tuning._asdict().items(), ("values", values)):
            self.register_buffer(name, tensor)
        self.noise = noise
        self.register_buffer("decoders", solve_decoders(self.encode(values), values, noise=noise))

    @property
    def neurons(self) -> int:
        """N."""
        return self.encoders.shape[0]

    @property
    def dimensions(self) -> int:
        """D."""
        return self.encoders.shape[1]

    @property
    def tuning(self) -> Tuning:
        """What the neurons respond to."""
        return Tuning(self.encoders, self.gain, self.bias)

    def encode(self, values: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch N"]:
        """How fast each neuron fires while the population holds a value, in Hz.

        Raises:
            InvalidValue: values of other dimensions, none at all, or not finite.
        """
        shape = tuple(values.shape)
        if shape[-1:] != (self.dimensions,):
            raise InvalidValue(
                f"the values are {shape}, but the last dimension must be {self.dimensions}, the encoders'"
            )
        require(values.numel() > 0, f"the values are {shape}: empty; give at least one")
        require(bool(values.isfinite().all()), "the values are NaN or infinite somewhere; each must be finite")
        # a = G(α e·x + β)
        return rate(self.tuning.current(values))

    def decode(self, activities: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch D"]:
        """The value that some rates stand for."""
        # x̂ = A D
        return activities @ self.decoders

    def forward(self, values: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Values as they come back from the population."""
        return self.decode(self.encode(values))

    def decoders_for(self, function: Function) -> Float[Tensor, "N K"]:
        """Decoders that read a function of the value instead of the value itself.

        Raises:
            InvalidValue: the function cannot be used; see `tabulate`.
        """
        return solve_decoders(self.encode(self.values), tabulate(function, self.values), noise=self.noise)

    def noisy(self, activities: Float[Tensor, "*batch N"], generator: torch.Generator) -> Float[Tensor, "*batch N"]:
        """Rates with the noise that the decoders were made for."""
        # a + ε, with ε ~ N(0, σ²)
        sigma = self.noise * self.encode(self.values).max()
        return activities + sigma * torch.randn(activities.shape, generator=generator).to(activities)


def make_population(
    neurons: int, dimensions: int = 1, *, generator: torch.Generator, noise: float = NOISE, examples: int | None = None
) -> Population:
    """A population with random tuning and examples.

    Args:
        neurons: N.
        dimensions: D.
        generator: where chance comes from.
        noise: of the rates, as a part of the fastest.
        examples: values at which decoders are solved (default: 1,000, or two a neuron).

    Raises:
        InvalidValue: a number below 1, or what `Population` refuses.

    >>> make_population(50, 2, generator=torch.Generator().manual_seed(0)).decoders.shape
    torch.Size([50, 2])
    """
    tuning = random_tuning(neurons, dimensions, generator=generator)
    count = max(EXAMPLES, EXAMPLES_A_NEURON * neurons) if examples is None else examples
    return Population(tuning, draw_values(count, dimensions, generator=generator), noise=noise)


def rmse(decoded: Float[Tensor, "*shape"], wanted: Float[Tensor, "*shape"]) -> float:
    """Root of the mean squared distance, over every number.

    >>> rmse(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    2.1213202476501465
    """
    # √(mean (x̂ − x)²)
    return float((decoded - wanted).square().mean().sqrt())
