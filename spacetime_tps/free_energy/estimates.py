"""Free energies from windows, from annealing there and back, and from replica exchange.

A series of ensembles q(x) exp(−b_k(x)) leads from state A to state B: for the first and the last b is 0 in the state's
boxes and ∞ outside, for those between it is a restraint. MBAR (Shirts & Chodera, J. Chem. Phys. 129, 124105 (2008))
gives the free energies of all of them, and weights of all frames in the Boltzmann ensemble q.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spacetime_tps.arrays import FloatArray
from spacetime_tps.errors import DynamicsError
from spacetime_tps.statistics.mbar import FreeEnergies, Sampled, resample_replicas

OUTSIDE = 1e5
"""Reduced energy of what is outside a state: its Boltzmann factor is zero in floating point."""


def profile(log_weights: FloatArray, cells: np.ndarray, count: int) -> FloatArray:
    """−log of the population in q of each of ``count`` cells that frames (frames,) lie in, in kT; the lowest is 0."""
    populations = np.bincount(cells, weights=np.exp(log_weights), minlength=count)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(populations.max()) - np.log(populations))


def check_overlap(overlap: FloatArray, names: Sequence[str], least: float) -> None:
    """Refuse a series that falls apart.

    Raises
    ------
    DynamicsError
        If two neighbours overlap less than ``least`` in MBAR's matrix; the message names them.
    """
    neighbours = np.diagonal(overlap, 1)
    worst = int(np.argmin(neighbours))
    if neighbours[worst] < least:
        raise DynamicsError(
            f"free energy: {names[worst]} and {names[worst + 1]} do not overlap ({neighbours[worst]:.1e} in MBAR's "
            f"matrix, at least {least:g} is needed; {int((neighbours < least).sum())} of "
            f"{len(neighbours)} pairs): take more --windows or more --frames, with --overwrite"
        )


def bootstrap(
    sampled: Sampled,
    whole: FreeEnergies,
    cells: np.ndarray,
    count: int,
    rng: np.random.Generator,
    draws: int = 50,
) -> tuple[FloatArray, FloatArray]:
    """Standard deviations over resampled sweeps, in kT, of MBAR's free energies (ensembles,) and the profile (count,).

    Parameters
    ----------
    sampled : Sampled
    whole : FreeEnergies
        Those of all frames.
    cells : array of int, shape (frames,)
    count : int
        As of :func:`profile`.
    rng : numpy.random.Generator
    draws : int
    """
    answers = list(resample_replicas(sampled, whole, rng, draws))
    profiles = [profile(log_weights, cells, count) for _, log_weights in answers]
    known = np.where(np.isfinite(profiles), profiles, np.nan)
    seen = np.isfinite(known).sum(axis=0) > 1
    spread = np.full(count, np.nan)
    spread[seen] = np.nanstd(known[:, seen], axis=0, ddof=1)
    return np.asarray(np.std([values for values, _ in answers], axis=0, ddof=1)), spread


def difference_of_states(in_a: FloatArray, in_b: FloatArray, weights: FloatArray) -> float:
    """−log(p_B/p_A) in kT; infinite if one of them is never seen.

    Parameters
    ----------
    in_a, in_b : array of bool, shape (frames,)
    weights : array, shape (frames,)
    """
    with np.errstate(divide="ignore"):
        return float(np.log(weights[in_a].sum()) - np.log(weights[in_b].sum()))
