import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from neurarium.errors import InvalidValue
from neurarium.parts.encoders import Classifier, Encoded, Encoder
from neurarium.parts.evidence import evidence, weighed


class Pooled(Encoder):
    """Two maps of one convolution, averaged."""

    def __init__(self, *, shape: tuple[int, int, int]) -> None:
        super().__init__(shape=shape, width=2, smallest=2)
        self.convolve = nn.Conv2d(shape[0], 2, 1)

    def encode(self, images: Tensor) -> Encoded:
        maps = self.convolve(images)
        return Encoded(maps.mean((2, 3)), maps)


def test_a_classifier_is_an_encoder_and_a_head() -> None:
    net = Classifier(Pooled(shape=(3, 4, 4)), classes=5)
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(net(images), net.head(net.encoder(images)))
    assert [name for name, _ in net.named_parameters()] == [
        *("encoder.convolve.weight", "encoder.convolve.bias"),
        *("head.weight", "head.bias"),
    ]


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="images are 1×8 pixels; Pooled needs at least 2×2"):
        Pooled(shape=(1, 1, 8))
    with pytest.raises(InvalidValue, match="images have 0 channels; Pooled needs at least 1"):
        Pooled(shape=(0, 8, 8))
    net = Pooled(shape=(1, 8, 8))
    for shape in [(3, 8, 8), (1, 4, 8)]:
        with pytest.raises(InvalidValue, match=rf"images are \({shape[0]}, {shape[1]}, 8\), but this Pooled was built"):
            net(torch.zeros(2, *shape))
    with pytest.raises(InvalidValue, match="classes is 1; a classifier needs at least 2"):
        Classifier(net, classes=1)
    with pytest.raises(InvalidValue, match=r"dropout is 1\.0; it must be at least 0 and below 1"):
        Classifier(net, classes=2, dropout=1.0)


@given(seed=st.integers(0, 100), asked=st.integers(0, 2))
def test_of_averaged_maps_the_evidence_is_their_sum_by_the_head(seed: int, asked: int) -> None:
    # Where features are means of maps, the slopes are the head's weights: class activation maps (Zhou et al. 2016).
    torch.manual_seed(seed)
    net = Classifier(Pooled(shape=(1, 4, 4)), classes=3)
    images = torch.rand(2, 1, 4, 4)
    heat = evidence(net, images, torch.full((2,), asked))
    activation = torch.relu(torch.einsum("m,bmhw->bhw", net.head.weight[asked], net.encoder.look(images).maps))
    wanted = activation / activation.amax((1, 2), keepdim=True).clamp(min=1e-12)
    assert torch.allclose(heat, wanted.detach(), atol=1e-5)


def test_evidence_leaves_the_network_as_it_was() -> None:
    net = Classifier(Pooled(shape=(1, 4, 4)), classes=3).train()
    heat = evidence(net, torch.rand(2, 1, 4, 4), torch.tensor([0, 2]))
    assert net.training
    assert all(parameter.grad is None for parameter in net.parameters())
    assert heat.shape == (2, 4, 4)
    assert not heat.requires_grad
    assert 0 <= heat.min() <= heat.max() <= 1


def test_what_speaks_against_a_class_is_no_evidence() -> None:
    assert weighed(torch.ones(1, 1, 2, 2), -torch.ones(1, 1, 2, 2)).sum() == 0
