"""Free energies from windows, from annealing there and back, and from replica exchange.

A series of ensembles q(x) exp(−b_k(x)) leads from state A to state B: for the first and the last b is 0 in the state's
boxes and ∞ outside, for those between it is a restraint. MBAR (Shirts & Chodera, J. Chem. Phys. 129, 124105 (2008))
gives the free energies of all of them, and weights of all frames in the Boltzmann ensemble q.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import i0e

from spacetime_tps.coordinates import CartesianCoordinates, Coordinates
from spacetime_tps.coordinates.states import FloatArray
from spacetime_tps.errors import DynamicsError
from spacetime_tps.statistics.mbar import FreeEnergies, Sampled, resample_replicas

OUTSIDE = 1e5
"""Reduced energy of what is outside a state: its Boltzmann factor is zero in floating point."""
LEAST_OVERLAP = 1e-3
"""Of neighbouring ensembles in MBAR's overlap matrix: below, the free energy between them is not known."""

_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(48)
_REACH = 25.0  # of the integrand's exponent, below its maximum: the integral's relative error is below 1e-6


def log_rotation_integral(matrices: FloatArray) -> FloatArray:
    """log of the mean of exp(tr(Rᵀ F)) over all rotations R, for matrices F (..., 3, 3).

    That is the normalizer of a matrix Fisher distribution, an integral in one dimension (Lee, IEEE Trans. Automat.
    Contr. 63, 3377 (2018)); it is done by Gauss-Legendre quadrature over where the integrand is not negligible.
    """
    values = np.linalg.svd(matrices, compute_uv=False)
    values[..., 2] *= np.sign(np.linalg.det(matrices))
    one, two, three = np.moveaxis(values, -1, 0)[..., None]
    reach = np.minimum(2.0, _REACH / np.maximum(two + three, 1e-12))
    distance = 0.5 * reach * (1 - _NODES)  # 1 − u
    integrand = (
        np.exp(-(two + three) * distance) * i0e(0.5 * (one - two) * distance) * i0e(0.5 * (one + two) * (2 - distance))
    )
    integral = 0.25 * reach[..., 0] * (integrand * _NODE_WEIGHTS).sum(axis=-1)
    return np.asarray((one + two + three)[..., 0] + np.log(integral))


def restraint_bias(x: FloatArray, centres: FloatArray, log_snr: FloatArray) -> FloatArray:
    """Reduced energies (windows, frames), in kT, of restraints on molecules that turn and move freely.

    b = −log ∫ dt dR exp(−SNR/2 |R x + t − y|²), exactly; 0 where SNR is.

    Parameters
    ----------
    x : array, shape (frames, atoms, 3)
        Restrained atoms, nm.
    centres : array, shape (windows, atoms, 3)
        y, nm.
    log_snr : array, shape (windows,)
        Of SNR in nm⁻².
    """
    x = x - x.mean(axis=1, keepdims=True)
    bias = np.zeros((len(centres), len(x)))
    size = (x**2).sum(axis=(1, 2))
    for row, (centre, snr) in enumerate(zip(centres, np.exp(log_snr), strict=True)):
        if snr > 0:
            y = centre - centre.mean(axis=0)
            rotations = log_rotation_integral(snr * np.einsum("fni,nj->fij", x, y))
            translations = 1.5 * np.log(2 * np.pi / (snr * len(y)))
            bias[row] = 0.5 * snr * (size + (y**2).sum()) - rotations - translations
    return bias


def restraint_energies(
    coordinates: Coordinates, positions: FloatArray, centres: FloatArray, log_snr: FloatArray
) -> FloatArray:
    """Reduced energies (windows, frames), in kT, of restraints on frames however these are turned.

    Parameters
    ----------
    coordinates : Coordinates
    positions : array, shape (frames, atoms, 3)
        nm.
    centres : array, shape (windows, atoms, 3) or (windows, dihedrals, 2)
        Of the restraints.
    log_snr : array, shape (windows,)
    """
    if isinstance(coordinates, CartesianCoordinates):
        return restraint_bias(positions[:, list(coordinates.atoms)], centres, log_snr)
    x, y = coordinates.encode(positions), centres.reshape(len(centres), -1)
    return np.array([0.5 * np.exp(at) * ((x - to) ** 2).sum(axis=1) for to, at in zip(y, log_snr, strict=True)])


def profile(log_weights: FloatArray, cells: np.ndarray, count: int) -> FloatArray:
    """−log of the population in q of each of ``count`` cells that frames (frames,) lie in, in kT; the lowest is 0."""
    populations = np.bincount(cells, weights=np.exp(log_weights), minlength=count)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(populations.max()) - np.log(populations))


def check_overlap(overlap: FloatArray, names: Sequence[str]) -> None:
    """Refuse a series that falls apart.

    Raises
    ------
    DynamicsError
        If two neighbours have less than :data:`LEAST_OVERLAP`; the message names them.
    """
    neighbours = np.diagonal(overlap, 1)
    worst = int(np.argmin(neighbours))
    if neighbours[worst] < LEAST_OVERLAP:
        raise DynamicsError(
            f"free energy: {names[worst]} and {names[worst + 1]} do not overlap ({neighbours[worst]:.1e} in MBAR's "
            f"matrix, at least {LEAST_OVERLAP:g} is needed; {int((neighbours < LEAST_OVERLAP).sum())} of "
            f"{len(neighbours)} pairs): take more --windows or more --frames"
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
