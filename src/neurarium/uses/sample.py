"""Sample: a trained generative model makes something new. A language model writes."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from neurarium.errors import RunError
from neurarium.running.command_line import parse, run_folder
from neurarium.running.train import open_run
from neurarium.uses.writing import Wish, language_model, tell, write


def sample(folder: Path, wish: Wish) -> None:
    """Print what the newest weights of a run make.

    Args:
        folder: the run's; under `runs/`, `char_language_model/001` is enough.
        wish: what is to be made.

    Raises:
        RunError: the folder is no run, or none that trained a model that makes something.
        InvalidValue: the prompt has a character that the model does not know, or a number is out of its range.
    """
    run = open_run(run_folder(folder))
    if writer := language_model(run):
        return tell(wish.prompt, write(writer, wish))
    raise RunError(f"{folder} trained nothing that writes; take a run of char_language_model or the like")


def command(words: list[str]) -> int:
    """`neurarium sample RUN ...`."""

    def asked(
        run: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a run that trained a language model")],
        /,
        *,
        prompt: Annotated[str, arg(help="what the text begins with (default: a line's start)")] = "",
        length: Annotated[int, arg(help="characters to write")] = 500,
        temperature: Annotated[float, arg(help="below 1 the likely becomes likelier, above 1 less so")] = 1.0,
        top_k: Annotated[int | None, arg(metavar="INT", help="draw among so many characters only")] = None,
        top_p: Annotated[
            float | None, arg(metavar="FLOAT", help="draw among the likeliest that together have this probability")
        ] = None,
        count: Annotated[int, arg(help="texts to write")] = 1,
        seed: Annotated[int, arg(help="where chance begins; the same seed writes the same text")] = 0,
    ) -> tuple[Path, Wish]:
        """Let a trained language model write."""
        return run, Wish(prompt, length, count, temperature, top_k, top_p, seed)

    sample(*parse(asked, words, "neurarium sample"))
    return 0
