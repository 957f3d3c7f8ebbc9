"""The histogram test: how sharply frames are committed alike, without the noise of counting shots."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta

from spacetime_tps.arrays import FloatArray

RESAMPLES = 2000


@dataclass(frozen=True)
class HistogramTest:
    """How far the committors of frames that should be alike are spread, beyond the noise of counting.

    Attributes
    ----------
    frames : int
    mean, mean_error : float
        Of p_B over frames, and its standard error.
    observed_variance : float
        Of the measured p_B, with the binomial noise of finitely many shots.
    variance, variance_error : float
        Of the true p_B: the observed one less the binomial noise. About zero (or below, by chance) where frames are
        alike. The error is by a bootstrap over frames.
    """

    frames: int
    mean: float
    mean_error: float
    observed_variance: float
    variance: float
    variance_error: float

    @property
    def standard_deviation(self) -> float:
        """Of the true p_B; zero where the corrected variance is negative."""
        return float(np.sqrt(max(self.variance, 0.0)))

    def to_json(self) -> dict[str, object]:
        """The test as JSON."""
        return asdict(self) | {"standard_deviation": self.standard_deviation}


def histogram_test(reached_b: ArrayLike, shots: ArrayLike, rng: np.random.Generator) -> HistogramTest:
    """The histogram test of a reaction coordinate, with the binomial broadening taken out.

    With n shots p̂ has the variance p(1−p)/n about p, which p̂(1−p̂)/(n−1) estimates without bias; what is left of the
    variance of p̂ over frames is that of p (Peters, J. Chem. Phys. 125, 241101 (2006), eqs 5 and 6).

    Parameters
    ----------
    reached_b, shots : array_like of int, shape (frames,)
        Of each frame, the shots that reached B, and all that reached A or B: at least two.
    rng : Generator
        Of the bootstrap.

    Raises
    ------
    ValueError
        If there are fewer than two frames, or a frame has fewer than two shots.
    """
    k, n = np.asarray(reached_b, dtype=float), np.asarray(shots, dtype=float)
    if len(n) < 2 or n.min() < 2:
        raise ValueError("the histogram test needs two frames or more, and two decided shots or more of each")
    p = k / n
    noise = p * (1 - p) / (n - 1)
    chosen = rng.integers(len(p), size=(RESAMPLES, len(p)))
    resampled = p[chosen].var(axis=1, ddof=1) - noise[chosen].mean(axis=1)
    observed = float(p.var(ddof=1))
    return HistogramTest(
        frames=len(p),
        mean=float(p.mean()),
        mean_error=float(np.sqrt(observed / len(p))),
        observed_variance=observed,
        variance=observed - float(noise.mean()),
        variance_error=float(resampled.std(ddof=1)),
    )


def intrinsic_density(test: HistogramTest, p: FloatArray) -> FloatArray | None:
    """The beta density with the mean and the corrected variance of a test, at p; None if there is none.

    There is none where the corrected variance is not positive (frames alike within the noise) or as large as that of
    frames all committed.
    """
    largest = test.mean * (1 - test.mean)
    if not 0 < test.variance < largest:
        return None
    size = largest / test.variance - 1
    return np.asarray(beta.pdf(p, test.mean * size, (1 - test.mean) * size))
