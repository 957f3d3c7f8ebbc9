"""The mixture that suits the coordinates: Gaussian for positions, von Mises for dihedrals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spacetime_tps.coordinates.states import FloatArray
from spacetime_tps.denoisers import Denoiser, GaussianMixtureDenoiser, VonMisesMixtureDenoiser
from spacetime_tps.denoisers.mixture import FACTORS, average_mixtures
from spacetime_tps.denoisers.mixture_fit import fit_mixture
from spacetime_tps.denoisers.torus import average_von_mises_mixtures, fit_von_mises_mixture
from spacetime_tps.pipeline.samples import TrainingSet
from spacetime_tps.progress import log, track
from spacetime_tps.runs.context import RunContext
from spacetime_tps.settings.denoiser import MixtureSettings
from spacetime_tps.statistics.blocks import held_out_blocks


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


@dataclass(frozen=True)
class MadeDenoiser:
    """A denoiser fresh from its fit or training.

    Attributes
    ----------
    denoiser : Denoiser
    compared : dict of str to Denoiser
        Denoisers that have not seen the held-out samples, by name.
    held_out : array of bool, shape (samples,)
    results : dict
        Figures for the summary; JSON.
    """

    denoiser: Denoiser
    compared: dict[str, Denoiser]
    held_out: NDArray[np.bool_]
    results: dict[str, Any]


def make_mixture(
    run: RunContext, settings: MixtureSettings, training: TrainingSet, seed: np.random.SeedSequence
) -> MadeDenoiser:
    """Fit mixtures of several sizes; the held-out likelihood chooses the size, which is then fitted to all samples."""
    x, weights = run.coordinates.encode(training.positions), training.weights
    held_out = held_out_blocks(training.source, settings.held_out)
    kept = ~held_out
    fitted = fit_mixtures(run, settings, x[kept], weights[kept], settings.components, seed)
    candidates = dict(zip(settings.components, fitted, strict=True))
    likelihoods: dict[int, float] = {}
    test = torch.from_numpy(x[held_out])
    for components in settings.components:
        density = candidates[components].log_density(test).numpy()
        likelihood = np.average(density, weights=weights[held_out])
        likelihoods[components] = float(likelihood)
        log.info("%d × %d components: held-out log-likelihood %.3f per sample", settings.fits, components, likelihood)
    best = max(likelihoods, key=lambda components: likelihoods[components])
    single = MIXTURES[run.settings.coordinates.kind].single(x[kept], weights[kept])
    (denoiser,) = fit_mixtures(run, settings, x, weights, [best], seed)
    return MadeDenoiser(
        denoiser,
        {"mixture": candidates[best], "single_component": single},
        held_out,
        {
            "components": denoiser.components,
            "held_out_log_likelihood": {str(k): v for k, v in likelihoods.items()},
        },
    )


def fit_mixtures(
    run: RunContext,
    settings: MixtureSettings,
    x: FloatArray,
    weights: FloatArray,
    sizes: Sequence[int],
    seed: np.random.SeedSequence,
) -> list[MixtureDenoiser]:
    """For each number of components the average of fits from different starts."""
    kind = MIXTURES[run.settings.coordinates.kind]
    starts = (seed.generate_state(settings.fits) % 2**31).tolist()
    tasks = [FitTask(x, weights, components, settings, start) for components in sizes for start in starts]
    fits = [kind.build(*arrays) for arrays in track(run.pool.map(kind.fit, tasks), "mixture", len(tasks))]
    return [kind.average(fits[i : i + len(starts)]) for i in range(0, len(fits), len(starts))]
