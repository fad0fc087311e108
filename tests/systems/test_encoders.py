import pytest
import torch

from neurarium.errors import InvalidValue
from neurarium.parts.encoders import Encoder
from neurarium.systems.encoders import build_encoder, encoder_class, encoder_names, options_of
from neurarium.systems.vision.lenet import LeNet


def test_an_encoder_by_its_name() -> None:
    assert isinstance(build_encoder("lenet", shape=(1, 8, 8)), LeNet)


@pytest.mark.parametrize("name", encoder_names())
def test_every_encoder_reads_small_images_and_says_how_wide_its_features_are(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(name, shape=(3, 32, 32)).eval()
    images = torch.rand(2, 3, 32, 32)
    features, maps = encoder.look(images)
    assert features.shape == (2, encoder.width)
    assert torch.equal(encoder(images), features)
    assert maps.ndim == 4
    features.sum().backward()
    assert all(value in (int, float, str, bool) for value in options_of(type(encoder)).values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lenett", "there is no encoder 'lenett'; did you mean 'lenet'"),
        ("lenet:depth=3", "'depth=3' is no option of the encoder lenet; write option=value; it has none"),
    ],
)
def test_what_does_not_exist_is_refused_with_the_nearest(text: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        build_encoder(text, shape=(1, 8, 8))


def test_a_file_is_found_by_its_name_alone() -> None:
    assert "lenet" in encoder_names()
    assert "encoders" not in encoder_names()
    assert issubclass(encoder_class("lenet"), Encoder)
