"""Free energies of several ensembles, and weights of all their samples in one, by MBAR and by Bennett's ratio.

Ensemble k has the density exp(−u_k(x))/Z_k; from samples of all of them MBAR (Shirts & Chodera, J. Chem. Phys. 129,
124105 (2008)) gives the f_k = −log Z_k, and weights of every sample in any other ensemble. pymbar does the work.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from spacetime_tps.arrays import FloatArray
from spacetime_tps.errors import StatisticsError

_SOLVER = ({"method": "adaptive", "options": {"maxiter": 500}},)


def quiet_pymbar() -> Any:
    """The package pymbar, without its warnings that it will not use JAX, and of too short series."""
    for name in ("pymbar", "pymbar.mbar_solvers", "pymbar.timeseries"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import pymbar

    return pymbar


@dataclass(frozen=True)
class Sampled:
    """Uncorrelated frames of several ensembles, with their reduced energies in each.

    Attributes
    ----------
    bias : array, shape (ensembles, frames)
        u_k less the reduced energy in the ensemble q that the weights are wanted in, in kT.
    ensemble, replica : array of int, shape (frames,)
        The ensemble that each frame was drawn from, and the independent replica of all sampling that it is part of;
        frames are sorted by ensemble.
    """

    bias: FloatArray
    ensemble: NDArray[np.integer]
    replica: NDArray[np.integer]

    @property
    def counts(self) -> NDArray[np.intp]:
        """Numbers (ensembles,) of frames."""
        return np.bincount(self.ensemble, minlength=len(self.bias))

    def part(self, ensembles: Sequence[int]) -> Sampled:
        """Some of the ensembles, with their own frames alone."""
        keep = np.isin(self.ensemble, ensembles)
        place = np.searchsorted(ensembles, self.ensemble[keep])
        return Sampled(self.bias[list(ensembles)][:, keep], place, self.replica[keep])


@dataclass(frozen=True)
class FreeEnergies:
    """The answer of MBAR.

    Attributes
    ----------
    values : array, shape (ensembles,)
        f in kT, relative to the first.
    errors : array, shape (ensembles,)
        Asymptotic standard errors of these differences.
    overlap : array, shape (ensembles, ensembles)
        MBAR's overlap matrix: its rows sum to one.
    log_weights : array, shape (frames,)
        Log weights of the frames in q; the weights sum to one.
    """

    values: FloatArray
    errors: FloatArray
    overlap: FloatArray
    log_weights: FloatArray


def mbar(sampled: Sampled) -> FreeEnergies:
    """Free energies of a series of ensembles, in which neighbours overlap, from frames of them all."""
    bias, counts = sampled.bias, sampled.counts
    with np.errstate(invalid="ignore"):  # neighbours without any overlap; the caller looks at the matrix
        solved = quiet_pymbar().MBAR(bias, counts, initialize="BAR", solver_protocol=_SOLVER)
    values = solved.f_k - solved.f_k[0]
    return FreeEnergies(
        values,
        solved.compute_free_energy_differences()["dDelta_f"][0],
        solved.compute_overlap()["matrix"],
        _log_weights(values, bias, counts),
    )


def mbar_weights(bias: FloatArray, counts: NDArray[np.integer]) -> FloatArray:
    """Weights (frames,) of frames of several ensembles in the ensemble q of no bias; they sum to one.

    Parameters
    ----------
    bias : array, shape (ensembles, frames)
        u_k less the reduced energy in q, in kT; frames are sorted by the ensemble that they were drawn from.
    counts : array of int, shape (ensembles,)
        Numbers of frames.
    """
    values = quiet_pymbar().MBAR(bias, counts, solver_protocol=_SOLVER).f_k
    return np.asarray(np.exp(_log_weights(values, bias, counts)))


def ladder_weights(energies: Sequence[FloatArray], kt: Sequence[float], target: float) -> list[FloatArray]:
    """Weights of every frame of a ladder of temperatures at a target temperature.

    Parameters
    ----------
    energies : sequence of array, shape (frames,)
        Potential energies, one array for each temperature.
    kt : sequence of float
        Thermal energies of the ladder, in the unit of the energies.
    target : float
        Thermal energy of the target temperature.

    Returns
    -------
    list of array, shape (frames,)
        They sum to one over all frames.
    """
    u = np.concatenate(energies)
    bias = (1 / np.asarray(kt)[:, None] - 1 / target) * (u - u.min())
    counts = np.array([len(values) for values in energies])
    return np.split(mbar_weights(bias, counts), np.cumsum(counts)[:-1])


def resampled(sampled: Sampled, whole: FreeEnergies, times: NDArray[np.integer]) -> tuple[FloatArray, FloatArray]:
    """MBAR's free energies (ensembles,) and log weights (frames,) when frame n counts ``times[n]`` times.

    Newton's method from the answer for all frames: it solves Σ_n times_n p_kn = N_k with
    p_kn = N_k exp(f_k − u_kn)/Σ_j N_j exp(f_j − u_jn), a convex problem (Shirts & Chodera 2008, Appendix C); steps are
    limited to 2 kT.

    Raises
    ------
    StatisticsError
        If it does not converge.
    """
    log_terms = whole.values[:, None] - sampled.bias
    scale = log_terms.max(axis=0)
    terms = np.exp(log_terms - scale)
    counts = np.bincount(sampled.ensemble, weights=times, minlength=len(terms))
    change = np.zeros(len(terms))
    for _ in range(100):
        factors = counts * np.exp(change)
        mixed = factors @ terms
        shares = factors[:, None] * terms / mixed
        totals = shares @ times
        curvature = np.diag(totals) - (shares * times) @ shares.T
        step = np.linalg.lstsq(curvature[1:, 1:], (counts - totals)[1:])[0]
        change[1:] += step.clip(-2.0, 2.0)
        if np.abs(step).max() < 1e-7:
            with np.errstate(divide="ignore"):
                weights = np.log(times) - scale - np.log(mixed)
            return whole.values + change, np.asarray(weights - logsumexp(weights))
    raise StatisticsError("MBAR does not converge on resampled replicas; sample more frames of each ensemble")


def resample_replicas(
    sampled: Sampled, whole: FreeEnergies, rng: np.random.Generator, draws: int
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """MBAR's free energies (ensembles,) and log weights (frames,) for replicas drawn with replacement.

    A replica is drawn with all its frames: what is slow within ensembles, and differs between replicas, shows in the
    spread. Draws that leave an ensemble without a frame are drawn again.

    Parameters
    ----------
    sampled : Sampled
    whole : FreeEnergies
        The answer for all frames.
    rng : numpy.random.Generator
    draws : int
        How many answers are given.

    Raises
    ------
    StatisticsError
        If MBAR does not converge.
    """
    replicas, place = np.unique(sampled.replica, return_inverse=True)
    given = 0
    while given < draws:
        times = np.bincount(rng.choice(len(replicas), len(replicas)), minlength=len(replicas))[place]
        if np.bincount(sampled.ensemble, weights=times, minlength=len(sampled.bias)).all():
            yield resampled(sampled, whole, times)
            given += 1


def bar(forward: FloatArray, backward: FloatArray) -> tuple[float, float]:
    """ΔF in kT and its asymptotic error, from work in kT done on the way there (n,) and on the way back (m,).

    Bennett's acceptance ratio for work (Shirts et al., Phys. Rev. Lett. 91, 140601 (2003)), which rests on Crooks'
    theorem: each way must start from equilibrium.

    Raises
    ------
    StatisticsError
        If there are fewer than two values each way.
    """
    if min(len(forward), len(backward)) < 2:
        raise StatisticsError(
            f"work is known of {len(forward)} paths there and {len(backward)} back, and two are needed each way; take "
            "more paths"
        )
    estimate: dict[str, Any] = quiet_pymbar().bar(forward, backward)
    return float(estimate["Delta_f"]), float(estimate["dDelta_f"])


def _log_weights(values: FloatArray, bias: FloatArray, counts: NDArray[np.integer]) -> FloatArray:
    """Log weights (frames,) in the ensemble of no bias, normalised (Shirts & Chodera 2008, eq. 13)."""
    log_weights = -logsumexp(values[:, None] - bias, b=counts[:, None], axis=0)
    return np.asarray(log_weights - logsumexp(log_weights))
