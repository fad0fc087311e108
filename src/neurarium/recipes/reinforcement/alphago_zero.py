"""AlphaGo Zero on tic-tac-toe, connect four or small Go: a network learns from games against itself alone."""

from copy import deepcopy
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from neurarium.learners.self_play import Played, SelfPlay
from neurarium.parts.games import Chance, Game, Player, Positions
from neurarium.parts.matches import Score, advantage, play_match
from neurarium.parts.replay import Replay
from neurarium.parts.schedules import cosine
from neurarium.parts.tree import Evaluate, Search
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.reinforcement.alphago_zero import AlphaGoZero, PolicyValueNet, judgement
from neurarium.systems.reinforcement.monte_carlo_tree_search import SearchPlayer, uct_player
from neurarium.worlds.named import load_game
from neurarium.worlds.solved import Solved, optimal_moves, solved

WEAKER = 10  # how many times fewer rollouts the weaker of the two rivals has that only roll out
CHECKED = 60  # solved positions asked about while it learns
NOISE = 10.0  # α of the Dirichlet noise times the number of actions, Silver et al. 2018, Methods


class Met(NamedTuple):
    """How a match went: who was met, and the score."""

    name: str
    score: Score


@recipe(
    expects=[
        Expect("optimal_moves", at_least=0.78),
        Expect("win_uct1000", at_least=0.5),
    ],
    smoke=dict(
        game="tic_tac_toe",
        steps=60,
        games=64,
        simulations=12,
        thinking=2,
        warm=9,
        batch=128,
        width=16,
        blocks=1,
        matches=2,
        rollouts=20,
        keeps=1,
    ),
    control=dict(lr=0.0, steps=20, simulations=1, thinking=1, matches=4, rollouts=20),
)
def alphago_zero(
    run: Run,
    *,
    game: str = "connect_four",
    steps: int = 2400,
    batch: int = 512,
    lr: float = 2e-3,
    width: int = 32,
    blocks: int = 3,
    games: int = 256,
    simulations: int = 50,
    thinking: int = 100,
    updates: int = 4,
    warm: int = 12,
    mixing: float = 0.5,
    capacity: int = 60_000,
    keeps: int = 5,
    matches: int = 40,
    rollouts: int = 1000,
) -> Result:
    """A network that knows nothing but the rules plays itself, and learns what its searches find out.

    At every move a tree search asks the network and improves on it; the network learns towards the search and towards
    what the game came to. Where the game is solved, `optimal_moves` is the share of positions in which the player
    keeps what the position is worth; `instinct` is that of the network alone, without a search. `win_uct1000` is its
    share of points (a draw counts a half) against a search with 1,000 random rollouts a move, `win_uct100` and
    `win_random` against weaker ones. At the end it meets its past selves, and the ratings are drawn.

    Args:
        game: tic_tac_toe, connect_four, or go:SIZE.
        steps: updates.
        batch: positions an update.
        lr: learning rate at the start; it falls to 0 along a cosine (0: nothing is learned).
        width: maps of the network.
        blocks: residual blocks of it.
        games: played at once.
        simulations: of a search while it learns.
        thinking: simulations of a search when it is tested or plays.
        updates: between two moves of all games.
        warm: moves at the start of a game that are drawn by the search's visits, for variety.
        mixing: how much of the value to learn is what the search thought (0: what the game came to alone).
        capacity: positions kept to learn from.
        keeps: past selves kept, to be met at the end.
        matches: games of each match at the end.
        rollouts: of each move of the strongest rival, win_uct1000 (its name says the default); win_uct100 has a tenth.
    """
    rules = load_game(game)
    run.note(game=rules.name)
    net = PolicyValueNet(shape=rules.shape, actions=rules.actions, width=width, blocks=blocks)

    def seat(evaluate: Evaluate, generator: torch.Generator) -> Player:
        return SearchPlayer(Search(rules, evaluate, simulations=thinking))

    learner = AlphaGoZero(rules, net, seat=seat, lr=lr, schedule=cosine, keeps=keeps)
    search = Search(
        rules,
        learner.evaluate,
        simulations=simulations,
        noise=NOISE / rules.actions,
        generator=run.generator("noise"),
    )
    replay = Replay(Played, capacity=capacity, generator=run.generator("replay"))
    stream = SelfPlay(
        search,
        games=games,
        batch=batch,
        updates=updates,
        warm=warm,
        mixing=mixing,
        replay=replay,
        generator=run.generator("moves"),
        device=run.device,
    )
    known = known_positions(rules)

    def evaluate() -> dict[str, float]:
        return {} if known is None else judged(learner, known.some(CHECKED))

    run.fit(learner, stream, steps=steps, evaluate=evaluate)
    measures = {} if known is None else judged(learner, known)
    met = meet(run, rules, learner, games=matches, thinking=thinking, rollouts=rollouts)
    for name, score in met:
        measures[f"win_{name}"] = score.share
    if run.renders:
        run.picture("matches", draw_matches(met))
        run.picture("ratings", draw_ratings(met))
    return run.result(**measures, games=stream.ended)


def known_positions(game: Game) -> Solved | None:
    """The solved positions of a game, if it has any."""
    return solved(game) if game.name in ("tic_tac_toe", "connect_four") else None


def judged(learner: AlphaGoZero, known: Solved) -> dict[str, float]:
    """The share of optimal moves, with a search and without."""
    player = learner.player(generator=torch.Generator())
    return {
        "optimal_moves": optimal_moves(player, known),
        "instinct": optimal_moves(Instinct(learner), known),
    }


class Instinct:
    """The network's first thought, without a search.

    Args:
        learner: who thinks.
    """

    def __init__(self, learner: AlphaGoZero) -> None:
        self.learner = learner

    def choose(self, positions: Positions) -> Tensor:
        """The likeliest action."""
        return self.learner.evaluate(positions).priors.argmax(1)


def meet(run: Run, game: Game, learner: AlphaGoZero, *, games: int, thinking: int, rollouts: int) -> list[Met]:
    """Matches against chance, searches that only roll out, and past selves."""
    chance = run.generator("matches")
    rivals: dict[str, Player] = {"random": Chance(game, generator=chance)}
    for name, simulations in (("uct100", max(1, rollouts // WEAKER)), ("uct1000", rollouts)):
        rivals[name] = uct_player(game, simulations=simulations, generator=chance)
    for at, weights in zip(learner.past.at, learner.past.weights, strict=True):
        rivals[f"self_at_{100 * at:.0f}"] = past_self(game, learner, weights, simulations=thinking)
    me = learner.player(generator=chance)
    return [
        Met(name, play_match(game, me, rival, games=games, generator=chance, device=run.device))
        for name, rival in rivals.items()
    ]


def past_self(game: Game, learner: AlphaGoZero, weights: dict[str, Tensor], *, simulations: int) -> Player:
    """A player with weights from earlier in the training."""
    earlier = deepcopy(learner.model)
    earlier.load_state_dict(weights)
    return SearchPlayer(Search(game, judgement(game, earlier), simulations=simulations))


def draw_matches(met: list[Met]) -> Figure:
    """The share of points against each rival, with what chance leaves open."""
    figure, [ax] = panels(width=6.4, height=0.45 * len(met) + 1.2)
    for place, (_, score) in enumerate(met):
        low, high = score.interval
        ax.plot([low, high], [place, place], color=COLOURS[0], linewidth=2)
        ax.plot([score.share], [place], "o", color=COLOURS[0])
    names = [name.replace("uct", "UCT ").replace("self_at_", "itself at ") for name, _ in met]
    ax.set_yticks(range(len(met)), [f"{name} %" if name.startswith("itself") else name for name in names])
    ax.set(xlim=(-0.02, 1.02), xlabel="share of points, with the interval that holds 95 %", title="matches at the end")
    ax.axvline(0.5, color="#bbbbbb", linewidth=1, zorder=0)
    ax.invert_yaxis()
    return figure


def draw_ratings(met: list[Met]) -> Figure:
    """How much stronger it became: the rating of each past self below its present one, by their match."""
    pairs = [(float(name.removeprefix("self_at_")), score) for name, score in met if name.startswith("self_at_")]
    figure, [ax] = panels(width=5.4, height=3.4)
    at = [percent for percent, _ in pairs] + [100.0]
    ax.plot(at, [-advantage(score.share, score.games) for _, score in pairs] + [0.0], "o-", color=COLOURS[0])
    ax.set(xlabel="percent of the training", ylabel="Elo, the present self at 0", title="against past selves")
    return figure
