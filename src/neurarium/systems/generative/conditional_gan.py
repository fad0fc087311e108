r"""Conditional adversarial networks: forger and detective are both told what the picture should be of.

The game is the one of `gan`, but each player is told something beside: a class, or another picture. A forgery that is
good but not of what was asked for is found out, so the generator must draw what it is told. Told a class, it draws from
noise. Told a picture (edges, a map), it translates: a U-Net hands fine detail across, a critic sees patch by patch
whether the style is right, and the distance to the right answer keeps the whole in place.

Source: Mirza & Osindero 2014, Conditional generative adversarial nets, eq. 2, fig. 1; Isola, Zhu, Zhou & Efros 2017,
Image-to-image translation with conditional adversarial networks, eq. 1, 3 and 4, §3.2; Miyato & Koyama 2018, cGANs with
projection discriminator, eq. 4; the game's rules and their sources stand in `parts.adversarial`.
Differs: convolutions instead of dense layers with maxout; group norm instead of batch norm; pictures from 0 to 1;
pictures are drawn with the running mean of the generator's weights (Karras et al. 2018, Progressive growing of GANs,
§6), for the two players circle each other to the end; the U-Net is that of `parts.unet`; noise in translation is
dropout in training alone (Isola et al.: in use too); patches are smaller than 70 pixels where pictures are.
Shapes: B batch, Z noise, C channels, H height, W width, K classes, A channels of the picture that is given, h and w
patches down and across.
"""

from collections.abc import Callable
from typing import Generic, Literal, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.adversarial import Outputs, adam, detect, forge, non_saturating
from neurarium.parts.averaged import Averaged
from neurarium.parts.bundles import Labelled, check_batch
from neurarium.parts.critics import ImageFeatures, PatchCritic, fitting
from neurarium.parts.image_decoder import ImageDecoder
from neurarium.parts.labels import check_labels
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, set_rate
from neurarium.parts.schedules import Schedule, constant
from neurarium.parts.unet import GROUPS, UNet, grouped

NOISE = 32  # Z
TOLD = 32  # numbers in which a class is told
DROPOUT = 0.5  # of the critic's features, for small sets
DECAY = 0.995  # of the averaged weights
STAGES = (1, 2, 2)  # widths of the translator's stages, as far as the sides can be halved

Telling = Literal["projection", "concatenation"]
"""How the critic is told the class: as a direction of its features, or as maps beside the picture."""


class ClassGenerator(nn.Module):
    """Pictures of classes, from noise.

    Args:
        shape: channels, height and width of a picture.
        classes: K.
        noise: Z, numbers of the noise.
        width: maps at full size, a multiple of 8.

    Raises:
        InvalidValue: a size below 1; in use, noise of another size.

    >>> net = ClassGenerator(shape=(1, 8, 8), classes=10, noise=4, width=8)
    >>> net(torch.randn(2, 4), torch.tensor([3, 7])).shape
    torch.Size([2, 1, 8, 8])
    """

    def __init__(self, *, shape: tuple[int, int, int], classes: int, noise: int = NOISE, width: int = 32) -> None:
        super().__init__()
        check_width(width)
        require(noise >= 1, f"noise is {noise}; a generator needs at least 1 number to start from")
        require(classes >= 1, f"classes is {classes}; there must be at least 1 to be told")
        self.noise, self.classes = noise, classes
        self.label = nn.Embedding(classes, TOLD)
        self.decoder = ImageDecoder(inputs=noise + TOLD, shape=shape, width=width, norm=grouped)

    def forward(self, noise: Float[Tensor, "B Z"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
        """One picture for each row of noise, from 0 to 1."""
        if noise.shape[1:] != (self.noise,):
            raise InvalidValue(f"noise is {tuple(noise.shape[1:])}, but this generator was built for ({self.noise},)")
        return torch.sigmoid(self.decoder(torch.cat([noise, self.label(labels)], dim=1)))

    def forge(self, told: Int64[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
        """Pictures of the classes told, from noise z ~ N(0, I) of the device's global generator."""
        return self(torch.randn(told.shape[0], self.noise, device=told.device), told)


class ClassCritic(nn.Module):
    """Logits that pictures are real ones of the class told.

    Args:
        shape: channels, height and width of a picture.
        classes: K.
        width: maps at full size.
        telling: `projection` or `concatenation`.
        dropout: chance in training that a feature is hidden.

    Raises:
        InvalidValue: an unknown way of telling; in use, pictures of another shape.

    >>> critic = ClassCritic(shape=(1, 8, 8), classes=10, width=4)
    >>> critic(torch.rand(2, 1, 8, 8), torch.tensor([3, 7])).shape
    torch.Size([2])
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        classes: int,
        width: int = 32,
        telling: Telling = "projection",
        dropout: float = DROPOUT,
    ) -> None:
        super().__init__()
        known = telling in ("projection", "concatenation")
        require(known, f"telling is '{telling}'; choose projection or concatenation")
        self.shape, self.classes, self.telling = shape, classes, telling
        beside = classes if telling == "concatenation" else 0
        self.body = ImageFeatures(shape=(shape[0] + beside, *shape[1:]), width=width, dropout=dropout)
        self.head = nn.Linear(self.body.width, 1)
        self.label = nn.Embedding(classes, self.body.width) if telling == "projection" else None
        if self.label is not None:
            nn.init.normal_(self.label.weight, std=self.body.width**-0.5)

    def forward(self, images: Float[Tensor, "B C H W"], labels: Int64[Tensor, " B"]) -> Float[Tensor, " B"]:
        """One logit for each picture."""
        if tuple(images.shape[1:]) != self.shape:
            raise InvalidValue(f"pictures are {tuple(images.shape[1:])}, but this critic was built for {self.shape}")
        if self.label is None:
            maps = nn.functional.one_hot(labels, self.classes).to(images.dtype)[:, :, None, None]
            features = self.body(torch.cat([images, maps.expand(-1, -1, *self.shape[1:])], dim=1))
            return self.head(features).squeeze(1)
        features = self.body(images)
        # a(x, y) = wᵀφ(x) + v_yᵀφ(x)
        return self.head(features).squeeze(1) + (self.label(labels) * features).sum(1)


class Translator(nn.Module):
    """Pictures from pictures of the same size.

    Args:
        given: channels, height and width of what is given.
        channels: C of what it becomes.
        width: maps at full size, a multiple of 8.
        dropout: chance in training that a number is hidden; all the noise there is.

    Raises:
        InvalidValue: a width that is no multiple of 8; in use, pictures of another shape.

    >>> Translator(given=(1, 8, 8), channels=3, width=8)(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(self, *, given: tuple[int, int, int], channels: int, width: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        self.given = given
        # As many stages as halve both sides without a rest.
        halved = sum(all(side % 2**times == 0 for side in given[1:]) for times in range(1, len(STAGES)))
        factors = STAGES[: 1 + halved]
        self.net = UNet(channels=given[0], outputs=channels, width=width, factors=factors, dropout=dropout)

    def forward(self, images: Float[Tensor, "B A H W"]) -> Float[Tensor, "B C H W"]:
        """What each picture becomes, from 0 to 1."""
        if tuple(images.shape[1:]) != self.given:
            raise InvalidValue(
                f"pictures are {tuple(images.shape[1:])}, but this translator was built for {self.given}"
            )
        return torch.sigmoid(self.net(images))

    def forge(self, told: Float[Tensor, "B A H W"]) -> Float[Tensor, "B C H W"]:
        """The same, for the game."""
        return self(told)


class PairCritic(nn.Module):
    """Logits that patches of pictures are the real ones of what was given.

    Args:
        shape: channels, height and width of both pictures laid on one another.
        width: maps after the first layer.
        halvings: of the sides; by default as many as patches fit into the picture, at most those of 70 pixels.

    >>> PairCritic(shape=(2, 8, 8), width=8)(torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8)).shape
    torch.Size([3, 6, 6])
    """

    def __init__(self, *, shape: tuple[int, int, int], width: int = 64, halvings: int | None = None) -> None:
        super().__init__()
        halvings = fitting(min(shape[1:])) if halvings is None else halvings
        self.patches = PatchCritic(channels=shape[0], width=width, halvings=halvings)

    def forward(self, images: Float[Tensor, "B C H W"], told: Float[Tensor, "B A H W"]) -> Float[Tensor, "B h w"]:
        """One logit for each patch."""
        return self.patches(torch.cat([told, images], dim=1))


GeneratorT = TypeVar("GeneratorT", bound=ClassGenerator | Translator)


class Conditional(Learner[tuple[Tensor, ...]], Generic[GeneratorT]):
    """Two networks that are told the same and learn against each other.

    Args:
        generator: makes pictures of what it is told, `forge`.
        discriminator: a module from pictures and what was told to logits.
        generator_loss: what the generator minimises, from the discriminator's logits on its pictures.
        distance: weight λ of the mean absolute distance to the right pictures, beside it.
        decay: of the averaged weights that pictures are drawn with.
        optimizer: builds both optimisers from parameters and `lr`.
        lr: learning rate of both at the schedule's 1.
        schedule: factor of the learning rate by progress.

    Raises:
        InvalidValue: a negative rate or weight.
    """

    def __init__(
        self,
        generator: GeneratorT,
        discriminator: nn.Module,
        *,
        generator_loss: Callable[[Tensor], Tensor] = non_saturating,
        distance: float = 0.0,
        decay: float = DECAY,
        optimizer: MakeOptimizer = adam,
        lr: float = 2e-4,
        schedule: Schedule = constant,
    ) -> None:
        require(lr >= 0, f"lr is {lr}, but must not be negative")
        require(distance >= 0, f"distance is {distance}, but a weight must not be negative")
        self.generator: GeneratorT = generator
        self.discriminator, self.averaged = discriminator, Averaged(generator, decay=decay)
        self.generator_loss, self.distance = generator_loss, distance
        self.lr, self.schedule = lr, schedule
        self.generator_optimizer = optimizer(generator.parameters(), lr=lr)
        self.discriminator_optimizer = optimizer(discriminator.parameters(), lr=lr)

    def learn(self, batch: tuple[Tensor, ...]) -> Measures:
        """One turn of each player.

        Args:
            batch: `Labelled` pictures, or `Paired` ones: given, and what they should become.

        Raises:
            InvalidValue: the batch is empty, its fields disagree, or its pictures have another shape than those made.
        """
        check_batch(batch, wanted="pictures and what is told of them")
        told, real = asked(batch)
        rate = self.lr * self.schedule(self.progress)
        set_rate(self.discriminator_optimizer, rate)
        set_rate(self.generator_optimizer, rate)
        return {**self.discriminate(told, real), **self.generate(told, real)}

    def discriminate(self, told: Tensor, real: Float[Tensor, "B C H W"]) -> Measures:
        """The discriminator's turn: real against newly made pictures of the same."""
        with torch.no_grad():
            fake = self.generator.forge(told)
        if real.shape[1:] != fake.shape[1:]:
            raise InvalidValue(
                f"real pictures are {tuple(real.shape[1:])}, but made ones {tuple(fake.shape[1:])}; build the "
                "generator and the discriminator for the data"
            )
        logits = self.discriminator(torch.cat([real, fake]), torch.cat([told, told])).float()
        on_real, on_fake = logits.flatten().chunk(2)
        return detect(self.discriminator_optimizer, on_real, on_fake)

    def generate(self, told: Tensor, real: Float[Tensor, "B C H W"]) -> Measures:
        """The generator's turn: newly made pictures, judged by the discriminator as it now is."""
        fake = self.generator.forge(told)
        loss = self.generator_loss(self.discriminator(fake, told).float().flatten())
        measures = {"generator_loss": loss.detach()}
        if self.distance:
            # L = L_G(D(G(x), x)) + λ E |y − G(x)|₁
            far = (fake - real).abs().mean()
            loss = loss + self.distance * far
            measures["l1"] = far.detach()
        forge(self.generator_optimizer, self.generator, loss)
        self.averaged.update(self.generator)
        return measures

    def outputs(self, real: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor]) -> Outputs:
        """The discriminator's mean output on real and on made pictures, each with what is told of them."""
        with evaluating(self.discriminator):
            return Outputs(*(float(torch.sigmoid(self.discriminator(*each).float()).mean()) for each in (real, fake)))


class ByClass(Conditional[ClassGenerator]):
    """The game in which both are told a class.

    >>> _ = torch.manual_seed(0)
    >>> players = ClassGenerator(shape=(1, 4, 4), classes=2, width=8), ClassCritic(shape=(1, 4, 4), classes=2, width=4)
    >>> learner, labels = ByClass(*players, lr=5e-3, decay=0.9), torch.arange(2).repeat(16)
    >>> for _ in range(60):  # class 0 is dark, class 1 is bright
    ...     _ = learner.learn(Labelled(labels[:, None, None, None].expand(-1, 1, 4, 4).float(), labels))
    >>> dark, bright = learner.decode(torch.zeros(2, 32), torch.tensor([0, 1])).mean((1, 2, 3)).tolist()
    >>> dark < 0.3 and bright > 0.7
    True
    """

    def decode(self, noise: Float[Tensor, "B Z"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
        """The pictures of given noise and classes, in evaluation mode.

        Raises:
            InvalidValue: a label outside the classes.
        """
        check_labels(labels, self.generator.classes)
        with evaluating(self.averaged.mean):
            return self.averaged.mean(noise, labels)

    def draw_images(
        self, count: int, *, generator: torch.Generator, labels: Int64[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B C H W"]:
        """New pictures of these classes, or of every class in turn."""
        noise = torch.randn(count, self.generator.noise, generator=generator)
        labels = torch.arange(count) % self.generator.classes if labels is None else labels
        device = next(self.generator.parameters()).device
        return self.decode(noise.to(device), labels.to(device))

    def example(self, batch: tuple[Tensor, ...]) -> dict[str, tuple[Tensor, ...]]:
        """Noise and classes for the generator, pictures and classes for the discriminator."""
        labels, images = asked(batch)
        noise = torch.zeros(len(images), self.generator.noise, device=images.device)
        return {"generator": (noise, labels), "discriminator": (images, labels)}


class ByPicture(Conditional[Translator]):
    """The game in which both are told a picture."""

    def translate(self, images: Float[Tensor, "B A H W"]) -> Float[Tensor, "B C H W"]:
        """What pictures become, in evaluation mode."""
        with evaluating(self.averaged.mean):
            return self.averaged.mean(images)

    def example(self, batch: tuple[Tensor, ...]) -> dict[str, tuple[Tensor, ...]]:
        """A picture for the translator, a pair for the critic."""
        given, wanted = asked(batch)
        return {"generator": (given,), "discriminator": (wanted, given)}


def check_width(width: int) -> None:
    """Refuse a number of maps that cannot be normalised in groups."""
    require(width >= GROUPS and width % GROUPS == 0, f"width is {width}; it must be a positive multiple of {GROUPS}")


def asked(batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """What is told, labels or pictures, and the real pictures of it; a label that is not one number is refused."""
    first, second = batch
    if not isinstance(batch, Labelled):
        return first, second
    require(second.ndim == 1, f"the labels have shape {tuple(second.shape)}; give one number for each picture")
    return second, first
