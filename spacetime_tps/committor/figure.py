"""The picture of the committor job: how measured committors are distributed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binom

from spacetime_tps.arrays import FloatArray
from spacetime_tps.committor.statistics import HistogramTest, intrinsic_density
from spacetime_tps.drawing import DPI

BINS = 11
"""Bins of the histogram: an odd number, so that no edge is at one half."""


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
