"""Figure of a free-energy job: profile along the curve, overlap of the windows, and all estimates of ΔF."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from spacetime_tps.coordinates.states import FloatArray
from spacetime_tps.drawing import DPI

LABELS = {"windows": "windows, MBAR", "annealing": "annealing, BAR", "replica_exchange": "replica exchange"}


def free_energy_figure(path: Path, results: Mapping[str, Any], overlap: FloatArray) -> None:
    """Draw what ``free_energy.json`` holds.

    Parameters
    ----------
    path : Path
        PNG file.
    results : mapping
    overlap : array, shape (ensembles, ensembles)
        MBAR's overlap matrix.
    """
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    along, matrix, states = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    rows = results["windows"]["profile"]
    progress, value, error = (np.array([row[key] for row in rows], dtype=float) for key in _PROFILE)
    along.errorbar(progress, value, error, fmt="o-", markersize=3, capsize=2, color="tab:blue")
    along.set_xlabel(f"progress along the {results['curve'].replace('_', '-')} geodesic")
    along.set_ylabel("free energy of being nearest to it, kJ/mol")
    image = matrix.imshow(np.sqrt(overlap), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=matrix, label="√ overlap", shrink=0.8)
    matrix.set_xlabel("ensemble, from A to B")
    there = {key: results[key] for key in LABELS if results[key] is not None}
    places = np.arange(len(there))
    values, errors = (np.array([estimate[key] for estimate in there.values()]) for key in ("value", "error"))
    states.errorbar(values, places, xerr=errors, fmt="o", color="black", capsize=4)
    states.set_yticks(places, [LABELS[key] for key in there])
    states.set_ylim(len(there) - 0.5, -0.5)
    states.set_xlabel(f"ΔF({' → '.join(results['states'])}), kJ/mol")
    figure.suptitle(f"{results['system']}: free energies at {results['temperature']:g} K, ±1 standard error")
    figure.savefig(path, dpi=DPI)


_PROFILE = ("progress", "profile", "profile_error")
