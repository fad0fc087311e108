r"""Network in network: a small network at every pixel, and no dense layer at the end.

A convolution followed by 1×1 convolutions is a perceptron of several layers that is slid over the picture: an mlpconv.
Three of them are stacked, the last one makes one map for each class, and the mean of a class's map over all places is
its logit. So the maps themselves show where the network saw which class: evidence that needs no gradient.

A 1×1 layer is linear, and so is the mean; either may come first. The last 1×1 layer, whose maps are the classes, is
therefore the linear head of a `Classifier` on the means of the maps before it. `class_maps` applies that same head at
every pixel instead, and the means of what it gives are the classifier's logits.

Source: CSE 151B, Design (network in network, global average pooling, 1×1 convolutional layer); Lin, Chen & Yan 2014,
Network in Network, §3.1 eq. 2 (mlpconv), §3.2 (global average pooling), §3.3 and §4.2; the sizes are those of the
authors' published network for CIFAR-10.
Differs: no ReLU after the class maps, so that a logit may be negative; images of small sides are pooled less often, so
that maps keep at least 7 pixels a side where they can; weights begin as Kaiming's.
Shapes: B batch, C channels, H height, W width, D features, M maps (here D = M), h and w places, K classes.
"""

from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import require
from neurarium.parts.convolution import global_average
from neurarium.parts.encoders import Classifier, Encoded, Encoder
from neurarium.parts.initialization import kaiming
from neurarium.parts.modes import evaluating

KERNELS = (5, 5, 3)  # pixels a side of the first layer of each mlpconv, as published
MAPS = ((192, 160, 96), (192, 192, 192), (192, 192))  # of each layer of each mlpconv; the last one is the head's
POOL, STRIDE = 3, 2  # pixels, as published: windows overlap
PLACES = 7  # pixels a side that a pooling must leave
DROPOUT = 0.5  # chance that a number is left out after each pooling, §4.1


class NiN(Encoder):
    """The means of the maps that the class maps are made of.

    Args:
        shape: channels, height and width of the images.
        scale: factor of the published numbers of maps; 1 is the published network.
        dropout: chance that a number is left out between mlpconvs in training, 0 up to but without 1.

    Raises:
        InvalidValue: a scale that is not positive, dropout out of range, or images of another shape in `forward`.

    >>> import torch
    >>> net = Classifier(NiN(shape=(3, 32, 32), scale=1.0), classes=10)
    >>> sum(p.numel() for p in net.parameters())  # the published network's
    966986
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, *, shape: tuple[int, int, int], scale: float = 0.25, dropout: float = DROPOUT) -> None:
        require(scale > 0, f"scale is {scale}; it must be positive, and 1 for the published network")
        require(0 <= dropout < 1, f"dropout is {dropout}; it must be at least 0 and below 1")
        sizes = [[max(1, round(scale * maps)) for maps in layers] for layers in MAPS]
        super().__init__(shape=shape, width=sizes[-1][-1])
        channels, *sides = shape
        pools = how_often(min(sides))
        self.layers = nn.Sequential()
        for number, (kernel, maps) in enumerate(zip(KERNELS, sizes, strict=True)):
            self.layers.append(mlpconv(channels, maps, kernel=kernel))
            if number < len(KERNELS) - 1:
                if number < pools:
                    self.layers.append(POOLINGS[number](POOL, STRIDE, ceil_mode=True))
                self.layers.append(nn.Dropout(dropout))
            channels = maps[-1]

    def encode(self, images: Float[Tensor, "B C H W"]) -> Encoded:
        """The last maps' means over all places, and the maps."""
        maps = self.layers(images)
        return Encoded(global_average(maps), maps)


POOLINGS = (nn.MaxPool2d, nn.AvgPool2d)  # after the first and the second mlpconv, as published


def mlpconv(channels: int, maps: list[int], *, kernel: int) -> nn.Sequential:
    """A convolution and then 1×1 convolutions, with a ReLU after each: a perceptron slid over the picture.

    Args:
        channels: of its input.
        maps: how many each layer makes.
        kernel: odd; pixels a side that the first layer sees.

    >>> import torch
    >>> mlpconv(3, [8, 4], kernel=5)(torch.zeros(1, 3, 9, 9)).shape
    torch.Size([1, 4, 9, 9])
    """
    layers = nn.Sequential()
    for made in maps:
        # f_ijn = max(w_nᵀ f_ij + b_n, 0), on a window of x in the first layer
        convolution = nn.Conv2d(channels, made, kernel, padding=kernel // 2)
        kaiming(convolution.weight)
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
        layers.extend([convolution, nn.ReLU()])
        channels, kernel = made, 1
    return layers


def how_often(side: int) -> int:
    """How many poolings, two at the most, leave at least 7 pixels of a side.

    >>> [how_often(side) for side in (8, 14, 25, 28)]
    [0, 1, 1, 2]
    """
    pools = 0
    while pools < len(POOLINGS) and side // STRIDE >= PLACES:
        side, pools = side // STRIDE, pools + 1
    return pools


def class_maps(classifier: Classifier[NiN], images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K h w"]:
    """How much each place speaks for each class; the mean of a map is the logit. No gradient is needed.

    Args:
        classifier: in evaluation mode or not; it is left as it was.
        images: to look at.

    Raises:
        InvalidValue: images of another shape than it was built for.

    >>> import torch
    >>> net, images = Classifier(NiN(shape=(1, 8, 8)), classes=3).eval(), torch.rand(2, 1, 8, 8)
    >>> torch.allclose(class_maps(net, images).mean((2, 3)), net(images), atol=1e-5)
    True
    """
    with evaluating(classifier):
        maps = classifier.encoder.look(images).maps
        # The head is a 1×1 layer: mean_ij(W f_ij + b) = W mean_ij(f_ij) + b.
        return classifier.head(maps.movedim(1, -1)).movedim(-1, 1)
