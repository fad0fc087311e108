r"""Transfer: what was learned about some classes helps with others.

A net that has learned to tell many things apart has found strokes, corners and their arrangements that serve other
things as well. Its encoder is frozen, and a softmax on its features learns the new classes from a handful of labels;
beside it, a net of the same kind learns them from nothing.

Source: CSE 151B, Convolutional Networks, "Depth" (reuse a pre-trained network's features, then softmax); Donahue et al.
2014, DeCAF, §4; Yosinski, Clune, Bengio & Lipson 2014, How transferable are features in deep neural networks?, §2.
Differs: the features are centred on the labelled images and brought to one scale before the softmax.
Shapes: B images, C channels, H height, W width, N examples, K classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.encoders import Classifier, Encoder
from neurarium.parts.frozen import Frozen, Layer

FEWEST = 4  # classes, so that each half has two to tell apart


class Split(NamedTuple):
    """Classes to learn features from, and classes to use them on."""

    source: tuple[int, ...]
    target: tuple[int, ...]


def halves(classes: int) -> Split:
    """The first half of the classes as the source, the others as the target.

    Raises:
        InvalidValue: there are fewer than 4 classes.

    >>> halves(5)
    Split(source=(0, 1, 2), target=(3, 4))
    """
    require(classes >= FEWEST, f"{classes} classes cannot be halved; two each are needed, so at least {FEWEST}")
    middle = (classes + 1) // 2
    return Split(tuple(range(middle)), tuple(range(middle, classes)))


def relabelled(labels: Int64[Tensor, " N"], classes: Sequence[int]) -> tuple[Int64[Tensor, " A"], Int64[Tensor, " A"]]:
    """The places of the examples of some classes, and these classes' numbers among themselves.

    Args:
        labels: of all examples.
        classes: the wanted ones, in rising order.

    Raises:
        InvalidValue: the classes do not rise.

    >>> places, labels = relabelled(torch.tensor([7, 3, 5, 7]), [5, 7])
    >>> places.tolist(), labels.tolist()
    ([0, 2, 3], [1, 0, 1])
    """
    require(list(classes) == sorted(set(classes)), f"the classes are {list(classes)}; give each once, in rising order")
    wanted = torch.tensor(classes, device=labels.device)
    places = torch.isin(labels, wanted).nonzero().flatten()
    return places, torch.searchsorted(wanted, labels[places])


def on_frozen(
    encoder: Encoder, *, classes: int, labelled: Float[Tensor, "B C H W"], layer: Layer = "features"
) -> Classifier[Frozen]:
    """A softmax on the features of a frozen copy of an encoder: of all its weights only the last layer's learn.

    Args:
        encoder: trained on other classes.
        classes: to tell apart now.
        labelled: the images that it is going to learn from.
        layer: which of the encoder's layers gives the features.

    Raises:
        InvalidValue: fewer than 2 classes, or images of another shape than the encoder's.

    >>> from neurarium.systems.vision.lenet import LeNet
    >>> net = on_frozen(LeNet(shape=(1, 8, 8)), classes=3, labelled=torch.rand(6, 1, 8, 8))
    >>> [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    ['head.weight', 'head.bias']
    """
    return Classifier(Frozen(encoder, like=labelled, layer=layer), classes=classes)


def transfer_gain(frozen: float, scratch: float) -> float:
    """How much more often the softmax on frozen features is right than the net from scratch.

    >>> transfer_gain(0.75, 0.5)
    0.25
    """
    # g = a_frozen − a_scratch
    return frozen - scratch
