r"""Sequence to sequence: one recurrent network reads, another writes, and looks back at what was read as it goes.

The encoder reads the source in both directions; beside each token stand the states of both, an annotation that knows
what is before and after it. Without attention the decoder is given the last states alone: the whole source must fit
into that one vector. With attention its state asks all annotations before each token, and their mean, weighed by how
well they answer, goes into the next step; the weights align what is written with what was read, untaught.

Source: Sutskever, Vinyals & Le 2014, Sequence to sequence learning with neural networks, §2; Cho et al. 2014, Learning
phrase representations using RNN encoder-decoder, §2.2 (the summary goes into every step); Bahdanau, Cho & Bengio 2015,
Neural machine translation by jointly learning to align and translate, §3 and §A (attention, annotations); NYU NN II,
"Attention Mechanisms"; Press & Wolf 2017, Using the output embedding to improve language models, §3 (shared weights).
Differs: the decoder starts from the last states of both directions; the deep output has tanh in place of maxout; one
embedding serves source, target and, transposed, the output, as both languages share their tokens; one layer each.
Shapes: B batch, S tokens of the source, T of the target, E embedding, H hidden units, D = 2H annotation, A units that
compare, K tokens known.
"""

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.parts.additive_attention import AdditiveAttention
from neurarium.parts.gates import GatedCell, GRUCell, LSTMCell, fused
from neurarium.parts.recurrence import Carried

CELLS: dict[str, type[GRUCell] | type[LSTMCell]] = {"gru": GRUCell, "lstm": LSTMCell}


class Reading(NamedTuple):
    """Where the decoder stands: what it carries on, and what was read.

    Attributes:
        carried: hidden units (and memory) of the decoder.
        summary: the encoder's last states, forward and backward.
        annotations: the encoder's states beside each token; None without attention.
        projected: the annotations as attention compares them; None without attention.
        mask: False at padding.
    """

    carried: Carried
    summary: Float[Tensor, "B D"]
    annotations: Float[Tensor, "B S D"] | None
    projected: Float[Tensor, "B S A"] | None
    mask: Bool[Tensor, "B S"]


class Seq2Seq(nn.Module):
    """Encoder and decoder, with or without attention: a `learners.translate.Translator`.

    Args:
        tokens: how many are known, K.
        hidden: units of the encoder in each direction, and of the decoder, H.
        embedding: numbers that stand for a token, E.
        cell: gru or lstm.
        attention: units that compare the decoder's state with an annotation, A; 0 is without attention.
        dropout: chance that a number of an embedding, or of what the output is read from, is hidden in training.

    Raises:
        InvalidValue: a width below 1, an unknown cell, or a dropout outside 0 to 1.

    >>> net = Seq2Seq(tokens=10, hidden=8, embedding=6, attention=4)
    >>> source, target = torch.tensor([[4, 5, 2], [6, 2, 0]]), torch.tensor([[1, 5, 4], [1, 6, 2]])
    >>> net(source, source != 0, target).shape, net.align(source, source != 0, target)[1].sum(1).allclose(torch.ones(3))
    (torch.Size([2, 3, 10]), True)
    """

    def __init__(
        self,
        *,
        tokens: int,
        hidden: int,
        embedding: int,
        cell: Literal["gru", "lstm"] = "gru",
        attention: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in {"tokens": tokens, "hidden": hidden, "embedding": embedding}.items():
            require(value >= 1, f"{name} is {value}; a network needs at least 1")
        require(cell in CELLS, f"cell is '{cell}'; choose gru or lstm")
        require(attention >= 0, f"attention is {attention} units; give 0 (without) or more")
        require(0 <= dropout < 1, f"dropout is {dropout}; it must be at least 0 and below 1")
        self.embedding = nn.Embedding(tokens, embedding)
        nn.init.normal_(self.embedding.weight, std=embedding**-0.5)  # so that logits begin near ±1
        self.dropout = nn.Dropout(dropout)
        self.forward_cell: GatedCell[Any] = CELLS[cell](inputs=embedding, hidden=hidden)
        self.backward_cell: GatedCell[Any] = CELLS[cell](inputs=embedding, hidden=hidden)
        carried = 2 if cell == "lstm" else 1
        self.begin = nn.ModuleList(nn.Linear(2 * hidden, hidden) for _ in range(carried))
        self.cell: GatedCell[Any] = CELLS[cell](inputs=embedding + 2 * hidden, hidden=hidden)
        self.attention = AdditiveAttention(query=hidden, places=2 * hidden, width=attention) if attention else None
        self.gather = nn.Linear(hidden + 2 * hidden + embedding, embedding)
        self.bias = nn.Parameter(torch.zeros(tokens))

    def forward(
        self, source: Int64[Tensor, "B S"], mask: Bool[Tensor, "B S"], target: Int64[Tensor, "B T"]
    ) -> Float[Tensor, "B T K"]:
        """Logits of the token after each of the target's."""
        state, embedded = self.encode(source, mask), self.dropout(self.embedding(target))
        hidden, contexts, _ = self.decode(state, embedded)
        return self.say(hidden, embedded, contexts)

    def align(
        self, source: Int64[Tensor, "B S"], mask: Bool[Tensor, "B S"], target: Int64[Tensor, "B T"]
    ) -> Float[Tensor, "B T S"]:
        """The weights of the source's tokens before each token after the target's.

        Raises:
            InvalidValue: the network is without attention.
        """
        _, _, weights = self.decode(self.encode(source, mask), self.embedding(target))
        if weights is None:
            raise InvalidValue("this network is without attention; there is no alignment to look at")
        return weights

    def encode(self, source: Int64[Tensor, "B S"], mask: Bool[Tensor, "B S"]) -> Reading:
        """What was read, and the decoder's state before its first token."""
        if source.shape != mask.shape:
            raise InvalidValue(f"the mask is {tuple(mask.shape)}, but the source {tuple(source.shape)}; give it alike")
        embedded, lengths = self.dropout(self.embedding(source)), mask.sum(1)
        # →h_j = f(→h_{j−1}, E x_j)
        onward, _ = fused(self.forward_cell, embedded)
        # ←h_j = f(←h_{j+1}, E x_j): the tokens from behind, padding left where it is, so that it is read last
        backward, _ = fused(self.backward_cell, turned(embedded, lengths))
        last = (lengths - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, onward.shape[2])
        summary = torch.cat([onward.gather(1, last), backward.gather(1, last)], dim=2).squeeze(1)
        # s_0 = tanh(W_s [→h_S, ←h_1])
        first = [torch.tanh(begin(summary)) for begin in self.begin]
        carried = first[0] if len(first) == 1 else tuple(first)
        if self.attention is None:
            return Reading(carried, summary, None, None, mask)
        # h_j = [→h_j, ←h_j]
        annotations = torch.cat([onward, turned(backward, lengths)], dim=2)
        return Reading(carried, summary, annotations, self.attention.project(annotations), mask)

    def look(self, state: Reading, carried: Carried) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B S"] | None]:
        """What goes into the next step from what was read, and the weights that made it."""
        if self.attention is None or state.annotations is None:
            # c_t = [→h_S, ←h_1]
            return state.summary, None
        # c_t = Σ_j α_tj h_j, asked by s_{t−1}
        context, weights = self.attention(hidden_of(carried), state.annotations, state.mask, state.projected)
        return context, weights

    def step(self, state: Reading, tokens: Int64[Tensor, " B"]) -> tuple[Float[Tensor, "B K"], Reading]:
        """One token further, as the equations read."""
        embedded = self.dropout(self.embedding(tokens))
        context, _ = self.look(state, state.carried)
        # s_t = f(s_{t−1}, E y_{t−1}, c_t)
        hidden, carried = self.cell(torch.cat([embedded, context], dim=1), state.carried)
        return self.say(hidden, embedded, context), state._replace(carried=carried)

    def say(
        self, hidden: Float[Tensor, "*any H"], embedded: Float[Tensor, "*any E"], context: Float[Tensor, "*any D"]
    ) -> Float[Tensor, "*any K"]:
        """Logits from the decoder's state, the last token and the context."""
        # t = tanh(W_t [s_t, c_t, E y_{t−1}])
        gathered = self.dropout(torch.tanh(self.gather(torch.cat([hidden, context, embedded], dim=-1))))
        # p(y_t | y_{<t}, x) ∝ exp(E t + b)
        return nn.functional.linear(gathered, self.embedding.weight, self.bias)

    def decode(
        self, state: Reading, embedded: Float[Tensor, "B T E"]
    ) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B T D"], Float[Tensor, "B T S"] | None]:
        """All steps of a known target: hidden units, contexts, and weights if there is attention.

        The same numbers as step after step, sooner: without attention in PyTorch's kernel; with it, what the tokens add
        to the gates is one product for all steps, and only what depends on the step before is left to the loop.
        """
        if self.attention is None:
            contexts = state.summary.unsqueeze(1).expand(-1, embedded.shape[1], -1)
            hidden, _ = fused(self.cell, torch.cat([embedded, contexts], dim=2), state.carried)
            return hidden, contexts, None
        weights = self.get_parameter("cell.kernel.weight_ih_l0")
        of_tokens, of_context = weights.split([embedded.shape[2], state.summary.shape[1]], dim=1)
        biases = self.cell.project(embedded.new_zeros(1, weights.shape[1]))
        ahead = nn.functional.linear(embedded, of_tokens) + biases
        carried, steps = state.carried, []
        for of_token in ahead.unbind(1):
            context, look = self.look(state, carried)
            unit, carried = self.cell.advance(torch.addmm(of_token, context, of_context.T), carried)
            steps.append((unit, context, look))
        hidden, contexts, looks = (torch.stack(field, dim=1) for field in zip(*steps, strict=True))
        return hidden, contexts, looks


def hidden_of(carried: Carried) -> Float[Tensor, "B H"]:
    """The hidden units of what a cell carries on."""
    return carried if isinstance(carried, Tensor) else carried[0]


def turned(sequences: Float[Tensor, "B S D"], lengths: Int64[Tensor, " B"]) -> Float[Tensor, "B S D"]:
    """Each sequence from behind, and what stands after its length where it was.

    >>> turned(torch.tensor([[[1.0], [2.0], [0.0]]]), torch.tensor([2])).flatten().tolist()
    [2.0, 1.0, 0.0]
    """
    place = torch.arange(sequences.shape[1], device=sequences.device).expand(sequences.shape[0], -1)
    until = lengths.unsqueeze(1)
    place = torch.where(place < until, until - 1 - place, place)
    return sequences.gather(1, place.unsqueeze(2).expand(-1, -1, sequences.shape[2]))
