from math import log, pi

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy

from neurarium.errors import InvalidValue
from neurarium.parts.bundles import Labelled
from neurarium.systems.generative.vae import VAE, Code, Likelihood, Variational

SHAPE = (1, 4, 4)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pictures(count: int) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(3))


def learner(
    likelihood: Likelihood = "bernoulli", *, beta: float = 1.0, binarise: bool = True, lr: float = 1e-3
) -> Variational:
    torch.manual_seed(0)
    net = VAE(shape=SHAPE, latent=3, hidden=(16,), likelihood=likelihood)
    return Variational(net, beta=beta, binarise=binarise, lr=lr)


@given(seed=st.integers(0, 1000))
def test_the_distance_from_the_prior_is_that_of_distributions(seed: int) -> None:
    code = Code(drawn(5, 3, seed=seed), drawn(5, 3, seed=seed + 1))
    wanted = kl_divergence(Normal(code.mean, (0.5 * code.log_variance).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(code.divergence(), wanted)
    assert bool((code.divergence() >= 0).all())


def test_codes_have_the_mean_and_spread_that_the_encoder_names() -> None:
    code = Code(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, log(4.0)]]))
    codes = code.draw(drawn(40_000, 1, 2))
    torch.testing.assert_close(codes.mean(0), code.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(codes.std(0), torch.tensor([[1.0, 2.0]]), atol=0.03, rtol=0)


def test_pixels_are_as_likely_as_distributions_say() -> None:
    told, pixels = drawn(4, 16), (drawn(4, 16, seed=1) > 0).float()
    net = learner().model
    torch.testing.assert_close(net.log_likelihood(told, pixels), Bernoulli(logits=told).log_prob(pixels).sum(1))
    net = learner("gaussian").model
    greys = pictures(4).flatten(1)
    torch.testing.assert_close(net.log_likelihood(told, greys), Normal(told, 0.1).log_prob(greys).sum(1))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 100), likelihood=st.sampled_from(["bernoulli", "gaussian"]))
def test_more_draws_come_nearer_to_the_truth_and_none_beats_the_bound(seed: int, likelihood: Likelihood) -> None:
    """−log p(x) by importance sampling falls (in the mean) with the number of draws; one draw is the bound itself."""
    model, images = learner(likelihood), pictures(200)
    few, many = (
        model.likelihood(images, draws=draws, generator=torch.Generator().manual_seed(seed)).mean()
        for draws in (1, 200)
    )
    bound = model.evaluate(
        [Labelled(images, torch.zeros(200, dtype=torch.int64))], generator=torch.Generator().manual_seed(seed)
    )["negative_elbo"]
    assert float(many) < float(few)
    assert float(many) <= bound


def test_the_likelihood_of_a_linear_decoder_is_the_exact_one() -> None:
    """With a linear Gaussian decoder p(x) is a Gaussian: N(b, W Wᵀ + σ² I)."""
    model = learner("gaussian")
    net = model.model
    layer = torch.nn.Linear(3, 16)
    with torch.no_grad():
        layer.weight.mul_(0.3)
    net.decoder = torch.nn.Sequential(layer)
    assert net.log_deviation is not None
    with torch.no_grad():
        net.log_deviation.fill_(log(0.5))
    images = pictures(6)
    far = (images.flatten(1) - layer.bias).double()
    spread = (layer.weight @ layer.weight.T).double() + 0.25 * torch.eye(16, dtype=torch.float64)
    exact = 0.5 * ((far @ spread.inverse() * far).sum(1) + spread.logdet() + 16 * log(2 * pi))
    found = model.likelihood(images, draws=20_000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.double(), exact.detach(), atol=0.1, rtol=0)


def test_greys_that_stay_grey_cost_what_they_do_in_pytorchs_example() -> None:
    model, images, noise = learner(binarise=False), pictures(6), drawn(6, 3)
    bound = model.bound(images, None, noise)
    mean, log_variance = model.model.encode(images)
    back = torch.sigmoid(model.model.decode(mean + noise * torch.exp(0.5 * log_variance)))
    loss = binary_cross_entropy(back, images.flatten(1), reduction="sum")
    loss = loss - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    torch.testing.assert_close(bound.negative_elbo.sum(), loss)


def test_a_weight_of_nothing_lets_codes_go_and_a_large_one_brings_them_to_the_prior() -> None:
    batch = Labelled(pictures(64), torch.zeros(64, dtype=torch.int64))
    ends = []
    for beta in (0.0, 50.0):
        model = learner(beta=beta, lr=1e-2)
        for _ in range(150):
            measures = model.learn(batch)
        ends.append(float(measures["divergence"]))
    assert ends[1] < 0.05 < 1.0 < ends[0]


def test_samples_are_pictures_and_the_same_for_the_same_seed() -> None:
    model = learner("gaussian")
    one, other = (model.sample(5, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, other)
    assert one.shape == (5, *SHAPE)
    assert float(one.min()) >= 0.0
    assert float(one.max()) <= 1.0


@pytest.mark.usefixtures("unchecked")
def test_bad_values_are_told() -> None:
    model = learner()
    bright = Labelled(255 * torch.eye(4).expand(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(InvalidValue, match="pixels reach from 0 to 255, but must lie from 0 to 1; divide them by 255"):
        model.learn(bright)
    with pytest.raises(InvalidValue, match=r"pictures are \(1, 5, 5\), but this network was built for \(1, 4, 4\)"):
        model.encode(torch.rand(1, 1, 5, 5))
    with pytest.raises(InvalidValue, match="likelihood is 'poisson'; choose bernoulli or gaussian"):
        VAE(shape=SHAPE, likelihood="poisson")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="draws is 0"):
        model.likelihood(pictures(1), draws=0, generator=torch.Generator())
    with pytest.raises(InvalidValue, match="beta is -1"):
        learner(beta=-1.0)
