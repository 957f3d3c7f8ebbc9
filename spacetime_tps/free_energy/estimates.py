"""Free energies from windows, from annealing there and back, and from replica exchange.

A series of ensembles q(x) exp(−b_k(x)) leads from state A to state B: for the first and the last b is 0 in the state's
boxes and ∞ outside, for those between it is a restraint. MBAR (Shirts & Chodera, J. Chem. Phys. 129, 124105 (2008))
gives the free energies of all of them, and weights of all frames in the Boltzmann ensemble q.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import i0e, logsumexp

from spacetime_tps.coordinates import CartesianCoordinates, Coordinates
from spacetime_tps.coordinates.states import FloatArray
from spacetime_tps.errors import DynamicsError

OUTSIDE = 1e5
"""Reduced energy of what is outside a state: its Boltzmann factor is zero in floating point."""
LEAST_OVERLAP = 1e-3
"""Of neighbouring ensembles in MBAR's overlap matrix: below, the free energy between them is not known."""

_SOLVER = ({"method": "adaptive", "options": {"maxiter": 500}},)
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


@dataclass(frozen=True)
class Sampled:
    """Uncorrelated frames of all ensembles, with their reduced energies in each.

    Attributes
    ----------
    bias : array, shape (ensembles, frames)
        In kT.
    ensemble, chain : array of int, shape (frames,)
        Which ensemble each frame was drawn from, and by which chain; frames are sorted by ensemble.
    """

    bias: FloatArray
    ensemble: np.ndarray
    chain: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Frames of each ensemble."""
        return np.bincount(self.ensemble, minlength=len(self.bias))

    def part(self, ensembles: Sequence[int]) -> Sampled:
        """Some of the ensembles alone, by themselves."""
        keep = np.isin(self.ensemble, ensembles)
        place = np.searchsorted(ensembles, self.ensemble[keep])
        return Sampled(self.bias[list(ensembles)][:, keep], place, self.chain[keep])


@dataclass(frozen=True)
class FreeEnergies:
    """MBAR's answer.

    Attributes
    ----------
    values : array, shape (ensembles,)
        In kT, relative to the first.
    errors : array, shape (ensembles,)
        Asymptotic standard errors of these differences.
    overlap : array, shape (ensembles, ensembles)
        MBAR's overlap matrix: its rows sum to one.
    log_weights : array, shape (frames,)
        Of the frames in q, normalised.
    """

    values: FloatArray
    errors: FloatArray
    overlap: FloatArray
    log_weights: FloatArray


def pymbar() -> Any:
    """The package, without its warning that it will not use JAX."""
    for name in ("pymbar", "pymbar.mbar_solvers", "pymbar.timeseries"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import pymbar

    return pymbar


def uncorrelated(series: Sequence[FloatArray]) -> tuple[list[np.ndarray], float]:
    """Indices of frames that count as independent, for each of several chains of one ensemble, and the inefficiency.

    The statistical inefficiency g = 1 + 2 Σ C(t)/C(0) is that of all chains about their common mean (Chodera et al.,
    J. Chem. Theory Comput. 3, 26 (2007)), and each chain keeps every g-th frame.

    Parameters
    ----------
    series : sequence of array, shape (frames,)
        An observable; chains of no more than two frames are kept whole.
    """
    timeseries = pymbar().timeseries
    long = [values for values in series if len(values) > 2]
    spread = np.ptp(np.concatenate(long)) if long else 0.0
    inefficiency = float(timeseries.statistical_inefficiency_multiple(long)) if spread > 0 else 1.0
    return [np.unique(np.arange(0, len(values), inefficiency).astype(int)) for values in series], inefficiency


def mbar(sampled: Sampled) -> FreeEnergies:
    """Free energies of all ensembles from frames of them all."""
    bias, counts = sampled.bias, sampled.counts
    with np.errstate(invalid="ignore"):  # of neighbours that do not overlap at all; `check_overlap` refuses them
        solved = pymbar().MBAR(bias, counts, initialize="BAR", solver_protocol=_SOLVER)
    values = solved.f_k - solved.f_k[0]
    log_weights = -logsumexp(values[:, None] - bias, b=counts[:, None], axis=0)
    return FreeEnergies(
        values,
        solved.compute_free_energy_differences()["dDelta_f"][0],
        solved.compute_overlap()["matrix"],
        log_weights - logsumexp(log_weights),
    )


def profile(log_weights: FloatArray, cells: np.ndarray, count: int) -> FloatArray:
    """−log of the population in q of each of ``count`` cells that frames (frames,) lie in, in kT; the lowest is 0."""
    populations = np.bincount(cells, weights=np.exp(log_weights), minlength=count)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(populations.max()) - np.log(populations))


def resampled(sampled: Sampled, whole: FreeEnergies, times: np.ndarray) -> tuple[FloatArray, FloatArray]:
    """MBAR's free energies (ensembles,) and log weights (frames,) when frame n counts ``times[n]`` times.

    Newton's method from the answer for all frames: it solves Σ_n times_n p_kn = N_k with
    p_kn = N_k exp(f_k − u_kn)/Σ_j N_j exp(f_j − u_jn), a convex problem (Shirts & Chodera 2008, Appendix C); steps are
    limited to 2 kT.

    Raises
    ------
    DynamicsError
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
    raise DynamicsError("free energy: MBAR does not converge on resampled chains; take more --frames")


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
    """Standard deviations over resampled chains, in kT, of MBAR's free energies (ensembles,) and the profile (count,).

    A chain goes through all ensembles, so it is drawn with all its frames: what is slow within windows, and differs
    between chains, enters the error. Draws that leave an ensemble without a frame are drawn again.

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
    chains, place = np.unique(sampled.chain, return_inverse=True)
    ensembles = len(sampled.bias)
    results: list[FloatArray] = []
    profiles: list[FloatArray] = []
    while len(results) < draws:
        times = np.bincount(rng.choice(len(chains), len(chains)), minlength=len(chains))[place]
        if not np.bincount(sampled.ensemble, weights=times, minlength=ensembles).all():
            continue
        values, weights = resampled(sampled, whole, times)
        results.append(values)
        profiles.append(profile(weights, cells, count))
    known = np.where(np.isfinite(profiles), profiles, np.nan)
    seen = np.isfinite(known).sum(axis=0) > 1
    spread = np.full(count, np.nan)
    spread[seen] = np.nanstd(known[:, seen], axis=0, ddof=1)
    return np.asarray(np.std(results, axis=0, ddof=1)), spread


def bar(forward: FloatArray, backward: FloatArray) -> tuple[float, float]:
    """ΔF in kT and its asymptotic error, from work in kT done on the way there and on the way back.

    Bennett's acceptance ratio for work (Shirts et al., Phys. Rev. Lett. 91, 140601 (2003)), which rests on Crooks'
    theorem: each way must start from equilibrium.

    Raises
    ------
    DynamicsError
        If there are fewer than two values each way.
    """
    if min(len(forward), len(backward)) < 2:
        raise DynamicsError(
            f"free energy: work is known of {len(forward)} paths there and {len(backward)} back, and two are needed "
            "each way"
        )
    estimate: dict[str, Any] = pymbar().bar(forward, backward)
    return float(estimate["Delta_f"]), float(estimate["dDelta_f"])


def difference_of_states(in_a: FloatArray, in_b: FloatArray, weights: FloatArray) -> float:
    """−log(p_B/p_A) in kT; infinite if one of them is never seen.

    Parameters
    ----------
    in_a, in_b : array of bool, shape (frames,)
    weights : array, shape (frames,)
    """
    with np.errstate(divide="ignore"):
        return float(np.log(weights[in_a].sum()) - np.log(weights[in_b].sum()))
