"""Means and their errors, and intervals of counted outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from spacetime_tps.arrays import FloatArray


@dataclass(frozen=True)
class MeanSd:
    """Mean, standard deviation and standard error of the mean; None if there are no values."""

    mean: float | None
    sd: float | None
    standard_error: float | None


def standard_error(values: FloatArray) -> FloatArray:
    """Standard error of the mean over the last axis, whose values are independent, shape (...)."""
    return np.asarray(values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1]))


def mean_sd(values: FloatArray) -> MeanSd:
    """Mean, standard deviation and standard error of those values (n,) that are finite; None if there are none."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return MeanSd(None, None, None)
    sd = float(finite.std(ddof=1)) if len(finite) > 1 else 0.0
    return MeanSd(float(finite.mean()), sd, sd / float(np.sqrt(len(finite))))


def wilson_interval(successes: ArrayLike, trials: ArrayLike, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Wilson's score interval of a binomial probability.

    Its mean coverage is close to nominal for any number of trials, that of an exact interval is above (Wilson,
    J. Am. Stat. Assoc. 22, 209 (1927); Agresti & Coull, Am. Stat. 52, 119 (1998)). Without trials it is [0, 1].
    ``scipy.stats.binomtest`` has the same interval, but for one pair of numbers at a time.

    Parameters
    ----------
    successes, trials : array_like of int, shape (n,)
    confidence : float
        Probability that the interval covers the true value, such as 0.95.

    Returns
    -------
    low, high : array, shape (n,)

    Examples
    --------
    >>> low, high = wilson_interval([0, 5], [10, 10], confidence=0.95)
    >>> low.round(2), high.round(2)
    (array([0.  , 0.24]), array([0.28, 0.76]))
    """
    k, n = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    z2 = float(norm.ppf(0.5 + confidence / 2)) ** 2
    centre = (k + z2 / 2) / (n + z2)
    half = np.sqrt(z2 * (np.where(n > 0, k * (n - k) / np.maximum(n, 1), 0.0) + z2 / 4)) / (n + z2)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)
