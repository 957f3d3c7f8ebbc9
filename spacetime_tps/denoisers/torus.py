"""The denoiser of a von Mises mixture on a torus: exact moments, exact log-partition, hence an exactly convex geometry.

Latent vectors are (cos θ₁, sin θ₁, cos θ₂, sin θ₂, …). On a torus |x|² is the number of angles, so the denoising
distributions q(θ) exp(−SNR/2 |x − y|²) are q tilted by exp(SNR y·x), and depend on SNR·y alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import i0e, i1e
from sklearn.cluster import KMeans
from torch import Tensor

from spacetime_tps.arrays import FloatArray
from spacetime_tps.denoisers.base import Moments
from spacetime_tps.denoisers.files import read, write
from spacetime_tps.errors import GeometryError
from spacetime_tps.statistics.correlation import kish_size

PARAMETERS = ("weights", "means", "concentrations")
_UNIT_TOLERANCE = 1e-6
_TINY = 1e-24  # added to squared lengths: gradients of √ stay finite at 0


class VonMisesMixtureDenoiser:
    """Denoising distributions of q(θ) = Σ_k w_k Π_j vM(θ_j; m_kj, κ_kj), each again such a mixture in closed form.

    Component k of p(θ|z) has the natural parameters η_kj = κ_kj (cos m_kj, sin m_kj) + SNR·y_j; with ρ = |η| its
    weight is ∝ w_k Π_j I₀(ρ_kj)/I₀(κ_kj) and the mean of (cos θ_j, sin θ_j) is I₁(ρ)/I₀(ρ) · η/ρ.

    Parameters
    ----------
    weights : array, shape (components,)
        Positive; normalised here.
    means : array, shape (components, angles)
        In rad.
    concentrations : array, shape (components, angles)
        κ, not negative.

    Raises
    ------
    GeometryError
        If shapes do not fit, a number is not finite, a weight is not positive or a concentration is negative.
    """

    def __init__(self, weights: ArrayLike, means: ArrayLike, concentrations: ArrayLike) -> None:
        w, m, k = (np.asarray(array, dtype=np.float64) for array in (weights, means, concentrations))
        if m.ndim != 2 or 0 in m.shape or w.shape != m.shape[:1] or k.shape != m.shape:
            raise GeometryError(
                f"von Mises mixture: weights {w.shape}, means {m.shape}, concentrations {k.shape} do not fit"
            )
        for name, array in (("weights", w), ("means", m), ("concentrations", k)):
            if not np.isfinite(array).all():
                raise GeometryError(f"von Mises mixture: {name} are not all finite")
        if (w <= 0).any():
            raise GeometryError("von Mises mixture: every weight must be positive")
        if (k < 0).any():
            raise GeometryError("von Mises mixture: no concentration may be negative")
        self.weights, self.means, self.concentrations = (torch.from_numpy(array) for array in (w / w.sum(), m, k))
        self._natural = self.concentrations[..., None] * torch.stack([self.means.cos(), self.means.sin()], dim=-1)
        self._offset = self.weights.log() - _bessel(self.concentrations)[0].sum(-1)

    @property
    def angles(self) -> int:
        """Number of angles."""
        return int(self.means.shape[1])

    @property
    def dimension(self) -> int:
        """Number of latent coordinates, two for each angle."""
        return 2 * self.angles

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """Every level of noise."""
        return -math.inf, math.inf

    @property
    def components(self) -> int:
        """Number of products of von Mises densities."""
        return int(self.means.shape[0])

    def _posterior(self, y: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log of w_k Π_j I₀(ρ_kj)/I₀(κ_kj) (B, K), mean resultant lengths (B, K, angles), directions times these."""
        natural = self._natural + log_snr.exp()[:, None, None, None] * y.reshape(-1, 1, self.angles, 2)
        length = ((natural**2).sum(-1) + _TINY).sqrt()
        log_i0, ratio = _bessel(length)
        return self._offset + log_i0.sum(-1), ratio, (ratio / length)[..., None] * natural

    def moments(self, y: Tensor, log_snr: Tensor) -> Moments:
        """Mean and variance of p(x|z); see :class:`Denoiser`.

        The variance, the number of angles less |mean|², is summed as that within and that between the components.
        """
        shape = log_snr.shape
        log_weight, resultant, each = self._posterior(y.reshape(-1, self.dimension), log_snr.reshape(-1))
        r = torch.softmax(log_weight, dim=-1)
        mean = (r[..., None, None] * each).sum(1)
        within = ((1 - resultant) * (1 + resultant)).sum(-1)
        between = ((each - mean[:, None]) ** 2).sum((-1, -2))
        variance = (r * (within + between)).sum(-1)
        return Moments(mean.reshape(*shape, self.dimension), variance.reshape(shape))

    def log_normalizer(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """log ∫ q(θ) exp(−SNR/2 |x − y|²) dθ; see :class:`Denoiser`."""
        flat, level = y.reshape(-1, self.dimension), log_snr.reshape(-1)
        log_weight, _, _ = self._posterior(flat, level)
        squares = self.angles + (flat**2).sum(-1)
        return (torch.logsumexp(log_weight, dim=-1) - 0.5 * level.exp() * squares).reshape(log_snr.shape)

    def log_density(self, x: Tensor) -> Tensor:
        """log q(θ), per radian of each angle, at latent vectors on the torus, shape (...).

        Raises
        ------
        GeometryError
            If an angle's (cos, sin) is not of unit length.
        """
        points = x.reshape(-1, self.angles, 2)
        _check_unit_lengths(points.detach().numpy())
        exponent = torch.einsum("kjc,bjc->bk", self._natural, points)
        log_density = torch.logsumexp(self._offset + exponent, dim=-1) - self.angles * math.log(2 * math.pi)
        return log_density.reshape(x.shape[:-1])

    def save(self, path: Path, description: dict[str, object]) -> None:
        """Write weights, means and concentrations as safetensors, with a JSON description inside."""
        write(path, "von_mises_mixture", {name: getattr(self, name) for name in PARAMETERS}, description)

    @classmethod
    def load(cls, path: Path) -> tuple[VonMisesMixtureDenoiser, dict[str, Any]]:
        """Denoiser and description written by :meth:`save`.

        Raises
        ------
        GeometryError
            If the file is missing, damaged or of another kind.
        """
        _, tensors, description = read(path, "von_mises_mixture")
        try:
            return cls(**tensors), description
        except (TypeError, ValueError, RuntimeError) as error:  # a GeometryError is a ValueError
            raise GeometryError(f"{path} is not a readable denoiser ({error})") from error


class _Bessel(torch.autograd.Function):
    """log I₀(ρ) and A(ρ) = I₁(ρ)/I₀(ρ), whose derivatives A and 1 − A² − A/ρ need no more Bessel functions."""

    @staticmethod
    def forward(ctx: Any, length: Tensor) -> tuple[Tensor, Tensor]:
        scaled = torch.special.i0e(length)
        ratio = torch.special.i1e(length) / scaled
        ctx.save_for_backward(length, ratio)
        return length + scaled.log(), ratio

    @staticmethod
    def backward(ctx: Any, by_log: Tensor, by_ratio: Tensor) -> Tensor:
        length, ratio = ctx.saved_tensors
        gradient: Tensor = by_log * ratio + by_ratio * (1 - ratio**2 - ratio / length)
        return gradient


def _bessel(length: Tensor) -> tuple[Tensor, Tensor]:
    log_i0, ratio = _Bessel.apply(length)  # type: ignore[no-untyped-call]
    return log_i0, ratio


def fit_von_mises_mixture(
    samples: ArrayLike,
    components: int,
    *,
    weights: ArrayLike | None = None,
    shrinkage: float = 8.0,
    seed: int = 0,
    tolerance: float = 1e-4,
    max_iterations: int = 200,
) -> tuple[VonMisesMixtureDenoiser, int]:
    """Fit a von Mises mixture to weighted samples on a torus by expectation maximisation.

    Concentrations are maximum-a-posteriori: each component's resultant is joined by ``shrinkage`` pseudo-samples along
    its own mean, whose mean resultant length is that within the components of the k-means start (the conjugate prior
    of Guttorp & Lockhart, J. Am. Stat. Assoc. 83, 322 (1988), in κ alone), so that they stay finite.

    Parameters
    ----------
    samples : array, shape (n, 2·angles)
        (cos θ₁, sin θ₁, …).
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
    denoiser : VonMisesMixtureDenoiser
    iterations : int

    Raises
    ------
    GeometryError
        If there are fewer samples than twice the components, samples are not on a torus, or weights are not finite.
    """
    x, w = _checked_samples(samples, components, weights, shrinkage)
    start = KMeans(components, n_init=1, random_state=seed).fit_predict(x.reshape(len(x), -1), sample_weight=w)
    r = np.eye(components)[start]
    pooled = None
    previous = -np.inf
    for iteration in range(1, max_iterations + 1):  # noqa: B007
        rw = r * w[:, None]
        mass = rw.sum(0)[:, None] + 1e-10  # (K, 1)
        resultant = np.einsum("nk,njc->kjc", rw, x)
        length = np.linalg.norm(resultant, axis=-1)
        if pooled is None:
            pooled = np.minimum(length.sum(0) / mass.sum(), 1 - 1e-6)
        strength = max(shrinkage, 1e-6)
        concentrations = concentration((length + strength * pooled) / (mass + strength))
        means = np.arctan2(resultant[..., 1], resultant[..., 0])
        denoiser = VonMisesMixtureDenoiser(mass[:, 0], means, concentrations)
        exponent = np.einsum("kjc,njc->nk", denoiser._natural.numpy(), x)
        log_joint = denoiser._offset.numpy() + exponent
        top = log_joint.max(1, keepdims=True)
        log_density = top[:, 0] + np.log(np.exp(log_joint - top).sum(1))
        r = np.exp(log_joint - log_density[:, None])
        likelihood = float(np.average(log_density, weights=w))
        if likelihood - previous < tolerance:
            break
        previous = likelihood
    return denoiser, iteration


def average_von_mises_mixtures(mixtures: Sequence[VonMisesMixtureDenoiser]) -> VonMisesMixtureDenoiser:
    """The mixture whose density is the mean of the given ones': fits from different starts err in different places."""
    return VonMisesMixtureDenoiser(
        torch.cat([mixture.weights for mixture in mixtures]),
        torch.cat([mixture.means for mixture in mixtures]),
        torch.cat([mixture.concentrations for mixture in mixtures]),
    )


def concentration(resultant: FloatArray) -> FloatArray:
    """κ of von Mises densities with the mean resultant length I₁(κ)/I₀(κ) = ``resultant``, in [0, 1)."""
    kappa = resultant * (2 - resultant**2) / (1 - resultant**2)  # Banerjee et al., JMLR 6, 1345 (2005)
    for _ in range(6):  # Newton
        ratio = i1e(kappa) / i0e(kappa)
        slope = 1 - ratio**2 - np.divide(ratio, kappa, out=np.full_like(kappa, 0.5), where=kappa > 0)
        kappa = np.maximum(kappa - (ratio - resultant) / slope, 0.0)
    return np.asarray(kappa)


def _checked_samples(
    samples: ArrayLike, components: int, weights: ArrayLike | None, shrinkage: float
) -> tuple[FloatArray, FloatArray]:
    """Samples (n, angles, 2) and weights (n,) that sum to the effective sample size."""
    x = np.asarray(samples, dtype=np.float64)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] == 0 or x.shape[1] % 2 or components < 1 or shrinkage < 0:
        raise GeometryError(
            "a von Mises mixture needs samples of shape (n, 2·angles), at least one component and shrinkage ≥ 0; got "
            f"samples {x.shape}, {components} components, shrinkage {shrinkage}"
        )
    if not np.isfinite(x).all():
        raise GeometryError(f"sample {int(np.argmin(np.isfinite(x).all(axis=1)))} is not finite")
    x = x.reshape(len(x), -1, 2)
    _check_unit_lengths(x)
    if w.shape != (len(x),) or not np.isfinite(w).all() or (w < 0).any() or w.sum() <= 0:
        raise GeometryError(f"frame weights must be {len(x)} finite numbers, none negative and not all zero")
    if (w > 0).sum() < 2 * components:
        raise GeometryError(
            f"{(w > 0).sum()} samples are too few for {components} components; sample more or ask for fewer"
        )
    return x, w * kish_size(w) / w.sum()


def _check_unit_lengths(x: FloatArray) -> None:
    """Refuse vectors (n, angles, 2) that are not (cos θ, sin θ)."""
    length = np.linalg.norm(x, axis=-1)
    off = np.abs(length - 1) > _UNIT_TOLERANCE
    if off.any():
        sample, angle = (int(index[0]) for index in np.nonzero(off))
        raise GeometryError(
            f"sample {sample} is not on the torus: (cos, sin) of angle {angle} has length {length[sample, angle]:.6g}; "
            "give (cos θ₁, sin θ₁, …)"
        )
