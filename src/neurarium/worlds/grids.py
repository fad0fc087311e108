"""Grids: where the states of an environment lie on a map, for value maps and policies to be drawn on.

Gymnasium's FrozenLake, CliffWalking and Taxi have places, and actions with directions; the states of any other
environment are laid out by number on the squarest sheet.
"""

from math import ceil, sqrt
from typing import Any, NamedTuple

import numpy as np

from neurarium.worlds.stepped import Environment

# Direction of each action in columns and rows, rows counted downward; Gymnasium's order of actions.
FROZEN_LAKE_MOVES = {0: (-1, 0), 1: (0, 1), 2: (1, 0), 3: (0, -1)}
CLIFF_WALKING_MOVES = {0: (0, -1), 1: (1, 0), 2: (0, 1), 3: (-1, 0)}
TAXI_MOVES = {0: (0, 1), 1: (0, -1), 2: (1, 0), 3: (-1, 0)}
TAXI_WORDS = {4: "pick", 5: "drop"}
TAXI_ABOARD = 4  # passenger's place: in the taxi


class Grid(NamedTuple):
    """A map of states.

    Attributes:
        title: what it shows.
        states: the number of the state at each place, −1 for none.
        letters: what is written at each place ("" for nothing).
        moves: the direction of those actions that have one, in columns and rows.
        words: what to call the others; by their number if not here.
    """

    title: str
    states: np.ndarray
    letters: np.ndarray
    moves: dict[int, tuple[int, int]]
    words: dict[int, str] = {}  # noqa: RUF012 - never changed


def grids(environment: Environment, states: int) -> list[Grid]:
    """The maps of an environment.

    Args:
        environment: made by `worlds.tabular.make`.
        states: how many states it has.

    >>> from neurarium.worlds.tabular import make
    >>> [lake] = grids(make("FrozenLake-v1"), 16)
    >>> lake.states.shape, str(lake.letters[3, 3])
    ((4, 4), 'G')
    >>> [grid.title for grid in grids(make("Taxi-v4"), 500)][:1]
    ['passenger aboard, to R']
    """
    bare: Any = environment.unwrapped
    kind = type(bare).__name__
    if kind == "FrozenLakeEnv":
        letters = np.where(bare.desc == b"F", b"", bare.desc).astype(str)
        return [Grid("", np.arange(letters.size).reshape(letters.shape), letters, FROZEN_LAKE_MOVES)]
    if kind == "CliffWalkingEnv":
        return [_cliff(bare)]
    if kind == "TaxiEnv":
        return [_taxi(bare, goal) for goal in range(len(bare.locs))]
    side = ceil(sqrt(states))
    numbers = np.full(side * -(-states // side), -1)
    numbers[:states] = np.arange(states)
    return [Grid("states by number", numbers.reshape(-1, side), np.full((len(numbers) // side, side), ""), {})]


def _cliff(bare: Any) -> Grid:
    letters = np.full(bare.shape, "")
    letters[bare._cliff] = "C"
    letters.flat[bare.start_state_index] = "S"
    letters[-1, -1] = "G"
    return Grid("", np.arange(letters.size).reshape(bare.shape), letters, CLIFF_WALKING_MOVES)


def _taxi(bare: Any, goal: int) -> Grid:
    rows, columns = range(bare.max_row + 1), range(bare.max_col + 1)
    numbers = np.array([[bare.encode(row, column, TAXI_ABOARD, goal) for column in columns] for row in rows])
    letters = np.full(numbers.shape, "")
    for name, place in zip("RGYB", bare.locs, strict=True):
        letters[place] = name
    return Grid(f"passenger aboard, to {'RGYB'[goal]}", numbers, letters, TAXI_MOVES, TAXI_WORDS)
