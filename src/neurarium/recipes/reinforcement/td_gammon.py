"""TD-Gammon learns backgammon by playing against itself, and meets pubeval."""

import time

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon

from neurarium.errors import require
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.running.trace import Line
from neurarium.systems.reinforcement.td_gammon import SelfPlay, TDGammon, Weigher
from neurarium.worlds.backgammon import Backgammon
from neurarium.worlds.backgammon_moves import opening
from neurarium.worlds.backgammon_rivals import any_turn, play_sides, pubeval_installed
from neurarium.worlds.backgammon_rivals import pubeval as pubeval_side

HALF = 0.49  # progress at the step before the second half
LOOK = 5  # share of the matches' games that a look during the training plays: one in so many
ROLLS = [(low, high) for low in range(1, 7) for high in range(low + 1, 7)]  # a game begins with no double
WOOD, DARK, LIGHT = "#f3ead8", "#b98b5e", "#dcc39c"
TALL = 5  # checkers of a point that are drawn


@recipe(
    expects=[
        Expect("win_random", at_least=0.95),
        Expect("win_random", at_least=0.95, given={"pubeval": False}),
        Expect("win_pubeval", at_least=0.45, given={"pubeval": True}),
        Expect("games_per_second", at_least=60, timing=True),
        Expect("games_per_second", at_least=60, timing=True, given={"pubeval": False}),
    ],
    smoke=dict(steps=300, hidden=20, decay=0.95, lr=0.02, matches=60, looks=1, pubeval=False),
    control=dict(lr=0.0),
)
def td_gammon(
    run: Run,
    *,
    steps: int = 8000,
    games: int = 64,
    hidden: int = 40,
    decay: float = 0.7,
    lr: float = 0.01,
    matches: int = 2000,
    looks: int = 10,
    pubeval: bool = True,
) -> Result:
    """A small network learns backgammon from nothing but games against itself.

    Many games go on at once. At every turn the network judges all boards that the dice allow, takes the one after which
    the other's chance to win seems least, and draws its last guess, and by the traces those before, towards the new
    one. `win_random` is the share of games that it wins against a player who takes any legal turn, `win_pubeval` the
    same against pubeval, the public benchmark player, where the library gnubg_nn holds it; every opening roll is played
    from both sides, and a gammon counts as one win. `games_per_second` is how fast it learned in the second half of the
    training: games finished and learned from.

    Args:
        steps: updates, each from a turn of every game.
        games: how many go on at once.
        hidden: units of the hidden layer.
        decay: λ, from 0 to 1: how much of a change of mind earlier guesses get; 1 is Monte Carlo.
        lr: Adam's step size; 0 learns nothing (the negative control).
        matches: games against each opponent at the end; a fifth of them at each look before.
        looks: how often it is met so during the training, evenly spread.
        pubeval: whether to meet pubeval; left out where gnubg_nn is not installed.
    """
    require(matches >= 1, f"matches is {matches}; a match has at least 1 game")
    run.note(pubeval=pubeval and pubeval_installed())
    learner = TDGammon(game=Backgammon(generator=run.generator("dice")), games=games, hidden=hidden, decay=decay, lr=lr)
    stream = SelfPlay(learner, games=games, device=run.device)
    pace = Pace(learner)

    def meet(count: int) -> dict[str, float]:
        return {
            f"win_{rival}": win_rate(run, learner, rival, count)
            for rival in (["random", "pubeval"] if run.facts["pubeval"] else ["random"])
        }

    def evaluate() -> dict[str, float]:
        pace.stop()
        measures = {**meet(-(-matches // LOOK)), "games": float(learner.finished)}
        pace.start(counts=learner.progress >= HALF)
        return measures

    run.fit(learner, stream, steps=steps, evaluate=evaluate, evaluations=looks)
    if run.renders:
        if lines := [line for line in run.trace.lines() if "win_random" in line.measures]:
            run.picture("learning", draw_learning(lines))
        run.picture("opening", draw_opening(learner))
    return run.result(**meet(matches), games=float(learner.finished), games_per_second=pace.rate)


class Pace:
    """Games learned from in a second, in those stretches between two looks that count."""

    def __init__(self, learner: TDGammon) -> None:
        self.learner, self.counts = learner, False
        self.games, self.seconds = 0, 0.0
        self.start(counts=False)

    def start(self, *, counts: bool) -> None:
        """A stretch begins."""
        self.counts, self.first, self.began = counts, self.learner.finished, time.perf_counter()

    def stop(self) -> None:
        """A stretch ends."""
        if self.counts:
            self.games += self.learner.finished - self.first
            self.seconds += time.perf_counter() - self.began

    @property
    def rate(self) -> float:
        """Games a second; 0 where no stretch counted."""
        return self.games / self.seconds if self.seconds else 0.0


def win_rate(run: Run, learner: TDGammon, rival: str, games: int) -> float:
    """The share of games that the learner wins, the dice always the same."""
    game = Backgammon(generator=run.generator("evaluation", rival))
    side = pubeval_side() if rival == "pubeval" else any_turn(game)
    return float((play_sides(game, learner.choose, side, games=games, device=run.device) > 0).float().mean())


def draw_learning(lines: list[Line]) -> Figure:
    """How many games are won against each opponent, over the games that were learned from."""
    figure, [ax] = panels(width=6.0, height=3.6)
    played = [line.measures["games"] for line in lines]
    for rival, label in (("random", "any legal turn"), ("pubeval", "pubeval")):
        if all(f"win_{rival}" in line.measures for line in lines):
            ax.plot(played, [100 * line.measures[f"win_{rival}"] for line in lines], "o-", label=f"against {label}")
    ax.axhline(50, color="#999999", linewidth=0.8, linestyle=":")
    ax.set(xlabel="games of self-play", ylabel="games won (%)", ylim=(0, 102), title="TD-Gammon learns")
    ax.legend(loc="lower right")
    return figure


def draw_opening(learner: TDGammon) -> Figure:
    """The board as it stands at the start, and the best move of each opening roll with the chance to win after it."""
    words, chances = opening_moves(learner)
    order = sorted(range(len(ROLLS)), key=lambda roll: chances[roll])
    figure, [left, right] = panels(1, 2, width=5.6, height=4.2)
    draw_board(left, opening().tolist())
    left.set_title("the one to move goes from 24 to 1", fontsize=10)
    values = [100 * chances[roll] for roll in order]
    low, span = min(values), max(values) - min(values) + 1
    right.barh(range(len(ROLLS)), values, color=COLOURS[0], height=0.7)
    for place, value in enumerate(values):
        right.text(value, place, f" {value:.1f}", va="center", fontsize=8)
    names = [f"{words[roll]:>12}   {ROLLS[roll][1]}-{ROLLS[roll][0]}" for roll in order]
    right.set_yticks(range(len(ROLLS)), names, family="monospace", fontsize=8)
    right.set(xlim=(low - 0.4 * span, low + 1.2 * span), xlabel="chance to win (%)")
    right.set_title("its best first move of each roll", fontsize=10)
    right.grid(visible=False)
    return figure


def opening_moves(learner: TDGammon) -> tuple[list[str], list[float]]:
    """The best move of each opening roll in common notation, and the chance to win after it."""
    game = Backgammon(generator=torch.Generator())  # rolls nothing here: the rolls are given
    positions = game.start(len(ROLLS), learner.trace.device)
    rolls = torch.tensor(ROLLS, device=learner.trace.device)
    positions = positions._replace(
        player=torch.ones_like(positions.player), record=torch.cat((rolls, torch.zeros_like(rolls[:, :1])), 1)
    )
    chances, actions = Weigher(learner).weigh(positions).max(1)
    return [game.word(action, positions, row) for row, action in enumerate(actions.tolist())], chances.tolist()


def draw_board(ax: Axes, board: list[int]) -> None:
    """A board as the one to move sees it: his checkers dark, his home at the bottom right."""
    ax.set(xlim=(-0.3, 13.3), ylim=(-0.9, 11.9), aspect="equal", xticks=[], yticks=[], facecolor=WOOD)
    ax.grid(visible=False)
    ax.axvspan(6.05, 6.95, color=LIGHT)
    for place in range(1, 25):
        point = 25 - place
        top, column = point > 12, point - 13 if point > 12 else 12 - point
        middle = column + 0.5 + (column >= 6)  # the bar lies between
        base, tip, up = (11.0, 6.2, -1) if top else (0.0, 4.8, 1)
        corners = [(middle - 0.48, base), (middle + 0.48, base), (middle, tip)]
        ax.add_patch(Polygon(corners, color=DARK if place % 2 else LIGHT))
        ax.text(middle, base - up * 0.45, str(point), ha="center", va="center", fontsize=7)
        for height in range(min(TALL, abs(board[place]))):
            colour = "#2f2f2f" if board[place] > 0 else "white"
            ax.add_patch(Circle((middle, base + up * (0.5 + 0.95 * height)), 0.45, facecolor=colour, edgecolor="black"))
        if abs(board[place]) > TALL:
            ax.text(middle, base + up * 0.5, str(abs(board[place])), color=COLOURS[1], ha="center", va="center")
