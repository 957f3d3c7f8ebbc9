"""The protocol between denoisers and the geometry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Mean and total variance of denoising distributions.

    Attributes
    ----------
    mean : tensor, shape (..., dimension)
        x̂ = E[x|z].
    variance : tensor, shape (...)
        tr Cov[x|z]; E[|x|²|z] is ``|mean|² + variance``.
    """

    mean: Tensor
    variance: Tensor

    def __getitem__(self, index: int | slice | Tensor) -> Moments:
        """Those at some of the points."""
        return Moments(self.mean[index], self.variance[index])


class Denoiser(Protocol):
    """Knows the denoising distributions p(x|z) ∝ q(x) exp(−SNR/2 |x − y|²) of points z = (y, log SNR).

    Methods work on batches, are differentiable in both arguments and compute in float64.
    """

    @property
    def dimension(self) -> int:
        """Number of coordinates of x."""
        ...

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """Lowest and highest log SNR at which it can be asked; outside its answers are wrong."""
        ...

    def moments(self, y: Tensor, log_snr: Tensor) -> Moments:
        """Mean and variance at points ``y`` of shape (..., dimension) and ``log_snr`` of shape (...)."""
        ...

    def log_normalizer(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """log ∫ q(x) exp(−SNR/2 |x − y|²) dx, shape (...).

        The log-partition of the exponential family is this plus SNR |y|²/2.

        Raises
        ------
        GeometryError
            If this denoiser does not know it.
        """
        ...


@runtime_checkable
class MixtureDenoiser(Denoiser, Protocol):
    """A denoiser that knows the density of latent vectors too."""

    @property
    def components(self) -> int:
        """Number of components."""
        ...

    def log_density(self, x: Tensor) -> Tensor:
        """log q(x), shape (...)."""
        ...

    def save(self, path: Path, description: dict[str, object]) -> None:
        """Write it with a description of what it was made from."""
        ...


@runtime_checkable
class RefinedDenoiser(Denoiser, Protocol):
    """One that corrects a coarse denoiser, which is known to be the gradient of a convex function."""

    @property
    def base(self) -> Denoiser:
        """The coarse one."""
        ...
