r"""A masked language model: some characters of a text are hidden, and a transformer that sees both sides fills them in.

A language model reads from left to right and guesses what comes next; so it never learns to use what stands to the
right. Here a text is spoiled instead: some of its places are chosen, most of them covered by a sign of their own, and
the network is to say what stood there. It may look everywhere, for the answers at the chosen places are gone. To know
what was there it must know how words are spelt and how sentences are built, from both sides: what it has understood by
then can be put to other uses (BERT). Of the chosen places a tenth shows a random character instead of the sign, and a
tenth shows the true one: so no place can be trusted blindly, and texts without any sign are not foreign to it.

Source: CSE 151B, Transformer Networks; CS 479 §31.2; Devlin, Chang, Lee & Toutanova 2019, BERT, §3 (the encoder), §3.1
task #1 (masked language model; 15 %, of which 80/10/10), appendix A.1; Raffel et al. 2020, Exploring the limits of
transfer learning, §2.1 (a learned number for each head and distance, instead of positions); Press, Smith & Lewis 2022,
Train short, test long, §3 (what these numbers begin as); Xiong et al. 2020, On Layer Normalization in the Transformer
Architecture, §3 (norm before each part, one at the end); Ghazvininejad et al. 2019, Mask-Predict, §3.2 (surest first).
Differs: characters instead of word pieces; places are chosen anew for every batch and not ten times beforehand; no
second task of next sentences; distances instead of BERT's learned positions (by a trial on the recipe's default text,
1000 updates with waves for positions named 38 % of the blanks; 360 with distances named 58 %); logits come from one
layer, not two with the embedding used again; blanks are filled one at a time and not so many a round.
Shapes: B texts, T places, K known characters (the sign is number K), D width, H heads, R distances.
"""

from collections.abc import Iterable
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from neurarium.errors import InvalidValue, require
from neurarium.learners.language import Coder
from neurarium.learners.learner import Learner, Measures
from neurarium.parts.bundles import check_batch
from neurarium.parts.initialization import xavier
from neurarium.parts.modes import evaluating
from neurarium.parts.optimizers import MakeOptimizer, adamw, set_rate
from neurarium.parts.schedules import Schedule, constant
from neurarium.parts.transformer import EXPANSION, FeedForward

SHARE = 0.15  # of all places that are chosen, Devlin et al. 2019, §3.1
COVERED = 0.8  # of the chosen that show the sign, the same
SWAPPED = 0.1  # of the chosen that show a random character, the same; what is left shows the true one
REACH = 16  # places; distances beyond it are liked alike
TURNED_AWAY = 4.0  # nats by which a head at first likes one side less, itself included
CLIP = 1.0  # greatest norm of a gradient, as in BERT's released code
READOUT_SCALE = 0.02  # of the readout's first weights, BERT's for all: all characters nearly equally likely, loss ln K


class Blanks(NamedTuple):
    """Texts with chosen places, and what stood there.

    Attributes:
        inputs: what is seen: the sign at most of the chosen places.
        targets: the texts as they were; looked at where chosen alone.
        chosen: the places to be guessed.
    """

    inputs: Int64[Tensor, "B T"]
    targets: Int64[Tensor, "B T"]
    chosen: Bool[Tensor, "B T"]


class NearAttention(nn.Module):
    """Attention among all places, in which every head has a liking for each distance; at first for what is near.

    Half of the heads begin with an eye for what stands before a place, half for what stands behind it, each pair twice
    as far-sighted as the pair before. All this is learned on; but a network that must first find out which places are
    neighbours guesses frequent characters for a long time.

    Args:
        width: D, of every place.
        heads: number of heads H; each works with D / H numbers.

    Raises:
        InvalidValue: heads that do not divide the width.

    >>> NearAttention(width=8, heads=2)(torch.rand(1, 5, 8)).shape
    torch.Size([1, 5, 8])
    """

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        fits = heads >= 1 and width >= 1 and width % heads == 0
        require(fits, f"heads is {heads}, but must divide the width {width}; choose one of its divisors")
        self.heads = heads
        self.read = nn.Linear(width, 3 * width)  # queries, keys, values
        self.output = nn.Linear(width, width)
        for weight in (*self.read.weight.chunk(3), self.output.weight):
            xavier(weight)
        for layer in (self.read, self.output):
            nn.init.zeros_(layer.bias)
        self.liking = nn.Parameter(near_sighted(heads))

    def forward(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """What each place found."""
        query, key, value = self.read(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        places = torch.arange(tokens.shape[1], device=tokens.device)
        distance = (places - places.unsqueeze(1)).clamp(-REACH, REACH)
        # A = softmax(Q Kᵀ/√d + b(s − t)),  O = A V
        found = scaled_dot_product_attention(query, key, value, attn_mask=self.liking[:, distance + REACH].unsqueeze(0))
        return self.output(found.transpose(1, 2).flatten(2))


def near_sighted(heads: int) -> Float[Tensor, "H R"]:
    """What heads begin with: a liking for each distance, from `REACH` places before to `REACH` behind.

    >>> near_sighted(2)[:, REACH - 2 : REACH + 3]
    tensor([[-6., -5., -4., -1., -2.],
            [-2., -1., -4., -5., -6.]])
    """
    distance = torch.arange(-REACH, REACH + 1.0)
    head = torch.arange(heads).unsqueeze(1)
    behind = distance * (-1.0) ** head
    # b_h(δ) = −|δ| / 2^⌊h/2⌋, and less by some nats on the side the head does not look to
    return -distance.abs() / 2 ** (head // 2) - TURNED_AWAY * (behind <= 0)


class Layer(nn.Module):
    """A block of the encoder: the places exchange what they know, then each is worked on alone.

    >>> Layer(width=8, heads=2)(torch.rand(1, 5, 8)).shape
    torch.Size([1, 5, 8])
    """

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.attention = NearAttention(width=width, heads=heads)
        self.feed = FeedForward(width=width, hidden=EXPANSION * width)
        self.attention_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, tokens: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """The places after the block."""
        # x ← x + Attention(norm(x));  x ← x + FeedForward(norm(x))
        tokens = tokens + self.attention(self.attention_norm(tokens))
        return tokens + self.feed(self.feed_norm(tokens))


class MaskedText(nn.Module):
    """A transformer that reads a text with blanks from both sides; the text may be of any length.

    Args:
        symbols: known characters K; the sign for a blank is one more.
        width: D, of every place.
        layers: number of blocks.
        heads: of attention.

    Raises:
        InvalidValue: a size below 1, or heads that do not divide the width.

    >>> net = MaskedText(symbols=5, width=8, layers=1, heads=2)
    >>> net(torch.tensor([[1, 5, 2]])).shape  # 5 is the sign
    torch.Size([1, 3, 5])
    """

    def __init__(self, *, symbols: int, width: int, layers: int = 3, heads: int = 4) -> None:
        super().__init__()
        for name, size in {"symbols": symbols, "width": width, "layers": layers}.items():
            require(size >= 1, f"{name} is {size}; it must be at least 1")
        self.embedding = nn.Embedding(symbols + 1, width)
        self.layers = nn.Sequential(*(Layer(width=width, heads=heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, symbols)
        nn.init.normal_(self.readout.weight, std=READOUT_SCALE)
        nn.init.zeros_(self.readout.bias)

    def forward(self, tokens: Int64[Tensor, "B T"]) -> Float[Tensor, "B T K"]:
        """The logits of what stands, or stood, at each place."""
        return self.readout(self.norm(self.layers(self.embedding(tokens))))


def hide(
    tokens: Int64[Tensor, "B T"],
    *,
    symbols: int,
    generator: torch.Generator,
    share: float = SHARE,
    covered: float = COVERED,
    swapped: float = SWAPPED,
) -> Blanks:
    """Choose places of each text anew, and spoil most of them.

    Args:
        tokens: the texts.
        symbols: known characters K; the sign is number K.
        generator: where chance comes from.
        share: of all places that are chosen, the nearest number of them in each text, but at least one.
        covered: of the chosen, the chance to show the sign.
        swapped: of the chosen, the chance to show a random character; the others show the true one.

    Raises:
        InvalidValue: no place to hide, a share that is not above 0 and at most 1, or chances that are none.

    >>> text = torch.arange(8).unsqueeze(0)
    >>> hide(text, symbols=8, generator=torch.Generator().manual_seed(0), share=0.25, covered=1.0, swapped=0.0).inputs
    tensor([[0, 1, 8, 8, 4, 5, 6, 7]])
    """
    require(tokens.numel() > 0, f"texts of shape {tuple(tokens.shape)} have no place to hide; give at least one")
    require(0 < share <= 1, f"share is {share}; the share of hidden places is above 0 and at most 1")
    fits = min(covered, swapped) >= 0 and covered + swapped <= 1
    require(fits, f"covered is {covered} and swapped {swapped}; they must be at least 0 and together at most 1")
    draw = partial(torch.rand, tokens.shape, generator=generator)
    rank = draw().argsort(dim=1).argsort(dim=1)
    # |M| = round(share T), every set of so many places equally likely
    chosen = (rank < max(1, round(share * tokens.shape[1]))).to(tokens.device)
    others = torch.randint(symbols, tokens.shape, generator=generator).to(tokens.device)
    fate = draw().to(tokens.device)
    # x̃_t = sign if u < 0.8, random if 0.8 ≤ u < 0.9, x_t above, for t ∈ M;  x̃_t = x_t elsewhere
    spoiled = torch.where(fate < covered, symbols, torch.where(fate < covered + swapped, others, tokens))
    return Blanks(torch.where(chosen, spoiled, tokens), tokens, chosen)


def masked_loss(
    logits: Float[Tensor, "B T K"], targets: Int64[Tensor, "B T"], chosen: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """The mean surprise at what stood at the chosen places, in nats; the others count for nothing.

    >>> logits, targets = torch.zeros(1, 2, 4), torch.tensor([[3, 0]])
    >>> round(masked_loss(logits, targets, torch.tensor([[True, False]])).item(), 4)  # ln 4
    1.3863
    """
    # L = −1/|M| Σ_{t ∈ M} ln p(x_t | x̃)
    return cross_entropy(logits[chosen].float(), targets[chosen])


Model = TypeVar("Model", bound=nn.Module)


class FillBlanks(Learner[Blanks], Generic[Model]):
    """Teaches a network to fill in blanks.

    Args:
        model: from texts with blanks (B, T) to logits (B, T, K).
        coder: how texts become numbers, kept for whoever lets the model fill.
        optimizer: builds the optimiser from parameters and `lr`.
        lr: learning rate at the schedule's 1.
        schedule: factor of the learning rate by progress.

    >>> from neurarium.data.text import Alphabet
    >>> _ = torch.manual_seed(0)
    >>> letters = Alphabet("abc")
    >>> text, chance = letters.encode("abcabcabc").unsqueeze(0), torch.Generator().manual_seed(0)
    >>> net = MaskedText(symbols=3, width=16, layers=1, heads=2)
    >>> learner = FillBlanks(net, coder=letters, lr=0.01)
    >>> losses = [float(learner.learn(hide(text, symbols=3, generator=chance))["loss"]) for _ in range(60)]
    >>> learner.evaluate([hide(text, symbols=3, generator=chance)])["masked_accuracy"]
    1.0
    """

    def __init__(
        self,
        model: Model,
        *,
        coder: Coder,
        optimizer: MakeOptimizer = adamw,
        lr: float = 1e-3,
        schedule: Schedule = constant,
    ) -> None:
        self.model = model
        self.coder = coder
        self.lr = lr
        self.schedule = schedule
        self.optimizer = optimizer(model.parameters(), lr=lr)

    def learn(self, batch: Blanks) -> Measures:
        """One gradient step on the mean loss of the chosen places.

        Raises:
            InvalidValue: the batch is empty, its parts are not of one shape (B, T), or no place is chosen.
        """
        inputs, targets, chosen = check_blanks(batch)
        set_rate(self.optimizer, self.lr * self.schedule(self.progress))
        self.optimizer.zero_grad()
        loss = masked_loss(self.model(inputs), targets, chosen)
        loss.backward()
        # g ← g min(1, 1/‖g‖)
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return {"loss": loss.detach()}

    def evaluate(self, batches: Iterable[Blanks]) -> dict[str, float]:
        """How well the chosen places of some texts are guessed, in evaluation mode.

        Returns:
            `masked_loss`, the mean surprise at what stood there in nats, and `masked_accuracy`, how often the likeliest
            character is the true one.

        Raises:
            InvalidValue: there are no batches, or as `learn`.
        """
        loss, right, places = 0.0, 0, 0
        with evaluating(self.model):
            for batch in batches:
                inputs, targets, chosen = check_blanks(batch)
                logits, truth = self.model(inputs)[chosen].float(), targets[chosen]
                loss += float(cross_entropy(logits, truth, reduction="sum"))
                right += int((logits.argmax(1) == truth).sum())
                places += truth.shape[0]
        require(places > 0, "there is no text to evaluate on; give at least one batch")
        return {"masked_loss": loss / places, "masked_accuracy": right / places}

    def example(self, batch: Blanks) -> dict[str, tuple[Tensor, ...]]:
        """The inputs of a batch, for the model."""
        return {"model": (batch.inputs,)}


class Filled(NamedTuple):
    """A text without blanks, and how likely each character was at each blank when it was filled (elsewhere zeros)."""

    tokens: Int64[Tensor, " T"]
    chances: Float[Tensor, "T K"]


def fill(model: nn.Module, tokens: Int64[Tensor, " T"], *, symbols: int) -> Filled:
    """Fill every blank of a text by its likeliest character: the surest first, then the text is read anew.

    Args:
        model: who reads, from (B, T) to logits (B, T, K); in evaluation mode, if it has one.
        tokens: the text; its blanks are number K.
        symbols: known characters K.

    >>> likes = nn.Embedding.from_pretrained(torch.eye(4)[:, :3])  # sure of what it sees, and of nothing at a blank
    >>> fill(likes, torch.tensor([2, 3, 1]), symbols=3).tokens
    tensor([2, 0, 1])
    """
    tokens, chances = tokens.clone(), torch.zeros(tokens.shape[0], symbols, device=tokens.device)
    while bool((blank := tokens == symbols).any()):
        with torch.no_grad():
            # p(x_t | x̃) at every place
            now = model(tokens.unsqueeze(0))[0].float().softmax(1)
        # t* = argmax over the blanks of max_k p(x_t = k | x̃)
        place = int(now.amax(1).masked_fill(~blank, -1).argmax())
        chances[place], tokens[place] = now[place], now[place].argmax()
    return Filled(tokens, chances)


def check_blanks(batch: Blanks) -> Blanks:
    """A batch of texts with chosen places, unless it is unusable.

    Raises:
        InvalidValue: it is empty, its parts are not of one shape (B, T), or no place is chosen.
    """
    inputs, targets, chosen = batch
    check_batch((inputs, targets, chosen), wanted="texts, what stood there and the chosen places")
    if inputs.ndim != 2 or not inputs.shape == targets.shape == chosen.shape:
        shapes = f"{tuple(inputs.shape)}, {tuple(targets.shape)} and {tuple(chosen.shape)}"
        raise InvalidValue(f"texts, what stood there and the chosen places are {shapes}; all must be one (B, T)")
    require(bool(chosen.any()), "no place of the batch is chosen, so there is nothing to guess; choose at least one")
    return Blanks(inputs, targets, chosen)
