"""Generative: a diffusion step against diffusers' U-Net of the same widths, and a VAE against the usual example."""

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, mse_loss, relu

from benchmarks.harness import Benchmark
from neurarium.data.batches import Held
from neurarium.parts.bundles import Labelled
from neurarium.parts.diffusion import Diffusion, linear_betas
from neurarium.running.devices import autocast, choose_precision, keep_freed_memory, settle
from neurarium.systems.generative.ddpm import Denoise, Denoiser
from neurarium.systems.generative.vae import VAE, Variational

CPU = torch.device("cpu")
SIDE, BATCH = 28, 64
WIDTH, FACTORS = 64, (1, 2, 2)
STEPS, NOISE_STEPS, SAMPLED = 6, 1000, 10
VAE_STEPS, VAE_BATCH, VAE_EXAMPLES = 200, 128, 8192


def digits() -> Held[Labelled]:
    """Random pictures of MNIST's size: speed does not ask what they show."""
    images = torch.rand(VAE_EXAMPLES, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return Held(Labelled(images, torch.zeros(VAE_EXAMPLES, dtype=torch.int64)))


def denoiser() -> Denoise:
    """Ours at `--precision auto`."""
    keep_freed_memory()
    network = Denoiser(shape=(1, SIDE, SIDE), width=WIDTH, factors=FACTORS, looks=(1,))
    learner = Denoise(network, Diffusion(linear_betas(NOISE_STEPS)))
    settle(learner, CPU, choose_precision("auto", learner, CPU))
    return learner


def peers_unet() -> nn.Module:
    """The same widths, one residual block a stage, attention at the second stage and at the bottom."""
    import diffusers

    build: Any = diffusers.UNet2DModel
    down, up = ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"), ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D")
    model: nn.Module = build(
        sample_size=SIDE,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=tuple(WIDTH * factor for factor in FACTORS),
        down_block_types=down,
        up_block_types=up,
    )
    return model


def denoise_ours() -> Callable[[], float]:
    """Training steps."""
    learner = denoiser()
    stream = digits().batches(BATCH, seed=0)

    def work() -> float:
        with autocast(CPU, choose_precision("auto", learner, CPU)):
            for batch in islice(stream, STEPS):
                learner.learn(batch)
        return STEPS * BATCH

    return work


def denoise_peer() -> Callable[[], float]:
    """Training steps as diffusers' own tutorial writes them."""
    import diffusers

    build: Any = diffusers.DDPMScheduler
    model = peers_unet()
    scheduler = build(NOISE_STEPS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    stream = digits().batches(BATCH, seed=0)

    def work() -> float:
        for images, _ in islice(stream, STEPS):
            noise, step = torch.randn_like(images), torch.randint(0, NOISE_STEPS, (BATCH,))
            told = model(scheduler.add_noise(2 * images - 1, noise, step), step, return_dict=False)[0]
            optimizer.zero_grad()
            mse_loss(told, noise).backward()
            optimizer.step()
        return STEPS * BATCH

    return work


def sample_ours() -> Callable[[], float]:
    """Pictures from noise, in a few steps."""
    learner = denoiser()
    noise = torch.randn(BATCH, 1, SIDE, SIDE)

    def work() -> float:
        with autocast(CPU, choose_precision("auto", learner, CPU)):
            learner.sample(noise, steps=SAMPLED, eta=0.0)
        return SAMPLED * BATCH

    return work


def sample_peer() -> Callable[[], float]:
    """The same steps by diffusers' DDIM."""
    import diffusers

    build: Any = diffusers.DDIMScheduler
    model = peers_unet().eval()
    scheduler = build(NOISE_STEPS)
    scheduler.set_timesteps(SAMPLED)

    @torch.no_grad()
    def work() -> float:
        mixed = torch.randn(BATCH, 1, SIDE, SIDE)
        for step in scheduler.timesteps:
            mixed = scheduler.step(model(mixed, step).sample, step, mixed).prev_sample
        return SAMPLED * BATCH

    return work


class Plain(nn.Module):
    """The VAE of PyTorch's examples: 784-400-20-400-784."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
        self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What comes back, and the clouds."""
        hidden = relu(self.fc1(images.view(-1, 784)))
        mean, log_variance = self.fc21(hidden), self.fc22(hidden)
        codes = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return torch.sigmoid(self.fc4(relu(self.fc3(codes)))), mean, log_variance


def vae_ours() -> Callable[[], float]:
    """The same sizes and objective, products in bfloat16."""
    keep_freed_memory()
    learner = Variational(VAE(shape=(1, SIDE, SIDE), latent=20, hidden=(400,)), binarise=False)
    stream = digits().batches(VAE_BATCH, seed=0)

    def work() -> float:
        with autocast(CPU, torch.bfloat16):
            for batch in islice(stream, VAE_STEPS):
                learner.learn(batch)
        return VAE_STEPS * VAE_BATCH

    return work


def vae_peer() -> Callable[[], float]:
    """The example's own loop, the pictures already in memory."""
    model = Plain()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    stream = digits().batches(VAE_BATCH, seed=0)

    def work() -> float:
        for images, _ in islice(stream, VAE_STEPS):
            optimizer.zero_grad()
            back, mean, log_variance = model(images)
            loss = binary_cross_entropy(back, images.view(-1, 784), reduction="sum")
            loss = loss - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
            loss.backward()
            loss.item()
            optimizer.step()
        return VAE_STEPS * VAE_BATCH

    return work


UNET = f"U-Net of widths {', '.join(str(WIDTH * factor) for factor in FACTORS)}, {SIDE}×{SIDE}, batch {BATCH}"

ROWS: dict[str, tuple[Any, ...]] = {
    "ddpm_training": (f"train a {UNET}", "images", denoise_ours, denoise_peer, "diffusers UNet2DModel, float32", 1.5),
    "ddpm_sampling": (
        f"{SAMPLED} DDIM steps of a {UNET}",
        "image-steps",
        sample_ours,
        sample_peer,
        "diffusers UNet2DModel, float32",
        1.5,
    ),
    "vae": (
        f"train a VAE 784-400-20, batch {VAE_BATCH}, {VAE_STEPS} steps, greys explained, ours in bfloat16",
        "samples",
        vae_ours,
        vae_peer,
        "PyTorch's VAE example",
        2.0,
    ),
}

BENCHMARKS: dict[str, Callable[[], Benchmark]] = {name: partial(Benchmark, name, *row) for name, row in ROWS.items()}
