r"""Search: writing a sequence with a network that says how likely each next token is.

Greedy search takes the likeliest token again and again; sampling draws it, sharpened by a temperature or cut to the
likeliest few; beam search keeps several beginnings alive and ends with the best whole. The network is a function
`step(state, tokens) -> (logits, state)`; its state is a tensor or any nest of tuples, lists and dicts of tensors, each
with the batch first, so that every recurrent network and every cache of keys and values is searched by the same code.

Source: Sutskever, Vinyals & Le 2014, Sequence to sequence learning, §3.2 (beam); Wu et al. 2016, Google's neural
machine translation system, eq. 14 (length); Fan, Lewis & Dauphin 2018, Hierarchical neural story generation, §5.4
(top-k); Holtzman et al. 2020, The curious case of neural text degeneration, §3.1 (top-p) and §4.3 (temperature).
Differs: the length is n^α instead of ((5 + n)/6)^α; whole sequences keep their place in the beam and compete there with
the unfinished, and the search ends when all of it is whole.
Shapes: B batch, K tokens known, T tokens written, W beams.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neurarium.errors import InvalidValue, require

StateT = TypeVar("StateT")

LENGTH_POWER = 0.7  # α; Wu et al. 2016, §7 find 0.6 to 0.7 best


@runtime_checkable
class Step(Protocol[StateT]):
    """The logits of the next token, and the state after reading the last one."""

    def __call__(self, state: StateT, tokens: Int64[Tensor, " B"], /) -> tuple[Float[Tensor, "B K"], StateT]: ...


class Written(NamedTuple):
    """Sequences, each with its end; after it, every token is the end. And the log of each one's probability."""

    tokens: Int64[Tensor, "B T"]
    log_probabilities: Float[Tensor, " B"]


class Beams(NamedTuple):
    """All that the beam ended with, the best first."""

    tokens: Int64[Tensor, "B W T"]
    log_probabilities: Float[Tensor, "B W"]
    scores: Float[Tensor, "B W"]

    @property
    def best(self) -> Written:
        """The best sequence of each beam."""
        return Written(self.tokens[:, 0], self.log_probabilities[:, 0])


def greedy(step: Step[StateT], state: StateT, first: Int64[Tensor, " B"], *, end: int, limit: int) -> Written:
    """The likeliest token at every step.

    Args:
        step: the network.
        state: before it reads the first token.
        first: the token that each sequence begins after (a start mark, or the last of a prompt).
        end: the token that ends a sequence.
        limit: tokens to write at the most.

    Raises:
        InvalidValue: `limit` is below 1, there is no sequence, or the network does not know the token `end`.

    >>> def alphabet(state, tokens):  # after each token comes the next
    ...     return torch.eye(5)[(tokens + 1) % 5], state
    >>> greedy(alphabet, (), torch.tensor([0, 2]), end=4, limit=9).tokens.tolist()
    [[1, 2, 3, 4], [3, 4, 4, 4]]
    """
    return _write(step, state, first, lambda logits: logits.argmax(1), end=end, limit=limit)


def sample(
    step: Step[StateT],
    state: StateT,
    first: Int64[Tensor, " B"],
    *,
    end: int,
    limit: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Written:
    """Tokens drawn by their probability. The log probabilities are the network's own, whatever was cut.

    Args:
        step: the network.
        state: before it reads the first token.
        first: the token that each sequence begins after.
        end: the token that ends a sequence.
        limit: tokens to write at the most.
        generator: where chance comes from.
        temperature: logits are divided by it; below 1 the likely becomes likelier.
        top_k: draw among so many tokens only.
        top_p: draw among the likeliest tokens that together have at least this probability.

    Raises:
        InvalidValue: a temperature not above 0, a `top_k` below 1, a `top_p` not above 0 and at most 1, or as `greedy`.
    """
    require(temperature > 0, f"the temperature is {temperature}; it must be positive (near 0 is greedy search)")

    def draw(logits: Tensor) -> Tensor:
        cut = logits.float() / temperature
        cut = cut if top_k is None else keep_top_k(cut, top_k)
        cut = cut if top_p is None else keep_top_p(cut, top_p)
        chances = torch.softmax(cut, dim=1).to(generator.device)
        return torch.multinomial(chances, 1, generator=generator).squeeze(1).to(logits.device)

    return _write(step, state, first, draw, end=end, limit=limit)


def _write(
    step: Step[StateT],
    state: StateT,
    first: Tensor,
    choose: Callable[[Tensor], Tensor],
    *,
    end: int,
    limit: int,
) -> Written:
    _check(first, limit)
    tokens, over = first, torch.zeros_like(first, dtype=torch.bool)
    written, total = [], torch.zeros(len(first), device=first.device)
    for _ in range(limit):
        logits, state = step(state, tokens)
        tokens = torch.where(over, end, choose(_checked(logits, end)))
        chosen = torch.log_softmax(logits.float(), dim=1).gather(1, tokens.unsqueeze(1)).squeeze(1)
        total = torch.where(over, total, total + chosen)
        written.append(tokens)
        over = over | (tokens == end)
        if bool(over.all()):
            break
    return Written(torch.stack(written, dim=1), total)


def keep_top_k(logits: Float[Tensor, "B K"], k: int) -> Float[Tensor, "B K"]:
    """The k largest logits; the rest −∞.

    Raises:
        InvalidValue: k is below 1.

    >>> keep_top_k(torch.tensor([[1.0, 3.0, 2.0]]), 2)
    tensor([[-inf, 3., 2.]])
    """
    require(k >= 1, f"top_k is {k}; at least 1 token must be left")
    best = logits.topk(min(k, logits.shape[1]), dim=1)
    return torch.full_like(logits, -torch.inf).scatter(1, best.indices, best.values)


def keep_top_p(logits: Float[Tensor, "B K"], p: float) -> Float[Tensor, "B K"]:
    """The likeliest tokens that are needed to reach probability p together; the rest −∞.

    Raises:
        InvalidValue: p is not above 0 and at most 1.

    >>> keep_top_p(torch.tensor([[0.5, 0.3, 0.2]]).log(), 0.6).exp()
    tensor([[0.5000, 0.3000, 0.0000]])
    """
    require(0 < p <= 1, f"top_p is {p}; it must be above 0 and at most 1")
    ordered = logits.sort(dim=1, descending=True)
    chances = torch.softmax(ordered.values, dim=1)
    # A token stays if those before it do not reach p yet; so the likeliest always stays.
    needed = chances.cumsum(1) - chances < p
    return torch.full_like(logits, -torch.inf).scatter(1, ordered.indices, ordered.values.where(needed, -torch.inf))


def beam(
    step: Step[StateT],
    state: StateT,
    first: Int64[Tensor, " B"],
    *,
    end: int,
    limit: int,
    width: int,
    length_power: float = LENGTH_POWER,
) -> Beams:
    """The best of the sequences that stay among the `width` best at every length; width 1 is greedy search.

    Args:
        step: the network.
        state: before it reads the first token.
        first: the token that each sequence begins after.
        end: the token that ends a sequence.
        limit: tokens to write at the most.
        width: beginnings kept alive, W.
        length_power: α; 0 compares plain probabilities, which favours the short, 1 those of the mean token.

    Raises:
        InvalidValue: a width below 1, a negative `length_power`, or as `greedy`.

    >>> def forked(state, tokens):  # 1 is likelier at first, but nothing certain follows it
    ...     after = torch.tensor([[0.0, 0.6, 0.4, 0.0], [0.0, 0.4, 0.3, 0.3], [0.0, 0.0, 0.0, 1.0]])
    ...     return after[tokens].log().clamp(min=-99), state
    >>> start = torch.tensor([0])
    >>> greedy(forked, (), start, end=3, limit=2).tokens, beam(forked, (), start, end=3, limit=2, width=2).best.tokens
    (tensor([[1, 1]]), tensor([[2, 3]]))
    """
    require(width >= 1, f"the beam's width is {width}; at least 1 beginning must be kept")
    require(length_power >= 0, f"length_power is {length_power}; below 0 it would favour the short even more")
    _check(first, limit)
    now = _Beam.begin(first, width)
    state = map_tensors(lambda value: value.repeat_interleave(width, dim=0), state)
    tokens = first.repeat_interleave(width)
    for _ in range(limit):
        logits, state = step(state, tokens)
        now, rows = now.extend(torch.log_softmax(_checked(logits, end).float(), dim=1), end, length_power)
        state = map_tensors(partial(torch.index_select, dim=0, index=rows), state)
        tokens = now.tokens[..., -1].flatten()
        if bool((now.over | now.total.isneginf()).all()):
            break
    return Beams(now.tokens, now.total, _score(now.total, now.lengths, length_power))


class _Beam(NamedTuple):
    """Where a beam search stands: what was written, its log probability and length, and whether it is whole."""

    tokens: Int64[Tensor, "B W T"]
    total: Float[Tensor, "B W"]
    lengths: Float[Tensor, "B W"]
    over: Bool[Tensor, "B W"]

    @classmethod
    def begin(cls, first: Tensor, width: int) -> "_Beam":
        # One beginning is alive, or the same sequence would fill the beam W times.
        total = torch.full((len(first), width), -torch.inf, device=first.device)
        total[:, 0] = 0.0
        tokens = first.new_empty(len(first), width, 0)
        return cls(tokens, total, torch.zeros_like(total), torch.zeros_like(total, dtype=torch.bool))

    def extend(self, chances: Float[Tensor, "BW K"], end: int, power: float) -> tuple["_Beam", Int64[Tensor, " BW"]]:
        """The best of all beginnings with one more token each, and the rows of the state that they go on from."""
        count, width = self.total.shape
        known = chances.shape[1]
        # What is whole goes on in one way: with the end, at no cost.
        frozen = torch.full_like(chances[:1], -torch.inf).index_fill(1, torch.tensor([end], device=chances.device), 0.0)
        chances = torch.where(self.over.view(-1, 1), frozen, chances).view(count, width, known)
        total = self.total.unsqueeze(2) + chances
        lengths = self.lengths + (~self.over).float()
        best = _score(total, lengths.unsqueeze(2), power).flatten(1).topk(width, dim=1).indices
        parent, token = best // known, best % known
        tokens = self.tokens.gather(1, parent.unsqueeze(2).expand(-1, -1, self.tokens.shape[2]))
        over = self.over.gather(1, parent) | (token == end)
        extended = torch.cat([tokens, token.unsqueeze(2)], dim=2)
        rows = parent + width * torch.arange(count, device=parent.device).unsqueeze(1)
        return _Beam(extended, total.flatten(1).gather(1, best), lengths.gather(1, parent), over), rows.flatten()


def _score(total: Tensor, lengths: Tensor, power: float) -> Tensor:
    # s(y) = log P(y) / |y|^α
    return total / lengths.clamp(min=1) ** power


def map_tensors(function: Callable[[Tensor], Tensor], nest: Any) -> Any:
    """The same nest of tuples, named tuples, lists and dicts, the function applied to every tensor in it.

    >>> map_tensors(lambda value: value + 1, (torch.tensor(1), {"a": [torch.tensor(2)], "b": None}))
    (tensor(2), {'a': [tensor(3)], 'b': None})
    """
    if isinstance(nest, Tensor):
        return function(nest)
    if isinstance(nest, dict):
        return {name: map_tensors(function, value) for name, value in nest.items()}
    if isinstance(nest, tuple | list):
        values = [map_tensors(function, value) for value in nest]
        return type(nest)(*values) if hasattr(nest, "_fields") else type(nest)(values)
    return nest


def _check(first: Tensor, limit: int) -> None:
    require(limit >= 1, f"limit is {limit}; at least 1 token must be written")
    require(first.shape[0] >= 1, "there is no sequence to write; give at least one first token")


def _checked(logits: Tensor, end: int) -> Tensor:
    if not 0 <= end < logits.shape[1]:
        raise InvalidValue(f"the end is token {end}, but the network knows the tokens 0 to {logits.shape[1] - 1}")
    return logits
