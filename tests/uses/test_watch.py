"""Watching: runs that act in environments, learners that play themselves, and what cannot be watched."""

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from PIL import Image

from neurarium.errors import InvalidValue, MissingExtra, RunError
from neurarium.parts.exploration import Acts
from neurarium.parts.games import Chance, Game, Player, Plays
from neurarium.running.catalogue import find
from neurarium.running.run import Run
from neurarium.running.settings import Settings
from neurarium.running.train import open_run, train
from neurarium.uses import scenes
from neurarium.uses.watch import acted, command, film, self_play, watch
from neurarium.worlds.backgammon import Backgammon
from neurarium.worlds.lines import tic_tac_toe

BRIEF: dict[str, dict[str, Any]] = {
    "policy_gradient": {"steps": 1, "copies": 1, "enough": 1, "hidden": 4, "episodes": 1},
    "dqn": {"steps": 1, "copies": 1, "batch": 1, "beginning": 1, "hidden": 4, "episodes": 1},
    "q_learning": {"steps": 40, "learners": 2, "episodes": 2},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A short run of each recipe."""
    out, settings = tmp_path_factory.mktemp("runs"), Settings(device="cpu", threads=1)
    return {
        name: train(find(name), options, settings, out=out, renders=False).folder for name, options in BRIEF.items()
    }


@pytest.mark.parametrize("name", ["policy_gradient", "dqn"])
def test_a_film_of_an_episode_by_the_best_actions(
    name: str, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "deep" / "one.gif"
    assert command([str(runs[name]), "--out", str(place), "--seed", "3", "--episodes", "2"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == str(place)
    learner = next(iter(open_run(runs[name]).fits.values())).learner
    assert isinstance(learner, Acts)
    peer = gymnasium.make("CartPole-v1")
    seen, steps, over = peer.reset(seed=3)[0], 0, False
    while not over:
        seen, _, ended, cut, _ = peer.step(int(learner.best_actions(torch.from_numpy(seen).unsqueeze(0))))
        steps, over = steps + 1, ended or cut
    assert told[0] == f"episode 1: return {steps} in {steps} steps"
    assert told[1].startswith("episode 2: return")
    with Image.open(place) as moving:
        assert getattr(moving, "n_frames", 0) > steps // 2
        assert moving.size == scenes.CART_POLE


def test_frames_of_a_grid(runs: dict[str, Path]) -> None:
    written, [told] = watch(runs["q_learning"], frames=True)
    steps = int(told.split()[-2])
    assert told == f"episode 1: return 0 in {steps} steps"  # after 40 steps it has learned nothing
    assert len(written) == 1 + steps
    assert written[0] == runs["q_learning"] / "frames" / "0001.png"
    with Image.open(written[0]) as frame:
        assert frame.size == (4 * scenes.CELL + 1, 4 * scenes.CELL + scenes.MARGIN)


@pytest.mark.parametrize("environment", ["FrozenLake-v1", "Taxi-v4"])
def test_grids_show_where_one_is(environment: str) -> None:
    chance = torch.Generator().manual_seed(0)
    frames = acted(environment, lambda states: torch.randint(4, states.shape, generator=chance), 1, 0)
    first, *others = [np.asarray(frame.image)[: -scenes.MARGIN] for frame in islice(frames, 20)]
    assert any(not np.array_equal(first, other) for other in others)


class Playing:
    """Plays anything legal."""

    def __init__(self, game: Game) -> None:
        self.game = game

    def player(self, *, generator: torch.Generator) -> Player:
        return Chance(self.game, generator=generator)


def test_a_game_of_a_learner_against_itself() -> None:
    learner = Playing(tic_tac_toe())
    assert isinstance(learner, Plays)
    frames = list(self_play(learner, 2, 0))
    ends = [frame.told for frame in frames if frame.told]
    assert [end[:7] for end in ends] == ["game 1:", "game 2:"]
    assert all(end[8:] in ("the first player wins", "a draw", "the second player wins") for end in ends)
    assert 2 * 6 <= len(frames) <= 2 * 10
    again = list(self_play(learner, 2, 0))
    assert all(np.array_equal(np.asarray(a.image), np.asarray(b.image)) for a, b in zip(frames, again, strict=True))


def test_a_board_that_is_no_board_of_cells_is_written() -> None:
    game = Backgammon(generator=torch.Generator().manual_seed(0))
    image = scenes.board(game, game.start(1), "to begin")
    assert len(np.unique(np.asarray(image))) > 10


@pytest.mark.skipif(find_spec("pygame") is not None, reason="pygame is here, so nothing is missing")
def test_what_an_environment_needs_to_draw_itself_is_named() -> None:
    with pytest.raises(MissingExtra, match=r'Acrobot-v1.* pygame is not installed; pip install "gymnasium\[classic'):
        next(acted("Acrobot-v1", lambda states: torch.zeros(len(states)).long(), 1, 0))


class Lamp(gymnasium.Env[Any, Any]):
    """A light that is switched on; it draws itself without any library."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 100}  # noqa: RUF012 - as Gymnasium wants it

    def __init__(self, render_mode: str | None = None) -> None:
        self.observation_space, self.action_space = spaces.MultiDiscrete([3, 2]), spaces.Discrete(2, start=5)
        self.render_mode, self.light = render_mode, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.array([2, 0]), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.light += int(action) - 5
        return np.array([2, 1]), 1.0, self.light == 20, False, {}

    def render(self) -> Any:
        return np.full((40, 60, 3), 10 * self.light, dtype=np.uint8)


@pytest.fixture
def lamp() -> Iterator[str]:
    """The lamp's id, for as long as a test takes."""
    gymnasium.register("Lamp-v0", entry_point=Lamp)  # type: ignore[arg-type]
    yield "Lamp-v0"
    del gymnasium.registry["Lamp-v0"]


def test_any_other_environment_draws_itself(lamp: str) -> None:
    asked: list[int] = []

    def policy(states: torch.Tensor) -> torch.Tensor:
        asked.extend(states.tolist())
        return torch.ones(len(states), dtype=torch.int64)

    frames = list(acted(lamp, policy, 1, 0))
    assert set(asked) == {4, 5}  # (2, 0) and (2, 1), as digits
    assert frames[-1].told == "episode 1: return 20 in 20 steps"
    assert len(frames) == 1 + 20 // 4  # of 100 a second every fourth
    assert frames[0].milliseconds == 40
    assert np.asarray(frames[-1].image)[20, 30].tolist() == [200, 200, 200]


def test_an_environment_without_pictures_is_refused(lamp: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lamp, "metadata", {"render_modes": ["ansi"]})
    with pytest.raises(InvalidValue, match="'Lamp-v0' cannot be watched: it has no 'rgb_array'"):
        next(acted(lamp, lambda states: states, 1, 0))


def test_runs_and_options_that_do_not_do_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    run = runs["dqn"]
    with pytest.raises(InvalidValue, match="--episodes is 0"):
        watch(run, episodes=0)
    with pytest.raises(InvalidValue, match="--seed is -1"):
        watch(run, seed=-1)
    with pytest.raises(InvalidValue, match=r"one.mp4; a film is a .gif file"):
        watch(run, out=Path("one.mp4"))
    with pytest.raises(RunError, match="is not a run folder"):
        watch(tmp_path)
    with pytest.raises(RunError, match="learned nothing that acts or plays; take a run of policy_gradient"):
        film(Run(tmp_path / "other"), 1, 0)
