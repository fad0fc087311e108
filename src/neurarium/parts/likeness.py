r"""Likeness: how near generated samples come to real ones, by a classifier's eyes and by distances.

Features and class probabilities come from a classifier that never saw a generated sample. A good set of samples is
confidently recognised, spread over the classes as the data are, lies where the data lie (precision), leaves none of it
out (coverage), and is not the training set again (copies).

Source: Salimans et al. 2016, Improved techniques for training GANs, §4 (class entropies); Heusel et al. 2017, GANs
trained by a two time-scale update rule, §4 (Fréchet distance); Kynkäänniemi et al. 2019, Improved precision and recall
metric, eq. 1; Naeem et al. 2020, Reliable fidelity and diversity metrics, eq. 5 (coverage); Meehan, Chaudhuri &
Dasgupta 2020, A non-parametric test to detect data-copying, §3 (distances to training examples).
Differs: features come from our own classifier, so that distances compare only among runs judged by the same one; copies
are counted against the nearest hundredth of real test examples instead of tested by ranks.
Shapes: N samples, R real examples, K classes, D features.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neurarium.errors import InvalidValue, require

SURE = 0.9  # probability from which on a sample counts as recognised
NEIGHBOURS = 5  # whose distance is the radius of an example's ball, Naeem et al. 2020, §4
NEAR = 0.01  # share of real test examples that count as near to the training set
CHUNK = 2048  # rows of distances at a time


def confident(probabilities: Float[Tensor, "N K"]) -> float:
    """The share of samples that the classifier is sure of.

    >>> confident(torch.tensor([[0.95, 0.05], [0.5, 0.5]]))
    0.5
    """
    return float((probabilities.amax(1) > SURE).float().mean())


def class_entropy(probabilities: Float[Tensor, "N K"]) -> float:
    """The entropy of the classes that samples are taken for, in nats: ln K if all come equally often.

    >>> round(class_entropy(torch.eye(4)), 4)
    1.3863
    """
    shares = probabilities.argmax(1).bincount(minlength=probabilities.shape[1]) / len(probabilities)
    # H = −Σ p ln p
    return float(torch.special.entr(shares).sum())


def frechet_distance(real: Float[Tensor, "R D"], fake: Float[Tensor, "N D"]) -> float:
    """How far apart the two sets are, if each were a Gaussian.

    Raises:
        InvalidValue: a set of fewer than two.

    >>> points = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    >>> round(frechet_distance(points, points + torch.tensor([3.0, 4.0])), 4)
    25.0
    """
    require(min(len(real), len(fake)) >= 2, f"{len(real)} real and {len(fake)} samples; each set needs two at least")
    real, fake = real.double(), fake.double()
    root = matrix_root(real.T.cov().reshape(real.shape[1], -1))
    other = fake.T.cov().reshape(fake.shape[1], -1)
    # d² = |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁^½ Σ₂ Σ₁^½)^½)
    spread = (root @ root).trace() + other.trace() - 2 * matrix_root(root @ other @ root).trace()
    return float((real.mean(0) - fake.mean(0)).square().sum() + spread.clamp(min=0))


def matrix_root(matrix: Float[Tensor, "D D"]) -> Float[Tensor, "D D"]:
    """The square root of a symmetric matrix without negative eigenvalues.

    >>> matrix_root(torch.diag(torch.tensor([4.0, 9.0]))).diag()
    tensor([2., 3.])
    """
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


class Overlap(NamedTuple):
    """Whether samples lie where the data lie, and everywhere there.

    Attributes:
        precision: share of samples within the ball of some real example.
        coverage: share of real examples with a sample within their ball.
    """

    precision: float
    coverage: float


def overlap(real: Float[Tensor, "R D"], fake: Float[Tensor, "N D"], *, neighbours: int = NEIGHBOURS) -> Overlap:
    """Precision and coverage; the ball of an example reaches to its nearest neighbours among the real ones.

    Raises:
        InvalidValue: not more real examples than neighbours, or no sample.

    >>> real = torch.arange(10.0).unsqueeze(1)
    >>> overlap(real, real + 0.5)
    Overlap(precision=1.0, coverage=1.0)
    >>> overlap(real, torch.tensor([[4.5], [99.0]]), neighbours=1).precision
    0.5
    """
    require(len(real) > neighbours >= 1, f"{len(real)} real examples have no {neighbours} neighbours; give more")
    require(len(fake) >= 1, "there is no sample to judge")
    radii = torch.cat([rows.kthvalue(neighbours + 1).values for rows in distances(real, real)])
    inside, covered = torch.zeros(len(fake), dtype=torch.bool, device=fake.device), []
    for rows, reach in zip(distances(real, fake), radii.split(CHUNK), strict=True):
        within = rows <= reach.unsqueeze(1)
        inside |= within.any(0)
        covered.append(within.any(1))
    return Overlap(float(inside.float().mean()), float(torch.cat(covered).float().mean()))


def nearest(samples: Float[Tensor, "N ..."], known: Float[Tensor, "R ..."]) -> Float[Tensor, " N"]:
    """The distance of each sample to the nearest of the known examples.

    >>> nearest(torch.tensor([[0.0], [5.0]]), torch.tensor([[1.0], [9.0]]))
    tensor([1., 4.])
    """
    return torch.cat([rows.amin(1) for rows in distances(samples.flatten(1), known.flatten(1))])


def copies(samples: Float[Tensor, "N ..."], trained: Float[Tensor, "R ..."], unseen: Float[Tensor, "M ..."]) -> float:
    """The share of samples nearer to a training example than all but a hundredth of unseen real ones are.

    A generator as new as real data has about a hundredth; one that repeats its training set has all.

    >>> trained, unseen = torch.arange(100.0).unsqueeze(1), torch.arange(100.0).unsqueeze(1) + 0.5
    >>> copies(trained + 0.1, trained, unseen), copies(unseen + 0.0, trained, unseen)
    (1.0, 0.0)
    """
    if not len(samples):
        raise InvalidValue("there is no sample to judge")
    threshold = nearest(unseen, trained).quantile(NEAR)
    return float((nearest(samples, trained) < threshold).float().mean())


def distances(rows: Float[Tensor, "N D"], columns: Float[Tensor, "R D"]) -> Iterator[Float[Tensor, "_ R"]]:
    """Distances between two sets, some rows at a time, so that they need not all lie in memory at once.

    >>> next(distances(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))).item()
    5.0
    """
    return (torch.cdist(part, columns) for part in rows.split(CHUNK))
