"""Contrastive divergence: our RBM against scikit-learn's on the same binary data, batches and learning rate."""

from collections.abc import Callable

import torch
from sklearn.neural_network import BernoulliRBM

from benchmarks.harness import Benchmark
from neurarium.parts.bundles import Labelled
from neurarium.running.devices import keep_freed_memory
from neurarium.systems.energy.rbm import RBM, ContrastiveDivergence

VISIBLE, HIDDEN = 784, 256
SAMPLES, BATCH, EPOCHS = 10_000, 100, 2
LR = 0.01
INK = 0.2  # of the pixels are on, about as in MNIST


def binary() -> torch.Tensor:
    """Random pictures of 0 and 1."""
    return (torch.rand(SAMPLES, VISIBLE, generator=torch.Generator().manual_seed(0)) < INK).float()


def rbm_ours() -> Callable[[], float]:
    """Our learner."""
    keep_freed_memory()
    data, labels = binary(), torch.zeros(SAMPLES, dtype=torch.long)
    learner = ContrastiveDivergence(RBM(shape=(VISIBLE,), hidden=HIDDEN), lr=LR)

    def work() -> float:
        for _ in range(EPOCHS):
            for some in torch.randperm(SAMPLES).split(BATCH):
                learner.learn(Labelled(data[some], labels[some]))
        return EPOCHS * SAMPLES

    return work


def rbm_peer() -> Callable[[], float]:
    """scikit-learn's, on the same data as float32 (in float64 it takes longer) and never shuffled."""
    data = binary().numpy()
    peer = BernoulliRBM(n_components=HIDDEN, learning_rate=LR, batch_size=BATCH, random_state=0, n_iter=EPOCHS)

    def work() -> float:
        peer.fit(data)
        return EPOCHS * SAMPLES

    return work


def rbm_benchmark() -> Benchmark:
    """CD-1."""
    work = (
        f"{EPOCHS} epochs of contrastive divergence, one Gibbs step a fantasy, {VISIBLE}–{HIDDEN} units, "
        f"{SAMPLES} binary samples in float32, batches of {BATCH}, data checked for being binary"
    )
    peer = "scikit-learn's BernoulliRBM"
    return Benchmark("rbm_cd1", work, "samples", rbm_ours, rbm_peer, peer, 2.0)


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {
    "rbm_cd1": rbm_benchmark,
}
