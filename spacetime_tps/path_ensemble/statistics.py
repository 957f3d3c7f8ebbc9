"""What a sampled ensemble of paths is worth, and whether it is the ensemble that plain dynamics shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstwobign

from spacetime_tps.coordinates.states import FloatArray


@dataclass(frozen=True)
class Comparison:
    """Kolmogorov-Smirnov test of one quantity in two ensembles of correlated samples.

    Attributes
    ----------
    statistic : float
        Largest difference of the cumulative distributions.
    p_value : float
        Of a difference at least as large, if the distributions are the same.
    effective_sizes : tuple of float
        Numbers of independent samples that are worth the correlated ones.
    means : tuple of float
    """

    statistic: float
    p_value: float
    effective_sizes: tuple[float, float]
    means: tuple[float, float]


def statistical_inefficiency(chains: Sequence[FloatArray]) -> float:
    """Number of successive samples that are worth an independent one, g = 1 + 2 Σ ρ(t), at least 1.

    The autocorrelation ρ is about the mean of all chains, so that chains that stay apart tell; it is summed over pairs
    of lags as long as they are positive (Geyer, Stat. Sci. 7, 473 (1992)).

    Parameters
    ----------
    chains : sequence of array
        One quantity along each chain, in order.

    Returns
    -------
    float
        The number of all samples if they are all the same.
    """
    every = np.concatenate(chains)
    mean, variance = every.mean(), every.var()
    if variance <= 1e-24 * mean**2:
        return float(len(every))
    longest = max(len(chain) for chain in chains)
    size = 2 ** int(np.ceil(np.log2(2 * longest)))
    sums, counts = np.zeros(longest), np.zeros(longest)
    for chain in chains:
        spectrum = np.fft.rfft(chain - mean, size)
        sums[: len(chain)] += np.fft.irfft(np.abs(spectrum) ** 2, size)[: len(chain)]
        counts[: len(chain)] += np.arange(len(chain), 0, -1)
    correlation = sums / counts / variance
    pairs = correlation[: longest // 2 * 2].reshape(-1, 2).sum(axis=1)
    positive = len(pairs) if (pairs > 0).all() else int(np.argmin(pairs > 0))
    return float(min(len(every), max(1.0, 2 * pairs[:positive].sum() - 1)))


def effective_size(chains: Sequence[FloatArray]) -> float:
    """Independent samples that are worth the chains' for the distribution of a quantity.

    That is made of the quantity's being above one value or another: the least for its quartiles.
    """
    quartiles = np.quantile(np.concatenate(chains), (0.25, 0.5, 0.75))
    above = ([(chain > level).astype(float) for chain in chains] for level in quartiles)
    return sum(map(len, chains)) / max(map(statistical_inefficiency, above))


def compare(one: Sequence[FloatArray], other: Sequence[FloatArray]) -> Comparison:
    """Two-sample Kolmogorov-Smirnov test with effective sizes; for correlated samples p is rather too large.

    Parameters
    ----------
    one, other : sequence of array
        A quantity along the chains of either ensemble.
    """
    samples = [np.sort(np.concatenate(chains)) for chains in (one, other)]
    sizes = (effective_size(one), effective_size(other))
    at = np.concatenate(samples)
    first, second = (np.searchsorted(sample, at, side="right") / len(sample) for sample in samples)
    statistic = float(np.abs(first - second).max())
    return Comparison(
        statistic, _survival(statistic, sizes[0] * sizes[1] / sum(sizes)), sizes, (samples[0].mean(), samples[1].mean())
    )


def _survival(statistic: float, size: float) -> float:
    """Asymptotic p-value with the small-sample correction of Stephens, J. R. Stat. Soc. B 32, 115 (1970)."""
    root = np.sqrt(size)
    return float(kstwobign.sf((root + 0.12 + 0.11 / root) * statistic))


def reactive_segments(indices: NDArray[np.intp]) -> list[tuple[int, int, bool]]:
    """Reactive trajectories within a long one.

    Parameters
    ----------
    indices : array, shape (frames,)
        State of each frame: 0 for A, 1 for B, -1 for neither.

    Returns
    -------
    list of tuple
        First frame (the last in its state), last frame (the first in the other) and whether it goes from B to A.
    """
    inside = np.flatnonzero(indices >= 0)
    change = np.flatnonzero(np.diff(indices[inside]) != 0)
    return [(int(inside[i]), int(inside[i + 1]), bool(indices[inside[i]] == 1)) for i in change]


def crossing(values: FloatArray, level: float) -> int:
    """First frame at which a quantity (frames,) is at or above a level; the last if it never is."""
    above = np.flatnonzero(values >= level)
    return int(above[0]) if len(above) else len(values) - 1
