r"""Preprocessing as modules: z-score, principal components, whitening.

What is fitted lies in buffers, so that it is saved, exported and moved with the network that stands behind it:
`nn.Sequential(ZScore.fit(train), PCA.fit(...), network)` is one program from raw inputs to outputs. Everything is
fitted on the inputs it is given and on nothing else; give it the training data.

Source: CSE 151B, Normalization, Weight Initialization, Momentum (PCA, z-score); Bishop 2006, Pattern
Recognition and Machine Learning, §12.1, for the formulas.
Differs: the components are taken from the singular values of the centred inputs rather than from the eigenvalues of
their covariance, which squares the condition number. A direction in which the inputs do not vary is never kept.
Shapes: B batch, N examples, F features, K components.
"""

from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require


class ZScore(nn.Module):
    """Brings each feature to mean 0 and deviation 1; a feature that was constant is only centred.

    Args:
        mean: taken from each feature.
        scale: what each feature is then divided by.

    Raises:
        InvalidValue: mean and scale of different shapes, a scale that is not positive, or inputs of other features.

    >>> standard = ZScore.fit(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
    >>> standard(torch.tensor([[5.0, 8.0]])).tolist(), standard.inverse(torch.tensor([[3.0, 1.0]])).tolist()
    ([[3.0, 1.0]], [[5.0, 8.0]])
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Float[Tensor, " F"], scale: Float[Tensor, " F"]) -> None:
        super().__init__()
        require(mean.shape == scale.shape, f"mean is {tuple(mean.shape)}, but scale {tuple(scale.shape)}; give equals")
        require(bool((scale > 0).all()), f"a scale is {float(scale.min()):g}, but each must be positive")
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    @classmethod
    def fit(cls, inputs: Float[Tensor, "N F"]) -> Self:
        """The mean and deviation of some inputs.

        Raises:
            InvalidValue: no inputs, or one that is not finite.
        """
        wide = checked(inputs, rows=1)
        # Told by the range, for the deviation of a constant may round to more than 0.
        constant = (wide.amax(0) == wide.amin(0)) | (wide.std(0, correction=0) == 0)
        # σ = √((1/N) Σ (x − μ)²)
        scale = torch.where(constant, torch.ones_like(wide[0]), wide.std(0, correction=0))
        return cls(wide.mean(0).to(inputs.dtype), scale.to(inputs.dtype))

    def forward(self, inputs: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
        """The inputs in deviations from the mean."""
        check_features(inputs, self.mean.shape[0])
        # z = (x − μ)/σ
        return (inputs - self.mean) / self.scale

    def inverse(self, outputs: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
        """The inputs that these outputs come from."""
        check_features(outputs, self.mean.shape[0])
        return outputs * self.scale + self.mean


class PCA(nn.Module):
    """Principal components: centred, turned onto the directions of most variance, the flattest of them dropped.

    Args:
        mean: taken from the inputs.
        directions: the eigenvectors of the covariance that are kept, each of length 1, most variance first.
        variances: the eigenvalue of each.
        total: the variance in all directions, those dropped included.
        whiten: whether each component is divided by its deviation.

    Raises:
        InvalidValue: fields that do not fit each other, whitening along a direction without variance, or inputs of
            other features.

    >>> inputs = torch.tensor([[0.0, 0.0, 5.0], [2.0, 2.0, 5.0], [4.0, 4.0, 5.0]])
    >>> pca = PCA.fit(inputs)
    >>> pca.components, pca(inputs).round().flatten().tolist()
    (1, [-3.0, 0.0, 3.0])
    >>> pca.inverse(pca(inputs)).round(decimals=4).tolist() == inputs.tolist()
    True
    """

    mean: Tensor
    directions: Tensor
    variances: Tensor
    total: Tensor

    def __init__(
        self,
        mean: Float[Tensor, " F"],
        directions: Float[Tensor, "K F"],
        variances: Float[Tensor, " K"],
        total: Float[Tensor, ""],
        *,
        whiten: bool = False,
    ) -> None:
        super().__init__()
        shapes = tuple(mean.shape), tuple(directions.shape), tuple(variances.shape)
        fits = directions.shape == (*variances.shape, *mean.shape)
        require(fits, f"mean, directions and variances are {shapes}, but must be (F,), (K, F) and (K,)")
        flat = whiten and not bool((variances > 0).all())
        require(not flat, "a direction has no variance to divide by; leave it out, or do not whiten")
        self.whiten = whiten
        self.register_buffer("mean", mean)
        self.register_buffer("directions", directions)
        self.register_buffer("variances", variances)
        self.register_buffer("total", total)

    @classmethod
    def fit(
        cls,
        inputs: Float[Tensor, "N F"],
        *,
        components: int | None = None,
        share: float | None = None,
        whiten: bool = False,
    ) -> Self:
        """The principal components of some inputs.

        Args:
            inputs: the training data.
            components: how many to keep (default: every direction in which the inputs vary).
            share: instead, keep as few as hold this share of the variance.
            whiten: divide each component by its deviation.

        Raises:
            InvalidValue: fewer than two inputs, one that is not finite, inputs that are all the same, more components
                than there are directions of variance, a share outside 0 to 1, or both ways of choosing at once.
        """
        wide = checked(inputs, rows=2)
        mean = wide.mean(0)
        _, singular, directions = torch.linalg.svd(wide - mean, full_matrices=False)
        # Below this a singular value is rounding: numpy.linalg.matrix_rank's rule, at the scale before centring.
        rounding = float(wide.norm()) * max(wide.shape) * torch.finfo(torch.float64).eps
        rank = int((singular > rounding).sum())
        # λ = s²/(N − 1)
        variances = singular.square() / (len(wide) - 1)
        kept = how_many(variances[:rank], components=components, share=share)
        fields = (mean, upright(directions[:kept]), variances[:kept], variances.sum())
        # Copied, for a slice would be exported with all that it was cut from.
        whole = (field.to(inputs.dtype).clone(memory_format=torch.contiguous_format) for field in fields)
        return cls(*whole, whiten=whiten)

    def first(self, count: int) -> Self:
        """The first few components alone.

        Raises:
            InvalidValue: there are not so many.
        """
        require(1 <= count <= self.components, f"{count} components are asked for; there are 1 to {self.components}")
        kept = (self.mean, self.directions[:count].clone(), self.variances[:count].clone(), self.total)
        return type(self)(*kept, whiten=self.whiten)

    @property
    def components(self) -> int:
        """How many components are kept."""
        return len(self.variances)

    @property
    def cumulative(self) -> Float[Tensor, " K"]:
        """The share of the variance that the first 1, 2, ... components hold together."""
        # Σᵢ≤ₖ λᵢ / Σᵢ λᵢ
        return self.variances.cumsum(0) / self.total

    def forward(self, inputs: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """The components of the inputs: mean 0, uncorrelated, and of deviation 1 if whitened."""
        check_features(inputs, self.mean.shape[0])
        # y = V (x − μ)
        outputs = (inputs - self.mean) @ self.directions.T
        # and Λ^−½ y
        return outputs / self.variances.sqrt() if self.whiten else outputs

    def inverse(self, outputs: Float[Tensor, "B K"]) -> Float[Tensor, "B F"]:
        """The inputs nearest to the mean that have these components: what was dropped is at its mean."""
        check_features(outputs, self.variances.shape[0])
        scaled = outputs * self.variances.sqrt() if self.whiten else outputs
        # x = Vᵀ y + μ
        return scaled @ self.directions + self.mean


def how_many(variances: Float[Tensor, " K"], *, components: int | None = None, share: float | None = None) -> int:
    """How many of the directions with variance are kept.

    Raises:
        InvalidValue: a number or a share that these variances cannot give, or both.

    >>> variances = torch.tensor([6.0, 3.0, 1.0])
    >>> how_many(variances), how_many(variances, components=1), how_many(variances, share=0.8)
    (3, 1, 2)
    """
    varying = len(variances)
    require(varying > 0, "the inputs are all the same, so no direction has variance; give inputs that differ")
    require(components is None or share is None, "components and share are both given; choose one")
    if components is not None:
        rule = f"but the inputs vary in {varying} directions; choose 1 to {varying}"
        require(1 <= components <= varying, f"components is {components}, {rule}")
        return components
    if share is None:
        return varying
    require(0 < share <= 1, f"share is {share}, but must be above 0 and at most 1")
    below = variances.cumsum(0) / variances.sum() < share
    return min(varying, int(below.sum()) + 1)


def upright(directions: Float[Tensor, "K F"]) -> Float[Tensor, "K F"]:
    """The directions with the largest entry of each positive: an eigenvector's sign is open, and this settles it.

    >>> upright(torch.tensor([[0.6, -0.8], [0.8, 0.6]])).tolist()
    [[-0.6000000238418579, 0.800000011920929], [0.800000011920929, 0.6000000238418579]]
    """
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return directions * torch.where(largest < 0, -1.0, 1.0).to(directions)


def checked(inputs: Float[Tensor, "N F"], *, rows: int) -> Float[Tensor, "N F"]:
    """The inputs to fit on, in float64.

    Raises:
        InvalidValue: not (N, F), fewer than so many rows, or a value that is not finite.
    """
    if inputs.ndim != 2 or inputs.shape[1] == 0:
        raise InvalidValue(f"inputs are {tuple(inputs.shape)}, but must be (N, F); flatten images first")
    require(len(inputs) >= rows, f"there are {len(inputs)} inputs to fit on, but at least {rows} are needed")
    finite = inputs.isfinite().all(0)
    where = int(finite.int().argmin())
    require(bool(finite.all()), f"feature {where} is NaN or infinite somewhere; every value must be finite")
    return inputs.double()


def check_features(inputs: Float[Tensor, "B F"], features: int) -> None:
    """Refuse inputs of another shape than (B, features).

    Raises:
        InvalidValue: names both.
    """
    if inputs.ndim != 2 or inputs.shape[1] != features:
        raise InvalidValue(f"inputs are {tuple(inputs.shape)}, but must be (B, {features})")
