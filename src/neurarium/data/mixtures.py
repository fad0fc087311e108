"""Mixtures of Gaussians in the plane: samples without end, and how well other points resemble them.

The k-th block of batches is a pure function of (seed, k), so a place in the stream is one integer, and going back to
it costs one block: no random state is saved, and none of anyone else's is touched.

Source: Metz, Poole, Pfau & Sohl-Dickstein 2017, Unrolled generative adversarial networks, appendix A (the ring);
Srivastava, Valkov, Russell, Gutmann & Sutton 2017, VEEGAN, §4.1 (good samples).
Differs: a mode counts as found with a quarter of its equal share in good samples, where Lin, Khetan, Fanti & Oh 2018,
PacGAN, §4.1, are content with a single one, which chance can give.
Shapes: B batch, M Gaussians, N points.
"""

from dataclasses import dataclass
from hashlib import blake2b
from math import pi
from typing import Any, NamedTuple, Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neurarium.errors import InvalidValue, require
from neurarium.parts.bundles import Labelled

GAUSSIANS = 8  # Metz et al. 2017, appendix A
RADIUS = 2.0  # of the ring of centres, Metz et al. 2017, appendix A
DEVIATION = 0.02  # of each Gaussian in each direction, Metz et al. 2017, appendix A
GOOD_WITHIN = 3.0  # standard deviations from the nearest centre, VEEGAN §4.1
FAIR_PART = 0.25  # of an equal share of the points, our own rule (see Differs)
BLOCK = 64  # batches drawn at once: a step then only slices


class Likeness(NamedTuple):
    """How well points resemble a mixture.

    Attributes:
        modes: how many Gaussians have at least a quarter of an equal share of the points as good samples.
        good: the fraction of points within three standard deviations of their nearest centre.
    """

    modes: int
    good: float


@dataclass(frozen=True)
class Mixture:
    """Round Gaussians of one size, all equally likely.

    Args:
        centres: where they lie.
        deviation: the standard deviation of each, in each direction.

    Raises:
        InvalidValue: there is no centre, or the deviation is not positive.

    >>> mixture = Mixture(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), deviation=0.1)
    >>> mixture.likeness(torch.tensor([[0.1, 0.0], [1.0, 0.2], [0.5, 0.0], [0.0, 0.1]]))
    Likeness(modes=2, good=0.75)
    """

    centres: Float[Tensor, "M 2"]
    deviation: float

    def __post_init__(self) -> None:
        require(len(self.centres) >= 1, "the mixture has no centre; it needs at least one Gaussian")
        require(self.deviation > 0, f"the deviation is {self.deviation}, but must be positive")

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Labelled:
        """Points, each labelled with the number of the Gaussian it comes from.

        Args:
            count: how many.
            generator: the CPU generator to draw with; torch's global one if not given.
        """
        labels = torch.randint(len(self.centres), (count,), generator=generator)
        # x = μ_k + σ ε with ε ~ N(0, I)
        points = self.centres[labels] + self.deviation * torch.randn(count, 2, generator=generator)
        return Labelled(points, labels)

    def likeness(self, points: Float[Tensor, "N 2"]) -> Likeness:
        """How many of the Gaussians points have found, and how many of the points are good.

        The mixture's own samples are good with probability 1 − exp(−9/2) = 0.989.

        Raises:
            InvalidValue: there are no points.
        """
        require(len(points) > 0, "there are no points to judge; give at least one")
        distance, nearest = self.nearest(points)
        good = distance <= GOOD_WITHIN * self.deviation
        found = torch.bincount(nearest[good], minlength=len(self.centres))
        modes = int((found >= max(1.0, FAIR_PART * len(points) / len(self.centres))).sum())
        return Likeness(modes, float(good.double().mean()))

    def nearest(self, points: Float[Tensor, "N 2"]) -> tuple[Float[Tensor, " N"], Int64[Tensor, " N"]]:
        """The distance of each point to its nearest centre, and which centre that is."""
        # Differences first: cdist's shortcut by squares would lose the digits that decide three deviations.
        distances = (points.unsqueeze(1) - self.centres.to(points)).norm(dim=2)
        distance, nearest = distances.min(dim=1)
        return distance, nearest

    def batches(self, size: int = 256, *, seed: int = 0, device: torch.device | str = "cpu") -> "MixtureBatches":
        """Batches of new samples without end."""
        return MixtureBatches(self, size, seed=seed, device=device)


def ring(count: int = GAUSSIANS, *, radius: float = RADIUS, deviation: float = DEVIATION) -> Mixture:
    """Gaussians evenly on a circle around the origin, the first one to the right.

    Raises:
        InvalidValue: fewer than one Gaussian, or a radius or deviation that is not positive.

    >>> ring(4, radius=1.0).centres.round().abs().tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """
    require(count >= 1, f"the ring has {count} Gaussians, but needs at least 1")
    require(radius > 0, f"the ring's radius is {radius}, but must be positive")
    angles = 2 * pi * torch.arange(count) / count
    return Mixture(radius * torch.stack([angles.cos(), angles.sin()], dim=1), deviation)


class MixtureBatches:
    """New samples of a mixture without end: a `Stream`.

    Args:
        mixture: what is sampled.
        size: how many samples a batch has.
        seed: decides all of them.
        device: where the batches are wanted.

    Raises:
        InvalidValue: `size` is below 1.

    >>> stream = MixtureBatches(ring(), 32, seed=1)
    >>> first = next(stream)
    >>> state = stream.state_dict()
    >>> second = next(stream)
    >>> again = MixtureBatches(ring(), 32, seed=1)
    >>> again.load_state_dict(state)
    >>> torch.equal(next(again).inputs, second.inputs)
    True
    """

    def __init__(self, mixture: Mixture, size: int = 256, *, seed: int = 0, device: torch.device | str = "cpu") -> None:
        require(size >= 1, f"the batch size is {size}, but must be at least 1")
        self.mixture = mixture
        self.size = size
        self.seed = seed
        self.device = device
        self.drawn = 0
        self._block: Labelled | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Labelled:
        number, place = divmod(self.drawn, BLOCK)
        if self._block is None or place == 0:
            self._block = self._draw(number)
        self.drawn += 1
        start, end = place * self.size, (place + 1) * self.size
        return Labelled(self._block.inputs[start:end], self._block.labels[start:end])

    def _draw(self, number: int) -> Labelled:
        # Hashed, because neighbouring seeds and blocks (0 and 1, 1 and 0) must not give related or equal samples.
        mixed = int.from_bytes(blake2b(f"{self.seed}/{number}".encode(), digest_size=8).digest(), "little")
        points, labels = self.mixture.sample(BLOCK * self.size, generator=torch.Generator().manual_seed(mixed))
        return Labelled(points.to(self.device), labels.to(self.device))

    def state_dict(self) -> dict[str, Any]:
        """How many batches were drawn, and from which stream."""
        return {"drawn": self.drawn, **self._identity()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back to a place.

        Raises:
            InvalidValue: the state belongs to another mixture, batch size or seed, or is no state of this stream.
        """
        for name, mine in self._identity().items():
            theirs = state.get(name)
            require(
                theirs == mine, f"the saved place among the samples has {name} {theirs}, but this stream has {mine}"
            )
        drawn = state.get("drawn")
        if not isinstance(drawn, int) or drawn < 0:
            raise InvalidValue(f"the saved place among the samples is {drawn}, but must be a count of batches")
        self.drawn, self._block = drawn, None

    def _identity(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "seed": self.seed,
            "centres": self.mixture.centres.tolist(),
            "deviation": self.mixture.deviation,
        }
