"""Figure of a calibration: moments at held-out points and divergences along a curve, by the model and by dynamics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from spacetime_tps.coordinates.states import FloatArray
from spacetime_tps.drawing import DPI


def calibration_figure(path: Path, results: Mapping[str, Any]) -> None:
    """Means and square displacements at spacetime points; steps and length along a curve; ±1 standard error.

    Parameters
    ----------
    path : Path
        PNG file.
    results : mapping
        ``points``, ``curve``, ``unit``, ``system`` and ``temperature``, as ``calibration.json`` has them.
    """
    figure = Figure(figsize=(11, 8), layout="constrained")
    (means, steps), (displacements, length) = figure.subplots(2, 2, sharex="col")
    points, curve, unit = results["points"], results["curve"], results["unit"]
    _draw_means(means, points)
    _draw_displacements(displacements, points)
    _draw_steps(steps, curve)
    _draw_length(length, curve)
    means.set_title("noised held-out frames")
    displacements.set_xlabel(f"log SNR (SNR in {unit}⁻²)" if unit else "log SNR")
    steps.set_title(f"{curve['name'].replace('_', '-')} geodesic")
    length.set_xlabel("window")
    figure.suptitle(f"{results['system']}: model and restrained dynamics at {results['temperature']:g} K")
    figure.savefig(path, dpi=DPI)


def _columns(rows: Sequence[Mapping[str, float]], *names: str) -> list[FloatArray]:
    return [np.array([row[name] for row in rows]) for name in names]


def _draw_sampled(axes: Axes, x: ArrayLike, y: ArrayLike, error: ArrayLike) -> None:
    axes.errorbar(x, y, error, color="black", fmt="o", markersize=4, capsize=2)


def _draw_means(axes: Axes, points: Sequence[Mapping[str, float]]) -> None:
    names = ("log_snr", "mean_distance", "mean_distance_error", "variance_md")
    log_snr, distance, error, variance = _columns(points, *names)
    width = np.sqrt(variance)
    _draw_sampled(axes, log_snr, distance / width, error / width)
    axes.plot(log_snr, error / width, color="tab:gray", label="standard error of the dynamics: noise alone")
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])  # room for the legend
    axes.set_ylabel("distance of the means / width of p(x|z)")
    axes.legend()


def _draw_displacements(axes: Axes, points: Sequence[Mapping[str, float]]) -> None:
    names = (f"mean_square_displacement_{source}" for source in ("model", "md", "md_error"))
    log_snr, model, dynamics, error = _columns(points, "log_snr", *names)
    ratio = model / dynamics
    axes.axhline(1, color="tab:gray", linewidth=1)
    _draw_sampled(axes, log_snr, ratio, ratio * error / dynamics)
    axes.set_ylabel("E|x − y|² by the model / by dynamics")


def _draw_steps(axes: Axes, curve: Mapping[str, Any]) -> None:
    names = ("divergence_model", "divergence_md", "divergence_md_error")
    model, dynamics, error = _columns(curve["chords"], *names)
    middle = np.arange(len(model)) + 0.5
    _draw_sampled(axes, middle, dynamics, error)
    axes.hlines(model, middle - 0.5, middle + 0.5, color="tab:red")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_ylabel("J of neighbouring windows (nats)")


def _draw_length(axes: Axes, curve: Mapping[str, Any]) -> None:
    model, dynamics = (
        np.concatenate([[0.0], np.cumsum(np.sqrt(divergence.clip(min=0)))])
        for divergence in _columns(curve["chords"], "divergence_model", "divergence_md")
    )
    by_dynamics = f"restrained dynamics, {curve['length_md']:.2f} ± {curve['length_md_error']:.2f}"
    axes.plot(dynamics, color="black", label=by_dynamics)
    axes.plot(model, color="tab:red", linestyle="--", label=f"model, {curve['length_model']:.2f}")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("length from A, Σ √J")
    axes.legend()
