"""The denoiser of a Gaussian mixture: exact moments, exact log-partition, hence an exactly convex geometry."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sklearn.cluster import KMeans
from torch import Tensor

from spacetime_tps.denoisers.base import Moments
from spacetime_tps.errors import GeometryError


class GaussianMixtureDenoiser:
    """Denoising distributions of q = Σ_k w_k N(m_k, C_k), each again a Gaussian mixture in closed form.

    With C_k = U_k diag(c_k) U_kᵀ and s² = 1/SNR, component k of p(x|z) has weight
    ∝ w_k N(y; m_k, C_k + s²), mean m_k + U_k [c/(c + s²)] U_kᵀ(y − m_k) and covariance U_k [c s²/(c + s²)] U_kᵀ.

    Parameters
    ----------
    weights : array, shape (components,)
        Positive; normalised here.
    means : array, shape (components, dimension)
    covariances : array, shape (components, dimension, dimension)
        Symmetric and positive semi-definite.

    Raises
    ------
    GeometryError
        If shapes do not fit, a number is not finite, a weight is not positive or a covariance is not a covariance.
    """

    def __init__(self, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike) -> None:
        w, m, c = (np.asarray(array, dtype=np.float64) for array in (weights, means, covariances))
        if m.ndim != 2 or 0 in m.shape or w.shape != m.shape[:1] or c.shape != (*m.shape, m.shape[1]):
            raise GeometryError(f"mixture: weights {w.shape}, means {m.shape}, covariances {c.shape} do not fit")
        for name, array in (("weights", w), ("means", m), ("covariances", c)):
            if not np.isfinite(array).all():
                raise GeometryError(f"mixture: {name} are not all finite")
        if (w <= 0).any():
            raise GeometryError("mixture: every weight must be positive")
        eigenvalues, eigenvectors = np.linalg.eigh(c)
        largest = np.abs(eigenvalues).max()
        if (eigenvalues < -1e-9 * largest).any() or np.abs(c - np.swapaxes(c, 1, 2)).max() > 1e-9 * largest:
            raise GeometryError("mixture: covariances must be symmetric and positive semi-definite")
        self.weights = torch.from_numpy(w / w.sum())
        self.means = torch.from_numpy(m)
        self.covariances = torch.from_numpy(c)
        self._variances = torch.from_numpy(eigenvalues.clip(min=0.0))  # (K, D)
        # (D, K·D): one matrix product takes y to the eigenbases of all C_k, and one with its transpose takes it back
        self._axes = torch.from_numpy(eigenvectors.transpose(1, 0, 2).reshape(m.shape[1], -1))
        self._centre = self.weights @ self.means
        shifted = self.means - self._centre
        self._offset = torch.from_numpy(np.einsum("kd,kde->ke", shifted.numpy(), eigenvectors))
        self._shifted, self._square = shifted, (shifted**2).sum(-1)

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return int(self.means.shape[1])

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """Every level of noise."""
        return -math.inf, math.inf

    @property
    def components(self) -> int:
        """Number of Gaussians."""
        return int(self.means.shape[0])

    def _in_eigenbases(self, y: Tensor) -> Tensor:
        """U_kᵀ(y − m_k), shape (B, K, D)."""
        return ((y - self._centre) @ self._axes).reshape(len(y), self.components, self.dimension) - self._offset

    def _posterior(self, y: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log of w_k ∫ N(x; m_k, C_k) exp(−SNR/2 |x−y|²) dx (B, K), U_kᵀ(y − m_k) (B, K, D), c + s² (B, K, D)."""
        spread = torch.exp(-log_snr)[:, None, None]
        u = self._in_eigenbases(y)
        total = self._variances + spread
        log_weight = (
            self.weights.log() - 0.5 * (u**2 / total + total.log()).sum(-1) - 0.5 * self.dimension * log_snr[:, None]
        )
        return log_weight, u, total

    def moments(self, y: Tensor, log_snr: Tensor) -> Moments:
        """Mean and variance of p(x|z); see :class:`Denoiser`."""
        shape = log_snr.shape
        y, log_snr = y.reshape(-1, self.dimension), log_snr.reshape(-1)
        log_weight, u, total = self._posterior(y, log_snr)
        r = torch.softmax(log_weight, dim=-1)
        gain = self._variances / total
        shift = gain * u  # of each component's mean, in its eigenbasis
        mean = r @ self._shifted + (r[..., None] * shift).flatten(1) @ self._axes.T  # about the centre
        within = gain.sum(-1) * torch.exp(-log_snr)[:, None]
        square = self._square + (shift * (shift + 2 * self._offset)).sum(-1)  # of each component's mean
        variance = (r * (within + square)).sum(-1) - (mean**2).sum(-1)
        return Moments((mean + self._centre).reshape(*shape, self.dimension), variance.reshape(shape))

    def log_normalizer(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """log ∫ q(x) exp(−SNR/2 |x − y|²) dx; see :class:`Denoiser`."""
        log_weight, _, _ = self._posterior(y.reshape(-1, self.dimension), log_snr.reshape(-1))
        return torch.logsumexp(log_weight, dim=-1).reshape(log_snr.shape)

    def log_density(self, x: Tensor) -> Tensor:
        """log q(x), shape (...); the covariances must not be singular."""
        points = x.reshape(-1, self.dimension)
        u = self._in_eigenbases(points)
        exponent = (u**2 / self._variances + self._variances.log()).sum(-1) + self.dimension * math.log(2 * math.pi)
        return torch.logsumexp(self.weights.log() - 0.5 * exponent, dim=-1).reshape(x.shape[:-1])

    def save(self, path: Path, description: dict[str, object]) -> None:
        """Write weights, means and covariances as safetensors, with a JSON description inside."""
        tensors = {"weights": self.weights, "means": self.means, "covariances": self.covariances}
        save_file(tensors, path, metadata={"kind": "gaussian_mixture", "description": json.dumps(description)})

    @classmethod
    def load(cls, path: Path) -> tuple[GaussianMixtureDenoiser, dict[str, object]]:
        """Denoiser and description written by :meth:`save`.

        Raises
        ------
        GeometryError
            If the file is missing, damaged or of another kind.
        """
        try:
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
                if metadata.get("kind") != "gaussian_mixture":
                    raise KeyError("it does not hold a Gaussian mixture")
                arrays = [file.get_tensor(name) for name in ("weights", "means", "covariances")]
                description = json.loads(metadata["description"])
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise GeometryError(f"{path} is not a readable denoiser ({error})") from error
        return cls(*arrays), description

    @classmethod
    def wiener(cls, samples: ArrayLike, weights: ArrayLike | None = None) -> GaussianMixtureDenoiser:
        """The best linear denoiser of (weighted) samples: that of one Gaussian with their mean and covariance."""
        x = np.asarray(samples, dtype=np.float64)
        w = np.full(len(x), 1 / len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
        w = w / w.sum()
        mean = w @ x
        return cls([1.0], mean[None], (((x - mean) * w[:, None]).T @ (x - mean))[None])


def fit_mixture(
    samples: ArrayLike,
    components: int,
    *,
    weights: ArrayLike | None = None,
    shrinkage: float = 8.0,
    seed: int = 0,
    tolerance: float = 1e-4,
    max_iterations: int = 200,
) -> tuple[GaussianMixtureDenoiser, int]:
    """Fit a Gaussian mixture to weighted samples by expectation maximisation.

    Covariances are maximum-a-posteriori: each component's scatter is joined by ``shrinkage`` pseudo-samples of the
    pooled within-component covariance of the k-means start (an inverse-Wishart prior), so that components with few
    samples stay well conditioned.

    Parameters
    ----------
    samples : array, shape (n, dimension)
    components : int
    weights : array, shape (n,), optional
        Frame weights; they are scaled to sum to the effective sample size (Σw)²/Σw².
    shrinkage : float
    seed : int
        Of the k-means start.
    tolerance : float
        Convergence of the mean log-likelihood per sample, in nats.
    max_iterations : int

    Returns
    -------
    denoiser : GaussianMixtureDenoiser
    iterations : int

    Raises
    ------
    GeometryError
        If there are fewer samples than components, or samples or weights are not finite.
    """
    x = np.asarray(samples, dtype=np.float64)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    if x.ndim != 2 or components < 1 or shrinkage < 0:
        raise GeometryError(
            f"a mixture needs samples of shape (n, dimension), at least one component and shrinkage ≥ 0; got samples "
            f"{x.shape}, {components} components, shrinkage {shrinkage}"
        )
    if not np.isfinite(x).all():
        raise GeometryError(f"sample {int(np.argmin(np.isfinite(x).all(axis=1)))} is not finite")
    if w.shape != (len(x),) or not np.isfinite(w).all() or (w < 0).any() or w.sum() <= 0:
        raise GeometryError(f"frame weights must be {len(x)} finite numbers, none negative and not all zero")
    if (w > 0).sum() < 2 * components:
        raise GeometryError(
            f"{(w > 0).sum()} samples are too few for {components} Gaussians; sample more or ask for fewer"
        )
    w = w * w.sum() / (w**2).sum()  # sums to the effective sample size
    dimension = x.shape[1]
    centre = np.average(x, axis=0, weights=w)
    x = x - centre

    start = KMeans(components, n_init=1, random_state=seed).fit_predict(x, sample_weight=w)
    r = np.eye(components)[start]
    pooled = None
    previous = -np.inf
    for iteration in range(1, max_iterations + 1):  # noqa: B007
        rw = r * w[:, None]
        mass = rw.sum(0) + 1e-10
        means = (rw.T @ x) / mass[:, None]
        scatter = np.stack([(x * rw[:, k, None]).T @ x for k in range(components)])
        scatter -= mass[:, None, None] * np.einsum("ki,kj->kij", means, means)
        if pooled is None:
            pooled = scatter.sum(0) / mass.sum()
            if np.trace(pooled) <= 0:
                raise GeometryError(
                    "all samples of each component are the same; sample more, or ask for fewer Gaussians"
                )
            pooled += 1e-6 * np.trace(pooled) / dimension * np.eye(dimension)
        strength = max(shrinkage, 1e-6)
        covariances = (scatter + strength * pooled) / (mass + strength)[:, None, None]
        log_joint = np.log(mass / mass.sum()) + _log_gaussian(x, means, covariances)
        top = log_joint.max(1, keepdims=True)
        log_density = top[:, 0] + np.log(np.exp(log_joint - top).sum(1))
        r = np.exp(log_joint - log_density[:, None])
        likelihood = float(np.average(log_density, weights=w))
        if likelihood - previous < tolerance:
            break
        previous = likelihood
    return GaussianMixtureDenoiser(mass / mass.sum(), means + centre, covariances), iteration


def average_mixtures(mixtures: Sequence[GaussianMixtureDenoiser]) -> GaussianMixtureDenoiser:
    """The mixture whose density is the mean of the given ones': fits from different starts err in different places."""
    return GaussianMixtureDenoiser(
        torch.cat([mixture.weights for mixture in mixtures]),
        torch.cat([mixture.means for mixture in mixtures]),
        torch.cat([mixture.covariances for mixture in mixtures]),
    )


def _log_gaussian(x: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Log density of each sample under each Gaussian, shape (n, components)."""
    result = np.empty((len(x), len(means)))
    for k, (mean, factor) in enumerate(zip(means, np.linalg.cholesky(covariances), strict=True)):
        whitened = np.linalg.solve(factor, (x - mean).T)
        result[:, k] = -0.5 * (whitened**2).sum(0) - np.log(np.diag(factor)).sum()
    return np.asarray(result - 0.5 * x.shape[1] * math.log(2 * math.pi))
