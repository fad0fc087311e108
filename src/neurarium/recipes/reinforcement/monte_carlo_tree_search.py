"""Monte Carlo tree search on connect four: the rules, random games, and nothing learned."""

import time
from itertools import count
from math import log10
from typing import Literal, TypeAlias

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.games import Game, Positions, rows
from neurarium.parts.rollouts import Rollouts
from neurarium.parts.tree import Search, Tree, root_values, root_visits
from neurarium.parts.tree_nodes import NEW
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.reinforcement.monte_carlo_tree_search import UCT_EXPLORATION, most_visited, tell
from neurarium.worlds.named import load_game
from neurarium.worlds.solved import Solved, by_chance, kept, solved

PUCT_EXPLORATION = 1.25  # Silver et al. 2018, A general reinforcement learning algorithm, pseudocode: c_init
MARKS = 13  # numbers of simulations, evenly spread on a logarithmic scale, at which the moves are looked at
STORY = 11  # simulations before the one that is told
EVALUATE, BACK_UP = 2, 3  # of the phases 0 to 3
ROOT = (-1, -1)  # in place of the move that led to the root
SIZE = 0.8  # a small board's longer side, of the distance between two
INCHES = 0.72  # between two small boards
CHOICES = 4  # moves of the position whose tree is drawn, as nearly as there is one
LABEL = 0.42  # how far below its middle a board's numbers stand
DRAWN = 3  # positions whose visits and values are drawn
STONES = {1: COLOURS[1], -1: COLOURS[3]}  # the first player's, the second's

PLAIN = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # behind numbers that lie on a line

Edge: TypeAlias = tuple[int, int]
"""A move in a tree: the node it begins at, and the action."""


@recipe(
    expects=[
        Expect("optimal_moves", at_least=0.78),
        Expect("simulations_per_second", at_least=1000, timing=True),
    ],
    smoke=dict(simulations=50, positions=40),
    control=dict(simulations=1),
    exempt=dict(
        resumes="it searches and learns nothing, so there is no fit to resume",
        stateless="it searches and learns nothing, so there is no update",
        gradients="a search has no trainable parameter",
        refuses="there are no batches; the search's tests hold it to refusing unfit options, moves and evaluations",
        exports="there are no weights to take away",
    ),
)
def monte_carlo_tree_search(
    run: Run,
    *,
    game: str = "connect_four",
    rule: Literal["uct", "puct"] = "uct",
    simulations: int = 1000,
    rollouts: int = 1,
    exploration: float | None = None,
    positions: int = 200,
) -> Result:
    """Tree search with random games finds most of connect four's best moves, from the rules alone.

    A tree of positions grows one node a simulation, in four phases. Select: go down from the position asked about,
    each time to the move that did well so far or was tried little. Expand: add the position that nobody has looked at
    yet. Evaluate: play from there to the end at random. Back up: tell all moves on the way how it ended. The move
    tried most often is played. All positions are searched at once, each in a tree of its own.

    `optimal_moves` is the share of solved positions in which that move keeps what the position is worth (a won game
    stays won, a drawn one drawn): 200 of connect four after 8 to 16 random moves, without a win in one, whose moves
    are not all as good; solved by a perfect player. Look at how the share grows with the simulations, at how visits
    spread over the moves of some positions, and at one simulation told phase by phase.

    Args:
        game: connect_four or tic_tac_toe.
        rule: uct (what was tried seldom is tried), or puct (the same, by the formula of AlphaGo Zero).
        simulations: before each move.
        rollouts: random games from each new position; its value is their mean.
        exploration: weight of trying what was tried seldom (default: √2 for uct, 1.25 for puct).
        positions: how many solved positions are asked about, at most.
    """
    require(simulations >= 1, f"simulations is {simulations}; a search needs at least 1")
    played = load_game(game)
    known = solved(played).some(positions).to(run.device)
    exploration = exploration if exploration is not None else UCT_EXPLORATION if rule == "uct" else PUCT_EXPLORATION

    def search_for(name: str, simulations: int) -> Search:
        advice = Rollouts(played, rollouts=rollouts, generator=run.generator(name))
        return Search(played, advice, simulations=simulations, rule=rule, exploration=exploration)

    start = time.perf_counter()
    tree, shares = searched(search_for("rollouts", simulations), known)
    seconds = time.perf_counter() - start
    for done, share in shares.items():
        run.record("search", done, optimal_moves=share)
    chance = by_chance(played, known)
    if run.renders:
        run.picture("simulations", draw_shares(shares, chance))
        run.picture("positions", draw_positions(played, tree, known))
        run.picture("phases", draw_phases(search_for("story", STORY + 1), late(played, known.positions)))
    return run.result(
        optimal_moves=shares[simulations],
        optimal_by_chance=chance,
        simulations_per_second=simulations * len(known.optimal) / seconds,
    )


def late(game: Game, positions: Positions) -> Positions:
    """A position with few moves to choose from, whose tree is narrow."""
    return rows(positions, (game.legal(positions).sum(1) - CHOICES).abs().argmin().unsqueeze(0))


def searched(search: Search, known: Solved) -> tuple[Tree, dict[int, float]]:
    """The grown trees, and what share of moves was optimal after so many simulations on the way."""
    every, total = torch.arange(len(known.optimal), device=known.optimal.device), search.simulations
    marks = {round(10 ** (log10(total) * mark / (MARKS - 1))) for mark in range(MARKS)}
    tree, shares = search.begin(known.positions), {}
    for done in range(1, total + 1):
        search.simulate(tree, every)
        if done in marks:
            shares[done] = kept(most_visited(tree), known)
    return tree, shares


def draw_shares(shares: dict[int, float], chance: float) -> Figure:
    """The share of optimal moves by simulations."""
    figure, [ax] = panels(width=5.6)
    ax.plot(list(shares), list(shares.values()), "o-", markersize=4)
    ax.axhline(chance, color=COLOURS[7], linestyle="--", linewidth=1)
    ax.text(max(shares), chance - 0.015, "any legal move", color=COLOURS[7], ha="right", va="top", fontsize=9)
    ax.set(xscale="log", ylim=(min(0.2, *shares.values()), 1.0), xlabel="simulations before the move")
    ax.set_title("moves that keep what the position is worth")
    return figure


def draw_positions(game: Game, tree: Tree, known: Solved) -> Figure:
    """Some positions, and how the search saw their moves: bars are visits, numbers mean values, colour the truth."""
    telling = root_visits(tree).double().std(1).argsort()
    # From undecided to decided: positions at even distances in how unequally the visits spread.
    places = [int(telling[(2 * place + 1) * len(telling) // (2 * DRAWN)]) for place in range(DRAWN)]
    figure, axes = panels(2, DRAWN, width=3.2, height=2.7)
    for column, place in enumerate(places):
        board = known.positions.board[place]
        above, below = axes[column], axes[DRAWN + column]
        draw_board(above, board, (0.0, 0.0), 1.0)
        above.set_title(f"{'red' if known.positions.player[place] == 1 else 'yellow'} to move", fontsize=9)
        above.set(aspect="equal", xlim=(-0.05, board.shape[1] + 0.05), ylim=(-0.05, board.shape[0] + 0.05))
        above.axis("off")
        draw_moves(below, game, root_visits(tree)[place], root_values(tree)[place], known.optimal[place])
        below.set_ylabel("visits" if column == 0 else "")
    return figure


def draw_moves(ax: Axes, game: Game, visits: Tensor, values: Tensor, optimal: Tensor) -> None:
    """Visits of every move, its mean value above, green where it is optimal."""
    counts, words = visits.tolist(), [game.word(action) for action in range(game.actions)]
    colours = [COLOURS[2] if good else COLOURS[7] for good in optimal.tolist()]
    ax.bar(range(len(counts)), counts, color=colours)
    for place, (tried, value) in enumerate(zip(counts, values.tolist(), strict=True)):
        if tried:
            ax.text(place, tried, signed(value), ha="center", va="bottom", fontsize=7)
    ax.set(ylim=(0, 1.15 * max(counts)))
    ax.set_xticks(range(len(words)), words)
    ax.grid(axis="x", visible=False)
    best = [word for word, good in zip(words, optimal.tolist(), strict=True) if good]
    ax.set_title(f"optimal (green): {' '.join(best)}", fontsize=9)


def signed(value: float) -> str:
    """A number with its sign, nought without.

    >>> signed(0.31), signed(-0.04)
    ('+0.3', '0.0')
    """
    return f"{value:+.1f}" if abs(value) >= 0.05 else "0.0"


def draw_board(ax: Axes, board: Tensor, corner: tuple[float, float], cell: float) -> None:
    """A board from its lower left corner."""
    height, width = board.shape
    left, bottom = corner
    size = (width * cell, height * cell)
    ax.add_patch(Rectangle(corner, *size, facecolor="#eef1f5", edgecolor="#8a8f98", linewidth=0.6, zorder=2))
    for row, stones in enumerate(board.tolist()):
        for column, stone in enumerate(stones):
            centre = (left + (column + 0.5) * cell, bottom + (height - row - 0.5) * cell)
            colour = STONES.get(stone, "white")
            ax.add_patch(Circle(centre, 0.4 * cell, facecolor=colour, edgecolor="none", zorder=3))


def draw_phases(search: Search, start: Positions) -> Figure:
    """One simulation in a small tree, phase by phase."""
    tree = search.begin(start)
    for _ in range(STORY):
        search.simulate(tree, torch.zeros(1, dtype=torch.int64))
    told = tell(search, tree)
    spots = layout(told.expanded)
    found = {1: "red wins", 0: "a draw", -1: "yellow wins"}[round(told.value)]
    titles = ("1  select", "2  expand", f"3  evaluate: {found}", "4  back up")
    wide, tall = max(x for x, _ in spots.values()) + 1, 1.4 - min(y for _, y in spots.values())
    figure, axes = panels(2, 2, width=INCHES * wide, height=INCHES * tall + 0.3)
    for phase, (ax, title) in enumerate(zip(axes, titles, strict=True)):
        drawn, counted = told.expanded if phase else told.before, told.after if phase == BACK_UP else told.before
        draw_tree(ax, search.game, drawn, counted, spots, told.way)
        ax.set(xlim=(-0.5, wide - 0.5), ylim=(0.45 - tall, 0.45), title=title, aspect="equal")
        ax.axis("off")
    x, y = spots[told.way[-1]]
    axes[EVALUATE].text(
        x, y - LABEL - 0.16, f"{told.value:+.0f}", ha="center", va="top", color=COLOURS[4], weight="bold"
    )
    figure.suptitle("below each board: visits, and the mean outcome (+1: red wins)", fontsize=9, color=COLOURS[7])
    return figure


def layout(tree: Tree) -> dict[Edge, tuple[float, float]]:
    """Where the board after each move of the first game's tree stands: leaves side by side, others above their own."""
    spots: dict[Edge, tuple[float, float]] = {}
    leaves = count()

    def place(edge: Edge, node: int, depth: int) -> float:
        children = enumerate(tree.children[0, node].tolist() if node >= 0 else [])
        below = [place((node, action), child, depth + 1) for action, child in children if child != NEW]
        spots[edge] = (sum(below) / len(below) if below else float(next(leaves)), -float(depth))
        return spots[edge][0]

    place(ROOT, 0, 0)
    return spots


def draw_tree(
    ax: Axes, game: Game, tree: Tree, counted: Tree, spots: dict[Edge, tuple[float, float]], way: list[Edge]
) -> None:
    """Boards joined by moves; beside each, how often it was visited and its mean value to the first player."""
    lines = {int(tree.children[0, node, action]): (node, action) for node, action in spots if node >= 0} | {0: ROOT}
    for edge, (x, y) in spots.items():
        node, action = edge
        if node >= 0 and tree.children[0, node, action] == NEW:
            continue
        board = tree.positions.board[0]
        if node >= 0:
            here = rows(tree.positions, torch.tensor([node]))
            board = game.play(here, torch.tensor([action])).board[0]
            taken, above = edge in way, spots[lines[node]]
            colour, thick = (COLOURS[4], 2.4) if taken else ("#8a8f98", 0.9)
            ax.plot((above[0], x), (above[1], y), color=colour, linewidth=thick, zorder=1)
            visits = int(counted.visits[0, node, action])
            mean = float(counted.totals[0, node, action] * here.player) / max(1, visits)
            text = f"{visits}: {signed(mean)}" if visits else "new"
            weight = "bold" if taken else "normal"
            ax.text(
                x,
                y - LABEL,
                text,
                ha="center",
                va="top",
                fontsize=7,
                color="#333333",
                weight=weight,
                zorder=4,
                bbox=PLAIN,
            )
        cell = SIZE / max(board.shape)
        draw_board(ax, board, (x - cell * board.shape[1] / 2, y - cell * board.shape[0] / 2), cell)
