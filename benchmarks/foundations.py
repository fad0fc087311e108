"""Foundations: softmax regression and the digits network, a population of networks, and our optimisers."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice, pairwise
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.harness import Benchmark, synthetic_images
from neurarium.data.batches import Held, epoch_order
from neurarium.learners.classify import Classify
from neurarium.learners.population import MemberBatches, Members, Population
from neurarium.parts import rules
from neurarium.parts.bundles import Labelled
from neurarium.parts.optimizers import adam, sgd
from neurarium.running.devices import keep_freed_memory
from neurarium.systems.foundations.backpropagation import MLP, Backpropagate
from neurarium.systems.foundations.softmax_regression import SoftmaxRegression

BATCH = 200  # the default of the peer
EPOCHS = 40
MEMBERS, MEMBERS_BATCH = 32, 64
POPULATION_STEPS = 300
MILLION = (784, 800, 440, 10)  # 784·800 + 800·440 + 440·10 weights: 0.98 million


def digits() -> tuple[np.ndarray, np.ndarray]:
    """All 1,797 digits, pixels from 0 to 1, as scikit-learn takes them."""
    found = load_digits()
    return (found.data / 16).astype(np.float32), found.target


def held_digits() -> Held[Labelled]:
    """The same for us."""
    inputs, labels = digits()
    return Held(Labelled(torch.from_numpy(inputs), torch.from_numpy(labels)))


def ours_for_epochs(make: Callable[[], Any]) -> Callable[[], float]:
    """Our learner over the digits, epoch after epoch, on one thread: the products are too small to share."""
    torch.set_num_threads(1)
    data = held_digits()

    def work() -> float:
        learner, steps = make(), EPOCHS * (len(data) // BATCH)
        for batch in islice(data.batches(BATCH, seed=0), steps):
            learner.learn(batch)
        return steps * BATCH

    return work


def peer_for_epochs(make: Callable[[], Any]) -> Callable[[], float]:
    """scikit-learn's `partial_fit`, an epoch a call."""
    inputs, labels = digits()

    def work() -> float:
        peer = make()
        for _ in range(EPOCHS):
            peer.partial_fit(inputs, labels, classes=np.arange(10))
        return EPOCHS * len(labels)

    return work


def softmax_learner() -> Classify[SoftmaxRegression]:
    """Softmax regression by plain descent."""
    return Classify(SoftmaxRegression(shape=(64,), classes=10), optimizer=sgd, lr=0.1)


def network_learner() -> Backpropagate:
    """64-64-64-10 with the deltas written out, by Adam."""
    return Backpropagate(MLP(features=64, hidden=[64, 64], classes=10, activation="relu"), lr=1e-3)


def network_by_autograd() -> Classify[nn.Sequential]:
    """The same network, its gradients found by autograd."""
    layers = (nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return Classify(nn.Sequential(*layers), optimizer=adam, lr=1e-3)


def softmax_peer() -> MLPClassifier:
    """A network without hidden layers is softmax regression."""
    return MLPClassifier((), solver="sgd", batch_size=BATCH, learning_rate_init=0.1, momentum=0.0, alpha=0.0)


def network_peer() -> MLPClassifier:
    """64-64-64-10 by Adam."""
    return MLPClassifier((64, 64), solver="adam", batch_size=BATCH, learning_rate_init=1e-3, alpha=0.0)


def one_against_rest_peer() -> SGDClassifier:
    """Ten logistic units, each against the rest, an example at a time (a batch it does not know)."""
    return SGDClassifier(loss="log_loss", alpha=1e-4)


def on_digits(name: str, what: str, ours: Callable[[], Any], peer: Callable[[], Any], peers_name: str) -> Benchmark:
    """The digits, epoch after epoch, against an estimator of scikit-learn; ours on one thread."""
    work = f"{what}, batch {BATCH}, {EPOCHS} epochs of the digits, ours on 1 thread"
    made = partial(ours_for_epochs, ours), partial(peer_for_epochs, peer)
    return Benchmark(name, work, "samples", *made, f"scikit-learn {peers_name}.partial_fit", 1.0)


def population_ours() -> Callable[[], float]:
    """32 networks 64-32-10 as one program, each with its own rate, momentum, decay and order."""
    inputs, labels = digits()
    examples = Labelled(torch.from_numpy(inputs), torch.from_numpy(labels))
    even, rows = torch.ones(MEMBERS), [torch.arange(len(labels))] * MEMBERS

    def work() -> float:
        members = Members(sizes=(64, 32, 10), seeds=range(MEMBERS), gains=even)
        learner = Population(members, lr=0.05 * even, momentum=0.9 * even, decay=1e-4 * even)
        stream = MemberBatches(examples, rows=rows, seeds=range(MEMBERS), size=MEMBERS_BATCH, order=epoch_order)
        for batch in islice(stream, POPULATION_STEPS):
            learner.learn(batch)
        return MEMBERS * POPULATION_STEPS

    return work


def population_peer() -> Callable[[], float]:
    """The same networks one by one, each an ordinary training."""
    data = held_digits()

    def work() -> float:
        for seed in range(MEMBERS):
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
            optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4, fused=True)
            for inputs, labels in islice(data.batches(MEMBERS_BATCH, seed=seed), POPULATION_STEPS):
                optimizer.zero_grad()
                cross_entropy(model(inputs), labels).backward()
                optimizer.step()
        return MEMBERS * POPULATION_STEPS

    return work


def population_benchmark() -> Benchmark:
    """32 networks 64-32-10 at once."""
    work = f"{POPULATION_STEPS} steps of {MEMBERS} networks 64-32-10, batch {MEMBERS_BATCH}, settings of their own"
    return Benchmark("population", work, "network-steps", population_ours, population_peer, "PyTorch, one by one", 6.0)


MakeRule = Callable[[Iterable[Tensor]], torch.optim.Optimizer]

PAIRS: dict[str, tuple[MakeRule, MakeRule]] = {
    "descent": (partial(rules.Descent, lr=1e-3), partial(torch.optim.SGD, lr=1e-3, fused=True)),
    "momentum": (partial(rules.Momentum, lr=1e-3), partial(torch.optim.SGD, lr=1e-3, momentum=0.9, fused=True)),
    "nesterov": (
        partial(rules.Nesterov, lr=1e-3),
        partial(torch.optim.SGD, lr=1e-3, momentum=0.9, nesterov=True, fused=True),
    ),
    "adam": (partial(rules.Adam, lr=1e-3), partial(torch.optim.Adam, lr=1e-3, fused=True)),
    "adamw": (partial(rules.adamw, lr=1e-3), partial(torch.optim.AdamW, lr=1e-3, fused=True)),
}
"""Our rule and torch's fused one, by name."""


def million() -> nn.Sequential:
    """784-800-440-10."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(MILLION):
        layers += [nn.ReLU(), nn.Linear(inputs, outputs)]
    return nn.Sequential(*layers[1:])


def training(make: MakeRule) -> Callable[[], float]:
    """Whole training steps of the network of a million parameters, freed memory kept as every run of ours does."""
    keep_freed_memory()
    model, (images, labels) = million(), synthetic_images(MEMBERS_BATCH, (784,))
    optimizer = make(model.parameters())

    def work() -> float:
        for _ in range(200):
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimizer.step()
        return 200

    return work


def bare_update(name: str) -> dict[str, float]:
    """How many times as long as torch's fused kernel our update alone takes, the median of turns."""
    ratios = []
    steps = [_update(make) for make in PAIRS[name]]
    for _ in range(9):
        ours, peer = (step() for step in steps)
        ratios.append(ours / peer)
    return {"update_alone_times_as_long": sorted(ratios)[len(ratios) // 2]}


def _update(make: MakeRule) -> Callable[[], float]:
    model = million()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer = make(model.parameters())
    optimizer.step()

    def seconds() -> float:
        start = time.perf_counter()
        for _ in range(50):
            optimizer.step()
        return time.perf_counter() - start

    return seconds


def rule_benchmark(name: str) -> Benchmark:
    """One of our rules against torch's fused kernel, as a part of training."""
    ours, peer = PAIRS[name]
    return Benchmark(
        f"optimizer_{name}",
        f"training steps of 784-800-440-10 (1 M parameters), batch {MEMBERS_BATCH}, by {name}",
        "steps",
        partial(training, ours),
        partial(training, peer),
        "torch.optim, fused",
        1 / 1.3,
        also=partial(bare_update, name),
    )


DESCENT, ADAM = "softmax regression by plain descent", "64-64-64-10 by Adam"
DIGITS: list[tuple[str, str, Callable[[], Any], Callable[[], Any], str]] = [
    ("softmax_regression", DESCENT, softmax_learner, softmax_peer, "MLPClassifier(())"),
    (
        "softmax_regression_sgd",
        f"{DESCENT} (the peer steps by example)",
        softmax_learner,
        one_against_rest_peer,
        "SGDClassifier",
    ),
    ("digits_network", f"{ADAM}, the deltas written out", network_learner, network_peer, "MLPClassifier"),
    ("digits_network_autograd", f"{ADAM} through Classify", network_by_autograd, network_peer, "MLPClassifier"),
]

BENCHMARKS: dict[str, Callable[[], Benchmark]] = {
    **{row[0]: partial(on_digits, *row) for row in DIGITS},
    "population": population_benchmark,
    **{f"optimizer_{name}": partial(rule_benchmark, name) for name in PAIRS},
}
