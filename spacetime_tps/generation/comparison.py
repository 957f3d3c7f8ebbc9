"""Two ensembles side by side: divergences of torsions, bonds, angles and energies, each with the data's own floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mdtraj
import numpy as np
from scipy.stats import wasserstein_distance

from spacetime_tps.arrays import FloatArray
from spacetime_tps.errors import TrajectoryError
from spacetime_tps.statistics.blocks import random_halves
from spacetime_tps.statistics.correlation import kish_size

Distance = Callable[[FloatArray, FloatArray, FloatArray, FloatArray], FloatArray]
"""Distances (k,) between values (n, d) with weights (n,) and values (m, d) with weights (m,)."""


@dataclass(frozen=True)
class Comparison:
    """Distances of generated samples from data, and of data from data.

    Each is the mean over several ways to divide the data by blocks of time in two halves. ``distance`` is that of
    generated samples from the one half, in the number that the other half counts for; ``floor`` that of the other half
    itself. A model that has learnt from all the data may come below this floor.

    Attributes
    ----------
    distance, floor : array, shape (k,)
    distance_spread, floor_spread : array, shape (k,)
        Standard deviation over the divisions.
    """

    distance: FloatArray
    floor: FloatArray
    distance_spread: FloatArray
    floor_spread: FloatArray


def compare(
    distance: Distance,
    generated: FloatArray,
    data: FloatArray,
    weights: FloatArray,
    source: np.ndarray,
    rng: np.random.Generator,
    divisions: int = 10,
) -> Comparison:
    """Distances of generated samples from data beside those between halves of the data.

    Parameters
    ----------
    distance : callable
        Such as :func:`torsion_divergence` or :func:`scaled_wasserstein`.
    generated : array, shape (n, d)
        Of equal weight.
    data : array, shape (m, d)
    weights : array, shape (m,)
    source : array of int, shape (m,)
        The trajectory that each frame is from; frames of one are in the order of time.
    rng : numpy.random.Generator
    divisions : int
        Ways to divide the data.

    Raises
    ------
    TrajectoryError
        If fewer samples were generated than half the data counts for.
    """
    far, near = [], []
    for half in random_halves(source, divisions, rng):
        here, there = (data[half], weights[half]), (data[~half], weights[~half])
        count = round(kish_size(there[1]))
        if len(generated) < count:
            raise TrajectoryError(
                f"{len(generated)} generated samples cannot be compared with data of which half counts for {count}; "
                "generate at least as many"
            )
        chosen = rng.choice(len(generated), size=count, replace=False)
        far.append(distance(generated[chosen], np.ones(count), *here))
        near.append(distance(*there, *here))
    return Comparison(np.mean(far, 0), np.mean(near, 0), np.std(far, 0, ddof=1), np.std(near, 0, ddof=1))


def reweight(log_density: FloatArray, reduced_energy: FloatArray) -> FloatArray:
    """Importance weights of samples for the Boltzmann density exp(−U/kT); they sum to one.

    Parameters
    ----------
    log_density : array, shape (n,)
        Of the density that the samples were drawn from, up to a constant, over the same coordinates as U.
    reduced_energy : array, shape (n,)
        U/kT.

    Raises
    ------
    TrajectoryError
        If a log-density is not finite, or no sample has a finite energy.
    """
    log_weight = -reduced_energy - log_density
    if not np.isfinite(log_density).all() or not np.isfinite(log_weight).any():
        raise TrajectoryError("reweighting needs finite log-densities and at least one sample of finite energy")
    weight = np.exp(log_weight - np.nanmax(log_weight))
    weight = np.where(np.isnan(weight), 0.0, weight)
    return np.asarray(weight / weight.sum())


def torsion_histogram(angles: FloatArray, weights: FloatArray, bins: int) -> FloatArray:
    """Probabilities (bins, …, bins) of d angles (n, d) in rad; bins cover a whole turn each."""
    index = np.floor((angles + np.pi) / (2 * np.pi) * bins).astype(int) % bins
    flat = np.ravel_multi_index(tuple(index.T), (bins,) * angles.shape[1])
    counts = np.bincount(flat, weights=weights, minlength=bins ** angles.shape[1])
    return np.asarray(counts.reshape((bins,) * angles.shape[1]) / weights.sum())


def jensen_shannon(p: FloatArray, q: FloatArray) -> float:
    """Jensen–Shannon divergence of two discrete distributions, in nats: 0 to log 2 (Lin, IEEE 37, 145 (1991))."""
    middle = 0.5 * (p + q)
    return float(0.5 * sum((r[r > 0] * np.log(r[r > 0] / middle[r > 0])).sum() for r in (p, q)))


def torsion_divergence(bins: int) -> Distance:
    """The Jensen–Shannon divergence (1,), in nats, of joint histograms of angles (n, d) in rad.

    Finite samples alone give about (1/n + 1/m)/8 for each bin that is not empty: few bins tell models apart, many only
    show how few the samples are.
    """

    def distance(a: FloatArray, weights_a: FloatArray, b: FloatArray, weights_b: FloatArray) -> FloatArray:
        return np.array([jensen_shannon(torsion_histogram(a, weights_a, bins), torsion_histogram(b, weights_b, bins))])

    return distance


def scaled_wasserstein(a: FloatArray, weights_a: FloatArray, b: FloatArray, weights_b: FloatArray) -> FloatArray:
    """Wasserstein distances (d,) of the values in each column, in units of b's standard deviation there."""
    mean = np.average(b, axis=0, weights=weights_b)
    sd = np.sqrt(np.average((b - mean) ** 2, axis=0, weights=weights_b))
    return np.array([wasserstein_distance(x, y, weights_a, weights_b) for x, y in zip(a.T, b.T, strict=True)]) / sd


def bonds(topology: mdtraj.Topology, atoms: Sequence[int]) -> np.ndarray:
    """Pairs (bonds, 2) of bonded atoms, both among ``atoms``, as places in it."""
    place = {atom: index for index, atom in enumerate(atoms)}
    pairs = [(place[a.index], place[b.index]) for a, b in topology.bonds if a.index in place and b.index in place]
    return np.array(pairs, dtype=int).reshape(-1, 2)


def angles(pairs: np.ndarray) -> np.ndarray:
    """Triples (angles, 3) of atoms of which the middle one is bonded to both others."""
    partners: dict[int, list[int]] = {}
    for a, b in pairs.tolist():
        partners.setdefault(a, []).append(b)
        partners.setdefault(b, []).append(a)
    triples = [
        (one, middle, two)
        for middle, around in partners.items()
        for index, one in enumerate(around)
        for two in around[index + 1 :]
    ]
    return np.array(triples, dtype=int).reshape(-1, 3)


def bond_lengths(positions: FloatArray, pairs: np.ndarray) -> FloatArray:
    """Lengths (frames, bonds) in nm in positions (frames, n, 3)."""
    return np.asarray(mdtraj.compute_distances(mdtraj.Trajectory(positions, None), pairs, periodic=False), dtype=float)


def bond_angles(positions: FloatArray, triples: np.ndarray) -> FloatArray:
    """Angles (frames, angles) in rad in positions (frames, n, 3)."""
    return np.asarray(mdtraj.compute_angles(mdtraj.Trajectory(positions, None), triples, periodic=False), dtype=float)
