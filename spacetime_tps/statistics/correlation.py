"""How many independent samples are worth the correlated, or weighted, samples that there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray
from spacetime_tps.statistics.mbar import quiet_pymbar


def statistical_inefficiency(chains: Sequence[FloatArray]) -> float:
    """Number of successive samples that are worth an independent one, g = 1 + 2 Σ (1 − t/n) ρ(t), at least 1.

    By pymbar (Chodera et al., J. Chem. Theory Comput. 3, 26 (2007)): the autocorrelation ρ is about the common mean of
    all chains, so that chains that stay apart are worth one sample each; the sum ends where ρ falls below zero.

    Parameters
    ----------
    chains : sequence of array
        One quantity along each chain, in the order of time.

    Returns
    -------
    float
        The number of all samples if they are all the same: nothing is then known of how fast they change.
    """
    every = np.concatenate(chains)
    if _constant(every):
        return float(max(1, len(every)))
    return float(quiet_pymbar().timeseries.statistical_inefficiency_multiple(list(chains)))


def effective_size(chains: Sequence[FloatArray]) -> float:
    """Independent samples that are worth those of the chains for the distribution of a quantity.

    A distribution is made of the shares of samples above one value or another: this is the least number for the three
    quartiles.

    Parameters
    ----------
    chains : sequence of array
        As of :func:`statistical_inefficiency`.
    """
    quartiles = np.quantile(np.concatenate(chains), (0.25, 0.5, 0.75))
    above = ([(chain > level).astype(float) for chain in chains] for level in quartiles)
    return sum(map(len, chains)) / max(map(statistical_inefficiency, above))


def uncorrelated(chains: Sequence[FloatArray]) -> tuple[list[NDArray[np.intp]], float]:
    """Indices (kept,) of frames that count as independent, for each of several chains, and the inefficiency.

    Each chain keeps every g-th frame, where g is the statistical inefficiency of all chains together. Chains that never
    change are kept whole: they are of a quantity that does not fluctuate.

    Parameters
    ----------
    chains : sequence of array, shape (frames,)
        A quantity; chains of no more than two frames are kept whole, and do not count.
    """
    long = [values for values in chains if len(values) > 2]
    inefficiency = 1.0 if not long or _constant(np.concatenate(long)) else statistical_inefficiency(long)
    return [np.unique(np.arange(0, len(values), inefficiency).astype(np.intp)) for values in chains], inefficiency


def kish_size(weights: FloatArray) -> float:
    """Kish's number (Σw)²/Σw² of samples of equal weight that samples with weights (n,) are worth."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _constant(values: FloatArray) -> bool:
    """Whether values (n,) differ by rounding alone."""
    return not len(values) or bool(values.var() <= 1e-24 * values.mean() ** 2)
