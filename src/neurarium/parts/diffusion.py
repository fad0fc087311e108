r"""Diffusion: data is drowned in noise step by step, and a network learns the way back.

Forward, nothing is learned: after t steps a picture is √ᾱ of itself and √(1 − ᾱ) of noise, in one formula for every t.
A network that sees the mixture and t tells the noise (or the picture, or their difference, v); from any of them follow
the others. Backward, from pure noise, each step takes away a little of what the network takes for noise. With all steps
and fresh noise at each that is ancestral sampling; with η = 0 and few steps it is DDIM, without chance after the start.

Source: notes 003 (denoising diffusion, μ_q); Ho, Jain & Abbeel 2020, Denoising diffusion probabilistic models, eq. 4,
7, 11, algorithm 2; Nichol & Dhariwal 2021, Improved denoising diffusion probabilistic models, eq. 17 (cosine schedule);
Song, Meng & Ermon 2021, Denoising diffusion implicit models, eq. 12, 16; Salimans & Ho 2022, Progressive distillation,
appendix D (v); Ho & Salimans 2022, Classifier-free diffusion guidance, eq. 6.
Differs: steps count from 0 to T − 1, as in code everywhere; guidance w is the weight of the conditional answer, 1 for
that alone and 0 for the unconditional (w + 1 in the paper is w here).
Shapes: B batch, T training steps, S sampling steps.
"""

from collections.abc import Callable, Iterator
from math import cos, pi
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neurarium.errors import InvalidValue, require

BETAS = (1e-4, 0.02)  # the first and last β of 1,000 steps, Ho et al. 2020, §4
REFERENCE = 1000  # steps that those β belong to
OFFSET = 0.008  # of the cosine schedule, Nichol & Dhariwal 2021, §3.2
LARGEST = 0.999  # of any β there

Target = Literal["noise", "data", "velocity"]
"""What the network tells: ε, x₀ or v."""

Told = Callable[[Tensor, Int64[Tensor, " B"]], Tensor]
"""A network at work: mixtures and their steps in, its target out."""


def linear_betas(steps: int) -> Float[Tensor, " T"]:
    """β that grow linearly, steeper if there are fewer steps, so that the end is noise.

    >>> [round(beta, 4) for beta in linear_betas(1000)[[0, -1]].tolist()]
    [0.0001, 0.02]
    """
    check_steps(steps)
    scale = REFERENCE / steps
    return torch.linspace(scale * BETAS[0], scale * BETAS[1], steps, dtype=torch.float64).clamp(max=LARGEST)


def cosine_betas(steps: int) -> Float[Tensor, " T"]:
    """β whose ᾱ falls like a squared cosine: less is drowned early.

    >>> round(float((1 - cosine_betas(1000)).cumprod(0)[500]), 2)
    0.49
    """
    check_steps(steps)

    def kept(share: float) -> float:
        # ᾱ(t) = cos²(((t/T + s)/(1 + s)) π/2)
        return cos((share + OFFSET) / (1 + OFFSET) * pi / 2) ** 2

    betas = [1 - kept((step + 1) / steps) / kept(step / steps) for step in range(steps)]
    return torch.tensor(betas, dtype=torch.float64).clamp(max=LARGEST)


SCHEDULES: dict[str, Callable[[int], Tensor]] = {"linear": linear_betas, "cosine": cosine_betas}


class Mixture(NamedTuple):
    """What a network learns from: mixtures, and the noise that is in them."""

    mixed: Float[Tensor, "B ..."]
    noise: Float[Tensor, "B ..."]


class Diffusion:
    """The forward process, and the ways back.

    Args:
        betas: the share of noise β that each step brings in.
        target: what the network tells.
        clip: sampled x₀ are kept within ±clip on the way (None: as they come).

    Raises:
        InvalidValue: no β, a β outside 0 to 1, or an unknown target.

    >>> process = Diffusion(linear_betas(10))
    >>> data = torch.ones(2, 1, 4, 4)
    >>> mixed, noise = process.mix(data, torch.tensor([0, 9]), torch.zeros_like(data))
    >>> [round(value, 3) for value in mixed[:, 0, 0, 0].tolist()]
    [0.995, 0.0]
    """

    def __init__(self, betas: Float[Tensor, " T"], *, target: Target = "noise", clip: float | None = 1.0) -> None:
        check_steps(len(betas))
        require(bool(((betas > 0) & (betas < 1)).all()), "a β lies outside 0 to 1; each step must bring in some noise")
        require(target in ("noise", "data", "velocity"), f"target is '{target}'; choose noise, data or velocity")
        self.steps, self.target, self.clip = len(betas), target, clip
        # ᾱ_t = Π (1 − β_s), s ≤ t; in doubles, for the product of a thousand factors
        self.kept = (1 - betas.double()).cumprod(0)

    def mix(self, data: Float[Tensor, "B ..."], step: Int64[Tensor, " B"], noise: Float[Tensor, "B ..."]) -> Mixture:
        """Data after so many steps of noise, in one formula."""
        kept = self._at(step, data)
        # x_t = √ᾱ_t x₀ + √(1 − ᾱ_t) ε
        return Mixture(kept.sqrt() * data + (1 - kept).sqrt() * noise, noise)

    def wanted(
        self, data: Float[Tensor, "B ..."], step: Int64[Tensor, " B"], noise: Float[Tensor, "B ..."]
    ) -> Float[Tensor, "B ..."]:
        """What the network should tell."""
        if self.target == "noise":
            return noise
        if self.target == "data":
            return data
        kept = self._at(step, data)
        # v = √ᾱ ε − √(1 − ᾱ) x₀
        return kept.sqrt() * noise - (1 - kept).sqrt() * data

    def read(
        self, told: Float[Tensor, "B ..."], mixed: Float[Tensor, "B ..."], step: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, "B ..."]]:
        """The data and the noise in a mixture, by what the network told of it."""
        kept = self._at(step, mixed)
        share, rest = kept.sqrt(), (1 - kept).sqrt()
        if self.target == "noise":
            # x₀ = (x_t − √(1 − ᾱ) ε)/√ᾱ
            data = (mixed - rest * told) / share
        elif self.target == "data":
            data = told
        else:
            # x₀ = √ᾱ x_t − √(1 − ᾱ) v
            data = share * mixed - rest * told
        if self.clip is not None:
            data = data.clamp(-self.clip, self.clip)
        # ε = (x_t − √ᾱ x₀)/√(1 − ᾱ)
        return data, (mixed - share * data) / rest

    def path(self, steps: int | None = None) -> list[int]:
        """The steps that sampling goes through, from the last to the first: all, or so many of them, evenly.

        Raises:
            InvalidValue: fewer than 1, or more than there are.

        >>> Diffusion(linear_betas(10)).path(4)
        [9, 6, 3, 0]
        """
        count = self.steps if steps is None else steps
        rule = f"it must be from 1 to the {self.steps} that were trained"
        require(1 <= count <= self.steps, f"sampling takes {count} steps, but {rule}")
        return (
            [round(place) for place in torch.linspace(self.steps - 1, 0, count).tolist()]
            if count > 1
            else [self.steps - 1]
        )

    def denoise(
        self,
        network: Told,
        noise: Float[Tensor, "B ..."],
        *,
        steps: int | None = None,
        eta: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Iterator[Float[Tensor, "B ..."]]:
        """From noise to data, yielding what there is after each step.

        Args:
            network: tells the target.
            noise: to begin with.
            steps: how many to take (default: all).
            eta: how much fresh noise a step brings: 1 with all steps is ancestral sampling, 0 (DDIM) none.
            generator: where that noise comes from.

        Raises:
            InvalidValue: more steps than were trained, or an η outside 0 to 1.
        """
        require(0 <= eta <= 1, f"eta is {eta}; it must lie between 0 (no fresh noise) and 1 (as much as came in)")
        path = self.path(steps)
        mixed = noise
        for now, after in zip(path, [*path[1:], None], strict=True):
            step = torch.full((len(mixed),), now, device=mixed.device)
            data, told_noise = self.read(network(mixed, step), mixed, step)
            kept = float(self.kept[now])
            left = 1.0 if after is None else float(self.kept[after])
            # σ = η √((1 − ᾱ_s)/(1 − ᾱ_t)) √(1 − ᾱ_t/ᾱ_s), s the step after t
            sigma = eta * ((1 - left) / (1 - kept) * (1 - kept / left)) ** 0.5
            # x_s = √ᾱ_s x₀ + √(1 − ᾱ_s − σ²) ε + σ z
            mixed = left**0.5 * data + max(0.0, 1 - left - sigma**2) ** 0.5 * told_noise
            if sigma > 0:
                mixed = mixed + sigma * torch.randn(mixed.shape, generator=generator).to(mixed)
            yield mixed

    def _at(self, step: Tensor, like: Tensor) -> Tensor:
        kept = self.kept.to(like.device)[step].to(like.dtype if like.dtype == torch.float64 else torch.float32)
        return kept.view(-1, *[1] * (like.ndim - 1))


def guided(
    conditional: Float[Tensor, "B ..."], unconditional: Float[Tensor, "B ..."], weight: float
) -> Float[Tensor, "B ..."]:
    """What is told of a condition, exaggerated: weight 1 is the conditional answer, 0 the unconditional.

    >>> guided(torch.tensor([2.0]), torch.tensor([1.0]), 3.0)
    tensor([4.])
    """
    # ε = ε(∅) + w (ε(c) − ε(∅))
    return torch.lerp(unconditional, conditional, weight)


def check_steps(steps: int) -> None:
    """Refuse a process without steps.

    Raises:
        InvalidValue: there is none.
    """
    if steps < 1:
        raise InvalidValue(f"the process has {steps} steps; it needs at least 1")
