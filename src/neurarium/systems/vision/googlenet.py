r"""GoogLeNet: look at every place through windows of several sizes at once, and let the next layer choose.

How large a window should a layer have? An inception module has them all side by side, 1×1, 3×3, 5×5 and a pooled
neighbourhood, and lays their maps one behind another; 1×1 convolutions first narrow what the dear ones have to read.
Nine modules follow each other, ever wider. Two small heads in the middle name the class too while the net is taught, so
that the lower layers get a gradient from near by; afterwards they are thrown away.

Source: CSE 151B, Convolutional Networks, "GoogLeNet" and "1x1 convolutional layer"; Szegedy et al. 2015, Going deeper
with convolutions, fig. 2b, table 1, §5 (auxiliary heads, weight 0.3). Norms: Ioffe & Szegedy 2015, Batch normalization.
Differs: batch norm after every convolution instead of local response normalisation (`normalise=False`: biases, neither
norm); an auxiliary head averages to 4×4 whatever the image's size; maxima are taken before ReLU in the stem, the same
function for less work. Unless `large`, a stem without strides leaves small images their places.
Shapes: B batch, C channels, H height, W width, D features, M maps, h and w places, K classes; I and O maps in and out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neurarium.errors import require
from neurarium.learners.classify import evaluate_classes
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import Labelled, check_batch
from neurarium.parts.encoders import Classifier, Encoded, Encoder
from neurarium.parts.initialization import kaiming
from neurarium.parts.optimizers import MakeOptimizer, adam, set_rate
from neurarium.parts.schedules import Schedule, constant

STEM = (64, 192)  # maps of the first and the last convolution before the modules, table 1
HEADS = ("4a", "4d")  # the modules that an auxiliary head reads, §5
HEAD_PLACES = 4  # a side, after the head's pooling, §5
HEAD_SIZES = (128, 1024)  # maps of the head's 1×1 convolution and units of its dense layer, §5
HEAD_DROPOUT = 0.7  # §5
HEAD_WEIGHT = 0.3  # of an auxiliary loss beside the main one, §5
HALVED_BEFORE = ("4a", "5a")  # modules that a pooling by two stands before, table 1


class Branches(NamedTuple):
    """Maps of a module's branches: returned by each, and in between of the two that are narrowed first."""

    one: int
    narrow_three: int
    three: int
    narrow_five: int
    five: int
    pooled: int

    @property
    def returned(self) -> tuple[int, int, int, int]:
        """The maps that each branch returns."""
        return self.one, self.three, self.five, self.pooled


MODULES: Mapping[str, Branches] = {  # table 1
    "3a": Branches(64, 96, 128, 16, 32, 32),
    "3b": Branches(128, 128, 192, 32, 96, 64),
    "4a": Branches(192, 96, 208, 16, 48, 64),
    "4b": Branches(160, 112, 224, 24, 64, 64),
    "4c": Branches(128, 128, 256, 24, 64, 64),
    "4d": Branches(112, 144, 288, 32, 64, 64),
    "4e": Branches(256, 160, 320, 32, 128, 128),
    "5a": Branches(256, 160, 320, 32, 128, 128),
    "5b": Branches(384, 192, 384, 48, 128, 128),
}


def convolution(maps_in: int, maps_out: int, kernel: int, *, stride: int = 1, normalise: bool = True) -> nn.Sequential:
    """A convolution that keeps the places (but for its stride), with batch norm or else a bias."""
    convolve = nn.Conv2d(maps_in, maps_out, kernel, stride=stride, padding=kernel // 2, bias=not normalise)
    kaiming(convolve.weight)
    return nn.Sequential(convolve, nn.BatchNorm2d(maps_out)) if normalise else nn.Sequential(convolve)


class Inception(nn.Module):
    """Four branches over the same maps, laid one behind another.

    Args:
        maps_in: of the input.
        branches: maps of each branch.
        kernel: side of the largest window.
        normalise: batch norm after each convolution.

    >>> module = Inception(192, Branches(64, 96, 128, 16, 32, 32))
    >>> module(torch.rand(2, 192, 28, 28)).shape
    torch.Size([2, 256, 28, 28])
    """

    def __init__(self, maps_in: int, branches: Branches, *, kernel: int = 5, normalise: bool = True) -> None:
        super().__init__()

        def layer(maps_before: int, maps_after: int, side: int) -> list[nn.Module]:
            return [convolution(maps_before, maps_after, side, normalise=normalise), nn.ReLU(inplace=True)]

        one, narrow_three, three, narrow_five, five, pooled = branches
        self.branches = branches
        self.one = nn.Sequential(*layer(maps_in, one, 1))
        self.three = nn.Sequential(*layer(maps_in, narrow_three, 1), *layer(narrow_three, three, 3))
        self.five = nn.Sequential(*layer(maps_in, narrow_five, 1), *layer(narrow_five, five, kernel))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), *layer(maps_in, pooled, 1))

    def forward(self, inputs: Float[Tensor, "B I h w"]) -> Float[Tensor, "B O h w"]:
        """The maps of the four branches, in the order of `Branches.returned`."""
        return torch.cat([self.one(inputs), self.three(inputs), self.five(inputs), self.pooled(inputs)], dim=1)

    def parts(self, maps: Float[Tensor, "B O h w"]) -> tuple[Tensor, ...]:
        """What each branch contributed to this module's maps."""
        return maps.split(self.branches.returned, dim=1)


class GoogLeNet(Encoder):
    """The ninth module's maps, averaged over the places.

    Args:
        shape: channels, height and width of the images.
        width: factor of all numbers of maps of table 1.
        large: the published stem, which strides by 8 before the first module; else one without strides.
        kernel: side of the largest window (some published versions have 3 where the paper says 5).
        normalise: batch norm after each convolution.

    Raises:
        InvalidValue: a width that is not positive, an even kernel, or images smaller than the strides together.

    >>> net = Classifier(GoogLeNet(shape=(3, 224, 224), width=1.0, large=True), classes=1000, dropout=0.4)
    >>> sum(p.numel() for p in net.parameters())
    7005832
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        width: float = 0.125,
        large: bool = False,
        kernel: int = 5,
        normalise: bool = True,
    ) -> None:
        require(width > 0, f"width is {width}; the factor of the maps must be positive")
        require(kernel >= 1 and kernel % 2 == 1, f"kernel is {kernel}; a window that keeps the places has an odd side")
        table = {name: Branches(*(scaled(maps, width) for maps in row)) for name, row in MODULES.items()}
        # The strides: two poolings between the modules, and three more in the large stem.
        super().__init__(shape=shape, width=sum(table["5b"].returned), smallest=32 if large else 4)
        first, last = (scaled(maps, width) for maps in STEM)
        make = _large_stem if large else _small_stem
        self.stem = make(shape[0], first, last, normalise)
        self.pool = _halve()
        self.inceptions = nn.ModuleDict()
        maps_in = last
        for name, branches in table.items():
            self.inceptions[name] = Inception(maps_in, branches, kernel=kernel, normalise=normalise)
            maps_in = sum(branches.returned)

    def encode(self, images: Float[Tensor, "B C H W"]) -> Encoded:
        """The last module's maps and their means."""
        maps = self.inside(images)["5b"]
        return Encoded(maps.mean((2, 3)), maps)

    def inside(self, images: Float[Tensor, "B C H W"]) -> dict[str, Float[Tensor, "B _ _ _"]]:
        """The maps that each module returns, by its name in table 1."""
        maps, returned = self.stem(images), {}
        for name, inception in self.inceptions.items():
            maps = inception(self.pool(maps) if name in HALVED_BEFORE else maps)
            returned[name] = maps
        return returned


class AuxiliaryHead(nn.Module):
    """Logits from maps in the middle of a net: pooled, narrowed, and two dense layers.

    Args:
        maps: of the module that it reads.
        classes: number of classes K.
        width: factor of its own sizes.
        normalise: batch norm after its convolution.
    """

    def __init__(self, *, maps: int, classes: int, width: float, normalise: bool = True) -> None:
        super().__init__()
        narrow, hidden = (scaled(size, width) for size in HEAD_SIZES)
        first = nn.Sequential(nn.AdaptiveAvgPool2d(HEAD_PLACES), convolution(maps, narrow, 1, normalise=normalise))
        dense = [nn.ReLU(), nn.Flatten(), nn.Linear(narrow * HEAD_PLACES**2, hidden), nn.ReLU()]
        self.layers = nn.Sequential(first, *dense, nn.Dropout(HEAD_DROPOUT), nn.Linear(hidden, classes))

    def forward(self, maps: Float[Tensor, "B M h w"]) -> Float[Tensor, "B K"]:
        """Logits of the classes."""
        return self.layers(maps)


def auxiliary_heads(classes: int, *, width: float = 0.125, normalise: bool = True) -> nn.ModuleDict:
    """The two heads of §5, by the name of the module each reads; arguments as of the net they belong to."""
    read = {name: sum(scaled(maps, width) for maps in MODULES[name].returned) for name in HEADS}
    return nn.ModuleDict(
        {name: AuxiliaryHead(maps=read[name], classes=classes, width=width, normalise=normalise) for name in HEADS}
    )


def objective(
    main: Float[Tensor, "B K"],
    auxiliaries: Sequence[Float[Tensor, "B K"]],
    labels: Int64[Tensor, " B"],
    *,
    weight: float = HEAD_WEIGHT,
) -> Float[Tensor, ""]:
    """The loss of the net and of the heads inside it.

    >>> even = torch.zeros(1, 2)
    >>> round(float(objective(even, [even, even], torch.tensor([0])) / objective(even, [], torch.tensor([0]))), 4)
    1.6
    """
    # L = L_main + 0.3 Σ L_auxiliary, §5
    return cross_entropy(main, labels) + weight * sum(cross_entropy(logits, labels) for logits in auxiliaries)


class DeeplySupervised(Learner[Labelled]):
    """Teaches a GoogLeNet with heads inside that are there for the teaching alone.

    Args:
        model: the net that remains.
        heads: auxiliary heads by the module they read (`auxiliary_heads`).
        weight: of each head's loss beside the main one.
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.
    """

    def __init__(
        self,
        model: Classifier[GoogLeNet],
        heads: nn.ModuleDict,
        *,
        weight: float = HEAD_WEIGHT,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-3,
        schedule: Schedule = constant,
    ) -> None:
        require(weight >= 0, f"weight is {weight}; an auxiliary loss counts by a factor of 0 or more")
        self.model = model
        self.heads = heads
        self.weight = weight
        self.lr = lr
        self.schedule = schedule
        self.optimizer = optimizer([*model.parameters(), *heads.parameters()], lr=lr)

    def learn(self, batch: Labelled) -> Measures:
        """One gradient step on the objective.

        Raises:
            InvalidValue: the batch is empty, has more inputs than labels or fewer, or images of another shape.
        """
        images, labels = batch
        check_batch((images, labels), wanted="images and labels")
        shape = self.model.encoder.shape
        require(images.shape[1:] == shape, f"images are {tuple(images.shape[1:])}, but the net was built for {shape}")
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        self.optimizer.zero_grad()
        inside = self.model.encoder.inside(images)
        main = self.model.judge(inside["5b"].mean((2, 3)))
        auxiliaries = [head(inside[name]) for name, head in self.heads.items()]
        loss = objective(main, auxiliaries, labels, weight=self.weight)
        loss.backward()
        self.optimizer.step()
        return {"loss": cross_entropy(main.detach(), labels), "objective": loss.detach()}

    def evaluate(self, batches: Iterable[Labelled], *, prefix: str = "") -> dict[str, float]:
        """Mean loss and accuracy of the net without its heads, in evaluation mode."""
        return evaluate_classes(self.model, batches, prefix=prefix)

    def example(self, batch: Labelled) -> dict[str, tuple[Tensor, ...]]:
        """The images of a batch, for the net; the heads are not worth taking away."""
        return {"model": (batch[0],)}


def scaled(maps: int, width: float) -> int:
    """A number of maps of table 1 times a factor, at least 1.

    >>> scaled(64, 0.25), scaled(16, 0.01)
    (16, 1)
    """
    return max(1, round(maps * width))


def _halve() -> nn.Module:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _small_stem(channels: int, first: int, last: int, normalise: bool) -> nn.Sequential:
    begin = convolution(channels, first, 3, normalise=normalise)
    return nn.Sequential(begin, nn.ReLU(inplace=True), convolution(first, last, 3, normalise=normalise), nn.ReLU())


def _large_stem(channels: int, first: int, last: int, normalise: bool) -> nn.Sequential:
    begin = convolution(channels, first, 7, stride=2, normalise=normalise)
    narrow = convolution(first, first, 1, normalise=normalise)
    end = convolution(first, last, 3, normalise=normalise)
    return nn.Sequential(begin, _halve(), nn.ReLU(), narrow, nn.ReLU(), end, _halve(), nn.ReLU())
