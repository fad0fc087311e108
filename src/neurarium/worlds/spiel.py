"""OpenSpiel's games for two as states that minimax can search: perfect information, no chance, zero-sum."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from neurarium.errors import InvalidValue, MissingExtra, did_you_mean, require

if TYPE_CHECKING:
    import pyspiel


class SpielState:
    """A state of an OpenSpiel game.

    Attributes:
        player: who is to move: 1 the first player, −1 the second.
        over: whether the game has ended.
        value: of an end, to the first player.

    >>> state = load_spiel("tic_tac_toe")
    >>> state.player, state.over, list(state.legal())
    (1, False, [0, 1, 2, 3, 4, 5, 6, 7, 8])
    >>> state.play(4).word(0)
    'o(0,0)'
    """

    def __init__(self, state: "pyspiel.State") -> None:
        self.state = state
        self.over: bool = state.is_terminal()
        self.player = 1 - 2 * max(0, state.current_player())
        self.value: float = state.returns()[0] if self.over else 0.0

    def legal(self) -> Sequence[int]:
        """Legal actions in OpenSpiel's order."""
        actions: list[int] = self.state.legal_actions()
        return actions

    def play(self, action: int) -> "SpielState":
        """The state after an action."""
        return SpielState(self.state.child(action))

    def word(self, action: int) -> str:
        """OpenSpiel's name of an action."""
        return str(self.state.action_to_string(action))

    def __str__(self) -> str:
        return str(self.state)


def load_spiel(name: str) -> SpielState:
    """The first state of a game of OpenSpiel.

    Args:
        name: as OpenSpiel knows it, with parameters if wanted: `breakthrough(rows=6,columns=6)`.

    Raises:
        MissingExtra: OpenSpiel is not installed.
        InvalidValue: there is no such game, or minimax cannot play it: not for two, with chance, hidden information or
            moves at the same time, or not zero-sum.
    """
    try:
        import pyspiel
    except ImportError:
        raise MissingExtra(
            f"game '{name}' is OpenSpiel's, which is not installed; pip install 'neurarium[games]'"
        ) from None
    known = pyspiel.registered_names()
    if name.partition("(")[0] not in known:
        raise InvalidValue(f"OpenSpiel has no game '{name}'; {did_you_mean(name.partition('(')[0], known)}")
    try:
        game = pyspiel.load_game(name)
    except pyspiel.SpielError as error:
        raise InvalidValue(f"OpenSpiel cannot load '{name}': {' '.join(str(error).split())}") from None
    refuse_unfit(name, game)
    return SpielState(game.new_initial_state())


def refuse_unfit(name: str, game: "pyspiel.Game") -> None:
    """Refuse what is no game for two with everything open.

    Raises:
        InvalidValue: it has another number of players, or one of the other faults.
    """
    import pyspiel

    kind, remedy = game.get_type(), "take one like tic_tac_toe, breakthrough or othello"
    players = game.num_players()
    require(players == 2, f"game '{name}' is for {players}, but minimax plays games for 2: {remedy}")
    for fine, fault in (
        (kind.dynamics == pyspiel.GameType.Dynamics.SEQUENTIAL, "moves made at the same time"),
        (kind.chance_mode == pyspiel.GameType.ChanceMode.DETERMINISTIC, "chance in it"),
        (kind.information == pyspiel.GameType.Information.PERFECT_INFORMATION, "hidden information"),
        (kind.utility == pyspiel.GameType.Utility.ZERO_SUM, "gains that do not sum to zero"),
    ):
        require(fine, f"game '{name}' has {fault}, which minimax cannot play: {remedy}")
