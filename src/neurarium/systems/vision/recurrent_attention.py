r"""Recurrent attention: look at a picture a glimpse at a time, and learn where to look next.

A retina sees a small patch sharply and larger ones about it ever more coarsely. Glimpse by glimpse, a lower recurrent
layer gathers what was seen and at last names the class; an upper one reads the lower and emits the place of the next
glimpse. A context net shows the upper layer a coarse view of the whole before the first glimpse, and shows it to no
one else, so that the class must be read from glimpses. What is learned by cross-entropy; where cannot be, for a place
that was drawn has no slope: it is learned by REINFORCE, a reward for the right class less a baseline that expects it.

Source: CSE 151B, RAM Net; Mnih, Heess, Graves & Kavukcuoglu 2014, Recurrent models of visual attention (RAM), §3 and
eq. 3 (retina, REINFORCE with baseline); Ba, Mnih & Kavukcuoglu 2015, Multiple object recognition with visual attention
(DRAM), §3 (two recurrent layers, context, emission and glimpse nets).
Differs: the upper layer reads the lower as a constant, so that cross-entropy alone shapes what is seen and REINFORCE
alone where (DRAM lets it flow on); the class is asked for after every glimpse, though only the last earns the reward;
one class rather than a sequence; pixels are read by bilinear interpolation, so that a glimpse may lie between them;
Adam, slower for where to look, instead of momentum; judged at the mean places.
Shapes: B batch, C channels, H height, W width, S scales, P pixels a side of a patch, N glimpses, D units, K classes.
Places are (x, y) in units of half the picture: (0, 0) its centre, (−1, −1) its upper left corner.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise
from math import log, pi
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn, relu
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, grid_sample, mse_loss, pad

from neurarium.errors import InvalidValue, require
from neurarium.learners.classify import evaluate_classes
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import Labelled, check_batch
from neurarium.parts.initialization import kaiming
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adam, set_rate
from neurarium.parts.schedules import Schedule, constant

UNITS = 128  # D, of both recurrent layers; 256 in RAM §4.1
DEVIATION = 0.15  # of a place about its mean, in half pictures; held fixed as in RAM
COARSE = 8  # pixels a side of the context's view of the whole
MAPS = (16, 32, 32)  # of the three convolutions without pooling, DRAM §3
CAUTION = 0.25  # share of the learning rate for where to look; see Attend


class Retina(nn.Module):
    """The glimpse sensor: square patches about a place, each twice as wide as the one before and as many pixels.

    Averages over blocks of 1, 2, 4, ... pixels a side are taken once a picture; a glimpse then only reads P×P of them
    at each scale, all scales and pictures in one call.

    Args:
        patch: pixels a side P.
        scales: how many patches S.

    Raises:
        InvalidValue: patch or scales below 1.

    >>> retina = Retina(patch=2, scales=2)
    >>> image = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> sharp, coarse = retina(retina.survey(image), torch.zeros(1, 2))[0].unbind()
    >>> sharp.tolist(), coarse.tolist()  # the four pixels in the middle, and the averages of the four quarters
    ([[[5.0, 6.0], [9.0, 10.0]]], [[[2.5, 4.5], [10.5, 12.5]]])
    """

    def __init__(self, *, patch: int, scales: int) -> None:
        super().__init__()
        require(patch >= 1, f"patch is {patch}; a retina needs at least 1 pixel a side")
        require(scales >= 1, f"scales is {scales}; a retina needs at least 1")
        self.patch = patch
        self.scales = scales
        self.margin = 2 ** (scales - 1) - 1  # pixels that the widest block reaches in from outside the picture

    def survey(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B S C h w"]:
        """The average over the block that begins at each pixel, for every scale; black lies around the picture."""
        height, width = (side + 2 * self.margin for side in images.shape[2:])
        blocks = pad(images, (self.margin, 2 * self.margin, self.margin, 2 * self.margin))
        scales = [blocks[..., :height, :width]]
        for half in (2**scale for scale in range(self.scales - 1)):
            # A block is two halves side by side, of which each is two halves one above the other.
            blocks = (blocks[..., half:] + blocks[..., :-half]) / 2
            blocks = (blocks[..., half:, :] + blocks[..., :-half, :]) / 2
            scales.append(blocks[..., :height, :width])
        return torch.stack(scales, dim=1)

    def forward(self, survey: Float[Tensor, "B S C h w"], places: Float[Tensor, "B 2"]) -> Float[Tensor, "B S C P P"]:
        """The patches about the places."""
        batch, scales, channels, height, width = survey.shape
        blocks = 2.0 ** torch.arange(scales, device=places.device, dtype=places.dtype)
        steps = torch.arange(self.patch, device=places.device, dtype=places.dtype) - self.patch / 2
        grid = []
        for axis, padded in enumerate((width, height)):
            side = padded - 2 * self.margin
            # left edge of pixel i at scale s, in pixels: (l + 1) W/2 + (i − P/2) 2^s
            edges = ((places[:, axis] + 1) * side / 2).view(-1, 1, 1) + steps * blocks.view(1, -1, 1)
            # As grid_sample counts, −1 and 1 are the outer edges, and a value lies half a pixel from its left edge.
            grid.append(((edges + self.margin) * 2 + 1) / padded - 1)
        across, down = torch.broadcast_tensors(grid[0].unsqueeze(2), grid[1].unsqueeze(3))
        seen = grid_sample(survey.flatten(0, 1), torch.stack([across, down], dim=-1).flatten(0, 1), align_corners=False)
        return seen.view(batch, scales, channels, self.patch, self.patch)


def convolutions(channels: int, side: int, units: int) -> nn.Sequential:
    """Three convolutions without pooling and a dense layer, the form of the glimpse and the context net."""
    layers: list[nn.Module] = []
    for before, after in pairwise((channels, *MAPS)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(MAPS[-1] * side * side, units))
    for name, value in net.named_parameters():
        # As PyTorch starts them, each would halve the signal, and hundreds of steps would pass before anything is seen.
        kaiming(value) if name.endswith("weight") else nn.init.zeros_(value)
    return net


class GlimpseNet(nn.Module):
    """What was seen times where: features of the patches, gated by features of the place."""

    def __init__(self, *, channels: int, patch: int, scales: int, units: int) -> None:
        super().__init__()
        self.what = convolutions(channels * scales, patch, units)
        self.where = nn.Linear(2, units)
        # Open gates at first: what is seen passes whole, and the place only shades it.
        nn.init.normal_(self.where.weight, std=0.5)
        nn.init.ones_(self.where.bias)

    def forward(self, patches: Float[Tensor, "B S C P P"], places: Float[Tensor, "B 2"]) -> Float[Tensor, "B D"]:
        """Features of a glimpse."""
        # g = G_image(x) ⊙ G_loc(l)
        return relu(self.what(patches.flatten(1, 2))) * relu(self.where(places))


class Glimpses(NamedTuple):
    """What came of looking at a batch of pictures, glimpse by glimpse."""

    logits: Float[Tensor, "B N K"]  # after each glimpse; the last are the answer
    places: Float[Tensor, "B N 2"]
    means: Float[Tensor, "B N 2"]  # about which the places were drawn
    baselines: Float[Tensor, "B N"]  # the reward expected before each glimpse
    patches: Float[Tensor, "B N S C P P"]  # what the retina saw


class RecurrentAttention(nn.Module):
    """A retina, a glimpse net, two recurrent layers, and the context, emission, class and baseline nets about them.

    Args:
        shape: channels, height and width of the pictures.
        classes: number of classes K.
        glimpses: how many N.
        patch: pixels a side P of the retina.
        scales: how many patches S it has.
        units: width D of both recurrent layers.
        deviation: of a place about its mean while learning, in half pictures.

    Raises:
        InvalidValue: a number below its least, or pictures of another shape.

    >>> RecurrentAttention(shape=(1, 28, 28), classes=10)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        classes: int,
        glimpses: int = 6,
        patch: int = 8,
        scales: int = 3,
        units: int = UNITS,
        deviation: float = DEVIATION,
    ) -> None:
        super().__init__()
        require(glimpses >= 1, f"glimpses is {glimpses}; nothing can be named without at least 1")
        require(classes >= 2, f"classes is {classes}; a classifier needs at least 2")
        require(units >= 1, f"units is {units}; a recurrent layer needs at least 1")
        require(deviation > 0, f"deviation is {deviation}; without chance no better place is ever found")
        self.shape = shape
        self.glimpses = glimpses
        self.deviation = deviation
        self.retina = Retina(patch=patch, scales=scales)
        self.glimpse = GlimpseNet(channels=shape[0], patch=patch, scales=scales, units=units)
        self.lower = nn.LSTMCell(units, units)
        self.classes = nn.Linear(units, classes)
        # From here on is what decides where to look.
        self.context = convolutions(shape[0], COARSE, units)
        self.upper = nn.LSTMCell(units, units)
        self.emission = nn.Linear(units, 2)
        nn.init.zeros_(self.emission.weight)  # every gaze begins about the centre
        nn.init.zeros_(self.emission.bias)
        self.baseline = nn.Linear(units, 1)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Logits after the last glimpse, looking at the mean places."""
        return self.look(images).logits[:, -1]

    def look(self, images: Float[Tensor, "B C H W"], *, explore: bool = False) -> Glimpses:
        """Look at pictures a glimpse at a time.

        Args:
            images: the pictures.
            explore: draw each place about its mean, by the device's global generator, rather than take the mean.
        """
        if images.shape[1:] != self.shape:
            raise InvalidValue(f"pictures are {tuple(images.shape[1:])}, but this network was built for {self.shape}")
        survey = self.retina.survey(images)
        start = torch.tanh(self.context(adaptive_avg_pool2d(images, COARSE)))
        nothing = torch.zeros_like(start)
        lower, upper = (nothing, nothing), (start, nothing)
        steps = []
        for number in range(self.glimpses):
            if number:
                # What is seen is a constant here: to change it for the sake of the next place is no one's task.
                upper = self.upper(lower[0].detach(), upper)
            # l ~ N(tanh(E r²), σ²)
            mean = torch.tanh(self.emission(upper[0])).float()
            # A place that was drawn is a constant: no slope of the classes' loss leads back to what emitted it.
            place = (mean + self.deviation * torch.randn_like(mean) if explore else mean).detach()
            patches = self.retina(survey, place.clamp(-1, 1))
            lower = self.lower(self.glimpse(patches, place), lower)
            expected = self.baseline(upper[0].detach()).squeeze(1)
            steps.append((self.classes(lower[0]), place, mean, expected, patches))
        return Glimpses(*(torch.stack(field, dim=1) for field in zip(*steps, strict=True)))

    def where(self) -> list[nn.Parameter]:
        """The parameters that decide where to look; cross-entropy must not reach them."""
        return [value for net in (self.context, self.upper, self.emission) for value in net.parameters()]


def correct(logits: Float[Tensor, "B K"], labels: Int64[Tensor, " B"]) -> Float[Tensor, " B"]:
    """The reward: 1 for the right class, else 0.

    >>> correct(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])).tolist()
    [1.0, 0.0]
    """
    # R = 1 if argmax_k p(k) = y else 0
    return (logits.argmax(dim=1) == labels).float()


def log_density(
    places: Float[Tensor, "B N 2"], means: Float[Tensor, "B N 2"], *, deviation: float
) -> Float[Tensor, "B N"]:
    """How likely places were, as the logarithm of their density."""
    # log N(l; μ, σ²I) = −|l − μ|²/(2σ²) − 2 log σ − log 2π
    return -(places - means).square().sum(2) / (2 * deviation**2) - 2 * log(deviation) - log(2 * pi)


def reinforce(
    densities: Float[Tensor, "B N"], rewards: Float[Tensor, " B"], baselines: Float[Tensor, "B N"]
) -> Float[Tensor, ""]:
    """What moves the places: its slope is −1 times the estimated slope of the expected reward.

    Args:
        densities: log densities of the places that were looked at.
        rewards: what came of each picture.
        baselines: what was expected of it before each glimpse.

    >>> density = torch.zeros(1, 2, requires_grad=True)
    >>> reinforce(density, torch.ones(1), torch.tensor([[0.2, 0.7]])).backward()
    >>> density.grad  # the first place did more good than expected, the second a little
    tensor([[-0.8000, -0.3000]])
    """
    # ∇J ≈ 1/B Σ_b Σ_n (R_b − b_n) ∇ log p(l_n)
    return -((rewards.unsqueeze(1) - baselines).detach() * densities).sum(1).mean()


class Attend(Learner[Labelled]):
    """Teaches what by cross-entropy, where by REINFORCE, and what to expect by squared error, in one step.

    Args:
        model: the network.
        reward: what the answer is worth, from its logits and the labels.
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.

    >>> _ = torch.manual_seed(0)
    >>> learner = Attend(RecurrentAttention(shape=(1, 8, 8), classes=2, glimpses=2, patch=4, units=16), lr=1e-2)
    >>> images = torch.zeros(32, 1, 8, 8)
    >>> images[16:, :, :4] = 1.0
    >>> for _ in range(30):
    ...     measures = learner.learn(Labelled(images, torch.arange(32) // 16))
    >>> float(measures["accuracy"]) > 0.9
    True
    """

    def __init__(
        self,
        model: RecurrentAttention,
        *,
        reward: Callable[[Tensor, Tensor], Tensor] = correct,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-3,
        schedule: Schedule = constant,
    ) -> None:
        require(lr >= 0, f"lr is {lr}, but must not be negative")
        self.model = model
        self.reward = reward
        self.lr = lr
        self.schedule = schedule
        where = set(model.where())
        self.optimizer = optimizer([value for value in model.parameters() if value not in where], lr=lr)
        self.optimizer.add_param_group({"params": model.where()})

    def learn(self, batch: Labelled) -> Measures:
        """One look at the pictures, places drawn, and one gradient step on all three losses.

        Raises:
            InvalidValue: the batch is empty, or its pictures have another shape than the network's.
        """
        images, labels = batch
        check_batch((images, labels), wanted="pictures and labels")
        self._set_rates(self.lr * self.schedule(self.progress))
        seen = self.model.look(images, explore=True)
        logits = seen.logits.float()
        # The class is asked for after every glimpse, as if each were the last.
        taught = cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(self.model.glimpses))
        rewards = self.reward(logits[:, -1], labels)
        densities = log_density(seen.places, seen.means, deviation=self.model.deviation)
        surprise = mse_loss(seen.baselines.float(), rewards.unsqueeze(1).expand_as(seen.baselines))
        self.optimizer.zero_grad()
        # Each loss has parameters of its own, and Adam does not mind their scale: nothing is to be weighed.
        (taught + reinforce(densities, rewards, seen.baselines.float()) + surprise).backward()
        self.optimizer.step()
        return {
            "loss": cross_entropy(logits[:, -1].detach(), labels),  # after the last glimpse, as in evaluation
            "accuracy": correct(logits[:, -1], labels).mean(),
            "reward": rewards.mean(),
            "baseline": seen.baselines.detach().float().mean(),
            "surprise": surprise.detach(),
        }

    def _set_rates(self, rate: float) -> None:
        # The slope of REINFORCE is mostly noise, and Adam strides out on noise as on a clear slope: the smaller rate
        # keeps the gaze from drifting to a corner before the classes tell it what is worth seeing.
        set_rate(self.optimizer, rate)
        self.optimizer.param_groups[1]["lr"] = CAUTION * rate

    def look(self, images: Float[Tensor, "B C H W"]) -> Glimpses:
        """The glimpses at pictures, at the mean places, in evaluation mode."""
        with evaluating(self.model):
            return self.model.look(images)

    def evaluate(self, batches: Iterable[Labelled], *, prefix: str = "") -> dict[str, float]:
        """Mean loss and accuracy over all examples of some batches, in evaluation mode."""
        return evaluate_classes(self.model, batches, prefix=prefix)

    def example(self, batch: Labelled) -> dict[str, tuple[Tensor, ...]]:
        """The pictures of a batch, for the model."""
        return {"model": (batch[0],)}
