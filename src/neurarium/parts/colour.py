r"""Colour: brightness, contrast, saturation, hue and greyscale, each image of a batch with a factor of its own.

Three of the five go from another image through this one and beyond: x' = o + f (x − o), where o is black, the mean
grey, or the image in grey; f = 1 changes nothing. The hue turns the colour circle. Values stay between 0 and 1.

Source: Howard 2013, Some improvements on deep convolutional neural network based image classification, §2.2; Chen,
Kornblith, Norouzi & Hinton 2020, A simple framework for contrastive learning of visual representations, appendix A;
Smith 1978, Color gamut transform pairs (hue, saturation, value); ITU-R BT.601 (grey of a colour).
Shapes: B batch, C channels (1 grey, 3 red, green and blue), H height, W width.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import require

LUMA = (0.299, 0.587, 0.114)  # red, green, blue: how bright each looks, ITU-R BT.601


def brightness(images: Float[Tensor, "B C H W"], factor: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """Lighter above 1, black at 0.

    >>> brightness(torch.full((2, 1, 1, 1), 0.5), torch.tensor([0.5, 3.0])).flatten().tolist()
    [0.25, 1.0]
    """
    # x' = f x
    return (images * factor[:, None, None, None]).clamp_(0, 1)


def contrast(images: Float[Tensor, "B C H W"], factor: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """Stronger above 1, flat grey at 0.

    >>> contrast(torch.tensor([[[[0.25, 0.75]]]]), torch.zeros(1)).flatten().tolist()
    [0.5, 0.5]
    """
    means = images.mean((2, 3))
    # m̄ = mean of the greys = grey of the means, for both are linear
    middle = means if _is_grey(images) else (means * means.new_tensor(LUMA)).sum(1, keepdim=True)
    # x' = m̄ + f (x − m̄)
    return _beyond(middle[:, :, None, None], images, factor)


def saturation(images: Float[Tensor, "B C H W"], factor: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """More colourful above 1, grey at 0; grey images stay as they are.

    >>> red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    >>> [round(value, 3) for value in saturation(red, torch.zeros(1)).flatten().tolist()]
    [0.299, 0.299, 0.299]
    """
    if _is_grey(images):
        return images
    # x' = y + f (x − y), y the image in grey
    return _beyond(grey_of(images), images, factor)


def hue(images: Float[Tensor, "B C H W"], turns: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """The colour circle turned, 1 being all the way around; grey images stay as they are.

    >>> red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    >>> hue(red, torch.tensor([1 / 3])).abs().round().flatten().tolist()  # green
    [0.0, 1.0, 0.0]
    """
    if _is_grey(images):
        return images
    red, green, blue = images.unbind(1)
    value, least = images.amax(1), images.amin(1)
    chroma = value - least
    # c H, H in sixths of a turn: (g − b) if red is largest, 2c + (b − r) if green is, 4c + (r − g) if blue is
    from_green, from_blue = (blue - red).add_(chroma, alpha=2), (red - green).add_(chroma, alpha=4)
    # Signs and lerps choose as comparisons and `where` would, and take a third of their time on a processor.
    not_red, not_green = (value - red).sign_(), (value - green).sign_()
    sixths = torch.lerp(green - blue, torch.lerp(from_green, from_blue, not_green), not_red)
    # Where chroma is 0 the hue counts for nothing, and any divisor will do.
    sixths /= chroma.clamp(min=torch.finfo(images.dtype).tiny)
    sixths += 6 * turns[:, None, None]
    sixths = sixths.sub_((sixths / 6).floor_(), alpha=6)
    # r = m + c clamp(|H − 3| − 1, 0, 1);  g = m + c clamp(2 − |H − 2|, 0, 1);  b = m + c clamp(2 − |H − 4|, 0, 1)
    shares = (sixths - 3).abs_().sub_(1), (sixths - 2).abs_().neg_().add_(2), sixths.sub_(4).abs_().neg_().add_(2)
    return torch.stack([share.clamp_(0, 1).mul_(chroma).add_(least) for share in shares], 1)


def greyscale(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Without colour, in as many channels as before.

    >>> greyscale(torch.tensor([0.0, 1.0, 0.0]).reshape(1, 3, 1, 1)).flatten().tolist()
    [0.5870000123977661, 0.5870000123977661, 0.5870000123977661]
    """
    return images if _is_grey(images) else grey_of(images).expand_as(images).contiguous()


def grey_of(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
    """How bright each pixel looks.

    >>> grey_of(torch.ones(1, 3, 1, 1)).item()
    1.0
    """
    red, green, blue = images.split(1, 1)
    # y = 0.299 r + 0.587 g + 0.114 b
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def _beyond(
    origin: Float[Tensor, "B c h w"], images: Float[Tensor, "B C H W"], factor: Float[Tensor, " B"]
) -> Float[Tensor, "B C H W"]:
    # o + f (x − o) as f x + (1 − f) o: two operations of two arguments are faster here than one of three.
    f = factor[:, None, None, None]
    return (images * f).add_(origin * (1 - f)).clamp_(0, 1)


def _is_grey(images: Float[Tensor, "B C H W"]) -> bool:
    channels = images.shape[1]
    require(channels in (1, 3), f"images have {channels} channels; colour is for 1 (grey) or 3 (red, green, blue)")
    return channels == 1
