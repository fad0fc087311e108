r"""Preprocessing: the same data, turned and stretched until a network learns from it easily.

Descent is as slow as the inputs' second moments are uneven: its rate must suit the steepest direction, and the flattest
then takes as many times longer as its eigenvalue is smaller. Bringing features to mean 0 and deviation 1 evens out the
axes; principal components find the directions in which the data really vary, and whitening makes them all alike. What
was found on the training data becomes the first layer of the model, and goes wherever the model goes.

Source: CSE 151B, Normalization, Weight Initialization, Momentum (PCA, divide by the deviation, z-score); LeCun, Bottou,
Orr & Müller 1998, Efficient BackProp, §4.3 (transforming the inputs) and §5.1 (convergence by eigenvalues).
Differs: the network is one layer of logits, where the slowness is the inputs' alone; the modules themselves are in
`neurarium.parts.preprocessing`.
Shapes: N examples, F features, K components.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neurarium.errors import InvalidValue, require
from neurarium.parts.preprocessing import PCA, ZScore, checked

Way = Literal["raw", "z_score", "pca", "whitened"]
WAYS: tuple[Way, ...] = ("raw", "z_score", "pca", "whitened")


def preprocessor(
    inputs: Float[Tensor, "N F"], way: Way, *, share: float = 1.0, standardise: bool = False
) -> nn.Sequential:
    """The modules of one way to preprocess, fitted on some inputs.

    Args:
        inputs: the training data.
        way: raw leaves the inputs as they are; pca keeps components; whitened divides them by their deviation too.
        share: of the variance that pca and whitened keep.
        standardise: whether they start from z-scores, as they must where features have different units.

    Raises:
        InvalidValue: there is no such way, or the inputs or the share cannot be used.

    >>> inputs = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 7.0]])
    >>> whitened = preprocessor(inputs, "whitened")
    >>> (whitened(inputs).T @ whitened(inputs) / 2).abs().round().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if way not in WAYS:
        raise InvalidValue(f"way is '{way}', but must be one of {', '.join(WAYS)}")
    if way == "raw":
        # A z-score that changes nothing still says what inputs it was built for.
        nothing = torch.zeros_like(checked(inputs, rows=1)[0]).to(inputs.dtype)
        return nn.Sequential(ZScore(nothing, nothing + 1))
    first = [ZScore.fit(inputs)] if way == "z_score" or standardise else []
    if way == "z_score":
        return nn.Sequential(*first)
    scaled = first[0](inputs) if first else inputs
    return nn.Sequential(*first, PCA.fit(scaled, share=share, whiten=way == "whitened"))


def moments(inputs: Float[Tensor, "N F"]) -> Float[Tensor, " G"]:
    """The eigenvalues of the second moments of the inputs and a bias, falling, without those that are rounding.

    They are the curvatures that a layer of weights meets; G is how many there are, at most F + 1.

    >>> moments(torch.tensor([[2.0], [-2.0]])).round(decimals=6).tolist()
    [4.0, 1.0]
    """
    wide = checked(inputs, rows=1)
    design = torch.cat([wide, torch.ones_like(wide[:, :1])], dim=1)
    singular = torch.linalg.svdvals(design)
    # Below this a singular value is float32's rounding of the inputs, not a direction of theirs.
    kept = singular > singular[0] * max(design.shape) * torch.finfo(inputs.dtype).eps
    # (1/N) XᵀX has the eigenvalues s²/N
    return singular[kept].square() / len(design)


def condition(inputs: Float[Tensor, "N F"]) -> float:
    """How much longer descent takes along the flattest direction than along the steepest: λ₁/λᵣ of `moments`.

    >>> round(condition(torch.tensor([[2.0], [-2.0]])), 6)
    4.0
    """
    eigenvalues = moments(inputs)
    return float(eigenvalues[0] / eigenvalues[-1])


def stable_rate(inputs: Float[Tensor, "N F"]) -> float:
    """A learning rate that suits the steepest direction of a layer of logits under cross-entropy.

    >>> round(stable_rate(torch.tensor([[2.0], [-2.0]])), 6)
    0.5
    """
    # The curvature of softmax by its logits is at most ½ (Böhning 1992), so descent is stable below 2/(½λ₁); half that.
    return 2 / float(moments(inputs)[0])


def whiteness(outputs: Float[Tensor, "N K"]) -> float:
    """The largest entry by which the covariance differs from the identity: 0 for white inputs.

    Raises:
        InvalidValue: fewer than two outputs.

    >>> whiteness(torch.tensor([[1.0], [3.0]]))
    1.0
    """
    require(len(outputs) >= 2, f"there are {len(outputs)} outputs, but a covariance needs at least 2")
    centred = (outputs - outputs.mean(0)).double()
    covariance = centred.T @ centred / (len(outputs) - 1)
    return float((covariance - torch.eye(len(covariance)).to(covariance)).abs().max())
