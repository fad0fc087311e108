"""Fill: a trained masked language model says what stood where a text has blanks."""

from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import torch
from tyro.conf import Positional, arg

from neurarium.errors import RunError, require
from neurarium.parts.modes import evaluating
from neurarium.running.command_line import parse, run_folder
from neurarium.running.run import Run
from neurarium.running.train import open_run
from neurarium.systems.sequence.masked_language_model import FillBlanks, fill


@dataclass(frozen=True)
class Blank:
    """What could stand at one blank.

    Attributes:
        place: of the blank in the text, the first character being 1.
        characters: the likeliest and their chances, the likeliest first; it was filled in.
    """

    place: int
    characters: tuple[tuple[str, float], ...]

    @property
    def line(self) -> str:
        """One line about it."""
        return f"place {self.place}: {', '.join(f'{letter!r} {chance:.3f}' for letter, chance in self.characters)}"

    def as_dict(self) -> dict[str, Any]:
        """For a program to read."""
        characters = [{"character": letter, "probability": chance} for letter, chance in self.characters]
        return {"place": self.place, "characters": characters}


def fill_text(folder: Path, text: str, *, sign: str = "_", top: int = 3) -> tuple[str, list[Blank]]:
    """Fill the blanks of a text by the newest weights of a run, the surest first.

    Args:
        folder: the run's; under `runs/`, `masked_language_model/001` is enough.
        text: the text.
        sign: the character that stands for a blank.
        top: how many characters to name for each blank.

    Returns:
        The filled text, and what could stand at each blank at the moment it was filled, in the text's order.

    Raises:
        RunError: the folder is no run, or none that learned to fill blanks.
        InvalidValue: the text has no blank, or a character that was not learned from; `sign` is not one character, or
            `top` is below 1.
    """
    require(len(sign) == 1, f"--sign is {sign!r}; a blank is written as one character")
    require(top >= 1, f"--top is {top}; at least 1 character can be named")
    require(sign in text, f"the text has no {sign!r} to fill; write one for each hidden character")
    learner = masked_model(open_run(run_folder(folder)), folder)
    coder, symbols = learner.coder, len(learner.coder)
    any_known = coder.decode(torch.tensor([0]))
    tokens = coder.encode(text.replace(sign, any_known))
    blank = torch.tensor([letter == sign for letter in text])
    with evaluating(learner.model):
        filled = fill(learner.model, tokens.masked_fill(blank, symbols), symbols=symbols)
    blanks = []
    for place in blank.nonzero().flatten().tolist():
        chances, best = filled.chances[place].topk(min(top, symbols))
        blanks.append(Blank(place + 1, tuple(zip(coder.decode(best), chances.tolist(), strict=True))))
    return coder.decode(filled.tokens), blanks


def masked_model(run: Run, folder: Path) -> FillBlanks[Any]:
    """The first learner of a run that learned to fill blanks.

    Raises:
        RunError: there is none.
    """
    for fit in run.fits.values():
        if isinstance(fit.learner, FillBlanks):
            return fit.learner
    raise RunError(f"{folder} trained nothing that fills blanks; take a run of masked_language_model")


def command(words: list[str]) -> int:
    """`neurarium fill RUN TEXT`."""

    def asked(
        run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a run of masked_language_model")],
        text: Annotated[Positional[str], arg(metavar="TEXT", help='the text, with blanks: "to be or ___"')],
        /,
        *,
        sign: Annotated[str, arg(help="the character that stands for a blank")] = "_",
        top: Annotated[int, arg(help="how many characters to name for each blank")] = 3,
        json: Annotated[bool, arg(help="print JSON for a program to read")] = False,
    ) -> tuple[Path, str, str, int, bool]:
        """Fill the blanks of a text by a trained masked language model."""
        return run, text, sign, top, json

    run, text, sign, top, as_json = parse(asked, words, "neurarium fill")
    filled, blanks = fill_text(run, text, sign=sign, top=top)
    if as_json:
        print(dumps({"text": filled, "blanks": [blank.as_dict() for blank in blanks]}, indent=2))
    else:
        print("\n".join([filled, *(blank.line for blank in blanks)]))
    return 0
