r"""Self-play: many games at once against oneself, each move chosen by a search, as a stream to learn from.

At every move a search improves on what the network thinks. Its visits become the policy to learn, and what the game
came to, as each mover sees it, the value. Games that have ended give their positions to a replay and begin anew; the
stream draws from that replay, each position turned or mirrored as the game allows.

Source: CSE 151B, Reinforcement Learning (AlphaGo Zero: learned only by self play); Silver et al. 2017, Mastering the
game of Go without human knowledge, Methods, Self-play training pipeline and eq. 1.
Differs: all games move at once, and learning goes on between their moves instead of beside them; the value to learn
may be mixed with what the search thought of the position.
Shapes: G games at once, K positions, A actions, C planes of H × W cells.
"""

from typing import Any, NamedTuple, Self

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from neurarium.errors import require
from neurarium.parts.games import Game, Positions, where
from neurarium.parts.replay import Replay
from neurarium.parts.tree import Search, Tree, root_visits, temperature_policy


class Played(NamedTuple):
    """Positions of self-play, with what there is to learn about them.

    Attributes:
        planes: the boards as the one to move saw them, of zeros and ones.
        policies: the share of the search's visits that each action had.
        values: what came of it, as the one to move sees it.
    """

    planes: UInt8[Tensor, "K C H W"]
    policies: Float[Tensor, "K A"]
    values: Float[Tensor, " K"]


class SelfPlay:
    """A stream of batches from games that are played meanwhile.

    Args:
        search: how moves are found; its noise keeps games apart.
        games: how many are played at once.
        batch: positions a batch.
        updates: batches between two moves of all games.
        warm: moves from the start of a game that are drawn by their visits; later ones are the most visited.
        mixing: how much of the value to learn is what the search thought, instead of what the game came to.
        replay: where positions of ended games are kept.
        generator: where the draws of moves and of symmetries come from.
        device: where the games are.

    Raises:
        InvalidValue: a number out of its range.
    """

    def __init__(
        self,
        search: Search,
        *,
        games: int,
        batch: int,
        updates: int,
        warm: int,
        replay: Replay[Played],
        generator: torch.Generator,
        mixing: float = 0.0,
        device: torch.device | str = "cpu",
    ) -> None:
        for name, value in (("games", games), ("batch", batch), ("updates", updates)):
            require(value >= 1, f"{name} is {value}; it must be at least 1")
        require(warm >= 0, f"warm is {warm}; it is a number of moves, 0 or more")
        require(0 <= mixing <= 1, f"mixing is {mixing}; a share lies between 0 and 1")
        self.search, self.replay, self.generator = search, replay, generator
        self.batch, self.updates, self.warm, self.mixing = batch, updates, warm, mixing
        self.game: Game = search.game
        self.positions = self.game.start(games, device)
        self.ended = 0  # games played to their end so far
        self._left = 0  # batches until the next move
        shape = (self.game.longest, games)
        self._planes = torch.zeros(*shape, *self.game.shape, dtype=torch.uint8, device=device)
        self._policies = torch.zeros(*shape, self.game.actions, device=device)
        self._thought = torch.zeros(shape, device=device)
        self._players = torch.zeros(shape, dtype=torch.int8, device=device)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Played:
        while self._left == 0 or len(self.replay) < self.batch:
            self.move()
            self._left = self.updates
        self._left -= 1
        return turned(self.game, self.replay.sample(self.batch), generator=self.generator)

    def move(self) -> None:
        """Search and play one move in every game; take in those that end, and begin others."""
        tree = self.search.run(self.positions)
        visits = root_visits(tree)
        self._note(tree, visits)
        self.positions = self.game.play(self.positions, self._chosen(visits))
        over = self.positions.over
        if over.any():
            self.replay.add(self._finished(over))
            self.ended += int(over.sum())
            self.positions = where(over, self.game.start(len(over), over.device), self.positions)

    def _note(self, tree: Tree, visits: Int64[Tensor, "G A"]) -> None:
        place, game = self.positions.moves, torch.arange(len(visits), device=visits.device)
        counts = visits.sum(1).clamp(min=1)
        self._planes[place, game] = self.game.planes(self.positions).to(torch.uint8)
        self._policies[place, game] = visits / counts.unsqueeze(1)
        self._thought[place, game] = tree.totals[:, 0].sum(1) / counts
        self._players[place, game] = self.positions.player

    def _chosen(self, visits: Int64[Tensor, "G A"]) -> Int64[Tensor, " G"]:
        drawn = torch.multinomial(temperature_policy(visits, temperature=1.0).cpu(), 1, generator=self.generator)
        return torch.where(self.positions.moves < self.warm, drawn.squeeze(1).to(visits.device), visits.argmax(1))

    def _finished(self, over: Tensor) -> Played:
        made = torch.arange(self.game.longest, device=over.device).unsqueeze(1) < self.positions.moves
        kept = made & over
        outcome = (self.positions.outcome * self._players)[kept]
        # v = (1 − m) z + m q
        values = torch.lerp(outcome, self._thought[kept], self.mixing)
        return Played(self._planes[kept], self._policies[kept], values)

    def state_dict(self) -> dict[str, Any]:
        """The games, what was noted of them, the replay, and where chance stands."""
        noted = (self._planes, self._policies, self._thought, self._players)
        return {
            "positions": [field.clone() for field in self.positions],
            "noted": [field.clone() for field in noted],
            "replay": self.replay.state_dict(),
            "generator": self.generator.get_state(),
            "noise": self.search.generator.get_state() if self.search.generator else None,
            "ended": self.ended,
            "left": self._left,
        }

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go back there.

        Raises:
            InvalidValue: the state is of another number of games.
        """
        device, games = self.positions.board.device, len(self.positions.player)
        saved = len(state["positions"][1])
        require(saved == games, f"the saved self-play has {saved} games, but this one has {games}")
        self.positions = Positions(*(field.to(device).clone() for field in state["positions"]))
        noted = (self._planes, self._policies, self._thought, self._players)
        for field, kept in zip(noted, state["noted"], strict=True):
            field.copy_(kept)
        self.replay.load_state_dict(state["replay"])
        self.generator.set_state(state["generator"].cpu())
        if self.search.generator is not None:
            self.search.generator.set_state(state["noise"].cpu())
        self.ended, self._left = state["ended"], state["left"]


def turned(game: Game, played: Played, *, generator: torch.Generator) -> Played:
    """Each position turned or mirrored by a symmetry of the game, drawn for it alone."""
    planes, policies, values = played
    which = torch.randint(len(game.cell_symmetries), (len(values),), generator=generator)
    cells = game.cell_symmetries[which].to(planes.device).unsqueeze(1).expand(-1, planes.shape[1], -1)
    actions = game.action_symmetries[which].to(planes.device)
    seen = planes.flatten(2).gather(2, cells).view_as(planes)
    return Played(seen, policies.gather(1, actions), values)
