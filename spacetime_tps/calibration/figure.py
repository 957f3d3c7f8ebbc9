"""Figure of a calibration: moments at held-out points and divergences along a curve, by the model and by dynamics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from spacetime_tps.arrays import FloatArray
from spacetime_tps.calibration.results import CalibrationResult, Compared, CurveComparison, PointComparison
from spacetime_tps.drawing import DPI


def calibration_figure(path: Path, result: CalibrationResult) -> None:
    """Means and square displacements at spacetime points; steps and length along a curve; ±1 standard error.

    Parameters
    ----------
    path : Path
        PNG file.
    result : CalibrationResult
    """
    figure = Figure(figsize=(11, 8), layout="constrained")
    (means, steps), (displacements, length) = figure.subplots(2, 2, sharex="col")
    points, curve, unit = result.points, result.curve, result.unit
    _draw_means(means, points)
    _draw_displacements(displacements, points)
    _draw_steps(steps, curve)
    _draw_length(length, curve)
    means.set_title("noised held-out frames")
    displacements.set_xlabel(f"log SNR (SNR in {unit}⁻²)" if unit else "log SNR")
    steps.set_title(f"{curve.name.replace('_', '-')} geodesic")
    length.set_xlabel("window")
    figure.suptitle(f"{result.system}: model and restrained dynamics at {result.temperature:g} K")
    figure.savefig(path, dpi=DPI)


def _by_both(quantities: Iterable[Compared]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Values by the model, by dynamics, and errors of these."""
    model, md, error = np.array([(quantity.model, quantity.md, quantity.md_error) for quantity in quantities]).T
    return model, md, error


def _draw_sampled(axes: Axes, x: ArrayLike, y: ArrayLike, error: ArrayLike) -> None:
    axes.errorbar(x, y, error, color="black", fmt="o", markersize=4, capsize=2)


def _draw_means(axes: Axes, points: Sequence[PointComparison]) -> None:
    log_snr = [point.log_snr for point in points]
    width = np.sqrt([point.moments.variance_md for point in points])
    distance = np.array([point.moments.mean_distance for point in points])
    error = np.array([point.moments.mean_distance_error for point in points])
    _draw_sampled(axes, log_snr, distance / width, error / width)
    axes.plot(log_snr, error / width, color="tab:gray", label="standard error of the dynamics: noise alone")
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])  # room for the legend
    axes.set_ylabel("distance of the means / width of p(x|z)")
    axes.legend()


def _draw_displacements(axes: Axes, points: Sequence[PointComparison]) -> None:
    model, dynamics, error = _by_both(point.moments.mean_square_displacement for point in points)
    ratio = model / dynamics
    axes.axhline(1, color="tab:gray", linewidth=1)
    _draw_sampled(axes, [point.log_snr for point in points], ratio, ratio * error / dynamics)
    axes.set_ylabel("E|x − y|² by the model / by dynamics")


def _draw_steps(axes: Axes, curve: CurveComparison) -> None:
    model, dynamics, error = _by_both(chord.divergence for chord in curve.chords)
    middle = np.arange(len(model)) + 0.5
    _draw_sampled(axes, middle, dynamics, error)
    axes.hlines(model, middle - 0.5, middle + 0.5, color="tab:red")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_ylabel("J of neighbouring windows (nats)")


def _draw_length(axes: Axes, curve: CurveComparison) -> None:
    model, dynamics, _ = (
        np.concatenate([[0.0], np.cumsum(np.sqrt(divergence.clip(min=0)))])
        for divergence in _by_both(chord.divergence for chord in curve.chords)
    )
    by_dynamics = f"restrained dynamics, {curve.length.md:.2f} ± {curve.length.md_error:.2f}"
    axes.plot(dynamics, color="black", label=by_dynamics)
    axes.plot(model, color="tab:red", linestyle="--", label=f"model, {curve.length.model:.2f}")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("length from A, Σ √J")
    axes.legend()
