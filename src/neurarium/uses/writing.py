"""Writing: a trained language model goes on with a text, to be read while it is written."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

import torch
from jaxtyping import Int64
from torch import Tensor

from neurarium.errors import InvalidValue, require
from neurarium.learners.language import Coder, LanguageModel, NextToken, go_on
from neurarium.parts.modes import evaluating
from neurarium.running.run import Run
from neurarium.running.seeds import generator

STARTS = ("\n", " ")  # what a text without a prompt begins after: a line's end or a space, if the model knows one


@dataclass(frozen=True)
class Wish:
    """What is to be written.

    Attributes:
        prompt: what the text begins with; if empty, the model starts where a line or a word could.
        length: characters to write.
        count: texts, all with the same prompt.
        temperature: below 1 the likely becomes likelier, above 1 less so.
        top_k: draw among so many characters only (None: all).
        top_p: draw among the likeliest characters that together have this probability (None: all).
        seed: where chance begins.
    """

    prompt: str = ""
    length: int = 500
    count: int = 1
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.length >= 1, f"--length is {self.length}; at least 1 character must be written")
        require(self.count >= 1, f"--count is {self.count}; at least 1 text must be written")
        require(self.seed >= 0, f"--seed is {self.seed}; it must be 0 or more")


def language_model(run: Run) -> NextToken[Any] | None:
    """The first learner of a run that taught a language model, if there is one."""
    for fit in run.fits.values():
        if isinstance(fit.learner, NextToken) and isinstance(fit.learner.model, LanguageModel):
            return fit.learner
    return None


def write(learner: NextToken[Any], wish: Wish) -> Iterator[tuple[str, ...]]:
    """Go on with a prompt: one more character of each text at a time.

    Args:
        learner: the language model and its characters.
        wish: what is to be written.

    Raises:
        InvalidValue: the prompt has an unknown character, or what `search.sample` refuses.
    """
    chance = generator(wish.seed, "writing")
    read = learner.coder.encode(wish.prompt) if wish.prompt else start(learner.coder, chance)
    with evaluating(learner.model):
        for tokens in go_on(
            learner.model,
            read.expand(wish.count, -1),
            length=wish.length,
            generator=chance,
            temperature=wish.temperature,
            top_k=wish.top_k,
            top_p=wish.top_p,
        ):
            yield tuple(learner.coder.decode(token) for token in tokens.split(1))


def start(coder: Coder, chance: torch.Generator) -> Int64[Tensor, " 1"]:
    """What a text without a prompt begins after: a line's end, a space, or else any character."""
    for character in STARTS:
        try:
            return coder.encode(character)
        except InvalidValue:
            continue
    return torch.randint(len(coder), (1,), generator=chance)


def tell(prompt: str, written: Iterator[tuple[str, ...]], *, out: TextIO | None = None) -> None:
    """Print texts: the first while it is written, the others after it, each under its number.

    Args:
        prompt: what each begins with.
        written: one more character of each at a time.
        out: where to (default: the terminal).
    """
    out = out or sys.stdout
    others: list[list[str]] = []
    for place, (now, *later) in enumerate(written):
        if place == 0:
            others = [[] for _ in later]
            out.write(f"{_heading(1, later)}{prompt}")
        out.write(now)
        out.flush()
        for text, character in zip(others, later, strict=True):
            text.append(character)
    for number, text in enumerate(others, start=2):
        out.write(f"\n\n{_heading(number, others)}{prompt}{''.join(text)}")
    out.write("\n")


def _heading(number: int, others: list[Any]) -> str:
    return f"--- {number} of {len(others) + 1} ---\n" if others else ""
