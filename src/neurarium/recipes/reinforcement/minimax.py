"""Minimax and alpha-beta on tic-tac-toe, connect four, or any open two-player zero-sum game of OpenSpiel."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neurarium.errors import InvalidValue, require
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.reinforcement.minimax import (
    HASTE,
    Row,
    Rows,
    State,
    against_every_reply,
    alpha_beta,
    unknown,
)
from neurarium.systems.reinforcement.minimax import (
    minimax as plain_minimax,
)
from neurarium.worlds.heuristics import heuristic_of
from neurarium.worlds.lines import tic_tac_toe
from neurarium.worlds.named import BACKGAMMON, load_game
from neurarium.worlds.spiel import load_spiel

PLIES = 2  # made by chance before the further positions from which nodes are counted
GAMES = 20  # against chance, where there are too many replies to look at all
DEPTH = 4  # where a game is too long to be looked through
LATE = (0, 2, 4, 8, 7)  # a game of tic-tac-toe whose next move may win, draw or lose
SHADES = {1: "#cfe3f5", 0: "#eeeeee", -1: "#f6d3d8"}  # won for x, drawn, won for o


@recipe(
    expects=[Expect("losses", equals=0), Expect("prune_ratio", at_most=0.2)],
    smoke=dict(depth=2, positions=3),
    control=dict(depth=1),
    exempt=dict(
        resumes="it looks ahead and learns nothing, so there is no fit to resume",
        stateless="it looks ahead and learns nothing, so there is no update",
        gradients="a search has no trainable parameter",
        refuses="there are no batches; the system's and the worlds' tests hold them to refusing unfit games",
        exports="there are no weights to take away",
    ),
)
def minimax(
    run: Run,
    *,
    game: str = "tic_tac_toe",
    depth: int | None = None,
    heuristic: bool = True,
    positions: int = 4,
    games: int | None = None,
) -> Result:
    """Minimax looks through tic-tac-toe to its ends and never loses; alpha-beta does so with a fraction of the nodes.

    Every move is as good as the opponent's best reply to it. `losses` counts lost games when the player answers by
    alpha-beta: over every reply that the opponent can ever give, from both sides, where a game is as short as
    tic-tac-toe; else in games against chance, as many from either side. `prune_ratio` is the number of nodes that
    alpha-beta visits over plain minimax's: from the start and from further positions that chance made, at the same
    depth, with moves tried in the same order (the middle of the board first; OpenSpiel's own order in its games). Both
    find the same values. Look at the nodes against the depth, and at a small tree with its values and cut branches.

    Args:
        game: tic_tac_toe, connect_four, go:SIZE, or an open zero-sum game of OpenSpiel: breakthrough, othello, ...
        depth: plies to look ahead (default: 9 in tic-tac-toe, its whole length, and 4 in other games).
        heuristic: guess the value at the depth limit by open lines, or area in Go; otherwise, and elsewhere, by 0.
        positions: further positions, two plies from the start, at which nodes are counted.
        games: to play against chance (default: 20, and in tic-tac-toe all that can happen).
    """
    table = lay(game, guesses=heuristic)
    depth = depth if depth is not None else table.longest or DEPTH
    require(depth >= 1, f"depth is {depth}; look at least 1 ply ahead")
    require(positions >= 0, f"positions is {positions}; it cannot be negative")
    require(games is None or games >= 2, f"games is {games}; play at least 2, one from either side")
    counts = [count_nodes(table, table.root, plies) for plies in range(1, depth + 1)]
    chance = run.generator("positions")
    others = [count_nodes(table, opening(table.root, chance), depth) for _ in range(positions)]
    plain, pruned = (sum(each) for each in zip(counts[-1], *others, strict=True))
    if run.renders:
        run.picture("nodes", draw_nodes(counts, game))
        run.picture("tree", draw_tree(table))
    won, drawn, lost = play_out(table, depth, games, run.generator("chance"))
    return run.result(
        losses=lost,
        prune_ratio=pruned / plain,
        wins=won,
        draws=drawn,
        value=alpha_beta(table.root, depth=depth, heuristic=table.heuristic).value,
        minimax_nodes=counts[-1][0],
        alpha_beta_nodes=counts[-1][1],
    )


class Table(NamedTuple):
    """A game laid out: its first state, its heuristic, and its length if that can be looked through."""

    root: Any
    heuristic: Callable[[Any], float]
    longest: int | None


def lay(name: str, *, guesses: bool) -> Table:
    """The game of this name: one of ours, or OpenSpiel's."""
    try:
        game = load_game(name)
    except InvalidValue:
        return Table(load_spiel(name), unknown, None)
    require(name != BACKGAMMON, f"game '{name}' has dice, which minimax cannot play: take connect_four or the like")
    states = Rows(game, guess=heuristic_of(game) if guesses else None)
    return Table(states.state(), states.heuristic, game.longest if name == "tic_tac_toe" else None)


def count_nodes(table: Table, state: State, depth: int) -> tuple[int, int]:
    """Plain minimax's nodes and alpha-beta's, which must agree on value and move."""
    plain = plain_minimax(state, depth=depth, heuristic=table.heuristic)
    pruned = alpha_beta(state, depth=depth, heuristic=table.heuristic)
    assert plain[:2] == pruned[:2]
    return plain.nodes, pruned.nodes


def opening(state: State, chance: torch.Generator, plies: int = PLIES) -> State:
    """The state after some moves of chance, or before the end."""
    for _ in range(plies):
        following = state.play(any_of(state, chance))
        if following.over:
            return state
        state = following
    return state


def any_of(state: State, chance: torch.Generator) -> int:
    """A legal action, all as likely."""
    actions = state.legal()
    return actions[int(torch.randint(len(actions), (), generator=chance))]


def play_out(table: Table, depth: int, games: int | None, chance: torch.Generator) -> tuple[int, int, int]:
    """Games won, drawn and lost from both sides, against every reply or against chance."""
    known: dict[Any, int] = {}  # the same position comes up in many games

    def choose(state: State) -> int:
        if state not in known:
            found = alpha_beta(state, depth=depth, heuristic=table.heuristic, haste=HASTE)
            assert found.action is not None
            known[state] = found.action
        return known[state]

    if games is None and table.longest is not None:
        sides = [against_every_reply(table.root, choose, side=side) for side in (1, -1)]
        won, drawn, lost = (sum(counts) for counts in zip(*sides, strict=True))
        return won, drawn, lost
    ends = [against_chance(table.root, choose, 1 - 2 * (turn % 2), chance) for turn in range(games or GAMES)]
    return sum(end > 0 for end in ends), sum(end == 0 for end in ends), sum(end < 0 for end in ends)


def against_chance(state: State, choose: Callable[[State], int], side: int, chance: torch.Generator) -> float:
    """One game's value to a side that plays against any legal moves."""
    while not state.over:
        state = state.play(choose(state) if state.player == side else any_of(state, chance))
    return side * state.value


def draw_nodes(counts: list[tuple[int, int]], game: str) -> Figure:
    """Visited nodes against the depth, and alpha-beta's share of them."""
    figure, (many, share) = panels(1, 2, width=4.4)
    depths = range(1, len(counts) + 1)
    plain, pruned = zip(*counts, strict=True)
    many.plot(depths, plain, "o-", label="minimax")
    many.plot(depths, pruned, "o-", label="alpha-beta")
    many.plot(depths, [2 * nodes**0.5 for nodes in plain], ":", color="#888888", label="in the best order: 2√minimax")
    many.set(yscale="log", xlabel="depth (plies)", ylabel="nodes visited", title=game)
    many.legend(loc="lower right")
    share.plot(depths, [few / all_ for all_, few in counts], "o-", color=COLOURS[1])
    share.axhline(0.2, color="#888888", linestyle=":")
    share.set(xlabel="depth (plies)", ylabel="alpha-beta / minimax", ylim=(0, 1.05), title="share that is left")
    return figure


class Watched:
    """A state that notes which of the states after it are visited."""

    def __init__(self, state: Any, path: tuple[int, ...], seen: set[tuple[int, ...]]) -> None:
        self.state, self.path, self.seen = state, path, seen
        self.player: int = state.player
        self.over: bool = state.over
        self.value: float = state.value

    def legal(self) -> Any:
        """As the state has them."""
        return self.state.legal()

    def play(self, action: int) -> "Watched":
        """The state after an action, noted."""
        path = (*self.path, action)
        self.seen.add(path)
        return Watched(self.state.play(action), path, self.seen)


def draw_tree(table: Table) -> Figure:
    """A small tree with its values, the branches that alpha-beta never visits crossed out.

    Of tic-tac-toe the end of a game, with boards; of another game the first moves, where guesses are values.
    """
    root, depth = table.root, 1 if len(table.root.legal()) > 8 else 2
    if boards := isinstance(root, Row) and root.positions.board.shape[1:] == (3, 3):
        depth = 9 - len(LATE)
        for action in LATE:
            root = root.play(action)
    seen: set[tuple[int, ...]] = {()}
    alpha_beta(Watched(root, (), seen), depth=depth, heuristic=lambda state: table.heuristic(state.state))
    nodes = list(placed(root, (), depth, iter(range(10_000))))
    places = {path: (x, -len(path)) for path, _, x in nodes}
    figure, [ax] = panels(
        width=max(6.0, (0.62 if boards else 0.5) * (1 + max(x for x, _ in places.values()))), height=1.15 * (depth + 1)
    )
    for path, state, _ in nodes:
        cut = path not in seen
        if path:
            (left, top), (x, y) = places[path[:-1]], places[path]
            ax.plot((left, x), (top, y), "--" if cut else "-", color="#cccccc" if cut else "#555555", lw=1, zorder=1)
        value = plain_minimax(state, depth=depth - len(path), heuristic=table.heuristic).value
        draw_node(ax, places[path], name(state, path, boards=boards), None if cut else value)
    ax.axis("off")
    ax.set_title("the first player takes the largest value, the second the smallest; dashed: cut, never visited")
    return figure


def placed(
    state: Any, path: tuple[int, ...], depth: int, columns: Iterator[int]
) -> Iterator[tuple[tuple[int, ...], Any, float]]:
    """Every node of a tree with its path and its column: leaves side by side, parents above their middle."""
    if state.over or depth == 0:
        yield path, state, float(next(columns))
        return
    below = [list(placed(state.play(a), (*path, a), depth - 1, columns)) for a in state.legal()]
    children = [x for nodes in below for where, _, x in nodes if len(where) == len(path) + 1]
    yield path, state, (children[0] + children[-1]) / 2
    yield from (node for nodes in below for node in nodes)


def name(state: Any, path: tuple[int, ...], *, boards: bool) -> str:
    """What stands in a node: a small board, or the move that led there."""
    if boards:
        drawn = tic_tac_toe().text(state.positions).splitlines()[:3]
        return "\n".join(line[:5] for line in drawn)
    return str(path[-1]) if path else "start"


def draw_node(ax: Axes, place: tuple[float, float], text: str, value: float | None) -> None:
    """One node: its text on its value's colour, the value below; pale if it was cut."""
    shade = "white" if value is None else SHADES[(value > 0) - (value < 0)]
    ink, edge = ("#bbbbbb", "#dddddd") if value is None else ("#222222", "#888888")
    box = {"boxstyle": "round,pad=0.25", "facecolor": shade, "edgecolor": edge}
    ax.text(*place, text, family="monospace", fontsize=7, ha="center", va="center", color=ink, bbox=box, zorder=3)
    if value is not None:
        ax.annotate(
            f"{value:+.2g}" if value else "0",
            place,
            (0, -23),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            weight="bold",
            color=ink,
            zorder=4,
            bbox={"boxstyle": "round,pad=0.05", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )
