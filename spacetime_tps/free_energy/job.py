"""The free-energy job: ΔF between the states of a run and the profile along one of its geodesics."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from spacetime_tps.coordinates.states import FloatArray
from spacetime_tps.free_energy.figure import free_energy_figure
from spacetime_tps.free_energy.windows import (
    annealing_estimate,
    equilibrium_ends,
    make_series,
    replica_estimate,
    sample_series,
    stiffened,
    window_estimate,
)
from spacetime_tps.processes import check_guard
from spacetime_tps.progress import log
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.read import need_geodesic
from spacetime_tps.runs.requests import begun_folder, check_options, working_on
from spacetime_tps.threads import one_thread
from spacetime_tps.writing import replacing, write_json, write_table


def compute_free_energy(
    run: str | Path,
    *,
    curve: str = "low_variance",
    windows: int = 48,
    frames: int = 200,
    paths: int = 32,
    seed: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    trust_scripts: bool = False,
) -> dict[str, Any]:
    """ΔF(A → B) between a run's states by windows along a geodesic and by annealing, at the run's own temperature.

    Writes ``free_energy/`` in its folder: ``free_energy.json`` with everything, ``profile.csv`` with a row for each
    window on the curve, ``overlap.csv`` with MBAR's overlap matrix, ``free_energy.png``, and the frames of the windows
    by sweep, ``sweep_*.npy`` (windows, frames, atoms, 3) in nm.

    Parameters
    ----------
    run : str or Path
        Folder of a run that has its geodesics.
    curve : str
        Name of a stored geodesic.
    windows : int
        On the curve; those that lead from its ends to the free states come on top.
    frames : int
        Of each sweep in a window; ``free_energy`` in the settings says how far apart they are.
    paths : int
        Annealed along the curve, as many there and as many back.
    seed : int, optional
        By default that of the run.
    workers : int, optional
        Worker processes, by default one a core. Results do not depend on it.
    resume : bool
        Go on with an interrupted one that was asked for the same.
    overwrite : bool
        Replace earlier free energies.
    trust_scripts : bool
        Whether force-field files that are not OpenMM's may run code; never stored.

    Returns
    -------
    dict
        What ``free_energy.json`` holds: ``windows``, ``annealing`` and ``replica_exchange`` (None if the run has none),
        each with ``value`` and ``error`` in kJ/mol, and more.

    Raises
    ------
    SpacetimeError
        If an input is wrong (before any long work), a simulation fails, or neighbouring windows do not overlap.
    """
    check_guard()
    least = {"windows": (windows, 2), "frames": (frames, 10), "paths": (paths, 2), "workers": (workers, 1)}
    check_options(least | {"seed": (seed, 0)})
    started = time.perf_counter()
    opened = Run.open(run, "samples", "geodesics", seed=seed, trust_scripts=trust_scripts)
    geodesic = need_geodesic(opened, curve)
    request = {"curve": curve, "windows": windows, "frames": frames, "paths": paths, "seed": opened.base_seed}
    with working_on(opened, "free-energy", request, resume, overwrite) as folder, one_thread():
        if not resume:
            with begun_folder(folder, request):
                pass
        with opened.workers(workers):
            schedule = stiffened(opened, geodesic.schedule)
            series = make_series(schedule, windows, opened.settings.free_energy)
            sampled = sample_series(opened, series, frames, opened.seed("windows"), f"windows, {curve}", folder)
            by_windows, ends, overlap = window_estimate(opened, series, sampled, opened.seed("windows bootstrap"))
            starts = equilibrium_ends(series, sampled)
            with opened.keeping("free-energy"):
                by_annealing, spent = annealing_estimate(
                    opened, schedule, starts, ends, paths, opened.seed("annealing")
                )
        evaluations = {"windows": sampled.evaluations, "annealing": spent}
        results = _results(opened, request, evaluations, by_windows, by_annealing)
        _write(folder, results, overlap)
        opened.finish("free-energy", started, evaluations, after=["samples", "geodesics"])
    return results


def _results(
    run: Run,
    request: dict[str, Any],
    evaluations: dict[str, int],
    by_windows: dict[str, Any],
    by_annealing: dict[str, Any],
) -> dict[str, Any]:
    molecule = run.molecule
    results: dict[str, Any] = {
        "system": molecule.name,
        "states": [state.name for state in molecule.states],
        "temperature": molecule.temperature,
        "curve": request["curve"],
        "seed": request["seed"],
        "sweeps": run.settings.free_energy.sweeps,
        "frames": request["frames"],
        "evaluations": evaluations,
        "windows": by_windows,
        "annealing": by_annealing,
        "replica_exchange": replica_estimate(run, np.random.default_rng(run.seed("replica_exchange bootstrap"))),
    }
    for name in ("windows", "annealing", "replica_exchange"):
        if results[name] is not None:
            value, error = results[name]["value"], results[name]["error"]
            log.info("ΔF(%s → %s) by %s: %.2f ± %.2f kJ/mol", *results["states"], name.replace("_", " "), value, error)
    return results


def _write(folder: Path, results: dict[str, Any], overlap: FloatArray) -> None:
    """Tables and figures; ``free_energy.json`` comes last, when all the others are there."""
    write_table(folder / "profile.csv", results["windows"]["profile"])
    with replacing(folder / "overlap.csv") as partial:
        np.savetxt(partial, overlap, fmt="%.6f", delimiter=",")
    free_energy_figure(folder / "free_energy.png", results, overlap)
    write_json(folder / "free_energy.json", results)
