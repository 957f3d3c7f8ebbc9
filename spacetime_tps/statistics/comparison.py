"""Whether two ensembles of correlated samples have the same distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp, kstwo

from spacetime_tps.arrays import FloatArray
from spacetime_tps.statistics.correlation import effective_size


@dataclass(frozen=True)
class DistributionTest:
    """Kolmogorov-Smirnov test of one quantity in two ensembles of correlated samples.

    Attributes
    ----------
    statistic : float
        Largest difference of the cumulative distributions.
    p_value : float
        Probability of a difference at least as large, if the distributions are the same.
    effective_sizes : tuple of float
        Numbers of independent samples that are worth the correlated samples.
    means : tuple of float
    """

    statistic: float
    p_value: float
    effective_sizes: tuple[float, float]
    means: tuple[float, float]


def compare_distributions(one: Sequence[FloatArray], other: Sequence[FloatArray]) -> DistributionTest:
    """Two-sample Kolmogorov-Smirnov test with effective sizes; for correlated samples p is rather too large.

    Parameters
    ----------
    one, other : sequence of array
        A quantity along the chains of either ensemble.
    """
    first, second = np.concatenate(one), np.concatenate(other)
    sizes = (effective_size(one), effective_size(other))
    statistic = float(ks_2samp(first, second, method="asymp").statistic)
    common = max(1, round(sizes[0] * sizes[1] / sum(sizes)))  # as scipy's asymptotic p-value has it
    return DistributionTest(
        statistic, float(kstwo.sf(statistic, common)), sizes, (float(first.mean()), float(second.mean()))
    )
