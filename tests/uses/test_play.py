"""A person at the board, by what is typed."""

import io

import pytest

from neurarium.errors import InvalidValue
from neurarium.uses.play import command


def typed(lines: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What is printed when these lines are typed, `/` between them."""
    monkeypatch.setattr("sys.stdin", io.StringIO(lines.replace("/", "\n") + "\n" if lines else ""))
    assert command(words.split()) == 0
    return capsys.readouterr().out


def test_a_whole_game_is_played_to_its_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = typed("a1/b1/quit", "minimax:6 --game tic_tac_toe", monkeypatch, capsys)
    assert "the other plays b2" in told
    lost = typed("a1/b1/a2", "minimax:6 --game tic_tac_toe", monkeypatch, capsys)
    assert lost.rstrip().endswith("you lose")
    assert "your move" not in lost.rpartition("the other plays")[2]


def test_the_person_may_win_or_draw(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    columns = "/".join("dddddddd")
    told = typed(columns, "random --game connect_four --seed 1", monkeypatch, capsys)
    assert told.rstrip().endswith("you win")
    drawn = typed("b2/a2/c1/b3/a1", "minimax:6 --game tic_tac_toe", monkeypatch, capsys)
    assert drawn.count("the other plays") == 4
    assert drawn.rstrip().endswith("a draw")


def test_the_second_player_waits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told = typed("quit", "minimax:4 --game connect_four --second", monkeypatch, capsys)
    assert told.splitlines()[0] == "connect_four against minimax:4; you move second; type help for help"
    assert told.index("the other plays d") < told.index("your move")
    assert told.rstrip().endswith("you leave the game")


@pytest.mark.usefixtures("unchecked")
def test_a_move_is_chosen_by_number_undone_and_hinted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = typed("4/undo/moves/hint/help/undo", "uct:20 --game connect_four", monkeypatch, capsys)
    boards = told.split("your move: ")
    assert "x" in boards[1].splitlines()[-3].split()[3]
    assert "x" not in boards[2]  # taken back
    assert boards[3].strip() == "1 a  2 b  3 c  4 d  5 e  6 f  7 g"
    counts = [float(word) for word in boards[4].removeprefix("visits: ").split()[1::2]]
    assert sum(counts) == 20
    assert counts == sorted(counts, reverse=True)
    assert "take your last move back" in boards[5]
    assert boards[6].strip() == "there is no move of yours to take back"


def test_what_is_no_move_is_told_in_a_line_and_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = typed("e5/17//hint/b2", "random --game tic_tac_toe", monkeypatch, capsys)
    said = told.split("your move: ")
    assert said[1].startswith("'e5' is no legal move here; legal are a3, b3")
    assert said[2].strip() == "there is no move 17; the list has 9, see moves"
    assert said[3].strip() == ""
    assert said[4].strip() == "this opponent has no opinion of moves; a hint is not to be had"
    assert ". x ." in said[5]


def test_the_end_of_input_ends_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("", "random --game go:5", monkeypatch, capsys).rstrip().endswith("you leave the game")


def test_backgammon_is_typed_in_its_own_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = typed("1/undo/9 to 3/quit", "random --game backgammon", monkeypatch, capsys)
    assert "the other plays" in told
    assert "'9 to 3' is no legal move here" in told


def test_one_side_is_chosen(unchecked: None) -> None:
    with pytest.raises(InvalidValue, match="--first and --second are both said"):
        command(["random", "--game", "tic_tac_toe", "--first", "--second"])
