r"""Additive attention: a small network says how well each place answers a question, and the answers are mixed by that.

A decoder that is about to say its next word asks the places of what was read (words of a sentence, spots of a picture)
with its state. Each place gets a score from one hidden layer; softmax turns the scores into weights, and the context is
the mean of the places under these weights: looking, made differentiable.

Source: Bahdanau, Cho & Bengio 2015, Neural machine translation by jointly learning to align and translate, §A.1.2;
NYU NN II, "Attention Mechanisms".
Shapes: B batch, P places, Q width of the query, D width of a place, W width of the hidden layer.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require


class AdditiveAttention(nn.Module):
    """The mean of places, weighed by how well each fits a query.

    Args:
        query: width Q of a query.
        places: width D of a place.
        width: W, units of the layer that compares them.

    Raises:
        InvalidValue: a width below 1; queries or places of another width, or a mask that does not fit them.

    >>> attention = AdditiveAttention(query=3, places=5, width=4)
    >>> context, weights = attention(torch.zeros(2, 3), torch.ones(2, 7, 5))
    >>> context.shape, weights.sum(1).allclose(torch.ones(2))
    (torch.Size([2, 5]), True)
    """

    def __init__(self, *, query: int, places: int, width: int) -> None:
        super().__init__()
        widths = {"query": query, "places": places, "width": width}
        for name, value in widths.items():
            require(value >= 1, f"{name} is {value}; additive attention needs at least 1")
        self.widths = (query, places)
        self.ask = nn.Linear(query, width)
        self.answer = nn.Linear(places, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(
        self,
        query: Float[Tensor, "B Q"],
        places: Float[Tensor, "B P D"],
        mask: Bool[Tensor, "B P"] | None = None,
        projected: Float[Tensor, "B P W"] | None = None,
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B P"]]:
        """The context, and the weights that made it.

        Args:
            query: what is asked.
            places: what is looked at.
            mask: False at padding, whose weight is exactly 0 (all places count if None).
            projected: `project(places)`, if many queries go to the same places.
        """
        self._check(query, places, mask)
        keys = self.project(places) if projected is None else projected
        # e_j = vᵀ tanh(W s + U h_j)
        scores = self.score(torch.tanh(self.ask(query).unsqueeze(1) + keys)).squeeze(-1)
        weights = masked_softmax(scores, mask)
        # c = Σ_j α_j h_j
        return (weights.unsqueeze(1) @ places).squeeze(1), weights

    def project(self, places: Float[Tensor, "B P D"]) -> Float[Tensor, "B P W"]:
        """The part of the scores that does not depend on the query, U h."""
        return self.answer(places)

    def _check(self, query: Tensor, places: Tensor, mask: Tensor | None) -> None:
        given = (query.shape[-1], places.shape[-1])
        if given != self.widths:
            raise InvalidValue(f"query and places are {given} wide, but this attention was built for {self.widths}")
        if mask is not None and mask.shape != places.shape[:2]:
            raise InvalidValue(f"the mask is {tuple(mask.shape)}, but the places are {tuple(places.shape[:2])}")


def masked_softmax(scores: Float[Tensor, "B P"], mask: Bool[Tensor, "B P"] | None) -> Float[Tensor, "B P"]:
    """Weights that sum to 1 over the places of the mask, and are exactly 0 elsewhere (0 everywhere without a place).

    >>> masked_softmax(torch.tensor([[1.0, 1.0, 9.0]]), torch.tensor([[True, True, False]]))
    tensor([[0.5000, 0.5000, 0.0000]])
    """
    if mask is None:
        # α_j = exp e_j / Σ_k exp e_k
        return torch.softmax(scores, dim=1)
    # The least finite number instead of −∞: a row of nothing but padding would be NaN.
    held = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return torch.softmax(held, dim=1) * mask
