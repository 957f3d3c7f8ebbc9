"""Committors from counted outcomes: binomial intervals, and how sharply frames are committed alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.stats import beta, binom, norm

from spacetime_tps.coordinates.states import FloatArray
from spacetime_tps.pipeline.figures import DPI

CONFIDENCE = 0.95
"""Of every interval."""
RESAMPLES = 2000
BINS = 11  # odd: no edge at one half


def wilson_interval(successes: ArrayLike, trials: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Wilson's score interval of a binomial probability, at :data:`CONFIDENCE`.

    Its mean coverage is close to nominal for any number of trials, that of an exact interval is above (Wilson,
    J. Am. Stat. Assoc. 22, 209 (1927); Agresti & Coull, Am. Stat. 52, 119 (1998)). Without trials it is [0, 1].

    Parameters
    ----------
    successes, trials : array_like of int, shape (frames,)

    Returns
    -------
    low, high : array, shape (frames,)
    """
    k, n = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    z2 = float(norm.ppf(0.5 + CONFIDENCE / 2)) ** 2
    centre = (k + z2 / 2) / (n + z2)
    half = np.sqrt(z2 * (np.where(n > 0, k * (n - k) / np.maximum(n, 1), 0.0) + z2 / 4)) / (n + z2)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


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


def committor_figure(
    path: Path, reached_b: FloatArray, shots: FloatArray, test: HistogramTest | None, title: str
) -> None:
    """Histogram of measured p_B, what frames all at p_B = 0.5 would give, and the intrinsic density.

    Parameters
    ----------
    path : Path
        PNG file.
    reached_b, shots : array, shape (frames,)
        Decided shots; at least one each.
    test : HistogramTest or None
        Of these frames, if they are enough for one.
    title : str
    """
    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0, 1, BINS + 1)
    axes.hist(reached_b / shots, edges.tolist(), density=True, color="tab:blue", alpha=0.45, label="measured")
    perfect = np.mean(
        [
            np.histogram(np.arange(n + 1) / n, edges, weights=binom.pmf(np.arange(n + 1), n, 0.5))[0]
            for n in shots.astype(int)
        ],
        axis=0,
    )
    axes.stairs(perfect * BINS, edges, color="black", linestyle="--", label="all at 0.5, these shots")
    if test is not None:
        p = np.linspace(0, 1, 401)[1:-1]
        density = intrinsic_density(test, p)
        if density is not None:
            axes.plot(
                p,
                density,
                color="tab:red",
                label=f"counting noise taken out: {test.mean:.2f} ± {test.standard_deviation:.2f}",
            )
    axes.axvline(0.5, color="tab:gray", linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # room for the legend
    axes.set_xlabel("committor p_B by shots")
    axes.set_ylabel("density of frames")
    axes.set_title(title)
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=DPI)
