"""Mixtures: their kinds, Gaussian for positions and von Mises for dihedrals, and their fits, in workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray
from spacetime_tps.denoisers import Denoiser, GaussianMixtureDenoiser, VonMisesMixtureDenoiser
from spacetime_tps.denoisers.base import MixtureDenoiser
from spacetime_tps.denoisers.mixture import FACTORS, average_mixtures
from spacetime_tps.denoisers.mixture_fit import fit_mixture
from spacetime_tps.denoisers.torus import average_von_mises_mixtures, fit_von_mises_mixture
from spacetime_tps.progress import log, track
from spacetime_tps.records import Record
from spacetime_tps.settings.denoiser import MixtureSettings
from spacetime_tps.training.trainer import Samples, Training

Task = TypeVar("Task")
Result = TypeVar("Result")


class Pool(Protocol):
    """It runs functions of tasks, in other processes if it has them."""

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task], /) -> Iterable[Result]:
        """Results in the order of the tasks."""
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
        Denoiser whose density is the mean of those of several.
    single : callable
        Denoiser of one component, of samples and weights: what a mixture must beat.
    """

    fit: Callable[[FitTask], tuple[FloatArray, ...]]
    build: Callable[..., MixtureDenoiser]
    average: Callable[[Sequence[Any]], MixtureDenoiser]
    single: Callable[[FloatArray, FloatArray], MixtureDenoiser]


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


GAUSSIAN = MixtureKind(
    fit_gaussian, GaussianMixtureDenoiser.from_factors, average_mixtures, GaussianMixtureDenoiser.wiener
)
"""For vectors of positions."""

VON_MISES = MixtureKind(fit_von_mises, VonMisesMixtureDenoiser, average_von_mises_mixtures, _single_von_mises)
"""For cosines and sines of angles."""


@dataclass(frozen=True)
class FitResult(Record):
    """Of a fit or a training; of a denoiser that is taken as it is there is nothing.

    Attributes
    ----------
    components : int, optional
        Of a mixture, over all its fits.
    held_out_log_likelihood : dict of str to float, optional
        Of mixtures, by their number of components, per sample.
    training : Training, optional
        Of a network.
    """

    components: int | None = None
    held_out_log_likelihood: dict[str, float] | None = None
    training: Training | None = None


@dataclass(frozen=True)
class MadeDenoiser:
    """A denoiser fresh from its fit or training.

    Attributes
    ----------
    denoiser : Denoiser
    compared : dict of str to Denoiser
        Denoisers that have not seen the held-out samples, by name.
    held_out : array of bool, shape (samples,)
    results : FitResult
    """

    denoiser: Denoiser
    compared: dict[str, Denoiser]
    held_out: NDArray[np.bool_]
    results: FitResult


def make_mixture(
    samples: Samples, kind: MixtureKind, settings: MixtureSettings, seed: np.random.SeedSequence, pool: Pool
) -> MadeDenoiser:
    """Fit mixtures of several sizes; the held-out likelihood chooses the size, which is then fitted to all samples."""
    x, weights, held_out = samples.x.numpy(), samples.weights.numpy(), samples.held_out.numpy()
    kept = ~held_out
    fitted = fit_mixtures(kind, settings, x[kept], weights[kept], settings.components, seed, pool)
    candidates = dict(zip(settings.components, fitted, strict=True))
    likelihoods: dict[int, float] = {}
    for components in settings.components:
        density = candidates[components].log_density(samples.x[samples.held_out]).numpy()
        likelihood = np.average(density, weights=weights[held_out])
        likelihoods[components] = float(likelihood)
        log.info("%d × %d components: held-out log-likelihood %.3f per sample", settings.fits, components, likelihood)
    best = max(likelihoods, key=lambda components: likelihoods[components])
    single = kind.single(x[kept], weights[kept])
    (denoiser,) = fit_mixtures(kind, settings, x, weights, [best], seed, pool)
    return MadeDenoiser(
        denoiser,
        {"mixture": candidates[best], "single_component": single},
        held_out,
        FitResult(denoiser.components, {str(size): likelihood for size, likelihood in likelihoods.items()}),
    )


def fit_mixtures(
    kind: MixtureKind,
    settings: MixtureSettings,
    x: FloatArray,
    weights: FloatArray,
    sizes: Sequence[int],
    seed: np.random.SeedSequence,
    pool: Pool,
) -> list[MixtureDenoiser]:
    """For each number of components the average of fits from different starts.

    Parameters
    ----------
    kind : MixtureKind
    settings : MixtureSettings
    x : array, shape (samples, dimension)
    weights : array, shape (samples,)
    sizes : sequence of int
        Numbers of components.
    seed : SeedSequence
        The starts of the fits follow from it.
    pool : Pool
        It runs the fits.
    """
    starts = (seed.generate_state(settings.fits) % 2**31).tolist()
    tasks = [FitTask(x, weights, components, settings, start) for components in sizes for start in starts]
    fits = [kind.build(*arrays) for arrays in track(pool.map(kind.fit, tasks), "mixture", len(tasks))]
    return [kind.average(fits[i : i + len(starts)]) for i in range(0, len(fits), len(starts))]
