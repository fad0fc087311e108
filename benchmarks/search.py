"""Tree search with a small residual network on connect four: ours against OpenSpiel's Python one and against mctx.

PUCT with c = 1.25 and no noise, from random positions of 8 moves. Ours searches 1,024 games at once, as does mctx's
program, compiled before the clock starts; OpenSpiel's `MCTSBot` searches one after the other and asks the very same
network position by position. Only ours and OpenSpiel's answer a finished game by its outcome; mctx asks its network
there as well. Ours computes the network in bfloat16, as `alphago_zero` does with so many positions, the peers in
float32. One thread each. mctx's side needs mctx and JAX, which are no part of the development setup.
"""

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import nn

from benchmarks.harness import Benchmark
from neurarium.parts.games import Positions, any_legal
from neurarium.parts.tree import Search
from neurarium.systems.reinforcement.alphago_zero import PolicyValueNet, judgement
from neurarium.worlds.lines import connect_four

GAMES, SIMULATIONS, EXPLORATION = 1024, 64, 1.25
WIDTH, BLOCKS = 16, 2
MOVES = 8  # random ones before the search
ALONE = 8  # games that OpenSpiel's bot searches a turn
LINE = 4


def network() -> PolicyValueNet:
    """The small network, ready to be asked; weights drawn at random."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape, actions = connect_four().shape, connect_four().actions
    return PolicyValueNet(shape=shape, actions=actions, width=WIDTH, blocks=BLOCKS).eval()


def starts() -> tuple[Positions, list[list[int]]]:
    """Games after a few random moves, none of them over, and those moves."""
    game, chance = connect_four(), torch.Generator().manual_seed(0)
    positions, played = game.start(2 * GAMES), []
    for _ in range(MOVES):
        played.append(any_legal(game.legal(positions), generator=chance))
        positions = game.play(positions, played[-1])
    going = (~positions.over).nonzero().squeeze(1)[:GAMES]
    return Positions(*(field[going] for field in positions)), torch.stack(played, 1)[going].tolist()


def ours() -> Callable[[], float]:
    """All games at once."""
    net, game, (positions, _) = network(), connect_four(), starts()
    search = Search(game, judgement(game, net), simulations=SIMULATIONS, exploration=EXPLORATION)

    def work() -> float:
        search.run(positions)
        return GAMES * SIMULATIONS

    return work


def openspiel_peer() -> Callable[[], float]:
    """Their bot, with the same network asked about one position at a time."""
    import numpy as np
    import pyspiel

    mcts = import_module("open_spiel.python.algorithms.mcts")
    net, (_, played) = network(), starts()

    class Asked:
        """As their `AlphaZeroEvaluator`: a position is asked about once, for its value and then its priors."""

        def __init__(self) -> None:
            self.known: dict[str, tuple[float, Any]] = {}

        def ask(self, state: Any) -> tuple[float, Any]:
            key = str(state)
            if key not in self.known:
                mover = state.current_player()
                planes = np.array(state.observation_tensor(mover), np.float32).reshape(1, 3, 6, 7)
                with torch.inference_mode():  # theirs are the first's, the second's and empty, the lowest row first
                    logits, value = net(torch.from_numpy(planes[:, [mover, 1 - mover], ::-1].copy()))
                self.known[key] = float(value), logits[0].numpy()
            return self.known[key]

        def evaluate(self, state: Any) -> Any:
            value = self.ask(state)[0] * (1 - 2 * state.current_player())
            return np.array([value, -value])

        def prior(self, state: Any) -> list[tuple[int, float]]:
            legal = state.legal_actions()
            weights = np.exp(self.ask(state)[1][legal])
            return list(zip(legal, weights / weights.sum(), strict=True))

    game = pyspiel.load_game("connect_four")

    def work() -> float:
        for moves in played[:ALONE]:
            state = game.new_initial_state()
            for action in moves:
                state.apply_action(action)
            options: dict[str, Any] = dict(solve=False, child_selection_fn=mcts.SearchNode.puct_value)
            mcts.MCTSBot(game, EXPLORATION, SIMULATIONS + 1, Asked(), **options).mcts_search(state)
        return ALONE * SIMULATIONS

    return work


def mctx_peer() -> Callable[[], float]:
    """Their search as one compiled program, games and network in it written in JAX."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    jax, mctx, np = (import_module(name) for name in ("jax", "mctx", "jax.numpy"))
    weights = folded(network(), np)
    boards, _ = starts()
    own = np.asarray((boards.board * boards.player.view(-1, 1, 1)).numpy())

    def recurrent(weights: Any, _: Any, action: Any, state: Any) -> Any:
        board, over = state
        after, ended, won = played_on(np, jax, board, over, action)
        logits, value = asked(np, jax, weights, after)
        output = mctx.RecurrentFnOutput(
            reward=np.where(won, 1.0, 0.0),
            discount=np.where(ended, 0.0, -1.0),
            prior_logits=np.where(after[:, 0] == 0, logits, -1e9),
            value=np.where(ended, 0.0, value),
        )
        return output, (after, ended)

    def search(weights: Any, key: Any, board: Any) -> Any:
        logits, value = asked(np, jax, weights, board)
        root = mctx.RootFnOutput(prior_logits=logits, value=value, embedding=(board, np.zeros(len(board), bool)))
        span = partial(mctx.qtransform_by_min_max, min_value=-1.0, max_value=1.0)
        options = dict(invalid_actions=board[:, 0] != 0, dirichlet_fraction=0.0, pb_c_init=EXPLORATION, qtransform=span)
        return mctx.muzero_policy(weights, key, root, recurrent, SIMULATIONS, **options).action_weights

    key, compiled = jax.random.PRNGKey(0), jax.jit(search)
    compiled(weights, key, own).block_until_ready()

    def work() -> float:
        compiled(weights, key, own).block_until_ready()
        return GAMES * SIMULATIONS

    return work


def folded(net: PolicyValueNet, np: Any) -> Any:
    """The network's weights for JAX, batch norm folded into the convolutions before it."""
    convolutions: list[Any] = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            convolutions.append([module.weight, None])
        elif isinstance(module, nn.BatchNorm2d):
            state = module.state_dict()
            scale = state["weight"] / (state["running_var"] + module.eps).sqrt()
            kernel = (convolutions[-1][0] * scale.view(-1, 1, 1, 1)).permute(2, 3, 1, 0)
            convolutions[-1] = [kernel, state["bias"] - state["running_mean"] * scale]
    dense = [[layer.weight.T, layer.bias] for layer in net.modules() if isinstance(layer, nn.Linear)]
    return [[[np.asarray(w.detach().numpy()) for w in pair] for pair in layers] for layers in (convolutions, dense)]


def asked(np: Any, jax: Any, weights: Any, board: Any) -> Any:
    """The network on boards as the mover sees them: logits and values."""
    (stem, *tower, policy, value), (logits, hidden, out) = weights
    relu = jax.nn.relu

    def convolved(maps: Any, layer: Any) -> Any:
        form = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(maps, layer[0], (1, 1), "SAME", dimension_numbers=form) + layer[1]

    def flat(maps: Any) -> Any:
        return relu(maps).transpose(0, 3, 1, 2).reshape(len(board), -1)

    maps = relu(convolved(np.stack((board == 1, board == -1), -1).astype(np.float32), stem))
    for first, second in zip(tower[::2], tower[1::2], strict=True):
        maps = relu(maps + convolved(relu(convolved(maps, first)), second))
    seen = relu(flat(convolved(maps, value)) @ hidden[0] + hidden[1])
    return flat(convolved(maps, policy)) @ logits[0] + logits[1], np.tanh(seen @ out[0] + out[1])[:, 0]


def played_on(np: Any, jax: Any, board: Any, over: Any, action: Any) -> Any:
    """A stone more on boards as the mover sees them; then as the other does, whether it is over, and whether won."""
    _, height, width = board.shape
    column = np.take_along_axis(board, action[:, None, None], axis=2)[:, :, 0]
    row = np.maximum((column == 0).sum(1) - 1, 0)
    stone = jax.nn.one_hot(row, height)[:, :, None] * jax.nn.one_hot(action, width)[:, None, :]
    board = board + (stone * ~over[:, None, None]).astype(board.dtype)
    won = np.zeros(len(board), bool)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        tall, wide = height - down * (LINE - 1), width - abs(right) * (LINE - 1)
        left = 0 if right >= 0 else LINE - 1
        corners = [(down * step, left + right * step) for step in range(LINE)]
        moved = np.stack([(board == 1)[:, top : top + tall, side : side + wide] for top, side in corners])
        won = won | moved.all(0).any((1, 2))
    won = won & ~over
    ended = over | won | (board != 0).all((1, 2))
    return np.where(over[:, None, None], board, -board), ended, won


def puct_openspiel() -> Benchmark:
    """Against OpenSpiel's Python search."""
    return Benchmark(
        "puct_openspiel",
        f"PUCT on connect four, {SIMULATIONS} simulations, {GAMES:,} games at once against one after the other; the "
        f"same network of {BLOCKS} residual blocks of {WIDTH} maps",
        "simulations",
        ours,
        openspiel_peer,
        "OpenSpiel MCTSBot",
        at_least=12.0,
    )


def puct_mctx() -> Benchmark:
    """Against mctx's compiled search."""
    return Benchmark(
        "puct_mctx",
        f"PUCT on connect four, {SIMULATIONS} simulations, {GAMES:,} games at once; the same network of {BLOCKS} "
        f"residual blocks of {WIDTH} maps",
        "simulations",
        ours,
        mctx_peer,
        "mctx, compiled JAX",
        at_least=1.5,
    )


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {"puct_openspiel": puct_openspiel, "puct_mctx": puct_mctx}
