"""Figure of a free-energy job: profile along the curve, overlap of the windows, and all estimates of ΔF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from spacetime_tps.drawing import DPI
from spacetime_tps.free_energy.results import FreeEnergyResult

LABELS = {"windows": "windows, MBAR", "annealing": "annealing, BAR", "replica exchange": "replica exchange"}


def free_energy_figure(path: Path, result: FreeEnergyResult) -> None:
    """Draw the profile, the overlap of the windows and the estimates.

    Parameters
    ----------
    path : Path
        PNG file.
    result : FreeEnergyResult
    """
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    along, matrix, states = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    rows = [(row.progress, row.profile, row.profile_error) for row in result.windows.profile]
    progress, value, error = np.array(rows, dtype=float).T  # None becomes NaN
    along.errorbar(progress, value, error, fmt="o-", markersize=3, capsize=2, color="tab:blue")
    along.set_xlabel(f"progress along the {result.curve.replace('_', '-')} geodesic")
    along.set_ylabel("free energy of being nearest to it, kJ/mol")
    image = matrix.imshow(np.sqrt(result.windows.overlap), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=matrix, label="√ overlap", shrink=0.8)
    matrix.set_xlabel("ensemble, from A to B")
    there = result.estimates
    places = np.arange(len(there))
    values, errors = np.array([(estimate.value, estimate.error) for estimate in there.values()]).T
    states.errorbar(values, places, xerr=errors, fmt="o", color="black", capsize=4)
    states.set_yticks(places, [LABELS[method] for method in there])
    states.set_ylim(len(there) - 0.5, -0.5)
    states.set_xlabel(f"ΔF({' → '.join(result.states)}), kJ/mol")
    figure.suptitle(f"{result.system}: free energies at {result.temperature:g} K, ±1 standard error")
    figure.savefig(path, dpi=DPI)
