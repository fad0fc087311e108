r"""Denoising diffusion: a network learns to take noise out of pictures, and then makes pictures out of noise.

To learn, a picture is mixed with noise of a random strength and the network tells the noise in it; that is all. To
draw, one starts from nothing but noise and lets the network take it away little by little. A class may be told to the
network; now and then it is kept from it, so that it also knows what pictures look like in general, and the difference
of both answers can be exaggerated (guidance). Samples come from the running mean of its weights.

Source: notes 003 (denoising diffusion); Ho, Jain & Abbeel 2020, Denoising diffusion probabilistic models, algorithm 1
and 2, eq. 14, appendix B; Ho & Salimans 2022, Classifier-free diffusion guidance, algorithm 1 and 2; the process itself
and its sources stand in `parts.diffusion`, the network in `parts.unet`.
Differs: the U-Net's size is an argument; a time and a class scale and shift the maps instead of being added to them.
Shapes: B batch, C channels, H height, W width, K classes. Pictures are from 0 to 1 outside and from −1 to 1 within.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.nn.utils import clip_grad_norm_

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.averaged import Averaged
from neurarium.parts.bundles import Labelled, check_batch
from neurarium.parts.diffusion import Diffusion, Told, guided
from neurarium.parts.labels import check_labels
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adam, set_rate
from neurarium.parts.positions import sinusoids
from neurarium.parts.schedules import Schedule, constant
from neurarium.parts.unet import UNet

UNTOLD = 0.1  # how often the class is kept from the network, Ho & Salimans 2022, table 1
CLIP = 1.0  # greatest norm of a gradient
CHUNK = 250  # pictures sampled at a time
WORTH = 4  # numbers of the condition for each map at full size, Ho et al. 2020 (their code)


class Denoiser(nn.Module):
    """What is asked of a mixture: its noise, its picture, or v; from the mixture, its step and its class.

    Args:
        shape: channels, height and width of a picture.
        classes: K (0: classes are not told).
        width: maps at full size.
        factors: widths of the stages as multiples of it, from full size down.
        blocks: residual blocks a stage.
        looks: stages at which places look at each other; the bottom always does.
        dropout: chance in training that a number in a block is left out.

    Raises:
        InvalidValue: no class or more are meant than there can be, sides that the stages do not divide; in use,
            pictures of another shape, or a class that is missing or not among the K.

    >>> net = Denoiser(shape=(1, 8, 8), classes=10, width=8, factors=(1, 2))
    >>> net(torch.rand(2, 1, 8, 8), torch.tensor([0, 9]), torch.tensor([3, 10])).shape  # 10: not told
    torch.Size([2, 1, 8, 8])
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        classes: int = 0,
        width: int = 32,
        factors: Sequence[int] = (1, 2, 2),
        blocks: int = 1,
        looks: Sequence[int] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require(classes >= 0, f"classes is {classes}; it must be 0 (not told) or more")
        self.shape, self.classes, self.width = shape, classes, width
        condition = WORTH * width
        self.time = nn.Sequential(nn.Linear(width, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.label = nn.Embedding(classes + 1, condition) if classes else None
        self.net = UNet(
            channels=shape[0],
            width=width,
            factors=factors,
            blocks=blocks,
            looks=looks,
            condition=condition,
            dropout=dropout,
        )
        sides, stride = shape[1:], self.net.stride
        fits = sides[0] % stride == 0 and sides[1] % stride == 0
        require(fits, f"pictures are {sides[0]}×{sides[1]}, but {len(factors)} stages need multiples of {stride}")

    def forward(
        self, mixed: Float[Tensor, "B C H W"], step: Int64[Tensor, " B"], labels: Int64[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B C H W"]:
        """What the network tells; label K stands for "not told"."""
        if tuple(mixed.shape[1:]) != self.shape:
            raise InvalidValue(f"pictures are {tuple(mixed.shape[1:])}, but this network was built for {self.shape}")
        told = self.time(sinusoids(step, width=self.width).to(mixed.dtype))
        if self.label is not None:
            if labels is None:
                raise InvalidValue(f"this network is told classes; give labels from 0 to {self.classes}")
            told = told + self.label(labels)
        return self.net(mixed, told)


class Denoise(Learner[Labelled]):
    """Learns to tell the noise in pictures, and draws from noise.

    Args:
        network: tells the target of the process.
        process: how noise comes in, and what is told.
        untold: how often a class is kept from the network.
        decay: of the averaged weights.
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.

    Raises:
        InvalidValue: a share or a rate out of range.
    """

    channels_last = False  # it slows this net down

    def __init__(
        self,
        network: Denoiser,
        process: Diffusion,
        *,
        untold: float = UNTOLD,
        decay: float = 0.999,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-3,
        schedule: Schedule = constant,
    ) -> None:
        require(0 <= untold <= 1, f"untold is {untold}; it must lie between 0 and 1")
        require(lr >= 0, f"lr is {lr}, but must not be negative")
        self.network, self.process, self.untold = network, process, untold
        self.averaged = Averaged(network, decay=decay)
        self.lr, self.schedule = lr, schedule
        self.optimizer = optimizer(network.parameters(), lr=lr)

    def learn(self, batch: Labelled) -> Measures:
        """One update.

        Raises:
            InvalidValue: the batch is empty, its fields disagree, or a label is not among the classes.
        """
        check_batch(batch, wanted="images and labels")
        check_labels(batch.labels, self.network.classes)
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        loss = self.loss(batch, *self.draw(batch))
        self.optimizer.zero_grad()
        loss.backward()
        norm = clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.averaged.update(self.network)
        return {"loss": loss.detach(), "gradient": norm}

    def draw(self, batch: Labelled) -> tuple[Tensor, Tensor, Tensor | None]:
        """Steps, noise and labels (some of them not told) for a batch, from the device's generator."""
        images, labels = batch
        step = torch.randint(self.process.steps, (images.shape[0],), device=images.device)
        noise = torch.randn_like(images)
        if not self.network.classes:
            return step, noise, None
        hidden = torch.rand(images.shape[0], device=images.device) < self.untold
        return step, noise, labels.masked_fill(hidden, self.network.classes)

    def loss(self, batch: Labelled, step: Tensor, noise: Tensor, labels: Tensor | None) -> Float[Tensor, ""]:
        """How far off the network is."""
        data = 2 * batch.inputs - 1
        mixed, _ = self.process.mix(data, step, noise)
        told = self.network(mixed, step, labels).float()
        # L = E |ε − ε_θ(√ᾱ x₀ + √(1 − ᾱ) ε, t)|²
        return mse_loss(told, self.process.wanted(data, step, noise))

    def sample(
        self,
        noise: Float[Tensor, "B C H W"],
        *,
        labels: Int64[Tensor, " B"] | None = None,
        steps: int | None = None,
        eta: float = 1.0,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """Pictures from noise, from 0 to 1.

        Args:
            noise: to begin with.
            labels: the class of each (default: not told).
            steps: how many to take (default: all that were trained).
            eta: fresh noise in each: 1 as much as came in, 0 none (DDIM).
            guidance: weight of the answer to the class: 1 as it is, more exaggerates it.
            generator: where fresh noise comes from.

        Raises:
            InvalidValue: more steps than were trained, or a label outside the classes.
        """
        options = {"steps": steps, "eta": eta, "guidance": guidance, "generator": generator}
        parts = noise.split(CHUNK)
        told = labels.split(CHUNK) if labels is not None else [None] * len(parts)
        lasts = []
        for part, label in zip(parts, told, strict=True):
            *_, last = self.walk(part, labels=label, **options)  # type: ignore[arg-type]
            lasts.append(last)
        return torch.cat(lasts)

    def walk(
        self,
        noise: Float[Tensor, "B C H W"],
        *,
        labels: Int64[Tensor, " B"] | None = None,
        steps: int | None = None,
        eta: float = 1.0,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Iterator[Float[Tensor, "B C H W"]]:
        """The same, with what there is after each step."""
        if labels is not None:
            check_labels(labels, self.network.classes)
        network = self.averaged.mean

        def told(mixed: Tensor, step: Tensor) -> Tensor:
            if not network.classes:
                return network(mixed, step).float()
            nobody = torch.full_like(step, network.classes)
            if labels is None or guidance == 0:
                return network(mixed, step, nobody).float()
            if guidance == 1:
                return network(mixed, step, labels).float()
            # Both answers in one batch.
            both = network(torch.cat([mixed, mixed]), torch.cat([step, step]), torch.cat([labels, nobody])).float()
            conditional, unconditional = both.chunk(2)
            return guided(conditional, unconditional, guidance)

        for mixed in self.process.denoise(self._quietly(told), noise, steps=steps, eta=eta, generator=generator):
            yield (mixed.clamp(-1, 1) + 1) / 2

    def draw_images(
        self,
        count: int,
        *,
        generator: torch.Generator,
        labels: Int64[Tensor, " B"] | None = None,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """New pictures of these classes, or of every class in turn, if the network is told any; see `sample`."""
        noise, labels = self._begun(count, labels, generator)
        weight = 1.0 if guidance is None else guidance
        return self.sample(noise, labels=labels, steps=steps, guidance=weight, generator=generator)

    def watch_images(
        self,
        count: int,
        *,
        generator: torch.Generator,
        labels: Int64[Tensor, " B"] | None = None,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> Iterator[Float[Tensor, "B C H W"]]:
        """The same, with what there is at first and after each step."""
        noise, labels = self._begun(count, labels, generator)
        weight = 1.0 if guidance is None else guidance
        yield (noise.clamp(-1, 1) + 1) / 2
        yield from self.walk(noise, labels=labels, steps=steps, guidance=weight, generator=generator)

    def _begun(
        self, count: int, labels: Int64[Tensor, " B"] | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        classes, device = self.network.classes, next(self.network.parameters()).device
        if labels is not None and not classes:
            raise InvalidValue("this network was not told classes, so none can be asked for")
        noise = torch.randn(count, *self.network.shape, generator=generator).to(device)
        if not classes:
            return noise, None
        return noise, (torch.arange(count) % classes if labels is None else labels).to(device)

    def _quietly(self, told: Told) -> Told:
        def network(mixed: Tensor, step: Tensor) -> Tensor:
            with evaluating(self.averaged.mean):
                return told(mixed, step)

        return network

    def example(self, batch: Labelled) -> dict[str, tuple[Tensor, ...]]:
        """A mixture, its step and its label."""
        step = torch.zeros(len(batch.labels), dtype=torch.int64, device=batch.labels.device)
        return {"network": (batch.inputs, step, batch.labels) if self.network.classes else (batch.inputs, step)}
