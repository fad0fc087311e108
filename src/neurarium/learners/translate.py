r"""Translate: a network that reads one sequence and writes another, taught each next token of true targets.

While it learns, the true target so far stands at its side (teacher forcing), so that all steps are taught at once; when
it is used, it reads what it has written itself, by greedy or beam search.

Source: Sutskever, Vinyals & Le 2014, Sequence to sequence learning with neural networks, §2, §3.2 and §3.4 (clipping);
Williams & Zipser 1989, A learning algorithm for continually running fully recurrent neural networks (teacher forcing);
Szegedy et al. 2016, Rethinking the Inception architecture, §7 (label smoothing); Wu et al. 2016, Google's neural
machine translation system, eq. 14 (length of beams).
Shapes: B pairs, S tokens of the longest source, T of the longest target, K tokens known.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adam, set_rate
from neurarium.parts.pairs import Coding, Pairs, check_pairs, check_rows, padded, present
from neurarium.parts.schedules import Schedule, constant
from neurarium.parts.search import LENGTH_POWER, Written, beam, greedy

TIMES, MORE = 2, 8  # at the most a text has twice the source's tokens and eight more


@runtime_checkable
class Translator(Protocol):
    """A network (an `nn.Module`) that can be taught by a target, and searched token by token."""

    def __call__(
        self, source: Int64[Tensor, "B S"], mask: Bool[Tensor, "B S"], target: Int64[Tensor, "B T"], /
    ) -> Float[Tensor, "B T K"]:
        """Logits of the token after each of the target's, which begins with the start mark."""
        ...

    def encode(self, source: Int64[Tensor, "B S"], mask: Bool[Tensor, "B S"], /) -> Any:
        """What was read, as the state before the first token: a nest of tensors, the batch first in each."""
        ...

    def step(self, state: Any, tokens: Int64[Tensor, " B"], /) -> tuple[Float[Tensor, "B K"], Any]:
        """One token further, as `parts.search` wants it."""
        ...


@runtime_checkable
class Aligning(Protocol):
    """A translator that can say where it looks."""

    def align(
        self, source: Int64[Tensor, "B S"], mask: Bool[Tensor, "B S"], target: Int64[Tensor, "B T"], /
    ) -> Float[Tensor, "B T S"]:
        """The weights of the source's tokens as the token after each of the target's is said; they sum to 1."""
        ...


def smoothed_loss(
    logits: Float[Tensor, "B T K"], targets: Int64[Tensor, "B T"], *, pad: int, smoothing: float
) -> Float[Tensor, ""]:
    """The mean over all places but padding of how unlikely the token was, a little of it shared among all tokens.

    Args:
        logits: of every token, at each place.
        targets: the tokens that would be right.
        pad: the token that does not count.
        smoothing: ε, the part of the target's probability that is spread over all K tokens.

    >>> round(float(smoothed_loss(torch.zeros(1, 2, 4), torch.tensor([[3, 0]]), pad=0, smoothing=0.1)), 4)  # log 4
    1.3863
    """
    # L = −Σ_k q_k log p_k,  q_k = (1 − ε) [k = y] + ε/K
    return cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=pad, label_smoothing=smoothing)


class Translate(Learner[Pairs]):
    """Teaches a translator by true targets, and writes with it.

    Args:
        model: an `nn.Module` that is a `Translator`.
        words: texts as tokens and back; kept with the run, so that it is opened with the tokens it learned.
        smoothing: ε of the label smoothing.
        clip: the gradient's greatest norm, all parameters taken together (None: any).
        width: of the beam when it writes; 1 is greedy.
        length_power: α of the beam's length normalisation.
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.

    Raises:
        InvalidValue: the model is no translator, `smoothing` is not from 0 to below 1, `clip` is not above 0, or
            `width` is below 1.
    """

    def __init__(
        self,
        model: nn.Module,
        words: Coding,
        *,
        smoothing: float = 0.1,
        clip: float | None = 1.0,
        width: int = 1,
        length_power: float = LENGTH_POWER,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-3,
        schedule: Schedule = constant,
    ) -> None:
        what = f"{type(model).__name__} is no translator; it needs forward(source, mask, target), encode and step"
        require(isinstance(model, Translator), what)
        require(0 <= smoothing < 1, f"smoothing is {smoothing}; it must be at least 0 and below 1")
        require(clip is None or clip > 0, f"clip is {clip}; a gradient's greatest norm must be above 0")
        require(width >= 1, f"the beam's width is {width}; at least 1 beginning must be kept")
        self.model = model
        self.words = words
        self.smoothing = smoothing
        self.clip = clip
        self.width = width
        self.length_power = length_power
        self.lr = lr
        self.schedule = schedule
        self.optimizer = optimizer(model.parameters(), lr=lr)

    @property
    def translator(self) -> Translator:
        """The model, as search sees it."""
        return cast("Translator", self.model)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def learn(self, batch: Pairs) -> Measures:
        """One gradient step, the true target so far at the model's side.

        Raises:
            InvalidValue: the batch is empty, misshaped or all padding, or has tokens that are not known.
        """
        self.check(batch)
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        self.optimizer.zero_grad()
        loss = self.loss(batch, smoothing=self.smoothing)
        loss.backward()
        if self.clip is not None:
            # g ← g min(1, clip/‖g‖)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return {"loss": loss.detach()}

    def check(self, batch: Pairs) -> None:
        """Refuse a batch that is empty, misshaped or all padding, or has tokens that are not known.

        Raises:
            InvalidValue: says which.
        """
        check_pairs(batch, self.words.marks)
        most = max(int(field.max()) for field in batch)
        least = min(int(field.min()) for field in batch)
        known = len(self.words)
        require(least >= 0 and most < known, f"the batch has tokens {least} to {most}, but known are 0 to {known - 1}")

    def loss(self, batch: Pairs, *, smoothing: float = 0.0) -> Float[Tensor, ""]:
        """The mean loss of the tokens after the first."""
        marks = self.words.marks
        logits = self.translator(batch.source, present(batch.source, marks), batch.target[:, :-1])
        return smoothed_loss(logits, batch.target[:, 1:], pad=marks.pad, smoothing=smoothing)

    def evaluate(self, batches: Iterable[Pairs], *, prefix: str = "") -> dict[str, float]:
        """The loss over some batches, in evaluation mode, and without smoothing: of the mean token, in nats.

        Args:
            batches: the pairs, in as many batches as suits memory.
            prefix: put before the measure's name ("test_").
        """
        total, count = 0.0, 0
        for batch in batches:
            self.check(batch)
            tokens = int(present(batch.target[:, 1:], self.words.marks).sum())
            with evaluating(self.model):
                total += float(self.loss(batch)) * tokens
            count += tokens
        return {f"{prefix}loss": total / max(count, 1)}

    def write(self, source: Int64[Tensor, "B S"], *, width: int | None = None) -> Written:
        """What becomes of sources, from nothing but them.

        Args:
            source: tokens, each row with its end and padded.
            width: of the beam (the learner's own if None); 1 is greedy.

        Raises:
            InvalidValue: a source is all padding or misshaped, or `width` is below 1.
        """
        marks = self.words.marks
        check_rows(source, marks, what="source")
        width = self.width if width is None else width
        limit = TIMES * source.shape[1] + MORE
        with evaluating(self.model):
            state = self.translator.encode(source, present(source, marks))
            first = torch.full((source.shape[0],), marks.start, device=source.device)
            step = self.translator.step
            if width == 1:
                return greedy(step, state, first, end=marks.end, limit=limit)
            power = self.length_power
            return beam(step, state, first, end=marks.end, limit=limit, width=width, length_power=power).best

    def write_all(self, batches: Iterable[Pairs], *, width: int | None = None) -> list[str]:
        """What becomes of the sources of many batches, as texts."""
        return [text for batch in batches for text in self.read(self.write(batch.source, width=width))]

    def read(self, written: Written) -> list[str]:
        """Tokens as texts."""
        return [self.words.decode(row) for row in written.tokens.tolist()]

    def translate(self, texts: Sequence[str], *, width: int | None = None, size: int = 100) -> list[str]:
        """What becomes of texts.

        Args:
            texts: the sources.
            width: of the beam (the learner's own if None).
            size: texts at a time.

        Raises:
            InvalidValue: a text has no tokens, or characters that are not known.
        """
        return [text for rows in self.sources(texts, size) for text in self.read(self.write(rows, width=width))]

    def sources(self, texts: Sequence[str], size: int = 100) -> Iterator[Int64[Tensor, "B S"]]:
        """Texts as sources, `size` at a time.

        Raises:
            InvalidValue: a text has no tokens, or characters that are not known.
        """
        for start in range(0, len(texts), size):
            rows = [self.words.encode(text) for text in texts[start : start + size]]
            for place, row in enumerate(rows, start=start):
                require(bool(row), f"text {place + 1} is empty; write something to translate")
            yield padded(rows, self.words.marks).to(self.device)

    def alignment(self, source: Int64[Tensor, "1 S"], tokens: Sequence[int]) -> Float[Tensor, "T S"]:
        """Where the model looks in one source before each of the tokens that it wrote (the end among them).

        Raises:
            InvalidValue: the model has no attention.
        """
        if not isinstance(self.model, Aligning):
            raise InvalidValue(f"this {type(self.model).__name__} has no attention; there is no alignment to look at")
        marks = self.words.marks
        target = torch.tensor([[marks.start, *tokens[:-1]]], device=source.device)
        with evaluating(self.model):
            return self.model.align(source, present(source, marks), target)[0]

    def example(self, batch: Pairs) -> dict[str, tuple[Tensor, ...]]:
        """Sources, their mask and the targets before the last token, for the model."""
        return {"model": (batch.source, present(batch.source, self.words.marks), batch.target[:, :-1])}


def exact_match(written: Sequence[str], targets: Sequence[str]) -> float:
    """The share of texts that are right to the letter.

    Raises:
        InvalidValue: there is no text, or not as many as targets.

    >>> exact_match(["cba", "x"], ["cba", "xy"])
    0.5
    """
    count = len(written)
    fits = count == len(targets) > 0
    require(fits, f"there are {count} texts and {len(targets)} targets; give as many of both, at least one")
    return sum(one == other for one, other in zip(written, targets, strict=True)) / count
