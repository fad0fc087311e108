"""Transfer: frozen means frozen to the byte, the softmax on it is scikit-learn's, and labels go where they belong."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from neurarium.data.glyphs import DEJAVU, OTHERS, distorted, glyph, printed, printed_digits
from neurarium.data.images import load_images
from neurarium.errors import DataError, InvalidValue
from neurarium.learners.classify import Classify
from neurarium.parts.bundles import Labelled
from neurarium.parts.encoders import Classifier, Encoded, Encoder
from neurarium.parts.frozen import Frozen, digest
from neurarium.recipes.vision.transfer import some_classes, whole_task
from neurarium.systems.vision.lenet import LeNet
from neurarium.systems.vision.transfer import halves, on_frozen, relabelled, transfer_gain


class Normed(Encoder):
    """An encoder with all that training mode changes: batch norm's averages, and dropout."""

    def __init__(self, *, shape: tuple[int, int, int] = (1, 8, 8)) -> None:
        super().__init__(shape=shape, width=6)
        self.layers = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5))

    def encode(self, images: Tensor) -> Encoded:
        maps = self.layers(images)
        return Encoded(maps.mean((2, 3)), maps)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("build", [Normed, LeNet])
@pytest.mark.parametrize("layer", ["features", "maps"])
def test_frozen_weights_stay_byte_identical_while_the_softmax_learns(
    build: type[Normed | LeNet], layer: Literal["features", "maps"], images: Tensor
) -> None:
    torch.manual_seed(0)
    encoder = build(shape=(1, 8, 8))
    net = on_frozen(encoder, classes=3, labelled=images, layer=layer)
    learner = Classify(net, lr=0.1)
    frozen, head, given = digest(net.encoder), digest(net.head), digest(encoder)
    batch = Labelled(images, torch.arange(30) % 3)
    losses = [float(learner.learn(batch)["loss"]) for _ in range(30)]
    assert losses[-1] < losses[0]
    assert digest(net.encoder) == frozen
    assert digest(encoder) == given
    assert digest(net.head) != head


def test_an_unfrozen_encoder_would_have_changed_and_the_digest_sees_it(images: Tensor) -> None:
    net = Classifier(Normed(), classes=3)
    before = digest(net.encoder)
    Classify(net).learn(Labelled(images, torch.arange(30) % 3))
    assert digest(net.encoder) != before


def test_the_encoder_stays_in_evaluation_mode_and_asks_for_no_gradient(images: Tensor) -> None:
    net = on_frozen(Normed(), classes=3, labelled=images).train()
    assert net.training
    assert not net.encoder.encoder.training
    assert torch.equal(net(images), net(images))  # dropout would differ
    net(images).sum().backward()
    assert all(parameter.grad is None for parameter in net.encoder.parameters())
    assert net.head.weight.grad is not None


def test_features_are_the_encoders_own_but_centred_and_of_one_scale(images: Tensor) -> None:
    encoder = Normed().eval()
    plain = encoder(images)
    frozen = Frozen(encoder, like=images)
    torch.testing.assert_close(frozen(images), (plain - plain.mean(0)) / (plain - plain.mean(0)).square().mean().sqrt())
    assert frozen(images).mean(0).abs().max() < 1e-5
    assert Frozen(encoder, like=images, layer="maps").width == 6 * 6 * 6


def test_a_softmax_on_frozen_features_is_scikit_learns_logistic_regression(images: Tensor) -> None:
    torch.manual_seed(0)
    net = on_frozen(LeNet(shape=(1, 8, 8)), classes=2, labelled=images)
    labels = (images.mean((1, 2, 3)) > images.mean()).long()
    # Both minimise Σ cross-entropy + ½‖w‖², ours by steps on it with its own gradient.
    features = net.encoder(images)
    peer = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(features.numpy(), labels.numpy())
    optimizer = torch.optim.LBFGS(
        net.head.parameters(), max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        # Two logits with half the penalty each are one logit of twice their difference.
        loss = nn.functional.cross_entropy(net(images), labels, reduction="sum") + net.head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    ours = torch.softmax(net(images), 1)[:, 1].detach().numpy()
    np.testing.assert_allclose(ours, peer.predict_proba(features.numpy())[:, 1], atol=1e-3)


def test_relabelling_keeps_every_image_with_its_class() -> None:
    digits = load_images("digits", seed=0)
    task = some_classes(digits, (5, 7, 9))
    batch = task.train.take(torch.arange(len(task.train)))
    wanted = torch.isin(digits.train.labels, torch.tensor([5, 7, 9])).nonzero().flatten()
    assert torch.equal(batch.inputs, digits.train.take(wanted).inputs)
    assert torch.equal(torch.tensor([5, 7, 9])[batch.labels], digits.train.labels[wanted])
    assert task.names == tuple(digits.class_names[number] for number in (5, 7, 9))
    assert len(whole_task(digits).train) == len(digits.train)


def test_halves_share_no_class() -> None:
    split = halves(10)
    assert not set(split.source) & set(split.target)
    assert sorted(split.source + split.target) == list(range(10))
    assert transfer_gain(0.5, 0.75) == -0.25


def test_printed_glyphs_repeat_by_seed_and_lie_between_0_and_1() -> None:
    one, same, other = (printed("abO", count=30, seed=seed).all() for seed in (1, 1, 2))
    assert torch.equal(one.inputs, same.inputs)
    assert not torch.equal(one.inputs, other.inputs)
    assert 0 <= one.inputs.min() < 0.01
    assert one.inputs.amax((1, 2, 3)).eq(1).all()
    assert one.labels.bincount().tolist() == [10, 10, 10]
    colour = printed("ab", count=4, shape=(3, 8, 10), seed=0).all().inputs
    assert colour.shape == (4, 3, 8, 10)
    assert torch.equal(colour[:, 0], colour[:, 2])


def test_every_font_has_every_character_and_target_fonts_are_not_the_sources() -> None:
    assert not set(DEJAVU) & set(OTHERS)
    for font in DEJAVU + OTHERS:
        drawn = {bytes(glyph(character, font).numpy()) for character in "0123456789ABDEGHKLMNQRTaeghknrt"}
        assert len(drawn) == len("0123456789ABDEGHKLMNQRTaeghknrt")  # a missing glyph is the same box each time


def test_distortion_keeps_ink_and_printed_digits_split() -> None:
    line = glyph("L", "DejaVuSans")[None, None].float() / 255
    moved = distorted(line.expand(50, 1, -1, -1), generator=torch.Generator().manual_seed(0))
    assert moved.sum((1, 2, 3)).min() > 0.4 * line.sum()
    digits = printed_digits(train=40, test=20, seed=0)
    assert (len(digits.train), len(digits.test), digits.classes) == (40, 20, 10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: printed("", count=1, seed=0), "no character is given"),
        (lambda: printed("abc", count=2, seed=0), "2 images are asked for, but there are 3 characters"),
        (lambda: printed("a", count=2, shape=(1, 0, 8), seed=0), "every side needs at least 1"),
        (lambda: printed("a", count=2, fonts=("Gothic",), seed=0), "no font 'Gothic'"),
        (lambda: halves(3), "3 classes cannot be halved"),
        (lambda: relabelled(torch.tensor([0, 1]), [1, 0]), "in rising order"),
        (lambda: on_frozen(Normed(), classes=1, labelled=torch.rand(2, 1, 8, 8)), "needs at least 2"),
        (lambda: on_frozen(Normed(), classes=2, labelled=torch.rand(2, 1, 9, 9)), "was built for"),
        (lambda: Frozen(Normed(), like=torch.rand(0, 1, 8, 8)), "give at least one"),
        (lambda: Frozen(Normed(), like=torch.rand(2, 1, 8, 8), layer="middle"), "take features or maps"),  # type: ignore[arg-type]
    ],
)
def test_what_a_reader_gets_wrong_is_said(unchecked: None, call: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        call()


def test_a_class_missing_at_test_is_named() -> None:
    digits = load_images("digits", seed=0)
    digits.test.labels[digits.test.labels == 3] = 4
    with pytest.raises(DataError, match="class '3'"):
        some_classes(digits, (2, 3))
