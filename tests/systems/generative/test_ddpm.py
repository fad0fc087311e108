import pytest
import torch
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.bundles import Labelled
from neurarium.parts.diffusion import SCHEDULES, Diffusion, Target, linear_betas
from neurarium.systems.generative.ddpm import Denoise, Denoiser

SHAPE = (1, 4, 4)
PREDICTION = {"noise": "epsilon", "data": "sample", "velocity": "v_prediction"}


def learner(*, classes: int = 3, target: Target = "noise", untold: float = 0.1) -> Denoise:
    torch.manual_seed(0)
    network = Denoiser(shape=SHAPE, classes=classes, width=8, factors=(1, 2))
    made = Denoise(network, Diffusion(linear_betas(12), target=target), untold=untold)
    # Last layers begin at 0; only a network that says something of what it is told can be told from another.
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for mine, mean in zip(made.network.parameters(), made.averaged.mean.parameters(), strict=True):
            mean.copy_(mine.normal_(std=0.1, generator=chance))
    return made


def batch(count: int = 6) -> Labelled:
    chance = torch.Generator().manual_seed(2)
    return Labelled(torch.rand(count, *SHAPE, generator=chance), torch.arange(count) % 3)


def drawn(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("target", PREDICTION)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_mixing_and_ancestral_steps_are_those_of_diffusers(target: Target, schedule: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    betas = SCHEDULES[schedule](40)
    peer = diffusers.DDPMScheduler(
        40, trained_betas=betas.numpy(), prediction_type=PREDICTION[target], clip_sample=True
    )
    peer.alphas_cumprod = (1 - betas).cumprod(0)  # it keeps float32; in float64 the two are held to each other
    peer.alphas, peer.betas = 1 - betas, betas
    ours = Diffusion(betas, target=target)
    data, noise = drawn(5).double(), drawn(5, seed=1).double()
    step = torch.tensor([0, 7, 20, 38, 39])
    torch.testing.assert_close(ours.mix(data, step, noise).mixed, peer.add_noise(data, noise, step))
    told = drawn(5, seed=3).double()
    torch.manual_seed(5)
    after = next(ours.denoise(lambda mixed, step: told, noise, eta=1.0))
    torch.manual_seed(5)
    fresh = torch.randn(noise.shape).double()
    peers_mean = peer.step(told, 39, noise, generator=torch.Generator().manual_seed(0)).prev_sample
    chance = torch.randn(noise.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    deviation = peer._get_variance(39) ** 0.5
    torch.testing.assert_close(after - deviation * fresh, peers_mean - deviation * chance, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_few_steps_are_those_of_diffusers(eta: float) -> None:
    diffusers = pytest.importorskip("diffusers")
    betas = linear_betas(40)
    peer = diffusers.DDIMScheduler(40, trained_betas=betas.numpy(), clip_sample=False, set_alpha_to_one=True)
    peer.alphas_cumprod = (1 - betas).cumprod(0)
    peer.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    peer.set_timesteps(10)
    ours = Diffusion(betas, clip=None)
    ours.path = lambda steps=None: peer.timesteps.tolist()  # type: ignore[method-assign]
    mixed = drawn(3).double()
    walk = ours.denoise(lambda mixed, step: 0.3 * mixed, mixed, steps=10, eta=eta)
    torch.manual_seed(7)
    mine = list(walk)
    torch.manual_seed(7)
    for place, step in enumerate(peer.timesteps):
        fresh = torch.randn(mixed.shape).double() if place < 9 and eta > 0 else torch.zeros_like(mixed)
        mixed = peer.step(0.3 * mixed, step, mixed, eta=eta, variance_noise=fresh).prev_sample
        torch.testing.assert_close(mine[place], mixed, atol=1e-9, rtol=1e-9)


def test_guidance_mixes_two_answers() -> None:
    model = learner(target="data")
    noise, labels = drawn(4), torch.tensor([0, 1, 2, 0])
    plain, none, strong = (
        model.sample(noise, labels=labels, eta=0.0, steps=1, guidance=guidance) for guidance in (1.0, 0.0, 2.0)
    )
    untold = model.sample(noise, eta=0.0, steps=1)
    torch.testing.assert_close(none, untold)
    assert not torch.equal(plain, none)
    inside = (strong > 0) & (strong < 1) & (plain > 0) & (plain < 1) & (none > 0) & (none < 1)
    # One step is linear in what is told, where nothing is clipped.
    torch.testing.assert_close((strong - none)[inside], 2 * (plain - none)[inside], atol=1e-4, rtol=1e-3)


def test_without_fresh_noise_a_sample_is_a_function_of_its_noise() -> None:
    model = learner(classes=0)
    one, other = (model.sample(drawn(3), eta=0.0, steps=4) for _ in range(2))
    assert torch.equal(one, other)
    assert 0 <= float(one.min()) <= float(one.max()) <= 1


def test_some_labels_are_kept_from_it_and_the_others_told() -> None:
    model = learner(untold=0.25)
    images = Labelled(torch.rand(4000, *SHAPE), torch.arange(4000) % 3)
    _, _, labels = model.draw(images)
    assert labels is not None
    hidden = labels == 3
    assert float(hidden.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(labels[~hidden], images.labels[~hidden])


def test_it_learns_one_picture_by_heart() -> None:
    torch.manual_seed(0)
    network = Denoiser(shape=SHAPE, width=16, factors=(1, 2))
    model = Denoise(network, Diffusion(linear_betas(20), target="data"), lr=5e-3, decay=0.9)
    picture = (torch.arange(16).view(1, *SHAPE) % 3 == 0).float().expand(16, -1, -1, -1)
    for _ in range(120):
        model.learn(Labelled(picture, torch.zeros(16, dtype=torch.int64)))
    sample = model.sample(drawn(4), steps=10, eta=0.0)
    assert float((sample - picture[:4]).abs().mean()) < 0.1


@pytest.mark.usefixtures("unchecked")
def test_bad_values_are_told() -> None:
    model = learner()
    with pytest.raises(InvalidValue, match="label 7 is none of the 3 classes, 0 to 2"):
        model.sample(drawn(1), labels=torch.tensor([7]))
    with pytest.raises(
        InvalidValue, match="sampling takes 13 steps, but it must be from 1 to the 12 that were trained"
    ):
        model.sample(drawn(1), steps=13)
    with pytest.raises(InvalidValue, match="pictures are 5×5, but 2 stages need multiples of 2"):
        Denoiser(shape=(1, 5, 5), width=8, factors=(1, 2))
    with pytest.raises(InvalidValue, match=r"built for \(1, 4, 4\)"):
        model.network(torch.rand(1, 1, 8, 8), torch.tensor([0]), torch.tensor([0]))
    with pytest.raises(InvalidValue, match="give labels from 0 to 3"):
        model.network(drawn(1), torch.tensor([0]))
    with pytest.raises(InvalidValue, match="label 9 is none"):
        model.learn(batch()._replace(labels=torch.full((6,), 9)))
