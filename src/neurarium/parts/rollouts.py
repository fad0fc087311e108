r"""Rollouts: what a position is worth, by playing it to the end at random.

Nothing need be known of a game but its rules: if from here both sides take any legal action, how often does the one to
move win? All games are played on at once, and those that end drop out.

Source: Kocsis & Szepesvári 2006, Bandit based Monte-Carlo planning; as OpenSpiel's `RandomRolloutEvaluator`.
Shapes: B games, A actions.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.games import Game, Positions, any_legal, rows
from neurarium.parts.tree import Evaluation


def play_out(game: Game, positions: Positions, *, generator: torch.Generator) -> Float[Tensor, " B"]:
    """How each game ends, to the first player, if both sides take any legal action.

    Args:
        game: what is played.
        positions: where to begin.
        generator: where chance comes from.

    >>> from neurarium.worlds.lines import tic_tac_toe
    >>> game = tic_tac_toe()
    >>> ends = play_out(game, game.start(1000), generator=torch.Generator().manual_seed(0))
    >>> bool((ends == 1).sum() > (ends == -1).sum())  # who begins wins more often
    True
    """
    outcomes, playing = positions.outcome.clone(), (~positions.over).nonzero().squeeze(1)
    positions = rows(positions, playing)
    while len(playing):
        positions = game.play(positions, any_legal(game.legal(positions), generator=generator))
        on = (~positions.over).nonzero().squeeze(1)
        if len(on) < len(playing):
            outcomes[playing] = positions.outcome
            playing, positions = playing[on], rows(positions, on)
    return outcomes


class Rollouts:
    """An evaluator that knows nothing: all legal actions as likely, the value by random play.

    Args:
        game: what is played.
        rollouts: games played to the end from every position; the value is their mean.
        generator: where chance comes from.

    Raises:
        InvalidValue: no rollouts.
    """

    def __init__(self, game: Game, *, rollouts: int = 1, generator: torch.Generator) -> None:
        require(rollouts >= 1, f"rollouts is {rollouts}; a value needs at least 1")
        self.game, self.rollouts, self.generator = game, rollouts, generator

    def __call__(self, positions: Positions) -> Evaluation:
        """Equal priors, and the mean outcome to the one to move."""
        legal = self.game.legal(positions)
        often = Positions(*(field.repeat_interleave(self.rollouts, 0) for field in positions))
        ends = play_out(self.game, often, generator=self.generator).view(-1, self.rollouts).mean(1)
        # p(a) = 1 / |legal actions|,  v = player · (1/R) Σ_r outcome_r
        return Evaluation(legal / legal.sum(1, keepdim=True).clamp(min=1), ends * positions.player)
