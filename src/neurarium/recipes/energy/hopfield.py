"""Hopfield networks: pictures completed from a half, energies that fall, and how much a memory holds."""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from neurarium.data.decoding import FilePixels, survey
from neurarium.data.folders import visible_files
from neurarium.data.images import load_images
from neurarium.errors import DataError, require
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.energy.hopfield import (
    CAPACITY,
    Hopfield,
    hebbian_weights,
    predicted_error,
    predicted_overlap,
    signs,
    softmax_recall,
    update_in_turn,
)

LOADS = (0.10, 0.138, 0.20)  # patterns a unit at which one step's errors are promised
MORE_LOADS = (0.08, 0.3, 0.45, 0.7, 1.0)  # others that are drawn
RECALL_LOAD = 0.10  # patterns a unit at which the overlap is promised
CURVE = (0.02, 0.05, 0.08, 0.10, 0.12, 0.13, 0.14, 0.15, 0.16, 0.18, 0.22)  # loads of the capacity curve
CUES = 50  # patterns recalled at each of them, at the most
FLIPPED = 0.3  # of a picture's units, in its noisy cue
STAGES = (0.25, 0.5, 0.75)  # of the first sweep, at which a recall is drawn
PIECES = 24  # of a sweep between which the energy is drawn
SWEEPS_DRAWN = 3
FLAT = 1e-3  # greys that differ by less are the same
CROPS = tuple((top, left) for top in (0, 213) for left in (0, 213, 426))  # of the photographs, 213 pixels a side
CROP = 213


@recipe(
    expects=[Expect("bit_error_gap", at_most=0.2), Expect("overlap", at_least=0.97)],
    smoke=dict(neurons=500, networks=4, size=12, pictures=3),
    control=dict(self_connections=True),
    exempt=dict(
        resumes="the weights are one product of the patterns, so there is no fit to resume",
        stateless="the weights are one product of the patterns, so there is no update",
        gradients="Hebb's rule is local and written out; there is no trainable parameter",
        refuses="there are no batches; the tests hold the memory to refusing empty, misshaped and odd patterns",
        exports="the weights are one product of the patterns; who has the patterns has them",
    ),
)
def hopfield(
    run: Run,
    *,
    data: str = "photographs",
    pictures: int = 6,
    size: int = 48,
    neurons: int = 1000,
    networks: int = 20,
    noise: float = 0.1,
    biases: bool = False,
    self_connections: bool = False,
) -> Result:
    """A Hopfield network remembers pictures and completes them from a half, from noise, or not at all.

    Every pixel is a unit of ±1 (lighter or darker than its surroundings), and Hebb's rule digs a valley in the energy
    at each picture. Asked with a part, the units take the sign of what they hear, one after the other, and the energy
    falls until nothing changes. Look at what becomes of half a picture, of a noisy one and of one that was never
    stored; at the energy on the way; and at how much such a memory holds before it forgets everything, against theory.
    Pictures that are much alike disturb one another and melt into a mixture: the softmax memory, drawn beside it, keeps
    even those apart.

    Args:
        data: photographs, digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (any pictures anywhere in it).
        pictures: how many to store; the one after them is the picture that was never stored.
        size: height and width that they are brought to; the network has as many units as they have pixels.
        neurons: units of the networks of random patterns that are held against theory.
        networks: how many of them, for every load.
        noise: fraction of the units that are flipped in their cues.
        biases: whether the pictures' network gets biases too.
        self_connections: let units hear themselves, which hides their errors (the negative control).
    """
    require(neurons >= 50, f"neurons is {neurons}, but loads of 0.02 patterns a unit need at least 50")
    require(networks >= 1, f"networks is {networks}, but must be at least 1")
    require(0 <= noise <= 0.5, f"noise is {noise}, but must be from 0 to 0.5")
    require(pictures >= 1, f"pictures is {pictures}; store at least one")
    require(size >= 2, f"size is {size}, but must be at least 2")
    chance = run.generator("patterns")

    def drawn(load: float, units: int = neurons) -> Float[Tensor, "M N"]:
        return random_patterns(max(1, round(load * units)), units, chance).to(run.device)

    errors = {
        load: sum(one_step_errors(drawn(load), self_connections) for _ in range(networks)) / networks for load in LOADS
    }
    more = {load: one_step_errors(drawn(load), self_connections) for load in MORE_LOADS}
    patterns = drawn(RECALL_LOAD)
    overlap = recalled_overlap(patterns, flipped(patterns, noise, chance), chance)
    curve = {load: capacity_point(drawn(load, neurons // 2), chance) for load in CURVE}

    shown = binarised(load_pictures(data, count=pictures + 1, size=size, seed=run.seed)).to(run.device)
    memory = Hopfield(neurons=size * size)
    memory.store(shown[:-1], biases=biases)
    cues = make_cues(shown, size, chance)
    run.picture("recall", draw_recall(memory, shown[:-1], cues, size, chance))
    run.picture("energy", draw_energy(memory, cues, chance))
    run.picture("capacity", draw_capacity(errors | more, curve))
    completed = memory.recall(halved(shown[:-1], size), generator=chance).states
    return run.result(
        bit_error_gap=max(abs(errors[load] / predicted_error(load) - 1) for load in LOADS),
        overlap=overlap,
        completed=float((completed * shown[:-1]).mean()),
    )


def random_patterns(count: int, neurons: int, chance: torch.Generator) -> Float[Tensor, "M N"]:
    """Patterns of ±1, each as likely."""
    return torch.randint(0, 2, (count, neurons), generator=chance).float() * 2 - 1


def flipped(patterns: Float[Tensor, "M N"], fraction: float, chance: torch.Generator) -> Float[Tensor, "M N"]:
    """The patterns with so many of their units turned over, drawn for each."""
    turned = torch.rand(patterns.shape, generator=chance).to(patterns.device) < fraction
    return torch.where(turned, -patterns, patterns)


def one_step_errors(patterns: Float[Tensor, "M N"], self_connections: bool) -> float:
    """The fraction of units that leave a stored pattern when all take the sign of what they hear."""
    weight = hebbian_weights(patterns, self_connections=self_connections)
    return float((signs(patterns @ weight) != patterns).float().mean())


def recalled_overlap(patterns: Float[Tensor, "M N"], cues: Float[Tensor, "B N"], chance: torch.Generator) -> float:
    """What the settled states have in common with the patterns of their cues: 1 is all, 0 is chance."""
    memory = Hopfield(neurons=patterns.shape[1])
    memory.store(patterns)
    return float((memory.recall(cues, generator=chance).states * patterns[: len(cues)]).mean())


def capacity_point(patterns: Float[Tensor, "M N"], chance: torch.Generator) -> tuple[float, float]:
    """What is kept of stored patterns when the memory settles from them: with Hebb's rule, and by softmax."""
    cues = patterns[:CUES]
    soft = signs(softmax_recall(patterns, cues))
    return recalled_overlap(patterns, cues, chance), float((soft * cues).mean())


def load_pictures(data: str, *, count: int, size: int, seed: int) -> Float[Tensor, "M H W"]:
    """Grey pictures of one size from 0 to 1, `count` of them if there are; of labelled ones a class after another.

    Raises:
        DataError: no such data, or not two pictures that can be read.
    """
    if data == "photographs":
        found = photographs(size)
    elif data.startswith("folder:"):
        found = pictures_below(Path(data.removeprefix("folder:")).expanduser(), count=count, size=size)
    else:
        images = load_images(data, seed=seed, size=size).train
        labels = images.labels.tolist()
        nth = [labels[:place].count(label) for place, label in enumerate(labels[: 100 * count])]
        order = sorted(range(len(nth)), key=lambda place: (nth[place], labels[place]))
        found = images.take(torch.tensor(order[:count])).inputs.mean(1)
    if len(found) < 2:
        raise DataError(f"'{data}' has {len(found)} pictures; one to store and one to leave out are needed at least")
    return found[:count]


def photographs(size: int) -> Float[Tensor, "M H W"]:
    """Squares from scikit-learn's two photographs, in turn."""
    from sklearn.datasets import load_sample_image

    photos = [torch.from_numpy(load_sample_image(f"{name}.jpg").copy()).float() for name in ("china", "flower")]
    squares = [photo[top : top + CROP, left : left + CROP].mean(-1) for top, left in CROPS for photo in photos]
    return interpolate(torch.stack(squares)[:, None], size=(size, size), mode="area")[:, 0] / 255


def pictures_below(folder: Path, *, count: int, size: int) -> Float[Tensor, "M H W"]:
    """The first pictures in a folder and the folders in it.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; folder:DIR needs one with pictures in it")
    files = [seen.path for seen in survey(visible_files(folder)) if not seen.trouble][:count]
    return FilePixels(files, shape=(1, size, size)).take(torch.arange(len(files)))[:, 0].float() / 255


def binarised(pictures: Float[Tensor, "M H W"]) -> Float[Tensor, "M N"]:
    """Each picture as ±1: its pixels above or below the mean of their neighbourhood.

    With one mean for the whole picture, large light and dark areas would be left, and pictures would look much alike.

    Raises:
        DataError: a picture is of one grey.
    """
    plain = (pictures.flatten(1).std(dim=1) < FLAT).nonzero().flatten().tolist()
    if plain:
        raise DataError(f"picture {plain[0] + 1} is of one grey; leave it out, for there is nothing to remember in it")
    side = pictures.shape[2] // 8 * 2 + 1
    around = avg_pool2d(pictures[:, None], side, stride=1, padding=side // 2, count_include_pad=False)[:, 0]
    return signs(pictures - around + FLAT).flatten(1)


def halved(patterns: Float[Tensor, "M N"], size: int) -> Float[Tensor, "M N"]:
    """The upper halves; of the lower ones nothing is known."""
    cues = patterns.clone()
    cues[:, size * (size // 2) :] = 0
    return cues


def make_cues(shown: Float[Tensor, "M N"], size: int, chance: torch.Generator) -> Mapping[str, Float[Tensor, "1 N"]]:
    """What the memory of all but the last picture is asked with."""
    second = min(1, len(shown) - 2)
    return {
        "a half": halved(shown[:1], size),
        "another half": halved(shown[second : second + 1], size),
        f"{FLIPPED:.0%} noise": flipped(shown[:1], FLIPPED, chance),
        "another picture": shown[-1:],
    }


def draw_recall(
    memory: Hopfield,
    stored: Float[Tensor, "M N"],
    cues: Mapping[str, Float[Tensor, "1 N"]],
    size: int,
    chance: torch.Generator,
) -> Figure:
    """Each cue on its way to where it settles, what the softmax memory makes of it, and the stored picture nearest."""
    titles = ["cue", *(f"{stage:g} sweeps" for stage in STAGES), "settled", "softmax memory", "nearest stored"]
    figure, axes = panels(len(cues), len(titles), width=1.35, height=1.5)
    for row, (name, cue) in enumerate(cues.items()):
        order = torch.randperm(memory.neurons, generator=chance)
        ways = [cue, *(partly(memory, cue, order, stage) for stage in STAGES)]
        settled = memory.recall(ways[-1], generator=chance).states
        nearest = stored[(stored @ settled[0]).argmax()][None]
        for column, states in enumerate([*ways, settled, softmax_recall(stored, cue), nearest]):
            ax = axes[row * len(titles) + column]
            ax.imshow(states.reshape(size, size).cpu().numpy(), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            ax.set(xticks=[], yticks=[], title=titles[column] if row == 0 else "", ylabel=name if column == 0 else "")
            ax.title.set_fontsize(9)
            if column == len(STAGES) + 1:
                ax.set_xlabel(f"overlap {float((states * nearest).mean()):.2f}", fontsize=8)
    return figure


def partly(memory: Hopfield, cue: Float[Tensor, "1 N"], order: Tensor, stage: float) -> Float[Tensor, "1 N"]:
    """The state after part of a sweep."""
    return update_in_turn(cue, order[: round(stage * len(order))], memory.weight, memory.bias)


def draw_energy(memory: Hopfield, cues: Mapping[str, Float[Tensor, "1 N"]], chance: torch.Generator) -> Figure:
    """The energy of every cue, one unit after the other and all at once."""
    figure, (turns, once) = panels(1, 2)
    cues = {**cues, "random": random_patterns(1, memory.neurons, chance).to(memory.weight.device)}
    for (name, cue), colour in zip(cues.items(), COLOURS, strict=False):
        states, energies = cue, [float(memory.energy(cue)) / memory.neurons]
        for _ in range(SWEEPS_DRAWN):
            for piece in torch.randperm(memory.neurons, generator=chance).chunk(PIECES):
                states = update_in_turn(states, piece, memory.weight, memory.bias)
                energies.append(float(memory.energy(states)) / memory.neurons)
        turns.plot(torch.linspace(0, SWEEPS_DRAWN, len(energies)), energies, color=colour, label=name)
        together = memory.recall(cue, mode="synchronous", sweeps=2 * SWEEPS_DRAWN).energies / memory.neurons
        once.plot(together[:, 0].cpu(), "o-", markersize=4, color=colour, label=name)
    turns.set(xlabel="sweep", ylabel="energy a unit", title="one unit after the other: it only falls")
    once.set(xlabel="step", title="all units at once: it need not fall")
    turns.legend(fontsize=8)
    return figure


def draw_capacity(errors: Mapping[float, float], curve: Mapping[float, tuple[float, float]]) -> Figure:
    """One step's errors, and what is kept in the end, by load; measured against theory."""
    figure, (flips, kept) = panels(1, 2)
    fine = torch.linspace(0.07, 1.0, 100).tolist()
    flips.semilogy(fine, [predicted_error(load) for load in fine], color=COLOURS[0], label="½ erfc(1/√(2α))")
    flips.semilogy(*zip(*sorted(errors.items()), strict=True), "o", color=COLOURS[1], markersize=5, label="measured")
    flips.set(xlabel="α, patterns a unit", ylabel="units that flip", title="errors of one step")
    fine = torch.linspace(0.01, max(curve), 100).tolist()
    kept.plot(fine, [predicted_overlap(load) for load in fine], color=COLOURS[0], label="theory for many units")
    for place, (name, mark) in enumerate((("Hebb's rule, settled", "o"), ("softmax memory", "^"))):
        values = [point[place] for point in curve.values()]
        kept.plot(list(curve), values, mark, color=COLOURS[1 + place], markersize=5, label=name)
    kept.axvline(CAPACITY, color=COLOURS[7], linestyle=":", linewidth=1)
    kept.set(xlabel="α, patterns a unit", ylabel="overlap with the pattern", title="what is kept", ylim=(-0.05, 1.08))
    for ax in (flips, kept):
        ax.legend(fontsize=8)
    return figure
