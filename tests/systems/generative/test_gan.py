"""The adversarial game against its theory (Goodfellow et al. 2014, §4) and against a slow copy of its turns."""

import copy
import io
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rich.console import Console
from scipy.spatial.distance import jensenshannon
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from neurarium.errors import InvalidValue
from neurarium.parts.adversarial import Outputs, adam, discriminator_loss, minimax, non_saturating
from neurarium.parts.bundles import Labelled
from neurarium.parts.dense import dense
from neurarium.parts.schedules import cosine
from neurarium.running.catalogue import find
from neurarium.running.loop import Fit
from neurarium.running.pictures import panels
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.generative.gan import (
    Adversarial,
    Discriminator,
    Generator,
    ImageDiscriminator,
    ImageGenerator,
)

COUNTS = arrays("int64", 12, elements=st.integers(1, 30))
SMALL = (16, 16)


def make(**options: object) -> Adversarial:
    torch.manual_seed(0)
    return Adversarial(Generator(hidden=SMALL), Discriminator(hidden=SMALL), **options)  # type: ignore[arg-type]


def real(count: int = 8) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(1)) + 2.0


def gradients(module: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


def weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def normal_counts(mean: float, deviation: float) -> Tensor:
    """A one-dimensional density as counts of samples on a grid, none of them 0."""
    grid = torch.linspace(-4, 4, 41, dtype=torch.float64)
    return (400 * torch.exp(-0.5 * ((grid - mean) / deviation) ** 2)).long() + 1


# The losses.


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=8))
def test_the_losses_are_cross_entropies(values: list[float]) -> None:
    logits = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    ones, zeros = torch.ones_like(logits), torch.zeros_like(logits)
    on_real, on_fake = (binary_cross_entropy_with_logits(logits, target) for target in (ones, zeros))
    pairs = [
        (discriminator_loss(logits, 2 * logits), on_real + binary_cross_entropy_with_logits(2 * logits, zeros)),
        (non_saturating(logits), on_real),
        (minimax(logits), -on_fake),
    ]
    for ours, theirs in pairs:
        # PyTorch's softplus is the identity above 20, an error of e^-20.
        assert torch.allclose(ours, theirs, rtol=1e-8, atol=1e-8)
        slope, wanted = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, theirs))
        assert torch.allclose(slope, wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("loss", [minimax, non_saturating, lambda a: discriminator_loss(a, -a)])
@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_certainty_overflows_nothing(loss: object, logit: float) -> None:
    logits = torch.full((3,), logit, requires_grad=True)
    value = loss(logits)  # type: ignore[operator]
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_the_two_generator_losses_pull_alike_where_the_discriminator_is_undecided() -> None:
    discriminator = nn.Linear(2, 1, bias=False)
    discriminator.weight.data = torch.tensor([[0.0, 1.0]])
    fake = torch.tensor([[1.0, 0.0], [-3.0, 0.0]], requires_grad=True)  # D = 1/2 on both, and steep
    one, other = (
        torch.autograd.grad(loss(discriminator(fake).squeeze(1)), fake)[0] for loss in (minimax, non_saturating)
    )
    assert torch.allclose(one, other)
    assert (one[:, 1] < 0).all()


def test_minimax_goes_flat_where_the_discriminator_wins_and_the_other_does_not() -> None:
    for logit in (-20.0, -3.0, 0.0, 3.0):
        logits = torch.full((1,), logit, dtype=torch.float64, requires_grad=True)
        output = 1 / (1 + math.exp(-logit))
        slopes = [torch.autograd.grad(loss(logits), logits)[0].item() for loss in (minimax, non_saturating)]
        assert slopes == pytest.approx([-output, output - 1], rel=1e-9)
    lost = torch.full((4,), -20.0, requires_grad=True)
    assert torch.autograd.grad(minimax(lost), lost)[0].abs().sum() < 1e-8
    assert torch.autograd.grad(non_saturating(lost), lost)[0].abs().sum() > 0.99


# The optimum.


def test_a_free_discriminator_learns_p_over_p_plus_q() -> None:
    p, q = normal_counts(-0.5, 0.8), normal_counts(1.0, 1.2)
    table = torch.zeros(len(p), dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [table], max_iter=500, tolerance_grad=1e-9, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        search.zero_grad()
        value = discriminator_loss(table.repeat_interleave(p), table.repeat_interleave(q))
        value.backward()
        return value

    search.step(loss)
    share_p, share_q = p.double() / p.sum(), q.double() / q.sum()
    assert torch.allclose(torch.sigmoid(table.detach()), share_p / (share_p + share_q), atol=1e-4)
    assert -loss().item() == pytest.approx(-math.log(4) + 2 * jensenshannon(share_p, share_q) ** 2, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(COUNTS, COUNTS)
def test_the_value_at_the_optimum_is_the_jensen_shannon_divergence(real_counts: object, fake_counts: object) -> None:
    p, q = torch.as_tensor(real_counts), torch.as_tensor(fake_counts)
    share_p, share_q = p.double() / p.sum(), q.double() / q.sum()
    table = (share_p / share_q).log().requires_grad_()
    loss = discriminator_loss(table.repeat_interleave(p), table.repeat_interleave(q))
    loss.backward()
    assert table.grad is not None
    assert table.grad.abs().max() < 1e-12
    assert -loss.item() == pytest.approx(-math.log(4) + 2 * jensenshannon(share_p, share_q) ** 2, abs=1e-9)


# The turns.


@pytest.mark.parametrize("generator_loss", [minimax, non_saturating])
def test_learning_is_the_slow_copy_of_algorithm_1(generator_loss: object) -> None:
    learner = make(lr=1e-2, generator_loss=generator_loss)
    generator, discriminator = copy.deepcopy(learner.generator), copy.deepcopy(learner.discriminator)
    of_d = torch.optim.Adam(discriminator.parameters(), lr=1e-2, betas=(0.5, 0.999))
    of_g = torch.optim.Adam(generator.parameters(), lr=1e-2, betas=(0.5, 0.999))
    for step in range(3):
        torch.manual_seed(step)
        measures = learner.learn((real(),))

        torch.manual_seed(step)
        noise, more = torch.randn(8, 2), torch.randn(8, 2)
        value = logsigmoid(discriminator(real())).mean() + logsigmoid(-discriminator(generator(noise).detach())).mean()
        of_d.zero_grad()
        (-value).backward()
        of_d.step()
        judged = discriminator(generator(more))
        loss = logsigmoid(-judged).mean() if generator_loss is minimax else -logsigmoid(judged).mean()
        of_g.zero_grad()
        loss.backward()
        of_g.step()

        assert float(measures["discriminator_loss"]) == pytest.approx(-value.item(), abs=1e-5)
        assert float(measures["generator_loss"]) == pytest.approx(loss.item(), abs=1e-5)
        assert torch.allclose(weights(learner.generator), weights(generator), atol=1e-5)
        assert torch.allclose(weights(learner.discriminator), weights(discriminator), atol=1e-5)


def test_each_turn_moves_its_own_player_alone() -> None:
    learner = make()
    before = weights(learner.generator)
    learner.discriminate(real())
    assert torch.equal(weights(learner.generator), before)
    assert gradients(learner.generator) == []

    before, left = weights(learner.discriminator), gradients(learner.discriminator)
    assert len(left) == 6
    learner.generate(8)
    assert torch.equal(weights(learner.discriminator), before)
    after = gradients(learner.discriminator)
    assert all(map(torch.equal, left, after))
    assert all(gradient.abs().sum() > 0 for gradient in gradients(learner.generator))


def test_measures_are_the_discriminators_mean_outputs() -> None:
    learner = make(lr=0.0)
    torch.manual_seed(3)
    measures = learner.learn((real(),))
    torch.manual_seed(3)
    noise = learner.generator.draw(8)
    outputs = learner.outputs(real(), noise)
    assert float(measures["real_output"]) == pytest.approx(outputs.real, abs=1e-6)
    assert float(measures["fake_output"]) == pytest.approx(outputs.fake, abs=1e-6)
    assert torch.equal(learner.decode(noise), learner.generator(noise).detach())


def test_rates_follow_the_schedule_and_zero_changes_nothing() -> None:
    learner = make(lr=0.1, schedule=cosine)
    learner.progress = 1.0
    before = weights(learner.generator), weights(learner.discriminator)
    learner.learn((real(),))
    assert torch.equal(weights(learner.generator), before[0])
    assert torch.equal(weights(learner.discriminator), before[1])
    learner.progress = 0.5
    learner.learn((real(),))
    assert learner.generator_optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_labels_are_left_alone() -> None:
    one, other = make(), make()
    for learner, batch in ((one, (real(),)), (other, Labelled(real(), torch.arange(8)))):
        torch.manual_seed(5)
        learner.learn(batch)
    assert torch.equal(weights(one.generator), weights(other.generator))


@pytest.mark.parametrize("count", [1, 3, 64])
@pytest.mark.parametrize("features", [1, 5])
def test_batches_of_any_size_and_samples_of_any_width(count: int, features: int) -> None:
    learner = Adversarial(Generator(noise=3, features=features, hidden=SMALL), Discriminator(features=features))
    learner.learn((torch.randn(count, features),))
    samples = learner.sample(count)
    assert samples.shape == (count, features)
    assert learner.judge(samples).shape == (count,)
    example = learner.example((samples,))
    assert [tuple(value[0].shape) for value in example.values()] == [(count, 3), (count, features)]


def test_a_state_holds_all_that_learning_needs() -> None:
    learner, other = make(), make()
    learner.learn((real(),))
    other.load_state_dict(copy.deepcopy(learner.state_dict()))
    for each in (learner, other):
        torch.manual_seed(1)
        each.learn((real(),))
    assert torch.equal(weights(learner.generator), weights(other.generator))
    assert torch.equal(weights(learner.discriminator), weights(other.discriminator))


# Pictures.


def test_the_game_is_the_same_with_pictures_and_the_mean_draws_them() -> None:
    torch.manual_seed(0)
    shape = (1, 8, 8)
    players = ImageGenerator(shape=shape, noise=4, width=8), ImageDiscriminator(shape=shape, width=4)
    learner = Adversarial(*players, decay=0.9, lr=1e-2)
    images = torch.rand(6, *shape)
    before = weights(learner.generator)
    for _ in range(3):
        learner.learn(Labelled(images, torch.arange(6)))
    assert learner.averaged is not None
    assert (weights(learner.generator) != before).any()
    noise = learner.generator.draw(5)
    with torch.no_grad():
        now, mean = learner.generator(noise), learner.averaged.mean(noise)
    assert torch.equal(learner.decode(noise), mean)
    assert (mean != now).any()
    assert learner.outputs(images, noise).real < 1
    assert {name: getattr(learner, name)(*inputs).shape for name, inputs in learner.example((images,)).items()} == {
        "generator": (6, *shape),
        "discriminator": (6,),
    }
    with pytest.raises(InvalidValue, match="makes points, not pictures"):
        make().draw_images(3, generator=torch.Generator())


@pytest.mark.parametrize("loss", ["minimax", "non_saturating"])
def test_images_are_judged(tmp_path: Path, loss: str) -> None:
    options = {"data": "digits", "steps": 3, "judge_steps": 3, "batch": 8, "width": 8, "loss": loss}
    done = train(find("gan"), options, Settings(device="cpu", threads=1), out=tmp_path)
    assert {"confident", "class_entropy", "copies", "frechet", "frechet_floor"} <= set(done.result["measures"])
    assert (done.folder / "pictures" / "samples.png").exists()


# What is refused, and what is said.


@pytest.mark.usefixtures("unchecked")
def test_bad_values_are_named() -> None:
    learner = make()
    with pytest.raises(InvalidValue, match="the batch is empty"):
        learner.learn((real(0),))
    with pytest.raises(InvalidValue, match=r"real samples are \(3,\), but generated ones \(2,\)"):
        learner.learn((torch.zeros(4, 3),))
    with pytest.raises(InvalidValue, match=r"noise is \(3,\), but this generator was built for \(2,\)"):
        learner.decode(torch.zeros(4, 3))
    with pytest.raises(InvalidValue, match=r"samples are \(1,\), but this discriminator was built for \(2,\)"):
        learner.judge(torch.zeros(4, 1))
    with pytest.raises(InvalidValue, match="noise is 0"):
        Generator(noise=0)
    with pytest.raises(InvalidValue, match=r"sizes \[2, 0, 1\]"):
        dense((2, 0, 1), nn.ReLU)
    with pytest.raises(InvalidValue, match="lr is -1"):
        make(lr=-1.0)


def test_who_has_won() -> None:
    assert Outputs(0.96, 0.04).won
    assert not Outputs(0.96, 0.06).won
    assert not Outputs(0.94, 0.04).won
    assert adam([torch.zeros(1, requires_grad=True)], lr=1.0).param_groups[0]["betas"] == (0.5, 0.999)


def test_a_discriminator_that_has_won_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def idle_generator(fit: Fit) -> None:
        fit.learner.generate = lambda count: {"generator_loss": 0.0}  # type: ignore[attr-defined]

    monkeypatch.setattr("neurarium.recipes.generative.gan.draw_frame", lambda *_, **__: panels()[0])
    said = io.StringIO()
    options = {"steps": 100, "lr": 1e-2, "batch": 64}
    console = Console(file=said, width=400)
    settings = Settings(device="cpu")
    train(find("gan"), options, settings, out=tmp_path, name="won", console=console, before_fit=idle_generator)
    assert "warning: at step 100 the discriminator has won (its mean output is" in said.getvalue()
