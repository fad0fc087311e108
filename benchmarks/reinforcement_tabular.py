"""Tabular Q-learning on FrozenLake: many learners at once in tensors, against a plain Python loop over Gymnasium's."""

from collections.abc import Callable

import gymnasium
import numpy as np
import torch

from benchmarks.harness import Benchmark
from neurarium.systems.reinforcement.q_learning import Experience, QLearning
from neurarium.worlds.tabular import load_world

LAKE = "FrozenLake-v1"
LEARNERS = 4096
STEPS = 300  # of every learner, in one turn
PEER_STEPS = 60_000  # of the only one
EPSILON, DISCOUNT, RATE = 0.1, 0.99, 0.1


def together() -> Callable[[], float]:
    """Every learner with a table, a lake and chances of its own; returns the updates of all."""
    torch.set_num_threads(1)
    world = load_world(LAKE, copies=LEARNERS, generator=torch.Generator().manual_seed(0))
    learner = QLearning(learners=LEARNERS, states=world.states, actions=world.actions, discount=DISCOUNT)
    learner.progress = 0.4  # past the random beginning, so that actions are chosen by the table
    stream = Experience(world, learner.act, generator=torch.Generator().manual_seed(1))

    def work() -> float:
        for _ in range(STEPS):
            learner.learn(next(stream))
        return STEPS * LEARNERS

    return work


def one_by_one() -> Callable[[], float]:
    """The loop as textbooks have it: one learner, a NumPy table, Gymnasium's own lake."""
    lake, chance = gymnasium.make(LAKE), np.random.default_rng(0)
    table = np.zeros((16, 4))
    lake.reset(seed=0)

    def work() -> float:
        state, _ = lake.reset()
        for _ in range(PEER_STEPS):
            explores = chance.random() < EPSILON
            action = int(chance.integers(4)) if explores else int(table[state].argmax())
            after, reward, terminated, truncated, _ = lake.step(action)
            target = float(reward) + DISCOUNT * (0.0 if terminated else table[after].max())
            table[state, action] += RATE * (target - table[state, action])
            state = lake.reset()[0] if terminated or truncated else after
        return PEER_STEPS

    return work


def q_learning_benchmark() -> Benchmark:
    """Tabular Q-learning, updates a second on one core."""
    return Benchmark(
        name="q_learning",
        work=f"tabular Q-learning on {LAKE}, ε-greedy: {LEARNERS} learners at once, against one in a Python loop",
        unit="updates",
        ours=together,
        peer=one_by_one,
        peer_name="a Python loop over Gymnasium",
        at_least=30.0,
    )


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {"q_learning": q_learning_benchmark}
