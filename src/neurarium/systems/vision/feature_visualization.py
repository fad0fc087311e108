r"""Feature visualization: what a unit of a trained net looks for, asked in three ways.

The weights of a first layer can be looked at; those of the layers above it say little. So ask with pictures. A
deconvnet takes the picture that excites a map most and carries this one excitation back down to the pixels, each layer
undone in turn: what remains are the pixels that excited it. Activation maximisation needs no picture: it climbs the
slope of the unit along the pixels until it has the image that the unit likes best; penalties, blur and jitter keep it
from turning into noise. And statistics tell whether the maps of a layer are worth having: they should differ from one
another (low correlation) and from picture to picture (high variance).

Source: CSE 151B, Visualizing Features (project activations back into pixel space, remembering which were the maximum;
optimise the input for a feature map or class) and Training tips (maps uncorrelated, of high variance). Zeiler & Fergus
2014, Visualizing and understanding convolutional networks, §2.1. Simonyan, Vedaldi & Zisserman 2014, Deep inside
convolutional networks, §2. Total variation: Mahendran & Vedaldi 2015, Understanding deep image representations, §2,
β = 2. Blur: Yosinski et al. 2015, Understanding neural networks through deep visualization, §4. Jitter: Mordvintsev,
Olah & Tyka 2015, Inceptionism.
Differs: the deconvnet is run as a backward pass whose rule for a rectifier is to rectify what comes down; for
convolutions, pooling and rectifiers in a chain this is the published net, unit by unit. Dense layers and norms (in
evaluation mode) are linear there and are undone by their transpose; where paths join, as in a residual net, what comes
down both is summed, which the paper does not have. Nets with any other nonlinearity (GELU, attention) are refused.
Activation is climbed by steps of a fixed size along the slope that shrink to nothing, inside the range of pixels.
Shapes: B batch, U units, C channels, H height, W width, M maps, h and w places; R random images, N values of a map.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn, relu

from neurarium.errors import InvalidValue, did_you_mean, require
from neurarium.parts.augmentation import blur
from neurarium.parts.deconvnet import Deconvolving
from neurarium.parts.modes import evaluating

BLUR = 0.5  # pixels, deviation; Yosinski et al. blur by as much, ours are smaller images
Activation = Callable[[Float[Tensor, "U C H W"]], Float[Tensor, " U"]]
Change = Callable[[Float[Tensor, "U C H W"]], Float[Tensor, "U C H W"]]
Part = Literal["unit", "channel"]


class Gain(NamedTuple):
    """Rectified activations of units: on the image made for each, and on the same pixels in a random order."""

    own: Float[Tensor, " U"]
    random: Float[Tensor, "R U"]


class Statistics(NamedTuple):
    """How much each map varies over pictures and places, and how much any two vary together."""

    variance: Float[Tensor, " M"]
    correlation: Float[Tensor, "M M"]


def maps_of(net: nn.Module, layer: str, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B M *places"]:
    """What a layer of the net gives for images, before anything is done with it.

    Args:
        net: to look into.
        layer: the name of a module in it ("encoder.conv2", "head").
        images: to show it.

    Raises:
        InvalidValue: there is no such layer, it is not used, or it gives neither maps nor features.

    >>> net = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(inplace=True))
    >>> maps_of(net, "0", torch.rand(2, 1, 4, 4)).shape
    torch.Size([2, 3, 3, 3])
    """
    modules = dict(net.named_modules())
    require(layer in modules, f"the net has no layer '{layer}'; {did_you_mean(layer, filter(None, modules))}")
    seen: list[Tensor] = []
    # A copy, for a rectifier may work in place.
    hook = modules[layer].register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    try:
        net(images)
    finally:
        hook.remove()
    shape = tuple(seen[0].shape) if seen else ()
    if len(shape) not in (2, 4):
        raise InvalidValue(f"layer '{layer}' gives {shape or 'nothing'}; take one of maps or features")
    return seen[0]


def deconvolve(
    net: nn.Module, layer: str, images: Float[Tensor, "B C H W"], units: Int64[Tensor, " B"]
) -> Float[Tensor, "B C H W"]:
    """For each image, the pixels that excited one map of a layer most: its largest activation carried back alone.

    Args:
        net: of convolutions, pooling and rectifiers, dense layers and norms.
        layer: whose maps (or features) are asked about.
        images: one for each question.
        units: which map, for each.

    Raises:
        InvalidValue: the net computes something that cannot be undone; else as `maps_of`.

    >>> net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.MaxPool2d(2))
    >>> _ = nn.init.constant_(net[0].weight, 2.0)
    >>> deconvolve(net, "1", torch.tensor([[[[1.0, 3.0], [0.0, 2.0]]]]), torch.tensor([0])).squeeze().tolist()
    [[0.0, 12.0], [0.0, 0.0]]
    """
    pixels = images.detach().requires_grad_()
    with evaluating(net), torch.enable_grad():
        with Deconvolving():
            maps = maps_of(net, layer, pixels)
        flat = maps.detach().reshape(*maps.shape[:2], -1)
        best = _asked(flat, units).max(1)
        # all activations of the layer are 0 but one
        signal = torch.zeros_like(flat)
        signal[torch.arange(units.shape[0]), units, best.indices] = relu(best.values)
        (projected,) = torch.autograd.grad(maps, pixels, signal.view_as(maps))
    return projected


def activation_of(net: nn.Module, layer: str, units: Int64[Tensor, " U"], *, part: Part = "unit") -> Activation:
    """How much units of a layer are excited, each by an image of its own; the units of the last layer are the classes.

    Args:
        net: in evaluation mode.
        layer: as `maps_of` takes it.
        units: numbers of maps or features.
        part: of a map, the unit in its middle, or the mean of the whole channel.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    >>> activation_of(net, "1", torch.tensor([1]))(torch.ones(1, 1, 2, 2)).shape
    torch.Size([1])
    """

    def activation(images: Float[Tensor, "U C H W"]) -> Float[Tensor, " U"]:
        maps = maps_of(net, layer, images)
        asked = _asked(maps, units)
        if asked.ndim == 1:
            return asked
        return asked.mean((1, 2)) if part == "channel" else asked[:, asked.shape[1] // 2, asked.shape[2] // 2]

    return activation


def _asked(maps: Float[Tensor, "U M ..."], units: Int64[Tensor, " U"]) -> Float[Tensor, "U ..."]:
    """Of each image's maps, the one asked about."""
    require(int(units.max()) < maps.shape[1], f"unit {int(units.max())} is asked for; the layer has {maps.shape[1]}")
    return maps[torch.arange(units.shape[0], device=units.device), units]


def in_range(images: Float[Tensor, "U C H W"]) -> Float[Tensor, "U C H W"]:
    """The nearest images whose pixels lie from 0 to 1."""
    return images.clamp(0, 1)


def in_ball(images: Float[Tensor, "U C H W"]) -> Float[Tensor, "U C H W"]:
    """The nearest images whose norm is at most 1.

    >>> in_ball(torch.tensor([[[[3.0, 4.0]]]])).squeeze()
    tensor([0.6000, 0.8000])
    """
    return images / images.flatten(1).norm(dim=1).clamp(min=1.0).view(-1, 1, 1, 1)


def squares(images: Float[Tensor, "U C H W"]) -> Float[Tensor, " U"]:
    """The squared norm of each image, Σ x²."""
    return images.square().sum((1, 2, 3))


def total_variation(images: Float[Tensor, "U C H W"]) -> Float[Tensor, " U"]:
    """How rough each image is.

    >>> total_variation(torch.tensor([[[[0.0, 1.0], [0.0, 3.0]]]]))
    tensor([14.])
    """
    down = images[:, :, 1:] - images[:, :, :-1]
    across = images[..., 1:] - images[..., :-1]
    # Σ (x_{i+1,j} − x_ij)² + (x_{i,j+1} − x_ij)²
    return squares(down) + squares(across)


def blurred(images: Float[Tensor, "U C H W"]) -> Float[Tensor, "U C H W"]:
    """The images, slightly smoothed."""
    deviation = torch.full((images.shape[0],), BLUR, device=images.device)
    return blur(images, deviation, radius=min(2, min(images.shape[2:]) - 1))


def ascend(
    activation: Activation,
    start: Float[Tensor, "U C H W"],
    *,
    generator: torch.Generator,
    steps: int = 200,
    rate: float = 0.1,
    l2: float = 0.0,
    variation: float = 0.0,
    jitter: int = 0,
    blur_every: int = 0,
    constrain: Change = in_range,
) -> Float[Tensor, "U C H W"]:
    """The images that excite units most, found by climbing.

    Args:
        activation: of the units, each by its image.
        start: where the climb begins.
        generator: of the jitter.
        steps: of the climb.
        rate: how far the first step moves a pixel (root mean square); it falls to 0 evenly.
        l2: weight of the squared norm.
        variation: weight of the total variation.
        jitter: pixels up to which the image is shifted, round its edges, before each step.
        blur_every: steps between two blurs in the first half of the climb (0: none).
        constrain: brings images back to those that are allowed.

    Raises:
        InvalidValue: a negative number of steps, weight or shift.

    >>> weights = torch.tensor([[[[3.0, 4.0]]]])
    >>> climb = lambda images: (weights * images).sum((1, 2, 3))
    >>> ascend(climb, torch.zeros(1, 1, 1, 2), generator=torch.Generator(), constrain=in_ball).squeeze()
    tensor([0.6000, 0.8000])
    """
    require(steps >= 0, f"the climb has {steps} steps, but needs 0 or more")
    require(min(l2, variation) >= 0, f"the weights of norm and variation are {l2} and {variation}; 0 is the least")
    require(min(jitter, blur_every) >= 0, f"jitter and blur are {jitter} and {blur_every}; 0 leaves them out")
    images = constrain(start.detach())
    for step in range(steps):
        shift = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
        pixels = images.roll(shift, (2, 3)).requires_grad_()
        with torch.enable_grad():
            # a(x) − λ Σx² − μ TV(x); each image counts for its own unit alone
            aim = activation(pixels) - l2 * squares(pixels) - variation * total_variation(pixels)
            (slope,) = torch.autograd.grad(aim.sum(), pixels)
        length = slope.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
        # x ← x + η (1 − t/T) ∇/|∇|
        images = constrain(pixels.detach() + rate * (1 - step / steps) * slope / length)
        if blur_every and step < steps // 2 and step % blur_every == blur_every - 1:
            images = blurred(images)
        images = images.roll([-shift[0], -shift[1]], (2, 3))
    return images


def shuffled(images: Float[Tensor, "U C H W"], *, generator: torch.Generator) -> Float[Tensor, "U C H W"]:
    """The same pixels in a random order: a random image of the same norm, range and histogram."""
    flat = images.flatten(1)
    order = torch.rand(flat.shape, generator=generator).argsort(1).to(flat.device)
    return flat.gather(1, order).view_as(images)


@torch.no_grad()
def gain_of(
    activation: Activation, images: Float[Tensor, "U C H W"], *, generator: torch.Generator, draws: int = 64
) -> Gain:
    """What the units pass on for their images, and for each of several random images made of the same pixels."""
    random = [relu(activation(shuffled(images, generator=generator))) for _ in range(draws)]
    return Gain(relu(activation(images)), torch.stack(random))


def statistics_of(maps: Float[Tensor, "B M h w"]) -> Statistics:
    """Variance and correlation of maps over pictures and places; one that never varies is correlated with none.

    >>> statistics_of(torch.tensor([1.0, 3.0, 2.0, 6.0]).view(2, 2, 1, 1)).correlation
    tensor([[1., 1.],
            [1., 1.]])
    """
    values = maps.transpose(0, 1).flatten(1)
    values = values - values.mean(1, keepdim=True)
    variance = values.square().mean(1)
    scaled = values / variance.sqrt().clamp(min=1e-12).unsqueeze(1)
    # ρ_mn = cov(m, n) / σ_m σ_n
    return Statistics(variance, scaled @ scaled.T / values.shape[1])
