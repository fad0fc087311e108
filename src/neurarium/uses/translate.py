"""Translate: a trained sequence-to-sequence network writes what becomes of a text, and shows where it looked."""

from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from neurarium.errors import require
from neurarium.running.command_line import parse, run_folder
from neurarium.running.files import disk_errors_told, write_whole
from neurarium.running.pictures import png
from neurarium.running.translators import aligns, draw_alignments, open_translator


@dataclass(frozen=True)
class Translation:
    """What became of one text.

    Attributes:
        source: the text.
        text: what was written.
        picture: where its alignment is drawn (None: not asked for, or the network has no attention).
    """

    source: str
    text: str
    picture: Path | None

    def as_dict(self) -> dict[str, Any]:
        """For a program to read."""
        return {"source": self.source, "text": self.text, "picture": self.picture and str(self.picture)}


def translate(
    folder: Path, texts: Sequence[str], *, beam: int | None = None, draw: bool = True, out: Path | None = None
) -> list[Translation]:
    """Translate texts by the newest weights of a run.

    Args:
        folder: the run's.
        texts: what to translate.
        beam: beginnings that the search keeps (default: as many as the run did).
        draw: draw where the network looked before each token that it wrote.
        out: where the pictures go (default: `translations` in the run's folder).

    Raises:
        RunError: the folder is no run, or none that trained a translator.
        InvalidValue: no text is given, one is empty or has characters that are not known, or `beam` is below 1.
    """
    require(bool(texts), "no text is given; write one, in quotes")
    require(beam is None or beam >= 1, f"--beam is {beam}; at least 1 beginning must be kept")
    learner = open_translator(folder)
    written = learner.translate(texts, width=beam)
    if not (draw and aligns(learner)):
        return [Translation(source, text, None) for source, text in zip(texts, written, strict=True)]
    place, done = out or folder / "translations", []
    with disk_errors_told(place):
        place.mkdir(parents=True, exist_ok=True)
        for number, (source, text) in enumerate(zip(texts, written, strict=True), start=1):
            picture = place / f"{number}.png"
            write_whole(picture, png(draw_alignments(learner, [source], width=beam)))
            done.append(Translation(source, text, picture))
    return done


def command(words: list[str]) -> int:
    """`neurarium translate RUN TEXT ...`."""

    def asked(
        run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a run of seq2seq or transformer")],
        texts: Annotated[Positional[tuple[str, ...]], arg(metavar="TEXT", help="what to translate, each in quotes")],
        /,
        *,
        beam: Annotated[
            int | None, arg(help="beginnings that the search keeps; 1 is greedy (default: the run's)")
        ] = None,
        json: Annotated[bool, arg(help="print JSON for a program to read")] = False,
        draw: Annotated[bool, arg(help="draw where the network looked")] = True,
        out: Annotated[Path | None, arg(metavar="DIR", help="where pictures go (default: RUN/translations)")] = None,
    ) -> tuple[Path, tuple[str, ...], int | None, bool, bool, Path | None]:
        """Write what becomes of texts by a trained run, and draw where it looked."""
        return run, texts, beam, json, draw, out

    run, texts, beam, as_json, draw, out = parse(asked, words, "neurarium translate")
    found = translate(run_folder(run), texts, beam=beam, draw=draw, out=out)
    if as_json:
        print(dumps([one.as_dict() for one in found], indent=2, ensure_ascii=False))
    else:
        print("\n".join(one.text for one in found))
        if found[0].picture:
            print(f"alignment drawn in {found[0].picture.parent}")
    return 0
