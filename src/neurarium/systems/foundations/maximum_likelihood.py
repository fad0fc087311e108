r"""Maximum likelihood: which error to minimise is decided by how the targets are thought to scatter.

A network's outputs name a distribution for each target. The best weights are those under which the targets that came
were the most probable; as the examples are independent, the logarithm of that is a sum, and with a minus sign it is an
error. Targets scattered normally about the output give squared error, a yes or no gives binary cross-entropy, counts of
several classes give cross-entropy. Where weights are thought likely beforehand, too, the logarithm of that prior joins
the sum: a normal one is the L2 penalty, a Laplace one L1, and the most probable weights given the data (MAP) are those
of the penalised error. The narrower the prior, the stronger the penalty.

Source: CSE 151B, Objective Functions (likelihood, prior, -ln L as the error) and Dealing with Overfitting (L2, L1);
Bishop 2006, Pattern Recognition and Machine Learning, §1.2.5 and §4.3 (errors, Gaussian prior); Tibshirani 1996,
Regression shrinkage and selection via the lasso (Laplace prior); Friedman et al. 2007, Pathwise coordinate
optimization (its solver).
Differs: errors are means over the examples, so -ln L is N times them. The notes' squared error has its minus sign taken
off, and -ln Σ P is read as -Σ ln P. Weights under a prior have no bias: inputs and targets are centred.
Shapes: B batch, N examples, F features, K outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import log, pi

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss
from torch.nn.functional import cross_entropy as softmax_cross_entropy

from neurarium.errors import require
from neurarium.parts.activations import logistic
from neurarium.parts.bundles import check_batch
from neurarium.parts.penalties import l1, l2

NEWTON_STEPS = 100  # at the most; fewer than 10 are needed
SWEEPS = 20_000  # of coordinate descent, at the most
SETTLED = 1e-9  # violation of the conditions of the L1 optimum, relative to λ, that is rounding
TINY = torch.finfo(torch.float64).tiny  # in place of 0 where one divides
ARRIVED = 1e-13  # a step, relative to the weights, after which there is no nearer


def gaussian(
    net: Float[Tensor, "B K"], targets: Float[Tensor, "B K"], *, deviation: float = 1.0
) -> Float[Tensor, " B"]:
    """The logarithm of the probability of targets that scatter normally about the net inputs.

    >>> gaussian(torch.zeros(1, 1), torch.zeros(1, 1)).item()
    -0.9189385175704956
    """
    require(deviation > 0, f"deviation is {deviation}, but must be positive")
    # ln P(t|a) = Σ_k −(t − a)²/2σ² − ln(σ √2π)
    return (-((targets - net) ** 2) / (2 * deviation**2) - log(deviation * (2 * pi) ** 0.5)).sum(1)


def laplace(net: Float[Tensor, "B K"], targets: Float[Tensor, "B K"], *, width: float = 1.0) -> Float[Tensor, " B"]:
    """The logarithm of the probability of targets that scatter about the net inputs with a sharp top and long tails.

    >>> laplace(torch.zeros(1, 1), torch.ones(1, 1), width=0.5).item()
    -2.0
    """
    require(width > 0, f"width is {width}, but must be positive")
    # ln P(t|a) = Σ_k −|t − a|/b − ln 2b
    return (-(targets - net).abs() / width - log(2 * width)).sum(1)


def bernoulli(net: Float[Tensor, "B K"], targets: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """The logarithm of the probability of yes (1) or no (0), that of yes being the logistic function of the net input.

    >>> bernoulli(torch.zeros(1, 1), torch.ones(1, 1)).exp().item()
    0.5
    """
    # ln P(t|a) = Σ_k t ln y + (1 − t) ln(1 − y), with y = g(a) and 1 − y = g(−a)
    return (targets * logistic(net).log() + (1 - targets) * logistic(-net).log()).sum(1)


def multinomial(net: Float[Tensor, "B K"], counts: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """The logarithm of the probability of how often each class came, if each time it is the softmax of the net inputs.

    >>> multinomial(torch.zeros(1, 2), torch.tensor([[1.0, 1.0]])).exp().item()
    0.5
    """
    # ln P(t|a) = ln (Σ t)!/Π t! + Σ_k t_k ln y_k, with y = softmax(a)
    return arrangements(counts) + (counts * net.softmax(1).log()).sum(1)


def arrangements(counts: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """The logarithm of the number of orders in which these counts can come about: 0 for a single example."""
    return (counts.sum(1) + 1).lgamma() - (counts + 1).lgamma().sum(1)


def squared_error(net: Float[Tensor, "B K"], targets: Float[Tensor, "B K"]) -> Float[Tensor, ""]:
    """Half the mean squared error."""
    # (1/2N) Σ (y − t)²
    return mse_loss(net, targets, reduction="sum") / (2 * len(net))


def binary_cross_entropy(net: Float[Tensor, "B K"], targets: Float[Tensor, "B K"]) -> Float[Tensor, ""]:
    """Mean cross-entropy of yes and no."""
    # −(1/N) Σ t ln y + (1 − t) ln(1 − y)
    return binary_cross_entropy_with_logits(net, targets, reduction="sum") / len(net)


def cross_entropy(net: Float[Tensor, "B K"], counts: Float[Tensor, "B K"]) -> Float[Tensor, ""]:
    """Mean cross-entropy of several classes."""
    # −(1/N) Σ Σ_k t_k ln y_k
    return softmax_cross_entropy(net, counts)


@dataclass(frozen=True)
class Pairing:
    """A likelihood, and the error that it turns into: −ln P(t|a) = share · E + what does not depend on a.

    Attributes:
        log_likelihood: ln P of each example's targets given its net inputs.
        error: the mean error of net inputs.
        outputs: what the net inputs mean: the mean of the targets.
        share: the factor of the error.
        rest: the part of −ln P that no weight can change, by example.
    """

    log_likelihood: Callable[[Tensor, Tensor], Tensor]
    error: Callable[[Tensor, Tensor], Tensor]
    outputs: Callable[[Tensor], Tensor]
    share: float
    rest: Callable[[Tensor], Tensor]

    def surprise(self, net: Float[Tensor, "B K"], targets: Float[Tensor, "B K"]) -> Float[Tensor, ""]:
        """The negative logarithm of the likelihood."""
        check_batch((net, targets), wanted="net inputs and targets")
        require(net.shape == targets.shape, f"targets are {tuple(targets.shape)}, but the outputs {tuple(net.shape)}")
        # −ln L = −Σ ln P(tⁿ|aⁿ)
        return -self.log_likelihood(net, targets).sum()

    def from_error(self, net: Float[Tensor, "B K"], targets: Float[Tensor, "B K"]) -> Float[Tensor, ""]:
        """The same, as the error says it."""
        # N share E + rest
        return len(net) * self.share * self.error(net, targets) + self.rest(targets).sum()

    def gap(self, net: Float[Tensor, "B K"], targets: Float[Tensor, "B K"]) -> float:
        """How far the two are apart, relatively: the larger of their values' gap and their gradients'."""
        return apart(lambda a: self.surprise(a, targets), lambda a: self.from_error(a, targets), net)

    def best_gap(self, targets: Float[Tensor, "N K"]) -> float:
        """How far the constant output of the lowest error is from that of the greatest likelihood.

        The latter is the mean of the targets for all three: their average, the share of yes, the shares of classes.
        """
        lowest = minimise(lambda a: self.error(a.expand_as(targets), targets), torch.zeros_like(targets[:1]))
        greatest = targets.mean(0, keepdim=True)
        # How fast the likelihood still grows there, an example: 0 at its greatest.
        slope = torch.func.grad(lambda a: self.surprise(a.expand_as(targets), targets))(lowest) / len(targets)
        off = (self.outputs(lowest) - greatest).abs().max() / targets.abs().max()
        return max(float(off), float(slope.abs().max()))


def gaussian_pairing(deviation: float = 1.0) -> Pairing:
    """Normal scatter and squared error; the share is 1/σ², so the deviation moves no minimum.

    >>> targets = torch.tensor([[1.0], [3.0]]).double()
    >>> gaussian_pairing(2.0).gap(torch.zeros_like(targets), targets) < 1e-12
    True
    """
    require(deviation > 0, f"deviation is {deviation}, but must be positive")
    density = partial(gaussian, deviation=deviation)
    return Pairing(density, squared_error, lambda net: net, 1 / deviation**2, lambda t: -density(t, t))


def bernoulli_pairing() -> Pairing:
    """Yes or no, and binary cross-entropy."""
    return Pairing(bernoulli, binary_cross_entropy, logistic, 1.0, lambda t: torch.zeros_like(t[:, 0]))


def multinomial_pairing() -> Pairing:
    """Counts of classes, and cross-entropy."""
    return Pairing(multinomial, cross_entropy, lambda net: net.softmax(1), 1.0, lambda t: -arrangements(t))


@dataclass(frozen=True)
class Prior:
    """What is thought of weights beforehand, and the penalty that it turns into: −ln P(w) = rate · C + a constant.

    Attributes:
        log_density: ln P of weights, as one row.
        penalty: C.
        rate: the factor of the penalty.
    """

    log_density: Callable[[Tensor], Tensor]
    penalty: Callable[[list[Tensor]], Tensor]
    rate: float

    def surprise(self, weights: Float[Tensor, " F"]) -> Float[Tensor, ""]:
        """The negative logarithm of the prior."""
        return -self.log_density(weights.unsqueeze(0)).sum()

    def strength(self, examples: int, deviation: float) -> float:
        """λ beside a mean squared error, for targets that scatter with this deviation."""
        # −ln P(w|D) = (N/σ²) E + rate C + …, so λ = rate σ²/N
        return self.rate * deviation**2 / examples


def gaussian_prior(width: float) -> Prior:
    """Weights scatter normally about 0: the L2 penalty.

    >>> gaussian_prior(0.5).rate
    2.0
    """
    require(width > 0, f"width is {width}, but must be positive")
    # −ln P(w) = Σ w²/2τ² + …
    return Prior(lambda w: gaussian(torch.zeros_like(w), w, deviation=width), lambda w: l2(w), 1 / (2 * width**2))


def laplace_prior(width: float) -> Prior:
    """Weights scatter about 0 with a sharp top: the L1 penalty.

    >>> laplace_prior(0.5).rate
    2.0
    """
    require(width > 0, f"width is {width}, but must be positive")
    # −ln P(w) = Σ |w|/b + …
    return Prior(lambda w: laplace(torch.zeros_like(w), w, width=width), lambda w: l1(w), 1 / width)


@dataclass(frozen=True)
class Regression:
    """Targets as weighted sums of inputs with normal scatter, both centred, and a prior over the weights.

    Raises:
        InvalidValue: inputs and targets of different number, none, or not finite; a deviation that is not positive.
    """

    inputs: Float[Tensor, "N F"]
    targets: Float[Tensor, " N"]
    deviation: float

    def __post_init__(self) -> None:
        check_batch((self.inputs, self.targets), wanted="inputs and targets")
        require(self.deviation > 0, f"deviation is {self.deviation}, but must be positive; do the inputs fit exactly?")
        for name, values in (("inputs", self.inputs), ("targets", self.targets)):
            require(bool(values.isfinite().all()), f"the {name} are NaN or infinite somewhere; all must be finite")

    def surprise(self, weights: Float[Tensor, " F"], prior: Prior) -> Float[Tensor, ""]:
        """−ln P(w|D), but for ln P(D), which no weight changes."""
        net, targets = (self.inputs @ weights).unsqueeze(1), self.targets.unsqueeze(1)
        # −ln P(D|w) − ln P(w)
        return gaussian_pairing(self.deviation).surprise(net, targets) + prior.surprise(weights)

    def penalised_error(self, weights: Float[Tensor, " F"], prior: Prior) -> Float[Tensor, ""]:
        """What is minimised."""
        error = squared_error((self.inputs @ weights).unsqueeze(1), self.targets.unsqueeze(1))
        # J = E + λ C
        return error + prior.strength(len(self.targets), self.deviation) * prior.penalty([weights])

    def gap(self, weights: Float[Tensor, " F"], prior: Prior) -> float:
        """How far posterior and penalised error are apart, relatively: the larger of values and gradients."""
        zero, share = torch.zeros_like(weights), len(self.targets) / self.deviation**2
        rest = self.surprise(zero, prior) - share * self.penalised_error(zero, prior)
        return apart(
            lambda w: self.surprise(w, prior), lambda w: share * self.penalised_error(w, prior) + rest, weights
        )

    def ridge(self, prior: Prior) -> Float[Tensor, " F"]:
        """The most probable weights under a Gaussian prior, in closed form."""
        strength = prior.strength(len(self.targets), self.deviation)
        left, singular, right = torch.linalg.svd(self.inputs, full_matrices=False)
        # w = V diag(s/(s² + 2Nλ)) Uᵀ t
        shrunk = singular / (singular.square() + 2 * len(self.targets) * strength)
        return right.T @ (shrunk * (left.T @ self.targets))

    def lasso(self, prior: Prior, start: Float[Tensor, " F"] | None = None) -> Float[Tensor, " F"]:
        """The most probable weights under a Laplace prior: one weight after the other to its best, again and again.

        Args:
            prior: a Laplace one.
            start: weights to begin at (default: 0); it only saves time.
        """
        strength = prior.strength(len(self.targets), self.deviation)
        gram, pull = self.inputs.T @ self.inputs / len(self.inputs), self.inputs.T @ self.targets / len(self.inputs)
        weights = torch.zeros_like(pull) if start is None else start.clone()
        for _ in range(SWEEPS):
            before = weights.clone()
            for j in range(len(weights)):
                # w_j ← sign(r) max(|r| − λ, 0)/G_jj, with r = c_j − Σ_{i≠j} G_ji w_i
                rest = pull[j] - gram[j] @ weights + gram[j, j] * weights[j]
                weights[j] = rest.sign() * (rest.abs() - strength).clamp(min=0) / gram[j, j].clamp(min=TINY)
            # Once it is known which weights are 0 and the signs of the others, these are a linear equation away.
            solved, live = torch.zeros_like(weights), weights.nonzero().flatten()
            aim = (pull - strength * weights.sign())[live]
            solved[live] = torch.linalg.pinv(gram[live][:, live], hermitian=True) @ aim
            if torch.equal(solved.sign(), weights.sign()) and self.slack(solved, prior) < SETTLED:
                return solved
            if relative(weights, before) < ARRIVED:
                break
        return weights

    def slack(self, weights: Float[Tensor, " F"], prior: Prior) -> float:
        """How far weights are from the L1 optimum's conditions, in units of λ: |E'| ≤ λ at 0, E' = −λ sign w beyond."""
        strength = prior.strength(len(self.targets), self.deviation)
        slope = self.inputs.T @ (self.inputs @ weights - self.targets) / len(self.targets)
        off = torch.where(
            weights == 0, (slope.abs() - strength).clamp(min=0), (slope + strength * weights.sign()).abs()
        )
        return float(off.max()) / strength


def minimise(error: Callable[[Tensor], Tensor], start: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The bottom of a smooth bowl, by Newton's method; knows nothing of what the error means.

    >>> minimise(lambda w: ((w - 3) ** 2).sum(), torch.zeros(1)).tolist()
    [3.0]
    """
    weights = start.detach().flatten()
    for _ in range(NEWTON_STEPS):
        slope_of = torch.func.grad(lambda w: error(w.view_as(start)))
        slope, curvature = slope_of(weights), torch.func.jacrev(slope_of)(weights)
        # w ← w − H⁺ ∇E: softmax does not change if all its net inputs do, so H may be singular
        after = weights - torch.linalg.pinv(curvature, hermitian=True) @ slope
        arrived, weights = relative(after, weights) < ARRIVED, after
        if arrived:
            break
    return weights.view_as(start)


def apart(one: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor], place: Tensor) -> float:
    """The relative gap of two functions at a place: the larger of their values' and their gradients'."""
    slopes, values = zip(*(torch.func.grad_and_value(function)(place) for function in (one, other)), strict=True)
    return max(relative(*values), relative(*slopes))


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the largest number of the second."""
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=torch.finfo(theirs.dtype).tiny))
