"""Neighbours: the words that lie closest to a word, by the vectors that a run has learned."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from neurarium.data.word_vectors import Near
from neurarium.running.command_line import parse, run_folder
from neurarium.uses.words import open_words, tell


def neighbours(folder: Path, word: str, *, top: int = 10) -> Near:
    """The words closest to one, and their cosines.

    Args:
        folder: the run's.
        word: as spelt in the text; a phrase with `_` or spaces.
        top: how many.

    Raises:
        RunError: the folder is no finished run that placed words.
        InvalidValue: the word is not known (the nearest spellings are named), or `top` is none that can be given.
    """
    return open_words(folder).nearest(word, top=top)


def command(words: list[str]) -> int:
    """`neurarium neighbours RUN WORD`."""

    def asked(
        run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a run of word2vec")],
        word: Annotated[Positional[str], arg(metavar="WORD", help="a word of its text")],
        /,
        *,
        top: Annotated[int, arg(help="how many to name")] = 10,
        json: Annotated[bool, arg(help="print JSON for a program to read")] = False,
    ) -> tuple[Path, str, int, bool]:
        """The words that lie closest to a word, and the cosines of the angles between."""
        return run, word, top, json

    run, word, top, as_json = parse(asked, words, "neurarium neighbours")
    tell(neighbours(run_folder(run), word, top=top), json=as_json)
    return 0
