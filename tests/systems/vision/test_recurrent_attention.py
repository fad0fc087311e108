import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal
from torch.nn.functional import avg_pool2d, cross_entropy, pad

from neurarium.data.images import load_images
from neurarium.errors import InvalidValue
from neurarium.parts.bundles import Labelled
from neurarium.recipes.vision.recurrent_attention import strewn
from neurarium.systems.vision.recurrent_attention import (
    CAUTION,
    Attend,
    RecurrentAttention,
    Retina,
    correct,
    log_density,
    reinforce,
)


def small(*, glimpses: int = 3, deviation: float = 0.15) -> RecurrentAttention:
    return RecurrentAttention(
        shape=(1, 12, 12), classes=4, glimpses=glimpses, patch=4, scales=2, units=8, deviation=deviation
    )


def examples(count: int = 6) -> Labelled:
    return Labelled(torch.rand(count, 1, 12, 12), torch.arange(count) % 4)


def cut(image: Tensor, *, top: int, left: int, patch: int, scale: int) -> Tensor:
    """A patch the slow way: cut the square out of a picture with a wide dark border, and average its blocks."""
    wide = patch * 2**scale
    border = 4 * wide
    bordered = pad(image, (border,) * 4)
    square = bordered[:, top + border : top + border + wide, left + border : left + border + wide]
    return avg_pool2d(square, 2**scale)


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(4, 12),
    width=st.integers(4, 12),
    channels=st.integers(1, 3),
    half_patch=st.integers(1, 3),
    scales=st.integers(1, 3),
    row=st.floats(0, 1),
    column=st.floats(0, 1),
)
def test_a_glimpse_is_squares_cut_out_and_averaged(
    height: int, width: int, channels: int, half_patch: int, scales: int, row: float, column: float
) -> None:
    patch = 2 * half_patch
    images = torch.rand(2, channels, height, width, dtype=torch.float64)
    retina = Retina(patch=patch, scales=scales)
    across, down = round(column * width), round(row * height)  # a place between pixels, that all blocks begin at one
    place = torch.tensor([2 * across / width - 1, 2 * down / height - 1], dtype=torch.float64).expand(2, 2)
    seen = retina(retina.survey(images), place)
    for image, patches in zip(images, seen, strict=True):
        for scale in range(scales):
            reach = patch * 2**scale // 2
            slow = cut(image, top=down - reach, left=across - reach, patch=patch, scale=scale)
            assert torch.allclose(patches[scale], slow, atol=1e-10)


def test_every_picture_is_looked_at_in_its_own_place() -> None:
    retina = Retina(patch=4, scales=2)
    images, places = torch.rand(5, 1, 12, 10), torch.rand(5, 2) * 2 - 1
    together = retina(retina.survey(images), places)
    for number in range(5):
        one = slice(number, number + 1)
        assert torch.allclose(retina(retina.survey(images[one]), places[one]), together[one], atol=1e-6)


def test_half_a_pixel_on_is_the_mean_of_two_glimpses() -> None:
    retina = Retina(patch=4, scales=2)
    survey = retina.survey(torch.rand(1, 1, 16, 16))
    places = [torch.tensor([[x / 8, 0.0]]) for x in (2.0, 2.5, 3.0)]
    left, between, right = (retina(survey, place) for place in places)
    assert torch.allclose(between, (left + right) / 2, atol=1e-6)


def test_the_density_is_that_of_a_normal() -> None:
    places, means = torch.randn(4, 3, 2), torch.randn(4, 3, 2)
    theirs = Normal(means, 0.2).log_prob(places).sum(2)
    assert torch.allclose(log_density(places, means, deviation=0.2), theirs, atol=1e-4)


def test_reinforce_estimates_the_slope_of_the_expected_reward() -> None:
    # One place a picture, reward −|l − 1|² for l ~ N(μ, σ²I): the expected reward is −|μ − 1|² − 2σ².
    torch.manual_seed(0)
    deviation = 0.5
    mean = torch.tensor([0.3, -0.4], requires_grad=True)
    means = mean.expand(200_000, 1, 2)
    places = (means + deviation * torch.randn_like(means)).detach()
    rewards = -(places[:, 0] - 1).square().sum(1)
    densities = log_density(places, means, deviation=deviation)
    (slope,) = torch.autograd.grad(reinforce(densities, rewards, rewards.mean().expand(200_000, 1)), mean)
    assert torch.allclose(-slope, -2 * (mean.detach() - 1), atol=0.05)


def test_the_baseline_moves_no_place_on_average_and_gets_no_slope_from_reinforce() -> None:
    baselines = torch.zeros(3, 2, requires_grad=True)
    densities = torch.zeros(3, 2, requires_grad=True)
    reinforce(densities, torch.tensor([1.0, 0.0, 1.0]), baselines).backward()
    assert baselines.grad is None
    assert densities.grad is not None
    assert torch.allclose(densities.grad, -torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]) / 3)


def slopes(loss: Tensor, net: RecurrentAttention) -> dict[str, bool]:
    """For every parameter, whether the loss reaches it at all."""
    names, values = zip(*net.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, values, allow_unused=True, retain_graph=True)
    return {name: slope is not None for name, slope in zip(names, found, strict=True)}


def test_each_loss_reaches_its_own_parameters_and_no_others() -> None:
    # The oracle of the whole: what is learned by cross-entropy, where by REINFORCE, the expectation by squared error.
    torch.manual_seed(0)
    net = small()
    images, labels = examples()
    seen = net.look(images, explore=True)
    what = slopes(cross_entropy(seen.logits[:, -1], labels), net)
    densities = log_density(seen.places, seen.means, deviation=net.deviation)
    where = slopes(reinforce(densities, correct(seen.logits[:, -1], labels), seen.baselines), net)
    expected = slopes(seen.baselines.square().mean(), net)
    parts = {"what": {"glimpse", "lower", "classes"}, "where": {"context", "upper", "emission"}, "worth": {"baseline"}}
    for reached, part in ((what, "what"), (where, "where"), (expected, "worth")):
        assert {name.split(".")[0] for name, yes in reached.items() if yes} == parts[part]
        assert all(yes for name, yes in reached.items() if name.split(".")[0] in parts[part])


def test_without_reward_the_classes_teach_but_no_place_moves() -> None:
    torch.manual_seed(0)
    net = small()
    torch.nn.init.zeros_(net.baseline.weight)
    torch.nn.init.zeros_(net.baseline.bias)
    learner = Attend(net, reward=lambda logits, labels: torch.zeros(len(labels)), lr=1e-2)
    before = {name: value.clone() for name, value in net.named_parameters()}
    learner.learn(examples())
    learner.learn(examples())
    where = set(map(id, net.where()))
    for name, value in net.named_parameters():
        still = id(value) in where or name.startswith("baseline")
        assert torch.equal(value, before[name]) == still, name


def test_places_that_are_explored_spread_by_the_deviation_and_else_are_the_means() -> None:
    torch.manual_seed(0)
    net = small(deviation=0.2)
    images = examples(200).inputs
    explored = net.look(images, explore=True)
    assert (explored.places - explored.means).std().item() == pytest.approx(0.2, rel=0.1)
    looked = net.look(images)
    assert torch.equal(looked.places, looked.means)
    assert torch.equal(net(images), looked.logits[:, -1])


def test_the_context_is_hidden_from_the_classes() -> None:
    # With the gaze held still, what only the context can see must not change the answer.
    torch.manual_seed(0)
    net = small(glimpses=2)
    one = torch.zeros(1, 1, 12, 12)
    other = one.clone()
    other[:, :, 0, 0] = 1.0  # the centre's 8×8 pixels do not reach the corner
    assert torch.equal(net(one), net(other))
    assert not torch.equal(net.look(one).baselines, net.look(other).baselines)


def test_one_optimiser_learns_where_at_a_share_of_the_rate() -> None:
    learner = Attend(small(), lr=1e-2)
    measures = learner.learn(examples())
    assert [group["lr"] for group in learner.optimizer.param_groups] == [1e-2, CAUTION * 1e-2]
    assert set(measures) == {"loss", "accuracy", "reward", "baseline", "surprise"}


@pytest.mark.parametrize(("places", "copies"), [(0, 1), (3, 3)])
def test_strewn_pictures_lie_whole_in_the_field(places: int, copies: int) -> None:
    images = load_images("digits", seed=0).test
    field = strewn(images, side=20, places=places, generator=torch.Generator().manual_seed(0))
    assert len(field) == copies * len(images)
    whole = images.all()
    for number, chunk in enumerate(field.chunks(len(images))):
        assert chunk.inputs.shape == (len(images), 1, 20, 20)
        assert torch.equal(chunk.labels, whole.labels)
        assert torch.allclose(chunk.inputs.sum((1, 2, 3)), whole.inputs.sum((1, 2, 3)), atol=1e-4)
        top, left = field.corners[number * len(images)].tolist()
        assert torch.equal(chunk.inputs[0, :, top : top + 8, left : left + 8], whole.inputs[0])


def test_a_field_no_larger_than_the_picture_has_one_place() -> None:
    images = load_images("digits", seed=0).test
    field = strewn(images, side=8, places=64, generator=torch.Generator().manual_seed(0))
    assert len(field) == len(images)
    assert torch.equal(field.take(torch.arange(5)).inputs, images.take(torch.arange(5)).inputs)


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(InvalidValue, match="glimpses is 0; nothing can be named without at least 1"):
        small(glimpses=0)
    with pytest.raises(InvalidValue, match=r"deviation is 0\.0; without chance no better place is ever found"):
        small(deviation=0.0)
    with pytest.raises(InvalidValue, match="patch is 0; a retina needs at least 1 pixel a side"):
        Retina(patch=0, scales=1)
    with pytest.raises(InvalidValue, match="scales is 0; a retina needs at least 1"):
        Retina(patch=4, scales=0)
    with pytest.raises(InvalidValue, match=r"pictures are \(1, 8, 8\), but this network was built for \(1, 12, 12\)"):
        small()(torch.zeros(2, 1, 8, 8))
    with pytest.raises(InvalidValue, match="the batch is empty; pictures and labels need at least one example"):
        Attend(small()).learn(examples(0))
    with pytest.raises(InvalidValue, match=r"lr is -1\.0, but must not be negative"):
        Attend(small(), lr=-1.0)
    with pytest.raises(InvalidValue, match="field is 6, but the images are 8×8; take a larger --field"):
        strewn(load_images("digits", seed=0).test, side=6, places=1, generator=torch.Generator())
