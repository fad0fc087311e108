"""A variational autoencoder on the embedded digits, MNIST, or images of your own."""

from typing import Literal

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.data.images import Images, load_images
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import by_class, mosaic, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.generative.vae import VAE, Variational

PLAIN = {"latent": 20, "hidden": (400,)}  # the example every tutorial begins with: one layer, Adam at 1e-3, no schedule
PLAIN_RATE = 1e-3
JUDGED = 500  # unseen pictures whose likelihood is estimated
DRAWS = 200  # for each of them
ROWS, COLUMNS = 8, 12  # of the sheets
REACH = 2.5  # how far a traversal goes, in deviations of the prior
EPOCHS = 30
FEWEST = 6000  # updates


@recipe(
    expects=[
        Expect("negative_elbo", at_most=23.0),
        Expect("elbo_gain", above=0.0),
        Expect("negative_elbo", at_most=105.0, given={"data": "mnist"}),
    ],
    smoke=dict(steps=150, draws=20),
    control=dict(lr=0.0),
)
def vae(
    run: Run,
    *,
    data: str = "digits",
    steps: int | None = None,
    batch: int = 128,
    lr: float = 2e-3,
    latent: int = 16,
    hidden: int = 512,
    layers: int = 2,
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli",
    beta: float = 1.0,
    binarise: bool = True,
    draws: int = DRAWS,
) -> Result:
    """Every digit becomes a small cloud of codes, and any code a digit.

    The encoder names a Gaussian over codes for each picture, the decoder a picture for each code; both learn the bound
    on the likelihood of the data. Beside it, a plain one learns as long (one layer of 400 units, 20 numbers a code,
    Adam at 1e-3): elbo_gain is by how many nats the tuned one explains unseen digits better. nll is nearer to the truth
    than the bound, by importance sampling. Look at the samples, at what one number of the code does alone
    (traversals), and at the way from one digit to another.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        steps: updates (default: 30 epochs, but at least 6000).
        batch: pictures an update.
        lr: learning rate at the start; it falls to 0 along a cosine (0: nothing is learned).
        latent: numbers of a code.
        hidden: units of the layer next to the picture; each further one has half.
        layers: of the encoder between picture and code, and of the decoder.
        likelihood: of a pixel: bernoulli (on or off by chance) or gaussian (a grey).
        beta: weight of the clouds' distance from the prior; above 1 codes come apart at the cost of sharpness.
        binarise: draw Bernoulli's pixels on or off by their greys at every look; --no-binarise explains the greys.
        draws: codes a picture by which its likelihood is estimated.
    """
    images = load_images(data, seed=run.seed, device=run.device)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    sizes = tuple(max(1, hidden // 2**layer) for layer in range(layers))
    steps = max(FEWEST, EPOCHS * len(images.train) // batch) if steps is None else steps
    net = VAE(shape=images.shape, latent=latent, hidden=sizes, likelihood=likelihood)
    learner = Variational(net, beta=beta, binarise=binarise, lr=lr, schedule=cosine)
    plain = Variational(
        VAE(shape=images.shape, likelihood=likelihood, **PLAIN),  # type: ignore[arg-type]
        binarise=binarise,
        lr=PLAIN_RATE,
    )

    def evaluate(judged: Variational) -> dict[str, float]:
        return judged.evaluate(images.test.chunks(1000), generator=run.generator("evaluate"), prefix="test_")

    def draw(step: int) -> None:
        run.picture("samples", mosaic(learner.sample(ROWS * COLUMNS, generator=run.generator("samples"))), step=step)

    stream = images.train.batches(batch, seed=run.seed)
    run.fit(plain, images.train.batches(batch, seed=run.seed), steps=steps, name="plain")
    run.fit(learner, stream, steps=steps, evaluate=lambda: evaluate(learner), draw=draw)
    draw_all(run, learner, images)
    shown = next(images.test.chunks(JUDGED)).inputs
    nll = learner.likelihood(shown, draws=draws, generator=run.generator("likelihood"))
    measured, floor = evaluate(learner), evaluate(plain)
    return run.result(
        negative_elbo=measured["test_negative_elbo"],
        reconstruction=measured["test_reconstruction"],
        divergence=measured["test_divergence"],
        nll=float(nll.mean()),
        elbo_gain=floor["test_negative_elbo"] - measured["test_negative_elbo"],
    )


def draw_all(run: Run, learner: Variational, images: Images) -> None:
    """Samples, pictures as they come back, ways between them, what each number does, and where the codes lie."""
    test = next(images.test.chunks(JUDGED))
    shown = test.inputs
    run.film("samples", milliseconds=500)
    run.picture("samples", mosaic(learner.sample(ROWS * COLUMNS, generator=run.generator("samples")), columns=COLUMNS))
    back = learner.decode(learner.encode(shown[:COLUMNS]).mean)
    run.picture("reconstructions", mosaic(torch.cat([shown[:COLUMNS], back]), columns=COLUMNS))
    run.picture("interpolations", mosaic(ways(learner, shown[: 2 * ROWS]), columns=COLUMNS))
    run.picture("traversals", mosaic(traversals(learner, shown), columns=COLUMNS))
    run.picture("codes", draw_codes(learner, shown, test.labels, images.class_names))


def ways(learner: Variational, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "M C H W"]:
    """From each picture to the next, straight through the codes."""
    codes = learner.encode(images).mean
    shares = torch.linspace(0, 1, COLUMNS, device=codes.device)[:, None]
    return torch.cat(
        [learner.decode(one + shares * (other - one)) for one, other in zip(codes[::2], codes[1::2], strict=False)]
    )


def traversals(learner: Variational, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "M C H W"]:
    """One picture with one number of its code changed: a row for each of those that say most."""
    code = learner.encode(images)
    # What a number says is how much its means differ from picture to picture.
    most = code.mean.var(0).argsort(descending=True)[:ROWS]
    rows = code.mean[:1].repeat(len(most) * COLUMNS, 1)
    places = torch.linspace(-REACH, REACH, COLUMNS, device=rows.device).repeat(len(most))
    rows[torch.arange(len(rows)), most.repeat_interleave(COLUMNS)] = places
    return learner.decode(rows)


def draw_codes(
    learner: Variational, images: Float[Tensor, "N C H W"], labels: Tensor, names: tuple[str, ...]
) -> Figure:
    """The two numbers of the codes that say most, a colour a class."""
    means = learner.encode(images).mean
    x, y = means.var(0).argsort(descending=True)[:2].tolist() if means.shape[1] > 1 else (0, 0)
    figure, [ax] = panels(width=5.6, height=5.0)
    by_class(ax, means[:, [x, y]], labels, names)
    ax.set(xlabel=f"number {x} of the code", ylabel=f"number {y}", title="codes of unseen pictures")
    ax.legend(fontsize=7, markerscale=2, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
