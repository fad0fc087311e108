r"""Language models: what comes next, asked at every place of a text at once.

A text is its own teacher: at each place the characters so far are the input and the next one is the answer. The loss is
the surprise at what did come, in nats; who has no idea is surprised by ln K. Its exponential, the perplexity, says
among how many equally likely characters the model is left to choose, and in bits it is what a character would cost if
the text were packed with the model's help.

Source: CSE 151B, Objective Functions (multinomial → cross-entropy); CSE 151B, Recurrent Neural Networks (targets at all
time layers); Shannon 1951, Prediction and entropy of printed English, §2 (bits a character); Jelinek, Mercer, Bahl &
Baker 1977, Perplexity, a measure of the difficulty of speech recognition tasks; Pascanu, Mikolov & Bengio 2013, On the
difficulty of training recurrent neural networks, alg. 1 (clipping).
Shapes: B texts, T places, K known characters, N characters of a text.
"""

from collections.abc import Iterable, Iterator
from math import exp, inf, log
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import check_batch
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adamw, set_rate
from neurarium.parts.schedules import Schedule, constant
from neurarium.parts.search import sample

CLIP = 1.0  # greatest norm of a gradient
LARGEST = 700.0  # nats; the exponential of more is no float

State = Any
"""What a model remembers of the text so far: tensors, or a nest of tuples of them, each with the batch first."""


@runtime_checkable
class LanguageModel(Protocol):
    """A network that says how likely each next token is: of a whole text at once, or going on token by token."""

    def forward(self, tokens: Int64[Tensor, "B T"], /) -> Float[Tensor, "B T K"]:
        """The logits of what comes after each token; none sees those after it."""
        ...

    def begin(self, count: int, /) -> State:
        """The state of so many texts before their first token."""
        ...

    def step(self, state: State, tokens: Int64[Tensor, " B"], /) -> tuple[Float[Tensor, "B K"], State]:
        """The logits of what comes after one more token of each text, and the state then."""
        ...


@runtime_checkable
class Coder(Protocol):
    """Texts as tokens, and tokens as texts."""

    def __len__(self) -> int:
        """How many tokens there are, K."""
        ...

    def encode(self, text: str, /) -> Int64[Tensor, " N"]:
        """A text as tokens; an unknown character is an error."""
        ...

    def decode(self, tokens: Int64[Tensor, " N"], /) -> str:
        """Tokens as a text."""
        ...


Model = TypeVar("Model", bound=nn.Module)


class NextToken(Learner[tuple[Tensor, Tensor]], Generic[Model]):
    """Teaches a network to say what comes next.

    Args:
        model: from tokens (B, T) to logits (B, T, K), no place seeing those after it: a `LanguageModel`.
        coder: how texts become tokens, kept for whoever lets the model write.
        clip: the gradient's greatest norm, all parameters taken together (None: no limit).
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.

    Raises:
        InvalidValue: `clip` is not above 0.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> class Letters:
    ...     def __len__(self):
    ...         return 3
    ...
    ...     def encode(self, text):
    ...         return torch.tensor([ord(letter) - ord("a") for letter in text])
    ...
    ...     def decode(self, tokens):
    ...         return "".join(chr(ord("a") + token) for token in tokens.tolist())
    >>> text = Letters().encode("abcabcabc").unsqueeze(0)
    >>> batch = (text[:, :-1], text[:, 1:])
    >>> learner = NextToken(nn.Embedding(3, 3), coder=Letters(), lr=0.1)  # it sees one letter back
    >>> losses = [float(learner.learn(batch)["loss"]) for _ in range(60)]
    >>> learner.evaluate([batch])["perplexity"] < 1.05
    True
    """

    def __init__(
        self,
        model: Model,
        *,
        coder: Coder,
        clip: float | None = CLIP,
        optimizer: MakeOptimizer = adamw,
        lr: float = 1e-3,
        schedule: Schedule = constant,
    ) -> None:
        require(clip is None or clip > 0, f"clip is {clip}; a gradient's greatest norm must be above 0")
        self.model = model
        self.coder = coder
        self.clip = clip
        self.lr = lr
        self.schedule = schedule
        self.optimizer = optimizer(model.parameters(), lr=lr)

    def learn(self, batch: tuple[Tensor, Tensor]) -> Measures:
        """One gradient step on the mean loss of all places.

        Raises:
            InvalidValue: the batch is empty, or its inputs and targets are not whole numbers of one shape (B, T).
        """
        inputs, targets = check_texts(batch)
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        self.optimizer.zero_grad()
        # L = −1/(B T) Σ ln p(x_{t+1} | x_1 … x_t)
        loss = cross_entropy(self.model(inputs).flatten(0, 1).float(), targets.flatten())
        loss.backward()
        if self.clip is not None:
            # g ← g min(1, clip/‖g‖)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return {"loss": loss.detach()}

    def evaluate(self, batches: Iterable[tuple[Tensor, Tensor]], *, prefix: str = "val_") -> dict[str, float]:
        """How well the model knows some texts, in evaluation mode.

        Args:
            batches: the texts, in as many batches as suits memory.
            prefix: put before `loss`.

        Returns:
            `val_loss`, the mean over all places, in nats; and the same as `perplexity` and `bits_per_character`, each
            token being a character.

        Raises:
            InvalidValue: there are no batches, or as `learn`.
        """
        total, places = 0.0, 0
        with evaluating(self.model):
            for batch in batches:
                inputs, targets = check_texts(batch)
                logits = self.model(inputs).flatten(0, 1).float()
                total += float(cross_entropy(logits, targets.flatten(), reduction="sum"))
                places += targets.numel()
        require(places > 0, "there is no text to evaluate on; give at least one batch")
        return surprise(total / places, prefix=prefix)

    def example(self, batch: tuple[Tensor, Tensor]) -> dict[str, tuple[Tensor, ...]]:
        """The inputs of a batch, for the model."""
        return {"model": (batch[0],)}


def go_on(
    model: LanguageModel,
    read: Int64[Tensor, "B T"],
    *,
    length: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[Int64[Tensor, " B"]]:
    """Texts gone on with, a token of each at a time, drawn by its probability.

    Args:
        model: who writes; in evaluation mode, if it has one.
        read: the beginning of each text, at least one token.
        length: tokens to write.
        generator: where chance comes from.
        temperature: logits are divided by it; below 1 the likely becomes likelier.
        top_k: draw among so many tokens only (None: all).
        top_p: draw among the likeliest that together have at least this probability (None: all).

    Raises:
        InvalidValue: nothing was read, or what `search.sample` refuses.
    """
    require(read.shape[1] >= 1, "a text to go on with has no token; give it at least one")
    state = model.begin(read.shape[0])
    for tokens in read[:, :-1].unbind(1):
        _, state = model.step(state, tokens)
    tokens = read[:, -1]
    for _ in range(length):
        with torch.no_grad():
            logits, state = model.step(state, tokens)
        # Search's sampling, a token at a time, so that it can be read while it is written. There is no end mark.
        tokens = sample(
            lambda known, _: (known, known),
            logits,
            tokens,
            end=0,
            limit=1,
            generator=generator,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        ).tokens[:, 0]
        yield tokens


def surprise(nats: float, *, prefix: str = "val_") -> dict[str, float]:
    """A mean loss in nats, by all its names.

    >>> {name: round(value, 4) for name, value in surprise(log(8.0)).items()}
    {'val_loss': 2.0794, 'perplexity': 8.0, 'bits_per_character': 3.0}
    """
    # perplexity = e^L; bits = L / ln 2
    perplexity = exp(nats) if nats < LARGEST else inf
    return {f"{prefix}loss": nats, "perplexity": perplexity, "bits_per_character": nats / log(2)}


def check_texts(batch: tuple[Tensor, Tensor]) -> tuple[Int64[Tensor, "B T"], Int64[Tensor, "B T"]]:
    """A batch of texts and what comes next, unless it is unusable.

    Raises:
        InvalidValue: it is empty, or inputs and targets are not whole numbers of one shape (B, T).
    """
    inputs, targets = batch
    check_batch((inputs, targets), wanted="texts and what comes next")
    if inputs.ndim != 2 or inputs.shape != targets.shape or not inputs.numel():
        shapes = f"{tuple(inputs.shape)} and {tuple(targets.shape)}"
        raise InvalidValue(f"texts and what comes next are {shapes}; both must be (B, T), with at least one place")
    if inputs.is_floating_point() or targets.is_floating_point():
        raise InvalidValue(f"tokens are {inputs.dtype} and {targets.dtype}; they must be whole numbers (torch.int64)")
    return inputs, targets
