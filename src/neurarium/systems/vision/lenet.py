r"""LeNet: convolve, pool, convolve, pool, then decide.

Small kernels slide over the picture, so that one set of weights looks for the same stroke everywhere; pooling keeps
whether it was found and forgets exactly where; two rounds of this and a small dense network read a digit.

Source: NYU NN II, "Assembling together: LeNet"; CSE 151B, Convolutional Networks; LeCun, Bottou, Bengio & Haffner
1998, Gradient-based learning applied to document recognition, §II.B, fig. 2 (layers C1, S2, C3, S4, C5, F6).
Differs: max pooling without trainable coefficients; C3 sees all maps of S2 rather than table I's subset; ReLU instead
of 1.7159 tanh(2a/3) (pass `activation`); softmax instead of radial basis outputs, in a classifier of its own. Sides
under 12 pixels pad C3 too.
Shapes: B batch, C channels, H height, W width, D features, M maps, h and w places.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn, relu

from neurarium.parts.encoders import Encoded, Encoder

KERNEL = 5  # pixels a side, §II.B
MAPS = (6, 16)  # feature maps of C1 and C3
HIDDEN = (120, 84)  # units of C5 and F6
SMALLEST = 4  # pixels a side that two poolings by two leave one pixel of
PAD_SECOND_BELOW = 12  # pixels: under this side an unpadded C3 would have nothing left to pool


class LeNet(Encoder):
    """The last hidden layer's features from images.

    Args:
        shape: channels, height and width of the images.
        maps: feature maps of the two convolutions.
        hidden: units of the two dense layers.
        activation: elementwise, increasing.

    Raises:
        InvalidValue: images smaller than 4×4, or a batch of another shape.

    >>> import torch
    >>> from neurarium.parts.encoders import Classifier
    >>> net = Classifier(LeNet(shape=(1, 28, 28)), classes=10)
    >>> net(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    >>> sum(p.numel() for p in net.parameters())  # the count usually given for LeNet-5
    61706
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        maps: tuple[int, int] = MAPS,
        hidden: tuple[int, int] = HIDDEN,
        activation: Callable[[Tensor], Tensor] = relu,
    ) -> None:
        super().__init__(shape=shape, width=hidden[1], smallest=SMALLEST)
        channels, height, width = shape
        self.activation = activation
        self.conv1 = nn.Conv2d(channels, maps[0], KERNEL, padding=KERNEL // 2)
        padding = KERNEL // 2 if min(height, width) < PAD_SECOND_BELOW else 0
        self.conv2 = nn.Conv2d(maps[0], maps[1], KERNEL, padding=padding)
        self.pool = nn.MaxPool2d(2)
        shrink = KERNEL - 1 - 2 * padding
        left = [(side // 2 - shrink) // 2 for side in (height, width)]
        self.dense1 = nn.Linear(maps[1] * left[0] * left[1], hidden[0])
        self.dense2 = nn.Linear(hidden[0], hidden[1])

    def encode(self, images: Float[Tensor, "B C H W"]) -> Encoded:
        """F6, what the picture looks like to the classifier; and the maps of S4."""
        # Pooling before an increasing activation gives the same result for a quarter of the work.
        maps = self.activation(self.pool(self.conv1(images)))
        maps = self.activation(self.pool(self.conv2(maps)))
        hidden = self.activation(self.dense1(maps.flatten(1)))
        return Encoded(self.activation(self.dense2(hidden)), maps)
