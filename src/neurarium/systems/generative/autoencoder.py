r"""Autoencoders: a network learns to say again what it was shown, through a passage too narrow for all of it.

What gets through is what the network has learned of the data. With one linear layer on each side the best it can do is
what principal components do: it finds their subspace, and loses exactly the variance outside. With more layers the
passage can be curved, and two numbers hold more. Shown a spoiled picture and asked for the clean one, it must know what
pictures are like.

Source: NYU NN II, Autoencoders (under-complete, denoising); CS 479 §28; Baldi & Hornik 1989, Neural networks and
principal component analysis, §2 (linear); Hinton & Salakhutdinov 2006, Reducing the dimensionality of data with neural
networks (deep); Vincent et al. 2010, Stacked denoising autoencoders, §3 (noise).
Differs: the deep network is taught from random weights at once, without pretraining.
Shapes: B batch, F features, Z numbers of a code, N examples.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import Labelled, check_batch
from neurarium.parts.dense import dense
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adam, set_rate
from neurarium.parts.preprocessing import PCA
from neurarium.parts.schedules import Schedule, constant


class Autoencoder(nn.Module):
    """From pictures to codes and back.

    Args:
        features: F of a picture, all its pixels.
        code: Z.
        hidden: units of the layers between, from the picture's side; none makes it linear.
        tied: the decoder's weights are the encoder's, turned round.

    Raises:
        InvalidValue: a size below 1; in use, pictures of another size.

    >>> net = Autoencoder(features=64, code=2, hidden=(32,), tied=True)
    >>> net(torch.rand(5, 1, 8, 8)).shape, net.encode(torch.rand(5, 1, 8, 8)).shape
    (torch.Size([5, 1, 8, 8]), torch.Size([5, 2]))
    """

    mean: Tensor

    def __init__(self, *, features: int, code: int, hidden: Sequence[int] = (), tied: bool = False) -> None:
        super().__init__()
        require(code >= 1, f"code is {code}; it needs at least 1 number")
        self.features, self.code = features, code
        sizes = (features, *hidden, code)
        self.encoder = dense(sizes, nn.SiLU)
        # The mean picture, so that the codes need not hold it.
        self.register_buffer("mean", torch.zeros(features))
        self.decoder = None if tied else dense(sizes[::-1], nn.SiLU)
        self.biases = nn.ParameterList([torch.zeros(size) for size in sizes[-2::-1]]) if tied else None

    def forward(self, images: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Pictures as they come back."""
        return self.decode(self.encode(images)).view(images.shape)

    def encode(self, images: Float[Tensor, "B ..."]) -> Float[Tensor, "B Z"]:
        """The code of each picture."""
        flat = images.flatten(1)
        if flat.shape[1] != self.features:
            raise InvalidValue(f"pictures have {flat.shape[1]} pixels, but this network was built for {self.features}")
        return self.encoder(flat - self.mean)

    def decode(self, codes: Float[Tensor, "B Z"]) -> Float[Tensor, "B F"]:
        """The picture of each code."""
        if self.decoder is not None:
            return self.decoder(codes) + self.mean
        assert self.biases is not None
        layers = [layer for layer in reversed(self.encoder) if isinstance(layer, nn.Linear)]
        for place, (layer, bias) in enumerate(zip(layers, self.biases, strict=True)):
            codes = linear(silu(codes) if place else codes, layer.weight.T, bias)
        return codes + self.mean

    @torch.no_grad()
    def centre(self, images: Float[Tensor, "N ..."]) -> None:
        """Take the mean picture from examples."""
        self.mean.copy_(images.flatten(1).mean(0))


class Reconstruct(Learner[Labelled]):
    """Learns to give back what was shown, by squared error.

    Args:
        model: the network.
        noise: deviation of what is added to a picture before it is shown.
        erased: share of its pixels that are set to 0 before it is shown.
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.

    Raises:
        InvalidValue: a negative deviation or rate, or a share that is not at least 0 and below 1.

    >>> _ = torch.manual_seed(0)
    >>> learner = Reconstruct(Autoencoder(features=4, code=1), lr=1e-2)
    >>> batch = Labelled(torch.rand(64, 1) * torch.ones(4), torch.zeros(64, dtype=torch.int64))
    >>> losses = [float(learner.learn(batch)["loss"]) for _ in range(200)]
    >>> losses[-1] < 0.2 * losses[0]
    True
    """

    def __init__(
        self,
        model: Autoencoder,
        *,
        noise: float = 0.0,
        erased: float = 0.0,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-3,
        schedule: Schedule = constant,
    ) -> None:
        require(noise >= 0, f"noise is {noise}, but must not be negative")
        require(0 <= erased < 1, f"erased is {erased}; it must be at least 0 and below 1")
        require(lr >= 0, f"lr is {lr}, but must not be negative")
        self.model, self.noise, self.erased = model, noise, erased
        self.lr, self.schedule = lr, schedule
        self.optimizer = optimizer(model.parameters(), lr=lr)

    def learn(self, batch: Labelled) -> Measures:
        """One update; labels are left alone.

        Raises:
            InvalidValue: the batch is empty, or its pictures have another size.
        """
        check_batch(batch, wanted="images and labels")
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        loss = squared_error(self.model(self.spoil(batch.inputs)), batch.inputs).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}

    def spoil(self, images: Float[Tensor, "B ..."], generator: torch.Generator | None = None) -> Tensor:
        """Pictures as they are shown: with noise, and with holes."""
        if self.noise:
            images = images + self.noise * _drawn(torch.randn, images, generator)
        if self.erased:
            images = images * (_drawn(torch.rand, images, generator) >= self.erased)
        return images

    def give_back(self, images: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Pictures as they come back, in evaluation mode."""
        with evaluating(self.model):
            return self.model(images).float()

    def encode(self, images: Float[Tensor, "B ..."]) -> Float[Tensor, "B Z"]:
        """Their codes, in evaluation mode."""
        with evaluating(self.model):
            return self.model.encode(images).float()

    def evaluate(self, batches: Iterable[Labelled], *, prefix: str = "") -> dict[str, float]:
        """The squared error of a picture, its pixels summed, over batches; nothing is spoiled."""
        total, count = 0.0, 0
        for images, _ in batches:
            total += float(squared_error(self.give_back(images), images).sum())
            count += len(images)
        require(count > 0, "there is no batch to evaluate")
        return {f"{prefix}error": total / count}

    def example(self, batch: Labelled) -> dict[str, tuple[Tensor, ...]]:
        """Pictures."""
        return {"model": (batch.inputs,)}


def squared_error(found: Float[Tensor, "B ..."], wanted: Float[Tensor, "B ..."]) -> Float[Tensor, " B"]:
    """The squared error of each picture, its pixels summed.

    >>> squared_error(torch.zeros(2, 3), torch.ones(2, 3))
    tensor([3., 3.])
    """
    # E = Σ (x̂ − x)²
    return (found.float() - wanted.float()).square().flatten(1).sum(1)


def lost(components: PCA, images: Float[Tensor, "B ..."]) -> float:
    """The mean squared error of pictures that principal components give back, their pixels summed.

    >>> lost(PCA.fit(torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]])), torch.tensor([[1.0, 3.0]]))
    9.0
    """
    flat = images.flatten(1)
    return float(squared_error(components.inverse(components(flat)), flat).mean())


def principal_angles(one: Float[Tensor, "Z F"], other: Float[Tensor, "Z F"]) -> Float[Tensor, " Z"]:
    """The angles between two subspaces, each given by rows that span it, in radians, the greatest first.

    >>> principal_angles(torch.eye(3)[:2], torch.tensor([[3.0, 1.0, 0.0], [0.0, 5.0, 0.0]])).abs().max().item() < 1e-3
    True
    """
    first, second = (torch.linalg.qr(rows.double().T).Q for rows in (one, other))
    # cos θ are the singular values of Q₁ᵀ Q₂
    return torch.linalg.svdvals(first.T @ second).clamp(max=1).acos().flip(0).float()


def _drawn(draw: Callable[..., Tensor], like: Tensor, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        return draw(like.shape, device=like.device)
    return draw(like.shape, generator=generator).to(like.device)
