"""Sample: a trained generative model makes something new. A language model writes, a generator of pictures draws."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

from tyro.conf import Positional, arg

from neurarium.errors import InvalidValue, RunError
from neurarium.running.command_line import parse, run_folder
from neurarium.running.train import open_run
from neurarium.uses import drawing, writing
from neurarium.uses.drawing import Form

WishT = TypeVar("WishT", drawing.Wish, writing.Wish)


def sample(folder: Path, options: Mapping[str, Any]) -> None:
    """Print, or write into files, what the newest weights of a run make.

    Args:
        folder: the run's; under `runs/`, `char_language_model/001` is enough.
        options: those of `writing.Wish` or of `drawing.Wish`, by what the run trained; the others have their defaults.

    Raises:
        RunError: the folder is no run, or none that trained a model that makes something.
        InvalidValue: an option for another kind of run, an unknown character or label, or a number out of its range.
    """
    run = open_run(run_folder(folder))
    if writer := writing.language_model(run):
        wish = made(writing.Wish, options, "writes")
        return writing.tell(wish.prompt, writing.write(writer, wish))
    if draughtsman := drawing.draughtsman(run):
        written = drawing.draw(run, draughtsman, made(drawing.Wish, options, "draws"))
        return print(written[0] if len(written) == 1 else f"{len(written)} files in {written[0].parent}")
    raise RunError(
        f"{folder} trained nothing that writes or draws; take a run of char_language_model, ddpm, vae or the like"
    )


def made(kind: type[WishT], options: Mapping[str, Any], does: str) -> WishT:
    """A wish with these options.

    Raises:
        InvalidValue: one that such a wish has not.
    """
    known = [field.name for field in fields(kind)]
    for name in options:
        if name not in known:
            takes = ", ".join(f"--{option.replace('_', '-')}" for option in known)
            raise InvalidValue(f"--{name.replace('_', '-')} is nothing for a run that {does}; it takes {takes}")
    return kind(**options)


def command(words: list[str]) -> int:
    """`neurarium sample RUN ...`."""

    def asked(
        run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a run that trained a generative model")],
        /,
        *,
        count: Annotated[int | None, arg(metavar="INT", help="texts (1) or pictures (60) to make")] = None,
        seed: Annotated[int, arg(help="where chance begins; the same seed makes the same")] = 0,
        prompt: Annotated[
            str | None, arg(metavar="STR", help="what a text begins with (default: a line's start)")
        ] = None,
        length: Annotated[int | None, arg(metavar="INT", help="characters of a text (500)")] = None,
        temperature: Annotated[
            float | None, arg(metavar="FLOAT", help="below 1 the likely becomes likelier, above 1 less so")
        ] = None,
        top_k: Annotated[int | None, arg(metavar="INT", help="draw among so many characters only")] = None,
        top_p: Annotated[
            float | None, arg(metavar="FLOAT", help="draw among the likeliest that together have this probability")
        ] = None,
        label: Annotated[
            str | None, arg(metavar="STR", help="class of the pictures (default: every class in turn)")
        ] = None,
        steps: Annotated[int | None, arg(metavar="INT", help="steps of a diffusion (default: all trained)")] = None,
        guidance: Annotated[float | None, arg(metavar="FLOAT", help="how much the class is exaggerated (1)")] = None,
        out: Annotated[Path | None, arg(metavar="DIR", help="where pictures go (default: RUN/samples)")] = None,
        form: Annotated[Form | None, arg(help="of pictures: one sheet, single files, or an array")] = None,
    ) -> tuple[Path, dict[str, Any]]:
        """Let a trained model make something new: text, or pictures."""
        text = {"prompt": prompt, "length": length, "temperature": temperature, "top_k": top_k, "top_p": top_p}
        image = {"label": label, "steps": steps, "guidance": guidance, "out": out, "form": form}
        given = {"count": count, "seed": seed, **text, **image}
        return run, {name: value for name, value in given.items() if value is not None}

    sample(*parse(asked, words, "neurarium sample"))
    return 0
