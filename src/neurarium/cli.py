"""neurarium on the command line. Imports no PyTorch until something is computed."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field as dataclass_field
from dataclasses import fields, make_dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.console import Console
from tyro.conf import Positional, arg

from neurarium import __version__
from neurarium.errors import InvalidValue, NeurariumError, did_you_mean
from neurarium.running.catalogue import Entry, find
from neurarium.running.command_line import parse, run_folder
from neurarium.running.settings import Settings

OUT = Console()
ERR = Console(stderr=True)

USAGE = """usage: neurarium COMMAND ...

  list [FAMILY]            the systems in the house
  show NAME                one system: idea, source, options, promised and measured result
  train NAME [--option]    train, simulate or solve; --help after the name tells its options
  resume RUN               go on with an interrupted run, bit for bit
  reproduce [NAME ...]     run recipes at their default budget over seeds; writes results/
  check MODULE             hold the recipes of a module of your own to the house's contract
  predict RUN IMAGE ...    a trained classifier names the classes of new images
  sample RUN               a trained generative model makes something new
  translate RUN TEXT ...   a trained translator translates
  fill RUN TEXT            a masked language model fills in each _ of a text
  neighbours RUN WORD      the words nearest to a word
  analogy RUN A B C        A is to B as C is to what?
  play RUN|NAME            a trained player, or one by name, at the terminal
  watch RUN                a moving picture of an agent at work
  arena RUN|NAME RUN|NAME  matches between players, with what chance leaves open
  gtp RUN|NAME             speak the Go Text Protocol, for any Go front end
  export RUN               take the weights away: safetensors, torch or onnx

Begin with: neurarium train lenet
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 a promise of the house broken, 2 bad input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(words)
    except NeurariumError as error:
        ERR.print(f"neurarium: {error}", highlight=False, markup=False, soft_wrap=True)
        return 2
    except BrokenPipeError:
        return 0


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    if words[0] == "--version":
        print(f"neurarium {__version__}")
        return 0
    command = COMMANDS.get(words[0])
    if command is None:
        raise InvalidValue(f"there is no command '{words[0]}'; {did_you_mean(words[0], COMMANDS)}")
    return command(words[1:])


def list_command(words: list[str]) -> int:
    """The systems in the house, family by family."""
    from neurarium.running.tell import list_recipes

    def asked(family: Annotated[Positional[str], arg(help="one family only")] = "") -> str:
        """The systems in the house, family by family."""
        return family

    list_recipes(OUT, parse(asked, words, "neurarium list"))
    return 0


def show_command(words: list[str]) -> int:
    """One system."""
    from neurarium.running.tell import show_recipe

    def asked(name: Annotated[Positional[str], arg(metavar="NAME", help="a recipe's name")]) -> str:
        """One system: idea, source, options, promised and measured result."""
        return name

    show_recipe(OUT, find(parse(asked, words, "neurarium show")))
    return 0


def train_command(words: list[str]) -> int:
    """Train, simulate or solve."""
    if not words or words[0].startswith("-"):
        print("usage: neurarium train NAME [--option value ...]\n\nneurarium list names the recipes.")
        return 0 if words and words[0] in ("-h", "--help") else 2
    entry = find(words[0])
    chosen = parse(_options_of(entry), words[1:], f"neurarium train {words[0]}", description=_help_of(entry))
    options = {option.name: getattr(chosen, option.name) for option in entry.options}
    settings = Settings(**{field.name: getattr(chosen, field.name) for field in fields(Settings)})
    from neurarium.running import ranks, tell, train

    with _interruptible():
        done = train.train(entry, options, settings, out=chosen.out, name=chosen.name, console=OUT)
        tell.finished(ranks.speaker(OUT), entry, done)
    return 0


def resume_command(words: list[str]) -> int:
    """Go on with an interrupted run."""

    def asked(run: Annotated[Positional[Path], arg(metavar="RUN", help="its folder")]) -> Path:
        """Go on with an interrupted run from its newest whole checkpoint, bit for bit."""
        return run

    folder = run_folder(parse(asked, words, "neurarium resume"))
    from neurarium.running import ranks, tell, train

    about = train.read_run(folder)
    with _interruptible():
        done = train.resume(folder, console=OUT)
        tell.finished(ranks.speaker(OUT), find(about["source"] or about["recipe"]), done)
    return 0


def reproduce_command(words: list[str]) -> int:
    """Run recipes at their default budget over seeds."""

    def asked(
        names: Annotated[Positional[tuple[str, ...]], arg(help="recipes")] = (),
        /,
        *,
        all: Annotated[bool, arg(help="every recipe of the house")] = False,
        seeds: Annotated[
            int | None, arg(metavar="INT", help="runs of each, with seeds 0, 1, ... (default: as promised, mostly 3)")
        ] = None,
        jobs: Annotated[int, arg(help="runs at the same time; they share the cores")] = 1,
        results: Annotated[Path, arg(help="where measured values go")] = Path("results"),
        missing: Annotated[bool, arg(help="run only what has no value there yet")] = False,
    ) -> tuple[tuple[str, ...], bool, int | None, int, Path, bool]:
        """Run recipes at their default budget over seeds, negative control included; write what was measured."""
        return names, all, seeds, jobs, results, missing

    names, every, seeds, jobs, results, missing = parse(asked, words, "neurarium reproduce")
    from neurarium.running.results import reproduce

    return reproduce(names, every=every, seeds=seeds, jobs=jobs, results=results, console=OUT, missing=missing)


def check_command(words: list[str]) -> int:
    """Hold recipes to the contract."""

    def asked(
        module: Annotated[
            Positional[str], arg(metavar="MODULE", help="a file, a module's dotted name, or a recipe's name")
        ],
    ) -> str:
        """Hold the recipes of a module to the house's contract, check by check."""
        return module

    module = parse(asked, words, "neurarium check")
    from neurarium.running.contract import check_module

    return check_module(module, OUT)


def export_command(words: list[str]) -> int:
    """Take the weights away."""

    def asked(
        run: Annotated[Positional[Path], arg(metavar="RUN", help="its folder")],
        /,
        *,
        format: Annotated[
            Literal["safetensors", "torch", "onnx"],
            arg(help="safetensors: the weights; the others: a program that runs"),
        ] = "safetensors",
        out: Annotated[Path | None, arg(metavar="DIR", help="where to (default: RUN/export)")] = None,
    ) -> tuple[Path, Literal["safetensors", "torch", "onnx"], Path | None]:
        """Write a run's networks to files, and check that what was written computes the same."""
        return run, format, out

    run, form, out = parse(asked, words, "neurarium export")
    from neurarium.running.export import export

    for exported in export(run_folder(run), form, out):
        print(exported.line)
    return 0


def use(name: str) -> Callable[[list[str]], int]:
    """What a finished run can be asked: the command in a module of `uses`, imported when it is called."""

    def command(words: list[str]) -> int:
        module = import_module(f"neurarium.uses.{name}")
        return int(module.command(words))

    return command


USES = ("predict", "sample", "translate", "fill", "neighbours", "analogy", "play", "watch", "arena", "gtp")

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "list": list_command,
    "show": show_command,
    "train": train_command,
    "resume": resume_command,
    "reproduce": reproduce_command,
    "check": check_command,
    **{name: use(name) for name in USES},
    "export": export_command,
}


def _options_of(entry: Entry) -> type:
    """A dataclass of the recipe's options, the settings, and where the run goes, for the parser."""
    members: list[tuple[str, Any, Any]] = []
    for option in entry.options:
        told = arg(help=option.help, metavar=_metavar(option.type))
        members.append((option.name, Annotated[option.type, told], dataclass_field(default=option.default)))
    members += [(setting.name, setting.type, dataclass_field(default=setting.default)) for setting in fields(Settings)]
    members.append(("out", Annotated[Path, arg(help="folder of all runs")], Path("runs")))
    members.append(("name", Annotated[str | None, arg(metavar="STR", help="the run's name (default: a number)")], None))
    return make_dataclass(entry.name, members, namespace={"__doc__": ""})


def _metavar(kind: Any) -> str | None:
    names = [part.strip() for part in getattr(kind, "__name__", str(kind)).split("|")]
    plain = [name.upper() for name in names if name in ("int", "float", "str")]
    return plain[0] if len(plain) == 1 else None


def _help_of(entry: Entry) -> str:
    return entry.doc.partition("\nArgs:\n")[0]


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ends the program with 130 and a line on how to go on, when the user has stopped a run."""
    from neurarium.running.loop import Interrupted

    try:
        yield
    except Interrupted as stopped:
        ERR.print(f"neurarium: {stopped}", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(130) from None
    except KeyboardInterrupt:
        ERR.print("neurarium: stopped at once; what was saved before still is", markup=False, highlight=False)
        raise SystemExit(130) from None
