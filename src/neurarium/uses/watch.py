"""Watch: a finished run plays an episode by what it holds for best, as a moving picture."""

from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from gymnasium import spaces
from gymnasium.error import DependencyNotInstalled
from PIL import Image
from torch import Tensor
from tyro.conf import Positional, arg

from neurarium.errors import InvalidValue, MissingExtra, RunError, require
from neurarium.parts.exploration import Acts
from neurarium.parts.games import Plays
from neurarium.running.command_line import parse, run_folder
from neurarium.running.files import disk_errors_told, write_whole
from neurarium.running.run import Run
from neurarium.running.seeds import generator
from neurarium.running.train import open_run, read_run
from neurarium.systems.reinforcement.q_learning import QLearning
from neurarium.uses import scenes
from neurarium.uses.drawing import encoded
from neurarium.worlds.cart_pole import NAME
from neurarium.worlds.grids import grids
from neurarium.worlds.stepped import Environment, digits
from neurarium.worlds.tabular import HORIZON
from neurarium.worlds.vectors import needed, open_environment, row

FASTEST = 40  # milliseconds a frame; of what goes faster some frames are left out
WALK, MOVE, HOLD = 250, 600, 1200  # milliseconds: a step on a grid, a move on a board, the end of an episode
ON_GRIDS = ("FrozenLakeEnv", "CliffWalkingEnv", "TaxiEnv")  # which are drawn here rather than by themselves

Policy = Callable[[Tensor], Tensor]
Painter = Callable[[Any, str], Image.Image]


class Frame(NamedTuple):
    """A picture and how long it stays, in milliseconds; `told` says what an episode that ends with it came to."""

    image: Image.Image
    milliseconds: int
    told: str = ""


def watch(
    folder: Path, *, episodes: int = 1, out: Path | None = None, frames: bool = False, seed: int = 0
) -> tuple[list[Path], list[str]]:
    """Let a run's newest weights play, and write what there is to see.

    Args:
        folder: the run's.
        episodes: how many, one after the other.
        out: the GIF, or with `frames` the folder of the PNG files (default: `episode.gif` or `frames` in the run's).
        frames: whether to write single frames.
        seed: where the environment's chance begins.

    Returns:
        The files written, and a line about each episode.

    Raises:
        RunError: the folder is no run, or none that learned to act or to play.
        InvalidValue: no episodes, or an environment that cannot be drawn.
        MissingExtra: the environment needs a library to draw itself.
    """
    require(episodes >= 1, f"--episodes is {episodes}; at least 1 must be played")
    require(seed >= 0, f"--seed is {seed}; it must be 0 or more")
    require(
        frames or out is None or out.suffix.lower() == ".gif",
        f"--out is {out}; a film is a .gif file (or take --frames and a folder)",
    )
    shown = list(film(open_run(folder), episodes, seed))
    place = out or folder / ("frames" if frames else "episode.gif")
    with disk_errors_told(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        written = write_frames(place, shown) if frames else [write_film(place, shown)]
    return written, [frame.told for frame in shown if frame.told]


def film(run: Run, episodes: int, seed: int) -> Iterator[Frame]:
    """The frames of some episodes of whatever this run learned.

    Raises:
        RunError: it learned neither to act nor to play.
    """
    for fit in reversed(run.fits.values()):
        learner = fit.learner
        if isinstance(learner, Plays):
            return self_play(learner, episodes, seed)
        if isinstance(learner, Acts | QLearning):
            environment = read_run(run.folder)["options"].get("environment")
            if environment is None:
                raise RunError(f"{run.folder} cannot be watched: its recipe has no option 'environment' that names one")
            return acted(environment, policy_of(learner), episodes, seed)
    raise RunError(
        f"{run.folder} learned nothing that acts or plays; take a run of policy_gradient, dqn, q_learning or the like"
    )


def policy_of(learner: Acts | QLearning) -> Policy:
    """From states to the best actions; of many tables the first one's."""
    if isinstance(learner, QLearning):
        best = learner.greedy()[0]
        return lambda states: best[states]
    return learner.best_actions


def acted(name: str, policy: Policy, episodes: int, seed: int) -> Iterator[Frame]:
    """Episodes in a Gymnasium environment."""
    environment, painter, pause = staged(name)
    every = max(1, round(FASTEST / pause))
    limit = (environment.spec.max_episode_steps if environment.spec else None) or HORIZON
    for episode in range(episodes):
        seen, _ = environment.reset(seed=seed if episode == 0 else None)
        total, over = 0.0, False
        yield Frame(painter(seen, words(0, total)), pause * every)
        for step in range(1, limit + 1):
            seen, reward, ended, cut, _ = environment.step(chosen(environment, policy, seen))
            total, over = total + float(reward), bool(ended or cut) or step == limit
            if over:
                told = f"episode {episode + 1}: return {total:g} in {step} steps"
                yield Frame(painter(seen, words(step, total)), HOLD, told)
                break
            if step % every == 0:
                yield Frame(painter(seen, words(step, total)), pause * every)


def words(step: int, total: float) -> str:
    """What stands below a frame."""
    return f"step {step:3d}   return {total:g}"


def chosen(environment: Environment, policy: Policy, seen: Any) -> int:
    """The policy's action for what is seen, as the environment counts actions."""
    parts = digits(environment.observation_space)
    state = torch.from_numpy(row(seen)) if parts is None else torch.tensor(scenes.number(seen, parts))
    assert isinstance(environment.action_space, spaces.Discrete)
    return scenes.first(policy(state.unsqueeze(0))) + int(environment.action_space.start)


def staged(name: str) -> tuple[Environment, Painter, int]:
    """An environment, who draws it, and the milliseconds that a step of it takes.

    Raises:
        InvalidValue: it has no pictures of itself.
        MissingExtra: it needs a library to draw them.
    """
    plain = open_environment(name)
    kind = type(plain.unwrapped).__name__
    if name == NAME:
        return plain, scenes.cart_pole, round(1000 / plain.metadata["render_fps"])
    if kind in ON_GRIDS:
        where = grids(plain, int(getattr(plain.observation_space, "n", 0)))[0]
        return plain, lambda seen, told: scenes.grid(plain.unwrapped, where, int(seen), told), WALK
    if "rgb_array" not in plain.metadata.get("render_modes", ()):
        raise InvalidValue(f"environment '{name}' cannot be watched: it has no 'rgb_array' among its render_modes")
    drawing = open_environment(name, render_mode="rgb_array")

    def painter(_: Any, told: str) -> Image.Image:
        try:
            return scenes.rendered(drawing.render(), told)
        except (ImportError, DependencyNotInstalled) as error:
            raise MissingExtra(f"environment '{name}' cannot draw itself: {needed(name, error)}") from None

    return drawing, painter, round(1000 / (plain.metadata.get("render_fps") or 30))


def self_play(learner: Plays, episodes: int, seed: int) -> Iterator[Frame]:
    """Games of a learner against itself, one board at a time."""
    game, player = learner.game, learner.player(generator=generator(seed, "watch"))
    for episode in range(episodes):
        positions = game.start(1)
        yield Frame(scenes.board(game, positions, "to begin"), MOVE)
        for move in count(1):
            action = player.choose(positions)
            said = f"{move}. {game.word(scenes.first(action))}"
            positions = game.play(positions, action)
            if bool(positions.over[0]):
                end = RESULTS[int(positions.outcome[0].sign())]
                yield Frame(scenes.board(game, positions, f"{said}: {end}"), HOLD, f"game {episode + 1}: {end}")
                break
            yield Frame(scenes.board(game, positions, said), MOVE)


RESULTS = {1: "the first player wins", 0: "a draw", -1: "the second player wins"}


def write_film(place: Path, shown: list[Frame]) -> Path:
    """The frames as a GIF that repeats."""
    write_whole(place, gif([frame.image for frame in shown], [frame.milliseconds for frame in shown]))
    return place


def gif(images: list[Image.Image], milliseconds: list[int]) -> bytes:
    """Pictures as a moving one, each with its own time."""
    # The octree keeps small spots of a colour, which the median cut gives up for the shades of large ones.
    few = [image.quantize(method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE) for image in images]
    content = BytesIO()
    few[0].save(content, "GIF", save_all=True, append_images=few[1:], duration=milliseconds, loop=0)
    return content.getvalue()


def write_frames(place: Path, shown: list[Frame]) -> list[Path]:
    """Every frame as a PNG file, numbered, in a folder."""
    place.mkdir(parents=True, exist_ok=True)
    wide = max(4, len(str(len(shown))))
    paths = [place / f"{number:0{wide}d}.png" for number in range(1, len(shown) + 1)]
    for path, frame in zip(paths, shown, strict=True):
        write_whole(path, encoded([frame.image], "PNG"))
    return paths


def command(words: list[str]) -> int:
    """`neurarium watch RUN`."""

    def asked(
        run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a run that learned to act or to play")],
        /,
        *,
        episodes: Annotated[int, arg(help="how many to play")] = 1,
        out: Annotated[Path | None, arg(metavar="FILE.gif", help="where it goes (default: RUN/episode.gif)")] = None,
        frames: Annotated[bool, arg(help="write PNG frames into a folder instead (default: RUN/frames)")] = False,
        seed: Annotated[int, arg(help="where the environment's chance begins")] = 0,
    ) -> tuple[Path, int, Path | None, bool, int]:
        """Let a trained run play an episode by what it holds for best, and write it as a moving picture."""
        return run, episodes, out, frames, seed

    run, episodes, out, frames, seed = parse(asked, words, "neurarium watch")
    written, told = watch(run_folder(run), episodes=episodes, out=out, frames=frames, seed=seed)
    print("\n".join(told))
    print(f"{len(written)} frames in {written[0].parent}" if frames else written[0])
    return 0
