"""Arena: two players meet in many games, and the score says how sure it is."""

from json import dumps
from typing import Annotated, Any, NamedTuple

from tyro.conf import Positional, arg

from neurarium.parts.matches import OPENING, Score, play_match, wilson
from neurarium.running.command_line import parse
from neurarium.running.seeds import generator
from neurarium.uses.players import lay_table


class Meeting(NamedTuple):
    """Who met, at what, and how it went for the first.

    >>> print(Meeting("minimax:4", "random", "connect_four", 2, Score(17, 1, 2)).text)
    minimax:4 against random at connect_four, 20 games
      won    17  0.850 [0.640, 0.948]
      drawn   1  0.050 [0.009, 0.236]
      lost    2  0.100 [0.028, 0.301]
      score      0.875 [0.669, 0.960]
    shares with 95 % confidence; 10 openings of 2 random moves, each played from both sides
    """

    first: str
    second: str
    game: str
    opening: int
    score: Score

    @property
    def shares(self) -> dict[str, tuple[float, tuple[float, float]]]:
        """Shares of wins, draws, losses and points, with the intervals that hold the true ones with 95 % confidence."""
        score = self.score
        counts = {"won": score.won, "drawn": score.drawn, "lost": score.lost}
        parts = {name: count / score.games for name, count in counts.items()}
        return {name: (part, wilson(part, score.games)) for name, part in (*parts.items(), ("score", score.share))}

    @property
    def text(self) -> str:
        """For a person to read."""
        counts = {"won": self.score.won, "drawn": self.score.drawn, "lost": self.score.lost, "score": ""}
        lines = [
            f"  {name:5} {counts[name]!s:>3}  {share:.3f} [{low:.3f}, {high:.3f}]"
            for name, (share, (low, high)) in self.shares.items()
        ]
        begun = f"{self.score.games // 2} openings of {self.opening} random moves" if self.opening else "the start"
        return "\n".join(
            [
                f"{self.first} against {self.second} at {self.game}, {self.score.games} games",
                *lines,
                f"shares with 95 % confidence; {begun}, {'each ' if self.opening else ''}played from both sides",
            ]
        )

    def as_dict(self) -> dict[str, Any]:
        """For a program to read."""
        about = {name: getattr(self, name) for name in ("first", "second", "game", "opening")}
        counts = dict(zip(("won", "drawn", "lost"), self.score, strict=True))
        intervals = {name: {"share": share, "interval": list(ends)} for name, (share, ends) in self.shares.items()}
        return {**about, "games": self.score.games, **counts, "shares": intervals}


def arena(
    first: str, second: str, *, games: int = 100, game: str | None = None, opening: int = OPENING, seed: int = 0
) -> Meeting:
    """Let two players meet, in all games at once.

    Args:
        first: folder of a run, or a player's name; the score is told from its side.
        second: the other.
        games: how many; an odd number is made even, since each opening is played from both sides.
        game: what they play, if neither is a run.
        opening: random moves that every pair of games begins with; without them, players who leave nothing to chance
            would play the same game again and again.
        seed: where chance begins.

    Raises:
        RunError: a folder is no run, or nothing in it plays a game.
        InvalidValue: an unknown name or game, no games, or a negative opening.
    """
    table = lay_table([first, second], game=game, seed=seed)
    one, other = table.players
    chance = generator(seed, "openings")
    score = play_match(table.game, one, other, games=games, generator=chance, opening=opening)
    return Meeting(first, second, table.game.name, opening, score)


def command(words: list[str]) -> int:
    """`neurarium arena RUN|NAME RUN|NAME`."""

    def asked(
        first: Annotated[Positional[str], arg(metavar="RUN|NAME", help="whose score is told")],
        second: Annotated[
            Positional[str], arg(metavar="RUN|NAME", help="random, minimax:DEPTH, uct:SIMULATIONS, perfect, or a run")
        ],
        /,
        *,
        games: Annotated[int, arg(help="how many; each opening is played from both sides")] = 100,
        game: Annotated[str | None, arg(metavar="GAME", help="what they play, if neither is a run")] = None,
        opening: Annotated[int, arg(help="random moves that every pair of games begins with")] = OPENING,
        seed: Annotated[int, arg(help="where chance begins")] = 0,
        json: Annotated[bool, arg(help="print JSON for a program to read")] = False,
    ) -> tuple[str, str, int, str | None, int, int, bool]:
        """Let two players meet in many games: wins, draws and losses with 95 % confidence intervals."""
        return first, second, games, game, opening, seed, json

    first, second, games, game, opening, seed, as_json = parse(asked, words, "neurarium arena")
    met = arena(first, second, games=games, game=game, opening=opening, seed=seed)
    print(dumps(met.as_dict(), indent=2) if as_json else met.text)
    return 0
