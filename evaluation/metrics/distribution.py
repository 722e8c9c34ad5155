"""How far two sets of pictures are apart by their features: the Fréchet distance (FID) and the kernel distance (KID)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from stage.seeds import generator

# Pictures of a set, for a covariance or an unbiased estimate.
FEWEST = 2
# As Bińkowski et al. 2018 and torch-fidelity draw them.
KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000


def set_figures(
    names: Sequence[str],
    predictions: Sequence[Float32[np.ndarray, "_ d"]],
    targets: Sequence[Float32[np.ndarray, "_ d"]],
) -> dict[str, float]:
    """Those of the figures "fid" and "kid" that are named; none of them with fewer than two pictures.

    Args:
        names: of figures; others are passed over.
        predictions: features of each object's predictions.
        targets: of its true views.
    """
    if min(sum(map(len, side)) for side in (predictions, targets)) < FEWEST:
        return {}
    first, second = np.concatenate(predictions), np.concatenate(targets)
    figures = {
        "fid": lambda: frechet_distance(first, second),
        # One seed for all: methods are compared on the same subsets.
        "kid": lambda: kernel_distance(first, second, generator(0, "kid", "subsets")),
    }
    return {name: figures[name]() for name in names if name in figures}


def frechet_distance(first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "m d"]) -> float:
    """‖μ₁ − μ₂‖² + Tr(Σ₁ + Σ₂ − 2·(Σ₁Σ₂)^½) of the Gaussians through two sets (Heusel et al. 2017).

    Σ is the unbiased covariance. (Σ₁Σ₂)^½ has the trace of (Σ₁^½·Σ₂·Σ₁^½)^½, which is symmetric, so that no imaginary part has
    to be dropped.

    Args:
        first: features of one set, 2 rows or more. With fewer rows than features the figure is far too large, though
            equally so for all methods: it is comparable only between sets of one size.
        second: of the other.

    Raises:
        ValueError: when a set has fewer than 2 rows.
    """
    if min(len(first), len(second)) < FEWEST:
        raise ValueError("a covariance needs two pictures or more")
    (mean_1, covariance_1), (mean_2, covariance_2) = _moments(first), _moments(second)
    root = _root(covariance_1)
    product = np.linalg.eigvalsh(root @ covariance_2 @ root)
    shared = np.sqrt(np.clip(product, 0.0, None)).sum()
    distance = np.square(mean_1 - mean_2).sum() + np.trace(covariance_1) + np.trace(covariance_2) - 2.0 * shared
    return max(float(distance), 0.0)


def kernel_distance(
    first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "m d"], rng: np.random.Generator
) -> float:
    """Squared maximum mean discrepancy under the kernel (xᵀy / d + 1)³, unbiased (Bińkowski et al. 2018).

    The mean over `KID_SUBSETS` pairs of subsets of `KID_SUBSET_SIZE`; of the whole sets where they are no larger. Unlike the
    Fréchet distance its expectation does not depend on the sets' sizes; it can be negative.

    Args:
        first: features of one set, 2 rows or more.
        second: of the other.
        rng: draws the subsets.

    Raises:
        ValueError: when a set has fewer than 2 rows.
    """
    size = min(KID_SUBSET_SIZE, len(first), len(second))
    if size < FEWEST:
        raise ValueError("an unbiased estimate needs two pictures or more")
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if size == len(x) == len(y):
        return _discrepancy(x, y)
    draws = [[rng.choice(len(rows), size, replace=False) for rows in (x, y)] for _ in range(KID_SUBSETS)]
    return float(np.mean([_discrepancy(x[i], y[j]) for i, j in draws]))


def _moments(features: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
    rows = np.asarray(features, np.float64)
    return rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False))


def _root(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """The symmetric square root."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T


def _discrepancy(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n d"]) -> float:
    within = sum(_off_diagonal_mean(_kernel(rows, rows)) for rows in (x, y))
    return float(within - 2.0 * _kernel(x, y).mean())


def _kernel(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def _off_diagonal_mean(kernel: Float[np.ndarray, "n n"]) -> float:
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))
