"""The Go Text Protocol, by what goes in and what comes out."""

import io

import pytest
import torch

from neurarium.errors import InvalidValue, RunError
from neurarium.parts.games import Chance
from neurarium.uses.gtp import COMMANDS, Engine, command, converse, make_engine
from neurarium.worlds.go import Go


def talk(lines: str, *, size: int = 5, sizes: bool = True) -> list[str]:
    """The replies to lines with `/` between them, without the empty line after each."""
    engine = Engine(lambda game: Chance(game, generator=torch.Generator().manual_seed(0)), Go(size=size), sizes=sizes)
    replies = list(converse(engine, lines.split("/")))
    assert all(reply.endswith("\n\n") for reply in replies)
    return [reply[:-2] for reply in replies]


def test_says_who_it_is_and_what_it_can() -> None:
    replies = talk("protocol_version/name/known_command genmove/known_command dance/list_commands")
    assert replies[:4] == ["= 2", "= neurarium", "= true", "= false"]
    assert replies[4].removeprefix("= ").splitlines() == list(COMMANDS)


def test_ids_comments_and_errors_are_as_the_standard_says() -> None:
    assert talk("12 name # who/# nothing/  /\t7\tname\r/8 dance/dance/9 play black/play green a1/komi much") == [
        "=12 neurarium",
        "=7 neurarium",
        "?8 unknown command",
        "? unknown command",
        "?9 syntax error",
        "? invalid color",
        "? komi not a float",
    ]


def test_stones_are_placed_taken_and_put_back() -> None:
    replies = talk("play b B1/play white a1/play B a2/showboard/undo/showboard/clear_board/undo/play b i3/play w C9")
    assert replies[:3] == ["=", "=", "="]
    assert replies[3].splitlines()[-4:-2] == ["2 x . . . .", "1 . x . . ."]
    assert replies[5].splitlines()[-4:-2] == ["2 . . . . .", "1 o x . . ."]
    assert replies[7:] == ["? cannot undo", "? illegal move", "? illegal move"]


def test_it_moves_by_itself_until_the_end() -> None:
    replies = talk("genmove b/genmove w/genmove b/play w a1/quit/name")
    assert all(reply[0] in "=?" for reply in replies)
    assert len(replies) == 5  # nothing after quit
    assert replies[0][2:].lower() in {Go(size=5).word(action) for action in range(26)}


def test_one_colour_may_move_twice_and_a_game_may_go_on_after_passes() -> None:
    assert talk("play b c3/play b c2/play w pass/play b pass/play w a1/genmove b")[:5] == ["="] * 5


def test_scores_by_area_with_komi() -> None:
    moves = "/".join(f"play b c{row}/play w d{row}" for row in range(1, 6))
    assert talk(f"komi 0.5/{moves}/final_score")[-1] == "= B+4.5"
    assert talk(f"{moves}/komi 5/final_score")[-1] == "= 0"
    assert talk("komi 7.5/final_score")[-1] == "= W+7.5"


def test_boards_change_their_size_where_they_can() -> None:
    assert talk("boardsize 7/play b g7/boardsize 40/boardsize x") == [
        "=",
        "=",
        "? unacceptable size",
        "? boardsize not an integer",
    ]
    assert talk("boardsize 7/boardsize 5", sizes=False) == ["? unacceptable size", "="]


def test_the_command_talks_on_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("boardsize 5\n1 genmove b\nquit\n"))
    assert command(["minimax:1", "--game", "go:9"]) == 0
    replies = capsys.readouterr().out.split("\n\n")
    assert replies[0] == "="
    assert replies[1].startswith("=1 ")
    assert replies[2:] == ["=", ""]


def test_only_go_is_spoken_of(unchecked: None) -> None:
    with pytest.raises(RunError, match="GTP is for Go, but random plays tic_tac_toe; take go:SIZE"):
        make_engine("random", game="tic_tac_toe")
    with pytest.raises(InvalidValue, match="there is no run or player 'nobody'"):
        make_engine("nobody")
