"""The denoiser of a Gaussian mixture: exact moments, exact log-partition, hence an exactly convex geometry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spacetime_tps.denoisers.base import Moments
from spacetime_tps.denoisers.files import read, write
from spacetime_tps.errors import GeometryError

FACTORS = ("weights", "means", "axes", "variances", "floors")  # that define a mixture, as `from_factors` takes them


class GaussianMixtureDenoiser:
    """Denoising distributions of q = Σ_k w_k N(m_k, C_k), each again a Gaussian mixture in closed form.

    Each covariance has variances c_k along its ``rank`` orthonormal axes, the columns of U_k, and one variance f_k, its
    floor, in all directions normal to them: C_k = U_k diag(c_k) U_kᵀ + f_k (1 − U_k U_kᵀ). A full covariance has as
    many axes as coordinates; with fewer no matrix of dimension × dimension is ever formed. With s² = 1/SNR, component
    k of p(x|z) has weight ∝ w_k N(y; m_k, C_k + s²), mean m_k + C_k (C_k + s²)⁻¹ (y − m_k) and covariance
    s² C_k (C_k + s²)⁻¹, diagonal in the same axes.

    Parameters
    ----------
    weights : array, shape (components,)
        Positive; normalised here.
    means : array, shape (components, dimension)
    covariances : array, shape (components, dimension, dimension)
        Symmetric and positive semi-definite.

    Attributes
    ----------
    weights : tensor, shape (components,)
    means : tensor, shape (components, dimension)
    variances : tensor, shape (components, rank)
        Along the axes.
    floors : tensor, shape (components,)
        Variance of each direction normal to the axes.

    Raises
    ------
    GeometryError
        If shapes do not fit, a number is not finite, a weight is not positive or a covariance is not a covariance.
    """

    def __init__(self, weights: ArrayLike, means: ArrayLike, covariances: ArrayLike) -> None:
        w, m, c = (np.asarray(array, dtype=np.float64) for array in (weights, means, covariances))
        _check({"weights": w, "means": m, "covariances": c}, c.shape == (*m.shape, *m.shape[-1:]))
        eigenvalues, eigenvectors = np.linalg.eigh(c)
        largest = np.abs(eigenvalues).max()
        if (eigenvalues < -1e-9 * largest).any() or np.abs(c - np.swapaxes(c, 1, 2)).max() > 1e-9 * largest:
            raise GeometryError("mixture: covariances must be symmetric and positive semi-definite")
        self._hold(w, m, eigenvectors, eigenvalues.clip(min=0.0), np.zeros_like(w))

    @classmethod
    def from_factors(
        cls, weights: ArrayLike, means: ArrayLike, axes: ArrayLike, variances: ArrayLike, floors: ArrayLike
    ) -> GaussianMixtureDenoiser:
        """The mixture whose covariances are given by axes, variances along them and the variance elsewhere.

        Parameters
        ----------
        weights : array, shape (components,)
        means : array, shape (components, dimension)
        axes : array, shape (components, dimension, rank)
            Orthonormal columns.
        variances : array, shape (components, rank)
        floors : array, shape (components,)

        Raises
        ------
        GeometryError
            As the class; also if axes are not orthonormal or a variance is negative.
        """
        w, m, u, c, f = (np.asarray(array, dtype=np.float64) for array in (weights, means, axes, variances, floors))
        fits = u.shape[:-1] == m.shape and c.shape == (*m.shape[:1], *u.shape[-1:]) and f.shape == m.shape[:1]
        _check({"weights": w, "means": m, "axes": u, "variances": c, "floors": f}, fits)
        if (c < 0).any() or (f < 0).any():
            raise GeometryError("mixture: variances and floors must not be negative")
        if np.abs(np.swapaxes(u, 1, 2) @ u - np.eye(u.shape[2])).max(initial=0.0) > 1e-8:
            raise GeometryError("mixture: the axes of each component must be orthonormal")
        mixture = cls.__new__(cls)
        mixture._hold(w, m, u, c, f)
        return mixture

    def _hold(self, w: np.ndarray, m: np.ndarray, axes: np.ndarray, variances: np.ndarray, floors: np.ndarray) -> None:
        self.weights = torch.from_numpy(w / w.sum())
        self.means = torch.from_numpy(m.copy())
        self.variances = torch.from_numpy(variances.copy())
        self.floors = torch.from_numpy(floors.copy())
        # (D, K·rank): one matrix product takes y to the axes of all C_k, and one with its transpose takes it back
        self._axes = torch.from_numpy(axes.transpose(1, 0, 2).reshape(m.shape[1], -1).copy())
        self._centre = self.weights @ self.means
        # of m_k − centre: along the axes of C_k (K, rank), and the part normal to them (K, D)
        shifted = self.means - self._centre
        self._offset = torch.einsum("kd,kdr->kr", shifted, self.axes)
        self._normal = shifted - torch.einsum("kdr,kr->kd", self.axes, self._offset)
        self._normal_square = (self._normal**2).sum(-1)
        self._full = self.rank == self.dimension and not floors.any()  # then terms of the floor and the normal vanish

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

    @property
    def rank(self) -> int:
        """Number of axes of each covariance; the dimension if they are full."""
        return int(self.variances.shape[1])

    @property
    def axes(self) -> Tensor:
        """Orthonormal axes, shape (components, dimension, rank)."""
        return self._axes.reshape(self.dimension, self.components, self.rank).transpose(0, 1)

    @property
    def covariances(self) -> Tensor:
        """C_k, shape (components, dimension, dimension); formed here, and nowhere else."""
        along = (self.axes * (self.variances - self.floors[:, None])[:, None]) @ self.axes.mT
        return along + self.floors[:, None, None] * torch.eye(self.dimension, dtype=torch.float64)

    def _project(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ỹ = y − centre (B, D), U_kᵀỹ and U_kᵀ(y − m_k) (B, K, rank)."""
        y = y.reshape(-1, self.dimension) - self._centre
        along = (y @ self._axes).reshape(len(y), self.components, self.rank)
        return y, along, along - self._offset

    def _blurred(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """Variances (B, K, rank) and floors (B, K) of C_k + s²."""
        spread = torch.exp(-log_snr.reshape(-1, 1))
        return self.variances + spread[..., None], self.floors + spread

    def _log_weight(self, y: Tensor, along: Tensor, u: Tensor, variances: Tensor, floors: Tensor) -> Tensor:
        """log w_k N(y; m_k, ·) + (D/2) log 2π of a projected y, for such variances and floors; shape (B, K)."""
        exponent = (u**2 / variances + variances.log()).sum(-1)
        if self.rank < self.dimension:
            normal = (y**2).sum(-1, keepdim=True) - (along**2).sum(-1) - 2 * y @ self._normal.T + self._normal_square
            exponent = exponent + normal / floors + (self.dimension - self.rank) * floors.log()
        return self.weights.log() - 0.5 * exponent

    def moments(self, y: Tensor, log_snr: Tensor) -> Moments:
        """Mean and variance of p(x|z); see :class:`Denoiser`.

        About the centre the mean of component k is (1 − b) t + b ỹ, with b = f/(f + s²) and
        t = m_k + U_k [(c − f)/(c + s²)] U_kᵀ(y − m_k).
        """
        shape, spread = log_snr.shape, torch.exp(-log_snr.reshape(-1, 1))
        y, along, u = self._project(y)
        variances, floors = self._blurred(log_snr)
        r = torch.softmax(self._log_weight(y, along, u, variances, floors), dim=-1)
        gain = (self.variances - self.floors[:, None]) / variances
        t = torch.addcmul(self._offset, gain, u)  # along the axes
        b = self.floors / floors
        own = r * (1 - b)
        mean = (own[..., None] * t).flatten(1) @ self._axes.T
        within = (1 - b) * spread * gain.sum(-1)
        square = (1 - b) ** 2 * torch.linalg.vecdot(t, t)
        if not self._full:
            mean = mean + own @ self._normal + (r * b).sum(-1, keepdim=True) * y
            within = within + b * spread * self.dimension
            t_y = y @ self._normal.T + (t * along).sum(-1)
            square = square + (1 - b) ** 2 * self._normal_square + 2 * b * (1 - b) * t_y
            square = square + b**2 * (y**2).sum(-1, keepdim=True)
        variance = (r * (within + square)).sum(-1) - (mean**2).sum(-1)
        return Moments((mean + self._centre).reshape(*shape, self.dimension), variance.reshape(shape))

    def log_normalizer(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """log ∫ q(x) exp(−SNR/2 |x − y|²) dx; see :class:`Denoiser`."""
        log_weight = self._log_weight(*self._project(y), *self._blurred(log_snr))
        return torch.logsumexp(log_weight, dim=-1).reshape(log_snr.shape) - 0.5 * self.dimension * log_snr

    def component_log_densities(self, x: Tensor) -> Tensor:
        """log w_k N(x; m_k, C_k), shape (..., components); the covariances must not be singular."""
        log_weight = self._log_weight(*self._project(x), self.variances, self.floors)
        return log_weight.reshape(*x.shape[:-1], -1) - 0.5 * self.dimension * math.log(2 * math.pi)

    def log_density(self, x: Tensor) -> Tensor:
        """log q(x), shape (...); the covariances must not be singular."""
        return torch.logsumexp(self.component_log_densities(x), dim=-1)

    def save(self, path: Path, description: dict[str, object]) -> None:
        """Write weights, means and factors of the covariances as safetensors, with a JSON description inside."""
        write(path, "gaussian_mixture", {name: getattr(self, name) for name in FACTORS}, description)

    @classmethod
    def load(cls, path: Path) -> tuple[GaussianMixtureDenoiser, dict[str, Any]]:
        """Denoiser and description written by :meth:`save`; files with whole covariances, as older ones, are read too.

        Raises
        ------
        GeometryError
            If the file is missing, damaged or of another kind.
        """
        _, tensors, description = read(path, "gaussian_mixture")
        build = cls if "covariances" in tensors else cls.from_factors
        try:
            return build(**tensors), description
        except (TypeError, ValueError, RuntimeError) as error:  # a GeometryError is a ValueError
            raise GeometryError(f"{path} is not a readable denoiser ({error})") from error

    @classmethod
    def wiener(cls, samples: ArrayLike, weights: ArrayLike | None = None) -> GaussianMixtureDenoiser:
        """The best linear denoiser of (weighted) samples: that of one Gaussian with their mean and covariance."""
        x = np.asarray(samples, dtype=np.float64)
        w = np.full(len(x), 1 / len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
        w = w / w.sum()
        mean = w @ x
        return cls([1.0], mean[None], (((x - mean) * w[:, None]).T @ (x - mean))[None])


def average_mixtures(mixtures: Sequence[GaussianMixtureDenoiser]) -> GaussianMixtureDenoiser:
    """The mixture whose density is the mean of the given ones': fits from different starts err in different places.

    Those of lower rank get more axes, along which their variance is their floor.
    """
    rank = max(mixture.rank for mixture in mixtures)
    factors = zip(*(_factors_at_rank(mixture, rank) for mixture in mixtures), strict=True)
    return GaussianMixtureDenoiser.from_factors(*(torch.cat(parts) for parts in factors))


def _factors_at_rank(mixture: GaussianMixtureDenoiser, rank: int) -> tuple[Tensor, ...]:
    axes, variances = mixture.axes, mixture.variances
    if mixture.rank < rank:
        normal = torch.linalg.qr(axes, mode="complete").Q[..., mixture.rank : rank]
        axes = torch.cat([axes, normal], dim=-1)
        variances = torch.cat([variances, mixture.floors[:, None].expand(-1, rank - mixture.rank)], dim=-1)
    return mixture.weights, mixture.means, axes, variances, mixture.floors


def _check(arrays: dict[str, np.ndarray], shapes_fit: bool) -> None:
    weights, means = arrays["weights"], arrays["means"]
    if not shapes_fit or means.ndim != 2 or 0 in means.shape or weights.shape != means.shape[:1]:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise GeometryError(f"mixture: {shapes} do not fit")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise GeometryError(f"mixture: {name} are not all finite")
    if (weights <= 0).any():
        raise GeometryError("mixture: every weight must be positive")
