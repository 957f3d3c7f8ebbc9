"""Gaussian mixtures fitted to weighted samples by expectation maximisation, with three models of the covariances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.linalg import cholesky, solve_triangular
from sklearn.cluster import KMeans

from spacetime_tps.arrays import FloatArray
from spacetime_tps.denoisers.mixture import GaussianMixtureDenoiser
from spacetime_tps.errors import GeometryError
from spacetime_tps.statistics.correlation import kish_size

Covariance = Literal["full", "low_rank", "shrunk"]
Factors = tuple[FloatArray, FloatArray, float]  # axes (D, rank), variances along them (rank,), variance elsewhere
# of a component, from its samples' deviations from its mean, each times the root of its weight (n, D), and its mass
Estimator = Callable[[FloatArray, float], Factors]


def fit_mixture(
    samples: ArrayLike,
    components: int,
    *,
    covariance: Covariance = "full",
    rank: int = 16,
    weights: ArrayLike | None = None,
    shrinkage: float = 8.0,
    seed: int = 0,
    tolerance: float = 1e-4,
    max_iterations: int = 200,
) -> tuple[GaussianMixtureDenoiser, int]:
    """Fit a Gaussian mixture to weighted samples by expectation maximisation.

    All kinds of covariance lean on the pooled within-component covariance of the k-means start, so that components with
    few samples stay well conditioned:

    - ``"full"``: maximum a posteriori. Each component's scatter is joined by ``shrinkage`` pseudo-samples of the pooled
      covariance (an inverse-Wishart prior).
    - ``"low_rank"``: mixture of probabilistic principal component analysers, C = W Wᵀ + σ² (Tipping & Bishop, Neural
      Computation 11, 443, 1999), with the same prior. The choice where components have fewer samples than there are
      coordinates and directions beyond ``rank`` are much alike; the denoiser's cost grows with ``rank``, not with
      dimension². That σ² is the same for all directions keeps the fit independent of the basis of the coordinates.
    - ``"shrunk"``: each scatter is mixed with the pooled covariance, scaled to its size, by the weight that the
      oracle-approximating estimate of Chen et al. (IEEE Trans. Signal Process. 58, 5016, 2010, eq. 23) finds from its
      samples where the pooled covariance is the identity; the pooled covariance is mixed with a multiple of the
      identity in the same way. Nothing to choose; best with more samples in all than coordinates.

    Parameters
    ----------
    samples : array, shape (n, dimension)
    components : int
    covariance : {"full", "low_rank", "shrunk"}
    rank : int
        Columns of W, at least one and fewer than the dimension; of ``"low_rank"`` alone.
    weights : array, shape (n,), optional
        Frame weights; they are scaled to sum to the effective sample size (Σw)²/Σw².
    shrinkage : float
        Pseudo-samples of the prior; not of ``"shrunk"``.
    seed : int
        Of the k-means start.
    tolerance : float
        Convergence of the mean log-likelihood per sample, in nats.
    max_iterations : int

    Returns
    -------
    denoiser : GaussianMixtureDenoiser
        Of rank ``rank`` if ``"low_rank"``, else of full rank.
    iterations : int

    Raises
    ------
    GeometryError
        If there are too few samples, samples or weights are not finite, or an option is out of its range.
    """
    x, w = _weighted_samples(samples, weights, components)
    prior = max(shrinkage, 1e-6)
    dimension = x.shape[1]
    if shrinkage < 0:
        raise GeometryError(f"shrinkage must not be negative; got {shrinkage}")
    if covariance == "low_rank" and not 1 <= rank < min(dimension, len(x)):
        raise GeometryError(
            f"rank {rank} for {len(x)} samples of {dimension} coordinates: low-rank covariances need at least one axis "
            "and fewer than there are coordinates and samples"
        )
    centre = np.average(x, axis=0, weights=w)
    x = x - centre

    start = KMeans(components, n_init=1, random_state=seed).fit_predict(x, sample_weight=w)
    members = np.eye(components)[start] * w[:, None]
    mass, means = _masses_and_means(x, members)
    within = np.sqrt(w / w.sum())[:, None] * (x - means[start])
    if not (within**2).sum() > 0:
        raise GeometryError("all samples of each component are the same; sample more, or ask for fewer Gaussians")
    estimate: Estimator
    match covariance:
        case "full":
            estimate = _full(within, prior)
        case "low_rank":
            estimate = _low_rank(within, prior, rank)
        case "shrunk":
            estimate = _shrunk(within, float(w.sum()))
        case _:
            raise GeometryError(f"no covariance {covariance!r}: there are full, low_rank and shrunk")

    previous = -np.inf
    for iteration in range(1, max_iterations + 1):  # noqa: B007
        factors = [estimate(_deviations(x, members[:, k], means[k]), mass[k]) for k in range(components)]
        axes, variances, floors = (np.stack(parts) for parts in zip(*factors, strict=True))
        mixture = GaussianMixtureDenoiser.from_factors(mass, means, axes, variances, floors)
        batches = torch.split(torch.from_numpy(x), 512)
        log_joint = torch.cat([mixture.component_log_densities(batch) for batch in batches]).numpy()
        log_density = np.logaddexp.reduce(log_joint, axis=1)
        likelihood = float(np.average(log_density, weights=w))
        if likelihood - previous < tolerance:
            break
        previous = likelihood
        members = np.exp(log_joint - log_density[:, None]) * w[:, None]
        mass, means = _masses_and_means(x, members)
    return GaussianMixtureDenoiser.from_factors(mass, means + centre, axes, variances, floors), iteration


def _weighted_samples(samples: ArrayLike, weights: ArrayLike | None, components: int) -> tuple[FloatArray, FloatArray]:
    """Samples of positive weight, and their weights, which sum to the effective sample size."""
    x = np.asarray(samples, dtype=np.float64)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    if x.ndim != 2 or components < 1:
        raise GeometryError(
            f"a mixture needs samples of shape (n, dimension) and at least one component; got samples {x.shape}, "
            f"{components} components"
        )
    if not np.isfinite(x).all():
        raise GeometryError(f"sample {int(np.argmin(np.isfinite(x).all(axis=1)))} is not finite")
    if w.shape != (len(x),) or not np.isfinite(w).all() or (w < 0).any() or w.sum() <= 0:
        raise GeometryError(f"frame weights must be {len(x)} finite numbers, none negative and not all zero")
    x, w = x[w > 0], w[w > 0]
    if len(x) < 2 * components:
        raise GeometryError(f"{len(x)} samples are too few for {components} Gaussians; sample more or ask for fewer")
    return x, w * kish_size(w) / w.sum()


def _masses_and_means(x: FloatArray, members: FloatArray) -> tuple[FloatArray, FloatArray]:
    mass = members.sum(0) + 1e-10
    return mass, (members.T @ x) / mass[:, None]


def _deviations(x: FloatArray, member: FloatArray, mean: FloatArray) -> FloatArray:
    """Deviations of a component's samples from its mean, each times the root of its weight, shape (members, D)."""
    noticed = member > 1e-16 * member.sum()
    return np.asarray(np.sqrt(member[noticed])[:, None] * (x[noticed] - mean))


def _pooled(within: FloatArray) -> FloatArray:
    return np.asarray(within.T @ within + _jitter(within) * np.eye(within.shape[1]))


def _jitter(within: FloatArray) -> float:
    """A millionth of the mean variance of a coordinate: the least variance of the pooled covariance."""
    return float(1e-6 * (within**2).sum() / within.shape[1])


def _full(within: FloatArray, prior: float) -> Estimator:
    pooled = _pooled(within)

    def estimate(deviations: FloatArray, mass: float) -> Factors:
        return _eigen((deviations.T @ deviations + prior * pooled) / (mass + prior))

    return estimate


def _low_rank(within: FloatArray, prior: float, rank: int) -> Estimator:
    axes, variances, floor = _principal(within, rank)
    pseudo_samples = np.sqrt(prior * (variances - floor))[:, None] * axes.T  # but for their variance in all directions
    everywhere = prior * (floor + _jitter(within))

    def estimate(deviations: FloatArray, mass: float) -> Factors:
        axes, variances, floor = _principal(np.concatenate([deviations, pseudo_samples]), rank)
        total = mass + prior
        return axes, (variances + everywhere) / total, (floor + everywhere) / total

    return estimate


def _shrunk(within: FloatArray, samples: float) -> Estimator:
    dimension = within.shape[1]
    intensity, size = _oracle_approximating(within * np.sqrt(samples), samples)
    pooled = (1 - intensity) * within.T @ within + intensity * size * np.eye(dimension)
    factor = cholesky(pooled, lower=True)

    def estimate(deviations: FloatArray, mass: float) -> Factors:
        white = solve_triangular(factor, deviations.T, lower=True).T  # where the pooled covariance is the identity
        intensity, size = _oracle_approximating(white, mass)
        size = (mass * size + 1) / (mass + 1)  # with one pooled pseudo-sample, for the emptiest
        return _eigen((1 - intensity) * (deviations.T @ deviations) / mass + intensity * size * pooled)

    return estimate


def _oracle_approximating(deviations: FloatArray, mass: float) -> tuple[float, float]:
    """Weight of the multiple of the identity to mix with S = Σ deviationᵀdeviation/mass, and that multiple, tr S/D."""
    dimension = deviations.shape[1]
    trace = (deviations**2).sum() / mass
    trace_of_square = ((deviations.T @ deviations) ** 2).sum() / mass**2
    chance = (1 - 2 / dimension) * trace_of_square + trace**2
    difference = (mass + 1 - 2 / dimension) * (trace_of_square - trace**2 / dimension)
    return float(chance / difference) if difference > chance else 1.0, float(trace / dimension)


def _eigen(covariance: FloatArray) -> Factors:
    variances, axes = np.linalg.eigh(covariance)
    return axes, variances.clip(min=1e-15 * variances[-1]), 0.0  # rounding can make the smallest negative


def _principal(rows: FloatArray, rank: int) -> Factors:
    """The matrix of the form U diag(c) Uᵀ + f (1 − UUᵀ) nearest in likelihood to Σ rowᵀrow: leading axes, mean rest."""
    _, singular, axes = np.linalg.svd(rows, full_matrices=False)
    return axes[:rank].T, singular[:rank] ** 2, float((singular[rank:] ** 2).sum() / (rows.shape[1] - rank))
