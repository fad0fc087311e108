r"""Rules: how gradients become steps. Each is an equation, and an optimiser that applies it to any parameters.

A rule answers one question: given the gradient here and what is remembered of those before, how far does each weight
move? Plain descent follows the gradient. Momentum lets steps in a common direction add up; gains, Rprop, RMSprop and
Adam give every weight a step size of its own. Weights can be kept small beside it, in three ways (`Shrink`).

Source: CSE 151B, Normalization, Weight Initialization, Momentum and Adaptive Learning Rates; CS 479 §12.1; NYU NN II,
RMSprop and Adam; Sutskever et al. 2013, On the importance of initialization and momentum, eq. 1-4; Jacobs 1988,
Increased rates of convergence (gains); Hinton 2012, Neural networks for machine learning, lecture 6d (their numbers);
Riedmiller & Braun 1993 (Rprop); Kingma & Ba 2015, Adam, alg. 1; Loshchilov & Hutter 2019, Decoupled weight decay
regularization, alg. 2.
Differs: gains grow by 0.05 as in Hinton's lecture, where the notes as read say 0.5. A velocity is kept in units of the
gradient (CS 479), so that a changing rate acts at once. Nesterov's rule stores the weights after the jump. Rprop is the
variant without backtracking, and `lr` is its first step size alone: a schedule does not move it. RMSprop divides by
√s + ε, not √(s + ε). All but the gains are torch.optim's rules, number for number.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from neurarium.errors import require

GAIN_UP, GAIN_DOWN = 0.05, 0.95  # added while signs agree, multiplied when not: Hinton 2012, lecture 6d
GAINS = (0.1, 10.0)  # the range of a gain: there too
SIZE_DOWN, SIZE_UP = 0.5, 1.2  # η⁻ and η⁺ of Rprop: Riedmiller & Braun 1993
SIZES = (1e-6, 50.0)  # the range of Rprop's steps: there too

Weights = Float[Tensor, "*shape"]
"""A parameter, its gradient, or what is remembered of it: all of one shape."""

State = dict[str, Any]
"""What a rule remembers of one parameter, by name."""


class Shrink(NamedTuple):
    """How weights are kept small.

    Attributes:
        l2: λ of the penalty ½ λ |w|², whose gradient λw joins the loss's and is rescaled with it (coupled).
        l1: λ of the penalty λ Σ |w|, by a proximal step after the rule's own: weights land on 0 exactly.
        decay: λ of decoupled decay, which pulls at every weight alike, whatever its gradient was.
    """

    l2: float = 0.0
    l1: float = 0.0
    decay: float = 0.0


NOTHING = Shrink()


def descend_(weight: Weights, gradient: Weights, *, lr: float) -> None:
    """Plain descent: batch, stochastic or minibatch, by how many examples the gradient is of."""
    # w ← w − α ∇E
    weight.add_(gradient, alpha=-lr)


def momentum_(weight: Weights, gradient: Weights, velocity: Weights, *, lr: float, keep: float) -> None:
    """Steps in a common direction add up."""
    # v ← γ v + ∇E
    velocity.mul_(keep).add_(gradient)
    # w ← w − α v
    weight.add_(velocity, alpha=-lr)


def nesterov_(weight: Weights, gradient: Weights, velocity: Weights, *, lr: float, keep: float) -> None:
    """Jump first, then correct: the gradient is that after the jump."""
    # v ← γ v + ∇E
    velocity.mul_(keep).add_(gradient)
    # w ← w − α (∇E + γ v): the correction, and the next jump
    weight.add_(gradient, alpha=-lr).add_(velocity, alpha=-lr * keep)


def gains_(weight: Weights, gradient: Weights, gain: Weights, trace: Weights, *, lr: float, smooth: float) -> None:
    """Delta-bar-delta: a gain for each weight, up while its gradient keeps its sign, down when that changes."""
    agreement = gradient * trace
    # g ← g + 0.05 if ∇E δ̄ > 0, g × 0.95 if ∇E δ̄ < 0
    grown, cut = gain + GAIN_UP, gain * GAIN_DOWN
    gain.copy_(torch.where(agreement > 0, grown, torch.where(agreement < 0, cut, gain))).clamp_(*GAINS)
    # w ← w − α g ∇E
    weight.addcmul_(gain, gradient, value=-lr)
    # δ̄ ← θ δ̄ + (1 − θ) ∇E
    trace.lerp_(gradient, 1 - smooth)


def rprop_(weight: Weights, gradient: Weights, before: Weights, size: Weights) -> None:
    """The sign alone: steps grow while it stays, shrink when it changes; after a change one step is left out."""
    agreement = gradient * before
    # Δ ← 1.2 Δ if ∇E ∇E' > 0, 0.5 Δ if ∇E ∇E' < 0
    grown, cut = size * SIZE_UP, size * SIZE_DOWN
    size.copy_(torch.where(agreement > 0, grown, torch.where(agreement < 0, cut, size))).clamp_(*SIZES)
    before.copy_(gradient).mul_(agreement >= 0)
    # w ← w − Δ sign ∇E
    weight.addcmul_(size, before.sign(), value=-1)


def rmsprop_(weight: Weights, gradient: Weights, square: Weights, *, lr: float, keep: float, eps: float) -> None:
    """Each gradient in units of its own recent size."""
    # s ← γ s + (1 − γ) ∇E²
    square.mul_(keep).addcmul_(gradient, gradient, value=1 - keep)
    # w ← w − α ∇E / (√s + ε)
    weight.addcdiv_(gradient, square.sqrt().add_(eps), value=-lr)


def adam_(
    weight: Weights,
    gradient: Weights,
    mean: Weights,
    square: Weights,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """Momentum over RMSprop, both corrected for having begun at 0; `step` counts from 1."""
    # m ← β₁ m + (1 − β₁) ∇E
    mean.lerp_(gradient, 1 - betas[0])
    # v ← β₂ v + (1 − β₂) ∇E²
    square.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    # w ← w − α m̂ / (√v̂ + ε) with m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ); √(1 − β₂ᵗ) is moved from v̂ into α and ε
    root = (1 - betas[1] ** step) ** 0.5
    weight.addcdiv_(mean, square.sqrt().add_(eps * root), value=-lr * root / (1 - betas[0] ** step))


def decay_(weight: Weights, *, lr: float, decay: float) -> None:
    """Decoupled decay."""
    # w ← (1 − α λ) w
    weight.mul_(1 - lr * decay)


def soft_threshold_(weight: Weights, threshold: float) -> None:
    """The proximal step of an L1 penalty.

    >>> weight = torch.tensor([0.5, -0.1, 0.0])
    >>> soft_threshold_(weight, 0.2)
    >>> weight
    tensor([0.3000, -0.0000, 0.0000])
    """
    # w ← sign(w) max(|w| − α λ, 0)
    weight.copy_(weight.sign() * (weight.abs() - threshold).clamp(min=0))


class Rule(Optimizer):
    """An optimiser made of a rule: `begin` says what is remembered of a parameter, `move` makes the step.

    Args:
        parameters: tensors, or groups of them with settings of their own.
        lr: learning rate α.
        shrink: how weights are kept small.
        settings: the rule's own numbers, by name; a group may have others.

    Raises:
        InvalidValue: a negative rate or penalty, or (in `step`) a sparse gradient.
    """

    def __init__(
        self, parameters: Iterable[Any], *, lr: float, shrink: Shrink, settings: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(parameters, {"lr": lr, **shrink._asdict(), **(settings or {})})
        for group in self.param_groups:
            for name in ("lr", *Shrink._fields):
                require(group[name] >= 0, f"{name} is {group[name]}, but must be 0 or more")
            for name in settings or {}:
                what = "must be positive" if name == "eps" else "must be at least 0 and below 1"
                fits = group[name] > 0 if name == "eps" else 0 <= group[name] < 1
                require(fits, f"{name} is {group[name]}, but {what}")

    @abstractmethod
    def begin(self, weight: Tensor, group: Mapping[str, Any]) -> State:
        """What is remembered of a parameter before its first step."""

    @abstractmethod
    def move(self, weight: Tensor, gradient: Tensor, state: State, group: Mapping[str, Any]) -> None:
        """One step of the rule for a parameter, in place."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient; `closure`, if given, computes loss and gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step_one(weight, weight.grad, group)
        return loss

    def _step_one(self, weight: Tensor, gradient: Tensor, group: Mapping[str, Any]) -> None:
        require(not gradient.is_sparse, "a gradient is sparse, but these rules need dense ones; use sparse=False")
        state = self.state[weight]
        if not state:
            state.update(self.begin(weight, group))
        if group["decay"]:
            decay_(weight, lr=group["lr"], decay=group["decay"])
        if group["l2"]:
            # ∇(E + ½ λ |w|²) = ∇E + λ w
            gradient = gradient.add(weight, alpha=group["l2"])
        self.move(weight, gradient, state, group)
        if group["l1"]:
            soft_threshold_(weight, group["lr"] * group["l1"])


class Descent(Rule):
    """Plain gradient descent.

    >>> w = torch.ones(1, requires_grad=True)
    >>> optimizer = Descent([w], lr=0.25)
    >>> w.square().sum().backward()
    >>> optimizer.step()
    >>> w.item()
    0.5
    """

    def __init__(self, parameters: Iterable[Any], *, lr: float, shrink: Shrink = NOTHING) -> None:
        super().__init__(parameters, lr=lr, shrink=shrink)

    def begin(self, weight: Tensor, group: Mapping[str, Any]) -> State:
        """Nothing."""
        return {}

    def move(self, weight: Tensor, gradient: Tensor, state: State, group: Mapping[str, Any]) -> None:
        """See `descend_`."""
        descend_(weight, gradient, lr=group["lr"])


class Momentum(Rule):
    """Descent with momentum; `keep` is γ, the part of the velocity that stays."""

    def __init__(self, parameters: Iterable[Any], *, lr: float, keep: float = 0.9, shrink: Shrink = NOTHING) -> None:
        super().__init__(parameters, lr=lr, shrink=shrink, settings={"keep": keep})

    def begin(self, weight: Tensor, group: Mapping[str, Any]) -> State:
        """A velocity of 0."""
        return {"velocity": torch.zeros_like(weight)}

    def move(self, weight: Tensor, gradient: Tensor, state: State, group: Mapping[str, Any]) -> None:
        """See `momentum_`."""
        momentum_(weight, gradient, state["velocity"], lr=group["lr"], keep=group["keep"])


class Nesterov(Rule):
    """Descent with Nesterov's momentum; `keep` is γ, the part of the velocity that stays."""

    def __init__(self, parameters: Iterable[Any], *, lr: float, keep: float = 0.9, shrink: Shrink = NOTHING) -> None:
        super().__init__(parameters, lr=lr, shrink=shrink, settings={"keep": keep})

    def begin(self, weight: Tensor, group: Mapping[str, Any]) -> State:
        """A velocity of 0."""
        return {"velocity": torch.zeros_like(weight)}

    def move(self, weight: Tensor, gradient: Tensor, state: State, group: Mapping[str, Any]) -> None:
        """See `nesterov_`."""
        nesterov_(weight, gradient, state["velocity"], lr=group["lr"], keep=group["keep"])


class Gains(Rule):
    """Delta-bar-delta; `smooth` is θ, the part of δ̄ that stays (0: signs of successive gradients are compared)."""

    def __init__(self, parameters: Iterable[Any], *, lr: float, smooth: float = 0.0, shrink: Shrink = NOTHING) -> None:
        super().__init__(parameters, lr=lr, shrink=shrink, settings={"smooth": smooth})

    def begin(self, weight: Tensor, group: Mapping[str, Any]) -> State:
        """Gains of 1."""
        return {"gain": torch.ones_like(weight), "trace": torch.zeros_like(weight)}

    def move(self, weight: Tensor, gradient: Tensor, state: State, group: Mapping[str, Any]) -> None:
        """See `gains_`."""
        gains_(weight, gradient, state["gain"], state["trace"], lr=group["lr"], smooth=group["smooth"])


class Rprop(Rule):
    """Resilient propagation, for gradients of all examples; every step size is `lr` at first."""

    def __init__(self, parameters: Iterable[Any], *, lr: float = 1e-2, shrink: Shrink = NOTHING) -> None:
        super().__init__(parameters, lr=lr, shrink=shrink)

    def begin(self, weight: Tensor, group: Mapping[str, Any]) -> State:
        """Steps of one size."""
        return {"before": torch.zeros_like(weight), "size": torch.full_like(weight, group["lr"])}

    def move(self, weight: Tensor, gradient: Tensor, state: State, group: Mapping[str, Any]) -> None:
        """See `rprop_`."""
        rprop_(weight, gradient, state["before"], state["size"])


class RMSprop(Rule):
    """RMSprop; `keep` is γ, the part of the mean square that stays."""

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float = 1e-2,
        keep: float = 0.99,
        eps: float = 1e-8,
        shrink: Shrink = NOTHING,
    ) -> None:
        super().__init__(parameters, lr=lr, shrink=shrink, settings={"keep": keep, "eps": eps})

    def begin(self, weight: Tensor, group: Mapping[str, Any]) -> State:
        """A mean square of 0."""
        return {"square": torch.zeros_like(weight)}

    def move(self, weight: Tensor, gradient: Tensor, state: State, group: Mapping[str, Any]) -> None:
        """See `rmsprop_`."""
        rmsprop_(weight, gradient, state["square"], lr=group["lr"], keep=group["keep"], eps=group["eps"])


class Adam(Rule):
    """Adam; with `Shrink(decay=...)` it is AdamW."""

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        shrink: Shrink = NOTHING,
    ) -> None:
        super().__init__(parameters, lr=lr, shrink=shrink, settings={"beta1": beta1, "beta2": beta2, "eps": eps})

    def begin(self, weight: Tensor, group: Mapping[str, Any]) -> State:
        """Moments of 0, after no step."""
        return {"step": 0, "mean": torch.zeros_like(weight), "square": torch.zeros_like(weight)}

    def move(self, weight: Tensor, gradient: Tensor, state: State, group: Mapping[str, Any]) -> None:
        """See `adam_`."""
        state["step"] += 1
        betas, moments = (group["beta1"], group["beta2"]), (state["mean"], state["square"])
        adam_(weight, gradient, *moments, step=state["step"], lr=group["lr"], betas=betas, eps=group["eps"])


def adamw(parameters: Iterable[Any], *, lr: float = 1e-3, decay: float = 0.01) -> Adam:
    """AdamW: Adam with decoupled decay, at torch's default unless another is given."""
    return Adam(parameters, lr=lr, shrink=Shrink(decay=decay))
