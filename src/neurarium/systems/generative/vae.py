r"""Variational autoencoders: every picture becomes a small cloud of codes, and any code becomes a picture.

The encoder names for each picture a Gaussian over codes, the decoder for each code a distribution over pictures. What
is learned is a bound on how probable the data are: the decoder should find the picture again in the code, and the codes
should lie like the prior, a standard Gaussian, so that points drawn from it decode to something. The code is drawn as
mean plus deviation times noise, so that the gradient passes through it.

Source: NYU NN II, Variational Autoencoders; CS 479 §29; Kingma & Welling 2014, Auto-encoding variational Bayes, eq. 3
and 10, appendix B and C; Higgins et al. 2017, β-VAE, eq. 4 (β); Burda, Grosse & Salakhutdinov 2016, Importance weighted
autoencoders, eq. 8 (likelihood).
Differs: pixels from 0 to 1 are chances of being on, drawn anew at every look (dynamic binarisation, Burda et al. 2016,
§5), where the decoder is Bernoulli, unless `binarise` is off: then a grey counts as the mean of its draws, as in
PyTorch's example. A Gaussian decoder has one deviation for all pixels, learned.
Shapes: B batch, C channels, H height, W width, F = C H W pixels, Z numbers of a code, K draws.
"""

from collections.abc import Iterable, Sequence
from math import log, pi
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import Labelled, check_batch
from neurarium.parts.dense import dense
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adam, set_rate
from neurarium.parts.schedules import Schedule, constant

DEVIATION = 0.1  # of a pixel about what a Gaussian decoder says, at first

Likelihood = Literal["bernoulli", "gaussian"]
"""What a pixel is drawn from: on or off, or a grey about what the decoder says."""


class Code(NamedTuple):
    """Clouds of codes: a Gaussian for each picture.

    >>> Code(torch.zeros(1, 2), torch.zeros(1, 2)).divergence().item()
    0.0
    """

    mean: Float[Tensor, "B Z"]
    log_variance: Float[Tensor, "B Z"]

    def draw(self, noise: Float[Tensor, "*K B Z"]) -> Float[Tensor, "*K B Z"]:
        """Codes from standard normal numbers."""
        # z = μ + σ ⊙ ε
        return torch.addcmul(self.mean, (0.5 * self.log_variance).exp(), noise)

    def divergence(self) -> Float[Tensor, " B"]:
        """How far each cloud is from the prior, in nats."""
        # KL(q‖p) = ½ Σ (μ² + σ² − log σ² − 1)
        return 0.5 * (self.mean.square() + self.log_variance.exp() - self.log_variance - 1).sum(1)


class VAE(nn.Module):
    """From pictures to clouds of codes, and from codes to pictures.

    Args:
        shape: channels, height and width of a picture.
        latent: Z, numbers of a code.
        hidden: units of the layers between pictures and codes, from the picture's side.
        likelihood: `bernoulli` or `gaussian`.

    Raises:
        InvalidValue: a size below 1, an unknown likelihood; in use, pictures of another shape.

    >>> net = VAE(shape=(1, 8, 8), latent=2, hidden=(16,))
    >>> net(torch.rand(5, 1, 8, 8)).shape, net.decode(torch.zeros(3, 2)).shape
    (torch.Size([5, 1, 8, 8]), torch.Size([3, 64]))
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        latent: int = 16,
        hidden: Sequence[int] = (512, 256),
        likelihood: Likelihood = "bernoulli",
    ) -> None:
        super().__init__()
        require(latent >= 1, f"latent is {latent}; a code needs at least 1 number")
        require(likelihood in ("bernoulli", "gaussian"), f"likelihood is '{likelihood}'; choose bernoulli or gaussian")
        self.shape, self.latent, self.likelihood = shape, latent, likelihood
        pixels = shape[0] * shape[1] * shape[2]
        self.encoder = dense((pixels, *hidden, 2 * latent), nn.SiLU)
        self.decoder = dense((latent, *reversed(hidden), pixels), nn.SiLU)
        self.log_deviation = nn.Parameter(torch.tensor(log(DEVIATION))) if likelihood == "gaussian" else None

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Each picture as it comes back from the middle of its cloud, from 0 to 1."""
        return self.show(self.decode(self.encode(images).mean))

    def encode(self, images: Float[Tensor, "B C H W"]) -> Code:
        """The cloud of each picture."""
        if tuple(images.shape[1:]) != self.shape:
            raise InvalidValue(f"pictures are {tuple(images.shape[1:])}, but this network was built for {self.shape}")
        # Centred, so that a layer's first sums are neither all bright nor all dark.
        mean, log_variance = self.encoder(2 * images.flatten(1) - 1).float().chunk(2, dim=1)
        return Code(mean, log_variance)

    def decode(self, codes: Float[Tensor, "*K Z"]) -> Float[Tensor, "*K F"]:
        """What the decoder says of each pixel: a logit, or a grey."""
        return self.decoder(codes).float()

    def log_likelihood(self, told: Float[Tensor, "*K B F"], pixels: Float[Tensor, "B F"]) -> Float[Tensor, "*K B"]:
        """How likely pictures are, log p(x|z), by what the decoder said of them, in nats."""
        pixels = pixels.expand_as(told)
        if self.log_deviation is None:
            # log p = Σ x log g(a) + (1 − x) log(1 − g(a))
            return -binary_cross_entropy_with_logits(told, pixels, reduction="none").sum(-1)
        # log p = Σ −(x − a)²/2σ² − log σ − ½ log 2π
        far = (pixels - told) * (-self.log_deviation).exp()
        return -(0.5 * far.square() + self.log_deviation + 0.5 * log(2 * pi)).sum(-1)

    def show(self, told: Float[Tensor, "B F"]) -> Float[Tensor, "B C H W"]:
        """What the decoder said, as pictures from 0 to 1."""
        grey = torch.sigmoid(told) if self.likelihood == "bernoulli" else told.clamp(0, 1)
        return grey.unflatten(1, self.shape)


class Bound(NamedTuple):
    """The bound on −log p(x), and its two parts, for each picture, in nats."""

    negative_elbo: Float[Tensor, " B"]
    reconstruction: Float[Tensor, " B"]
    divergence: Float[Tensor, " B"]


class Variational(Learner[Labelled]):
    """Learns codes and pictures together by the evidence bound.

    Args:
        model: the network.
        beta: weight β of the clouds' distance from the prior; 1 is the bound itself.
        binarise: draw the pixels that a Bernoulli decoder explains on or off by their greys, anew at every look; if
            not, the greys themselves are explained, which is sooner done but bounds the likelihood of nothing.
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.

    Raises:
        InvalidValue: a negative β or rate.

    >>> _ = torch.manual_seed(0)
    >>> learner = Variational(VAE(shape=(1, 2, 2), latent=1, hidden=(8,)), lr=1e-2)
    >>> batch = Labelled(torch.ones(32, 1, 2, 2), torch.zeros(32, dtype=torch.int64))
    >>> losses = [float(learner.learn(batch)["negative_elbo"]) for _ in range(100)]
    >>> losses[-1] < 0.1 * losses[0]
    True
    """

    def __init__(
        self,
        model: VAE,
        *,
        beta: float = 1.0,
        binarise: bool = True,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-3,
        schedule: Schedule = constant,
    ) -> None:
        require(beta >= 0, f"beta is {beta}, but must not be negative")
        require(lr >= 0, f"lr is {lr}, but must not be negative")
        self.model, self.beta, self.binarise, self.lr, self.schedule = model, beta, binarise, lr, schedule
        self.optimizer = optimizer(model.parameters(), lr=lr)

    def learn(self, batch: Labelled) -> Measures:
        """One update; labels are left alone.

        Raises:
            InvalidValue: the batch is empty, or its pictures are not from 0 to 1 or of another shape.
        """
        check_batch(batch, wanted="images and labels")
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        images = batch.inputs
        check_range(images)
        chance = torch.rand_like(images) if self.binarise else None
        bound = self.bound(images, chance, torch.randn(len(images), self.model.latent).to(images))
        loss = (bound.reconstruction + self.beta * bound.divergence).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {name: value.detach().mean() for name, value in bound._asdict().items()}

    def bound(self, images: Float[Tensor, "B C H W"], chance: Tensor | None, noise: Float[Tensor, "B Z"]) -> Bound:
        """The bound for each picture.

        Args:
            images: from 0 to 1.
            chance: uniform numbers of the same shape, by which pixels are on or off (None: they stay grey).
            noise: normal numbers, by which codes are drawn.
        """
        pixels = self.pixels(images, chance)
        code = self.model.encode(pixels)
        told = self.model.decode(code.draw(noise))
        # −log p(x) ≤ −E log p(x|z) + KL(q(z|x) ‖ p(z))
        reconstruction, divergence = -self.model.log_likelihood(told, pixels.flatten(1)), code.divergence()
        return Bound(reconstruction + divergence, reconstruction, divergence)

    def pixels(self, images: Float[Tensor, "B C H W"], chance: Tensor | None) -> Float[Tensor, "B C H W"]:
        """The pictures that are explained: on or off by chance under a Bernoulli decoder, else as they are."""
        if chance is None or self.model.likelihood != "bernoulli":
            return images
        return (chance < images).to(images.dtype)

    def evaluate(
        self, batches: Iterable[Labelled], *, generator: torch.Generator, prefix: str = ""
    ) -> dict[str, float]:
        """The bound and its parts over batches, with one draw a picture."""
        totals, count = torch.zeros(3), 0
        with evaluating(self.model):
            for images, _ in batches:
                chance, noise = self._drawn(images, generator)
                totals += torch.stack([part.sum() for part in self.bound(images, chance, noise)]).cpu()
                count += len(images)
        require(count > 0, "there is no batch to evaluate")
        return {f"{prefix}{name}": float(total) / count for name, total in zip(Bound._fields, totals, strict=True)}

    def likelihood(
        self, images: Float[Tensor, "B C H W"], *, draws: int, generator: torch.Generator
    ) -> Float[Tensor, " B"]:
        """−log p(x) of each picture by importance sampling: nearer to the truth than the bound, the more draws.

        Raises:
            InvalidValue: no draw.
        """
        require(draws >= 1, f"draws is {draws}; importance sampling needs at least 1")
        with evaluating(self.model):
            chance, _ = self._drawn(images, generator)
            pixels = self.pixels(images, chance)
            code = self.model.encode(pixels)
            noise = torch.randn(draws, *code.mean.shape, generator=generator).to(images)
            codes = code.draw(noise)
            seen = self.model.log_likelihood(self.model.decode(codes), pixels.flatten(1))
            # log w = log p(x|z) + log p(z) − log q(z|x); the normal constants of the last two are the same
            weights = seen - 0.5 * codes.square().sum(-1) + 0.5 * (noise.square() + code.log_variance).sum(-1)
            # log p(x) ≈ log 1/K Σ w
            return log(draws) - weights.logsumexp(0)

    def sample(self, count: int, *, generator: torch.Generator) -> Float[Tensor, "B C H W"]:
        """Pictures of codes drawn from the prior."""
        parameter = next(self.model.parameters())
        codes = torch.randn(count, self.model.latent, generator=generator).to(parameter)
        return self.decode(codes)

    def draw_images(self, count: int, *, generator: torch.Generator) -> Float[Tensor, "B C H W"]:
        """The same, under the name by which every learner draws."""
        return self.sample(count, generator=generator)

    def decode(self, codes: Float[Tensor, "B Z"]) -> Float[Tensor, "B C H W"]:
        """The pictures of given codes, in evaluation mode."""
        with evaluating(self.model):
            return self.model.show(self.model.decode(codes))

    def encode(self, images: Float[Tensor, "B C H W"]) -> Code:
        """The clouds of given pictures, in evaluation mode."""
        with evaluating(self.model):
            return self.model.encode(images)

    def _drawn(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor | None, Tensor]:
        chance = torch.rand(images.shape, generator=generator).to(images) if self.binarise else None
        return chance, torch.randn(len(images), self.model.latent, generator=generator).to(images)

    def example(self, batch: Labelled) -> dict[str, tuple[Tensor, ...]]:
        """Pictures."""
        return {"model": (batch.inputs,)}


def check_range(images: Float[Tensor, "B C H W"]) -> None:
    """Refuse pictures with pixels outside 0 to 1.

    Raises:
        InvalidValue: says how far they reach.

    >>> check_range(torch.full((1, 1, 2, 2), 255.0))
    Traceback (most recent call last):
    neurarium.errors.InvalidValue: pixels reach from 255 to 255, but must lie from 0 to 1; divide them by 255
    """
    low, high = torch.aminmax(images)
    if not (low >= 0 and high <= 1):
        raise InvalidValue(f"pixels reach from {low:g} to {high:g}, but must lie from 0 to 1; divide them by 255")
