"""Pictures drawn by finished runs: in every form, by chance that a seed decides, and what each run does not take."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from neurarium.errors import InvalidValue, RunError
from neurarium.learners.drawing import Draws, Unfolds, takes
from neurarium.parts.diffusion import Diffusion, linear_betas
from neurarium.running.catalogue import find
from neurarium.running.settings import Settings
from neurarium.running.train import train
from neurarium.systems.generative.conditional_gan import ByClass, ClassCritic, ClassGenerator
from neurarium.systems.generative.ddpm import Denoise, Denoiser
from neurarium.systems.generative.gan import Adversarial, Discriminator, Generator
from neurarium.systems.generative.vae import VAE, Variational
from neurarium.uses.sample import command

SHAPE = (1, 8, 8)
BRIEF: dict[str, dict[str, Any]] = {
    "gan": {"data": "digits", "steps": 2, "judge_steps": 2, "batch": 8, "width": 8},
    "conditional_gan": {"steps": 2, "judge_steps": 2, "batch": 8, "width": 8, "judged": 20},
    "vae": {"steps": 2, "draws": 2, "hidden": 8},
    "ddpm": {"steps": 2, "judge_steps": 2, "noise_steps": 6, "sample_steps": 2, "width": 8, "judged": 20},
}
Drawn = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A short run of each recipe."""
    out = tmp_path_factory.mktemp("runs")
    settings = Settings(device="cpu", threads=1)
    return {
        name: train(find(name), options, settings, out=out, renders=False).folder for name, options in BRIEF.items()
    }


@pytest.fixture
def drawn(runs: dict[str, Path], tmp_path: Path) -> Drawn:
    """The numbers of what a run draws for some words."""

    def asked(name: str, *words: str) -> np.ndarray:
        assert command([str(runs[name]), "--form", "npy", "--out", str(tmp_path), *words]) == 0
        return np.load(tmp_path / "samples.npy")

    return asked


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


@pytest.mark.parametrize("name", BRIEF)
def test_the_seed_decides(drawn: Drawn, name: str) -> None:
    one = drawn(name, "--count", "3")
    assert one.shape == (3, *SHAPE)
    assert one.dtype == np.float32
    assert one.min() >= 0
    assert one.max() <= 1
    assert np.array_equal(drawn(name, "--count", "3"), one)
    assert (drawn(name, "--count", "3", "--seed", "1") != one).any()


@pytest.mark.parametrize("name", BRIEF)
def test_a_sheet_lies_in_the_run(runs: dict[str, Path], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command([str(runs[name]), "--count", "20"]) == 0
    columns = 10 if name in ("ddpm", "conditional_gan") else 5  # a class each, where there are classes
    with Image.open(runs[name] / "samples" / "sheet.png") as sheet:
        assert sheet.size == (6 * (columns * 9 - 1), 6 * ((20 // columns) * 9 - 1))
    film = runs[name] / "samples" / "film.gif"
    assert film.exists() == (name == "ddpm")
    assert capsys.readouterr().out.strip().endswith("sheet.png" if name != "ddpm" else str(film.parent))
    if film.exists():
        with Image.open(film) as frames:
            assert getattr(frames, "n_frames", 0) == 7  # noise, and each of 6 steps


def test_single_files_are_the_pictures(runs: dict[str, Path], drawn: Drawn, tmp_path: Path) -> None:
    numbers = drawn("vae", "--count", "11")
    command([str(runs["vae"]), "--count", "11", "--form", "single", "--out", str(tmp_path / "some")])
    files = sorted((tmp_path / "some").iterdir())
    assert [file.name for file in files] == [f"{number:02d}.png" for number in range(1, 12)]
    for file, image in zip(files, numbers, strict=True):
        assert np.abs(pixels(file) / 255 - image[0]).max() <= 0.5 / 255 + 1e-6


def test_a_label_is_asked_for(drawn: Drawn) -> None:
    every = drawn("conditional_gan", "--count", "10")
    sevens = drawn("conditional_gan", "--count", "10", "--label", "7")
    assert np.array_equal(every[7], sevens[7])
    assert (every[6] != sevens[6]).any()


def test_a_sheet_and_numbers_are_the_same_pictures(runs: dict[str, Path], drawn: Drawn, tmp_path: Path) -> None:
    numbers = drawn("ddpm", "--count", "1", "--steps", "3", "--guidance", "2", "--label", "4")
    words = ["--count", "1", "--steps", "3", "--guidance", "2", "--label", "4", "--out", str(tmp_path)]
    command([str(runs["ddpm"]), *words])
    sheet = pixels(tmp_path / "sheet.png")[::6, ::6] / 255
    assert np.abs(sheet - numbers[0, 0]).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("conditional_gan", ("--label", "10"), "label '10' is none of the 10 classes"),
        ("ddpm", ("--label", "seven"), "label 'seven' is none of the 10 classes"),
        ("ddpm", ("--steps", "7"), "6"),
        ("ddpm", ("--steps", "0"), "--steps is 0"),
        ("conditional_gan", ("--steps", "3"), "takes no steps: it draws in one go"),
        ("vae", ("--label", "3"), "takes no labels: it was not told classes"),
        ("gan", ("--guidance", "3"), "takes no guidance"),
        ("gan", ("--count", "0"), "--count is 0"),
        ("gan", ("--seed", "-1"), "--seed is -1"),
        ("vae", ("--prompt", "a"), "--prompt is nothing for a run that draws; it takes --count, --label"),
        ("vae", ("--top-k", "3"), "--top-k is nothing for a run that draws"),
        ("vae", ("--lable", "3"), "did you mean --label"),
    ],
)
def test_what_a_run_does_not_take_is_said_in_one_line(
    runs: dict[str, Path], name: str, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InvalidValue, match=said) as error:
        command([str(runs[name]), *words])
    assert "\n" not in str(error.value)


def test_what_makes_no_pictures_says_so(tmp_path: Path) -> None:
    settings = Settings(device="cpu", threads=1)
    ring = train(find("gan"), {"steps": 2, "batch": 8}, settings, out=tmp_path, renders=False).folder
    with pytest.raises(InvalidValue, match="makes points, not pictures"):
        command([str(ring)])
    options = {"task": "translation", "steps": 2, "judge_steps": 2, "batch": 8, "width": 8}
    translation = train(find("conditional_gan"), options, settings, out=tmp_path, renders=False).folder
    with pytest.raises(RunError, match="trained nothing that writes or draws"):
        command([str(translation)])


def test_a_network_without_classes_is_asked_for_none() -> None:
    learner = Denoise(Denoiser(shape=SHAPE, width=8, factors=(1, 2)), Diffusion(linear_betas(4)))
    chance = torch.Generator().manual_seed(0)
    assert learner.draw_images(2, generator=chance).shape == (2, *SHAPE)
    with pytest.raises(InvalidValue, match="was not told classes"):
        learner.draw_images(2, generator=chance, labels=torch.tensor([0, 1]))


def test_learners_say_what_they_take() -> None:
    diffusion = Denoise(Denoiser(shape=SHAPE, width=8, factors=(1, 2)), Diffusion(linear_betas(4)))
    players = ClassGenerator(shape=SHAPE, classes=2, width=8), ClassCritic(shape=SHAPE, classes=2, width=8)
    others = (Adversarial(Generator(), Discriminator()), Variational(VAE(shape=SHAPE)), ByClass(*players))
    assert all(isinstance(learner, Draws) for learner in (diffusion, *others))
    assert [isinstance(learner, Unfolds) for learner in (diffusion, *others)] == [True, False, False, False]
    assert takes(diffusion, {"steps": 2, "guidance": 1.5, "labels": None}) == {"steps": 2, "guidance": 1.5}
