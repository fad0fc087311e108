"""Every image encoder of the house by name: `resnet:depth=20,width=16`.

Nothing is registered: a name is that of a file in `systems/vision` that holds an `Encoder`, and its options are the
keyword-only arguments of that class.
"""

import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from neurarium.errors import InvalidValue, did_you_mean
from neurarium.parts.encoders import Encoder

PLAIN: Mapping[type, Any] = {int: int, float: float, str: str}
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def build_encoder(text: str, *, shape: tuple[int, int, int]) -> Encoder:
    """An encoder from its name and options.

    Args:
        text: `NAME` or `NAME:option=value,option=value`.
        shape: channels, height and width of the images.

    Raises:
        InvalidValue: there is no such encoder or option, a value is no number, or the encoder cannot be built so.

    >>> build_encoder("lenet", shape=(1, 8, 8)).width
    84
    """
    name, _, given = text.partition(":")
    made = encoder_class(name)
    known = options_of(made)
    options = {}
    for pair in filter(None, given.split(",")):
        option, equals, value = (part.strip() for part in pair.partition("="))
        if option not in known or not equals:
            hint = did_you_mean(option, known) if known else "it has none"
            raise InvalidValue(f"'{pair}' is no option of the encoder {name}; write option=value; {hint}")
        options[option] = _value(name, option, known[option], value)
    return made(shape=shape, **options)


def encoder_class(name: str) -> type[Encoder]:
    """The encoder in the file of this name.

    Raises:
        InvalidValue: there is none.
    """
    if name in _files():
        module = import_module(f"{__package__}.vision.{name}")
        for value in vars(module).values():
            ours = isinstance(value, type) and issubclass(value, Encoder) and value.__module__ == module.__name__
            if ours and not inspect.isabstract(value):
                return value
    raise InvalidValue(f"there is no encoder '{name}'; {did_you_mean(name, encoder_names())}")


def encoder_names() -> list[str]:
    """The names of all encoders, found by reading the files."""
    return [name for name, path in sorted(_files().items()) if "(Encoder):" in path.read_text(encoding="utf-8")]


def options_of(made: type[Encoder]) -> dict[str, type]:
    """The options of an encoder and their types: the keyword-only arguments that are plain values."""
    parameters = inspect.signature(made.__init__, eval_str=True).parameters.values()
    plain = {*PLAIN, bool}
    return {
        parameter.name: parameter.annotation
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.annotation in plain
    }


def _files() -> dict[str, Path]:
    return {path.stem: path for path in (Path(__file__).parent / "vision").glob("*.py")}


def _value(encoder: str, option: str, kind: type, text: str) -> Any:
    try:
        return TRUTHS[text.lower()] if kind is bool else PLAIN[kind](text)
    except (ValueError, KeyError):
        raise InvalidValue(f"the encoder {encoder} takes {option} as {kind.__name__}, not '{text}'") from None
