"""Search: beam 1 is greedy, a wide beam finds the best of all sequences, sampling follows the network's odds."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from neurarium.errors import InvalidValue
from neurarium.parts.search import Step, beam, greedy, keep_top_k, keep_top_p, map_tensors, sample

END, KNOWN, LIMIT = 0, 4, 4


class Chooser(nn.Module):
    """A small recurrent network, whose state is a nest: what comes next depends on all that came before."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.cell = nn.GRUCell(KNOWN, 6)
        self.readout = nn.Linear(6, KNOWN)

    def step(self, state: dict[str, tuple[Tensor]], tokens: Tensor) -> tuple[Tensor, dict[str, tuple[Tensor]]]:
        with torch.no_grad():
            hidden = self.cell(torch.eye(KNOWN)[tokens], state["nest"][0])
            return 4 * self.readout(hidden), {"nest": (hidden,)}


def chooser(seed: int, count: int = 3) -> tuple[Step[dict[str, tuple[Tensor]]], dict[str, tuple[Tensor]], Tensor]:
    net = Chooser(seed)
    return net.step, {"nest": (torch.randn(count, 6),)}, torch.ones(count, dtype=torch.int64)


def log_probability(seed: int, row: int, tokens: tuple[int, ...]) -> float:
    """Of one sequence, token by token, without any search."""
    step, state, first = chooser(seed)
    state, last, total = {"nest": (state["nest"][0][row : row + 1],)}, first[:1], 0.0
    for token in tokens:
        logits, state = step(state, last)
        total += float(torch.log_softmax(logits, 1)[0, token])
        last = torch.tensor([token])
    return total


def all_sequences() -> list[tuple[int, ...]]:
    """Every sequence that ends with the end, or at the limit without one."""
    rest = range(1, KNOWN)
    whole = [(*head, END) for length in range(LIMIT) for head in product(rest, repeat=length)]
    return whole + list(product(rest, repeat=LIMIT))


@given(seed=st.integers(0, 2**31))
def test_beam_one_is_greedy(seed: int) -> None:
    one = greedy(*chooser(seed), end=END, limit=LIMIT)
    other = beam(*chooser(seed), end=END, limit=LIMIT, width=1).best
    assert torch.equal(one.tokens, other.tokens)
    torch.testing.assert_close(one.log_probabilities, other.log_probabilities)


@pytest.mark.parametrize("power", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_beam_wide_enough_finds_the_best_of_all_sequences(seed: int, power: float) -> None:
    found = beam(*chooser(seed), end=END, limit=LIMIT, width=KNOWN**LIMIT, length_power=power)
    for row in range(3):
        chances = {tokens: log_probability(seed, row, tokens) for tokens in all_sequences()}
        scores = {tokens: chance / len(tokens) ** power for tokens, chance in chances.items()}
        best = max(scores, key=scores.__getitem__)
        assert found.tokens[row, 0, : len(best)].tolist() == list(best)
        assert float(found.scores[row, 0]) == pytest.approx(scores[best], abs=1e-5)
        assert float(found.best.log_probabilities[row]) == pytest.approx(chances[best], abs=1e-5)
        alive = found.scores[row].isfinite()
        assert int(alive.sum()) == len(scores)  # each sequence once
        torch.testing.assert_close(found.scores[row, alive].sort(descending=True).values, found.scores[row, alive])


def test_a_sequence_is_searched_as_if_it_were_alone() -> None:
    step, state, first = chooser(5)
    together = beam(step, state, first, end=END, limit=LIMIT, width=3).tokens
    for row in range(3):
        one = {"nest": (state["nest"][0][row : row + 1],)}
        alone = beam(step, one, first[:1], end=END, limit=LIMIT, width=3).tokens
        assert torch.equal(together[row : row + 1, :, : alone.shape[2]], alone)


def test_after_the_end_is_nothing_but_ends() -> None:
    for tokens in greedy(*chooser(1, 50), end=END, limit=9).tokens.tolist():
        if END in tokens:
            assert set(tokens[tokens.index(END) :]) == {END}


def test_sampling_follows_the_odds_and_its_seed() -> None:
    odds = torch.tensor([0.1, 0.2, 0.3, 0.4])
    first = torch.zeros(20_000, dtype=torch.int64)

    def step(state: tuple[()], tokens: Tensor) -> tuple[Tensor, tuple[()]]:
        return odds.log().expand(len(tokens), -1), state

    def shares(**cuts: float) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        drawn = sample(step, (), first, end=END, limit=1, generator=generator, **cuts)  # type: ignore[arg-type]
        torch.testing.assert_close(drawn.log_probabilities, odds.log()[drawn.tokens[:, 0]])
        return torch.bincount(drawn.tokens[:, 0], minlength=KNOWN) / len(first)

    torch.testing.assert_close(shares(), odds, atol=0.015, rtol=0)
    torch.testing.assert_close(shares(temperature=0.5), odds**2 / (odds**2).sum(), atol=0.015, rtol=0)
    torch.testing.assert_close(shares(top_k=2), torch.tensor([0, 0, 3 / 7, 4 / 7]), atol=0.015, rtol=0)
    torch.testing.assert_close(shares(top_p=0.75), torch.tensor([0, 2, 3, 4]) / 9, atol=0.015, rtol=0)
    assert torch.equal(shares(), shares())


def test_sampling_near_temperature_zero_is_greedy() -> None:
    written = greedy(*chooser(3), end=END, limit=LIMIT)
    cold = sample(*chooser(3), end=END, limit=LIMIT, generator=torch.Generator(), temperature=1e-3)
    assert torch.equal(written.tokens, cold.tokens)


@given(p=st.floats(0.01, 1.0), seed=st.integers(0, 1000))
def test_top_p_keeps_the_fewest_that_reach_it(p: float, seed: int) -> None:
    logits = torch.randn(1, 7, generator=torch.Generator().manual_seed(seed))
    kept = torch.softmax(logits, 1)[keep_top_p(logits, p).isfinite()].sort().values
    assert float(kept.sum()) >= p - 1e-5
    assert float(kept[1:].sum()) < p + 1e-5


def test_top_k_of_equals_keeps_k() -> None:
    assert int(keep_top_k(torch.zeros(1, 5), 2).isfinite().sum()) == 2


def test_a_nest_keeps_its_kinds() -> None:
    assert map_tensors(lambda value: value, [1, (torch.tensor(2), None)]) == [1, (torch.tensor(2), None)]


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_searched_is_refused() -> None:
    step, state, first = chooser(0)
    with pytest.raises(InvalidValue, match="the beam's width is 0; at least 1 beginning must be kept"):
        beam(step, state, first, end=END, limit=3, width=0)
    with pytest.raises(InvalidValue, match="length_power is -1; below 0 it would favour the short even more"):
        beam(step, state, first, end=END, limit=3, width=2, length_power=-1)
    with pytest.raises(InvalidValue, match="limit is 0; at least 1 token must be written"):
        greedy(step, state, first, end=END, limit=0)
    with pytest.raises(InvalidValue, match="there is no sequence to write"):
        greedy(step, state, first[:0], end=END, limit=3)
    with pytest.raises(InvalidValue, match="the end is token 9, but the network knows the tokens 0 to 3"):
        greedy(step, state, first, end=9, limit=3)
    for wrong, text in (
        ({"temperature": 0.0}, "the temperature is 0.0; it must be positive"),
        ({"top_k": 0}, "top_k is 0; at least 1 token must be left"),
        ({"top_p": 0.0}, "top_p is 0.0; it must be above 0 and at most 1"),
    ):
        with pytest.raises(InvalidValue, match=text):
            sample(step, state, first, end=END, limit=3, generator=torch.Generator(), **wrong)
