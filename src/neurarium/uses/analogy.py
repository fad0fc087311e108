"""Analogy: what is to C as B is to A, by the vectors that a run has learned."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from neurarium.data.word_vectors import Near
from neurarium.running.command_line import parse, run_folder
from neurarium.uses.words import open_words, tell


def analogy(folder: Path, first: str, second: str, third: str, *, top: int = 5) -> Near:
    """The words closest to the place that lies from `third` as `second` lies from `first`, and their cosines.

    Args:
        folder: the run's.
        first: a word, as spelt in the text; a phrase with `_` or spaces.
        second: what has the relation to it that is asked for.
        third: of what the same is asked.
        top: how many answers.

    Raises:
        RunError: the folder is no finished run that placed words.
        InvalidValue: a word is not known (the nearest spellings are named), or `top` is none that can be given.
    """
    return open_words(folder).analogy(first, second, third, top=top)


def command(words: list[str]) -> int:
    """`neurarium analogy RUN A B C`."""

    def asked(
        run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a run of word2vec")],
        a: Annotated[Positional[str], arg(metavar="A", help="france")],
        b: Annotated[Positional[str], arg(metavar="B", help="paris")],
        c: Annotated[Positional[str], arg(metavar="C", help="italy")],
        /,
        *,
        top: Annotated[int, arg(help="how many answers to name")] = 5,
        json: Annotated[bool, arg(help="print JSON for a program to read")] = False,
    ) -> tuple[Path, str, str, str, int, bool]:
        """What is to C as B is to A? The words closest to B − A + C, and the cosines of the angles between."""
        return run, a, b, c, top, json

    run, a, b, c, top, as_json = parse(asked, words, "neurarium analogy")
    tell(analogy(run_folder(run), a, b, c, top=top), json=as_json)
    return 0
