"""Self-play training of TD-Gammon: ours against a straightforward trainer in NumPy with moves in plain Python.

The peer is what one writes first: lists for boards, a recursive search for the turns, the boards a turn can lead to
judged in one product, one game at a time, TD(λ) with a trace. Both sides have the same 198 inputs and hidden units, and
begin from the same trained weights, so that their games are about as long.
"""

import random
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.harness import Benchmark
from neurarium.systems.reinforcement.td_gammon import SelfPlay, TDGammon
from neurarium.worlds.backgammon import Backgammon
from neurarium.worlds.backgammon_moves import opening

GAMES, HIDDEN, DECAY, LR = 64, 40, 0.7, 0.01
TRAINING = 1500  # updates by which the weights were made that both sides begin with
STEPS = 400  # updates of ours in a turn
PEER_GAMES = 25  # of the peer's in a turn
PEER_LR = 0.01  # small, so that the trained weights stay good
OFF, BAR = 25, 0

Board = tuple[int, ...]


def trained() -> TDGammon:
    """Weights that finish their games."""
    torch.manual_seed(0)
    game = Backgammon(generator=torch.Generator().manual_seed(0))
    learner = TDGammon(game=game, games=GAMES, hidden=HIDDEN, decay=DECAY, lr=LR)
    stream = SelfPlay(learner, games=GAMES)
    for _ in range(TRAINING):
        learner.learn(next(stream))
    return learner


def ours() -> Callable[[], float]:
    """Many games at once."""
    learner = trained()
    stream = SelfPlay(learner, games=GAMES)

    def work() -> float:
        before = learner.finished
        for _ in range(STEPS):
            learner.learn(next(stream))
        return learner.finished - before

    return work


def steps(board: Board, die: int) -> list[Board]:
    """Every board that one checker's move leads to."""
    rear = next((place for place in range(25) if board[place] > 0), 25)
    found = []
    for start in range(25):
        end = start + die
        if board[start] <= 0 or (rear == BAR and start != BAR):
            continue
        if end < OFF and board[end] < -1:
            continue
        if end >= OFF and (rear < 19 or (end > OFF and start != rear)):
            continue
        after = list(board)
        after[start] -= 1
        if end < OFF:
            if after[end] == -1:
                after[end] = 0
                after[25] -= 1
            after[end] += 1
        found.append(tuple(after))
    return found


def turns(board: Board, dice: tuple[int, int]) -> list[Board]:
    """Every board that a whole turn leads to."""
    high, low = max(dice), min(dice)
    orders = [(high,) * 4] if high == low else [(high, low), (low, high)]
    ends: dict[Board, tuple[int, int]] = {}
    for order in orders:
        level = {board}
        for count, die in enumerate(order, start=1):
            level = {after for one in level for after in steps(one, die)}
            for one in level:
                ends[one] = max(ends.get(one, (0, 0)), (count, order[0]))
    if not ends:
        return [board]
    longest = max(count for count, _ in ends.values())
    first = max(die for count, die in ends.values() if count == longest)
    return [one for one, (count, die) in ends.items() if count == longest and (longest > 1 or die == first)]


def inputs(boards: list[Board]) -> np.ndarray:
    """Tesauro's 198 units."""
    array = np.array(boards)
    units = np.zeros((len(boards), 24, 8), dtype=np.float32)
    for side, counts in enumerate((array[:, 1:25].clip(min=0), (-array[:, 1:25]).clip(min=0))):
        for least in (1, 2, 3):
            units[:, :, 4 * side + least - 1] = counts >= least
        units[:, :, 4 * side + 3] = (counts - 3).clip(min=0) / 2
    rest = np.zeros((len(boards), 6), dtype=np.float32)
    rest[:, 0], rest[:, 1] = array[:, 0] / 2, -array[:, 25] / 2
    rest[:, 2], rest[:, 3] = 1 - array.clip(min=0).sum(1) / 15, 1 + array.clip(max=0).sum(1) / 15
    rest[:, 4] = 1
    return np.concatenate((units.reshape(len(boards), 192), rest), axis=1)


def other_side(board: Board) -> Board:
    """The board as the other sees it."""
    return tuple(-count for count in reversed(board))


class Plain:
    """The peer: a network of NumPy arrays that plays and learns game by game."""

    def __init__(self, learner: TDGammon) -> None:
        self.weights = [p.detach().numpy().copy() for p in learner.network.parameters()]
        self.chance = random.Random(0)

    def values(self, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The chances to win, and the hidden units."""
        inner, inner_bias, outer, outer_bias = self.weights
        hidden = 1 / (1 + np.exp(-(units @ inner.T + inner_bias)))
        return 1 / (1 + np.exp(-(hidden @ outer[0] + outer_bias[0]))), hidden

    def gradients(self, units: np.ndarray) -> tuple[float, list[np.ndarray]]:
        """The chance of one board, and its gradient."""
        value, hidden = self.values(units[None])
        slope = value[0] * (1 - value[0])
        inner = slope * self.weights[2][0] * hidden[0] * (1 - hidden[0])
        return float(value[0]), [np.outer(inner, units), inner, slope * hidden, np.array([slope])]

    def play(self) -> None:
        """One game, learned from turn by turn."""
        board: Board = tuple(opening().tolist())
        trace = [np.zeros_like(weight) for weight in self.weights]
        units = inputs([board])[0]
        while True:
            value, gradient = self.gradients(units)
            trace = [part - DECAY * one for one, part in zip(trace, gradient, strict=True)]
            choices = turns(board, (self.chance.randint(1, 6), self.chance.randint(1, 6)))
            won = [choice for choice in choices if max(choice) <= 0]
            if not won:
                seen = [other_side(choice) for choice in choices]
                every = inputs(seen)
                best = int(self.values(every)[0].argmin())
                board, units = seen[best], every[best]
            target = 1.0 if won else 1 - float(self.values(units[None])[0][0])
            for weight, one in zip(self.weights, trace, strict=True):
                weight += PEER_LR * (target - value) * one
            if won:
                return


def peer() -> Callable[[], float]:
    """One game after another."""
    plain = Plain(trained())

    def work() -> float:
        for _ in range(PEER_GAMES):
            plain.play()
        return PEER_GAMES

    return work


def benchmark() -> Benchmark:
    """Games of self-play learned from in a second."""
    work = (
        f"backgammon self-play with an update after every turn: 198 inputs, {HIDDEN} hidden units, λ = {DECAY}, from "
        f"the same trained weights; ours {GAMES} games at once, the peer one"
    )
    return Benchmark("td_gammon", work, "games", ours, peer, "NumPy and plain Python", 2.0)


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {"td_gammon": benchmark}
