"""The mixture that suits the coordinates: Gaussian for positions, von Mises for dihedrals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from spacetime_tps.config import MixtureSettings
from spacetime_tps.denoisers import Denoiser, GaussianMixtureDenoiser, VonMisesMixtureDenoiser
from spacetime_tps.denoisers.mixture import FACTORS, average_mixtures
from spacetime_tps.denoisers.mixture_fit import fit_mixture
from spacetime_tps.denoisers.torus import average_von_mises_mixtures, fit_von_mises_mixture
from spacetime_tps.states import FloatArray


class MixtureDenoiser(Denoiser, Protocol):
    """A denoiser that knows its density too."""

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


@dataclass(frozen=True)
class FitTask:
    """A mixture to fit, in a worker."""

    samples: FloatArray
    weights: FloatArray
    components: int
    settings: MixtureSettings
    start: int


@dataclass(frozen=True)
class MixtureKind:
    """How mixtures of one kind are made.

    Attributes
    ----------
    fit : callable
        Runs a task in a worker; returns the arrays of ``build``.
    build : callable
        Denoiser of these arrays.
    average : callable
        Denoiser whose density is the mean of several ones'.
    single : callable
        Denoiser of one component, of samples and weights: what a mixture must beat.
    load : callable
        Denoiser and description of a file.
    """

    fit: Callable[[FitTask], tuple[FloatArray, ...]]
    build: Callable[..., MixtureDenoiser]
    average: Callable[[Sequence[Any]], MixtureDenoiser]
    single: Callable[[FloatArray, FloatArray], MixtureDenoiser]
    load: Callable[[Path], tuple[MixtureDenoiser, dict[str, object]]]


def fit_gaussian(task: FitTask) -> tuple[FloatArray, ...]:
    """Weights, means, axes, variances and floors of a fitted Gaussian mixture."""
    mixture, _ = fit_mixture(
        task.samples,
        task.components,
        covariance=task.settings.covariance,
        rank=task.settings.rank,
        weights=task.weights,
        shrinkage=task.settings.shrinkage,
        seed=task.start,
    )
    return tuple(getattr(mixture, name).numpy() for name in FACTORS)


def fit_von_mises(task: FitTask) -> tuple[FloatArray, ...]:
    """Weights, means and concentrations of a fitted von Mises mixture."""
    mixture, _ = fit_von_mises_mixture(
        task.samples, task.components, weights=task.weights, shrinkage=task.settings.shrinkage, seed=task.start
    )
    return mixture.weights.numpy(), mixture.means.numpy(), mixture.concentrations.numpy()


def _single_von_mises(samples: FloatArray, weights: FloatArray) -> VonMisesMixtureDenoiser:
    return fit_von_mises_mixture(samples, 1, weights=np.asarray(weights), shrinkage=0.0)[0]


MIXTURES = {
    "cartesian": MixtureKind(
        fit_gaussian,
        GaussianMixtureDenoiser.from_factors,
        average_mixtures,
        GaussianMixtureDenoiser.wiener,
        GaussianMixtureDenoiser.load,
    ),
    "torsions": MixtureKind(
        fit_von_mises,
        VonMisesMixtureDenoiser,
        average_von_mises_mixtures,
        _single_von_mises,
        VonMisesMixtureDenoiser.load,
    ),
}
"""By the kind of coordinates."""
