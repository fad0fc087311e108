"""Spiking networks: one learns to read images by spikes alone, one lives between excitation and inhibition."""

from math import sqrt
from typing import Literal

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import pad

from neurarium.data.images import Images, load_images
from neurarium.errors import require
from neurarium.learners.classify import Classify
from neurarium.parts.encoders import Classifier
from neurarium.parts.modes import evaluating
from neurarium.parts.schedules import cosine
from neurarium.parts.simulation import steps_in
from neurarium.parts.spike_trains import irregularity
from neurarium.parts.synapses import Synapse
from neurarium.parts.wiring import Group, connect
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.neuro.spiking_network import Recording, SpikingNetwork, SpikingReader, let_vote

FEWEST, EPOCHS = 400, 2  # updates, and passes through the data: whichever is more
PER_CLASS = 10  # output neurons that vote for each class
EXCITATORY, HEARD = 0.8, 0.1  # part of the neurons that excite; part of them all that each hears
STRENGTH = 0.015  # s: weight of one excitatory connection, times the root of how many a neuron hears
LONGEST = 4  # steps a spike is on its way at most
FINE, SETTLE = 5e-4, 0.1  # s: a step of the balanced network; its beginning, which does not count
SHOWN, RASTER, READ = 0.4, 100, 3  # s and neurons of the raster that is drawn, and images
BIN = 8  # steps over which the drawn rate of the balanced network is taken


@recipe(
    expects=[
        Expect("test_accuracy", at_least=0.95),
        Expect("test_accuracy", at_least=0.95, given=dict(code="latency")),
        Expect("irregularity", at_least=0.8, at_most=1.3),
    ],
    smoke=dict(steps=30, batch=32, neurons=60, time_steps=20, population=300, seconds=0.3),
    control=dict(shuffle_labels=True),
)
def spiking_network(
    run: Run,
    *,
    data: str = "digits",
    code: Literal["rate", "latency"] = "rate",
    neurons: int = 100,
    time_steps: int = 30,
    steps: int | None = None,
    batch: int = 64,
    lr: float = 0.01,
    population: int = 1000,
    inhibition: float = 6.0,
    drive: float = 2.0,
    seconds: float = 1.5,
    shuffle_labels: bool = False,
) -> Result:
    """Leaky integrate-and-fire neurons with currents, voltages and delays read digits, and fire irregularly.

    The reader: pixels become spikes, more of them or sooner ones the brighter they are; neurons connected all to all
    fire; ten output neurons a class vote by spikes, and the most spikes win. Nothing else than spikes is passed on. It
    is taught by cross-entropy with a surrogate gradient: backward, a spike has a smooth slope that it does not have.

    The balanced network learns nothing: 800 neurons excite, 200 inhibit, weights are sparse and delays differ. Its
    drive is constant and its weights never change, and yet each neuron fires as irregularly as by chance, for
    excitation and inhibition cancel but for their fluctuations. `irregularity` is the coefficient of variation of the
    intervals (0 a clock, 1 a Poisson process), `mean_rate` is in Hz. Take inhibition away and it is refused: it would
    run away. Look at the rasters, and at the currents of one neuron.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        code: how pixels are written: rate (how many spikes) or latency (how soon one comes).
        neurons: of the reader, beside the ten a class that vote.
        time_steps: steps of 1 ms that the reader looks at an image.
        steps: updates (default: 2 epochs, but at least 400).
        batch: examples an update.
        lr: learning rate at the start; it falls along a cosine.
        population: neurons of the balanced network.
        inhibition: how many times stronger an inhibitory weight is than an excitatory one.
        drive: constant current into each of them (the threshold is 1).
        seconds: simulated time of the balanced network.
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    require(seconds > SETTLE, f"seconds is {seconds}, but must be longer than the {SETTLE} s that do not count")
    groups = halves(population, inhibition)
    images = load_images(data, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    outputs = PER_CLASS * images.classes
    reader = SpikingReader(shape=images.shape, neurons=neurons + outputs, outputs=outputs, code=code, steps=time_steps)
    net = Classifier(reader, classes=images.classes)
    let_vote(net.head)
    run.classes = images.class_names
    learner = Classify(net, lr=lr, schedule=cosine)

    def evaluate() -> dict[str, float]:
        return learner.evaluate(images.test.chunks(500), prefix="test_")

    steps = max(FEWEST, EPOCHS * len(images.train) // batch) if steps is None else steps
    run.fit(learner, images.train.batches(batch, seed=run.seed), steps=steps, evaluate=evaluate)
    measures = evaluate()

    network = balanced(groups, run.generator("wiring")).to(run.device)
    current = torch.full((1, 1, population), drive, device=run.device).expand(-1, steps_in(seconds, FINE), -1)
    recording = network.record(current, network.scattered(current, generator=run.generator("voltages")))
    settled = recording.spikes[:, steps_in(SETTLE, FINE) :]
    run.picture("reading", draw_reading(net, images))
    run.picture("balanced", draw_balanced(network, groups, recording, drive))
    run.picture("irregularity", draw_irregularity(settled, run.generator("dice")))
    return run.result(
        **measures,
        reader_rate=reader_rate(net, images),
        irregularity=float(irregularity(settled).mean()),
        mean_rate=float(settled.mean() / FINE),
        silent=float((settled.sum(1) == 0).float().mean()),
    )


def halves(population: int, inhibition: float) -> tuple[Group, Group]:
    """Neurons that excite, and those that inhibit, their weights falling as the root of how many a neuron hears."""
    require(population >= 20, f"population is {population}, but must be at least 20 to hear some of each kind")
    require(inhibition >= 0, f"inhibition is {inhibition}, but must be at least 0")
    weight = STRENGTH / sqrt(HEARD * population)
    excitatory = round(EXCITATORY * population)
    return Group(excitatory, weight), Group(population - excitatory, -inhibition * weight)


def balanced(groups: tuple[Group, Group], chance: torch.Generator) -> SpikingNetwork:
    """A network of both, sparsely connected, every connection with a delay of its own."""
    weights = connect(groups, part=HEARD, generator=chance)
    delays = torch.randint(1, LONGEST + 1, weights.shape, generator=chance)
    return SpikingNetwork(weights, delays=delays, dt=FINE)


@torch.no_grad()
def reader_rate(net: Classifier[SpikingReader], images: Images) -> float:
    """How often a neuron of the reader fires while it looks at test images, in Hz."""
    inputs = next(images.test.chunks(500)).inputs
    return float(net.encoder.fire(inputs).mean() / net.encoder.neuron.dt)


def draw_reading(net: Classifier[SpikingReader], images: Images) -> Figure:
    """Some test images: the picture, its spikes, those of the reader's neurons, and the votes."""
    figure, axes = panels(READ, 4, width=3.2, height=2.5)
    reader, found = net.encoder, next(images.test.chunks(READ))
    with evaluating(net):
        written, fired = reader.write(found.inputs).cpu(), reader.fire(found.inputs).cpu()
    pixels, label = found.inputs.cpu(), found.labels.tolist()
    for row in range(len(label)):
        picture, entering, firing, voting = axes[4 * row : 4 * row + 4]
        picture.imshow(pixels[row].mean(0).numpy(), cmap="gray")
        picture.axis("off")
        picture.set_title(f"{images.class_names[label[row]]}", fontsize=9)
        inner, wanted = fired.shape[2] - reader.width, label[row]
        votes = fired[row, :, inner:]
        dots(entering, written[row], reader.neuron.dt, COLOURS[7], size=4)
        dots(firing, fired[row, :, :inner], reader.neuron.dt, COLOURS[0], size=4)
        # The outputs class by class, so that those which vote alike stand together.
        for place in range(images.classes):
            voters, colour = votes[:, place :: images.classes], COLOURS[2 if place == wanted else 7]
            dots(firing, voters, reader.neuron.dt, colour, below=inner + place * voters.shape[1], size=4)
        total = torch.stack([votes[:, place :: images.classes].sum() for place in range(images.classes)])
        colours = [COLOURS[2] if place == wanted else COLOURS[7] for place in range(images.classes)]
        voting.bar(range(images.classes), total.tolist(), color=colours)
        if images.classes <= 12:
            voting.set_xticks(range(images.classes), images.class_names, fontsize=7)
    for ax, title in zip(
        axes[1:4], ("pixels as spikes", "neurons; above, the outputs", "spikes for each class"), strict=True
    ):
        ax.set_title(title, fontsize=9)
    for ax in axes[-3:-1]:
        ax.set_xlabel("ms")
    return figure


def dots(ax: Axes, spikes: Float[Tensor, "T N"], dt: float, colour: str, *, below: int = 0, size: float = 2.0) -> None:
    """A raster: a dot for every spike, time to the right and neurons upwards."""
    step, neuron = spikes.nonzero(as_tuple=True)
    ax.plot(1e3 * dt * (step + 1), neuron + below, ".", color=colour, markersize=size, markeredgewidth=0)
    ax.set(xlim=(0, 1e3 * dt * (len(spikes) + 1)), ylim=(-1, max(ax.get_ylim()[1], below + spikes.shape[1])))
    ax.grid(False)


def draw_balanced(network: SpikingNetwork, groups: tuple[Group, Group], recording: Recording, drive: float) -> Figure:
    """Raster with rates, and what one neuron gets of each kind, in sum, and makes of it."""
    figure, (raster, rates, currents, voltage) = panels(4, 1, width=10.0, height=2.2)
    steps = min(steps_in(SHOWN, FINE), recording.spikes.shape[1])
    spikes = recording.spikes[:, -steps:].cpu()
    milliseconds = 1e3 * FINE * torch.arange(1, steps + 1)
    edge = groups[0].neurons
    some = [spikes[0, :, :edge][:, :RASTER], spikes[0, :, edge:][:, : RASTER // 4]]
    dots(raster, some[0], FINE, COLOURS[0], size=3)
    dots(raster, some[1], FINE, COLOURS[1], below=some[0].shape[1], size=3)
    raster.set(ylabel="neuron", title="A balanced network: blue excites, red inhibits")
    for kind, colour, name in (
        (spikes[0, :, :edge], COLOURS[0], "excitatory"),
        (spikes[0, :, edge:], COLOURS[1], "inhibitory"),
    ):
        binned = torch.stack([part.mean() for part in kind.split(BIN)]) / FINE
        rates.step(milliseconds[::BIN].numpy(), binned.numpy(), where="post", color=colour, linewidth=1, label=name)
    rates.set(ylabel="mean rate (Hz)", xlim=raster.get_xlim(), ylim=(0, None))
    neuron = int((spikes[0, :, :edge].sum(0) - spikes[0, :, :edge].sum(0).float().median()).abs().argmin())
    parts = [shared.cpu() for shared in received(network, groups, recording, neuron)]
    for part, colour, name in zip(parts, COLOURS, ("excitation", "inhibition"), strict=False):
        currents.plot(milliseconds, part[-steps:], color=colour, linewidth=1, label=name)
    total = recording.current[0, -steps:, neuron].cpu() + drive
    currents.plot(milliseconds, total, color="black", linewidth=1, label="all, with the drive")
    currents.axhline(1, color=COLOURS[7], linestyle=":", linewidth=1)
    currents.set(ylabel="current", xlim=raster.get_xlim())
    voltage.plot(milliseconds, recording.voltage[0, -steps:, neuron].cpu(), color=COLOURS[4], linewidth=1)
    when = milliseconds[spikes[0, :, neuron] > 0].tolist()
    voltage.vlines(when, 1, 1.6, color=COLOURS[4], linewidth=1)
    voltage.axhline(1, color=COLOURS[7], linestyle=":", linewidth=1)
    voltage.set(xlabel="ms", ylabel="its voltage", xlim=raster.get_xlim())
    for ax in (rates, currents):
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + 0.25 * (high - low))
        ax.legend(fontsize=8, loc="upper right", ncols=3)
    return figure


def received(
    network: SpikingNetwork, groups: tuple[Group, Group], recording: Recording, neuron: int
) -> list[Float[Tensor, " T"]]:
    """The synaptic current of one neuron, that from each group by itself."""
    edge, filter = groups[0].neurons, Synapse(tau=network.tau_synapse, dt=network.dt)
    parts = []
    for kept in (slice(edge), slice(edge, None)):
        sent = torch.zeros_like(recording.spikes[0])
        sent[:, kept] = recording.spikes[0, :, kept]
        # Every step a row: what is on its way is the train shifted by its delay.
        past = tuple(pad(sent, (0, 0, lag, 0))[: len(sent)] for lag in range(1, network.wiring.longest + 1))
        parts.append(filter.spikes(network.wiring(past)[None, :, [neuron]])[0, :, 0])
    return parts


def draw_irregularity(spikes: Float[Tensor, "1 T N"], chance: torch.Generator) -> Figure:
    """How irregular neurons are, beside Poisson processes of the same rates; and how often they fire."""
    figure, (intervals, rates) = panels(1, 2, width=4.6)
    dice = torch.rand(spikes.shape, generator=chance).to(spikes)
    drawn = (dice < spikes.mean(1, keepdim=True)).to(spikes)
    for trains, colour, name in ((drawn, COLOURS[7], "chance (Poisson)"), (spikes, COLOURS[0], "the network")):
        values = irregularity(trains).cpu().numpy()
        label = f"{name}: mean {values.mean():.2f}"
        intervals.hist(values, bins=30, range=(0, 2.5), color=colour, alpha=0.6, label=label)
    intervals.axvline(1, color="black", linestyle=":", linewidth=1)
    intervals.set(xlabel="standard deviation of intervals over their mean", ylabel="neurons", title="irregularity")
    intervals.legend(fontsize=8)
    rates.hist((spikes[0].mean(0).cpu() / FINE).numpy(), bins=30, color=COLOURS[0], alpha=0.8)
    rates.set(xlabel="rate (Hz)", ylabel="neurons", title="how often neurons fire")
    return figure
