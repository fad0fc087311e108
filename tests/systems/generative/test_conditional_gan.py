"""The conditional game: against a slow copy of its turns, and what asking changes."""

import copy
import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from neurarium.errors import InvalidValue
from neurarium.parts.adversarial import LOSSES
from neurarium.parts.bundles import Labelled, Paired
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.generative.conditional_gan import (
    ByClass,
    ByPicture,
    ClassCritic,
    ClassGenerator,
    PairCritic,
    Telling,
    Translator,
)

SHAPE = (1, 8, 8)
BRIEF = {"steps": 4, "judge_steps": 2, "width": 8, "batch": 8, "judged": 20}


def by_class(*, telling: Telling = "projection", loss: str = "non_saturating", lr: float = 1e-2) -> ByClass:
    torch.manual_seed(0)
    generator = ClassGenerator(shape=SHAPE, classes=3, noise=4, width=8)
    critic = ClassCritic(shape=SHAPE, classes=3, width=4, telling=telling, dropout=0.0)
    return ByClass(generator, critic, generator_loss=LOSSES[loss], lr=lr)


def by_picture(*, distance: float = 10.0, loss: str = "non_saturating") -> ByPicture:
    torch.manual_seed(0)
    players = Translator(given=SHAPE, channels=1, width=8), PairCritic(shape=(2, 8, 8), width=4)
    return ByPicture(*players, distance=distance, generator_loss=LOSSES[loss], lr=1e-2)


def labelled(count: int = 6) -> Labelled:
    return Labelled(torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1)), torch.arange(count) % 3)


def paired(count: int = 6) -> Paired:
    return Paired(labelled(count).inputs, 1 - labelled(count).inputs)


def weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


# The turns.


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("telling", ["projection", "concatenation"])
def test_learning_is_the_slow_copy(loss: str, telling: Telling) -> None:
    learner, (images, labels) = by_class(telling=telling, loss=loss), labelled()
    generator, critic = copy.deepcopy(learner.generator), copy.deepcopy(learner.discriminator)
    of_d = torch.optim.Adam(critic.parameters(), lr=1e-2, betas=(0.5, 0.999))
    of_g = torch.optim.Adam(generator.parameters(), lr=1e-2, betas=(0.5, 0.999))
    for step in range(2):
        torch.manual_seed(step)
        learner.learn(labelled())
        torch.manual_seed(step)
        noise, more = torch.randn(6, 4), torch.randn(6, 4)
        fake = generator(noise, labels).detach()
        of_d.zero_grad()
        (-logsigmoid(critic(images, labels)).mean() - logsigmoid(-critic(fake, labels)).mean()).backward()
        of_d.step()
        on_fake = critic(generator(more, labels), labels)
        of_g.zero_grad()
        (logsigmoid(-on_fake).mean() if loss == "minimax" else -logsigmoid(on_fake).mean()).backward()
        of_g.step()
        assert torch.allclose(weights(learner.generator), weights(generator), atol=1e-4)
        assert torch.allclose(weights(learner.discriminator), weights(critic), atol=1e-4)


def test_translation_is_the_slow_copy() -> None:
    learner, (given, wanted) = by_picture(), paired()
    generator, critic = copy.deepcopy(learner.generator), copy.deepcopy(learner.discriminator)
    of_d = torch.optim.Adam(critic.parameters(), lr=1e-2, betas=(0.5, 0.999))
    of_g = torch.optim.Adam(generator.parameters(), lr=1e-2, betas=(0.5, 0.999))
    measures = learner.learn(paired())
    fake = generator(given).detach()
    (-logsigmoid(critic(wanted, given)).mean() - logsigmoid(-critic(fake, given)).mean()).backward()
    of_d.step()
    made = generator(given)
    far = (made - wanted).abs().mean()
    of_g.zero_grad()
    (-logsigmoid(critic(made, given)).mean() + 10.0 * far).backward()
    of_g.step()
    assert float(measures["l1"]) == pytest.approx(far.item(), abs=1e-6)
    assert torch.allclose(weights(learner.generator), weights(generator), atol=1e-4)
    assert torch.allclose(weights(learner.discriminator), weights(critic), atol=1e-4)


def test_the_projection_is_the_direction_of_its_class() -> None:
    critic = by_class().discriminator
    assert isinstance(critic, ClassCritic)
    assert critic.label is not None
    images, labels = labelled()
    features = critic.body(images)
    wanted = [critic.head.weight[0] @ row + critic.head.bias[0] for row in features]
    wanted = [a + critic.label.weight[label] @ row for a, row, label in zip(wanted, features, labels, strict=True)]
    assert torch.allclose(critic(images, labels), torch.stack(wanted), atol=1e-5)


@pytest.mark.parametrize("telling", ["projection", "concatenation"])
def test_what_is_told_matters_to_both(telling: Telling) -> None:
    learner = by_class(telling=telling)
    images, labels = labelled()
    noise, other = torch.randn(6, 4), (labels + 1) % 3
    assert (learner.decode(noise, labels) != learner.decode(noise, other)).any()
    assert (learner.discriminator(images, labels) != learner.discriminator(images, other)).all()
    pairs = by_picture()
    assert (pairs.discriminator(images, images) != pairs.discriminator(images, 1 - images)).any()


def test_pictures_come_from_the_running_mean() -> None:
    learner = by_class()
    learner.learn(labelled())
    noise, labels = torch.randn(6, 4), labelled().labels
    with torch.no_grad():
        now, mean = learner.generator(noise, labels), learner.averaged.mean(noise, labels)
    assert torch.equal(learner.decode(noise, labels), mean)
    assert (now != mean).any()


@pytest.mark.parametrize("sides", [(8, 8), (6, 10), (7, 9), (4, 12)])
def test_translation_takes_pictures_of_all_sides(sides: tuple[int, int]) -> None:
    translator = Translator(given=(2, *sides), channels=3, width=8)
    made = translator(torch.rand(2, 2, *sides))
    assert made.shape == (2, 3, *sides)
    assert PairCritic(shape=(5, *sides), width=4)(made, torch.rand(2, 2, *sides)).shape[0] == 2


def test_a_state_holds_all_that_learning_needs() -> None:
    for learner, other, batch in ((by_class(), by_class(), labelled()), (by_picture(), by_picture(), paired())):
        learner.learn(batch)
        other.load_state_dict(copy.deepcopy(learner.state_dict()))
        for each in (learner, other):
            torch.manual_seed(1)
            each.learn(batch)
        assert torch.equal(weights(learner.averaged.mean), weights(other.averaged.mean))
        for name, inputs in learner.example(batch).items():
            assert len(getattr(learner, name)(*inputs)) == 6


# What is refused, and what is said.


@pytest.mark.usefixtures("unchecked")
def test_bad_values_are_named() -> None:
    learner = by_class()
    with pytest.raises(InvalidValue, match="the batch is empty"):
        learner.learn(labelled(0))
    with pytest.raises(InvalidValue, match=r"real pictures are \(1, 4, 4\), but made ones \(1, 8, 8\)"):
        learner.learn(Labelled(torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)))
    with pytest.raises(InvalidValue, match=r"the labels have shape \(2, 1\); give one number for each picture"):
        learner.learn(Labelled(torch.zeros(2, *SHAPE), torch.zeros(2, 1, dtype=torch.int64)))
    with pytest.raises(InvalidValue, match="label 3 is none of the 3 classes, 0 to 2"):
        learner.decode(torch.zeros(1, 4), torch.tensor([3]))
    with pytest.raises(InvalidValue, match=r"noise is \(5,\), but this generator was built for \(4,\)"):
        learner.decode(torch.zeros(1, 5), torch.tensor([0]))
    with pytest.raises(InvalidValue, match=r"built for \(1, 8, 8\)"):
        by_picture().translate(torch.zeros(1, 1, 4, 4))
    with pytest.raises(InvalidValue, match="distance is -1"):
        by_picture(distance=-1.0)
    with pytest.raises(InvalidValue, match="width is 12; it must be a positive multiple of 8"):
        ClassGenerator(shape=SHAPE, classes=3, width=12)
    with pytest.raises(InvalidValue, match="lr is -1"):
        by_class(lr=-1.0)
    with pytest.raises(InvalidValue, match="telling is 'word'"):
        by_class(telling="word")  # type: ignore[arg-type]


def test_a_discriminator_that_has_won_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def certain(critic: ClassCritic, images: Tensor, labels: Tensor) -> Tensor:
        # The embedded digits have 17 greys; what is made has others.
        return 16.0 * ((16 * images).frac() == 0).flatten(1).all(1).float() - 8.0

    monkeypatch.setattr(ClassCritic, "forward", certain)
    said = io.StringIO()
    console = Console(file=said, width=400)
    train(find("conditional_gan"), {**BRIEF, "steps": 0}, Settings(device="cpu"), out=tmp_path, console=console)
    assert "warning: at step 0 the discriminator has won (its mean output is 1.000 on real, 0.000" in said.getvalue()


# The recipe.


def test_translation_beats_a_guess_and_its_control_does_not(tmp_path: Path) -> None:
    options = {**BRIEF, "task": "translation", "steps": 30, "size": 8, "batch": 16, "lr": 1e-2}
    settings = Settings(device="cpu", threads=1)
    measured = [
        train(find("conditional_gan"), {**options, **more}, settings, out=tmp_path, renders=False).result["measures"]
        for more in ({}, {"shuffle_labels": True})
    ]
    learned, control = measured
    assert learned["l1_gain"] > 0.1 > control["l1_gain"]


def test_two_folders_are_translated(tmp_path: Path) -> None:
    for number in range(8):
        for name in ("a", "b"):
            file = tmp_path / name / f"{number}.png"
            file.parent.mkdir(exist_ok=True)
            Image.new("L", (8, 8), 20 * number).save(file)
    options = {**BRIEF, "task": "translation", "data": f"pairs:{tmp_path / 'a'},{tmp_path / 'b'}"}
    done = train(find("conditional_gan"), options, Settings(device="cpu", threads=1), out=tmp_path)
    assert set(done.result["measures"]) == {"test_l1", "l1_gain"}
    assert (done.folder / "pictures" / "translations.png").exists()


def test_pairs_have_no_classes(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="has no classes; say --task translation"):
        train(find("conditional_gan"), {"data": "pairs:a,b"}, Settings(device="cpu"), out=tmp_path)
