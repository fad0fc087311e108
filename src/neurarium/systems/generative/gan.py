r"""Generative adversarial networks: a forger and a detective teach each other.

The generator turns noise into samples; the discriminator says how probably a sample is real. Each in its turn takes a
gradient step against the other. The discriminator's best answer is D* = p/(p+q) for data density p and generated
density q, and what is then left to the generator is the Jensen–Shannon divergence of the two: it is least, at
D* = 1/2 everywhere, where the samples cannot be told from the data.

Source: CSE 151B, General Adversarial Networks; CS 479 §30; Goodfellow et al. 2014, Generative adversarial nets,
eq. 1, algorithm 1 (one discriminator step a turn), proposition 1, theorem 1.
Differs: Adam with β₁ = 1/2 instead of momentum, and a leaky discriminator instead of a maxout one with dropout
(Radford, Metz & Chintala 2016, §3 and §4); both losses on logits, so that neither overflows; rates that fall along a
schedule, so that the two players come to rest rather than circle each other; noise of 2 numbers rather than the 256
that are usual on the ring of Gaussians. No noise on the samples, no penalty: this is the plain game, and like every
plain one it now and then forgets a mode for good. Pictures may be drawn with the running mean of the generator's
weights (Karras et al. 2018, Progressive growing of GANs, §6).
Shapes: B batch, N generated samples, Z noise, F features of a sample, C channels, H height, W width.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.adversarial import Outputs, adam, detect, forge, non_saturating
from neurarium.parts.averaged import Averaged
from neurarium.parts.bundles import check_batch
from neurarium.parts.critics import ImageFeatures, leaky
from neurarium.parts.dense import dense
from neurarium.parts.image_decoder import ImageDecoder
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, set_rate
from neurarium.parts.schedules import Schedule, constant
from neurarium.parts.unet import grouped

NOISE = 2  # Z: as many as the plane has dimensions
IMAGE_NOISE = 32  # Z of pictures
DROPOUT = 0.5  # of the features by which pictures are judged, for small sets
HIDDEN = (128, 128)  # units, the generator's in Metz et al. 2017, Unrolled generative adversarial networks, appendix A


class Generator(nn.Module):
    """Samples from noise.

    Args:
        noise: size Z of the noise.
        features: size F of a sample.
        hidden: units of the layers between.

    Raises:
        InvalidValue: noise or features below 1, or noise of another size than Z.

    >>> Generator(noise=2, features=3)(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(self, *, noise: int = NOISE, features: int = 2, hidden: tuple[int, ...] = HIDDEN) -> None:
        super().__init__()
        require(noise >= 1, f"noise is {noise}; a generator needs at least 1 number to start from")
        self.noise = noise
        self.layers = dense((noise, *hidden, features), nn.ReLU)

    def forward(self, noise: Float[Tensor, "B Z"]) -> Float[Tensor, "B F"]:
        """One sample for each row of noise."""
        if noise.shape[1:] != (self.noise,):
            raise InvalidValue(f"noise is {tuple(noise.shape[1:])}, but this generator was built for ({self.noise},)")
        return self.layers(noise)

    def draw(self, count: int) -> Float[Tensor, "B Z"]:
        """Noise z ~ N(0, I) from the device's global generator, which a checkpoint holds."""
        return torch.randn(count, self.noise, device=next(self.parameters()).device)


class Discriminator(nn.Module):
    """Logits that samples are real: D(x) is their sigmoid.

    Args:
        features: size F of a sample.
        hidden: units of the layers between.

    Raises:
        InvalidValue: features below 1, or samples of another size than F.

    >>> Discriminator(features=3)(torch.zeros(5, 3)).shape
    torch.Size([5])
    """

    def __init__(self, *, features: int = 2, hidden: tuple[int, ...] = HIDDEN) -> None:
        super().__init__()
        self.features = features
        self.layers = dense((features, *hidden, 1), leaky)

    def forward(self, samples: Float[Tensor, "B F"]) -> Float[Tensor, " B"]:
        """One logit for each sample."""
        if samples.shape[1:] != (self.features,):
            raise InvalidValue(
                f"samples are {tuple(samples.shape[1:])}, but this discriminator was built for ({self.features},)"
            )
        return self.layers(samples).squeeze(1)


class ImageGenerator(nn.Module):
    """Pictures from noise, from 0 to 1.

    Args:
        shape: channels, height and width of a picture.
        noise: size Z of the noise.
        width: maps at full size, a multiple of 8.

    Raises:
        InvalidValue: noise below 1; in use, noise of another size than Z.

    >>> ImageGenerator(shape=(1, 8, 8), noise=4, width=8)(torch.zeros(5, 4)).shape
    torch.Size([5, 1, 8, 8])
    """

    def __init__(self, *, shape: tuple[int, int, int], noise: int = IMAGE_NOISE, width: int = 16) -> None:
        super().__init__()
        require(noise >= 1, f"noise is {noise}; a generator needs at least 1 number to start from")
        self.noise = noise
        self.decoder = ImageDecoder(inputs=noise, shape=shape, width=width, norm=grouped)

    def forward(self, noise: Float[Tensor, "B Z"]) -> Float[Tensor, "B C H W"]:
        """One picture for each row of noise."""
        if noise.shape[1:] != (self.noise,):
            raise InvalidValue(f"noise is {tuple(noise.shape[1:])}, but this generator was built for ({self.noise},)")
        return torch.sigmoid(self.decoder(noise))

    def draw(self, count: int) -> Float[Tensor, "B Z"]:
        """Noise z ~ N(0, I) from the device's global generator, which a checkpoint holds."""
        return torch.randn(count, self.noise, device=next(self.parameters()).device)


class ImageDiscriminator(nn.Module):
    """Logits that pictures are real.

    Args:
        shape: channels, height and width of a picture.
        width: maps at full size.
        dropout: chance in training that a feature is hidden.

    >>> ImageDiscriminator(shape=(1, 8, 8), width=8)(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5])
    """

    def __init__(self, *, shape: tuple[int, int, int], width: int = 32, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.body = ImageFeatures(shape=shape, width=width, dropout=dropout)
        self.head = nn.Linear(self.body.width, 1)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
        """One logit for each picture."""
        return self.head(self.body(images)).squeeze(1)


class Adversarial(Learner[tuple[Tensor, ...]]):
    """Two networks that learn against each other: the discriminator's turn, then the generator's.

    Args:
        generator: a module from noise (B, Z) to samples, with `draw` for the noise.
        discriminator: a module from samples to logits (B,).
        generator_loss: what the generator minimises, from the discriminator's logits on its samples.
        decay: of the averaged weights that samples are drawn with (None: with the weights of now).
        optimizer: builds both optimisers from parameters and `lr`.
        lr: learning rate of both at the schedule's 1.
        schedule: factor of the learning rate by progress.

    >>> _ = torch.manual_seed(0)
    >>> learner = Adversarial(Generator(features=1), Discriminator(features=1), lr=3e-3)
    >>> for _ in range(100):
    ...     measures = learner.learn((torch.randn(64, 1) + 3.0,))
    >>> 2.0 < learner.sample(1000).mean().item() < 4.0
    True
    """

    def __init__(
        self,
        generator: Generator | ImageGenerator,
        discriminator: nn.Module,
        *,
        generator_loss: Callable[[Tensor], Tensor] = non_saturating,
        decay: float | None = None,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-3,
        schedule: Schedule = constant,
    ) -> None:
        require(lr >= 0, f"lr is {lr}, but must not be negative")
        self.generator = generator
        self.discriminator = discriminator
        self.averaged = None if decay is None else Averaged(generator, decay=decay)
        self.generator_loss = generator_loss
        self.lr = lr
        self.schedule = schedule
        self.generator_optimizer = optimizer(generator.parameters(), lr=lr)
        self.discriminator_optimizer = optimizer(discriminator.parameters(), lr=lr)

    def learn(self, batch: tuple[Tensor, ...]) -> Measures:
        """One turn of each player.

        Args:
            batch: real samples, and whatever else the stream gives (labels), which is left alone.

        Raises:
            InvalidValue: the batch is empty, or its samples have another shape than the generator's.
        """
        check_batch(batch, wanted="real samples")
        rate = self.lr * self.schedule(self.progress)
        set_rate(self.discriminator_optimizer, rate)
        set_rate(self.generator_optimizer, rate)
        return {**self.discriminate(batch[0]), **self.generate(len(batch[0]))}

    def discriminate(self, real: Float[Tensor, "B ..."]) -> Measures:
        """The discriminator's turn: real against new generated samples."""
        with torch.no_grad():
            fake = self.generator(self.generator.draw(len(real)))
        if real.shape[1:] != fake.shape[1:]:
            raise InvalidValue(
                f"real samples are {tuple(real.shape[1:])}, but generated ones {tuple(fake.shape[1:])}; build the "
                "generator and the discriminator for the data"
            )
        on_real, on_fake = self.discriminator(torch.cat([real, fake])).float().chunk(2)
        return detect(self.discriminator_optimizer, on_real, on_fake)

    def generate(self, count: int) -> Measures:
        """The generator's turn: new samples, judged by the discriminator as it now is."""
        loss = self.generator_loss(self.discriminator(self.generator(self.generator.draw(count))).float())
        forge(self.generator_optimizer, self.generator, loss)
        if self.averaged is not None:
            self.averaged.update(self.generator)
        return {"generator_loss": loss.detach()}

    def sample(self, count: int) -> Tensor:
        """New generated samples, in evaluation mode."""
        return self.decode(self.generator.draw(count))

    def decode(self, noise: Float[Tensor, "B Z"]) -> Tensor:
        """The generated samples of given noise, in evaluation mode."""
        generator = self.generator if self.averaged is None else self.averaged.mean
        with evaluating(generator):
            return generator(noise)

    def draw_images(self, count: int, *, generator: torch.Generator) -> Float[Tensor, "B C H W"]:
        """New pictures.

        Raises:
            InvalidValue: the generator makes points.
        """
        if not isinstance(self.generator, ImageGenerator):
            raise InvalidValue("this generator makes points, not pictures; take a run of gan --data digits or the like")
        device = next(self.generator.parameters()).device
        return self.decode(torch.randn(count, self.generator.noise, generator=generator).to(device))

    def judge(self, samples: Tensor) -> Float[Tensor, " B"]:
        """D: the probability that each sample is real, in evaluation mode."""
        with evaluating(self.discriminator):
            return torch.sigmoid(self.discriminator(samples).float())

    def outputs(self, real: Tensor, noise: Float[Tensor, "B Z"]) -> Outputs:
        """The discriminator's mean output on real samples and on those generated from some noise."""
        return Outputs(float(self.judge(real).mean()), float(self.judge(self.decode(noise)).mean()))

    def example(self, batch: tuple[Tensor, ...]) -> dict[str, tuple[Tensor, ...]]:
        """Noise for the generator and real samples for the discriminator."""
        return {"generator": (self.generator.draw(len(batch[0])),), "discriminator": (batch[0],)}
