r"""Captioning: a convnet sees, an LSTM says what, and before each word it looks again where the word is to be found.

The encoder's maps have places; what stands at a place, and where it is, make an annotation. At each step the LSTM
reads the last word, its state asks all annotations, and their mean, weighed by how well they answer (additive
attention), says the next word together with the state. Weights that nobody taught come to rest on the thing spoken of.
It learns with the true words so far at its side (teacher forcing), and is judged by what it writes without them.

Source: Xu et al. 2015, Show, attend and tell, §3.1 and §4.2; Vinyals et al. 2015, Show and tell, §3 (the log likelihood
of each word given those before; beam search); CSE 151B, Recurrent Neural Networks (convnet + RNN to caption images).
Differs: the state that asks has read the last word (Lu et al. 2017, Knowing when to look, §2.2), for before it has, it
cannot look for the thing whose colour was just said; annotations also hold their coordinates; the state begins from the
encoder's features; no gate on the context and no penalty on the weights' sums.
Shapes: B batch, C channels, H height, W width, M maps, h and w places a side, P places, D annotation, S state,
T words written, K words known.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn, relu
from torch.nn.functional import cross_entropy

from neurarium.errors import InvalidValue, require
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.additive_attention import AdditiveAttention
from neurarium.parts.bleu import bleu
from neurarium.parts.bundles import Captioned, check_captioned
from neurarium.parts.encoders import Encoded, Encoder
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adam, set_rate
from neurarium.parts.schedules import Schedule, constant
from neurarium.parts.search import LENGTH_POWER, Written, beam

KERNEL = 3  # pixels a side
SMALLEST = 4  # pixels a side that two poolings by two leave one pixel of
GRADIENT_NORM = 5.0  # beyond which gradients are scaled down, Vinyals et al.'s published code


class SceneNet(Encoder):
    """Four convolutions, of which two are pooled: maps a quarter as wide as the image, fine enough to point at things.

    Args:
        shape: channels, height and width of the images.
        maps: feature maps of the first convolution; the later ones have two and three times as many.

    Raises:
        InvalidValue: images smaller than 4×4, or fewer than 1 map.

    >>> SceneNet(shape=(3, 32, 32), maps=8).look(torch.zeros(2, 3, 32, 32)).maps.shape
    torch.Size([2, 24, 8, 8])
    """

    def __init__(self, *, shape: tuple[int, int, int], maps: int = 16) -> None:
        require(maps >= 1, f"maps is {maps}; a convnet needs at least 1")
        super().__init__(shape=shape, width=3 * maps, smallest=SMALLEST)
        widths = (shape[0], maps, 2 * maps, 3 * maps, 3 * maps)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(given, made, KERNEL, padding=KERNEL // 2, bias=False) for given, made in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(made) for made in widths[1:])
        self.pool = nn.MaxPool2d(2)

    def encode(self, images: Float[Tensor, "B C H W"]) -> Encoded:
        """The last maps, and their means."""
        maps = images
        for layer, (convolve, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            maps = norm(convolve(maps))
            # Pooling before ReLU gives the same result for a quarter of the work.
            maps = relu(self.pool(maps) if layer < 2 else maps)
        return Encoded(maps.mean((2, 3)), maps)


class Telling(NamedTuple):
    """Where the decoder stands: its state and memory, what it saw last, and what it looks at (also as projected)."""

    hidden: Float[Tensor, "B S"]
    memory: Float[Tensor, "B S"]
    context: Float[Tensor, "B D"]
    annotations: Float[Tensor, "B P D"]
    projected: Float[Tensor, "B P A"]


class Captioner(nn.Module):
    """Logits of the next word, from an image and the words so far.

    Args:
        encoder: what reads the images.
        words: how many words are known, K.
        hidden: units of the LSTM, S.
        embedding: numbers that stand for a word.
        attention: units that compare the state with a place.

    Raises:
        InvalidValue: a width below 1, or images of another shape than the encoder's.

    >>> net = Captioner(SceneNet(shape=(3, 32, 32)), words=10, hidden=16)
    >>> net(torch.zeros(2, 3, 32, 32), torch.ones(2, 5, dtype=torch.int64)).shape
    torch.Size([2, 5, 10])
    """

    def __init__(
        self, encoder: Encoder, *, words: int, hidden: int = 128, embedding: int = 64, attention: int = 32
    ) -> None:
        super().__init__()
        for name, value in {"words": words, "hidden": hidden, "embedding": embedding}.items():
            require(value >= 1, f"{name} is {value}; a captioner needs at least 1")
        self.encoder = encoder
        width = annotations_of(encoder)
        self.embedding = nn.Embedding(words, embedding)
        self.attention = AdditiveAttention(query=hidden, places=width, width=attention)
        self.begin_hidden = nn.Linear(encoder.width, hidden)
        self.begin_memory = nn.Linear(encoder.width, hidden)
        self.cell = nn.LSTMCell(embedding + width, hidden)
        self.readout = nn.Linear(hidden + width, words)

    def forward(self, images: Float[Tensor, "B C H W"], captions: Int64[Tensor, "B T"]) -> Float[Tensor, "B T K"]:
        """Logits of the word after each of the words given."""
        state = self.begin(images)
        steps = []
        for tokens in captions.unbind(1):
            logits, state, _ = self.advance(state, tokens)
            steps.append(logits)
        return torch.stack(steps, dim=1)

    def begin(self, images: Float[Tensor, "B C H W"]) -> Telling:
        """The state before the first word."""
        features, maps = self.encoder.look(images)
        annotations = annotate(maps)
        # h_0 = tanh(W_h f + b_h), c_0 = tanh(W_c f + b_c)
        hidden, memory = torch.tanh(self.begin_hidden(features)), torch.tanh(self.begin_memory(features))
        return Telling(hidden, memory, annotations.mean(1), annotations, self.attention.project(annotations))

    def advance(
        self, state: Telling, tokens: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B K"], Telling, Float[Tensor, "B P"]]:
        """One word further: logits of the next, the state after, and the weights of where it looked."""
        # (h_t, c_t) = LSTM([E y_{t−1}, z_{t−1}], h_{t−1}, c_{t−1})
        inputs = torch.cat([self.embedding(tokens), state.context], dim=1)
        hidden, memory = self.cell(inputs, (state.hidden, state.memory))
        # z_t = Σ_i α_ti a_i, asked by h_t
        context, weights = self.attention(hidden, state.annotations, None, state.projected)
        # p(y_t | a, y_{t−1}, …) ∝ exp(L [h_t, z_t])
        logits = self.readout(torch.cat([hidden, context], dim=1))
        return logits, state._replace(hidden=hidden, memory=memory, context=context), weights

    def step(self, state: Telling, tokens: Int64[Tensor, " B"]) -> tuple[Float[Tensor, "B K"], Telling]:
        """One word further, as search wants it."""
        logits, state, _ = self.advance(state, tokens)
        return logits, state


def annotations_of(encoder: Encoder) -> int:
    """The width D of an encoder's annotations, found by encoding nothing: its maps and two coordinates."""
    with evaluating(encoder):
        return encoder.look(torch.zeros(1, *encoder.shape)).maps.shape[1] + 2


def annotate(maps: Float[Tensor, "B M h w"]) -> Float[Tensor, "B P M+2"]:
    """What the maps hold at each place, and where that is: down and across, from −1 to 1.

    >>> annotate(torch.full((1, 1, 1, 2), 7.0))
    tensor([[[ 7.0000,  0.0000, -0.5000],
             [ 7.0000,  0.0000,  0.5000]]])
    """
    count, _, height, width = maps.shape
    down, across = (
        (2 * torch.arange(side, device=maps.device, dtype=maps.dtype) + 1) / side - 1 for side in (height, width)
    )
    grid = torch.stack([down.unsqueeze(1).expand(-1, width), across.expand(height, -1)])
    return torch.cat([maps, grid.expand(count, -1, -1, -1)], dim=1).flatten(2).transpose(1, 2)


def caption_loss(logits: Float[Tensor, "B T K"], words: Int64[Tensor, "B T"], *, padding: int) -> Float[Tensor, ""]:
    """The mean over all words (the end is one, padding is none) of how unlikely each was.

    >>> round(float(caption_loss(torch.zeros(1, 2, 4), torch.tensor([[3, 0]]), padding=0)), 4)  # log 4
    1.3863
    """
    # L = −Σ_t log p(y_t | I, y_1 … y_{t−1}) / T
    return cross_entropy(logits.flatten(0, 1), words.flatten(), ignore_index=padding)


class Caption(Learner[Captioned]):
    """Teaches a captioner each next word of true captions, and writes with it.

    Args:
        model: from images and words to logits.
        marks: the tokens of padding, start and end.
        limit: words to write at the most, the end among them.
        width: of the beam when it writes; 1 is greedy.
        length_power: α of the beam's length normalisation.
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.
    """

    def __init__(
        self,
        model: Captioner,
        *,
        marks: tuple[int, int, int],
        limit: int,
        width: int = 1,
        length_power: float = LENGTH_POWER,
        optimizer: MakeOptimizer = adam,
        lr: float = 1e-3,
        schedule: Schedule = constant,
    ) -> None:
        self.model = model
        self.marks = marks
        self.limit = limit
        self.width = width
        self.length_power = length_power
        self.lr = lr
        self.schedule = schedule
        self.optimizer = optimizer(model.parameters(), lr=lr)

    def learn(self, batch: Captioned) -> Measures:
        """One gradient step, the true words at the model's side.

        Raises:
            InvalidValue: the batch is empty or misshaped, or has words that the model does not know.
        """
        images, captions = batch
        check_captioned(batch)
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        self.optimizer.zero_grad()
        logits = self.model(images, captions[:, :-1])
        loss = caption_loss(logits.float(), captions[:, 1:], padding=self.marks[0])
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
        self.optimizer.step()
        return {"loss": loss.detach()}

    def write(self, images: Float[Tensor, "B C H W"], *, width: int | None = None) -> Written:
        """Captions of images, from nothing but the images.

        Args:
            images: to be told of.
            width: of the beam (the learner's own if None).
        """
        with evaluating(self.model):
            first = torch.full((images.shape[0],), self.marks[1], device=images.device)
            state = self.model.begin(images)
            width = self.width if width is None else width
            end, limit, power = self.marks[2], self.limit, self.length_power
            found = beam(self.model.step, state, first, end=end, limit=limit, width=width, length_power=power)
        return found.best

    def glances(self, images: Float[Tensor, "B C H W"], words: Int64[Tensor, "B T"]) -> Float[Tensor, "B T h w"]:
        """Where the model looks before each of the words, which it wrote: weights that sum to 1 over the places."""
        with evaluating(self.model):
            height, width = self.model.encoder.look(images).maps.shape[2:]
            state = self.model.begin(images)
            tokens, looks = torch.full_like(words[:, 0], self.marks[1]), []
            for word in words.unbind(1):
                _, state, weights = self.model.advance(state, tokens)
                looks.append(weights)
                tokens = word
        return torch.stack(looks, dim=1).unflatten(2, (height, width))

    def example(self, batch: Captioned) -> dict[str, tuple[Tensor, ...]]:
        """Images and the words before the last, for the model."""
        return {"model": (batch[0], batch[1][:, :-1])}


def judge(written: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> dict[str, float]:
    """How good captions are: the share that is one of the true ones word for word, and BLEU.

    >>> judge([["a", "cat"], ["a", "dog"]], [[["a", "cat"]], [["one", "dog"], ["a", "cow"]]])["exact_match"]
    0.5
    """
    if len(written) != len(references):
        raise InvalidValue(f"there are {len(written)} captions and {len(references)} sets of true ones; give pairs")
    joined = [" ".join(words) for words in written]
    true_joined = [[" ".join(words) for words in true] for true in references]
    exact = sum(list(words) in map(list, true) for words, true in zip(written, references, strict=True))
    return {"exact_match": exact / len(written), "bleu": bleu(joined, true_joined, tokenizer="none")}


def write_all(
    learner: Caption, chunks: Iterable[Float[Tensor, "B C H W"]], *, width: int | None = None
) -> list[list[int]]:
    """The captions of many images, as tokens."""
    return [row for images in chunks for row in learner.write(images, width=width).tokens.tolist()]
