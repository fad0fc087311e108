r"""The adversarial game: what its two players minimise, how each takes its turn, and how to see who is winning.

A discriminator gives each sample a logit a, and D = σ(a) is how probably the sample is real. It wants D high on real
samples and low on generated ones; the generator wants it high on its own. Every system with two such players plays by
these rules, whatever its samples are and whatever both are told beside them.

Source: Goodfellow et al. 2014, Generative adversarial nets, eq. 1, §3 (the non-saturating loss), algorithm 1; Radford,
Metz & Chintala 2016, Unsupervised representation learning with deep convolutional GANs, §4 (Adam with β₁ = 1/2).
Differs: both losses on logits, so that neither overflows.
Shapes: B batch, N generated samples.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Adam, Optimizer

from neurarium.parts.optimizers import MakeOptimizer

WON = 0.95  # mean output from which on the discriminator counts as the winner, and 1 − WON on generated samples

adam: MakeOptimizer = partial(Adam, betas=(0.5, 0.999), fused=True)  # Radford, Metz & Chintala 2016, §4


def discriminator_loss(real: Float[Tensor, " B"], fake: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """What the discriminator minimises, from its logits: −V(D, G) of eq. 1.

    >>> discriminator_loss(torch.zeros(4), torch.zeros(4)).item()  # log 4: it can tell nothing
    1.3862943649291992
    """
    # −V = −E log D(x) − E log(1 − D(G(z))), with log σ(a) = −softplus(−a) and log(1 − σ(a)) = −softplus(a)
    return softplus(-real).mean() + softplus(fake).mean()


def minimax(fake: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """The generator's loss of eq. 1, from the discriminator's logits; it goes flat where the discriminator is sure.

    >>> minimax(torch.zeros(4)).item()
    -0.6931471824645996
    """
    # V = E log(1 − D(G(z))) + const, whose slope by the logit a is −σ(a) = −D
    return -softplus(fake).mean()


def non_saturating(fake: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """The generator's loss of §3, from the discriminator's logits; it is steepest where the discriminator is sure.

    >>> non_saturating(torch.zeros(4)).item()
    0.6931471824645996
    """
    # −E log D(G(z)), whose slope by the logit a is −(1 − D)
    return softplus(-fake).mean()


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {"non_saturating": non_saturating, "minimax": minimax}
"""The generator's losses by name."""


class Outputs(NamedTuple):
    """The discriminator's mean output D on real and on generated samples; 1/2 on both is a draw.

    >>> Outputs(real=0.99, fake=0.01).won, Outputs(real=0.6, fake=0.4).won
    (True, False)
    """

    real: float
    fake: float

    @property
    def won(self) -> bool:
        """Whether the discriminator tells nearly everything apart."""
        return self.real > WON and self.fake < 1 - WON

    def warning(self, step: int) -> str:
        """What to say at a step at which it has won.

        >>> Outputs(real=0.99, fake=0.01).warning(5)[:56]
        'warning: at step 5 the discriminator has won (its mean o'
        """
        return (
            f"warning: at step {step} the discriminator has won (its mean output is {self.real:.3f} on real, "
            f"{self.fake:.3f} on generated samples); the minimax loss is flat there: "
            "try --loss non_saturating or a smaller --lr"
        )


def detect(optimizer: Optimizer, on_real: Float[Tensor, " B"], on_fake: Float[Tensor, " N"]) -> dict[str, Tensor]:
    """The discriminator's turn: one step of its optimiser from its logits, and the measures of it.

    >>> logit = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.zeros_(logit.weight)
    >>> step = torch.optim.SGD(logit.parameters(), lr=1.0)
    >>> measures = detect(step, logit(torch.ones(4, 1)).squeeze(1), logit(-torch.ones(4, 1)).squeeze(1))
    >>> float(logit.weight.detach()), float(measures["real_output"])  # real samples lie at 1, generated ones at −1
    (1.0, 0.5)
    """
    loss = discriminator_loss(on_real, on_fake)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    outputs = [torch.sigmoid(logits.detach()).mean() for logits in (on_real, on_fake)]
    return {"discriminator_loss": loss.detach(), "real_output": outputs[0], "fake_output": outputs[1]}


def forge(optimizer: Optimizer, generator: nn.Module, loss: Float[Tensor, ""]) -> None:
    """The generator's turn: one step of its optimiser on its loss, which leads through the discriminator.

    >>> generator, discriminator = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    >>> step = torch.optim.SGD(generator.parameters(), lr=1.0)
    >>> forge(step, generator, non_saturating(discriminator(generator(torch.ones(4, 1))).squeeze(1)))
    >>> generator.weight.grad is None, discriminator.weight.grad is None
    (False, True)
    """
    optimizer.zero_grad()
    # The way leads through the discriminator, but its parameters must get no gradient from here.
    loss.backward(inputs=list(generator.parameters()))
    optimizer.step()
