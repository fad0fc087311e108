"""Additive attention: the equation read aloud place by place, forward and gradient; padding is never looked at."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurarium.errors import InvalidValue
from neurarium.parts.additive_attention import AdditiveAttention, masked_softmax

B, P, Q, D, W = 3, 5, 4, 6, 7


def by_hand(net: AdditiveAttention, query: Tensor, places: Tensor, mask: Tensor) -> Tensor:
    contexts = []
    for row in range(len(query)):
        kept = [place for place in range(places.shape[1]) if mask[row, place]]
        hidden = [net.ask.weight @ query[row] + net.ask.bias + net.answer.weight @ places[row, j] for j in kept]
        odds = torch.stack([torch.exp(net.score.weight[0] @ torch.tanh(value)) for value in hidden])
        contexts.append(sum(share * places[row, j] for share, j in zip(odds / odds.sum(), kept, strict=True)))
    return torch.stack(contexts)


@pytest.mark.parametrize("masked", [False, True])
def test_it_is_the_equation_forward_and_gradient(masked: bool) -> None:
    torch.manual_seed(0)
    net = AdditiveAttention(query=Q, places=D, width=W).double()
    query, places = torch.randn(B, Q).double().requires_grad_(), torch.randn(B, P, D).double().requires_grad_()
    mask = torch.arange(P) < torch.tensor([[5], [2], [3]]) if masked else torch.ones(B, P, dtype=torch.bool)
    ours, weights = net(query, places, mask if masked else None)
    theirs = by_hand(net, query, places, mask)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(weights.sum(1), torch.ones(B).double())
    assert torch.equal(weights[~mask], torch.zeros(int((~mask).sum())).double())
    pull = torch.randn(B, D).double()
    leaves = [query, places, *net.parameters()]
    one, other = (torch.autograd.grad((value * pull).sum(), leaves) for value in (ours, theirs))
    for mine, wanted in zip(one, other, strict=True):
        torch.testing.assert_close(mine, wanted)


def test_projecting_ahead_changes_nothing_and_padding_is_never_seen() -> None:
    net = AdditiveAttention(query=Q, places=D, width=W)
    query, places = torch.randn(B, Q), torch.randn(B, P, D)
    mask = torch.arange(P).expand(B, P) < 3
    context, _ = net(query, places, mask)
    assert torch.equal(net(query, places, mask, net.project(places))[0], context)
    stained = places.clone()
    stained[:, 3:] = 1e6
    torch.testing.assert_close(net(query, stained, mask)[0], context)


@given(lengths=st.lists(st.integers(0, P), min_size=1, max_size=6), scale=st.floats(0.0, 1e4))
def test_weights_sum_to_one_over_the_places_and_to_nothing_without_any(lengths: list[int], scale: float) -> None:
    mask = torch.arange(P) < torch.tensor(lengths).unsqueeze(1)
    weights = masked_softmax(scale * torch.randn(len(lengths), P), mask)
    torch.testing.assert_close(weights.sum(1), (torch.tensor(lengths) > 0).float())
    assert not weights[~mask].any()


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidValue, match="width is 0; additive attention needs at least 1"):
        AdditiveAttention(query=Q, places=D, width=0)
    net = AdditiveAttention(query=Q, places=D, width=W)
    with pytest.raises(InvalidValue, match=r"query and places are \(9, 6\) wide, but this attention was built for \(4"):
        net(torch.zeros(B, 9), torch.zeros(B, P, D))
    with pytest.raises(InvalidValue, match=r"the mask is \(3, 2\), but the places are \(3, 5\)"):
        net(torch.zeros(B, Q), torch.zeros(B, P, D), torch.ones(B, 2, dtype=torch.bool))
