r"""Encoders: images in, features of a declared width out; and the classifier that stands on any of them.

What reads a picture and what is done with the reading are two things. An encoder is the first: a convnet or a
transformer without its last layer. A head of logits, a caption writer or a self-supervised objective takes any of them.

Source: CSE 151B, Convolutional Networks (transfer: the net below its last layer as features); Donahue et al. 2014,
DeCAF: A deep convolutional activation feature, §3.
Shapes: B batch, C channels, H height, W width, D features, M maps, h and w places, K classes.
"""

from abc import ABC, abstractmethod
from typing import Generic, NamedTuple, TypeVar

from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require


class Encoded(NamedTuple):
    """What an encoder makes of images: their features, and the same before the places were given up."""

    features: Float[Tensor, "B D"]
    maps: Float[Tensor, "B M h w"]


class Encoder(nn.Module, ABC):
    """The base of every image encoder.

    Keyword-only arguments of a subclass with plain types are its options on the command line.

    Args:
        shape: channels, height and width of the images.
        width: how many features an image gets.
        smallest: pixels a side below which nothing would be left of an image.

    Raises:
        InvalidValue: the images are smaller than that, or have no channel; in `forward`, images of another shape.

    >>> import torch
    >>> class Mean(Encoder):
    ...     def __init__(self, *, shape):
    ...         super().__init__(shape=shape, width=shape[0])
    ...
    ...     def encode(self, images):
    ...         return Encoded(images.mean((2, 3)), images)
    >>> Mean(shape=(3, 8, 8))(torch.ones(2, 3, 8, 8)).shape
    torch.Size([2, 3])
    """

    def __init__(self, *, shape: tuple[int, int, int], width: int, smallest: int = 1) -> None:
        super().__init__()
        channels, *sides = shape
        name = type(self).__name__
        require(channels >= 1, f"images have {channels} channels; {name} needs at least 1")
        require(
            min(sides) >= smallest,
            f"images are {sides[0]}×{sides[1]} pixels; {name} needs at least {smallest}×{smallest}",
        )
        require(width >= 1, f"width is {width}; an encoder needs at least 1 feature")
        self.shape = shape
        self.width = width

    @abstractmethod
    def encode(self, images: Float[Tensor, "B C H W"]) -> Encoded:
        """Features, and the maps that they were made from; `forward` has checked the shape."""

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        """The features of images."""
        return self.look(images).features

    def look(self, images: Float[Tensor, "B C H W"]) -> Encoded:
        """Features and maps of images, their shape checked."""
        if images.shape[1:] != self.shape:
            raise InvalidValue(
                f"images are {tuple(images.shape[1:])}, but this {type(self).__name__} was built for {self.shape}"
            )
        return self.encode(images)


Encoder_co = TypeVar("Encoder_co", bound=Encoder, covariant=True)


class Classifier(nn.Module, Generic[Encoder_co]):
    """Logits from images: an encoder and one linear layer.

    Args:
        encoder: what reads the images.
        classes: number of classes K.
        dropout: chance that a feature is left out in training, 0 up to but without 1.

    Raises:
        InvalidValue: fewer than 2 classes, or dropout out of range.
    """

    def __init__(self, encoder: Encoder_co, *, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        require(0 <= dropout < 1, f"dropout is {dropout}; it must be at least 0 and below 1")
        require(classes >= 2, f"classes is {classes}; a classifier needs at least 2")
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.width, classes)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Logits of the classes."""
        return self.judge(self.encoder(images))

    def judge(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Logits from features."""
        return self.head(self.dropout(features))
